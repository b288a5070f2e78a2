"""Several sessions, threads and processes with one grant: one refresh for all, and a sign-out that holds."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest
from http_world import MCP, PRM, Person, Seen, World, served
from keyrings import MemoryKeyring
from mcp.shared.auth import OAuthClientInformationFull
from stepping import Plain

from mcp_oauth_nb import FileGrantStore, ManualClock, Session
from mcp_oauth_nb.client.refreshing import TURN_SECONDS
from mcp_oauth_nb.client.sdk_storage import GrantStorage
from mcp_oauth_nb.oauth.errors import AccessDenied, AuthenticationRequired, Unreachable
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import Grant, KeyringGrantStore, MemoryGrantStore
from mcp_oauth_nb.store.records import CompletedStore, Store, store_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


class Held(httpx2.ASGITransport):
    """A network on which a refresh waits.

    Attributes:
        asked: a refresh is under way.
        answer: lets it, and all later ones, go on.
        late: it waits before it reaches the server, not on the way back.
    """

    def __init__(self, world: World, *, late: bool = False):
        super().__init__(world.app)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.late = late

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        refresh = b"grant_type=refresh_token" in await request.aread()
        if refresh and self.late:
            await self._wait()
        response = await super().handle_async_request(request)
        if refresh and not self.late:
            await self._wait()
        return response

    async def _wait(self) -> None:
        self.asked.set()
        await self.answer.wait()


async def whoami(session: Session) -> str:
    return (await session.call_tool("whoami")).content[0].text  # type: ignore[union-attr]


async def sign_in(world: World, store: Store[Grant]) -> None:
    async with Session.open(MCP, auth=world.auth(store=store), loop="current") as session:
        await whoami(session)


def stores(kind: str, tmp_path: Path) -> Callable[[], Store[Grant]]:
    """Makers of stores that share what they keep: of sessions in one process, or in several."""
    memory, keyring = MemoryGrantStore(), MemoryKeyring()
    makers: dict[str, Callable[[], Store[Grant]]] = {
        "memory": lambda: memory,
        "file": lambda: FileGrantStore(tmp_path / "grants.json"),
        "keyring": lambda: KeyringGrantStore(backend=keyring),
    }
    return makers[kind]


@pytest.mark.parametrize("kind", ["memory", "file", "keyring"])
@pytest.mark.parametrize("revoked", [True, False], ids=["revoked", "expired"])
async def test_sessions_that_refresh_at_once_make_one_request(
    world: World, kind: str, revoked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    store = stores(kind, tmp_path)
    await sign_in(world, store())
    held = Held(world)
    async with AsyncExitStack() as stack:
        auths = [world.auth(store=store(), carrier=lambda: held) for _ in range(3)]
        opening = [Session.open(MCP, auth=auth, loop="current") for auth in auths]
        sessions = [await stack.enter_async_context(one) for one in opening]
        assert [await whoami(session) for session in sessions] == ["octocat"] * 3
        if revoked:
            world.revoke_access()
        else:
            world.clock.advance(3700)
        calls = [asyncio.create_task(whoami(session)) for session in sessions]
        await held.asked.wait()
        held.answer.set()
        assert await asyncio.gather(*calls) == ["octocat"] * 3
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (1, 1)


async def test_a_revoked_token_of_another_session_is_refreshed_before_anybody_is_asked(world: World) -> None:
    auth = world.auth()
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await whoami(session)
        world.revoke_access()
        await sign_in(world, auth.store)  # refreshed
        world.revoke_access()
        del world.seen[:]
        assert await whoami(session) == "octocat"
    # With its own token, with the other session's, with a new one.
    assert [one.path for one in world.seen] == ["/mcp", "/mcp", "/token", "/mcp"]


async def test_tokens_that_change_and_never_work_end_in_an_authorization(world: World) -> None:
    store = Plain()
    await sign_in(world, store)
    carrier = world.carrier()
    changes = iter(range(10))

    class Changing(httpx2.ASGITransport):
        """The server loses all tokens at once, and another session gets new ones, before every answer."""

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path == "/mcp" and world.count("/authorize") == 1:
                ((key, grant),) = store.entries().items()
                assert grant.token is not None
                store.save(key, replace(grant, token=replace(grant.token, access_token=f"token-{next(changes)}")))
            return await carrier.handle_async_request(request)

    auth = world.auth(store=store, carrier=lambda: Changing(world.app))
    world.revoke_access()
    del world.seen[:]
    world.seen.append(Seen("GET", f"{MCP[:-4]}/authorize", {}, b""))
    async with Session.open(MCP, auth=auth, loop="current") as session:
        assert await whoami(session) == "octocat"
    assert [one.path for one in world.seen[1:5]] == ["/mcp", "/mcp", "/mcp", PRM]


async def test_without_a_lock_the_loser_uses_the_winners_token_and_never_deletes_it(world: World) -> None:
    store, held = Plain(), Held(world, late=True)
    assert isinstance(store_of(Grant, store), CompletedStore)
    await sign_in(world, store)
    slow, quick = world.auth(store=store, carrier=lambda: held), world.auth(store=store)
    async with (
        Session.open(MCP, auth=slow, loop="current") as loser,
        Session.open(MCP, auth=quick, loop="current") as winner,
    ):
        world.clock.advance(3700)
        call = asyncio.create_task(whoami(loser))
        await held.asked.wait()
        await whoami(winner)
        (grant,) = store.entries().values()
        held.answer.set()
        assert await call == "octocat"
    assert list(store.entries().values()) == [grant]
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (2, 1)


async def test_without_a_lock_a_loser_that_is_refused_before_the_winner_has_its_answer_signs_nobody_out(
    world: World,
) -> None:
    store, held = Plain(), Held(world)
    await sign_in(world, store)
    slow, quick = world.auth(store=store, carrier=lambda: held), world.auth(store=store)
    async with (
        Session.open(MCP, auth=slow, loop="current") as winner,
        Session.open(MCP, auth=quick, loop="current") as loser,
    ):
        world.clock.advance(3700)
        call = asyncio.create_task(whoami(winner))
        await held.asked.wait()
        world.declines = True  # the loser's person
        with pytest.raises(AccessDenied):
            await whoami(loser)
        held.answer.set()
        assert await call == "octocat"
        assert await whoami(loser) == "octocat"
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (2, 2)


class Busy(MemoryGrantStore):
    """A store in which another session has the turn and keeps it.

    Attributes:
        waited: how long others would have waited.
        meanwhile: happens while they wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[bool]:
        self.waited.append(seconds)
        await anyio.lowlevel.checkpoint()
        self.meanwhile()
        yield False


