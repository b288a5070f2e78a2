"""Puts the endpoints together: the web host, the API host, and who gets which request."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import pages
from .api import Api
from .authorize import Authorize
from .device import Device
from .discovery import Discovery
from .faults import Endpoint, Faults, Faulty
from .signin import SignIn
from .state import State
from .token import TokenEndpoint
from .transport import netloc


def build_app(state: State) -> ASGIApp:
    """Make the one ASGI app for both hosts."""
    web, api = urlsplit(state.web_url), urlsplit(state.api_url)
    api_routes = _spoilable(Api(state).routes(), state.faults, "api")
    mounted = Mount(api.path, routes=api_routes)
    if netloc(web.scheme, web.netloc) == netloc(api.scheme, api.netloc):
        if not api.path:
            raise ValueError("where web_url and api_url share a host, api_url needs a path of its own")
        return _Hosts({netloc(web.scheme, web.netloc): Starlette(routes=[mounted, *_web_routes(state)])})
    return _Hosts(
        {
            netloc(web.scheme, web.netloc): Starlette(routes=_web_routes(state)),
            netloc(api.scheme, api.netloc): Starlette(routes=[mounted]),
        }
    )


def _web_routes(state: State) -> list[BaseRoute]:
    device = Device(state)
    faults = state.faults
    return [
        *_spoilable(Authorize(state).routes(), faults, "authorize"),
        *_spoilable(TokenEndpoint(state, device).routes(), faults, "token"),
        *_spoilable(device.device_routes(), faults, "device"),
        *_spoilable(Discovery(state).routes(), faults, "discovery"),
        *device.page_routes(),
        *SignIn(state).routes(),
        Route("/{path:path}", _nothing_here, methods=["GET", "POST"]),
    ]


def _spoilable(routes: Sequence[Route], faults: Faults, endpoint: Endpoint) -> list[Route]:
    for route in routes:
        route.app = Faulty(route.app, faults, endpoint)
    return list(routes)


async def _nothing_here(_: Request) -> Response:
    return pages.error_page("Page not found", "This is not the web page you are looking for.", status=404)


class _Hosts:
    """Chooses the app by the Host header, and knows no others: the mock answers for its own names only."""

    def __init__(self, apps: dict[str, Starlette]):
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        app: ASGIApp | None = self._apps.get(netloc(scope["scheme"], host))
        if app is None:
            served = " and ".join(self._apps)
            app = PlainTextResponse(f"This mocked GitHub serves {served} only.\n", 421)
        await app(scope, receive, send)
