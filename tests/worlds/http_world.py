"""A protected MCP server with its authorization server, from the SDK's own pieces, and a person with a browser.

Everything is on one made-up origin (`P`) and in this process; only the browser's way back is a real socket.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mcp_oauth_nb import ManualClock
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.oauth.patience import Patience

P = "http://127.0.0.1:8123"
MCP = f"{P}/mcp"
PRM = "/.well-known/oauth-protected-resource/mcp"
ASM = "/.well-known/oauth-authorization-server"


class Authority(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """An authorization server that asks nobody. Tokens live in dictionaries, and end by the given clock."""

    def __init__(self, world: World):
        self.world = world
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        answer = {"state": params.state, "iss": self.world.origin if self.world.iss is None else self.world.iss or None}
        if self.world.declines:
            answer["error"] = "access_denied"
        else:
            code = f"code-{secrets.token_hex(16)}"
            self.codes[code] = AuthorizationCode(
                code=code,
                scopes=params.scopes or [],
                expires_at=4e9,
                client_id=client.client_id,
                code_challenge=params.code_challenge,
                redirect_uri=params.redirect_uri,
                redirect_uri_provided_explicitly=True,
                resource=params.resource,
                subject="octocat",
            )
            answer["code"] = code
        return construct_redirect_uri(str(params.redirect_uri), **answer)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(client, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        if self.refresh.pop(refresh_token.token, None) is None:
            raise TokenError("invalid_grant")
        return self._issue(client, scopes, refresh_token.resource)

    def _issue(self, client: OAuthClientInformationFull, scopes: list[str], resource: str | None) -> OAuthToken:
        granted = [scope for scope in scopes if scope not in self.world.withheld]
        access, refresh = f"access-{secrets.token_hex(16)}", f"refresh-{secrets.token_hex(16)}"
        self.access[access] = AccessToken(
            token=access, client_id=client.client_id, scopes=granted, resource=resource, subject="octocat"
        )
        self.refresh[refresh] = RefreshToken(
            token=refresh, client_id=client.client_id, scopes=granted, resource=resource, subject="octocat"
        )
        self.world.ends[access] = self.world.clock.now() + self.world.lifetime
        return OAuthToken(
            access_token=access,
            refresh_token=refresh,
            expires_in=self.world.lifetime,
            scope=" ".join(granted) if self.world.tells_scope else None,
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token) if self.world.ends.get(token, 0.0) > self.world.clock.now() else None

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)


@dataclass
class Seen:
    """One request that arrived."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class World:
    """What a test sets and sees.

    Attributes:
        origin: of both servers.
        streams: answers are event streams of stateful sessions.
        binds: a token is good for the MCP endpoint itself only, not for one that was issued for its origin.
        iss: sent with the authorization answer; the origin if not given, "" for none.
        declines: the person says no.
        withheld: scopes that are never granted.
        tells_scope: token answers name the scope.
        lifetime: of access tokens, in seconds.
        revokes: there is a revocation endpoint.
        instead: path -> what is answered in place of the real thing.
        patch: path -> what is changed in its JSON; None removes a member.
        seen: the requests so far.
    """

    origin: str = P
    streams: bool = False
    binds: bool = True
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_800_000_000))
    iss: str | None = None
    declines: bool = False
    withheld: frozenset[str] = frozenset()
    tells_scope: bool = True
    lifetime: int = 3600
    revokes: bool = False
    ends: dict[str, float] = field(default_factory=dict)
    instead: dict[str, Callable[[Seen], Response | None]] = field(default_factory=dict)
    patch: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.authority = Authority(self)
        self.server = MCPServer(
            "protected",
            log_level="ERROR",
            auth_server_provider=self.authority,
            auth=AuthSettings.model_validate(
                {
                    "issuer_url": self.origin,
                    "resource_server_url": f"{self.origin}/mcp",
                    "validate_token_resource": self.binds,
                    "required_scopes": ["read:user"],
                    "client_registration_options": ClientRegistrationOptions(
                        enabled=True, valid_scopes=["read:user", "repo"]
                    ),
                    "revocation_options": RevocationOptions(enabled=self.revokes),
                }
            ),
        )

        @self.server.tool()
        def whoami() -> str:
            return "octocat"

        @self.server.tool()
        def private() -> str:
            return "a secret plan"

        self.inner = self.server.streamable_http_app(
            json_response=not self.streams, stateless_http=not self.streams, host="127.0.0.1"
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the faults that the test wants. A call of `private` needs the scope `repo`."""
        request = Request(scope, receive)
        body = await request.body()
        seen = Seen(request.method, str(request.url), dict(request.headers), body)
        self.seen.append(seen)
        instead = self.instead.get(seen.path)
        response = (instead(seen) if instead is not None else None) or self._too_few_scopes(seen)
        if response is not None:
            await response(scope, receive, send)
            return

        unread = [body]

        async def replay() -> Message:
            # Once; after that, an event stream wants to hear of the disconnect.
            return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

        patch = self.patch.get(seen.path)
        await self.inner(scope, replay, send if patch is None else _patched(send, patch))

    def _too_few_scopes(self, seen: Seen) -> Response | None:
        if seen.path != "/mcp" or b'"private"' not in seen.body:
            return None
        token = self.authority.access.get(seen.headers.get("authorization", "").removeprefix("Bearer "))
        if token is None or "repo" in token.scopes:
            return None
        return Response(
            status_code=403,
            headers={
                "WWW-Authenticate": 'Bearer error="insufficient_scope", scope="read:user repo", '
                f'resource_metadata="{self.origin}{PRM}"'
            },
        )

    def carrier(self) -> httpx2.AsyncBaseTransport:
        """What the client's requests go through."""
        return httpx2.ASGITransport(self.app)

    def auth(self, person: Person | None = None, **options: Any) -> McpAuth:
        """A client that knows this world."""
        given = {"show": str, "open_browser": (person or Person(self)).open, "timeout": 10, "carrier": self.carrier}
        given |= {"hub": lambda: None, "patience": Patience()}
        return McpAuth(clock=self.clock, **{**given, **options})

    def count(self, path: str, grant: str | None = None) -> int:
        """How often a path was requested; at the token endpoint, for a grant."""
        return len([one for one in self.seen if one.path == path and grant in (None, one.form.get("grant_type"))])

    def revoke_access(self) -> None:
        """End every access token, as a server does that lost them."""
        self.ends.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Serve."""
        async with self.server.session_manager.run():
            yield self


def _patched(send: Send, patch: dict[str, Any]) -> Send:
    start: list[Message] = []

    async def patched(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
            return
        value = {name: item for name, item in (json.loads(message["body"]) | patch).items() if item is not None}
        content = json.dumps(value).encode()
        headers = [(name, item) for name, item in start[0]["headers"] if name != b"content-length"]
        await send({**start[0], "headers": [*headers, (b"content-length", str(len(content)).encode())]})
        await send({"type": "http.response.body", "body": content})

    return patched


class Person:
    """The user and the browser: goes where the authorization server leads, and comes back to the listener.

    Args:
        change: what happens to the callback's address on the way.
        comes_back: visits the callback at all.
        browser: what visits it.
    """

    def __init__(
        self,
        world: World,
        *,
        change: Callable[[str], str] = str,
        comes_back: bool = True,
        browser: Callable[[], httpx.AsyncClient] = httpx.AsyncClient,
    ):
        self.world = world
        self.change = change
        self.comes_back = comes_back
        self.browser = browser
        self.urls: list[str] = []
        self.pages: list[httpx.Response] = []
        self._visits: set[asyncio.Task[None]] = set()

    def open(self, url: str) -> bool:
        self.urls.append(url)
        if self.comes_back:
            self._visits.add(asyncio.ensure_future(self._go(url)))
        return True

    async def follow(self, url: str) -> str:
        """Return the address that the authorization server redirects to."""
        async with httpx2.AsyncClient(transport=self.world.carrier()) as browser:
            answer = await browser.get(url)
        assert answer.status_code == 302, answer.text
        return self.change(answer.headers["location"])

    async def _go(self, url: str) -> None:
        callback = await self.follow(url)
        async with self.browser() as browser:
            self.pages.append(await browser.get(callback))


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[World]:
    """A world on a socket, in a thread of its own: an event stream may outlive a test's patience.

    Args:
        options: the world's.
    """
    listener, ready = listen(0), threading.Event()
    world = World(origin=f"http://127.0.0.1:{listener.getsockname()[1]}", **options)
    options_of_uvicorn: dict[str, Any] = {"log_config": None, "lifespan": "off", "ws": "none", "interface": "asgi3"}
    config = uvicorn.Config(world.app, timeout_graceful_shutdown=1, **options_of_uvicorn)
    server = uvicorn.Server(config)

    async def serve() -> None:
        async with world.running():
            ready.set()
            await server.serve([listener])

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert await asyncio.to_thread(ready.wait, 5), "the server did not start"
    try:
        yield world
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, 10)


def client_of(world: World, **options: Any) -> McpAuth:
    """The authorization of a client over sockets, whose person is redirected at once, and pastes."""
    person = Person(world)
    return world.auth(paste=person.follow, listen=False, open_browser=lambda url: True, carrier=None, **options)
