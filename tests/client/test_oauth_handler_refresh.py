"""OAuthHandler: refresh, expiry, and who refreshes when many want to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from provider import API, CLIENT_ID, CLIENT_SECRET, Provider, handler_for, settings_for, signed_in, token_of
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    McpOAuthError,
    RateLimited,
    RefreshRejected,
    ServerUnavailable,
    TokenRejected,
    Unreachable,
)
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.oauth.token import Token

pytestmark = pytest.mark.anyio


@pytest.fixture
async def handler(provider: Provider, clock: ManualClock) -> OAuthHandler:
    """Signed in; the provider has forgotten how."""
    handler = await signed_in(provider, clock)
    provider.seen.clear()
    return handler


# -- the refresh itself --------------------------------------------------------------------------------------------


async def test_the_guides_refresh_example_works_as_printed(
    provider: Provider, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    oauth_handler = handler_for(provider, clock)
    your_refresh_token = provider.tokens()["refresh_token"]

    oauth_handler.refresh_token = your_refresh_token

    # Refresh the access token
    new_token = await oauth_handler.refresh_access_token()

    print(f"New access token: {new_token['access_token']}")
    assert capsys.readouterr().out == f"New access token: {oauth_handler.access_token}\n"
    assert provider.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": your_refresh_token,
            "resource": API,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
    ]
    assert provider.seen[0].headers["accept"] == "application/json"


async def test_a_refresh_replaces_both_tokens_and_the_expiry(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    before = token_of(handler)
    clock.advance(hours=8)
    after = await handler.refresh_access_token()
    assert after == handler.token
    assert {before.access_token, before.refresh_token} & {after.access_token, after.refresh_token} == set()
    assert after.expires_at == clock.now() + 28800
    await handler.refresh_access_token()
    assert provider.forms[1]["refresh_token"] == after.refresh_token


async def test_a_refresh_keeps_the_old_refresh_token_when_the_answer_omits_it(
    provider: Provider, handler: OAuthHandler
) -> None:
    handler.token = replace(token_of(handler), refresh_token_expires_at=1_800_000_000.0)
    before = token_of(handler)
    provider.with_refresh_token, provider.rotates = False, False
    after = await handler.refresh_access_token()
    assert after.access_token != before.access_token
    assert (after.refresh_token, after.refresh_token_expires_at) == (before.refresh_token, 1_800_000_000.0)
    await handler.refresh_access_token()
    assert len(provider.seen) == 2


async def test_a_lone_refresh_token_is_kept_too_when_the_answer_omits_it(
    provider: Provider, clock: ManualClock
) -> None:
    handler = handler_for(provider, clock)
    handler.refresh_token = lone = provider.tokens()["refresh_token"]
    provider.with_refresh_token, provider.rotates = False, False
    assert (await handler.refresh_access_token()).refresh_token == lone
    assert handler.refresh_token == lone


async def test_a_refresh_answer_without_scope_keeps_the_old_scopes(provider: Provider, handler: OAuthHandler) -> None:
    handler.token = replace(token_of(handler), scopes=("repo", "gist"))
    provider.spoiled.append(JSONResponse({"access_token": "another-access-token", "token_type": "bearer"}))
    assert (await handler.refresh_access_token()).scopes == ("repo", "gist")


async def test_without_a_refresh_token_nothing_is_sent(provider: Provider, clock: ManualClock) -> None:
    with pytest.raises(RefreshRejected, match="no refresh token"):
        await handler_for(provider, clock).refresh_access_token()
    assert provider.seen == []


async def test_a_refused_refresh_token_signs_out_and_is_not_tried_again(
    provider: Provider, handler: OAuthHandler
) -> None:
    handler.refresh_token = "a-refresh-token-that-was-revoked"
    with pytest.raises(RefreshRejected) as caught:
        await handler.refresh_access_token()
    assert caught.value.kind == "reauthorize"
    assert (handler.token, handler.refresh_token) == (None, None)
    with pytest.raises(AuthenticationRequired):
        await handler.access_token_for_request()
    with pytest.raises(RefreshRejected):
        await handler.refresh_access_token()
    assert len(provider.seen) == 1


async def test_a_refused_lone_refresh_token_is_forgotten(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    handler.refresh_token = "a-refresh-token-that-was-revoked"
    with pytest.raises(RefreshRejected):
        await handler.refresh_access_token()
    assert handler.refresh_token is None


KEEPING: list[tuple[Response, type[McpOAuthError]]] = [
    (Response(status_code=500), ServerUnavailable),
    (JSONResponse({"error": "invalid_grant"}, 503), ServerUnavailable),
    (Response(status_code=429, headers={"retry-after": "60"}), RateLimited),
    (Response("<h1>Sign in</h1>", media_type="text/html"), RefreshRejected),
    (Response('{"access_token": "trunc', media_type="application/json"), RefreshRejected),
    (JSONResponse({"error": "invalid_grant", "access_token": "a", "token_type": "bearer"}), RefreshRejected),
    (JSONResponse({"error": "invalid_client"}, 401), ConfigurationError),
    (Response("x" * (1024 * 1024 + 1), media_type="application/json"), RefreshRejected),
    (JSONResponse({"message": "Unknown client"}, 422), RefreshRejected),
    (Response(status_code=400), RefreshRejected),
    (Response(status_code=302, headers={"location": "/login"}), RefreshRejected),
    (Response(status_code=408), ServerUnavailable),
    (Response(status_code=425), ServerUnavailable),
    (JSONResponse({"error": "temporarily_unavailable"}, 400), ServerUnavailable),
]


@pytest.mark.parametrize(("answer", "expected"), KEEPING)
async def test_a_refresh_that_fails_for_another_reason_keeps_the_tokens(
    provider: Provider, handler: OAuthHandler, clock: ManualClock, answer: Response, expected: type[McpOAuthError]
) -> None:
    before = token_of(handler)
    provider.spoiled.append(answer)
    with pytest.raises(McpOAuthError) as caught:
        await handler.refresh_access_token()
    assert type(caught.value) is expected
    assert caught.value.kind == "transient" or caught.value.hint.startswith(("Start the authorization", "Check OAUTH_"))
    assert handler.token == before
    assert len(provider.seen) == 1
    clock.advance(60)
    await handler.refresh_access_token()


async def test_a_rate_limit_says_when_to_come_back(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    provider.spoiled.append(Response(status_code=429, headers={"retry-after": "60"}))
    with pytest.raises(RateLimited) as caught:
        await handler.refresh_access_token()
    assert caught.value.retry_at == clock.now() + 60


# -- patience ------------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_asks_for_patience_is_asked_once_while_the_token_is_good(
    provider: Provider, handler: OAuthHandler, clock: ManualClock
) -> None:
    before = handler.access_token
    clock.advance(28800 - 30)
    provider.spoiled.append(Response(status_code=429, headers={"retry-after": "20"}))
    for _ in range(20):
        assert await handler.access_token_for_request() == before
    assert len(provider.seen) == 1
    clock.advance(20)
    assert await handler.access_token_for_request() != before
    assert len(provider.seen) == 2


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServerUnavailable)])
async def test_an_endpoint_that_asks_for_patience_is_left_alone_until_then(
    provider: Provider, handler: OAuthHandler, clock: ManualClock, status: int, kind: type[McpOAuthError]
) -> None:
    before = token_of(handler)
    clock.advance(28800)
    come_back = clock.now() + 60
    provider.spoiled.append(Response(status_code=status, headers={"retry-after": "60"}))
    calls: list[Callable[[], Any]] = [
        handler.access_token_for_request,
        handler.refresh_access_token,
        lambda: handler.access_token_for_request(rejected=before.access_token),
    ]
    for call in [*calls, *calls]:
        with pytest.raises(kind) as caught:
            await call()
        assert caught.value.retry_at == come_back  # type: ignore[attr-defined]
        clock.advance(5)
    assert handler.token == before
    assert len(provider.seen) == 1
    clock.advance(come_back - clock.now())
    assert await handler.access_token_for_request() == handler.access_token != before.access_token
    assert len(provider.seen) == 2


async def test_a_refresh_that_is_needed_waits_once_within_the_deadline(provider: Provider, clock: ManualClock) -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    handler = await signed_in(provider, clock, patience=Patience(pause))
    provider.seen.clear()
    before = handler.access_token
    clock.advance(28800 - 30)
    provider.spoiled.append(Response(status_code=429, headers={"retry-after": "5"}))
    assert await handler.access_token_for_request() == before
    # Early, it is a courtesy.
    assert (waits, len(provider.seen)) == ([], 1)
    clock.advance(31)
    provider.spoiled.append(Response(status_code=429, headers={"retry-after": "5"}))
    assert await handler.access_token_for_request() != before
    assert len(waits) == 1
    assert 5 <= waits[0] <= 6
    assert len(provider.seen) == 3
    for _ in range(2):
        provider.spoiled.append(Response(status_code=503, headers={"retry-after": "5"}))
    with pytest.raises(ServerUnavailable):
        await handler.refresh_access_token()
    assert (len(waits), len(provider.seen)) == (2, 5)
    clock.advance(5)
    provider.spoiled.append(Response(status_code=503, headers={"retry-after": "31"}))
    with pytest.raises(ServerUnavailable):
        await handler.access_token_for_request(rejected=handler.access_token)
    assert (len(waits), len(provider.seen)) == (2, 6)


async def test_a_code_is_kept_for_the_time_that_the_endpoint_named(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    provider.spoiled.append(Response(status_code=503, headers={"retry-after": "60"}))
    response = handler.read_callback(provider.authorize(handler.get_authorization_url().url))
    exchange = response.code, response.flow.pkce.code_verifier
    for _ in range(2):
        with pytest.raises(ServerUnavailable) as caught:
            await handler.exchange_code_for_token(*exchange)
        assert caught.value.retry_at == clock.now() + 60
    assert len(provider.seen) == 1
    clock.advance(60)
    assert (await handler.exchange_code_for_token(*exchange)).access_token == handler.access_token


# -- outcome unknown -----------------------------------------------------------------------------------------------


async def test_a_broken_connection_is_tried_once_more(provider: Provider, handler: OAuthHandler) -> None:
    provider.spoiled.append(httpx.ReadError("connection reset"))
    await handler.refresh_access_token()
    assert len(provider.seen) == 2


async def test_twice_broken_gives_up_and_keeps_the_tokens(provider: Provider, handler: OAuthHandler) -> None:
    before = token_of(handler)
    provider.spoiled.extend([httpx.ConnectError("refused")] * 3)
    with pytest.raises(Unreachable):
        await handler.refresh_access_token()
    assert handler.token == before
    assert len(provider.seen) == 2


async def test_an_answer_lost_after_rotation_ends_in_one_clean_new_authorization(
    provider: Provider, handler: OAuthHandler
) -> None:
    provider.processed = True
    provider.spoiled.append(httpx.ReadError("connection reset"))
    with pytest.raises(RefreshRejected):
        await handler.refresh_access_token()
    assert handler.token is None
    assert len(provider.seen) == 2


async def test_after_a_broken_connection_the_token_of_another_process_is_used(
    provider: Provider, handler: OAuthHandler
) -> None:
    winner = Token("the-winners-access-token", refresh_token="the-winners-refresh-token")
    provider.meanwhile = lambda: setattr(handler, "token", winner)
    provider.spoiled.append(httpx.ReadError("connection reset"))
    assert await handler.refresh_access_token() == winner
    assert len(provider.seen) == 1


async def test_a_silent_server_costs_one_deadline_not_two(provider: Provider, clock: ManualClock) -> None:
    handler = await signed_in(provider, clock, settings=settings_for(api_timeout=0.2))
    before = token_of(handler)
    provider.seen.clear()
    provider.hold = threading.Event()
    try:
        with anyio.fail_after(10), pytest.raises(Unreachable, match=r"within 0\.2 seconds"):
            await handler.refresh_access_token()
    finally:
        provider.hold.set()
    assert handler.token == before
    assert len(provider.seen) == 1


async def test_a_reset_and_then_silence_cost_one_deadline(provider: Provider, clock: ManualClock) -> None:
    deadlines: list[float] = []

    class Falling(httpx.AsyncBaseTransport):
        """Cuts the first connection, and is silent on the second."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            deadlines.append(anyio.current_effective_deadline())
            if len(deadlines) == 1:
                raise httpx.ReadError("connection reset")
            await anyio.sleep_forever()
            raise AssertionError

    settings, falling = settings_for(api_timeout=0.1), Falling()
    handler = handler_for(provider, clock, settings=settings, client=lambda: httpx.AsyncClient(transport=falling))
    handler.token = before = Token("an-access-token", refresh_token="a-refresh-token")
    with pytest.raises(Unreachable, match=r"https://id\.example/token gave no complete answer within 0\.1 seconds"):
        await handler.refresh_access_token()
    assert deadlines == [deadlines[0]] * 2
    assert handler.token == before


