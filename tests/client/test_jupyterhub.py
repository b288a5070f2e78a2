"""A kernel in a JupyterHub: the browser comes back through jupyter-server-proxy, or its address is pasted."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from http_world import MCP, P, Person, World
from mcp.shared.auth import OAuthClientInformationFull
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mcp_oauth_nb import FlowDebugger, HttpLab, Lab, McpAuth, OAuthHandler, Session, login
from mcp_oauth_nb.client.callback import CallbackListener
from mcp_oauth_nb.client.jupyterhub import JupyterHub, Proxied, proxied, way_back
from mcp_oauth_nb.jupyter.widgets import AuthorizePanel
from mcp_oauth_nb.jupyter.widgets.flow_panel import FlowPanel
from mcp_oauth_nb.oauth.errors import AccessDenied, ConfigurationError, ReauthorizeError, StateMismatch
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.trace.messages import CLIENT

pytestmark = pytest.mark.anyio

SERVER = "https://hub.example/user/ada/"
ENVIRONMENT = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_PUBLIC_URL": SERVER}
HUB = JupyterHub.here(ENVIRONMENT)
SILENT = JupyterHub.here({"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_PUBLIC_URL": ""})
assert HUB is not None
assert SILENT is not None
THROUGH = re.compile(r"https://hub\.example/user/ada/proxy/[1-9][0-9]*/callback")


class Front:
    """The hub with jupyter-server-proxy, as the browser sees both: one prefix is taken away, all headers are passed on.

    Args:
        host: what a proxy in front makes of the Host header.
    """

    def __init__(self, host: str | None = None):
        self.host = host
        self.app = Starlette(routes=[Route("/user/ada/proxy/{port:int}{path:path}", self._pass_on)])

    async def _pass_on(self, request: Request) -> Response:
        headers = {**request.headers, "cookie": "jupyterhub-user-ada=somebodys-session"}
        if self.host is not None:
            headers["host"] = self.host
        address = f"http://127.0.0.1:{request.path_params['port']}{request.path_params['path']}?{request.url.query}"
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(address, headers=headers)
            except httpx.ConnectError:
                return Response(status_code=500)
        return Response(answer.content, answer.status_code, dict(answer.headers))

    def browser(self) -> httpx.AsyncClient:
        """A browser that finds the hub."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


def person_of(world: World, **options: Any) -> Person:
    """Somebody whose browser can reach the hub, and nothing on the kernel's machine."""
    return Person(world, **{"browser": Front().browser, **options})


async def call(auth: McpAuth) -> str:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool("whoami")).content[0].text  # type: ignore[union-attr]


