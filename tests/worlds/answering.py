"""An MCP server of a few lines that answers what a test says, and a session with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.trace.recorder import Trace

URL = "http://127.0.0.1:8123/mcp"
RESULT = {"content": [{"type": "text", "text": "hi"}]}
INFO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
Answer = Callable[[dict[str, Any]], httpx2.Response | None]


class Server(httpx2.AsyncBaseTransport):
    """An MCP server of a few lines. `instead` may answer a message in its place."""

    def __init__(self, instead: Answer) -> None:
        self.instead = instead
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        message = json.loads(await request.aread()) if request.method == "POST" else {"method": request.method}
        if "method" not in message:
            return httpx2.Response(404)  # a registration
        if (answer := self.instead(message)) is not None:
            return answer
        if request.method != "POST":
            return httpx2.Response(405)
        if "id" not in message:
            return httpx2.Response(202)
        results = {"initialize": INFO, "tools/list": {"tools": []}, "tools/call": RESULT, "server/discover": {}}
        return in_json({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})


class Pieces(httpx2.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def in_json(message: Any, status: int = 200, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=message, headers=headers)


def events(*pieces: bytes, status: int = 200, media: str = "text/event-stream") -> httpx2.Response:
    return httpx2.Response(status, headers={"content-type": media}, stream=Pieces(*pieces))


def once(method: str, answer: Callable[[dict[str, Any]], httpx2.Response]) -> Answer:
    """Answer the first message of a method so, and all others as usual."""
    left = [answer]
    return lambda message: left.pop()(message) if message["method"] == method and left else None


def opened(server: Server, mode: Any = "legacy", trace: Trace | None = None) -> Any:
    async def nobody(url: str) -> str:
        raise ProtocolError("nobody is asked")

    given: dict[str, Any] = {"open_browser": lambda url: True, "show": str, "clock": ManualClock(1_800_000_000)}
    auth = McpAuth(paste=nobody, listen=False, carrier=lambda: server, **given)
    return Session.open(URL, mode=mode, auth=auth, trace=trace, loop="current")
