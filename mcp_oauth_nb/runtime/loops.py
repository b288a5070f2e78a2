"""One event-loop thread per process, and the doors to it: `on()` for code that awaits, `run()` for code that cannot.

A connection that outlives a cell needs a loop that no other code stops, blocks or nests. The kernel's own is not
such a loop: Stop does not wake it, a button callback may run on another one, and `nest_asyncio` re-enters it.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import importlib
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

from ..oauth.errors import ConfigurationError, McpOAuthError, SessionError, SessionFailed
from . import loops

T = TypeVar("T")

THREAD_NAME = "mcp-oauth-nb loop"

# A lock that waits without end cannot be interrupted on Windows, and elsewhere not if another thread got the signal.
_SLICE_SECONDS = 0.2
# Time for connections that are open at exit. A stdio server that ignores the end of its input takes two seconds.
_EXIT_SECONDS = 3.0


class ReportingThread(threading.Thread):
    """A daemon thread that tells at once when it ends, so that nothing waits for a dead thread.

    Args:
        work: what it does.
        name: the name of the thread.
        ended: hears, on the thread, that the work is over, and of the error that ended it, if one did.
    """

    def __init__(self, work: Callable[[], object], name: str, ended: Callable[[BaseException | None], object]):
        super().__init__(name=name, daemon=True)
        self._work = work
        self._ended = ended

    def run(self) -> None:
        """Do the work, and call `ended`."""
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is handed over as it is)
            self._ended(error)
        else:
            self._ended(None)


class LoopThread:
    """An event loop in a daemon thread of its own."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._stopping = False
        _handed_over[self.loop] = set()
        self._thread = ReportingThread(self._work, THREAD_NAME, self._ended)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs. After a fork it does not: a child process has only the thread that forked."""
        return self._thread.is_alive() and not self._stopping and self.loop not in _dead

    def stop(self, seconds: float = _EXIT_SECONDS) -> bool:
        """Cancel all tasks and wait for them, and for the thread, to end.

        Returns:
            Whether they did; otherwise they are left to end with the process.
        """
        if self.alive:
            self._stopping = True
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            _dead[self.loop] = _Death(error, asyncio.all_tasks(self.loop))
        # A caller that begins to wait only now is not told here. It finds the error itself: `_hand_over`.
        for future in list(_handed_over.pop(self.loop, set())):
            _tell_the_end(self.loop, future)

    def _work(self) -> None:
        while not self._stopping:
            # One task that calls sys.exit() takes run_forever() with it, but must not take the other sessions.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
        self.loop.run_until_complete(_cancel_all_tasks())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    # Not asyncio.new_event_loop(): on Windows ipykernel sets a policy whose loops cannot start a process.
    if sys.platform == "win32":  # pragma: no cover
        return asyncio.ProactorEventLoop()
    return asyncio.SelectorEventLoop()


async def _cancel_all_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    # The errors of tasks are for the code that awaits them, not for the log.
    await asyncio.gather(*tasks, return_exceptions=True)


# The futures that wait for each loop while its thread lives.
_handed_over: dict[asyncio.AbstractEventLoop, set[concurrent.futures.Future[Any]]] = {}


class _Death(NamedTuple):
    """The error that ended a loop's thread, and the loop's tasks, which cannot be ended properly any more."""

    error: BaseException
    tasks: set[asyncio.Task[Any]]

    def failure(self) -> SessionFailed:
        failed = SessionFailed(
            f"The thread {THREAD_NAME!r}, on which all sessions of this process live, ended by itself "
            f"({type(self.error).__name__}).",
            hint="Open the session or the lab again: that starts another thread. If it ends again, the cause says why.",
        )
        failed.__cause__ = self.error
        return failed


# The loops of threads that an error has ended.
_dead: dict[asyncio.AbstractEventLoop, _Death] = {}


def _tell_the_end(ended: asyncio.AbstractEventLoop, future: concurrent.futures.Future[Any]) -> None:
    """Tell the caller that waits for a future that its loop does not run any more."""
    if ended not in _dead:
        future.cancel()
        return
    with suppress(concurrent.futures.InvalidStateError):
        future.set_exception(_dead[ended].failure())


# -- the one of this process -----------------------------------------------------------------------------------

_lock = threading.Lock()
_current: LoopThread | None = None
# A parent's loop shares its file descriptors with the child: collecting it there would disturb the parent.
_left_to_the_parent: list[LoopThread] = []


def loop() -> asyncio.AbstractEventLoop:
    """Return the thread's loop. The thread is started if there is none, or none any more."""
    global _current
    with _lock:
        if _current is None or not _current.alive:
            _current = LoopThread()
        return _current.loop


def stop() -> bool:
    """End the thread, if there is one, as at exit. The next use starts another.

    Returns:
        Whether all that ran on it has ended.
    """
    global _current
    with _lock:
        stopped, _current = _current, None
    return stopped is None or stopped.stop()


def _forget_after_fork() -> None:
    global _current, _lock
    _lock = threading.Lock()
    if _current is not None:
        _left_to_the_parent.append(_current)
    _current = None


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


