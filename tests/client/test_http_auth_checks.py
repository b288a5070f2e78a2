"""What the client makes of an authorization server's answers: each check alone, without the flow around it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from mcp.client.auth import OAuthFlowError
from mcp.shared.auth import OAuthMetadata
from stepping import ISSUER, Steps

from mcp_oauth_nb.client.flow_checks import answer_of, flow_error, read_token
from mcp_oauth_nb.client.flow_requests import Wire
from mcp_oauth_nb.oauth.allowed_urls import Places
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    IssuerMismatch,
    McpOAuthError,
    ProtocolError,
    SecurityError,
    ServerUnavailable,
    StateMismatch,
)
from mcp_oauth_nb.oauth.patience import Patience

pytestmark = pytest.mark.anyio

NOW = 1_767_225_600.0
SECRET = "-".join(["the", "secret", "of", "a", "client"])


def response(status: int, body: Any, url: str = "https://id.example/register") -> httpx2.Response:
    return httpx2.Response(
        status,
        headers={"Content-Type": "application/json"},
        content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        request=httpx2.Request("POST", url),
    )


async def test_an_answer_names_its_place_without_what_may_be_secret() -> None:
    answer = await answer_of(response(200, b"{}", "https://user:word@id.example:8443/token?code=a-code#part"))
    assert (answer.url, answer.status, answer.json_object()) == ("https://id.example:8443/token", 200, {})


# -- metadata ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "registration_endpoint"])
async def test_a_server_without_tls_may_be_asked_but_nobody_is_sent_there(name: str) -> None:
    # A question, such as for metadata, is another matter than the person or a code.
    origin = "http://mcp.lan"
    places = Places(f"{origin}/mcp", Steps().resolve)
    places.check(f"{origin}/.well-known/oauth-protected-resource", credentials=False)
    metadata = Steps().metadata() | {name: f"{origin}/x"}
    context: Any = SimpleNamespace(
        oauth_metadata=OAuthMetadata.model_validate(metadata), auth_server_url=ISSUER, clock=ManualClock(NOW)
    )
    with pytest.raises(SecurityError, match="without TLS"):
        Wire(context, places, Patience()).check_metadata()


# -- the token -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "requested", "granted"),
    [
        ({}, "read:user repo", ("read:user", "repo")),
        ({}, None, ()),
        ({"scope": "repo"}, "read:user", ("repo",)),
    ],
)
async def test_a_token_has_the_scopes_that_were_granted_and_the_resource_it_is_for(
    said: dict[str, str], requested: str | None, granted: tuple[str, ...]
) -> None:
    body = {"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 60, **said}
    token = await read_token(
        response(200, body), "refresh_token", now=NOW, requested=requested, resource="https://mcp.example/mcp"
    )
    assert (token.scopes, token.resource, token.expires_at) == (granted, "https://mcp.example/mcp", NOW + 60)


# -- the SDK's errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("State parameter mismatch: a-state-of-nobody != another", StateMismatch),
        ("Authorization response issuer mismatch: https://evil.example", IssuerMismatch),
        ("Authorization server metadata issuer mismatch: https://evil.example", IssuerMismatch),
        ("Protected resource metadata request failed: 503", ServerUnavailable),
        ("Protected resource https://evil.example does not match", SecurityError),
        ("No authorization code received\x1b", ProtocolError),
    ],
)
def test_an_error_of_the_sdk_is_typed_by_what_it_says(text: str, kind: type[McpOAuthError]) -> None:
    error = flow_error(OAuthFlowError(text))
    assert type(error) is kind
    assert "a-state-of-nobody" not in str(error)
    assert "\x1b" not in str(error)
