"""What people reported to other projects about MCP authorization, tried here: servers and clients that surprise.

Each test says what was seen elsewhere, as a short server against our client or a short client against our server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from authserver_world import World as Server
from authserver_world import answer
from http_world import ASM, MCP, PRM, P, Person, Seen, World, client_of, served
from starlette.responses import JSONResponse, Response
from test_authserver_documents import URL, Web

from mcp_oauth_nb import Session
from mcp_oauth_nb.oauth.errors import OAuthErrorResponse, ProtocolError, ReauthorizeError, SessionFailed, TransientError

pytestmark = pytest.mark.anyio

ROOT_PRM = "/.well-known/oauth-protected-resource"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as world:
        yield world


async def whoami(world: World, person: Person | None = None, **options: Any) -> str:
    async with Session.open(MCP, auth=world.auth(person, **options)) as session:
        return str((await session.call_tool("whoami")).content[0].text)  # type: ignore[union-attr]


def challenged_by(*challenges: str) -> Callable[[Seen], Response | None]:
    """Refuse whoever has no token, with these challenges."""

    def refuse(seen: Seen) -> Response | None:
        if "authorization" in seen.headers:
            return None
        response = Response(status_code=401)
        for challenge in challenges:
            response.headers.append("WWW-Authenticate", challenge)
        return response

    return refuse


# -- discovery -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 405, 410, 502])
async def test_a_gateway_that_refuses_paths_it_does_not_know_hides_no_document_at_the_root(
    world: World, status: int
) -> None:
    document = {"resource": MCP, "authorization_servers": [P], "scopes_supported": ["read:user"]}
    world.instead["/mcp"] = challenged_by("Bearer")
    world.instead[PRM] = lambda seen: Response(status_code=status)
    world.instead[ROOT_PRM] = lambda seen: JSONResponse(document)
    assert await whoami(world) == "octocat"


@pytest.mark.parametrize(
    "challenges", [("Negotiate",), ("Negotiate", 'Basic realm="intranet"'), ('Digest realm="x", nonce="y"',), ()]
)
async def test_a_challenge_for_another_scheme_or_none_leads_to_the_well_known_place(
    world: World, challenges: tuple[str, ...]
) -> None:
    world.instead["/mcp"] = challenged_by(*challenges)
    assert await whoami(world) == "octocat"


CHALLENGES = {
    "spaces around the sign": f'Bearer realm="x", resource_metadata = "{P}{PRM}"',
    "single quotes": f"Bearer resource_metadata='{P}{PRM}'",
    "no quotes": f"Bearer resource_metadata={P}{PRM}",
    "no host": f'Bearer resource_metadata="{PRM}"',
    "no such document": f'Bearer resource_metadata="{P}{PRM}/mcp"',
    "a comma at the end": f'Bearer error="invalid_token",\tresource_metadata="{P}{PRM}",',
}


@pytest.mark.parametrize("challenge", CHALLENGES.values(), ids=CHALLENGES)
async def test_a_challenge_that_is_written_or_aimed_badly_is_no_reason_to_turn_back(
    world: World, challenge: str
) -> None:
    world.instead["/mcp"] = challenged_by(challenge)
    assert await whoami(world) == "octocat"


async def test_a_challenge_that_leads_to_a_login_page_leads_on_to_the_well_known_place(world: World) -> None:
    world.instead["/mcp"] = challenged_by(f'Bearer resource_metadata="{P}/metadata"')
    world.instead["/metadata"] = lambda seen: Response("<html>Sign in</html>", media_type="text/html")
    assert await whoami(world) == "octocat"


async def test_a_realm_that_has_its_openid_document_behind_its_path_only_is_found(world: World) -> None:
    world.iss = realm = f"{P}/realms/tenant"
    world.patch[PRM] = {"authorization_servers": [realm]}
    world.instead[ASM] = lambda seen: Response(status_code=404)
    document = {
        "issuer": realm,
        "authorization_endpoint": f"{P}/authorize",
        "token_endpoint": f"{P}/token",
        "registration_endpoint": f"{P}/register",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
    }
    world.instead["/realms/tenant/.well-known/openid-configuration"] = lambda seen: JSONResponse(document)
    assert await whoami(world) == "octocat"


@pytest.mark.parametrize("servers", [None, []])
async def test_resource_metadata_of_a_server_that_names_no_authorization_server_means_its_own(
    world: World, servers: list[str] | None
) -> None:
    world.patch[PRM] = {"authorization_servers": servers}
    assert await whoami(world) == "octocat"


@pytest.mark.parametrize("status", [307, 308])
async def test_an_endpoint_that_moves_to_its_name_with_a_slash_gets_the_token_there_too(
    world: World, status: int
) -> None:
    inner = world.inner

    async def moved(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "path": "/mcp"} if scope["path"] == "/mcp/" else scope, receive, send)

    world.inner = moved  # type: ignore[assignment]
    world.instead["/mcp"] = lambda seen: Response(status_code=status, headers={"Location": f"{MCP}/"})
    person = Person(world)
    assert await whoami(world, person) == "octocat"
    assert len(person.urls) == 1


async def test_an_endpoint_that_moves_to_another_host_is_named_and_not_followed(world: World) -> None:
    elsewhere = "http://127.0.0.1:9/mcp"
    world.instead["/mcp"] = lambda seen: Response(status_code=307, headers={"Location": elsewhere})
    with pytest.raises(SessionFailed, match=elsewhere):
        await whoami(world)


# -- tokens ----------------------------------------------------------------------------------------------------------

REFUSALS = {
    "a malformed request": JSONResponse({"error": "invalid_request", "error_description": "not valid"}, 400),
    "a success that is none": JSONResponse({"ok": False, "error": "invalid_refresh_token"}),
    "a client that may not": JSONResponse({"error": "unauthorized_client"}, 400),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_dead_refresh_token_is_one_authorization_whatever_the_server_calls_it(
    world: World, refusal: str
) -> None:
    def dead(seen: Seen) -> Response | None:
        return REFUSALS[refusal] if "old" in asked and seen.form.get("grant_type") == "refresh_token" else None

    asked: list[str] = []
    person = Person(world)
    auth = world.auth(person)
    world.instead["/token"] = dead
    async with Session.open(MCP, auth=auth) as session:
        await session.call_tool("whoami")
        asked.append("old")
        world.clock.advance(hours=2)
        assert not (await session.call_tool("whoami")).is_error
        asked.clear()
        world.clock.advance(hours=2)
        assert not (await session.call_tool("whoami")).is_error
    async with Session.open(MCP, auth=auth) as session:
        assert not (await session.call_tool("whoami")).is_error
    assert len(person.urls) == 2


async def test_a_token_with_colons_as_servers_on_cloudflare_issue_it_lets_the_client_in(world: World) -> None:
    """cloudflare/workers-oauth-provider#107: a token there is the user's name, the grant and a secret, with colons."""
    issue = world.authority._issue

    def with_colons(*of: Any) -> Any:
        token = issue(*of)
        plain, token.access_token = token.access_token, f"ada@example.com:grant-1:{token.access_token}"
        world.authority.access[token.access_token] = world.authority.access.pop(plain)
        world.ends[token.access_token] = world.ends.pop(plain)
        return token

    world.authority._issue = with_colons  # type: ignore[method-assign]
    auth = world.auth()
    assert await whoami(world, store=auth.store) == "octocat"
    assert await whoami(world, store=auth.store) == "octocat"
    world.clock.advance(hours=2)
    assert await whoami(world, store=auth.store) == "octocat"
    assert [world.count("/token", "authorization_code"), world.count("/token", "refresh_token")] == [1, 1]


