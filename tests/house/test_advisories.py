"""Published advisories about other people's MCP clients and servers, one by one, against every part of this package
that the same mistake could be in: client, server, mock pages, callback listener, panel.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import anyio
import httpx
import httpx2
import pytest
import uvicorn
from authserver_world import World as ServerWorld
from http_world import ASM, MCP, PRM, P, Person, World
from mcp import Client, CreateMessageResult
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull
from mcp_types import CreateMessageRequestParams, TextContent
from mock_github_world import World as GitHubWorld
from resource_world import MCP as RESOURCE
from resource_world import World as ResourceWorld
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb import FileGrantStore, Lab, OAuthHandler, Session, Settings, login
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.callback import CallbackListener
from mcp_oauth_nb.client.login import check_for_browser
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.jupyter.widgets import AuthorizePanel
from mcp_oauth_nb.oauth.errors import ConfigurationError, McpOAuthError, RefreshRejected, SecurityError

pytestmark = pytest.mark.anyio

TOOL = "whoami"
XSS = "\"'><script>alert(1)</script>"

# What other clients ran: by its scheme, or by a shell.
PROGRAMS = [
    "javascript:alert(1)",
    "javascript://mcp.example/%0aalert(1)",
    "file:///C:/Windows/System32/calc.exe",
    "vscode://evil.extension/run",
    "data:text/html,<script>alert(1)</script>",
    "a:$(touch owned)?response_type=code",
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


async def call(auth: McpAuth, tool: str = TOOL) -> Any:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return await session.call_tool(tool)


# -- CVE-2025-6514: an MCP server's authorization endpoint was handed to a shell -----------------------------------


@pytest.mark.parametrize("url", PROGRAMS)
async def test_cve_2025_6514_a_client_opens_no_endpoint_that_is_not_a_web_address(world: World, url: str) -> None:
    world.patch[ASM] = {"authorization_endpoint": url}
    person = Person(world)
    with pytest.raises(McpOAuthError):
        await call(world.auth(person))
    assert person.urls == []


@pytest.mark.parametrize("url", PROGRAMS)
async def test_cve_2025_6514_a_sign_in_at_github_opens_no_such_address_either(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Settings(oauth_authorization_url=url)
    opened: list[str] = []
    async with Lab.open() as lab:
        # Past the check of the settings, as `model_copy` goes.
        settings = lab.settings.model_copy(update={"oauth_authorization_url": url})
        oauth = OAuthHandler(settings=settings, client=lab.http_client())
        with pytest.raises(SecurityError):
            await login(oauth, show=opened.append, open_browser=lambda at: bool(opened.append(at)), timeout=1)
    assert opened == [], "neither shown nor opened"


@pytest.mark.skipif(os.name != "posix", reason="Windows starts the browser without a command line")
def test_cve_2025_6514_the_browser_gets_an_address_as_one_argument_that_no_shell_reads(tmp_path: Path) -> None:
    owned, record, program = (tmp_path / name for name in ("owned", "argv.json", "browser.py"))
    program.write_text(f"import json, sys\nopen({str(record)!r}, 'w').write(json.dumps(sys.argv[1:]))\n")
    address = f"https://mcp.example/authorize?a=$(touch${{IFS}}{owned})&b=`touch${{IFS}}{owned}`;touch%20{owned}|x'\"&c=%PATH%"
    browser = webbrowser.get(shlex.join([sys.executable, str(program), "%s"]))
    with pytest.raises(SecurityError, match="characters"):
        check_for_browser(address)
    check_for_browser(address.replace('"', ""))
    # What is refused would do no harm either.
    assert browser.open(address)
    assert json.loads(record.read_text()) == [address]
    assert not owned.exists()


# A native app may have a scheme of its own, and vscode: is one.
@pytest.mark.parametrize("url", [url for url in PROGRAMS if not url.startswith("vscode:")])
async def test_cve_2025_6514_the_server_registers_and_redirects_to_no_such_address(url: str) -> None:
    world = ServerWorld()
    refused = await world.http.post("/register", json={"redirect_uris": [url]})
    page = await world.http.get("/authorize", params=world.request(redirect_uri=url))
    assert (refused.status_code, page.status_code) == (400, 400)
    assert "location" not in page.headers
    assert url not in page.text


@pytest.mark.parametrize("url", PROGRAMS)
async def test_cve_2025_6514_the_mock_redirects_to_no_such_address(url: str) -> None:
    page = await (world := GitHubWorld()).visit(world.authorize_url(redirect_uri=url))
    assert page.status_code == 400
    assert "location" not in page.headers


# -- CVE-2025-58747: the same address ran as a script in the page of a web client ----------------------------------


@pytest.mark.parametrize("url", PROGRAMS)
async def test_cve_2025_58747_the_panel_makes_no_link_of_a_script(url: str) -> None:
    async with Lab.open() as lab:
        settings = lab.settings.model_copy(update={"oauth_authorization_url": url})
        with pytest.raises(SecurityError):
            AuthorizePanel(OAuthHandler(settings=settings, client=lab.http_client()))


async def test_cve_2025_58747_the_callback_listener_shows_nothing_of_the_request_and_runs_no_script() -> None:
    query = urlencode(dict.fromkeys(("error", "error_description", "error_uri", "state", "code", "iss"), XSS))
    async with (
        Lab.open() as lab,
        CallbackListener("http://127.0.0.1/callback", lab.oauth.read_callback) as listener,
        httpx.AsyncClient() as browser,
    ):
        pages = [await browser.get(f"{listener.redirect_uri}?{part}") for part in (query, f"error={XSS}", XSS)]
    for page in pages:
        assert page.status_code == 400
        assert "alert" not in page.text
        assert "default-src 'none'; style-src 'sha256-" in page.headers["content-security-policy"]
        assert "location" not in page.headers


async def test_cve_2025_58747_no_page_of_the_server_has_a_script_from_a_request_or_a_registration() -> None:
    world = ServerWorld()
    registered = await world.http.post("/register", json={"redirect_uris": ["http://127.0.0.1/cb"], "client_name": XSS})
    request = world.request(client_id=registered.json()["client_id"], redirect_uri="http://127.0.0.1/cb", state=XSS)
    pages = [await world.browser.consent_page(request)]
    for changes in ({"client_id": XSS}, {"redirect_uri": XSS}, {"client_id": f"https://{XSS}/"}):
        pages.append(await world.http.get("/authorize", params=world.request(**changes)))
    pages.append(await world.http.get("/consent", params={"flow": XSS}))
    pages.append(await world.http.get("/oauth/callback", params={"error": XSS, "state": XSS}))
    for page in pages:
        assert "<script" not in page.text
        assert "default-src 'none'; style-src 'sha256-" in page.headers["content-security-policy"]


@pytest.mark.parametrize("field", ["client_uri", "logo_uri", "tos_uri", "policy_uri"])
async def test_cve_2025_58747_the_server_keeps_no_link_that_is_a_script(field: str) -> None:
    body = {"redirect_uris": ["http://127.0.0.1/cb"], field: "javascript:alert(1)"}
    assert (await ServerWorld().http.post("/register", json=body)).status_code == 400


@pytest.mark.parametrize("parameter", ["client_id", "redirect_uri", "state", "scope", "login"])
async def test_cve_2025_58747_no_page_of_the_mock_has_a_script_from_a_request(parameter: str) -> None:
    world = GitHubWorld()
    await world.browser.sign_in()
    page = await world.visit(world.authorize_url(**{parameter: XSS}))
    if page.has_redirect_location:
        page = await world.visit(f"https://github.com{page.headers['location']}")
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


# -- CVE-2026-104850, CVE-2026-115563: credentials were sent to the server that the resource named ------------------

EVIL = "https://evil.example"
EVIL_METADATA = {
    "issuer": EVIL,
    "authorization_endpoint": f"{EVIL}/evil/authorize",
    "token_endpoint": f"{EVIL}/evil/token",
    "registration_endpoint": f"{EVIL}/evil/register",
    "revocation_endpoint": f"{EVIL}/evil/revoke",
    "code_challenge_methods_supported": ["S256"],
}
MINE = OAuthClientInformationFull(
    client_id="mine", client_secret="a-secret-of-mine", issuer=P, scope="read:user repo",
    token_endpoint_auth_method="client_secret_post", redirect_uris=["http://127.0.0.1:8765/callback"],
)  # fmt: skip


async def nobody_comes(url: str) -> str:
    await anyio.sleep_forever()
    raise AssertionError(url)


def switch_issuer(world: World) -> None:
    """From now on the resource names another authorization server, where the person is not known either."""
    world.patch[PRM] = {"authorization_servers": [EVIL]}
    own, evil_metadata = world.instead.get(ASM), JSONResponse(EVIL_METADATA)
    world.instead[ASM] = lambda seen: evil_metadata if seen.url.startswith(EVIL) else (own(seen) if own else None)
    world.instead["/evil/register"] = lambda seen: JSONResponse(
        {"client_id": "evil-client", "redirect_uris": json.loads(seen.body)["redirect_uris"]}, status_code=201
    )
    for path in ("/evil/token", "/evil/revoke"):
        world.instead[path] = lambda seen: JSONResponse({"error": "invalid_grant"}, status_code=400)


def no_longer_valid(world: World) -> None:
    world.revoke_access()


def expired_and_not_refreshed(world: World) -> None:
    world.clock.advance(hours=2)
    world.authority.refresh.clear()


def refused_by_the_old_issuer(world: World) -> None:
    world.revoke_access()
    world.authority.refresh.clear()


def led_away_by_the_challenge(world: World) -> None:
    """The challenge names a document at the attacker's, which says that it is about this resource."""
    world.revoke_access()
    world.authority.refresh.clear()
    document = JSONResponse({"resource": MCP, "authorization_servers": [EVIL]})
    challenge = {"WWW-Authenticate": f'Bearer resource_metadata="{EVIL}/evil/document"'}
    world.instead["/evil/document"] = lambda seen: document
    world.instead["/mcp"] = lambda seen: Response(status_code=401, headers=challenge)


