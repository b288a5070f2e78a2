"""The store fails, at any step: the answer is 503, nothing is lost, and no token at GitHub is left without an owner."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import anyio
import pytest
import resource_world
from authserver_world import World, answer
from failing_store import FailingStore
from jumping import in_no_time
from key_value.aio.stores.memory import MemoryStore
from limits.aio.storage import MemoryStorage
from limits.errors import StorageError
from mcp.server.auth.provider import AccessToken

from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.server.authserver import Rates
from mcp_oauth_nb.server.authserver.server import _every
from mcp_oauth_nb.server.authserver.vault import Vault
from mcp_oauth_nb.server.resource.limits import Limits

pytestmark = pytest.mark.anyio


class Failing(FailingStore):
    """Fails the step of this number from when it is set, and all later ones until it is None again."""

    fails_at: int | None = None

    def fail(self) -> None:
        if self.fails_at is None:
            return
        self.fails_at -= 1
        if self.fails_at < 0:
            raise StoreUnavailable("The store of a test does not answer.")


class FailingCounts(MemoryStorage):
    """Counts of a store that does not answer."""

    async def incr(self, *args: Any, **options: Any) -> int:
        raise StorageError(OSError("gone"))


@pytest.fixture
def store() -> Failing:
    return Failing()


@pytest.fixture
def world(store: Failing) -> World:
    world = World(kv=store, token_lifetime=24 * 3600)
    world.kv = store
    return world


# -- 503 -------------------------------------------------------------------------------------------------------------


async def test_each_endpoint_says_503_in_its_own_way_and_works_again_afterwards(world: World, store: Failing) -> None:
    tokens = await world.tokens()
    page = await world.browser.consent_page(world.request())
    registration = {"redirect_uris": ["http://127.0.0.1/cb"]}
    store.fails_at = 0
    for path, body in (
        ("/token", {"data": world.exchange("x" * 43)}),
        ("/token", {"data": world.refreshing(tokens["refresh_token"])}),
        ("/revoke", {"data": {"token": tokens["access_token"], "client_id": "desk"}}),
        ("/register", {"json": registration}),
    ):
        response = await world.http.post(path, **body)
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"] == "5"
        assert response.headers["cache-control"] == "no-store"
    for response in (
        await world.browser.get("/authorize", params=world.request(client_id="registered-earlier")),
        await world.browser.get(str(page.url)),
        await world.browser.press(page),
        await world.browser.get("/oauth/callback?state=x&code=y"),
    ):
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert response.headers["content-type"].startswith("text/html")
    store.fails_at = None
    assert (await world.browser.press(page)).status_code == 303
    assert (await world.http.post("/register", json=registration)).status_code == 201
    assert (await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))).status_code == 200


async def test_a_client_that_is_known_gets_the_error_by_redirect(world: World, store: Failing) -> None:
    # RFC 6749 section 4.1.2.1. This one is pre-registered, so the store is first asked to keep the request.
    store.fails_at = 0
    response = await world.browser.get("/authorize", params=world.request())
    said = answer(response.headers["location"])
    assert (said["error"], said["state"], said["iss"]) == ("temporarily_unavailable", "state-1", world.public_url)


async def test_counts_that_cannot_be_kept_are_503_too(caplog: pytest.LogCaptureFixture) -> None:
    world = World(rates=Rates(storage=FailingCounts()))
    with caplog.at_level(logging.WARNING):
        assert (await world.http.post("/token", data=world.exchange("x"))).status_code == 503
        assert (await world.http.post("/register", json={})).status_code == 503
        assert (await world.browser.get("/authorize", params=world.request())).status_code == 503
    assert "POST /token: The store that counts requests does not answer." in caplog.text
    assert not any(record.exc_info for record in caplog.records)


# -- nothing is lost -------------------------------------------------------------------------------------------------


async def until_it_works(store: Failing, ask: Any) -> tuple[int, Any]:
    """Let the store fail at the first step, then at the second, and so on, until it fails too late to matter."""
    for step in range(40):
        store.fails_at = step
        response = await ask()
        if response.status_code != 503:
            store.fails_at = None
            return step, response
    raise AssertionError("it never worked")


async def test_a_code_survives_a_failure_at_every_step_of_its_exchange(world: World, store: Failing) -> None:
    fields = world.exchange(await world.code())
    steps, response = await until_it_works(store, lambda: world.http.post("/token", data=fields))
    assert response.status_code == 200, response.text
    assert steps > 8
    access = await world.server.verify_token(response.json()["access_token"])
    assert access is not None
    assert await world.is_good_at_github(await world.server.upstream_token(access))


async def test_a_refresh_token_survives_a_failure_at_every_step_of_its_exchange(world: World, store: Failing) -> None:
    fields = world.refreshing((await world.tokens())["refresh_token"])
    # Whoever has taken the turn and failed counts as dead at once.
    world.server._grants.exchanges.patience = 0.01
    steps, response = await until_it_works(store, lambda: world.http.post("/token", data=fields))
    assert response.status_code == 200, response.text
    assert steps > 4
    assert await world.server.verify_token(response.json()["access_token"]) is not None
    assert (await world.http.post("/token", data=world.refreshing(response.json()["refresh_token"]))).status_code == 200


async def granted(world: World) -> AccessToken:
    access = await world.server.verify_token((await world.tokens())["access_token"])
    assert access is not None
    return access


async def fail_to_store_what_github_gives(world: World, store: Failing, access: AccessToken) -> None:
    """Refresh at GitHub; the store fails from then on."""
    world.clock.advance(hours=8)
    # Two reads, the turn, two reads: then GitHub is asked, and the store fails where it should keep the answer.
    store.fails_at = 5
    with pytest.raises(StoreUnavailable):
        await world.server.upstream_token(access)


async def test_what_github_gave_for_a_used_up_refresh_token_is_kept_until_the_store_takes_it(
    world: World, store: Failing
) -> None:
    world.github.knobs.refresh_reuse_revokes = True
    access = await granted(world)
    before = await world.server.upstream_token(access)
    await fail_to_store_what_github_gives(world, store, access)
    with pytest.raises(StoreUnavailable):
        await world.server.upstream_token(access)
    store.fails_at = None
    with anyio.fail_after(5):
        after = await world.server.upstream_token(access)
    assert after != before
    assert await world.is_good_at_github(after)
    assert await world.worker().upstream_token(access) == after
    # The turn is there again: whoever is next waits for nobody.
    assert await world.stored("turns") == 1


async def test_a_worker_that_ends_stores_what_the_store_did_not_take_before(world: World, store: Failing) -> None:
    access = await granted(world)
    async with world.server.run():
        await fail_to_store_what_github_gives(world, store, access)
        store.fails_at = None
    with anyio.fail_after(5):
        assert await world.is_good_at_github(await world.worker().upstream_token(access))


# -- nothing is left -------------------------------------------------------------------------------------------------


async def alive_at_github(world: World) -> int:
    """Count the tokens that GitHub's API still accepts."""
    tokens = [text for text in world.github.issued_secrets() if text.startswith("gho_")]
    return sum([await world.is_good_at_github(text) for text in tokens])


