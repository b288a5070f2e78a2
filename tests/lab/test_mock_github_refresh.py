"""Refresh: rotation, families, and what no sequence of calls can bring about."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mock_github_world import CALLBACK, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def test_a_refresh_gives_a_new_pair_and_ends_the_old_one(world: World):
    old = await world.sign_in()
    new = await world.refresh(old["refresh_token"])
    assert new["access_token"] != old["access_token"]
    assert new["refresh_token"] != old["refresh_token"]
    assert await world.works(new["access_token"])
    assert not await world.works(old["access_token"])
    assert (await world.refresh(old["refresh_token"]))["error"] == "bad_refresh_token"


async def test_a_refresh_works_after_the_access_token_has_expired(world: World):
    token = await world.sign_in()
    world.clock.advance(hours=8)
    assert await world.works((await world.refresh(token["refresh_token"]))["access_token"])


async def test_a_refresh_cannot_change_the_scope(world: World):
    token = await world.sign_in(scope="read:user")
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"], "scope": "repo"}
    assert (await world.post_token(fields)).json()["scope"] == "read:user"


async def test_a_refresh_token_lives_184_days(world: World):
    token = await world.sign_in()
    world.clock.advance(seconds=15897600)
    assert (await world.refresh(token["refresh_token"]))["error"] == "bad_refresh_token"


async def test_a_refresh_token_works_for_its_own_app_only(world: World):
    token = await world.sign_in()
    other = world.github.register_app("Other", [CALLBACK])
    assert (await world.refresh(token["refresh_token"], app=other))["error"] == "bad_refresh_token"
    assert "access_token" in await world.refresh(token["refresh_token"])


async def test_a_refresh_needs_the_client_secret(world: World):
    token = await world.sign_in()
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"], "client_secret": "wrong"}
    assert (await world.post_token(fields)).json()["error"] == "incorrect_client_credentials"
    assert await world.works(token["access_token"])


async def test_a_missing_refresh_token_is_a_bad_one(world: World):
    assert (await world.post_token({"grant_type": "refresh_token"})).json()["error"] == "bad_refresh_token"


async def test_revoking_the_access_token_ends_the_refresh_token(world: World):
    token = await world.sign_in()
    assert world.github.revoke_token(token["access_token"])
    assert (await world.refresh(token["refresh_token"]))["error"] == "bad_refresh_token"


async def test_a_replayed_refresh_token_leaves_its_successor_alone_by_default(world: World):
    old = await world.sign_in()
    new = await world.refresh(old["refresh_token"])
    await world.refresh(old["refresh_token"])
    assert await world.works(new["access_token"])


async def test_a_replayed_refresh_token_can_end_its_family(world: World):
    world.github.knobs.refresh_reuse_revokes = True
    other_family = await world.sign_in()
    old = await world.sign_in()
    new = await world.refresh(old["refresh_token"])
    assert (await world.refresh(old["refresh_token"]))["error"] == "bad_refresh_token"
    assert not await world.works(new["access_token"])
    assert (await world.refresh(new["refresh_token"]))["error"] == "bad_refresh_token"
    assert await world.works(other_family["access_token"])


async def test_an_expired_refresh_token_is_no_replay(world: World):
    world.github.knobs.refresh_reuse_revokes = True
    world.github.knobs.access_token_lifetime = 20_000_000
    token = await world.sign_in()
    world.clock.advance(seconds=15897600)
    assert (await world.refresh(token["refresh_token"]))["error"] == "bad_refresh_token"
    assert await world.works(token["access_token"])


async def test_refreshing_is_not_limited_to_ten_an_hour(world: World):
    token = await world.sign_in()
    for _ in range(12):
        token = await world.refresh(token["refresh_token"])
    assert await world.works(token["access_token"])


# -- properties -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["authorize", "exchange", "refresh", "refresh", "revoke", "reset", "wait"]),
        st.integers(0, 30),
        st.booleans(),
    ),
    max_size=25,
)


class Families:
    """What a client that keeps everything it ever got has seen: codes, and chains of token responses."""

    def __init__(self, reuse_revokes: bool):
        self.world = World()
        self.world.github.knobs.refresh_reuse_revokes = reuse_revokes
        self.codes: list[str] = []
        self.families: list[list[dict[str, Any]]] = []

    async def step(self, action: str, choice: int, newest: bool) -> None:
        """Do one thing with one of the codes or tokens: the newest of a family, or any older one."""
        if action == "authorize":
            self.codes.append(await self.world.code())
        elif action == "wait":
            self.world.clock.advance(seconds=choice * 1000)
        elif action == "exchange" and self.codes:
            # Codes are tried again and again: the second exchange of a code must not give a second token.
            answer = await self.world.exchange(self.codes[choice % len(self.codes)])
            if "access_token" in answer:
                self.families.append([answer])
        elif self.families:
            family = self.families[choice % len(self.families)]
            await self.with_token(action, family, family[-1 if newest else choice % len(family)])

    async def with_token(self, action: str, family: list[dict[str, Any]], token: dict[str, Any]) -> None:
        """Refresh, revoke or reset one token of a family."""
        if action == "refresh":
            answer = await self.world.refresh(token["refresh_token"])
            if "access_token" in answer:
                family.append(answer)
        if action == "revoke":
            self.world.github.revoke_token(token["access_token"])
        if action == "reset":
            github = self.world.github
            url = f"/applications/{github.client_id}/token"
            body, auth = {"access_token": token["access_token"]}, (github.client_id, github.client_secret)
            answer = await self.world.api(url, method="PATCH", json=body, auth=auth)
            if answer.status_code == 200:
                family.append({"access_token": answer.json()["token"], "refresh_token": token["refresh_token"]})

    async def check(self) -> None:
        """At most one access token of a family works."""
        for family in self.families:
            live = [token for token in family if await self.world.works(token["access_token"])]
            assert len(live) <= 1, f"{len(live)} access tokens of one family work"


@pytest.mark.parametrize("reuse_revokes", [False, True])
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_no_sequence_of_calls_leaves_two_live_access_tokens_in_a_family(
    reuse_revokes: bool, steps: list[tuple[str, int, bool]]
):
    async def run() -> None:
        families = Families(reuse_revokes)
        for action, choice, newest in steps:
            await families.step(action, choice, newest)
            await families.check()

    asyncio.run(run())
