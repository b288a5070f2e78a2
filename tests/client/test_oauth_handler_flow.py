"""OAuthHandler: from the authorization URL over the callback to the token."""

from __future__ import annotations

import base64
import hashlib
import random
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from provider import API, CLIENT_ID, CLIENT_SECRET, Provider, handler_for, settings_for
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.client.provider_settings import GITHUB_ISSUER, known_issuer
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    InvalidAuthorizationCode,
    InvalidCodeVerifier,
    IssuerMismatch,
    McpOAuthError,
    NotConfigured,
    OAuthErrorResponse,
    ProtocolError,
    ServerUnavailable,
    StateMismatch,
)
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.settings import IsolatedSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def handler(provider: Provider, clock: ManualClock) -> OAuthHandler:
    return handler_for(provider, clock)


def code_of(callback: str) -> str:
    return parse_qs(urlsplit(callback).query)["code"][0]


# -- the authorization request -------------------------------------------------------------------------------------


def test_the_authorization_url_has_all_that_oauth_2_1_asks_for(handler: OAuthHandler) -> None:
    url, state, code_verifier = handler.get_authorization_url()
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    assert url.startswith("https://id.example/authorize?")
    assert dict(parse_qsl(urlsplit(url).query, strict_parsing=True)) == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://127.0.0.1/callback",
        "scope": "read:user",
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).decode("ascii").rstrip("="),
        "code_challenge_method": "S256",
        "resource": API,
    }


def test_the_secret_and_the_verifier_stay_out_of_the_url(handler: OAuthHandler) -> None:
    url, _, code_verifier = handler.get_authorization_url()
    assert CLIENT_SECRET not in url
    assert code_verifier not in url


def test_each_flow_has_a_state_and_a_verifier_of_its_own(handler: OAuthHandler) -> None:
    requests = [handler.get_authorization_url() for _ in range(20)]
    secrets = {request.state for request in requests} | {request.code_verifier for request in requests}
    assert len(secrets) == 40
    assert {len(secret) for secret in secrets} == {43}


def test_real_handlers_draw_from_the_systems_randomness() -> None:
    first, second = (OAuthHandler(settings=settings_for()).get_authorization_url() for _ in range(2))
    assert first.state != second.state
    assert first.code_verifier != second.code_verifier


def test_scopes_redirect_uri_and_resource_can_be_chosen(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock, resource_uri="https://your-api.com")
    url = handler.get_authorization_url(scopes=("repo", "gist"), redirect_uri="http://127.0.0.1:8765/callback").url
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["scope"] == "repo gist"
    assert query["redirect_uri"] == "http://127.0.0.1:8765/callback"
    assert query["resource"] == "https://your-api.com"


@pytest.mark.parametrize("missing", ["oauth_client_id", "oauth_client_secret"])
async def test_without_credentials_nothing_starts(provider: Provider, clock: ManualClock, missing: str) -> None:
    handler = handler_for(provider, clock, settings=settings_for(**{missing: None}))
    with pytest.raises(NotConfigured, match="OAuth is not configured"):
        handler.get_authorization_url()
    with pytest.raises(NotConfigured):
        await handler.exchange_code_for_token("a-code", "v" * 43)
    assert provider.seen == []


# -- the exchange --------------------------------------------------------------------------------------------------


async def test_the_guides_flow_gives_a_token(provider: Provider, handler: OAuthHandler, clock: ManualClock) -> None:
    url, _, code_verifier = handler.get_authorization_url()
    code = code_of(provider.authorize(url))
    token = await handler.exchange_code_for_token(code, code_verifier)
    assert provider.forms == [
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": "http://127.0.0.1/callback",
            "code_verifier": code_verifier,
            "resource": API,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
    ]
    assert provider.seen[0].headers["accept"] == "application/json"
    assert token["access_token"] == handler.access_token
    assert token["refresh_token"] == handler.refresh_token
    assert token.expires_at == clock.now() + 28800
    assert token.scopes == ("read:user",)
    assert token.resource == API
    assert handler.token == token
    assert handler.is_authenticated()


async def test_the_callback_can_be_given_whole(provider: Provider, handler: OAuthHandler) -> None:
    callback = provider.authorize(handler.get_authorization_url().url)
    token = await handler.complete_authorization(callback)
    assert handler.token == token


async def test_two_flows_at_once_keep_their_verifiers_apart(provider: Provider, handler: OAuthHandler) -> None:
    first, second = handler.get_authorization_url(), handler.get_authorization_url()
    later, sooner = provider.authorize(first.url), provider.authorize(second.url)
    await handler.complete_authorization(sooner)
    await handler.complete_authorization(later)
    assert [form["code_verifier"] for form in provider.forms] == [second.code_verifier, first.code_verifier]


async def test_the_redirect_uri_of_the_exchange_is_that_of_the_request(
    provider: Provider, handler: OAuthHandler
) -> None:
    request = handler.get_authorization_url(redirect_uri="http://127.0.0.1:8765/callback")
    await handler.exchange_code_for_token(code_of(provider.authorize(request.url)), request.code_verifier)
    assert provider.forms[0]["redirect_uri"] == "http://127.0.0.1:8765/callback"