async def test_a_code_that_nobody_exchanges_leaves_no_token_alive_at_github(world: World) -> None:
    await world.code()
    await world.server.end_unredeemed()
    assert await alive_at_github(world) == 1
    world.clock.advance(seconds=61)
    # Any worker sees to it, one that was started later too.
    await world.worker().end_unredeemed()
    assert await alive_at_github(world) == 0
    assert await world.stored("codes", "families", "upstream") == 0


async def test_a_code_that_expired_is_kept_for_a_day_for_the_worker_that_revokes_its_token() -> None:
    class Timed(MemoryStore):
        """Notes for how long it is to keep what."""

        kept: ClassVar[dict[str, float]] = {}

        async def put(self, *args: Any, **options: Any) -> None:
            self.kept[options["collection"]] = options["ttl"]
            await super().put(*args, **options)

    await World(kv=Timed()).code()
    assert Timed.kept["mcp_oauth_codes"] == 60 + 24 * 3600


async def test_a_code_that_was_exchanged_keeps_its_token_at_github(world: World) -> None:
    tokens = await world.tokens()
    world.clock.advance(seconds=61)
    await world.server.end_unredeemed()
    assert await world.is_good_at_github(await world.upstream(tokens))


async def test_an_exchange_that_broke_off_and_is_never_tried_again_leaves_nothing(world: World, store: Failing) -> None:
    fields = world.exchange(await world.code())
    for step in range(9):
        store.fails_at = step
        assert (await world.http.post("/token", data=fields)).status_code == 503
    store.fails_at = None
    world.clock.advance(seconds=61)
    await world.server.end_unredeemed()
    assert await alive_at_github(world) == 0
    assert await world.stored("codes", "families", "upstream") == 0


async def test_a_token_for_which_no_code_can_be_stored_is_revoked_and_the_client_is_told(
    world: World, store: Failing
) -> None:
    page = await world.browser.consent_page(world.request())
    back = await world.browser.autopilot.authorize((await world.browser.press(page)).headers["location"])
    # The flow is read and taken out; then the code cannot be stored.
    store.fails_at = 2
    end = await world.browser.get(back)
    assert answer(end.headers["location"])["error"] == "temporarily_unavailable"
    assert await alive_at_github(world) == 0


