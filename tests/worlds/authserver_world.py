"""A whole deployment in one process: the mocked GitHub, the authorization server, a browser, an MCP client by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from key_value.aio.stores.memory import MemoryStore
from mcp.shared.auth import OAuthClientInformationFull
from starlette.applications import Starlette

from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.pkce import challenge_for
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver import AuthorizationServer, Rates

PUBLIC_URL = "http://127.0.0.1:8000"
RESOURCE = f"{PUBLIC_URL}/mcp"
CALLBACK = "http://127.0.0.1:5000/cb"
VERIFIER = "v" * 43
KINDS = (
    "clients newcomers documents new_documents flows consents upstream_flows codes access refresh used families ended "
    "upstream turns".split()
)

PUBLIC_CLIENT = OAuthClientInformationFull(
    client_id="desk", client_name="Desk", redirect_uris=[CALLBACK], token_endpoint_auth_method="none"
)
WEB_CLIENT = OAuthClientInformationFull(
    client_id="shop",
    client_name="Shop",
    client_secret="shop-secret",
    redirect_uris=["https://shop.example/cb"],
    token_endpoint_auth_method="client_secret_basic",
    application_type="web",
)
POST_CLIENT = OAuthClientInformationFull(
    client_id="poster",
    client_secret="poster-secret",
    redirect_uris=[CALLBACK],
    token_endpoint_auth_method="client_secret_post",
)
MACHINE = OAuthClientInformationFull(
    client_id="robot",
    client_secret="robot-secret",
    grant_types=["client_credentials"],
    token_endpoint_auth_method="client_secret_basic",
)
CLIENTS = (PUBLIC_CLIENT, WEB_CLIENT, POST_CLIENT, MACHINE)


class World:
    """Turn what is passed to `AuthorizationServer` through `options`."""

    def __init__(self, public_url: str = PUBLIC_URL, **options: Any):
        self.public_url = public_url
        self.clock = ManualClock(1767225600.0)
        self.github = MockGitHub(seed=7, clock=self.clock)
        self.app_at_github = self.github.register_app("MCP server", [f"{public_url}/oauth/callback"])
        self.kv = MemoryStore()
        self.key = b"k" * 32
        self.options = {"clients": CLIENTS, "rates": Rates(None, None, None), **options}
        self.server = self.worker()
        self.http = self.client_of(self.server)
        self.browser = Browser(self)

    def worker(self, **changes: Any) -> AuthorizationServer:
        """Start one more worker of the same deployment."""
        given: dict[str, Any] = {
            "settings": IsolatedSettings(
                oauth_client_id=self.app_at_github.client_id, oauth_client_secret=self.app_at_github.client_secret
            ),
            "client": lambda: httpx.AsyncClient(transport=self.github.transport()),
            "clock": self.clock,
            "kv": self.kv,
            "encryption_key": self.key,
        }
        return AuthorizationServer(self.public_url, **{**given, **self.options, **changes})

    def client_of(self, server: AuthorizationServer) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(Starlette(routes=server.routes()), raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url=self.public_url)

    def request(self, **changes: str | None) -> dict[str, str]:
        """A good authorization request, with changes; None leaves a parameter out."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": "desk",
            "redirect_uri": CALLBACK,
            "scope": "read:user",
            "state": "state-1",
            "code_challenge": challenge_for(VERIFIER),
            "code_challenge_method": "S256",
            "resource": f"{self.public_url}/mcp",
            **changes,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    async def code(self, **changes: str | None) -> str:
        """Walk to a code as a person who says yes everywhere."""
        return answer(await self.browser.authorize(self.request(**changes)))["code"]

    def exchange(self, code: str, /, **changes: str | None) -> dict[str, str]:
        """A good token request for a code, with changes."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": "desk",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            "resource": f"{self.public_url}/mcp",
            **changes,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def refreshing(self, refresh_token: str, /, **changes: str | None) -> dict[str, str]:
        """A good refresh request, with changes."""
        fields: dict[str, str | None] = {
            "grant_type": "refresh_token",
            "client_id": "desk",
            "refresh_token": refresh_token,
            "resource": f"{self.public_url}/mcp",
            **changes,
        }
        return {name: value for name, value in fields.items() if value is not None}

    async def tokens(self, **changes: str | None) -> dict[str, Any]:
        """Walk to tokens."""
        response = await self.http.post("/token", data=self.exchange(await self.code(**changes)))
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def stored(self, *kinds: str) -> int:
        """Count the records of these kinds, or all."""
        return sum([len(await self.kv.keys(collection=f"mcp_oauth_{kind}")) for kind in kinds or KINDS])

    async def is_good_at_github(self, token: str) -> bool:
        """Ask GitHub's API with a token of GitHub's."""
        async with httpx.AsyncClient(transport=self.github.transport()) as client:
            headers = {"Authorization": f"Bearer {token}", "User-Agent": "tests"}
            return (await client.get(f"{self.github.api_url}/user", headers=headers)).status_code == 200

    async def upstream(self, tokens: Mapping[str, Any]) -> str:
        """The GitHub token behind an access token."""
        access = await self.server.verify_token(tokens["access_token"])
        assert access is not None
        return await self.server.upstream_token(access)


class Browser:
    """A person's browser: cookies, and a GitHub account that says yes."""

    def __init__(self, world: World):
        self.world = world
        self.cookies = httpx.Cookies()
        self.autopilot = Autopilot(world.github.transport())
        self.pages: list[httpx.Response] = []

    async def get(self, url: str, **options: Any) -> httpx.Response:
        return await self.send("GET", url, **options)

    async def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Ask the authorization server once, with cookies."""
        async with self.world.client_of(self.world.server) as client:
            client.cookies = self.cookies
            response = await client.request(method, url, **options)
            self.cookies = client.cookies
        return response

    async def consent_page(self, request: Mapping[str, str]) -> httpx.Response:
        """Open an authorization request as far as the consent page."""
        response = await self.get("/authorize", params=request)
        assert response.status_code == 302, response.text
        return await self.get(response.headers["location"])

    async def press(self, page: httpx.Response, *, allow: bool = True, **changes: Any) -> httpx.Response:
        """Press a button on the consent page."""
        fields = {**hidden(page), "authorize": "1" if allow else "0", **changes.pop("fields", {})}
        headers = {"Origin": self.world.public_url, **changes.pop("headers", {})}
        return await self.send("POST", "/consent", data=fields, headers=headers, **changes)

    async def authorize(self, request: Mapping[str, str], *, allow: bool = True, at_github: bool = True) -> str:
        """Go all the way; return the URL at the client that the browser ends at."""
        page = await self.consent_page(request)
        if page.status_code == 200:
            self.pages.append(page)
            page = await self.press(page, allow=allow)
        assert page.status_code == 303, page.text
        if not allow:
            return str(page.headers["location"])
        back = await self.autopilot.authorize(page.headers["location"], allow=at_github)
        end = await self.get(back)
        assert end.status_code == 303, end.text
        return str(end.headers["location"])


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page's form."""
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))


def answer(url: str) -> dict[str, str]:
    """The parameters that an authorization response brings to the client, each once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def query(pairs: Mapping[str, str], *more: tuple[str, str]) -> str:
    """A query string that may repeat parameters."""
    return urlencode([*pairs.items(), *more])