async def test_a_token_of_a_type_that_nobody_knows_is_named_with_its_value_and_the_way_out(world: World) -> None:
    """different-ai/openwork#3569: Slack's token endpoint answers with the token_type "user"."""
    world.patch["/token"] = {"token_type": "user"}
    with pytest.raises(ProtocolError, match="token_type is 'user', not Bearer") as caught:
        await whoami(world)
    assert "RFC 6749 section 7.1" in caught.value.reference
    assert "Session.open(url, auth=...)" in caught.value.hint


def refused_with(error: str, description: str = "") -> Callable[[str], str]:
    """Turn a callback into this refusal."""

    def change(url: str) -> str:
        asked = answer(url)
        told = {"error": error, "error_description": description, "state": asked["state"], "iss": asked["iss"]}
        return f"{url.partition('?')[0]}?{urlencode(told)}"

    return change


CODES = {
    "invalid_target": ("AADSTS9010010: The resource does not match the scopes.", "has to know `resource`", "RFC 8707"),
    "invalid_request": ("AADSTS901002: resource is not supported.", "mcp-oauth-nb debug", "RFC 6749"),
    "invalid_scope": ("not allowed to request scope 'offline_access'", "scopes_supported", "RFC 6749"),
}


@pytest.mark.parametrize("code", CODES)
async def test_a_refusal_of_what_the_client_must_send_names_who_has_to_change_what(world: World, code: str) -> None:
    """punkpeye/mcp-remote#217 (Entra ID refuses `resource`), anthropics/claude-code#41610 (a scope that is refused)."""
    description, way_out, section = CODES[code]
    with pytest.raises(OAuthErrorResponse) as caught:
        await whoami(world, Person(world, change=refused_with(code, description)))
    assert description.removesuffix(".") in caught.value.message
    assert way_out in caught.value.hint
    assert section in caught.value.reference


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
async def test_a_registration_that_the_authorization_endpoint_says_to_be_gone_is_made_anew_by_the_next_call(
    world: World, code: str
) -> None:
    """nicobailon/pi-mcp-adapter#90: invalid_client for a registration that was kept, again and again."""
    world.patch["/token"] = {"refresh_token": None}
    auth = world.auth()
    assert await whoami(world, store=auth.store) == "octocat"
    world.clock.advance(hours=2)
    with pytest.raises(OAuthErrorResponse, match=code) as caught:
        await whoami(world, Person(world, change=refused_with(code)), store=auth.store)
    assert "Call again" in caught.value.hint
    assert await whoami(world, store=auth.store) == "octocat"
    assert world.count("/register") == 2


