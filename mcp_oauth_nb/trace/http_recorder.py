"""Records HTTP: a transport around a transport, and a body that is copied while it passes.

`httpx`, with which this package calls, and `httpx2`, with which the SDK does, share the shape of their requests but
not their classes. The recorder serves both; each has a body of its own.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx
import httpx2

from ..oauth.masking import JSONRPC_SECRET_NAMES, form_pairs, mask_fields, mask_headers, mask_url, scrub
from .frames import MOST_RECORDED, call_title, hide_request_state
from .messages import AUTHORIZATION_SERVER, SERVER, Kind, Sink

# The party that acts: one HTTP client serves two, as the handler works for the client and for the server's tools.
_actor: ContextVar[str | None] = ContextVar("actor", default=None)


@contextmanager
def acting_as(party: str) -> Iterator[None]:
    """Record the HTTP requests made inside as this party's, though another may own the HTTP client."""
    token = _actor.set(party)
    try:
        yield
    finally:
        _actor.reset(token)


#: Who answers a request to a URL.
Receiver = str | Callable[[str], str]

_PROTECTED_RESOURCE = "/.well-known/oauth-protected-resource"


def receiver_of(url: str, server: str) -> str:
    """Say who answers at a URL, of an MCP server and the authorization servers around it.

    Args:
        url: where a request goes.
        server: the MCP server's URL. What else is at its address, but for its protected resource metadata (RFC 9728),
            belongs to an authorization server.
    """
    there, here = httpx.URL(url), httpx.URL(server)
    # httpx leaves a scheme's own port out, so that both ways to write it are the same place.
    at_server = (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
    own = there.path == here.path or _PROTECTED_RESOURCE in there.path
    return SERVER if at_server and own else AUTHORIZATION_SERVER


class HttpRecorder:
    """Records requests and answers of either library."""

    def __init__(self, sink: Sink, sender: str, receiver: Receiver):
        self._sink = sink
        self._sender = sender
        self._receiver = receiver

    async def handle(self, request: Any, send: Callable[[Any], Awaitable[Any]], library: Any) -> Any:
        """Record a request on its way, and its answer; see `oauth.http.around`."""
        pending = self._request(request.method, str(request.url), request.headers, await request.aread())
        try:
            response = await send(request)
        except library.TransportError as error:
            pending.failed(error)
            raise
        head = (response.status_code, response.reason_phrase, response.headers)
        if isinstance(response.stream, library.ByteStream):
            # All there, as in a lab. It is recorded now: the caller may read it only after the next exchanges.
            pending.arrived(*head, b"".join([chunk async for chunk in response.stream]))
            return response
        copy = _HttpxCopy if library is httpx else _Httpx2Copy
        response.stream = copy(response.stream, lambda body: pending.arrived(*head, body))
        return response

    def _request(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> PendingAnswer:
        sender, url = _actor.get() or self._sender, mask_url(address)
        receiver = self._receiver if isinstance(self._receiver, str) else self._receiver(address)
        masked = _masked_body(headers, body)
        exchange = self._sink.record(
            sender=sender,
            receiver=receiver,
            protocol="http",
            kind="request",
            title=f"{method} {url.partition('?')[0]}{_call(masked)}",
            url=url,
            headers=mask_headers(headers),
            body=masked,
        )
        return PendingAnswer(self._sink, exchange, sender=receiver, receiver=sender)


class PendingAnswer:
    """A recorded request that waits for its answer."""

    def __init__(self, sink: Sink, exchange: int, *, sender: str, receiver: str):
        self._sink = sink
        self._exchange = exchange
        self._sender = sender
        self._receiver = receiver

    def failed(self, error: Exception) -> None:
        """Record that no answer came."""
        self._record("error", f"no answer: {type(error).__name__}")

    def arrived(self, status: int, reason: str, headers: Mapping[str, str], content: bytes) -> None:
        """Record the answer, once its body is read or left."""
        masked = _masked_body(headers, content)
        failed = status >= 400 or _oauth_error(masked) or _jsonrpc_error(masked) is not None
        kind: Kind = "error" if failed else "response"
        self._record(kind, _status_line(status, reason, headers, masked), headers, masked)

    def _record(self, kind: Kind, title: str, headers: Mapping[str, str] | None = None, body: Any = None) -> None:
        self._sink.record(
            sender=self._sender,
            receiver=self._receiver,
            protocol="http",
            kind=kind,
            title=title,
            headers=mask_headers(headers) if headers is not None else None,
            body=body,
            answers=self._exchange,
        )


class _BodyCopy:
    """Passes a body on and keeps a copy, so that recording neither buffers nor reads ahead."""

    def __init__(self, inner: Any, finished: Callable[[bytes], None]):
        self._inner = inner
        self._finished: Callable[[bytes], None] | None = finished
        self._copy = bytearray()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._copy += chunk[: MOST_RECORDED + 1 - len(self._copy)]
            yield chunk

    async def aclose(self) -> None:
        """Close it, and hand the copy over."""
        await self._inner.aclose()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(bytes(self._copy))


class _HttpxCopy(_BodyCopy, httpx.AsyncByteStream): ...


class _Httpx2Copy(_BodyCopy, httpx2.AsyncByteStream): ...


def _masked_body(headers: Mapping[str, str], content: bytes) -> Any:
    if not content:
        return None
    packed = headers.get("content-encoding", "identity").strip().lower()
    if packed in ("gzip", "x-gzip", "deflate"):
        content = _unpacked(content)
    elif packed != "identity":
        return f"({len(content):,} bytes, compressed by {scrub(packed)})"
    if len(content) > MOST_RECORDED:
        return f"({len(content):,} bytes or more, not recorded)"
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    text = content.decode("utf-8", "replace")
    if media == "application/x-www-form-urlencoded":
        return mask_fields(dict(form_pairs(text)))
    if media == "application/json" or media.endswith("+json"):
        try:
            return _masked_json(json.loads(text))
        except (ValueError, RecursionError):
            return f"({len(content):,} bytes, not valid JSON)"
    if media == "text/event-stream":
        return _masked_events(text)
    if media.startswith("text/plain"):
        return scrub(text)
    return f"({len(content):,} bytes of {scrub(media) or 'unknown type'})"


def _unpacked(content: bytes) -> bytes:
    """Unpack a body, up to the byte that shows that it is too long. One that is not compressed as it says is kept."""
    try:
        # 47: the stream says itself whether it is gzip's or zlib's.
        return zlib.decompressobj(47).decompress(content, MOST_RECORDED + 1)
    except zlib.error:
        return content


def _masked_json(value: Any) -> Any:
    if not isinstance(value, dict) or "jsonrpc" not in value:
        return mask_fields(value)
    masked = mask_fields(value, JSONRPC_SECRET_NAMES)
    hide_request_state(masked)
    return masked


def _masked_events(text: str) -> Any:
    """Read the messages of an event stream (MCP, streamable HTTP): one message alone, several as a list."""
    events = re.split(r"\r\n\r\n|\n\n|\r\r", text)
    data = ["\n".join(line[5:].strip() for line in e.splitlines() if line.startswith("data:")) for e in events]
    try:
        messages = [json.loads(text) for text in data if text]
        if len(messages) == 1:
            return _masked_json(messages[0])
        # All events are masked together: a secret that one of them shows may be in each.
        masked = mask_fields(messages, JSONRPC_SECRET_NAMES)
    except (ValueError, RecursionError):
        return f"({len(text)} characters of events that are not JSON)"
    for message in masked:
        if isinstance(message, dict):
            hide_request_state(message)
    return masked


def _call(body: Any) -> str:
    """Say what an MCP message asks for: over HTTP they all go to the same URL."""
    is_call = isinstance(body, dict) and "jsonrpc" in body and isinstance(body.get("method"), str)
    return f" {call_title(body)}" if is_call else ""


def _oauth_error(body: Any) -> str | None:
    # GitHub answers 200 to a refused token request; the arrow should say that it failed.
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, str) else None


def _jsonrpc_error(body: Any) -> int | None:
    error = body.get("error") if isinstance(body, dict) and "jsonrpc" in body else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


def _status_line(status: int, reason: str, headers: Mapping[str, str], body: Any) -> str:
    title = f"{status} {reason}".rstrip()
    if (error := _oauth_error(body)) is not None:
        return f"{title} (error={error})"
    if (number := _jsonrpc_error(body)) is not None:
        return f"{title} (error {number})"
    if 300 <= status < 400 and (location := headers.get("location")) is not None:
        return f"{title} -> {mask_url(location).partition('?')[0]}"
    return title
