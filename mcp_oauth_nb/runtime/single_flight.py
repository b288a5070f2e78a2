"""One call under way for any number of callers, in any threads and event loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..oauth.errors import Unreachable

T = TypeVar("T")

# How often a caller looks whether the event loop that does the work still exists.
_LOOK_SECONDS = 0.5


@dataclass(eq=False)
class _Flight(Generic[T]):
    """The task that does the work, and its outcome for callers on other loops."""

    # The event loop itself keeps only weak references to tasks.
    task: asyncio.Task[T]
    outcome: concurrent.futures.Future[T] = field(default_factory=concurrent.futures.Future)

    def is_lost(self) -> bool:
        """Say whether the loop was closed without a word to its tasks: then this one never ends."""
        return self.task.get_loop().is_closed()


class SingleFlight(Generic[T]):
    """Runs a coroutine for the first caller; others that call while it runs get the same result.

    The work is shielded: a caller that is cancelled (an interrupted cell) leaves without stopping it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: _Flight[T] | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `work()`, which is called only if none is under way.

        Raises:
            Unreachable: the event loop that did the work was closed before it was done.
        """
        with self._lock:
            flight = self._flight
            if flight is None or flight.is_lost():
                flight = self._flight = _Flight(asyncio.create_task(work()))
                flight.task.add_done_callback(functools.partial(self._settle, flight))
        outcome = asyncio.wrap_future(flight.outcome)
        # An error is not left unseen if this caller is cancelled.
        outcome.add_done_callback(lambda done: done.exception())
        while not outcome.done():
            # Unlike `await outcome`, this cancels nothing if the caller is cancelled.
            await asyncio.wait({outcome}, timeout=_LOOK_SECONDS)
            if flight.is_lost():
                self._settle(flight)
        return outcome.result()

    def _settle(self, flight: _Flight[T], _: asyncio.Task[T] | None = None) -> None:
        """Tell every caller the outcome; the next call starts afresh."""
        task = flight.task
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if flight.outcome.done():
                return  # several callers saw that it is lost
            if not task.done() or task.cancelled():
                flight.outcome.set_exception(Unreachable("The request was stopped before its answer arrived."))
            elif (error := task.exception()) is not None:
                flight.outcome.set_exception(error)
            else:
                flight.outcome.set_result(task.result())
