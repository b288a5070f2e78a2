"""The OAuth client that speaks to the upstream provider, GitHub unless configured otherwise.

    handler = OAuthHandler()
    url, state, code_verifier = handler.get_authorization_url()
    ...                                             # the user authorizes, the browser comes back with a code
    token = await handler.exchange_code_for_token(code, code_verifier)

Over HTTP the MCP server's own authorization server is another matter, and `McpAuth`, over the SDK's
`OAuthClientProvider`, the client for it. A handler can be used from any thread and any event loop: it holds no
asyncio lock and no connection.
"""

from __future__ import annotations

import functools
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio

from ..oauth import token_endpoint
from ..oauth.auth_headers import AuthHeaders
from ..oauth.authorization import (
    AuthorizationRequest,
    AuthorizationResponse,
    PendingFlow,
    PendingFlows,
    build_url,
    read_callback,
)
from ..oauth.challenge import AuthChallenge
from ..oauth.clock import Clock, SystemClock
from ..oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    InvalidAuthorizationCode,
    InvalidCodeVerifier,
    McpOAuthError,
    NotRevoked,
    RefreshRejected,
    TokenRejected,
    TransientError,
    Unreachable,
)
from ..oauth.http import ClientFactory, default_client, limited
from ..oauth.http_faults import late, place_of
from ..oauth.masking import mask, printable, remember_made
from ..oauth.patience import Patience
from ..oauth.pkce import PKCE, check_verifier, random_token
from ..oauth.revocation import not_revoked, signed_out
from ..oauth.settings import Settings, current_settings
from ..oauth.token import Token, pasted_token
from ..oauth.token_endpoint import GrantType
from ..runtime.single_flight import SingleFlight
from ..store.lock import still_taken
from ..store.records import CompletedStore, SimpleStore, Store, TokenKey, store_of
from ..store.tokens import MemoryTokenStore
from .provider_settings import known_issuer, revoke
from .refresher import SignedOut, outcome

log = logging.getLogger(__name__)


