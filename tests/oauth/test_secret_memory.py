"""What is remembered, and what nobody can make it forget."""

from __future__ import annotations

import ast
import copy
import gc
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from authserver_world import CALLBACK, World

import mcp_oauth_nb
from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.oauth.masking import (
    Secret,
    SecretUrl,
    mask,
    mask_fields,
    remember,
    remember_heard,
    remember_made,
    remembered,
    scrub,
)
from mcp_oauth_nb.oauth.secret_memory import MOST, MOST_CHARACTERS, Memory

OURS = "the-very-first-secret"
FLOODS: dict[str, Callable[[str], None]] = {
    "made": remember_made,
    "heard": remember_heard,
}


def flood(say: Callable[[str], None], count: int = 2 * MOST + 1) -> None:
    for number in range(count):
        say(f"bulk-secret-{number:08d}")


@pytest.mark.parametrize("how", FLOODS)
def test_what_was_configured_is_never_displaced(how: str) -> None:
    remember(OURS)
    flood(FLOODS[how])
    assert scrub(OURS) == mask(OURS)


def test_what_a_peer_says_displaces_nothing_that_was_made_for_a_request() -> None:
    remember_made(OURS)
    flood(remember_heard)
    assert scrub(OURS) == mask(OURS)


def test_what_is_made_displaces_nothing_that_a_peer_said() -> None:
    remember_heard(OURS)
    flood(remember_made)
    assert scrub(OURS) == mask(OURS)


@pytest.mark.parametrize("note", [remember_made, remember_heard])
def test_of_what_comes_by_the_newest_ten_thousand_are_known_and_the_oldest_are_forgotten(
    note: Callable[[str], None],
) -> None:
    note(OURS)
    flood(note)
    assert scrub(OURS) == OURS
    assert {f"bulk-secret-{number:08d}" for number in range(MOST + 1, 2 * MOST + 1)} <= remembered()
    assert len(remembered()) <= 2 * MOST
    assert scrub(f"bulk-secret-{2 * MOST:08d}") == mask(f"bulk-secret-{2 * MOST:08d}")


@pytest.mark.parametrize("note", [remember_made, remember_heard])
def test_what_comes_by_is_bounded_by_its_size_too(note: Callable[[str], None]) -> None:
    for number in range(100):
        note(f"{number:04d}" * 15_000)
    kept = remembered()
    assert MOST_CHARACTERS <= sum(map(len, kept)) <= 2 * MOST_CHARACTERS + 120_000
    assert f"{99:04d}" * 15_000 in kept


def test_the_forms_of_a_secret_count_towards_its_size() -> None:
    mask_fields({"token": [f"""odd '"& {number:08d}""" for number in range(9_000)]})
    assert 100 < len(remembered()) < 5_000


@pytest.mark.parametrize("stronger", [remember, remember_made])
def test_a_peer_that_repeats_our_secret_does_not_make_it_its_own(stronger: Callable[[str], None]) -> None:
    stronger(OURS)
    mask_fields({"token": [OURS]})
    remember_heard(OURS)
    flood(remember_heard)
    assert scrub(OURS) == mask(OURS)


@pytest.mark.parametrize("stronger", [remember, remember_made])
def test_what_a_peer_said_first_is_ours_once_we_have_it(stronger: Callable[[str], None]) -> None:
    remember_heard(OURS)
    stronger(OURS)
    flood(remember_heard)
    assert scrub(OURS) == mask(OURS)


def test_what_was_made_first_is_kept_once_it_is_configured() -> None:
    remember_made(OURS)
    remember(OURS)
    remember_made(OURS)
    flood(remember_made)
    assert scrub(OURS) == mask(OURS)


@pytest.mark.parametrize("note", [remember_made, remember_heard])
def test_what_comes_again_is_new_again(note: Callable[[str], None]) -> None:
    note(OURS)
    flood(note, MOST + 1)
    note(OURS)
    flood(note, MOST)
    assert scrub(OURS) == mask(OURS)


