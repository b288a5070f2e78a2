"""Servers that nobody here wrote, each entered by `Session.open(url, auth=McpAuth(...))` on real sockets.

Each time the client finds the authorization server, registers itself, sends a person to the consent page, calls a
tool, refreshes its token once its clock says that it has expired, and calls again: the person was asked once.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx
import pytest
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken as FastMcpToken
from fastmcp.server.auth import RemoteAuthProvider, TokenVerifier
from fastmcp.server.auth.oauth_proxy import OAuthProxy
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from fastmcp.server.dependencies import get_access_token as fastmcp_token
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from peers_world import Visit, listening
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver import AuthorizationServer

pytestmark = pytest.mark.anyio

MODES = ["auto", "legacy"]


def said(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


async def enter_refresh_and_call_again(visit: Visit, mode: Any) -> list[str]:
    """Go through it all; return what the tool `whoami` said."""
    async with visit.session(mode) as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == {"whoami"}
        first = said(await session.call_tool("whoami"))
        visit.clock.advance(days=1)
        second = said(await session.call_tool("whoami"))
        third = said(await session.call_tool("whoami"))
    assert visit.grants() == ["authorization_code", "refresh_token"]
    assert visit.person.pages.count("/callback") == 1
    return [first, second, third]


# -- the SDK's own routes --------------------------------------------------------------------------------------------


class Accounts:
    """The SDK's provider protocol, in memory, with a page that asks the person."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.asked: dict[str, tuple[OAuthClientInformationFull, AuthorizationParams]] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id is not None
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        ticket = secrets.token_urlsafe()
        self.asked[ticket] = (client, params)
        return f"{self.url}/ask?ticket={ticket}"

    async def ask(self, request: Request) -> Response:
        """Show the page, or take its answer."""
        if request.method == "GET":
            return HTMLResponse('<form method="post"><button name="answer" value="allow">Allow</button></form>')
        client, params = self.asked.pop(request.query_params["ticket"])
        code = AuthorizationCode(
            code=secrets.token_urlsafe(),
            client_id=str(client.client_id),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            **params.model_dump(include={"code_challenge", "redirect_uri", "redirect_uri_provided_explicitly"}),
            resource=params.resource,
            subject="ada",
        )
        self.codes[code.code] = code
        back = construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)
        return RedirectResponse(back, status_code=302)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self.issue(authorization_code)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh[refresh_token.token]
        return self.issue(refresh_token)

    def issue(self, grant: AuthorizationCode | RefreshToken) -> OAuthToken:
        same = grant.model_dump(include={"client_id", "scopes", "resource", "subject"})
        access = AccessToken(token=secrets.token_urlsafe(), expires_at=int(time.time() + 3600), **same)
        refresh = RefreshToken(token=secrets.token_urlsafe(), **same)
        self.access[access.token] = access
        self.refresh[refresh.token] = refresh
        return OAuthToken(
            access_token=access.token, expires_in=3600, refresh_token=refresh.token, scope=" ".join(grant.scopes)
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)


def sdk_server(url: str) -> ASGIApp:
    accounts = Accounts(url)
    options = ClientRegistrationOptions(enabled=True, valid_scopes=["notes"], default_scopes=["notes"])
    auth = AuthSettings.model_validate(
        {
            "issuer_url": url,
            "resource_server_url": f"{url}/mcp",
            "required_scopes": ["notes"],
            "client_registration_options": options,
            "revocation_options": RevocationOptions(enabled=True),
            "validate_token_resource": True,
        }
    )
    server = MCPServer("Accounts", auth_server_provider=accounts, auth=auth, log_level="CRITICAL")
    server.custom_route("/ask", ["GET", "POST"])(accounts.ask)

    @server.tool()
    async def whoami() -> str:
        token = get_access_token()
        assert token is not None
        return f"{token.subject} may {' '.join(token.scopes)} at {token.resource}"

    return server.streamable_http_app()


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdks_own_routes_let_our_client_in_and_refresh(mode: str) -> None:
    with listening(sdk_server) as url:
        visit = Visit(f"{url}/mcp")
        answers = await enter_refresh_and_call_again(visit, mode)
    assert set(answers) == {f"ada may notes at {url}/mcp"}
    assert visit.person.pages == ["/ask", "/callback"]


# -- FastMCP ---------------------------------------------------------------------------------------------------------


