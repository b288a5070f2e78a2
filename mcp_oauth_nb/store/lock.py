"""Locks of a store among all processes that use it: a short one for a change, and a long one for a refresh.

They are files beside the store that are locked and never deleted. The system frees the lock of a process that dies, so
that nobody waits for a dead one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio

from ..oauth.errors import Unreachable

if sys.platform == "win32":
    import msvcrt
else:
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
        with contextlib.ExitStack() as stack:
            descriptor = self._open("lock")
            stack.callback(os.close, descriptor)
            if sys.platform == "win32":
                while not _locked(descriptor):
                    time.sleep(_LOOK_SECONDS)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            stack.callback(_unlock, descriptor)
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
                descriptor = self._open("refresh")
                stack.callback(os.close, descriptor)
                with anyio.move_on_after(seconds):
                    while taken := not _locked(descriptor):  # noqa: ASYNC110 (another process sets no event)
                        await anyio.sleep(_LOOK_SECONDS)
                if not taken:
                    stack.callback(_unlock, descriptor)
            yield not taken

    def _open(self, purpose: str) -> int:
        _make(self._path.parent)
        # A file of its own: a lock on the store itself would be on the one that is replaced.
        return os.open(self._path.with_name(f".{self._path.name}.{purpose}"), os.O_WRONLY | os.O_CREAT, 0o600)


def _make(directory: Path) -> None:
    """Make a directory and those above it that are missing, each for the owner only: `parents=True` does the last."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


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


def _locked(descriptor: int) -> bool:
    """Lock a file if it is free; say whether it was."""
    if sys.platform == "win32":
        try:
            # Of the first byte, which need not exist: nothing here reads or writes, so that the position stays 0.
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _unlock(descriptor: int) -> None:
    """Free a file. To close it is not enough while a child that was forked meanwhile has it open."""
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
