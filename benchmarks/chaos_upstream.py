"""The mocked GitHub in bad weather: while it lasts, whatever the server asks of it fails, stalls or is slow."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterable

import anyio
from http_github import mock_github, uvicorn_server
from starlette.types import Message, Receive, Scope, Send

from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.lab.mock_github.knobs import Endpoint, FaultOptions, Faulty, WaitingFault
from mcp_oauth_nb.lab.mock_github.model import IssuedToken

#: What one answer can be like. `stall` gives none until the weather changes or the server gives up; `slow` is late.
FAULTS: dict[str, FaultOptions] = {
    "500": {"status": 500},
    "502": {"status": 502, "not_json": True},
    "rate limit": {"status": 429, "headers": {"Retry-After": "1"}, "body": "{}"},
    "hang up": {"drop": True},
    "stall": {},
    "slow": {},
}
LATE_SECONDS = (0.2, 1.5)
# The person's pages are left alone: nobody signs in during the storm.
_TOKEN = re.compile(r'"access_token":"([^"]+)"')
_BACK_CHANNEL = re.compile(r"/api/v3/|/login/oauth/access_token")


class Upstream:
    """A mocked GitHub on a socket, with a user of its own for each session.

    Args:
        users: who has an account. Each has one repository, `<user>/of-<user>`, so that an answer shows whose it is.
        callback: of the one OAuth app.
        seed: decides who is hit by what.
        token_lifetime: seconds that an access token is good.
    """

    def __init__(self, users: Iterable[str], callback: str, *, seed: int, token_lifetime: int):
        listener = listen(0)
        self.github = mock_github(f"http://127.0.0.1:{listener.getsockname()[1]}")
        # As strict as a provider can be: what is refreshed twice is dead.
        self.github.knobs.refresh_reuse_revokes = True
        self.github.knobs.access_token_lifetime = token_lifetime
        for user in users:
            self.github.add_user(user)
            self.github.add_repository(user, f"of-{user}")
        self._app = self.github.register_app("Chaos", [callback])
        self._random = random.Random(seed)
        self._kinds: tuple[str, ...] = ()
        self._change = threading.Event()
        self.hits = 0
        #: How many requests wait for other weather, and an event that says that it may be more now.
        self.waiting = 0
        self.arrived = threading.Event()
        self._seen: set[str] = set()
        self._undelivered: set[str] = set()
        self._server = uvicorn_server(self)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    @property
    def settings(self) -> dict[str, str]:
        """The variables that lead a worker here."""
        return {
            "OAUTH_CLIENT_ID": self._app.client_id,
            "OAUTH_CLIENT_SECRET": self._app.client_secret,
            "OAUTH_AUTHORIZATION_URL": f"{self.github.web_url}/login/oauth/authorize",
            "OAUTH_TOKEN_URL": f"{self.github.web_url}/login/oauth/access_token",
            "OAUTH_ISSUER": self.github.issuer,
            "API_BASE_URL": self.github.api_url,
        }

    def weather(self, *kinds: str) -> None:
        """Hit each request with one of these kinds of fault from now on; with none, all is well."""
        self._kinds = kinds
        self._change.set()
        self._change = threading.Event()

    @property
    def refreshes(self) -> int:
        """How many tokens were issued for a refresh token."""
        state = self.github._state
        with state.lock:
            return sum(token.id != token.family for token in state.ledger.tokens())

    def newest_token(self, user: str) -> IssuedToken | None:
        """The token that was issued last for a user."""
        state = self.github._state
        with state.lock:
            return next((token for token in reversed(state.ledger.tokens()) if token.user == user), None)

    def was_used(self, token: IssuedToken) -> bool:
        """Say whether a token was ever presented here."""
        return token.access_token in self._seen

    def found_nobody(self, token: IssuedToken) -> bool:
        """Say whether whoever asked for a token had hung up when it was ready."""
        return token.access_token in self._undelivered

    def stop(self) -> None:
        """End it."""
        self.weather()
        self._server.should_exit = True
        self._thread.join(10)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _BACK_CHANNEL.match(scope["path"]):
            await self.github.app(scope, receive, send)
            return
        self._note(scope)
        if scope["path"].endswith("/access_token"):
            request = await _whole(receive)
            await self._hit(scope, _replayed(request, receive), self._watched(receive, send))
        else:
            await self._hit(scope, receive, send)

    async def _hit(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = self._random.choice(self._kinds) if self._kinds else None
        if kind is None:
            await self.github.app(scope, receive, send)
            return
        self.hits += 1
        if kind == "stall":
            request = await _whole(receive)
            if await self._hung_up(receive):
                # What nobody waits for is not done: no refresh token is used up by it.
                return
            receive = _replayed(request, receive)
            if scope["path"].endswith("/access_token"):
                # The server may have hung up in this very moment, and only it knows.
                kind = "hang up"
        elif kind == "slow":
            late = self._random.uniform(*LATE_SECONDS)
            request = await _whole(receive)
            with anyio.move_on_after(late):
                if (await receive())["type"] == "http.disconnect":
                    return
            receive = _replayed(request, receive)
        await Faulty(self.github.app, _Next(kind), "api")(scope, receive, send)  # type: ignore[arg-type]

    def _note(self, scope: Scope) -> None:
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        self._seen.add(authorization.partition(" ")[2])

    def _watched(self, receive: Receive, send: Send) -> Send:
        """Note the tokens that are sent to nobody."""

        async def watched(message: Message) -> None:
            gone = False
            with anyio.move_on_after(0.001):
                gone = (await receive())["type"] == "http.disconnect"
            if gone:
                self._undelivered.update(_TOKEN.findall(message.get("body", b"").decode("latin-1")))
            await send(message)

        return watched

    async def _hung_up(self, receive: Receive) -> bool:
        """Wait for other weather, or until the server hangs up; say whether it did."""
        change = self._change
        self.waiting += 1
        self.arrived.set()
        try:
            while not change.is_set():
                with anyio.move_on_after(0.05):
                    if (await receive())["type"] == "http.disconnect":
                        return True
            return False
        finally:
            self.waiting -= 1


class _Next:
    """What `Faulty` asks for the fault of this one request."""

    def __init__(self, kind: str):
        self._kind = kind

    def take(self, endpoint: Endpoint) -> WaitingFault | None:
        options = FAULTS[self._kind]
        return WaitingFault.of(options) if options else None


async def _whole(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replayed(messages: list[Message], later: Receive) -> Receive:
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else await later()

    return receive
