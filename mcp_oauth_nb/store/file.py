"""A store in one file that only its owner can read."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from ..oauth.errors import ConfigurationError
from .document import KEY_VARIABLE, DocumentStore
from .key import key_from
from .lock import ProcessLock
from .records import R


class FileStore(DocumentStore[R]):
    """Values in one JSON file of mode 0600, replaced as a whole so that a crash leaves the old or the new one.

    Args:
        path: the file.
        record_type: what it keeps.
        key: 32 random bytes or more that encrypt the file, or their text in base64 or hexadecimal; the variable
            `TOKEN_STORE_KEY` if not given. Without one the file is not encrypted.

    A file that cannot be parsed counts as signed out. A disk that cannot be written costs a warning: the values
    stay in memory.

    Raises:
        ConfigurationError: the key is not a good one. When the store is used: other users may read the file or own it,
            or it is encrypted with another key; it then stays as it is.
    """

    medium = "File"

    def __init__(self, path: str | os.PathLike[str], record_type: type[R], key: str | bytes | None = None):
        self.path = Path(path)
        super().__init__(str(self.path), ProcessLock(self.path), record_type, key_from(key, KEY_VARIABLE))

    def _get(self) -> bytes | None:
        try:
            with open(self.path, "rb", opener=_at_once) as file:
                self._check(os.fstat(file.fileno()))
                return file.read()
        except FileNotFoundError:
            return None

    def _put(self, document: dict[str, Any]) -> None:
        self._remove_left_over()
        # mkstemp makes the file with mode 0600 before a byte is in it.
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(document).encode())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _remove_left_over(self) -> None:
        """Remove what a process left that was killed before its rename: tokens where nobody looks for them."""
        # Eight characters of mkstemp's: the locks, and the files of a neighbour `NAME.more`, are named otherwise.
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.????????.new"):
            with contextlib.suppress(OSError):
                left.unlink()

    def _check(self, file: os.stat_result) -> None:
        if not stat.S_ISREG(file.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if sys.platform == "win32":
            return
        if file.st_uid != os.geteuid():
            # Root could read it all the same, with tokens that somebody else put there.
            raise ConfigurationError(
                f"The token store {self.path} belongs to another user.",
                hint="Use a file of your own. If this one should be yours, change its owner.",
            )
        if file.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"The token store {self.path} can be read by other users (mode {stat.S_IMODE(file.st_mode):04o}).",
                hint=f"Run: chmod 600 {self.path}. If others use this machine, revoke the tokens and sign in again.",
            )


def _at_once(path: str, flags: int) -> int:
    # A pipe in the file's place would let nobody read before somebody writes.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def default_path() -> Path:
    """Return the file that `login` and `serve` share, in the user's data directory."""
    return user_data_path("mcp-oauth-nb", appauthor=False) / "tokens.json"