def sent_back_to(person: Person) -> list[str]:
    """The redirect URI of each authorization request."""
    return [parse_qs(urlsplit(url).query)["redirect_uri"][0] for url in person.urls]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# -- what the environment says -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"JUPYTERHUB_PUBLIC_URL": SERVER}, None),
        (ENVIRONMENT, JupyterHub("/user/ada/", SERVER)),
        # Named servers, user names with an @, a hub below a path, one on this machine.
        (
            {
                "JUPYTERHUB_SERVICE_PREFIX": "/h/user/a@b/x/",
                "JUPYTERHUB_PUBLIC_URL": "https://hub.example/h/user/a@b/x/",
            },
            JupyterHub("/h/user/a@b/x/", "https://hub.example/h/user/a@b/x/"),
        ),
        (
            {"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_PUBLIC_URL": "http://127.0.0.1:8000/user/ada/"},
            JupyterHub("/user/ada/", "http://127.0.0.1:8000/user/ada/"),
        ),
        # As a person may write it.
        ({**ENVIRONMENT, "JUPYTERHUB_PUBLIC_URL": "https://hub.example"}, HUB),
        ({**ENVIRONMENT, "JUPYTERHUB_PUBLIC_URL": "https://hub.example/"}, HUB),
        ({**ENVIRONMENT, "JUPYTERHUB_PUBLIC_URL": "https://hub.example/user/ada"}, HUB),
    ],
)
def test_the_hub_is_found_in_the_environment(environ: dict[str, str], found: JupyterHub | None) -> None:
    assert JupyterHub.here(environ) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/user/ada/",
        "hub.example/user/ada/",
        "http://hub.example/user/ada/",
        "ftp://hub.example/",
        "https://",
        "https://[broken/",
        "https://hub.example:99999/",
        "https://ada@hub.example/",
        "https://hub.example/?to=https://evil.example",
        "https://hub.example/#here",
        "https://hub.example\\@evil.example/",
        "https://hub.example/a\\b/",
        "https://hub.example/a b/",
        "https://hub.exämple/",
    ],
)
async def test_an_address_that_no_code_should_go_to_counts_as_none(world: World, url: str) -> None:
    hub = JupyterHub.here({**ENVIRONMENT, "JUPYTERHUB_PUBLIC_URL": url})
    assert hub == SILENT
    assert world.auth(hub=lambda: hub).way_back() == "http://127.0.0.1/callback"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (f"{SERVER}proxy/8765/callback", Proxied(f"{SERVER}proxy/", 8765, "/callback")),
        (f"{SERVER}proxy/0/a/b", Proxied(f"{SERVER}proxy/", 0, "/a/b")),
        ("https://alone.example/proxy/8765/", Proxied("https://alone.example/proxy/", 8765, "/")),
        ("http://localhost:8888/proxy/1/cb", Proxied("http://localhost:8888/proxy/", 1, "/cb")),
        ("https://h.example/proxy/absolute/8000/user/a/proxy/1/cb", Proxied(
            "https://h.example/proxy/absolute/8000/user/a/proxy/", 1, "/cb"
        )),
        ("http://hub.example/user/ada/proxy/8765/callback", None),
        (f"{SERVER}proxy/65535/callback", Proxied(f"{SERVER}proxy/", 65535, "/callback")),
        (f"{SERVER}proxy/65536/callback", None),
        (f"{SERVER}proxy/8765", None),
        (f"{SERVER}proxy/8765/callback?x=1", None),
        (f"{SERVER}proxy/absolute/8765/callback", None),
        (f"{SERVER}proxy/db.example:5432/callback", None),
        ("https://ada@hub.example/proxy/8765/callback", None),
        ("https://hub.example/callback", None),
        ("https://[broken/proxy/8765/callback", None),
    ],
)  # fmt: skip
def test_a_redirect_uri_may_name_a_port_in_its_path(uri: str, parts: Proxied | None) -> None:
    assert proxied(uri) == parts


@pytest.mark.parametrize(
    ("uri", "through"),
    [
        ("http://127.0.0.1/callback", f"{SERVER}proxy/0/callback"),
        ("http://[::1]:8765/callback", f"{SERVER}proxy/8765/callback"),
        ("http://localhost", f"{SERVER}proxy/0/"),
        ("https://app.example/callback", "https://app.example/callback"),
        (f"{SERVER}proxy/7/callback", f"{SERVER}proxy/7/callback"),
        ("http://localhost:8888/proxy/7/callback", "http://localhost:8888/proxy/7/callback"),
    ],
)
def test_a_loopback_address_and_no_other_is_reached_through_the_hub(uri: str, through: str) -> None:
    assert HUB.proxied(uri) == through


@pytest.mark.parametrize(
    ("url", "prefix", "server"),
    [
        ("https://hub.example/X", "/user/ada/", "https://hub.example/X/"),
        ("https://hub.example/X/", "/user/ada/", "https://hub.example/X/"),
        ("https://hub.example", "/user/ADAX/", "https://hub.example/user/ADAX/"),
    ],
)
def test_the_address_of_the_server_is_used_as_it_is_but_for_the_slash_at_its_end(
    url: str, prefix: str, server: str
) -> None:
    hub = JupyterHub.here({"JUPYTERHUB_SERVICE_PREFIX": prefix, "JUPYTERHUB_PUBLIC_URL": url})
    assert hub == JupyterHub(prefix, server)


# -- a client that registers itself ----------------------------------------------------------------------------------


