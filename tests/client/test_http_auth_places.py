"""Where an MCP server may lead the client: the attack (server-side request forgery) with the defence on."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from odd_places import INSIDE, ODD, OUTSIDE, WAYS, naming
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb.oauth.allowed_urls import Places
from mcp_oauth_nb.oauth.errors import ProtocolError, SecurityError
from mcp_oauth_nb.oauth.urls import resolve

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("place", ODD)
@pytest.mark.parametrize("where", WAYS)
async def test_a_server_on_the_internet_leads_to_no_odd_place(where: str, place: str) -> None:
    steps = Steps(**naming(where, place))
    with pytest.raises(SecurityError) as caught:
        await steps.walk()
    assert caught.value.kind == "security"
    assert caught.value.reference
    # Nothing was asked there, nothing was sent anywhere, and nobody was sent away.
    assert not [
        url for url in steps.urls if not url.startswith((f"POST {SERVER}", f"GET {ISSUER}", "GET https://mcp."))
    ]
    assert steps.sent_to == []
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("where", WAYS)
@pytest.mark.parametrize("place", ["https://login.other.example", "https://xn--e1afmkfd.xn--p1ai"])
async def test_it_may_lead_elsewhere_on_the_internet(where: str, place: str) -> None:
    steps = Steps(**naming(where, place))
    assert (await steps.walk()).status_code == 200


@pytest.mark.parametrize(
    ("server", "place", "allowed"),
    [
        ("https://mcp.lan/mcp", "https://login.lan", True),
        ("https://mcp.lan/mcp", "https://login.example", True),
        ("https://mcp.lan/mcp", "https://localhost", False),
        ("https://mcp.lan/mcp", "http://login.lan", False),
        ("https://mcp.lan/mcp", "https://169.254.169.254", False),
        ("https://10.1.1.1/mcp", "https://10.1.1.2", True),
        ("http://127.0.0.1:8000/mcp", "http://127.0.0.1:9000", True),
        ("http://127.0.0.1:8000/mcp", "http://localhost:9000", True),
        ("http://localhost:8000/mcp", "http://[::1]:9000", True),
        ("http://127.0.0.1:8000/mcp", "https://login.lan", True),
        ("http://127.0.0.1:8000/mcp", "http://login.lan", False),
        ("http://127.0.0.1:8000/mcp", "http://login.example", False),
        ("http://127.0.0.1:8000/mcp", "https://169.254.169.254", False),
        # A link-local server, or one in disguise, leads no further than a stranger, but may be asked itself.
        ("https://169.254.1.1/mcp", "https://10.0.0.1", False),
        ("https://169.254.1.1/mcp", "https://169.254.1.1", True),
        ("http://mcp.lan/mcp", "http://mcp.lan", False),
    ],
)
@pytest.mark.parametrize("where", ["token_endpoint", "registration_endpoint"])
async def test_a_server_leads_outward_only(where: str, server: str, place: str, allowed: bool) -> None:
    steps = Steps(server=server, **naming(where, place))
    if allowed:
        assert (await steps.walk()).status_code == 200
    else:
        with pytest.raises(SecurityError):
            await steps.walk()
        assert not [url for url in steps.urls if place in url and server not in url and "/.well-known/" not in url]


async def test_what_the_user_chose_may_be_asked_without_tls_for_what_is_public_anyway() -> None:
    steps = Steps(server="http://mcp.lan/mcp")
    assert (await steps.walk()).status_code == 200
    assert steps.urls[1].startswith("GET http://mcp.lan/.well-known/")


# -- after resolution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", INSIDE)
async def test_a_public_server_leads_to_no_name_with_an_address_inside(address: str) -> None:
    steps = Steps(peer=OUTSIDE, addresses=["93.184.215.14", address])
    with pytest.raises(SecurityError, match="resolves to an address"):
        await steps.walk()
    assert not [url for url in steps.urls if ISSUER in url]


async def test_names_are_resolved_that_are_not_the_servers_own() -> None:
    steps = Steps(peer=OUTSIDE)
    assert (await steps.walk()).status_code == 200
    assert set(steps.resolved) == {"auth.example"}


async def test_a_name_without_an_address_is_for_the_request_to_report() -> None:
    steps = Steps(peer=OUTSIDE, addresses=None)
    assert (await steps.walk()).status_code == 200


@pytest.mark.parametrize("peer", [("10.0.0.7", 443), None, "/run/mcp.sock"])
async def test_a_name_of_a_private_network_leads_to_its_neighbours(peer: Any) -> None:
    steps = Steps(peer=peer, addresses=["10.0.0.8"])
    assert (await steps.walk()).status_code == 200
    assert steps.resolved == []


async def test_a_name_that_leads_to_this_machine_may_name_what_is_there() -> None:
    steps = Steps(peer=("127.0.0.1", 8000), changed={"token_endpoint": "http://127.0.0.1:9000/token"})
    assert (await steps.walk()).status_code == 200


# -- redirects -------------------------------------------------------------------------------------------------------


def redirect(place: str) -> Any:
    def answer(request: httpx2.Request) -> httpx2.Response:
        response = httpx2.Response(302, headers={"Location": place}, request=request)
        response.next_request = httpx2.Request("GET", place)
        return response

    return answer


@pytest.mark.parametrize(
    "place", ["https://elsewhere.example/prm", "http://169.254.169.254/latest", "http://mcp.example/x"]
)
async def test_a_redirect_of_a_discovery_to_another_origin_is_not_followed(place: str) -> None:
    steps = Steps(instead={"https://mcp.example/.well-known/oauth-protected-resource/mcp": redirect(place)})
    await steps.walk()
    assert not [url for url in steps.urls if place in url]


async def test_a_redirect_within_the_origin_is_followed_a_few_times_only() -> None:
    loop = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
    steps = Steps(instead={loop: redirect(loop)})
    await steps.walk()
    assert steps.urls.count(f"GET {loop}") <= 6


@pytest.mark.parametrize("place", ["https://[::1", "https://auth.example:port", "mcp.example/metadata", "https:///x"])
async def test_an_address_in_the_challenge_that_is_no_url_counts_as_absent(place: str) -> None:
    steps = Steps(resource_metadata=place)
    await steps.walk()
    assert steps.urls[1] == "GET https://mcp.example/.well-known/oauth-protected-resource/mcp"


async def test_an_address_that_only_some_readers_understand_is_refused() -> None:
    with pytest.raises(SecurityError, match="malformed"):
        await Steps(resource_metadata="https://0177.0.0.1").walk()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https:///x", "must be an http"),
        ("https://as.example/\ud800", "has characters"),
        ("https://x:y", "must be an http"),
    ],
)
def test_an_address_that_is_none_is_refused_for_that_and_shown_in_printable_characters(url: str, why: str) -> None:
    with pytest.raises(SecurityError, match=re.escape(why)) as caught:
        Places(SERVER, resolve).check(url, credentials=True)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("where", WAYS[2:])
@pytest.mark.parametrize("fragment", ["#x", "#"])
async def test_an_endpoint_with_a_fragment_is_refused_before_anybody_is_sent_there(where: str, fragment: str) -> None:
    steps = Steps(changed={where: f"{ISSUER}/x{fragment}"})
    with pytest.raises(SecurityError, match="has a fragment"):
        await steps.walk()
    assert steps.sent_to == []


async def test_a_url_beyond_all_measure_is_a_typed_error() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        await Steps(changed={"registration_endpoint": f"{ISSUER}/{'x' * 70_000}"}).walk()
