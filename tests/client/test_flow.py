"""The whole flow, end to end: the handler against the mocked GitHub, the autopilot as the browser.

Neither side knows the other's code, so each checks the other.
"""

from __future__ import annotations

import random
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from mcp_oauth_nb.client.github import GitHubClient, check_token
from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.client.provider_settings import GITHUB_ISSUER
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidAuthorizationCode,
    InvalidCodeVerifier,
    ProtocolError,
    RefreshRejected,
    ServerUnavailable,
    TokenRejected,
)
from mcp_oauth_nb.oauth.settings import IsolatedSettings

pytestmark = pytest.mark.anyio


class World:
    """GitHub, a browser with octocat in front of it, and a client."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_767_225_600.0)
        self.github = MockGitHub(seed=7, clock=self.clock)
        self.browser = Autopilot(self.github.transport())
        self.handler = self.another_handler()

    def another_handler(self, **settings: object) -> OAuthHandler:
        given = {"oauth_client_id": self.github.client_id, "oauth_client_secret": self.github.client_secret}
        return OAuthHandler(
            settings=IsolatedSettings(**{**given, **settings}),
            client=self.http,
            clock=self.clock,
            token_bytes=random.Random(7).randbytes,
        )

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.github.transport())

    async def sign_in(self) -> None:
        callback = await self.browser.authorize(self.handler.get_authorization_url().url)
        await self.handler.complete_authorization(callback)

    async def login(self) -> str:
        """Who the token stands for, as the REST API says."""
        client = GitHubClient(self.handler, base_url=self.github.api_url, timeout=5, client=self.http, clock=self.clock)
        return (await client.user()).login

    async def works(self, access_token: str | None) -> bool:
        """Whether GitHub says that the token is alive and this app's."""
        assert access_token is not None
        return await check_token(
            self.github.client_id,
            self.github.client_secret,
            access_token,
            base_url=self.github.api_url,
            timeout=5,
            client=self.http,
            clock=self.clock,
        )


@pytest.fixture
def world() -> World:
    return World()


async def test_from_the_url_over_consent_and_callback_to_the_users_data(world: World) -> None:
    url, state, code_verifier = world.handler.get_authorization_url()
    callback = await world.browser.authorize(url)
    answer = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
    assert callback.startswith("http://127.0.0.1/callback?")
    assert (answer["state"], answer["iss"]) == (state, GITHUB_ISSUER)
    token = await world.handler.exchange_code_for_token(answer["code"], code_verifier)
    assert token.scopes == ("read:user",)
    assert token.expires_at == world.clock.now() + 28800
    assert token["refresh_token"] == world.handler.refresh_token
    assert await world.login() == "octocat"


async def test_pressing_cancel_is_access_denied(world: World) -> None:
    callback = await world.browser.authorize(world.handler.get_authorization_url().url, allow=False)
    with pytest.raises(AccessDenied):
        await world.handler.complete_authorization(callback)
    assert not world.handler.is_authenticated()


async def test_fewer_scopes_than_asked_are_stored_as_granted(world: World) -> None:
    request = world.handler.get_authorization_url(scopes=("read:user", "repo"))
    callback = await world.browser.authorize(request.url, scopes=("read:user",))
    assert (await world.handler.complete_authorization(callback)).scopes == ("read:user",)


async def test_a_used_code_is_refused(world: World) -> None:
    request = world.handler.get_authorization_url()
    response = world.handler.read_callback(await world.browser.authorize(request.url))
    await world.handler.exchange_code_for_token(response.code, request.code_verifier)
    with pytest.raises(InvalidAuthorizationCode):
        await world.handler.exchange_code_for_token(response.code, request.code_verifier)


async def test_an_expired_code_is_refused(world: World) -> None:
    request = world.handler.get_authorization_url()
    response = world.handler.read_callback(await world.browser.authorize(request.url))
    world.clock.advance(minutes=10, seconds=1)
    with pytest.raises(InvalidAuthorizationCode):
        await world.handler.exchange_code_for_token(response.code, request.code_verifier)


async def test_the_wrong_verifier_is_refused_and_recognised(world: World) -> None:
    request, other = world.handler.get_authorization_url(), world.handler.get_authorization_url()
    response = world.handler.read_callback(await world.browser.authorize(request.url))
    with pytest.raises(InvalidCodeVerifier):
        await world.handler.exchange_code_for_token(response.code, other.code_verifier)
    assert not world.handler.is_authenticated()


