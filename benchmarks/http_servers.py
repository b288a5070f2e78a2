"""The servers that are compared over HTTP, each a process of its own: `python benchmarks/http_servers.py KIND`.

All have the same tools, the same mocked GitHub behind them, the same uvicorn and the same log level. What differs is
who checks the token: this package with its authorization server, or the static verifier of the SDK or of FastMCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx
from fastmcp import FastMCP
from fastmcp.server.auth import StaticTokenVerifier
from http_github import mock_github, mock_on_a_socket, uvicorn_server, without_socket
from http_person import CALLBACK, CLIENT_ID, USER, authorize
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import AnyHttpUrl, AnyUrl
from starlette.types import ASGIApp

from mcp_oauth_nb.client.github import GitHubClient
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.lab.mock_github.model import OAuthApp
from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.http import ClientFactory, default_client
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver import AuthorizationServer, Rates
from mcp_oauth_nb.server.resource import PublicAddress, build_http_app, build_http_server, upstream_by
from mcp_oauth_nb.server.tools import BASE_SCOPES, tools

LOG_LEVEL: Final = "WARNING"
PROTECTED_TOOL: Final = "get_github_user_info"
STATIC_TOKEN = "bench-" + "s" * 37  # as long as one of ours


@dataclass
class Served:
    """An ASGI application, and a token that it accepts."""

    app: ASGIApp
    token: str = ""


class StaticVerifier:
    """The SDK's `TokenVerifier` with one token."""

    def __init__(self, url: str):
        self._access = AccessToken(
            token=STATIC_TOKEN, client_id=CLIENT_ID, scopes=[*BASE_SCOPES], resource=f"{url}/mcp", subject=USER
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what the token stands for."""
        return self._access if token == STATIC_TOKEN else None


class FixedToken:
    """A token source that knows one token: what a server without an authorization server behind it has."""

    def __init__(self, github: MockGitHub):
        self._token = github.issue_token().access_token

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """Return the token."""
        return self._token


def echo(text: str) -> str:
    """Say it again: a tool without work of its own."""
    return text


def settings_at(github: MockGitHub, app: OAuthApp) -> IsolatedSettings:
    """The settings of this package for a mock, wherever it is."""
    return IsolatedSettings(
        oauth_client_id=app.client_id,
        oauth_client_secret=app.client_secret,
        oauth_authorization_url=f"{github.web_url}/login/oauth/authorize",
        oauth_token_url=f"{github.web_url}/login/oauth/access_token",
        oauth_issuer=github.issuer,
        api_base_url=github.api_url,
        log_level=LOG_LEVEL,
    )


def protected_app(url: str, github: MockGitHub, client: ClientFactory, *, json_response: bool) -> ASGIApp:
    """This package, whole: protected resource, authorization server, tools. Both tools need a token."""
    settings = settings_at(github, github.register_app("bench", [f"{url}/oauth/callback"]))
    registered = OAuthClientInformationFull(
        client_id=CLIENT_ID, redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none"
    )
    authorization_server = AuthorizationServer(
        url, settings=settings, client=client, clients=[registered], rates=Rates(None, None, None)
    )
    server = build_http_server(
        settings,
        upstream_by(authorization_server.upstream_token),
        client,
        public_url=url,
        required=lambda *_: BASE_SCOPES,
    )
    server.tool()(echo)
    return build_http_app(
        public_url=url,
        server=server,
        verifier=authorization_server,
        authorization_server_routes=authorization_server.routes(),
        required_scopes=lambda *_: BASE_SCOPES,
        json_response=json_response,
    )


def ours(url: str) -> Served:
    """This package, with a token from a complete authorization."""
    github = mock_github()
    app = protected_app(url, github, without_socket(github), json_response=True)

    async def walk() -> str:
        mounts = {github.web_url: github.transport()}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), mounts=mounts) as browser:
            return await authorize(browser, url)

    return Served(app, asyncio.run(walk()))


def bare(url: str) -> Served:
    """The SDK's server: it guards the whole endpoint with a static verifier."""
    github = mock_github()
    return bare_app(url, tools_client(github, without_socket(github)), json_response=True)


def bare_app(url: str, github: GitHubClient, *, json_response: bool) -> Served:
    """The SDK's server with the tools, wherever their GitHub is."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(url),
        resource_server_url=AnyHttpUrl(f"{url}/mcp"),
        required_scopes=[*BASE_SCOPES],
        validate_token_resource=True,
    )
    server = MCPServer(
        "bare", tools=tools(github, challenge(url)), auth=auth, token_verifier=StaticVerifier(url), log_level=LOG_LEVEL
    )
    server.tool()(echo)
    return Served(server.streamable_http_app(json_response=json_response), STATIC_TOKEN)


def fastmcp(url: str) -> Served:
    """FastMCP with its static verifier."""
    return Served(fastmcp_server(url).http_app(json_response=True), STATIC_TOKEN)


def fastmcp_server(url: str) -> FastMCP:
    """The server of `fastmcp`, with the tools that are called."""
    tokens = {STATIC_TOKEN: {"client_id": CLIENT_ID, "scopes": [*BASE_SCOPES], "sub": USER}}
    server = FastMCP(
        "fastmcp", dereference_schemas=False, auth=StaticTokenVerifier(tokens, required_scopes=[*BASE_SCOPES])
    )
    github = mock_github()
    # FastMCP gets the very same function.
    user_info = tools(tools_client(github, without_socket(github)), challenge(url))[0]
    server.tool(user_info.fn, title=user_info.title, annotations=user_info.annotations)
    server.tool(echo)
    return server


def deployment(url: str) -> Served:
    """This package as `serve --transport http --mock` runs it, its GitHub on another socket; the token is asked for."""
    return Served(protected_app(url, mock_on_a_socket(), default_client, json_response=False))


def bare_sessions(url: str) -> Served:
    """The SDK's server with everything else as in `deployment`, for what its sessions need."""
    return bare_app(url, tools_client(mock_on_a_socket(), default_client), json_response=False)


def tools_client(github: MockGitHub, client: ClientFactory) -> GitHubClient:
    """The tools' way to GitHub, with one fixed token."""
    return GitHubClient(FixedToken(github), base_url=github.api_url, timeout=30, client=client)


def challenge(url: str) -> AuthChallenge:
    """What a tool says when GitHub rejects the token; never needed here."""
    return PublicAddress(url).challenge(BASE_SCOPES)


KINDS: dict[str, Callable[[str], Served]] = {
    "ours": ours,
    "bare": bare,
    "fastmcp": fastmcp,
    "deployment": deployment,
    "bare_sessions": bare_sessions,
}


def main(kind: str) -> None:
    """Serve until SIGTERM; the first line says where, and with which token."""
    listener: socket.socket = listen(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    served = KINDS[kind](url)
    logging.getLogger().setLevel(LOG_LEVEL)
    print(json.dumps({"url": url, "token": served.token}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn_server(served.app).run([listener])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1])
