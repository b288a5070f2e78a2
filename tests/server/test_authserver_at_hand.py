"""What a vault keeps at hand of a store that nobody else has, and that it never outlives what it is a copy of."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from authserver_world import World
from key_value.aio.stores.memory import MemoryStore
from test_authserver_races import Contended

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.server.authserver.vault import Kind, Vault, _key

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


class Counting(MemoryStore):
    """Counts how often it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return await super().get(*args, **options)


async def test_what_every_call_asks_for_is_read_without_the_store() -> None:
    store = Counting()
    vault = Vault(store, KEY, ManualClock(), exclusive=True)
    await vault.put("families", "a", {"id": "a"}, lifetime=60)
    await vault.put("codes", "c", {"id": "c"}, lifetime=60)
    await vault.put("upstream", "a", {"id": "u"}, lifetime=60)
    assert await vault.get("families", "a") == {"id": "a"}
    assert await vault.get("upstream", "a") == {"id": "u"}
    assert store.reads == 0
    assert await vault.get("codes", "c") == {"id": "c"}
    assert store.reads == 1


async def test_of_a_shared_store_nothing_is_kept_at_hand() -> None:
    store = MemoryStore()
    one, other = (Vault(store, KEY, ManualClock()) for _ in range(2))
    await one.put("families", "a", {"id": "a"}, lifetime=60)
    assert await one.get("families", "a") == {"id": "a"}
    assert await other.delete("families", "a")
    assert await one.get("families", "a") is None


async def test_what_is_at_hand_expires() -> None:
    clock = ManualClock()
    vault = Vault(MemoryStore(), KEY, clock, exclusive=True)
    await vault.put("families", "a", {}, lifetime=60)
    clock.advance(60)
    assert await vault.get("families", "a") is None
    assert await vault.take_expired("families") == [{}]


async def test_more_than_can_be_at_hand_is_in_the_store_and_what_was_put_last_is_at_hand() -> None:
    store = Counting()
    vault = Vault(store, KEY, ManualClock(), exclusive=True)
    for number in (*range(10_000), 0):
        await vault.put("families", str(number), {"number": number}, lifetime=60)
    assert await vault.get("families", "1") == {"number": 1}
    await vault.put("families", "10000", {"number": 10_000}, lifetime=60)
    assert await vault.get("families", "10000") == {"number": 10_000}
    assert await vault.get("families", "0") == {"number": 0}
    assert store.reads == 0
    assert await vault.get("families", "1") == {"number": 1}
    assert store.reads == 1


@pytest.mark.parametrize("seed", range(30))
async def test_what_was_deleted_stays_away_however_the_steps_overtake_each_other(seed: int) -> None:
    vault = Vault(Contended(seed), KEY, ManualClock(), exclusive=True)
    await vault.put("families", "a", {}, lifetime=60)
    async with anyio.create_task_group() as group:
        group.start_soon(vault.get, "families", "a")
        group.start_soon(vault.delete, "families", "a")
        group.start_soon(vault.get, "families", "a")
    assert await vault.get("families", "a") is None


async def test_a_revocation_is_effective_at_once_where_the_server_keeps_its_own_store() -> None:
    world = World(kv=None)
    tokens = await world.tokens()
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert await world.server.upstream_token(access)
    answer = await world.http.post("/revoke", data={"client_id": "desk", "token": tokens["access_token"]})
    assert answer.status_code == 200
    assert await world.server.verify_token(tokens["access_token"]) is None


@pytest.mark.parametrize(("kind", "name"), [("refresh", "hers"), ("access", "his")])
async def test_whoever_writes_to_the_store_cannot_move_a_record_to_another_place(kind: Kind, name: str) -> None:
    store = MemoryStore()
    vault = Vault(store, KEY, ManualClock())
    for each, whose in (("refresh", "his"), (kind, name)):
        await vault.put(each, whose, {"whose": whose, "kind": each}, lifetime=60)  # type: ignore[arg-type]
    entry = await store.get(_key("refresh", "his"), collection="mcp_oauth_refresh")
    assert entry is not None
    await store.put(_key(kind, name), entry, collection=f"mcp_oauth_{kind}")
    assert await vault.get(kind, name) is None
    assert await vault.get("refresh", "his") == {"whose": "his", "kind": "refresh"}
