"""The whole world in one object: the mocked GitHub, the MCP server, a connected session, the recorder, the clock.

    async with Lab.open(seed=7) as lab:
        await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        print(lab.trace.diagram())

Real URLs, no network: requests to github.com and api.github.com are answered in this process, any other host is
refused. The same seed gives the same bytes on every run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

import httpx
from mcp import CreateMessageResult
from mcp.client import ClientRequestContext
from mcp.server import MCPServer
from mcp_types import CreateMessageRequestParams, TextContent

from ..client.handler import OAuthHandler
from ..client.session import Sampling, Session
from ..oauth.challenge import AuthChallenge
from ..oauth.clock import ManualClock
from ..oauth.http import ClientFactory
from ..oauth.patience import Patience
from ..oauth.settings import IsolatedSettings, Settings
from ..oauth.token import Token
from ..runtime.awaitable_context import Opening
from ..server.build import build_server
from ..trace.messages import BROWSER, CLIENT, SERVER
from ..trace.recorder import Trace
from .mock_github import Autopilot, MockGitHub

#: Labs begin at this moment: 2026-01-01T00:00:00Z.
LAB_EPOCH = 1767225600.0


class Lab:
    """An authorization world of one's own. Make it with `Lab.open()`.

    Attributes:
        session: the MCP client's connection to `server`.
        server: the SDK's `MCPServer` with the guide's tools.
        oauth: the `OAuthHandler` that client and server share, as in the guide.
        github: the mocked GitHub, with its users, apps and fault knobs.
        browser: the autopilot that acts as the user's browser.
        trace: everything that crossed the wire.
        clock: stands still until advanced: `lab.clock.advance(hours=8)`.
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
        settings: dict[str, Any],
    ):
        self.seed = seed
        self.clock = ManualClock(LAB_EPOCH)
        self.trace = Trace(self.clock)
        self.github = MockGitHub(seed=seed, clock=self.clock)
        self.settings = self._settings(settings)
        self.oauth = OAuthHandler(
            settings=self.settings,
            client=self.http_client(CLIENT),
            clock=self.clock,
            # A stream of its own, so that GitHub's codes and tokens do not depend on what the client draws.
            token_bytes=random.Random(f"{seed} client").randbytes,
            # No waits between attempts: the clock stands still.
            patience=Patience(),
        )
        self.server: MCPServer = build_server(self.oauth, client=self.http_client(SERVER))
        self.browser = Autopilot(self.trace.http(self.github.transport(), sender=BROWSER), user=user)
        self._session: Session | None = None
        self._mode = mode
        self._loop = loop
        self._sampling = sampling or stand_in_model

    @classmethod
    def open(
        cls,
        seed: int = 7,
        *,
        user: str = "octocat",
        mode: Literal["auto", "legacy"] = "auto",
        sampling: Sampling | None = None,
        loop: Literal["thread", "current"] = "thread",
        **settings: Any,
    ) -> Opening[Lab]:
        """Open a lab: `lab = await Lab.open()`, or `async with Lab.open() as lab:`.

        Args:
            seed: decides every random value in it.
            user: who sits at the browser.
            mode: `auto` speaks MCP 2026-07-28, `legacy` 2025-11-25.
            sampling: the client's model; a stand-in that says what it was asked, if not given.
            loop: where the session lives; see `Session.open`.
            settings: fields of `Settings` to set otherwise, such as `oauth_scopes=("read:user", "repo")`.
        """
        lab = cls(seed, user=user, mode=mode, sampling=sampling, loop=loop, settings=settings)
        return Opening(lab._open, Lab.aclose)

    async def _open(self) -> Lab:
        # The browser is signed in to GitHub already, as most people's is: so the trace starts with the flow.
        visitor = Autopilot(self.github.transport(), user=self.browser.user)
        await visitor.sign_in()
        self.browser.cookies.update(visitor.cookies)
        self._session = await Session.open(
            self.server, mode=self._mode, sampling=self._sampling, trace=self.trace, loop=self._loop
        )
        return self

    @property
    def session(self) -> Session:
        """The MCP client's connection to the server."""
        assert self._session is not None, "a lab that was opened has a session"
        return self._session

    async def authorize(
        self, challenge: AuthChallenge | None = None, *, scopes: tuple[str, ...] | None = None, allow: bool = True
    ) -> Token:
        """Run the whole flow with the autopilot as the browser: URL, consent, callback, exchange.

        It fits `call_tool(..., authorize=lab.authorize)`.

        Args:
            challenge: the server's challenge; its scopes are used.
            scopes: ask for these instead.
            allow: False presses "Cancel" on the consent page. GitHub shows that page only for scopes that the user has
                not granted yet: in a lab that was authorized before, ask for one more.

        Raises:
            AccessDenied: the user pressed "Cancel".
        """
        wanted = scopes or (challenge.scopes if challenge is not None else ()) or None
        request = self.oauth.get_authorization_url(scopes=wanted)
        callback = await self.browser.authorize(request.url, allow=allow)
        return await self.oauth.complete_authorization(callback)

    async def aclose(self) -> None:
        """Close the session. The trace, the clock and the mock can still be looked at."""
        if self._session is not None:
            await self._session.aclose()

    def http_client(self, party: str = CLIENT) -> ClientFactory:
        """Return a maker of HTTP clients that reach only the mock, and are recorded as this party's."""
        transport = self.transport(party)
        return lambda: httpx.AsyncClient(transport=transport)

    def transport(self, party: str = CLIENT) -> httpx.AsyncBaseTransport:
        """Return an HTTP transport that reaches only the mock, and is recorded as this party's."""
        return self.trace.http(self.github.transport(), sender=party)

    def handler(self, around: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]) -> OAuthHandler:
        """Return a second handler for the same token, whose requests pass through a transport of yours.

        Args:
            around: is given the transport to the mock, and returns the one to use.
        """
        transport = around(self.transport(CLIENT))
        return OAuthHandler(
            settings=self.settings,
            client=lambda: httpx.AsyncClient(transport=transport),
            clock=self.clock,
            store=self.oauth.store,
            token_bytes=random.Random(f"{self.seed} second handler").randbytes,
            patience=Patience(),
        )

    def _settings(self, changes: dict[str, Any]) -> Settings:
        given: dict[str, Any] = {
            "oauth_client_id": self.github.client_id,
            "oauth_client_secret": self.github.client_secret,
            **changes,
        }
        return IsolatedSettings(**given)

    def __repr__(self) -> str:
        return f"Lab(seed={self.seed}, {self.clock!r}, {len(self.trace)} messages recorded)"


async def stand_in_model(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    """Answer a sampling request without a model, truthfully: say what a model would have been asked."""
    content = params.messages[-1].content
    asked = content.text.splitlines()[0] if isinstance(content, TextContent) else "something that is not text"
    text = f'(No model here.) I was asked: "{asked}" and may use {params.max_tokens} tokens.'
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text=text), model="stand-in")