GONE: dict[str, Callable[[Seen], Response | None]] = {
    "a front that has lost its server": lambda seen: Response(status_code=525),
    "no server": lambda seen: Cut(),
}


class Cut(Response):
    """A connection that ends before the answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise httpx2.ConnectError("nobody is here")


def moved_to(world: World, path: str) -> None:
    """Have the token endpoint at another path, as its metadata says; the old one stays gone."""
    inner = world.inner

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "path": "/token"} if scope["path"] == path else scope, receive, send)

    world.inner = elsewhere  # type: ignore[assignment]
    world.patch[ASM] = {"token_endpoint": f"{P}{path}"}


@pytest.mark.parametrize("gone", GONE)
async def test_a_token_endpoint_whose_host_is_gone_is_looked_for_again_and_asks_nobody_while_it_has_not_moved(
    world: World, gone: str
) -> None:
    """decocms/studio#3929: the stored token endpoint was at a host that was given up, and was asked for ever."""
    person, auth = Person(world), world.auth()
    auth = world.auth(person, store=auth.store)
    async with Session.open(MCP, auth=auth) as session:
        await session.call_tool("whoami")
        world.clock.advance(hours=2)
        world.instead["/token"] = GONE[gone]
        for _ in range(2):
            with pytest.raises(TransientError, match=f"{P}/token"):
                await session.call_tool("whoami")
        with pytest.raises(TransientError, match=f"{P}/token"):
            await whoami(world, person, store=auth.store)
        world.instead["/mcp"] = world.instead[PRM] = GONE["no server"]
        with pytest.raises(TransientError, match=f"{P}/token"):
            await session.call_tool("whoami")
        assert len(person.urls) == 1
        world.instead = {}
        assert not (await session.call_tool("whoami")).is_error
        assert len(person.urls) == 1
        world.clock.advance(hours=2)
        world.instead["/token"] = GONE[gone]
        moved_to(world, "/oauth/token")
        assert not (await session.call_tool("whoami")).is_error
    assert len(person.urls) == 2
    assert await whoami(world, person, store=auth.store) == "octocat"
    assert len(person.urls) == 2


