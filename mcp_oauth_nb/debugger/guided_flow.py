"""The flow in process, with the -32001 error: `OAuthHandler`, the lab's server and its GitHub, at the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import httpx

from ..lab.lab import Lab
from ..oauth.errors import AuthenticationRequired, Challenge, ConfigurationError, SessionError
from ..oauth.http import around
from ..oauth.token import Token
from ..trace.messages import CLIENT
from ..trace.recorder import Trace
from .debug_gate import KIND, Held, Tap
from .exchange import JSONRPC, Facts, Seen
from .gated_auth import at_browser
from .recording import Setup, public
from .run import FlowRun, Script

_TOOL = "get_github_user_info"


class GuidedFlow:
    """The guide's flow in a lab.

    Args:
        run: what it belongs to.
        lab: the world. The server looks at the token of its handler.
        tool: a protected tool.
        arguments: the tool's.
        more: arguments that need further scopes.
    """

    def __init__(
        self,
        run: FlowRun,
        lab: Lab,
        *,
        tool: str = "",
        arguments: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ):
        self.name = f"the lab of seed {lab.seed}"
        self.real = False
        self.facts = Facts(lab.oauth.resource_uri, issuer=lab.oauth.issuer)
        self.trace: Trace = lab.trace
        self._run = run
        self._lab = lab
        self._tool = tool or _TOOL
        self._arguments = dict(arguments or {})
        self._more = dict(more or {"include_private": True})
        self.setup = Setup(
            lab=_opened(lab),
            tool=self._tool,
            arguments=public(self._arguments),
            more=public(self._more),
            used=lab.oauth.token is not None,
        )
        self._tap = Tap(run.gate, run, self._classify, lambda kind: True)
        self._oauth = lab.handler(lambda transport: around(transport, self._tap.handle))
        self.actions: dict[str, Script] = {"authorize": self._call, "call": self._call, "refresh": self._refresh}
        self.actions |= {"reuse": self._reuse, "replay": self._replay, "revoke": self._revoke}
        self.actions["step_up"] = self._step_up

    def can(self, action: str) -> bool:
        """Say whether an action has what it needs."""
        if action == "reuse":
            return bool(self.facts.spent)
        needs_token = action in ("refresh", "replay", "revoke")
        return action in self.actions and (not needs_token or self._oauth.token is not None)

    @property
    def link(self) -> str:
        """Nothing: the lab's autopilot is the person."""
        return ""

    def paste(self, url: str) -> None:
        """Nothing waits: see `link`."""
        raise SessionError("No browser is waited for.", hint="The lab's autopilot brings the callback back.")

    async def aclose(self) -> None:
        """Forget the token, so that a next run begins like the first. The lab stays open: its opener closes it."""
        self._oauth.token = None

    # -- scripts ---------------------------------------------------------------------------------------------------

    async def _call(self) -> None:
        await self._use(self._arguments)

    async def _step_up(self) -> None:
        await self._use({**self._arguments, **self._more})

    async def _use(self, arguments: dict[str, Any]) -> None:
        challenge = await self._tool_call(arguments)
        if challenge is not None:
            await self._authorize(challenge)
            challenge = await self._tool_call(arguments)
        if challenge is not None:
            raise AuthenticationRequired("The server asks again after it was authorized.", challenge=challenge)

    async def _tool_call(self, arguments: dict[str, Any]) -> Challenge | None:
        kind = "call" if self._oauth.token is None else "authorized"
        held = await self._run.gate.hold(Held(kind, f"tools/call {self._tool}"))
        number = self._run.sent(held)
        challenge: Challenge | None = None
        try:
            await self._lab.session.call_tool(self._tool, arguments)
        except AuthenticationRequired as error:
            challenge = error.challenge
        self._run.arrived(number, _seen(kind, challenge))
        return challenge

    async def _authorize(self, challenge: Challenge) -> None:
        request = self._oauth.get_authorization_url(scopes=challenge.scopes or None)
        url = await at_browser(self._run, "authorize", request.url)
        callback = await at_browser(self._run, "callback", await self._lab.browser.authorize(url))
        await self._oauth.complete_authorization(callback)

    async def _refresh(self) -> None:
        self._token()
        await self._oauth.refresh_access_token()
        await self._call()

    async def _reuse(self) -> None:
        if not self.facts.spent:
            raise ConfigurationError("No refresh token was used up yet.", hint="Begin with the action `refresh`.")
        fields = {"grant_type": "refresh_token", "refresh_token": self.facts.spent}
        await self._send("reuse", {**fields, **self._client_fields()})

    async def _replay(self) -> None:
        self._token()
        await self._send("replay", self.facts.exchange)

    async def _revoke(self) -> None:
        self._token()
        await self._oauth.revoke()

    def _token(self) -> Token:
        token = self._oauth.token
        if token is None:
            raise ConfigurationError("There is no token yet.", hint="Begin with the action `authorize`.")
        return token

    def _client_fields(self) -> dict[str, str]:
        names = ("client_id", "client_secret")
        return {name: self.facts.exchange[name] for name in names if name in self.facts.exchange}

    async def _send(self, kind: str, form: Mapping[str, str]) -> None:
        transport = around(self._lab.transport(CLIENT), self._tap.handle)
        async with httpx.AsyncClient(transport=transport, headers={"Accept": "application/json"}) as client:
            await client.post(self._lab.settings.oauth_token_url, data=dict(form), extensions={KIND: kind})

    def _classify(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        if method == "DELETE":
            return "revoke"
        if method != "POST":
            return None
        grant = dict(parse_qsl(body.decode("utf-8", "replace"))).get("grant_type")
        return {"authorization_code": "token", "refresh_token": "refresh"}.get(grant or "")


def _seen(kind: str, challenge: Challenge | None) -> Seen:
    """Tell the checks of a tool call in process, where -32001 stands for a 401."""
    content = json.dumps(challenge.to_jsonrpc()).encode() if challenge is not None else b""
    return Seen(kind, JSONRPC, "", content=content)


def _opened(lab: Lab) -> dict[str, Any]:
    """Return the arguments of `Lab.open()` that open another lab like this one."""
    mode = "auto" if lab.session.protocol_version == "2026-07-28" else "legacy"
    own = ("oauth_client_id", "oauth_client_secret")
    fields = {name: field.default for name, field in type(lab.settings).model_fields.items() if name not in own}
    values = {name: getattr(lab.settings, name) for name in fields}
    changed = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != fields[name]
    }
    return {"seed": lab.seed, "user": lab.browser.user, "mode": mode, **changed}
