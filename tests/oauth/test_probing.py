"""Asking where a server says: redirects, deadlines, retries, and the places that are not contacted."""

from __future__ import annotations

import itertools
from functools import partial

import anyio
import httpx
import pytest
from scripted_server import Script, Site
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    NotFound,
    ProtocolError,
    RateLimited,
    RedirectRefused,
    SecurityError,
    ServerUnavailable,
    Unreachable,
)
from mcp_oauth_nb.oauth.http import ClientFactory
from mcp_oauth_nb.oauth.metadata_reading import Reading, read_server_metadata
from mcp_oauth_nb.oauth.probing import Prober, Search

pytestmark = pytest.mark.anyio

START = "https://as.example"
NOW = 1_800_000_000.0
DOCUMENT = {
    "issuer": START,
    "authorization_endpoint": f"{START}/authorize",
    "token_endpoint": f"{START}/token",
}


def prober(client: ClientFactory, start: str = START, deadline: float = 5) -> Prober:
    return Prober(start, client, deadline, ManualClock(NOW))


async def look(asking: Prober, *paths: str) -> Search:
    read = partial(read_server_metadata, issuers=(START,), now=NOW)
    return await asking.look_for([f"{START}{path}" for path in paths or ("/a",)], "document", read)


async def first(client: ClientFactory, *paths: str, start: str = START) -> str:
    """Return the place that had the document, or raise what the search came to."""
    search = await look(prober(client, start), *paths)
    if not search.url:
        raise search.error()
    return search.url


def redirect(target: str) -> Response:
    return Response(status_code=302, headers={"Location": target})


# -- which answers end the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 405, 410])
async def test_any_other_status_means_the_next_url(status: int) -> None:
    site = Site({f"{START}/a": Response(status_code=status), f"{START}/b": DOCUMENT})
    assert await first(site.client, "/a", "/b") == f"{START}/b"


async def test_a_web_page_in_place_of_a_document_means_the_next_url() -> None:
    site = Site({f"{START}/a": Response(b"<html>", media_type="text/html"), f"{START}/b": DOCUMENT})
    asking = prober(site.client)
    await look(asking, "/a", "/b")
    assert [probe.outcome for probe in asking.probes] == ["a web page", "document"]


async def test_each_request_says_what_it_can_read_and_only_the_first_is_no_get() -> None:
    site = Site({f"{START}/a": redirect("/b"), f"{START}/b": DOCUMENT})
    asking = prober(site.client)
    await asking.challenge(START)
    await look(asking, "/a")
    assert [(request.method, request.headers["accept"]) for request in site.seen] == [
        ("POST", "application/json, text/event-stream"),
        ("GET", "application/json"),
        ("GET", "application/json"),
    ]


async def test_a_place_without_the_document_is_no_finding_and_one_that_cannot_be_used_is() -> None:
    malformed = Response(b"{", media_type="application/json")
    pages = {f"{START}/a": redirect("https://login.example"), f"{START}/b": malformed}
    search = await look(prober(Site({**pages, f"{START}/c": DOCUMENT}).client), "/a", "/b", "/c")
    assert [f"{START}/b" in finding for finding in search.findings] == [True]
    with pytest.raises(ProtocolError, match=f"{START}/b"):
        await first(Site(pages).client, "/a", "/b")


async def test_no_document_anywhere_is_not_found() -> None:
    with pytest.raises(NotFound, match=f"none of the 2 well-known URLs has it, {START}/a first"):
        await first(Site({}).client, "/a", "/b")


async def test_an_error_of_the_server_is_the_searchs_if_no_other_place_has_the_document() -> None:
    failing = Response(status_code=500)
    assert await first(Site({f"{START}/a": failing, f"{START}/b": DOCUMENT}).client, "/a", "/b") == f"{START}/b"
    asking = prober(Site({f"{START}/a": failing}).client)
    error = (await look(asking, "/a", "/b")).error()
    assert isinstance(error, ServerUnavailable)
    assert f"{START}/a answered 500" in str(error)
    assert [probe.outcome for probe in asking.probes] == ["fails", "not here"]


@pytest.mark.parametrize(("status", "error"), [(500, ServerUnavailable), (503, ServerUnavailable), (429, RateLimited)])
async def test_a_server_in_trouble_ends_the_search_and_says_when_to_come_back(
    status: int, error: type[ServerUnavailable | RateLimited]
) -> None:
    site = Site({f"{START}/a": Response(status_code=status, headers={"Retry-After": "7"}), f"{START}/b": DOCUMENT})
    with pytest.raises(error) as caught:
        await first(site.client, "/a", "/b")
    assert caught.value.retry_at == NOW + 7
    assert site.urls == [f"{START}/a"]


# -- redirects -----------------------------------------------------------------------------------------------------


async def test_a_redirect_that_stays_on_the_host_is_followed_and_reported() -> None:
    site = Site({f"{START}/a": redirect("/b?secret=1"), f"{START}/b?secret=1": DOCUMENT})
    asking = prober(site.client)
    search = await look(asking)
    assert (search.url, search.found.document) == (f"{START}/a", DOCUMENT)
    assert [str(probe) for probe in asking.probes] == [f"302  {START}/a  redirects", f"200  {START}/b  document"]


@pytest.mark.parametrize(("status", "follows"), [(300, True), (301, True), (308, True), (400, False)])
async def test_only_a_redirect_is_followed_whatever_else_names_another_place(status: int, follows: bool) -> None:
    elsewhere = Response(status_code=status, headers={"Location": "/b"})
    site = Site({f"{START}/a": elsewhere, f"{START}/b": DOCUMENT})
    assert ((await look(prober(site.client))).found.document == DOCUMENT) is follows


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/a", "http://as.example/a", "https://as.example:8443/a", "//evil.example/a", "file:///etc/x"],
)
async def test_a_redirect_to_another_host_or_without_tls_is_refused(target: str) -> None:
    site = Site({f"{START}/a": redirect(target)})
    with pytest.raises(RedirectRefused):
        await first(site.client)
    assert site.urls == [f"{START}/a"]


