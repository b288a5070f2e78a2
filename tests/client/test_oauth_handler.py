"""OAuthHandler: the token it keeps, the headers it gives, the error it announces, and revocation."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import guide
import httpx
import pytest
from provider import API, CLIENT_ID, CLIENT_SECRET, Provider, handler_for, settings_for, signed_in, token_of
from scripted_server import Script
from starlette.responses import Response

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.client.provider_settings import is_github
from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    McpOAuthError,
    ProtocolError,
    RateLimited,
    ServerUnavailable,
)
from mcp_oauth_nb.oauth.masking import mask
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore, MemoryTokenStore

pytestmark = pytest.mark.anyio

ACCESS_TOKEN = "-".join(["an", "access", "token", "from", "elsewhere"])


@pytest.fixture
def handler(provider: Provider, clock: ManualClock) -> OAuthHandler:
    return handler_for(provider, clock)


# -- the token -----------------------------------------------------------------------------------------------------


def test_a_new_handler_is_not_signed_in(handler: OAuthHandler) -> None:
    assert (handler.token, handler.access_token, handler.refresh_token) == (None, None, None)
    assert not handler.is_authenticated()


def test_an_access_token_from_elsewhere_can_be_assigned(handler: OAuthHandler) -> None:
    handler.access_token = ACCESS_TOKEN
    assert handler.is_authenticated()
    assert handler.token == Token(ACCESS_TOKEN, resource=API)


def test_assigning_one_token_keeps_the_other(handler: OAuthHandler) -> None:
    handler.refresh_token = "a-refresh-token"
    assert (handler.access_token, handler.refresh_token) == (None, "a-refresh-token")
    assert not handler.is_authenticated()
    handler.access_token = ACCESS_TOKEN
    assert (handler.access_token, handler.refresh_token) == (ACCESS_TOKEN, "a-refresh-token")
    handler.refresh_token = "another-refresh-token"
    assert (handler.access_token, handler.refresh_token) == (ACCESS_TOKEN, "another-refresh-token")
    handler.refresh_token = None
    assert (handler.access_token, handler.refresh_token) == (ACCESS_TOKEN, None)


def test_a_refresh_token_that_was_assigned_has_not_the_lifetime_of_the_one_before(handler: OAuthHandler) -> None:
    handler.token = Token(ACCESS_TOKEN, refresh_token="a-refresh-token", refresh_token_expires_at=1.0)
    handler.refresh_token = "another-refresh-token"
    assert handler.token == Token(ACCESS_TOKEN, refresh_token="another-refresh-token")


async def test_a_refresh_token_that_was_assigned_alone_is_used_once(
    provider: Provider, clock: ManualClock, tmp_path: Path
) -> None:
    refresh_token = token_of(await signed_in(provider, clock)).refresh_token
    for store in (MemoryTokenStore(), FileTokenStore(tmp_path / "tokens.json")):
        handler = handler_for(provider, clock, store=store)
        handler.refresh_token = refresh_token
        refresh_token = (await handler.refresh_access_token()).refresh_token
        assert (handler.token is None, handler.refresh_token) == (False, refresh_token)
        # Somebody signs out elsewhere: nothing of before comes back.
        store.delete(TokenKey("https://id.example", CLIENT_ID, API))
        assert (handler.token, handler.refresh_token) == (None, None)


@pytest.mark.parametrize("name", ["access_token", "token"])
def test_assigning_none_signs_out(handler: OAuthHandler, name: str) -> None:
    handler.token = Token(ACCESS_TOKEN, refresh_token="a-refresh-token")
    setattr(handler, name, None)
    assert (handler.token, handler.access_token, handler.refresh_token) == (None, None, None)


def test_white_space_around_a_pasted_token_is_dropped(handler: OAuthHandler) -> None:
    handler.access_token = f"  {ACCESS_TOKEN}\n"
    handler.refresh_token = "a-refresh-token\r\n"
    assert (handler.access_token, handler.refresh_token) == (ACCESS_TOKEN, "a-refresh-token")


@pytest.mark.parametrize("bad", ["{}\r\nX-Evil: 1", "{} {}", "{}\x00", "„{}”"])
def test_what_could_break_out_of_a_header_is_no_token(handler: OAuthHandler, bad: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        handler.access_token = bad.format(ACCESS_TOKEN, ACCESS_TOKEN)
    assert ACCESS_TOKEN not in str(caught.value)
    assert handler.token is None


def test_the_token_is_bound_to_issuer_client_and_resource(provider: Provider, clock: ManualClock) -> None:
    store = MemoryTokenStore()
    handler_for(provider, clock, store=store).access_token = ACCESS_TOKEN
    key = TokenKey("https://id.example", CLIENT_ID, API)
    assert store.load(key) == Token(ACCESS_TOKEN, resource=API)
    assert handler_for(provider, clock, store=store).access_token == ACCESS_TOKEN
    for others in (
        handler_for(provider, clock, store=store, resource_uri="https://other.example"),
        handler_for(provider, clock, store=store, issuer="https://other.example"),
        handler_for(provider, clock, store=store, settings=settings_for(oauth_client_id="other")),
    ):
        assert others.access_token is None


class CountingStore(MemoryTokenStore):
    """A store that is empty, and says so."""

    def __len__(self) -> int:
        return 0


def test_an_empty_store_is_used_all_the_same(provider: Provider, clock: ManualClock) -> None:
    store = CountingStore()
    handler = handler_for(provider, clock, store=store)
    assert handler.store is store


def test_the_resource_is_the_api_unless_given(handler: OAuthHandler) -> None:
    assert handler.resource_uri == API
    assert (
        OAuthHandler(resource_uri="https://your-api.com", settings=settings_for()).resource_uri
        == "https://your-api.com"
    )


# -- headers -------------------------------------------------------------------------------------------------------


async def test_the_headers_carry_the_token_to_the_server(handler: OAuthHandler) -> None:
    handler.access_token = ACCESS_TOKEN
    api = Script(Response())
    headers = handler.get_auth_headers()
    async with api.client() as client:
        await client.get("https://api.example/user", headers=headers)
        await client.get("https://api.example/user", headers={**headers, "Accept": "text/plain"})
    assert [request.headers["authorization"] for request in api.seen] == [f"Bearer {ACCESS_TOKEN}"] * 2
    assert httpx.Headers(headers)["authorization"] == headers["Authorization"] == f"Bearer {ACCESS_TOKEN}"


def test_the_headers_mask_themselves(handler: OAuthHandler) -> None:
    handler.access_token = ACCESS_TOKEN
    headers = handler.get_auth_headers()
    for shown in (repr(headers), str(headers), f"{headers}"):
        assert ACCESS_TOKEN not in shown
        assert shown == repr({"Authorization": f"Bearer {mask(ACCESS_TOKEN)}"})


def test_copies_of_the_headers_mask_themselves_too_and_leave_other_headers_readable(handler: OAuthHandler) -> None:
    handler.access_token = ACCESS_TOKEN
    headers, other = handler.get_auth_headers(), {"Accept": "text/plain"}
    assert headers.copy() == copy.copy(headers) == headers
    assert headers | other == {**headers, **other}
    assert list(other | headers) == ["Accept", "Authorization"]
    for copied in (headers.copy(), copy.copy(headers), headers | other, other | headers):
        assert ACCESS_TOKEN not in repr(copied)
    assert repr(headers | other) == repr({"Authorization": f"Bearer {mask(ACCESS_TOKEN)}", **other})


def test_without_a_token_there_are_no_headers_but_the_way_to_one(handler: OAuthHandler) -> None:
    with pytest.raises(AuthenticationRequired) as caught:
        handler.get_auth_headers()
    assert caught.value.challenge == handler.challenge()


# -- the -32001 error ----------------------------------------------------------------------------------------------


def test_the_error_response_is_the_guides_object() -> None:
    handler = OAuthHandler(settings=IsolatedSettings())
    assert guide.text(handler.get_authorization_error_response()) == guide.text(guide.ERROR)


def test_the_error_response_names_the_custom_resource() -> None:
    handler = OAuthHandler(resource_uri="https://your-api.com", settings=settings_for())
    challenge = AuthChallenge.from_jsonrpc(handler.get_authorization_error_response())
    assert challenge == handler.challenge()
    assert challenge.resource == "https://your-api.com"
    assert challenge.token_url == "https://id.example/token"


def test_the_repr_shows_the_resource_and_the_masked_token(handler: OAuthHandler) -> None:
    assert repr(handler) == "OAuthHandler(resource_uri='https://api.example', token=None)"
    handler.access_token = ACCESS_TOKEN
    assert ACCESS_TOKEN not in repr(handler)
    assert "Token(****" in repr(handler)


# -- revocation ----------------------------------------------------------------------------------------------------

GITHUB = {"oauth_client_id": CLIENT_ID, "oauth_client_secret": CLIENT_SECRET}


def at_github(github: Script, **settings: Any) -> OAuthHandler:
    handler = OAuthHandler(settings=IsolatedSettings(**{**GITHUB, **settings}), client=github.client)
    handler.token = Token(ACCESS_TOKEN, refresh_token="a-refresh-token")
    return handler


async def test_an_rfc_7009_provider_is_told_about_both_tokens(provider: Provider, clock: ManualClock) -> None:
    handler = await signed_in(provider, clock, revocation_url="https://id.example/revoke")
    token = handler.token
    assert token is not None
    assert await handler.revoke()
    assert [(form["token"], form["token_type_hint"]) for form in provider.forms[1:]] == [
        (token.refresh_token, "refresh_token"),
        (token.access_token, "access_token"),
    ]
    assert handler.token is None


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, f"https://api.github.com/applications/{CLIENT_ID}/token"),
        (
            {
                "oauth_token_url": "https://ghe.example/login/oauth/access_token",
                "api_base_url": "https://ghe.example/api/v3",
            },
            f"https://ghe.example/api/v3/applications/{CLIENT_ID}/token",
        ),
        (
            {
                "oauth_token_url": "https://octo.ghe.com/login/oauth/access_token",
                "api_base_url": "https://api.octo.ghe.com",
            },
            f"https://api.octo.ghe.com/applications/{CLIENT_ID}/token",
        ),
    ],
    ids=["github.com", "Enterprise Server", "Enterprise Cloud"],
)
@pytest.mark.parametrize(("status", "confirmed"), [(204, True), (404, False)], ids=["revoked", "unknown"])
async def test_github_is_asked_in_its_own_way(
    settings: dict[str, str], address: str, status: int, confirmed: bool
) -> None:
    github = Script(Response(status_code=status))
    handler = at_github(github, **settings)
    assert is_github(handler.settings)
    assert await handler.revoke() is confirmed
    (request,) = github.seen
    assert (request.method, request.url, request.json()) == ("DELETE", address, {"access_token": ACCESS_TOKEN})
    credentials = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {credentials}"
    assert handler.token is None


LOOK_ALIKES = [
    {"oauth_token_url": "https://gitea.example/login/oauth/access_token"},
    {
        "oauth_token_url": "https://gitea.example/login/oauth/access_token",
        "api_base_url": "https://gitea.example/api/v1",
    },
    {"oauth_token_url": "https://gitea.example/login/oauth/access_token", "api_base_url": "https://evilgitea.example"},
    {
        "oauth_token_url": "http://127.0.0.1:9000/login/oauth/access_token",
        "api_base_url": "http://127.0.0.1:9001/api/v3",
    },
    {"oauth_token_url": "https://localhost/login/oauth/access_token", "api_base_url": "http://localhost/api/v3"},
    {"api_base_url": "https://your-api.com"},
    {"oauth_token_url": "https://github.com/token"},
]


@pytest.mark.parametrize("settings", LOOK_ALIKES)
async def test_credentials_are_not_sent_to_an_api_that_may_belong_to_somebody_else(settings: dict[str, str]) -> None:
    elsewhere = Script(Response(status_code=204))
    handler = at_github(elsewhere, **settings)
    assert not is_github(handler.settings)
    assert not await handler.revoke()
    assert elsewhere.seen == []
    assert handler.token is None


async def test_a_provider_without_a_known_way_is_not_told_but_the_token_is_forgotten(
    provider: Provider, clock: ManualClock
) -> None:
    handler = await signed_in(provider, clock)
    assert not await handler.revoke()
    assert handler.token is None
    assert len(provider.seen) == 1


async def test_without_a_token_there_is_nothing_to_tell(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock, revocation_url="https://id.example/revoke")
    handler.refresh_token = "a-refresh-token"
    assert not await handler.revoke()
    assert handler.refresh_token is None
    assert provider.seen == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [(503, ServerUnavailable), (429, RateLimited), (401, ConfigurationError), (418, ProtocolError)],
)
async def test_a_token_that_could_not_be_revoked_is_kept(status: int, expected: type[McpOAuthError]) -> None:
    handler = at_github(Script(Response(status_code=status)))
    with pytest.raises(expected) as caught:
        await handler.revoke()
    assert handler.access_token == ACCESS_TOKEN
    assert ACCESS_TOKEN not in str(caught.value)
    assert CLIENT_SECRET not in str(caught.value)
