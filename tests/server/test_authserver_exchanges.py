"""Turns to exchange a refresh token: one presenter, one more if the first died, and none when the token is gone."""

from __future__ import annotations

import anyio
import pytest
from key_value.aio.stores.memory import MemoryStore

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.server.authserver.exchanges import Exchanges
from mcp_oauth_nb.server.authserver.vault import Vault

pytestmark = pytest.mark.anyio


class World:
    """One refresh token, `t`, that is offered."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock(1_767_225_600.0)
        self.vault = Vault(self.store, b"k" * 32, self.clock)
        self.exchanges = Exchanges(self.vault)

    async def offer(self) -> None:
        await self.vault.put("refresh", "t", {}, lifetime=600)
        await self.exchanges.offer("t", lifetime=600)

    async def claim(self) -> bool:
        with anyio.fail_after(5):
            return await self.exchanges.claim("t", lifetime=600)

    async def turns(self) -> int:
        return len(await self.store.keys(collection="mcp_oauth_unclaimed"))


@pytest.fixture
async def world() -> World:
    world = World()
    await world.offer()
    return world


async def test_the_second_gets_the_turn_if_the_first_dies_and_a_third_only_if_the_second_does(world: World) -> None:
    assert await world.claim()
    world.exchanges.patience = 0.01
    # The second presenter leaves a turn behind, too, should it die.
    assert [await world.claim() for _ in range(2)] == [True, True]


async def test_of_those_who_waited_for_the_same_dead_one_a_single_one_gets_the_turn(world: World) -> None:
    assert await world.claim()
    world.exchanges.patience = 0.2
    won: list[bool] = []

    async def claim() -> None:
        won.append(await world.claim())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(claim)
    assert sorted(won) == [False, False, True]


async def test_whoever_comes_second_hears_at_once_that_the_first_was_answered(world: World) -> None:
    assert await world.claim()
    heard: list[bool] = []

    async def second() -> None:
        heard.append(await world.claim())

    with anyio.fail_after(0.9):
        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            assert heard == []
            await world.exchanges.close("t")
            await world.vault.delete("refresh", "t")
    assert heard == [False]


async def test_what_was_exchanged_leaves_nothing_behind_and_is_nobodys_any_more(world: World) -> None:
    assert await world.claim()
    await world.exchanges.close("t")
    assert await world.turns() == 0
    assert await world.vault.get("refresh", "t") is None
    assert not await world.claim()
    world.exchanges.patience = 0.01
    assert not await world.claim()


async def test_what_was_offered_and_closed_unused_leaves_nothing_behind(world: World) -> None:
    await world.exchanges.close("t")
    assert await world.turns() == 0


async def test_a_turn_that_nobody_took_is_kept_as_long_as_the_token(world: World) -> None:
    world.clock.advance(599)
    assert await world.vault.get("unclaimed", "t") == {}
    assert await world.claim()
    world.clock.advance(599)
    assert await world.vault.get("unclaimed", "t again") == {}
    world.clock.advance(1)
    assert await world.vault.get("unclaimed", "t again") is None
