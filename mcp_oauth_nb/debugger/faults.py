"""Servers that are broken on purpose, for learning to find out how: an `HttpLab` of which one answer is another.

    debug = await FlowDebugger.open(lab, auth=with_fault(lab, "no_s256"))
    await debug.run()
    debug.cause

The lab's servers are what they always are; a fault stands between them and the client.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from ..checks import Outcome
from ..errors import ConfigurationError
from ..http_auth import McpAuth
from ..http_lab import HttpLab
from ..http_lab_network import Network2
from ..pkce import PKCE

_ELSEWHERE = "https://other.example/mcp"


@dataclass(frozen=True)
class Asked:
    """What the client asked for."""

    method: str
    path: str
    form: Mapping[str, str]
    has_token: bool


@dataclass(frozen=True)
class Answer:
    """What it is answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def with_header(self, name: str, value: str | None) -> Answer:
        """Return the same answer with another header, or without it."""
        others = {key: old for key, old in self.headers.items() if key != name}
        return dataclasses.replace(self, headers=others if value is None else {**others, name: value})

    def with_members(self, changes: Mapping[str, Any]) -> Answer:
        """Return the same answer with other members in its JSON; None drops one."""
        members = {**json.loads(self.content), **changes}
        left = {name: value for name, value in members.items() if value is not None}
        return dataclasses.replace(self, content=json.dumps(left).encode())


class Breaking:
    """What stands between a client and the servers; here it changes nothing."""

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """Return the form that the server is to get."""
        return asked.form

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        """Return the answer that the client is to get."""
        return answer

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Return the authorization request that the server is to get."""
        return query

    def comes_back(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Return what the browser is to bring back."""
        return query


@dataclass(frozen=True)
class Fault:
    """One way to be broken.

    Attributes:
        title: what is wrong, in a sentence.
        step: the step that shows it; see `STEPS`.
        check: the check of that step which finds it.
        breaking: makes what does the damage.
        actions: what has to be done until it shows, in order.
        what_if: what has to be changed first, by step: some faults only show when a client does wrong.
        outcome: what the check comes to. A warning is no cause: a client can go on.
        public: the client has no secret, which others may do without what is missing here.
    """

    title: str
    step: str
    check: str
    breaking: Callable[[], Breaking] = field(repr=False)
    actions: tuple[str, ...] = ("authorize",)
    what_if: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    outcome: Outcome = "failed"
    public: bool = False


def with_fault(lab: HttpLab, name: str) -> McpAuth:
    """Return how a client authorizes with a lab that is broken in this way.

    Args:
        lab: stays as it is for everybody else.
        name: one of `FAULTS`.

    Raises:
        ConfigurationError: there is no such fault.
    """
    if name not in FAULTS:
        raise ConfigurationError(f"There is no fault {name!r}.", hint=f"One of: {', '.join(FAULTS)}.")
    fault = FAULTS[name]
    breaking = fault.breaking()
    # Below the recorder, which sees what the client sees.
    network = lab._network
    auth = lab.new_auth(client=lab.registered_client if fault.public else None)

    def carrier() -> httpx2.AsyncBaseTransport:
        return lab.trace.http2(_Between(Network2(network), breaking), receiver=network.party)

    async def paste(url: str) -> str:
        assert auth.paste is not None, "the lab's person"
        return _with_query(await auth.paste(_with_query(url, breaking.leaves)), breaking.comes_back)

    return dataclasses.replace(auth, carrier=carrier, paste=paste)


def _with_query(url: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode(change(dict(parse_qsl(parts.query))))).geturl()


class _Between(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, breaking: Breaking):
        self._inner = inner
        self._breaking = breaking

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        is_form = "urlencoded" in request.headers.get("content-type", "")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True)) if is_form else {}
        asked = Asked(request.method, request.url.path, form, "authorization" in request.headers)
        if (other := self._breaking.asks(asked)) != form:
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            request = httpx2.Request(request.method, request.url, headers=headers, content=urlencode(other).encode())
        response = await self._inner.handle_async_request(request)
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = self._breaking.answers(asked, Answer(response.status_code, headers, await response.aread()))
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx2.Response(answer.status, headers=headers, stream=httpx2.ByteStream(answer.content))

    async def aclose(self) -> None:
        await self._inner.aclose()


# -- kinds of damage -------------------------------------------------------------------------------------------


