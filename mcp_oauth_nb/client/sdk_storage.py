"""The SDK's `TokenStorage` over a store of grants, for one MCP server."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata

from ..oauth.clock import Clock
from ..oauth.masking import remember_made
from ..oauth.token import Token, split_scopes
from ..store.grants import Grant
from ..store.records import CompletedStore, Store


class GrantStorage:
    """The SDK's `TokenStorage` over a store of grants, for one resource.

    The SDK hands over a registration and tokens without saying whose they are: `bind` says it, before.

    Args:
        store: where grants are kept.
        resource: the MCP server's URL.
        clock: turns lifetimes into times.
        client: a registration made beforehand; grants to other clients are then left alone.
    """

    def __init__(
        self, store: Store[Grant], resource: str, clock: Clock, client: OAuthClientInformationFull | None = None
    ):
        self._store = store
        self._resource = resource
        self._clock = clock
        self.registered = client
        self._bound: Grant | None = None
        # Still in the store, and as good as none here.
        self._refused: Token | None = None

    def current(self) -> Grant | None:
        """Return the newest grant for the resource, whoever issued it."""
        grant = self._newest()
        return replace(grant, token=None) if grant is not None and grant.token == self._refused else grant

    def stored(self) -> Token | None:
        """Return the newest token for the resource, also one that is treated as none here."""
        grant = self._newest()
        return grant.token if grant is not None else None

    def _newest(self) -> Grant | None:
        grants = [grant for key, grant in self._store.entries().items() if key.resource == self._resource]
        if self.registered is not None:
            grants = [grant for grant in grants if grant.client.client_id == self.registered.client_id]
        return max(grants, key=lambda grant: grant.saved_at, default=None)

    def bind(
        self,
        issuer: str,
        client: OAuthClientInformationFull,
        metadata: OAuthMetadata | None,
        resource_metadata: ProtectedResourceMetadata | None,
    ) -> None:
        """Say whose the credentials are that will be set next."""
        self._bound = self._grant(issuer, client, metadata, resource_metadata)

    def alone(self, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Have the turn to refresh, as far as the store can give it.

        Args:
            seconds: how long to wait for it.

        Returns:
            Whether it has come, or the store knows no turns.
        """
        return self._store.alone(seconds)

    def keep(self, token: Token, *, instead_of: Token | None = None) -> Grant | None:
        """Store a token under the issuer that `bind` named.

        Args:
            instead_of: the token that it replaces. If that is not stored any more, because of a sign-out or another
                authorization, nothing is changed.

        Returns:
            The grant that was stored, if it was.
        """
        assert self._bound is not None, "the provider binds before it keeps"
        grant = self._dated(replace(self._bound, token=token))
        if instead_of is None:
            self._store.save(grant.key, grant)
            return grant
        known = self._store.load(grant.key)
        same = known is not None and known.token == instead_of
        return grant if same and self._store.replace(grant.key, known, grant) else None

    def forget_token(self, token: Token) -> None:
        """Drop a token that is no good any more, unless there is another one already. The registration stays."""
        if isinstance(self._store, CompletedStore):
            # Who has no turn may just have been slower than another process, to which this would be a sign-out.
            self.set_aside(token)
            return
        grant = self.current()
        if grant is not None and grant.token == token:
            self._store.replace(grant.key, grant, self._dated(replace(grant, token=None)))

    def set_aside(self, token: Token) -> None:
        """Treat a token as none, here alone: it stays in the store until another one replaces it."""
        self._refused = token

    def take_back(self) -> None:
        """Treat no token as none any more."""
        self._refused = None

    def forget_client(self, client: OAuthClientInformationFull, token: Token | None) -> None:
        """Drop a registration that may be no good any more: the next authorization makes a new one.

        Args:
            token: what is known to be stored with it, and no good. If there is another one, nothing is changed.
        """
        grant = self._newest()
        # What was refused is as good as none.
        known = (token, self._refused or token)
        if grant is not None and grant.client.client_id == client.client_id and grant.token in known:
            self._store.replace(grant.key, grant, None)

    def _grant(
        self,
        issuer: str,
        client: OAuthClientInformationFull,
        metadata: OAuthMetadata | None = None,
        resource_metadata: ProtectedResourceMetadata | None = None,
    ) -> Grant:
        mine = self.registered is not None and client.client_id == self.registered.client_id
        return Grant(issuer, self._resource, client, metadata, resource_metadata, made_beforehand=mine)

    def _dated(self, grant: Grant) -> Grant:
        self._bound = replace(grant, saved_at=self._clock.now())
        return self._bound

    # -- the SDK's protocol -----------------------------------------------------------------------------------

    async def get_tokens(self) -> OAuthToken | None:
        """Return the stored tokens, with the rest of their lifetime."""
        grant = self.current()
        return oauth_token(grant.token, self._clock.now()) if grant is not None and grant.token is not None else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Store tokens under the issuer that `bind` named."""
        now = self._clock.now()
        token = Token(
            tokens.access_token,
            scopes=split_scopes(tokens.scope or ""),
            expires_at=None if tokens.expires_in is None else now + tokens.expires_in,
            refresh_token=tokens.refresh_token,
            resource=self._resource,
        )
        self.keep(token)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the stored registration, or the one that was made beforehand."""
        grant = self.current()
        # A copy: the SDK notes the issuer on it.
        client = grant.client if grant is not None else self.registered
        return client.model_copy() if client is not None else None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Note a registration. It is stored with the issuer that it names, so that it outlives an abandoned flow."""
        remember_made(client_info.client_secret)
        if client_info.issuer is None:
            return
        grant = self._grant(client_info.issuer, client_info)
        known = self._store.load(grant.key)
        if known is None or known.token is None:
            # Otherwise tokens in use would be lost with a step-up that the person declines.
            self._store.replace(grant.key, known, self._dated(grant))


def forget(store: Store[Grant], resource: str) -> list[Grant]:
    """Drop all that a store has for a resource, and return it. A refresh that is under way does not bring it back.

    Args:
        resource: the MCP server's URL.
    """
    dropped = []
    for key in store.entries():
        # What another session changes meanwhile is dropped as it is then.
        while key.resource == resource and (grant := store.load(key)) is not None:
            if store.replace(key, grant, None):
                dropped.append(grant)
    return dropped


def oauth_token(token: Token, now: float) -> OAuthToken:
    """Return the SDK's form of a token.

    Args:
        now: the time in seconds since the epoch; the SDK knows relative lifetimes only.
    """
    return OAuthToken(
        access_token=token.access_token,
        expires_in=None if token.expires_at is None else int(token.expires_at - now),
        scope=" ".join(token.scopes) or None,
        refresh_token=token.refresh_token,
    )
