"""Speaking an older version of MCP than the SDK's client would offer.

The SDK's handshake always offers its newest version, and goes on with what the server answers. So only the offer is
another one here: everything after it is what the SDK does with such a server.
"""

from __future__ import annotations

import json
from typing import Literal

import httpx2

#: How to speak: `auto` 2026-07-28 where the server can, `legacy` the newest version with a handshake, or an older one.
Mode = Literal["auto", "legacy", "2025-06-18", "2025-03-26"]


def session_mode(mode: Mode) -> Literal["auto", "legacy"]:
    """Return the mode of the session that speaks so."""
    return "auto" if mode == "auto" else "legacy"


def offering(mode: Mode, inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
    """Return a transport that offers an older version, if one is asked for."""
    return inner if mode in ("auto", "legacy") else _Offers(mode, inner)


class _Offers(httpx2.AsyncBaseTransport):
    def __init__(self, version: str, inner: httpx2.AsyncBaseTransport):
        self._version = version
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        if b'"initialize"' in body:
            message = json.loads(body)
            if message.get("method") == "initialize":
                message["params"]["protocolVersion"] = self._version
                headers = {name: value for name, value in request.headers.items() if name != "content-length"}
                content = json.dumps(message).encode()
                request = httpx2.Request(
                    request.method, request.url, headers=headers, content=content, extensions=request.extensions
                )
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
