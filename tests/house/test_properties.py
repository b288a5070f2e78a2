"""What is always true of both clients, whatever happens in whatever order, with two processes on one store.

- At most one refresh token of a family is good.
- No secret is in any output: logs at DEBUG, reprs, whole tracebacks, the recording.
- Code, verifier, client secret and refresh token go to the endpoints of the recorded issuer only, and the access token
  to its resource only.
- Retries are bounded: of requests, of refreshes, of questions to the person. And who was lost finds the way back.

The servers are this package's own: the mocked GitHub, and the MCP server with its authorization server. `-m security`
runs the same for longer, with other seeds each time, and with processes that really are some.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from keyrings import Crash
from pydantic import AnyHttpUrl
from watching import Watch

from mcp_oauth_nb import HttpLab, ManualClock
from mcp_oauth_nb.client.github import GitHubClient
from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.client.retrying import PatientTransport
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.errors import McpOAuthError, ReauthorizeError
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import FileGrantStore
from mcp_oauth_nb.store.tokens import FileTokenStore

T = TypeVar("T")

QUICK = settings(
    deadline=None,
    derandomize=True,
    database=None,
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, derandomize=False, print_blob=True, stateful_step_count=50)

EVIL = "https://evil.example"
#: What can come in place of the token endpoint's answer: status, headers, body. None is a connection that is reset.
SPOILS: dict[str, tuple[int, dict[str, str], str] | None] = {
    "503": (503, {}, ""),
    "429": (429, {"retry-after": "5"}, ""),
    "reset": None,
    "html": (200, {"content-type": "text/html"}, "<h1>Sign in</h1>"),
    "half": (200, {"content-type": "application/json"}, '{"access_token": "abc'),
    "refused": (400, {"content-type": "application/json"}, '{"error": "invalid_grant"}'),
    "redirect": (307, {"location": f"{EVIL}/token"}, ""),
}
spoils = st.lists(st.sampled_from(sorted(SPOILS)), max_size=3)
processes = st.integers(0, 1)


class ShiftedClock(ManualClock):
    """A clock that is set, by the person or by a time server, forwards and back."""

    def set(self, seconds: float) -> None:
        self._now += seconds


class MortalStore:
    """A mixin: the process dies while the store writes, when nothing is written yet."""

    dies = False

    def _put(self, document: dict[str, Any]) -> None:
        if self.dies:
            raise Crash
        super()._put(document)  # type: ignore[misc]


class MortalTokenStore(MortalStore, FileTokenStore):
    pass


class MortalGrantStore(MortalStore, FileGrantStore):
    pass


class Life(RuleBasedStateMachine):
    """What both lives have: two processes, a store, a person, clocks, and somebody who watches.

    Attributes:
        spoiled: the answers of the token endpoint that are spoiled next.
        lost: a spoiled request does its work all the same.
    """

    def begin(self, *loggers: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "store.json"
        self.watch = Watch(*loggers)
        self.watch.begin()
        self.spoiled: list[str] = []
        self.lost = False

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.spoiled.clear()
            self.finish()
        finally:
            self.watch.end()
            self.loop.close()
            self.directory.cleanup()

    def finish(self) -> None:
        raise NotImplementedError

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def outcome(self, call: Callable[[], Coroutine[Any, Any, Any]], **most: int) -> McpOAuthError | None:
        """Make a call and look at its requests; return the error that it ended with.

        Args:
            most: how often each place, named by the end of its path, may be asked.
        """
        before = len(self.watch.requests)
        error = None
        try:
            self.watch.shows(self.run(call()))
        except McpOAuthError as caught:
            error = caught
            self.watch.shows(caught, caught.hint)
        sent = [request for request in self.watch.requests[before:] if "/.well-known/" not in request]
        counted = Counter(request.rpartition("/")[2] for request in sent)
        for name, limit in most.items():
            assert counted[name] <= limit, f"{counted} in one call"
        return error

    async def answer(
        self, forward: Callable[[], Awaitable[tuple[int, Any, bytes]]], reset: Exception
    ) -> tuple[int, Any, bytes]:
        """Answer a request to the token endpoint, or spoil it."""
        name = self.spoiled.pop(0) if self.spoiled else None
        if name is None:
            return await forward()
        if self.lost:
            await forward()
        spoil = SPOILS[name]
        if spoil is None:
            raise reset
        status, headers, body = spoil
        return status, headers, body.encode()


# -- the handler, with GitHub ------------------------------------------------------------------------------------------

WEB, API = "https://github.com", "https://api.github.com"
TOKEN_URL = f"{WEB}/login/oauth/access_token"


class WatchedGitHub(httpx.AsyncBaseTransport):
    """The way from the handler to GitHub."""

    def __init__(self, life: HandlerLife):
        self.life = life
        self.inner = life.github.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, body = str(request.url), await request.aread()
        self.life.watch.request(request.method, url, request.headers.multi_items(), body)
        if not url.startswith((WEB, API)):
            return httpx.Response(200, json={"thank": "you"})

        async def forward() -> tuple[int, Any, bytes]:
            answer = await self.inner.handle_async_request(request)
            content = await answer.aread()
            if url == TOKEN_URL:
                self.life.learn(content)
            if "/.well-known/oauth-authorization-server" in url:
                # The clients of this life have secrets, so that these too are looked after.
                return _json({**json.loads(content), "token_endpoint_auth_methods_supported": ["client_secret_post"]})
            return answer.status_code, answer.headers.multi_items(), content

        reset = httpx.ReadError("reset", request=request)
        done = self.life.answer(forward, reset) if url == TOKEN_URL else forward()
        status, headers, content = await done
        return httpx.Response(status, headers=headers, content=content)


class HandlerLife(Life):
    """Two processes with an `OAuthHandler` each, and a tool that reads GitHub's API."""

    @initialize(reuse_revokes=st.booleans())
    def world(self, reuse_revokes: bool) -> None:
        self.begin("mcp_oauth_nb", "httpx")
        self.server_clock, self.clock = ManualClock(1_700_000_000.0), ShiftedClock(1_700_000_000.0)
        self.github = MockGitHub(clock=self.server_clock)
        self.github.knobs.refresh_reuse_revokes = reuse_revokes
        self.github.knobs.tokens_per_hour = None
        self.browser = Autopilot(self.github.transport())
        self.settings = IsolatedSettings(
            oauth_client_id=self.github.client_id, oauth_client_secret=self.github.client_secret
        )
        self.watch.client(self.github.client_id, self.github.client_secret, *self.credentials)
        self.token_bytes = self.watch.drawing(random.Random(7).randbytes)
        self.wire = WatchedGitHub(self)
        self.stores = [MortalTokenStore(self.path) for _ in range(2)]
        self.handlers = [self.handler(store) for store in self.stores]

    @property
    def credentials(self) -> tuple[str, ...]:
        """The endpoints of the issuer, revocation too."""
        return (TOKEN_URL, f"{API}/applications/{self.github.client_id}/token")

    def learn(self, content: bytes) -> None:
        self.watch.tokens(content, credentials=self.credentials, access=(f"{API}/user",))

    def handler(self, store: FileTokenStore) -> OAuthHandler:
        client = lambda: httpx.AsyncClient(transport=self.wire)  # noqa: E731
        given = {"client": client, "clock": self.clock, "store": store, "token_bytes": self.token_bytes}
        return OAuthHandler(settings=self.settings, patience=Patience(), **given)

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.stores[process] = MortalTokenStore(self.path)
        self.handlers[process] = self.handler(self.stores[process])

    @rule(hours=st.sampled_from([0.01, 1.0, 7.99, 8.0, 1000.0]))
    def wait(self, hours: float) -> None:
        self.server_clock.advance(hours=hours)
        self.clock.advance(hours=hours)

    @rule(hours=st.sampled_from([-100.0, -8.0, -0.1, 0.1, 8.0, 100.0]))
    def set_the_clock(self, hours: float) -> None:
        self.clock.set(3600 * hours)

    @rule(lifetime=st.sampled_from([1, 59, 28800]), process=processes)
    def sign_in(self, lifetime: int, process: int) -> None:
        self.github.knobs.access_token_lifetime = lifetime
        handler = self.handlers[process]
        # Somebody signs in when the time has come that a server named.
        self.wait(0.01)

        async def flow() -> None:
            url = handler.get_authorization_url().url
            self.watch.sent_to(url, TOKEN_URL)
            # A browser has what is in the address, and its log, too.
            self.watch.end()
            callback = await self.browser.authorize(url)
            self.watch.begin()
            self.watch.may_go(parse_qs(urlsplit(callback).query)["code"][0], TOKEN_URL)
            await handler.complete_authorization(callback)

        assert self.outcome(flow, access_token=1) is None

    @rule(process=processes, spoils=spoils, lost=st.booleans())
    def use(self, process: int, spoils: list[str], lost: bool) -> None:
        """A tool reads the API."""
        self.spoiled[:], self.lost = spoils, lost
        handler = self.handlers[process]
        before = handler.token
        error = self.outcome(lambda: self.read_api(handler), access_token=4, user=2)
        self.spoiled.clear()
        if error is not None and error.kind == "reauthorize":
            # It ends there: the next call asks the user, and not the provider again.
            assert not self.asks_the_provider(handler)
        elif error is not None:
            assert handler.token == before, "a bad day costs no token"

    def asks_the_provider(self, handler: OAuthHandler) -> bool:
        if handler.is_authenticated():
            return False  # the other process has signed in
        sent = len(self.watch.requests)
        with pytest.raises(ReauthorizeError):
            self.run(handler.access_token_for_request())
        return len(self.watch.requests) > sent

    async def read_api(self, handler: OAuthHandler) -> Any:
        client = lambda: httpx.AsyncClient(transport=self.wire)  # noqa: E731
        return await GitHubClient(handler, base_url=API, timeout=30, client=client, clock=self.clock).user()

    @rule(forced=st.booleans())
    def use_at_once(self, forced: bool) -> None:
        """Both processes refresh at the same moment."""
        calls = [
            handler.refresh_access_token() if forced else self.read_api(handler)
            for handler in self.handlers
            if handler.refresh_token is not None
        ]

        async def together() -> None:
            for result in await asyncio.gather(*calls, return_exceptions=True):
                self.watch.shows(result)
                assert not isinstance(result, BaseException) or isinstance(result, McpOAuthError)

        self.outcome(together, access_token=2)

    @rule(process=processes)
    def crash(self, process: int) -> None:
        """The process dies between the provider's answer and the store; the next one knows what the store has."""
        handler = self.handlers[process]
        self.stores[process].dies = True
        if handler.refresh_token is not None:
            try:
                self.outcome(handler.refresh_access_token)
            except Crash:
                self.watch.shows("it crashed")
        self.restart(process)

    @rule(process=processes, told=st.booleans())
    def sign_out(self, process: int, told: bool) -> None:
        if told:
            self.outcome(self.handlers[process].revoke)
        else:
            self.handlers[process].token = None
        assert self.handlers[process].token is None

    @rule()
    def revoke_elsewhere(self) -> None:
        """The user revokes what the app has, on GitHub's page."""
        for token in self.github._state.ledger.tokens():
            self.github.revoke_token(token.access_token)

    @invariant()
    def one_refresh_token_of_a_family_is_good(self) -> None:
        if hasattr(self, "github"):
            now = self.server_clock.now()
            good = [token for token in self.github._state.ledger.tokens() if token.can_refresh(now)]
            assert all(count == 1 for count in Counter(token.family for token in good).values())

    @invariant()
    def nothing_is_shown_or_sent_where_it_should_not(self) -> None:
        if hasattr(self, "handlers"):
            self.watch.shows(*self.handlers, *self.stores, *(handler.token for handler in self.handlers))
            self.watch.check(*self.github.issued_secrets())

    @invariant()
    def both_processes_know_what_is_stored(self) -> None:
        if hasattr(self, "handlers"):
            assert self.handlers[0].token == self.handlers[1].token == FileTokenStore(self.path).load(self.key)

    @property
    def key(self) -> Any:
        return self.handlers[0]._key

    def finish(self) -> None:
        """Whatever happened: one sign-in, and both processes work."""
        self.sign_in(28800, 0)
        for handler in self.handlers:
            self.run(self.read_api(handler))
        self.nothing_is_shown_or_sent_where_it_should_not()


