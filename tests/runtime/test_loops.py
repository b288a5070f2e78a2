from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import anyio
import pytest

from mcp_oauth_nb.oauth.errors import ConfigurationError, SessionError, SessionFailed
from mcp_oauth_nb.runtime import loops
from mcp_oauth_nb.runtime.awaitable_context import Opening
from mcp_oauth_nb.runtime.loops import LoopThread, ReportingThread, _Work, allow_asyncio_run, on, run

pytestmark = pytest.mark.anyio

SECONDS = 5.0
color = contextvars.ContextVar("color", default="none")


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """A loop thread of the test's own."""
    thread = LoopThread()
    yield thread
    assert thread.stop(SECONDS)


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert loops.stop()


class Waiting:
    """A coroutine that waits until it is cancelled, and tells when it began and when it ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()

    async def forever(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def thread_name() -> str:
    return threading.current_thread().name


def script(code: str, *, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


# -- the thread ------------------------------------------------------------------------------------------------


def test_there_is_one_thread_per_process_and_it_is_named() -> None:
    assert loops.loop() is loops.loop()
    named = [thread for thread in threading.enumerate() if thread.name == loops.THREAD_NAME]
    assert [thread.daemon for thread in named] == [True]


def test_a_stopped_thread_is_replaced_when_it_is_needed_again() -> None:
    first = loops.loop()
    assert loops.stop()
    assert first.is_closed()
    assert loops.loop() is not first
    assert run(thread_name()) == loops.THREAD_NAME


def test_stopping_without_a_thread_does_nothing() -> None:
    assert loops.stop()
    assert loops.stop()


def test_stopping_cancels_what_runs_and_waits_for_it() -> None:
    waiting = Waiting()
    future = asyncio.run_coroutine_threadsafe(waiting.forever(), loops.loop())
    assert waiting.began.wait(SECONDS)
    assert loops.stop()
    assert waiting.ended.is_set()
    assert future.cancelled()


def test_stopping_gives_up_on_work_that_blocks() -> None:
    thread, release, blocked = LoopThread(), threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait()

    thread.loop.call_soon_threadsafe(block)
    assert blocked.wait(SECONDS)
    assert not thread.stop(0.01)
    assert not thread.alive
    release.set()
    assert thread.stop(SECONDS)


@pytest.mark.parametrize("exit_error", [SystemExit, KeyboardInterrupt])
def test_a_task_that_exits_does_not_take_the_thread_with_it(
    thread: LoopThread, exit_error: type[BaseException]
) -> None:
    async def leave() -> None:
        raise exit_error

    left = asyncio.run_coroutine_threadsafe(leave(), thread.loop)
    with pytest.raises(exit_error):
        left.result(SECONDS)
    assert asyncio.run_coroutine_threadsafe(thread_name(), thread.loop).result(SECONDS) == loops.THREAD_NAME


def test_a_script_that_left_work_behind_exits_at_once_and_silently() -> None:
    done = script("""
        import asyncio
        from mcp_oauth_nb.runtime import loops

        async def forever():
            try:
                await asyncio.Event().wait()
            finally:
                print("cleaned up", flush=True)

        asyncio.run_coroutine_threadsafe(forever(), loops.loop())
        loops.run(asyncio.sleep(0))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n", "")


