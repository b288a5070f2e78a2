"""Locks of a store among all processes that use it: a short one for a change, and a long one for a refresh.

They are files beside the store that are locked and never deleted. Windows has no such lock: there nobody waits, and who
comes late uses what the other one stored.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio

if sys.platform != "win32":
    import fcntl

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
        descriptor = self._open("lock")
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[None]:
        """Keep others who ask for the same waiting, but none longer than the seconds that it gave.

        A refresh spans a look at the token, a request and the new token: who did the same meanwhile would spoil it.
        """
        with contextlib.ExitStack() as stack:
            # Where there can be no lock, nobody waits.
            with contextlib.suppress(OSError):
                descriptor = self._open("refresh")
                stack.callback(os.close, descriptor)
                with anyio.move_on_after(seconds):
                    while not _locked(descriptor):  # noqa: ASYNC110 (another process sets no event)
                        await anyio.sleep(_LOOK_SECONDS)
            yield

    def _open(self, purpose: str) -> int:
        for directory in reversed((self._path.parent, *self._path.parent.parents)):
            directory.mkdir(mode=0o700, exist_ok=True)
        # A file of its own: a lock on the store itself would be on the one that is replaced.
        return os.open(self._path.with_name(f".{self._path.name}.{purpose}"), os.O_WRONLY | os.O_CREAT, 0o600)


def _locked(descriptor: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
