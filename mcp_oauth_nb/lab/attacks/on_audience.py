"""Attacks on whom a token or a session is for: rows 7 and 19."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.types import ASGIApp

from ...client.github import GitHubClient
from ...server.build import root_logger_untouched
from ...server.resource import PublicAddress, build_http_app, build_http_server, upstream_by
from ...server.resource.many_users import CallersToken, UpstreamToken
from ...server.tools import BASE_SCOPES, tools
from ...trace.messages import CLIENT, SERVER
from ..http_lab import PUBLIC_URL, HttpLab
from .cast import (
    ATTACKER,
    ATTACKER_NAME,
    HEADERS,
    VICTIM_NAME,
    Browser,
    ByHand,
    add_attacker,
    randomness,
    refused,
    whose_data,
)
from .outcome import Plot, attack
from .weakened import Front, SessionsAsLogins

# -- 7 -------------------------------------------------------------------------------------------------------------

_LOGIN = "https://login.example"
_GAMES = "https://games.example/mcp"


class _OneLogin:
    """The tokens of an authorization server that issues them for two MCP servers; the SDK's `TokenVerifier`."""

    def __init__(self, lab: HttpLab, resource: str):
        self.token = randomness(resource)(32).hex()
        self._access = AccessToken(
            token=self.token,
            client_id="notebook",
            scopes=list(BASE_SCOPES),
            resource=resource,
            subject=VICTIM_NAME,
        )
        self._github = lab.github

    async def verify_token(self, token: str) -> AccessToken | None:
        return self._access if token == self.token else None

    async def upstream_token(self, access: AccessToken, *, rejected: str | None = None) -> str:
        return self._github.issue_token(VICTIM_NAME, access.scopes).access_token


@attack(
    7,
    "Token for another audience",
    needs=HttpLab,
    check="a token is accepted by the resource that it was issued for, and by no other",
    reference="RFC 8707 section 2; MCP 2025-11-25, Token Audience Binding",
)
async def wrong_audience(lab: HttpLab, plot: Plot) -> None:
    """A token for one MCP server, replayed at another that trusts the same authorization server."""
    login = _OneLogin(lab, _GAMES)
    plot.step(f"{_LOGIN} issues tokens for two MCP servers. The victim has one for {_GAMES}, which the attacker runs.")
    async with lab.network.running_instead(_audience_checked(lab, login) if plot.defence else _by_default(lab, login)):
        plot.step(f"The attacker's server gets it with every call, and sends it to {lab.url}.")
        if not plot.defence:
            plot.step("That server is guarded as the SDK does it by default: is the token valid, has it the scopes.")
        plot.learned("data of", await whose_data(lab, login.token))
        plot.got("by the token", login.token)


def _audience_checked(lab: HttpLab, login: _OneLogin) -> Starlette:
    tools = _tools(lab, login.upstream_token)
    return build_http_app(
        public_url=PUBLIC_URL,
        server=tools,
        verifier=login,
        issuers=[_LOGIN],
        json_response=True,
        stateless=True,
        clock=lab.clock,
    )


def _tools(lab: HttpLab, upstream_token: UpstreamToken) -> MCPServer:
    client = lab.http_client(SERVER)
    return build_http_server(lab.settings, upstream_by(upstream_token), client, public_url=PUBLIC_URL, clock=lab.clock)


def _by_default(lab: HttpLab, login: _OneLogin) -> Starlette:
    """Build the same with the SDK's own guard, which in 2.x does not look at the audience unless it is told to."""
    auth = {"issuer_url": _LOGIN, "resource_server_url": lab.url, "validate_token_resource": False}
    source = CallersToken(upstream_by(login.upstream_token))
    github = GitHubClient(source, base_url=lab.settings.api_base_url, timeout=5, client=lab.http_client(SERVER))
    with root_logger_untouched():
        server = MCPServer(
            lab.settings.server_name,
            tools=tools(github, PublicAddress(PUBLIC_URL).challenge(BASE_SCOPES)),
            auth=AuthSettings.model_validate({**auth, "required_scopes": list(BASE_SCOPES)}),
            token_verifier=login,
        )
    any_host = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return server.streamable_http_app(json_response=True, stateless_http=True, transport_security=any_host)


