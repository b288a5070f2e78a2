"""Values that are kept in one document: read, changed and replaced as a whole, by one process at a time.

Where the document is, a file or the system's keyring, is for the classes on top of this one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Generic

from ..oauth.errors import ConfigurationError, ProtocolError
from .lock import ProcessLock
from .records import R, TokenKey
from .seal import Seal, is_sealed

log = logging.getLogger(__name__)

#: Holds the key of encrypted stores, in the environment or `.env`.
KEY_VARIABLE = "TOKEN_STORE_KEY"

# What a record is called in a document, by the name of its class in lower case.
_NOUNS = ("token", "grant")

#: The format of a document. One without a number is of before there were numbers, and alike.
VERSION = 1

# What the parsing of stored JSON fails with, whatever is in it.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, ProtocolError, RecursionError)


class DocumentStore(ABC, Generic[R]):
    """Values by what they are bound to. Safe to use from any thread.

    Args:
        place: how the store is called in errors and logs.
        lock: keeps other processes out.
        record_type: what it keeps.
        key: encrypts the document. One in clear is still read, and encrypted with the next change.

    A document that cannot be parsed counts as signed out. So does an entry, which stays in the document as it is until
    there is another value under its key: who wrote it may read it. A place that cannot be written costs a warning: the
    values stay in memory, and are written as soon as it can be.

    Attributes:
        place, record_type: as given.

    Every method may raise:
        ConfigurationError: the document is encrypted, and not with this key, or it is of a newer version of this
            package, or keeps records of another kind. It stays as it is.
    """

    medium: ClassVar[str]

    def __init__(self, place: str, lock: ProcessLock, record_type: type[R], key: bytes | None = None):
        self.place = place
        self.record_type = record_type
        self._among_processes = lock
        self._noun = record_type.__name__.lower()
        # A document of the other kind is opened too, to say what it is.
        self._seals = {noun: Seal(key, f"{noun}s") for noun in _NOUNS} if key is not None else {}
        self._seal = self._seals.get(self._noun)
        self._unwritten: dict[TokenKey, R | None] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def _get(self) -> bytes | None:
        """Return the document, or None if there is none.

        Raises:
            OSError: nobody can tell now.
        """

    @abstractmethod
    def _put(self, document: dict[str, Any]) -> None:
        """Replace the document: whoever reads meanwhile, or after a crash, gets the old or the new one.

        Raises:
            OSError: it is still the old one.
        """

    def entries(self) -> dict[TokenKey, R]:
        """Return everything that is stored."""
        with self._lock:
            try:
                return self._read()
            except OSError as error:
                log.warning("The token store %s cannot be read (%s).", self.place, error.strerror)
                return {key: value for key, value in self._unwritten.items() if value is not None}

    def load(self, key: TokenKey) -> R | None:
        """Return what is stored under this key, or None."""
        return self.entries().get(key)

    def save(self, key: TokenKey, value: R) -> None:
        """Store the value in place of any other under this key."""
        self._store(key, value)

    def delete(self, key: TokenKey) -> None:
        """Forget what is stored under this key, if there is something."""
        self._store(key, None)

    def alone(self, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Keep others who ask for the same waiting; see `ProcessLock.alone`."""
        return self._among_processes.alone(seconds)

    def replace(self, key: TokenKey, old: R | None, new: R | None) -> bool:
        """Store a value, or None for none, if the old one is still there.

        Returns:
            Whether it was: no other process can come between the look and the change.
        """
        with self._lock:
            done = self._change(key, new, lambda values: values.get(key) == old)
            if done is None:
                # Nobody can look now: what is known here counts.
                done = self._unwritten.get(key, old) in (old, new)
                if done:
                    self._unwritten[key] = new
            return done

    def _store(self, key: TokenKey, value: R | None) -> None:
        with self._lock:
            self._unwritten[key] = value
            self._change(key, value, lambda values: True)

    def _change(self, key: TokenKey, value: R | None, may: Callable[[dict[TokenKey, R]], bool]) -> bool | None:
        """Change one value, if it may be; None where the document cannot be read and written now."""
        try:
            with self._among_processes.changing():
                stored, unread = self._stored()
                if not may(self._with_unwritten(stored)):
                    return False
                self._unwritten[key] = value
                kept = [entry for entry in unread if _key_of(entry) not in self._unwritten]
                self._put(self._document(self._with_unwritten(stored), kept))
        except OSError as error:
            text = "The token store %s cannot be written (%s); tokens are kept in memory."
            log.warning(text, self.place, error.strerror)
            return None
        self._unwritten.clear()
        return True

    def _read(self) -> dict[TokenKey, R]:
        return self._with_unwritten(self._stored()[0])

    def _with_unwritten(self, stored: dict[TokenKey, R]) -> dict[TokenKey, R]:
        changed = {**stored, **self._unwritten}
        return {key: value for key, value in changed.items() if value is not None}

    def _stored(self) -> tuple[dict[TokenKey, R], list[Any]]:
        """Return what the document has: the values, and the entries that cannot be read."""
        content = self._get()
        values: dict[TokenKey, R] = {}
        unread: list[Any] = []
        try:
            entries = self._entries_in(content) if content is not None else []
        except _UNREADABLE:
            # Nothing of the content goes into the log: it may be half a token.
            log.warning("The token store %s is damaged and counts as empty: sign in again.", self.place)
            return {}, []
        for entry in entries:
            try:
                values[_key(entry["key"])] = self.record_type.from_dict(entry[self._noun])
            except _UNREADABLE:
                unread.append(entry)
        if unread:
            text = "The token store %s has %d damaged entries. They stay as they are, and count as signed out."
            log.warning(text, self.place, len(unread))
        return values, unread

    def _entries_in(self, content: bytes) -> list[Any]:
        document = json.loads(content)
        if is_sealed(document):
            if self._seal is None or not self._seal.fits(document):
                raise self._wrong_key()
            document = json.loads(self._opened(document))
        elif isinstance(document, dict) and "encrypted" in document:
            raise self._newer("is encrypted in a way that this version of the package does not know")
        if document.get("version", VERSION) != VERSION:
            raise self._newer("has a format that this version of the package does not know")
        found = [noun for noun in _NOUNS if f"{noun}s" in document]
        if found and self._noun not in found:
            raise self._other_kind(found[0])
        entries = document[f"{self._noun}s"]
        if not isinstance(entries, list):
            raise TypeError("entries are a list")
        return entries

    def _opened(self, document: dict[str, Any]) -> bytes:
        for seal in self._seals.values():
            with contextlib.suppress(ValueError):
                return seal.open(document)
        raise ValueError("this is nothing that was sealed")

    def _document(self, values: dict[TokenKey, R], unread: list[Any]) -> dict[str, Any]:
        stored = ({"key": list(key), self._noun: values[key].to_dict()} for key in sorted(values))
        document: dict[str, Any] = {"version": VERSION, f"{self._noun}s": [*stored, *unread]}
        return document if self._seal is None else self._seal.close(json.dumps(document).encode("ascii"))

    def _newer(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"The token store {self.place} {why}, and stays as it is.",
            hint="Update mcp-oauth-nb to the version that wrote it, use another store, or delete this one and sign in "
            "again.",
        )

    def _other_kind(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            f"The token store {self.place} keeps {found}s, not {self._noun}s, and stays as it is.",
            hint=f"Open it as {self.medium}{found.capitalize()}Store, or use another place.",
        )

    def _wrong_key(self) -> ConfigurationError:
        has = "no key is set" if self._seal is None else "the key is another one"
        return ConfigurationError(
            f"The token store {self.place} is encrypted, and {has}.",
            variables=(KEY_VARIABLE,),
            hint=f"Set {KEY_VARIABLE} to the key that it was written with. "
            "If that is lost, delete the store and sign in again.",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r})"


def _key(stored: Any) -> TokenKey:
    if not isinstance(stored, list) or not all(isinstance(part, str) for part in stored):
        raise TypeError("a key is a list of strings")
    return TokenKey(*stored)


def _key_of(entry: Any) -> TokenKey | None:
    """Return the key of an entry whose value cannot be read, if that can."""
    try:
        return _key(entry["key"])
    except _UNREADABLE:
        return None
