"""Where tokens live between two uses: in memory, or in a file that only its owner can read.

A token is stored under the issuer, the client and the resource that it belongs to, so that it is never
sent to another server after the configuration changed. Expiry is absolute and survives a restart.
`keyring` has a third place, the system's keyring.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from ..oauth.token import Token
from .document import TokenKey as TokenKey
from .file import FileStore as FileStore
from .file import default_path as default_path


class TokenStore(Protocol):
    """Three methods, safe to call from any thread."""

    def load(self, key: TokenKey) -> Token | None:
        """Return the stored token, or None."""
        ...

    def save(self, key: TokenKey, token: Token) -> None:
        """Store the token in place of any other under this key."""
        ...

    def delete(self, key: TokenKey) -> None:
        """Forget the token, if there is one."""
        ...


@runtime_checkable
class SharedTokenStore(TokenStore, Protocol):
    """A store that other processes use at the same time."""

    def alone(self, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        Returns:
            Whether nobody else is at it. Who is told False has waited in vain, and must not refresh.
        """
        ...


@runtime_checkable
class ComparingTokenStore(TokenStore, Protocol):
    """A store that others use at the same time, and that lets nobody come between a look and a change."""

    def replace(self, key: TokenKey, old: Token | None, new: Token | None) -> bool:
        """Store a token, or None for none, if the old one is still there. Returns whether it was."""
        ...


class MemoryTokenStore:
    """Tokens that are gone when the process ends."""

    def __init__(self) -> None:
        self._tokens: dict[TokenKey, Token] = {}

    def load(self, key: TokenKey) -> Token | None:
        """Return the stored token, or None."""
        return self._tokens.get(key)

    def save(self, key: TokenKey, token: Token) -> None:
        """Store the token in place of any other under this key."""
        self._tokens[key] = token

    def delete(self, key: TokenKey) -> None:
        """Forget the token, if there is one."""
        self._tokens.pop(key, None)

    def __repr__(self) -> str:
        return f"MemoryTokenStore({len(self._tokens)} tokens)"


class FileTokenStore(FileStore[Token]):
    """A `TokenStore` in one file that only its owner can read; see `FileStore`.

    Args:
        path: the file; by default one in the user's data directory, which `login` and `serve` share.
        key: encrypts the file: 32 random bytes or more, or their text in base64 or hexadecimal; the variable
            `TOKEN_STORE_KEY` if not given.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, key: str | bytes | None = None):
        super().__init__(path if path is not None else default_path(), Token.from_dict, "token", key)