class _Members(Breaking):
    """A successful answer has other members."""

    def __init__(self, path: str, changes: Mapping[str, Any], grant: str = ""):
        self._path, self._changes, self._grant = path, changes, grant

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        here = asked.path == self._path and asked.form.get("grant_type", "").startswith(self._grant)
        return answer.with_members(self._changes) if here and answer.status < 300 else answer


class _Header(Breaking):
    """An answer of one status has another header."""

    def __init__(self, path: str, status: int, name: str, change: Callable[[str], str | None]):
        self._path, self._status, self._name, self._change = path, status, name, change

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        if asked.path != self._path or answer.status != self._status:
            return answer
        return answer.with_header(self._name, self._change(answer.headers.get(self._name, "")))


class _Refuses(Breaking):
    """What is right is refused."""

    def __init__(self, path: str, status: int, content: Mapping[str, Any], challenge: str = ""):
        self._path = path
        headers = {"content-type": "application/json"} | ({"www-authenticate": challenge} if challenge else {})
        self._answer = Answer(status, headers, json.dumps(content).encode())
        self._needs_token = bool(challenge)

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        return self._answer if asked.path == self._path and asked.has_token >= self._needs_token else answer


class _Callback(Breaking):
    """The browser brings something else."""

    def __init__(self, **changes: str | None):
        self._changes = changes

    def comes_back(self, query: Mapping[str, str]) -> Mapping[str, str]:
        return {name: value for name, value in {**query, **self._changes}.items() if value is not None}


class _Again(Breaking):
    """What was used up gets the same tokens once more."""

    def __init__(self, grant: str):
        self._grant = grant
        self._given: Answer | None = None

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        if asked.path != "/token" or asked.form.get("grant_type") != self._grant:
            return answer
        if answer.status == 200:
            self._given = answer
        return self._given or answer


class _KeepsRefreshToken(Breaking):
    """A refresh answers with the refresh token that it was asked with."""

    def answers(self, asked: Asked, answer: Answer) -> Answer:
        used = asked.form.get("refresh_token")
        return answer.with_members({"refresh_token": used}) if used and answer.status == 200 else answer


class _IgnoresRevocation(Breaking):
    """A revocation is confirmed, and nothing ends."""

    def asks(self, asked: Asked) -> Mapping[str, str]:
        return {**asked.form, "token": "none"} if asked.path == "/revoke" else asked.form


class _IgnoresVerifier(Breaking):
    """The server takes every code verifier: it gets one that fits, whatever was sent."""

    def __init__(self) -> None:
        self._own = PKCE.from_verifier("takes-every-code-verifier-whatever-was-sent-to-it")

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        return {**query, "code_challenge": self._own.code_challenge}

    def asks(self, asked: Asked) -> Mapping[str, str]:
        exchange = asked.form.get("grant_type") == "authorization_code"
        return {**asked.form, "code_verifier": self._own.code_verifier} if exchange else asked.form


class _IgnoresAudience(Breaking):
    """A token is good here, whatever resource it was asked for."""

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        return {**query, "resource": "https://mcp.example/mcp"}

    def asks(self, asked: Asked) -> Mapping[str, str]:
        return {**asked.form, "resource": "https://mcp.example/mcp"} if "resource" in asked.form else asked.form


_RESOURCE = "/.well-known/oauth-protected-resource/mcp"
_SERVER = "/.well-known/oauth-authorization-server"
_INVALID = (
    'Bearer error="invalid_token", resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
)
_TOO_FEW = (
    'Bearer error="insufficient_scope", scope="read:user repo", '
    'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
)


def _without_scope(challenge: str) -> str:
    return ", ".join(part for part in challenge.split(", ") if "scope=" not in part)