async def test_a_flow_that_another_process_began_can_be_finished_here(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    request = handler.get_authorization_url()
    after_restart = handler_for(provider, clock)
    await after_restart.exchange_code_for_token(code_of(provider.authorize(request.url)), request.code_verifier)
    assert after_restart.is_authenticated()


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ({"scope": "repo,gist"}, ("repo", "gist")),
        ({"scope": "repo gist"}, ("repo", "gist")),
        ({"scope": "repo"}, ("repo",)),
        ({"scope": ""}, ()),
        ({}, ("repo", "gist")),
    ],
)
async def test_the_scopes_are_those_granted_and_the_asked_ones_only_if_none_are_named(
    provider: Provider, handler: OAuthHandler, scope: dict[str, str], granted: tuple[str, ...]
) -> None:
    body = {"access_token": "an-access-token", "token_type": "bearer", **scope}
    provider.spoiled.append(JSONResponse(body))
    request = handler.get_authorization_url(scopes=("repo", "gist"))
    token = await handler.complete_authorization(provider.authorize(request.url))
    assert token.scopes == granted


async def test_githubs_form_encoded_answer_is_a_token_too(provider: Provider, handler: OAuthHandler) -> None:
    body = "access_token=an-access-token&expires_in=28800&scope=repo%2Cgist&token_type=bearer"
    provider.spoiled.append(Response(body, media_type="application/x-www-form-urlencoded"))
    token = await handler.complete_authorization(provider.authorize(handler.get_authorization_url().url))
    assert (token.access_token, token.scopes, token.expires_at) == ("an-access-token", ("repo", "gist"), 1_700_028_800)


# -- what the token endpoint refuses -------------------------------------------------------------------------------


async def test_a_used_code_is_refused_and_the_token_stays(provider: Provider, handler: OAuthHandler) -> None:
    request = handler.get_authorization_url()
    code = code_of(provider.authorize(request.url))
    token = await handler.exchange_code_for_token(code, request.code_verifier)
    with pytest.raises(InvalidAuthorizationCode) as caught:
        await handler.exchange_code_for_token(code, request.code_verifier)
    assert "work once" in caught.value.hint
    assert handler.token == token


async def test_the_verifier_of_another_flow_is_recognised_although_the_server_blames_the_code(
    provider: Provider, handler: OAuthHandler
) -> None:
    request, other = handler.get_authorization_url(), handler.get_authorization_url()
    response = handler.read_callback(provider.authorize(request.url))
    with pytest.raises(InvalidCodeVerifier) as caught:
        await handler.exchange_code_for_token(response.code, other.code_verifier)
    assert "same authorization URL" in caught.value.hint
    assert handler.token is None


async def test_a_server_that_says_pkce_is_believed(provider: Provider, handler: OAuthHandler) -> None:
    provider.spoiled.append(JSONResponse({"error": "invalid_grant", "error_description": "PKCE check failed"}, 400))
    request = handler.get_authorization_url()
    with pytest.raises(InvalidCodeVerifier):
        await handler.exchange_code_for_token("a-code", request.code_verifier)


@pytest.mark.parametrize("verifier", ["", "too-short", "x" * 129, "ü" * 43, "x" * 42 + "="])
async def test_a_malformed_verifier_is_not_even_sent(provider: Provider, handler: OAuthHandler, verifier: str) -> None:
    with pytest.raises(InvalidCodeVerifier):
        await handler.exchange_code_for_token("a-code", verifier)
    assert provider.seen == []


SPOILED: list[tuple[Response, type[McpOAuthError]]] = [
    (JSONResponse({"error": "access_denied"}, 400), AccessDenied),
    (JSONResponse({"error": "unsupported_grant_type"}, 400), OAuthErrorResponse),
    (JSONResponse({"error": "invalid_grant", "access_token": "a", "token_type": "bearer"}), ProtocolError),
    (JSONResponse({"token_type": "bearer"}), ProtocolError),
    (JSONResponse({"access_token": "a", "token_type": "mac"}), ProtocolError),
    (JSONResponse({"access_token": "a\r\nb", "token_type": "bearer"}), ProtocolError),
    (Response("<h1>Sign in</h1>", media_type="text/html"), ProtocolError),
    (Response(status_code=503), ServerUnavailable),
]


@pytest.mark.parametrize(("answer", "expected"), SPOILED)
async def test_an_exchange_that_fails_stores_nothing_and_is_not_repeated(
    provider: Provider, handler: OAuthHandler, answer: Response, expected: type[McpOAuthError]
) -> None:
    provider.spoiled.append(answer)
    with pytest.raises(McpOAuthError) as caught:
        await handler.complete_authorization(provider.authorize(handler.get_authorization_url().url))
    assert type(caught.value) is expected
    assert handler.token is None
    assert len(provider.seen) == 1


