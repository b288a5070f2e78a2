"""The TypeScript SDK's client, versions 1 and 2, through the whole of `serve --mock` on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from e2e_programs import node
from peers_world import PEERS, Client, node_packages, talking
from program_world import Person, Program
from test_real_clients import LIFETIME_SECONDS, authorizations, refreshes

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    started = Program(tmp_path_factory.mktemp("server"), "--token-lifetime", str(LIFETIME_SECONDS))
    yield started
    started.stop()


@contextmanager
def authorized(program: Program, version: str, mode: str) -> Iterator[tuple[Client, str]]:
    """Let a client connect, authorize, refresh, and call again; return it with its id."""
    node_packages()
    person = Person()
    with talking(node(), PEERS / "client_typescript.mjs", version, f"{program.url}/mcp", mode) as talker:
        client = Client(talker, person)
        assert client.said() == {"connected": True}
        assert client.opened == []
        assert client.login() == "octocat"
        client_id = parse_qs(urlsplit(client.opened[0]).query)["client_id"][0]
        client.call_until(lambda: refreshes(program, client_id) > 0)
        assert client.login() == "octocat"
        assert len(client.opened) == authorizations(program, client_id) == 1
        yield client, client_id
    assert person.pages.count("/consent") == len(client.opened)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_typescript_sdks_client_2_gets_in_refreshes_and_steps_up(program: Program, mode: str) -> None:
    with authorized(program, "2", mode) as (client, _):
        assert client.private_repositories() > 0
        assert len(client.opened) == 2


def test_the_typescript_sdks_client_1_gets_in_and_refreshes_and_takes_a_refresh_for_a_step_up(program: Program) -> None:
    # Its own fault: told that the scopes are too few it refreshes, and a refresh cannot give more (RFC 6749 section 6).
    with authorized(program, "1", "legacy") as (client, client_id):
        before = refreshes(program, client_id)
        said = client.ask("get_github_user_info", include_private=True)
        assert "Server returned 403 after trying upscoping" in said["error"]
        assert refreshes(program, client_id) > before
        assert len(client.opened) == 1
        assert client.login() == "octocat"
