"""From an MCP server's URL to its authorization server: the order of the probes, and what is believed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from scripted_server import Site
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth.discovery import discover, discover_authorization_server, discover_resource
from mcp_oauth_nb.oauth.discovery_report import Probe
from mcp_oauth_nb.oauth.errors import (
    IssuerMismatch,
    McpOAuthError,
    NotFound,
    ProtocolError,
    SecurityError,
    ServerUnavailable,
)
from mcp_oauth_nb.oauth.masking import mask

pytestmark = pytest.mark.anyio

SERVER = "https://mcp.example/mcp"
AT_PATH = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
AT_ROOT = "https://mcp.example/.well-known/oauth-protected-resource"
ELSEWHERE = "https://mcp.example/metadata.json"

ISSUER = "https://as.example/tenant"
INSERTED = "https://as.example/.well-known/oauth-authorization-server/tenant"
OIDC_INSERTED = "https://as.example/.well-known/openid-configuration/tenant"
OIDC_APPENDED = "https://as.example/tenant/.well-known/openid-configuration"


def resource(**changes: Any) -> dict[str, Any]:
    return {"resource": SERVER, "authorization_servers": [ISSUER], **changes}


def server(**changes: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example/authorize",
        "token_endpoint": "https://as.example/token",
        "registration_endpoint": "https://as.example/register",
        "code_challenge_methods_supported": ["S256"],
        **changes,
    }


def challenge(parameters: str = f'resource_metadata="{ELSEWHERE}"', status: int = 401) -> Response:
    return Response(status_code=status, headers={"WWW-Authenticate": f"Bearer {parameters}"})


async def test_a_token_in_an_address_that_a_server_wrote_is_masked_in_the_report() -> None:
    token = "gho_" + "Q7x" * 12
    elsewhere = f"https://mcp.example/{token}"
    site = Site({SERVER: challenge(f'resource_metadata="{elsewhere}"'), elsewhere: resource()})
    found = await discover_resource(SERVER, client=site.client)
    assert f"https://mcp.example/{mask(token)}" in repr(found)
    assert token not in repr(found)


# -- the protected resource ----------------------------------------------------------------------------------------


async def test_the_challenge_leads_to_the_resource_metadata() -> None:
    site = Site({SERVER: challenge(f'scope="read:user", resource_metadata="{ELSEWHERE}"'), ELSEWHERE: resource()})
    found = await discover_resource(SERVER, client=site.client)
    assert site.urls == [SERVER, ELSEWHERE]
    assert found.issuer == ISSUER
    assert found.challenge is not None
    assert found.challenge.scopes == ("read:user",)
    assert found.findings == ()
    assert [probe.outcome for probe in found.probes] == ["challenge, names its metadata", "protected resource metadata"]


async def test_without_a_challenge_the_well_known_urls_are_tried_path_first() -> None:
    site = Site({AT_ROOT: resource()})
    found = await discover_resource(SERVER, client=site.client)
    assert found.probes == (
        Probe(SERVER, 404, "no challenge"),
        Probe(AT_PATH, 404, "not here"),
        Probe(AT_ROOT, 200, "protected resource metadata"),
    )
    assert found.challenge is None


async def test_the_first_request_is_harmless_and_carries_no_credentials() -> None:
    site = Site({AT_PATH: resource()})
    await discover_resource(SERVER, client=site.client)
    assert site.seen[0].method == "POST"
    assert site.seen[0].json() == {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert all("authorization" not in request.headers for request in site.seen)


@pytest.mark.parametrize(
    "answer",
    [challenge("="), challenge(""), challenge('scope="x"'), Response(status_code=401), challenge(status=403)],
    ids=["malformed", "bare", "no metadata", "no header", "not a 401"],
)
async def test_a_challenge_without_the_metadata_url_falls_back_to_the_well_known_ones(answer: Response) -> None:
    site = Site({SERVER: answer, AT_PATH: resource()})
    await discover_resource(SERVER, client=site.client)
    assert site.urls == [SERVER, AT_PATH]


async def test_a_metadata_url_that_serves_nothing_falls_back_too() -> None:
    site = Site({SERVER: challenge(), AT_PATH: resource()})
    await discover_resource(SERVER, client=site.client)
    assert site.urls == [SERVER, ELSEWHERE, AT_PATH]


@pytest.mark.parametrize("named", ["https://evil.example/mcp", "https://mcp.example/mcp/v2", "http://mcp.example/mcp"])
async def test_metadata_of_another_resource_is_not_used(named: str) -> None:
    with pytest.raises(SecurityError, match=named) as caught:
        await discover_resource(SERVER, client=Site({AT_PATH: resource(resource=named)}).client)
    assert caught.value.reference == "RFC 9728 section 3.3"


@pytest.mark.parametrize(
    "named", ["https://MCP.example/mcp", "https://mcp.example:443/mcp", "https://mcp.example/mcp/"]
)
async def test_another_spelling_of_the_same_resource_is_the_same(named: str) -> None:
    found = await discover_resource(SERVER, client=Site({AT_PATH: resource(resource=named)}).client)
    assert found.findings == ()


@pytest.mark.parametrize("where", [AT_PATH, AT_ROOT])
async def test_a_document_may_speak_for_the_whole_origin_but_that_is_a_finding(where: str) -> None:
    # As the SDK's client takes it, wherever the document is.
    site = Site({where: resource(resource="https://mcp.example")})
    assert "more than this server" in (await discover_resource(SERVER, client=site.client)).findings[0]
    named = Site({SERVER: challenge(f'resource_metadata="{where}"'), where: resource(resource="https://mcp.example/")})
    assert "more than this server" in (await discover_resource(SERVER, client=named.client)).findings[0]


async def test_of_several_authorization_servers_the_first_is_used_and_the_choice_reported() -> None:
    site = Site({AT_PATH: resource(authorization_servers=[ISSUER, "https://other.example"])})
    found = await discover_resource(SERVER, client=site.client)
    assert found.issuer == ISSUER
    assert "2 authorization servers" in found.findings[0]


@pytest.mark.parametrize(
    "document",
    [resource(authorization_servers=[]), {"resource": SERVER}, resource(resource="mcp"), resource(resource=1)],
)
async def test_a_document_without_its_required_fields_is_a_protocol_error(document: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="the field `"):
        await discover_resource(SERVER, client=Site({AT_PATH: document}).client)


# -- the authorization server --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "probed"),
    [
        (INSERTED, [INSERTED]),
        (OIDC_INSERTED, [INSERTED, OIDC_INSERTED]),
        (OIDC_APPENDED, [INSERTED, OIDC_INSERTED, OIDC_APPENDED]),
    ],
)
async def test_the_well_known_urls_of_an_issuer_are_tried_in_the_order_of_the_specification(
    where: str, probed: list[str]
) -> None:
    site = Site({where: server()})
    found = await discover_authorization_server(ISSUER, client=site.client)
    assert site.urls == probed == [probe.url for probe in found.probes]
    assert str(found.metadata.token_endpoint) == "https://as.example/token"
    assert found.issuer == ISSUER


async def test_an_issuer_without_a_path_has_two_well_known_urls() -> None:
    site = Site({})
    with pytest.raises(NotFound) as caught:
        await discover_authorization_server("https://as.example", client=site.client)
    assert site.urls == [
        "https://as.example/.well-known/oauth-authorization-server",
        "https://as.example/.well-known/openid-configuration",
    ]
    assert caught.value.__notes__ == ["\n".join(["What was tried:", *(f"  404  {url}  not here" for url in site.urls)])]


@pytest.mark.parametrize(
    "issuer",
    ["https://as.example/tenant/", "https://AS.example/tenant", "https://evil.example/tenant", None, ["x"], "\u202ex"],
)
async def test_the_issuer_must_be_identical_and_is_not_normalized(issuer: Any) -> None:
    with pytest.raises(IssuerMismatch) as caught:
        await discover_authorization_server(ISSUER, client=Site({INSERTED: server(issuer=issuer)}).client)
    assert caught.value.reference == "RFC 8414 section 3.3"
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize("methods", [None, [], ["plain"]])
async def test_a_server_that_does_not_promise_s256_is_reported(methods: list[str] | None) -> None:
    document = server(code_challenge_methods_supported=methods)
    found = await discover_authorization_server(ISSUER, client=Site({INSERTED: document}).client)
    assert "S256" in found.findings[0]


async def test_a_server_without_registration_is_reported_unless_it_reads_client_documents() -> None:
    document = server(registration_endpoint=None)
    found = await discover_authorization_server(ISSUER, client=Site({INSERTED: document}).client)
    assert "register" in found.findings[0]
    document["client_id_metadata_document_supported"] = True
    assert (await discover_authorization_server(ISSUER, client=Site({INSERTED: document}).client)).findings == ()


async def test_a_wrong_content_type_is_tolerated_and_reported() -> None:
    text = Response(JSONResponse(server()).body, media_type="text/plain")
    found = await discover_authorization_server(ISSUER, client=Site({INSERTED: text}).client)
    assert "labelled text/plain" in found.findings[0]


@pytest.mark.parametrize(
    "endpoint", ["http://as.example/token", "https://169.254.169.254/token", "https://user@as.example/token"]
)
async def test_an_endpoint_that_is_not_safe_to_contact_is_refused(endpoint: str) -> None:
    with pytest.raises(SecurityError):
        await discover_authorization_server(ISSUER, client=Site({INSERTED: server(token_endpoint=endpoint)}).client)


@pytest.mark.parametrize("endpoint", ["javascript:alert(1)", "/token", None, 1])
async def test_an_endpoint_that_is_no_web_address_is_a_protocol_error(endpoint: Any) -> None:
    with pytest.raises(ProtocolError, match="token_endpoint"):
        await discover_authorization_server(ISSUER, client=Site({INSERTED: server(token_endpoint=endpoint)}).client)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xef\xbb\xbf{",
        b'{"issuer": "a", "issuer": "b"}',
        b'{"x": NaN}',
        b"[" * 100_000,
    ],
    ids=["truncated", "list", "bom", "repeated key", "nan", "deep"],
)
async def test_a_malformed_document_is_passed_over_for_a_good_one_and_not_quoted(body: bytes) -> None:
    malformed = Response(body, media_type="application/json")
    site = Site({INSERTED: malformed, OIDC_INSERTED: server()})
    found = await discover_authorization_server(ISSUER, client=site.client)
    assert INSERTED in found.findings[0]
    with pytest.raises(McpOAuthError, match=INSERTED):
        await discover_authorization_server(ISSUER, client=Site({INSERTED: malformed}).client)


# -- both ----------------------------------------------------------------------------------------------------------


async def test_discover_goes_from_the_server_to_its_authorization_server() -> None:
    site = Site({SERVER: challenge(), ELSEWHERE: resource(), INSERTED: server(code_challenge_methods_supported=[])})
    found = await discover(SERVER, client=site.client)
    assert site.urls == [SERVER, ELSEWHERE, INSERTED] == [probe.url for probe in found.probes]
    assert found.resource is not None
    assert found.resource.probes + found.server.probes == found.probes
    assert str(found.server.metadata.authorization_endpoint) == "https://as.example/authorize"
    assert found.findings == found.server.findings != ()


async def test_discover_takes_an_issuer_as_well() -> None:
    site = Site({INSERTED: server()})
    found = await discover(ISSUER, client=site.client)
    assert found.resource is None
    assert found.server.issuer == ISSUER
    assert len(found.probes) == 4


def own_server(issuer: str = "https://mcp.example") -> dict[str, Any]:
    """An MCP server of 2025-03-26, whose authorization server is at its own origin."""
    return server(
        issuer=issuer,
        authorization_endpoint="https://mcp.example/authorize",
        token_endpoint="https://mcp.example/token",
    )


AT_ORIGIN = "https://mcp.example/.well-known/oauth-authorization-server"


@pytest.mark.parametrize("issuer", ["https://mcp.example", "https://mcp.example/"])
@pytest.mark.parametrize("url", ["https://mcp.example", "https://mcp.example/", SERVER])
async def test_a_guarded_server_without_resource_metadata_has_its_authorization_server_at_its_origin(
    url: str, issuer: str
) -> None:
    guard = Response(status_code=401)
    site = Site({SERVER: guard, "https://mcp.example/": guard, AT_ORIGIN: own_server(issuer)})
    found = await discover(url, client=site.client)
    assert found.server.issuer == issuer
    assert found.resource is None


async def test_what_a_guarded_server_has_at_its_own_path_comes_before_its_origin() -> None:
    at_path = f"{AT_ORIGIN}/mcp"
    site = Site({SERVER: Response(status_code=401), at_path: own_server(SERVER), AT_ORIGIN: own_server()})
    assert (await discover(SERVER, client=site.client)).server.issuer == SERVER


async def test_nobody_is_guessed_for_a_url_that_asks_for_no_token() -> None:
    site = Site({AT_ORIGIN: own_server()})
    with pytest.raises(NotFound):
        await discover(SERVER, client=site.client)
    assert AT_ORIGIN not in site.urls


async def test_nobody_is_guessed_in_place_of_resource_metadata_that_cannot_be_used() -> None:
    site = Site({SERVER: Response(status_code=401), AT_PATH: resource(resource=1), AT_ORIGIN: own_server()})
    with pytest.raises(ProtocolError, match="`resource` is wrong"):
        await discover(SERVER, client=site.client)
    assert AT_ORIGIN not in site.urls


async def test_what_is_wrong_with_a_challenge_is_told_where_there_is_no_resource_metadata_too() -> None:
    site = Site({SERVER: challenge('scope="read" scope="admin"'), AT_ORIGIN: own_server()})
    found = await discover(SERVER, client=site.client)
    assert found.resource is None
    assert "The WWW-Authenticate header is malformed, and counts as absent" in found.findings[0]
    assert found.findings[0] in repr(found)


async def test_the_issuer_is_compared_as_the_resource_wrote_it() -> None:
    site = Site({AT_PATH: resource(authorization_servers=["https://AS.example/tenant"]), INSERTED: server()})
    with pytest.raises(IssuerMismatch):
        await discover(SERVER, client=site.client)


@pytest.mark.parametrize(
    ("issuer", "why"),
    [
        ("https://u\u2100@as.example/", "has characters that a URL cannot have"),
        ("https://u\uff0f@as.example/", "has characters that a URL cannot have"),
        ("https://user@as.example/tenant", "has a user name"),
    ],
)
async def test_an_issuer_with_a_user_name_is_refused_and_the_name_not_told(issuer: str, why: str) -> None:
    site = Site({AT_PATH: resource(authorization_servers=[issuer])})
    with pytest.raises(SecurityError, match=rf"^The address https://as\.example\S* {why}\."):
        await discover(SERVER, client=site.client)


@pytest.mark.parametrize(
    "url", ["https://[", "https://a[b]/", "https://[::1", "https://a\u2100.example/", "https://x:y"]
)
@pytest.mark.parametrize("ask", [discover, discover_resource, discover_authorization_server])
async def test_what_the_caller_gives_and_is_no_url_is_a_protocol_error(ask: Any, url: str) -> None:
    with pytest.raises(ProtocolError, match="is not a URL"):
        await ask(url, client=Site({}).client)


async def test_a_server_error_everywhere_ends_the_search_with_a_report_of_every_probe() -> None:
    site = Site({AT_PATH: resource(), INSERTED: Response(status_code=503, headers={"Retry-After": "9"})})
    with pytest.raises(ServerUnavailable) as caught:
        await discover(SERVER, client=site.client)
    assert caught.value.__notes__ == [
        f"What was tried:\n  404  {SERVER}  no challenge\n  200  {AT_PATH}  protected resource metadata\n"
        f"  503  {INSERTED}  asks for patience"
    ]


async def test_the_reports_of_all_three_show_their_probes_fields_and_findings() -> None:
    site = Site({AT_PATH: resource(), INSERTED: server(registration_endpoint=None)})
    found = await discover(SERVER, client=site.client)
    assert repr(found).splitlines() == [
        "Discovery of https://mcp.example/mcp",
        "  404  https://mcp.example/mcp                                           no challenge",
        "  200  https://mcp.example/.well-known/oauth-protected-resource/mcp      protected resource metadata",
        "  200  https://as.example/.well-known/oauth-authorization-server/tenant  authorization server metadata",
        "",
        "  resource                          https://mcp.example/mcp",
        "  issuer                            https://as.example/tenant",
        "  authorization_endpoint            https://as.example/authorize",
        "  token_endpoint                    https://as.example/token",
        "  code_challenge_methods_supported  S256",
        "",
        "  ! Clients cannot register themselves: create the client by hand (RFC 7591 is not offered).",
    ]
    assert repr(found.resource).splitlines()[0] == "Protected resource https://mcp.example/mcp"
    assert repr(found.server).splitlines()[0] == "Authorization server https://as.example/tenant"


async def test_a_report_shows_what_the_document_says_and_no_defaults_or_nulls() -> None:
    site = Site({AT_PATH: resource(scopes_supported=["read"], resource_name=None)})
    found = await discover_resource(SERVER, client=site.client)
    assert repr(found).split("\n\n")[1].splitlines() == [
        "  resource               https://mcp.example/mcp",
        "  authorization_servers  https://as.example/tenant",
        "  scopes_supported       read",
    ]


async def test_githubs_metadata_is_where_github_puts_it() -> None:
    mock = MockGitHub(seed=7)

    def to_mock() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=mock.transport())

    found = await discover_authorization_server("https://github.com/login/oauth", client=to_mock)
    assert [probe.url for probe in found.probes] == [
        "https://github.com/.well-known/oauth-authorization-server/login/oauth"
    ]
    assert str(found.metadata.token_endpoint) == "https://github.com/login/oauth/access_token"
    assert "create the client by hand" in found.findings[-1]
