"""One call under way for any number of callers, in any threads and event loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .errors import Unreachable

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs a coroutine for the first caller; whoever comes while it runs gets the same result.

    The work is shielded: a caller that is cancelled (an interrupted cell) leaves without stopping it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: concurrent.futures.Future[T] | None = None
        # The event loop keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[T]] = set()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `work()`, which is called only if none is under way.

        Raises:
            Unreachable: the event loop that did the work was closed before it was done.
        """
        with self._lock:
            flight = self._flight
            if flight is None:
                flight = self._flight = concurrent.futures.Future()
                task = asyncio.ensure_future(work())
                self._tasks.add(task)
                task.add_done_callback(self._land)
        return await asyncio.shield(asyncio.wrap_future(flight))

    def _land(self, task: asyncio.Task[T]) -> None:
        with self._lock:
            flight, self._flight = self._flight, None
            self._tasks.discard(task)
        assert flight is not None, "a task lands once"
        if task.cancelled():
            flight.set_exception(Unreachable("The request was stopped before its answer arrived."))
        elif (error := task.exception()) is not None:
            flight.set_exception(error)
        else:
            flight.set_result(task.result())
