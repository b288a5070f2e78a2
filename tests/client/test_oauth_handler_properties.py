"""OAuthHandler with providers of every policy: what is always true. `test_properties` has the rest of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from provider import API, CLIENT_ID, Provider, handler_for, signed_in
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import McpOAuthError, ReauthorizeError
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore

#: What can come in place of the token endpoint's answer.
SPOILS = {
    "503": lambda: Response(status_code=503),
    "429": lambda: Response(status_code=429, headers={"retry-after": "5"}),
    "reset": lambda: httpx.ReadError("connection reset"),
    "html": lambda: Response("<h1>Sign in</h1>", media_type="text/html"),
    "refused": lambda: JSONResponse({"error": "invalid_grant"}, 400),
    "redirect": lambda: Response(status_code=307, headers={"location": "https://evil.example"}),
}
KEY = TokenKey("https://id.example", CLIENT_ID, API)


class Life(RuleBasedStateMachine):
    """Sign-ins, requests, faults, crashes, clock jumps and revocations in any order."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "tokens.json"
        self.clock = ManualClock(1_700_000_000.0)
        self.provider = Provider()
        self.restart()

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule()
    def restart(self) -> None:
        """The process dies; the next one knows only what the store has."""
        self.handler: OAuthHandler = handler_for(self.provider, self.clock, store=FileTokenStore(self.path))

    @rule(hours=st.sampled_from([0.01, 1.0, 7.99, 8.0, 1000.0]))
    def wait(self, hours: float) -> None:
        self.clock.advance(hours=hours)

    @rule(lifetime=st.sampled_from([None, 0, 1, 59, 28800]), rotates=st.booleans(), again=st.booleans())
    def change_policy(self, lifetime: int | None, rotates: bool, again: bool) -> None:
        self.provider.expires_in, self.provider.rotates = lifetime, rotates
        # Who rotates has to send the next one.
        self.provider.with_refresh_token = again or rotates

    @rule()
    def sign_in(self) -> None:
        self.handler = asyncio.run(signed_in(self.provider, self.clock, store=FileTokenStore(self.path)))

    @rule(spoils=st.lists(st.sampled_from(sorted(SPOILS)), max_size=2), lost=st.booleans(), rejected=st.booleans())
    def request(self, spoils: list[str], lost: bool, rejected: bool) -> None:
        """A call of the API needs a token; maybe it has just been rejected, maybe the provider is in trouble."""
        self.provider.spoiled.extend(SPOILS[name]() for name in spoils)
        self.provider.processed = lost
        try:
            self._ask(self.handler.access_token_for_request(rejected=self.handler.access_token if rejected else None))
        finally:
            self.provider.spoiled.clear()

    @precondition(lambda self: self.handler.refresh_token is not None)
    @rule()
    def refresh(self) -> None:
        self._ask(self.handler.refresh_access_token())

    @rule()
    def revoke(self) -> None:
        asyncio.run(self.handler.revoke())
        assert self.handler.token is None

    def _ask(self, call: Coroutine[Any, Any, Any]) -> None:
        before, requests = self.handler.token, len(self.provider.seen)
        try:
            asyncio.run(call)
        except McpOAuthError as error:
            if error.kind == "reauthorize" and getattr(error, "final", True):
                # It ends there: the next call asks the user, and not the provider again.
                sent = len(self.provider.seen)
                assert not self.handler.is_authenticated()
                with pytest.raises(ReauthorizeError):
                    asyncio.run(self.handler.access_token_for_request())
                assert len(self.provider.seen) == sent
            else:
                assert self.handler.token == before
        else:
            assert self.handler.access_token is not None
        assert len(self.provider.seen) - requests <= 2

    @invariant()
    def nothing_reaches_another_host(self) -> None:
        if hasattr(self, "provider"):
            assert self.provider.stolen == []

    @invariant()
    def what_is_shown_has_no_secret(self) -> None:
        if hasattr(self, "handler"):
            shown = f"{self.handler!r} {self.handler.store!r}"
            assert not any(secret in shown for secret in self.provider.secrets)

    @invariant()
    def a_restarted_process_knows_the_same(self) -> None:
        if hasattr(self, "handler"):
            assert FileTokenStore(self.path).load(KEY) == self.handler.token


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None, derandomize=True, database=None, max_examples=25, stateful_step_count=25)
