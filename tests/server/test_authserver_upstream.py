"""GitHub's token behind ours: kept here, refreshed by one worker at a time, ended together with the family."""

from __future__ import annotations

import json
import logging
import random
import secrets
from typing import Any

import anyio
import httpx
import pytest
from authserver_world import World, answer, hidden
from jumping import in_no_time
from key_value.aio.stores.memory import MemoryStore
from mcp.server.auth.provider import AccessToken, AuthorizationParams, TokenError
from pydantic import AnyUrl
from test_authserver_consent import OneStep

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    RateLimited,
    ReauthorizeError,
    StoreUnavailable,
    TransientError,
)
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.server.authserver.grants import Grants
from mcp_oauth_nb.server.authserver.vault import Vault

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World(token_lifetime=24 * 3600)


async def signed_in(world: World) -> AccessToken:
    access = await world.server.verify_token((await world.tokens())["access_token"])
    assert access is not None
    return access


async def test_the_token_is_githubs_and_works_there(world: World) -> None:
    access = await signed_in(world)
    token = await world.server.upstream_token(access)
    assert token != access.token
    assert await world.is_good_at_github(token)


async def test_it_is_refreshed_before_it_expires_and_the_new_one_is_kept(world: World) -> None:
    access = await signed_in(world)
    first = await world.server.upstream_token(access)
    world.clock.advance(hours=8)
    second = await world.server.upstream_token(access)
    assert second != first
    assert await world.is_good_at_github(second)
    assert await world.server.upstream_token(access) == second
    assert await world.worker().upstream_token(access) == second


async def test_many_callers_at_two_workers_make_one_refresh(world: World) -> None:
    world.github.knobs.refresh_reuse_revokes = True
    access = await signed_in(world)
    world.clock.advance(hours=8)
    workers = [world.worker(), world.worker()]
    tokens: set[str] = set()

    async def ask(number: int) -> None:
        tokens.add(await workers[number % 2].upstream_token(access))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, number)
    assert len(tokens) == 1
    assert await world.is_good_at_github(tokens.pop())


async def test_a_token_that_github_rejected_is_replaced_once(world: World) -> None:
    access = await signed_in(world)
    rejected = await world.server.upstream_token(access)
    newer = await world.server.upstream_token(access, rejected=rejected)
    assert newer != rejected
    # Another caller comes late with the same news.
    assert await world.server.upstream_token(access, rejected=rejected) == newer


async def test_a_grant_that_github_has_ended_ends_here(world: World) -> None:
    tokens = await world.tokens()
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    upstream = await world.server.upstream_token(access)
    world.github.revoke_token(upstream)
    with pytest.raises(ReauthorizeError):
        await world.server.upstream_token(access, rejected=upstream)
    assert await world.server.verify_token(tokens["access_token"]) is None
    response = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert response.json()["error"] == "invalid_grant"
    with pytest.raises(ReauthorizeError):
        await world.server.upstream_token(access)
    assert await world.stored("families", "upstream") == 0


async def test_a_token_that_was_left_behind_by_a_grant_that_has_ended_is_given_to_nobody(world: World) -> None:
    # A worker that dies between the two steps of an end leaves one.
    access = await signed_in(world)
    family, vault = str((access.claims or {})["grant"]), world.server._grants.vault
    token = await vault.get("upstream", family)
    assert token is not None
    assert await world.server._grants.end(family)
    await vault.put("upstream", family, token, lifetime=60)
    with pytest.raises(ReauthorizeError):
        await world.server.upstream_token(access)


async def test_a_caller_who_goes_away_while_the_token_is_refreshed_loses_nobody_the_new_one() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await world.github.transport().handle_async_request(request)
            if b"grant_type=refresh_token" in request.content:
                # GitHub has used the old one up by now.
                asked.set()
                await go_on.wait()
            return response

    world = World(token_lifetime=24 * 3600, client=lambda: httpx.AsyncClient(transport=Slow()))
    world.github.knobs.refresh_reuse_revokes = True
    access = await signed_in(world)
    world.clock.advance(hours=8)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(world.server.upstream_token, access)
            await asked.wait()
            group.cancel_scope.cancel()
            go_on.set()
    assert await world.is_good_at_github(await world.server.upstream_token(access))