class _PassesOn(Front):
    """An MCP server without tokens of its own: it hands the caller's to GitHub, and what GitHub says is its answer."""

    def __init__(self, lab: HttpLab, server: ASGIApp):
        super().__init__(server)
        self._lab = lab

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/mcp":
            return await super().handle(request)
        headers = {"Authorization": request.headers.get("authorization", "")}
        async with self._lab.http_client(SERVER)() as client:
            user = refused(await client.get(f"{self._lab.github.api_url}/user", headers=headers)).json()
        result = {"structuredContent": {"user": user}, "content": []}
        return httpx.Response(200, json={"jsonrpc": "2.0", "id": json.loads(request.content)["id"], "result": result})


@attack(
    7,
    "Token passthrough",
    needs=HttpLab,
    check="the server takes its own tokens only, and keeps the ones for GitHub to itself",
    reference="MCP 2025-11-25, Security Best Practices, Token Passthrough",
)
async def token_passthrough(lab: HttpLab, plot: Plot) -> None:
    """A GitHub token that was issued to another app, presented at the MCP server."""
    games = next((app for app in lab.github.apps.values() if app.name == "Games"), None)
    games = games or lab.github.register_app("Games", ["https://games.example/callback"])
    token = lab.github.issue_token(VICTIM_NAME, BASE_SCOPES, games).access_token
    plot.step("The victim has signed in to a game with GitHub. The game's maker, the attacker, has that token.")
    plot.step(f"The attacker sends it to {lab.url}, which was never given any access by the victim.")
    with lab.network.instead(lambda app: app if plot.defence else _PassesOn(lab, app)):
        plot.learned("data of", await whose_data(lab, token))
        plot.got("by the token", token)


# -- 19 ------------------------------------------------------------------------------------------------------------


@attack(
    19,
    "Session hijack by its id",
    needs=HttpLab,
    check="a session serves the user who opened it; its id is no login",
    reference="MCP 2025-11-25, Security Best Practices, Session Hijacking",
)
async def session_hijack(lab: HttpLab, plot: Plot) -> None:
    """User B sends user A's session id."""
    add_attacker(lab)
    tokens = [
        (await ByHand(lab, party).authorize(await Browser(lab, user, party).sign_in()))["access_token"]
        for party, user in ((CLIENT, VICTIM_NAME), (ATTACKER, ATTACKER_NAME))
    ]
    issuer = lab.authorization_server
    tools = _tools(lab, issuer.upstream_token)
    server = build_http_app(public_url=PUBLIC_URL, server=tools, verifier=issuer, json_response=True, clock=lab.clock)
    async with lab.network.running_instead(server):
        with lab.network.instead(lambda app: app if plot.defence else SessionsAsLogins(app)):
            session = await _open_session(lab, tokens[0])
            plot.step("The victim's client opens a session. Its id is in a header of every request, and in a log.")
            plot.step(
                f"The attacker, who has an account of their own ({ATTACKER_NAME}), calls with that id and their token."
            )
            with _sdk_silent():
                login = await whose_data(lab, tokens[1], **{"Mcp-Session-Id": session})
            plot.learned("data of", login)


async def _open_session(lab: HttpLab, token: str) -> str:
    version = HEADERS["MCP-Protocol-Version"]
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "Notebook", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    async with lab.http_client(CLIENT)() as client:
        opened = await client.post(lab.url, json=message, headers={**HEADERS, "Authorization": f"Bearer {token}"})
    return str(refused(opened).headers["mcp-session-id"])


@contextmanager
def _sdk_silent() -> Iterator[None]:
    """Keep the SDK's warning out of a notebook: it names the session, whose id the SDK draws by itself."""
    log = logging.getLogger("mcp.server.streamable_http_manager")
    log.disabled, before = True, log.disabled
    try:
        yield
    finally:
        log.disabled = before