# -- for a request -------------------------------------------------------------------------------------------------


async def test_a_fresh_token_is_used_as_it_is(provider: Provider, handler: OAuthHandler, clock: ManualClock) -> None:
    clock.advance(28800 - 61)
    assert await handler.access_token_for_request() == handler.access_token
    assert provider.seen == []


@pytest.mark.parametrize("early", [60, 1, 0, -3600])
async def test_a_token_is_refreshed_a_minute_before_it_expires(
    provider: Provider, handler: OAuthHandler, clock: ManualClock, early: int
) -> None:
    before = handler.access_token
    clock.advance(28800 - early)
    after = await handler.access_token_for_request()
    assert after == handler.access_token != before
    assert len(provider.seen) == 1


async def test_a_token_without_lifetime_is_used_until_a_401(provider: Provider, clock: ManualClock) -> None:
    provider.expires_in = None
    handler = await signed_in(provider, clock)
    clock.advance(days=365)
    assert handler.is_authenticated()
    assert await handler.access_token_for_request() == handler.access_token
    assert len(provider.seen) == 1


@pytest.mark.parametrize("lifetime", [0, -5])
async def test_a_lifetime_of_nothing_causes_no_refresh_storm(
    provider: Provider, clock: ManualClock, lifetime: int
) -> None:
    provider.expires_in = lifetime
    handler = await signed_in(provider, clock)
    for _ in range(5):
        await handler.access_token_for_request()
    assert len(provider.seen) == 1