async def test_a_token_that_is_replaced_while_github_says_who_it_was_is_not_the_one_that_is_kept() -> None:
    asked: list[str] = []

    class Forgetful(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/user":
                asked.append(request.headers["authorization"])
                if len(asked) == 1:
                    return httpx.Response(401, json={"message": "Bad credentials"})
            return await world.github.transport().handle_async_request(request)

    world = World(client=lambda: httpx.AsyncClient(transport=Forgetful()))
    token = await world.server.upstream_token(await signed_in(world))
    assert asked[1:] == [f"Bearer {token}"] != asked[:1]
    assert await world.is_good_at_github(token)


async def test_github_out_of_reach_loses_nothing(world: World) -> None:
    access = await signed_in(world)
    world.clock.advance(hours=8)
    world.github.faults.next_token(status=503)
    with pytest.raises(TransientError):
        await world.server.upstream_token(access)
    assert await world.server.verify_token(access.token) is not None
    assert await world.is_good_at_github(await world.server.upstream_token(access))


async def test_a_github_that_asks_for_patience_is_not_asked_for_another_person(world: World) -> None:
    people = [await signed_in(world) for _ in range(3)]
    world.clock.advance(hours=8)
    come_back = world.clock.now() + 60
    # For the first who comes; the others would get a token.
    world.github.faults.next_token(status=429, headers={"Retry-After": "60"})
    for access in people:
        with pytest.raises(RateLimited) as caught:
            await world.server.upstream_token(access)
        assert caught.value.retry_at == come_back
    world.clock.advance(60)
    for access in people:
        assert await world.is_good_at_github(await world.server.upstream_token(access))


async def test_a_token_that_the_store_did_not_take_is_neither_lost_nor_asked_for_again() -> None:
    world = World(token_lifetime=24 * 3600, kv=(store := OneStep()))
    world.github.knobs.refresh_reuse_revokes = True
    access = await signed_in(world)
    first = await world.server.upstream_token(access)
    world.clock.advance(hours=8)
    store.full = "mcp_oauth_upstream"
    # GitHub has used the old one up: what it gave for it is all there is.
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await world.server.upstream_token(access)
    store.full = ""
    token = await world.server.upstream_token(access)
    assert token != first
    assert await world.is_good_at_github(token)
    with anyio.fail_after(5):
        assert await world.worker().upstream_token(access) == token
    # What was stored late is not stored again in place of what came after it.
    world.clock.advance(hours=8)
    later = await world.server.upstream_token(access)
    assert await world.server.upstream_token(access) == later != token
    assert await world.is_good_at_github(later)


async def test_a_turn_that_the_store_did_not_take_back_is_given_back_when_it_does() -> None:
    world = World(token_lifetime=24 * 3600, kv=(store := OneStep()))
    access = await signed_in(world)
    world.clock.advance(hours=8)
    store.full = "mcp_oauth_upstream"
    with pytest.raises(StoreUnavailable):
        await world.server.upstream_token(access)
    # As if the store had not taken the turn either.
    for key in await store.keys(collection="mcp_oauth_turns"):
        await store.delete(key, collection="mcp_oauth_turns")
    store.full = ""
    await world.server.upstream_token(access)
    world.clock.advance(hours=8)
    # Another worker need not wait until this one counts as dead.
    with anyio.fail_after(5):
        assert await world.is_good_at_github(await world.worker().upstream_token(access))


async def come_back(world: World, **at_github: Any) -> dict[str, str]:
    """Sign in, with something of GitHub's own on the way; return what the client hears."""
    response = await world.browser.press(await world.browser.consent_page(world.request(scope="read:user repo")))
    back = await world.browser.autopilot.authorize(response.headers["location"], **at_github)
    return answer((await world.browser.get(back)).headers["location"])


@pytest.mark.parametrize("given", [[], ["gist"]])
async def test_a_person_who_gives_nothing_of_what_was_asked_for_has_denied_it_and_no_token_stays(
    world: World, given: list[str]
) -> None:
    before = world.github.issued_secrets()
    assert (await come_back(world, scopes=given))["error"] == "access_denied"
    issued = [one for one in world.github.issued_secrets() - before if one.startswith(("gho_", "ghu_"))]
    assert [await world.is_good_at_github(token) for token in issued] == [False]


async def test_a_token_that_cannot_be_ended_at_github_is_told_in_the_log_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.github.faults.next_api(status=503, times=9)
    with caplog.at_level(logging.WARNING):
        assert (await come_back(world))["error"] == "temporarily_unavailable"
    assert "The upstream token could not be revoked: " in caplog.text


async def test_a_person_is_known_by_their_login_and_gets_the_scopes_in_the_order_asked_for(world: World) -> None:
    code = (await come_back(world))["code"]
    tokens = (await world.http.post("/token", data=world.exchange(code))).json()
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert (access.subject, access.scopes) == ("octocat", ["read:user", "repo"])


async def test_a_github_that_does_not_say_what_it_gave_gave_what_it_was_asked_for() -> None:
    class Terse(httpx.AsyncBaseTransport):
        """RFC 6749 section 5.1: the scope may be left out if it is the one that was asked for."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await world.github.transport().handle_async_request(request)
            if not request.url.path.endswith("/access_token"):
                return response
            said = json.loads(await response.aread())
            return httpx.Response(response.status_code, json={k: v for k, v in said.items() if k != "scope"})

    world = World(client=lambda: httpx.AsyncClient(transport=Terse()))
    assert (await world.tokens(scope="read:user repo"))["scope"] == "read:user repo"


async def test_github_is_asked_for_what_the_client_asked_for_and_nothing_else(world: World) -> None:
    for scope in ("repo", "read:user repo"):
        page = await world.browser.consent_page(world.request(scope=scope))
        to_github = answer((await world.browser.press(page)).headers["location"])
        assert to_github["scope"] == scope
        assert to_github["redirect_uri"] == f"{world.public_url}/oauth/callback"


async def test_all_that_is_drawn_comes_from_the_randomness_that_the_server_was_given() -> None:
    async def walk() -> tuple[object, ...]:
        world = World(token_bytes=random.Random(7).randbytes)
        page = await world.browser.consent_page(world.request())
        to_github = (await world.browser.press(page)).headers["location"]
        tokens = await world.tokens()
        return hidden(page), to_github, dict(world.browser.cookies), tokens

    assert await walk() == await walk()


async def test_an_access_token_of_nobody_has_no_token_behind_it(world: World) -> None:
    for claims in (None, {}, {"grant": "x"}):
        with pytest.raises(ReauthorizeError):
            await world.server.upstream_token(AccessToken(token="x", client_id="x", scopes=[], claims=claims))


async def test_a_restart_with_the_same_key_loses_nothing(world: World) -> None:
    tokens = await world.tokens()
    world.server = world.worker()
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert await world.is_good_at_github(await world.server.upstream_token(access))


async def test_another_key_opens_nothing_and_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    tokens = await world.tokens()
    with caplog.at_level(logging.WARNING):
        assert await world.worker(encryption_key=b"other" * 8).verify_token(tokens["access_token"]) is None
    assert "cannot be opened" in caplog.text


async def test_a_flow_may_begin_at_one_worker_and_end_at_another(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    world.server = world.worker()
    response = await world.browser.press(page)
    back = await world.browser.autopilot.authorize(response.headers["location"])
    world.server = world.worker()
    end = await world.browser.get(back)
    code = end.headers["location"].partition("code=")[2].partition("&")[0]
    response = await world.client_of(world.worker()).post("/token", data=world.exchange(code))
    assert response.status_code == 200


async def test_a_grant_that_ends_during_a_refresh_leaves_no_token_alive_at_github() -> None:
    world = World(token_lifetime=24 * 3600)
    tokens = await world.tokens()
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    got: list[str] = []

    class Revoking(httpx.AsyncBaseTransport):
        """The person revokes the grant just as GitHub answers the refresh."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await world.github.transport().handle_async_request(request)
            if request.url.path.endswith("/access_token"):
                got.append(json.loads(await response.aread())["access_token"])
                await world.http.post("/revoke", data={"token": access.token, "client_id": "desk"})
            return response

    worker = world.worker(client=lambda: httpx.AsyncClient(transport=Revoking()))
    world.clock.advance(hours=8)
    with pytest.raises(AuthenticationRequired, match="stands for nobody"):
        await worker.upstream_token(access)
    assert not await world.is_good_at_github(got[0])
    assert await world.stored("upstream", "families") == 0


async def test_a_code_whose_reuse_was_seen_first_gives_nothing(world: World) -> None:
    revoked: list[Token] = []

    async def on_end(token: Token) -> None:
        revoked.append(token)

    vault = Vault(world.kv, world.key, world.clock)
    grants = Grants(
        vault,
        world.clock,
        issuer=world.public_url,
        token_lifetime=60,
        refresh_lifetime=60,
        token_bytes=secrets.token_bytes,
        on_end=on_end,
    )
    params = AuthorizationParams(
        state=None,
        scopes=["repo"],
        code_challenge="x",
        redirect_uri=AnyUrl("http://127.0.0.1/"),
        redirect_uri_provided_explicitly=True,
        resource="r",
    )
    text = await grants.issue_code("c", params, scopes=["repo"], subject="s", upstream=Token("upstream-token"))
    code = await grants.load_code("c", text)
    assert code is not None
    with pytest.raises(TokenError, match="invalid_target"):
        await grants.redeem(code, "another")
    await grants.end(code.family)
    with pytest.raises(TokenError, match="invalid_grant"):
        await grants.redeem(code, "r")
    assert [token.access_token for token in revoked] == ["upstream-token"]
    assert await world.stored("access", "refresh", "families", "upstream") == 0


# -- the vault -----------------------------------------------------------------------------------------------------


async def test_a_record_that_was_moved_to_another_place_does_not_open(world: World) -> None:
    vault = Vault(world.kv, world.key, world.clock)
    await vault.put("access", "mine", {"scopes": ["repo"]}, lifetime=60)
    (key,) = await world.kv.keys(collection="mcp_oauth_access")
    entry = await world.kv.get(key, collection="mcp_oauth_access")
    assert entry is not None
    await vault.put("access", "other", {}, lifetime=60)
    other = next(name for name in await world.kv.keys(collection="mcp_oauth_access") if name != key)
    await world.kv.put(other, entry, collection="mcp_oauth_access")
    assert await vault.get("access", "other") is None
    assert await vault.get("access", "mine") == {"scopes": ["repo"]}


@pytest.mark.parametrize("entry", [{}, {"sealed": 1}, {"sealed": "x"}, {"sealed": ""}, {"sealed": "AAAA"}])
async def test_a_damaged_record_counts_as_absent(world: World, entry: dict[str, object]) -> None:
    vault = Vault(world.kv, world.key, world.clock)
    await vault.put("codes", "x", {}, lifetime=60)
    (key,) = await world.kv.keys(collection="mcp_oauth_codes")
    await world.kv.put(key, entry, collection="mcp_oauth_codes")
    assert await vault.get("codes", "x") is None


async def test_of_many_claims_one_wins(world: World) -> None:
    vault = Vault(world.kv, world.key, world.clock)
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    won: list[object] = []

    async def claim() -> None:
        won.append(await vault.claim("codes", "x"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(claim)
    assert won.count({"a": 1}) == 1
    assert won.count(None) == 4


async def test_a_turn_that_is_never_given_back_is_taken_in_the_end(world: World) -> None:
    vault = Vault(world.kv, world.key, world.clock)
    with anyio.fail_after(5):
        async with vault.turn("x", lifetime=60, patience=0.05):
            pass
        async with vault.turn("x", lifetime=60, patience=60):
            pass


def test_whose_turn_does_not_come_waits_twice_as_long_as_a_request_may_take_and_then_asks_github(world: World) -> None:
    async def wait() -> None:
        access = await signed_in(world)
        first = await world.server.upstream_token(access)
        world.clock.advance(hours=8)
        # Another worker died while it was at work.
        for key in await world.kv.keys(collection="mcp_oauth_turns"):
            await world.kv.delete(key, collection="mcp_oauth_turns")
        began = anyio.current_time()
        assert await world.server.upstream_token(access) != first
        twice = 2 * IsolatedSettings().api_timeout
        assert twice <= anyio.current_time() - began < twice + 1

    in_no_time(wait)


async def test_a_turn_that_is_interrupted_is_given_back(world: World) -> None:
    class Slow(MemoryStore):
        async def put(self, *args: Any, **options: Any) -> None:
            await anyio.lowlevel.checkpoint()
            await super().put(*args, **options)

    vault = Vault(Slow(), world.key, world.clock)
    await vault.give_turn("x", lifetime=60)
    with anyio.CancelScope() as interrupted:
        async with vault.turn("x", lifetime=60, patience=60):
            interrupted.cancel()
            await anyio.lowlevel.checkpoint()
    with anyio.fail_after(5):
        async with vault.turn("x", lifetime=60, patience=60):
            pass


def test_a_short_key_stops_the_start(world: World) -> None:
    with pytest.raises(ConfigurationError):
        Vault(world.kv, b"short", ManualClock())


def test_nothing_shows_a_secret(world: World) -> None:
    assert repr(Vault(world.kv, world.key, world.clock)) == "Vault(MemoryStore)"
    assert repr(world.server) == "AuthorizationServer('http://127.0.0.1:8000')"
