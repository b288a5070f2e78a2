"""Where a discovery may be led: the attack (server-side request forgery) with the defence on, as for `McpAuth`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from odd_places import INSIDE, ODD, OUTSIDE, WAYS, naming
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb.oauth.discovery import Discovery, discover
from mcp_oauth_nb.oauth.errors import ProtocolError, RedirectRefused, SecurityError, Unreachable

pytestmark = pytest.mark.anyio


class Carried(httpx.AsyncBaseTransport):
    """Leads to the servers of `Steps`, for the HTTP library that a discovery uses."""

    def __init__(self, steps: Steps):
        self._steps = steps

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = httpx2.Request(request.method, str(request.url), headers=request.headers.raw)
        self._steps.requests.append(asked)
        answer = self._steps.answer(asked)
        headers = answer.headers.raw
        return httpx.Response(answer.status_code, headers=headers, content=answer.content, extensions=answer.extensions)


async def found(steps: Steps) -> Discovery:
    transport = Carried(steps)
    return await discover(steps.server, client=lambda: httpx.AsyncClient(transport=transport), resolver=steps.resolve)


@pytest.mark.parametrize("place", ODD)
@pytest.mark.parametrize("where", WAYS)
async def test_a_server_on_the_internet_leads_a_discovery_to_no_odd_place(where: str, place: str) -> None:
    steps = Steps(**naming(where, place))
    with pytest.raises(SecurityError) as caught:
        await found(steps)
    assert caught.value.reference
    # Nothing was asked there.
    expected = (f"POST {SERVER}", f"GET {ISSUER}/", "GET https://mcp.example/")
    assert not [url for url in steps.urls if not url.startswith(expected)]
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("place", ["https://login.other.example", "https://xn--e1afmkfd.xn--p1ai", "https://8.8.8.8"])
@pytest.mark.parametrize("where", WAYS)
async def test_it_may_lead_a_discovery_elsewhere_on_the_internet(where: str, place: str) -> None:
    assert (await found(Steps(peer=OUTSIDE, **naming(where, place)))).server.metadata


@pytest.mark.parametrize(
    ("server", "place", "allowed"),
    [
        ("https://mcp.lan/mcp", "https://login.lan", True),
        ("https://mcp.lan/mcp", "https://login.example", True),
        ("https://mcp.lan/mcp", "https://localhost", False),
        ("https://mcp.lan/mcp", "https://169.254.169.254", False),
        ("https://10.1.1.1/mcp", "https://10.1.1.2", True),
        ("http://127.0.0.1:8000/mcp", "http://127.0.0.1:9000", True),
        ("http://localhost:8000/mcp", "http://[::1]:9000", True),
        ("http://127.0.0.1:8000/mcp", "https://login.lan", True),
        ("http://127.0.0.1:8000/mcp", "http://login.example", False),
        ("http://127.0.0.1:8000/mcp", "https://169.254.169.254", False),
    ],
)
@pytest.mark.parametrize("where", ["authorization_servers", "token_endpoint"])
async def test_a_server_leads_a_discovery_outward_only(where: str, server: str, place: str, allowed: bool) -> None:
    steps = Steps(server=server, peer=("10.0.0.7", 443), addresses=["10.0.0.8"], **naming(where, place))
    if allowed:
        assert (await found(steps)).server.metadata
    else:
        with pytest.raises(SecurityError):
            await found(steps)
        assert not [url for url in steps.urls if place in url]
    assert steps.resolved == []


@pytest.mark.parametrize("server", ["http://mcp.example/mcp", "http://mcp.lan/mcp"])
async def test_nobody_is_discovered_without_tls_but_on_this_machine(server: str) -> None:
    steps = Steps(server=server)
    with pytest.raises(SecurityError, match="without TLS") as caught:
        await found(steps)
    assert "https" in (caught.value.hint or "")
    assert steps.requests == []


# -- after resolution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", INSIDE)
@pytest.mark.parametrize("where", WAYS)
async def test_a_public_server_leads_a_discovery_to_no_name_with_an_address_inside(where: str, address: str) -> None:
    steps = Steps(peer=OUTSIDE, addresses=["93.184.215.14", address], **naming(where, "https://rebound.example"))
    with pytest.raises(SecurityError, match="resolves to an address"):
        await found(steps)
    assert not [url for url in steps.urls if "rebound" in url]


async def test_a_discovery_resolves_the_names_that_are_not_the_servers_own() -> None:
    steps = Steps(peer=OUTSIDE)
    assert (await found(steps)).server.issuer == ISSUER
    assert set(steps.resolved) == {"auth.example"}


async def test_a_discovery_leaves_a_name_without_an_address_to_the_request() -> None:
    assert (await found(Steps(peer=OUTSIDE, addresses=None))).server.issuer == ISSUER


@pytest.mark.parametrize("peer", [None, "/run/mcp.sock"])
async def test_without_a_network_no_name_is_resolved(peer: Any) -> None:
    steps = Steps(peer=peer, addresses=["10.0.0.8"])
    assert (await found(steps)).server.issuer == ISSUER
    assert steps.resolved == []


async def test_a_proxy_inside_takes_no_server_inside() -> None:
    # The connection is the proxy's, and so is the address that answers come from.
    with pytest.raises(SecurityError):
        await found(Steps(peer=("127.0.0.1", 3128), authorization_servers=["https://10.0.0.1"]))


async def test_a_name_service_that_is_silent_costs_no_more_than_the_deadline() -> None:
    steps = Steps(peer=OUTSIDE)

    async def silent(host: str) -> Sequence[str]:
        await anyio.sleep_forever()
        raise AssertionError("woke up")

    transport = Carried(steps)
    with anyio.fail_after(5), pytest.raises(Unreachable, match="within"):
        await discover(SERVER, client=lambda: httpx.AsyncClient(transport=transport), deadline=0.05, resolver=silent)
    assert not [url for url in steps.urls if ISSUER in url]


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["https://rebound.example/x", "https://169.254.169.254/latest", "http://auth.example/x"]
)
async def test_a_redirect_leads_a_discovery_nowhere_else(place: str) -> None:
    def redirect(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"Location": place}, request=request)

    steps = Steps(peer=OUTSIDE, instead={f"{ISSUER}/.well-known/": redirect})
    with pytest.raises(RedirectRefused):
        await found(steps)
    assert not [url for url in steps.urls if place in url]


async def test_a_name_that_moves_inside_between_two_requests_is_noticed() -> None:
    steps = Steps(peer=OUTSIDE)

    def moved(request: httpx2.Request) -> httpx2.Response:
        steps.addresses = ["10.0.0.1"]
        return httpx2.Response(302, headers={"Location": "/moved"}, request=request)

    steps.instead[f"{ISSUER}/.well-known/"] = moved
    with pytest.raises(SecurityError, match="resolves to an address"):
        await found(steps)
    assert not [url for url in steps.urls if "/moved" in url]


@pytest.mark.parametrize("place", ["https://[::1", "https://auth.example:port", "https://0177.0.0.1"])
async def test_an_endpoint_that_is_no_url_is_refused_where_it_is_needed(place: str) -> None:
    with pytest.raises((SecurityError, ProtocolError), match=r"malformed|`token_endpoint` is wrong"):
        await found(Steps(changed={"token_endpoint": place}))
    await found(Steps(changed={"an_unknown_endpoint": place}))