class TestHandler(HandlerLife.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(QUICK, max_examples=25)


@pytest.mark.security
@pytest.mark.timeout(900)
class TestHandlerForLong(HandlerLife.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(LONG, max_examples=400)


# -- the MCP client over HTTP ------------------------------------------------------------------------------------------

ISSUER, MCP = "https://mcp.example", "https://mcp.example/mcp"
PRM = f"{ISSUER}/.well-known/oauth-protected-resource/mcp"
CREDENTIALS = (f"{ISSUER}/token", f"{ISSUER}/revoke")
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "get_github_user_info", "arguments": {"include_repos": False}},
}
ACCEPTED = {"accept": "application/json, text/event-stream"}


class WatchedNetwork(httpx2.AsyncBaseTransport):
    """The way from the MCP client to the servers: to the good one, and to the evil one that wants its credentials."""

    def __init__(self, life: HttpLife):
        self.life = life
        self.inner = life.lab.auth.carrier()  # type: ignore[misc]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url, body = str(request.url), await request.aread()
        for _ in range(self.life.delays.pop() if self.life.delays else 0):
            await asyncio.sleep(0)
        self.life.watch.request(request.method, url, request.headers.multi_items(), body)
        status, headers, content = await self._answer(request, url)
        for _ in range(self.life.delays.pop() if self.life.delays else 0):
            await asyncio.sleep(0)
        return httpx2.Response(status, headers=headers, content=content)

    async def _answer(self, request: httpx2.Request, url: str) -> tuple[int, Any, bytes]:
        if url.startswith(EVIL):
            self.life.heard += unquote(f"{request.headers.multi_items()}{(await request.aread()).decode()}")
            status, headers, content = self._evil(url)
            self.life.watch.tokens(content, credentials=(f"{EVIL}/token",), access=(MCP,))
            return status, headers, content

        async def forward() -> tuple[int, Any, bytes]:
            answer = await self.inner.handle_async_request(request)
            content = await answer.aread()
            if url in (f"{ISSUER}/token", f"{ISSUER}/register"):
                self.life.learn(content)
            if "/.well-known/oauth-authorization-server" in url:
                # The clients of this life have secrets, so that these too are looked after.
                return _json({**json.loads(content), "token_endpoint_auth_methods_supported": ["client_secret_post"]})
            return answer.status_code, answer.headers.multi_items(), content

        if url == f"{ISSUER}/token":
            return await self.life.answer(forward, httpx2.ReadError("reset"))
        if self.life.rejects and url == MCP:
            return 401, {"www-authenticate": f'Bearer resource_metadata="{PRM}"'}, b""
        if self.life.evil and "oauth-protected-resource" in url:
            return _json({"resource": MCP, "authorization_servers": [EVIL]})
        return await forward()

    def _evil(self, url: str) -> tuple[int, Any, bytes]:
        if "/.well-known/" in url:
            places = {f"{name}_endpoint": f"{EVIL}/{name}" for name in ("authorization", "token", "registration")}
            return _json({"issuer": EVIL, "code_challenge_methods_supported": self.life.evil_methods, **places})
        if url == f"{EVIL}/registration":
            secret = {"client_secret": "an-evil-secret", "token_endpoint_auth_method": "client_secret_basic"}
            return _json({"client_id": "evil-client", "redirect_uris": ["http://127.0.0.1/callback"], **secret}, 201)
        token = {"access_token": "an-evil-access-token", "refresh_token": "an-evil-refresh-token"}
        return _json({**token, "token_type": "Bearer", "expires_in": 3600})