SPOILS = [lambda: Response(status_code=503), lambda: Response(status_code=429), lambda: httpx.ConnectError("refused")]


@pytest.mark.parametrize("spoil", SPOILS, ids=["503", "429", "connection refused"])
async def test_what_is_still_valid_is_used_if_the_early_refresh_fails(
    provider: Provider, handler: OAuthHandler, clock: ManualClock, spoil: Callable[[], Any]
) -> None:
    before = handler.access_token
    clock.advance(28800 - 30)
    provider.spoiled.extend([spoil(), spoil()])
    assert await handler.access_token_for_request() == before


@pytest.mark.parametrize("spoil", SPOILS, ids=["503", "429", "connection refused"])
async def test_what_has_expired_is_not_used_and_not_forgotten_if_the_refresh_fails(
    provider: Provider, handler: OAuthHandler, clock: ManualClock, spoil: Callable[[], Any]
) -> None:
    before = token_of(handler)
    clock.advance(28800)
    provider.spoiled.extend([spoil(), spoil()])
    with pytest.raises(McpOAuthError) as caught:
        await handler.access_token_for_request()
    assert caught.value.kind == "transient"
    assert handler.token == before


async def test_an_expired_token_without_refresh_token_needs_the_user(provider: Provider, clock: ManualClock) -> None:
    provider.with_refresh_token = False
    handler = await signed_in(provider, clock)
    clock.advance(28800 - 30)
    assert await handler.access_token_for_request() == handler.access_token
    clock.advance(30)
    assert not handler.is_authenticated()
    with pytest.raises(AuthenticationRequired, match="has expired") as caught:
        await handler.access_token_for_request()
    assert caught.value.challenge == handler.challenge()
    assert len(provider.seen) == 1


