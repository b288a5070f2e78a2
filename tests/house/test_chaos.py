"""The chaos run in small: each trouble once, by counts of calls; and whatever breaks a promise is noticed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from chaos_counts import OK, Call, Counts, Trouble
from chaos_sessions import Caller
from chaos_world import World

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

USERS = [f"user-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    started = World(tmp_path_factory.mktemp("chaos"), USERS, seed=7)
    yield started
    started.stop()


class Crowd:
    """All sessions, and what they saw."""

    def __init__(self, world: World, number: int):
        self.counts = Counts()
        self.callers = [Caller(each, USERS[each], world.url, self.counts, self._ended) for each in range(number)]

    def _ended(self, user: str, why: str) -> bool:
        return self.counts.ended(user, why, bound=False)

    async def call(self, meanwhile: Callable[[], object] | None = None) -> list[str]:
        """Let each call once, all at the same time; return the outcomes."""
        before = len(self.counts.calls)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for caller in self.callers:
                    group.start_soon(caller.call)
                if meanwhile is not None:
                    await anyio.to_thread.run_sync(meanwhile)
        return [call.outcome for call in self.counts.calls[before:]]


@asynccontextmanager
async def signed_in(world: World, number: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(world, number)
    for caller in crowd.callers:
        await caller.open()
    try:
        yield crowd
    finally:
        for caller in crowd.callers:
            await caller.close()


def until_hit(world: World, number: int) -> None:
    """Wait until GitHub has so many requests that it does not answer."""
    while world.upstream.waiting < number:
        world.upstream.arrived.wait(1)
        world.upstream.arrived.clear()


async def test_whatever_happens_each_session_gets_its_own_answer_or_a_declared_error(world: World) -> None:
    async with signed_in(world, len(USERS)) as crowd:
        all_well = [OK] * len(USERS)
        assert await crowd.call() == all_well
        for kind, said in (
            ("500", "GitHub 5xx"),
            ("502", "GitHub 5xx"),
            ("rate limit", "GitHub rate limit"),
            ("hang up", "GitHub hangs up"),
        ):
            world.upstream.weather(kind)
            assert await crowd.call() == [said] * len(USERS)
            world.upstream.weather()
            assert await crowd.call() == all_well

        def recover() -> None:
            until_hit(world, len(USERS))
            world.upstream.weather()

        world.upstream.weather("stall")
        assert await crowd.call(recover) == all_well

        def kill() -> None:
            until_hit(world, len(USERS))
            world.kill(0)
            world.upstream.weather()

        world.upstream.weather("stall")
        outcomes = await crowd.call(kill)
        # Some in it had begun to answer.
        assert set(outcomes) & {"cut off", "client: ServerUnavailable"}
        assert set(outcomes) <= {"cut off", "client: ServerUnavailable", OK}
        assert outcomes.count(OK) == len(USERS) // 2
        assert await crowd.call() == all_well
        world.workers[0].start()
        assert await crowd.call() == all_well

        world.redis.pause()
        assert OK not in await crowd.call()
        world.redis.resume()
        assert await crowd.call() == all_well
        assert crowd.counts.broken == {}


async def test_an_answer_of_another_user_is_noticed(world: World) -> None:
    async with signed_in(world, 3) as crowd:
        # GitHub mixes two of its tokens up.
        tokens = [world.upstream.newest_token(user) for user in USERS[:2]]
        assert tokens[0] is not None
        assert tokens[1] is not None
        tokens[0].user, tokens[1].user = tokens[1].user, tokens[0].user
        assert sorted(await crowd.call()) == [OK, "wrong", "wrong"]
        tokens[0].user, tokens[1].user = tokens[1].user, tokens[0].user
        assert sorted(crowd.counts.wrong) == [
            "user-0 was answered with user-1 and ['user-1/of-user-1']",
            "user-1 was answered with user-0 and ['user-0/of-user-0']",
        ]


async def test_a_token_of_another_user_is_noticed(world: World) -> None:
    async with signed_in(world, 1) as crowd:
        other = Caller(1, "user-1", world.url, crowd.counts, crowd._ended)
        other.auth = replace(other.auth, store=crowd.callers[0].auth.store)
        with pytest.raises(AssertionError, match="could not sign in"):
            await other.open()
        await other.close()
        assert set(crowd.counts.misplaced) == {"user-1 has a token of user-0"}
        assert crowd.counts.wrong == ["user-1 was answered with user-0 and ['user-0/of-user-0']"]


async def test_a_token_that_is_lost_is_noticed(world: World) -> None:
    async with signed_in(world, 2) as crowd:
        token = world.upstream.newest_token("user-1")
        assert token is not None
        world.upstream.github.revoke_token(token.access_token)
        assert sorted(await crowd.call()) == [OK, "sign in again"]
        assert set(crowd.counts.lost) == {"user-1"}
        assert not world.reached_nobody("user-1")


def test_the_figures_tell_trouble_from_peace_and_say_how_long_it_took_to_recover() -> None:
    counts = Counts(seconds=60.0)
    counts.troubles = [Trouble("first", 10.0, 20.0), Trouble("second", 15.0, 25.0), Trouble("third", 40.0, 50.0)]
    counts.calls = [Call(1, 2, "a", OK), Call(9, 11, "a", "no"), Call(26, 27, "a", "no"), Call(51, 52, "a", OK)]
    figures = {what: value for what, value, _ in counts.figures()}
    # 25 seconds of trouble: 10 to 25, and 40 to 50.
    assert figures["while all is well: calls a second, and how many are answered"] == "0.086, 67%"
    assert figures["in trouble: calls a second, and how many are answered"] == "0.04, 0%"
    # The first was over when the second was.
    assert counts.recoveries() == [("second", 2.0), ("third", 0.0)]
