"""An app's own tokens: check, reset, revoke."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from mock_github_world import CALLBACK, World

from mcp_oauth_nb.lab.mock_github import Autopilot, OAuthApp

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def call(
    world: World, method: str, what: str, access_token: str, app: OAuthApp | None = None, **request: Any
) -> httpx.Response:
    client = app or world.github.apps[world.github.client_id]
    request = {"auth": (client.client_id, client.client_secret), "json": {"access_token": access_token}} | request
    return await world.api(f"/applications/{client.client_id}/{what}", method=method, **request)


async def test_the_check_describes_a_token_to_its_own_app(world: World):
    token = await world.sign_in(scope="repo gist")
    response = await call(world, "POST", "token", token["access_token"])
    assert response.status_code == 200
    body = response.json()
    assert body["scopes"] == ["repo", "gist"]
    assert body["user"]["login"] == "octocat"
    assert body["app"]["client_id"] == world.github.client_id
    assert body["token_last_eight"] == token["access_token"][-8:]
    assert body["expires_at"] == "2026-01-01T08:00:00Z"
    assert "x-github-request-id" in response.headers


async def test_a_token_without_expiry_says_so(world: World):
    app = world.github.register_app("Plain", [CALLBACK], expiring_tokens=False)
    token = world.github.issue_token(app=app)
    assert (await call(world, "POST", "token", token.access_token, app)).json()["expires_at"] is None


async def test_the_check_is_404_for_a_token_of_another_app(world: World):
    # This is what tells a token that was passed through from one that was issued here.
    other = world.github.register_app("Other", [CALLBACK])
    token = world.github.issue_token(app=other)
    assert (await call(world, "POST", "token", token.access_token)).status_code == 404
    assert (await call(world, "POST", "token", token.access_token, other)).status_code == 200


async def test_the_check_is_404_for_what_is_revoked_expired_or_unknown(world: World):
    revoked, expired = world.github.issue_token(), world.github.issue_token()
    world.github.revoke_token(revoked.access_token)
    assert (await call(world, "POST", "token", revoked.access_token)).status_code == 404
    world.clock.advance(hours=8)
    assert (await call(world, "POST", "token", expired.access_token)).status_code == 404
    assert (await call(world, "POST", "token", "unknown")).status_code == 404


async def test_an_app_cannot_ask_in_the_name_of_another(world: World):
    other = world.github.register_app("Other", [CALLBACK])
    token = world.github.issue_token(app=other)
    auth = (other.client_id, other.client_secret)
    # The path names the default app, the credentials the other one.
    assert (await call(world, "POST", "token", token.access_token, auth=auth)).status_code == 404


@pytest.mark.parametrize("auth", [None, ("unknown", "x"), "wrong secret"])
async def test_the_client_secret_is_required(world: World, auth: Any):
    token = world.github.issue_token()
    credentials = (world.github.client_id, "wrong") if isinstance(auth, str) else auth
    response = await call(world, "DELETE", "token", token.access_token, auth=credentials)
    assert response.status_code == 401
    assert await world.works(token.access_token)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"access_token": 7}'])
async def test_a_body_without_a_token_is_422(world: World, body: bytes):
    response = await call(world, "POST", "token", "", json=None, content=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "access_token"


async def test_deleting_a_token_ends_it_and_its_refresh_token_and_no_other(world: World):
    gone, kept = await world.sign_in(), await world.sign_in()
    assert (await call(world, "DELETE", "token", gone["access_token"])).status_code == 204
    assert not await world.works(gone["access_token"])
    assert (await world.refresh(gone["refresh_token"]))["error"] == "bad_refresh_token"
    assert await world.works(kept["access_token"])


async def test_deleting_the_grant_ends_all_tokens_and_codes_of_that_user_for_the_app(world: World):
    first, second = await world.sign_in(), await world.sign_in(scope="gist")
    code = await world.code()
    world.browser = Autopilot(world.transport, user="hubot")
    hubot, code_for_hubot = await world.sign_in(), await world.code()
    other = world.github.issue_token(app=world.github.register_app("Other", [CALLBACK]))
    assert (await call(world, "DELETE", "grant", first["access_token"])).status_code == 204
    assert not await world.works(second["access_token"])
    assert (await world.exchange(code))["error"] == "bad_verification_code"
    assert await world.works(hubot["access_token"])
    assert "access_token" in await world.exchange(code_for_hubot)
    assert await world.works(other.access_token)


async def test_after_the_grant_is_deleted_consent_is_asked_again(world: World):
    token = await world.sign_in()
    assert (await world.visit(world.authorize_url())).status_code == 302
    await call(world, "DELETE", "grant", token["access_token"])
    assert (await world.visit(world.authorize_url())).status_code == 200


async def test_a_reset_replaces_the_access_token_and_keeps_the_refresh_token(world: World):
    old = await world.sign_in(scope="gist")
    world.clock.advance(hours=1)
    body = (await call(world, "PATCH", "token", old["access_token"])).json()
    assert not await world.works(old["access_token"])
    assert await world.works(body["token"])
    assert body["scopes"] == ["gist"]
    assert body["expires_at"] == "2026-01-01T09:00:00Z"
    refreshed = await world.refresh(old["refresh_token"])
    assert await world.works(refreshed["access_token"])
    assert not await world.works(body["token"])


async def test_a_reset_token_without_expiry_stays_without(world: World):
    app = world.github.register_app("Plain", [CALLBACK], expiring_tokens=False)
    body = (await call(world, "PATCH", "token", world.github.issue_token(app=app).access_token, app)).json()
    assert body["expires_at"] is None
    world.clock.advance(days=400)
    assert await world.works(body["token"])


async def test_an_unknown_api_version_stops_a_revocation_before_it_happens(world: World):
    token = world.github.issue_token()
    headers = {"X-GitHub-Api-Version": "1999-01-01"}
    assert (await call(world, "DELETE", "token", token.access_token, headers=headers)).status_code == 400
    assert await world.works(token.access_token)
