"""Client ID Metadata Documents: what is fetched and from where, and what a document must say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import httpx
import pytest
from authserver_world import CALLBACK, World, answer

from mcp_oauth_nb.oauth.errors import ProtocolError, RedirectRefused, SecurityError, ServerUnavailable, Unreachable
from mcp_oauth_nb.oauth.urls import is_public, resolve
from mcp_oauth_nb.server.authserver import DocumentFetcher
from mcp_oauth_nb.server.authserver.documents import check_url, direct_client

pytestmark = pytest.mark.anyio

URL = "https://client.example/app.json"
DOCUMENT: dict[str, Any] = {"client_id": URL, "client_name": "Documented", "redirect_uris": [CALLBACK]}


class Web:
    """The client's web server, and the name service; both can be turned."""

    def __init__(self, **changes: Any) -> None:
        self.document: Any = {**DOCUMENT, **changes}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.content: bytes | None = None
        self.addresses: Sequence[str] = ["93.184.215.14"]
        self.requests: list[httpx.Request] = []

    async def resolve(self, host: str) -> Sequence[str]:
        if not self.addresses:
            raise OSError("no such host")
        return self.addresses

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        content = json.dumps(self.document).encode() if self.content is None else self.content
        headers = {"Content-Type": "application/json", **self.headers}
        return httpx.Response(self.status, content=content, headers=headers)

    def fetcher(self) -> DocumentFetcher:
        transport = httpx.MockTransport(self.respond)
        return DocumentFetcher(lambda: httpx.AsyncClient(transport=transport), self.resolve)


@pytest.fixture
def web() -> Web:
    return Web()


