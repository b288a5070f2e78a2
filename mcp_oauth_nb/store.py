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
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

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


class Storable(Protocol):
    """What a `FileStore` can write: a value with a form in JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form, secrets in clear."""
        ...


V = TypeVar("V", bound=Storable)


class FileStore(Generic[V]):
    """Values in one JSON file of mode 0600, replaced as a whole so that a crash leaves the old or the new one.

    Args:
        path: the file.
        parse: makes a value of its stored form, or raises `ProtocolError`.
        noun: what one value is called in the file.

    A file that cannot be parsed counts as signed out. A disk that cannot be written costs a warning: the values
    stay in memory.

    Raises:
        ConfigurationError: other users may read the file.
    """

    def __init__(self, path: str | os.PathLike[str], parse: Callable[[dict[str, Any]], V], noun: str):
        self.path = Path(path)
        self._parse = parse
        self._noun = noun
        self._unwritten: dict[TokenKey, V | None] = {}
        self._lock = threading.Lock()

    def entries(self) -> dict[TokenKey, V]:
        """Return everything that is stored."""
        with self._lock:
            try:
                return self._read()
            except OSError as error:
                log.warning("The token store %s cannot be read (%s).", self.path, error.strerror)
                return {key: value for key, value in self._unwritten.items() if value is not None}

    def load(self, key: TokenKey) -> V | None:
        """Return what is stored under this key, or None."""
        return self.entries().get(key)

    def save(self, key: TokenKey, value: V) -> None:
        """Store the value in place of any other under this key."""
        self._change(key, value)

    def delete(self, key: TokenKey) -> None:
        """Forget what is stored under this key, if there is something."""
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

    def _change(self, key: TokenKey, value: V | None) -> None:
        with self._lock:
            self._unwritten[key] = value
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

    def _read(self) -> dict[TokenKey, V]:
        values: dict[TokenKey, V] = {}
        try:
            with self.path.open("rb") as file:
                self._check_mode(os.fstat(file.fileno()).st_mode)
                entries = json.loads(file.read())[f"{self._noun}s"]
            for entry in entries:
                values[_key(entry["key"])] = self._parse(entry[self._noun])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError, ProtocolError, RecursionError):
            # Nothing of the content goes into the log: it may be half a token.
            log.warning("The token store %s is damaged and counts as empty: sign in again.", self.path)
            values = {}
        for key, value in self._unwritten.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        return values

    def _write(self, values: dict[TokenKey, V]) -> None:
        stored = ({"key": list(key), self._noun: values[key].to_dict()} for key in sorted(values))
        content: dict[str, Any] = {f"{self._noun}s": list(stored)}
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
        return f"{type(self).__name__}({str(self.path)!r})"


class FileTokenStore(FileStore[Token]):
    """A `TokenStore` in one file that only its owner can read; see `FileStore`.

    Args:
        path: the file; by default one in the user's data directory, which `login` and `serve` share.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        super().__init__(path if path is not None else default_path(), Token.from_dict, "token")


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
