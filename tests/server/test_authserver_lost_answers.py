"""A refresh token is exchanged and the answer never leaves: who asks again gets one, and reuse is noticed still."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from authserver_world import World
from key_value.aio.stores.memory import MemoryStore
from mcp.server.auth.provider import TokenError
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.server.authserver import AuthorizationServer

pytestmark = pytest.mark.anyio

#: More than a refresh takes.
STEPS = 40


class Mortal(MemoryStore):
    """Seen by a worker that is killed at a step, before or after the store has done it. The records are the world's."""

    def __init__(self, real: MemoryStore, dies_at: int, *, done: bool):
        super().__init__()
        self._real = real
        self._left = dies_at
        self._done = done
        self.dead = anyio.Event()

    async def _step(self, name: str, *args: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left < 0 and not (self._left == -1 and self._done):
            await self._die()
        result = await getattr(self._real, name)(*args, **options)
        if self._left < 0:
            await self._die()
        return result

    async def _die(self) -> None:
        self.dead.set()
        await anyio.sleep_forever()

    async def get(self, *args: Any, **options: Any) -> Any:
        return await self._step("get", *args, **options)

    async def put(self, *args: Any, **options: Any) -> None:
        await self._step("put", *args, **options)

    async def delete(self, *args: Any, **options: Any) -> bool:
        return bool(await self._step("delete", *args, **options))


def impatient(server: AuthorizationServer) -> AuthorizationServer:
    """Wait for others no longer than a test can."""
    server._grants.exchanges.patience = 0.05
    return server


async def refused(world: World, refresh_token: str) -> bool:
    response = await world.http.post("/token", data=world.refreshing(refresh_token))
    return response.status_code == 400 and response.json()["error"] == "invalid_grant"


async def killed(world: World, token: str, step: int, *, done: bool) -> tuple[bool, dict[str, Any] | None]:
    """Refresh at a worker that is killed at this step; say whether it was, and what tokens had left it by then."""
    store = Mortal(world.kv, step, done=done)
    app = Starlette(routes=impatient(world.worker(kv=store)).routes())
    left: list[dict[str, Any]] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.body" and b"access_token" in message["body"]:
                left.append(json.loads(message["body"]))
            await send(message)

        await app(scope, receive, note)

    http = httpx.AsyncClient(transport=httpx.ASGITransport(watched), base_url=world.public_url)
    async with http, anyio.create_task_group() as group:

        async def ask() -> None:
            await http.post("/token", data=world.refreshing(token))
            group.cancel_scope.cancel()

        group.start_soon(ask)
        await store.dead.wait()
        group.cancel_scope.cancel()
    return store.dead.is_set(), left[0] if left else None


@pytest.mark.parametrize("done", [False, True], ids=["before the store's step", "after it"])
async def test_a_worker_killed_at_any_step_of_a_refresh_loses_no_grant(done: bool) -> None:
    world = World()
    impatient(world.server)
    tokens = await world.tokens()
    for step in range(STEPS):
        spent = tokens["refresh_token"]
        died, answer = await killed(world, spent, step, done=done)
        if answer is None:
            response = await world.http.post("/token", data=world.refreshing(spent))
            assert response.status_code == 200, (step, response.text)
            answer = response.json()
        tokens = answer
        assert await world.server.verify_token(tokens["access_token"]) is not None
        if not died:
            break
    assert 8 < step < STEPS - 1
    # And strict as ever: what was answered is used up.
    assert await refused(world, spent)
    assert await refused(world, tokens["refresh_token"])
    assert await world.server.verify_token(tokens["access_token"]) is None


class Forgetful(MemoryStore):
    """Does what it is told, and says once that it does not answer."""

    fails: str | None = None

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        done = await super().delete(key, collection=collection)
        if done and collection == self.fails:
            self.fails = None
            raise StoreUnavailable("The store of a test does not answer.")
        return done


@pytest.mark.parametrize("kind", ["unclaimed", "refresh"])
async def test_a_store_that_did_it_and_did_not_say_so_loses_no_grant(kind: str) -> None:
    store = Forgetful()
    world = World(kv=store)
    impatient(world.server)
    tokens = await world.tokens()
    store.fails = f"mcp_oauth_{kind}"
    response = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert store.fails is None
    if kind == "unclaimed":
        # "Nothing is lost" is what a 503 says.
        assert response.status_code == 503
        response = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert response.status_code == 200, response.text
    again = await world.http.post("/token", data=world.refreshing(response.json()["refresh_token"]))
    assert again.status_code == 200


async def last_step(world: World) -> tuple[str, dict[str, Any]]:
    """Refresh at a worker that is killed when the answer has left and nothing else is done; return both tokens."""
    token = (await world.tokens())["refresh_token"]
    for step in range(STEPS):
        _, answer = await killed(world, token, step, done=False)
        if answer is not None:
            return token, answer
        token = (await world.http.post("/token", data=world.refreshing(token))).json()["refresh_token"]
    raise AssertionError("it never answered")


async def test_an_answer_that_arrived_closes_the_token_before_it_at_the_next_refresh() -> None:
    world = World()
    impatient(world.server)
    spent, tokens = await last_step(world)
    newer = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert newer.status_code == 200
    assert await refused(world, spent)
    assert await refused(world, newer.json()["refresh_token"])


async def test_whoever_had_looked_a_token_up_before_another_took_its_place_cannot_exchange_it_after() -> None:
    world = World()
    impatient(world.server)
    spent, tokens = await last_step(world)
    looked_up = await world.server._grants.load_refresh("desk", tokens["refresh_token"])
    assert looked_up is not None
    assert (await world.http.post("/token", data=world.refreshing(spent))).status_code == 200
    with pytest.raises(TokenError):
        await world.server._grants.rotate(looked_up, looked_up.scopes)


async def test_two_who_both_got_an_answer_for_one_token_are_noticed_at_the_next_refresh() -> None:
    world = World()
    impatient(world.server)
    spent, tokens = await last_step(world)
    # It looks like a client that has got no answer.
    second = await world.http.post("/token", data=world.refreshing(spent))
    assert second.status_code == 200
    assert await refused(world, tokens["refresh_token"])
    assert await refused(world, second.json()["refresh_token"])
    for given in (tokens, second.json()):
        assert await world.server.verify_token(given["access_token"]) is None
