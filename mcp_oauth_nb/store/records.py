"""The protocol of every store of tokens or grants: records of one kind, each under what it is bound to.

`Store` is the whole protocol; `MemoryStore`, `FileStore` and `KeyringStore` have it, for tokens and for grants. A store
of one's own may have three methods only. `store_of` adds the rest, and refuses a store of the other kind.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar, cast

from ..oauth.errors import ConfigurationError
from ..oauth.token import Token


class TokenKey(NamedTuple):
    """What a record is bound to."""

    issuer: str
    client_id: str
    resource: str


class Record(Protocol):
    """What a store keeps: a value with a form in JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form, secrets in clear."""
        ...

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read the stored form.

        Raises:
            ProtocolError: it is not one.
        """
        ...


R = TypeVar("R", bound=Record)

_METHODS = ("entries", "load", "save", "delete", "replace", "alone")


class SimpleStore(Protocol[R]):
    """A store of one's own with three methods, safe to call from any thread.

    These three are for tokens. A store of grants has `entries()` in place of `load`, which returns all of them by their
    keys. With three methods nobody can let one process refresh at a time: a token that cannot be refreshed stays in
    such a store until the next authorization.
    """

    def load(self, key: TokenKey, /) -> R | None:
        """Return the record under this key, or None."""
        ...

    def save(self, key: TokenKey, value: R, /) -> None:
        """Store the record in place of any other under this key."""
        ...

    def delete(self, key: TokenKey, /) -> None:
        """Forget the record, if there is one."""
        ...


class Store(Protocol[R]):
    """A store that any number of sessions and processes use at the same time. Safe to call from any thread."""

    def entries(self) -> dict[TokenKey, R]:
        """Return every record."""
        ...

    def load(self, key: TokenKey, /) -> R | None:
        """Return the record under this key, or None."""
        ...

    def save(self, key: TokenKey, value: R, /) -> None:
        """Store the record in place of any other under this key."""
        ...

    def delete(self, key: TokenKey, /) -> None:
        """Forget the record, if there is one."""
        ...

    def replace(self, key: TokenKey, old: R | None, new: R | None) -> bool:
        """Store a record, or None for none, if the old one is still there.

        Returns:
            Whether it was: nobody can come between the look and the change.
        """
        ...

    def alone(self, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        Returns:
            Whether nobody else is at it. Who is told False has waited in vain, and must not refresh.
        """
        ...


class CompletedStore(Generic[R]):
    """A `SimpleStore` with the rest of the methods, as far as they can be made of three.

    Another process may come between a look and a change. Nobody waits for a turn.
    """

    # One for all: two clients may share a store.
    _changing: ClassVar = threading.RLock()

    def __init__(self, store: Any):
        self._store = store

    def entries(self) -> dict[TokenKey, R]:
        """Return every record."""
        return cast("dict[TokenKey, R]", self._store.entries())

    def load(self, key: TokenKey, /) -> R | None:
        """Return the record under this key, or None."""
        return cast("R | None", self._store.load(key) if hasattr(self._store, "load") else self.entries().get(key))

    def save(self, key: TokenKey, value: R, /) -> None:
        """Store the record in place of any other under this key."""
        with self._changing:
            self._store.save(key, value)

    def delete(self, key: TokenKey, /) -> None:
        """Forget the record, if there is one."""
        with self._changing:
            self._store.delete(key)

    def replace(self, key: TokenKey, old: R | None, new: R | None) -> bool:
        """See `Store`; this is for the threads of this process only."""
        with self._changing:
            if self.load(key) != old:
                return False
            if new is not None:
                self.save(key, new)
            elif old is not None:
                self.delete(key)
            return True

    def alone(self, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Have the turn at once: there are none to wait for."""
        return nullcontext(True)

    def __repr__(self) -> str:
        return f"CompletedStore({self._store!r})"


def store_of(kind: type[R], store: Store[R] | SimpleStore[R]) -> Store[R]:
    """Return a store of the whole protocol.

    Args:
        kind: what it is to keep.
        store: one of this package's, or of the caller's own with all methods of `Store` or the three of `SimpleStore`.

    Raises:
        ConfigurationError: it keeps the other kind, or it is no store.
    """
    name = kind.__name__
    if isinstance(store, type):
        raise ConfigurationError(f"{store.__name__} is a class, not a store.", hint=f"Call it: {store.__name__}().")
    if (other := getattr(store, "record_type", kind)) is not kind:
        right = f"{getattr(store, 'medium', '')}{name}Store"
        raise ConfigurationError(
            f"This store keeps {other.__name__.lower()}s, and what is to be kept here are {name.lower()}s.",
            hint=f"Use {right}(...). OAuthHandler keeps tokens, McpAuth keeps grants: tokens with what else belongs to "
            "one MCP server.",
        )
    simple = ("load" if kind is Token else "entries", "save", "delete")
    wanted = _METHODS if hasattr(store, "alone") else simple
    missing = [method for method in wanted if not callable(getattr(store, method, None))]
    if missing:
        raise ConfigurationError(
            f"{type(store).__name__} is no store of {name.lower()}s: it has no method {missing[0]}.",
            hint=f"Use Memory{name}Store(), File{name}Store() or Keyring{name}Store(). A store of your own has the "
            f"methods {', '.join(simple[:-1])} and {simple[-1]}, or all of {', '.join(_METHODS)}.",
        )
    return cast("Store[R]", store) if wanted is _METHODS else CompletedStore[R](store)