async def test_without_any_token_the_user_is_needed(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    with pytest.raises(AuthenticationRequired) as caught:
        await handler.access_token_for_request()
    assert caught.value.challenge == handler.challenge()


# -- after a 401 ---------------------------------------------------------------------------------------------------


async def test_a_401_forces_one_refresh_although_the_token_looks_fresh(
    provider: Provider, handler: OAuthHandler
) -> None:
    rejected = handler.access_token
    again = await handler.access_token_for_request(rejected=rejected)
    assert again == handler.access_token != rejected
    assert len(provider.seen) == 1


async def test_a_401_for_a_token_that_was_replaced_since_costs_no_second_refresh(
    provider: Provider, handler: OAuthHandler
) -> None:
    rejected = handler.access_token
    first = await handler.access_token_for_request(rejected=rejected)
    assert await handler.access_token_for_request(rejected=rejected) == first
    assert len(provider.seen) == 1


async def test_a_401_without_refresh_token_signs_out(provider: Provider, clock: ManualClock) -> None:
    provider.with_refresh_token = False
    handler = await signed_in(provider, clock)
    with pytest.raises(TokenRejected):
        await handler.access_token_for_request(rejected=handler.access_token)
    assert handler.token is None
    assert not handler.is_authenticated()


async def test_a_401_while_the_provider_is_down_keeps_the_tokens(provider: Provider, handler: OAuthHandler) -> None:
    before = token_of(handler)
    provider.spoiled.append(Response(status_code=503))
    with pytest.raises(ServerUnavailable):
        await handler.access_token_for_request(rejected=before.access_token)
    assert handler.token == before


# -- what happens meanwhile ------------------------------------------------------------------------------------------


async def test_a_sign_out_during_a_refresh_is_not_undone_and_ends_the_new_token_too(
    provider: Provider, clock: ManualClock
) -> None:
    handler = await signed_in(provider, clock, revocation_url="https://id.example/revoke")
    provider.seen.clear()

    def sign_out() -> None:
        handler.token = None

    provider.meanwhile = sign_out
    with pytest.raises(AuthenticationRequired, match="signed out"):
        await handler.refresh_access_token()
    assert handler.token is None
    assert [urlsplit(one.url).path for one in provider.seen] == ["/token", "/revoke", "/revoke"]


async def test_a_sign_out_during_the_refresh_of_a_lone_refresh_token_is_not_undone(
    provider: Provider, clock: ManualClock
) -> None:
    handler = handler_for(provider, clock)
    handler.refresh_token = provider.tokens()["refresh_token"]

    def sign_out() -> None:
        handler.token = None

    provider.meanwhile = sign_out
    with pytest.raises(AuthenticationRequired, match="signed out"):
        await handler.refresh_access_token()
    assert handler.token is handler.refresh_token is None


async def test_a_sign_in_during_a_refresh_is_the_one_that_holds(provider: Provider, handler: OAuthHandler) -> None:
    newer = Token("another-persons-token", resource=API)

    def sign_in() -> None:
        handler.token = newer

    provider.meanwhile = sign_in
    assert await handler.refresh_access_token() == newer
    assert handler.token == newer


@pytest.mark.parametrize("lifetime", [1, 20, 60])
async def test_a_short_lifetime_is_no_refresh_at_every_call(
    provider: Provider, clock: ManualClock, lifetime: int
) -> None:
    provider.expires_in = lifetime
    handler = await signed_in(provider, clock)
    provider.seen.clear()
    for _ in range(3):
        await handler.access_token_for_request()
    assert provider.seen == []
    clock.advance(lifetime * 3 / 4)
    await handler.access_token_for_request()
    assert len(provider.seen) == 1
