"""Servers that are broken on purpose, to learn how faults are found: an `HttpLab` with one answer changed.

    debug = await FlowDebugger.open(lab, auth=with_fault(lab, "no_s256"))
    await debug.run()
    debug.cause

The lab's servers are unchanged; a fault stands between them and the client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import httpx2

from ..client.auth import McpAuth
from ..lab.http_lab import HttpLab
from ..lab.network import Network2
from ..oauth.check import Outcome
from ..oauth.errors import ConfigurationError
from .breaking import (
    Again,
    Between,
    Breaking,
    Callback,
    Header,
    IgnoresAudience,
    IgnoresRevocation,
    IgnoresVerifier,
    KeepsAccessToken,
    KeepsFamily,
    KeepsRefreshToken,
    LetsPagesIn,
    Members,
    Refuses,
    with_query,
)

_ELSEWHERE = "https://other.example/mcp"


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
        outcome: the result of the check. A warning is no cause: a client can go on.
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
    # The fault is below the recorder, so that the recorder sees what the client sees.
    network = lab.network
    auth = lab.new_auth(client=lab.registered_client if fault.public else None)

    def carrier() -> httpx2.AsyncBaseTransport:
        return lab.trace.http2(Between(Network2(network), breaking), receiver=network.party)

    async def paste(url: str) -> str:
        assert auth.paste is not None, "the lab's person"
        return with_query(await auth.paste(with_query(url, breaking.leaves)), breaking.comes_back)

    return dataclasses.replace(auth, carrier=carrier, paste=paste)


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
        lambda: Header("/mcp", 401, "www-authenticate", lambda value: None),
    ),
    "document_gone": Fault(
        "The challenge names a metadata document that is not there.",
        "resource_metadata",
        "the document is where the challenge says",
        lambda: Refuses(_RESOURCE, 404, {}),
    ),
    "wrong_resource": Fault(
        "The resource metadata describes another server.",
        "resource_metadata",
        "it describes this server",
        lambda: Members(_RESOURCE, {"resource": _ELSEWHERE}),
    ),
    "no_authorization_server": Fault(
        "The resource metadata does not say who issues tokens.",
        "resource_metadata",
        "it names an authorization server",
        lambda: Members(_RESOURCE, {"authorization_servers": []}),
    ),
    "wrong_issuer": Fault(
        "The authorization server's metadata is that of somebody else.",
        "server_metadata",
        "the issuer is the one that was asked for",
        lambda: Members(_SERVER, {"issuer": "https://evil.example"}),
    ),
    "no_s256": Fault(
        "The authorization server does not announce PKCE.",
        "server_metadata",
        "PKCE with S256 is announced",
        lambda: Members(_SERVER, {"code_challenge_methods_supported": None}),
    ),
    "plain_http": Fault(
        "Codes and tokens would travel without TLS.",
        "server_metadata",
        "a code can be exchanged at it",
        lambda: Members(_SERVER, {"token_endpoint": "http://mcp.example/token"}),
    ),
    "registration_refused": Fault(
        "The authorization server does not take the client's redirect URI.",
        "registration",
        "the client is registered",
        lambda: Refuses("/register", 400, {"error": "invalid_redirect_uri"}),
    ),
    "state_lost": Fault(
        "The browser comes back without the `state`.",
        "callback",
        "the state is the one that was sent",
        lambda: Callback(state=None),
    ),
    "iss_lost": Fault(
        "The browser comes back without the `iss` that was announced.",
        "callback",
        "it comes from the server that was asked",
        lambda: Callback(iss=None),
    ),
    "wrong_iss": Fault(
        "The browser comes back from another authorization server.",
        "callback",
        "it comes from the server that was asked",
        lambda: Callback(iss="https://evil.example"),
    ),
    "code_refused": Fault(
        "The token endpoint refuses a code that is good.",
        "token",
        "a token is answered",
        lambda: Refuses("/token", 400, {"error": "invalid_grant"}),
    ),
    "no_token_type": Fault(
        "The token endpoint does not say what kind of token it gives.",
        "token",
        "it is a bearer token",
        lambda: Members("/token", {"token_type": None}),
    ),
    "other_token_type": Fault(
        "The token endpoint gives a token of a kind that no MCP client can use.",
        "token",
        "it is a bearer token",
        lambda: Members("/token", {"token_type": "mac"}),
    ),
    "token_refused": Fault(
        "The MCP server refuses the token that was just issued for it.",
        "authorized",
        "the token is accepted",
        lambda: Refuses("/mcp", 401, {}, _INVALID),
    ),
    "never_enough": Fault(
        "The MCP server asks for scopes that the token already has, again and again.",
        "authorized",
        "the client goes on",
        lambda: Refuses("/mcp", 403, {}, _TOO_FEW),
    ),
    "no_scope_named": Fault(
        "The MCP server asks for more scopes and does not say which.",
        "call",
        "403 names the scopes to ask for",
        lambda: Header("/mcp", 403, "www-authenticate", _without_scope),
        actions=("authorize", "step_up"),
    ),
    "no_lifetime": Fault(
        "Nobody says how long the token is good.",
        "token",
        "its lifetime is said",
        lambda: Members("/token", {"expires_in": None}),
        outcome="warning",
    ),
    "may_be_stored": Fault(
        "Caches on the way may keep the tokens.",
        "token",
        "the answer is not stored on the way",
        lambda: Header("/token", 200, "cache-control", lambda value: None),
        outcome="warning",
    ),
    "not_rotated": Fault(
        "A refresh token stays good after it was used.",
        "refresh",
        "the refresh token is rotated",
        KeepsRefreshToken,
        actions=("authorize", "refresh"),
        public=True,
    ),
    "reuse_accepted": Fault(
        "A refresh token that was used up gets tokens once more.",
        "reuse",
        "it is refused",
        lambda: Again("refresh_token"),
        actions=("authorize", "refresh", "reuse"),
    ),
    "replay_accepted": Fault(
        "A code that was used up gets tokens once more.",
        "replay",
        "it is refused",
        lambda: Again("authorization_code"),
        actions=("authorize", "replay"),
    ),
    "revocation_ignored": Fault(
        "What was revoked goes on being good.",
        "refresh",
        "an ended refresh token is refused",
        IgnoresRevocation,
        actions=("authorize", "revoke", "refresh"),
    ),
    "revocation_not_done": Fault(
        "A revocation is confirmed, and the refresh token still gets tokens.",
        "ended_refresh",
        "an ended refresh token is refused",
        IgnoresRevocation,
        actions=("authorize", "revoke", "look"),
    ),
    "access_token_lives_on": Fault(
        "With the refresh token revoked, its access token still opens the MCP server.",
        "ended_token",
        "an ended access token is refused",
        KeepsAccessToken,
        actions=("authorize", "revoke", "look"),
        outcome="warning",
    ),
    "family_lives_on": Fault(
        "A refresh token that comes again is refused, and the thief's or the owner's newest one goes on working.",
        "ended_refresh",
        "an ended refresh token is refused",
        KeepsFamily,
        actions=("authorize", "refresh", "reuse", "look"),
    ),
    "no_page_at_the_token": Fault(
        "A client in a web page may call the MCP server, and not the token endpoint.",
        "preflight",
        "a page may send POST to it",
        lambda: LetsPagesIn(closed="/token"),
        actions=("authorize", "page"),
    ),
    "no_page_at_the_documents": Fault(
        "A client in a web page may call the MCP server, and cannot read who issues tokens for it.",
        "preflight",
        "a page may send GET to it",
        lambda: LetsPagesIn(closed=_RESOURCE),
        actions=("authorize", "page"),
    ),
    "no_token_from_a_page": Fault(
        "A client in a web page may call the MCP server with every header but the one for its token.",
        "preflight",
        "a page may send POST to it",
        lambda: LetsPagesIn(headers="*"),
        actions=("authorize", "page"),
    ),
    "challenge_hidden": Fault(
        "A client in a web page is refused, and its browser hides the challenge from it.",
        "cross_origin",
        "a page may read WWW-Authenticate",
        lambda: LetsPagesIn(exposed=""),
        actions=("authorize", "page"),
    ),
    "page_at_the_consent": Fault(
        "Any web page may read the pages on which people consent.",
        "preflight",
        "the authorization endpoint is for people, not for pages",
        lambda: LetsPagesIn(also="/authorize"),
        actions=("authorize", "page"),
    ),
    "verifier_ignored": Fault(
        "The token endpoint does not check the code verifier.",
        "token",
        "a wrong request is refused",
        IgnoresVerifier,
        what_if={"token": {"code_verifier": None}},
    ),
    "audience_ignored": Fault(
        "The MCP server accepts tokens for other servers.",
        "authorized",
        "a token for another server is refused",
        IgnoresAudience,
        what_if={"authorize": {"resource": _ELSEWHERE}, "token": {"resource": _ELSEWHERE}},
    ),
}

#: Every fault, in the order in which a flow meets them.
FAULTS: Mapping[str, Fault] = MappingProxyType(_FAULTS)
