"""The server as a program over HTTP: the protected resource, its authorization server and, on request, a mocked GitHub.

With the mock, any MCP client can be pointed at it and walks a whole authorization, with a consent page in a real
browser, offline.

One program is one worker. Several serve one deployment if they have the same public URL, store, encryption key and
`OAUTH_*` settings, and a proxy in front that passes the `Host` header on: any of them takes the next step of what
another began. Only the sessions of MCP versions before 2026-07-28 live in one worker. The proxy keeps a session where
it is (by the `Mcp-Session-Id` header), or the workers are stateless; then there are none, and no sampling in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from ..client.loopback import listen
from ..lab.mock_github import MockGitHub
from ..oauth.errors import ConfigurationError
from ..oauth.http import ClientFactory, default_client
from ..oauth.settings import IsolatedSettings, Settings
from ..oauth.urls import LOOPBACK_HOSTS
from ..runtime.loops import ReportingThread
from ..server.authserver import AuthorizationServer, Rates
from ..server.resource import Limits, build_http_app, build_http_server, upstream_by
from ..store.shared import SharedStore, configured_url, open_store, required_key

log = logging.getLogger(__name__)

#: Seconds that an idle connection stays open: longer than clients use one (httpx: 5), so that they close it first and
#: no request meets a socket that is just being closed.
KEEP_ALIVE_SECONDS = 30

#: Seconds that open requests have to end after SIGTERM.
DRAIN_SECONDS = 3
_MOCK_DRAIN_SECONDS = 1

#: Seconds that an access token is good, unless said otherwise.
TOKEN_LIFETIME_SECONDS = 3600


@dataclass(frozen=True)
class HttpServer:
    """The application and the authorization server inside it."""

    app: Starlette
    authorization_server: AuthorizationServer


def build(
    settings: Settings,
    public_url: str,
    *,
    client: ClientFactory = default_client,
    token_lifetime: int = TOKEN_LIFETIME_SECONDS,
    store: SharedStore | None = None,
    encryption_key: bytes | None = None,
    stateless: bool = False,
) -> HttpServer:
    """Wire the tools, the check in front of them and the authorization server.

    Args:
        settings: the upstream provider, and this server's credentials there.
        public_url: where clients find it.
        client: makes the HTTP client for one request upstream.
        token_lifetime: seconds that an access token is good.
        store: where the state is; in memory if not given. The application closes it in the end.
        encryption_key: seals it; the same for all that share the store.
        stateless: keep no sessions of MCP versions before 2026-07-28.

    Raises:
        NotConfigured: the credentials are missing.
        ConfigurationError: the public URL or the key cannot work.
    """
    settings.credentials()
    store = store or open_store(None)
    authorization_server = AuthorizationServer(
        public_url,
        settings=settings,
        client=client,
        token_lifetime=token_lifetime,
        kv=store.kv,
        encryption_key=encryption_key,
        rates=Rates(storage=store.rates),
    )
    server = build_http_server(
        settings, upstream_by(authorization_server.upstream_token), client, public_url=public_url
    )
    app = build_http_app(
        public_url=public_url,
        server=server,
        verifier=authorization_server,
        authorization_server_routes=authorization_server.routes(),
        stateless=stateless,
        limits=Limits(storage=store.rates),
    )
    app.router.lifespan_context = _lifespan(app, authorization_server, store)
    return HttpServer(app, authorization_server)


def _lifespan(
    app: Starlette, authorization_server: AuthorizationServer, store: SharedStore
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    sessions = app.router.lifespan_context

    @asynccontextmanager
    async def run(app: Starlette) -> AsyncIterator[None]:
        try:
            async with authorization_server.run(), sessions(app):
                yield
        finally:
            await store.aclose()

    return run


def serve_http(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int,
    public_url: str | None,
    mock: bool,
    show: Callable[[str], object],
    token_lifetime: int = TOKEN_LIFETIME_SECONDS,
    store: str | None = None,
    stateless: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; open requests have three seconds to end.

    Args:
        settings: the upstream provider; with `mock`, only the server's name and log level count.
        host: the address to listen at; one beyond this machine needs a public URL. The mock is always on 127.0.0.1.
        port: 0 takes a free one.
        public_url: where clients find it, if a proxy stands in front.
        mock: bring a mocked GitHub up beside it.
        show: gets the lines that say what is served and how to connect.
        token_lifetime: seconds that an access token is good.
        store: where the state is, see `open_store`; `STORE_URL` if not given, or else memory.
        stateless: keep no sessions of MCP versions before 2026-07-28.

    Raises:
        NotConfigured: the credentials are missing.
        ConfigurationError: the address cannot be listened at, the public URL is missing or cannot work, the store
            cannot be used, or its encryption key is missing.
    """
    if public_url is None and host not in LOOPBACK_HOSTS:
        raise ConfigurationError(
            f"The server is to listen at {host}, and nothing says under which address clients find it.",
            hint="Add --public-url https://..., the address of the proxy in front.",
        )
    store = store or configured_url()
    key = asyncio.run(_checked(store))
    listener = listen(port, host=host)
    url = (public_url or f"http://{_bracketed(host)}:{listener.getsockname()[1]}").rstrip("/")
    with _mocked(settings, url) if mock else _as_configured(settings) as upstream:
        opened = open_store(store)
        served = build(
            upstream,
            url,
            token_lifetime=token_lifetime,
            store=opened,
            encryption_key=key,
            stateless=stateless,
        )
        if public_url is not None:
            show(f"Listens at:              http://{_bracketed(host)}:{listener.getsockname()[1]}")
        for line in instructions(url, upstream, mock=mock, store=opened.place):
            show(line)
        # A client that connects directly must not choose the address that its requests are counted under.
        _server(served.app, proxy_headers=public_url is not None).run([listener])