_FAULTS = {
    "no_challenge": Fault(
        "The MCP server refuses with 401, and does not say where to go.",
        "call",
        "401 comes with WWW-Authenticate: Bearer",
        lambda: _Header("/mcp", 401, "www-authenticate", lambda value: None),
    ),
    "document_gone": Fault(
        "The challenge names a metadata document that is not there.",
        "resource_metadata",
        "the document is where the challenge says",
        lambda: _Refuses(_RESOURCE, 404, {}),
    ),
    "wrong_resource": Fault(
        "The resource metadata describes another server.",
        "resource_metadata",
        "it describes this server",
        lambda: _Members(_RESOURCE, {"resource": _ELSEWHERE}),
    ),
    "no_authorization_server": Fault(
        "The resource metadata does not say who issues tokens.",
        "resource_metadata",
        "it names an authorization server",
        lambda: _Members(_RESOURCE, {"authorization_servers": []}),
    ),
    "wrong_issuer": Fault(
        "The authorization server's metadata is that of somebody else.",
        "server_metadata",
        "the issuer is the one that was asked for",
        lambda: _Members(_SERVER, {"issuer": "https://evil.example"}),
    ),
    "no_s256": Fault(
        "The authorization server does not announce PKCE.",
        "server_metadata",
        "PKCE with S256 is announced",
        lambda: _Members(_SERVER, {"code_challenge_methods_supported": None}),
    ),
    "plain_http": Fault(
        "Codes and tokens would travel without TLS.",
        "server_metadata",
        "a code can be exchanged at it",
        lambda: _Members(_SERVER, {"token_endpoint": "http://mcp.example/token"}),
    ),
    "registration_refused": Fault(
        "The authorization server does not take the client's redirect URI.",
        "registration",
        "the client is registered",
        lambda: _Refuses("/register", 400, {"error": "invalid_redirect_uri"}),
    ),
    "state_lost": Fault(
        "The browser comes back without the `state`.",
        "callback",
        "the state is the one that was sent",
        lambda: _Callback(state=None),
    ),
    "iss_lost": Fault(
        "The browser comes back without the `iss` that was announced.",
        "callback",
        "it comes from the server that was asked",
        lambda: _Callback(iss=None),
    ),
    "wrong_iss": Fault(
        "The browser comes back from another authorization server.",
        "callback",
        "it comes from the server that was asked",
        lambda: _Callback(iss="https://evil.example"),
    ),
    "code_refused": Fault(
        "The token endpoint refuses a code that is good.",
        "token",
        "a token is answered",
        lambda: _Refuses("/token", 400, {"error": "invalid_grant"}),
    ),
    "no_token_type": Fault(
        "The token endpoint does not say what kind of token it gives.",
        "token",
        "it is a bearer token",
        lambda: _Members("/token", {"token_type": None}),
    ),
    "token_refused": Fault(
        "The MCP server refuses the token that was just issued for it.",
        "authorized",
        "the token is accepted",
        lambda: _Refuses("/mcp", 401, {}, _INVALID),
    ),
    "never_enough": Fault(
        "The MCP server asks for scopes that the token already has, again and again.",
        "authorized",
        "the client goes on",
        lambda: _Refuses("/mcp", 403, {}, _TOO_FEW),
    ),
    "no_scope_named": Fault(
        "The MCP server asks for more scopes and does not say which.",
        "call",
        "403 names the scopes to ask for",
        lambda: _Header("/mcp", 403, "www-authenticate", _without_scope),
        actions=("authorize", "step_up"),
    ),
    "no_lifetime": Fault(
        "Nobody says how long the token is good.",
        "token",
        "its lifetime is said",
        lambda: _Members("/token", {"expires_in": None}),
        outcome="warning",
    ),
    "may_be_stored": Fault(
        "Caches on the way may keep the tokens.",
        "token",
        "the answer is not stored on the way",
        lambda: _Header("/token", 200, "cache-control", lambda value: None),
        outcome="warning",
    ),
    "not_rotated": Fault(
        "A refresh token stays good after it was used.",
        "refresh",
        "the refresh token is rotated",
        _KeepsRefreshToken,
        actions=("authorize", "refresh"),
        public=True,
    ),
    "reuse_accepted": Fault(
        "A refresh token that was used up gets tokens once more.",
        "reuse",
        "it is refused",
        lambda: _Again("refresh_token"),
        actions=("authorize", "refresh", "reuse"),
    ),
    "replay_accepted": Fault(
        "A code that was used up gets tokens once more.",
        "replay",
        "it is refused",
        lambda: _Again("authorization_code"),
        actions=("authorize", "replay"),
    ),
    "revocation_ignored": Fault(
        "What was revoked goes on being good.",
        "refresh",
        "an ended refresh token is refused",
        _IgnoresRevocation,
        actions=("authorize", "revoke", "refresh"),
    ),
    "verifier_ignored": Fault(
        "The token endpoint does not check the code verifier.",
        "token",
        "a wrong request is refused",
        _IgnoresVerifier,
        what_if={"token": {"code_verifier": None}},
    ),
    "audience_ignored": Fault(
        "The MCP server accepts tokens for other servers.",
        "authorized",
        "a token for another server is refused",
        _IgnoresAudience,
        what_if={"authorize": {"resource": _ELSEWHERE}, "token": {"resource": _ELSEWHERE}},
    ),
}

#: Every fault, in the order in which a flow meets them.
FAULTS: Mapping[str, Fault] = MappingProxyType(_FAULTS)