async def test_in_a_hub_the_browser_comes_back_through_the_proxy(world: World) -> None:
    person, shown = person_of(world), []
    assert await call(world.auth(person, hub=lambda: HUB, show=shown.append)) == "octocat"
    (uri,) = sent_back_to(person)
    assert THROUGH.fullmatch(uri)
    (token,) = [one for one in world.seen if one.path == "/token"]
    (registration,) = [one for one in world.seen if one.path == "/register"]
    assert token.form["redirect_uri"] == uri
    assert uri.encode() in registration.body
    assert "comes back through hub.example" in shown[0]
    assert "on this machine" not in shown[0]
    assert [(page.status_code, "Signed in" in page.text) for page in person.pages] == [(200, True)]


async def test_a_port_can_be_fixed_for_the_proxy_too(world: World) -> None:
    person, port = person_of(world), free_port()
    await call(world.auth(person, hub=lambda: HUB, redirect_uri=f"http://127.0.0.1:{port}/callback"))
    assert sent_back_to(person) == [f"{SERVER}proxy/{port}/callback"]


async def test_a_hub_that_keeps_its_address_to_itself_can_be_told_by_the_redirect_uri(world: World) -> None:
    person = person_of(world)
    assert await call(world.auth(person, hub=lambda: SILENT, redirect_uri=f"{SERVER}proxy/0/callback")) == "octocat"
    assert THROUGH.fullmatch(sent_back_to(person)[0])


async def test_where_nobody_says_the_hubs_address_the_person_is_told_what_to_do_and_may_paste(world: World) -> None:
    person, shown = person_of(world, comes_back=False), []
    auth = world.auth(person, hub=lambda: SILENT, paste=person.follow, show=shown.append)
    assert await call(auth) == "octocat"
    assert sent_back_to(person)[0].startswith("http://127.0.0.1:")
    for word in ("JUPYTERHUB_PUBLIC_URL", "https://YOUR-HUB/user/ada/proxy/", "jupyter-server-proxy", "paste"):
        assert word in shown[0]


@pytest.mark.parametrize(
    ("uri", "hub", "here"),
    [
        ("http://127.0.0.1/callback", None, True),
        ("http://127.0.0.1/callback", SILENT, False),
        (f"{SERVER}proxy/0/callback", None, False),
        (f"{SERVER}proxy/0/callback", HUB, False),
    ],
)
def test_only_where_there_is_no_hub_the_browser_has_to_be_on_this_machine(
    uri: str, hub: JupyterHub | None, here: bool
) -> None:
    invited = CallbackListener(uri, str, hub).invitation("https://as.example/authorize")
    assert ("browser on this machine:" in invited) is here


@pytest.mark.parametrize(
    ("hub", "hint"), [(HUB, "pip install jupyter-server-proxy"), (SILENT, "https://YOUR-HUB/user/ada/proxy/")]
)
async def test_who_is_waited_for_in_vain_is_told_what_a_hub_needs(world: World, hub: JupyterHub, hint: str) -> None:
    with pytest.raises(ReauthorizeError) as caught:
        await call(world.auth(person_of(world, comes_back=False), hub=lambda: hub, timeout=0.05))
    assert hint in caught.value.hint


async def test_a_hub_without_tls_is_no_place_to_come_back_to(world: World) -> None:
    with pytest.raises(ConfigurationError, match="nobody can listen"):
        await call(world.auth(redirect_uri="http://hub.example/user/ada/proxy/0/callback"))


# -- whatever comes first ------------------------------------------------------------------------------------------


async def test_an_address_at_the_hub_can_be_pasted_and_the_browser_then_finds_nobody(world: World) -> None:
    person = person_of(world, comes_back=False)
    pasted: list[str] = []

    async def paste(url: str) -> str:
        pasted.append(await person.follow(url))
        return pasted[0]

    assert await call(world.auth(person, hub=lambda: HUB, paste=paste)) == "octocat"
    assert THROUGH.fullmatch(pasted[0].partition("?")[0])
    async with Front().browser() as late:
        assert (await late.get(pasted[0])).status_code == 500


