"""What an answer of an MCP server may cost: its bytes, its time, and of an event stream the bytes of one event.

An answer is not believed before somebody has to read it. Compression is not accepted, so that bytes are counted once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import cast

import anyio
import httpx2

from ..oauth.errors import McpOAuthError, ProtocolError
from ..oauth.http import read_bounded
from ..oauth.http_faults import MAX_BODY_BYTES, compressed, late, place_of

#: The longest message of a server, as JSON or as one event, in bytes: a tool's result may be large.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
#: How long the body of a message may take once its head is there, in seconds.
MESSAGE_SECONDS = 300.0
#: Of an answer that nobody needs, as of a 401, this much is read to be shown: in bytes and in seconds.
GLANCE_BYTES = 16 * 1024
GLANCE_SECONDS = 5.0
#: How long a server may take to say good-bye, in seconds.
FAREWELL_SECONDS = 10.0
#: Event streams are opened this many seconds apart at least, whatever a server says in `retry`.
STREAM_PACE_SECONDS = 0.1
#: What a server says in `retry` keeps a client away no longer than it waits for one that is silent, in seconds.
LONGEST_RETRY_SECONDS = 300

#: Makes the JSON-RPC error, as JSON, that stands for an error.
ErrorFrame = Callable[[McpOAuthError], bytes]

_LIMIT_HINT = "Ask for less at once, or ask the server's operator to send large content as resources or in pages."
_TRANSPORT = "MCP 2025-11-25, Transports, Streamable HTTP"
_BLANK_LINE = re.compile(rb"\n\n|\r\r|\n\r\n")
# So that a blank line is found where it came in pieces.
_OVERLAP = 2
_RETRY = re.compile(rb"(?<=[\r\n])retry:([^\r\n]*)(?=[\r\n])")
# A `retry` field that is longer, in bytes, is none.
_LONGEST_RETRY_FIELD = 40
_EVENTS = "text/event-stream"


async def bound(request: httpx2.Request, response: httpx2.Response, error_frame: ErrorFrame) -> None:
    """See to it that whoever reads an answer reads no more of it than it may cost.

    Raises:
        ProtocolError: it is too long, or compressed.
        Unreachable: it does not come to its end.
    """
    stream = cast(httpx2.AsyncByteStream, response.stream)
    place = place_of(request.url)
    packed = response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", "")
    media = response.headers.get("content-type", "").lower()
    if response.is_success and media.startswith(_EVENTS) and request.method != "DELETE":
        if packed:
            await stream.aclose()
            raise compressed(place)
        # An event stream is UTF-8, whatever it says (WHATWG HTML section 9.2.5): the bytes are what is looked at here.
        response.headers["content-type"] = _EVENTS
        response.stream = _Events(stream, place, error_frame if request.method == "POST" else None)
        return
    try:
        if _is_message(request, response, media):
            if packed:
                raise compressed(place)
            body = await _read(stream, place, MAX_MESSAGE_BYTES if response.is_success else MAX_BODY_BYTES)
        else:
            body = await _glance(stream)
            if media.startswith(_EVENTS):
                # The SDK takes events from some that are no success; here they were not looked at.
                body = b""
            if packed:
                # What was seen of it is in the recording; a decoder is not to see it.
                body = b""
                del response.headers["content-encoding"]
    finally:
        await stream.aclose()
    response.stream = httpx2.ByteStream(body)


def _is_message(request: httpx2.Request, response: httpx2.Response, media: str) -> bool:
    """Say whether the SDK reads an answer: a JSON-RPC message, as a result or as the reason of a refusal."""
    if request.method == "DELETE" or not media.startswith("application/json"):
        return False
    return response.is_success or (response.status_code >= 400 and response.status_code not in (401, 403))


async def _read(stream: httpx2.AsyncByteStream, place: str, limit: int) -> bytes:
    try:
        with anyio.fail_after(MESSAGE_SECONDS):
            body = await read_bounded(stream, limit)
    except TimeoutError as error:
        raise late(place, MESSAGE_SECONDS) from error
    if len(body) > limit:
        raise _too_long(place, limit)
    return body


async def _glance(stream: httpx2.AsyncByteStream) -> bytes:
    """Return a short body, and of any other nothing: half of it would be misread."""
    with anyio.move_on_after(GLANCE_SECONDS):
        body = await read_bounded(stream, GLANCE_BYTES)
        return body if len(body) <= GLANCE_BYTES else b""
    return b""


def _too_long(place: str, limit: int) -> ProtocolError:
    return ProtocolError(
        f"{place} sent a message of more than {limit} bytes; the rest was not read.",
        hint=_LIMIT_HINT,
        reference=_TRANSPORT,
    )


class _Events(httpx2.AsyncByteStream):
    """An event stream, of any length, whose events are bounded, and what it asks for. It keeps nothing that has passed.

    Args:
        error_frame: makes the message that ends a call's stream where an event is too long; without it the stream ends.
    """

    def __init__(self, inner: httpx2.AsyncByteStream, place: str, error_frame: ErrorFrame | None):
        self._inner = inner
        self._place = place
        self._error_frame = error_frame

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pending, tail, retries = 0, b"", _Retries()
        async for chunk in self._inner:
            for size in _sizes(pending, tail, chunk):
                if size > MAX_MESSAGE_BYTES:
                    if self._error_frame is not None:
                        # Under another name the event that is too long is no message, and is passed over.
                        frame = self._error_frame(_too_long(self._place, MAX_MESSAGE_BYTES))
                        yield b"\nevent: too-long\n\nevent: message\ndata: " + frame + b"\n\n"
                    return
                pending = size
            tail = (tail + chunk)[-_OVERLAP:]
            if passed_on := retries.bounded(chunk):
                yield passed_on

    async def aclose(self) -> None:
        await self._inner.aclose()


def _sizes(pending: int, tail: bytes, chunk: bytes) -> list[int]:
    """Return how long each event is, as far as it has come: those that end in a chunk, and the one after them.

    Args:
        pending: how long the event under way was before the chunk.
        tail: the last bytes before the chunk, in which a blank line may have begun.
    """
    text, begin, sizes = tail + chunk, len(tail) - pending, []
    for blank in _BLANK_LINE.finditer(text):
        if blank.end() > len(tail):
            sizes.append(blank.end() - begin)
            begin = blank.end()
    return [*sizes, len(text) - begin]


class _Retries:
    """Bounds what an event stream says in `retry`: whoever reads it sleeps as long, and fails where no clock can."""

    def __init__(self) -> None:
        # The byte before the next one, as far as it matters: whether a line begins. And the beginning of a `retry`.
        self._before = b"\n"
        self._held = b""

    def bounded(self, chunk: bytes) -> bytes:
        """Return what can be passed on now; a `retry` that is not whole yet comes with the next chunk."""
        text = self._before + self._held + chunk
        begin = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        line = text[begin:]
        self._held = line if line.startswith(b"retry:"[: len(line)]) else b""
        if len(self._held) > _LONGEST_RETRY_FIELD:
            # WHATWG HTML section 9.2.6: what begins with a colon is a comment.
            text, self._held = text[:begin] + b":" + line, b""
        whole = text[: len(text) - len(self._held)]
        self._before = b"\n" if whole.endswith((b"\n", b"\r")) else b"."
        return _RETRY.sub(_bounded_retry, whole)[1:] if b"retry:" in whole else whole[1:]


def _bounded_retry(field: re.Match[bytes]) -> bytes:
    value = field[1].removeprefix(b" ")
    if not value.isdigit() or len(value) > _LONGEST_RETRY_FIELD:
        # WHATWG HTML section 9.2.6: it is made of digits, or ignored.
        return b":"
    return b"retry: %d" % min(int(value), 1000 * LONGEST_RETRY_SECONDS)