async def _checked(url: str | None) -> bytes | None:
    """See whether the store can be used, and return its key. The server opens its own: connections have one loop."""
    store = open_store(url)
    try:
        key = required_key(store)
        await store.check()
    finally:
        await store.aclose()
    return key


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _as_configured(settings: Settings) -> Iterator[Settings]:
    yield settings


@contextmanager
def _mocked(settings: Settings, public_url: str) -> Iterator[Settings]:
    """Run a mocked GitHub in a thread of its own, with this server registered there."""
    listener = listen(0)
    github = MockGitHub.at(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = github.register_app(settings.server_name, [f"{public_url}/oauth/callback"])
    server = _server(github.app, drain=_MOCK_DRAIN_SECONDS)

    def ended(error: BaseException | None) -> None:
        if not server.should_exit or error is not None:
            log.error("The mocked GitHub ended by itself (%s): nobody can sign in.", type(error).__name__)

    thread = ReportingThread(lambda: server.run([listener]), "mcp-oauth-nb mock", ended)
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
        thread.join(_MOCK_DRAIN_SECONDS + 1)


def _server(app: object, *, proxy_headers: bool = False, drain: int = DRAIN_SECONDS) -> uvicorn.Server:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        # Websockets are not used here, and their import warns, which may be an error.
        ws="none",
        proxy_headers=proxy_headers,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain,
    )
    return uvicorn.Server(config)


def instructions(url: str, settings: Settings, *, mock: bool, store: str = "memory") -> list[str]:
    """Return what a person needs to connect a client."""
    lines = [
        f"MCP endpoint:            {url}/mcp",
        f"Protected resource:      {url}/.well-known/oauth-protected-resource/mcp",
        f"Authorization server:    {url}/.well-known/oauth-authorization-server",
        f"Signs users in with:     {settings.oauth_authorization_url}",
        f"Keeps its state in:      {store}",
    ]
    if mock:
        lines.append("The GitHub behind it is a mock on this machine: nothing is real, choose any user.")
    else:
        lines.append(f"Register this callback with your OAuth App: {url}/oauth/callback")
    return [*lines, "", "Point an MCP client at the endpoint; it finds the rest. Press Ctrl-C to stop."]
