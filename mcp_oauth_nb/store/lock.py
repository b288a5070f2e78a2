"""Locks of a store among all processes that use it: a short one for a change, and a long one for a refresh.

They are files beside the store, locked by filelock. The system frees the lock of a process that dies, so that
nobody waits for a dead one. Three things are our own:

- the wait for a refresh: it is awaited, bounded, and ends when its task is cancelled. filelock's own asynchronous lock
  waits in a thread, which a cancelled task cannot stop;
- the directories that are missing: filelock makes them with the modes that everybody's have;
- what a lock that cannot be made means.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ..oauth.errors import Unreachable

if TYPE_CHECKING:
    from filelock import BaseFileLock

# How often a process looks whether the one that refreshes is done.
_LOOK_SECONDS = 0.05


class ProcessLock:
    """The two locks of one store.

    Args:
        path: a file name that they are made from; it need not exist. Missing directories are made for the owner only.
    """

    def __init__(self, path: Path):
        self._path = path

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep everybody else out, in this process or another, between reading and replacing what is stored.

        Raises:
            OSError: no lock file can be made.
        """
        with self._lock("lock"):
            yield

    @contextlib.asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[bool]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        A refresh spans a look at the token, a request and the new token: who did the same meanwhile would spoil it.

        Returns:
            Whether nobody else is at it. Where there can be no lock nobody waits, and everybody is told so: nothing can
            be written there either, so that others do not see what is changed.
        """
        taken = False
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                lock = self._lock("refresh")
                stack.callback(lock.release)
                with anyio.move_on_after(seconds):
                    while taken := not _locked(lock):  # noqa: ASYNC110 (another process sets no event)
                        await anyio.sleep(_LOOK_SECONDS)
            yield not taken

    def _lock(self, purpose: str) -> BaseFileLock:
        # Imported at the first use: it costs more than this whole room.
        from filelock import FileLock

        _make(self._path.parent)
        # A file of its own: a lock on the store itself would be on the one that is replaced.
        return FileLock(self._path.with_name(f".{self._path.name}.{purpose}"), mode=0o600)


def _make(directory: Path) -> None:
    """Make a directory and those above it that are missing, each for the owner only: `parents=True` does the last."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _locked(lock: BaseFileLock) -> bool:
    """Lock a file if it is free; say whether it was."""
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def still_taken(seconds: float) -> Unreachable:
    """Return the error of who waited for the turn to refresh, and did not get it.

    Args:
        seconds: how long it waited.
    """
    return Unreachable(
        f"Another session or process is refreshing the token, and was not done within {seconds:g} seconds.",
        hint="Nothing was sent, and nothing was lost: the token is kept. Try again in a moment. If it stays so, end "
        "the process that is stuck, such as one that waits in a debugger.",
    )
