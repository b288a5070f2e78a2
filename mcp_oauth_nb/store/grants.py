"""What an MCP client keeps about one server: who issued its credentials, its registration, and its tokens.

It is all one value, the `Grant`, so that credentials never part from the issuer that gave them. Expiry is absolute
and survives a restart; so do the endpoints: the SDK alone would, after a restart, send a refresh token to the
resource's own host because it has not discovered the issuer yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from ..oauth.errors import ProtocolError
from ..oauth.masking import Secret
from ..oauth.token import Token
from .file import FileStore, default_path
from .keyring import KeyringStore
from .memory import MemoryStore
from .records import TokenKey

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend


def with_masked_secret(client: OAuthClientInformationFull) -> OAuthClientInformationFull:
    """Return a registration whose secret is known from now on, and masked in its `repr`."""
    if client.client_secret is None:
        return client
    return client.model_copy(update={"client_secret": Secret(client.client_secret)})


@dataclass(frozen=True)
class Grant:
    """What one authorization server granted for one resource. `saved_at` is in seconds since the epoch.

    `made_beforehand` says that the client is one of `McpAuth(client=...)`.
    """

    issuer: str
    resource: str
    client: OAuthClientInformationFull
    metadata: OAuthMetadata | None = None
    resource_metadata: ProtectedResourceMetadata | None = None
    token: Token | None = None
    saved_at: float = 0.0
    made_beforehand: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "client", with_masked_secret(self.client))

    @property
    def key(self) -> TokenKey:
        """What the grant is stored under. Of clients that registered themselves one is kept for each server."""
        return TokenKey(self.issuer, self.client.client_id if self.made_beforehand else "", self.resource)

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form. It contains the secrets in clear: for a store only."""
        return {
            "issuer": self.issuer,
            "resource": self.resource,
            "client": _plain(self.client),
            "metadata": self.metadata and _plain(self.metadata),
            "resource_metadata": self.resource_metadata and _plain(self.resource_metadata),
            "token": self.token and self.token.to_dict(),
            "saved_at": self.saved_at,
            "made_beforehand": self.made_beforehand,
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
                made_beforehand=stored.get("made_beforehand") is True,
            )
        except ValidationError:
            # `from None`: pydantic quotes the values.
            raise ProtocolError(
                "A stored grant is damaged.", hint="Sign in again: the new grant takes its place."
            ) from None

    def __repr__(self) -> str:
        return f"Grant({self.issuer!r}, {self.resource!r}, {self.token!r})"


def _plain(model: BaseModel) -> dict[str, Any]:
    # What is absent is left out: a keyring holds few characters in one entry.
    return model.model_dump(mode="json", exclude_none=True)


class MemoryGrantStore(MemoryStore[Grant]):
    """Grants that are gone when the process ends."""

    def __init__(self) -> None:
        super().__init__(Grant)


class FileGrantStore(FileStore[Grant]):
    """Grants in one file that only its owner can read; see `FileStore`.

    Args:
        path: the file; by default one in the user's data directory.
        key: encrypts the file: 32 random bytes or more, or their text in base64 or hexadecimal; the variable
            `TOKEN_STORE_KEY` if not given.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, key: str | bytes | None = None):
        super().__init__(path or default_path().with_name("mcp-grants.json"), Grant, key)


class KeyringGrantStore(KeyringStore[Grant]):
    """Grants in the system's keyring; see `KeyringStore`.

    Args:
        service: what the entries are called; stores of one service share them.
        backend: the keyring; the system's if not given.

    Raises:
        ConfigurationError: the package `keyring` is not installed, or there is no keyring here.
    """

    def __init__(self, service: str = "mcp-oauth-nb", *, backend: KeyringBackend | None = None):
        super().__init__(service, backend, Grant)
