"""Records of people who have not signed in: whom they count against, what goes for a new one, how long they stay."""

from __future__ import annotations

import pytest
from key_value.aio.stores.memory import MemoryStore

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.server.authserver.vault import Vault
from mcp_oauth_nb.server.authserver.waiting import ADDRESS, Waiting

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_767_225_600.0)


@pytest.fixture
def waiting(clock: ManualClock) -> Waiting:
    return Waiting(Vault(MemoryStore(), b"k" * 32, clock), "flows", clock, most=3, most_each=2, lifetime=600)


async def put(waiting: Waiting, address: str, name: str, lifetime: float | None = None) -> None:
    reset = ADDRESS.set(address)
    try:
        await waiting.put(name, {"name": name}, lifetime=lifetime)
    finally:
        ADDRESS.reset(reset)


async def kept(waiting: Waiting, names: str) -> str:
    return " ".join([name for name in names.split() if await waiting.get(name) == {"name": name}])


async def test_an_address_displaces_its_own_oldest_and_the_one_with_most_pays_when_all_is_full(
    waiting: Waiting,
) -> None:
    for name in ("a1", "a2", "a3"):
        await put(waiting, "a", name)
    assert (await kept(waiting, "a1 a2 a3"), len(waiting)) == ("a2 a3", 2)
    await put(waiting, "b", "b1")
    await put(waiting, "c", "c1")
    assert (await kept(waiting, "a2 a3 b1 c1"), len(waiting)) == ("a3 b1 c1", 3)


async def test_what_is_made_without_a_known_address_counts_too(waiting: Waiting) -> None:
    for name in ("x1", "x2", "x3"):
        await waiting.put(name, {"name": name})
    assert await kept(waiting, "x1 x2 x3") == "x2 x3"


async def test_a_record_is_kept_as_long_as_its_kind_or_shorter_never_longer(
    waiting: Waiting, clock: ManualClock
) -> None:
    await put(waiting, "a", "usual")
    await put(waiting, "b", "short", 60)
    await put(waiting, "c", "long", 6000)
    clock.advance(59)
    assert await kept(waiting, "usual short long") == "usual short long"
    clock.advance(1)
    assert await kept(waiting, "usual short long") == "usual long"
    clock.advance(539)
    assert await kept(waiting, "usual short long") == "usual long"
    clock.advance(1)
    assert await kept(waiting, "usual short long") == ""


async def test_what_nobody_can_use_any_more_goes_first(waiting: Waiting, clock: ManualClock) -> None:
    await put(waiting, "b", "b1")
    clock.advance(601)
    await put(waiting, "a", "a1")
    await put(waiting, "a", "a2")
    await put(waiting, "c", "c1")
    assert await kept(waiting, "a1 a2 c1") == "a1 a2 c1"


async def test_one_caller_removes_a_record_and_its_place_is_free(waiting: Waiting) -> None:
    for address, name in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        await put(waiting, address, name)
    assert await waiting.delete("a1") is True
    assert await waiting.delete("a1") is False
    assert len(waiting) == 2
    await put(waiting, "c", "c1")
    assert await kept(waiting, "a1 a2 b1 c1") == "a2 b1 c1"
