"""One call under way, for any number of tasks, threads and event loops."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from mcp_oauth_nb.oauth.errors import RefreshRejected, Unreachable
from mcp_oauth_nb.runtime.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """A call that counts how often it was made, and goes on when it is told to, from any thread."""

    def __init__(self) -> None:
        self.calls = 0
        self.started = threading.Event()
        self.cancelled = False
        self.error: BaseException | None = None
        self._go = threading.Event()

    async def __call__(self) -> str:
        self.calls += 1
        self.started.set()
        try:
            while not self._go.is_set():  # noqa: ASYNC110 - an asyncio.Event belongs to one loop
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return f"result {self.calls}"

    def finish(self, error: BaseException | None = None) -> None:
        self.error = error
        self._go.set()


async def turns(number: int = 5) -> None:
    """Let the other tasks of this loop go on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def results_of(callers: list[asyncio.Task[str]]) -> list[Any]:
    with anyio.fail_after(10):
        return await asyncio.gather(*callers, return_exceptions=True)


def in_a_thread(coroutine: Coroutine[Any, Any, Any]) -> threading.Thread:
    thread = threading.Thread(target=asyncio.run, args=(coroutine,), daemon=True)
    thread.start()
    return thread


async def test_fifty_tasks_share_one_call_and_its_result() -> None:
    flight, work = SingleFlight[str](), Work()
    callers = [asyncio.create_task(flight.run(work)) for _ in range(50)]
    await turns()
    work.finish()
    assert await results_of(callers) == ["result 1"] * 50
    assert work.calls == 1


async def test_the_next_call_after_the_landing_starts_afresh() -> None:
    flight, work = SingleFlight[str](), Work()
    work.finish()
    assert await flight.run(work) == "result 1"
    assert await flight.run(work) == "result 2"


async def test_an_error_reaches_every_caller_and_is_not_remembered() -> None:
    flight, work = SingleFlight[str](), Work()
    callers = [asyncio.create_task(flight.run(work)) for _ in range(5)]
    await turns()
    error = RefreshRejected("no")
    work.finish(error)
    assert await results_of(callers) == [error] * 5
    work.finish()
    assert await flight.run(work) == "result 2"


async def test_a_timeout_of_the_work_itself_reaches_the_caller() -> None:
    flight, work = SingleFlight[str](), Work()
    work.finish(TimeoutError("the work's own"))
    with pytest.raises(TimeoutError, match="the work's own"):
        await flight.run(work)


@pytest.mark.parametrize("who", [0, 1])
async def test_a_cancelled_caller_leaves_without_stopping_the_call(who: int) -> None:
    flight, work = SingleFlight[str](), Work()
    callers = [asyncio.create_task(flight.run(work)) for _ in range(3)]
    await turns()
    callers[who].cancel()
    await turns()
    assert callers[who].cancelled()
    assert not work.cancelled
    work.finish()
    results = await results_of([caller for number, caller in enumerate(callers) if number != who])
    assert results == ["result 1"] * 2


async def test_the_call_lands_even_if_every_caller_was_cancelled() -> None:
    flight, work = SingleFlight[str](), Work()
    with anyio.move_on_after(0):
        await flight.run(work)
    caller = asyncio.create_task(flight.run(work))
    await turns()
    caller.cancel()
    await turns()
    late = asyncio.create_task(flight.run(work))
    await turns()
    work.finish()
    assert await results_of([late]) == ["result 1"]
    assert not work.cancelled


async def test_an_error_that_nobody_waits_for_is_not_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    flight, work = SingleFlight[str](), Work()
    caller = asyncio.create_task(flight.run(work))
    await turns()
    caller.cancel()
    await turns()
    work.finish(RefreshRejected("no"))
    await turns(20)
    gc.collect()
    await turns()
    assert caplog.records == []


async def test_threads_with_loops_of_their_own_share_one_call() -> None:
    flight, work = SingleFlight[str](), Work()
    joined = threading.Barrier(4)

    async def group() -> list[str]:
        callers = [asyncio.create_task(flight.run(work)) for _ in range(17)]
        await turns()
        await asyncio.to_thread(joined.wait, 10)
        return await asyncio.gather(*callers)

    with ThreadPoolExecutor(3) as pool:
        groups = [pool.submit(asyncio.run, group()) for _ in range(3)]
        await asyncio.to_thread(joined.wait, 10)
        work.finish()
        assert [group.result(10) for group in groups] == [["result 1"] * 17] * 3
    assert work.calls == 1


