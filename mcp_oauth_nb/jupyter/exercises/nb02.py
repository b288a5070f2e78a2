"""Exercises of notebook 02: the -32001 error."""

from __future__ import annotations

import copy
from typing import Any

from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, REQUEST_TIMEOUT

from ...oauth.challenge import AUTHENTICATION_REQUIRED, NOT_CONFIGURED, AuthChallenge
from .verdict import Verdict, checked, checked_function, not_yet, right

_METADATA_URL = "https://mcp.example/.well-known/oauth-protected-resource"

_CHALLENGE = AuthChallenge(
    authorization_url="https://login.example/authorize", token_url="https://login.example/token", scopes=("read",)
).to_jsonrpc()

# What happened, the error object, and what a client should do about it.
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
