"""`serve --transport http --mock` as a program: a client and a person's browser on real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from program_world import LIMIT_SECONDS, Person, Program

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.cli.serve_http import build, instructions
from mcp_oauth_nb.oauth.errors import AccessDenied, ConfigurationError, NotConfigured
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.rate_limits import BoundedCounts
from mcp_oauth_nb.store.grants import MemoryGrantStore
from mcp_oauth_nb.store.shared import SharedStore

pytestmark = pytest.mark.anyio

TOKEN_SECONDS = 3599


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path, "--token-lifetime", str(TOKEN_SECONDS))
    yield started
    if started.process.poll() is None:
        started.stop()


def auth(person: Person, **options: Any) -> McpAuth:
    return McpAuth(open_browser=person.open, show=str, timeout=LIMIT_SECONDS, **options)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_and_a_person_walk_the_whole_authorization(program: Program, mode: Any) -> None:
    person, client = Person(), MemoryGrantStore()
    async with Session.open(f"{program.url}/mcp", auth=auth(person, store=client), mode=mode) as session:
        result = await session.call_tool("get_github_user_info", {"repo_limit": 2})
        assert result.structured_content is not None
        assert result.structured_content["user"]["login"] == "octocat"
        assert person.pages == ["/consent", "/login", "/login/oauth/authorize", "/callback"]
        more = await session.call_tool("get_github_user_info", {"include_private": True, "repo_limit": 50})
        assert more.structured_content is not None
        assert any(repository["private"] for repository in more.structured_content["repositories"])
    (token,) = [grant.token for grant in client.entries().values()]
    assert token is not None
    assert token.expires_at is not None
    assert token.issued_at is not None
    assert token.expires_at - token.issued_at == TOKEN_SECONDS


async def test_a_person_who_declines_is_a_typed_error_and_the_open_tool_still_works(program: Program) -> None:
    person = Person(allow=False)
    async with Session.open(f"{program.url}/mcp", auth=auth(person)) as session:
        with pytest.raises(AccessDenied):
            await session.call_tool("get_github_user_info")
        assert (await session.list_tools()).tools


def test_the_program_says_how_to_connect_and_stops_within_five_seconds(program: Program) -> None:
    for path in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"):
        assert f"{program.url}{path}" in program.said
        assert httpx.get(f"{program.url}{path}").status_code == 200
    assert httpx.get(f"{program.url}/health").json() == {"status": "ok"}
    seconds, _ = program.stop()
    assert seconds < 5


def test_whoever_connects_directly_does_not_choose_the_address_that_their_guesses_are_counted_under(
    program: Program,
) -> None:
    with httpx.Client(base_url=program.url) as guesser:
        statuses = [
            guesser.post(
                "/mcp",
                json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
                headers={"Authorization": f"Bearer guess-{number}", "X-Forwarded-For": f"203.0.113.{number}"},
            ).status_code
            for number in range(31)
        ]
    assert statuses == [401] * 30 + [429]


def connect(program: Program) -> socket.socket:
    parts = urlsplit(program.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=LIMIT_SECONDS)


def send(connection: socket.socket, program: Program, request: str, *headers: str) -> None:
    lines = [f"{request} HTTP/1.1", f"Host: {urlsplit(program.url).netloc}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def until_refused(program: Program) -> None:
    """Knock until nobody opens any more."""
    while True:
        try:
            connect(program).close()
        except ConnectionError:
            return


def test_sigterm_lets_a_request_end_and_the_program_ends_in_five_seconds_whatever_stays_open(program: Program) -> None:
    opening = {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }
    accept = "application/json, text/event-stream"
    registration = json.dumps({"redirect_uris": ["http://127.0.0.1/cb"]}).encode()
    with httpx.Client(base_url=program.url) as client, connect(program) as idle, connect(program) as busy:
        session = client.post("/mcp", json=opening, headers={"Accept": accept}).headers["mcp-session-id"]
        send(idle, program, "GET /health")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        with client.stream("GET", "/mcp", headers={"Accept": accept, "Mcp-Session-Id": session}) as stream:
            assert stream.status_code == 200
            length = f"Content-Length: {len(registration)}"
            send(busy, program, "POST /register", "Content-Type: application/json", "Expect: 100-continue", length)
            assert busy.recv(4096).startswith(b"HTTP/1.1 100 ")
            start = time.monotonic()
            program.process.send_signal(signal.SIGTERM)
            until_refused(program)
            busy.sendall(registration)
            assert busy.recv(4096).startswith(b"HTTP/1.1 201 ")
            program.process.wait(LIMIT_SECONDS)
            assert time.monotonic() - start < 5
    _, log = program.stop()
    assert "Traceback" not in log


def test_a_request_that_never_ends_does_not_keep_the_program(program: Program) -> None:
    with connect(program) as stuck:
        headers = ["Content-Type: application/json", "Expect: 100-continue", "Content-Length: 10"]
        send(stuck, program, "POST /register", *headers)
        assert stuck.recv(4096).startswith(b"HTTP/1.1 100 ")
        seconds, _ = program.stop()
    assert seconds < 5


def test_whoever_connects_directly_cannot_choose_the_address_that_it_is_counted_under(program: Program) -> None:
    with httpx.Client(base_url=program.url) as client:
        seen = {
            client.post("/register", json={}, headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(61)
        }
    # 60 a minute; what is wrong with them does not matter here.
    assert seen == {400, 429}


async def test_the_log_has_who_did_what_and_no_secret(program: Program) -> None:
    async with Session.open(f"{program.url}/mcp", auth=auth(Person())) as session:
        await session.call_tool("get_github_user_info")
    _, log = program.stop()
    assert '"subject": "octocat"' in log
    assert '"tool": "get_github_user_info"' in log
    assert not re.search(r"gh[ours]_[A-Za-z0-9]{16}|Bearer [A-Za-z0-9]{8}|code=[A-Za-z0-9]{8}", log)


def test_without_credentials_it_says_what_is_missing() -> None:
    with pytest.raises(NotConfigured):
        build(IsolatedSettings(), "http://127.0.0.1:8000")


def test_a_public_url_that_cannot_work_is_a_clear_error() -> None:
    settings = IsolatedSettings(oauth_client_id="an-id", oauth_client_secret="a-secret-of-a-test")
    with pytest.raises(ConfigurationError):
        build(settings, "http://example.com")


SETTINGS = IsolatedSettings(oauth_client_id="an-id", oauth_client_secret="a-secret-of-a-test")


async def test_programs_with_one_store_count_guesses_and_requests_of_an_address_together() -> None:
    store = SharedStore("shared", rates=BoundedCounts())
    workers = [build(SETTINGS, "http://127.0.0.1:8000", store=store).app for _ in range(2)]
    asked = [("/mcp", 30, 401, {"Authorization": "Bearer guessed"}), ("/register", 60, 400, {})]
    for path, allowed, status, headers in asked:
        answers = []
        for number in range(allowed + 1):
            transport = httpx.ASGITransport(workers[number % 2])
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                answers.append((await client.post(path, headers=headers)).status_code)
        assert answers == [status] * allowed + [429]


@pytest.mark.parametrize("fails", [False, True], ids=["stopped", "ended by an error"])
async def test_the_application_closes_its_store_in_the_end_however_that_comes(fails: bool) -> None:
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    app = build(SETTINGS, "http://127.0.0.1:8000", store=SharedStore("a test's", _close=close)).app
    with contextlib.suppress(ZeroDivisionError, ExceptionGroup):
        async with app.router.lifespan_context(app):
            assert closed == []
            1 / int(not fails)
    assert closed == [True]


def serve(home: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is not expected to start."""
    command = [sys.executable, "-m", "mcp_oauth_nb", "serve", "--transport", "http", "--port", "0", "--mock", *options]
    given = {**os.environ, "HOME": str(home), **variables}
    return subprocess.run(command, cwd=home, env=given, capture_output=True, text=True, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "Add --public-url"),
        (["--host", "192.0.2.1", "--public-url", "https://mcp.example"], "cannot be listened on"),
        (["--host", "no.such.host.invalid", "--public-url", "https://mcp.example"], "cannot be listened on"),
        (["--host", "0.0.0.0", "--public-url", "http://mcp.example"], "https"),
        (["--store", "state"], "STORE_ENCRYPTION_KEY is not set"),
        (["--store", "etcd://127.0.0.1"], "no store of the kind etcd"),
        (["--store", "redis://:hush-and-be-quiet@127.0.0.1:1/0"], "STORE_ENCRYPTION_KEY is not set"),
    ],
)
def test_what_cannot_be_served_is_one_clear_message(tmp_path: Path, options: list[str], says: str) -> None:
    ended = serve(tmp_path, *options)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "What to do:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_store_that_is_not_there_stops_the_start_and_its_password_is_not_shown(tmp_path: Path) -> None:
    url = "redis://:hush-and-be-quiet@127.0.0.1:1/0"
    ended = serve(tmp_path, STORE_URL=url, STORE_ENCRYPTION_KEY="ab" * 32)
    assert ended.returncode == 1
    assert "redis://127.0.0.1:1/0 cannot be used: nothing answers there" in ended.stderr
    assert "hush" not in ended.stderr + ended.stdout


