"""An authorization server of one page. It issues, rotates and revokes, checks PKCE itself, and keeps what it saw."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from scripted_server import Seen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.oauth.settings import IsolatedSettings, Settings
from mcp_oauth_nb.oauth.token import Token

CLIENT_ID = "the-client-id"
CLIENT_SECRET = "-".join(["the", "client", "secret", "nobody", "sees"])
API = "https://api.example"


class Provider:
    """One authorization server at `https://id.example`.

    Attributes:
        expires_in: the lifetime of access tokens in seconds; None leaves it out.
        with_refresh_token: whether answers carry one.
        rotates: whether a refresh token works once.
        spoiled: answers to give instead of the token endpoint's own; an exception is raised by the connection.
        processed: whether a spoiled request does its work all the same before its answer is lost.
        hold: the token endpoint answers when it is set.
        meanwhile: called once, while the next token request is under way.
        seen: the requests to `id.example`, in order.
        stolen: the requests to any other host.
        secrets: every code and token that was issued.
    """

    def __init__(self) -> None:
        self.expires_in: int | None = 28800
        self.with_refresh_token = True
        self.rotates = True
        self.spoiled: deque[Response | Exception] = deque()
        self.processed = False
        self.hold: threading.Event | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.seen: list[Seen] = []
        self.stolen: list[Seen] = []
        self.secrets: set[str] = set()
        self._random = random.Random("provider")
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh_tokens: dict[str, str] = {}

    # -- the browser's part ----------------------------------------------------------------------------------------

    def authorize(self, url: str, **changes: str) -> str:
        """Say yes to an authorization URL; return the URL that the browser comes back to."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        code = self._new("code")
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": "https://id.example", **changes}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    # -- HTTP ------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        seen = Seen(request.method, str(request.url), dict(request.headers), await request.body())
        if request.url.hostname != "id.example":
            self.stolen.append(seen)
            await Response("thank you")(scope, receive, send)
            return
        self.seen.append(seen)
        if request.url.path == "/token":
            answer = await self._token(dict(parse_qsl(seen.body.decode(), keep_blank_values=True)))
        else:
            answer = Response(status_code=200 if request.url.path == "/revoke" else 404)
        await answer(scope, receive, send)

    async def _token(self, form: dict[str, str]) -> Response:
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait, 30)
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        spoiled = self.spoiled.popleft() if self.spoiled else None
        own = self._grant(form) if spoiled is None or self.processed else None
        answer = spoiled or own
        assert answer is not None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _grant(self, form: dict[str, str]) -> Response:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"], None)
            if asked is None or asked["redirect_uri"] != form["redirect_uri"] or not _fits(form, asked):
                return JSONResponse({"error": "invalid_grant"}, 400)
            return JSONResponse(self.tokens(asked["scope"]))
        scope = self._refresh_tokens.get(form["refresh_token"])
        if scope is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if self.rotates:
            del self._refresh_tokens[form["refresh_token"]]
        return JSONResponse(self.tokens(scope))

    def tokens(self, scope: str = "read:user") -> dict[str, Any]:
        """Issue an access token and, unless told otherwise, a refresh token."""
        body: dict[str, Any] = {"access_token": self._new("access"), "token_type": "Bearer", "scope": scope}
        if self.expires_in is not None:
            body["expires_in"] = self.expires_in
        if self.with_refresh_token:
            body["refresh_token"] = self._new("refresh")
            self._refresh_tokens[body["refresh_token"]] = scope
        return body

    def _new(self, kind: str) -> str:
        secret = f"{kind}-{self._random.randbytes(15).hex()}"
        self.secrets.add(secret)
        return secret

    # -- what the tests ask ----------------------------------------------------------------------------------------

    @property
    def forms(self) -> list[dict[str, str]]:
        """The forms that were posted, in order."""
        return [dict(parse_qsl(request.body.decode(), keep_blank_values=True)) for request in self.seen]

    def client(self) -> httpx.AsyncClient:
        """A `ClientFactory` that leads here, whatever the host."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self))


def _fits(form: dict[str, str], asked: dict[str, str]) -> bool:
    """RFC 7636 section 4.6, written a second time."""
    digest = hashlib.sha256(form["code_verifier"].encode("ascii")).digest()
    return asked["code_challenge"] == base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def settings_for(**changes: Any) -> Settings:
    """Return the settings of a client of `Provider`."""
    given = {
        "oauth_client_id": CLIENT_ID,
        "oauth_client_secret": CLIENT_SECRET,
        "oauth_authorization_url": "https://id.example/authorize",
        "oauth_token_url": "https://id.example/token",
        "oauth_issuer": "https://id.example",
        "api_base_url": API,
    }
    return IsolatedSettings(**{**given, **changes})


def handler_for(
    provider: Provider, clock: ManualClock, *, settings: Settings | None = None, **options: Any
) -> OAuthHandler:
    """Return a client of `Provider` whose random values are always the same."""
    given = {
        "client": provider.client,
        "token_bytes": random.Random("client").randbytes,
        "patience": Patience(),
        **options,
    }
    return OAuthHandler(settings=settings or settings_for(), clock=clock, **given)


async def signed_in(provider: Provider, clock: ManualClock, **options: Any) -> OAuthHandler:
    """Return a handler that has been through the flow."""
    handler = handler_for(provider, clock, **options)
    await handler.complete_authorization(provider.authorize(handler.get_authorization_url().url))
    return handler


def token_of(handler: OAuthHandler) -> Token:
    """Return the stored token, where there must be one."""
    assert handler.token is not None
    return handler.token
