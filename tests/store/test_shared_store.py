"""Where the state is kept: what can be named, what an error shows, what a store that fails becomes."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failing_store import FailingStore
from key_value.aio.errors import DeserializationError, SerializationError, StoreConnectionError

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ConfigurationError, StoreUnavailable
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.server.authserver.vault import Vault
from mcp_oauth_nb.store.shared import KEY_COMMAND, TypedErrors, configured_url, encryption_key, open_store, required_key

pytestmark = pytest.mark.anyio

PASSWORD = "hush-and-be-quiet"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without `.env`, and an environment without our variables."""
    for name in ("STORE_URL", "STORE_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the address -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [None, "memory", "memory://"])
async def test_memory_is_the_default_and_needs_nothing(url: str | None) -> None:
    store = open_store(url)
    await store.check()
    assert (store.place, store.kv, store.rates, required_key(store)) == ("memory", None, None, None)
    await store.aclose()


@pytest.mark.parametrize("form", ["state", "disk://{}/state"])
async def test_a_directory_is_named_by_its_path_or_as_a_url(elsewhere: Path, form: str) -> None:
    store = open_store(form.format(elsewhere))
    await store.check()
    assert (elsewhere / "state").is_dir()
    assert store.place.endswith("state")
    await store.aclose()


@pytest.mark.parametrize("url", [f"redis:u:{PASSWORD}@h", f"redis:/u:{PASSWORD}@h/0", f"REDISS:{PASSWORD}@h", "disk:x"])
def test_a_url_without_its_slashes_is_no_name_of_a_directory(elsewhere: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="two slashes") as caught:
        open_store(url)
    assert PASSWORD not in str(caught.value)
    assert "--store, or STORE_URL, is one of" in caught.value.hint
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("path", ["./a:b", "a/b:c", "a"])
async def test_a_directory_may_have_a_colon_behind_a_slash(elsewhere: Path, path: str) -> None:
    store = open_store(path)
    assert (elsewhere / path).is_dir()
    await store.aclose()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
async def test_a_new_directory_is_its_owners_alone_and_one_that_others_may_write_to_is_refused(
    elsewhere: Path, mode: int
) -> None:
    await open_store("mine").aclose()
    assert (elsewhere / "mine").stat().st_mode & 0o777 == 0o700
    (elsewhere / "theirs").mkdir()
    (elsewhere / "theirs").chmod(mode)
    with pytest.raises(ConfigurationError, match="Other users may write") as caught:
        open_store("theirs")
    assert "chmod 700" in caught.value.hint


def test_a_file_is_no_directory(elsewhere: Path) -> None:
    (elsewhere / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file cannot be used: File exists"):
        open_store("file")


def test_a_directory_with_a_foreign_database_is_refused(elsewhere: Path) -> None:
    (elsewhere / "state").mkdir(mode=0o700)
    (elsewhere / "state" / "cache.db").write_bytes(b"not a database at all, but long enough to look at" * 40)
    with pytest.raises(ConfigurationError, match="no database of ours"):
        open_store("state")


@pytest.mark.parametrize(
    "url",
    [
        f"etcd://user:{PASSWORD}@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}/@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}#@127.0.0.1:6379/0",
        # Its password begins with digits: up to the # this names a host and a port.
        f"redis://user:63#{PASSWORD}@127.0.0.1:6379/0",
        f"redis://user:63?{PASSWORD}@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}@127.0.0.1:99999/0",
        f"redis://:{PASSWORD}@127.0.0.1:6379/zero",
        f"redis://127.0.0.1:6379/0?password={PASSWORD}",
        f"redis://:{PASSWORD}@/0",
        f"rediss://[{PASSWORD}",
    ],
)
def test_an_address_that_cannot_be_is_an_error_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert PASSWORD not in str(caught.value)
    assert url.partition("://")[0] in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"redis://user:{PASSWORD}@127.0.0.1:6390/2", "redis://127.0.0.1:6390/2"),
        (f"rediss://:{PASSWORD}@redis.example", "rediss://redis.example:6379"),
        (f"redis://:{PASSWORD}@[::1]:6390/", "redis://[::1]:6390"),
    ],
)
async def test_a_password_is_not_part_of_what_is_shown_and_is_masked_wherever_it_turns_up(url: str, place: str) -> None:
    store = open_store(url)
    assert store.place == place
    assert PASSWORD not in f"{store!r} {store.kv!r}"
    assert PASSWORD not in scrub(f"somebody logs {PASSWORD}")
    await store.aclose()


