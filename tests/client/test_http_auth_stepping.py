"""The provider's flow stepped by hand, as a debugger does, and with chosen randomness, as a lab does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
from mcp.shared.auth import AuthorizationCodeResult
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb import McpAuth
from mcp_oauth_nb.client.front_channel import FrontChannel
from mcp_oauth_nb.client.redirect import CheckIssuer, Redirect
from mcp_oauth_nb.oauth import pkce
from mcp_oauth_nb.oauth.errors import ConfigurationError, StateMismatch
from mcp_oauth_nb.oauth.masking import scrub

pytestmark = pytest.mark.anyio

FLOW = [
    f"POST {SERVER}",
    "GET https://mcp.example/.well-known/oauth-protected-resource/mcp",
    f"GET {ISSUER}/.well-known/oauth-authorization-server",
    f"POST {ISSUER}/register",
    f"POST {ISSUER}/token",
    f"POST {SERVER}",
]


async def test_a_flow_is_stepped_one_request_at_a_time_from_any_task() -> None:
    steps = Steps()
    assert (await steps.walk()).status_code == 200
    assert steps.urls == FLOW


async def test_a_flow_that_is_left_in_the_middle_blocks_nobody() -> None:
    steps = Steps()
    provider = steps.auth().provider(SERVER)
    flow = provider.async_auth_flow(httpx2.Request("POST", SERVER))
    request = await anext(flow)
    await flow.asend(steps.answer(request))
    await flow.aclose()
    with anyio.fail_after(5):
        assert (await steps.walk(provider)).status_code == 200


def seeded(seed: str) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


async def asked(**options: Any) -> tuple[dict[str, str], bytes]:
    """What the person was sent away with, and the body of the token request."""
    steps = Steps()
    await steps.walk(steps.auth(**options).provider(SERVER))
    (url,) = steps.sent_to
    return dict(httpx2.URL(url).params), steps.requests[4].content


async def test_the_same_seed_makes_the_same_requests() -> None:
    assert await asked(token_bytes=seeded("one")) == await asked(token_bytes=seeded("one"))
    assert await asked(token_bytes=seeded("one")) != await asked(token_bytes=seeded("two"))


async def test_without_a_seed_no_two_authorizations_are_alike() -> None:
    (one, _), (two, _) = await asked(), await asked()
    assert one["state"] != two["state"]
    assert one["code_challenge"] != two["code_challenge"]


async def test_the_verifier_fits_the_challenge_and_is_masked() -> None:
    sent, body = await asked()
    verifier = httpx2.QueryParams(body.decode())["code_verifier"]
    assert pkce.verify(verifier, sent["code_challenge"])
    assert verifier not in scrub(f"a log line with {verifier}")
    assert sent["state"] not in scrub(f"a log line with {sent['state']}")


class Forgetful(Redirect):
    """Answers with a state of its own."""

    async def send(self, url: str, check_issuer: CheckIssuer) -> None:
        pass

    async def answer(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code="stolen", state="another")


async def test_a_state_that_was_not_sent_is_compared_by_the_sdk_too() -> None:
    steps = Steps()
    provider = steps.auth().provider(SERVER)
    provider._front = FrontChannel(
        Forgetful(
            "http://127.0.0.1/callback", paste=None, show=str, open_browser=None, timeout=1, listen=True, hub=None
        )
    )
    with pytest.raises(StateMismatch):
        await steps.walk(provider)
    assert steps.urls == FLOW[:4]


async def test_who_listens_nowhere_and_pastes_nothing_is_told_so() -> None:
    with pytest.raises(ConfigurationError, match="paste"):
        McpAuth(listen=False)


async def test_an_endpoint_with_a_query_of_its_own_does_not_confuse_challenge_and_verifier() -> None:
    # RFC 6749 section 3.1: its query is kept, whatever is in it.
    steps = Steps(changed={"authorization_endpoint": f"{ISSUER}/authorize?code_challenge=of-the-endpoint"})
    await steps.walk()
    challenges = httpx2.URL(steps.sent_to[0]).params.get_list("code_challenge")
    (token,) = [request for request in steps.requests if str(request.url) == f"{ISSUER}/token"]
    verifier = httpx2.QueryParams(token.content.decode())["code_verifier"]
    assert challenges == ["of-the-endpoint", pkce.challenge_for(verifier)]