def step_up(world: World) -> None:
    """Nothing is wrong with the token: the call needs more."""


WAYS: list[Callable[[World], None]] = [
    no_longer_valid, expired_and_not_refreshed, refused_by_the_old_issuer, led_away_by_the_challenge, step_up,
]  # fmt: skip


@pytest.mark.parametrize("client", [None, MINE], ids=["registered by itself", "registered beforehand"])
@pytest.mark.parametrize("way", WAYS)
async def test_cve_2026_104850_and_115563_nothing_that_one_issuer_gave_goes_to_another(
    world: World, tmp_path: Path, way: Callable[[World], None], client: OAuthClientInformationFull | None
) -> None:
    world.authority.clients["mine"] = MINE
    world.withheld = frozenset({"repo"})
    # Nobody listens: a port that is registered beforehand may be somebody else's at the moment.
    pasting: dict[str, Any] = {"client": client, "listen": False}
    person = Person(world, comes_back=False)
    await call(world.auth(person, store=FileGrantStore(tmp_path / "grants.json"), paste=person.follow, **pasting))
    old = {*world.authority.access, *world.authority.refresh, MINE.client_secret or ""}
    old |= {one.client_secret or "" for one in world.authority.clients.values()}
    switch_issuer(world)
    way(world)
    del world.seen[:]
    # Another process, later: all it knows is in the file.
    person.urls.clear()
    later = world.auth(
        person, store=FileGrantStore(tmp_path / "grants.json"), paste=nobody_comes, timeout=0.05, **pasting
    )
    with suppress(McpOAuthError):
        await call(later, "private" if way is step_up else TOOL)
    old |= {*world.authority.access, *world.authority.refresh}
    to_evil = [one for one in world.seen if one.url.startswith(EVIL)]
    told = "".join(one.url + one.body.decode() + str(one.headers) for one in to_evil) + "".join(person.urls)
    # To refresh, and to ask for more, the client goes back to the issuer that it knows.
    assert to_evil or way in (no_longer_valid, step_up)
    assert not [secret for secret in old - {""} if secret in told]
    assert not [one for one in to_evil if one.path in ("/evil/token", "/evil/revoke")]


