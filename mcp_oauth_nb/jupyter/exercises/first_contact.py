"""Exercises of notebooks 00 to 02: the whole flow, metadata discovery, the -32001 error."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, REQUEST_TIMEOUT, CallToolResult

from ...lab.lab import Lab
from ...oauth.challenge import AUTHENTICATION_REQUIRED, NOT_CONFIGURED, AuthChallenge
from ...oauth.discovery import discover_authorization_server
from ...oauth.errors import AccessDenied, McpOAuthError
from ...oauth.token import Token
from ...trace.messages import BROWSER, Exchange
from . import Verdict, checked, checked_function, not_yet, right

# -- 00: the whole flow ----------------------------------------------------------------------------------------------


@checked
def check_denial(answer: Any) -> Verdict:
    """The answer is the error that a user's refusal raises."""
    if isinstance(answer, Token):
        return not_yet("that is a token: this lab's user has agreed before, and was not asked again. Take a fresh lab.")
    if not isinstance(answer, McpOAuthError):
        return not_yet(
            "that is not an error of this package: in a fresh lab, `authorize(allow=False)` raises one to keep."
        )
    if not isinstance(answer, AccessDenied):
        return not_yet(f"{type(answer).__name__} is another refusal: it must come from the user's Cancel.")
    if answer.__traceback__ is None:
        return not_yet("nothing has raised that error: let the user press Cancel, and catch what comes.")
    return right("the refusal came back through the browser as error=access_denied, and no code was ever issued.")


@checked
def check_one_call(answer: Any) -> Verdict:
    """The answer is a lab in which one call of the protected tool was all that happened."""
    if isinstance(answer, CallToolResult):
        return not_yet("that is the result. Assign the lab: its trace tells what has led to the result.")
    if not isinstance(answer, Lab):
        return not_yet("that is not a lab: assign the one in which you made the call.")
    exchanges = answer.trace.exchanges
    calls = [place for place, exchange in enumerate(exchanges) if "get_github_user_info" in exchange.request.title]
    if not calls:
        return not_yet("in that lab nobody has called get_github_user_info.")
    if problem := _before(exchanges[: calls[0]]):
        return not_yet(f"{problem} Take a fresh lab.")
    last = exchanges[calls[-1]].response
    if last is None or last.title != "tools/call: result":
        return not_yet("the call was refused, and nothing came after it that would have helped.")
    requests_for_tokens = [exchange for exchange in exchanges if exchange.request.url.endswith("/access_token")]
    if len(calls) != 2 or len(requests_for_tokens) != 1:
        return not_yet("more than one call has succeeded in that lab, or the user signed in twice. Take a fresh lab.")
    return right("challenge, consent, exchange and retry in one line.")


def _before(exchanges: Sequence[Exchange]) -> str:
    """Say what a lab did before the call; connecting does not count, as `Lab.open` does it."""
    if any(exchange.request.sender == BROWSER for exchange in exchanges):
        return "the user of that lab had signed in before the call."
    if any(exchange.request.title.startswith(("tools/", "prompts/")) for exchange in exchanges):
        return "in that lab something else came before the call."
    return ""


# -- 01: metadata discovery ------------------------------------------------------------------------------------------

_ISSUERS = (
    "https://github.com/login/oauth",
    "https://login.example",
    "https://login.example:8443/tenants/7",
    "https://login.example/",
    "https://login.example/tenants/7/",
)


@checked_function
def check_well_known_url(answer: Any) -> Verdict:
    """The answer is a function from an issuer to the URL of its metadata (RFC 8414 section 3.1)."""
    for issuer in _ISSUERS:
        # The SDK's own list, which has the OpenID Connect forms too; that of RFC 8414 comes first.
        expected = build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer)[0]
        url = answer(issuer)
        if url != expected:
            return not_yet(f"for {issuer} it returned {url!r}, and there is no metadata.")
    return right("host first, then the well-known part, then the issuer's path: RFC 8414 section 3.1.")


