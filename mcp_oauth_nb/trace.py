"""The recorder: HTTP exchanges and JSON-RPC frames, in the order in which they crossed the wire.

Everything is masked while it is recorded (`redaction`), and copied, so that a trace can be shown, saved and
shared. Traffic is recorded on whatever thread it runs; a trace can be read while it grows.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, cast
from urllib.parse import parse_qsl

import httpx

from .clock import Clock, SystemClock
from .diagram import Diagram
from .redaction import JSONRPC_SECRET_NAMES, mask_fields, mask_header, mask_url, scrub
from .wire import CLIENT, GITHUB, SERVER, Exchange, Kind, Message

# Who acts, where one HTTP client serves two parties: the handler works for the client, and for the server's tools.
_actor: ContextVar[str | None] = ContextVar("actor", default=None)

# Of a longer body only the length is recorded.
_MAX_RECORDED_BYTES = 256 * 1024


class Trace:
    """A list of messages that grows while the traffic passes.

    Args:
        clock: stamps each message.
    """

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or SystemClock()
        self._messages: list[Message] = []
        self._numbers = 0
        self._exchanges = 0
        self._lock = threading.Lock()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message so far."""
        with self._lock:
            return tuple(self._messages)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request with its answer, in the order of the requests."""
        return pair(self.messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: int) -> Exchange:
        return self.exchanges[index]

    def since(self, number: int) -> tuple[Exchange, ...]:
        """Return the exchanges that began after the first `number` messages: `mark = len(trace)` before, this after."""
        return pair(self.messages[number:])

    def find(self, text: str) -> tuple[Exchange, ...]:
        """Return the exchanges whose request title or URL contains a text, such as `tools/call` or `/login/oauth`."""
        requests = ((exchange.request, exchange) for exchange in self.exchanges)
        return tuple(exchange for request, exchange in requests if text in request.title or text in request.url)

    def clear(self) -> None:
        """Forget all messages. Numbers go on from where they were."""
        with self._lock:
            self._messages.clear()

    def diagram(self, since: int = 0) -> Diagram:
        """Draw the sequence, from the message after the first `since`."""
        return Diagram(self.messages[since:])

    def __repr__(self) -> str:
        return (
            "\n".join(f"{m.number:>3}  {m.sender} -> {m.receiver}: {m.title}" for m in self.messages) or "(empty trace)"
        )

    # -- recording ---------------------------------------------------------------------------------------------

    def record(
        self,
        *,
        sender: str,
        receiver: str,
        protocol: Literal["http", "jsonrpc"],
        kind: Kind,
        title: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        url: str = "",
        answers: int | None = None,
    ) -> int:
        """Append one message, whose content must already be masked.

        Args:
            answers: the exchange that this message completes; without it a new exchange begins.

        Returns:
            The number of the exchange.
        """
        with self._lock:
            if answers is None:
                self._exchanges += 1
            exchange = self._exchanges if answers is None else answers
            self._numbers += 1
            self._messages.append(
                Message(
                    self._numbers,
                    exchange,
                    self._clock.now(),
                    sender,
                    receiver,
                    protocol,
                    kind,
                    title,
                    headers or {},
                    body,
                    url,
                )
            )
            return exchange

    def http(
        self, transport: httpx.AsyncBaseTransport, *, sender: str = CLIENT, receiver: str = GITHUB
    ) -> httpx.AsyncBaseTransport:
        """Wrap an httpx transport so that what passes through it is recorded.

        Args:
            transport: the one that does the work.
            sender: who uses it, such as `MCP client`.
            receiver: who answers.
        """
        return _RecordingTransport(self, transport, sender, receiver)

    def frames(
        self, transport: AbstractAsyncContextManager[tuple[Any, Any]], *, client: str = CLIENT, server: str = SERVER
    ) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        """Wrap an MCP transport so that its JSON-RPC frames are recorded: `Client(trace.frames(transport))`."""
        return _recorded_frames(self, transport, client, server)


@contextmanager
def acting_as(party: str) -> Iterator[None]:
    """Record the HTTP requests made inside as this party's, whoever owns the HTTP client."""
    token = _actor.set(party)
    try:
        yield
    finally:
        _actor.reset(token)


def pair(messages: tuple[Message, ...]) -> tuple[Exchange, ...]:
    """Put requests and answers together; an answer whose request is not among the messages is left out."""
    answers = {message.exchange: message for message in messages if message.kind in ("response", "error")}
    return tuple(
        Exchange(message, answers.get(message.exchange) if message.kind == "request" else None)
        for message in messages
        if message.kind in ("request", "notification")
    )


# -- HTTP ------------------------------------------------------------------------------------------------------


