"""Token stores: in memory, in a keyring, and in a file that survives restarts, crashes, full disks and neighbours."""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from keyrings import MemoryKeyring

from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.file import default_path
from mcp_oauth_nb.store.keyring import KeyringTokenStore
from mcp_oauth_nb.store.records import Store, TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore, MemoryTokenStore

KEY = TokenKey("https://id.example", "an-id", "https://api.example")


def token(name: str = "one") -> Token:
    return Token(
        f"access-token-{name}",
        scopes=("read:user", "repo"),
        expires_at=1_700_000_000.5,
        refresh_token=f"refresh-token-{name}",
        refresh_token_expires_at=1_800_000_000.0,
        resource="https://api.example",
    )


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture(autouse=True)
def home_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the data of a user without any variable of this package is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("TOKEN_STORE_KEY", raising=False)


@pytest.fixture(params=["memory", "file", "encrypted", "keyring"])
def store(request: pytest.FixtureRequest, path: Path) -> Store[Token]:
    makers: dict[str, Callable[[], Store[Token]]] = {
        "memory": MemoryTokenStore,
        "file": lambda: FileTokenStore(path),
        "encrypted": lambda: FileTokenStore(path, key=b"k" * 32),
        "keyring": lambda: KeyringTokenStore(backend=MemoryKeyring()),
    }
    return makers[request.param]()


# -- what all do --------------------------------------------------------------------------------------------------


def test_a_saved_token_comes_back_whole(store: Store[Token]) -> None:
    store.save(KEY, token())
    assert store.load(KEY) == token()


def test_an_unknown_key_gives_none(store: Store[Token]) -> None:
    assert store.load(KEY) is None
    store.delete(KEY)
    assert store.load(KEY) is None


def test_saving_again_replaces_and_deleting_forgets(store: Store[Token]) -> None:
    store.save(KEY, token("one"))
    store.save(KEY, token("two"))
    assert store.load(KEY) == token("two")
    store.delete(KEY)
    assert store.load(KEY) is None


@pytest.mark.parametrize("field", TokenKey._fields)
def test_a_token_is_bound_to_issuer_client_and_resource(store: Store[Token], field: str) -> None:
    store.save(KEY, token())
    other = KEY._replace(**{field: "https://other.example"})
    assert store.load(other) is None
    store.delete(other)
    assert store.load(KEY) == token()


def test_only_what_is_still_there_gives_way(store: Store[Token]) -> None:
    assert not store.replace(KEY, token("one"), token("two"))
    assert store.replace(KEY, None, None)
    assert store.replace(KEY, None, token("one"))
    assert not store.replace(KEY, None, token("two"))
    assert not store.replace(KEY, token("two"), None)
    assert store.entries() == {KEY: token("one")}
    assert store.replace(KEY, token("one"), token("two"))
    assert store.load(KEY) == token("two")
    assert store.replace(KEY, token("two"), None)
    assert store.entries() == {}


def test_who_changes_the_list_of_what_is_stored_changes_nothing_in_the_store(store: Store[Token]) -> None:
    store.save(KEY, token("one"))
    store.entries().clear()
    assert store.load(KEY) == token("one")


