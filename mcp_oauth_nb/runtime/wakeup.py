"""Stop reaches an `await`: a signal wakes the kernel's event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from contextlib import suppress

from .loops import running_loop


class Waker:
    """Lets a signal wake the kernel's event loop while a cell awaits.

    ipykernel answers SIGINT by `IOLoop.add_callback`, which on the loop's own thread takes the loop to be awake. But
    it sleeps, until something else happens: Stop came 10 seconds late. With a wakeup file descriptor the signal is
    itself something that happens, and nothing runs until then.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._planned: asyncio.Handle | None = None

    def cell_begins(self) -> None:
        """Plan to be there when the loop gets its turn, that is, when the cell awaits. In other cells it never does."""
        loop = running_loop()
        if loop is not None and threading.current_thread() is threading.main_thread():
            self._planned = loop.call_soon(self._arm, loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        if before not in (-1, self._sender.fileno()):
            # Somebody else's, which wakes the loop as well: asyncio's own, for loop.add_signal_handler().
            signal.set_wakeup_fd(before)
            return
        self._loop = loop
        loop.add_reader(self._receiver, self._drain)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            self._receiver.recv(4096)

    def cell_ends(self) -> None:
        """Leave the signals as they were."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._planned is not None:
            self._planned.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._receiver)
            self._loop = None
            current = signal.set_wakeup_fd(-1)
            if current != self._sender.fileno():
                signal.set_wakeup_fd(current)

    def close(self) -> None:
        """Leave the signals as they were, for good."""
        self.cell_ends()
        self._receiver.close()
        self._sender.close()