async def test_three_redirects_are_followed_and_no_more() -> None:
    chain = {f"{START}/{number}": redirect(f"/{number + 1}") for number in range(4)}
    assert await first(Site({**chain, f"{START}/4": DOCUMENT}).client, "/1") == f"{START}/1"
    with pytest.raises(RedirectRefused, match="or on and on"):
        await first(Site({**chain, f"{START}/4": DOCUMENT}).client, "/0")


async def test_a_redirect_to_itself_ends() -> None:
    site = Site({f"{START}/a": redirect("/a")})
    with pytest.raises(RedirectRefused, match="or on and on"):
        await first(site.client)
    assert len(site.seen) == 4


async def test_a_redirect_to_no_url_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="not valid HTTP"):
        await first(Site({f"{START}/a": redirect("https://as.example:port/")}).client)


async def test_a_redirect_to_the_same_host_with_user_information_is_refused() -> None:
    with pytest.raises(SecurityError, match="user name"):
        await first(Site({f"{START}/a": redirect("https://user:secret@as.example/b")}).client)


async def test_a_redirect_with_a_fragment_is_refused_for_that() -> None:
    with pytest.raises(SecurityError, match="has a fragment"):
        await first(Site({f"{START}/a": redirect("/b#x"), f"{START}/b": DOCUMENT}).client)


# -- places --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/x",
        "ftp://as.example/x",
        "/relative",
        "https://user@as.example/x",
        "https://as.example/x#fragment",
        "http://127.0.0.1/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://api.localhost/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fd00::1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://127.1/x",
        "https://0/x",
        "https:///x",
    ],
)
async def test_a_place_that_could_hurt_is_not_contacted(url: str) -> None:
    site = Site({})
    with pytest.raises(SecurityError):
        await prober(site.client).look_for([url], "document", lambda answer: Reading())
    assert site.seen == []


@pytest.mark.parametrize("url", ["https://as.example/x", "https://8.8.8.8/x", "https://[2606:4700::1111]/x"])
async def test_a_public_place_is_contacted(url: str) -> None:
    await prober(Site({}).client).check_place(url)


@pytest.mark.parametrize("start", ["http://127.0.0.1:8000/mcp", "http://localhost/mcp", "http://[::1]/mcp"])
async def test_who_starts_on_this_machine_may_be_led_to_this_machine(start: str) -> None:
    await prober(Site({}).client, start).check_place("http://127.0.0.1:9000/.well-known/x")


@pytest.mark.parametrize("start", ["https://as.example:port", "https://xn--a.example"])
async def test_a_start_that_is_no_url_is_a_protocol_error(start: str) -> None:
    with pytest.raises(ProtocolError):
        prober(Site({}).client, start)


# -- the challenge -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "scopes", "outcome"),
    [
        (["Bearer ="], None, "a challenge that is malformed"),
        (['Bearer scope="a"', "Bearer ="], ("a",), "challenge, does not name its metadata"),
        (["Bearer =", f'Bearer scope="a", resource_metadata="{START}/m"'], ("a",), "challenge, names its metadata"),
        (['Bearer scope="a", resource_metadata="/m"'], ("a",), "challenge, does not name its metadata"),
    ],
)
async def test_what_is_wrong_beside_a_good_challenge_does_not_hide_it(
    lines: list[str], scopes: tuple[str, ...] | None, outcome: str
) -> None:
    guard = Response(status_code=401)
    for line in lines:
        guard.headers.append("WWW-Authenticate", line)
    asking = prober(Site({f"{START}/": guard}).client)
    challenge = await asking.challenge(START)
    assert (challenge.scopes if challenge is not None else None) == scopes
    assert [probe.outcome for probe in asking.probes] == [outcome]
    assert len(asking.findings) == 1


# -- deadline and retry --------------------------------------------------------------------------------------------


class Flaky(httpx.AsyncBaseTransport):
    """Refuses the connection for the first few requests, then leads to a server."""

    def __init__(self, failures: int, server: Script):
        self.failures = failures
        self.requests = 0
        self._inner = httpx.ASGITransport(server)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests <= self.failures:
            raise httpx.ConnectError("refused", request=request)
        return await self._inner.handle_async_request(request)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self)


async def test_a_server_that_cannot_be_reached_is_asked_once_more() -> None:
    flaky = Flaky(1, Script(JSONResponse(DOCUMENT)))
    assert await first(flaky.client) == f"{START}/a"
    assert flaky.requests == 2


async def test_and_not_a_third_time() -> None:
    flaky = Flaky(9, Script(Response(b"{}")))
    with pytest.raises(Unreachable):
        await first(flaky.client)
    assert flaky.requests == 2


class Silent(httpx.AsyncBaseTransport):
    """Never answers."""

    def __init__(self) -> None:
        self.requests = itertools.count(1)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        next(self.requests)
        await anyio.sleep_forever()
        raise AssertionError("woke up")

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self)


async def test_the_deadline_holds_for_all_probes_together() -> None:
    silent = Silent()
    with anyio.fail_after(5), pytest.raises(Unreachable, match="within"):
        await look(prober(silent.client, deadline=0.05), "/a", "/b")
    assert next(silent.requests) == 2, "one request used up the deadline, so there is no second one"


async def test_who_comes_after_the_deadline_is_told_of_no_time_at_all() -> None:
    with anyio.fail_after(5), pytest.raises(Unreachable, match="within 0 seconds"):
        await look(prober(Silent().client, deadline=-1))
