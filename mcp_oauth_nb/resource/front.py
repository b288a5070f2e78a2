"""What stands in front of every route: Host and Origin checks, and headers that protect pages."""

from __future__ import annotations

from collections.abc import Sequence

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metadata import MCP_PATH, PublicAddress

_LOOPBACK_ORIGINS = ("http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*")
# RFC 9700 section 4.16 and 4.2. A page that needs more, such as a form or a style, brings its own policy.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def transport_security(
    address: PublicAddress, hosts: Sequence[str] = (), origins: Sequence[str] = ()
) -> TransportSecuritySettings:
    """Return which `Host` and `Origin` headers are accepted: the public URL's own, and those that are named.

    Args:
        hosts: more hosts, such as the name by which a proxy calls this server; `name:*` for any port.
        origins: web pages that may call the MCP endpoint. On loopback, every page of this machine may.
    """
    allowed_hosts, allowed_origins = [address.host, *hosts], [address.url, *origins]
    if address.is_loopback:
        port = f":{address.port}" if address.port is not None else ""
        allowed_hosts += [f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        allowed_origins += _LOOPBACK_ORIGINS
    return TransportSecuritySettings(allowed_hosts=allowed_hosts, allowed_origins=allowed_origins)


class FrontDoor:
    """ASGI middleware: refuses foreign hosts on every route, foreign origins on the MCP endpoint.

    The Host check stops DNS rebinding, by which a web page elsewhere would reach a server on this machine. The
    authorization server's routes judge origins by themselves. `/health` is open to whatever name the prober uses.
    """

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings):
        self._app = app
        self._security = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and complete the headers of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(MutableHeaders(scope=message))
            await send(message)

        refusal = await self._refusal(scope)
        await (refusal or self._app)(scope, receive, complete)

    async def _refusal(self, scope: Scope) -> ASGIApp | None:
        if not scope["path"].isprintable():
            # A route's pattern also matches a path with a line end behind it; what compares paths would not.
            return PlainTextResponse("Invalid path", 400)
        if scope["path"] == "/health":
            return None
        if sum(name == b"host" for name, _ in scope["headers"]) != 1:
            # RFC 9112 section 3.2.
            return PlainTextResponse("Invalid Host header", 400)
        if scope["path"] != MCP_PATH:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"origin"]}
        return await self._security.validate_request(Request(scope))


def _protect(headers: MutableHeaders) -> None:
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if headers.get("content-type", "").startswith("text/html"):
        for name, value in _PAGE_HEADERS.items():
            headers.setdefault(name, value)
