"""Stores whose records are gone when the process ends."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Generic

import anyio

from .records import R, TokenKey

# How often a session looks whether the one that refreshes is done.
_LOOK_SECONDS = 0.02


class MemoryStore(Generic[R]):
    """Records in memory. See `Store`.

    Args:
        record_type: what it keeps.
    """

    medium: ClassVar = "Memory"

    def __init__(self, record_type: type[R]):
        self.record_type = record_type
        self._records: dict[TokenKey, R] = {}
        # Of threads, not of tasks: sessions live on several event loops.
        self._turn = threading.Lock()
        self._changing = threading.Lock()

    def entries(self) -> dict[TokenKey, R]:
        """Return every record."""
        return dict(self._records)

    def load(self, key: TokenKey, /) -> R | None:
        """Return the record under this key, or None."""
        return self._records.get(key)

    def save(self, key: TokenKey, value: R, /) -> None:
        """Store the record in place of any other under this key."""
        with self._changing:
            self._records[key] = value

    def delete(self, key: TokenKey, /) -> None:
        """Forget the record, if there is one."""
        with self._changing:
            self._records.pop(key, None)

    def replace(self, key: TokenKey, old: R | None, new: R | None) -> bool:
        """Store a record, or None for none, if the old one is still there; return whether it was."""
        with self._changing:
            same = self._records.get(key) == old
            if same and new is not None:
                self._records[key] = new
            elif same:
                self._records.pop(key, None)
            return same

    @asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[bool]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        Returns:
            Whether nobody else is at it.
        """
        mine = False
        with anyio.move_on_after(seconds):
            while not (mine := self._turn.acquire(blocking=False)):  # noqa: ASYNC110 (another loop sets no event)
                await anyio.sleep(_LOOK_SECONDS)
        try:
            yield mine
        finally:
            if mine:
                self._turn.release()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._records)} {self.record_type.__name__.lower()}s)"
