"""Around the endpoint: metadata from the fixed public URL, hosts and origins, headers, health."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from resource_world import MCP, URL, World, call
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from mcp_oauth_nb.errors import ConfigurationError
from mcp_oauth_nb.resource import PublicAddress
from mcp_oauth_nb.resource.front import transport_security

pytestmark = pytest.mark.anyio

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
DOCUMENTS = [
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource/mcp/",
    "/.well-known/oauth-protected-resource",
]


async def page(_: Request) -> HTMLResponse:
    return HTMLResponse("<p>hello</p>")


async def own_policy(_: Request) -> HTMLResponse:
    return HTMLResponse("<p>hello</p>", headers={"Content-Security-Policy": "default-src 'self'"})


async def text(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


ROUTES = [
    Route("/page", page),
    Route("/consent", own_policy),
    Route("/token", text, methods=["POST"]),
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(authorization_server_routes=ROUTES, stateless=True).running() as running:
        yield running


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_the_metadata_is_built_from_the_public_url(world: World, path: str) -> None:
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"}
    answer = await world.send("GET", path, headers=forged)
    assert answer.status_code == 200
    assert answer.json() == {
        "resource": MCP,
        "authorization_servers": [URL],
        "scopes_supported": ["read:user", "repo"],
        "bearer_methods_supported": ["header"],
        "resource_name": "mcp-oauth-server",
    }


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_web_pages_may_read_the_metadata(world: World, path: str) -> None:
    answer = await world.send("GET", path, headers={"Origin": "https://page.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_other_authorization_servers_can_be_named() -> None:
    async with World(issuers=("https://as.example",), scopes_supported=("a",)).running() as world:
        document = (await world.send("GET", DOCUMENTS[0])).json()
        assert (document["authorization_servers"], document["scopes_supported"]) == (["https://as.example"], ["a"])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "http://127.0.0.1:8000/",
        "http://127.0.0.1:8000/base",
        "http://127.0.0.1:8000?x",
        "http://127.0.0.1:8000#x",
        "http://user@127.0.0.1:8000",
        "http://mcp.example.com",
        "ftp://mcp.example.com",
        "https://",
        "https://MCP.example.com",
        "https://mcp.example.com:0",
        "https://mcp.example.com:port",
        "https://[::1",
        "https://mcp.exämple.com",
        "https://mcp.example.com\n",
    ],
)
def test_a_public_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="public URL"):
        PublicAddress(url)


@pytest.mark.parametrize(
    "url", ["https://mcp.example.com", "http://localhost:1", "http://[::1]:8000", "https://a:8443"]
)
def test_a_public_url_is_an_origin(url: str) -> None:
    address = PublicAddress(url)
    assert (address.resource, address.metadata_url) == (f"{url}/mcp", f"{url}{DOCUMENTS[0]}")


async def test_health_needs_no_token_and_no_particular_host(world: World) -> None:
    answer = await world.send("GET", "/health", headers={"Host": "10.0.0.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert (await world.send("POST", "/health")).status_code == 405


# -- hosts and origins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", *DOCUMENTS, "/page", "/token"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:8001", "127.0.0.1", "127.0.0.1:8000.evil.example", ""])
async def test_another_host_is_refused_everywhere(world: World, path: str, host: str) -> None:
    answer = await world.send("POST", path, headers={"Host": host})
    assert answer.status_code == 421


async def test_two_hosts_are_refused(world: World) -> None:
    answer = await world.send("GET", "/page", headers=[("Host", "127.0.0.1:8000"), ("Host", "evil.example")])
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
async def test_on_loopback_each_of_its_names_is_accepted(world: World, host: str) -> None:
    assert (await world.post(LIST, headers=[("Host", host)])).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example:1", "https://localhost:1"]
)
async def test_a_foreign_page_cannot_call_the_endpoint(world: World, origin: str) -> None:
    assert (await world.post(LIST, headers=[("Origin", origin)])).status_code == 403


@pytest.mark.parametrize("origin", [URL, "http://localhost:6274"])
async def test_a_page_of_this_machine_may_call_the_endpoint_and_read_the_challenge(world: World, origin: str) -> None:
    answer = await world.post(call(), headers=[("Origin", origin)])
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "a"}
    assert (await world.send("OPTIONS", "/mcp", headers=preflight)).status_code == 200


async def test_the_authorization_servers_routes_judge_origins_themselves(world: World) -> None:
    assert (await world.send("POST", "/token", headers={"Origin": "https://evil.example"})).status_code == 200


def test_beyond_loopback_only_what_is_named_is_accepted() -> None:
    security = transport_security(PublicAddress("https://mcp.example.com"), ["proxy:*"], ["https://app.example"])
    assert security.allowed_hosts == ["mcp.example.com", "proxy:*"]
    assert security.allowed_origins == ["https://mcp.example.com", "https://app.example"]


def test_without_a_port_loopback_has_its_names_without_a_port() -> None:
    assert transport_security(PublicAddress("http://localhost")).allowed_hosts[1:] == [
        "127.0.0.1",
        "localhost",
        "[::1]",
    ]


# -- headers ------------------------------------------------------------------------------------------------


async def test_an_html_page_is_protected_and_may_bring_its_own_policy(world: World) -> None:
    plain, own = [await world.send("GET", path) for path in ("/page", "/consent")]
    assert "frame-ancestors 'none'" in plain.headers["content-security-policy"]
    assert plain.headers["x-frame-options"] == "DENY"
    assert plain.headers["referrer-policy"] == "no-referrer"
    assert plain.headers["cache-control"] == "no-store"
    assert own.headers["content-security-policy"] == "default-src 'self'"
    assert own.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/page", "/health", *DOCUMENTS, "/none"])
async def test_no_answer_is_guessed_to_be_of_another_type(world: World, path: str) -> None:
    assert (await world.send("GET", path)).headers["x-content-type-options"] == "nosniff"


async def test_the_endpoint_answers_with_a_slash_behind_its_path_too(world: World) -> None:
    assert (await world.post(LIST, path="/mcp/")).json() == (await world.post(LIST)).json()
    refused = await world.post(call(), path="/mcp/")
    assert refused.status_code == 401
    assert f'resource_metadata="{URL}{DOCUMENTS[0]}"' in refused.headers["www-authenticate"]
    token = world.verifier.issue("octocat", "read:user", resource=MCP + "/")
    assert (await world.post(call(), path="/mcp/", token=token)).status_code == 200
    foreign = [("Origin", "https://evil.example")]
    assert (await world.post(LIST, path="/mcp/", headers=foreign)).status_code == 403
    assert (await world.post(LIST, path="/mcp//")).status_code == 404
