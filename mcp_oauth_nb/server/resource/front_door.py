"""What stands in front of every route: Host and Origin checks, patience with bodies, headers that protect pages."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...runtime.pages import page_headers
from ..rate_limits import RETRY_SECONDS, client_address
from .limits import InService
from .metadata import MCP_PATHS, PublicAddress

#: Seconds that a request's body may take to arrive, and how many of one address may be on their way at a time. What
#: arrives within the first second does not count: hundreds of clients behind one address may begin together.
BODY_SECONDS = 30.0
PROMPT_SECONDS = 1.0
MOST_BODIES_EACH = 64

_LOOPBACK_ORIGINS = ("http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*")

# RFC 6585 section 4, RFC 9110 section 15.6.4: whoever is to come back is told when.
_COME_BACK = (429, 503)


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

    What arrives of a body costs memory before anybody knows whose it is, so one address may send a few slow ones at a
    time, and none for long.

    Args:
        security: which hosts and origins are accepted.
        body_seconds: that a body may take to arrive.
        prompt_seconds: in which a body that has arrived counts as none of the slow ones.
        most_bodies: of one address, slow and on their way at a time.
    """

    def __init__(
        self,
        app: ASGIApp,
        security: TransportSecuritySettings,
        *,
        body_seconds: float = BODY_SECONDS,
        prompt_seconds: float = PROMPT_SECONDS,
        most_bodies: int = MOST_BODIES_EACH,
    ):
        self._app = app
        self._security = TransportSecurityMiddleware(security)
        self._body_seconds = body_seconds
        self._prompt_seconds = prompt_seconds
        self._arriving = InService(most_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and complete the headers of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _protect(headers)
                if message["status"] in _COME_BACK:
                    headers.setdefault("Retry-After", str(RETRY_SECONDS))
            await send(message)

        refusal = await self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, complete)
        elif not _has_body(scope):
            await self._app(scope, receive, complete)
        else:
            await self._with_body(scope, receive, complete)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = anyio.current_time()
        is_slow = has_arrived = False

        async def before(deadline: float) -> Message | None:
            with anyio.CancelScope(deadline=deadline):
                return await receive()
            return None

        async def in_time() -> Message:
            nonlocal is_slow, has_arrived
            if has_arrived:
                # What comes now is that the client goes away, and that may take as long as it likes.
                return await receive()
            message = None if is_slow else await before(begun + self._prompt_seconds)
            if message is None and not is_slow:
                slow.enter_context(self._one_more(client_address(scope)))
                is_slow = True
            if message is None:
                message = await before(begun + self._body_seconds)
            if message is None:
                # RFC 9110 section 15.5.9.
                raise HTTPException(408, "The body did not arrive in time", headers={"Connection": "close"})
            has_arrived = not message.get("more_body", False)
            if has_arrived:
                slow.close()
            return message

        with contextlib.ExitStack() as slow:
            await self._app(scope, in_time, send)

    def _one_more(self, address: str) -> contextlib.AbstractContextManager[None]:
        if self._arriving.is_full(address):
            close = {"Connection": "close"}
            raise HTTPException(429, "Too many requests are arriving slowly from this address", headers=close)
        return self._arriving.one_more(address)

    async def _refusal(self, scope: Scope) -> ASGIApp | None:
        if not scope["path"].isprintable():
            # A route's pattern also matches a path with a line end behind it; what compares paths would not.
            return PlainTextResponse("Invalid path", 400)
        if scope["path"] == "/health":
            return None
        if sum(name == b"host" for name, _ in scope["headers"]) != 1:
            # RFC 9112 section 3.2.
            return PlainTextResponse("Invalid Host header", 400)
        if scope["path"] not in MCP_PATHS:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"origin"]}
        return await self._security.validate_request(Request(scope))


def _has_body(scope: Scope) -> bool:
    """Say whether a body may come: it is announced (RFC 9112 section 6), or this is a POST."""
    names = dict(scope["headers"])
    return scope["method"] == "POST" or b"transfer-encoding" in names or b"content-length" in names


def _protect(headers: MutableHeaders) -> None:
    headers.setdefault("X-Content-Type-Options", "nosniff")
    if headers.get("content-type", "").startswith("text/html"):
        # A page that needs more, such as a form or a style, brings its own policy.
        for name, value in page_headers().items():
            headers.setdefault(name, value)
