"""Steps an authorization by hand: a flow is an async generator, and a test answers its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.provider import AuthProvider
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore
from mcp_oauth_nb.store.records import TokenKey

SERVER = "https://mcp.example/mcp"
ISSUER = "https://auth.example"


class Plain:
    """A store of three methods, which cannot give anybody a turn."""

    def __init__(self) -> None:
        self.inner = MemoryGrantStore()

    def entries(self) -> dict[TokenKey, Grant]:
        return self.inner.entries()

    def save(self, key: TokenKey, value: Grant, /) -> None:
        self.inner.save(key, value)

    def delete(self, key: TokenKey, /) -> None:
        self.inner.delete(key)


@dataclass
class Steps:
    """A public MCP server with an authorization server elsewhere, and the requests that a flow makes to them.

    Attributes:
        server: the MCP endpoint.
        resource_metadata: where the 401 says that the metadata is.
        authorization_servers: what the protected resource names.
        changed: members of the authorization server's metadata.
        peer: the address that the MCP server's answers come from.
        addresses: what host names resolve to; not at all if None.
        instead: the beginning of a URL -> what is answered in place of the usual.
        requests: what the flow sent, in order.
    """

    server: str = SERVER
    resource_metadata: str = ""
    authorization_servers: Sequence[str] = (ISSUER,)
    changed: dict[str, Any] = field(default_factory=dict)
    peer: Any = None
    addresses: Sequence[str] | None = ("93.184.215.14",)
    instead: dict[str, Callable[[httpx2.Request], httpx2.Response]] = field(default_factory=dict)
    requests: list[httpx2.Request] = field(default_factory=list)
    sent_to: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)

    async def resolve(self, host: str) -> Sequence[str]:
        self.resolved.append(host)
        if self.addresses is None:
            raise OSError("no such host")
        return self.addresses

    async def paste(self, url: str) -> str:
        """The person, who says yes."""
        self.sent_to.append(url)
        asked = httpx2.URL(url).params
        return str(httpx2.URL(asked["redirect_uri"], params={"code": "a-code", "state": asked["state"]}))

    def auth(self, **options: Any) -> McpAuth:
        given = {
            "paste": self.paste,
            "listen": False,
            "show": str,
            "open_browser": lambda url: True,
            "clock": ManualClock(1_800_000_000),
            "patience": Patience(),
            "resolver": self.resolve,
        }
        return McpAuth(**{**given, **options})

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        url = str(request.url)
        for start, instead in self.instead.items():
            if url.startswith(start):
                return instead(request)
        if url == self.server:
            return self._protected(request)
        if "/.well-known/oauth-protected-resource" in url or url == self.resource_metadata:
            body: Any = {"resource": self.server, "authorization_servers": list(self.authorization_servers)}
        elif "/.well-known/" in url:
            body = self.metadata()
        elif request.method == "POST" and request.headers["content-type"] == "application/json":
            return httpx2.Response(201, json={"client_id": "a-client", "redirect_uris": ["http://127.0.0.1/callback"]})
        else:
            body = {"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 3600}
        return httpx2.Response(200, json=body)

    def _protected(self, request: httpx2.Request) -> httpx2.Response:
        named = f', resource_metadata="{self.resource_metadata}"' if self.resource_metadata else ""
        signed_in = "authorization" in request.headers
        extensions = {"network_stream": self} if self.peer is not None else {}
        headers = {"WWW-Authenticate": f'Bearer scope="read:user"{named}'}
        return httpx2.Response(200 if signed_in else 401, headers=headers, extensions=extensions)

    def get_extra_info(self, name: str) -> Any:
        """The connection under an answer, as far as anybody asks."""
        return self.peer if name == "server_addr" else None

    def metadata(self) -> dict[str, Any]:
        issuer = str(self.authorization_servers[0])
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "registration_endpoint": f"{ISSUER}/register",
            "code_challenge_methods_supported": ["S256"],
            **self.changed,
        }

    async def walk(self, provider: AuthProvider | None = None) -> httpx2.Response:
        """Step a flow to its end, each step in a task of its own as a notebook's cells are; return the last answer."""
        provider = provider or self.auth().provider(self.server)
        request = httpx2.Request("POST", self.server, json={"method": "tools/call"})
        flow = provider.async_auth_flow(request)
        try:
            outgoing = await asyncio.create_task(_next(flow))
            while True:
                self.requests.append(outgoing)
                response = self.answer(outgoing)
                response.request = outgoing
                try:
                    outgoing = await asyncio.create_task(_next(flow, response))
                except StopAsyncIteration:
                    return response
        finally:
            await flow.aclose()

    @property
    def urls(self) -> list[str]:
        return [f"{request.method} {request.url}" for request in self.requests]


async def _next(flow: Any, response: httpx2.Response | None = None) -> httpx2.Request:
    outgoing: httpx2.Request = await flow.asend(response)
    return outgoing
