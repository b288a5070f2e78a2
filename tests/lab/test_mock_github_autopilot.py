"""The autopilot: a browser that says yes, no, or that the page makes no sense."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from mock_github_world import CALLBACK, World

from mcp_oauth_nb.lab.mock_github import Autopilot
from mcp_oauth_nb.oauth.errors import ProtocolError

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


class Recording(httpx.AsyncBaseTransport):
    """Passes requests on and keeps their URLs; or answers them itself."""

    def __init__(self, answer: httpx.AsyncBaseTransport | Callable[[httpx.Request], httpx.Response]):
        self.answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.answer, httpx.AsyncBaseTransport):
            return await self.answer.handle_async_request(request)
        return self.answer(request)


async def test_the_callback_is_returned_and_not_requested(world: World):
    recording = Recording(world.transport)
    end = await Autopilot(recording).authorize(world.authorize_url(state="s"))
    assert end.startswith(CALLBACK + "?code=")
    assert {request.url.host for request in recording.requests} == {"github.com"}
    steps = [(request.method, request.url.path) for request in recording.requests]
    assert steps == [
        ("GET", "/login/oauth/authorize"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/login/oauth/authorize"),
        ("POST", "/login/oauth/authorize"),
    ]


async def test_a_second_visit_is_signed_in_and_redirected_at_once(world: World):
    recording = Recording(world.transport)
    browser = Autopilot(recording)
    await browser.authorize(world.authorize_url())
    recording.requests.clear()
    await browser.authorize(world.authorize_url())
    assert len(recording.requests) == 1


async def test_it_acts_as_the_user_that_it_was_given(world: World):
    world.browser = Autopilot(world.transport, user="monalisa")
    token = await world.sign_in()
    assert (await world.api("/user", token["access_token"])).json()["login"] == "monalisa"


async def test_an_account_that_does_not_exist_is_an_error_that_names_those_that_do(world: World):
    with pytest.raises(ProtocolError, match="no account 'nobody'") as caught:
        await Autopilot(world.transport, user="nobody").authorize(world.authorize_url())
    assert "octocat, hubot, monalisa" in caught.value.hint


async def test_an_added_account_can_sign_in(world: World):
    world.github.add_user("ada", email="ada@example.com")
    world.browser = Autopilot(world.transport, user="ada")
    token = await world.sign_in(scope="repo")
    assert (await world.api("/user", token["access_token"])).json()["email"] == "ada@example.com"
    assert (await world.api("/user/repos", token["access_token"])).json() == []
    world.github.add_repository("ada", "engine", private=True)
    assert [item["full_name"] for item in (await world.api("/user/repos", token["access_token"])).json()] == [
        "ada/engine"
    ]


async def test_an_error_page_is_a_typed_error_with_its_status_and_title(world: World):
    with pytest.raises(ProtocolError, match="404 with the page 'Page not found'"):
        await world.browser.authorize(world.authorize_url(client_id="unknown"))


async def test_a_page_that_asks_nothing_is_a_dead_end(world: World):
    with pytest.raises(ProtocolError, match="ended on the page"):
        await world.browser.authorize("https://github.com/")


async def test_a_redirect_loop_comes_to_an_end(world: World):
    loop = Recording(lambda _: httpx.Response(302, headers={"Location": "/again"}))
    with pytest.raises(ProtocolError, match="did not come to an end"):
        await Autopilot(loop).authorize("https://other.example/authorize")
    assert len(loop.requests) == 10


async def test_it_follows_an_immediate_redirect_of_a_provider_it_does_not_know(world: World):
    other = Recording(lambda _: httpx.Response(302, headers={"Location": CALLBACK + "?code=x"}))
    assert await Autopilot(other).authorize("https://other.example/authorize") == CALLBACK + "?code=x"


async def test_signing_in_ahead_lets_the_next_authorization_begin_with_the_consent_page(world: World):
    await world.browser.sign_in()
    page = await world.visit(world.authorize_url())
    assert page.status_code == 200
    assert 'name="authorize"' in page.text


def test_its_repr_names_the_user_and_is_the_same_on_every_run(world: World):
    assert repr(world.browser) == "Autopilot(octocat)"
