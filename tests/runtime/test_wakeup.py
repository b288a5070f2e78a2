from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shells import Shell, opened

from mcp_oauth_nb.runtime.kernel import load_ipython_extension

SECONDS = 5.0


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with opened(tmp_path) as shell:
        yield shell


@pytest.fixture
def loaded(shell: Shell) -> Shell:
    load_ipython_extension(shell)
    return shell


class Drowsy(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """A selector that says when it falls asleep for long."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = threading.Event()

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 1.0:
            self.asleep.set()
        return super().select(timeout)


class Interrupted:
    """A loop on which a cell awaits, while SIGINT is answered as ipykernel does it: by a callback on the sleeping loop.

    Attributes:
        seconds: from the signal to the callback.
    """

    def __init__(self) -> None:
        self.selector = Drowsy()
        self.loop = asyncio.SelectorEventLoop(self.selector)
        self.seconds = 0.0
        self._sent = 0.0

    def cell(self, shell: Shell, code: str = "await stopped.wait()") -> None:
        stopped = asyncio.Event()

        def stop() -> None:
            self.seconds = time.monotonic() - self._sent
            stopped.set()

        async def run() -> None:
            shell.user_ns["stopped"] = stopped
            # Something else that wakes the loop, much later.
            self.loop.call_later(2.0, lambda: None)
            await shell.run_cell_async(code, transformed_cell=code)
            shell.events.trigger("post_execute")

        before = signal.signal(signal.SIGINT, lambda *_: self.loop.call_soon(stop))
        sender = threading.Thread(target=self._send)
        sender.start()
        try:
            self.loop.run_until_complete(run())
        finally:
            sender.join()
            signal.signal(signal.SIGINT, before)

    def _send(self) -> None:
        assert self.selector.asleep.wait(SECONDS)
        self._sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def interrupted() -> Iterator[Interrupted]:
    interrupted = Interrupted()
    yield interrupted
    interrupted.loop.close()


def wakeup_fd() -> int:
    current = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(current)
    return current


def test_without_the_extension_a_stop_comes_when_something_else_wakes_the_loop(
    shell: Shell, interrupted: Interrupted
) -> None:
    # If this fails, `Waker` is not needed any more.
    interrupted.cell(shell)
    assert interrupted.seconds > 0.9


def test_a_stop_wakes_the_loop_on_which_a_cell_awaits(loaded: Shell, interrupted: Interrupted) -> None:
    interrupted.cell(loaded)
    assert interrupted.seconds < 0.9
    assert wakeup_fd() == -1


def test_the_cell_that_loads_the_extension_can_be_stopped_too(shell: Shell, interrupted: Interrupted) -> None:
    interrupted.cell(shell, "get_ipython().run_line_magic('load_ext', 'mcp_oauth_nb')\nawait stopped.wait()")
    assert interrupted.seconds < 0.9


def during_a_cell(shell: Shell, look: Callable[[], Any], code: str = "await pause()\nlook()") -> None:
    """Run a cell that awaits, and then looks."""

    async def run() -> None:
        shell.user_ns.update(look=look, pause=lambda: asyncio.sleep(0))
        await shell.run_cell_async(code, transformed_cell=code)
        shell.events.trigger("post_execute")

    asyncio.run(run())


def test_signals_are_touched_only_while_a_cell_awaits(loaded: Shell) -> None:
    seen: list[int] = []
    during_a_cell(loaded, lambda: seen.append(wakeup_fd()))
    during_a_cell(loaded, lambda: seen.append(wakeup_fd()), "look()")
    assert seen[0] != -1
    assert seen[1:] == [-1]
    assert wakeup_fd() == -1


def test_a_wakeup_that_somebody_else_arranged_is_left_alone(loaded: Shell) -> None:
    seen: list[int] = []
    received: list[int] = []

    def add_handler() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, received.append, 1)
        seen.append(wakeup_fd())

    def look() -> None:
        seen.append(wakeup_fd())
        os.kill(os.getpid(), signal.SIGUSR1)

    async def cells() -> None:
        loaded.user_ns.update(add_handler=add_handler, look=look, pause=lambda: asyncio.sleep(0))
        # Arranged while ours is in place, and found in place by the second cell.
        for code in ("await pause()\nadd_handler()", "await pause()\nlook()\nawait pause()\nawait pause()"):
            await loaded.run_cell_async(code, transformed_cell=code)
            loaded.events.trigger("post_execute")
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)

    asyncio.run(cells())
    assert seen[0] == seen[1] != -1
    assert received == [1]


def test_cells_on_other_threads_do_not_touch_signals(
    loaded: Shell, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # ipykernel's subshells are such threads; Python would not let them.
    threads: list[threading.Thread] = []
    thread = threading.Thread(target=during_a_cell, args=(loaded, lambda: threads.append(threading.current_thread())))
    thread.start()
    thread.join()
    assert threads == [thread]
    assert (caplog.records, capsys.readouterr().err) == ([], "")