async def test_a_code_may_be_tried_again_by_hand_after_a_5xx(provider: Provider, handler: OAuthHandler) -> None:
    request = handler.get_authorization_url()
    response = handler.read_callback(provider.authorize(request.url))
    provider.spoiled.append(Response(status_code=502))
    with pytest.raises(ServerUnavailable):
        await handler.exchange_code_for_token(response.code, request.code_verifier)
    await handler.exchange_code_for_token(response.code, request.code_verifier)
    assert handler.is_authenticated()


# -- the callback --------------------------------------------------------------------------------------------------


async def test_a_foreign_state_sends_nothing_anywhere(provider: Provider, handler: OAuthHandler) -> None:
    callback = provider.authorize(handler.get_authorization_url().url, state="forged")
    with pytest.raises(StateMismatch):
        await handler.complete_authorization(callback)
    assert provider.seen == provider.stolen == []


async def test_the_code_of_another_persons_flow_is_refused(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    attacker = OAuthHandler(settings=settings_for(), clock=clock, token_bytes=random.Random("attacker").randbytes)
    callback = provider.authorize(attacker.get_authorization_url().url)
    handler.get_authorization_url()
    with pytest.raises(StateMismatch):
        await handler.complete_authorization(callback)
    assert provider.seen == []


async def test_a_mixed_up_issuer_gets_no_code_and_the_genuine_answer_still_counts(
    provider: Provider, handler: OAuthHandler
) -> None:
    url = handler.get_authorization_url().url
    with pytest.raises(IssuerMismatch):
        await handler.complete_authorization(provider.authorize(url, iss="https://evil.example"))
    assert provider.seen == []
    await handler.complete_authorization(provider.authorize(url))
    assert handler.is_authenticated()


async def test_a_callback_cannot_be_used_twice(provider: Provider, handler: OAuthHandler) -> None:
    callback = provider.authorize(handler.get_authorization_url().url)
    await handler.complete_authorization(callback)
    with pytest.raises(StateMismatch):
        await handler.complete_authorization(callback)
    assert len(provider.seen) == 1


async def test_the_exchange_of_a_pasted_code_ends_its_flow_too(provider: Provider, handler: OAuthHandler) -> None:
    request = handler.get_authorization_url()
    callback = provider.authorize(request.url)
    await handler.exchange_code_for_token(code_of(callback), request.code_verifier)
    with pytest.raises(StateMismatch):
        handler.read_callback(callback)


async def test_a_callback_after_ten_minutes_is_too_late(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    callback = provider.authorize(handler.get_authorization_url().url)
    clock.advance(minutes=10, seconds=1)
    with pytest.raises(StateMismatch):
        await handler.complete_authorization(callback)
    assert provider.seen == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, GITHUB_ISSUER),
        ({"oauth_issuer": "https://github.com/else"}, GITHUB_ISSUER),
        ({"oauth_token_url": "https://GitHub.com/login/oauth/access_token"}, GITHUB_ISSUER),
        ({"oauth_token_url": "https://id.example/token", "oauth_issuer": "https://id.example"}, "https://id.example"),
        ({"oauth_token_url": "https://github.com.evil.example/login/oauth/access_token"}, "https://github.com"),
    ],
)
def test_the_issuer_is_known_for_github_and_configured_for_others(changes: dict[str, str], expected: str) -> None:
    settings = IsolatedSettings(**changes)
    assert known_issuer(settings) == expected
    assert OAuthHandler(settings=settings).issuer == expected


def test_the_issuer_of_a_metadata_document_wins() -> None:
    assert (
        OAuthHandler(settings=settings_for(), issuer="https://id.example/tenant").issuer == "https://id.example/tenant"
    )


def test_githubs_callback_names_githubs_own_issuer_not_the_guides() -> None:
    handler = OAuthHandler(settings=IsolatedSettings(oauth_client_id="id", oauth_client_secret="a secret"))
    state = handler.get_authorization_url().state
    with pytest.raises(IssuerMismatch):
        handler.read_callback(f"http://127.0.0.1/callback?code=a-code&state={state}&iss=https://github.com")
    handler.read_callback(f"http://127.0.0.1/callback?code=a-code&state={state}&iss=https://github.com/login/oauth")


def test_an_issuer_that_was_announced_must_be_there(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock, iss_required=True)
    state = handler.get_authorization_url().state
    with pytest.raises(IssuerMismatch, match="has no iss"):
        handler.read_callback(f"http://127.0.0.1/callback?code=a-code&state={state}")


def test_an_issuer_that_was_not_announced_may_be_left_out(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    state = handler.get_authorization_url().state
    assert handler.read_callback(f"http://127.0.0.1/callback?code=a-code&state={state}").code == "a-code"


async def test_state_verifier_and_code_are_secrets_as_soon_as_the_handler_has_them(handler: OAuthHandler) -> None:
    _, state, code_verifier = handler.get_authorization_url()
    with pytest.raises(McpOAuthError):
        await handler.exchange_code_for_token("a-code-from-elsewhere", code_verifier)
    text = scrub(f"{state} {code_verifier} a-code-from-elsewhere")
    assert state not in text
    assert code_verifier not in text
    assert "a-code-from-elsewhere" not in text