def _json(value: Any, status: int = 200) -> tuple[int, Any, bytes]:
    answer = httpx2.Response(status, json=value)
    return status, answer.headers.multi_items(), answer.content


async def open_lab() -> HttpLab:
    return await HttpLab.open(loop="current")


class HttpLife(Life):
    """Two processes with one file of grants, and an MCP server that somebody tampers with now and then.

    Attributes:
        heard: what was sent to the evil authorization server.
    """

    @initialize()
    def world(self) -> None:
        # Not httpx: it is the person's browser here, and logs where that goes.
        self.begin("mcp_oauth_nb", "mcp", "httpx2")
        self.lab = self.run(open_lab())
        self.clock = ShiftedClock(self.lab.clock.now())
        self.evil = self.declines = self.rejects = False
        self.questions = 0
        self.delays: list[int] = []
        self.evil_methods = ["S256"]
        self.heard = ""
        self.token_bytes = self.watch.drawing(self.lab.auth.token_bytes)
        self.wire = WatchedNetwork(self)
        self.stores = [MortalGrantStore(self.path) for _ in range(2)]
        self.auths: list[Any] = [None, None]
        self.providers: list[Any] = [None, None]
        for process in range(2):
            self.restart(process)

    def learn(self, content: bytes) -> None:
        self.watch.tokens(content, credentials=CREDENTIALS, access=(MCP,))

    async def person(self, url: str) -> str:
        """Go where the client sends them, and come back."""
        endpoint = url.partition("?")[0].rpartition("/")[0]
        self.watch.sent_to(url, f"{endpoint}/token")
        self.questions += 1
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if endpoint == EVIL and self.declines:
            return (
                f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state'], 'iss': EVIL})}"
            )
        if endpoint == EVIL:
            self.watch.may_go("evil-code", f"{EVIL}/token")
            return f"{asked['redirect_uri']}?{urlencode({'code': 'evil-code', 'state': asked['state'], 'iss': EVIL})}"
        self.lab.browser.allow = not self.declines
        callback = await self.lab.browser.authorize(url)
        code = parse_qs(urlsplit(callback).query).get("code", [None])[0]
        self.watch.may_go(code, f"{ISSUER}/token")
        return callback

    async def call(self, process: int) -> int:
        transport = PatientTransport(self.wire, pause=lambda failed: 0)
        async with httpx2.AsyncClient(auth=self.providers[process], transport=transport) as client:
            return (await client.post(MCP, json=CALL, headers=ACCEPTED)).status_code

    @rule(process=processes)
    def restart(self, process: int) -> None:
        """The process dies; the next one knows only what the store has."""
        self.stores[process] = MortalGrantStore(self.path)
        self.auths[process] = replace(
            self.lab.auth,
            store=self.stores[process],
            clock=self.clock,
            paste=self.person,
            carrier=None,
            token_bytes=self.token_bytes,
            patience=Patience(),
        )
        self.providers[process] = self.auths[process].provider(MCP)

    @rule(hours=st.sampled_from([0.01, 0.99, 1.0, 1000.0]))
    def wait(self, hours: float) -> None:
        self.lab.clock.advance(hours=hours)
        self.clock.advance(hours=hours)

    @rule(hours=st.sampled_from([-100.0, -1.0, -0.1, 0.1, 1.0, 100.0]))
    def set_the_clock(self, hours: float) -> None:
        self.clock.set(3600 * hours)

    @rule(evil=st.booleans(), declines=st.booleans(), rejects=st.booleans())
    def change_the_world(self, evil: bool = False, declines: bool = False, rejects: bool = False) -> None:
        """The MCP server names an evil authorization server; the person says no; the server takes no token at all."""
        self.evil, self.declines, self.rejects = evil, declines, rejects

    @rule(process=processes, spoils=spoils, lost=st.booleans())
    def use(self, process: int, spoils: list[str], lost: bool) -> None:
        self.spoiled[:], self.lost = spoils, lost
        self.questions = 0
        before = self.grants()
        error = self.outcome(lambda: self.call(process), token=4, mcp=5, registration=1, register=1)
        self.spoiled.clear()
        assert self.questions <= 1
        if error is not None and error.kind == "transient" and self.questions == 0:
            assert self.grants() == before, "a bad day costs no token"

    def grants(self) -> Any:
        return FileGrantStore(self.path).entries()

    @rule(
        calls=st.lists(processes, min_size=2, max_size=4),
        delays=st.lists(st.integers(0, 30), max_size=20),
        spoils=spoils,
    )
    def use_at_once(self, calls: list[int], delays: list[int], spoils: list[str]) -> None:
        """Several calls at the same moment, of one process or both, on a network that takes its time."""
        self.questions, self.delays, self.spoiled[:] = 0, delays, spoils

        async def together() -> None:
            for result in await asyncio.gather(*map(self.call, calls), return_exceptions=True):
                self.watch.shows(result)
                assert not isinstance(result, BaseException) or isinstance(result, McpOAuthError), repr(result)

        many = len(calls)
        self.outcome(together, token=4 * many, mcp=5 * many, register=many, registration=many)
        self.delays, self.spoiled[:] = [], []
        assert self.questions <= many

    @rule(process=processes)
    def crash(self, process: int) -> None:
        """The process dies between the server's answer and the store; the next one knows what the store has."""
        self.lab.clock.advance(hours=1)
        self.clock.advance(hours=1)
        self.stores[process].dies = True
        try:
            self.outcome(lambda: self.call(process))
        except Crash:
            self.watch.shows("it crashed")
        self.restart(process)

    @rule(process=processes)
    def sign_out(self, process: int) -> None:
        self.auths[process].forget(MCP)
        assert self.grants() == {}

    @rule()
    def revoke_elsewhere(self) -> None:
        """Somebody ends every grant at the server."""
        self.run(self._revoke())

    async def _revoke(self) -> None:
        for family in [family async for _, family in self.families()]:
            await self.lab.authorization_server._grants.end(family)

    async def families(self) -> Any:
        """Every refresh token that is good, and its family."""
        grants = self.lab.authorization_server._grants
        for secret in list(self.watch.secrets):
            stored = await grants.vault.get("refresh", secret)
            if stored is not None and await grants.is_alive(stored["family"]):
                yield secret, stored["family"]

    @invariant()
    def one_refresh_token_of_a_family_is_good(self) -> None:
        async def count() -> Counter[str]:
            return Counter([family async for _, family in self.families()])

        if hasattr(self, "auths"):
            assert all(number == 1 for number in self.run(count()).values())

    @invariant()
    def nothing_is_shown_or_sent_where_it_should_not(self) -> None:
        if hasattr(self, "auths"):
            self.watch.shows(*self.stores, *self.auths, *self.providers, self.grants())
            self.watch.check(*self.lab.github.issued_secrets())

    def finish(self) -> None:
        """Whatever happened: once the world is well again, one more call at most fails, and then both work."""
        self.change_the_world()
        self.wait(0.01)
        for process in range(2):
            self.outcome(lambda process=process: self.call(process))
            assert self.run(self.call(process)) == 200
        self.watch.shows(*self.lab.trace.exchanges, self.lab.trace.diagram())
        self.nothing_is_shown_or_sent_where_it_should_not()
        self.run(self.lab.aclose())