def with_whoami(auth: Any) -> FastMCP[None]:
    server: FastMCP[None] = FastMCP("Peer", auth=auth)

    @server.tool
    def whoami() -> str:
        token = fastmcp_token()
        assert token is not None
        return str(token.claims.get("login", token.subject) if token.claims else " ".join(token.scopes))

    return server


def fastmcp_in_memory(url: str) -> ASGIApp:
    options = ClientRegistrationOptions(enabled=True, valid_scopes=["notes"], default_scopes=["notes"])
    auth = InMemoryOAuthProvider(base_url=url, client_registration_options=options, required_scopes=["notes"])
    return with_whoami(auth).http_app()


@pytest.mark.parametrize("mode", MODES)
async def test_fastmcps_provider_in_memory_lets_our_client_in_and_refreshes(mode: str) -> None:
    with listening(fastmcp_in_memory) as url:
        answers = await enter_refresh_and_call_again(Visit(f"{url}/mcp"), mode)
    assert set(answers) == {"notes"}


class AskGitHub(TokenVerifier):
    """What FastMCP's verifier for GitHub does, with a GitHub whose address can be chosen."""

    def __init__(self, github: MockGitHub):
        super().__init__(required_scopes=["read:user"])
        self._github = github

    async def verify_token(self, token: str) -> FastMcpToken | None:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self._github.api_url}/user", headers={"Authorization": f"Bearer {token}"})
        if answer.status_code != 200:
            return None
        scopes = answer.headers["x-oauth-scopes"].split(", ")
        user = answer.json()
        claims = {"login": user["login"], "sub": str(user["id"])}
        return FastMcpToken(token=token, client_id=str(user["id"]), scopes=scopes, claims=claims)


@pytest.mark.parametrize("mode", MODES)
async def test_fastmcps_oauth_proxy_lets_our_client_in_and_refreshes(on_port: MockGitHub, mode: str) -> None:
    github = on_port

    def build(url: str) -> ASGIApp:
        known = github.register_app("FastMCP", [f"{url}/auth/callback"])
        auth = OAuthProxy(
            upstream_authorization_endpoint=f"{github.web_url}/login/oauth/authorize",
            upstream_token_endpoint=f"{github.web_url}/login/oauth/access_token",
            upstream_client_id=known.client_id,
            upstream_client_secret=known.client_secret,
            token_verifier=AskGitHub(github),
            base_url=url,
            jwt_signing_key=secrets.token_hex(),
        )
        return with_whoami(auth).http_app()

    with listening(build) as url:
        visit = Visit(f"{url}/mcp")
        answers = await enter_refresh_and_call_again(visit, mode)
    assert set(answers) == {"octocat"}
    assert visit.person.pages == ["/consent", "/login", "/login/oauth/authorize", "/callback"]


class AskOurs(TokenVerifier):
    """This package's authorization server as FastMCP's verifier."""

    def __init__(self, server: AuthorizationServer):
        super().__init__(required_scopes=["read:user"])
        self._server = server

    async def verify_token(self, token: str) -> FastMcpToken | None:
        access = await self._server.verify_token(token)
        if access is None or access.resource != self._server.resource:
            return None
        return FastMcpToken.model_validate(access.model_dump() | {"claims": {"login": access.subject}})


@pytest.mark.parametrize("mode", MODES)
async def test_fastmcps_remote_auth_takes_the_tokens_of_our_authorization_server(
    on_port: MockGitHub, mode: str
) -> None:
    github = on_port

    def build(url: str) -> ASGIApp:
        known = github.register_app("Ours", [f"{url}/oauth/callback"])
        settings = IsolatedSettings(
            oauth_client_id=known.client_id,
            oauth_client_secret=known.client_secret,
            oauth_authorization_url=f"{github.web_url}/login/oauth/authorize",
            oauth_token_url=f"{github.web_url}/login/oauth/access_token",
            oauth_issuer=github.issuer,
            api_base_url=github.api_url,
        )
        ours = AuthorizationServer(url, settings=settings)
        auth = RemoteAuthProvider(AskOurs(ours), authorization_servers=[url], base_url=url)
        app = with_whoami(auth).http_app()
        app.router.routes.extend(ours.routes())
        return app

    with listening(build) as url:
        visit = Visit(f"{url}/mcp")
        answers = await enter_refresh_and_call_again(visit, mode)
    assert set(answers) == {"octocat"}
    assert visit.person.pages == ["/consent", "/login", "/login/oauth/authorize", "/callback"]