async def test_a_code_that_was_stolen_on_its_way_is_worth_nothing_without_the_verifier(world: World) -> None:
    thief = world.another_handler()
    callback = await world.browser.authorize(world.handler.get_authorization_url().url)
    code = parse_qs(urlsplit(callback).query)["code"][0]
    with pytest.raises(InvalidAuthorizationCode):
        await thief.exchange_code_for_token(code, "v" * 43)


async def test_a_wrong_secret_is_a_matter_of_configuration(world: World) -> None:
    careless = world.another_handler(oauth_client_secret="not the secret")
    callback = await world.browser.authorize(careless.get_authorization_url().url)
    with pytest.raises(ConfigurationError) as caught:
        await careless.complete_authorization(callback)
    assert "OAUTH_CLIENT_SECRET" in caught.value.variables


async def test_an_unregistered_redirect_uri_never_comes_back(world: World) -> None:
    request = world.handler.get_authorization_url(redirect_uri="https://evil.example/callback")
    with pytest.raises(ProtocolError):
        await world.browser.authorize(request.url)


async def test_eight_hours_later_the_call_refreshes_and_both_old_tokens_are_dead(world: World) -> None:
    await world.sign_in()
    old_access, old_refresh = world.handler.access_token, world.handler.refresh_token
    world.clock.advance(hours=8)
    assert await world.login() == "octocat"
    assert world.handler.access_token != old_access
    assert world.handler.refresh_token != old_refresh
    assert not await world.works(old_access)
    assert await world.works(world.handler.access_token)
    replayed = world.another_handler()
    replayed.refresh_token = old_refresh
    with pytest.raises(RefreshRejected):
        await replayed.refresh_access_token()


async def test_a_provider_that_is_down_costs_no_token(world: World) -> None:
    await world.sign_in()
    world.clock.advance(hours=8)
    world.github.faults.next_token(status=503)
    with pytest.raises(ServerUnavailable):
        await world.login()
    assert await world.login() == "octocat"


async def test_a_refresh_whose_answer_was_lost_ends_in_a_new_authorization(world: World) -> None:
    await world.sign_in()
    world.clock.advance(hours=8)
    world.github.faults.next_token(drop=True, processed=True)
    with pytest.raises(RefreshRejected):
        await world.login()
    await world.sign_in()
    assert await world.login() == "octocat"


async def test_a_token_that_was_revoked_elsewhere_ends_in_a_new_authorization(world: World) -> None:
    await world.sign_in()
    assert world.handler.access_token is not None
    world.github.revoke_token(world.handler.access_token)
    with pytest.raises((RefreshRejected, TokenRejected)):
        await world.login()
    assert not world.handler.is_authenticated()


async def test_revoking_ends_the_token_at_github_and_here(world: World) -> None:
    await world.sign_in()
    token = world.handler.access_token
    assert await world.works(token)
    assert await world.handler.revoke()
    assert not await world.works(token)
    assert not world.handler.is_authenticated()


async def test_githubs_default_answer_is_form_encoded_and_understood_too(world: World) -> None:
    world.github.faults.next_token(
        body="access_token=an-access-token&scope=read%3Auser&token_type=bearer",
        content_type="application/x-www-form-urlencoded; charset=utf-8",
    )
    await world.sign_in()
    assert world.handler.access_token == "an-access-token"


async def test_no_secret_of_the_mock_is_in_what_the_handler_shows(world: World) -> None:
    await world.sign_in()
    world.clock.advance(hours=8)
    await world.login()
    shown = f"{world.handler!r} {world.handler.token} {world.handler.get_auth_headers()} {world.handler.settings}"
    assert world.github.issued_secrets()
    assert [secret for secret in world.github.issued_secrets() if secret in shown] == []


async def test_an_enterprise_server_at_one_address_works_the_same() -> None:
    world = World()
    world.github = MockGitHub.at("http://127.0.0.1:9000", seed=7, clock=world.clock)
    world.browser = Autopilot(world.github.transport())
    world.handler = world.another_handler(
        oauth_authorization_url="http://127.0.0.1:9000/login/oauth/authorize",
        oauth_token_url="http://127.0.0.1:9000/login/oauth/access_token",
        oauth_issuer=world.github.issuer,
        api_base_url=world.github.api_url,
    )
    await world.sign_in()
    assert await world.login() == "octocat"
    token = world.handler.access_token
    assert await world.handler.revoke()
    assert not await world.works(token)