@pytest.mark.anyio
async def test_one_at_a_time_has_the_turn_and_gives_it_back_whatever_happens(store: Store[Token]) -> None:
    async def fails() -> None:
        async with store.alone(1) as mine:
            assert mine
            # To wait in vain, or no longer, is not to give back what one never had.
            for _ in range(2):
                async with store.alone(0.01) as another:
                    assert not another
            with anyio.move_on_after(0.01):
                async with store.alone(10):
                    pytest.fail("two were alone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    with anyio.fail_after(5):
        async with store.alone(10) as mine:
            assert mine


def test_no_repr_shows_a_token(store: Store[Token]) -> None:
    store.save(KEY, token())
    assert "token-one" not in repr(store)


def test_many_threads_may_use_one_store(store: Store[Token]) -> None:
    keys = [KEY._replace(client_id=str(number)) for number in range(8)]

    def work(key: TokenKey) -> None:
        for number in range(10):
            store.save(key, token(f"{key.client_id}-{number}"))

    run_in_threads([lambda key=key: work(key) for key in keys])
    assert [store.load(key) for key in keys] == [token(f"{key.client_id}-9") for key in keys]


def run_in_threads(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- the file ------------------------------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    FileTokenStore(path).save(KEY, token())
    assert mode_of(path) == 0o600


def test_missing_directories_are_made_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "under" / "tokens.json"
    FileTokenStore(path).save(KEY, token())
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o700


def test_looking_for_a_token_makes_no_file(path: Path) -> None:
    assert FileTokenStore(path).load(KEY) is None
    assert list(path.parent.iterdir()) == []


def test_expiry_is_stored_as_an_absolute_time_and_survives_a_restart(path: Path) -> None:
    FileTokenStore(path).save(KEY, token())
    assert json.loads(path.read_text())["tokens"][0]["token"]["expires_at"] == 1_700_000_000.5
    restored = FileTokenStore(str(path)).load(KEY)
    assert restored is not None
    assert not restored.is_expired(1_700_000_000.0)
    assert restored.is_expired(1_700_000_000.5)


def test_two_stores_of_one_file_see_each_other(path: Path) -> None:
    login, serve = FileTokenStore(path), FileTokenStore(path)
    assert serve.load(KEY) is None
    login.save(KEY, token("one"))
    assert serve.load(KEY) == token("one")
    serve.save(KEY, token("two"))
    assert login.load(KEY) == token("two")
    login.delete(KEY)
    assert serve.load(KEY) is None


def test_stores_of_one_file_do_not_lose_each_others_changes(path: Path) -> None:
    keys = [KEY._replace(client_id=str(number)) for number in range(8)]
    stores = [FileTokenStore(path) for _ in keys]

    def work(store: FileTokenStore, key: TokenKey) -> None:
        for number in range(10):
            store.save(key, token(f"{key.client_id}-{number}"))

    run_in_threads([lambda store=store, key=key: work(store, key) for store, key in zip(stores, keys, strict=True)])
    assert [FileTokenStore(path).load(key) for key in keys] == [token(f"{key.client_id}-9") for key in keys]


def test_processes_do_not_lose_each_others_changes(path: Path) -> None:
    work = """
for number in range(40):
    FileTokenStore(path).save(KEY._replace(client_id=argument), Token(f"token-{argument}-{number}"))
"""
    processes = [start(work, path, str(number)) for number in range(2)]
    assert [process.communicate() for process in processes] == [("", ""), ("", "")]
    store = FileTokenStore(path)
    found = [store.load(KEY._replace(client_id=number)) for number in ("0", "1")]
    assert found == [Token("token-0-39"), Token("token-1-39")]


@pytest.mark.anyio
async def test_one_process_at_a_time_is_alone(path: Path) -> None:
    work = """
import anyio
async def main():
    async with FileTokenStore(path).alone(10):
        print("alone", flush=True)
        sys.stdin.read()
anyio.run(main)
"""
    other = start(work, path)
    assert other.stdout is not None
    assert other.stdout.readline() == "alone\n"
    with anyio.move_on_after(0.1):
        async with FileTokenStore(path).alone(10):
            pytest.fail("two were alone")
    assert other.communicate() == ("", "")
    with anyio.fail_after(5):
        async with FileTokenStore(path).alone(10) as mine:
            assert mine


@pytest.mark.anyio
async def test_a_process_that_is_stuck_does_not_keep_others_waiting_for_ever(path: Path) -> None:
    with anyio.fail_after(5):
        async with FileTokenStore(path).alone(5) as stuck, FileTokenStore(path).alone(0.01) as mine:
            assert (stuck, mine) == (True, False)


def test_a_child_that_was_forked_meanwhile_keeps_nobody_waiting(path: Path) -> None:
    work = """
import anyio
async def main():
    store = FileTokenStore(path)
    async with store.alone(10):
        with store._among_processes.changing():
            if not os.fork():
                os.close(ending)
                os.read(end, 1)
                os._exit(0)
    store.save(KEY, Token("one"))
    async with store.alone(0) as mine:
        print(mine)
end, ending = os.pipe()
anyio.run(main)
os.close(ending)
os.wait()
"""
    assert start(work, path).communicate() == ("True\n", "")


@pytest.mark.anyio
async def test_who_is_no_longer_alone_keeps_nobody_waiting(path: Path) -> None:
    store = FileTokenStore(path)
    with anyio.fail_after(5):
        for _ in range(2):
            async with store.alone(60) as mine:
                assert mine


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.anyio
@pytest.mark.skipif(os.name != "posix", reason="Windows has no list of open files")
async def test_a_lock_that_is_left_leaves_no_file_open(path: Path) -> None:
    store = FileTokenStore(path)
    store.save(KEY, token("0"))
    before = open_files()
    store.save(KEY, token("1"))
    async with store.alone(60):
        pass
    assert open_files() == before


@pytest.mark.anyio
async def test_where_no_lock_can_be_made_nobody_waits(blocked: Path) -> None:
    with anyio.fail_after(5):
        async with FileTokenStore(blocked).alone(60) as first, FileTokenStore(blocked).alone(60) as second:
            assert (first, second) == (True, True)


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    store = FileTokenStore(path)
    store.save(KEY, token("0"))
    done = threading.Event()
    seen: list[Token | None] = []

    def read() -> None:
        while not done.is_set():
            seen.append(FileTokenStore(path).load(KEY))

    def write() -> None:
        for number in range(50):
            store.save(KEY, token(str(number)))
        done.set()

    run_in_threads([read, write])
    assert seen
    assert None not in seen


# -- crashes and disks ---------------------------------------------------------------------------------------------

PREPARATION = f"""
import logging, os, sys
from pathlib import Path
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore
from mcp_oauth_nb.oauth.token import Token
KEY = TokenKey{tuple(KEY)!r}
path, argument = Path(sys.argv[1]), sys.argv[2]
logging.basicConfig()
"""


def start(work: str, path: Path, argument: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARATION + work, str(path), argument]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("moment", ["tempfile.mkstemp", "os.rename"])
def test_a_crash_before_the_rename_leaves_the_old_token(path: Path, moment: str) -> None:
    FileTokenStore(path).save(KEY, token("old"))
    # An audit hook is called at the moment itself: the process ends there, with no chance to clean up.
    work = """
sys.addaudithook(lambda event, _: os._exit(7) if event == argument else None)
FileTokenStore(path).save(KEY, Token("new-token"))
"""
    process = start(work, path, moment)
    assert process.communicate() == ("", "")
    assert process.returncode == 7
    assert FileTokenStore(path).load(KEY) == token("old")
    assert {mode_of(left) for left in path.parent.iterdir()} == {0o600}
    # Where it can be renamed from, whatever disks there are, and named so that nobody wonders whose it is.
    left = {left.name for left in path.parent.iterdir()} - {"tokens.json", ".tokens.json.lock"}
    assert len(left) == (moment == "os.rename")
    assert all(name.startswith(".tokens.json.") for name in left)
    FileTokenStore(path).save(KEY, token("next"))
    assert FileTokenStore(path).load(KEY) == token("next")
    assert {left.name for left in path.parent.iterdir()} == {"tokens.json", ".tokens.json.lock"}


def test_signing_out_removes_what_a_killed_process_left_and_nothing_of_a_neighbour(path: Path) -> None:
    store, neighbour = FileTokenStore(path), FileTokenStore(f"{path}.old")
    for each in (store, neighbour):
        each.save(KEY, token("old"))
    for killed in (path, Path(f"{path}.old")):
        work = "sys.addaudithook(lambda event, _: os._exit(7) if event == 'os.rename' else None)\n"
        process = start(work + "FileTokenStore(path).save(KEY, Token('token-new'))", killed)
        assert process.communicate() == ("", "")
    (path.parent / ".tokens.json.original").touch()
    store.delete(KEY)
    names = [left.name for left in path.parent.iterdir()]
    assert len([name for name in names if name.endswith(".new")]) == 1
    assert {".tokens.json.lock", ".tokens.json.old.lock", ".tokens.json.original", "tokens.json.old"} < set(names)
    assert not [left for left in path.parent.iterdir() if ".old" not in left.name and b"token-" in left.read_bytes()]
    assert neighbour.load(KEY) == token("old")


def test_all_of_the_new_file_is_on_the_disk_before_the_rename(path: Path) -> None:
    FileTokenStore(path).save(KEY, token("old"))
    # Otherwise a power failure could leave the name to a file without its content.
    work = """
import json
def fsync(descriptor, really=os.fsync):
    written = json.loads(os.pread(descriptor, 10_000, 0))
    print("synced", os.fstat(descriptor).st_ino, written["tokens"][0]["token"]["access_token"])
    really(descriptor)
os.fsync = fsync
def renamed(event, given):
    # A coverage measurement renames files, too.
    if event == "os.rename" and Path(given[1]) == path:
        print("renamed", os.stat(given[0]).st_ino)
sys.addaudithook(renamed)
FileTokenStore(path).save(KEY, Token("new-token"))
"""
    output, log = start(work, path).communicate()
    number = path.stat().st_ino
    assert (output, log) == (f"synced {number} new-token\nrenamed {number}\n", "")


def test_a_full_disk_costs_a_warning_and_keeps_both_the_old_file_and_the_new_token(path: Path) -> None:
    FileTokenStore(path).save(KEY, token("old"))
    # In a process of its own, in which no file can grow beyond ten bytes: the log of this one is a file too.
    work = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
store = FileTokenStore(path)
store.save(KEY, Token("token-new"))
kept = store.load(KEY) == Token("token-new")
# Not sys.exit(): a coverage measurement could not write its file either.
os._exit(0 if kept else 1)
"""
    process = start(work, path)
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert FileTokenStore(path).load(KEY) == token("old")
    assert "cannot be written (File too large)" in log
    assert "token-new" not in log
    assert {left.name for left in path.parent.iterdir()} == {"tokens.json", ".tokens.json.lock"}


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A path where nothing can be read or written, for root neither: its directory is a file."""
    (tmp_path / "not-a-directory").write_text("")
    return tmp_path / "not-a-directory" / "tokens.json"


def test_a_directory_that_cannot_be_written_keeps_tokens_in_memory(
    blocked: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileTokenStore(blocked)
    store.save(KEY, token())
    assert store.load(KEY) == token()
    assert FileTokenStore(blocked).load(KEY) is None
    store.delete(KEY)
    assert store.load(KEY) is None
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "cannot be written" in caplog.text
    assert "token-one" not in caplog.text


def test_a_replacement_where_nothing_can_be_written_counts_in_memory(blocked: Path) -> None:
    store = FileTokenStore(blocked)
    assert store.replace(KEY, None, token("one"))
    assert not store.replace(KEY, token("two"), token("three"))
    assert store.load(KEY) == token("one")
    assert store.replace(KEY, token("one"), None)
    assert store.load(KEY) is None


@pytest.mark.parametrize("key", [None, b"k" * 32], ids=["in clear", "encrypted"])
def test_only_what_is_still_there_is_replaced(path: Path, key: bytes | None) -> None:
    store, other_process = FileTokenStore(path, key=key), FileTokenStore(path, key=key)
    assert not store.replace(KEY, token("one"), token("two"))
    assert store.replace(KEY, None, token("one"))
    other_process.save(KEY, token("two"))
    assert not store.replace(KEY, token("one"), None)
    assert store.load(KEY) == token("two")
    assert store.replace(KEY, token("two"), None)
    assert other_process.load(KEY) is None


def test_what_could_not_be_written_is_written_as_soon_as_it_can(blocked: Path) -> None:
    store = FileTokenStore(blocked)
    other = KEY._replace(client_id="other")
    store.save(KEY, token("one"))
    blocked.parent.unlink()
    store.save(other, token("two"))
    restarted = FileTokenStore(blocked)
    assert (restarted.load(KEY), restarted.load(other)) == (token("one"), token("two"))


def test_a_file_that_cannot_be_read_is_a_warning_and_is_not_replaced(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    store = FileTokenStore(path)
    assert store.load(KEY) is None
    assert "cannot be read" in caplog.text
    store.save(KEY, token())
    assert store.load(KEY) == token()
    assert path.is_dir()


GOOD = token().to_dict()
DAMAGED = [
    b"",
    b'{"tokens": [{"key": ["a", "b", "c"], "tok',
    b"\xff\xfe\x00canary",
    b"[]",
    b'"canary"',
    b"{}",
    b'{"tokens": null}',
    b'{"tokens": 7}',
    b'{"tokens": "canary"}',
    b'{"tokens": ["canary"]}',
    b'{"tokens": [{"key": ["a", "b", "c"]}]}',
    b'{"tokens": [{"key": ["a", "b", "c"], "token": "canary"}]}',
    b'{"tokens": [{"key": ["a", "b", "c"], "token": {"access_token": "canary\\r\\n"}}]}',
    json.dumps({"tokens": [{"key": ["a", "b"], "token": GOOD}]}).encode(),
    json.dumps({"tokens": [{"key": "abc", "token": GOOD}]}).encode(),
    json.dumps({"tokens": [{"key": ["a", 7, None], "token": GOOD}]}).encode(),
    json.dumps({"tokens": [{"key": list(KEY), "token": {**GOOD, "expires_at": "canary"}}]}).encode(),
    *(
        json.dumps({"tokens": [{"key": list(KEY), "token": {**GOOD, "expires_at": value}}]}).encode()
        for value in (math.nan, math.inf, 1e300, -1.0)
    ),
    *(
        json.dumps({"tokens": [{"key": list(KEY), "token": {**GOOD, **changed}}]}).encode()
        for changed in ({"expires_at": 10**400}, {"issued_at": "canary"}, {"scopes": 7}, {"resource": ["canary"]})
    ),
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_counts_as_signed_out_and_its_content_is_not_repeated(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    store = FileTokenStore(path)
    assert store.load(KEY) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "damaged" in record.getMessage()
    assert "canary" not in caplog.text
    store.save(KEY, token())
    assert FileTokenStore(path).load(KEY) == token()


ODD_ENTRIES: list[Any] = [
    {"key": ["a", "b", "c"], "token": {"access_token": 7, "of": "a newer version"}},
    {"key": ["d", "e", "f"], "grant": {}},
    "canary",
    None,
    {"key": 7},
]


def test_entries_that_cannot_be_read_are_kept_as_they_are_and_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = TokenKey("another", "client", "resource")
    path.write_text(json.dumps({"tokens": [*ODD_ENTRIES, {"key": list(KEY), "token": GOOD}]}))
    path.chmod(0o600)
    store = FileTokenStore(path)
    assert store.entries() == {KEY: token()}
    assert "has 5 damaged entries. They stay as they are" in caplog.text
    assert "canary" not in caplog.text
    store.save(other, token("two"))
    store.delete(KEY)
    written = json.loads(path.read_text())["tokens"]
    assert [entry for entry in ODD_ENTRIES if entry not in written] == []
    assert FileTokenStore(path).entries() == {other: token("two")}


@pytest.mark.parametrize("sign_out", [False, True])
def test_an_entry_that_cannot_be_read_goes_with_the_next_change_of_its_key(path: Path, sign_out: bool) -> None:
    path.write_text(json.dumps({"tokens": [{"key": list(KEY), "token": {"access_token": 7}}]}))
    path.chmod(0o600)
    store = FileTokenStore(path)
    if sign_out:
        store.delete(KEY)
    else:
        store.save(KEY, token())
    assert store.load(KEY) == (None if sign_out else token())
    assert "7" not in str([entry["token"]["access_token"] for entry in json.loads(path.read_text())["tokens"]])


def test_a_document_has_a_version(path: Path) -> None:
    FileTokenStore(path).save(KEY, token())
    assert json.loads(path.read_text())["version"] == 1


@pytest.mark.parametrize(
    "document",
    [
        {"version": 2, "tokens": [{"key": list(KEY), "secret-of-2": "canary"}]},
        {"version": "1", "tokens": []},
        {"version": None},
        {"encrypted": "XChaCha20-Poly1305", "content": "canary"},
    ],
    ids=str,
)
def test_a_document_of_a_newer_version_is_refused_and_not_overwritten(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    store = FileTokenStore(path)
    with pytest.raises(ConfigurationError, match="stays as it is") as caught:
        store.load(KEY)
    assert "Update mcp-oauth-nb" in caught.value.hint
    assert str(path) in caught.value.message
    assert "canary" not in str(caught.value)
    for change in (
        lambda: store.save(KEY, token()),
        lambda: store.delete(KEY),
        lambda: store.replace(KEY, None, token()),
    ):
        with pytest.raises(ConfigurationError):
            change()
    assert json.loads(path.read_text()) == document


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_that_others_may_use_is_refused_with_the_way_out(path: Path, mode: int) -> None:
    store = FileTokenStore(path)
    store.save(KEY, token("one"))
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}") as caught:
        store.load(KEY)
    assert f"chmod 600 {path}" in caught.value.hint
    assert "token-one" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        store.save(KEY, token("two"))
    # Nothing is lost: once the mode is right, the token that was refused is there.
    path.chmod(0o600)
    assert store.load(KEY) == token("two")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_pipe_in_place_of_the_file_is_not_waited_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(path, 0o600)
    store = FileTokenStore(path)
    assert store.load(KEY) is None
    assert "cannot be read (not a regular file)" in caplog.text
    store.save(KEY, token())
    assert store.load(KEY) == token()
    assert path.is_fifo()


def test_a_file_of_another_owner_is_refused_whatever_its_mode(path: Path) -> None:
    FileTokenStore(path).save(KEY, token())
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        # Nobody else may give a file away, so it is one that is there.
        path = Path("/etc/passwd")
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        FileTokenStore(path).load(KEY)


def test_the_default_file_is_in_the_users_own_data(tmp_path: Path) -> None:
    assert default_path().parts[-2:] == ("mcp-oauth-nb", "tokens.json")
    assert tmp_path in default_path().parents
    assert FileTokenStore().path == default_path()
