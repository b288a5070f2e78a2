"""Every store that lasts, seen from two real processes: a restart, one refresh at a time, and whom a value is for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from http_world import MCP, Person, World
from keyrings import FolderKeyring
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata

from mcp_oauth_nb import ManualClock, Session
from mcp_oauth_nb.client.sdk_storage import GrantStorage
from mcp_oauth_nb.oauth.errors import ReauthorizeError
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import FileGrantStore, Grant, KeyringGrantStore, MemoryGrantStore
from mcp_oauth_nb.store.keyring import KeyringTokenStore
from mcp_oauth_nb.store.records import TokenKey, store_of
from mcp_oauth_nb.store.tokens import FileTokenStore

KEY = TokenKey("https://id.example", "an-id", "https://api.example")
TOKEN = Token(
    "access-token-one",
    scopes=("read:user", "repo"),
    expires_at=1_700_000_000.5,
    refresh_token="refresh-token-one",
    resource="https://api.example",
)
GRANT = Grant(
    "https://id.example",
    "https://mcp.example/mcp",
    OAuthClientInformationFull.model_validate({"client_id": "an-id", "client_secret": "-".join(["hush"] * 4)}),
    OAuthMetadata.model_validate(
        {
            "issuer": "https://id.example",
            "authorization_endpoint": "https://id.example/authorize",
            "token_endpoint": "https://id.example/token",
            # Long enough that the grant does not fit into one entry of a keyring.
            "scopes_supported": [f"scope-{number}" for number in range(400)],
        }
    ),
    token=TOKEN,
    saved_at=1_600_000_000.25,
)

PREPARATION = """
import sys
from pathlib import Path
from test_store_restart import STORES, key_and_value
stores = {kind: make(Path(sys.argv[1])) for kind, make in STORES.items()}
"""

STORES: dict[str, Callable[[Path], FileTokenStore | FileGrantStore | KeyringTokenStore | KeyringGrantStore]] = {
    "tokens in a file": lambda folder: FileTokenStore(folder / "tokens.json"),
    "tokens in an encrypted file": lambda folder: FileTokenStore(folder / "sealed-tokens.json", key=b"k" * 32),
    "tokens in a keyring": lambda folder: KeyringTokenStore(backend=FolderKeyring(folder / "keyring")),
    "grants in a file": lambda folder: FileGrantStore(folder / "grants.json"),
    "grants in an encrypted file": lambda folder: FileGrantStore(folder / "sealed-grants.json", key=b"k" * 32),
    "grants in a keyring": lambda folder: KeyringGrantStore(backend=FolderKeyring(folder / "keyring")),
}


@pytest.fixture(autouse=True)
def home_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the lock of a keyring is, of both processes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("TOKEN_STORE_KEY", raising=False)


def key_and_value(kind: str) -> tuple[TokenKey, Any]:
    """What the tests put into a store of this kind."""
    return (GRANT.key, GRANT) if "grants" in kind else (KEY, TOKEN)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts other processes with every kind of store, and ends them."""
    pipe, here = subprocess.PIPE, Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent / "worlds"), os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
    environment = {**os.environ, "PYTHONPATH": paths}
    started = []

    def begin(work: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PREPARATION + work, str(tmp_path)]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.anyio
