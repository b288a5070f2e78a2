"""The mock as a whole: one app for two hosts, deterministic, safe across threads, and alone on a port."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
import httpx
import pytest
from mock_github_world import API, CALLBACK, TOKEN, World

from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub, RedirectUri
from mcp_oauth_nb.lab.mock_github.mock import netloc
from mcp_oauth_nb.oauth.clock import SystemClock
from mcp_oauth_nb.oauth.masking import mask, scrub

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


# -- the seed ---------------------------------------------------------------------------------------------------


async def story(seed: int) -> list[str]:
    world = World(seed)
    token = await world.sign_in(state="s")
    renewed = await world.refresh(token["refresh_token"])
    user = await world.api("/user", renewed["access_token"])
    repositories = await world.api("/user/repos", renewed["access_token"])
    headers = {"x-github-request-id", "etag", "link"}
    return [
        world.github.client_id,
        str(token),
        str(renewed),
        user.text,
        repositories.text,
        *[f"{name}: {value}" for name, value in repositories.headers.items() if name in headers],
    ]


async def test_the_same_seed_and_calls_give_the_same_bytes():
    assert await story(7) == await story(7)


async def test_another_seed_gives_other_bytes():
    # The client id and both token responses; the people are the same everywhere.
    assert not set((await story(7))[:3]) & set((await story(8))[:3])


async def test_looking_around_changes_no_token(world: World):
    quiet = await World().sign_in()
    await world.send("GET", "https://github.com/login")
    await world.api("/user")
    assert await world.sign_in() == quiet


async def test_the_first_token_of_a_seed_never_changes():
    # Notebooks keep outputs: a change here changes all of them. The mask is a hash of the token.
    assert mask((await World(7).sign_in())["access_token"]) == "gho_****8e50"


async def test_every_secret_that_leaves_the_mock_is_among_the_issued_ones(world: World):
    code = await world.code()
    token = await world.exchange(code)
    device = await world.send(
        "POST", "https://github.com/login/device/code", data={"client_id": world.github.client_id}
    )
    issued = world.github.issued_secrets()
    assert {
        code,
        token["access_token"],
        token["refresh_token"],
        dict(parse_qsl(device.text))["device_code"],
        world.github.client_secret,
    } <= issued
    assert len(issued) == 5
    assert all(secret not in scrub(f"<{secret}>") for secret in issued)


async def test_no_repr_shows_a_secret(world: World):
    token = world.github.issue_token()
    code = await world.code()
    await world.send("POST", "https://github.com/login/device/code", data={"client_id": world.github.client_id})
    state = world.github._state
    things = [world.github, *world.github.apps.values(), *state.device_requests.values(), *state.browsers()]
    texts = [repr(thing) for thing in (*things, *state.ledger.codes(), *state.ledger.tokens())]
    world.github.revoke_token(token.access_token)
    texts.append(repr(token))
    assert "revoked" in texts[-1]
    assert not [text for text in texts for secret in world.github.issued_secrets() if secret in text]
    assert code not in " ".join(texts)


# -- the facade -------------------------------------------------------------------------------------------------


async def test_a_token_can_be_issued_without_a_flow(world: World):
    token = world.github.issue_token("hubot", scopes=("repo", "public_repo"))
    assert token["access_token"] == token.access_token
    assert token["expires_in"] == 28800
    assert token.scopes == ("repo",)
    assert await world.works(token.access_token)


async def test_a_token_for_nobody_is_an_error(world: World):
    with pytest.raises(KeyError):
        world.github.issue_token("nobody")


async def test_revoking_says_whether_there_was_anything_to_revoke(world: World):
    token = world.github.issue_token()
    assert world.github.revoke_token(token.access_token)
    assert not world.github.revoke_token(token.access_token)
    assert not world.github.revoke_token("unknown")


def test_an_app_has_one_to_ten_redirect_uris(world: World):
    uris = [RedirectUri(f"https://example.com/{number}") for number in range(11)]
    for wrong in ([], uris):
        with pytest.raises(ValueError, match="1 to 10"):
            world.github.register_app("App", wrong)
    assert len(world.github.register_app("App", uris[:10]).redirect_uris) == 10


def test_client_ids_tell_the_kind_of_app(world: World):
    assert world.github.register_app("App", [CALLBACK]).client_id.startswith("Ov23li")
    assert world.github.register_app("App", [CALLBACK], kind="github_app").client_id.startswith("Iv23li")
    assert len(world.github.apps) == 3


def test_octocat_has_more_than_a_page_of_public_and_private_repositories(world: World):
    mine = [repository for repository in world.github.repositories if repository.owner == "octocat"]
    assert len(mine) > 30
    assert {repository.private for repository in mine} == {True, False}
    assert set(world.github.users) == {"octocat", "hubot", "monalisa"}


def test_a_login_can_be_taken(world: World):
    with pytest.raises(ValueError, match="octocat"):
        world.github.add_user("octocat")


def test_without_a_clock_the_mock_lives_in_real_time():
    assert isinstance(MockGitHub().clock, SystemClock)


def test_the_repr_tells_where_it_is(world: World):
    assert repr(world.github) == "MockGitHub(https://github.com, https://api.github.com, 1 apps, 3 users)"


# -- two hosts --------------------------------------------------------------------------------------------------


async def test_each_host_has_its_own_pages(world: World):
    assert (await world.send("GET", "https://github.com/user")).headers["content-type"].startswith("text/html")
    assert (await world.send("GET", f"{API}/login")).status_code == 404
    assert (await world.send("GET", f"{API}/rate_limit")).status_code == 200


async def test_the_host_may_be_written_in_any_case_and_with_its_own_port(world: World):
    for url in ("https://GitHub.com:443/login", "https://github.com/login"):
        assert (await world.send("GET", url)).status_code == 200
    for host in ("GitHub.com", "github.com:443"):
        assert (await world.send("GET", "https://github.com/login", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "github.com:8443", "github.com.evil.example", ""])
async def test_a_foreign_host_header_gets_421(world: World, host: str):
    response = await world.send("GET", "https://github.com/login", headers={"Host": host})
    assert response.status_code == 421
    assert "github.com" in response.text


@pytest.mark.parametrize("url", ["https://example.com/", "http://github.com:8080/login", "https://gist.github.com/"])
async def test_the_transport_reaches_nothing_else(world: World, url: str):
    with pytest.raises(httpx.ConnectError, match="reaches the mocked GitHub"):
        await world.send("GET", url)


def test_a_request_without_a_host_header_is_refused(world: World):
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "scheme": "https", "query_string": b""}
    asyncio.run(world.github.app(scope, receive, send))
    assert sent[0]["status"] == 421


def test_a_shared_host_needs_a_path_for_the_api():
    with pytest.raises(ValueError, match="path of its own"):
        MockGitHub(web_url="http://127.0.0.1:9000", api_url="http://127.0.0.1:9000")


def test_hosts_are_compared_without_case_user_and_default_port():
    assert netloc("https", "GitHub.com:443") == "github.com"
    assert netloc("http", "u@github.com:443") == "github.com:443"


# -- threads ----------------------------------------------------------------------------------------------------


def test_one_mock_serves_several_threads_and_loops(world: World):
    world.github.knobs.tokens_per_scope = None

    async def one_person(login: str) -> str:
        person = World.__new__(World)
        person.__dict__.update(vars(world))
        person.browser = Autopilot(world.transport, user=login)
        token = await person.sign_in()
        token = await person.refresh(token["refresh_token"])
        return str((await person.api("/user", token["access_token"])).json()["login"])

    logins = ["octocat", "hubot", "monalisa"] * 8
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda login: asyncio.run(one_person(login)), logins)) == logins


def test_two_threads_with_one_code_get_one_token(world: World):
    code = asyncio.run(world.code())
    barrier = threading.Barrier(4)

    def exchange(_: int) -> bool:
        barrier.wait(5)
        return "access_token" in asyncio.run(world.exchange(code))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(exchange, range(4))) == 1


# -- alone on a port --------------------------------------------------------------------------------------------


async def test_alone_on_a_port_the_whole_flow_runs_over_sockets(on_port: MockGitHub):
    web, api = on_port.web_url, on_port.api_url
    assert api == f"{web}/api/v3"
    query = urlencode({"client_id": on_port.client_id, "redirect_uri": CALLBACK, "scope": "repo"})
    browser = Autopilot(httpx.AsyncHTTPTransport())
    with anyio.fail_after(10):
        for _ in range(2):  # the second time without sign-in and consent
            end = await browser.authorize(f"{web}/login/oauth/authorize?{query}")
        callback = dict(parse_qsl(urlsplit(end).query))
        assert callback["iss"] == f"{web}/login/oauth"
        async with httpx.AsyncClient() as client:
            fields = {"client_id": on_port.client_id, "client_secret": on_port.client_secret, "code": callback["code"]}
            answer = await client.post(f"{web}/login/oauth/access_token", data=fields)
            secret = dict(parse_qsl(answer.text))["access_token"]
            page = await client.get(f"{api}/user/repos", headers={"Authorization": f"Bearer {secret}"})
            assert str(page.links["next"]["url"]).startswith(f"{api}/user/repos?")
            metadata = await client.get(f"{web}/.well-known/oauth-authorization-server/login/oauth")
            assert metadata.json()["token_endpoint"] == f"{web}/login/oauth/access_token"
            started = await client.post(f"{web}/login/device/code", data={"client_id": on_port.client_id})
            device = dict(parse_qsl(started.text))
            await browser.approve_device(device["user_code"], verification_uri=device["verification_uri"])


@pytest.mark.parametrize("fault", [{"drop": True}, {"truncated": True}])
async def test_over_a_socket_a_broken_answer_is_a_broken_connection(on_port: MockGitHub, fault: dict[str, bool]):
    on_port.faults.next_token(**fault)
    with anyio.fail_after(10):
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(f"{on_port.web_url}/login/oauth/access_token")


async def test_the_default_app_accepts_every_port_of_this_machine(world: World):
    for uri in ("http://127.0.0.1:1/callback", "http://localhost:65535/callback"):
        assert "code" in await world.callback(redirect_uri=uri)


async def test_the_token_endpoint_is_reached_by_its_real_name(world: World):
    assert (await world.send("POST", TOKEN)).status_code == 200