# -- the doors -------------------------------------------------------------------------------------------------


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that the calling code runs on, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def on(target: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as a task of a loop, and wait for its result here, whichever loop this is.

    If the wait is cancelled, so is the task. Context variables go along.
    """
    if target is asyncio.get_running_loop():
        return await target.create_task(coroutine)
    return await asyncio.wrap_future(_hand_over(coroutine, target))


def _hand_over(coroutine: Coroutine[Any, Any, T], target: asyncio.AbstractEventLoop) -> concurrent.futures.Future[T]:
    """Run a coroutine on the loop of another thread. Its future fails at once if that thread dies."""
    if target in _dead:
        coroutine.close()
        raise _dead[target].failure()
    future = asyncio.run_coroutine_threadsafe(coroutine, target)
    waiting = _handed_over.get(target)
    if waiting is not None:
        waiting.add(future)
        future.add_done_callback(waiting.discard)
    # The thread may have ended meanwhile, before this future was among those that it told.
    if target in _dead or target.is_closed():
        _tell_the_end(target, future)
    return future


def run(awaitable: Awaitable[T]) -> T:
    """Run a coroutine on the loop thread and return its result: for cells without `await`, callbacks and scripts.

    It blocks the calling thread. `KeyboardInterrupt` (Ctrl-C, the Stop button) ends the wait and cancels the coroutine.

    Args:
        awaitable: a coroutine, or what `Session.open()` and `Lab.open()` return.

    Raises:
        SessionError: called on the loop thread itself, where waiting would stop what it waits for.
    """
    work = _Work(awaitable)
    try:
        target = loop()
        if running_loop() is target:
            raise SessionError(
                "run() was called on the event loop that would have to do the work.",
                hint="In a tool, a sampling callback or any other coroutine, write `await` in place of `run(...)`.",
            )
        done = threading.Event()
        with _keyboard_interrupts():
            future = work.hand_over(target)
            future.add_done_callback(lambda _: done.set())
            while not done.wait(_SLICE_SECONDS):
                pass
    except BaseException:
        work.give_up()
        raise
    return future.result()


class _Work(Generic[T]):
    """A call that is awaited and can be cancelled at any moment.

    `future.cancel()` would not do: a signal that comes while the work is handed over comes before there is a future.
    """

    def __init__(self, awaitable: Awaitable[T]):
        self._awaitable = awaitable
        self._result = self._awaited()
        self._target: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False

    def hand_over(self, target: asyncio.AbstractEventLoop) -> concurrent.futures.Future[T]:
        self._target = target
        return _hand_over(self._result, target)

    def give_up(self) -> None:
        self._given_up = True
        if self._target is not None and self._target not in _dead:
            # A loop that is closed does not begin it any more.
            with suppress(RuntimeError):
                self._target.call_soon_threadsafe(self._cancel)
                return
        self._leave()

    async def _awaited(self) -> T:
        self._task = asyncio.current_task()
        if self._given_up:
            self._cancel()
        return await self._awaitable

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._target is not None:
            # Work that was handed over begins in the loop's next turn at the latest.
            self._target.call_soon(self._leave)

    def _leave(self) -> None:
        """Close a coroutine that has not begun: Python warns of one that is never awaited."""
        if self._task is None:
            self._result.close()
            if inspect.iscoroutine(self._awaitable):
                self._awaitable.close()


@contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Let SIGINT raise `KeyboardInterrupt` although an event loop of this thread has taken it over.

    ipykernel, in a cell that contains an `await`, and `asyncio.run` answer SIGINT with a callback on that loop, which
    the wait keeps from running.
    """
    blocks_a_loop = running_loop() is not None
    if not (blocks_a_loop and threading.current_thread() is threading.main_thread()):
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    # Not callable: SIG_IGN, by which ipykernel protects itself between cells.
    if callable(before):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGINT, before)


def allow_asyncio_run() -> None:
    """Let the code of a cell call `asyncio.run(main())` although the kernel's loop is running.

    For scripts that are pasted as they are; new code uses `await`. It patches asyncio for the whole process
    (nest-asyncio; nest-asyncio2 on Python 3.14), which cannot be undone. Where no loop is running it does nothing.

    Raises:
        ConfigurationError: the running loop cannot be patched, such as uvloop's.
    """
    running = running_loop()
    if running is None:
        return
    if not isinstance(running, asyncio.BaseEventLoop):
        raise ConfigurationError(
            f"{type(running).__module__}.{type(running).__qualname__} cannot be made re-entrant.",
            hint="Use `await main()` in place of `asyncio.run(main())`, or run the kernel on asyncio's own event loop.",
        )
    # nest-asyncio is no longer maintained, and breaks anyio on Python 3.14.
    name = "nest_asyncio2" if sys.version_info >= (3, 14) else "nest_asyncio"
    importlib.import_module(name).apply(running)


_log = logging.getLogger(__name__)


def begin(work: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Begin something that a button asked for; nothing waits for it.

    An error that is not this package's, which no panel shows, is logged by its name.
    """
    future = asyncio.run_coroutine_threadsafe(work, loops.loop())
    future.add_done_callback(_log_unexpected)
    return future


def _log_unexpected(future: Future[Any]) -> None:
    # The text of the error may hold anything, secrets too.
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, McpOAuthError):
        _log.error("An action of a panel ended with %s.", type(error).__name__)