class OAuthHandler:
    """Gets, keeps, refreshes and revokes one user's token.

    Args:
        resource_uri: the API that tokens are for (RFC 8707); the settings' API base URL if not given.
        settings: where the provider is; from the environment if not given.
        client: makes the HTTP client for one request.
        clock: tells when a token expires.
        store: keeps the token; in memory if not given. See `store.records` for one of your own.
        issuer: what `iss` in a callback must be (RFC 9207). For GitHub's endpoints it is known, for others it is
            the settings' issuer; pass the `issuer` of the metadata document after `discovery`.
        iss_required: the metadata says `authorization_response_iss_parameter_supported`.
        revocation_url: the provider's RFC 7009 endpoint. GitHub's own way is known.
        token_bytes: the source of randomness for `state` and the code verifier.
        patience: remembers how long the token endpoint asked to be left alone; handlers may share one. If not given,
            a refresh that is needed waits for it within the settings' `api_timeout`.

    Every method that talks to the provider may raise `NotConfigured`, and `Unreachable`, `ServerUnavailable` or
    `RateLimited` with all tokens kept: without a request where the token endpoint asked for patience (Retry-After).
    """

    def __init__(
        self,
        resource_uri: str | None = None,
        *,
        settings: Settings | None = None,
        client: ClientFactory = default_client,
        clock: Clock | None = None,
        store: Store[Token] | SimpleStore[Token] | None = None,
        issuer: str | None = None,
        iss_required: bool = False,
        revocation_url: str | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        patience: Patience | None = None,
    ):
        self.settings = settings or current_settings()
        self.resource_uri = resource_uri or self.settings.api_base_url
        self.clock = clock or SystemClock()
        self.store = store if store is not None else MemoryTokenStore()
        self._tokens = store_of(Token, self.store)
        self.issuer = issuer or known_issuer(self.settings)
        self._iss_required = iss_required
        self._client = client
        self._revocation_url = revocation_url
        self._token_bytes = token_bytes
        self._patience = patience or Patience(anyio.sleep)
        self._flows = PendingFlows(self.clock)
        # A refresh token that was given without an access token waits here, in a token without one.
        self._lone: Token | None = None
        # Of a store without turns: still there, and as good as none.
        self._refused: Token | None = None
        self._refresh = SingleFlight[Token]()
        # Between a look at the token and the change that follows from it.
        self._changing = threading.RLock()

    # -- the token -------------------------------------------------------------------------------------------------

    @property
    def token(self) -> Token | None:
        """The stored token with all that is known about it, or None."""
        stored = self._tokens.load(self._key)
        return stored if stored != self._refused else None

    @token.setter
    def token(self, token: Token | None) -> None:
        with self._changing:
            self._lone = self._refused = None
            if token is None:
                self._tokens.delete(self._key)
            else:
                self._tokens.save(self._key, token)

    @property
    def access_token(self) -> str | None:
        """The access token, in clear. Assign one that you got elsewhere; its lifetime is then unknown.

        Raises:
            ProtocolError: on assignment, of something that cannot be a token.
        """
        token = self.token
        return token.access_token if token else None

    @access_token.setter
    def access_token(self, value: str | None) -> None:
        refresh_token = self.refresh_token
        value = pasted_token(value)
        self.token = Token(value, refresh_token=refresh_token, resource=self.resource_uri) if value else None

    @property
    def refresh_token(self) -> str | None:
        """The refresh token, in clear. Assign one to begin with `refresh_access_token()`."""
        token = self._stored()
        return token.refresh_token if token else None

    @refresh_token.setter
    def refresh_token(self, value: str | None) -> None:
        value = pasted_token(value)
        token = self.token
        if token is None:
            self._lone = Token("", refresh_token=value) if value else None
        else:
            self.token = replace(token, refresh_token=value, refresh_token_expires_at=None)

    def is_authenticated(self) -> bool:
        """Say whether there is an access token whose lifetime is not over."""
        token = self.token
        return token is not None and not token.is_expired(self.clock.now())

    def get_auth_headers(self) -> dict[str, str]:
        """Return the `Authorization` header for the resource server (RFC 6750 section 2.1).

        Raises:
            AuthenticationRequired: there is no access token.
        """
        token = self.token
        if token is None:
            raise self._authentication_required("There is no access token yet.")
        return AuthHeaders(Authorization=f"Bearer {token.access_token}")

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """Return an access token that should work now, refreshed a minute before it expires (`Token.is_due`).

        Args:
            rejected: the token that the resource server has just answered with 401: one refresh, then stop.

        Raises:
            AuthenticationRequired: there is no token, or it expired and cannot be refreshed.
            TokenRejected: the rejected token cannot be refreshed.
        """
        token = self.token
        if token is None:
            raise self._authentication_required("There is no access token.")
        if rejected == token.access_token:
            return await self._replace_rejected(token)
        now = self.clock.now()
        if not token.is_due(now):
            return token.access_token
        if token.refresh_token is not None:
            if token.is_expired(now):
                return (await self._refresh_patiently(token)).access_token
            # Refreshing early is a courtesy: what is still valid is still used.
            try:
                return (await self._refresh_from(token)).access_token
            except (TransientError, ConfigurationError):
                pass
            except RefreshRejected as error:
                if error.final:
                    raise
        if token.is_expired(now):
            raise self._authentication_required("The access token has expired and there is no refresh token.")
        return token.access_token

    async def _replace_rejected(self, token: Token) -> str:
        if token.refresh_token is not None:
            return (await self._refresh_patiently(token)).access_token
        self._replace(token, None)
        raise TokenRejected("The resource server answered 401: the access token was revoked or has expired.")

    # -- the front channel -----------------------------------------------------------------------------------------

    def get_authorization_url(
        self, *, scopes: tuple[str, ...] | None = None, redirect_uri: str | None = None
    ) -> AuthorizationRequest:
        """Start a flow: return the URL to open in a browser, with its state and code verifier.

        Args:
            scopes: what to ask for; the settings' scopes if not given.
            redirect_uri: where the browser comes back to; the settings' if not given.
        """
        client_id, _ = self.settings.credentials()
        flow = PendingFlow(
            state=random_token(self._token_bytes),
            pkce=PKCE.generate(self._token_bytes),
            redirect_uri=redirect_uri or self.settings.oauth_redirect_uri,
            issuer=self.issuer,
            scopes=scopes or self.settings.oauth_scopes,
            started_at=self.clock.now(),
        )
        remember_made(flow.state)
        self._flows.add(flow)
        url = build_url(
            self.settings.oauth_authorization_url, client_id=client_id, flow=flow, resource=self.resource_uri
        )
        log.debug("Authorization request: scopes %s, state %s", " ".join(flow.scopes), mask(flow.state))
        return AuthorizationRequest(url, flow.state, flow.pkce.code_verifier)

    def read_callback(self, url: str) -> AuthorizationResponse:
        """Verify the URL that the browser came back to; see `authorization.read_callback` for the errors."""
        return read_callback(url, self._flows, iss_required=self._iss_required)

    async def complete_authorization(self, callback_url: str) -> Token:
        """Verify the callback and exchange its code with the verifier of the same flow."""
        response = self.read_callback(callback_url)
        return await self.exchange_code_for_token(response.code, response.flow.pkce.code_verifier)

    # -- the back channel ------------------------------------------------------------------------------------------

    async def exchange_code_for_token(self, code: str, code_verifier: str) -> Token:
        """Exchange an authorization code for a token (RFC 6749 section 4.1.3, RFC 7636 section 4.5), and keep it.

        A caller that is cancelled meanwhile does not stop it: the token would be good, and nobody's.

        Args:
            code: from the callback.
            code_verifier: the one that came with the authorization URL.

        Raises:
            InvalidCodeVerifier: malformed, or the verifier of another flow.
            InvalidAuthorizationCode: wrong, used or expired.
            OAuthErrorResponse, ProtocolError: see `token_endpoint.read`.
        """
        return await SingleFlight[Token]().run(functools.partial(self._exchange, code, code_verifier))

    async def _exchange(self, code: str, code_verifier: str) -> Token:
        remember_made(code)
        flow = self._flows.find(code, check_verifier(code_verifier))
        fields = {
            "code": code,
            "redirect_uri": flow.redirect_uri if flow else self.settings.oauth_redirect_uri,
            "code_verifier": code_verifier,
            "resource": self.resource_uri,  # RFC 8707 section 2.2
        }
        try:
            token = await self._request_token(
                "authorization_code", fields, flow.scopes if flow else self.settings.oauth_scopes
            )
        except InvalidAuthorizationCode as error:
            if flow is not None and flow.pkce.code_verifier != code_verifier:
                # GitHub has one answer for a bad code and a bad verifier; what was sent tells them apart.
                raise InvalidCodeVerifier(
                    f"{error.message} The code verifier is not the one that this code's flow began with."
                ) from error
            raise
        self.token = token
        if flow is not None:
            self._flows.finish(flow)
        log.info("Authorization code exchanged: scopes %s", _listed(token.scopes))
        return token

    async def refresh_access_token(self) -> Token:
        """Exchange the refresh token for a new token (RFC 6749 section 6), and keep it.

        Any number of callers at once make one request. The old token stays where the answer is a 5xx or none, and
        where something answered that speaks no OAuth, such as a proxy.

        Raises:
            RefreshRejected: the provider refuses the refresh token, or there is none.
            Unreachable: also if another process is at it and takes too long; then nothing was sent.
        """
        return await self._refresh_patiently(self.token)

    async def _refresh_patiently(self, seen: Token | None) -> Token:
        """Refresh; if the endpoint asks for a wait within the deadline, wait, and ask once more."""
        try:
            return await self._refresh_from(seen)
        except TransientError:
            # Nobody has the turn meanwhile, and an interrupt ends the wait.
            url, deadline = self.settings.oauth_token_url, self.settings.api_timeout
            if not await self._patience.outlast(url, self.clock.now(), deadline=deadline):
                raise
        return await self._refresh_from(seen)

    async def _refresh_from(self, seen: Token | None) -> Token:
        """Refresh the token that the caller saw, together with all who saw the same."""
        return await self._refresh.run(functools.partial(self._refresh_alone, seen))

    async def _refresh_alone(self, seen: Token | None) -> Token:
        """Wait for other processes that refresh: they leave a new token in the store."""
        async with self._tokens.alone(self.settings.api_timeout) as mine:
            found = self._stored()
            if found is not None and found.access_token and found != seen:
                # Somebody else refreshed between the caller's look and now.
                return found
            if found is None or found.refresh_token is None:
                raise RefreshRejected("There is no refresh token.")
            if not mine:
                # A refresh token works once, and is under way already.
                raise still_taken(self.settings.api_timeout)
            asked, refused = self._request_refresh(found), self._forget_refused
            try:
                token = await outcome(found, asked, stored=self._stored, replace=self._replace, refused=refused)
            except SignedOut as out:
                raise signed_out(await self._lives_on(out.orphan), self.challenge())  # noqa: B904 (it has its cause)
            log.info("Access token refreshed: scopes %s", _listed(token.scopes))
            return token

    async def _lives_on(self, orphan: Token | None) -> NotRevoked | None:
        """Revoke a token that is not kept; return what may still be good of it."""
        if orphan is None:
            return None
        try:
            ended = await self._revoke(orphan)
        except McpOAuthError as error:
            return not_revoked(orphan, error)
        return None if ended else not_revoked(orphan, None)

    async def _revoke(self, token: Token) -> bool:
        return await revoke(
            self.settings, token, revocation_url=self._revocation_url, client=self._client, clock=self.clock
        )

    async def _request_refresh(self, before: Token) -> Token:
        fields = {"refresh_token": str(before.refresh_token), "resource": self.resource_uri}
        scopes = before.scopes
        timeout = self.settings.api_timeout
        try:
            # One deadline for both requests: others wait as long.
            with limited(timeout):
                try:
                    return await self._request_token("refresh_token", fields, scopes)
                except Unreachable:
                    # Nobody knows whether the refresh token was used up; asking once more tells. Not so if another
                    # process has stored a token meanwhile.
                    if self._stored() != before:
                        raise
                return await self._request_token("refresh_token", fields, scopes)
        except TimeoutError as error:
            raise late(place_of(self.settings.oauth_token_url), timeout) from error

    async def revoke(self) -> bool:
        """Revoke the token at the provider and forget it.

        Returns:
            Whether the provider confirmed it. One without a known revocation endpoint, or whose endpoint does not end
            tokens of this kind (`unsupported_token_type`), keeps the token until it expires.
        """
        token = self.token
        confirmed = token is not None and await self._revoke(token)
        self.token = None
        if token is not None:
            log.info("Token revoked" if confirmed else "Token forgotten; the provider did not confirm its end")
        return confirmed

    def get_authorization_error_response(self) -> dict[str, Any]:
        """Return the -32001 error object that leads a client to this handler's provider."""
        return self.challenge().to_jsonrpc()

    def challenge(self) -> AuthChallenge:
        """Return the same as a value."""
        return AuthChallenge.from_settings(self.settings, resource=self.resource_uri)

    def __repr__(self) -> str:
        return f"OAuthHandler(resource_uri={self.resource_uri!r}, token={self.token!r})"

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _key(self) -> TokenKey:
        return TokenKey(self.issuer, self.settings.oauth_client_id or "", self.resource_uri)

    def _stored(self) -> Token | None:
        """Return the token; where there is a refresh token alone, one without an access token."""
        return self.token or self._lone

    def _replace(self, old: Token, new: Token | None) -> bool:
        """Keep a token, or None for none, if the old one is still there; returns whether it was."""
        with self._changing:
            known: Token | None = old
            if not old.access_token:
                stored = self._tokens.load(self._key)
                if self._lone != old or stored != self._refused:
                    return False
                known = stored
            self._lone = None
            return self._tokens.replace(self._key, known, new)

    def _forget_refused(self, token: Token) -> None:
        """Forget a token that cannot be refreshed. Who has no turn may just have been slower than another process."""
        if not token.access_token:
            self._lone = None
        elif isinstance(self._tokens, CompletedStore):
            # To that process an empty store would be a sign-out, and it would revoke what it gets.
            self._refused = token
        else:
            self._replace(token, None)

    def _authentication_required(self, message: str) -> AuthenticationRequired:
        return AuthenticationRequired(message, challenge=self.challenge())

    async def _request_token(self, grant: GrantType, fields: dict[str, str], scopes: tuple[str, ...]) -> Token:
        url = self.settings.oauth_token_url
        self._patience.check(url, self.clock.now())
        with token_endpoint.refusing(grant):
            answer = await token_endpoint.post(self.settings, self._client, url, {"grant_type": grant, **fields})
        now = self.clock.now()
        self._patience.heard(answer, now)
        log.debug("Token endpoint: %s answered %d", grant, answer.status)
        return token_endpoint.read_token(
            answer, grant=grant, now=now, requested_scopes=scopes, resource=self.resource_uri
        )


def _listed(scopes: tuple[str, ...]) -> str:
    return printable(",".join(scopes)) or "none"
