"""The server as a program over HTTP: the protected resource, its authorization server and, on request, a mocked GitHub.

With the mock, any MCP client can be pointed at it and walks a whole authorization, with a consent page in a real
browser, offline.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from .authserver import AuthorizationServer
from .config import IsolatedSettings, Settings
from .http import ClientFactory, default_client
from .loopback import listen
from .mock_github import MockGitHub
from .resource import build_http_app, build_http_server, upstream_by

log = logging.getLogger(__name__)

#: Seconds that open requests have to end after SIGTERM.
DRAIN_SECONDS = 3


@dataclass(frozen=True)
class HttpServer:
    """The application and the authorization server inside it."""

    app: Starlette
    authorization_server: AuthorizationServer


def build(settings: Settings, public_url: str, *, client: ClientFactory = default_client) -> HttpServer:
    """Wire the tools, the check in front of them and the authorization server.

    Args:
        settings: the upstream provider, and this server's credentials there.
        public_url: where clients find it.
        client: makes the HTTP client for one request upstream.

    Raises:
        NotConfigured: the credentials are missing.
        ConfigurationError: the public URL cannot work.
    """
    settings.credentials()
    authorization_server = AuthorizationServer(public_url, settings=settings, client=client)
    server = build_http_server(
        settings, upstream_by(authorization_server.upstream_token), client, public_url=public_url
    )
    app = build_http_app(
        public_url=public_url,
        server=server,
        verifier=authorization_server,
        authorization_server_routes=authorization_server.routes(),
    )
    return HttpServer(app, authorization_server)


def serve_http(
    settings: Settings, *, port: int, public_url: str | None, mock: bool, show: Callable[[str], object]
) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM; open requests have three seconds to end.

    Args:
        settings: the upstream provider; with `mock`, only the server's name and log level count.
        port: 0 takes a free one.
        public_url: where clients find it, if a proxy stands in front.
        mock: bring a mocked GitHub up beside it.
        show: gets the lines that say what is served and how to connect.

    Raises:
        NotConfigured: the credentials are missing.
        ConfigurationError: the port is taken, or the public URL cannot work.
    """
    listener = listen(port)
    url = (public_url or f"http://127.0.0.1:{listener.getsockname()[1]}").rstrip("/")
    with _mocked(settings, url) if mock else _as_configured(settings) as upstream:
        served = build(upstream, url)
        for line in instructions(url, upstream, mock=mock):
            show(line)
        _server(served.app).run([listener])


@contextmanager
def _as_configured(settings: Settings) -> Iterator[Settings]:
    yield settings


@contextmanager
def _mocked(settings: Settings, public_url: str) -> Iterator[Settings]:
    """Run a mocked GitHub in a thread of its own, with this server registered there."""
    listener = listen(0)
    github = MockGitHub.at(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = github.register_app(settings.server_name, [f"{public_url}/oauth/callback"])
    server = _server(github.app)
    thread = threading.Thread(target=server.run, args=([listener],), name="mcp-oauth-nb mock", daemon=True)
    thread.start()
    try:
        yield IsolatedSettings(
            oauth_client_id=app.client_id,
            oauth_client_secret=app.client_secret,
            oauth_authorization_url=f"{github.web_url}/login/oauth/authorize",
            oauth_token_url=f"{github.web_url}/login/oauth/access_token",
            oauth_issuer=github.issuer,
            api_base_url=github.api_url,
            server_name=settings.server_name,
            server_version=settings.server_version,
            log_level=settings.log_level,
        )
    finally:
        server.should_exit = True
        thread.join(DRAIN_SECONDS + 1)


def _server(app: object) -> uvicorn.Server:
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS)  # type: ignore[arg-type]
    return uvicorn.Server(config)


def instructions(url: str, settings: Settings, *, mock: bool) -> list[str]:
    """Return what a person needs to connect a client."""
    lines = [
        f"MCP endpoint:            {url}/mcp",
        f"Protected resource:      {url}/.well-known/oauth-protected-resource/mcp",
        f"Authorization server:    {url}/.well-known/oauth-authorization-server",
        f"Signs users in with:     {settings.oauth_authorization_url}",
    ]
    if mock:
        lines.append("The GitHub behind it is a mock on this machine: nothing is real, choose any user.")
    else:
        lines.append(f"Register this callback with your OAuth App: {url}/oauth/callback")
    return [*lines, "", "Point an MCP client at the endpoint; it finds the rest. Press Ctrl-C to stop."]
