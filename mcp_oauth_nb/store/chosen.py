"""Where the commands keep tokens: in a file, or in the system's keyring if `TOKEN_STORE` says so."""

from __future__ import annotations

from ..oauth.settings import DeploymentSettings
from .keyring import KeyringTokenStore
from .tokens import FileTokenStore


def chosen_store() -> FileTokenStore | KeyringTokenStore:
    """Return the store that `login`, `logout`, `serve` and `doctor` share.

    Raises:
        ConfigurationError: `TOKEN_STORE` is neither `file` nor `keyring`, or there is no keyring here.
    """
    return KeyringTokenStore() if DeploymentSettings().token_store == "keyring" else FileTokenStore()
