"""The mocked GitHub behind the measured servers, and the web server in front of all of them."""

from __future__ import annotations

import threading

import httpx
import uvicorn
from starlette.types import ASGIApp

from mcp_oauth_nb.cli.serve_http import KEEP_ALIVE_SECONDS
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth.http import ClientFactory


def uvicorn_server(app: ASGIApp) -> uvicorn.Server:
    """The web server, the same for all."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def mock_github(url: str | None = None) -> MockGitHub:
    """A GitHub without the limits that a measurement would run into."""
    github = MockGitHub() if url is None else MockGitHub.at(url)
    github.knobs.tokens_per_scope = github.knobs.tokens_per_hour = None
    github.knobs.rate_limit = 10**9
    return github


def mock_on_a_socket() -> MockGitHub:
    """A GitHub in a thread of this process, for as long as that lives."""
    listener = listen(0)
    github = mock_github(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threading.Thread(target=uvicorn_server(github.app).run, args=([listener],), daemon=True).start()
    return github


def without_socket(github: MockGitHub) -> ClientFactory:
    """The way to a GitHub without a socket."""
    transport = github.transport()
    return lambda: httpx.AsyncClient(transport=transport)
