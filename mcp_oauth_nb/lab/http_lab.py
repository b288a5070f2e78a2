"""The world of authorization over HTTP in one object: the server at a public URL, its clients, a person, the recorder.

    async with HttpLab.open() as lab:
        await lab.session.call_tool("get_github_user_info")
        print(lab.trace.diagram())

The MCP server and its authorization server share `https://mcp.example`; behind them is the mocked GitHub. Real URLs,
no network: a request to any other host is refused. The same seed gives the same bytes on every run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

import httpx
from mcp.shared.auth import OAuthClientInformationFull
from starlette.applications import Starlette

from ..client.auth import McpAuth
from ..client.session import Sampling, Session
from ..client.transport import HttpTransport, TransportFactory
from ..oauth.clock import ManualClock
from ..oauth.http import ClientFactory
from ..oauth.patience import Patience
from ..oauth.settings import IsolatedSettings, Settings
from ..oauth.token import Token
from ..runtime import loops
from ..runtime.awaitable_context import Opening
from ..server.authserver import AuthorizationServer, Rates
from ..server.authserver.documents import DocumentFetcher
from ..server.resource import Limits, build_http_app, build_http_server, upstream_by
from ..store.grants import MemoryGrantStore
from ..trace.messages import AUTHORIZATION_SERVER, BROWSER, CLIENT, SERVER
from ..trace.recorder import Trace
from .lab import LAB_EPOCH, stand_in_model
from .mock_github import Autopilot, MockGitHub
from .network import ByName, Network, Network2, Person, Running, resolve

#: Where the MCP server is, and its authorization server.
PUBLIC_URL = "https://mcp.example"
#: The address of the client's metadata document, which is its id for servers that support that.
CLIENT_METADATA_URL = "https://notebook.example/client.json"
#: Where the browser is sent back to. No port is opened in a lab; any would do (RFC 8252 section 7.3).
REDIRECT_URI = "http://127.0.0.1/callback"

_CLIENT = {
    "client_name": "Notebook",
    "redirect_uris": [REDIRECT_URI],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
}
# The rate limits use the real clock, not that of the lab.
_NO_RATES = Rates(authorize=None, token=None, register=None)
_MANY_FAILURES = Limits(failures="1000000/second")


class HttpLab:
    """An authorization world over HTTP of one's own. Make it with `HttpLab.open()`.

    Attributes:
        url: the MCP endpoint, which is the resource identifier too.
        session: the MCP client's connection to it, authorized by `auth` when the server asks.
        auth: how that client authorizes: it registers itself, and keeps its tokens in memory.
        http: an HTTP client for requests by hand, recorded as the MCP client's; relative URLs are the server's.
        browser: the person; `lab.browser.allow = False` presses "Cancel".
        authorization_server: issues the tokens.
        registered_client: a client that it knows beforehand.
        client_metadata_url: where the client's metadata document is published.
        github: the mocked GitHub, with its users, apps and fault knobs.
        network: the hosts of this world; others can be added, and another server put at the public URL for a while.
        trace: everything that crossed the wire.
        clock: stands still until advanced: `lab.clock.advance(hours=1)`.
        settings: the server's configuration.
    """

    def __init__(
        self,
        seed: int,
        *,
        user: str,
        mode: Literal["auto", "legacy"],
        sampling: Sampling | None,
        loop: Literal["thread", "current"],
        token_lifetime: int,
        settings: dict[str, Any],
    ):
        self.seed = seed
        self.url = f"{PUBLIC_URL}/mcp"
        self.client_metadata_url = CLIENT_METADATA_URL
        self.clock = ManualClock(LAB_EPOCH)
        self.trace = Trace(self.clock)
        self.github = MockGitHub(seed=seed, clock=self.clock)
        self.registered_client = OAuthClientInformationFull.model_validate({"client_id": "notebook", **_CLIENT})
        self.network = Network(PUBLIC_URL, self.github)
        self.publish(CLIENT_METADATA_URL, {"client_id": CLIENT_METADATA_URL, **_CLIENT})
        self.browser = Person(self._recorded(BROWSER), self.network, user=user)
        self.http = httpx.AsyncClient(transport=self._recorded(CLIENT), base_url=PUBLIC_URL)
        self.auth = self._first_auth()
        self.settings = self._settings(settings)
        self.authorization_server = self._authorization_server(token_lifetime)
        self._app = self._application()
        self._mode = mode
        self._loop = loop
        self._sampling = sampling or stand_in_model
        self._running: Running | None = None
        self._sessions: list[Session] = []

    @classmethod
    def open(
        cls,
        seed: int = 7,
        *,
        user: str = "octocat",
        mode: Literal["auto", "legacy"] = "auto",
        sampling: Sampling | None = None,
        loop: Literal["thread", "current"] = "thread",
        token_lifetime: int = 3600,
        **settings: Any,
    ) -> Opening[HttpLab]:
        """Open a lab: `lab = await HttpLab.open()`, or `async with HttpLab.open() as lab:`.

        Args:
            seed: decides every random value in it.
            user: who sits at the browser.
            mode: what `session` speaks: `auto` MCP 2026-07-28, `legacy` 2025-11-25.
            sampling: the client's model; a stand-in that says what it was asked, if not given.
            loop: where server and sessions live; see `Session.open`.
            token_lifetime: seconds that an access token is good.
            settings: fields of `Settings` to set otherwise.
        """
        lab = cls(
            seed,
            user=user,
            mode=mode,
            sampling=sampling,
            loop=loop,
            token_lifetime=token_lifetime,
            settings=settings,
        )
        return Opening(lab._open, HttpLab.aclose)

    async def _open(self) -> HttpLab:
        # The browser is signed in to GitHub already, as most people's is: so the trace starts with the flow.
        visitor = Autopilot(self.github.transport(), user=self.browser.user)
        await visitor.sign_in()
        self.browser.cookies.update(visitor.cookies)
        home = asyncio.get_running_loop() if self._loop == "current" else loops.loop()
        self._running = Running(self._app, home)
        await self._running.start()
        # A cell that is run again replaces the lab of the first time.
        weakref.finalize(self, self._running.stop_soon).atexit = False
        self.network.serve(self._app, home)
        await self.connect()
        return self

    @property
    def session(self) -> Session:
        """The MCP client's connection that the lab was opened with."""
        assert self._sessions, "a lab that was opened has a session"
        return self._sessions[0]

    async def connect(
        self, *, mode: Literal["auto", "legacy"] | None = None, auth: McpAuth | Literal[False] | None = None
    ) -> Session:
        """Open one more session; the lab closes it.

        Args:
            mode: the lab's own if not given.
            auth: how it authorizes: `lab.auth` if not given; False for a client that cannot.
        """
        auth = self.auth if auth is None else auth
        session = await Session.open(
            self.url if auth else HttpTransport(self.url, carrier=self._carrier()),
            mode=mode or self._mode,
            sampling=self._sampling,
            auth=auth,
            loop=self._loop,
        )
        self._sessions.append(session)
        return session

    def new_auth(self, **changes: Any) -> McpAuth:
        """Return how another client authorizes, one that has no token yet.

        Args:
            changes: attributes of `McpAuth` to set otherwise, such as `client=lab.registered_client` or
                `client_metadata_url=lab.client_metadata_url`.
        """
        return dataclasses.replace(self.auth, **{"store": MemoryGrantStore(), "patience": Patience(), **changes})

    def publish(self, url: str, document: dict[str, Any]) -> None:
        """Put a JSON document at a URL of another web site, such as a client's metadata document."""
        self.network.documents[url] = document

    @property
    def token(self) -> Token | None:
        """The token that `lab.auth` has for the server now."""
        grants = self.auth.store.entries().values()
        return next((grant.token for grant in grants if grant.resource == self.url), None)

    async def aclose(self) -> None:
        """Close the sessions and stop the server. The trace, the clock and the mock can still be looked at."""
        async with AsyncExitStack() as closing:
            # All are closed, the last first, even if closing one of them fails.
            if self._running is not None:
                closing.push_async_callback(self._running.stop)
            closing.push_async_callback(self.http.aclose)
            for session in reversed(self._sessions):
                closing.push_async_callback(session.aclose)

    def http_client(self, party: str = CLIENT) -> ClientFactory:
        """Return a maker of HTTP clients that reach only the hosts of this lab, and are recorded as this party's."""
        transport = self._recorded(party)
        return lambda: httpx.AsyncClient(transport=transport)

    def __repr__(self) -> str:
        return f"HttpLab({PUBLIC_URL}, seed={self.seed}, {self.clock!r}, {len(self.trace)} messages recorded)"

    # -- the parts -----------------------------------------------------------------------------------------------

    def _recorded(self, party: str) -> httpx.AsyncBaseTransport:
        return self.trace.http(self.network, sender=party, receiver=self.network.party)

    def _carrier(self) -> TransportFactory:
        trace, network = self.trace, self.network
        return lambda: trace.http2(Network2(network), receiver=network.party)

    def _random(self, whose: str) -> Callable[[int], bytes]:
        # A stream for each party, so that what one draws does not depend on the others.
        return random.Random(f"{self.seed} http {whose}").randbytes

    def _first_auth(self) -> McpAuth:
        return McpAuth(
            client_name="Notebook",
            redirect_uri=REDIRECT_URI,
            paste=self.browser.authorize,
            show=lambda text: None,
            open_browser=lambda url: True,
            listen=False,
            clock=self.clock,
            carrier=self._carrier(),
            token_bytes=self._random("client"),
            resolver=resolve,
            hub=lambda: None,
            # No waits between attempts: the clock stands still.
            patience=Patience(),
        )

    def _settings(self, changes: dict[str, Any]) -> Settings:
        app = self.github.register_app("MCP server", [f"{PUBLIC_URL}/oauth/callback"])
        given: dict[str, Any] = {"oauth_client_id": app.client_id, "oauth_client_secret": app.client_secret}
        return IsolatedSettings(**{**given, **changes})

    def _authorization_server(self, token_lifetime: int) -> AuthorizationServer:
        documents = ByName(self._recorded(AUTHORIZATION_SERVER))
        return AuthorizationServer(
            PUBLIC_URL,
            settings=self.settings,
            client=self.http_client(AUTHORIZATION_SERVER),
            clock=self.clock,
            encryption_key=self._random("encryption")(32),
            clients=(self.registered_client,),
            token_lifetime=token_lifetime,
            token_bytes=self._random("authorization server"),
            document_client=DocumentFetcher(lambda: httpx.AsyncClient(transport=documents), resolve),
            rates=_NO_RATES,
        )

    def _application(self) -> Starlette:
        tools = build_http_server(
            self.settings,
            upstream_by(self.authorization_server.upstream_token),
            self.http_client(SERVER),
            public_url=PUBLIC_URL,
            clock=self.clock,
        )
        return build_http_app(
            public_url=PUBLIC_URL,
            server=tools,
            verifier=self.authorization_server,
            authorization_server_routes=self.authorization_server.routes(),
            # A stream does not fit into an exchange that is recorded as a whole, nor a session into many loops.
            json_response=True,
            stateless=True,
            limits=_MANY_FAILURES,
            clock=self.clock,
        )
