"""The verdicts on each step, as a table: one exchange that is right, and what each change to it comes to."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from mcp_oauth_nb.debugger.checks import check, check_error
from mcp_oauth_nb.debugger.checks.cors import ORIGIN
from mcp_oauth_nb.debugger.checks.refusals import STILL_COUNT
from mcp_oauth_nb.debugger.exchange import JSONRPC, Facts, Seen
from mcp_oauth_nb.debugger.step import STEPS, Step, first_cause
from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.check import Check
from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.oauth.masking import remember
from mcp_oauth_nb.oauth.pkce import challenge_for

MCP = "https://mcp.example/mcp"
AS = "https://login.example"
PRM = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
VERIFIER = "verifier-" * 6
STATE, CODE = "state-of-22-characters-or-more", "code-that-is-good-once"
ACCESS, REFRESH, NEWER = "access-token-one", "refresh-token-one", "refresh-token-two"
SECRETS = [VERIFIER, STATE, CODE, ACCESS, REFRESH, NEWER, "wrong-secret-value", "client-secret-one"]
REDIRECT = "http://127.0.0.1:4711/callback"

AUTHORIZATION = {
    "response_type": "code",
    "client_id": "client",
    "redirect_uri": REDIRECT,
    "scope": "read:user",
    "state": STATE,
    "code_challenge": challenge_for(VERIFIER),
    "code_challenge_method": "S256",
    "resource": MCP,
}
CALLBACK = {"code": CODE, "state": STATE, "iss": AS}
EXCHANGE = {
    "grant_type": "authorization_code",
    "code": CODE,
    "redirect_uri": REDIRECT,
    "client_id": "client",
    "code_verifier": VERIFIER,
    "resource": MCP,
}
TOKEN: dict[str, Any] = {
    "access_token": ACCESS,
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": REFRESH,
    "scope": "read:user",
}
RESOURCE: dict[str, Any] = {
    "resource": MCP,
    "authorization_servers": [AS],
    "bearer_methods_supported": ["header"],
    "scopes_supported": ["read:user"],
}
SERVER: dict[str, Any] = {
    "issuer": AS,
    "authorization_endpoint": f"{AS}/authorize",
    "token_endpoint": f"{AS}/token",
    "registration_endpoint": f"{AS}/register",
    "revocation_endpoint": f"{AS}/revoke",
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
    "authorization_response_iss_parameter_supported": True,
}
REGISTRATION: dict[str, Any] = {"client_name": "Notebook", "redirect_uris": [REDIRECT]}
REGISTERED: dict[str, Any] = {**REGISTRATION, "client_id": "client"}
BEARER = {"authorization": f"Bearer {ACCESS}"}
CHALLENGE = f'Bearer resource_metadata="{PRM}", scope="read:user"'
INVALID = f'Bearer error="invalid_token", resource_metadata="{PRM}", scope="read:user"'
TOO_FEW = f'Bearer error="insufficient_scope", resource_metadata="{PRM}", scope="read:user repo"'
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "tool"}}).encode()
DISCOVER = b'{"jsonrpc": "2.0", "id": 0, "method": "server/discover"}'
JSON = {"content-type": "application/json; charset=utf-8", "cache-control": "no-store"}


def facts() -> Facts:
    """What is known at the end of a flow in which all was right."""
    return Facts(
        MCP,
        protected={"tools/call"},
        named=PRM,
        resource=RESOURCE,
        server=SERVER,
        issuer=AS,
        authorization=AUTHORIZATION,
        callback=CALLBACK,
        exchange=EXCHANGE,
        token=TOKEN,
        spent="refresh-token-nil",
    )


@dataclasses.dataclass
class Exchange:
    """What passes in one step. `with_` changes parts of it; None drops one."""

    kind: str
    url: str
    sent: dict[str, Any] | bytes = b""
    query: dict[str, str] = dataclasses.field(default_factory=dict)
    sent_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    status: int | None = 200
    headers: dict[str, str] = dataclasses.field(default_factory=lambda: dict(JSON))
    answer: dict[str, Any] | bytes = b""

    def with_(self, **parts: Any) -> Exchange:
        def part(old: Any, new: Any) -> Any:
            if not isinstance(new, dict):
                return new
            merged = {**(old if isinstance(old, dict) else {}), **new}
            return {name: value for name, value in merged.items() if value is not None}

        return dataclasses.replace(self, **{name: part(getattr(self, name), new) for name, new in parts.items()})

    def seen(self) -> Seen:
        url = f"{self.url}?{urlencode(self.query)}" if self.query else self.url
        as_json = self.kind == "registration"
        sent = self.sent
        if isinstance(sent, dict):
            sent = json.dumps(sent).encode() if as_json else urlencode(sent).encode()
        answer = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        method = "GET" if self.kind in ("authorize", "callback") or "metadata" in self.kind else "POST"
        return Seen(self.kind, method, url, self.sent_headers, sent, self.status, self.headers, answer)


REFUSED: dict[str, Any] = {"status": 400, "answer": b'{"error": "invalid_grant"}'}

RIGHT = {
    "handshake": Exchange("handshake", MCP, sent=b"{}"),
    "list": Exchange("list", MCP, sent=b"{}"),
    "call": Exchange("call", MCP, CALL, status=401, headers={"www-authenticate": CHALLENGE}),
    "authorized": Exchange("authorized", MCP, CALL, sent_headers=BEARER),
    "resource_metadata": Exchange("resource_metadata", PRM, answer=RESOURCE),
    "server_metadata": Exchange("server_metadata", f"{AS}/.well-known/oauth-authorization-server", answer=SERVER),
    "registration": Exchange("registration", f"{AS}/register", REGISTRATION, status=201, answer=REGISTERED),
    "authorize": Exchange("authorize", f"{AS}/authorize", query=AUTHORIZATION, status=None),
    "callback": Exchange("callback", REDIRECT, query=CALLBACK, status=None),
    "token": Exchange("token", f"{AS}/token", EXCHANGE, answer=TOKEN),
    "refresh": Exchange(
        "refresh",
        f"{AS}/token",
        {"grant_type": "refresh_token", "refresh_token": REFRESH, "client_id": "client"},
        answer={**TOKEN, "access_token": "access-token-two", "refresh_token": NEWER},
    ),
    "reuse": Exchange("reuse", f"{AS}/token", {"refresh_token": "refresh-token-nil"}, **REFUSED),
    "replay": Exchange("replay", f"{AS}/token", EXCHANGE, **REFUSED),
    "revoke": Exchange("revoke", f"{AS}/revoke", {"token": REFRESH}),
    "ended_refresh": Exchange(
        "ended_refresh", f"{AS}/token", {"grant_type": "refresh_token", "refresh_token": REFRESH}, **REFUSED
    ),
    "ended_token": Exchange("ended_token", MCP, CALL, sent_headers=BEARER, status=401),
    "preflight": Exchange(
        "preflight",
        MCP,
        sent_headers={
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, mcp-protocol-version",
        },
        headers={"access-control-allow-origin": "*", "access-control-allow-headers": "Authorization, *"},
    ),
    "cross_origin": Exchange(
        "cross_origin",
        MCP,
        CALL,
        status=401,
        headers={"access-control-allow-origin": ORIGIN, "access-control-expose-headers": "WWW-Authenticate"},
    ),
}


def checks_of(exchange: Exchange, known: Facts | None = None) -> tuple[Check, ...]:
    return check(exchange.seen(), known or facts())


def outcome(checks: tuple[Check, ...], name: str) -> str:
    found = [one for one in checks if one.name == name]
    assert len(found) == 1, [one.name for one in checks]
    return found[0].outcome


def test_there_is_a_right_exchange_of_every_step() -> None:
    assert set(RIGHT) == set(STEPS)


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_has_neither_a_failed_check_nor_a_warning(kind: str) -> None:
    known = facts()
    if kind in ("call", "token"):
        known.token, known.protected = {}, set()
    checks = checks_of(RIGHT[kind], known)
    assert checks
    assert [str(one) for one in checks if one.outcome in ("failed", "warning")] == []
    assert [one for one in checks if one.should] == []


# step, what is changed, the check, what it comes to
TABLE: list[tuple[str, dict[str, Any], str, str]] = [
    # -- the MCP server
    ("list", {}, "a token is asked for", "not applicable"),
    ("list", {"query": {"access_token": ACCESS}}, "no token in the URL", "failed"),
    ("call", {"headers": {"www-authenticate": None}}, "401 comes with WWW-Authenticate: Bearer", "failed"),
    ("call", {"headers": {"www-authenticate": "Basic realm=x"}}, "401 comes with WWW-Authenticate: Bearer", "failed"),
    ("call", {"headers": {"www-authenticate": 'Bearer a="'}}, "401 comes with WWW-Authenticate: Bearer", "failed"),
    ("call", {"headers": {"www-authenticate": "Bearer"}}, "the challenge names the resource metadata", "warning"),
    ("call", {"headers": {"www-authenticate": "Bearer"}}, "the challenge names the scopes", "warning"),
    ("call", {}, "a wrong request is refused", "passed"),
    ("call", {"status": 200}, "a wrong request is refused", "failed"),
    ("authorized", {}, "the token is accepted", "passed"),
    ("authorized", {"status": 500}, "the token is accepted", "failed"),
    ("authorized", {"status": 400}, "the token is accepted", "failed"),
    ("authorized", {"status": 400, "sent": DISCOVER}, "the token is accepted", "not applicable"),
    ("authorized", {"status": 401, "sent": DISCOVER}, "the token is accepted", "failed"),
    ("authorized", {"status": 401, "headers": {"www-authenticate": INVALID}}, "the token is accepted", "failed"),
    (
        "authorized",
        {"status": 401, "headers": {"www-authenticate": CHALLENGE}},
        "a refused token is called invalid",
        "failed",
    ),
    (
        "authorized",
        {"status": 401, "headers": {"www-authenticate": INVALID}},
        "a refused token is called invalid",
        "passed",
    ),
    (
        "authorized",
        {"status": 403, "headers": {"www-authenticate": TOO_FEW}},
        "403 says that the scopes do not suffice",
        "passed",
    ),
    (
        "authorized",
        {"status": 403, "headers": {"www-authenticate": TOO_FEW}},
        "403 names the scopes to ask for",
        "passed",
    ),
    (
        "authorized",
        {"status": 403, "headers": {"www-authenticate": 'Bearer error="insufficient_scope"'}},
        "403 names the scopes to ask for",
        "failed",
    ),
    ("authorized", {"status": 403}, "403 says that the scopes do not suffice", "failed"),
    (
        "authorized",
        {"status": 403, "headers": {"www-authenticate": 'Bearer a="'}},
        "403 says that the scopes do not suffice",
        "failed",
    ),
    (
        "authorized",
        {"sent_headers": {"authorization": "Bearer wrong-secret-value"}},
        "a wrong request is refused",
        "failed",
    ),
    ("authorized", {"sent_headers": {"authorization": None}}, "a wrong request is refused", "failed"),
    (
        "authorized",
        {"status": 401, "headers": {"www-authenticate": INVALID}, "sent_headers": {"authorization": "Bearer other"}},
        "a wrong request is refused",
        "passed",
    ),
    # -- discovery
    ("resource_metadata", {"answer": {"resource": "https://mcp.example"}}, "it describes this server", "passed"),
    ("resource_metadata", {"answer": {"resource": f"{MCP}/"}}, "it describes this server", "passed"),
    ("resource_metadata", {"answer": {"resource": "https://other.example/mcp"}}, "it describes this server", "failed"),
    ("resource_metadata", {"answer": {"resource": f"{MCP}-two"}}, "it describes this server", "failed"),
    ("resource_metadata", {"answer": {"resource": None}}, "it describes this server", "failed"),
    ("resource_metadata", {"answer": {"resource": 5}}, "it describes this server", "failed"),
    ("resource_metadata", {"answer": {"resource": "https://["}}, "it describes this server", "failed"),
    ("resource_metadata", {"answer": {"authorization_servers": None}}, "it names an authorization server", "failed"),
    ("resource_metadata", {"answer": {"authorization_servers": []}}, "it names an authorization server", "failed"),
    ("resource_metadata", {"answer": {"authorization_servers": AS}}, "it names an authorization server", "failed"),
    (
        "resource_metadata",
        {"answer": {"authorization_servers": ["http://login.example"]}},
        "it names an authorization server",
        "failed",
    ),
    (
        "resource_metadata",
        {"answer": {"authorization_servers": ["http://localhost:9"]}},
        "it names an authorization server",
        "passed",
    ),
    (
        "resource_metadata",
        {"answer": {"bearer_methods_supported": None}},
        "the token goes into the header",
        "not applicable",
    ),
    (
        "resource_metadata",
        {"answer": {"bearer_methods_supported": ["query"]}},
        "the token goes into the header",
        "failed",
    ),
    (
        "resource_metadata",
        {"answer": {"bearer_methods_supported": ["header", "query"]}},
        "the token goes into the header",
        "warning",
    ),
    ("resource_metadata", {"answer": {"resource_name": 5}}, "resource_name is as it should be", "failed"),
    ("resource_metadata", {"status": 404, "url": f"{PRM}-two"}, "a document is here", "not applicable"),
    ("resource_metadata", {"status": 404}, "the document is where the challenge says", "failed"),
    ("resource_metadata", {"status": 500}, "a document is here", "failed"),
    ("resource_metadata", {"answer": b"<html>"}, "a document is here", "failed"),
    ("resource_metadata", {"answer": b"[1]"}, "a document is here", "failed"),
    ("resource_metadata", {"answer": b"[" * 100_000}, "a document is here", "failed"),
    ("resource_metadata", {"headers": {"content-type": "text/plain"}}, "it is labelled as JSON", "warning"),
    ("server_metadata", {"answer": {"issuer": f"{AS}/"}}, "the issuer is the one that was asked for", "failed"),
    (
        "server_metadata",
        {"answer": {"issuer": "https://evil.example"}},
        "the issuer is the one that was asked for",
        "failed",
    ),
    ("server_metadata", {"answer": {"issuer": None}}, "the issuer is the one that was asked for", "failed"),
    (
        "server_metadata",
        {"answer": {"code_challenge_methods_supported": None}},
        "PKCE with S256 is announced",
        "failed",
    ),
    (
        "server_metadata",
        {"answer": {"code_challenge_methods_supported": ["plain"]}},
        "PKCE with S256 is announced",
        "failed",
    ),
    (
        "server_metadata",
        {"answer": {"code_challenge_methods_supported": "S256"}},
        "PKCE with S256 is announced",
        "failed",
    ),
    (
        "server_metadata",
        {"answer": {"code_challenge_methods_supported": ["S256", "plain"]}},
        "PKCE with S256 is announced",
        "warning",
    ),
    ("server_metadata", {"answer": {"authorization_endpoint": None}}, "a person can be sent to it", "failed"),
    (
        "server_metadata",
        {"answer": {"authorization_endpoint": "javascript:alert(1)"}},
        "a person can be sent to it",
        "failed",
    ),
    ("server_metadata", {"answer": {"token_endpoint": None}}, "a code can be exchanged at it", "failed"),
    (
        "server_metadata",
        {"answer": {"token_endpoint": "http://login.example/t"}},
        "a code can be exchanged at it",
        "failed",
    ),
    ("server_metadata", {"answer": {"response_types_supported": ["token"]}}, "it gives codes", "failed"),
    (
        "server_metadata",
        {"answer": {"registration_endpoint": "http://login.example/r"}},
        "registration_endpoint is as it should be",
        "failed",
    ),
    ("server_metadata", {"answer": {"op_tos_uri": "javascript:x"}}, "op_tos_uri is as it should be", "failed"),
    ("server_metadata", {"answer": {"registration_endpoint": None}}, "a client can introduce itself", "warning"),
    (
        "server_metadata",
        {"answer": {"registration_endpoint": None, "client_id_metadata_document_supported": True}},
        "a client can introduce itself",
        "passed",
    ),
    (
        "server_metadata",
        {"answer": {"authorization_response_iss_parameter_supported": None}},
        "callbacks will say where they come from",
        "warning",
    ),
    ("server_metadata", {"status": 404}, "a document is here", "not applicable"),
    ("server_metadata", {"status": 503}, "a document is here", "failed"),
    # -- registration
    ("registration", {"status": 200}, "the client is registered", "passed"),
    ("registration", {"status": 200}, "it is answered with 201", "warning"),
    ("registration", {"answer": {"client_id": 5}}, "the client is registered", "failed"),
    (
        "registration",
        {"status": 400, "answer": b'{"error": "invalid_redirect_uri"}'},
        "the client is registered",
        "failed",
    ),
    ("registration", {"answer": {"redirect_uris": ["https://evil.example"]}}, "the redirect URIs are kept", "failed"),
    ("registration", {"answer": {"redirect_uris": None}}, "the redirect URIs are kept", "passed"),
    ("registration", {"headers": {"cache-control": None}}, "the registration is not stored on the way", "warning"),
    (
        "registration",
        {"answer": {"client_secret": "client-secret-one"}},
        "it is said how long the secret is good",
        "warning",
    ),
    (
        "registration",
        {"answer": {"client_secret": "client-secret-one", "client_secret_expires_at": 0}},
        "it is said how long the secret is good",
        "passed",
    ),
    # -- the browser
    ("authorize", {"query": {"response_type": "token"}}, "a code is asked for", "failed"),
    ("authorize", {"query": {"code_challenge": None}}, "the code is bound to a verifier", "failed"),
    ("authorize", {"query": {"code_challenge_method": "plain"}}, "the code is bound to a verifier", "failed"),
    ("authorize", {"query": {"state": None}}, "the state cannot be guessed", "failed"),
    ("authorize", {"query": {"state": "short"}}, "the state cannot be guessed", "failed"),
    ("authorize", {"query": {"resource": None}}, "the token is asked for this server", "failed"),
    ("authorize", {"query": {"resource": "https://other.example"}}, "the token is asked for this server", "failed"),
    ("authorize", {"query": {"resource": f"{MCP}/"}}, "the token is asked for this server", "passed"),
    ("authorize", {"query": {"redirect_uri": "http://mcp.example/cb"}}, "the code comes back safely", "failed"),
    ("authorize", {"query": {"redirect_uri": "https://[broken"}}, "the code comes back safely", "failed"),
    ("authorize", {"query": {"redirect_uri": "https://app.example/cb"}}, "the code comes back safely", "passed"),
    ("callback", {"query": {"state": None}}, "the state is the one that was sent", "failed"),
    ("callback", {"query": {"state": "wrong-secret-value"}}, "the state is the one that was sent", "failed"),
    ("callback", {"query": {"iss": None}}, "it comes from the server that was asked", "failed"),
    ("callback", {"query": {"iss": f"{AS}/"}}, "it comes from the server that was asked", "failed"),
    ("callback", {"query": {"code": None}}, "a code came back", "failed"),
    ("callback", {"query": {"code": None, "error": "access_denied"}}, "a code came back", "failed"),
    # -- tokens
    ("token", {"sent": {"code_verifier": None}}, "the code verifier is sent", "failed"),
    ("token", {"sent": {"code_verifier": None}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"code_verifier": None}, **REFUSED}, "a wrong request is refused", "passed"),
    ("token", {"sent": {"code_verifier": "v" * 43}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"redirect_uri": f"{REDIRECT}/x"}}, "the redirect URI is the same", "failed"),
    ("token", {"sent": {"redirect_uri": f"{REDIRECT}/x"}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"code": "wrong-secret-value"}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"client_id": "another"}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"resource": "https://other.example"}}, "the token is asked for this server", "failed"),
    ("token", {"sent": {"resource": "https://other.example"}}, "a wrong request is refused", "failed"),
    ("token", {"sent": {"resource": "https://other.example"}, **REFUSED}, "a wrong request is refused", "passed"),
    ("token", dict(REFUSED), "a token is answered", "failed"),
    ("token", {"status": 201}, "a token is answered", "failed"),
    ("token", {"answer": {"access_token": 5}}, "a token is answered", "failed"),
    ("token", {"answer": {"token_type": None}}, "it is a bearer token", "failed"),
    ("token", {"answer": {"token_type": "mac"}}, "it is a bearer token", "failed"),
    ("token", {"answer": {"token_type": "BEARER"}}, "it is a bearer token", "passed"),
    ("token", {"headers": {"cache-control": "private"}}, "the answer is not stored on the way", "warning"),
    ("token", {"answer": {"expires_in": None}}, "its lifetime is said", "warning"),
    ("token", {"answer": {"expires_in": "3600"}}, "its lifetime is said", "warning"),
    ("token", {"answer": {"expires_in": True}}, "its lifetime is said", "warning"),
    ("token", {"answer": {"expires_in": 0}}, "its lifetime is said", "warning"),
    ("token", {"answer": {"scope": "read:user repo"}}, "it reaches no further than was asked for", "warning"),
    ("token", {"answer": {"scope": None}}, "it reaches no further than was asked for", "passed"),
    ("refresh", {"answer": {"access_token": ACCESS}}, "the access token is a new one", "failed"),
    ("refresh", {"answer": {"refresh_token": REFRESH}}, "the refresh token is rotated", "failed"),
    ("refresh", {"answer": {"refresh_token": None}}, "the refresh token is rotated", "failed"),
    ("refresh", dict(REFUSED), "a token is answered", "failed"),
    ("refresh", {"sent": {"refresh_token": "wrong-secret-value"}}, "a wrong request is refused", "failed"),
    ("refresh", {"sent": {"refresh_token": "wrong-secret-value"}, **REFUSED}, "a wrong request is refused", "passed"),
    (
        "refresh",
        {"sent": {"refresh_token": "wrong-secret-value"}, "answer": {**TOKEN, "error": "invalid_grant"}},
        "a wrong request is refused",
        "failed",
    ),
    ("reuse", {"status": 200, "answer": TOKEN}, "it is refused", "failed"),
    ("reuse", {"answer": {"error": "server_error"}}, "it is refused", "failed"),
    ("reuse", {"answer": {**TOKEN, "error": "invalid_grant"}}, "it is refused", "failed"),
    ("reuse", {"status": 200, "answer": {"error": "bad_refresh_token"}}, "it is refused", "passed"),
    ("reuse", {"status": 200, "answer": {"error": "bad_refresh_token"}}, "the refusal is the standard's", "warning"),
    ("replay", {"status": 200, "answer": TOKEN}, "it is refused", "failed"),
    ("replay", {"answer": {**TOKEN, "error": "invalid_grant"}}, "it is refused", "failed"),
    ("replay", {"status": 401}, "the refusal is the standard's", "warning"),
    ("revoke", {"status": 400}, "the revocation is confirmed", "failed"),
    ("revoke", {"status": 204}, "the revocation is confirmed", "passed"),
    ("preflight", {"status": 403}, "a page may send POST to it", "not applicable"),
    ("preflight", {"headers": {"access-control-allow-origin": None}}, "a page may send POST to it", "not applicable"),
    ("preflight", {"headers": {"access-control-allow-origin": MCP}}, "a page may send POST to it", "not applicable"),
    ("preflight", {"headers": {"access-control-allow-headers": "*"}}, "a page may send POST to it", "failed"),
    (
        "preflight",
        {"headers": {"access-control-allow-headers": "authorization"}},
        "a page may send POST to it",
        "failed",
    ),
    ("preflight", {"url": f"{AS}/token"}, "a page may send POST to it", "not applicable"),
    (
        "preflight",
        {"url": f"{AS}/authorize"},
        "the authorization endpoint is for people, not for pages",
        "failed",
    ),
    (
        "preflight",
        {"url": f"{AS}/authorize", "status": 405},
        "the authorization endpoint is for people, not for pages",
        "passed",
    ),
    ("cross_origin", {"headers": {"access-control-allow-origin": None}}, "a page may read the answer", "failed"),
    (
        "cross_origin",
        {"headers": {"access-control-expose-headers": "Retry-After"}},
        "a page may read WWW-Authenticate",
        "failed",
    ),
    ("cross_origin", {"headers": {"access-control-expose-headers": "*"}}, "a page may read WWW-Authenticate", "passed"),
    ("ended_refresh", {"status": 200, "answer": TOKEN}, "an ended refresh token is refused", "failed"),
    ("ended_refresh", {"status": 503, "answer": b""}, "an ended refresh token is refused", "not applicable"),
    ("ended_token", {"status": 200}, "an ended access token is refused", "warning"),
    ("ended_token", {"status": 403}, "an ended access token is refused", "passed"),
    ("ended_token", {"status": 404}, "an ended access token is refused", "not applicable"),
]


def row_id(row: tuple[str, dict[str, Any], str, str]) -> str:
    kind, changes, name, expected = row
    changed = "+".join(
        str(next(iter(part))) if isinstance(part, dict) and part else where for where, part in changes.items()
    )
    return f"{kind}: {changed or 'right'}: {name}: {expected}"


def test_the_table_has_rows_for_every_step_but_the_introduction() -> None:
    assert len(TABLE) >= 80
    assert {kind for kind, *_ in TABLE} == set(STEPS) - {"handshake"}


@pytest.mark.parametrize("row", TABLE, ids=row_id)
def test_a_change_comes_to_its_verdict_and_no_secret_is_quoted(row: tuple[str, dict[str, Any], str, str]) -> None:
    kind, changes, name, expected = row
    checks = checks_of(RIGHT[kind].with_(**changes))
    assert outcome(checks, name) == expected
    for one in checks:
        # What is wrong says what would be right, and where that stands.
        assert bool(one.should) == (one.outcome in ("failed", "warning"))
        assert one.reference or one.outcome in ("passed", "not applicable")
        assert not [secret for secret in SECRETS if secret in str(one)]


# what is known otherwise, the step, what is changed, the check, what it comes to
AS_REGISTERED, LISTED = "the client authenticates as it was registered", "token_endpoint_auth_methods_supported"
POSTED: dict[str, Any] = {"sent": {"client_secret": "client-secret-one"}}
IN_HEADER: dict[str, Any] = {"sent_headers": {"authorization": "Basic c3Bt"}}
SIGNED: dict[str, Any] = {"sent": {"client_assertion": "a.signed.one"}}

KNOWN: list[tuple[dict[str, Any], str, dict[str, Any], str, str]] = [
    ({"ended": "yes"}, "authorized", {}, "an ended token is refused", "warning"),
    (
        {"ended": "yes"},
        "authorized",
        {"status": 401, "headers": {"www-authenticate": INVALID}},
        "the token is accepted",
        "passed",
    ),
    (
        {"ended": "maybe"},
        "authorized",
        {"status": 401, "headers": {"www-authenticate": INVALID}},
        "the token is accepted",
        "passed",
    ),
    ({"ended": "yes"}, "refresh", {}, "an ended refresh token is refused", "failed"),
    (
        {"ended": "yes"},
        "refresh",
        {"answer": {"error": "invalid_grant"}},
        "an ended refresh token is refused",
        "failed",
    ),
    ({"ended": "yes"}, "refresh", dict(REFUSED), "an ended refresh token is refused", "passed"),
    ({"ended": "maybe"}, "refresh", dict(REFUSED), "an ended refresh token is refused", "passed"),
    ({"ended": "maybe"}, "refresh", {}, "a token is answered", "passed"),
    # RFC 6749 section 6: no more than was granted, which may be less, or more, than was asked for.
    *(
        (
            {"authorization": {**AUTHORIZATION, "scope": asked}, "token": {**TOKEN, "scope": granted}},
            "refresh",
            {"answer": {"scope": refreshed}},
            "it reaches no further than was asked for",
            to,
        )
        for asked, granted, refreshed, to in [
            ("read:user repo", "read:user", "read:user repo", "warning"),
            ("read:user", "read:user repo", "repo read:user", "passed"),
            ("read:user repo", None, "repo read:user", "passed"),
            ("read:user", None, "repo read:user", "warning"),
        ]
    ),
    (
        {"exchange": {"resource": "https://other.example"}},
        "authorized",
        {},
        "a token for another server is refused",
        "failed",
    ),
    (
        {"exchange": {"resource": "https://other.example"}},
        "authorized",
        {"status": 401, "headers": {"www-authenticate": INVALID}},
        "a token for another server is refused",
        "passed",
    ),
    (
        {"authorization": {"state": STATE}},
        "callback",
        {},
        "a request without a code challenge is refused",
        "failed",
    ),
    (
        {"authorization": {"state": STATE}},
        "callback",
        {"query": {"code": None, "error": "invalid_request"}},
        "a request without a code challenge is refused",
        "passed",
    ),
    (
        {"server": {"issuer": AS}},
        "callback",
        {"query": {"iss": None}},
        "it comes from the server that was asked",
        "not applicable",
    ),
    (
        {"server": {"issuer": AS}},
        "callback",
        {"query": {"iss": "https://evil.example"}},
        "it comes from the server that was asked",
        "failed",
    ),
    (
        {"server": {"issuer": AS}},
        "callback",
        {"query": {"iss": ""}},
        "it comes from the server that was asked",
        "failed",
    ),
    # MCP 2025-03-26: no resource metadata, and perhaps no metadata at all.
    (
        {"server": {}, "issuer": "", "resource": {}},
        "callback",
        {},
        "it comes from the server that was asked",
        "not applicable",
    ),
    ({"resource": {}}, "authorize", {"query": {"resource": None}}, "the token is asked for this server", "passed"),
    (
        {"resource": {}},
        "authorize",
        {"query": {"resource": "https://x.example"}},
        "the token is asked for this server",
        "failed",
    ),
    ({"protected": set()}, "call", {"status": 200}, "a token is asked for", "not applicable"),
    *(
        (
            {"registration": {"client_id": "client", **answer}, "server": {**SERVER, **listed}},
            "token",
            sent,
            AS_REGISTERED,
            to,
        )
        for answer, listed, sent, to in [
            ({}, {}, {}, "passed"),
            ({}, {}, POSTED, "failed"),
            ({"token_endpoint_auth_method": "none", "client_secret": "s"}, {}, {}, "passed"),
            ({"token_endpoint_auth_method": "client_secret_post", "client_secret": "s"}, {}, POSTED, "passed"),
            ({"token_endpoint_auth_method": "client_secret_post", "client_secret": "s"}, {}, IN_HEADER, "failed"),
            ({"token_endpoint_auth_method": "client_secret_basic", "client_secret": "s"}, {}, IN_HEADER, "passed"),
            ({"token_endpoint_auth_method": "client_secret_basic", "client_secret": "s"}, {}, {}, "failed"),
            ({"token_endpoint_auth_method": "private_key_jwt"}, {}, SIGNED, "passed"),
            # A secret without a method: as the server lists, by default in the header.
            ({"client_secret": "s"}, {LISTED: ["none", "client_secret_post"]}, POSTED, "passed"),
            ({"client_secret": "s"}, {LISTED: ["none", "client_secret_post"]}, IN_HEADER, "failed"),
            ({"client_secret": "s"}, {LISTED: None}, IN_HEADER, "passed"),
            ({"client_secret": "s"}, {LISTED: []}, POSTED, "failed"),
        ]
    ),
    ({"registration": {}}, "token", POSTED, AS_REGISTERED, "not applicable"),
]


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: f"{row[0]}: {row[3]}: {row[4]}")
def test_what_earlier_steps_have_shown_counts(
    row: tuple[dict[str, Any], str, dict[str, Any], str, str],
) -> None:
    known, kind, changes, name, expected = row
    checks = checks_of(RIGHT[kind].with_(**changes), dataclasses.replace(facts(), **known))
    assert outcome(checks, name) == expected


def test_a_confidential_client_need_not_get_a_new_refresh_token() -> None:
    answer = {"answer": {"refresh_token": None}}
    basic = checks_of(RIGHT["refresh"].with_(sent_headers={"authorization": "Basic c3Bt"}, **answer))
    posted = checks_of(RIGHT["refresh"].with_(sent={"client_secret": "client-secret-one"}, **answer))
    assert outcome(basic, "the refresh token is rotated") == "not applicable"
    assert outcome(posted, "the refresh token is rotated") == "not applicable"


# -- in process ----------------------------------------------------------------------------------------------------

GUIDED = {
    "type": "oauth2",
    "authorization_url": "https://github.com/login/oauth/authorize",
    "token_url": "https://github.com/login/oauth/access_token",
    "scopes": ["read:user"],
    "code_challenge_method": "S256",
}


def guided(code: int = -32001, **changes: Any) -> tuple[Check, ...]:
    data = {name: value for name, value in {**GUIDED, **changes}.items() if value is not None}
    error = {"code": code, "message": "Authentication required", "data": data}
    return check(Seen("call", JSONRPC, "", content=json.dumps(error).encode()), facts())


def test_a_challenge_in_process_passes() -> None:
    assert {one.outcome for one in guided()} == {"passed"}
    assert AuthChallenge.from_jsonrpc({"code": -32001, "message": "", "data": GUIDED}) is not None


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"code": -32002}, "the refusal is a challenge", "failed"),
        ({"type": None}, "the refusal is a challenge", "failed"),
        ({"token_url": None}, "it says where to go", "failed"),
        ({"code_challenge_method": "plain"}, "it asks for PKCE with S256", "failed"),
        ({"scopes": []}, "it names the scopes", "warning"),
    ],
)
def test_a_challenge_in_process_with_a_fault(changes: dict[str, Any], name: str, expected: str) -> None:
    assert outcome(guided(**changes), name) == expected


def test_a_result_in_process_passes() -> None:
    assert outcome(check(Seen("call", JSONRPC, ""), facts()), "the tool answers") == "passed"


# -- what a server echoes ------------------------------------------------------------------------------------------


def test_a_secret_that_a_server_echoes_is_masked() -> None:
    # The recorder remembers what passes before the checks see it.
    for secret in SECRETS:
        remember(secret)
    echoes = [
        RIGHT["token"].with_(status=400, answer={"error": VERIFIER, "access_token": None}),
        RIGHT["token"].with_(answer={"token_type": ACCESS, "expires_in": REFRESH, "scope": CODE}),
        RIGHT["registration"].with_(status=400, answer={"error": STATE, "client_id": None}),
        RIGHT["reuse"].with_(answer={"error": f"{REFRESH} is no good"}),
        RIGHT["callback"].with_(query={"iss": CODE, "error": CODE}),
        RIGHT["resource_metadata"].with_(answer={"resource": ACCESS, "authorization_servers": [ACCESS]}),
        RIGHT["call"].with_(headers={"www-authenticate": f'Bearer scope="{ACCESS}", error="{ACCESS}"'}),
        RIGHT["authorized"].with_(status=403, headers={"www-authenticate": f'Bearer error="{ACCESS}"'}),
    ]
    for exchange in echoes:
        text = " ".join(map(str, checks_of(exchange)))
        assert not [secret for secret in SECRETS if secret in text], text


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"null", b'{"error": {"a": 1}}', b'"\\ud800"', b'{"expires_in": NaN}']
)
def test_any_answer_gets_a_verdict(kind: str, content: bytes) -> None:
    known = facts()
    for status in (None, 200, 302, 400, 401, 403, 500):
        exchange = RIGHT[kind].with_(answer=content, status=status)
        checks_of(exchange, known)
        known.learn(exchange.seen())


# -- what is learnt ------------------------------------------------------------------------------------------------


def test_the_facts_follow_the_flow() -> None:
    known = Facts(MCP)
    for kind in ("call", "resource_metadata", "server_metadata", "authorize", "callback", "token"):
        known.learn(RIGHT[kind].seen())
    assert dataclasses.replace(known, spent="refresh-token-nil", places={}) == facts()
    known.learn(RIGHT["authorized"].seen())
    assert known.accepted is not None
    assert known.accepted.kind == "authorized"
    known.learn(RIGHT["refresh"].seen())
    assert (known.spent, known.token["refresh_token"]) == (REFRESH, NEWER)
    ended = []
    for kind in ("reuse", "token", "replay", "revoke"):
        known.learn(RIGHT[kind].seen())
        ended.append(known.ended)
    assert ended == ["yes", "no", "maybe", "yes"]


def jwt(**claims: Any) -> str:
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def test_an_access_token_that_was_revoked_itself_must_end_at_once() -> None:
    known = facts()
    known.learn(RIGHT["revoke"].with_(sent={"token_type_hint": "access_token"}).seen())
    lives = RIGHT["ended_token"].with_(status=200)
    assert outcome(checks_of(lives, known), "an ended access token is refused") == "failed"
    assert outcome(checks_of(RIGHT["ended_token"], known), "an ended access token is refused") == "passed"


@pytest.mark.parametrize(("claims", "says"), [({"exp": 1_700_000_000}, "2023-11-14T22:13:20Z"), ({}, "does not say")])
def test_of_a_jwt_it_is_said_until_when_it_remains_good(claims: dict[str, Any], says: str) -> None:
    known = facts()
    known.learn(RIGHT["revoke"].with_(sent={"token_type_hint": "access_token"}).seen())
    lives = RIGHT["ended_token"].with_(status=200, sent_headers={"authorization": f"Bearer {jwt(**claims)}"})
    (found,) = checks_of(lives, known)
    assert found.outcome == "warning"
    assert says in found.message
    assert "cannot know" in found.should


def test_only_where_the_mcp_endpoint_lets_pages_in_must_the_token_endpoint() -> None:
    known, closed = facts(), RIGHT["preflight"].with_(url=f"{AS}/token", status=405)
    known.learn(RIGHT["preflight"].with_(status=403).seen())
    assert outcome(checks_of(closed, known), "a page may send POST to it") == "not applicable"
    known.learn(RIGHT["preflight"].seen())
    assert outcome(checks_of(closed, known), "a page may send POST to it") == "failed"
    opened = RIGHT["preflight"].with_(url=f"{AS}/token")
    assert outcome(checks_of(opened, known), "a page may send POST to it") == "passed"


def test_a_new_grant_has_no_refresh_token_that_was_used_up() -> None:
    known = facts()
    known.learn(RIGHT["refresh"].seen())
    assert known.spent == REFRESH
    known.learn(RIGHT["token"].seen())
    assert known.spent == ""


def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one() -> None:
    known = facts()
    known.learn(RIGHT["refresh"].with_(answer={"refresh_token": None}).seen())
    assert known.token["refresh_token"] == REFRESH


def test_what_was_refused_is_not_learnt() -> None:
    known = Facts(MCP)
    known.learn(RIGHT["token"].with_(**REFUSED).seen())
    known.learn(RIGHT["resource_metadata"].with_(status=500).seen())
    known.learn(RIGHT["server_metadata"].with_(answer=b"<html>").seen())
    known.learn(RIGHT["revoke"].with_(status=500).seen())
    known.learn(RIGHT["reuse"].with_(status=200, answer=TOKEN).seen())
    assert known == Facts(MCP)


# -- the first cause -----------------------------------------------------------------------------------------------


def step(number: int, *checks: Check, changed: bool = False) -> Step:
    return Step(number, "token", checks=checks, changed=(("code", "changed"),) if changed else ())


FAILED = Check("a token is answered", "failed")
ACCEPTED = Check(sorted(STILL_COUNT)[0], "failed")


def test_the_first_failed_check_is_the_cause_and_a_warning_is_none() -> None:
    cause = first_cause([step(1, Check("x", "warning"), Check("y", "passed")), step(2, FAILED), step(3, ACCEPTED)])
    assert cause is not None
    assert (cause.step.number, cause.check) == (2, FAILED)
    assert first_cause([step(1, Check("x", "warning"))]) is None


def test_after_a_change_only_what_was_wrongly_accepted_is_a_cause() -> None:
    assert first_cause([step(1, FAILED, changed=True), step(2, FAILED)]) is None
    cause = first_cause([step(1, changed=True), step(2, FAILED), step(3, FAILED, ACCEPTED)])
    assert cause is not None
    assert cause.check == ACCEPTED


def test_a_clients_error_is_a_failed_check() -> None:
    found = check_error(ProtocolError("It stopped.", hint="Do this.", reference="RFC 6749"))
    assert found == Check(
        "the client goes on", "failed", "It stopped.", "an answer with which the client can go on", "RFC 6749"
    )