async def test_nobody_is_asked_to_paste_any_more_once_the_browser_came(world: World) -> None:
    ended: list[str] = []

    async def paste(url: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(url)
        raise AssertionError

    person = person_of(world)
    assert await call(world.auth(person, hub=lambda: HUB, paste=paste)) == "octocat"
    assert ended == person.urls


async def test_a_pasted_address_with_another_state_is_refused(world: World) -> None:
    person = person_of(world, comes_back=False, change=lambda url: url.replace("state=", "state=x"))
    with pytest.raises(StateMismatch):
        await call(world.auth(person, hub=lambda: HUB, paste=person.follow))
    assert world.count("/token") == 0


async def test_a_forged_callback_gets_no_further_through_the_proxy(world: World) -> None:
    class Crowd(Person):
        async def follow(self, url: str) -> str:
            genuine = await super().follow(url)
            forged = f"{genuine.partition('?')[0]}?code=stolen&state=guessed"
            strangers = [Front(host) for host in ("evil.example", "hub.example.evil.example", "[broken")]
            for front, address in [(Front(), forged), *((one, genuine) for one in strangers)]:
                async with front.browser() as browser:
                    self.pages.append(await browser.get(address))
            return genuine

    person = Crowd(world, browser=Front().browser)
    assert await call(world.auth(person, hub=lambda: HUB)) == "octocat"
    assert [page.status_code for page in person.pages] == [400, 400, 400, 400, 200]
    assert not [page for page in person.pages if "evil" in page.text]


@pytest.mark.parametrize("host", ["hub.example", "hub.example:443", "HUB.example", "localhost:40000", "127.0.0.1"])
async def test_the_proxy_may_say_the_name_of_the_hub_or_of_the_machine(world: World, host: str) -> None:
    person = person_of(world, browser=Front(host).browser)
    assert await call(world.auth(person, hub=lambda: HUB)) == "octocat"


@pytest.mark.parametrize("host", ["hub.example", "evil.example"])
async def test_without_a_hub_only_the_names_of_this_machine_lead_to_the_listener(host: str) -> None:
    async with CallbackListener("http://127.0.0.1/callback", str) as listener, httpx.AsyncClient() as rebound:
        answer = await rebound.get(listener.redirect_uri, headers={"Host": host})
        assert answer.status_code == 400
        with pytest.raises(ReauthorizeError):
            await listener.wait(0.01)


async def test_a_person_who_declines_is_taken_at_their_word(world: World) -> None:
    world.declines = True
    person = person_of(world)
    with pytest.raises(AccessDenied):
        await call(world.auth(person, hub=lambda: HUB))
    assert "Not signed in" in person.pages[0].text


# -- a client that is known already ----------------------------------------------------------------------------------


async def test_a_client_made_beforehand_comes_back_where_it_is_registered(world: World) -> None:
    uri = f"{SERVER}proxy/{free_port()}/callback"
    known = {"client_id": "mine", "issuer": P, "redirect_uris": [uri], "scope": "read:user"}
    client = OAuthClientInformationFull.model_validate({**known, "token_endpoint_auth_method": "none"})
    world.authority.clients["mine"] = client
    person = person_of(world)
    assert await call(world.auth(person, client=client, hub=lambda: SILENT)) == "octocat"
    assert sent_back_to(person) == [uri]
    assert world.count("/register") == 0


@pytest.mark.parametrize(
    "known",
    [
        {"client_metadata_url": "https://app.example/client.json"},
        {"client": OAuthClientInformationFull(client_id="mine", redirect_uris=None)},
        # Nobody waits for the browser anywhere.
        {"listen": False, "paste": lambda url: url},
    ],
)
def test_what_others_know_of_a_client_is_not_changed(known: dict[str, Any]) -> None:
    assert McpAuth(hub=lambda: HUB, **known).way_back() == "http://127.0.0.1/callback"
    there = f"{SERVER}proxy/8765/callback"
    assert McpAuth(hub=lambda: HUB, redirect_uri=there, **known).way_back() == there


async def test_a_registration_from_outside_the_hub_is_made_anew_in_it_and_the_other_way_round(world: World) -> None:
    outside = Person(world)
    auth = world.auth(outside)
    await call(auth)
    for hub, inside, registrations in (
        (HUB, person_of(world), 2),
        (HUB, person_of(world), 2),
        (None, Person(world), 3),
    ):
        world.revoke_access()
        world.authority.refresh.clear()
        await call(world.auth(inside, hub=lambda hub=hub: hub, store=auth.store))
        assert bool(THROUGH.fullmatch(sent_back_to(inside)[0])) is (hub is not None)
        assert world.count("/register") == registrations


# -- signing in at a provider that knows the client ------------------------------------------------------------------


async def test_login_comes_back_through_the_hub_that_the_provider_knows() -> None:
    async with Lab.open() as lab:
        uri = f"{SERVER}proxy/{free_port()}/callback"
        app = lab.github.register_app("in the hub", [uri])
        client = {"oauth_client_id": app.client_id, "oauth_client_secret": app.client_secret}
        settings = IsolatedSettings(**client, oauth_redirect_uri=uri)
        oauth = OAuthHandler(settings=settings, client=lab.http_client(CLIENT), clock=lab.clock)
        shown: list[str] = []
        visits: set[asyncio.Task[None]] = set()

        async def go(url: str) -> None:
            callback = await lab.browser.authorize(url)
            async with Front().browser() as browser:
                await browser.get(callback)

        def opened(url: str) -> bool:
            visits.add(asyncio.ensure_future(go(url)))
            return True

        await login(oauth, show=shown.append, open_browser=opened, timeout=10, hub=lambda: HUB)
        await asyncio.gather(*visits)
        assert oauth.is_authenticated()
        assert "comes back through hub.example" in shown[0]


async def test_login_at_a_loopback_address_says_what_to_register_in_a_hub() -> None:
    shown: list[str] = []
    async with Lab.open() as lab:
        with pytest.raises(ReauthorizeError) as caught:
            await login(lab.oauth, show=shown.append, open_browser=lambda url: True, timeout=0.01, hub=lambda: HUB)
    for told in (shown[0], caught.value.hint):
        assert f"{SERVER}proxy/8765/callback" in told
        assert "JUPYTERHUB_PUBLIC_URL" not in told


# -- the panels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "hub", "said"),
    [
        (f"{SERVER}proxy/5/callback", HUB, "comes back to hub.example, and through jupyter-server-proxy"),
        ("http://127.0.0.1:5/callback", HUB, "sent back to 127.0.0.1:5, where a kernel in a JupyterHub cannot be"),
        ("http://127.0.0.1:5/callback", None, "comes back to 127.0.0.1:5."),
        ("https://app.example/callback", HUB, "comes back to app.example."),
        ("https://[broken", HUB, "does not say"),
        ("", None, "does not say"),
    ],
)
def test_a_panel_says_where_the_browser_comes_back_to(uri: str, hub: JupyterHub | None, said: str) -> None:
    assert said in way_back(f"https://as.example/authorize?redirect_uri={uri}", hub)