@checked
async def check_honest_server(answer: Any) -> Verdict:
    """The answer is a lab whose server announces the issuer that GitHub has, and both scopes."""
    if not isinstance(answer, Lab):
        return not_yet("that is not an open lab: assign what `await Lab.open(...)` returns.")
    announced = answer.session.authorization_metadata or {}
    issuer = announced.get("issuer", "")
    try:
        found = await discover_authorization_server(issuer, client=answer.http_client())
    except McpOAuthError as error:
        return not_yet(f"the server announces the issuer {issuer}, and a discovery fails: {error.message}")
    if {"read:user", "repo"} != set(announced["scopes_supported"]):
        return not_yet(f"the issuer is right; the announced scopes are {', '.join(announced['scopes_supported'])}.")
    return right(f"the announcement and GitHub's own document now name the same issuer, {found.issuer}.")


# -- 02: the -32001 error --------------------------------------------------------------------------------------------

_METADATA_URL = "https://mcp.example/.well-known/oauth-protected-resource"

_CHALLENGE = AuthChallenge(
    authorization_url="https://login.example/authorize", token_url="https://login.example/token", scopes=("read",)
).to_jsonrpc()

# The cases: a name, the error object, and what a client should do.
_ERRORS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("a challenge", _CHALLENGE, "authorize"),
    ("a challenge under another code", {**_CHALLENGE, "code": -32042}, "authorize"),
    ("the SDK's timeout", {"code": REQUEST_TIMEOUT, "message": "Request timed out", "data": None}, "retry"),
    ("a timeout without data", {"code": REQUEST_TIMEOUT, "message": "Request timed out"}, "retry"),
    (
        "a server without credentials",
        {"code": NOT_CONFIGURED, "message": "OAuth is not configured", "data": {"type": "configuration"}},
        "configure",
    ),
    (
        "a provider that is down",
        {"code": INTERNAL_ERROR, "message": "Try again later", "data": {"type": "transient", "retry_at": None}},
        "retry",
    ),
    ("a tool that does not exist", {"code": INVALID_PARAMS, "message": "Unknown tool"}, "report"),
    ("-32000 of another server", {"code": NOT_CONFIGURED, "message": "Connection closed", "data": None}, "report"),
    (
        "-32001 of another server",
        {"code": AUTHENTICATION_REQUIRED, "message": "Session not found", "data": {"type": "session"}},
        "report",
    ),
    ("data that is a list", {"code": INTERNAL_ERROR, "message": "Internal error", "data": ["oauth2"]}, "report"),
    ("data that is only a text", {"code": INTERNAL_ERROR, "message": "Internal error", "data": "oauth2"}, "report"),
)


@checked_function
def check_handler(answer: Any) -> Verdict:
    """The answer is a function from a JSON-RPC error object to what the client should do."""
    for what, error, expected in _ERRORS:
        try:
            decision = answer(copy.deepcopy(error))
        except (AttributeError, KeyError, TypeError) as problem:
            return not_yet(f"{what} makes it raise {type(problem).__name__}: {error}.")
        if decision != expected:
            return not_yet(f"{what} is for {expected!r}, not for {decision!r}: {error}.")
    return right(f"{len(_ERRORS)} errors, and no user is sent to a browser for nothing.")


@checked
def check_both_forms(answer: Any) -> Verdict:
    """The answer is one challenge as a JSON-RPC error object and as a header."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return not_yet("that is not a pair: assign (error_object, header).")
    error, header = answer
    if not isinstance(error, dict) or error.get("code") != AUTHENTICATION_REQUIRED:
        return not_yet("the first of the pair is not the error object: `to_jsonrpc()` makes it.")
    in_error = AuthChallenge.from_jsonrpc(error)
    in_header = AuthChallenge.from_www_authenticate(header)
    if in_error is None or in_header is None:
        return not_yet("one of the two is no challenge: `data.type` is oauth2, and the header's scheme is Bearer.")
    for form, challenge in (("error object", in_error), ("header", in_header)):
        if set(challenge.scopes) != {"read:user", "repo"}:
            return not_yet(f"the {form} asks for {', '.join(challenge.scopes) or 'no scope'}.")
    if in_error.authorization_url is None or in_header.resource_metadata != _METADATA_URL:
        return not_yet("a client cannot tell from it where to authorize: an address is missing or another one.")
    return right("the same demand, for a client in this process and for one on the web.")
