"""Faults on demand: every kind, at every endpoint, in process and over a socket."""

from __future__ import annotations

import anyio
import httpx
import pytest
from mock_github_world import API, CALLBACK, TOKEN, World

from mcp_oauth_nb.lab.mock_github.knobs import WaitingFault
from mcp_oauth_nb.oauth import http
from mcp_oauth_nb.oauth.errors import ProtocolError, RedirectRefused, Unreachable
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio

METADATA = "https://github.com/.well-known/oauth-authorization-server/login/oauth"


@pytest.fixture
def world() -> World:
    return World()


async def test_a_status_replaces_the_answer_once(world: World):
    world.github.faults.next_token(status=503)
    code = await world.code()
    response = await world.post_token({"code": code})
    assert (response.status_code, response.content) == (503, b"")
    # The endpoint never saw the request: the code is still good.
    assert "access_token" in await world.exchange(code)


async def test_every_endpoint_has_a_queue_of_its_own(world: World):
    faults = world.github.faults
    faults.next_authorize(status=500)
    faults.next_token(status=501)
    faults.next_device(status=502)
    faults.next_api(status=503)
    faults.next_discovery(status=504)
    assert (await world.send("GET", world.authorize_url())).status_code == 500
    assert (await world.post_token({})).status_code == 501
    assert (await world.send("POST", "https://github.com/login/device/code")).status_code == 502
    assert (await world.api("/user")).status_code == 503
    assert (await world.send("GET", METADATA)).status_code == 504


async def test_discovery_faults_cover_addresses_that_are_not_served(world: World):
    world.github.faults.next_discovery(status=500)
    assert (await world.send("GET", "https://github.com/.well-known/openid-configuration")).status_code == 500


async def test_faults_queue_repeat_and_can_be_cleared(world: World):
    faults = world.github.faults
    faults.next_api(status=500, times=2)
    faults.next_api(status=502)
    assert [(await world.api("/rate_limit")).status_code for _ in range(4)] == [500, 500, 502, 200]
    faults.next_api(status=500, times=9)
    faults.clock_skew = 60
    faults.clear()
    assert (await world.api("/rate_limit")).status_code == 200
    assert faults.clock_skew == 0


async def test_a_body_and_its_type_can_be_made_up(world: World):
    world.github.faults.next_token(body='{"access_token": NaN}', content_type="application/json")
    world.github.faults.next_token(body=b"\xff\xfe", status=400)
    first = await world.post_token({})
    assert (first.status_code, first.text) == (200, '{"access_token": NaN}')
    second = await world.post_token({})
    assert (second.status_code, second.content) == (400, b"\xff\xfe")


async def test_headers_are_added_to_a_made_up_answer_and_to_the_real_one(world: World):
    world.github.faults.next_token(status=429, headers={"Retry-After": "7"})
    assert (await world.post_token({})).headers["retry-after"] == "7"
    world.github.faults.next_token(headers={"Content-Type": "text/html"})
    response = await world.post_token({"code": await world.code()})
    assert response.headers["content-type"] == "text/html"
    assert response.json()["access_token"].startswith("gho_")


async def test_a_redirect_can_be_made_up(world: World):
    world.github.faults.next_token(status=307, headers={"Location": "https://evil.example/"})
    with pytest.raises(RedirectRefused):
        await ask(world)


async def test_an_html_page_in_the_place_of_json(world: World):
    world.github.faults.next_token(not_json=True)
    response = await world.post_token({})
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!doctype html>")


async def test_an_oversized_answer_has_exactly_that_many_bytes(world: World):
    world.github.faults.next_token(oversized=2 * MAX_BODY_BYTES)
    assert len((await world.post_token({})).content) == 2 * MAX_BODY_BYTES
    world.github.faults.next_token(oversized=2 * MAX_BODY_BYTES)
    with pytest.raises(ProtocolError, match="more than"):
        await ask(world)


async def test_a_truncated_answer_breaks_off_in_the_middle(world: World):
    code = await world.code()
    world.github.faults.next_token(truncated=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await world.post_token({"code": code})
    # What was truncated is the endpoint's own answer: the code is used up.
    assert (await world.exchange(code))["error"] == "bad_verification_code"


async def test_a_dropped_request_is_a_connection_error_and_never_reached_the_endpoint(world: World):
    code = await world.code()
    world.github.faults.next_token(drop=True)
    with pytest.raises(httpx.ReadError):
        await world.post_token({"code": code})
    assert "access_token" in await world.exchange(code)
    world.github.faults.next_token(drop=True)
    with pytest.raises(Unreachable):
        await ask(world)


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 500}])
async def test_an_answer_can_be_lost_after_the_work_was_done(world: World, fault: dict[str, object]):
    old = await world.sign_in()
    world.github.faults.next_token(processed=True, **fault)
    try:
        assert (await world.post_token({"grant_type": "refresh_token", "refresh_token": old["refresh_token"]})).is_error
    except httpx.ReadError:
        assert fault == {"drop": True}
    assert not await world.works(old["access_token"])
    assert (await world.refresh(old["refresh_token"]))["error"] == "bad_refresh_token"


async def test_a_slow_answer_can_be_given_up_on(world: World):
    world.github.faults.next_token(delay=3600)
    with pytest.raises(Unreachable, match=r"within 0\.01 seconds"):
        await ask(world, deadline=0.01)
    with anyio.fail_after(5):
        assert (await world.post_token({})).status_code == 200


async def test_a_short_delay_changes_nothing_else(world: World):
    world.github.faults.next_token(delay=0.001)
    assert "access_token" in await world.sign_in()


async def test_the_authorization_endpoint_can_fail_in_the_browser_of_the_person(world: World):
    world.github.faults.next_authorize(status=500)
    with pytest.raises(ProtocolError, match="answered 500"):
        await world.browser.authorize(world.authorize_url())


def test_a_fault_without_options_changes_nothing():
    assert not WaitingFault.of({}).made_up


async def ask(world: World, *, deadline: float = 5.0) -> http.Answer:
    """Ask the token endpoint the way the package itself does."""

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=world.transport)

    return await http.send(client, "POST", TOKEN, data={"redirect_uri": CALLBACK}, deadline=deadline)


async def test_the_api_can_be_spoiled_for_a_caller_with_a_token(world: World):
    token = world.github.issue_token()
    world.github.faults.next_api(body="[", truncated=False)
    response = await world.send("GET", f"{API}/user", headers={"Authorization": f"Bearer {token.access_token}"})
    assert response.text == "["
