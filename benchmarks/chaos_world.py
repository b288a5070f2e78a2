"""The deployment of the chaos run: a mocked GitHub, Redis, workers and a proxy, and the means to break them.

The mock is one for all workers, and outlives them: `serve --mock` has its own in the server's process.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "tests" / "worlds")]

from chaos_upstream import Upstream  # noqa: E402
from workers_world import Proxy, Redis, Worker  # noqa: E402

WORKERS = 2
#: Seconds that a worker waits for GitHub; the default of 30 would outlast every stall.
API_TIMEOUT = 5
TOKEN_LIFETIME = 20
UPSTREAM_TOKEN_LIFETIME = 30
# What GitHub issued this long before a kill, and nobody ever used, was on its way to the store.
_ON_ITS_WAY_SECONDS = 3.0


class World:
    """All of it.

    Args:
        directory: where Redis and the workers have theirs.
        users: who has an account at the mocked GitHub.
        seed: of the weather.
    """

    def __init__(self, directory: Path, users: Sequence[str], seed: int):
        for name in ("redis", "home"):
            (directory / name).mkdir()
        self.proxy = Proxy()
        self.upstream = Upstream(
            users, f"{self.proxy.url}/oauth/callback", seed=seed, token_lifetime=UPSTREAM_TOKEN_LIFETIME
        )
        self.redis = Redis(directory / "redis")
        variables = {
            **self.upstream.settings,
            "STORE_URL": self.redis.url,
            "STORE_ENCRYPTION_KEY": secrets.token_urlsafe(32),
            "API_TIMEOUT": str(API_TIMEOUT),
            "LOG_LEVEL": "WARNING",
        }
        options = ("--token-lifetime", str(TOKEN_LIFETIME))
        self.workers = [Worker(directory / "home", self.proxy.url, variables, *options) for _ in range(WORKERS)]
        self.proxy.workers = self.workers
        self._kills: list[float] = []

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"{self.proxy.url}/mcp"

    def kill(self, number: int) -> None:
        """Kill a worker, whatever it is doing."""
        self.workers[number].kill()
        self._kills.append(time.time())

    def reached_nobody(self, user: str) -> bool:
        """Say whether what GitHub gave last for the user's refresh token reached no worker, or one that was killed.

        GitHub's refresh tokens work once. A worker that is killed between GitHub's answer and the store's, or has given
        up when that comes, leaves a used one behind, and nobody can do anything about it but sign in again.
        """
        token = self.upstream.newest_token(user)
        if token is None or token.id == token.family or self.upstream.was_used(token):
            return False
        killed = any(-1 < killed - token.created_at < _ON_ITS_WAY_SECONDS for killed in self._kills)
        return killed or self.upstream.found_nobody(token)

    def stop(self) -> None:
        """End all of it."""
        self.upstream.weather()
        for worker in self.workers:
            worker.close()
        for one in (self.redis, self.upstream, self.proxy):
            one.stop()