async def test_an_error_crosses_threads_too() -> None:
    flight, work = SingleFlight[str](), Work()
    thread = in_a_thread(flight_of_one(flight, work, outcome := []))
    assert await asyncio.to_thread(work.started.wait, 10)
    callers = [asyncio.create_task(flight.run(work)) for _ in range(3)]
    await turns()
    error = RefreshRejected("no")
    work.finish(error)
    assert await results_of(callers) == [error] * 3
    await asyncio.to_thread(thread.join, 10)
    assert outcome == [error]


async def flight_of_one(flight: SingleFlight[str], work: Work, outcome: list[Any]) -> None:
    try:
        outcome.append(await flight.run(work))
    except RefreshRejected as error:
        outcome.append(error)


async def test_a_loop_that_ends_in_mid_flight_gives_the_others_unreachable() -> None:
    flight, work = SingleFlight[str](), Work()

    async def start_and_leave() -> None:
        caller = asyncio.create_task(flight.run(work))
        await turns()
        assert await asyncio.to_thread(others.wait, 10)
        caller.cancel()

    others = threading.Event()
    thread = in_a_thread(start_and_leave())  # asyncio.run() cancels what is left when it ends
    assert await asyncio.to_thread(work.started.wait, 10)
    callers = [asyncio.create_task(flight.run(work)) for _ in range(3)]
    await turns()
    others.set()
    results = await results_of(callers)
    assert [type(result) for result in results] == [Unreachable] * 3
    await asyncio.to_thread(thread.join, 10)
    work.finish()
    assert await flight.run(work) == "result 2"


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect the garbage of this test in this test: asyncio complains of a task that was abandoned when it goes."""
    yield
    gc.collect()


def abandon(flight: SingleFlight[str], work: Work) -> asyncio.Task[str]:
    """Start the work on a loop that is then closed without a word to its tasks, as a careless script does."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(flight.run(work))
    loop.run_until_complete(turns())
    loop.close()
    return task


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_loop_closed_without_cancelling_its_tasks_does_not_block_the_next_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flight, work = SingleFlight[str](), Work()
    left_behind = await asyncio.to_thread(abandon, flight, work)
    work.finish()
    with anyio.fail_after(10):
        assert await flight.run(work) == "result 2"
    del left_behind


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_who_waits_for_a_loop_that_was_closed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    flight, work = SingleFlight[str](), Work()
    close = threading.Event()

    def run_then_close() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(flight.run(work))
        while not close.is_set():
            loop.run_until_complete(turns())
        loop.close()
        kept.append(task)

    kept: list[asyncio.Task[str]] = []
    thread = threading.Thread(target=run_then_close)
    thread.start()
    assert await asyncio.to_thread(work.started.wait, 10)
    callers = [asyncio.create_task(flight.run(work)) for _ in range(3)]
    await turns()
    close.set()
    await asyncio.to_thread(thread.join, 10)
    # Whoever comes now begins anew, and is not disturbed by those who are told only later that theirs is lost.
    late = [asyncio.create_task(flight.run(work))]
    results = await results_of(callers)
    assert [type(result) for result in results] == [Unreachable] * 3
    late.append(asyncio.create_task(flight.run(work)))
    await turns()
    work.finish()
    assert await results_of(late) == ["result 2"] * 2


async def test_a_caller_whose_loop_ended_does_not_disturb_the_others(caplog: pytest.LogCaptureFixture) -> None:
    flight, work = SingleFlight[str](), Work()
    mine = asyncio.create_task(flight.run(work))
    await turns()
    assert work.started.is_set()

    async def join_and_leave() -> None:
        asyncio.create_task(flight.run(work))  # noqa: RUF006
        await turns()

    await asyncio.to_thread(asyncio.run, join_and_leave())
    work.finish()
    assert await results_of([mine]) == ["result 1"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
