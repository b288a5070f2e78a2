"""The mocked GitHub as a program on 127.0.0.1, for any OAuth client to be pointed at."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn

from ..client.loopback import listen
from .mock_github import MockGitHub, OAuthApp


def serve_mock_github(port: int, seed: int, show: Callable[[str], object], *, callback: str | None = None) -> None:
    """Serve until interrupted. The REST API is under `/api/v3`, as in GitHub Enterprise Server.

    Args:
        port: 0 takes a free one.
        seed: decides users, repositories, credentials and tokens.
        show: gets the lines that say how to use it.
        callback: of an app that is registered beside the one that is always there, and shown instead.

    Raises:
        ConfigurationError: the port is taken.
    """
    listener = listen(port)
    github = MockGitHub.at(f"http://127.0.0.1:{listener.getsockname()[1]}", seed=seed)
    app = github.register_app("Mock OAuth App", [callback]) if callback is not None else None
    for line in instructions(github, app):
        show(line)
    uvicorn.Server(uvicorn.Config(github.app, log_level="warning", lifespan="off", ws="none")).run([listener])


def instructions(github: MockGitHub, app: OAuthApp | None = None) -> list[str]:
    """Return what a person needs to use the mock: the settings that lead to it, and who can sign in."""
    client = app or github
    return [
        "Mock GitHub. Nothing here is real; these settings lead any client to it:",
        "",
        f"OAUTH_CLIENT_ID={client.client_id}",
        # A made-up credential of the mock, and the only way to use it.
        f"OAUTH_CLIENT_SECRET={client.client_secret}",
        f"OAUTH_AUTHORIZATION_URL={github.web_url}/login/oauth/authorize",
        f"OAUTH_TOKEN_URL={github.web_url}/login/oauth/access_token",
        f"OAUTH_ISSUER={github.issuer}",
        f"API_BASE_URL={github.api_url}",
        "",
        f"Users: {', '.join(github.users)}. Press Ctrl-C to stop.",
    ]
