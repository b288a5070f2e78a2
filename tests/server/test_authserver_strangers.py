"""What people who have not signed in may cost the authorization server: bounded, by address, and for a short time."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from authserver_world import CALLBACK, PUBLIC_CLIENT, World, answer
from mcp.server.auth.provider import AuthorizationParams, AuthorizeError
from pydantic import AnyUrl
from starlette.applications import Starlette
from test_authserver_documents import URL, Web

from mcp_oauth_nb.server.authserver import consent, sdk_provider
from mcp_oauth_nb.server.authserver.clients import MOST_NEWCOMERS, MOST_NEWCOMERS_EACH
from mcp_oauth_nb.server.authserver.sdk_provider import MOST_FLOWS_EACH

pytestmark = pytest.mark.anyio

REGISTRATION = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def world() -> World:
    return World()


async def ask(world: World, method: str, path: str, client: str = HERE, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=world.server.routes()), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url=world.public_url) as http:
        return await http.request(method, path, **options)


async def register(world: World, client: str = HERE) -> str:
    response = await ask(world, "POST", "/register", client, json=REGISTRATION)
    assert response.status_code == 201
    return str(response.json()["client_id"])


async def is_known(world: World, client_id: str) -> bool:
    return (await ask(world, "GET", "/authorize", THERE, params=world.request(client_id=client_id))).status_code == 302


async def test_registrations_of_one_address_displace_its_own_and_no_other(world: World) -> None:
    mine, first = await register(world, THERE), await register(world)
    for _ in range(MOST_NEWCOMERS_EACH):
        last = await register(world)
    assert [await is_known(world, one) for one in (mine, first, last)] == [True, False, True]
    assert await world.stored("newcomers", "clients") == MOST_NEWCOMERS_EACH + 1 < MOST_NEWCOMERS


async def test_a_client_that_somebody_signed_in_with_is_displaced_by_no_number_of_registrations(world: World) -> None:
    used = await register(world)
    fields = world.exchange(await world.code(client_id=used), client_id=used)
    assert (await world.http.post("/token", data=fields)).status_code == 200
    assert (await world.stored("newcomers"), await world.stored("clients")) == (0, 1)
    for _ in range(MOST_NEWCOMERS_EACH + 1):
        await register(world)
    assert await is_known(world, used)


async def test_a_registration_that_nobody_signs_in_with_ends_after_a_day(world: World) -> None:
    client = await register(world)
    world.clock.advance(hours=24, seconds=-1)
    assert await is_known(world, client)
    world.clock.advance(seconds=1)
    assert not await is_known(world, client)


async def test_authorization_requests_of_one_address_displace_its_own_and_no_other(world: World) -> None:
    mine = await world.browser.consent_page(world.request())
    for _ in range(105):
        assert (await ask(world, "GET", "/authorize", params=world.request())).status_code == 302
    assert await world.stored("flows") == 100 + 1
    assert (await world.browser.press(mine)).status_code == 303


async def test_requests_on_their_way_through_github_are_bounded_by_address_too(world: World) -> None:
    for _ in range(MOST_FLOWS_EACH + 2):
        await world.browser.press(await world.browser.consent_page(world.request()))
    assert await world.stored("upstream_flows") == MOST_FLOWS_EACH
    assert await world.stored("flows") == 0
    # What is gone through, or ended, takes no place.
    endpoints: consent.ConsentEndpoint = world.server._consent
    assert len(endpoints._flows) == 0
    assert "code" in answer(await world.browser.authorize(world.request()))
    assert len(endpoints._upstream_flows) == MOST_FLOWS_EACH - 1


async def test_a_button_that_anybody_can_press_leaves_no_consent_before_github_says_who_it_was(world: World) -> None:
    shop = world.request(client_id="shop", redirect_uri="https://shop.example/cb")
    await world.browser.press(await world.browser.consent_page(shop))
    assert await world.stored("consents") == 0
    await world.browser.authorize(shop, at_github=False)
    assert await world.stored("consents") == 0
    await world.browser.authorize(shop)
    assert await world.stored("consents") == 1


async def test_documents_that_strangers_have_fetched_displace_their_own_and_end_with_their_time() -> None:
    web = Web()
    world = World(document_client=web.fetcher())
    for number in range(25):
        web.document["client_id"] = f"{URL}/{number}"
        response = await ask(world, "GET", "/authorize", params=world.request(client_id=f"{URL}/{number}"))
        assert response.status_code == 302
    assert (await world.stored("new_documents"), await world.stored("documents")) == (20, 0)
    web.document["client_id"] = URL
    fields = world.exchange(await world.code(client_id=URL), client_id=URL)
    assert (await world.http.post("/token", data=fields)).status_code == 200
    assert await world.stored("documents") == 1
    # The client that somebody has signed in with survives its server for a while, the others do not.
    web.status = 503
    world.clock.advance(days=1)
    for client_id, status in ((URL, 302), (f"{URL}/24", 400)):
        response = await ask(world, "GET", "/authorize", params=world.request(client_id=client_id))
        assert response.status_code == status


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_authorization_request_is_kept_and_so_it_is_short(world: World, method: str) -> None:
    where = "params" if method == "GET" else "data"
    for size, good in ((12_000, True), (17_000, False)):
        response = await ask(world, method, "/authorize", **{where: world.request(state="s" * size)})
        assert (response.status_code == 302) == good
        assert await world.stored("flows") == 1


async def test_whoever_hands_the_provider_a_request_for_another_resource_is_refused_and_nothing_is_kept(
    world: World,
) -> None:
    asked: sdk_provider.Provider = world.server._back._tokens.provider
    params = AuthorizationParams(
        state=None,
        scopes=["repo"],
        code_challenge="x",
        redirect_uri=AnyUrl(CALLBACK),
        redirect_uri_provided_explicitly=True,
        resource="https://other.example/mcp",
    )
    with pytest.raises(AuthorizeError) as caught:
        await asked.authorize(PUBLIC_CLIENT, params)
    assert caught.value.error == "invalid_target"
    assert await world.stored() == 0


def test_an_authorization_request_waits_as_long_as_a_session_without_a_token() -> None:
    from mcp_oauth_nb.server.resource.sessions import ANONYMOUS_IDLE_SECONDS

    assert sdk_provider.FLOW_LIFETIME_SECONDS == ANONYMOUS_IDLE_SECONDS
