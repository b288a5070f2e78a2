"""Requests that a server must refuse, as no honest client sends them: those that were changed on purpose, for example.

A changed request says nothing about the server as long as it is refused. If it is not, that is a finding, and the only
one that counts after a change.
"""

from __future__ import annotations

from ...oauth.check import Check
from ...oauth.pkce import METHOD, verify
from ..exchange import JSONRPC, Checks, Facts, Seen, answered, covers, verdict

WRONG_REQUEST = "a wrong request is refused"
FOREIGN_TOKEN = "a token for another server is refused"
NO_CHALLENGE = "a request without a code challenge is refused"

#: The checks that count after a request was changed.
STILL_COUNT = frozenset({WRONG_REQUEST, FOREIGN_TOKEN, NO_CHALLENGE})


def reason_to_refuse(seen: Seen, facts: Facts) -> str:
    """Say why a request must be refused; empty if it need not be."""
    if seen.method == JSONRPC:
        return ""
    if seen.kind == "token":
        return _wrong_exchange(seen.form, facts)
    if seen.kind == "refresh":
        known = facts.token.get("refresh_token")
        return "it is not the refresh token that was issued" if seen.form.get("refresh_token") != known else ""
    if seen.kind in ("authorized", "call", "list", "handshake"):
        return _wrong_bearer(seen, facts)
    return ""


def _wrong_exchange(form: dict[str, str], facts: Facts) -> str:
    asked = facts.authorization
    challenge = asked.get("code_challenge")
    if challenge and not verify(form.get("code_verifier", ""), challenge, asked.get("code_challenge_method", METHOD)):
        # RFC 7636 section 4.6
        return "the code verifier is not the one of the challenge"
    if "redirect_uri" in form and form["redirect_uri"] != asked.get("redirect_uri"):
        # RFC 6749 section 4.1.3
        return "the redirect URI is not the one of the authorization request"
    if form.get("code") != facts.callback.get("code"):
        return "the code is not the one that came back"
    if "client_id" in form and form["client_id"] != asked.get("client_id"):
        # RFC 6749 section 4.1.3: the code was issued to the client.
        return "the client is not the one of the authorization request"
    if facts.resource and "resource" in form and "resource" in asked and form["resource"] != asked["resource"]:
        # RFC 8707 section 2.2
        return "the resource is not the one that the person agreed to"
    return ""


def _wrong_bearer(seen: Seen, facts: Facts) -> str:
    token = facts.token.get("access_token")
    if token is None or seen.mcp_method not in facts.protected:
        return ""
    scheme, _, sent = seen.sent_header("authorization").partition(" ")
    if not sent:
        return "it has no token"
    return "it is not the token that was issued" if scheme.lower() != "bearer" or sent != token else ""


def check_refusal(seen: Seen, reason: str, reference: str) -> Check:
    """Check that what is wrong was refused.

    Args:
        reason: from `reason_to_refuse`.
    """
    refused = "access_token" not in seen.answer if seen.kind in ("token", "refresh") else seen.status in (400, 401, 403)
    return verdict(WRONG_REQUEST, refused, f"a refusal: {reason}", reference, seen=answered(seen))


def check_audience(seen: Seen, facts: Facts) -> Checks:
    """Check that a token which was issued for another server is not accepted by this one."""
    resource = facts.exchange.get("resource")
    if not seen.sent_header("authorization") or resource is None or covers(resource, facts.server_url):
        return
    yield verdict(
        FOREIGN_TOKEN,
        seen.status in (401, 403),
        "401: the token was asked for another resource",
        "RFC 8707 section 2; MCP 2025-06-18, Token audience binding and validation",
        seen=answered(seen),
    )


def check_code_without_challenge(seen: Seen, facts: Facts) -> Checks:
    """Check that no code was given to a request that binds it to nothing."""
    if facts.authorization.get("code_challenge"):
        return
    yield verdict(
        NO_CHALLENGE,
        "code" not in seen.query,
        "error=invalid_request: without a challenge a stolen code can be used by anybody",
        "RFC 7636 section 4.4.1; RFC 9700 section 2.1.1",
    )