@pytest.mark.parametrize("note", [remember_made, remember_heard, Secret])
def test_what_comes_again_and_again_counts_once(note: Callable[[str], object]) -> None:
    before = "known-before-the-other-one"
    remember_made(before)
    remember_heard(OURS)
    for _ in range(2 * (MOST_CHARACTERS // 100_000) + 2):
        note("again" * 20_000)
    assert scrub(f"{before} {OURS}") == f"{mask(before)} {mask(OURS)}"


def test_what_is_held_stays_until_the_last_holder_lets_go() -> None:
    memory = Memory()
    memory.hear([OURS])
    memory.hold(OURS)
    memory.hold(OURS)
    memory.release(OURS)
    flood(memory.make)
    assert list(memory.index.found(OURS)) == [(0, OURS)]
    memory.release(OURS)
    # It may still be in a text that was made meanwhile.
    assert OURS in memory
    flood(memory.make)
    assert OURS not in memory
    assert list(memory.index.found(OURS)) == []


def test_what_is_held_and_then_configured_stays_for_good() -> None:
    memory = Memory()
    memory.hold(OURS)
    memory.make(OURS)
    memory.keep(OURS)
    memory.release(OURS)
    flood(memory.make)
    assert list(memory.index.found(OURS)) == [(0, OURS)]


def test_a_hold_on_what_is_configured_ends_without_effect() -> None:
    memory = Memory()
    memory.keep(OURS)
    memory.hold(OURS)
    memory.release(OURS)
    flood(memory.make)
    assert memory.all() >= {OURS}
    assert list(memory.index.found(OURS)) == [(0, OURS)]


# -- who says what -------------------------------------------------------------------------------------------------

#: Where a person hands a secret over. All else is made for a request, or heard from a peer, and must be bounded.
CONFIGURED = {
    "oauth/settings",
    "store/key",
    "store/shared",
    "client/auth",
    "oauth/token",
    "server/authserver/clients",
    "jupyter/widgets/settings_panel",
}


def test_only_what_a_person_hands_over_is_remembered_for_good() -> None:
    package = Path(mcp_oauth_nb.__file__).parent
    callers = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and "remember" in {name.name for name in node.names}
    }
    assert callers == CONFIGURED


@pytest.mark.anyio
async def test_no_request_to_a_server_adds_to_what_is_remembered_for_good() -> None:
    world = World()
    await world.tokens()
    before = set(masking._memory._kept)
    for number in range(3):
        tokens = await world.tokens(state=f"a-state-of-a-stranger-{number}")
        await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
        await world.http.post("/token", data=world.refreshing(f"a-token-of-a-stranger-{number}"))
        await world.http.post("/revoke", data={"client_id": "desk", "token": f"another-of-a-stranger-{number}"})
        await world.http.get("/oauth/callback", params={"code": f"a-code-of-a-stranger-{number}", "state": "none"})
        registered = await world.http.post(
            "/register", json={"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post"}
        )
        assert registered.status_code == 201
        assert scrub(registered.json()["client_secret"]) == mask(registered.json()["client_secret"])
        assert scrub(tokens["refresh_token"]) == mask(tokens["refresh_token"])
        assert scrub(f"a-token-of-a-stranger-{number}") == mask(f"a-token-of-a-stranger-{number}")
    assert set(masking._memory._kept) == before


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["refresh_token", "code", "client_secret"])
async def test_what_is_brought_to_the_token_endpoint_is_masked_even_if_it_is_refused_at_once(name: str) -> None:
    brought = "a-secret-that-a-stranger-brings"
    grant = "authorization_code" if name == "code" else "refresh_token"
    answer = await World().http.post("/token", data={"client_id": "nobody", "grant_type": grant, name: brought})
    assert answer.status_code in (400, 401)
    assert scrub(brought) == mask(brought)


# -- secrets that objects keep -------------------------------------------------------------------------------------


def test_a_secret_that_an_object_keeps_is_a_text_that_masks_itself() -> None:
    kept = Secret(OURS)
    assert kept == OURS
    assert f"{kept}" == str(kept) == OURS
    assert json.dumps([kept]) == json.dumps([OURS])
    assert repr({"token": kept}) == f"{{'token': '{mask(OURS)}'}}"


def test_a_secret_is_known_for_as_long_as_an_object_keeps_it() -> None:
    kept, copied = Secret(OURS), copy.deepcopy([Secret(OURS)])
    flood(remember_made)
    assert scrub(OURS) == mask(OURS)
    del kept
    gc.collect()
    flood(remember_made)
    assert scrub(OURS) == mask(OURS)
    del copied
    gc.collect()
    flood(remember_made)
    assert scrub(OURS) == OURS


def test_a_url_with_a_secret_in_it_masks_it_in_its_repr() -> None:
    url = SecretUrl(f"https://id.example/?state={OURS}&scope=repo")
    assert repr([url]) == f"['https://id.example/?state={mask(OURS)}&scope=repo']"
    assert f"{url}".endswith(f"state={OURS}&scope=repo")
