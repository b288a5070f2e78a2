"""The whole HTTP application: the MCP endpoint, its metadata, the authorization server's routes, `/health`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from mcp.server import MCPServer
from mcp.server.auth.provider import TokenVerifier
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ...oauth.challenge import AuthChallenge
from ...oauth.clock import Clock
from ..tools import BASE_SCOPES, PRIVATE_SCOPES, required_scopes
from .front_door import FrontDoor, transport_security
from .gate import RequiredScopes, ResourceGate
from .limits import USUAL_LIMITS, Limits
from .metadata import MCP_PATHS, PublicAddress, metadata_routes
from .sessions import Sessions

#: Seconds between two looks at the sessions that nobody uses.
_IDLE_LOOK_SECONDS = 30.0


def build_http_app(
    *,
    public_url: str,
    server: MCPServer,
    verifier: TokenVerifier,
    authorization_server_routes: Sequence[BaseRoute] = (),
    issuers: Sequence[str] | None = None,
    required_scopes: RequiredScopes = required_scopes,
    scopes_supported: Sequence[str] = (*BASE_SCOPES, *PRIVATE_SCOPES),
    challenge: AuthChallenge | None = None,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    json_response: bool = False,
    stateless: bool = False,
    sessions: Sessions | None = None,
    limits: Limits = USUAL_LIMITS,
    clock: Clock | None = None,
) -> Starlette:
    """Build the application. Its lifespan runs the server's sessions: start one application for each server.

    Args:
        public_url: where clients find it, an origin without a trailing slash; the only source of every URL sent.
        server: the tools, such as `build_http_server` makes.
        verifier: knows the tokens; its `AccessToken.resource` must be the public URL + `/mcp`.
        authorization_server_routes: served beside, if the authorization server lives here.
        issuers: the authorization servers whose tokens are accepted; the public URL if not given.
        required_scopes: says what a call needs.
        scopes_supported: all that a client may ask for.
        challenge: where to authorize; the authorization server at the public URL if not given.
        allowed_hosts: `Host` headers to accept beside the public URL's.
        allowed_origins: web pages that may call the MCP endpoint.
        json_response: answer with JSON where no stream is needed; sampling in earlier versions then fails.
        stateless: keep no sessions for versions before 2026-07-28; sampling in them then fails.
        sessions: how many there may be, and for how long; if not given, as `resource.sessions` says.
        limits: what one address may cost.
        clock: tells whether a token has expired.

    Raises:
        ConfigurationError: the public URL cannot work.
    """
    address = PublicAddress(public_url)
    security = transport_security(address, allowed_hosts, allowed_origins)
    # One that is empty, as they all are at first, is one all the same.
    given = sessions if sessions is not None else Sessions()
    kept = None if stateless else given
    # Hosts and origins are checked in front of everything, so not again inside. Nor are sessions counted there: the SDK
    # would refuse the next person, whoever opened them all.
    server.streamable_http_app(
        json_response=json_response,
        stateless_http=stateless,
        session_idle_timeout=given.idle_timeout,
        max_request_body_size=limits.body_bytes,
        max_sessions=None,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    endpoint = ResourceGate(
        StreamableHTTPASGIApp(server.session_manager),
        verifier=verifier,
        resource_url=address.resource,
        required_scopes=required_scopes,
        challenge=challenge or address.challenge(BASE_SCOPES),
        limits=limits,
        sessions=kept,
        clock=clock,
    )
    app = Starlette(
        routes=[
            # The protection wraps the endpoint itself: whatever path leads to it leads through it.
            *[Route(path, _CrossOrigin(endpoint, security)) for path in MCP_PATHS],
            *metadata_routes(address, issuers or (address.url,), scopes_supported, server.name),
            Route("/health", _health, methods=["GET"]),
            *authorization_server_routes,
        ],
        middleware=[Middleware(FrontDoor, security=security)],
        lifespan=_lifespan(server, kept),
    )
    # A redirect to the path without a slash would be built from the Host header, and drop the token.
    app.router.redirect_slashes = False
    return app


class _CrossOrigin:
    """Lets the pages of the accepted origins read the answers: the Origin check has already refused all others."""

    def __init__(self, endpoint: ResourceGate, security: TransportSecuritySettings):
        self._endpoint = endpoint
        self._for_pages = CORSMiddleware(
            endpoint,
            allow_origins=["*"] if security.allowed_origins else [],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["WWW-Authenticate", "Mcp-Session-Id", "Mcp-Protocol-Version", "Retry-After"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Most clients are no page. Nothing here is cached, so that an answer without `Vary` reaches no page either.
        from_page = any(name == b"origin" for name, _ in scope["headers"])
        await (self._for_pages if from_page else self._endpoint)(scope, receive, send)


def _lifespan(
    server: MCPServer, sessions: Sessions | None, look_seconds: float = _IDLE_LOOK_SECONDS
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(_: Starlette) -> AsyncIterator[None]:
        async with server.session_manager.run(), anyio.create_task_group() as group:
            if sessions is not None:
                group.start_soon(_end_idle, sessions, look_seconds)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    return run


async def _end_idle(sessions: Sessions, look_seconds: float) -> None:
    while True:
        await anyio.sleep(look_seconds)
        await sessions.end_idle()


async def _health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})
