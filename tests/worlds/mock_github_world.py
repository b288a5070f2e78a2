"""A mocked GitHub with a browser in front of it and a client that knows nothing but httpx."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub, OAuthApp
from mcp_oauth_nb.oauth.clock import ManualClock

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z
AUTHORIZE = "https://github.com/login/oauth/authorize"
TOKEN = "https://github.com/login/oauth/access_token"
API = "https://api.github.com"
CALLBACK = "http://127.0.0.1:53682/callback"

# RFC 7636 appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


class World:
    """One mock, one browser, one clock that stands still."""

    def __init__(self, seed: int = 7):
        self.clock = ManualClock(EPOCH)
        self.github = MockGitHub(seed, self.clock)
        self.transport = self.github.transport()
        self.browser = Autopilot(self.transport)

    async def send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send one request, with httpx's arguments; redirects are not followed."""
        async with httpx.AsyncClient(transport=self.transport) as client:
            return await client.request(method, url, **request)

    async def visit(self, url: str, method: str = "GET", **request: Any) -> httpx.Response:
        """Send one request with the browser's cookies."""
        async with httpx.AsyncClient(transport=self.transport, cookies=self.browser.cookies) as client:
            return await client.request(method, url, **request)

    def authorize_url(self, **parameters: str | None) -> str:
        """An authorization request of the default app; None leaves a parameter out."""
        given = {"client_id": self.github.client_id, "redirect_uri": CALLBACK, "scope": "read:user"} | parameters
        return f"{AUTHORIZE}?" + urlencode({name: value for name, value in given.items() if value is not None})

    async def callback(
        self, *, allow: bool = True, granted: list[str] | None = None, **parameters: Any
    ) -> dict[str, str]:
        """Go through with an authorization request; return what the callback's query says."""
        end = await self.browser.authorize(self.authorize_url(**parameters), allow=allow, scopes=granted)
        return dict(parse_qsl(urlsplit(end).query))

    async def code(self, **parameters: Any) -> str:
        """Go through with an authorization request; return the code."""
        return (await self.callback(**parameters))["code"]

    async def post_token(
        self, fields: dict[str, str], *, app: OAuthApp | None = None, **request: Any
    ) -> httpx.Response:
        """Ask the token endpoint, as the default app or another."""
        client = app or self.github.apps[self.github.client_id]
        credentials = {"client_id": client.client_id, "client_secret": client.client_secret}
        headers = {"Accept": "application/json"} | request.pop("headers", {})
        return await self.send("POST", TOKEN, data=credentials | fields, headers=headers, **request)

    async def exchange(self, code: str, app: OAuthApp | None = None, **fields: str) -> dict[str, Any]:
        """Exchange a code; return the answer, an error too."""
        return (await self.post_token({"code": code} | fields, app=app)).json()

    async def refresh(self, refresh_token: str, app: OAuthApp | None = None) -> dict[str, Any]:
        """Refresh; return the answer, an error too."""
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return (await self.post_token(fields, app=app)).json()

    async def sign_in(self, **parameters: Any) -> dict[str, Any]:
        """Run the whole flow; return the token response."""
        return await self.exchange(await self.code(**parameters), app=parameters.get("app"))

    async def api(self, path: str, token: str | None = None, method: str = "GET", **request: Any) -> httpx.Response:
        """Call the REST API."""
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | request.pop("headers", {})
        return await self.send(method, f"{API}{path}", headers=headers, **request)

    async def works(self, access_token: str) -> bool:
        """Say whether the API accepts the token."""
        return (await self.api("/user", access_token)).status_code == 200
