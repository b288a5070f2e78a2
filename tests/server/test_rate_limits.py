"""Whom a request counts against, places that are bounded, and counts in memory."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from limits import parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
from limits.errors import StorageError

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.server.rate_limits import BoundedCounts, Shares, client_address, counted_in_store, seconds_left

pytestmark = pytest.mark.anyio


def test_a_table_of_places_never_grows_beyond_its_bounds_and_loses_what_was_used_longest_ago() -> None:
    rng = random.Random(4)
    places = Shares(20, 6)
    held_by: dict[str, str] = {}
    for now in range(3000):
        owner, name = f"o{rng.randrange(8)}", f"n{rng.randrange(60)}"
        if rng.random() < 0.3:
            places.use(name, now)
        elif rng.random() < 0.2:
            places.leave(name)
            held_by.pop(name, None)
        else:
            for lost in places.take(owner, name, now):
                assert held_by.pop(lost) is not None
            held_by[name] = owner
        assert set(held_by) == {name for name in (f"n{i}" for i in range(60)) if name in places}
        assert len(places) == len(held_by) <= 20
        assert max([*map(list(held_by.values()).count, held_by.values()), 0]) <= 6


def test_a_full_table_first_gives_up_what_nobody_can_use_any_more() -> None:
    places = Shares(2, 2, lifetime=10.0)
    places.take("a", "old", 0.0)
    places.take("b", "new", 5.0)
    places.use("new", 12.0)
    assert places.take("c", "newest", 12.0) == ["old"]
    assert places.unused(22.0) == []
    assert places.unused(23.0) == ["new", "newest"]


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a-name-that-a-proxy-made-up", "unknown"),
        ("", "unknown"),
        ("fe80::1%" + "x" * 57, "unknown"),
        ("fe80::1%" + "x" * 56, "fe80::/64"),
    ],
)
def test_whom_a_request_counts_against(host: str, counted: str) -> None:
    assert client_address({"client": (host, 1)}) == counted
    assert client_address({"client": None}) == "unknown"


@pytest.mark.parametrize("strategy", [FixedWindowRateLimiter, MovingWindowRateLimiter])
async def test_counts_in_memory_hold_a_limit_until_its_window_is_over(strategy: Any) -> None:
    clock = ManualClock(1000.0)
    counts: Storage = BoundedCounts(now=clock.now)
    limiter, limit = strategy(counts), parse("3/minute")
    assert [await limiter.hit(limit, "a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert not await limiter.test(limit, "a")
    assert await limiter.hit(limit, "b")
    stats = await limiter.get_window_stats(limit, "a")
    assert (stats.reset_time, stats.remaining) == (1060.0, 0)
    clock.advance(seconds=59)
    assert not await limiter.test(limit, "a")
    clock.advance(seconds=1)
    assert await limiter.test(limit, "a")
    assert [await limiter.hit(limit, "a") for _ in range(4)] == [True] * 3 + [False]
    assert await counts.check()
    assert await counts.reset() == 2
    assert await limiter.hit(limit, "a")
    await limiter.clear(limit, "a")
    assert await counts.reset() == 0


@pytest.mark.parametrize("strategy", [FixedWindowRateLimiter, MovingWindowRateLimiter])
async def test_counts_in_memory_do_not_grow_with_the_number_of_addresses(strategy: Any) -> None:
    counts = BoundedCounts(most=10)
    limiter, limit = strategy(counts), parse("1/day")
    for number in range(100):
        assert await limiter.hit(limit, str(number))
    assert not await limiter.hit(limit, "99")
    assert await counts.reset() == 10


def test_an_owner_with_all_places_taken_loses_the_one_used_longest_ago_and_nobody_else_any() -> None:
    places = Shares(10, 2)
    for now, name in enumerate(("a1", "a2")):
        assert places.take("a", name, now) == []
    assert places.take("b", "b1", 2) == []
    places.use("a1", 3)
    assert places.take("a", "a3", 4) == ["a2"]
    assert ["a1" in places, "a2" in places, "a3" in places, "b1" in places, len(places)] == [True, False, True, True, 3]


def test_when_all_places_are_taken_whoever_has_most_pays_and_of_several_the_one_idle_for_longest() -> None:
    places = Shares(4, 3)
    for now, (owner, name) in enumerate([("a", "a1"), ("b", "b1"), ("b", "b2"), ("a", "a2")]):
        places.take(owner, name, now)
    places.use("a1", 10)
    # Both have two; what b used longest ago is older than what a did.
    assert places.take("c", "c1", 11) == ["b1"]
    assert places.take("c", "c2", 12) == ["a2"]


def test_a_place_that_is_taken_again_is_the_new_owners_and_costs_nobody_another() -> None:
    places = Shares(2, 2)
    places.take("a", "x", 0)
    places.take("b", "y", 1)
    assert places.take("b", "x", 2) == []
    assert len(places) == 2
    places.leave("nobody-has-it")
    places.use("nobody-has-it", 3)
    assert "nobody-has-it" not in places
    places.leave("x")
    places.leave("y")
    assert len(places) == 0
    assert places.unused(99) == []


def test_places_without_a_lifetime_are_of_use_for_ever() -> None:
    places = Shares(2, 2)
    places.take("a", "x", 0.0)
    assert places.unused(1e12) == []


def test_addresses_that_nobody_told_count_as_one() -> None:
    assert client_address({}) == "unknown"
    assert client_address({"client": ("1" * 65, 1)}) == "unknown"


async def test_a_window_counts_what_is_in_it_and_ends_on_time() -> None:
    clock = ManualClock(1000.0)
    counts = BoundedCounts(now=clock.now)
    assert (await counts.get("a"), await counts.get_expiry("a")) == (0, 1000.0)
    assert await counts.incr("a", 60) == 1
    assert await counts.incr("a", 60, 3) == 4
    assert (await counts.get("a"), await counts.get_expiry("a")) == (4, 1060.0)
    clock.advance(59)
    assert await counts.get("a") == 4
    clock.advance(1)
    assert await counts.get("a") == 0
    assert await counts.incr("a", 60, 2) == 2
    assert await counts.get_expiry("a") == 1120.0


async def test_a_window_that_begins_again_is_the_last_to_be_forgotten() -> None:
    clock = ManualClock(1000.0)
    counts = BoundedCounts(most=2, now=clock.now)
    await counts.incr("a", 60)
    await counts.incr("b", 600)
    clock.advance(60)
    await counts.incr("a", 60)
    await counts.incr("c", 60)
    assert [await counts.get(key) for key in "abc"] == [1, 0, 1]


async def test_a_moving_window_counts_the_allowed_only_and_moves() -> None:
    clock = ManualClock(1000.0)
    counts = BoundedCounts(now=clock.now)
    assert await counts.get_moving_window("a", 3, 60) == (1000.0, 0)
    assert await counts.acquire_entry("a", 3, 60, 2)
    clock.advance(30)
    assert not await counts.acquire_entry("a", 3, 60, 2)
    assert await counts.acquire_entry("a", 3, 60)
    assert await counts.get_moving_window("a", 3, 60) == (1000.0, 3)
    clock.advance(30)
    assert await counts.get_moving_window("a", 3, 60) == (1030.0, 1)
    assert await counts.acquire_entry("a", 3, 60, 2)
    assert not await counts.acquire_entry("a", 3, 60)


async def test_forgetting_says_how_many_keys_there_were_in_either_table() -> None:
    counts = BoundedCounts()
    await counts.incr("a", 60)
    await counts.incr("b", 60)
    await counts.acquire_entry("c", 1, 60)
    await counts.clear("nobody")
    await counts.clear("b")
    assert await counts.check() is True
    assert await counts.reset() == 2
    assert await counts.get("a") == 0
    assert await counts.reset() == 0


async def test_whoever_must_wait_is_told_full_seconds_and_at_least_one() -> None:
    limiter, limit = FixedWindowRateLimiter(BoundedCounts()), parse("1/minute")
    await limiter.hit(limit, "a")
    assert 59 <= await seconds_left(limiter, limit, "a") <= 60
    over = FixedWindowRateLimiter(BoundedCounts(now=lambda: time.time() - 600))
    await over.hit(limit, "a")
    assert await seconds_left(over, limit, "a") == 1


async def test_counts_that_cannot_be_kept_are_a_store_that_does_not_answer() -> None:
    class Away(MemoryStorage):
        """A store that does not answer."""

        async def incr(self, *args: Any, **options: Any) -> int:
            raise StorageError(OSError("gone"))

    limiter = FixedWindowRateLimiter(Away())
    with pytest.raises(StoreUnavailable, match="counts requests"), counted_in_store("requests"):
        await limiter.hit(parse("1/minute"), "a")
    with counted_in_store("requests"):
        assert await FixedWindowRateLimiter(BoundedCounts()).hit(parse("1/minute"), "a")
