"""Calls that are killed at every turn of their loop: afterwards they work, or one clean authorization makes them work.

The process really ends, without `finally`: a child forks for each attempt, and ends itself at one turn of its loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from http_world import Person, World, served

from mcp_oauth_nb import FileGrantStore, FileTokenStore, ManualClock, OAuthHandler
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.errors import ReauthorizeError
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.store.grants import Grant

pytestmark = pytest.mark.anyio

CHILD = """
import asyncio, json, os, sys

class Mortal(asyncio.SelectorEventLoop):
    turns = 0

    def _run_once(self):
        self.turns -= 1
        if self.turns < 0:
            os._exit(9)
        super()._run_once()

for line in sys.stdin:
    attempt = os.fork()
    if not attempt:
        loop = Mortal()
        loop.turns, *given = json.loads(line)
        loop.run_until_complete(work(*given))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(attempt, 0)[1]), flush=True)
"""

REFRESH = """
from mcp_oauth_nb import FileTokenStore, OAuthHandler
from mcp_oauth_nb.config import IsolatedSettings

async def work(settings, path):
    oauth = OAuthHandler(settings=IsolatedSettings(**settings), store=FileTokenStore(path))
    await oauth.refresh_access_token()
"""

CALL = """
import httpx2
from mcp_oauth_nb import FileGrantStore, McpAuth

async def person(url):
    async with httpx2.AsyncClient(verify=False) as browser:
        return (await browser.get(url)).headers["location"]

async def work(url, body, headers, path):
    given = {"paste": person, "listen": False, "show": str, "open_browser": lambda url: True, "hub": lambda: None}
    auth = McpAuth(store=FileGrantStore(path), **given)
    async with httpx2.AsyncClient(auth=auth.provider(url), verify=False) as client:
        assert (await client.post(url, json=body, headers=headers)).status_code == 200
"""


@contextmanager
def killing(work: str) -> Iterator[Callable[..., bool]]:
    """What does the work in a process that is killed after so many turns, and says whether it was."""
    command = [sys.executable, "-c", work + CHILD]
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def killed_after(turns: int, *given: Any) -> bool:
            stdin.write(json.dumps([turns, *given]) + "\n")
            stdin.flush()
            return {"9": True, "0": False}[stdout.readline().strip()]

        yield killed_after
        stdin.close()


def is_told(outcomes: list[str]) -> bool:
    """Whether one attempt lived, and one that was killed after the last loss had stored its answer."""
    lost = max((number for number, outcome in enumerate(outcomes) if outcome == "lost"), default=len(outcomes))
    return "finished" in outcomes and "kept" in outcomes[lost:]


async def test_a_refresh_that_is_killed_wherever_it_waits_costs_one_authorization_at_most(
    on_port: MockGitHub, tmp_path: Path
) -> None:
    github, path = on_port, tmp_path / "tokens" / "tokens.json"
    settings = {
        "oauth_client_id": github.client_id,
        "oauth_client_secret": github.client_secret,
        "oauth_authorization_url": f"{github.web_url}/login/oauth/authorize",
        "oauth_token_url": f"{github.web_url}/login/oauth/access_token",
        "oauth_issuer": github.issuer,
        "api_base_url": github.api_url,
    }

    def started() -> OAuthHandler:
        return OAuthHandler(settings=IsolatedSettings(**settings), store=FileTokenStore(path))

    async def authorize(oauth: OAuthHandler) -> None:
        callback = await Autopilot(github.transport()).authorize(oauth.get_authorization_url().url)
        await oauth.complete_authorization(callback)

    outcomes: list[str] = []
    turns = 0
    with killing(REFRESH) as killed_after:
        while not is_told(outcomes):
            assert len(outcomes) < 200
            await authorize(started())
            before = started().refresh_token
            killed = killed_after(turns, settings, str(path))
            # Back, too: the last turns may be left out, where an answer arrives in fewer pieces.
            turns += 1 if killed else -1

            oauth = started()
            # Never half a token, nor none.
            assert oauth.refresh_token
            try:
                await oauth.refresh_access_token()
            except ReauthorizeError:
                # GitHub had answered, and the answer died with the process.
                assert killed
                assert oauth.token is None
                await authorize(oauth)
                await oauth.refresh_access_token()
                outcomes.append("lost")
            else:
                outcomes.append("kept" if killed else "finished")
            if not killed:
                assert before != oauth.refresh_token
    # Killed before the request left, while the answer was under way, and, says `is_told`, after it was stored.
    assert outcomes[0] == "kept"
    assert len(outcomes) > 8


BODY = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
ACCEPTED = {"accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("signed_in", [True, False], ids=["refresh", "first sign-in"])
async def test_a_call_that_is_killed_wherever_it_waits_leaves_the_old_grant_or_the_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, signed_in: bool
) -> None:
    path = tmp_path / "grants.json"

    def stored() -> list[Grant]:
        return list(FileGrantStore(path).entries().values())

    async def call(world: World) -> None:
        async def person(url: str) -> str:
            asked.append(url)
            return await Person(world).follow(url)

        auth = world.auth(store=FileGrantStore(path), paste=person, listen=False, open_browser=str, carrier=None)
        async with httpx2.AsyncClient(auth=auth.provider(f"{world.origin}/mcp"), verify=False) as client:
            assert (await client.post(f"{world.origin}/mcp", json=BODY, headers=ACCEPTED)).status_code == 200

    outcomes: list[str] = []
    asked: list[str] = []
    turns = 0
    async with served(clock=ManualClock(time.time())) as world:
        with killing(CALL) as killed_after:
            if signed_in:
                await call(world)
            while not is_told(outcomes):
                assert len(outcomes) < 200
                if signed_in:
                    world.revoke_access()
                else:
                    path.unlink(missing_ok=True)
                before = stored()
                del world.seen[:]
                killed = killed_after(turns, f"{world.origin}/mcp", BODY, ACCEPTED, str(path))
                turns += 1 if killed else -1

                left = stored()
                if left != before:
                    # The new one, whole; of a first sign-in there is the registration before there is a token.
                    (grant,) = left
                    assert grant.client.client_id in world.authority.clients
                    assert grant.token is None or grant.token.refresh_token in world.authority.refresh
                    assert grant.token is not None or not signed_in
                asked.clear()
                await call(world)
                if signed_in:
                    # Two came with the old refresh token: the server had answered, and the answer was not stored yet.
                    lost = world.count("/token", "refresh_token") == 2
                    assert not lost or left == before
                else:
                    lost = not left or left[0].token is None
                assert len(asked) == lost
                assert killed or not lost
                outcomes.append("lost" if lost else "kept" if killed else "finished")
    assert outcomes[0] == ("kept" if signed_in else "lost")
    assert len(outcomes) > 8
    assert "damaged" not in caplog.text
