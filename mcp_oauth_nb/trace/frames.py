"""Records JSON-RPC: streams around the two streams of an MCP transport, with requests and answers paired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

from ..oauth.masking import JSONRPC_SECRET_NAMES, TooLong, mask_fields
from .messages import Kind, Sink

#: Of a longer body or message only the length is recorded, in bytes or characters.
MOST_RECORDED = 256 * 1024


@asynccontextmanager
async def recorded_frames(
    sink: Sink, transport: AbstractAsyncContextManager[tuple[Any, Any]], client: str, server: str
) -> AsyncIterator[tuple[Any, Any]]:
    """Enter an MCP transport and record what passes through its two streams; see `Trace.frames`."""
    frames = _FrameRecorder(sink)
    async with transport as (read, write):
        yield (
            _RecordingStream(read, frames, sender=server, receiver=client),
            _RecordingStream(write, frames, sender=client, receiver=server),
        )


class _FrameRecorder:
    """Pairs frames by their id; each side numbers its own requests."""

    def __init__(self, sink: Sink):
        self._sink = sink
        self._open: dict[tuple[str, Any], tuple[int, str]] = {}

    def frame(self, item: Any, sender: str, receiver: str) -> None:
        message = getattr(item, "message", None)
        if message is None:
            # A transport hands a line that is no JSON-RPC on as an exception. Its text may quote the line.
            self._record(sender, receiver, "error", f"not a JSON-RPC frame: {type(item).__name__}")
            return
        body = _masked(message.model_dump(mode="json", by_alias=True, exclude_unset=True))
        method, identifier = body.get("method"), body.get("id")
        if method is not None:
            kind: Kind = "notification" if identifier is None else "request"
            exchange = self._record(sender, receiver, kind, call_title(body), body)
            if identifier is not None:
                self._open[sender, identifier] = exchange, method
            return
        exchange_, method = self._open.pop((receiver, identifier), (None, ""))
        kind = "error" if "error" in body else "response"
        self._record(sender, receiver, kind, _answer_title(body, method), body, exchange_)

    def _record(
        self, sender: str, receiver: str, kind: Kind, title: str, body: Any = None, answers: int | None = None
    ) -> int:
        return self._sink.record(
            sender=sender, receiver=receiver, protocol="jsonrpc", kind=kind, title=title, body=body, answers=answers
        )


def _masked(body: dict[str, Any]) -> dict[str, Any]:
    try:
        masked: dict[str, Any] = mask_fields(body, JSONRPC_SECRET_NAMES, most=MOST_RECORDED)
    except TooLong:
        # The kind of the message is kept, its contents are not.
        left = f"(more than {MOST_RECORDED:,} characters, not recorded)"
        error = {"code": body["error"].get("code"), "message": left} if "error" in body else left
        contents = {"params": left, "result": left, "error": error}
        kept = {name: contents.get(name, value) for name, value in body.items()}
        return _masked(kept) if len(str(kept)) < MOST_RECORDED else {"jsonrpc": "2.0", "method": left}
    hide_request_state(masked)
    return masked


def hide_request_state(body: dict[str, Any]) -> None:
    """Blank the sealed state in a JSON-RPC body, in place."""
    # The server encrypts it afresh for every message, so that even a mask would differ from run to run.
    for part in (body.get("params"), body.get("result")):
        if isinstance(part, dict) and "requestState" in part:
            part["requestState"] = "(sealed by the server)"


def call_title(body: dict[str, Any]) -> str:
    """Name a request or notification: its method, and the tool or prompt that it is about."""
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
