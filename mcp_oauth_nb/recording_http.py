"""Records HTTP: a transport around a transport, and a body that is copied while it passes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import httpx

from .redaction import mask_fields, mask_header, mask_url, scrub
from .wire import Kind

if TYPE_CHECKING:
    from .trace import Trace

# Who acts, where one HTTP client serves two parties: the handler works for the client, and for the server's tools.
_actor: ContextVar[str | None] = ContextVar("actor", default=None)

# Of a longer body only the length is recorded.
_MAX_RECORDED_BYTES = 256 * 1024


@contextmanager
def acting_as(party: str) -> Iterator[None]:
    """Record the HTTP requests made inside as this party's, whoever owns the HTTP client."""
    token = _actor.set(party)
    try:
        yield
    finally:
        _actor.reset(token)


class RecordingTransport(httpx.AsyncBaseTransport):
    """Records what passes through another transport; see `Trace.http`."""

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
            kind: Kind = "error" if response.status_code >= 400 or _oauth_error(masked) else "response"
            self._answer(exchange, sender, kind, _status_line(response, masked), response.headers, masked)

        if response.is_closed:
            # Made with all its content, as by `httpx.MockTransport`: nobody will read the stream.
            finished(response.content)
        else:
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


def _oauth_error(body: Any) -> str | None:
    # GitHub answers 200 to a refused token request; the arrow should say that it failed.
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, str) else None


def _status_line(response: httpx.Response, body: Any) -> str:
    title = f"{response.status_code} {response.reason_phrase}".rstrip()
    if (error := _oauth_error(body)) is not None:
        return f"{title} (error={error})"
    if response.has_redirect_location:
        return f"{title} -> {mask_url(response.headers['location']).partition('?')[0]}"
    return title