class Stranded(Person):
    """A person whom the authorization server may leave on an error page: no way leads back from there."""

    async def _go(self, url: str) -> None:
        try:
            await super()._go(url)
        except AssertionError:
            self.pages.append(None)  # type: ignore[arg-type]


async def test_a_registration_that_only_the_authorization_page_knows_to_be_gone_is_made_anew_by_the_next_call(
    world: World,
) -> None:
    world.patch["/token"] = {"refresh_token": None}
    auth = world.auth()
    async with Session.open(MCP, auth=auth) as session:
        await session.call_tool("whoami")
    world.authority.clients.clear()
    world.clock.advance(hours=2)
    stranded = Stranded(world)
    with pytest.raises(ReauthorizeError, match="No callback"):
        await whoami(world, stranded, store=auth.store, timeout=0.5)
    assert await whoami(world, store=auth.store) == "octocat"
    assert stranded.pages == [None]
    assert world.count("/register") == 2


async def test_a_server_that_registers_another_redirect_uri_is_named_when_nobody_comes_back(world: World) -> None:
    """anthropics/claude-code#10439: the registration was answered with another redirect URI than was sent."""
    world.patch["/register"] = {"redirect_uris": ["https://server.example/oauth2callback"]}
    with pytest.raises(ReauthorizeError, match="No callback") as caught:
        await whoami(world, Person(world, comes_back=False), timeout=0.1)
    (note,) = caught.value.__notes__
    assert "registered the redirect URI https://server.example/oauth2callback, not http://127.0.0.1:" in note
    assert "RFC 7591 section 3.2.1" in note
    assert await whoami(world) == "octocat"
    del world.patch["/register"]
    with pytest.raises(ReauthorizeError, match="No callback") as caught:
        await whoami(world, Person(world, comes_back=False), timeout=0.1)
    assert not hasattr(caught.value, "__notes__")


async def test_scopes_that_a_server_asks_for_one_at_a_time_add_up_and_nobody_goes_in_circles(world: World) -> None:
    def one_at_a_time(seen: Seen) -> Response | None:
        token = world.authority.access.get(seen.headers.get("authorization", "").removeprefix("Bearer "))
        needed = "repo" if b'"private"' in seen.body else "read:user"
        if token is None or b"tools/call" not in seen.body or needed in token.scopes:
            return None
        challenge = f'Bearer error="insufficient_scope", scope="{needed}"'
        return Response(status_code=403, headers={"WWW-Authenticate": challenge})

    world.instead["/mcp"] = one_at_a_time
    person = Person(world)
    async with Session.open(MCP, auth=world.auth(person)) as session:
        for tool in ("whoami", "private", "whoami", "private"):
            assert not (await session.call_tool(tool)).is_error
    assert [answer(url)["scope"] for url in person.urls] == ["read:user", "read:user repo"]


