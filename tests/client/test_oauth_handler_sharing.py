"""OAuthHandler: one token for many tasks, threads and processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from drawer import Drawer
from keyrings import MemoryKeyring
from provider import API, CLIENT_ID, Provider, handler_for, settings_for, signed_in, token_of
from starlette.responses import JSONResponse

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ReauthorizeError, RefreshRejected, TokenRejected, Unreachable
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.keyring import KeyringTokenStore
from mcp_oauth_nb.store.records import Store, TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore, MemoryTokenStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def handler(provider: Provider, clock: ManualClock) -> OAuthHandler:
    """Signed in; the provider has forgotten how."""
    handler = await signed_in(provider, clock)
    provider.seen.clear()
    return handler


async def test_fifty_callers_on_three_threads_make_one_request(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    clock.advance(hours=8)
    provider.hold = threading.Event()
    under_way = threading.Barrier(4)

    async def some(number: int) -> list[str]:
        callers = [asyncio.create_task(handler.access_token_for_request()) for _ in range(number)]
        await asyncio.sleep(0)
        await asyncio.to_thread(under_way.wait, 10)
        return await asyncio.gather(*callers)

    with ThreadPoolExecutor(3) as pool:
        groups = [pool.submit(asyncio.run, some(number)) for number in (16, 17, 17)]
        await asyncio.to_thread(under_way.wait, 10)
        provider.hold.set()
        answers = [answer for group in groups for answer in await asyncio.wrap_future(group)]
    assert answers == [handler.access_token] * 50
    assert len(provider.seen) == 1


async def test_a_cancelled_caller_does_not_stop_the_refresh(provider: Provider, handler: OAuthHandler) -> None:
    before = handler.access_token
    provider.hold = threading.Event()
    caller = asyncio.create_task(handler.refresh_access_token())
    while not provider.seen:  # noqa: ASYNC110
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    joined = asyncio.create_task(handler.refresh_access_token())
    await asyncio.sleep(0)
    provider.hold.set()
    assert (await joined).access_token == handler.access_token != before
    assert len(provider.seen) == 1


async def test_a_cancelled_exchange_keeps_the_token_that_is_under_way(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    callback = provider.authorize(handler.get_authorization_url().url)
    provider.hold = threading.Event()
    caller = asyncio.create_task(handler.complete_authorization(callback))
    while not provider.seen:  # noqa: ASYNC110
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    provider.hold.set()
    with anyio.fail_after(10):
        while handler.token is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert handler.access_token in provider.secrets
    assert len(provider.seen) == 1


class Overtaken(MemoryTokenStore):
    """Right after the next look into the store, something happens elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] | None = None

    def load(self, key: TokenKey) -> Token | None:
        found = super().load(key)
        if self.then is not None:
            happens, self.then = self.then, None
            happens()
        return found


@pytest.mark.parametrize("after_a_401", [False, True])
async def test_who_comes_late_to_a_refresh_takes_its_result(
    provider: Provider, clock: ManualClock, after_a_401: bool
) -> None:
    store = Overtaken()
    handler = await signed_in(provider, clock, store=store)
    old = token_of(handler)
    newer = replace(old, access_token="a-newer-access-token", expires_at=clock.now() + 99_999)
    clock.advance(hours=0 if after_a_401 else 8)
    store.then = lambda: setattr(handler, "token", newer)
    rejected = old.access_token if after_a_401 else None
    assert await handler.access_token_for_request(rejected=rejected) == newer.access_token
    assert len(provider.seen) == 1  # the sign-in


async def test_a_token_that_came_meanwhile_is_not_forgotten_with_the_rejected_one(
    provider: Provider, clock: ManualClock
) -> None:
    store = Overtaken()
    provider.with_refresh_token = False
    handler = await signed_in(provider, clock, store=store)
    rejected = handler.access_token
    newer = Token("a-newer-access-token")
    store.then = lambda: setattr(handler, "token", newer)
    with pytest.raises(TokenRejected):
        await handler.access_token_for_request(rejected=rejected)
    assert handler.token == newer


