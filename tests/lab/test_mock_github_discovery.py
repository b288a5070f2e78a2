"""The metadata documents, read with the models of the MCP SDK."""

from __future__ import annotations

import pytest
from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls
from mcp.shared.auth import OAuthMetadata
from mock_github_world import AUTHORIZE, TOKEN, World

pytestmark = pytest.mark.anyio

RFC_8414 = "https://github.com/.well-known/oauth-authorization-server/login/oauth"
OPENID = "https://github.com/login/oauth/.well-known/openid-configuration"


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("url", [RFC_8414, OPENID])
async def test_both_documents_are_metadata_to_the_sdk(world: World, url: str):
    response = await world.send("GET", url)
    assert response.headers["content-type"] == "application/json"
    metadata = OAuthMetadata.model_validate_json(response.content)
    assert str(metadata.issuer) == world.github.issuer == "https://github.com/login/oauth"
    assert str(metadata.authorization_endpoint) == AUTHORIZE
    assert str(metadata.token_endpoint) == TOKEN
    assert metadata.code_challenge_methods_supported == ["S256"]
    assert metadata.response_types_supported == ["code"]


@pytest.mark.parametrize("url", [RFC_8414, OPENID])
async def test_there_is_no_dynamic_registration_and_no_client_metadata_document(world: World, url: str):
    document = (await world.send("GET", url)).json()
    assert "registration_endpoint" not in document
    assert "client_id_metadata_document_supported" not in document


@pytest.mark.parametrize(
    "path",
    [
        "/login/oauth/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/login/oauth",
    ],
)
async def test_every_other_well_known_address_is_404(world: World, path: str):
    assert (await world.send("GET", "https://github.com" + path)).status_code == 404


@pytest.mark.parametrize("advertised", [True, False])
async def test_whether_iss_is_advertised_is_a_knob(world: World, advertised: bool):
    world.github.knobs.iss_advertised = advertised
    document = (await world.send("GET", RFC_8414)).json()
    assert document.get("authorization_response_iss_parameter_supported", False) is advertised


async def test_the_sdk_finds_the_document_at_the_first_address_that_it_tries(world: World):
    urls = build_oauth_authorization_server_metadata_discovery_urls(
        "https://github.com/login/oauth", "https://api.githubcopilot.com/mcp"
    )
    assert urls[0] == RFC_8414
    assert OPENID in urls


async def test_the_key_set_that_the_openid_document_names_exists(world: World):
    document = (await world.send("GET", OPENID)).json()
    assert (await world.send("GET", document["jwks_uri"])).json() == {"keys": []}