@pytest.mark.parametrize("revoked", [True, False], ids=["revoked", "expired"])
async def test_who_waits_in_vain_for_another_session_sends_nothing_and_keeps_the_token(
    world: World, revoked: bool
) -> None:
    store = Busy()
    await sign_in(world, store)
    before = store.entries()
    async with Session.open(MCP, auth=world.auth(store=store), loop="current") as session:
        if revoked:
            world.revoke_access()
        else:
            world.clock.advance(3700)
        calls = [asyncio.create_task(whoami(session)) for _ in range(2)]
        for call in calls:
            with pytest.raises(Unreachable, match="Another session or process is refreshing the token"):
                await call
    assert store.entries() == before
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (0, 1)
    # Who comes second has waited for the first already.
    first, second = store.waited
    assert TURN_SECONDS >= first > second


async def test_who_waits_in_vain_uses_what_is_still_valid_or_came_meanwhile(world: World) -> None:
    store, other = Busy(), MemoryGrantStore()
    await sign_in(world, store)
    ((key, old),) = store.entries().items()
    async with Session.open(MCP, auth=world.auth(store=store), loop="current") as session:
        world.clock.advance(3590)
        assert await whoami(session) == "octocat"
        assert list(store.entries().values()) == [old]
        world.revoke_access()
        await sign_in(world, other)
        (new,) = other.entries().values()
        store.meanwhile = lambda: store.save(key, new)
        assert await whoami(session) == "octocat"
    assert len(store.waited) == 2
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (0, 2)