class TestHttp(HttpLife.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(QUICK, max_examples=8)


@pytest.mark.security
@pytest.mark.timeout(900)
class TestHttpForLong(HttpLife.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(LONG, max_examples=150)


# -- what was found so -------------------------------------------------------------------------------------------------


@pytest.fixture
def life() -> Iterator[HttpLife]:
    """A life that a test leads."""
    life = HttpLife()
    life.world()
    yield life
    life.teardown()


def test_a_token_that_another_process_got_is_refreshed_where_that_process_got_it(life: HttpLife) -> None:
    life.change_the_world(evil=True)
    life.use(0, [], False)
    life.sign_out(1)
    life.change_the_world()
    life.use(1, [], False)
    # Process 0 still has what it knows of the evil server. The token that it finds in the store is not for that one.
    life.use(0, [], False)
    life.wait(1.0)
    life.use(0, [], False)
    life.nothing_is_shown_or_sent_where_it_should_not()


@pytest.mark.parametrize("methods", [["S256"], ["plain"]], ids=["asks the person", "refused at once"])
def test_a_discovery_that_led_elsewhere_does_not_move_the_token_that_is_there(
    life: HttpLife, methods: list[str]
) -> None:
    life.evil_methods = methods
    life.use(0, [], False)
    life.change_the_world(evil=True, declines=True, rejects=True)
    life.use(0, [], False)
    life.change_the_world()
    life.wait(1.0)
    life.use(0, [], False)
    life.nothing_is_shown_or_sent_where_it_should_not()


def test_whichever_secret_goes_to_somebody_else_is_noticed(life: HttpLife) -> None:
    life.use(0, [], False)
    (grant,) = life.grants().values()
    kept = {grant.client.client_secret, grant.token.access_token, grant.token.refresh_token}
    assert None not in kept
    assert kept <= set(life.watch.secrets)
    # The client's secret in its other form too; and code, verifier and state.
    assert len(life.watch.secrets) == len(kept) + 4
    for secret in list(life.watch.secrets):
        life.watch.request("POST", f"{EVIL}/token", [], urlencode({"any": secret}).encode())
        with pytest.raises(AssertionError, match=r"was sent to https://evil\.example/token"):
            life.watch.check()
        life.watch.wrong.clear()
        life.watch.shows(f"a message with {secret}")
        with pytest.raises(AssertionError, match="a secret is shown"):
            life.watch.check()
        life.watch.wrong.clear()


def test_a_client_that_sends_its_secret_to_somebody_else_is_noticed(life: HttpLife) -> None:
    life.use(0, [], False)
    ((key, grant),) = life.grants().items()
    elsewhere = grant.metadata.model_copy(update={"token_endpoint": AnyHttpUrl(f"{EVIL}/token")})
    life.stores[0].save(key, replace(grant, metadata=elsewhere))
    life.restart(0)
    life.wait(1.0)
    life.use(0, [], False)
    with pytest.raises(AssertionError) as caught:
        life.nothing_is_shown_or_sent_where_it_should_not()
    # The refresh token and the client's secret.
    assert str(caught.value).count("was sent to https://evil.example/token") == 2
    life.watch.wrong.clear()
    life.sign_out(0)


def test_an_issuer_that_a_server_switches_to_gets_nothing_of_the_one_before(life: HttpLife) -> None:
    life.use(0, [], False)
    life.change_the_world(evil=True, rejects=True)
    # A person signs in at the other one, whose tokens are refreshed an hour later.
    for _ in range(2):
        life.use(0, [], False)
        life.wait(1.0)
    posted = Counter(life.watch.requests)
    assert posted[f"POST {EVIL}/registration"] == 1
    assert posted[f"POST {EVIL}/token"] > 1
    honest = [secret for secret, places in life.watch.secrets.items() if f"{ISSUER}/token" in places]
    # The client's secret in both forms, code, verifier, and the tokens of two answers.
    assert len(honest) == 8
    assert not [secret for secret in honest if secret in life.heard]
    life.nothing_is_shown_or_sent_where_it_should_not()


# -- processes that really are some ------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys
from mcp_oauth_nb.config import IsolatedSettings
from mcp_oauth_nb.errors import McpOAuthError
from mcp_oauth_nb.oauth_handler import OAuthHandler
from mcp_oauth_nb.store.tokens import FileTokenStore
from mcp_oauth_nb.oauth.token import Token

origin, path, client_id, client_secret, crashes = sys.argv[1:]
settings = IsolatedSettings(
    oauth_client_id=client_id,
    oauth_client_secret=client_secret,
    oauth_authorization_url=f"{origin}/login/oauth/authorize",
    oauth_token_url=f"{origin}/login/oauth/access_token",
    oauth_issuer=origin,
    api_base_url=f"{origin}/api/v3",
)
handler = OAuthHandler(settings=settings, store=FileTokenStore(path))
print("ready", flush=True)
sys.stdin.readline()
if crashes == "crashes":
    # The answer is there, and is about to be written.
    sys.addaudithook(lambda event, _: os._exit(7) if event == "tempfile.mkstemp" else None)
for _ in range(8):
    try:
        asyncio.run(handler.refresh_access_token())
        print("refreshed", flush=True)
    except McpOAuthError as error:
        print(error.kind, flush=True)
"""


@pytest.mark.security
@pytest.mark.timeout(180)
@pytest.mark.parametrize("crashes", [False, True])
def test_processes_that_refresh_all_the_time_lose_nothing_unless_one_dies(
    on_port: MockGitHub, tmp_path: Path, crashes: bool
) -> None:
    path, ends = tmp_path / "tokens.json", []
    handler = OAuthHandler(
        settings=IsolatedSettings(
            oauth_client_id=on_port.client_id,
            oauth_client_secret=on_port.client_secret,
            oauth_authorization_url=f"{on_port.web_url}/login/oauth/authorize",
            oauth_token_url=f"{on_port.web_url}/login/oauth/access_token",
            oauth_issuer=on_port.web_url,
            api_base_url=on_port.api_url,
        ),
        store=FileTokenStore(path),
    )
    issued = on_port.issue_token("octocat", ["read:user"])
    handler.token = Token(issued.access_token, refresh_token=issued.refresh_token, expires_at=issued.expires_at)
    for number in range(4):
        dies = "crashes" if crashes and number == 0 else "lives"
        arguments = [on_port.web_url, str(path), on_port.client_id, on_port.client_secret, dies]
        pipe = subprocess.PIPE
        ends.append(subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdin=pipe, stdout=pipe, text=True))
    for end in ends:
        assert end.stdout is not None
        assert end.stdout.readline() == "ready\n"
    for end in ends:
        assert end.stdin is not None
        end.stdin.write("\n")
        end.stdin.flush()
    said = [end.communicate()[0].split() for end in ends]
    good = [token for token in on_port._state.ledger.tokens() if token.can_refresh(on_port.clock.now())]
    assert [end.returncode for end in ends] == [7 if crashes else 0, 0, 0, 0]
    assert len(good) <= 1
    if not crashes:
        assert said == [["refreshed"] * 8] * 4
        assert [token.refresh_token for token in good] == [handler.refresh_token]
    for words in said[crashes:]:
        # Who comes after a crash finds a refresh token that is used up, is told so, and stays signed out.
        times = words.count("refreshed")
        assert words == ["refreshed"] * times + ["reauthorize"] * (8 - times)
