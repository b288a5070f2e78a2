"""Checks of the client's registration, and of the way through the browser."""

from __future__ import annotations

from ...oauth.check import Check
from ...oauth.masking import printable
from ...oauth.pkce import METHOD
from ..exchange import Checks, Facts, Seen, answered, covers, is_secure, shown, verdict
from .refusals import check_code_without_challenge

# RFC 6749 section 10.10 asks for a chance below 2^-128 to guess it; base64 has 6 bits a character.
_SHORTEST_STATE = 22
_CHALLENGE_LENGTH = 43


def check_registration(seen: Seen, facts: Facts) -> Checks:
    """Check the answer of the registration endpoint."""
    answer = seen.answer
    yield verdict(
        "the client is registered",
        seen.status in (200, 201) and isinstance(answer.get("client_id"), str),
        "201 with a client_id",
        "RFC 7591 section 3.2.1",
        seen=answered(seen),
    )
    if "client_id" not in answer:
        return
    yield verdict("it is answered with 201", seen.status == 201, "201 Created", "RFC 7591 section 3.2.1", soft=True)
    yield verdict(
        "the redirect URIs are kept",
        answer.get("redirect_uris", seen.request.get("redirect_uris")) == seen.request.get("redirect_uris"),
        "the redirect_uris that were sent, exactly",
        "RFC 7591 section 3.2.1; RFC 9700 section 2.1",
    )
    if "client_secret" in answer:
        expires = answer.get("client_secret_expires_at")
        yield verdict(
            "it is said how long the secret is good",
            isinstance(expires, int) and not isinstance(expires, bool),
            "client_secret_expires_at: 0 for ever, or a time",
            "RFC 7591 section 3.2.1",
            soft=True,
        )
    yield verdict(
        "the registration is not stored on the way",
        "no-store" in seen.header("cache-control"),
        "Cache-Control: no-store",
        "RFC 7591 section 3.2.1",
        soft=True,
    )


def check_authorization(seen: Seen, facts: Facts) -> Checks:
    """Check the authorization request."""
    sent = seen.query
    yield verdict(
        "a code is asked for",
        sent.get("response_type") == "code",
        "response_type=code",
        "RFC 6749 section 4.1.1",
        seen=shown(sent.get("response_type")),
    )
    yield verdict(
        "the code is bound to a verifier",
        sent.get("code_challenge_method") == METHOD and len(sent.get("code_challenge", "")) == _CHALLENGE_LENGTH,
        "code_challenge with 43 characters and code_challenge_method=S256",
        "RFC 7636 section 4.3; MCP 2025-06-18, Authorization code protection",
        seen=shown(sent.get("code_challenge_method")),
    )
    yield verdict(
        "the state cannot be guessed",
        len(sent.get("state", "")) >= _SHORTEST_STATE,
        "a fresh random state of 128 bits or more",
        "RFC 6749 section 10.12",
    )
    yield verdict(
        "the token is asked for this server",
        _names_resource(sent.get("resource"), facts),
        f"resource={shown(facts.resource.get('resource', facts.server_url))}",
        "RFC 8707 section 2; MCP 2025-06-18, Resource parameter",
        seen=shown(sent.get("resource")),
    )
    redirect = sent.get("redirect_uri", "")
    yield verdict(
        "the code comes back safely",
        is_secure(redirect),
        "a redirect_uri with https, or on a loopback address",
        "RFC 8252 section 7.3; RFC 9700 section 4.1",
        seen=shown(redirect),
    )


def _names_resource(sent: str | None, facts: Facts) -> bool:
    known = facts.resource.get("resource")
    if not known:
        # MCP 2025-03-26 knew no resource metadata; the parameter is optional there.
        return sent is None or covers(sent, facts.server_url)
    return sent is not None and sent.rstrip("/") in (str(known).rstrip("/"), facts.server_url.rstrip("/"))


def check_callback(seen: Seen, facts: Facts) -> Checks:
    """Check what the browser came back with."""
    got = seen.query
    yield verdict(
        "the state is the one that was sent",
        bool(got.get("state")) and got.get("state") == facts.authorization.get("state"),
        "the state of the authorization request, unchanged; a client must stop otherwise",
        "RFC 6749 section 10.12",
        seen="" if got.get("state") else "nothing",
    )
    yield from check_code_without_challenge(seen, facts)
    yield _issuer(got.get("iss"), facts)
    if "error" in got:
        error = f"error={printable(got['error'], 60)}"
        yield Check("a code came back", "failed", error, "a code", "RFC 6749 section 4.1.2.1")
    else:
        yield verdict("a code came back", bool(got.get("code")), "a code", "RFC 6749 section 4.1.2")


def _issuer(iss: str | None, facts: Facts) -> Check:
    name, expected = "it comes from the server that was asked", str(facts.server.get("issuer") or facts.issuer)
    promised = facts.server.get("authorization_response_iss_parameter_supported") is True
    if not expected or (iss is None and not promised):
        return Check(name, "not applicable", "the server does not announce `iss`")
    return verdict(name, iss == expected, f"iss={shown(expected)}", "RFC 9207 section 2.4", seen=shown(iss))
