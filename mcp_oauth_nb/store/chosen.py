"""Where the commands keep tokens: in a file, or in the system's keyring if `TOKEN_STORE` says so."""

from __future__ import annotations

from ..oauth.errors import ConfigurationError
from .key import from_environment
from .keyring import KeyringTokenStore
from .tokens import FileTokenStore

#: In the environment or `.env`: `file` or `keyring`.
VARIABLE = "TOKEN_STORE"


def chosen_store() -> FileTokenStore | KeyringTokenStore:
    """Return the store that `login`, `logout`, `serve` and `doctor` share.

    Raises:
        ConfigurationError: `TOKEN_STORE` is neither `file` nor `keyring`, or there is no keyring here.
    """
    name = (from_environment(VARIABLE) or "file").strip().lower()
    if name == "file":
        return FileTokenStore()
    if name == "keyring":
        return KeyringTokenStore()
    raise ConfigurationError(f"{VARIABLE} is neither `file` nor `keyring`.", variables=(VARIABLE,))