class _RecordingTransport(httpx.AsyncBaseTransport):
    def __init__(self, trace: Trace, inner: httpx.AsyncBaseTransport, sender: str, receiver: str):
        self._trace = trace
        self._inner = inner
        self._sender = sender
        self._receiver = receiver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        sender = _actor.get() or self._sender
        url = mask_url(str(request.url))
        exchange = self._trace.record(
            sender=sender,
            receiver=self._receiver,
            protocol="http",
            kind="request",
            title=f"{request.method} {url.partition('?')[0]}",
            url=url,
            headers=_masked_headers(request.headers),
            body=_masked_body(request.headers, body),
        )
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as error:
            self._answer(exchange, sender, "error", f"no answer: {type(error).__name__}")
            raise

        def finished(content: bytes) -> None:
            masked = _masked_body(response.headers, content)
            self._answer(exchange, sender, "response", _status_line(response, masked), response.headers, masked)

        response.stream = _Tee(cast(httpx.AsyncByteStream, response.stream), finished)
        return response

    def _answer(
        self, exchange: int, to: str, kind: Kind, title: str, headers: httpx.Headers | None = None, body: Any = None
    ) -> None:
        self._trace.record(
            sender=self._receiver,
            receiver=to,
            protocol="http",
            kind=kind,
            title=title,
            headers=_masked_headers(headers) if headers is not None else None,
            body=body,
            answers=exchange,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Tee(httpx.AsyncByteStream):
    """Passes a body on and keeps a copy, so that recording neither buffers nor reads ahead."""

    def __init__(self, inner: httpx.AsyncByteStream, finished: Callable[[bytes], None]):
        self._inner = inner
        self._finished: Callable[[bytes], None] | None = finished
        self._copy = bytearray()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            if len(self._copy) <= _MAX_RECORDED_BYTES:
                self._copy += chunk
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(bytes(self._copy))


def _masked_headers(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): mask_header(name, value) for name, value in headers.items()}


def _masked_body(headers: httpx.Headers, content: bytes) -> Any:
    if not content:
        return None
    if len(content) > _MAX_RECORDED_BYTES:
        return f"({len(content):,} bytes or more, not recorded)"
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    text = content.decode("utf-8", "replace")
    if media == "application/x-www-form-urlencoded":
        return mask_fields(dict(parse_qsl(text, keep_blank_values=True)))
    if media == "application/json" or media.endswith("+json"):
        try:
            return mask_fields(json.loads(text))
        except (ValueError, RecursionError):
            return f"({len(content):,} bytes, not valid JSON)"
    if media.startswith("text/plain"):
        return scrub(text)
    return f"({len(content):,} bytes of {media or 'unknown type'})"


def _status_line(response: httpx.Response, body: Any) -> str:
    title = f"{response.status_code} {response.reason_phrase}".rstrip()
    # GitHub answers 200 to a refused token request; the arrow should say that it failed.
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        return f"{title} (error={body['error']})"
    if response.has_redirect_location:
        return f"{title} -> {mask_url(response.headers['location']).partition('?')[0]}"
    return title


# -- JSON-RPC --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _recorded_frames(
    trace: Trace, transport: AbstractAsyncContextManager[tuple[Any, Any]], client: str, server: str
) -> AsyncIterator[tuple[Any, Any]]:
    frames = _FrameRecorder(trace)
    async with transport as (read, write):
        yield (
            _RecordingStream(read, frames, sender=server, receiver=client),
            _RecordingStream(write, frames, sender=client, receiver=server),
        )


class _FrameRecorder:
    """Pairs frames by their id; each side numbers its own requests."""

    def __init__(self, trace: Trace):
        self._trace = trace
        self._open: dict[tuple[str, Any], tuple[int, str]] = {}

    def frame(self, item: Any, sender: str, receiver: str) -> None:
        message = getattr(item, "message", None)
        if message is None:
            # A transport hands a line that is no JSON-RPC on as an exception. Its text may quote the line.
            self._record(sender, receiver, "error", f"not a JSON-RPC frame: {type(item).__name__}")
            return
        body = mask_fields(message.model_dump(mode="json", by_alias=True, exclude_unset=True), JSONRPC_SECRET_NAMES)
        method, identifier = body.get("method"), body.get("id")
        if method is not None:
            kind: Kind = "notification" if identifier is None else "request"
            exchange = self._record(sender, receiver, kind, _call_title(body), body)
            if identifier is not None:
                self._open[sender, identifier] = exchange, method
            return
        exchange_, method = self._open.pop((receiver, identifier), (None, ""))
        kind = "error" if "error" in body else "response"
        self._record(sender, receiver, kind, _answer_title(body, method), body, exchange_)

    def _record(
        self, sender: str, receiver: str, kind: Kind, title: str, body: Any = None, answers: int | None = None
    ) -> int:
        return self._trace.record(
            sender=sender, receiver=receiver, protocol="jsonrpc", kind=kind, title=title, body=body, answers=answers
        )


def _call_title(body: dict[str, Any]) -> str:
    params = body.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    return f"{body['method']} {name}" if isinstance(name, str) else str(body["method"])


def _answer_title(body: dict[str, Any], method: str) -> str:
    if "error" in body:
        error = body["error"]
        return f"error {error.get('code')}: {error.get('message')}"
    result = body.get("result")
    if isinstance(result, dict) and result.get("inputRequests"):
        return f"{method}: input required"
    failed = isinstance(result, dict) and result.get("isError") is True
    return f"{method}: {'the tool failed' if failed else 'result'}"


class _RecordingStream:
    """An MCP stream, read or write side, that reports each frame before it passes it on."""

    def __init__(self, inner: Any, frames: _FrameRecorder, *, sender: str, receiver: str):
        self._inner = inner
        self._frames = frames
        self._sender = sender
        self._receiver = receiver

    @property
    def last_context(self) -> Any:
        # The SDK's reader runs a handler in the context of the sender, where the stream knows it.
        return getattr(self._inner, "last_context", None)

    async def send(self, item: Any) -> None:
        self._frames.frame(item, self._sender, self._receiver)
        await self._inner.send(item)

    async def receive(self) -> Any:
        item = await self._inner.receive()
        self._frames.frame(item, self._sender, self._receiver)
        return item

    def __aiter__(self) -> _RecordingStream:
        return self

    async def __anext__(self) -> Any:
        item = await self._inner.__anext__()
        self._frames.frame(item, self._sender, self._receiver)
        return item

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> _RecordingStream:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return await self._inner.__aexit__(kind, value, traceback)