async def test_a_store_that_cannot_list_its_keys_is_left_alone(world: World) -> None:
    class Plain:
        """No more than the protocol asks for."""

        def __init__(self, store: MemoryStore):
            self.get, self.put, self.delete = store.get, store.put, store.delete

    await world.code()
    world.clock.advance(seconds=61)
    await world.worker(kv=Plain(world.kv)).end_unredeemed()
    assert await world.stored("codes") == 1


async def test_what_is_done_regularly_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    again = anyio.Event()

    async def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise StoreUnavailable("The store of a test does not answer.")
        again.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(_every, 0.0, fail_once)
            await again.wait()
            group.cancel_scope.cancel()
    assert "The store of a test does not answer." in caplog.text


def test_a_server_that_runs_looks_once_a_minute_for_codes_that_nobody_exchanged(world: World) -> None:
    async def wait() -> None:
        await world.code()
        world.clock.advance(seconds=61)
        async with world.server.run():
            await anyio.sleep(59.5)
            assert await alive_at_github(world) == 1
            await anyio.sleep(1)
            assert await alive_at_github(world) == 0
            await world.code()
            world.clock.advance(seconds=61)
            await anyio.sleep(60)
            assert await alive_at_github(world) == 0

    in_no_time(wait)


def test_a_server_that_runs_tries_every_five_seconds_to_store_what_the_store_did_not_take(
    world: World, store: Failing
) -> None:
    async def wait() -> None:
        access = await granted(world)
        async with world.server.run():
            await fail_to_store_what_github_gives(world, store, access)
            await anyio.sleep(4.5)
            store.fails_at = None
            assert await world.stored("turns") == 0
            await anyio.sleep(1)
            assert await world.stored("turns") == 1

    in_no_time(wait)


def test_a_worker_that_ends_waits_a_second_for_a_store_that_does_not_answer() -> None:
    class Silent(Failing):
        silent = False

        async def put(self, *args: Any, **options: Any) -> None:
            if self.silent:
                await anyio.sleep_forever()
            await super().put(*args, **options)

    async def end() -> None:
        world = World(kv=(silent := Silent()), token_lifetime=24 * 3600)
        access = await granted(world)
        async with world.server.run():
            await fail_to_store_what_github_gives(world, silent, access)
            silent.fails_at, silent.silent = None, True
            ended = anyio.current_time()
        assert 0.5 < anyio.current_time() - ended < 1.5

    in_no_time(end)


# -- the protected resource ------------------------------------------------------------------------------------------


class FailingWindow(MemoryStorage):
    """Failures that can be asked for, or cannot be counted."""

    def __init__(self, *, answers: bool):
        super().__init__(wrap_exceptions=True)
        self._answers = answers

    async def get_moving_window(self, *args: Any, **options: Any) -> tuple[float, int]:
        if not self._answers:
            raise StorageError(OSError("gone"))
        return await super().get_moving_window(*args, **options)

    async def acquire_entry(self, *args: Any, **options: Any) -> bool:
        raise StorageError(OSError("gone"))


async def test_where_failures_cannot_be_looked_up_a_token_is_not_looked_at_and_open_tools_work() -> None:
    world = resource_world.World(limits=Limits(storage=FailingWindow(answers=False)))
    token = world.verifier.issue("octocat", "read:user")
    async with world.running():
        response = await world.post(resource_world.call(era=resource_world.MODERN), token=token)
        assert (response.status_code, response.headers["retry-after"]) == (503, "30")
        assert response.json()["error"]["data"]["type"] == "transient"
        assert world.verifier.asked == []
        assert await world.open_session()


async def test_where_failures_cannot_be_counted_a_bad_token_is_refused_all_the_same() -> None:
    world = resource_world.World(limits=Limits(storage=FailingWindow(answers=True)))
    async with world.running():
        response = await world.post(resource_world.call(era=resource_world.MODERN), token="nobody-s-token")
        assert response.status_code == 401


async def test_of_what_expired_only_our_own_is_taken_and_each_once(world: World) -> None:
    mine = Vault(world.kv, world.key, world.clock)
    await mine.put("codes", "old", {"number": 1}, lifetime=1, kept=60)
    await mine.put("codes", "young", {"number": 2}, lifetime=100)
    await Vault(world.kv, b"x" * 32, world.clock).put("codes", "foreign", {"number": 3}, lifetime=1, kept=60)
    world.clock.advance(seconds=2)
    taken: list[Any] = []

    async def take() -> None:
        taken.extend(await Vault(world.kv, world.key, world.clock).take_expired("codes"))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(take)
    assert taken == [{"number": 1}]
    assert await world.stored("codes") == 2
