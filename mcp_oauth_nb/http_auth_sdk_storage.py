"""The SDK's `TokenStorage` over a `GrantStore`, for one MCP server."""

from __future__ import annotations

import threading
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata

from .clock import Clock
from .http_auth_storage import Grant, GrantStore, SharedGrantStore
from .redaction import remember
from .tokens import Token, split_scopes

# Between a look at a store and the change that follows from it. Other processes are kept out by `alone` only.
_changing = threading.Lock()


class GrantStorage:
    """The SDK's `TokenStorage` over a `GrantStore`, for one resource.

    The SDK hands over a registration and tokens without saying whose they are: `bind` says it, before.

    Args:
        store: where grants are kept.
        resource: the MCP server's URL.
        clock: turns lifetimes into times.
        client: a registration made beforehand; grants to other clients are then left alone.
    """

    def __init__(
        self, store: GrantStore, resource: str, clock: Clock, client: OAuthClientInformationFull | None = None
    ):
        self._store = store
        self._resource = resource
        self._clock = clock
        self.registered = client
        self._bound: Grant | None = None

    def current(self) -> Grant | None:
        """Return the newest grant for the resource, whoever issued it."""
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
        grant = Grant(issuer, self._resource, client, metadata, resource_metadata)
        known = self._store.entries().get(grant.key)
        same_client = known is not None and known.client.client_id == client.client_id
        self._bound = replace(grant, token=known.token if known is not None and same_client else None)

    def alone(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Have the turn to refresh, as far as the store can give it.

        Args:
            seconds: how long to wait for it; then it is taken.
        """
        return self._store.alone(seconds) if isinstance(self._store, SharedGrantStore) else nullcontext()

    def keep(self, token: Token, *, instead_of: Token | None = None) -> bool:
        """Store a token under the issuer that `bind` named.

        Args:
            instead_of: the token that it replaces. If that is not stored any more, because of a sign-out or another
                authorization, nothing is changed.

        Returns:
            Whether it was stored.
        """
        assert self._bound is not None, "the provider binds before it keeps"
        with _changing:
            known = self._store.entries().get(self._bound.key)
            if instead_of is not None and (known is None or known.token != instead_of):
                return False
            self._save(replace(self._bound, token=token))
            return True

    def forget(self, *, client: bool = False) -> None:
        """Drop the tokens of the current grant, and its registration too if `client`."""
        with _changing:
            grant = self.current()
            if grant is None:
                return
            if client:
                self._store.delete(grant.key)
                self._bound = None
            else:
                self._save(replace(grant, token=None))

    def _save(self, grant: Grant) -> None:
        self._bound = replace(grant, saved_at=self._clock.now())
        self._store.save(self._bound.key, self._bound)

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
        remember(client_info.client_secret)
        if client_info.issuer is None:
            return
        grant = Grant(client_info.issuer, self._resource, client_info)
        known = self._store.entries().get(grant.key)
        if known is None or known.token is None:
            # Otherwise tokens in use would be lost with a step-up that the person declines.
            self._save(grant)


def forget(store: GrantStore, resource: str) -> None:
    """Drop all that a store has for a resource. A refresh that is under way does not bring it back.

    Args:
        resource: the MCP server's URL.
    """
    with _changing:
        for key in store.entries():
            if key.resource == resource:
                store.delete(key)


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