@pytest.mark.parametrize("kind", ["file", "keyring"])
async def test_processes_that_share_a_store_make_one_request_and_all_have_its_token(
    provider: Provider, clock: ManualClock, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    keyring = MemoryKeyring()

    def store() -> Store[Token]:
        return FileTokenStore(tmp_path / "tokens.json") if kind == "file" else KeyringTokenStore(backend=keyring)

    first = await signed_in(provider, clock, store=store())
    processes = [first, *(handler_for(provider, clock, store=store()) for _ in range(3))]
    provider.seen.clear()
    provider.hold = threading.Event()
    refreshes = [asyncio.create_task(process.refresh_access_token()) for process in processes]
    while not provider.seen:  # noqa: ASYNC110
        await asyncio.sleep(0)
    provider.hold.set()
    assert await asyncio.gather(*refreshes) == [first.token] * 4
    assert len(provider.seen) == 1


async def test_when_another_process_was_quicker_its_token_is_used_and_kept(
    provider: Provider, clock: ManualClock
) -> None:
    store = Drawer()
    handler = await signed_in(provider, clock, store=store)
    other_process = handler_for(provider, clock, store=store)
    winner: list[Token] = []

    def win() -> None:
        with ThreadPoolExecutor(1) as pool:
            winner.append(pool.submit(asyncio.run, other_process.refresh_access_token()).result(10))

    provider.meanwhile = win
    assert await handler.refresh_access_token() == winner[0]
    assert handler.token == other_process.token == winner[0]
    assert len(provider.seen) == 3  # sign-in, the winner's and the loser's


class Slow(httpx.ASGITransport):
    """A network on which an answer takes its time, or a request never arrives.

    Attributes:
        asked: a request is under way.
        answer: lets it, and all later ones, go on.
    """

    def __init__(self, provider: Provider, *, arrives: bool = True):
        super().__init__(provider)
        self.asked, self.answer = anyio.Event(), anyio.Event()
        self.arrives = arrives

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request) if self.arrives else None
        self.asked.set()
        await self.answer.wait()
        return response or await super().handle_async_request(request)

    def connect(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self)


async def test_without_a_lock_a_loser_that_is_refused_before_the_winner_has_its_answer_signs_nobody_out(
    provider: Provider, clock: ManualClock
) -> None:
    store, slow = Drawer(), Slow(provider)
    loser = await signed_in(provider, clock, store=store, revocation_url="https://id.example/revoke")
    winner = handler_for(provider, clock, store=store, client=slow.connect, revocation_url="https://id.example/revoke")
    provider.seen.clear()
    winning = asyncio.create_task(winner.refresh_access_token())
    await slow.asked.wait()
    with pytest.raises(RefreshRejected):
        await loser.refresh_access_token()
    assert loser.token is None
    slow.answer.set()
    assert await winning == winner.token == loser.token
    assert len(provider.seen) == 2
    await loser.refresh_access_token()


async def test_without_a_lock_a_refused_token_makes_room_for_another_one(
    provider: Provider, clock: ManualClock
) -> None:
    handler = await signed_in(provider, clock, store=Drawer())
    good = token_of(handler)
    handler.refresh_token = "a-refresh-token-that-was-revoked"
    refused = token_of(handler)
    with pytest.raises(RefreshRejected):
        await handler.refresh_access_token()
    handler.refresh_token = good.refresh_token
    assert await handler.refresh_access_token() == handler.token
    handler.token = refused
    assert handler.token == refused


async def test_who_waits_in_vain_for_another_process_sends_nothing_and_keeps_the_token(
    provider: Provider, clock: ManualClock, tmp_path: Path
) -> None:
    path, slow, hasty = tmp_path / "tokens.json", Slow(provider), settings_for(api_timeout=0.02)
    first = await signed_in(provider, clock, store=FileTokenStore(path), client=provider.client)
    before = token_of(first)
    winner = handler_for(provider, clock, store=FileTokenStore(path), client=slow.connect)
    others = [handler_for(provider, clock, store=FileTokenStore(path), settings=hasty) for _ in range(2)]
    provider.seen.clear()
    winning = asyncio.create_task(winner.refresh_access_token())
    await slow.asked.wait()
    for other in others:
        with pytest.raises(Unreachable, match=r"Another session or process .* within 0\.02 seconds") as caught:
            await other.refresh_access_token()
        assert "Try again in a moment" in caught.value.hint
        assert other.token == before
    # What is still valid is used meanwhile.
    clock.advance(28800 - 30)
    assert await others[0].access_token_for_request() == before.access_token
    slow.answer.set()
    after = await winning
    assert [other.token for other in others] == [after, after]
    assert len(provider.seen) == 1


