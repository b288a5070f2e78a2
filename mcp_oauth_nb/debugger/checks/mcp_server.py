"""Checks of the MCP server's answers: over HTTP, and in process with the -32001 error."""

from __future__ import annotations

from ...oauth import jwt
from ...oauth.challenge import AUTHENTICATION_REQUIRED, AuthChallenge, read_challenge
from ...oauth.check import Check
from ...oauth.pkce import METHOD
from ..exchange import JSONRPC, Checks, Facts, Seen, answered, shown, verdict
from .refusals import check_audience, check_refusal, reason_to_refuse


def check_request(seen: Seen, facts: Facts) -> Checks:
    """Check a request to the MCP server: the introduction, the list of tools, a call."""
    if seen.method == JSONRPC:
        yield from _guided(seen)
        return
    authorized = bool(seen.sent_header("authorization"))
    reason = reason_to_refuse(seen, facts)
    yield verdict(
        "no token in the URL",
        "access_token" not in seen.query,
        "a token in the Authorization header only: URLs are logged",
        "RFC 6750 section 5.3; MCP 2025-06-18, Token requirements",
    )
    if reason:
        yield check_refusal(seen, reason, "RFC 6750 section 3.1; MCP 2025-06-18, Token handling")
    yield from check_audience(seen, facts)
    if seen.status == 401:
        yield from _unauthorized(seen, facts, authorized, bool(reason))
    elif seen.status == 403:
        yield from _forbidden(seen)
    elif authorized and not reason:
        yield from _accepted(seen, facts)
    elif not reason:
        yield Check("a token is asked for", "not applicable", "this request is open to everybody")


def _accepted(seen: Seen, facts: Facts) -> Checks:
    if facts.ended == "yes" and seen.status == 200:
        yield Check(
            "an ended token is refused",
            "warning",
            "answered 200",
            "401: an access token may live on until it expires, but should end with its grant",
            "RFC 7009 section 2.1",
        )
    if seen.mcp_method == "server/discover" and seen.status in (400, 404):
        yield Check(
            "the token is accepted", "not applicable", "the server is older than the question; the client goes on"
        )
        return
    yield verdict(
        "the token is accepted",
        seen.status is not None and seen.status < 400,
        "the answer to the request: the token was just issued for this server",
        "RFC 6750 section 2.1",
        seen=answered(seen),
    )


def check_ended_token(seen: Seen, facts: Facts) -> Checks:
    """Check that an access token opens nothing after it was revoked, or its grant ended."""
    name, reference = "an ended access token is refused", "RFC 7009 section 2 and 2.1"
    accepted = seen.status is not None and seen.status < 300
    if not accepted and seen.status not in (401, 403):
        yield Check(name, "not applicable", f"answered {seen.status}, which says nothing about the token")
    elif accepted and (token := jwt.decode(_bearer(seen))) is not None:
        until = token.times.get("exp", "a time that it does not say")
        yield Check(
            name,
            "warning",
            f"answered {seen.status}; it is a JWT, and remains good until {until}",
            "401; a resource that checks a JWT by itself cannot know that it was ended, so it must be short-lived",
            "RFC 7009 section 3; RFC 9700 section 2.2.1",
        )
    else:
        # Only the revoked token itself must end at once (MUST); other tokens of the same grant should.
        yield verdict(
            name,
            not accepted,
            "401 with error=invalid_token: its grant has ended",
            reference,
            seen=answered(seen),
            soft=facts.revoked != "access_token",
        )


def _bearer(seen: Seen) -> str:
    return seen.sent_header("authorization").partition(" ")[2]


# -- refusals --------------------------------------------------------------------------------------------------


def _unauthorized(seen: Seen, facts: Facts, authorized: bool, must_be: bool) -> Checks:
    if authorized and not must_be:
        dead = facts.ended != "no"
        yield verdict(
            "the token is accepted",
            dead,
            "the answer to the request: the token was just issued for this server; look at its audience",
            "RFC 6750 section 3.1; RFC 8707 section 2",
            seen="refused, as it must be: the token was ended" if dead else "refused with 401",
        )
    header = seen.header("www-authenticate")
    challenge, problem = _challenge(header)
    yield verdict(
        "401 comes with WWW-Authenticate: Bearer",
        challenge is not None,
        'WWW-Authenticate: Bearer resource_metadata="...", so that a client finds the way',
        "RFC 6750 section 3; RFC 9110 section 11.6.1",
        seen=problem or ("" if challenge else "it has no Bearer challenge" if header else "the header is missing"),
    )
    if challenge is None:
        return
    yield verdict(
        "the challenge names the resource metadata",
        challenge.resource_metadata is not None,
        "resource_metadata with the document's URL; without it a client must guess the well-known place",
        "RFC 9728 section 5.1",
        soft=True,
    )
    yield verdict(
        "the challenge names the scopes",
        bool(challenge.scopes),
        "scope with what this request needs, so that a client asks for no more",
        "RFC 6750 section 3; MCP 2025-11-25, Scope selection",
        soft=True,
        seen=shown(" ".join(challenge.scopes)),
    )
    if authorized:
        yield verdict(
            "a refused token is called invalid",
            challenge.error == "invalid_token",
            'error="invalid_token"',
            "RFC 6750 section 3.1",
            seen=shown(challenge.error),
        )


def _forbidden(seen: Seen) -> Checks:
    challenge, problem = _challenge(seen.header("www-authenticate"))
    yield verdict(
        "403 says that the scopes do not suffice",
        challenge is not None and challenge.error == "insufficient_scope",
        'WWW-Authenticate: Bearer error="insufficient_scope", scope="..."',
        "RFC 6750 section 3.1; MCP 2025-11-25, Step-up authorization",
        seen=problem or shown(challenge.error if challenge else None),
    )
    yield verdict(
        "403 names the scopes to ask for",
        challenge is not None and bool(challenge.scopes),
        "scope with all that the request needs: a client cannot guess it",
        "RFC 6750 section 3; MCP 2025-11-25, Step-up authorization",
        seen=shown(" ".join(challenge.scopes) if challenge else None),
    )


def _challenge(header: str) -> tuple[AuthChallenge | None, str]:
    challenge, findings = read_challenge([header] if header else [])
    return challenge, " ".join(findings)


# -- in process ------------------------------------------------------------------------------------------------


def _guided(seen: Seen) -> Checks:
    """Check the answer of a server without HTTP: a result, or the -32001 error."""
    if not seen.content:
        yield Check("the tool answers", "passed")
        return
    challenge = AuthChallenge.from_jsonrpc(seen.answer)
    yield verdict(
        "the refusal is a challenge",
        challenge is not None and seen.answer.get("code") == AUTHENTICATION_REQUIRED,
        'error -32001 with data.type "oauth2"; by the code alone it could be a timeout',
        "the guide, OAuth error",
        seen=shown(f"error {seen.answer.get('code')}"),
    )
    if challenge is None:
        return
    yield verdict(
        "it says where to go",
        bool(challenge.authorization_url and challenge.token_url),
        "data.authorization_url and data.token_url",
        "the guide, OAuth error",
    )
    yield verdict(
        "it asks for PKCE with S256",
        challenge.code_challenge_method == METHOD,
        "data.code_challenge_method: S256",
        "RFC 7636 section 4.3",
        seen=shown(challenge.code_challenge_method),
    )
    yield verdict("it names the scopes", bool(challenge.scopes), "data.scopes", "the guide, OAuth error", soft=True)
