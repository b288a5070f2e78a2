"""Clients made with old versions of the Python SDK, through the whole of `serve --mock` on real sockets.

Each version has an environment of its own, made once and kept in the system's directory for temporary files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from peers_world import PEERS, Client, cached, talking
from program_world import Person, Program
from test_real_clients import LIFETIME_SECONDS, authorizations, refreshes

from mcp_oauth_nb.store.lock import ProcessLock

pytestmark = pytest.mark.e2e

# The first that authorizes by itself, and knows of no `resource`; the first that sends it; the last before version 2.
VERSIONS = ["1.9.4", "1.12.4", "1.30.0"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    started = Program(tmp_path_factory.mktemp("server"), "--token-lifetime", str(LIFETIME_SECONDS))
    yield started
    started.stop()


@pytest.fixture
def old_python(version: str) -> Path:
    """Return the interpreter of the version's environment, which is made if it is not there."""
    wanted = PEERS / f"mcp-{version}.txt"
    place = cached(sys.prefix, wanted.read_bytes())
    python = place / "bin" / "python"
    with ProcessLock(place).changing():
        if not (place / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
            subprocess.run([*installer(python), "-r", wanted], check=True, timeout=100)
            (place / "ready").touch()
    return python


def installer(python: Path) -> list[str | Path]:
    """Return the command that installs into another environment: uv's if there is one, for it is faster."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", python]
    return [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_sdks_client_gets_in_and_refreshes(program: Program, old_python: Path) -> None:
    person = Person()
    with talking(old_python, PEERS / "client_old_sdk.py", f"{program.url}/mcp") as talker:
        client = Client(talker, person)
        assert client.said() == {"connected": True}
        assert client.login() == "octocat"
        client_id = parse_qs(urlsplit(client.opened[0]).query)["client_id"][0]
        client.until_expired()
        assert client.login() == "octocat"
        assert client.login() == "octocat"
    assert refreshes(program, client_id) >= 1
    assert len(client.opened) == authorizations(program, client_id) == person.pages.count("/consent") == 1
