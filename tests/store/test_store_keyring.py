"""Stores in the system's keyring: small entries, crashes, races, a user who does not unlock it, and none at all."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring as keyring_package
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyrings import MOST_BYTES, Crash, MemoryKeyring
from mcp.shared.auth import OAuthClientInformationFull

from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import Grant, KeyringGrantStore
from mcp_oauth_nb.store.keyring import KeyringTokenStore, system_keyring
from mcp_oauth_nb.store.records import TokenKey

KEY = TokenKey("https://id.example", "an-id", "https://api.example")


@pytest.fixture(autouse=True)
def home_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the lock is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def store(keyring: MemoryKeyring) -> KeyringTokenStore:
    return KeyringTokenStore(backend=keyring)


def token(name: str, size: int = 0) -> Token:
    return Token(f"access-token-{name}", refresh_token=f"refresh-token-{name}{'x' * size}", expires_at=1_700_000_000.5)


@pytest.mark.parametrize("size", [0, 1_000, 20_000])
def test_a_token_of_any_size_fits_into_entries_that_windows_can_hold(keyring: MemoryKeyring, size: int) -> None:
    KeyringTokenStore(backend=keyring).save(KEY, token("one", size))
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("one", size)
    assert max(len(value.encode("utf-16-le")) for value in keyring.secrets.values()) <= MOST_BYTES


def test_what_was_replaced_or_deleted_leaves_nothing_behind(keyring: MemoryKeyring, store: KeyringTokenStore) -> None:
    for name, size in (("big", 9_000), ("small", 0), ("medium", 3_000), ("large", 5_000)):
        store.save(KEY, token(name, size))
        assert f"access-token-{name}" in "".join(keyring.secrets.values())
        assert "".join(keyring.secrets.values()).count("access-token-") == 1
    store.delete(KEY)
    assert "token-" not in "".join(keyring.secrets.values())
    assert len(keyring.secrets) == 1


def test_what_an_earlier_version_stored_is_still_found(keyring: MemoryKeyring, store: KeyringTokenStore) -> None:
    document = {"tokens": [{"key": list(KEY), "token": {"access_token": "access-token-one"}}]}
    keyring.secrets["mcp-oauth-nb tokens 0", "token"] = json.dumps(document)
    assert store.load(KEY) == Token("access-token-one")


@pytest.mark.parametrize("service", ["a/b", "../a", "a service", "%2f"])
def test_a_service_may_have_any_name(keyring: MemoryKeyring, service: str, tmp_path: Path) -> None:
    KeyringTokenStore(service, backend=keyring).save(KEY, token("one"))
    assert KeyringTokenStore(service, backend=keyring).load(KEY) == token("one")
    # The locks of all of them are in one directory.
    assert len({lock.parent for lock in tmp_path.rglob("*.lock")}) == 1


def test_services_and_kinds_of_store_are_kept_apart(keyring: MemoryKeyring, store: KeyringTokenStore) -> None:
    client = OAuthClientInformationFull(client_id="an-id")
    grant = Grant("https://id.example", "https://api.example", client, token=token("grant"))
    KeyringGrantStore(backend=keyring).save(grant.key, grant)
    KeyringTokenStore("other", backend=keyring).save(KEY, token("other"))
    store.save(KEY, token("one"))
    assert store.entries() == {KEY: token("one")}
    assert KeyringTokenStore("other", backend=keyring).entries() == {KEY: token("other")}
    assert KeyringGrantStore(backend=keyring).entries() == {grant.key: grant}


@pytest.mark.parametrize("steps", range(25))
def test_a_crash_at_any_step_of_a_change_leaves_the_old_token_or_the_new_one(
    keyring: MemoryKeyring, store: KeyringTokenStore, steps: int
) -> None:
    for name in ("older", "old"):
        store.save(KEY, token(name, 5_000))
    keyring.steps = steps
    with contextlib.suppress(Crash):
        store.save(KEY, token("new", 8_000))
    keyring.steps = None
    restarted = KeyringTokenStore(backend=keyring)
    assert restarted.load(KEY) in (token("old", 5_000), token("new", 8_000))
    restarted.save(KEY, token("next"))
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("next")
    # And what the crash left is gone.
    assert len(keyring.secrets) == 1


@pytest.fixture
def brisk() -> Iterator[None]:
    """Threads take turns fifty times as often: more of them meet, and one that makes system calls is not starved."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("brisk")
def test_a_reader_never_sees_half_of_a_change(keyring: MemoryKeyring, store: KeyringTokenStore) -> None:
    store.save(KEY, token("0", 3_000))
    done, seen = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            seen.append(KeyringTokenStore(backend=keyring).load(KEY))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 100):
        store.save(KEY, token(str(number), 3_000))
    done.set()
    reader.join()
    assert seen
    assert None not in seen