async def test_what_one_process_stored_the_next_one_has_and_only_one_is_alone(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    work = """
import anyio
from contextlib import AsyncExitStack
for kind, store in stores.items():
    store.save(*key_and_value(kind))
async def main():
    async with AsyncExitStack() as stack:
        for store in stores.values():
            await stack.enter_async_context(store.alone(10))
        print("alone", flush=True)
        sys.stdin.read()
anyio.run(main)
"""
    process = start(work)
    assert process.stdout is not None
    assert process.stdout.readline() == "alone\n", process.communicate()[1]
    for kind, make in STORES.items():
        assert make(tmp_path).entries() == dict([key_and_value(kind)]), kind
        with anyio.move_on_after(0.02):
            async with make(tmp_path).alone(10):
                pytest.fail(f"two were alone with {kind}")
    assert process.communicate() == ("", "")
    with anyio.fail_after(5):
        for make in STORES.values():
            async with make(tmp_path).alone(10):
                pass


@pytest.mark.parametrize("saved_at", [10**400, "canary", None, []])
def test_a_grant_with_a_damaged_number_counts_as_signed_out(
    tmp_path: Path, saved_at: object, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileGrantStore(tmp_path / "grants.json")
    store.save(GRANT.key, GRANT)
    document = json.loads(store.path.read_text())
    document["grants"][0]["grant"]["saved_at"] = saved_at
    store.path.write_text(json.dumps(document))
    assert store.entries() == {}
    assert "damaged" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("kind", STORES)
def test_every_store_that_lasts_gives_turns(kind: str, tmp_path: Path) -> None:
    store: Any = STORES[kind](tmp_path)
    assert store_of(store.record_type, store) is store


@pytest.mark.security
def test_processes_do_not_lose_each_others_changes_in_any_store(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    work = """
name = sys.stdin.readline().strip()
for number in range(20):
    for kind, store in stores.items():
        key, value = key_and_value(kind)
        store.save(key._replace(client_id=f"{name} {number}"), value)
"""
    processes = [start(work) for _ in range(2)]
    for name, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
    assert [process.communicate() for process in processes] == [("", "")] * 2
    for kind, make in STORES.items():
        found = {key.client_id for key in make(tmp_path).entries()}
        assert found == {f"{name} {number}" for name in range(2) for number in range(20)}, kind


# -- a look and a change -----------------------------------------------------------------------------------------------


class Overtaken(FileGrantStore):
    """Another process writes to the file right after a look into it.

    Attributes:
        looks: how many looks are left before that.
        then: writes.
    """

    looks: int | None = None
    then: Callable[[], None]

    def entries(self) -> dict[TokenKey, Grant]:
        found = super().entries()
        if self.looks is not None:
            self.looks -= 1
            if self.looks == 0:
                self.then()
        return found


@pytest.mark.parametrize("looks", [1, 2, 3])
@pytest.mark.anyio
@pytest.mark.parametrize("act", ["keep", "forget", "forget the client", "register"])
async def test_a_sign_in_elsewhere_at_the_last_moment_holds(tmp_path: Path, act: str, looks: int) -> None:
    store = Overtaken(tmp_path / "grants.json")
    storage = GrantStorage(store, GRANT.resource, ManualClock(1_700_000_000))
    storage.bind(GRANT.issuer, GRANT.client, None, None)
    storage.keep(TOKEN)
    if act == "register":
        storage.forget_token(TOKEN)
    newer = replace(GRANT, token=Token("a-newer-access-token"), saved_at=1_700_000_001.0)
    store.then = lambda: FileGrantStore(store.path).save(newer.key, newer)
    store.looks = looks
    if act == "keep":
        storage.keep(Token("a-refreshed-access-token"), instead_of=TOKEN)
    elif act == "register":
        await storage.set_client_info(OAuthClientInformationFull(client_id="another-id", issuer=GRANT.issuer))
    elif act == "forget":
        storage.forget_token(TOKEN)
    else:
        storage.forget_client(GRANT.client, TOKEN)
    if store.looks > 0:
        # Nobody looked so often: the other process comes after all of it.
        store.then()
    assert FileGrantStore(store.path).entries() == {newer.key: newer}


# -- whom a grant is for -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_clients_that_were_registered_beforehand_keep_a_grant_each_in_one_store() -> None:
    async with World().running() as world:
        store = MemoryGrantStore()
        clients = []
        for number in range(2):
            client = OAuthClientInformationFull.model_validate(
                {
                    "client_id": f"client-{number}",
                    "redirect_uris": ["http://127.0.0.1/callback"],
                    "scope": "read:user repo",
                    "token_endpoint_auth_method": "none",
                }
            )
            await world.authority.register_client(client)
            clients.append(client)
        for _ in range(2):
            for client in clients:
                person = Person(world)
                auth = world.auth(store=store, client=client, paste=person.follow, listen=False, open_browser=bool)
                async with Session.open(MCP, auth=auth, loop="current") as session:
                    await session.call_tool("whoami")
    assert world.count("/authorize") == 2
    assert {key.client_id for key in store.entries()} == {"client-0", "client-1"}


def test_a_client_that_registered_itself_again_takes_the_place_of_the_first() -> None:
    again = OAuthClientInformationFull(client_id="another-id")
    assert Grant(GRANT.issuer, GRANT.resource, again).key == GRANT.key


@pytest.mark.anyio
async def test_a_registration_that_the_server_lost_is_given_up_once_nobody_came_back_with_it() -> None:
    async with World().running() as world:
        store, absent = MemoryGrantStore(), Person(World(), comes_back=False)
        for _ in range(2):
            # The second time the server shows the person a page, "unknown client", and sends nobody back.
            with pytest.raises(ReauthorizeError, match="No callback arrived"):
                async with Session.open(
                    MCP, auth=world.auth(absent, store=store, timeout=0.05), loop="current"
                ) as session:
                    await session.call_tool("whoami")
            world.authority.clients.clear()
        assert world.count("/register") == 1
        async with Session.open(MCP, auth=world.auth(store=store), loop="current") as session:
            await session.call_tool("whoami")
        assert world.count("/register") == 2


@pytest.mark.anyio
async def test_a_step_up_in_which_nobody_comes_back_costs_neither_token_nor_registration() -> None:
    async with World().running() as world:
        store, absent = MemoryGrantStore(), Person(World(), comes_back=False)
        async with Session.open(MCP, auth=world.auth(store=store), loop="current") as session:
            await session.call_tool("whoami")
        before = store.entries()
        async with Session.open(MCP, auth=world.auth(absent, store=store, timeout=0.05), loop="current") as session:
            with pytest.raises(ReauthorizeError, match="No callback arrived"):
                await session.call_tool("private")
        assert store.entries() == before