async def test_cve_2026_104850_and_115563_a_handler_starts_afresh_when_its_provider_is_another_one() -> None:
    async with Lab.open() as lab:
        token = await lab.authorize()
        asked: list[httpx.Request] = []

        def elsewhere(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(400, json={"error": "invalid_grant"})

        settings = Settings(
            _env_file=None,
            oauth_client_id="mine",
            oauth_client_secret="another-secret-of-mine",
            oauth_issuer=EVIL,
            oauth_authorization_url=f"{EVIL}/authorize",
            oauth_token_url=f"{EVIL}/token",
        )
        other = OAuthHandler(
            settings=settings,
            store=lab.oauth.store,
            client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(elsewhere)),
            clock=lab.clock,
        )
        assert lab.oauth.token == token
        assert other.token is None
        with pytest.raises(RefreshRejected):
            await other.refresh_access_token()
        assert asked == []


# -- CVE-2026-52869: who knew the id of a session was let into it ----------------------------------------------------


class Model:
    """The victim's model. While it thinks, somebody else answers in its place."""

    def __init__(self, interfere: Callable[[ClientRequestContext], Any]):
        self._interfere = interfere
        self.statuses: list[int] = []

    async def __call__(self, context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        self.statuses += await self._interfere(context)
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="genuine"), model="mine")