def test_a_fork_gets_a_thread_of_its_own_and_leaves_the_parents_alone() -> None:
    done = script("""
        import os, threading
        from mcp_oauth_nb.runtime import loops

        async def name():
            return threading.current_thread().name

        before = loops.loop()
        child = os.fork()
        if child == 0:
            os._exit(0 if loops.run(name()) == loops.THREAD_NAME and loops.loop() is not before else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert loops.loop() is before
        print(loops.run(name()))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{loops.THREAD_NAME}\n", "")


def test_what_a_fork_inherits_is_kept_but_never_touched() -> None:
    inherited = loops.loop()
    # What the child does first.
    loops._forget_after_fork()
    # A child of that child has nothing to forget.
    loops._forget_after_fork()
    assert loops.loop() is not inherited
    (kept,) = loops._left_to_the_parent
    assert kept.loop is inherited
    loops._left_to_the_parent.clear()
    assert kept.stop(SECONDS)


# -- on --------------------------------------------------------------------------------------------------------


async def test_on_runs_there_and_returns_here(thread: LoopThread) -> None:
    assert await on(thread.loop, thread_name()) == loops.THREAD_NAME


async def test_on_the_own_loop_makes_a_task_of_its_own() -> None:
    async def task() -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    assert await on(asyncio.get_running_loop(), task()) is not asyncio.current_task()


async def test_on_carries_context_variables_along(thread: LoopThread) -> None:
    async def look() -> str:
        return color.get()

    color.set("red")
    assert await on(thread.loop, look()) == "red"


async def test_on_hands_the_very_error_back(thread: LoopThread) -> None:
    error = ZeroDivisionError("there")

    async def fail() -> None:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        await on(thread.loop, fail())
    assert caught.value is error


class Result:
    """Something that can be looked for."""


async def test_what_is_done_is_not_kept_however_many_calls_a_kernel_makes(thread: LoopThread) -> None:
    async def make() -> Result:
        return Result()

    left = [weakref.ref(await on(thread.loop, make())) for _ in range(10)]
    left += [weakref.ref(await asyncio.to_thread(run, make())) for _ in range(10)]
    # The loops have their turn: each call is dropped by a task of the thread.
    await on(thread.loop, thread_name())
    await asyncio.to_thread(run, thread_name())
    gc.collect()
    assert [one() for one in left] == [None] * 20


async def test_cancelling_the_wait_cancels_the_work(thread: LoopThread) -> None:
    waiting = Waiting()
    task = asyncio.create_task(on(thread.loop, waiting.forever()))
    assert await asyncio.to_thread(waiting.began.wait, SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(waiting.ended.wait, SECONDS)


# -- run -------------------------------------------------------------------------------------------------------


def test_run_works_where_no_loop_runs() -> None:
    assert run(thread_name()) == loops.THREAD_NAME


async def test_run_works_inside_a_running_loop_as_in_a_cell() -> None:
    assert run(thread_name()) == loops.THREAD_NAME


def test_run_works_in_other_threads_at_the_same_time() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: run(thread_name()), range(8))) == [loops.THREAD_NAME] * 8


def test_run_waits_for_as_long_as_it_takes() -> None:
    # Longer than the slices in which it waits.
    assert run(asyncio.sleep(0.25, "done")) == "done"


def test_run_takes_what_open_returns() -> None:
    async def opened() -> str:
        return "open"

    async def closed(value: str) -> None: ...

    assert run(Opening(opened, closed)) == "open"


def test_run_raises_what_the_coroutine_raises() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fail())


async def test_run_on_the_loop_thread_refuses_to_wait_for_itself() -> None:
    async def nested(awaitable: Awaitable[Any]) -> None:
        run(awaitable)

    async def closed(value: str) -> None: ...

    for awaitable in (thread_name(), Opening(thread_name, closed)):
        with pytest.raises(SessionError, match="would have to do the work") as caught:
            await on(loops.loop(), nested(awaitable))
        assert "write `await`" in caught.value.hint


def interrupt_when(began: threading.Event) -> threading.Thread:
    """Send this process SIGINT as soon as something began."""

    def send() -> None:
        assert began.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_run_is_ended_by_ctrl_c_which_cancels_the_coroutine() -> None:
    waiting = Waiting()
    sender = interrupt_when(waiting.began)
    with pytest.raises(KeyboardInterrupt):
        run(waiting.forever())
    sender.join()
    assert waiting.ended.wait(SECONDS)
    assert run(thread_name()) == loops.THREAD_NAME


def test_work_that_is_given_up_before_it_starts_is_cancelled_at_its_first_await() -> None:
    waiting = Waiting()
    work = _Work(waiting.forever())

    async def hand_over() -> None:
        future = work.hand_over(asyncio.get_running_loop())
        work.give_up()
        await asyncio.wrap_future(future)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(hand_over())
    assert waiting.ended.is_set()


@contextmanager
def ctrl_c_before(moment: int) -> Iterator[list[str]]:
    """Raise `KeyboardInterrupt` before one of the lines of `loops.py` and of asyncio that this thread comes to."""
    lines: list[str] = []

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            if len(lines) == moment:
                lines.append("Ctrl-C")
                raise KeyboardInterrupt
            lines.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        return line

    def call(frame: FrameType, *_: Any) -> Any:
        is_near = frame.f_code.co_filename == loops.__file__ or "asyncio" in frame.f_code.co_filename
        return line if is_near and len(lines) <= moment else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield lines
    finally:
        sys.settrace(before)


def test_ctrl_c_leaves_no_coroutine_behind_wherever_it_comes() -> None:
    loops.loop()
    with ctrl_c_before(10_000) as all_lines:
        run(thread_name())
    # Before the thread's loop is looked for the coroutine is the caller's. No real signal comes while the lock of that
    # look is released, nor between an error and its `except`.
    first = next(number for number, line in enumerate(all_lines) if line.startswith("loop:"))
    moments = [at for at in range(first, len(all_lines)) if not all_lines[at].startswith(("loop:", "running_loop:"))]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for moment in moments:
            with suppress(KeyboardInterrupt), ctrl_c_before(moment) as lines:
                run(thread_name())
            assert run(thread_name()) == loops.THREAD_NAME
            gc.collect(0)
            assert [str(one.message) for one in told] == [], lines[-2:]
    assert len(moments) > 20
    assert sys.exception() is None


async def test_run_is_ended_by_ctrl_c_although_the_blocked_loop_handles_the_signal() -> None:
    scheduled: list[int] = []
    waiting = Waiting()
    loop = asyncio.get_running_loop()

    def schedule(signum: int, _: object) -> None:
        # As ipykernel does in a cell with an await.
        loop.call_soon(scheduled.append, signum)

    before = signal.signal(signal.SIGINT, schedule)
    try:
        sender = interrupt_when(waiting.began)
        with pytest.raises(KeyboardInterrupt):
            run(waiting.forever())
        sender.join()
        assert signal.getsignal(signal.SIGINT) is schedule
    finally:
        signal.signal(signal.SIGINT, before)
    assert scheduled == []


async def test_run_leaves_an_ignored_signal_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def handler() -> Any:
        return signal.getsignal(signal.SIGINT)

    try:
        assert run(handler()) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# -- asyncio.run in a cell -------------------------------------------------------------------------------------


def test_a_pasted_script_may_call_asyncio_run_inside_a_running_loop() -> None:
    # In a process of its own: the patch cannot be taken back.
    done = script("""
        import asyncio
        from mcp_oauth_nb import allow_asyncio_run, run

        async def main():
            await asyncio.sleep(0)
            return 42

        async def cell():
            assert allow_asyncio_run() is None
            allow_asyncio_run()
            print(asyncio.run(main()), run(main()))

        asyncio.run(cell())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42 42\n", "")


def test_allow_asyncio_run_has_nothing_to_do_in_a_plain_script() -> None:
    patched = asyncio.run
    allow_asyncio_run()
    assert asyncio.run is patched


def test_a_loop_that_cannot_be_patched_is_named_with_the_way_out() -> None:
    class ForeignLoop(asyncio.AbstractEventLoop):
        """What uvloop's is: no subclass of asyncio's own."""

    asyncio._set_running_loop(ForeignLoop())
    try:
        with pytest.raises(ConfigurationError, match="ForeignLoop cannot be made re-entrant") as caught:
            allow_asyncio_run()
    finally:
        asyncio._set_running_loop(None)
    assert "await main()" in caught.value.hint


# -- a thread that dies ------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ValueError("no"), SystemExit(2), KeyboardInterrupt()], ids=repr)
def test_the_end_of_a_thread_is_told_with_the_error_that_ended_it(error: BaseException | None) -> None:
    heard: list[BaseException | None] = []

    def work() -> None:
        if error is not None:
            raise error

    thread = ReportingThread(work, "a name", heard.append)
    thread.start()
    thread.join(SECONDS)
    assert heard == [error]
    assert (thread.name, thread.daemon) == ("a name", True)


async def _break_the_loop() -> None:
    """What no library does: the loop cannot wait for anything any more."""
    asyncio.get_running_loop()._selector.close()  # type: ignore[attr-defined]


async def test_who_waits_for_a_loop_whose_thread_dies_hears_of_it_at_once() -> None:
    thread, waiting = LoopThread(), Waiting()
    waits = asyncio.ensure_future(on(thread.loop, waiting.forever()))
    await asyncio.to_thread(waiting.began.wait, SECONDS)
    asyncio.run_coroutine_threadsafe(_break_the_loop(), thread.loop)
    with anyio.fail_after(SECONDS), pytest.raises(SessionFailed, match="ended by itself") as caught:
        await waits
    assert caught.value.__cause__ is not None
    # And whoever comes later is told so too, and does not wait.
    with anyio.fail_after(SECONDS), pytest.raises(SessionFailed, match="ended by itself"):
        await on(thread.loop, waiting.forever())
    assert not thread.alive


def test_run_hears_at_once_of_the_death_of_the_loops_thread_and_the_next_one_is_another() -> None:
    with pytest.raises(SessionFailed, match="ended by itself"):
        run(_break_the_loop_and_wait())
    assert run(thread_name()) == loops.THREAD_NAME


def test_work_handed_over_while_the_thread_dies_is_never_waited_for_in_vain() -> None:
    switching = sys.getswitchinterval()
    # So that threads take turns between any two steps.
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            with pytest.raises(SessionFailed, match="ended by itself"):
                run(_break_the_loop_and_wait())
    finally:
        sys.setswitchinterval(switching)


async def _break_the_loop_and_wait() -> None:
    await _break_the_loop()
    await asyncio.sleep(SECONDS)
