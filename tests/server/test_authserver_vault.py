"""The vault: what the store is given, what opens again, what counts as gone, and whose turn it is."""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import Any

import anyio
import pytest
from key_value.aio.stores.memory import MemoryStore

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.server.authserver.vault import Vault

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
EPOCH = 1_767_225_600.0
# {"a": 1} as the code "x", good until a minute after EPOCH, as version 1 of the format seals it.
SEALED = "g+yZkTdyCS0mo8kUFWcIyywxbNMTxkacNWiwgvNDJLEfyT43Bg0V0XJaoWS8PVHIRHsGcqiPh4wtGbRRMmDoA/yTYsViWg=="


class Recording(MemoryStore):
    """Notes what it is given, and may say of what it deletes that somebody else was faster."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[str, dict[str, Any], str | None, float | None]] = []
        self.late = False

    async def put(self, key: str, value: Any, *, collection: str | None = None, ttl: Any = None) -> None:
        # A store of another process answers later, and who is cancelled by then is not shielded from that.
        await anyio.lowlevel.checkpoint()
        self.given.append((key, dict(value), collection, ttl))
        await super().put(key, value, collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        return await super().delete(key, collection=collection) and not self.late


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


@pytest.fixture
def store() -> Recording:
    return Recording()


@pytest.fixture
def vault(store: Recording, clock: ManualClock) -> Vault:
    return Vault(store, KEY, clock)


async def test_a_record_of_a_worker_that_runs_an_earlier_version_opens(
    store: Recording, vault: Vault, clock: ManualClock
) -> None:
    key = hashlib.sha256(b"codes\nx").hexdigest()
    await store.put(key, {"sealed": SEALED}, collection="mcp_oauth_codes")
    assert await vault.get("codes", "x") == {"a": 1}
    clock.advance(60)
    assert await vault.get("codes", "x") is None


async def test_what_this_version_seals_has_the_form_that_others_open(store: Recording, vault: Vault) -> None:
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    (key, first, collection, _), (_, second, _, _) = store.given
    assert (key, collection) == (hashlib.sha256(b"codes\nx").hexdigest(), "mcp_oauth_codes")
    assert first.keys() == {"sealed"}
    assert first != second, "a nonce is used once"
    assert len(base64.b64decode(first["sealed"])) == len(base64.b64decode(SEALED))


async def test_the_store_may_forget_a_record_a_minute_after_its_end_or_as_late_as_it_is_told(
    store: Recording, vault: Vault
) -> None:
    await vault.put("codes", "x", {}, lifetime=600)
    await vault.put("upstream", "x", {}, lifetime=600, kept=3600)
    assert [ttl for *_, ttl in store.given] == [660, 4200]


async def test_a_record_is_good_until_its_end(vault: Vault, clock: ManualClock) -> None:
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    clock.advance(59.5)
    assert await vault.get("codes", "x") == {"a": 1}
    clock.advance(0.5)
    assert await vault.get("codes", "x") is None
    assert await vault.claim("codes", "x") is None
    assert await vault.delete("codes", "x"), "whoever wants what has ended takes nothing away"


async def test_one_caller_removes_a_record(vault: Vault, store: Recording) -> None:
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    assert await vault.delete("codes", "y") is False
    assert await vault.claim("codes", "x") == {"a": 1}
    assert await vault.delete("codes", "x") is False
    await vault.put("codes", "x", {"a": 1}, lifetime=60)
    store.late = True
    assert await vault.claim("codes", "x") is None


@pytest.mark.parametrize("exclusive", [True, False])
async def test_what_has_ended_is_taken_out_once_and_the_rest_is_left(
    store: Recording, clock: ManualClock, exclusive: bool
) -> None:
    vault = Vault(store, KEY, clock, exclusive=exclusive)
    for name, lifetime in (("soon", 30), ("now", 60), ("later", 61)):
        await vault.put("families", name, {"name": name}, lifetime=lifetime)
    await store.put("x" * 64, {"sealed": "AAAA"}, collection="mcp_oauth_families")
    clock.advance(60)
    taken = await vault.take_expired("families")
    assert sorted(one["name"] for one in taken) == ["now", "soon"]
    assert await vault.take_expired("families") == []
    assert await vault.get("families", "later") == {"name": "later"}
    clock.advance(1)
    store.late = True
    assert await vault.take_expired("families") == []


async def test_what_was_taken_out_is_not_at_hand_either_when_the_clock_is_set_back(store: Recording) -> None:
    class SetBack:
        """The clock of a machine that somebody corrects."""

        time = EPOCH

        def now(self) -> float:
            return self.time

    clock = SetBack()
    vault = Vault(store, KEY, clock, exclusive=True)
    await vault.put("families", "x", {}, lifetime=60)
    clock.time += 60
    assert await vault.take_expired("families") == [{}]
    clock.time -= 30
    assert await vault.get("families", "x") is None


async def test_a_store_that_cannot_list_its_keys_has_nothing_that_has_ended(clock: ManualClock) -> None:
    class Plain:
        """A store of the protocol's methods only."""

    assert await Vault(Plain(), KEY, clock).take_expired("families") == []  # type: ignore[arg-type]


