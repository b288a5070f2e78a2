"""Checks of the token endpoint's answers: to a code, a refresh token, to either when used up; and of the revocation."""

from __future__ import annotations

from ...oauth.check import Check
from ...oauth.token import split_scopes
from ..exchange import Checks, Facts, Seen, answered, shown, verdict
from .refusals import check_refusal, reason_to_refuse

# GitHub's own error codes for invalid_grant, which it sends with status 200.
_ENDED = "an ended refresh token is refused"
_REFUSALS = ("invalid_grant", "bad_refresh_token", "bad_verification_code")


def check_token(seen: Seen, facts: Facts) -> Checks:
    """Check the exchange of a code for tokens."""
    form, asked = seen.form, facts.authorization
    yield verdict(
        "the code verifier is sent",
        43 <= len(form.get("code_verifier", "")) <= 128,
        "code_verifier with 43 to 128 characters",
        "RFC 7636 section 4.1 and 4.5",
    )
    yield verdict(
        "the redirect URI is the same",
        form.get("redirect_uri") == asked.get("redirect_uri"),
        "the redirect_uri of the authorization request",
        "RFC 6749 section 4.1.3",
    )
    yield verdict(
        "the token is asked for this server",
        form.get("resource") == asked.get("resource"),
        "the resource of the authorization request",
        "RFC 8707 section 2.2",
        seen=shown(form.get("resource")),
    )
    yield _authenticated(seen, facts)
    yield from _issued(seen, facts, asked=asked.get("scope", ""))


def check_refresh(seen: Seen, facts: Facts) -> Checks:
    """Check a refresh, and that a token that has ended is not refreshed."""
    answer = seen.answer
    if facts.ended != "no" and "access_token" not in answer:
        yield Check(_ENDED, "passed", answered(seen), "", "RFC 7009 section 2.1")
        return
    if facts.ended == "yes":
        yield from check_ended_refresh(seen, facts)
    yield from _issued(seen, facts, asked=str(facts.token.get("scope") or facts.authorization.get("scope", "")))
    if "access_token" not in answer:
        return
    yield verdict(
        "the access token is a new one",
        answer["access_token"] != facts.token.get("access_token"),
        "another access_token",
        "RFC 6749 section 6",
    )
    rotated = answer.get("refresh_token") not in (None, seen.form.get("refresh_token"))
    if rotated or _is_public(seen):
        yield verdict(
            "the refresh token is rotated",
            rotated,
            "a new refresh_token: a public client's must be good once",
            "RFC 9700 section 4.14.2; MCP 2025-06-18, Token theft",
        )
    else:
        yield Check("the refresh token is rotated", "not applicable", "the client has a secret that protects it")


def _authenticated(seen: Seen, facts: Facts) -> Check:
    """Check how the client authenticates, against how the server registered it."""
    name, registered = "the client authenticates as it was registered", facts.registration
    if not registered:
        return Check(name, "not applicable", "the client was not registered in this run")
    used = _method_of(seen)
    named = registered.get("token_endpoint_auth_method")
    if named:
        expected = [str(named)]
    elif not registered.get("client_secret"):
        expected = ["none"]
    else:
        # RFC 8414 section 2: a server that lists nothing has client_secret_basic.
        listed = facts.server.get("token_endpoint_auth_methods_supported")
        expected = [str(method) for method in listed] if isinstance(listed, list) and listed else _DEFAULT_METHOD
    return verdict(
        name,
        used in expected,
        f"token_endpoint_auth_method {' or '.join(shown(method) for method in expected)}",
        "RFC 7591 section 3.2.1; RFC 6749 section 2.3.1",
        seen=used,
    )


_DEFAULT_METHOD = ["client_secret_basic"]


def _method_of(seen: Seen) -> str:
    if seen.sent_header("authorization").lower().startswith("basic "):
        return "client_secret_basic"
    if seen.form.get("client_secret"):
        return "client_secret_post"
    return "private_key_jwt" if seen.form.get("client_assertion") else "none"


def check_ended_refresh(seen: Seen, facts: Facts) -> Checks:
    """Check that a refresh token gets nothing after it was revoked, or its family ended."""
    got = "access_token" in seen.answer
    if not got and seen.status is not None and seen.status >= 500:
        yield Check(_ENDED, "not applicable", f"answered {seen.status}, which says nothing about the token")
        return
    yield verdict(
        _ENDED,
        not got,
        "400 with invalid_grant: it was revoked, or its family ended",
        "RFC 7009 section 2.1; RFC 9700 section 4.14.2",
        seen=f"answered {seen.status} with a token" if got else answered(seen),
    )


def _is_public(seen: Seen) -> bool:
    return not (seen.sent_header("authorization") or seen.form.get("client_secret"))


def _issued(seen: Seen, facts: Facts, *, asked: str) -> Checks:
    answer = seen.answer
    if reason := reason_to_refuse(seen, facts):
        yield check_refusal(seen, reason, "RFC 6749 section 5.2; RFC 7636 section 4.6")
    else:
        yield verdict(
            "a token is answered",
            seen.status == 200 and isinstance(answer.get("access_token"), str),
            "200 with access_token and token_type",
            "RFC 6749 section 5.1",
            seen=answered(seen),
        )
    if "access_token" not in answer:
        return
    yield verdict(
        "it is a bearer token",
        str(answer.get("token_type", "")).lower() == "bearer",
        "token_type: Bearer",
        "RFC 6749 section 7.1; RFC 6750 section 4",
        seen=shown(answer.get("token_type")),
    )
    yield verdict(
        "the answer is not stored on the way",
        "no-store" in seen.header("cache-control"),
        "Cache-Control: no-store",
        "RFC 6749 section 5.1",
        soft=True,
    )
    yield _lifetime(answer.get("expires_in"))
    granted = frozenset(split_scopes(str(answer.get("scope", asked))))
    yield verdict(
        "it reaches no further than was asked for",
        not asked or granted <= frozenset(split_scopes(asked)),
        "no scope that nobody asked for",
        "RFC 6749 section 3.3",
        seen=shown(" ".join(sorted(granted))),
        soft=True,
    )


def _lifetime(seconds: object) -> Check:
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    return verdict(
        "its lifetime is said",
        whole and int(str(seconds)) > 0,
        "expires_in in seconds, and short",
        "RFC 6749 section 5.1; RFC 9700 section 2.2.1",
        seen=f"{seconds} s" if whole else shown(seconds),
        soft=True,
    )


def check_reuse(seen: Seen, facts: Facts) -> Checks:
    """Check that a refresh token, or a code, which was used up is refused."""
    said = f"answered {seen.status} {shown(seen.answer.get('error'))}"
    yield verdict(
        "it is refused",
        seen.answer.get("error") in _REFUSALS and "access_token" not in seen.answer,
        "400 with invalid_grant, and no token",
        "RFC 6749 section 5.2; RFC 9700 section 4.14.2",
        seen=said,
    )
    if "access_token" not in seen.answer:
        yield verdict(
            "the refusal is the standard's",
            seen.status == 400 and seen.answer.get("error") == "invalid_grant",
            "400 with invalid_grant",
            "RFC 6749 section 5.2",
            seen=said,
            soft=True,
        )


def check_revocation(seen: Seen, facts: Facts) -> Checks:
    """Check that a revocation is confirmed."""
    yield verdict(
        "the revocation is confirmed",
        seen.status in (200, 204),
        "200, for a token that is not known any more too",
        "RFC 7009 section 2.2",
        seen=answered(seen),
    )