async def test_a_password_is_masked_as_it_is_written_in_the_url_and_as_it_is_meant() -> None:
    store = open_store("redis://user:hush%40and%2Fbe%3Aquiet@127.0.0.1:6390/2")
    assert store.place == "redis://127.0.0.1:6390/2"
    for written in ("hush%40and%2Fbe%3Aquiet", "hush@and/be:quiet"):
        assert written not in scrub(f"somebody logs {written}")
    await store.aclose()


async def test_a_redis_that_is_not_there_is_named_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = open_store(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    with pytest.raises(ConfigurationError, match="nothing answers there") as caught:
        await store.check()
    assert f"redis://127.0.0.1:{port}/0 cannot be used" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    await store.aclose()


class Grumpy:
    """Something on a port that answers each command of Redis's protocol with the same line."""

    def __init__(self, says: bytes):
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                while received := connection.recv(4096):
                    connection.sendall(self._says * received.count(b"*"))
                    if b"stop" in received:
                        return

    def stop(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"stop")
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def grumpy(request: pytest.FixtureRequest) -> Iterator[Grumpy]:
    started = Grumpy(request.param)
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("grumpy", "reason"),
    [
        (b"-NOAUTH Authentication required.\r\n", "does not accept the user name or password"),
        (b"-WRONGPASS invalid username-password pair\r\n", "does not accept the user name or password"),
        (b"-NOPERM this user has no permissions\r\n", "does not let this user write"),
        (b"-READONLY You can't write against a read only replica.\r\n", "does not let this user write"),
        (b"-OOM command not allowed\r\n", "OutOfMemoryError"),
        (b"HTTP/1.1 400 Bad Request\r\n", "fails with|nothing answers"),
    ],
    indirect=["grumpy"],
)
async def test_a_redis_that_refuses_is_an_error_that_says_why(grumpy: Grumpy, reason: str) -> None:
    store = open_store(f"redis://127.0.0.1:{grumpy.port}/0")
    try:
        with pytest.raises(ConfigurationError, match=reason):
            await store.check()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    ("missing", "url", "extra"), [("redis", "redis://127.0.0.1", "redis"), ("diskcache", "state", "disk")]
)
def test_a_store_whose_extra_is_not_installed_says_what_to_install(missing: str, url: str, extra: str) -> None:
    opening = f"from mcp_oauth_nb.store import shared; shared.open_store({url!r})"
    code = f"import sys; sys.modules[{missing!r}] = None; {opening}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"ConfigurationError: What the {extra} store needs is not installed." in ended.stderr
    assert f"pip install 'mcp-oauth-nb[{extra}]'" in ended.stderr


def test_the_address_may_stand_in_the_environment_or_in_dotenv(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configured_url() is None
    (elsewhere / ".env").write_text("STORE_URL=redis://from-dotenv:6379/0\n", encoding="utf-8-sig")
    assert configured_url() == "redis://from-dotenv:6379/0"
    monkeypatch.setenv("STORE_URL", "redis://from-environment:6379/0")
    assert configured_url() == "redis://from-environment:6379/0"


# -- the key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write", [bytes.hex, lambda key: base64.b64encode(key).decode(), lambda key: f" {key.hex()}\n"]
)
@pytest.mark.parametrize("length", [32, 33, 64])
def test_the_key_is_read_in_hexadecimal_and_base64(write: Any, length: int) -> None:
    key = secrets.token_bytes(length)
    assert encryption_key(write(key)) == key


