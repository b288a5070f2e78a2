"""A protected resource with its tools, the mocked GitHub behind it, and tokens that a test hands out itself."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import AccessToken
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)

from mcp_oauth_nb.lab.lab import stand_in_model
from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ReauthorizeError, TransientError
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.resource import build_http_app, build_http_server

URL = "http://127.0.0.1:8000"
MCP = f"{URL}/mcp"
EPOCH = 1_767_225_600
MODERN, LEGACY = "2026-07-28", "2025-11-25"
PROTECTED = "get_github_user_info"
PRIVATE = {"include_private": True}


def token_of(name: str) -> str:
    """A token's text: recognisable, and unlike a real one."""
    return f"test-token-of-{name}"


class StaticVerifier:
    """Knows the tokens that it was given.

    Attributes:
        asked: every token it was asked about.
        fault: raised instead of an answer.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, AccessToken] = {}
        self.asked: list[str] = []
        self.fault: TransientError | None = None

    def issue(self, name: str, *scopes: str, **changes: Any) -> str:
        """Issue a token to a user of this name."""
        given: dict[str, Any] = {
            "token": token_of(name),
            "client_id": "client-1",
            "scopes": list(scopes),
            "resource": MCP,
            "subject": name.split("/")[0],
            "expires_at": EPOCH + 3600,
            "claims": {"iss": URL},
        }
        self.tokens[token_of(name)] = AccessToken(**(given | changes))
        return token_of(name)

    async def verify_token(self, token: str) -> AccessToken | None:
        """The SDK's protocol."""
        self.asked.append(token)
        if self.fault is not None:
            raise self.fault
        return self.tokens.get(token)


class Upstream:
    """Keeps each user's GitHub token, as the authorization server does.

    Attributes:
        served: who asked for a token, in order.
    """

    def __init__(self, github: MockGitHub):
        self._github = github
        self.served: list[str | None] = []

    def __call__(self, access: AccessToken) -> Grant:
        """What `build_http_server` takes."""
        return Grant(self, access)

    def token(self, access: AccessToken) -> str:
        self.served.append(access.subject)
        if access.subject not in self._github.users:
            raise ReauthorizeError("GitHub knows no such user.")
        return self._github.issue_token(access.subject, access.scopes).access_token


class Grant:
    """The upstream token source of one user."""

    def __init__(self, upstream: Upstream, access: AccessToken):
        self._upstream, self._access = upstream, access

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """The `TokenSource` protocol."""
        return self._upstream.token(self._access)


class Recorder(logging.Handler):
    """Keeps what is logged: the audit's events, and every text."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if hasattr(record, "audit"):
            self.events.append(record.audit)


class World:
    """All of it. `post` speaks raw HTTP, `client` is the SDK's."""

    def __init__(self, **options: Any):
        self.clock = ManualClock(EPOCH)
        self.github = MockGitHub(7, self.clock)
        self.upstream = Upstream(self.github)
        self.verifier = StaticVerifier()
        self.log = Recorder()
        settings = IsolatedSettings(log_level="CRITICAL")
        self.server = build_http_server(
            settings,
            self.upstream,
            lambda: httpx.AsyncClient(transport=self.github.transport()),
            public_url=options.get("public_url", URL),
            clock=self.clock,
        )
        given: dict[str, Any] = {"public_url": URL, "json_response": True} | options
        self.app = build_http_app(server=self.server, verifier=self.verifier, clock=self.clock, **given)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Run the application's lifespan, with the audit log recorded."""
        audit = logging.getLogger("mcp_oauth_nb.audit")
        before = audit.level
        audit.addHandler(self.log)
        audit.setLevel(logging.INFO)
        try:
            async with self.app.router.lifespan_context(self.app):
                yield self
        finally:
            audit.removeHandler(self.log)
            audit.setLevel(before)

    async def send(self, method: str, path: str, *, client: str = "192.0.2.1", **request: Any) -> httpx.Response:
        """Send one request to the application, with httpx's arguments."""
        transport = httpx.ASGITransport(self.app, client=(client, 4321))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            # In process nothing else ends a request that is never answered.
            with anyio.fail_after(10):
                return await http.request(method, path, **request)

    async def post(
        self,
        body: Any,
        *,
        token: str | None = None,
        era: str = LEGACY,
        headers: Any = (),
        path: str = "/mcp",
        **request: Any,
    ) -> httpx.Response:
        """POST a JSON-RPC message, or bytes as they are."""
        given = [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")]
        given += routing_headers(body, era)
        if token is not None:
            given.append(("Authorization", f"Bearer {token}"))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        replaced = {name.lower() for name, _ in headers if name.lower() != "authorization"}
        sent = [pair for pair in given if pair[0].lower() not in replaced] + list(headers)
        return await self.send("POST", path, content=content, headers=sent, **request)

    async def open_session(self, token: str | None = None, *, then: str | None = None) -> str:
        """Open a session of the earlier versions; return its id. The client may have got a token `then`."""
        params = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        answer = await self.post(
            {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, token=token, headers=[]
        )
        assert answer.status_code == 200, answer.text
        session: str = answer.headers["mcp-session-id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await self.post(ready, token=then or token, headers=[("Mcp-Session-Id", session)])).status_code == 202
        return session

    @asynccontextmanager
    async def client(self, mode: str, token: str | None = None) -> AsyncIterator[Client]:
        """Connect the SDK's client, in process."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx2.ASGITransport(self.app)
        async with (
            httpx2.AsyncClient(transport=transport, headers=headers) as http,
            Client(
                streamable_http_client(MCP, http_client=http), mode=mode, sampling_callback=stand_in_model
            ) as client,
        ):
            yield client


def call(tool: str = PROTECTED, arguments: dict[str, Any] | None = None, *, id: Any = 1, era: str = LEGACY) -> Any:
    """A `tools/call` message."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments or {}}
    if era == MODERN:
        params["_meta"] = {
            PROTOCOL_VERSION_META_KEY: MODERN,
            CLIENT_INFO_META_KEY: {"name": "test", "version": "1"},
            CLIENT_CAPABILITIES_META_KEY: {},
        }
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def routing_headers(body: Any, era: str) -> list[tuple[str, str]]:
    """The headers that name the call: of 2026-07-28 three, before that the version."""
    headers = [("MCP-Protocol-Version", era)]
    if era == MODERN and isinstance(body, dict):
        headers.append(("Mcp-Method", str(body.get("method"))))
        if isinstance(body.get("params"), dict) and isinstance(body["params"].get("name"), str):
            headers.append(("Mcp-Name", body["params"]["name"]))
    return headers