async def test_who_waited_in_vain_takes_what_came_meanwhile(
    provider: Provider, clock: ManualClock, tmp_path: Path
) -> None:
    path, hasty = tmp_path / "tokens.json", settings_for(api_timeout=0.02)
    handler = await signed_in(provider, clock, store=FileTokenStore(path), settings=hasty)
    newer = Token("a-newer-access-token")
    async with FileTokenStore(path).alone(1) as mine:
        assert mine
        refresh = asyncio.create_task(handler.refresh_access_token())
        await asyncio.sleep(0)
        FileTokenStore(path).save(TokenKey("https://id.example", CLIENT_ID, API), newer)
        assert await refresh == newer
    assert len(provider.seen) == 1  # the sign-in


async def test_a_process_that_waits_for_a_silent_server_leaves_the_refresh_token_to_the_others(
    provider: Provider, clock: ManualClock, tmp_path: Path
) -> None:
    path, silent = tmp_path / "tokens.json", Slow(provider, arrives=False)
    await signed_in(provider, clock, store=FileTokenStore(path))
    stuck = handler_for(
        provider, clock, store=FileTokenStore(path), client=silent.connect, settings=settings_for(api_timeout=0.1)
    )
    others = [handler_for(provider, clock, store=FileTokenStore(path)) for _ in range(2)]
    provider.seen.clear()
    waiting = asyncio.create_task(stuck.refresh_access_token())
    await silent.asked.wait()
    tokens = await asyncio.gather(*(other.refresh_access_token() for other in others))
    with pytest.raises(Unreachable, match="no complete answer"):
        await waiting
    assert tokens == [stuck.token] * 2
    assert len(provider.seen) == 1


async def test_a_restarted_process_is_still_signed_in_and_knows_when_to_refresh(
    provider: Provider, clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.json"
    await signed_in(provider, clock, store=FileTokenStore(path))
    restarted = handler_for(provider, clock, store=FileTokenStore(path))
    assert restarted.is_authenticated()
    clock.advance(hours=8)
    assert not restarted.is_authenticated()
    await restarted.access_token_for_request()
    assert restarted.is_authenticated()


class OvertakenFile(FileTokenStore):
    """Another process writes to the file right after a look into it.

    Attributes:
        looks: how many looks are left before that.
        then: writes.
    """

    looks: int | None = None
    then: Callable[[], None]

    def load(self, key: TokenKey) -> Token | None:
        found = super().load(key)
        if self.looks is not None:
            self.looks -= 1
            if self.looks == 0:
                self.then()
        return found


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "granted"])
@pytest.mark.parametrize("looks", [1, 2, 3, 4])
async def test_a_sign_in_elsewhere_at_the_last_moment_of_a_refresh_holds(
    provider: Provider, clock: ManualClock, tmp_path: Path, refused: bool, looks: int
) -> None:
    store = OvertakenFile(tmp_path / "tokens.json")
    handler = await signed_in(provider, clock, store=store)
    newer = Token("a-newer-access-token")
    key = TokenKey("https://id.example", CLIENT_ID, API)
    store.then = lambda: FileTokenStore(store.path).save(key, newer)
    if refused:
        provider.spoiled.append(JSONResponse({"error": "invalid_grant"}, 400))
    provider.meanwhile = lambda: setattr(store, "looks", looks)
    with contextlib.suppress(ReauthorizeError):
        await handler.refresh_access_token()
    if store.looks is not None and store.looks > 0:
        # Nobody looked so often: the other process comes after all of it.
        store.then()
    assert FileTokenStore(store.path).load(key) == newer