async def test_a_record_that_went_while_the_keys_were_listed_is_passed_over(clock: ManualClock) -> None:
    class Listing(MemoryStore):
        async def keys(self, *args: Any, **options: Any) -> list[str]:
            return ["gone", *await super().keys(*args, **options)]

    vault = Vault(Listing(), KEY, clock)
    await vault.put("families", "x", {}, lifetime=0)
    assert await vault.take_expired("families") == [{}]


async def test_a_turn_is_had_by_one_at_a_time_and_given_back_whatever_happens(vault: Vault) -> None:
    at_work = most = 0

    async def work() -> None:
        nonlocal at_work, most
        async with vault.turn("x", lifetime=60, patience=5):
            at_work += 1
            most = max(most, at_work)
            await anyio.lowlevel.checkpoint()
            at_work -= 1

    await vault.give_turn("x", lifetime=60)
    with pytest.raises(ZeroDivisionError):
        async with vault.turn("x", lifetime=60, patience=5):
            raise ZeroDivisionError
    with anyio.fail_after(4):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(work)
    assert most == 1


async def test_a_turn_lasts_as_long_as_what_it_guards(vault: Vault, store: Recording) -> None:
    await vault.give_turn("x", lifetime=600)
    async with vault.turn("x", lifetime=700, patience=5):
        pass
    assert [ttl for *_, ttl in store.given] == [660, 760]


async def test_a_turn_is_given_back_by_whoever_is_cancelled(vault: Vault) -> None:
    await vault.give_turn("x", lifetime=60)
    with anyio.CancelScope() as scope:
        async with vault.turn("x", lifetime=60, patience=5):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert await vault.delete("turns", "x")


async def test_a_record_that_does_not_open_is_told_by_its_kind(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    await vault.put("codes", "x", {}, lifetime=60)
    with caplog.at_level(logging.WARNING):
        assert await Vault(vault._store, b"o" * 32, ManualClock(EPOCH)).get("codes", "x") is None
    assert "A record of 'codes' cannot be opened" in caplog.text


async def test_the_shortest_key_has_32_bytes(store: Recording, clock: ManualClock) -> None:
    Vault(store, b"k" * 32, clock)
    with pytest.raises(ConfigurationError, match="31 bytes"):
        Vault(store, b"k" * 31, clock)


@pytest.mark.parametrize("entry", [{}, {"sealed": 1}, {"sealed": "x"}, {"sealed": ""}, {"sealed": "AAAA"}])
async def test_what_somebody_else_wrote_to_the_store_is_as_if_nothing_were_there(
    vault: Vault, store: Recording, entry: dict[str, Any]
) -> None:
    await vault.put("codes", "x", {}, lifetime=0)
    ((key, *_),) = store.given
    await store.put(key, entry, collection="mcp_oauth_codes")
    assert await vault.get("codes", "x") is None
    assert await vault.take_expired("codes") == []
