"""A refresh that is killed at every turn of its loop: afterwards it works, or one clean authorization makes it work.

The process really ends, without `finally`: a child forks for each attempt, and ends itself at one turn of its loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_oauth_nb import FileTokenStore, OAuthHandler
from mcp_oauth_nb.config import IsolatedSettings
from mcp_oauth_nb.errors import ReauthorizeError
from mcp_oauth_nb.mock_github import Autopilot, MockGitHub

pytestmark = pytest.mark.anyio

CHILD = """
import asyncio, json, os, sys
from pathlib import Path
from mcp_oauth_nb import FileTokenStore, OAuthHandler
from mcp_oauth_nb.config import IsolatedSettings

class Mortal(asyncio.SelectorEventLoop):
    turns = 0

    def _run_once(self):
        self.turns -= 1
        if self.turns < 0:
            os._exit(9)
        super()._run_once()

def refresh(settings, path, turns):
    oauth = OAuthHandler(settings=IsolatedSettings(**settings), store=FileTokenStore(Path(path)))
    loop = Mortal()
    loop.turns = turns
    loop.run_until_complete(oauth.refresh_access_token())
    os._exit(0)

for line in sys.stdin:
    attempt = os.fork()
    if not attempt:
        refresh(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(attempt, 0)[1]), flush=True)
"""


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
    child = subprocess.Popen(  # noqa: ASYNC220 - a line from it is a few milliseconds away
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        while not outcomes or outcomes[-1] != "finished":
            assert len(outcomes) < 200
            await authorize(started())
            before = started().refresh_token
            child.stdin.write(json.dumps([settings, str(path), len(outcomes)]) + "\n")
            child.stdin.flush()
            killed = {"9": True, "0": False}[child.stdout.readline().strip()]

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
        child.stdin.close()
    # Killed before the request left, while the answer was under way, and after it was stored.
    assert outcomes[0] == "kept"
    assert len(outcomes) > 8
    assert "lost" in outcomes
