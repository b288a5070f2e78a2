"""Around the endpoint: metadata from the fixed public URL, hosts and origins, headers, health."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest
from jumping import in_no_time
from resource_world import LEGACY, MCP, URL, World, call
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.server.rate_limits import BoundedCounts
from mcp_oauth_nb.server.resource import PublicAddress, build_http_app
from mcp_oauth_nb.server.resource.app import _lifespan
from mcp_oauth_nb.server.resource.front_door import transport_security
from mcp_oauth_nb.server.resource.limits import Limits
from mcp_oauth_nb.server.resource.sessions import Sessions

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


async def test_what_a_call_needs_and_where_to_authorize_is_what_the_operator_says() -> None:
    elsewhere = AuthChallenge(authorization_url="https://as.example/in", token_url="https://as.example/token")

    def required(tool: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("a-scope",)

    async with World(stateless=True, challenge=elsewhere, required_scopes=required).running() as world:
        refused = await world.post(call("analyze_code_with_llm"))
        assert refused.status_code == 401
        assert 'scope="a-scope"' in refused.headers["www-authenticate"]
        assert refused.json()["error"]["data"]["authorization_url"] == "https://as.example/in"


async def test_workers_that_share_their_counts_share_each_limit() -> None:
    counts, hello = BoundedCounts(), {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    limits = Limits("1/minute", "1/minute", storage=counts)
    wrong = [("Authorization", "Bearer of-nobody")]
    async with World(limits=limits).running() as one, World(limits=limits).running() as other:
        assert (await one.post(call(), headers=wrong)).status_code == 401
        assert (await other.post(call(), headers=wrong)).status_code == 429
        # A limit that is reached is no other limit.
        assert (await other.post(opening, client="192.0.2.9", headers=[])).status_code != 429
        assert (await one.post(opening, client="192.0.2.9", headers=[])).status_code == 429
        assert (await one.post(call(), client="192.0.2.9", headers=wrong)).status_code == 401


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
        "https://mcp.example\x7f.com",
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


def test_what_is_advertised_within_mcp_are_the_endpoints_at_the_public_url() -> None:
    address = PublicAddress("https://mcp.example.com")
    assert address.authorization_metadata(("a", "b")) == {
        "issuer": "https://mcp.example.com",
        "authorization_endpoint": "https://mcp.example.com/authorize",
        "token_endpoint": "https://mcp.example.com/token",
        "scopes_supported": ["a", "b"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
    }
    assert address.challenge(("a",)) == AuthChallenge(
        authorization_url="https://mcp.example.com/authorize",
        token_url="https://mcp.example.com/token",
        scopes=("a",),
        resource="https://mcp.example.com/mcp",
        resource_metadata=f"https://mcp.example.com{DOCUMENTS[0]}",
    )


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_the_metadata_is_read_and_not_written(world: World, path: str) -> None:
    assert (await world.send("POST", path)).status_code == 405
    ask = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    assert (await world.send("OPTIONS", path, headers=ask)).status_code == 200
    assert (await world.send("OPTIONS", path)).status_code != 405


async def test_health_needs_no_token_and_no_particular_host(world: World) -> None:
    answer = await world.send("GET", "/health", headers={"Host": "10.0.0.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["cache-control"] == "no-store"
    assert (await world.send("POST", "/health")).status_code == 405


# -- sessions, and the form of answers -------------------------------------------------------------------------------


async def test_while_the_application_runs_sessions_that_nobody_uses_are_looked_for_again_and_again() -> None:
    looked = [anyio.Event() for _ in range(3)]

    class Looked(Sessions):
        async def end_idle(self) -> None:
            next((event for event in looked if not event.is_set()), looked[-1]).set()

    world = World()
    with anyio.fail_after(10):
        async with _lifespan(world.server, Looked(), 0.001)(world.app):
            await looked[-1].wait()
        # It has stopped, and so has that.
        assert [event.is_set() for event in looked] == [True] * 3


async def test_unless_somebody_asks_for_json_earlier_clients_are_answered_by_a_stream() -> None:
    world = World()
    default = build_http_app(public_url=URL, server=world.server, verifier=world.verifier)
    async with default.router.lifespan_context(default):
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        world.app = default
        answer = await world.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        assert "mcp-session-id" in answer.headers


@pytest.mark.parametrize(("idle", "there", "gone"), [(100.0, 90, 110), (None, 4 * 3600, None)])
def test_a_users_session_ends_when_it_was_idle_for_as_long_as_the_operator_says(
    idle: float | None, there: float, gone: float | None
) -> None:
    async def wait() -> None:
        async with World(sessions=Sessions(idle)).running() as world:
            token = world.verifier.issue("octocat", "read:user", expires_at=None)
            params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
            opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
            opened = await world.post(opening, token=token)
            session = [("Mcp-Session-Id", opened.headers["mcp-session-id"])]
            for seconds, status in ((there, 200), (gone, 404)):
                if seconds is not None:
                    await anyio.sleep(seconds)
                    assert (await world.post(LIST, token=token, headers=session)).status_code == status

    in_no_time(wait)


async def test_a_server_that_is_not_on_this_machine_answers_at_its_public_name_and_at_those_that_are_named() -> None:
    url = "https://mcp.example"
    async with World(public_url=url, allowed_hosts=["mcp.internal:8000"], stateless=True).running() as world:
        for host, status in (("mcp.example", 200), ("mcp.internal:8000", 200), ("127.0.0.1:8000", 421)):
            assert (await world.post(LIST, headers=[("Host", host)])).status_code == status


async def test_a_body_may_be_as_long_as_the_operator_says_and_no_longer() -> None:
    body, most = json.dumps(LIST).encode(), 6 * 1024 * 1024
    async with World(stateless=True, limits=Limits(body_bytes=most)).running() as world:
        assert (await world.post(body + b" " * (most - len(body)))).status_code == 200
        assert (await world.post(body + b" " * (most - len(body) + 1))).status_code == 413


# -- hosts and origins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", *DOCUMENTS, "/page", "/token"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:8001", "127.0.0.1", "127.0.0.1:8000.evil.example", ""])
async def test_another_host_is_refused_everywhere(world: World, path: str, host: str) -> None:
    answer = await world.send("POST", path, headers={"Host": host})
    assert answer.status_code == 421


async def test_no_host_is_refused_as_a_path_is_that_cannot_be_shown(world: World) -> None:
    for path, headers in (("/page", []), ("/page\n", [(b"host", b"127.0.0.1:8000")])):
        statuses: list[int] = []

        async def send(message: Any, statuses: list[int] = statuses) -> None:
            statuses.append(message.get("status", 0))

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "client": None}
        await world.app(scope, None, send)  # type: ignore[arg-type]
        assert statuses[0] == 400


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


@pytest.mark.parametrize("origin", [URL, "http://localhost:6274", "http://127.0.0.1:1", "http://[::1]:6274"])
async def test_a_page_of_this_machine_may_call_the_endpoint_and_read_the_challenge(world: World, origin: str) -> None:
    answer = await world.post(call(), headers=[("Origin", origin)])
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"WWW-Authenticate", "Mcp-Session-Id", "Mcp-Protocol-Version", "Retry-After"}
    for method in ("GET", "POST", "DELETE"):
        preflight = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "a"}
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