URLS = {
    "http": "http://client.example/app.json",
    "no path": "https://client.example",
    "the root": "https://client.example/",
    "dot segments": "https://client.example/a/../app.json",
    "a fragment": URL + "#x",
    "a user name": "https://user@client.example/app.json",
    "a port": "https://client.example:6379/app.json",
    "no host": "https:///app.json",
    "loopback": "https://127.0.0.1/app.json",
    "link-local, where clouds keep credentials": "https://169.254.169.254/latest/meta-data",
    "a decimal address": "https://2130706433/app.json",
    "a hexadecimal address": "https://0x7f000001/app.json",
    "an octal address": "https://0177.0.0.1/app.json",
    "a short address": "https://127.1/app.json",
    "an IPv6 address": "https://[::1]/app.json",
    "a mapped address": "https://[::ffff:127.0.0.1]/app.json",
    "localhost": "https://localhost/app.json",
    "a name under localhost": "https://a.localhost/app.json",
    "a name in the house": "https://printer.local/app.json",
    "a name in the company": "https://vault.internal/app.json",
    "a single label": "https://intranet/app.json",
    "a dot at the end": "https://client.example./app.json",
    "a backslash": "https://client.example\\@evil.example/app.json",
    "white space": "https://client.example/a b",
    "a bad port": "https://client.example:x/app.json",
    "bad brackets": "https://[client.example/app.json",
    "too long": "https://client.example/" + "x" * 1000,
    "not ASCII": "https://cliént.example/app.json",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
async def test_such_a_url_is_refused_before_anything_is_resolved(web: Web, url: str) -> None:
    with pytest.raises(SecurityError):
        check_url(url)
    world = World(document_client=web.fetcher())
    response = await world.http.get("/authorize", params=world.request(client_id=url))
    assert response.status_code == 400
    assert not web.requests
    assert await world.stored() == 0


ADDRESSES = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "rubbish", "",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_name_that_leads_to_such_an_address_is_refused(web: Web, address: str) -> None:
    assert not is_public(address)
    web.addresses = ["93.184.215.14", address]
    with pytest.raises(SecurityError):
        await web.fetcher().fetch(URL)
    assert not web.requests


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


async def test_the_connection_goes_to_the_address_that_was_checked(web: Web) -> None:
    # Rebinding: a second answer of the name service would not be asked for.
    await web.fetcher().fetch(URL)
    (request,) = web.requests
    assert request.url.host == "93.184.215.14"
    assert request.headers["host"] == "client.example"
    assert request.extensions["sni_hostname"] == "client.example"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": "https://169.254.169.254/"}
    with pytest.raises(RedirectRefused):
        await web.fetcher().fetch(URL)
    assert len(web.requests) == 1


ANSWERS: dict[str, dict[str, Any]] = {
    "not found": {"status": 404},
    "no content": {"status": 204},
    "created": {"status": 201},
    "HTML": {"content": b"<html>", "headers": {"Content-Type": "text/html"}},
    "no JSON": {"content": b"x", "headers": {"Content-Type": "application/json"}},
    "an array": {"content": b"[]", "headers": {"Content-Type": "application/json"}},
    "over 64 KiB": {"document": {**DOCUMENT, "x": "y" * 70_000}},
    "over the limit of all bodies": {"document": {**DOCUMENT, "x": "y" * 2_000_000}},
}


@pytest.mark.parametrize("changes", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_no_document_is_refused(web: Web, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(web, name, value)
    with pytest.raises(ProtocolError):
        await web.fetcher().fetch(URL)


@pytest.mark.parametrize("client_id", [None, URL + "/", URL.upper(), "https://evil.example/app.json", 1])
async def test_a_document_of_another_client_is_refused(web: Web, client_id: object) -> None:
    web.document["client_id"] = client_id
    with pytest.raises(SecurityError):
        await web.fetcher().fetch(URL)


async def test_a_document_that_names_no_client_is_nobodys(web: Web) -> None:
    # Else any JSON on the web would describe the client of its address.
    del web.document["client_id"]
    with pytest.raises(SecurityError):
        await web.fetcher().fetch(URL)


async def test_a_name_without_address_is_unreachable(web: Web) -> None:
    web.addresses = []
    with pytest.raises(Unreachable):
        await web.fetcher().fetch(URL)


DOCUMENTS: dict[str, dict[str, Any]] = {
    "no address": {"redirect_uris": None},
    "a script for an address": {"redirect_uris": ["javascript:alert(1)"]},
    "http in the net": {"redirect_uris": ["http://client.example/cb"]},
    "a web app on this machine": {"application_type": "web"},
    "a secret": {"client_secret": "x"},
    "the end of a secret": {"client_secret_expires_at": 0},
    "authentication by secret": {"token_endpoint_auth_method": "client_secret_post"},
    "authentication by key": {"token_endpoint_auth_method": "private_key_jwt"},
    "a name of another type": {"client_name": ["x"]},
    "a name that turns the text round": {"client_name": "a\u202eb"},
    "half a character in a name": {"client_name": "\ud800"},
    "half a character among the keys": {"jwks": {"\ud800": 1}},
}


@pytest.mark.parametrize("changes", DOCUMENTS.values(), ids=DOCUMENTS)
async def test_a_document_that_breaks_a_rule_of_registration_is_refused(changes: dict[str, Any]) -> None:
    web = Web(**changes)
    world = World(document_client=web.fetcher())
    response = await world.http.get("/authorize", params=world.request(client_id=URL))
    assert response.status_code == 400
    assert "location" not in response.headers
    assert await world.stored("flows") == 0


async def test_a_client_with_a_document_goes_all_the_way(web: Web) -> None:
    world = World(document_client=web.fetcher())
    page = await world.browser.consent_page(world.request(client_id=URL))
    assert f"described by {URL}" in page.text
    tokens = await world.http.post("/token", data=world.exchange(await world.code(client_id=URL), client_id=URL))
    assert tokens.status_code == 200
    refreshed = await world.http.post("/token", data=world.refreshing(tokens.json()["refresh_token"], client_id=URL))
    assert refreshed.status_code == 200
    # One request for all of it.
    assert len(web.requests) == 1


async def test_a_document_that_names_other_grants_gets_no_code() -> None:
    # RFC 7591 section 2: `grant_types` binds.
    web = Web(grant_types=["client_credentials"])
    world = World(document_client=web.fetcher())
    refusal = await world.http.get("/authorize", params=world.request(client_id=URL))
    assert answer(refusal.headers["location"])["error"] == "unauthorized_client"
    assert await world.stored("flows") == 0


async def test_its_addresses_are_the_documents(web: Web) -> None:
    world = World(document_client=web.fetcher())
    request = world.request(client_id=URL, redirect_uri="https://evil.example/cb")
    assert (await world.http.get("/authorize", params=request)).status_code == 400


@pytest.mark.parametrize(
    ("control", "seconds"),
    [("", 300), ("max-age=7200", 7200), ("public, max-age=1", 60), ("max-age=999999999", 86400), ("no-store", 60)],
)
async def test_a_document_is_kept_as_long_as_it_says_within_bounds(web: Web, control: str, seconds: int) -> None:
    web.headers = {"Cache-Control": control} if control else {}
    world = World(document_client=web.fetcher())
    for elapsed, requests in ((0, 1), (seconds - 1, 1), (1, 2)):
        world.clock.advance(elapsed)
        await world.http.get("/authorize", params=world.request(client_id=URL))
        assert len(web.requests) == requests


async def test_a_known_client_survives_its_web_server_for_a_week(web: Web) -> None:
    world = World(document_client=web.fetcher())
    tokens = await world.http.post("/token", data=world.exchange(await world.code(client_id=URL), client_id=URL))
    world.clock.advance(days=6)
    web.status = 503
    fields = world.refreshing(tokens.json()["refresh_token"], client_id=URL)
    tokens = await world.http.post("/token", data=fields)
    assert tokens.status_code == 200
    # But a document that says something else now is obeyed.
    web.status, web.document["client_id"] = 200, "other"
    fields = world.refreshing(tokens.json()["refresh_token"], client_id=URL)
    assert (await world.http.post("/token", data=fields)).json()["error"] == "invalid_client"
    web.status = 503
    world.clock.advance(days=2)
    assert (await world.http.post("/token", data=fields)).json()["error"] == "invalid_client"


async def test_a_name_service_that_never_answers_is_given_up(web: Web) -> None:
    async def never(host: str) -> Sequence[str]:
        await anyio.sleep_forever()
        raise AssertionError

    transport = httpx.MockTransport(web.respond)
    fetcher = DocumentFetcher(lambda: httpx.AsyncClient(transport=transport), never, deadline=0.05)
    with anyio.fail_after(5), pytest.raises(Unreachable):
        await fetcher.fetch(URL)


async def test_a_failure_is_not_kept(web: Web) -> None:
    world = World(document_client=web.fetcher())
    web.status = 500
    assert (await world.http.get("/authorize", params=world.request(client_id=URL))).status_code == 400
    web.status = 200
    assert (await world.http.get("/authorize", params=world.request(client_id=URL))).status_code == 302


async def test_the_name_service_of_this_machine_is_asked_and_its_answer_refused() -> None:
    # `localhost` is the one name that resolves everywhere, and the wrong one.
    assert not any(is_public(address) for address in await resolve("localhost"))


async def test_a_client_id_that_is_no_url_is_never_fetched(web: Web) -> None:
    world = World(document_client=web.fetcher())
    await world.http.get("/authorize", params=world.request(client_id="client.example/app.json"))
    assert not web.requests


async def test_an_error_is_told_to_the_person_not_to_the_address_in_the_request(web: Web) -> None:
    world = World(document_client=web.fetcher())
    web.document["client_id"] = "other"
    response = await world.http.get("/authorize", params=world.request(client_id=URL))
    assert "belongs to another client_id" in response.text
    assert "location" not in response.headers


async def test_the_answer_to_such_a_client_has_iss_too(web: Web) -> None:
    world = World(document_client=web.fetcher())
    url = await world.browser.authorize(world.request(client_id=URL), allow=False)
    assert answer(url)["iss"] == world.public_url


def test_no_proxy_of_the_environment_stands_between_us_and_a_document() -> None:
    # It would resolve the name by itself, and get to where a document must not come from.
    code = """
        import asyncio, httpx, sys
        from mcp_oauth_nb.server.authserver.documents import direct_client
        async def main():
            async with direct_client() as client:
                try:
                    await client.get(sys.argv[1])
                except httpx.ConnectError:
                    print("nobody is there")
        asyncio.run(main())
    """
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxied = dict.fromkeys(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"], "http://127.0.0.1:%d")
        environ = {name: value % proxy.getsockname()[1] for name, value in proxied.items()}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), f"http://127.0.0.1:{closed.getsockname()[1]}/"],
            env={**os.environ, **environ, "NO_PROXY": "", "no_proxy": ""},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == ("nobody is there\n", "")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def kept_by_web(web: Web, world: World) -> Callable[[], Awaitable[bool]]:
    """Return what says whether the client gets to the consent page while its web server is out of order."""

    async def known() -> bool:
        web.status = 503
        response = await world.http.get("/authorize", params=world.request(client_id=URL))
        web.status = 200
        return response.status_code == 302

    return known


async def test_a_client_that_nobody_has_signed_in_with_does_not_outlive_its_web_server(web: Web) -> None:
    world = World(document_client=web.fetcher())
    known = kept_by_web(web, world)
    await world.http.get("/authorize", params=world.request(client_id=URL))
    world.clock.advance(299)
    assert await known()
    world.clock.advance(1)
    assert not await known()


async def test_a_client_in_use_outlives_its_web_server_by_a_week_after_each_document(web: Web) -> None:
    world = World(document_client=web.fetcher())
    known = kept_by_web(web, world)
    assert await world.code(client_id=URL)
    tokens = await world.http.post("/token", data=world.exchange(await world.code(client_id=URL), client_id=URL))
    assert tokens.status_code == 200
    world.clock.advance(days=7, seconds=299)
    assert await known()
    # The server is back: from its answer on, a week is counted again.
    assert (await world.http.get("/authorize", params=world.request(client_id=URL))).status_code == 302
    world.clock.advance(days=7, seconds=299)
    assert await known()
    world.clock.advance(1)
    assert not await known()


async def test_what_one_address_has_fetched_displaces_no_more_than_its_own_oldest() -> None:
    fetched: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        url = f"https://client.example{request.url.path}"
        fetched.append(request.url.path)
        return httpx.Response(200, json={"client_id": url, "redirect_uris": [CALLBACK]})

    fetcher = DocumentFetcher(lambda: httpx.AsyncClient(transport=httpx.MockTransport(respond)), Web().resolve)
    world = World(document_client=fetcher)
    for number in (*range(20), 0, 20, 1, 0):
        request = world.request(client_id=f"https://client.example/{number}")
        assert (await world.http.get("/authorize", params=request)).status_code == 302
    assert fetched == [f"/{number}" for number in (*range(21), 0)]


@pytest.mark.parametrize(
    ("control", "seconds"),
    [("no-cache", 60), ("Max-Age=7200", 7200), ("s-maxage=7200", 300), ("max-age=x", 300), ("max-age=60", 60)],
)
async def test_what_a_server_says_of_keeping_is_read_as_it_is_meant(web: Web, control: str, seconds: int) -> None:
    web.headers = {"Cache-Control": control}
    assert (await web.fetcher().fetch(URL))[1] == seconds


async def test_json_is_asked_for_and_may_be_of_a_kind(web: Web) -> None:
    web.headers = {"Content-Type": "application/client-metadata+json"}
    assert (await web.fetcher().fetch(URL))[0] == web.document
    assert web.requests[0].headers["accept"] == "application/json"


async def test_a_document_has_at_most_64_kib(web: Web) -> None:
    shorter = json.dumps(web.document).encode()
    web.content = shorter + b" " * (64 * 1024 - len(shorter))
    assert (await web.fetcher().fetch(URL))[0] == web.document
    web.content += b" "
    with pytest.raises(ProtocolError, match="65536"):
        await web.fetcher().fetch(URL)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_web_server_out_of_order_may_be_asked_again(web: Web, status: int) -> None:
    web.status = status
    with pytest.raises(ServerUnavailable):
        await web.fetcher().fetch(URL)


async def test_a_name_with_no_addresses_at_all_leads_nowhere() -> None:
    async def none(host: str) -> Sequence[str]:
        return []

    with pytest.raises(SecurityError):
        await DocumentFetcher(direct_client, none).fetch(URL)


@pytest.mark.parametrize("url", ["https://client.example:443/app.json", "https://client.example/" + "x" * 977])
def test_the_usual_port_and_a_thousand_characters_are_allowed(url: str) -> None:
    assert check_url(url) == "client.example"


@pytest.mark.parametrize(
    "url", ["https://client.example/" + "x" * 978, "https://client.example/./a", "https://client.example/a\x7f"]
)
def test_a_character_more_and_a_segment_that_is_a_dot_are_not(url: str) -> None:
    with pytest.raises(SecurityError):
        check_url(url)


@pytest.mark.parametrize("client_id", ["HTTPS://127.0.0.1/app.json", "HTTP://client.example/app.json"])
async def test_a_url_in_capitals_is_a_url_and_held_to_the_rules(web: Web, client_id: str) -> None:
    world = World(document_client=web.fetcher())
    response = await world.http.get("/authorize", params=world.request(client_id=client_id))
    assert (response.status_code, "is not fetched" in response.text) == (400, True)
