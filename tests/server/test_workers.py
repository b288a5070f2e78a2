"""Two worker processes, one Redis, one mocked GitHub, one public address: whoever is asked, it is one server."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from authserver_world import VERIFIER, answer, hidden
from program_world import LIMIT_SECONDS, Person
from resource_world import MODERN, call, routing_headers
from workers_world import PASSWORD, Mock, Proxy, Redis, Worker

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.lab.mock_github import Autopilot
from mcp_oauth_nb.oauth.pkce import challenge_for

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

CALLBACK = "https://shop.example/cb"


class Deployment:
    """All of it, and an MCP client by hand that says which worker it asks."""

    def __init__(self, directory: Path):
        for name in ("redis", "home"):
            (directory / name).mkdir()
        self.proxy = Proxy()
        self.mock = Mock(self.proxy.url)
        self.redis = Redis(directory / "redis")
        self.key = secrets.token_urlsafe(32)
        variables = {**self.mock.settings, "STORE_URL": self.redis.url, "STORE_ENCRYPTION_KEY": self.key}
        self.a, self.b = (Worker(directory / "home", self.proxy.url, variables) for _ in range(2))
        self.proxy.workers = [self.a, self.b]
        self.cookies = httpx.Cookies()
        #: Whatever must not be readable in the store.
        self.secrets: set[str] = {PASSWORD, self.key, VERIFIER}

    def stop(self) -> None:
        self.a.close()
        self.b.close()
        for one in (self.redis, self.mock, self.proxy):
            one.stop()

    async def ask(self, worker: Worker, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request to this worker, as the proxy would."""
        headers = {"Host": urlsplit(self.proxy.url).netloc, **options.pop("headers", {})}
        async with httpx.AsyncClient(base_url=worker.address, cookies=self.cookies, timeout=LIMIT_SECONDS) as client:
            response = await client.request(method, path, headers=headers, **options)
            self.cookies = client.cookies
            self.secrets |= set(self.cookies.values())
        return response

    async def register(self, worker: Worker) -> dict[str, Any]:
        metadata = {
            "redirect_uris": [CALLBACK],
            "application_type": "web",
            "client_name": "Shop",
            "token_endpoint_auth_method": "client_secret_post",
        }
        response = await self.ask(worker, "POST", "/register", json=metadata)
        assert response.status_code == 201, response.text
        client: dict[str, Any] = response.json()
        self.secrets.add(client["client_secret"])
        return client

    async def to_github(self, client: dict[str, Any], first: Worker, second: Worker) -> httpx.Response:
        """Open the authorization request at one worker and consent at the other; return the way to GitHub."""
        query = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": CALLBACK,
            "state": secrets.token_urlsafe(16),
            "code_challenge": challenge_for(VERIFIER),
            "code_challenge_method": "S256",
            "resource": f"{self.proxy.url}/mcp",
        }
        self.secrets.add(query["state"])
        started = await self.ask(first, "GET", "/authorize", params=query)
        assert started.status_code == 302, started.text
        page = await self.ask(second, "GET", started.headers["location"].removeprefix(self.proxy.url))
        if page.status_code == 200:
            fields = {**hidden(page), "authorize": "1"}
            self.secrets |= set(hidden(page).values())
            page = await self.ask(first, "POST", "/consent", data=fields, headers={"Origin": self.proxy.url})
        return page

    async def code(self, client: dict[str, Any], first: Worker, second: Worker) -> str:
        page = await self.to_github(client, first, second)
        async with httpx.AsyncHTTPTransport() as transport:
            back = await Autopilot(transport).authorize(page.headers["location"])
        end = await self.ask(second, "GET", back.removeprefix(self.proxy.url))
        code = answer(end.headers["location"])["code"]
        self.secrets.add(code)
        return code

    async def token(self, client: dict[str, Any], worker: Worker, **fields: str) -> httpx.Response:
        given = {
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
            "resource": f"{self.proxy.url}/mcp",
        }
        response = await self.ask(worker, "POST", "/token", data={**given, **fields})
        if response.status_code == 200:
            self.secrets |= {response.json()["access_token"], response.json()["refresh_token"]}
        return response

    async def exchange(self, client: dict[str, Any], worker: Worker, code: str) -> httpx.Response:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return await self.token(client, worker, code_verifier=VERIFIER, **fields)

    async def refresh(self, client: dict[str, Any], worker: Worker, token: str) -> httpx.Response:
        return await self.token(client, worker, grant_type="refresh_token", refresh_token=token)

    async def revoke(self, client: dict[str, Any], worker: Worker, token: str) -> httpx.Response:
        fields = {"token": token, "client_id": client["client_id"], "client_secret": client["client_secret"]}
        return await self.ask(worker, "POST", "/revoke", data=fields)

    async def signed_in(self, first: Worker, second: Worker) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a client and its tokens."""
        client = await self.register(first)
        response = await self.exchange(client, first, await self.code(client, first, second))
        assert response.status_code == 200, response.text
        return client, response.json()

    async def call(self, worker: Worker, token: str, **headers: str) -> httpx.Response:
        """Call the protected tool."""
        message = call(era=MODERN)
        sent = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {token}", **headers}
        return await self.ask(
            worker, "POST", "/mcp", json=message, headers={**sent, **dict(routing_headers(message, MODERN))}
        )

    async def is_good(self, worker: Worker, token: str) -> bool:
        response = await self.call(worker, token)
        assert response.status_code in (200, 401), response.text
        return response.status_code == 200 and "octocat" in response.text


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    started = Deployment(tmp_path_factory.mktemp("deployment"))
    yield started
    started.stop()


async def test_every_step_may_reach_another_worker(deployment: Deployment) -> None:
    d, a, b = deployment, deployment.a, deployment.b
    client = await d.register(a)
    response = await d.exchange(client, b, await d.code(client, b, a))
    tokens = response.json()
    assert await d.is_good(a, tokens["access_token"])
    newer = (await d.refresh(client, b, tokens["refresh_token"])).json()
    assert await d.is_good(a, newer["access_token"])
    assert await d.is_good(b, newer["access_token"])
    assert (await d.revoke(client, a, newer["refresh_token"])).status_code == 200
    for worker in (a, b):
        assert not await d.is_good(worker, tokens["access_token"])
        assert not await d.is_good(worker, newer["access_token"])
        assert (await d.refresh(client, worker, newer["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_restart_of_the_workers_and_of_redis_loses_nothing(deployment: Deployment) -> None:
    d, a, b = deployment, deployment.a, deployment.b
    client, tokens = await d.signed_in(a, b)
    waiting = await d.code(client, b, a)
    for worker in (a, b):
        assert worker.stop() < 5
    d.redis.stop()
    d.redis.start()
    a.start()
    b.start()
    # The code that was waiting, the registration, the access token and GitHub's behind it, consent and refresh token.
    assert (await d.exchange(client, b, waiting)).status_code == 200
    assert await d.is_good(a, tokens["access_token"])
    assert await d.is_good(b, tokens["access_token"])
    assert (await d.to_github(client, a, b)).headers["location"].startswith(d.mock.settings["OAUTH_AUTHORIZATION_URL"])
    newer = await d.refresh(client, a, tokens["refresh_token"])
    assert await d.is_good(b, newer.json()["access_token"])


async def test_the_consent_that_one_worker_was_given_is_not_asked_for_by_the_other(deployment: Deployment) -> None:
    client, _ = await deployment.signed_in(deployment.a, deployment.b)
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "code_challenge": challenge_for(VERIFIER),
        "code_challenge_method": "S256",
        "resource": f"{deployment.proxy.url}/mcp",
    }
    started = await deployment.ask(deployment.a, "GET", "/authorize", params=query)
    page = await deployment.ask(deployment.b, "GET", started.headers["location"].removeprefix(deployment.proxy.url))
    assert page.status_code == 303
    assert page.headers["location"].startswith(deployment.mock.settings["OAUTH_AUTHORIZATION_URL"])


async def all_at_once(*requests: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    answers: list[httpx.Response] = []

    async def one(send: Callable[[], Awaitable[httpx.Response]]) -> None:
        answers.append(await send())

    async with anyio.create_task_group() as group:
        for send in requests:
            group.start_soon(one, send)
    return answers


@pytest.mark.parametrize("grant", ["code", "refresh token"])
async def test_what_works_once_works_once_across_workers_and_its_reuse_ends_the_family(
    deployment: Deployment, grant: str
) -> None:
    d = deployment
    client = await d.register(d.a)
    code = await d.code(client, d.a, d.b)
    if grant == "code":
        requests = [lambda: d.exchange(client, d.a, code), lambda: d.exchange(client, d.b, code)]
    else:
        token = (await d.exchange(client, d.b, code)).json()["refresh_token"]
        requests = [lambda: d.refresh(client, d.a, token), lambda: d.refresh(client, d.b, token)]
    answers = await all_at_once(*requests * 3)
    winners = [response.json() for response in answers if response.status_code == 200]
    assert len(winners) <= 1
    assert [response.json()["error"] for response in answers if response.status_code != 200] == (
        ["invalid_grant"] * (6 - len(winners))
    )
    for tokens in winners:
        assert not await d.is_good(d.a, tokens["access_token"])
        assert not await d.is_good(d.b, tokens["access_token"])
        assert (await d.refresh(client, d.a, tokens["refresh_token"])).status_code == 400


async def test_failed_authorizations_are_counted_across_workers(deployment: Deployment) -> None:
    somebody = {"X-Forwarded-For": "203.0.113.7"}
    workers = [deployment.a, deployment.b]
    statuses = [
        (await deployment.call(workers[number % 2], "no-token-of-ours", **somebody)).status_code for number in range(32)
    ]
    assert statuses == [401] * 30 + [429] * 2
    assert (await deployment.call(deployment.a, "x", **{"X-Forwarded-For": "203.0.113.8"})).status_code == 401


async def test_registrations_are_counted_across_workers(deployment: Deployment) -> None:
    somebody = {"X-Forwarded-For": "203.0.113.9"}
    workers = [deployment.a, deployment.b]
    statuses = [
        (await deployment.ask(workers[number % 2], "POST", "/register", json={}, headers=somebody)).status_code
        for number in range(61)
    ]
    assert statuses == [400] * 60 + [429]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_real_client_does_not_notice_that_there_are_two(deployment: Deployment, mode: Any) -> None:
    auth = McpAuth(open_browser=Person().open, show=str, timeout=LIMIT_SECONDS)
    async with Session.open(f"{deployment.proxy.url}/mcp", auth=auth, mode=mode) as session:
        for _ in range(4):
            result = await session.call_tool("get_github_user_info", {"repo_limit": 2})
            assert result.structured_content is not None
            assert result.structured_content["user"]["login"] == "octocat"


@pytest.mark.parametrize("how", ["stopped", "hung"])
async def test_while_redis_is_away_the_answer_is_503_and_then_all_goes_on(deployment: Deployment, how: str) -> None:
    d, a, b = deployment, deployment.a, deployment.b
    client, tokens = await d.signed_in(a, b)
    assert await d.is_good(b, tokens["access_token"])
    code = await d.code(client, a, b)
    if how == "stopped":
        d.redis.stop()
    else:
        d.redis.pause()
    try:
        answers = await all_at_once(
            lambda: d.exchange(client, a, code),
            lambda: d.refresh(client, b, tokens["refresh_token"]),
            lambda: d.ask(a, "POST", "/register", json={"redirect_uris": [CALLBACK]}),
            lambda: d.revoke(client, b, tokens["refresh_token"]),
        )
        for response in answers:
            assert response.status_code == 503
            assert response.json()["error"] == "temporarily_unavailable"
            assert int(response.headers["retry-after"]) > 0
        page = await d.ask(a, "GET", "/authorize", params={"client_id": client["client_id"]})
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        protected = await d.call(b, tokens["access_token"])
        assert protected.status_code == 503
        assert int(protected.headers["retry-after"]) > 0
        assert protected.json()["error"]["data"]["type"] == "transient"
        assert (await d.ask(a, "GET", "/health")).status_code == 200
    finally:
        if how == "stopped":
            d.redis.start()
        else:
            d.redis.resume()
    assert await d.is_good(a, tokens["access_token"])
    assert (await d.exchange(client, b, code)).status_code == 200
    assert (await d.refresh(client, a, tokens["refresh_token"])).status_code == 200
    for worker in (a, b):
        assert "Traceback" not in worker.log()


async def test_a_worker_with_another_key_knows_nobody_and_says_why(deployment: Deployment) -> None:
    d, b = deployment, deployment.b
    _, tokens = await d.signed_in(d.a, d.a)
    b.stop()
    b.start(STORE_ENCRYPTION_KEY=base64.b64encode(b"k" * 32).decode())
    assert not await d.is_good(b, tokens["access_token"])
    assert "cannot be opened with this encryption key" in b.log()
    b.stop()
    b.start()
    assert await d.is_good(b, tokens["access_token"])


async def test_whoever_reads_redis_learns_no_secret_and_no_name(deployment: Deployment) -> None:
    await deployment.signed_in(deployment.a, deployment.b)
    found = deployment.redis.everything()
    assert b"mcp_oauth_access::" in found
    assert not [secret for secret in deployment.secrets if secret.encode() in found]
    assert not re.search(rb"gh[opusr]_[A-Za-z0-9]|mcp_[A-Za-z0-9\-_]{43}|octocat|read:user|shop\.example", found)


def test_neither_log_nor_output_of_a_worker_has_the_password_of_redis_or_the_key(deployment: Deployment) -> None:
    for worker in (deployment.a, deployment.b):
        said = worker.said + worker.log()
        assert f"redis://127.0.0.1:{deployment.redis.port}/3" in worker.said
        assert PASSWORD not in said
        assert "p%40ss" not in said
        assert deployment.key not in said