def test_the_command_that_is_shown_makes_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    code = KEY_COMMAND.removeprefix('python -c "').removesuffix('"')
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("STORE_ENCRYPTION_KEY", made)
    key = encryption_key()
    assert key is not None
    assert len(key) == 32
    assert made.strip() not in scrub(f"somebody logs {made}")


@pytest.mark.parametrize(
    "text",
    [
        "short",
        "aa" * 31,
        "ä" * 64,
        "not base64 !" * 10,
        base64.urlsafe_b64encode(bytes(range(31))).decode().rstrip("="),
    ],
    ids=["a word", "hex, one byte short", "no ASCII", "no base64", "base64, one byte short"],
)
def test_another_key_is_an_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="STORE_ENCRYPTION_KEY is not 32 bytes") as caught:
        encryption_key(text)
    assert text not in str(caught.value)
    assert KEY_COMMAND in caught.value.hint


async def test_a_store_that_outlives_the_program_needs_a_key(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("state")
    with pytest.raises(ConfigurationError, match="STORE_ENCRYPTION_KEY is not set") as caught:
        required_key(store)
    assert KEY_COMMAND in caught.value.hint
    monkeypatch.setenv("STORE_ENCRYPTION_KEY", "ab" * 32)
    assert required_key(store) == b"\xab" * 32
    await store.aclose()


# -- what is in it ---------------------------------------------------------------------------------------------------


async def test_a_directory_keeps_what_it_was_given_and_has_nothing_in_clear(elsewhere: Path) -> None:
    first = open_store("state")
    assert first.kv is not None
    await Vault(first.kv, b"k" * 32, ManualClock()).put("codes", "the-code", {"who": "octocat"}, lifetime=60)
    await first.aclose()
    second = open_store("state")
    assert second.kv is not None
    vault = Vault(second.kv, b"k" * 32, ManualClock())
    assert await vault.get("codes", "the-code") == {"who": "octocat"}
    assert [len(key) for key in await second.kv.keys("mcp_oauth_codes")] == [64]
    assert await second.kv.keys("mcp_oauth_access") == []
    held = b"".join(path.read_bytes() for path in (elsewhere / "state").rglob("*") if path.is_file())
    assert b"mcp_oauth_codes" in held
    assert b"octocat" not in held
    assert b"the-code" not in held
    assert await vault.delete("codes", "the-code") is True
    assert await vault.delete("codes", "the-code") is False
    await second.aclose()


class Failing(FailingStore):
    """Raises `error` where it is set."""

    error: Exception | None = None

    def fail(self) -> None:
        if self.error is not None:
            raise self.error


async def test_every_failure_of_a_store_is_the_same_error_and_goes_when_the_store_is_back() -> None:
    async def no_keys(prefix: str) -> list[str]:
        raise OSError("gone")

    below = Failing()
    store = TypedErrors(below, "redis://x:1", (OSError,), no_keys)
    await store.put("a", {"b": 1})
    below.error = OSError(f"with {PASSWORD}")
    with pytest.raises(StoreUnavailable, match="The store redis://x:1 does not answer") as caught:
        await store.get("a")
    assert PASSWORD not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        await store.keys("a")
    below.error = DeserializationError("damaged")
    assert await store.get("a") == {}
    below.error = ZeroDivisionError("a mistake of ours")
    with pytest.raises(ZeroDivisionError):
        await store.get("a")
    below.error = None
    assert await store.get("a") == {"b": 1}


@pytest.mark.parametrize("error", [OSError("gone"), StoreConnectionError("gone"), SerializationError("damaged")])
async def test_whatever_is_asked_of_a_store_that_fails_the_librarys_own_way_too_the_error_is_the_same(
    error: Exception,
) -> None:
    async def no_keys(prefix: str) -> list[str]:
        raise error

    below = Failing()
    below.error = error
    store = TypedErrors(below, "redis://x:1", (OSError,), no_keys)
    for asked in (store.get("a"), store.put("a", {}), store.delete("a"), store.keys("a")):
        with pytest.raises(StoreUnavailable, match="The store redis://x:1 does not answer") as caught:
            await asked
        assert caught.value.__cause__ is error
