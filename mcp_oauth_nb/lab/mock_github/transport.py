"""An httpx transport that leads to the mock, in process; every other host is out of reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp, Message

from .faults import HANG_UP, HungUp


class MockTransport(httpx.AsyncBaseTransport):
    """Routes the mock's own hosts to its app. Nothing leaves the process.

    It holds no connection and no loop, so one instance serves any number of clients, threads and loops.

    Args:
        app: the ASGI app.
        origins: the URLs whose hosts are served.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]):
        self._app = app
        self._hosts = {netloc(urlsplit(origin).scheme, urlsplit(origin).netloc) for origin in origins}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ConnectError: the host is not one of the mock's.
            httpx.ReadError: a fault made the mock hang up. A body that a fault cut off raises
                `httpx.RemoteProtocolError` when it is read.
        """
        host = netloc(request.url.scheme, request.url.netloc.decode("ascii"))
        if host not in self._hosts:
            raise httpx.ConnectError(
                f"{request.url.host} is not served here: this transport reaches the mocked GitHub "
                f"({', '.join(sorted(self._hosts))}) and nothing else.",
                request=request,
            )
        return await self._call(request)

    async def _call(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        outgoing: list[Message] = []

        async def receive() -> Message:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            outgoing.append(message)

        try:
            await self._app(_scope(request), receive, send)
        except HungUp:
            raise httpx.ReadError("The connection was closed before an answer came.", request=request) from None
        start, *parts = outgoing
        chunks = [part["body"] for part in parts if part.get("body")]
        complete = not parts[-1].get("more_body", False)
        body_stream = _Body(chunks, complete)
        return httpx.Response(start["status"], headers=start["headers"], stream=body_stream, request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: list[bytes], complete: bool):
        self._chunks = chunks
        self._complete = complete

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if not self._complete:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def netloc(scheme: str, host: str) -> str:
    """Write host and port as a key: in lower case, without the scheme's own port."""
    name, _, port = host.lower().rpartition("@")[2].partition(":")
    return f"{name}:{port}" if port and port != {"http": "80", "https": "443"}.get(scheme) else name


def _scope(request: httpx.Request) -> dict[str, object]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "extensions": {HANG_UP: {}},
    }