async def test_a_403_that_is_not_about_scopes_is_not_asked_again(world: World) -> None:
    def forbidden(seen: Seen) -> Response | None:
        return Response(status_code=403) if b"tools/call" in seen.body else None

    person = Person(world)
    async with Session.open(MCP, auth=world.auth(person)) as session:
        world.instead["/mcp"] = forbidden
        before = len(world.seen)
        with pytest.raises(Exception):  # noqa: B017, PT011, since only what was sent counts here
            await session.call_tool("whoami")
    assert [one.path for one in world.seen[before:] if one.method == "POST"] == ["/mcp"]
    assert len(person.urls) == 1


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loses", ["the server was restarted", "a front knows no such session"])
async def test_a_session_that_the_server_has_lost_says_so_at_every_call_and_that_it_has_to_be_opened_again(
    loses: str,
) -> None:
    """modelcontextprotocol/rust-sdk#733, MikkoParkkola/mcp-gateway#247: 404 for ever, and no word of the way out."""
    async with served(streams=True) as world:
        url, auth = f"{world.origin}/mcp", client_of(world)
        async with Session.open(url, auth=auth, mode="legacy") as session:
            await session.call_tool("whoami")
            if loses == "the server was restarted":
                world.server.session_manager._server_instances.clear()
            else:
                world.instead["/mcp"] = lambda seen: (
                    Response(status_code=404) if "mcp-session-id" in seen.headers else None
                )
            for _ in range(2):
                with pytest.raises(SessionFailed, match="answered 404 to a request of this session") as caught:
                    await session.call_tool("whoami")
                assert "Session.open(url)" in caught.value.hint
        world.instead.clear()
        async with Session.open(url, auth=auth, mode="legacy") as session:
            assert not (await session.call_tool("whoami")).is_error
        assert world.count("/authorize") == 1


# -- our server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_a_published_client_comes_back_to_any_port_of_the_machine_by_the_name_that_it_published(
    host: str,
) -> None:
    web = Web()
    web.document["redirect_uris"] = [f"http://{host}/callback"]
    server = Server(document_client=web.fetcher())
    request = server.request(client_id=URL, redirect_uri=f"http://{host}:53076/callback")
    response = await server.http.get("/authorize", params=request)
    assert response.status_code == 302
    assert "/consent?" in response.headers["location"]


@pytest.mark.parametrize("redirect_uri", ["http://127.0.0.1:{}/", "http://localhost:{}/callback"])
async def test_a_client_that_registered_one_port_listens_at_another_the_next_day(redirect_uri: str) -> None:
    server = Server()
    known = await server.http.post(
        "/register", json={"redirect_uris": [redirect_uri.format(4711)], "token_endpoint_auth_method": "none"}
    )
    request = server.request(client_id=known.json()["client_id"], redirect_uri=redirect_uri.format(5999))
    response = await server.http.get("/authorize", params=request)
    assert "/consent?" in response.headers["location"]


async def test_a_refresh_for_another_resource_costs_nobody_the_refresh_token() -> None:
    server = Server()
    held = (await server.tokens())["refresh_token"]
    refused = await server.http.post("/token", data=server.refreshing(held, resource="https://elsewhere.example/mcp"))
    assert refused.json()["error"] == "invalid_target"
    assert (await server.http.post("/token", data=server.refreshing(held))).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri", ["https://claude.ai/api/mcp/auth_callback", "cursor://anysphere.cursor-mcp/oauth/callback"]
)
async def test_the_consent_page_stops_no_redirect_that_comes_after_its_answer(redirect_uri: str) -> None:
    """PrefectHQ/fastmcp#3369: Chromium holds every hop after a form to `form-action`, an app's own scheme too."""
    server = Server()
    known = await server.http.post("/register", json={"redirect_uris": [redirect_uri]})
    request = server.request(client_id=known.json()["client_id"], redirect_uri=redirect_uri)
    policy = (await server.browser.consent_page(request)).headers["content-security-policy"]
    assert "form-action" not in policy
    assert "default-src 'none'" in policy
    assert "base-uri 'none'" in policy
    stale = await server.browser.get("/consent?flow=none")
    assert "form-action 'none';" in stale.headers["content-security-policy"]


async def test_a_consent_page_that_was_loaded_twice_takes_the_answer_of_either() -> None:
    server = Server()
    first = await server.browser.consent_page(server.request())
    await server.browser.get(str(first.url))
    response = await server.browser.press(first)
    assert response.status_code == 303
    assert response.headers["location"].startswith(server.github.web_url)


async def test_a_client_that_the_server_forgot_is_told_so_in_the_words_that_make_clients_register_again() -> None:
    server = Server()
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": "x",
        "client_id": "gone",
        "resource": server.server.resource,
    }
    response = await server.http.post("/token", data=fields)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