PROGRAM = """
import asyncio, sys
from mcp_oauth_nb import FileGrantStore, McpAuth, Session

async def main():
    auth = McpAuth(store=FileGrantStore(sys.argv[2]), open_browser=lambda url: sys.exit("a browser"), show=str)
    async with Session.open(sys.argv[1], auth=auth, loop="current") as session:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print((await session.call_tool("whoami")).content[0].text, flush=True)

asyncio.run(main())
"""


async def test_processes_with_one_file_refresh_once(tmp_path: Path) -> None:
    path = tmp_path / "grants.json"
    with anyio.fail_after(40):
        async with served(streams=True, clock=ManualClock(time.time())) as world:
            url, person = f"{world.origin}/mcp", Person(world)
            auth = world.auth(
                open_browser=lambda url: True, paste=person.follow, carrier=None, store=FileGrantStore(path)
            )
            async with Session.open(url, auth=auth, loop="current") as session:
                await whoami(session)
            processes = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-c", PROGRAM, url, str(path), stdin=PIPE, stdout=PIPE
                )
                for _ in range(3)
            ]
            assert [await process.stdout.readline() for process in processes if process.stdout] == [b"ready\n"] * 3
            world.revoke_access()
            outputs = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [output for output, _ in outputs] == [b"octocat\n"] * 3
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (1, 1)


# -- sign-out ----------------------------------------------------------------------------------------------------------


async def test_a_sign_out_during_a_refresh_is_not_undone_by_its_answer(world: World) -> None:
    store, held, person = MemoryGrantStore(), Held(world), Person(world, comes_back=False)
    await sign_in(world, store)
    auth = world.auth(person, store=store, carrier=lambda: held, timeout=0.05)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        world.clock.advance(3700)
        call = asyncio.create_task(whoami(session))
        await held.asked.wait()
        auth.forget(MCP)
        held.answer.set()
        with pytest.raises(AuthenticationRequired, match="signed out"):
            await call
    assert (store.entries(), person.urls) == ({}, [])


async def test_an_authorization_during_a_refresh_is_the_one_that_holds(world: World) -> None:
    store, held = Plain(), Held(world)
    await sign_in(world, store)
    async with Session.open(MCP, auth=world.auth(store=store, carrier=lambda: held), loop="current") as session:
        world.clock.advance(3700)
        call = asyncio.create_task(whoami(session))
        await held.asked.wait()
        store.delete(next(iter(store.entries())))
        await sign_in(world, store)
        (newer,) = store.entries().values()
        held.answer.set()
        assert await call == "octocat"
        assert list(store.entries().values()) == [newer]


async def test_a_sign_out_elsewhere_is_noticed_when_the_token_ends(world: World) -> None:
    auth = world.auth()
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await whoami(session)
        auth.forget(MCP)
        assert await whoami(session) == "octocat"  # with the token that it has
        world.clock.advance(3700)
        assert await whoami(session) == "octocat"
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (0, 2)


async def test_forgetting_one_server_leaves_the_others(world: World) -> None:
    auth = world.auth()
    await sign_in(world, auth.store)
    auth.forget("https://other.example/mcp")
    assert len(auth.store.entries()) == 1


async def test_what_is_not_there_is_not_forgotten(world: World) -> None:
    store = MemoryGrantStore()
    storage = GrantStorage(store, MCP, world.clock)
    storage.forget_token(Token("a-token"))
    storage.forget_client(OAuthClientInformationFull(client_id="a-client"), None)
    assert store.entries() == {}