@asynccontextmanager
async def on_a_socket(world: ResourceWorld) -> AsyncIterator[str]:
    """Serve on a port, since no transport in the process streams; the server still goes by its public name."""
    with listen(0) as socket:
        config = uvicorn.Config(world.app, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([socket]))
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/mcp"
        server.should_exit = True
        await serving


@pytest.mark.parametrize("opened_with_a_token", [True, False])
@pytest.mark.parametrize("thief", ["hubot", None])
async def test_cve_2026_52869_who_knows_a_session_id_answers_nothing_in_its_owners_place(
    thief: str | None, opened_with_a_token: bool
) -> None:
    async with ResourceWorld(json_response=False).running() as world:
        token = world.verifier.issue("octocat", "read:user")
        stolen: list[str] = []

        async def note(response: httpx2.Response) -> None:
            stolen.append(response.headers.get("mcp-session-id", ""))

        async def forge(context: ClientRequestContext) -> list[int]:
            """Answer the server's question, read what it says next, and end the session."""
            result = {"role": "assistant", "model": "evil", "content": {"type": "text", "text": "forged"}}
            message = {"jsonrpc": "2.0", "id": context.request_id, "result": result}
            headers = [("Mcp-Session-Id", next(filter(None, stolen)))]
            own = world.verifier.issue(thief, "read:user") if thief is not None else None
            answers = [await world.post(message, token=own, headers=headers)]
            authorization = [("Authorization", f"Bearer {own}")] if own is not None else []
            for method in ("GET", "DELETE"):
                given = [*headers, *authorization, ("Accept", "text/event-stream")]
                answers.append(await world.send(method, "/mcp", headers=given))
            return [answer.status_code for answer in answers]

        model = Model(forge)
        bearer = {"Authorization": f"Bearer {token}"}
        headers = {"Host": urlsplit(RESOURCE).netloc, **(bearer if opened_with_a_token else {})}
        async with (
            on_a_socket(world) as url,
            httpx2.AsyncClient(headers=headers, event_hooks={"response": [note]}) as http,
            Client(streamable_http_client(url, http_client=http), mode="legacy", sampling_callback=model) as client,
        ):
            http.headers.update(bearer)
            result = await client.call_tool("analyze_code_with_llm", {"code": "x = 1"})
        assert model.statuses == [404, 404, 404]
        assert result.structured_content is not None
        assert result.structured_content["analysis"] == "genuine"


def test_every_advisory_of_the_list_has_its_tests() -> None:
    names = " ".join(name for name in globals() if name.startswith("test_cve_"))
    for number in ("2025_6514", "2025_58747", "2026_104850", "2026_52869", "115563"):
        assert number in names
