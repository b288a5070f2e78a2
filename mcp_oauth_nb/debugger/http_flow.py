"""The flow over HTTP: the SDK's client and its `OAuthClientProvider`, at the gate.

Its transport, its provider and its way through the browser are the shipping ones. This module adds where they wait,
the offer of an older version of MCP, and a few requests that no honest client sends: an old refresh token, a code that
was used.

The SDK's handshake always offers its newest version, and goes on with what the server answers. So only the offer is
changed here: everything after it is what the SDK does with such a server.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx2

from ..client.auth import McpAuth
from ..client.session import Session
from ..oauth.errors import ConfigurationError, SessionFailed
from ..oauth.http import around
from ..oauth.masking import mask_fields, mask_url
from ..oauth.urls import LOOPBACK_HOSTS
from ..trace.http_recorder import receiver_of
from ..trace.recorder import Trace
from .checks.cors import ORIGIN
from .debug_gate import KIND, Tap, step_of
from .exchange import Facts, Seen
from .gated_auth import Ahead, GatedAuth, PasteWaiter
from .recording import Mode, Setup, client_of, public
from .run import FlowRun, Script


def _session_mode(mode: Mode) -> Literal["auto", "legacy"]:
    """Return the mode of the session that speaks so."""
    return "auto" if mode == "auto" else "legacy"


def _offering(mode: Mode, inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
    """Return a transport that offers an older version, if one is asked for."""
    return inner if mode in ("auto", "legacy") else _Offers(mode, inner)


class _Offers(httpx2.AsyncBaseTransport):
    def __init__(self, version: str, inner: httpx2.AsyncBaseTransport):
        self._version = version
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        if b'"initialize"' in body:
            message = json.loads(body)
            if message.get("method") == "initialize":
                message["params"]["protocolVersion"] = self._version
                headers = {name: value for name, value in request.headers.items() if name != "content-length"}
                content = json.dumps(message).encode()
                request = httpx2.Request(
                    request.method, request.url, headers=headers, content=content, extensions=request.extensions
                )
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


_AUTHORIZED = ("token", "refresh")
_LOOK_SECONDS = 30.0


def is_real(url: str) -> bool:
    """Say whether other people may depend on a server: they may on every one that is not on this machine."""
    return urlsplit(url).hostname not in LOOPBACK_HOSTS


class HttpFlow:
    """One connection to an MCP server at a URL, and the authorization of it.

    Args:
        run: what it belongs to.
        url: the MCP endpoint.
        auth: how the client authorizes.
        trace: records what passes.
        real: whether somebody else may depend on the server.
        recorded: the trace gets what `auth.carrier` carries without us.
        tool: what to call; without it the client connects and lists the tools.
        arguments: the tool's.
        more: arguments that need further scopes, for the step-up.
        mode: `auto` speaks MCP 2026-07-28 where the server can, `legacy` 2025-11-25; or an older version.
    """

    def __init__(
        self,
        run: FlowRun,
        url: str,
        *,
        auth: McpAuth,
        trace: Trace,
        real: bool,
        recorded: bool = False,
        tool: str = "",
        arguments: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
        mode: Mode = "auto",
    ):
        # The URL as httpx sends it: host in lower case, no default port.
        url = str(httpx2.URL(url))
        # A secret in the URL is known from here on, and masked in every text.
        for name, value in parse_qsl(urlsplit(url).query):
            mask_fields({name: value})
        self.name = mask_url(url)
        self.real = real
        self.facts = Facts(url)
        self.trace = trace
        self.run = run
        given: dict[str, Any] = {"tool": tool, "arguments": public(arguments or {}), "more": public(more or {})}
        self.setup = Setup(url, client=client_of(auth), mode=mode, **given)
        self._url = url
        self._tool = tool
        self._arguments = dict(arguments or {})
        self._more = dict(more or {})
        self._mode = mode
        self._session: Session | None = None
        self._tap = Tap(run.gate, run, self._classify, self._reads)
        self._carrier = auth.carrier or httpx2.AsyncHTTPTransport
        self.clock = Ahead(auth.clock)
        self._recorded = recorded
        self._person = PasteWaiter(run.tell)
        self._auth = GatedAuth.of(auth, self._person, run=run, carrier=self.carrier, clock=self.clock)
        self.actions: dict[str, Script] = {"authorize": self._call, "call": self._call, "refresh": self._refresh}
        self.actions |= {"reuse": self._reuse, "replay": self._replay, "revoke": self._revoke, "look": self._look}
        self.actions["page"] = self._page
        if self._more:
            self.actions["step_up"] = self._step_up

    def can(self, action: str) -> bool:
        """Say whether an action has what it needs."""
        has_token = "access_token" in self.facts.token
        return {
            "refresh": "refresh_token" in self.facts.token,
            "reuse": bool(self.facts.spent),
            "replay": has_token,
            "revoke": has_token and "revocation_endpoint" in self.facts.server,
            "look": has_token and self.facts.ended == "yes",
            "page": "token_endpoint" in self.facts.server,
        }.get(action, action in self.actions)

    @property
    def link(self) -> str:
        """The URL that a person is to open in a browser now, or an empty text."""
        return self._person.link

    def paste(self, url: str) -> None:
        """Take the URL that the browser came back to."""
        self._person.paste(url)

    async def aclose(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    # -- scripts ---------------------------------------------------------------------------------------------------

    async def _call(self) -> None:
        await self._use(self._arguments)

    async def _step_up(self) -> None:
        await self._use({**self._arguments, **self._more})

    async def _refresh(self) -> None:
        self._token_is_there("refresh_token")
        lifetime = self.facts.token.get("expires_in")
        self.clock.skip(lifetime if isinstance(lifetime, int) else 0)
        await self._use(self._arguments)

    async def _use(self, arguments: Mapping[str, Any]) -> None:
        if self._session is None or not self._tool:
            await self._with_session(lambda session: session.list_tools())
        if self._tool:
            await self._with_session(lambda session: session.call_tool(self._tool, dict(arguments)))

    async def _with_session(self, work: Callable[[Session], Awaitable[object]]) -> None:
        try:
            await work(await self._connected())
        except SessionFailed:
            # The next action connects again; the token is still there.
            self._session = None
            raise

    async def _reuse(self) -> None:
        if not self.facts.spent:
            raise ConfigurationError(
                "No refresh token was used up yet.", hint="Begin with the action `refresh`.", reference="RFC 9700 4.14"
            )
        form = {"grant_type": "refresh_token", "refresh_token": self.facts.spent, **self._client_fields()}
        await self._send("reuse", self._endpoint("token_endpoint"), form)

    async def _replay(self) -> None:
        self._token_is_there("access_token")
        await self._send("replay", self._endpoint("token_endpoint"), self.facts.exchange)

    async def _revoke(self) -> None:
        self._token_is_there("access_token")
        name = "refresh_token" if "refresh_token" in self.facts.token else "access_token"
        form = {"token": str(self.facts.token[name]), "token_type_hint": name, **self._client_fields()}
        await self._send("revoke", self._endpoint("revocation_endpoint"), form)

    async def _look(self) -> None:
        """Try the tokens that a revocation or a reuse should have ended; the client would ask the person again."""
        self._token_is_there("access_token")
        if self.facts.ended != "yes":
            raise ConfigurationError("Nothing has ended the tokens.", hint="Begin with the action `revoke` or `reuse`.")
        access_token = str(self.facts.token["access_token"])
        if "refresh_token" in self.facts.token:
            form = {"grant_type": "refresh_token", "refresh_token": str(self.facts.token["refresh_token"])}
            await self._send("ended_refresh", self._endpoint("token_endpoint"), {**form, **self._client_fields()})
        if self.facts.accepted is not None:
            await self._send_again("ended_token", self.facts.accepted, Authorization=f"Bearer {access_token}")

    async def _page(self) -> None:
        """Send the preflight request of a browser for a client in another site's page, and call as that page would."""
        self._endpoint("token_endpoint")
        asked = [("POST", self._url, "authorization, content-type, mcp-protocol-version")]
        asked += [("GET", place, "mcp-protocol-version") for place in self.facts.places.values()]
        asked += [("POST", self._endpoint("token_endpoint"), "authorization")]
        if "registration_endpoint" in self.facts.server:
            asked.append(("POST", self._endpoint("registration_endpoint"), "content-type"))
        asked.append(("GET", self._endpoint("authorization_endpoint"), "authorization"))
        async with httpx2.AsyncClient(transport=self.carrier(), timeout=_LOOK_SECONDS) as client:
            for method, url, names in asked:
                headers = {"Origin": ORIGIN, "Access-Control-Request-Method": method}
                headers["Access-Control-Request-Headers"] = names
                await client.request("OPTIONS", url, headers=headers, extensions={KIND: "preflight"})
        if self.facts.pages and self.facts.accepted is not None:
            await self._send_again("cross_origin", self.facts.accepted, Origin=ORIGIN)

    async def _send_again(self, kind: str, before: Seen, **others: str) -> None:
        """Send a request of the client's once more, with other headers. The answer may be a stream, and is not read."""
        own = ("authorization", "content-length", "host")
        headers = {name: value for name, value in before.sent_headers.items() if name.lower() not in own}
        headers |= others
        async with (
            httpx2.AsyncClient(transport=self.carrier(), timeout=_LOOK_SECONDS) as client,
            client.stream("POST", before.url, content=before.sent, headers=headers, extensions={KIND: kind}),
        ):
            pass

    async def _connected(self) -> Session:
        if self._session is None:
            self._session = await Session.open(self._url, auth=self._auth, mode=_session_mode(self._mode))
        return self._session

    def _token_is_there(self, name: str) -> None:
        if name not in self.facts.token:
            raise ConfigurationError(f"There is no {name} yet.", hint="Begin with the action `authorize`.")

    def _client_fields(self) -> dict[str, str]:
        names = ("client_id", "client_secret", "resource")
        return {name: self.facts.exchange[name] for name in names if name in self.facts.exchange}

    def _endpoint(self, name: str) -> str:
        url = self.facts.server.get(name)
        if not isinstance(url, str):
            raise ConfigurationError(
                f"The authorization server's metadata has no {name}.",
                reference="RFC 8414 section 2; RFC 7009 section 2",
            )
        return url

    async def _send(self, kind: str, url: str, form: Mapping[str, str]) -> None:
        """Send a form as this client would; the checks look at the answer."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if (basic := self.facts.basic) is not None:
            headers["Authorization"] = basic
        async with httpx2.AsyncClient(transport=self.carrier()) as client:
            await client.post(url, data=dict(form), headers=headers, extensions={KIND: kind})

    # -- what the tap asks -----------------------------------------------------------------------------------------

    def carrier(self) -> httpx2.AsyncBaseTransport:
        """Make a transport that waits at the gate and is recorded after it."""
        carrier = self._carrier()
        recorded = (
            carrier if self._recorded else self.trace.http2(carrier, receiver=partial(receiver_of, server=self._url))
        )
        return _offering(self._mode, around(recorded, self._tap.handle))

    def _classify(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        kind = step_of(method, url, headers, body, self._url)
        if kind in ("handshake", "list", "call") and headers.get("authorization"):
            taken = self.run.steps
            return "authorized" if taken and taken[-1].kind in _AUTHORIZED else kind
        return kind

    def _reads(self, kind: str) -> bool:
        # The MCP server may answer with an event stream, which has no end to wait for.
        return kind not in ("handshake", "list", "call", "authorized", "ended_token", "cross_origin")
