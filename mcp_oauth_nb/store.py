"""Where tokens live between two uses: in memory, or in a file that only its owner can read.

A token is stored under the issuer, the client and the resource that it belongs to, so that it is never
sent to another server after the configuration changed. Expiry is absolute and survives a restart.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import anyio
from platformdirs import user_data_path

from .errors import ConfigurationError, ProtocolError
from .tokens import Token

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

# How often a process looks whether the one that refreshes is done.
_LOOK_SECONDS = 0.05


class TokenKey(NamedTuple):
    """What a token is bound to."""

    issuer: str
    client_id: str
    resource: str


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

    def alone(self, seconds: float) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave."""
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


class FileTokenStore:
    """Tokens in one JSON file of mode 0600, replaced as a whole so that a crash leaves the old or the new one.

    Args:
        path: the file; by default one in the user's data directory, which `login` and `serve` share.

    A file that cannot be parsed counts as signed out. A disk that cannot be written costs a warning: the tokens
    stay in memory.

    Raises:
        ConfigurationError: other users may read the file.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self.path = Path(path) if path is not None else default_path()
        self._unwritten: dict[TokenKey, Token | None] = {}
        self._lock = threading.Lock()

    def load(self, key: TokenKey) -> Token | None:
        """Return the stored token, or None."""
        with self._lock:
            try:
                return self._read().get(key)
            except OSError as error:
                log.warning("The token store %s cannot be read (%s).", self.path, error.strerror)
                return self._unwritten.get(key)

    def save(self, key: TokenKey, token: Token) -> None:
        """Store the token in place of any other under this key."""
        self._change(key, token)

    def delete(self, key: TokenKey) -> None:
        """Forget the token, if there is one."""
        self._change(key, None)

    @contextlib.asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[None]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        A refresh spans a look at the token, a request and the new token: who did the same meanwhile would spoil it.
        """
        with contextlib.ExitStack() as stack:
            # Where there can be no lock, nobody waits.
            with contextlib.suppress(OSError):
                descriptor = self._lock_file("refresh")
                stack.callback(os.close, descriptor)
                with anyio.move_on_after(seconds):
                    while not _locked(descriptor):  # noqa: ASYNC110 (another process sets no event)
                        await anyio.sleep(_LOOK_SECONDS)
            yield

    def _change(self, key: TokenKey, token: Token | None) -> None:
        with self._lock:
            self._unwritten[key] = token
            try:
                with self._alone():
                    self._write(self._read())
            except OSError as error:
                reason = error.strerror
                log.warning("The token store %s cannot be written (%s); tokens are kept in memory.", self.path, reason)
            else:
                self._unwritten.clear()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other stores of this file out, in this process or another, between reading and replacing it."""
        descriptor = self._lock_file("lock")
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _lock_file(self, purpose: str) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of its own: a lock on the store itself would be on the one that is replaced.
        return os.open(self.path.with_name(f".{self.path.name}.{purpose}"), os.O_WRONLY | os.O_CREAT, 0o600)

    def _read(self) -> dict[TokenKey, Token]:
        tokens: dict[TokenKey, Token] = {}
        try:
            with self.path.open("rb") as file:
                self._check_mode(os.fstat(file.fileno()).st_mode)
                entries = json.loads(file.read())["tokens"]
            for entry in entries:
                tokens[_key(entry["key"])] = Token.from_dict(entry["token"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError, ProtocolError, RecursionError):
            # Nothing of the content goes into the log: it may be half a token.
            log.warning("The token store %s is damaged and counts as empty: sign in again.", self.path)
            tokens = {}
        for key, token in self._unwritten.items():
            if token is None:
                tokens.pop(key, None)
            else:
                tokens[key] = token
        return tokens

    def _write(self, tokens: dict[TokenKey, Token]) -> None:
        content: dict[str, Any] = {
            "tokens": [{"key": list(key), "token": token.to_dict()} for key, token in sorted(tokens.items())]
        }
        # mkstemp makes the file with mode 0600 before a byte is in it.
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _check_mode(self, mode: int) -> None:
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"The token store {self.path} can be read by other users (mode {stat.S_IMODE(mode):04o}).",
                hint=f"Run: chmod 600 {self.path}. If others use this machine, revoke the tokens and sign in again.",
            )

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self.path)!r})"


def _locked(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _key(stored: Any) -> TokenKey:
    if not isinstance(stored, list) or not all(isinstance(part, str) for part in stored):
        raise TypeError("a key is a list of strings")
    return TokenKey(*stored)


def default_path() -> Path:
    """Return the file that `login` and `serve` share, in the user's data directory."""
    return user_data_path("mcp-oauth-nb", appauthor=False) / "tokens.json"
