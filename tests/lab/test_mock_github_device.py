"""The device flow (RFC 8628)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from mock_github_world import CALLBACK, World

from mcp_oauth_nb.lab.mock_github import Autopilot, OAuthApp
from mcp_oauth_nb.oauth.errors import ProtocolError

pytestmark = pytest.mark.anyio

CODE = "https://github.com/login/device/code"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
JSON = {"Accept": "application/json"}


@pytest.fixture
def world() -> World:
    return World()


async def start(world: World, **fields: str) -> dict[str, Any]:
    data = {"client_id": world.github.client_id, "scope": "read:user"} | fields
    return (await world.send("POST", CODE, data=data, headers=JSON)).json()


async def poll(world: World, device_code: str, app: OAuthApp | None = None) -> dict[str, Any]:
    """Ask as a device does: without a client secret."""
    client_id = app.client_id if app else world.github.client_id
    fields = {"client_id": client_id, "device_code": device_code, "grant_type": GRANT_TYPE}
    url = "https://github.com/login/oauth/access_token"
    response = await world.send("POST", url, data=fields, headers=JSON)
    assert response.status_code == 200
    return response.json()


async def test_the_start_gives_both_codes_the_address_and_the_pace(world: World):
    started = await start(world)
    assert len(started["device_code"]) == 40
    assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", started["user_code"])
    assert started["verification_uri"] == "https://github.com/login/device"
    assert started["expires_in"] == 900
    assert started["interval"] == 5


async def test_the_start_answers_a_form_unless_json_is_accepted(world: World):
    response = await world.send("POST", CODE, data={"client_id": world.github.client_id})
    assert response.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert "user_code=" in response.text


async def test_an_approved_device_gets_its_token_once(world: World):
    started = await start(world, scope="read:user gist")
    assert (await poll(world, started["device_code"]))["error"] == "authorization_pending"
    await world.browser.approve_device(started["user_code"])
    world.clock.advance(seconds=5)
    token = await poll(world, started["device_code"])
    assert token["scope"] == "read:user,gist"
    assert (await world.api("/user", token["access_token"])).json()["login"] == "octocat"
    world.clock.advance(seconds=5)
    assert (await poll(world, started["device_code"]))["error"] == "incorrect_device_code"


async def test_a_refused_device_is_told(world: World):
    started = await start(world)
    await world.browser.approve_device(started["user_code"], allow=False)
    assert (await poll(world, started["device_code"]))["error"] == "access_denied"


async def test_a_user_may_grant_a_device_less_than_it_asked(world: World):
    started = await start(world, scope="repo gist")
    await world.browser.approve_device(started["user_code"], scopes=["gist"])
    assert (await poll(world, started["device_code"]))["scope"] == "gist"


async def test_what_a_user_has_allowed_a_device_the_app_is_not_asked_for_again_in_a_browser(world: World):
    started = await start(world, scope="repo gist")
    await world.browser.approve_device(started["user_code"], scopes=["gist"])
    assert (await world.visit(world.authorize_url(scope="gist"))).status_code == 302
    assert (await world.visit(world.authorize_url(scope="repo"))).status_code == 200


async def test_who_polls_too_fast_waits_five_seconds_more_from_then_on(world: World):
    started = await start(world)
    await poll(world, started["device_code"])
    world.clock.advance(seconds=4)
    answer = await poll(world, started["device_code"])
    assert (answer["error"], answer["interval"]) == ("slow_down", 10)
    world.clock.advance(seconds=9)
    answer = await poll(world, started["device_code"])
    assert (answer["error"], answer["interval"]) == ("slow_down", 15)
    world.clock.advance(seconds=15)
    assert (await poll(world, started["device_code"]))["error"] == "authorization_pending"


async def test_a_device_code_expires_after_fifteen_minutes(world: World):
    started = await start(world)
    world.clock.advance(seconds=900)
    assert (await poll(world, started["device_code"]))["error"] == "expired_token"
    with pytest.raises(ProtocolError, match="did not accept the user code"):
        await world.browser.approve_device(started["user_code"])


async def test_a_device_code_works_for_its_own_app_only(world: World):
    started = await start(world)
    other = world.github.register_app("Other", [CALLBACK])
    assert (await poll(world, started["device_code"], app=other))["error"] == "incorrect_device_code"
    assert (await poll(world, "unknown"))["error"] == "incorrect_device_code"


async def test_an_app_without_the_device_flow_is_refused_at_both_endpoints(world: World):
    app = world.github.register_app("No devices", [CALLBACK], device_flow=False)
    assert (await start(world, client_id=app.client_id))["error"] == "device_flow_disabled"
    assert (await poll(world, "x", app=app))["error"] == "device_flow_disabled"


async def test_an_unknown_client_is_refused(world: World):
    assert (await start(world, client_id="unknown"))["error"] == "incorrect_client_credentials"


async def test_offline_access_asks_for_a_refresh_token(world: World):
    app = world.github.register_app("Plain", [CALLBACK], expiring_tokens=False)
    for scope, expected in (("read:user", False), ("read:user offline_access", True)):
        started = await start(world, client_id=app.client_id, scope=scope)
        await world.browser.approve_device(started["user_code"])
        assert ("refresh_token" in await poll(world, started["device_code"], app=app)) is expected


async def test_the_lifetime_and_the_pace_are_knobs(world: World):
    world.github.knobs.device_code_lifetime, world.github.knobs.device_interval = 60, 1
    started = await start(world)
    assert (started["expires_in"], started["interval"]) == (60, 1)


# -- the pages for the person -----------------------------------------------------------------------------------


async def test_case_dash_and_spaces_do_not_matter_when_the_code_is_typed(world: World):
    started = await start(world)
    await world.browser.approve_device(f" {started['user_code'].lower().replace('-', ' ')} ")
    assert "access_token" in await poll(world, started["device_code"])


async def test_a_wrong_code_is_refused(world: World):
    with pytest.raises(ProtocolError, match="did not accept the user code"):
        await world.browser.approve_device("AAAA-AAAA")


async def test_a_code_that_was_decided_cannot_be_decided_again(world: World):
    started = await start(world)
    await world.browser.approve_device(started["user_code"], allow=False)
    with pytest.raises(ProtocolError):
        await world.browser.approve_device(started["user_code"])
    assert (await poll(world, started["device_code"]))["error"] == "access_denied"


async def test_the_consent_page_names_the_app_and_says_that_a_device_gets_the_access(world: World):
    started = await start(world)
    page = await typed(world, started["user_code"])
    assert "Mock OAuth App" in page.text
    assert "the device that shows the code" in page.text


async def test_the_forms_belong_to_the_browser_that_got_them(world: World):
    started = await start(world)
    page = await typed(world, started["user_code"])
    mona = Autopilot(world.transport, user="monalisa")
    await mona.authorize(world.authorize_url())
    stolen = {"authenticity_token": form_token(page.text), "user_code": started["user_code"], "authorize": "1"}
    world.browser = mona
    for path in ("/login/device", "/login/device/authorize"):
        response = await world.visit("https://github.com" + path, "POST", data=stolen)
        assert response.status_code == 422
    assert (await poll(world, started["device_code"]))["error"] == "authorization_pending"


async def test_a_code_that_expires_before_the_click_is_not_connected(world: World):
    started = await start(world)
    page = await typed(world, started["user_code"])
    world.clock.advance(seconds=900)
    fields = {"authenticity_token": form_token(page.text), "user_code": started["user_code"], "authorize": "1"}
    response = await world.visit("https://github.com/login/device/authorize", "POST", data=fields)
    assert response.status_code == 422


def form_token(page: str) -> str:
    found = re.search(r'name="authenticity_token" value="(\w+)"', page)
    assert found is not None
    return found.group(1)


async def typed(world: World, user_code: str) -> Any:
    """Sign in, type the code, and return the consent page."""
    await world.callback()
    page = await world.visit("https://github.com/login/device")
    fields = {"authenticity_token": form_token(page.text), "user_code": user_code}
    return await world.visit("https://github.com/login/device", "POST", data=fields)


# -- refreshing without a secret ----------------------------------------------------------------------------------


async def refreshed(world: World, refresh_token: str, **fields: str) -> dict[str, Any]:
    data = {"client_id": world.github.client_id, "grant_type": "refresh_token", "refresh_token": refresh_token}
    response = await world.send("POST", "https://github.com/login/oauth/access_token", data=data | fields, headers=JSON)
    return response.json()


async def test_a_device_refreshes_again_and_again_without_the_client_secret(world: World):
    started = await start(world)
    await world.browser.approve_device(started["user_code"])
    first = await poll(world, started["device_code"])
    second = await refreshed(world, first["refresh_token"])
    third = await refreshed(world, second["refresh_token"])
    assert await world.works(third["access_token"])
    assert not await world.works(second["access_token"])
    wrong = await refreshed(world, third["refresh_token"], client_secret="wrong")
    assert wrong["error"] == "incorrect_client_credentials"
    assert (await refreshed(world, third["refresh_token"], client_id="unknown"))["error"] == wrong["error"]


async def test_what_came_by_a_browser_is_not_refreshed_without_the_client_secret(world: World):
    token = await world.sign_in()
    assert (await refreshed(world, token["refresh_token"]))["error"] == "incorrect_client_credentials"
