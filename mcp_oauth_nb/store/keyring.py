"""Stores in the system's keyring: macOS Keychain, Windows Credential Manager, Secret Service, KWallet.

Needs the package `keyring`: `pip install "mcp-oauth-nb[keyring]"`. A keyring may ask the user to unlock it, and takes
as long to answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..oauth.errors import ConfigurationError
from ..oauth.token import Token
from .document import DocumentStore
from .file import default_path
from .lock import ProcessLock
from .records import R

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

log = logging.getLogger(__name__)

# The Credential Manager takes 2560 bytes, and makes two of a character.
_MOST_CHARACTERS = 1200
_FIRST = "0"
# How often a reader starts again because a writer was quicker.
_MOST_LOOKS = 20

_NO_KEYRING = (
    "Install and unlock one: GNOME Keyring, KWallet or KeePassXC on Linux; macOS and Windows have one. Where there is "
    "none, as on a server, use a file: FileTokenStore(key=...), FileGrantStore(key=...)."
)


class KeyringStore(DocumentStore[R]):
    """Values in the system's keyring. See `DocumentStore`.

    An entry of a keyring is small. A document that does not fit into one is in several: an index, and the parts of one
    of two copies. A writer fills the copy that is not in use, points the index to it, and removes the other.

    Args:
        service: what the entries are called; stores of one service share them.
        backend: the keyring; the system's if not given.
        record_type: what it keeps.

    Raises:
        ConfigurationError: the package `keyring` is not installed, or there is no keyring here.
    """

    medium = "Keyring"

    def __init__(self, service: str, backend: KeyringBackend | None, record_type: type[R]):
        self._backend = backend if backend is not None else system_keyring()
        self._service = service
        # Only its name is used: the locks of the store are beside it.
        lock = ProcessLock(
            default_path().with_name(f"keyring-{quote(service, safe='')}-{record_type.__name__.lower()}s")
        )
        super().__init__(f"{service} in {type(self._backend).__name__}", lock, record_type)

    def _get(self) -> bytes | None:
        first = None
        for _ in range(_MOST_LOOKS):
            before, first = first, self._entry(_FIRST)
            if first is None:
                return None
            if (content := self._content(first)) is not None:
                return content
            if first == before:
                break
        return b""  # damaged

    def _content(self, first: str) -> bytes | None:
        """Return the document that the first entry has or speaks of; None if it is not there, or not any more."""
        index = _index(first)
        if index is None:
            return first.encode("utf-8", "replace")
        try:
            # A part that is missing ends it: the count may be anything.
            parts = takewhile(bool, (self._entry(f"{index['copy']}{number}") for number in range(index["parts"])))
            content = "".join(part or "" for part in parts).encode("utf-8", "replace")
            return content if hashlib.sha256(content).hexdigest() == index["sha256"] else None
        except (KeyError, TypeError):
            return None

    def _put(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, separators=(",", ":"))
        in_use = (_index(self._entry(_FIRST) or "") or {}).get("copy")
        copy, other = ("b", "a") if in_use == "a" else ("a", "b")
        parts = [text[start : start + _MOST_CHARACTERS] for start in range(0, len(text), _MOST_CHARACTERS)]
        if len(parts) == 1:
            self._set(_FIRST, parts.pop())
        else:
            for number, part in enumerate(parts):
                self._set(f"{copy}{number}", part)
            digest = hashlib.sha256(text.encode("ascii")).hexdigest()
            self._set(_FIRST, json.dumps({"copy": copy, "parts": len(parts), "sha256": digest}))
        try:
            # Of who crashed half way there may be more parts than the new document has.
            self._remove(copy, len(parts))
            self._remove(other, 0)
        except OSError as error:
            log.warning("What %s had before is still there (%s), until the next change.", self.place, error.strerror)

    def _remove(self, copy: str, first: int) -> None:
        end = first
        while self._entry(f"{copy}{end}") is not None:
            end += 1
        # The last one first: what a crash leaves is found again by counting.
        for number in reversed(range(first, end)):
            with _typed():
                self._backend.delete_password(self._name(f"{copy}{number}"), self._noun)

    def _entry(self, name: str) -> str | None:
        with _typed():
            return self._backend.get_password(self._name(name), self._noun)

    def _set(self, name: str, value: str) -> None:
        with _typed():
            self._backend.set_password(self._name(name), self._noun, value)

    def _name(self, name: str) -> str:
        # A service for each entry: Windows moves the entries of one service about, to tell their users apart.
        return f"{self._service} {self._noun}s {name}"


def _index(first: str) -> dict[str, Any] | None:
    """Return the index that a first entry is, or None if it is a document."""
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "copy" in value else None


class KeyringTokenStore(KeyringStore[Token]):
    """A `TokenStore` in the system's keyring; see `KeyringStore`.

    Args:
        service: what the entries are called; stores of one service share them.
        backend: the keyring; the system's if not given.

    Raises:
        ConfigurationError: the package `keyring` is not installed, or there is no keyring here.
    """

    def __init__(self, service: str = "mcp-oauth-nb", *, backend: KeyringBackend | None = None):
        super().__init__(service, backend, Token)


def system_keyring() -> KeyringBackend:
    """Return the keyring of this system.

    Raises:
        ConfigurationError: the package `keyring` is not installed, or there is no keyring here.
    """
    try:
        import keyring
        from keyring.backends import fail, null
    except ImportError as error:
        raise ConfigurationError(
            f"The package keyring is not installed ({error.name} is missing).",
            hint='Install it: pip install "mcp-oauth-nb[keyring]"',
        ) from None
    with _found_or_not():
        backend = keyring.get_keyring()
        if not isinstance(backend, fail.Keyring | null.Keyring):
            return backend
    raise ConfigurationError("There is no keyring on this system that can be used.", hint=_NO_KEYRING)


@contextmanager
def _found_or_not() -> Iterator[None]:
    try:
        yield
    except (ImportError, AttributeError, RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"The keyring that is configured cannot be loaded ({type(error).__name__}).",
            hint="Correct PYTHON_KEYRING_BACKEND or keyringrc.cfg; `keyring --list-backends` says what there is.",
        ) from error


@contextmanager
def _typed() -> Iterator[None]:
    """Raise as `OSError` whatever a keyring fails with: it is locked, the user said no, its service is gone."""
    try:
        yield
    except Exception as error:  # backends are plug-ins, and raise errors of the libraries below them
        raise OSError(0, type(error).__name__) from error