def test_a_server_for_every_interface_is_reached_under_its_public_name_alone(tmp_path: Path) -> None:
    program = Program(tmp_path, "--host", "0.0.0.0", "--public-url", "https://mcp.example/", "--stateless")
    found = re.search(r"Listens at: +http://0\.0\.0\.0:(\d+)\n", program.said)
    assert found is not None
    metadata = f"http://127.0.0.1:{found[1]}/.well-known/oauth-protected-resource/mcp"
    assert httpx.get(metadata, headers={"Host": "mcp.example"}).json()["resource"] == "https://mcp.example/mcp"
    assert httpx.get(metadata).status_code == 421
    # Without sessions any worker may be asked for the tools.
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Host": "mcp.example", "Accept": "application/json, text/event-stream"}
    assert httpx.post(f"http://127.0.0.1:{found[1]}/mcp", json=asked, headers=headers).status_code == 200
    program.stop()


def test_what_is_kept_in_a_directory_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION_KEY", "ab" * 32)
    first = Program(tmp_path, "--store", "state")
    metadata = {"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"}
    client = httpx.post(f"{first.url}/register", json=metadata).json()["client_id"]
    first.stop()
    port = str(urlsplit(first.url).port)
    second = Program(tmp_path, "--store", "state", "--port", port)
    assert second.url == first.url
    query = {"client_id": client, "redirect_uri": "http://127.0.0.1:1/cb"}
    assert httpx.get(f"{second.url}/authorize", params=query).status_code == 303
    assert httpx.get(f"{second.url}/authorize", params={**query, "client_id": "other"}).status_code == 400
    second.stop()


def test_for_the_real_github_the_callback_to_register_is_named() -> None:
    lines = "\n".join(instructions("https://mcp.example", IsolatedSettings(), mock=False))
    assert "https://mcp.example/oauth/callback" in lines
