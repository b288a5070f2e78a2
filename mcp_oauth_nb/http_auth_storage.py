"""What an MCP client keeps about one server: who issued its credentials, its registration, and its tokens.

It is all one value, the `Grant`, so that credentials never part from the issuer that gave them. Expiry is absolute
and survives a restart; so do the endpoints: the SDK alone would, after a restart, send a refresh token to the
resource's own host because it has not discovered the issuer yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import ValidationError

from .clock import Clock
from .errors import ProtocolError
from .redaction import remember
from .store import FileStore, TokenKey, default_path
from .tokens import Token, split_scopes


@dataclass(frozen=True, repr=False)
class Grant:
    """What one authorization server granted for one resource. `saved_at` is in seconds since the epoch."""

    issuer: str
    resource: str
    client: OAuthClientInformationFull
    metadata: OAuthMetadata | None = None
    resource_metadata: ProtectedResourceMetadata | None = None
    token: Token | None = None
    saved_at: float = 0.0

    def __post_init__(self) -> None:
        remember(self.client.client_secret)

    @property
    def key(self) -> TokenKey:
        """What the grant is stored under. One client is kept for each server, so its id is not part of it."""
        return TokenKey(self.issuer, "", self.resource)

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form. It contains the secrets in clear: for a store only."""
        return {
            "issuer": self.issuer,
            "resource": self.resource,
            "client": self.client.model_dump(mode="json", exclude_none=True),
            "metadata": self.metadata and self.metadata.model_dump(mode="json", exclude_none=True),
            "resource_metadata": self.resource_metadata
            and self.resource_metadata.model_dump(mode="json", exclude_none=True),
            "token": self.token and self.token.to_dict(),
            "saved_at": self.saved_at,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Grant:
        """Read the stored form.

        Raises:
            ProtocolError: it is not one.
        """
        metadata, resource_metadata, token = (stored[name] for name in ("metadata", "resource_metadata", "token"))
        try:
            return cls(
                issuer=str(stored["issuer"]),
                resource=str(stored["resource"]),
                client=OAuthClientInformationFull.model_validate(stored["client"]),
                metadata=metadata and OAuthMetadata.model_validate(metadata),
                resource_metadata=resource_metadata and ProtectedResourceMetadata.model_validate(resource_metadata),
                token=token and Token.from_dict(token),
                saved_at=float(stored["saved_at"]),
            )
        except ValidationError:
            # `from None`: pydantic quotes the values.
            raise ProtocolError("A stored grant is damaged.") from None

    def __repr__(self) -> str:
        return f"Grant({self.issuer!r}, {self.resource!r}, {self.token!r})"


class GrantStore(Protocol):
    """Three methods, safe to call from any thread."""

    def entries(self) -> dict[TokenKey, Grant]:
        """Return every grant."""
        ...

    def save(self, key: TokenKey, value: Grant, /) -> None:
        """Store the grant in place of any other under this key."""
        ...

    def delete(self, key: TokenKey, /) -> None:
        """Forget the grant, if there is one."""
        ...


class MemoryGrantStore:
    """Grants that are gone when the process ends."""

    def __init__(self) -> None:
        self._grants: dict[TokenKey, Grant] = {}

    def entries(self) -> dict[TokenKey, Grant]:
        """Return every grant."""
        return dict(self._grants)

    def save(self, key: TokenKey, value: Grant, /) -> None:
        """Store the grant in place of any other under this key."""
        self._grants[key] = value

    def delete(self, key: TokenKey, /) -> None:
        """Forget the grant, if there is one."""
        self._grants.pop(key, None)

    def __repr__(self) -> str:
        return f"MemoryGrantStore({len(self._grants)} grants)"


class FileGrantStore(FileStore[Grant]):
    """Grants in one file that only its owner can read; see `FileStore`.

    Args:
        path: the file; by default one in the user's data directory.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        super().__init__(path or default_path().with_name("mcp-grants.json"), Grant.from_dict, "grant")


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

    def keep(self, token: Token) -> None:
        """Store a token under the issuer that `bind` named."""
        assert self._bound is not None, "the provider binds before it keeps"
        self._save(replace(self._bound, token=token))

    def forget(self, *, client: bool = False) -> None:
        """Drop the tokens of the current grant, and its registration too if `client`."""
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