class Overtaking(MemoryKeyring):
    """A keyring in which somebody else makes changes while the parts of a document are read."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Callable[[], None]] = []

    def get_password(self, service: str, username: str) -> str | None:
        if self.changes and service.endswith((" a0", " b0")):
            self.changes.pop()()
        return super().get_password(service, username)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_reader_who_is_overtaken_by_a_writer_looks_again(times: int) -> None:
    keyring = Overtaking()
    changing, store = MemoryKeyring(), KeyringTokenStore(backend=keyring)
    changing.secrets = keyring.secrets
    writer = KeyringTokenStore(backend=changing)
    writer.save(KEY, token("0", 3_000))
    keyring.changes = [lambda number=number: writer.save(KEY, token(str(number), 3_000)) for number in range(times)]
    assert store.load(KEY) == token("0", 3_000)
    assert keyring.changes == []


def test_a_part_that_is_damaged_counts_as_signed_out(keyring: MemoryKeyring, store: KeyringTokenStore) -> None:
    store.save(KEY, token("one", 3_000))
    name = next(name for name in keyring.secrets if name[0].endswith("1"))
    for damage in ("\ud800", "y" + keyring.secrets[name][1:], keyring.secrets[name][:-1], ""):
        keyring.secrets[name] = damage
        assert store.load(KEY) is None


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[" * 100_000,
        '{"copy": "a"}',
        '{"copy": "a", "parts": 0}',
        "\ud800",
        "canary",
        "[]",
        "{}",
        '{"copy": "a", "parts": 1, "sha256": "canary"}',
        '{"copy": "a", "parts": 100000000000, "sha256": ""}',
        '{"copy": "a", "parts": "canary", "sha256": ""}',
    ],
)
def test_a_damaged_entry_counts_as_signed_out(
    keyring: MemoryKeyring, store: KeyringTokenStore, index: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(KEY, token("one"))
    (name,) = keyring.secrets
    keyring.secrets[name] = index
    assert store.load(KEY) is None
    assert "damaged" in caplog.text
    assert "canary" not in caplog.text
    store.save(KEY, token("two"))
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("two")


@pytest.mark.parametrize("trouble", ["locked", "full"])
def test_a_keyring_that_takes_nothing_costs_a_warning_and_loses_nothing(
    keyring: MemoryKeyring, store: KeyringTokenStore, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(KEY, token("old"))
    setattr(keyring, trouble, True)
    store.save(KEY, token("new"))
    assert store.load(KEY) == token("new")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "cannot be written" in caplog.text
    assert "token-" not in caplog.text
    setattr(keyring, trouble, False)
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("old")
    store.save(KEY._replace(client_id="other"), token("other"))
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("new")


def test_what_cannot_be_removed_is_a_warning_and_goes_with_the_next_change(
    keyring: MemoryKeyring, store: KeyringTokenStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Keeping(MemoryKeyring):
        def delete_password(self, service: str, username: str) -> None:
            raise OSError("not now")

    keeping = Keeping()
    keeping.secrets = keyring.secrets
    KeyringTokenStore(backend=keeping).save(KEY, token("old", 3_000))
    KeyringTokenStore(backend=keeping).save(KEY, token("new", 3_000))
    assert "still there (OSError)" in caplog.text
    store.save(KEY, token("next"))
    assert "token-old" not in "".join(keyring.secrets.values())
    assert "token-new" not in "".join(keyring.secrets.values())


def test_the_repr_names_the_keyring_and_no_content(store: KeyringTokenStore) -> None:
    store.save(KEY, token("one"))
    assert repr(store) == "KeyringTokenStore('mcp-oauth-nb in MemoryKeyring')"


# -- no keyring --------------------------------------------------------------------------------------------------------


@pytest.fixture
def system() -> Iterator[None]:
    """Puts the system's keyring back."""
    before = keyring_package.get_keyring()
    yield
    keyring_package.set_keyring(before)


STORES = [KeyringTokenStore, KeyringGrantStore]


@pytest.mark.parametrize("kind", STORES)
def test_without_the_extra_the_error_says_what_to_install(
    kind: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigurationError, match="keyring is not installed") as caught:
        kind()
    assert 'pip install "mcp-oauth-nb[keyring]"' in caught.value.hint


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring], ids=["none", "switched off"])
@pytest.mark.usefixtures("system")
def test_without_a_keyring_the_error_names_some_and_the_way_without(
    kind: Callable[[], object], backend: Callable[[], KeyringBackend]
) -> None:
    keyring_package.set_keyring(backend())
    with pytest.raises(ConfigurationError, match="no keyring on this system") as caught:
        kind()
    assert "GNOME Keyring" in caught.value.hint
    assert "FileTokenStore(key=...)" in caught.value.hint


@pytest.mark.usefixtures("system")
def test_the_systems_own_keyring_is_used_if_there_is_one(keyring: MemoryKeyring) -> None:
    keyring_package.set_keyring(keyring)
    assert system_keyring() is keyring
    KeyringTokenStore().save(KEY, token("one"))
    assert KeyringTokenStore(backend=keyring).load(KEY) == token("one")


def test_a_keyring_that_is_badly_configured_is_a_typed_error() -> None:
    # In a process of its own: the keyring that was found first is the one that stays.
    code = """
import os, sys
from mcp_oauth_nb.errors import ConfigurationError
from mcp_oauth_nb.store.keyring import system_keyring
foreign = "Windows.WinVaultKeyring" if sys.platform == "darwin" else "macOS.Keyring"
for name in ("no.such.Backend", "keyring.backends.fail.Nothing", "nothing", f"keyring.backends.{foreign}"):
    os.environ["PYTHON_KEYRING_BACKEND"] = name
    try:
        system_keyring()
    except ConfigurationError as error:
        assert "PYTHON_KEYRING_BACKEND" in error.hint
        print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    kinds = ["ModuleNotFoundError", "AttributeError", "ValueError", "RuntimeError"]
    assert done.stdout.splitlines() == [f"The keyring that is configured cannot be loaded ({kind})." for kind in kinds]


def test_without_the_extra_there_is_no_keyring_but_everything_else() -> None:
    code = "import sys; sys.modules['keyring'] = None; import mcp_oauth_nb.store.keyring"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