async def test_the_authorize_panel_says_so() -> None:
    async with Lab.open(oauth_redirect_uri=f"{SERVER}proxy/8765/callback") as lab:
        panel = AuthorizePanel(lab.oauth, hub=lambda: HUB)
        assert "comes back to hub.example, and through" in panel._link.value
        assert panel.field.placeholder == f"{SERVER}proxy/8765/callback?code=..."


async def test_the_debugger_comes_back_through_the_hub_and_its_panel_says_so() -> None:
    async with HttpLab.open() as lab:
        auth = lab.new_auth(paste=None, listen=True, open_browser=lambda url: True, hub=lambda: HUB)
        async with FlowDebugger.open(lab, auth=auth) as debug:
            panel = FlowPanel(debug, hub=lambda: HUB)
            await debug.begin()
            while debug.pending is None or debug.pending.kind != "authorize":
                await debug.step()
            step = asyncio.ensure_future(debug.step())
            while not debug.link:  # noqa: ASYNC110, since nothing announces it but an observer on another loop
                await asyncio.sleep(0)
            assert "comes back to hub.example, and through" in panel._link.value
            callback = await lab.browser.authorize(debug.link)
            async with Front().browser() as browser:
                assert "Signed in" in (await browser.get(callback)).text
            await asyncio.wait_for(step, 20)
            await debug.run()
            assert debug.cause is None
            assert THROUGH.fullmatch(callback.partition("?")[0])
