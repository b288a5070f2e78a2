"""Encrypted stores: what is in the file, which key opens it, and that a wrong key destroys nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.masking import mask, scrub
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import FileGrantStore
from mcp_oauth_nb.store.key import key_from
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.store.seal import Seal, is_sealed
from mcp_oauth_nb.store.tokens import FileTokenStore

KEY = TokenKey("https://id.example", "an-id", "https://api.example")
TOKEN = Token("access-token-one", refresh_token="refresh-token-one", expires_at=1_700_000_000.5)
SECRET, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment and `.env` of whoever runs the tests do not count."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOKEN_STORE_KEY", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def written(path: Path) -> bytes:
    FileTokenStore(path, key=SECRET).save(KEY, TOKEN)
    return path.read_bytes()


def test_nothing_of_a_token_or_of_its_server_is_in_the_file(path: Path, written: bytes) -> None:
    for word in (b"token", b"id.example", b"an-id", SECRET):
        assert word not in written
        assert word not in base64.b64decode(json.loads(written)["content"])
    assert FileTokenStore(path, key=SECRET).load(KEY) == TOKEN


def test_the_same_content_looks_different_each_time(path: Path, written: bytes) -> None:
    FileTokenStore(path, key=SECRET).save(KEY, TOKEN)
    assert json.loads(path.read_bytes())["content"] != json.loads(written)["content"]


@pytest.mark.parametrize(("key", "why"), [(OTHER, "the key is another one"), (None, "no key is set")])
def test_a_wrong_key_is_a_typed_error_and_overwrites_nothing(
    path: Path, written: bytes, key: bytes | None, why: str
) -> None:
    store = FileTokenStore(path, key=key)
    with pytest.raises(ConfigurationError, match=why) as caught:
        store.load(KEY)
    assert caught.value.variables == ("TOKEN_STORE_KEY",)
    for change in (lambda: store.save(KEY, Token("access-token-two")), lambda: store.delete(KEY), store.entries):
        with pytest.raises(ConfigurationError, match=why):
            change()
    assert path.read_bytes() == written
    assert FileTokenStore(path, key=SECRET).load(KEY) == TOKEN


def test_a_store_in_clear_is_read_and_encrypted_with_the_next_change(path: Path) -> None:
    FileTokenStore(path).save(KEY, TOKEN)
    store = FileTokenStore(path, key=SECRET)
    assert store.load(KEY) == TOKEN
    store.save(KEY._replace(client_id="another"), TOKEN)
    assert b"token" not in path.read_bytes()
    assert FileTokenStore(path, key=SECRET).load(KEY) == TOKEN


@pytest.mark.parametrize("place", [0, 5, -1], ids=["nonce", "content", "tag"])
def test_a_bit_that_fell_over_counts_as_signed_out_like_any_damage(
    path: Path, written: bytes, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    document = json.loads(written)
    sealed = bytearray(base64.b64decode(document["content"]))
    sealed[place] ^= 1
    path.write_text(json.dumps({**document, "content": base64.b64encode(sealed).decode()}))
    assert FileTokenStore(path, key=SECRET).load(KEY) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "damaged" in record.getMessage()


@pytest.mark.parametrize("content", ["", "AAAA", "not base64!", 7, None, [1]])
def test_content_that_was_never_sealed_is_damage_too(path: Path, written: bytes, content: object) -> None:
    path.write_text(json.dumps({**json.loads(written), "content": content}))
    store = FileTokenStore(path, key=SECRET)
    assert store.load(KEY) is None
    store.save(KEY, TOKEN)
    assert FileTokenStore(path, key=SECRET).load(KEY) == TOKEN


def test_what_an_earlier_version_sealed_is_still_opened() -> None:
    # Whoever changes the form needs a way to read this one, or every user is signed out.
    document = {
        "encrypted": "AES-256-GCM",
        "key": "d28b36faac7f8f00",
        "content": "dRVb69+yxXck+Oq1I/ONPWwfZsOalhJ90/RDC6GIiu/KVU+vNj1U38GW",
    }
    seal = Seal(SECRET, "tokens")
    assert is_sealed(document)
    assert seal.fits(document)
    assert seal.open(document) == b'{"tokens": []}'


@pytest.mark.parametrize("spoil", [lambda text: text[:-4], lambda text: text + "\n", lambda text: f"!{text}"])
def test_a_seal_opens_nothing_but_what_it_closed_character_by_character(spoil: Callable[[str], str]) -> None:
    seal = Seal(SECRET, "tokens")
    document = seal.close(b"{}")
    with pytest.raises(ValueError):  # noqa: PT011 (its text says nothing)
        seal.open({**document, "content": spoil(document["content"])})


def test_grants_are_not_taken_for_tokens(path: Path, written: bytes) -> None:
    with pytest.raises(ConfigurationError, match="keeps tokens, not grants"):
        FileGrantStore(path, key=SECRET).entries()
    assert path.read_bytes() == written


@pytest.mark.parametrize("written_as", [SECRET, SECRET.hex(), base64.urlsafe_b64encode(SECRET).decode().rstrip("=")])
def test_a_key_may_be_bytes_hexadecimal_or_base64(path: Path, written: bytes, written_as: str | bytes) -> None:
    assert FileTokenStore(path, key=written_as).load(KEY) == TOKEN


@pytest.mark.parametrize("length", range(32, 70))
def test_every_key_comes_back_from_its_text(length: int) -> None:
    # The last character is an X where that is possible: nothing but the padding is cut off.
    key = hashlib.sha512(bytes([length])).digest()[:length].ljust(length, b"k")[:-1] + b"\x17"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(key).decode()
        assert key_from(text, "A_KEY") == key_from(text.rstrip("="), "A_KEY") == key
    assert key_from(f" {key.hex().upper()}\n", "A_KEY") == key


@pytest.mark.parametrize("where", ["environment", ".env", ".env of Windows"])
def test_the_key_is_found_in_the_environment_or_in_env(
    path: Path, written: bytes, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "environment":
        monkeypatch.setenv("TOKEN_STORE_KEY", SECRET.hex())
    else:
        encoding = "utf-8-sig" if "Windows" in where else "utf-8"
        Path(".env").write_text(f"TOKEN_STORE_KEY={SECRET.hex()}\n", encoding=encoding)
    assert FileTokenStore(path).load(KEY) == TOKEN


@pytest.mark.parametrize(
    "key", ["too-short", "é" * 64, b"k" * 31, "k" * 31, "!" * 64, f"{'k' * 43}!", f"{'k' * 43}!!!!"]
)
def test_a_key_that_is_none_is_refused_at_once_and_not_repeated(path: Path, key: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="TOKEN_STORE_KEY is not 32 bytes or more") as caught:
        FileTokenStore(path, key=key)
    assert str(key) not in str(caught.value)
    assert caught.value.variables == ("TOKEN_STORE_KEY",)
    assert "secrets.token_urlsafe(32)" in caught.value.hint


@pytest.mark.parametrize("key", ["", b"", " "])
def test_an_empty_key_that_is_given_does_not_mean_in_clear(path: Path, key: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="TOKEN_STORE_KEY is not 32 bytes or more"):
        FileTokenStore(path, key=key)


def test_an_empty_variable_is_as_good_as_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_STORE_KEY", "")
    FileTokenStore(path).save(KEY, TOKEN)
    assert b"access-token-one" in path.read_bytes()


def test_the_key_is_masked_wherever_it_appears(path: Path) -> None:
    key = secrets.token_urlsafe(32)
    store = FileTokenStore(path, key=key)
    assert key not in repr(store)
    assert key not in scrub(f"TOKEN_STORE_KEY={key}")
    assert key not in repr(vars(store))


def test_a_key_is_masked_without_the_white_space_around_it_and_as_the_bytes_that_it_stands_for() -> None:
    key = secrets.token_bytes(32)
    key_from(f"{key.hex()}\n", "TOKEN_STORE_KEY")
    assert key.hex() not in scrub(f"TOKEN_STORE_KEY={key.hex()}!")
    text = repr(key)
    assert scrub(text) == text[:2] + mask(text[2:-1]) + text[-1]


def test_a_key_of_bytes_is_masked_even_if_it_is_too_short() -> None:
    key = secrets.token_hex(10).encode()
    with pytest.raises(ConfigurationError):
        key_from(key, "TOKEN_STORE_KEY")
    assert repr(key)[2:-1] not in scrub(f"key = {key!r}")
