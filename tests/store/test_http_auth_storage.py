"""Grants: what is stored of them comes back, nothing of it is shown, and who refreshes has the turn."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from keyrings import MemoryKeyring
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, ProtectedResourceMetadata

from mcp_oauth_nb import FileGrantStore
from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.oauth.masking import mask, scrub
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import Grant, KeyringGrantStore, MemoryGrantStore

ISSUER, MCP = "https://id.example", "https://mcp.example/mcp"
CLIENT = OAuthClientInformationFull.model_validate(
    {"client_id": "an-id", "client_secret": "a-secret-of-this-client", "redirect_uris": ["http://127.0.0.1/callback"]}
)
METADATA = OAuthMetadata.model_validate(
    {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize", "token_endpoint": f"{ISSUER}/token"}
)
RESOURCE_METADATA = ProtectedResourceMetadata.model_validate({"resource": MCP, "authorization_servers": [ISSUER]})
TOKEN = Token("access-token-one", scopes=("repo",), expires_at=1_700_000_000.5, refresh_token="refresh-token-one")
WHOLE = Grant(ISSUER, MCP, CLIENT, METADATA, RESOURCE_METADATA, TOKEN, saved_at=12.5, made_beforehand=True)
LEAST = Grant(ISSUER, MCP, OAuthClientInformationFull(client_id="an-id"))


@pytest.mark.parametrize("grant", [WHOLE, LEAST, replace(WHOLE, made_beforehand=False), replace(WHOLE, token=None)])
def test_a_grant_comes_back_from_a_file_as_it_was_stored(grant: Grant, tmp_path: Path) -> None:
    FileGrantStore(tmp_path / "grants.json").save(grant.key, grant)
    assert FileGrantStore(tmp_path / "grants.json").entries() == {grant.key: grant}
    # As other versions of this package write and read it.
    (entry,) = json.loads((tmp_path / "grants.json").read_text())["grants"]
    assert entry["grant"] == grant.to_dict()


def test_a_grant_of_an_earlier_version_belongs_to_a_client_that_registered_itself() -> None:
    stored = LEAST.to_dict()
    del stored["made_beforehand"]
    assert Grant.from_dict(stored) == LEAST


def test_a_stored_client_that_is_none_is_damaged_and_is_not_quoted() -> None:
    stored = {**WHOLE.to_dict(), "client": {"client_secret": "a-secret-of-this-client"}}
    with pytest.raises(ProtocolError, match="damaged") as caught:
        Grant.from_dict(stored)
    assert "Sign in again" in caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_grant_shows_no_secret() -> None:
    shown = f"{WHOLE!r} {WHOLE.client!r}"
    assert shown.startswith(f"Grant({ISSUER!r}, {MCP!r}, Token(")
    for secret in ("a-secret-of-this-client", "access-token-one", "refresh-token-one"):
        assert secret not in shown
    assert LEAST.client.client_secret is None


def test_the_secret_of_a_client_is_known_everywhere_while_a_grant_has_it() -> None:
    secret = "".join(["the-secret", "-of-a-client-that-is-stored"])
    grant = replace(WHOLE, client=CLIENT.model_copy(update={"client_secret": secret}))
    assert scrub(f"It is {secret}.") == f"It is {mask(secret)}."
    assert repr(grant.client.client_secret) == repr(mask(secret))
    assert grant.client.client_secret == secret


def test_a_grant_that_was_never_stored_is_older_than_any_other() -> None:
    assert LEAST.saved_at == 0


def test_a_client_that_was_made_beforehand_has_a_place_of_its_own_and_of_the_others_there_is_one() -> None:
    assert (WHOLE.key.issuer, WHOLE.key.client_id, WHOLE.key.resource) == (ISSUER, "an-id", MCP)
    assert LEAST.key.client_id == ""


def test_a_store_in_memory_has_what_it_was_given_until_it_is_deleted() -> None:
    store = MemoryGrantStore()
    store.delete(WHOLE.key)
    store.save(WHOLE.key, WHOLE)
    store.entries().clear()
    assert (store.entries(), repr(store)) == ({WHOLE.key: WHOLE}, "MemoryGrantStore(1 grants)")
    store.delete(WHOLE.key)
    assert store.entries() == {}


def test_grants_that_last_are_in_a_file_of_their_own_or_in_the_keyring_by_the_name_of_the_package() -> None:
    assert FileGrantStore().path.name == "mcp-grants.json"
    assert repr(KeyringGrantStore(backend=MemoryKeyring())) == "KeyringGrantStore('mcp-oauth-nb in MemoryKeyring')"


# -- taking turns ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_who_waits_for_a_turn_is_told_when_the_time_is_over() -> None:
    store = MemoryGrantStore()
    async with store.alone(60) as mine:
        assert mine
        with anyio.move_on_after(0.05) as tried:
            async with store.alone(60):
                pytest.fail("two had a turn")
        assert tried.cancelled_caught
        async with store.alone(0.01) as first, store.alone(0.01) as second:
            assert (first, second) == (False, False)
    with anyio.fail_after(5):
        async with store.alone(60):
            pass


@pytest.mark.anyio
async def test_who_gives_up_waiting_leaves_the_turn_to_others() -> None:
    store = MemoryGrantStore()

    async def wait() -> None:
        async with store.alone(60):
            raise AssertionError("it was not free")

    async with store.alone(5):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with anyio.fail_after(5):
        async with store.alone(60):
            pass
