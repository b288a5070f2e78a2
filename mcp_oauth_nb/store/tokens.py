"""Where tokens live between two uses: in memory, or in a file that only its owner can read.

A token is stored under the issuer, the client and the resource that it belongs to, so that it is never
sent to another server after the configuration changed. Expiry is absolute and survives a restart.
`keyring` has a third place, the system's keyring.
"""

from __future__ import annotations

import os

from ..oauth.token import Token
from .file import FileStore, default_path
from .memory import MemoryStore


class MemoryTokenStore(MemoryStore[Token]):
    """Tokens that are gone when the process ends."""

    def __init__(self) -> None:
        super().__init__(Token)


class FileTokenStore(FileStore[Token]):
    """Tokens in one file that only its owner can read; see `FileStore`.

    Args:
        path: the file; by default one in the user's data directory, which `login` and `serve` share.
        key: encrypts the file: 32 random bytes or more, or their text in base64 or hexadecimal; the variable
            `TOKEN_STORE_KEY` if not given.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, key: str | bytes | None = None):
        super().__init__(path if path is not None else default_path(), Token, key)
