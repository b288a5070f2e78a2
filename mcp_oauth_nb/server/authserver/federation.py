"""The way to GitHub and back, through `OAuthHandler`. GitHub's token goes into the vault and no further.

A handler here lives for one step: what it must remember between two of them is in the vault, so that the callback
may reach another worker than the consent page did.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
from mcp.server.auth.provider import AccessToken

from ...client.github import GitHubClient
from ...client.handler import OAuthHandler
from ...oauth.authorization import PendingFlow, PendingFlows, read_callback
from ...oauth.clock import Clock
from ...oauth.errors import AccessDenied, AuthenticationRequired, McpOAuthError, ReauthorizeError, StoreUnavailable
from ...oauth.http import ClientFactory
from ...oauth.patience import Patience
from ...oauth.pkce import PKCE
from ...oauth.settings import Settings
from ...oauth.token import Token
from .grants import Grants

log = logging.getLogger(__name__)

_NOBODY = "This access token stands for nobody at GitHub."


@dataclass(frozen=True)
class GitHubSignIn:
    """Who came back from GitHub, and what GitHub gave."""

    login: str
    scopes: tuple[str, ...]
    token: Token


class Upstream:
    """GitHub, as this server sees it.

    Args:
        settings: its endpoints and this server's credentials there.
        redirect_uri: where it sends the browser back to; registered with the OAuth app.
        client: makes the HTTP client for one request.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        redirect_uri: str,
        client: ClientFactory,
        clock: Clock,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ):
        self.settings = settings.model_copy(update={"oauth_redirect_uri": redirect_uri})
        self._client = client
        self.clock = clock
        self._token_bytes = token_bytes
        # GitHub asks the app for patience, not one person.
        self._patience = Patience()

    def begin(self, scopes: Sequence[str]) -> tuple[str, str, str]:
        """Start a flow: the URL for the browser, its state, and the code verifier to keep.

        Raises:
            NotConfigured: there are no credentials.
        """
        request = self.handler(scopes).get_authorization_url()
        return request.url, request.state, request.code_verifier

    async def finish(self, callback_url: str, *, state: str, code_verifier: str, scopes: Sequence[str]) -> GitHubSignIn:
        """Verify the callback, exchange its code and ask who it was.

        Raises:
            McpOAuthError: denied, unreachable, or not what GitHub may answer.
        """
        handler = self.handler(scopes)
        flows = PendingFlows(self.clock)
        pkce = PKCE.from_verifier(code_verifier)
        redirect_uri, now = self.settings.oauth_redirect_uri, self.clock.now()
        flows.add(PendingFlow(state, pkce, redirect_uri, handler.issuer, tuple(scopes), now))
        response = read_callback(callback_url, flows)
        token = await handler.exchange_code_for_token(response.code, code_verifier)
        try:
            return await self._person(handler, token, scopes)
        except McpOAuthError:
            await self.revoke(token)
            raise

    async def _person(self, handler: OAuthHandler, token: Token, scopes: Sequence[str]) -> GitHubSignIn:
        # No more than GitHub gave: a person may grant less there than was asked for.
        granted = tuple(scope for scope in scopes if scope in token.scopes)
        if not granted:
            raise AccessDenied("GitHub granted none of the scopes that were asked for.")
        user = await GitHubClient(
            handler,
            base_url=self.settings.api_base_url,
            timeout=self.settings.api_timeout,
            client=self._client,
            clock=self.clock,
        ).user()
        return GitHubSignIn(user.login, granted, handler.token or token)

    async def revoke(self, token: Token) -> None:
        """End a token at GitHub. If that cannot be done now, it is said in the log and not tried again."""
        handler = self.handler()
        handler.token = token
        try:
            await handler.revoke()
        except McpOAuthError as error:
            log.warning("The upstream token could not be revoked: %s", error.message)

    def handler(self, scopes: Sequence[str] = ()) -> OAuthHandler:
        """Make a handler for one step."""
        settings = self.settings.model_copy(update={"oauth_scopes": tuple(scopes)}) if scopes else self.settings
        return OAuthHandler(
            settings=settings,
            client=self._client,
            clock=self.clock,
            token_bytes=self._token_bytes,
            patience=self._patience,
        )


class UpstreamTokens:
    """GitHub's tokens of the living families, refreshed when they must be, by one worker at a time."""

    def __init__(self, upstream: Upstream, grants: Grants):
        self._upstream = upstream
        self._grants = grants
        self._vault = grants.vault
        # Refreshed, and the store did not take them. The old ones are used up, so these are all there is.
        self._unsaved: dict[str, Token] = {}

    async def get(self, access: AccessToken, *, rejected: str | None = None) -> str:
        """Return the GitHub token behind an access token of ours.

        Args:
            rejected: the one that GitHub has just answered with 401.

        Raises:
            ReauthorizeError: there is none, or GitHub does not accept it any more; then the family has ended.
            TransientError: it must be refreshed and GitHub cannot be reached, or the store does not answer; nothing
                is lost.
        """
        family = str((access.claims or {}).get("grant"))
        if family in self._unsaved:
            await self.save_again()
        token = await self._load(family)
        if rejected != token.access_token and not token.is_due(self._upstream.clock.now()):
            return token.access_token
        patience = 2 * self._upstream.settings.api_timeout
        async with self._vault.turn(family, lifetime=self._grants.lifetime, patience=patience):
            # A refresh token works once, so what comes of it is stored whatever becomes of the caller.
            with anyio.CancelScope(shield=True):
                usable = await self._refresh(family, rejected)
        return usable

    async def _refresh(self, family: str, rejected: str | None) -> str:
        token = await self._load(family)
        handler = self._upstream.handler()
        handler.token = token
        try:
            usable = await handler.access_token_for_request(rejected=rejected)
        except ReauthorizeError:
            await self._grants.end(family)
            raise
        newer = handler.token
        if newer is not None and newer != token and not await self._save(family, newer):
            raise AuthenticationRequired(_NOBODY)
        return usable

    async def save_again(self) -> None:
        """Store what the store did not take before, and give back the turns that were kept meanwhile.

        Raises:
            StoreUnavailable: it still does not take it.
        """
        for family, token in list(self._unsaved.items()):
            await self._save(family, token)
            self._unsaved.pop(family, None)
            await self._vault.give_turn(family, lifetime=self._grants.lifetime)

    async def _save(self, family: str, token: Token) -> bool:
        """Store a refreshed token; return whether it is there, or has ended with its family."""
        try:
            await self._vault.put("upstream", family, token.to_dict(), lifetime=self._grants.lifetime)
        except StoreUnavailable:
            self._unsaved[family] = token
            raise
        if await self._grants.is_alive(family):
            return True
        if await self._vault.delete("upstream", family):
            # It ended while we were refreshing, and whoever ended it revoked the old token.
            await self._upstream.revoke(token)
        return False

    async def _load(self, family: str) -> Token:
        stored = await self._vault.get("upstream", family)
        if stored is None or not await self._grants.is_alive(family):
            raise AuthenticationRequired(_NOBODY)
        return Token.from_dict(stored)
