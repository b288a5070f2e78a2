"""A server whose tokens have numbers, stepped by hand: what is refreshed, kept and revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb import McpAuth
from mcp_oauth_nb.client.provider import AuthProvider
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore

TOKEN = f"{ISSUER}/token"
Answer = Callable[[dict[str, str]], httpx2.Response | None]


class Issuing(Steps):
    """A server whose tokens have numbers, for an hour each; and a client with a clock and a store.

    `refuse` may answer a token request in its place; `needs` is a scope that a call needs; `good` says which tokens
    the MCP server takes; `renewable` whether there are refresh tokens.
    """

    def __init__(self, store: MemoryGrantStore | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.clock = ManualClock(1_800_000_000)
        self.store = store or MemoryGrantStore()
        self.refuse: Answer = lambda form: None
        self.needs, self.granted = "", ""
        self.good: set[str] = set()
        self.given = self.clients = 0
        self.renewable = True

    def auth(self, **options: Any) -> McpAuth:
        return super().auth(**{"clock": self.clock, "store": self.store, **options})

    def new(self, **options: Any) -> AuthProvider:
        """Another session, or the same after a restart."""
        return self.auth(**options).provider(SERVER)

    @property
    def grant(self) -> Grant:
        (grant,) = self.store.entries().values()
        return grant

    @property
    def forms(self) -> list[dict[str, str]]:
        asked = [one for one in self.requests if str(one.url).endswith("/token")]
        return [dict(httpx2.QueryParams(one.content.decode())) for one in asked]

    @property
    def refreshed(self) -> list[str]:
        return [form["refresh_token"] for form in self.forms if "refresh_token" in form]

    def _protected(self, request: httpx2.Request) -> httpx2.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.good:
            return super()._protected(httpx2.Request("POST", SERVER))
        if self.needs and self.needs not in self.granted.split():
            challenge = f'Bearer error="insufficient_scope", scope="{self.needs}"'
            return httpx2.Response(403, headers={"WWW-Authenticate": challenge})
        return httpx2.Response(200)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        if url in self.instead:
            return self.instead[url](request)
        if url.endswith("/register"):
            self.clients += 1
            redirects = json.loads(request.content)["redirect_uris"]
            return httpx2.Response(201, json={"client_id": f"client-{self.clients}", "redirect_uris": redirects})
        if not url.endswith("/token"):
            return super().answer(request)
        form = dict(httpx2.QueryParams(request.content.decode()))
        if (refusal := self.refuse(form)) is not None:
            return refusal
        self.given += 1
        self.good = {f"access-{self.given}"}
        if self.sent_to and "code" in form:
            self.granted = httpx2.URL(self.sent_to[-1]).params.get("scope", "")
        tokens = {"access_token": f"access-{self.given}", "expires_in": 3600}
        if self.renewable:
            tokens["refresh_token"] = f"refresh-{self.given}"
        return httpx2.Response(200, json={**tokens, "token_type": "Bearer"})

    async def call(self, provider: AuthProvider) -> int:
        """Call; return the status. What was sent before is forgotten."""
        self.requests.clear()
        return (await self.walk(provider)).status_code
