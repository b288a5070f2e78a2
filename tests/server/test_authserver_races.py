"""Single use under contention: two workers, a store in which every step may be overtaken, many schedules."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from authserver_world import World
from key_value.aio.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio


class Contended(MemoryStore):
    """Lets others go first, a random number of times, before each step."""

    def __init__(self, seed: int):
        super().__init__()
        self._random = random.Random(seed)

    async def _wait(self) -> None:
        for _ in range(self._random.randrange(4)):
            await anyio.lowlevel.checkpoint()

    async def get(self, *args: Any, **options: Any) -> Any:
        await self._wait()
        return await super().get(*args, **options)

    async def put(self, *args: Any, **options: Any) -> None:
        await self._wait()
        await super().put(*args, **options)

    async def delete(self, *args: Any, **options: Any) -> bool:
        await self._wait()
        return await super().delete(*args, **options)


async def all_at_once(world: World, fields: dict[str, str], times: int) -> list[httpx.Response]:
    """Send the same token request several times, to two workers."""
    workers = [world.client_of(world.worker()), world.client_of(world.worker())]
    answers: list[httpx.Response] = []

    async def ask(client: httpx.AsyncClient) -> None:
        answers.append(await client.post("/token", data=fields))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(times):
                group.start_soon(ask, workers[number % 2])
    return answers


async def check_nothing_is_left(world: World, answers: list[httpx.Response]) -> None:
    good = [response.json() for response in answers if response.status_code == 200]
    assert len(good) <= 1
    assert all(response.json()["error"] == "invalid_grant" for response in answers if response.status_code != 200)
    for tokens in good:
        assert await world.server.verify_token(tokens["access_token"]) is None
        late = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
        assert late.status_code == 400
    assert await world.stored("families", "upstream") == 0


@pytest.mark.parametrize("seed", range(15))
async def test_a_code_presented_by_several_at_once_leaves_nobody_with_a_token(seed: int) -> None:
    world = World(kv=Contended(seed))
    world.kv = world.options["kv"]
    answers = await all_at_once(world, world.exchange(await world.code()), 3)
    await check_nothing_is_left(world, answers)


class Overtaken(MemoryStore):
    """Lets something happen once, right before something of a kind is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.before = ""
        self.happens: Callable[[], Awaitable[None]] | None = None

    async def put(self, *args: Any, **options: Any) -> None:
        if self.happens is not None and options["collection"] == f"mcp_oauth_{self.before}":
            happens, self.happens = self.happens, None
            await happens()
        await super().put(*args, **options)


@pytest.mark.parametrize("before", ["used", "upstream", "families"])
@pytest.mark.parametrize("how", ["exchanged and presented again", "expired and presented again"])
async def test_whoever_is_overtaken_in_an_exchange_brings_no_grant_back_to_life(before: str, how: str) -> None:
    store = Overtaken()
    world = World(kv=store)
    world.kv = store
    fields = world.exchange(await world.code())
    github = [secret for secret in world.github.issued_secrets() if secret.startswith("gho_")]
    others = world.client_of(world.worker())
    tokens: list[dict[str, Any]] = []

    async def overtake() -> None:
        if how.startswith("expired"):
            world.clock.advance(60)
        else:
            tokens.append((await others.post("/token", data=fields)).json())
        assert (await others.post("/token", data=fields)).status_code == 400

    store.before, store.happens = before, overtake
    answer = await world.http.post("/token", data=fields)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    for given in tokens:
        assert await world.server.verify_token(given["access_token"]) is None
    # Nothing was made for nobody, and who began the exchange has cleared up.
    assert tokens or await world.stored("access", "refresh") == 0
    assert before == "used" or await world.stored("codes") == 0
    await world.server.end_unredeemed()
    assert await world.stored("codes", "families", "upstream") == 0
    assert [await world.is_good_at_github(secret) for secret in github] == [False]


@pytest.mark.parametrize("seed", range(15))
async def test_a_refresh_token_presented_by_several_at_once_ends_the_family(seed: int) -> None:
    world = World(kv=Contended(seed))
    world.kv = world.options["kv"]
    tokens = await world.tokens()
    answers = await all_at_once(world, world.refreshing(tokens["refresh_token"]), 3)
    await check_nothing_is_left(world, answers)
    assert await world.server.verify_token(tokens["access_token"]) is None


@pytest.mark.parametrize("seed", range(5))
async def test_a_decision_pressed_twice_at_once_counts_once(seed: int) -> None:
    world = World(kv=Contended(seed))
    world.kv = world.options["kv"]
    page = await world.browser.consent_page(world.request())
    statuses: list[int] = []

    async def press() -> None:
        statuses.append((await world.browser.press(page)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(press)
    assert sorted(statuses) == [303, 400, 400]


@pytest.mark.parametrize("seed", range(5))
async def test_many_callers_at_two_workers_make_one_upstream_refresh(seed: int) -> None:
    world = World(kv=Contended(seed), token_lifetime=24 * 3600)
    world.kv = world.options["kv"]
    world.github.knobs.refresh_reuse_revokes = True
    access = await world.server.verify_token((await world.tokens())["access_token"])
    assert access is not None
    world.clock.advance(hours=8)
    workers = [world.worker(), world.worker()]
    tokens: set[str] = set()

    async def ask(number: int) -> None:
        tokens.add(await workers[number % 2].upstream_token(access))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(ask, number)
    assert len(tokens) == 1
    assert await world.is_good_at_github(tokens.pop())


@pytest.mark.parametrize("seed", range(5))
async def test_a_callback_that_arrives_twice_at_once_gives_one_code(seed: int) -> None:
    world = World(kv=Contended(seed))
    world.kv = world.options["kv"]
    page = await world.browser.consent_page(world.request())
    back = await world.browser.autopilot.authorize((await world.browser.press(page)).headers["location"])
    statuses: list[int] = []

    async def arrive() -> None:
        statuses.append((await world.browser.get(back)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(arrive)
    assert sorted(statuses) == [303, 400, 400]
    assert await world.stored("codes") == 1
