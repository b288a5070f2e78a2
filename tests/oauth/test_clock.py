"""Time as a dependency."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.clock import ManualClock, SystemClock, iso


def test_the_system_clock_tells_the_machines_time() -> None:
    before = time.time()
    assert before <= SystemClock().now() <= time.time()


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(100)
    assert clock.now() == clock.now() == 100.0
    clock.advance(5)
    assert clock.now() == 105.0


def test_advancing_adds_up_all_units() -> None:
    clock = ManualClock()
    clock.advance(1, minutes=1, hours=1, days=1)
    assert clock.now() == 1 + 60 + 3600 + 86400


def test_time_does_not_run_backwards() -> None:
    clock = ManualClock(100)
    with pytest.raises(ValueError, match="only moves forward"):
        clock.advance(1, minutes=-1)
    assert clock.now() == 100.0


def test_threads_that_advance_one_clock_lose_no_second() -> None:
    clock = ManualClock()

    def tick_a_thousand_times() -> None:
        for _ in range(1000):
            clock.advance(1)

    threads = [threading.Thread(target=tick_a_thousand_times) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == 8000.0


def test_a_repr_is_the_same_on_every_run() -> None:
    assert repr(ManualClock(1_767_225_600)) == "ManualClock(2026-01-01T00:00:00Z)"
    assert repr(SystemClock()) == "SystemClock()"


@given(st.integers(0, 253_402_300_799))
def test_iso_is_utc_to_the_second(timestamp: int) -> None:
    assert iso(timestamp + 0.9) == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))
