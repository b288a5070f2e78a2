"""Tokens and grants are two kinds of record: a store of one kind is not taken for one of the other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawer import Drawer
from keyrings import MemoryKeyring
from mcp.shared.auth import OAuthClientInformationFull
from stepping import Plain

from mcp_oauth_nb import (
    FileGrantStore,
    FileTokenStore,
    KeyringGrantStore,
    KeyringTokenStore,
    McpAuth,
    MemoryTokenStore,
    OAuthHandler,
    Token,
)
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver import AuthorizationServer
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore
from mcp_oauth_nb.store.records import CompletedStore, TokenKey, store_of
from mcp_oauth_nb.store.shared import open_store

pytestmark = pytest.mark.anyio

KEY = TokenKey("https://id.example", "a-client", "https://api.example")
GRANT = Grant(
    "https://id.example",
    "https://mcp.example/mcp",
    OAuthClientInformationFull(client_id="a-client"),
    token=Token("a-token"),
)
SECRET = "0123456789abcdef" * 4


def handler(store: Any) -> OAuthHandler:
    return OAuthHandler("https://api.example", settings=IsolatedSettings(), store=store)


TOKENS: dict[str, Callable[[Path], Any]] = {
    "Memory": lambda path: MemoryTokenStore(),
    "File": FileTokenStore,
    "Keyring": lambda path: KeyringTokenStore(backend=MemoryKeyring()),
}
GRANTS: dict[str, Callable[[Path], Any]] = {
    "Memory": lambda path: MemoryGrantStore(),
    "File": FileGrantStore,
    "Keyring": lambda path: KeyringGrantStore(backend=MemoryKeyring()),
}


@pytest.mark.parametrize("medium", TOKENS)
def test_a_store_of_tokens_is_refused_where_grants_are_kept_and_the_right_one_is_named(
    medium: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="keeps tokens") as refused:
        McpAuth(store=TOKENS[medium](tmp_path / "store.json"))
    assert f"Use {medium}GrantStore(...)." in refused.value.hint
    assert not (tmp_path / "store.json").exists()


@pytest.mark.parametrize("medium", GRANTS)
def test_a_store_of_grants_is_refused_where_tokens_are_kept_and_the_right_one_is_named(
    medium: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="keeps grants") as refused:
        handler(GRANTS[medium](tmp_path / "store.json"))
    assert f"Use {medium}TokenStore(...)." in refused.value.hint


@pytest.mark.parametrize("make", [McpAuth, lambda store: handler(store)], ids=["McpAuth", "OAuthHandler"])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (FileTokenStore, r"FileTokenStore is a class, not a store\.\n.*Call it: FileTokenStore\(\)\."),
        ("tokens.json", "str is no store of (tokens: it has no method load|grants: it has no method entries)"),
        (object(), "object is no store"),
    ],
)
def test_what_is_no_store_is_refused_at_once(make: Callable[..., Any], given: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        make(store=given)


@pytest.mark.parametrize("medium", TOKENS)
def test_a_store_of_tokens_is_refused_where_a_server_keeps_its_state(medium: str, tmp_path: Path) -> None:
    for store in (TOKENS[medium](tmp_path / "store.json"), GRANTS[medium](tmp_path / "store.json"), open_store(None)):
        with pytest.raises(ConfigurationError, match=f"{type(store).__name__} is no key-value store") as refused:
            AuthorizationServer("https://auth.example", settings=IsolatedSettings(), kv=store)
        assert "open_store" in refused.value.hint


@pytest.mark.parametrize("missing", ["load", "save", "delete"])
def test_a_store_of_ones_own_says_which_method_it_lacks(missing: str) -> None:
    methods = {name: lambda *values: None for name in ("load", "save", "delete") if name != missing}
    with pytest.raises(ConfigurationError, match=f"Own is no store of tokens: it has no method {missing}") as refused:
        handler(type("Own", (), methods)())
    assert "the methods load, save and delete, or all of entries, load, " in refused.value.hint


@pytest.mark.parametrize("lacks", ["entries", "load", "save", "delete", "replace"])
def test_a_store_of_ones_own_that_gives_turns_has_the_whole_protocol(lacks: str) -> None:
    names = {"entries", "load", "save", "delete", "replace", "alone"} - {lacks}
    own = type("Own", (), {name: lambda *values: None for name in names})()
    for make in (handler, lambda store: McpAuth(store=store)):
        with pytest.raises(ConfigurationError, match=f"it has no method {lacks}"):
            make(own)  # type: ignore[operator]


def test_an_attribute_of_a_store_of_ones_own_does_not_make_it_another_kind() -> None:
    class Own(Plain):
        kind = medium = "a database"

    assert isinstance(McpAuth(store=Own()).store, CompletedStore)  # type: ignore[arg-type]


def test_a_store_of_three_methods_is_completed_once_and_shared_by_copies() -> None:
    own = Plain()
    auth = McpAuth(store=own)  # type: ignore[arg-type]
    assert dataclasses.replace(auth, client_name="another").store is auth.store
    assert repr(auth.store) == f"CompletedStore({own!r})"


def test_a_completed_store_looks_before_it_changes() -> None:
    own = Plain()
    store = store_of(Grant, own)  # type: ignore[arg-type]
    newer = dataclasses.replace(GRANT, token=Token("newer"))
    assert store.replace(GRANT.key, None, None)
    assert store.replace(GRANT.key, None, GRANT)
    assert not store.replace(GRANT.key, None, newer)
    assert not store.replace(GRANT.key, newer, None)
    assert own.entries() == {GRANT.key: GRANT}
    assert store.load(GRANT.key) == GRANT
    assert store.replace(GRANT.key, GRANT, newer)
    assert store.replace(GRANT.key, newer, None)
    assert own.entries() == {}


async def test_a_store_of_tokens_needs_no_list_of_them_and_keeps_nobody_waiting() -> None:
    store = store_of(Token, own := Drawer())
    store.save(KEY, Token("a-token"))
    assert own.tokens == {KEY: Token("a-token")}
    assert store.load(KEY) == Token("a-token")
    async with store.alone(0) as first, store.alone(0) as second:
        assert (first, second) == (True, True)
    store.delete(KEY)
    # There is nothing to delete.
    assert store.replace(KEY, None, None)
    assert own.tokens == {}


@pytest.mark.parametrize("key", [None, SECRET], ids=["clear", "encrypted"])
def test_a_file_of_the_other_kind_is_refused_and_stays_as_it_is(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / "store.json"
    for keeps, other, record, name in (
        (FileGrantStore, FileTokenStore, GRANT, "FileGrantStore"),
        (FileTokenStore, FileGrantStore, Token("a-token"), "FileTokenStore"),
    ):
        keeps(path, key=key).save(KEY, record)  # type: ignore[arg-type]
        before = path.read_bytes()
        for use in (other.entries, lambda store: store.delete(KEY), lambda store: store.replace(KEY, None, None)):
            with pytest.raises(
                ConfigurationError, match=f"keeps {'grants' if keeps is FileGrantStore else 'tokens'}"
            ) as refused:
                use(other(path, key=key))
            assert name in refused.value.hint
        assert path.read_bytes() == before
        path.unlink()


def test_a_file_without_records_of_any_kind_counts_as_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.json"
    path.write_text(json.dumps({"version": 1}))
    path.chmod(0o600)
    assert FileTokenStore(path).entries() == {}
    assert "is damaged" in caplog.text
