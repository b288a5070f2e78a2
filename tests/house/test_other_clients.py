"""A client that nobody here wrote, authlib's, pointed at the mocked GitHub on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from mock_github_world import CALLBACK, VERIFIER

from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["client_secret_post", "client_secret_basic"])
async def authlib(request: pytest.FixtureRequest, on_port: MockGitHub) -> AsyncIterator[AsyncOAuth2Client]:
    async with AsyncOAuth2Client(
        on_port.client_id,
        on_port.client_secret,
        scope="read:user repo",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint=f"{on_port.web_url}/login/oauth/access_token",
        token_endpoint_auth_method=request.param,
    ) as client:
        yield client


async def exchange(client: Any, github: MockGitHub, *, code_verifier: str = VERIFIER) -> dict[str, Any]:
    """Go through the whole flow, with this verifier at its end."""
    url, state = client.create_authorization_url(f"{github.web_url}/login/oauth/authorize", code_verifier=VERIFIER)
    async with httpx.AsyncHTTPTransport() as transport:
        callback = await Autopilot(transport).authorize(url)
    return await client.fetch_token(authorization_response=callback, code_verifier=code_verifier, state=state)


async def status(client: Any, github: MockGitHub) -> int:
    return (await client.get(f"{github.api_url}/user")).status_code


async def test_authlib_gets_a_token_with_pkce_and_uses_it(authlib: Any, on_port: MockGitHub) -> None:
    token = await exchange(authlib, on_port)
    assert token["scope"] == "read:user,repo"
    user = await authlib.get(f"{on_port.api_url}/user")
    assert user.json()["login"] == "octocat"
    assert user.headers["x-oauth-scopes"] == "read:user, repo"
    repositories = await authlib.get(f"{on_port.api_url}/user/repos", params={"visibility": "private"})
    assert repositories.json()
    # It asked for no scope that shows addresses.
    assert (await authlib.get(f"{on_port.api_url}/user/emails")).status_code == 404


async def test_authlib_learns_that_a_verifier_is_not_the_one_of_the_challenge(
    authlib: Any, on_port: MockGitHub
) -> None:
    with pytest.raises(OAuthError, match="bad_verification_code"):
        await exchange(authlib, on_port, code_verifier=VERIFIER[::-1])


async def test_authlib_refreshes_and_the_old_token_ends(authlib: Any, on_port: MockGitHub) -> None:
    old = dict(await exchange(authlib, on_port))
    new = await authlib.refresh_token()
    assert new["access_token"] != old["access_token"]
    assert await status(authlib, on_port) == 200
    authlib.token = old
    assert await status(authlib, on_port) == 401


async def test_authlib_revokes_a_token(authlib: Any, on_port: MockGitHub) -> None:
    token = await exchange(authlib, on_port)
    answer = await authlib.request(
        "DELETE",
        f"{on_port.api_url}/applications/{on_port.client_id}/token",
        json={"access_token": token["access_token"]},
        auth=(on_port.client_id, on_port.client_secret),
        withhold_token=True,
    )
    assert answer.status_code == 204
    assert await status(authlib, on_port) == 401
