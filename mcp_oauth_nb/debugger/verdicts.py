"""What each step of the flow must look like, as pure functions from an exchange and the facts before it to checks.

A check that failed says what the server, or the client, should have sent. Nothing here quotes a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

from ..challenge import AUTHENTICATION_REQUIRED, AuthChallenge
from ..checks import Check, Outcome
from ..errors import McpOAuthError, ProtocolError
from ..pkce import METHOD
from ..redaction import printable
from ..tokens import split_scopes
from .seen import JSONRPC, Facts, Seen

Checks = Iterator[Check]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# RFC 6749 section 10.10 asks for a chance below 2^-128 to guess it; base64 has 6 bits a character.
_SHORTEST_STATE = 22
_CHALLENGE_LENGTH = 43


def check(seen: Seen, facts: Facts) -> tuple[Check, ...]:
    """Hold one exchange against what its step asks for.

    Args:
        seen: the exchange, in clear.
        facts: what earlier steps have shown.
    """
    return tuple(_CHECKS[seen.kind](seen, facts))


def _verdict(name: str, ok: bool, should: str, reference: str, *, seen: str = "", soft: bool = False) -> Check:
    failed: Outcome = "warning" if soft else "failed"
    return Check(name, "passed" if ok else failed, seen, "" if ok else should, reference)


def _shown(value: object) -> str:
    return printable(str(value)) if value not in (None, "", [], {}) else "nothing"


# -- the MCP server --------------------------------------------------------------------------------------------


def _request(seen: Seen, facts: Facts) -> Checks:
    if seen.method == JSONRPC:
        yield from _guided(seen)
        return
    authorized = bool(seen.sent_header("authorization"))
    yield _verdict(
        "no token in the URL",
        "access_token" not in seen.query,
        "a token in the Authorization header only: URLs are logged",
        "RFC 6750 section 5.3; MCP 2025-06-18, Token requirements",
    )
    if seen.status == 401:
        yield from _unauthorized(seen, facts, authorized)
    elif seen.status == 403:
        yield from _forbidden(seen)
    elif authorized:
        if facts.ended == "yes" and seen.status == 200:
            yield Check(
                "an ended token is refused",
                "warning",
                "answered 200",
                "401: an access token may live on until it expires, but should end with its grant",
                "RFC 7009 section 2.1",
            )
        yield _verdict(
            "the token is accepted",
            seen.status is not None and seen.status < 400,
            "the answer to the request: the token was just issued for this server",
            "RFC 6750 section 2.1",
            seen=f"answered {seen.status}",
        )
    else:
        yield Check("a token is asked for", "not applicable", "this request is open to everybody")


def _guided(seen: Seen) -> Checks:
    """Check the answer of a server without HTTP: a result, or the -32001 error."""
    if not seen.content:
        yield Check("the tool answers", "passed")
        return
    challenge = AuthChallenge.from_jsonrpc(seen.answer)
    yield _verdict(
        "the refusal is a challenge",
        challenge is not None and seen.answer.get("code") == AUTHENTICATION_REQUIRED,
        'error -32001 with data.type "oauth2"; by the code alone it could be a timeout',
        "the guide, OAuth error",
        seen=f"error {seen.answer.get('code')}",
    )
    if challenge is None:
        return
    yield _verdict(
        "it says where to go",
        bool(challenge.authorization_url and challenge.token_url),
        "data.authorization_url and data.token_url",
        "the guide, OAuth error",
    )
    yield _verdict(
        "it asks for PKCE with S256",
        challenge.code_challenge_method == METHOD,
        "data.code_challenge_method: S256",
        "RFC 7636 section 4.3",
        seen=challenge.code_challenge_method,
    )
    yield _verdict("it names the scopes", bool(challenge.scopes), "data.scopes", "the guide, OAuth error", soft=True)


def _unauthorized(seen: Seen, facts: Facts, authorized: bool) -> Checks:
    if authorized:
        dead = facts.ended != "no"
        yield _verdict(
            "the token is accepted",
            dead,
            "the answer to the request: the token was just issued for this server; look at its audience",
            "RFC 6750 section 3.1; RFC 8707 section 2",
            seen="refused, as it must be: the token was ended" if dead else "refused with 401",
        )
    header = seen.header("www-authenticate")
    challenge, problem = _challenge(header)
    yield _verdict(
        "401 comes with WWW-Authenticate: Bearer",
        challenge is not None,
        'WWW-Authenticate: Bearer resource_metadata="...", so that a client finds the way',
        "RFC 6750 section 3; RFC 9110 section 11.6.1",
        seen=problem or ("" if challenge else "the header is missing" if not header else "it has no Bearer challenge"),
    )
    if challenge is None:
        return
    yield _verdict(
        "the challenge names the resource metadata",
        challenge.resource_metadata is not None,
        "resource_metadata with the document's URL; without it a client must guess the well-known place",
        "RFC 9728 section 5.1",
        soft=True,
    )
    yield _verdict(
        "the challenge names the scopes",
        bool(challenge.scopes),
        "scope with what this request needs, so that a client asks for no more",
        "RFC 6750 section 3; MCP 2025-11-25, Scope selection",
        soft=True,
        seen=" ".join(challenge.scopes),
    )
    if authorized:
        yield _verdict(
            "a refused token is called invalid",
            challenge.error == "invalid_token",
            'error="invalid_token"',
            "RFC 6750 section 3.1",
            seen=_shown(challenge.error),
        )


def _forbidden(seen: Seen) -> Checks:
    challenge, problem = _challenge(seen.header("www-authenticate"))
    yield _verdict(
        "403 says that the scopes do not suffice",
        challenge is not None and challenge.error == "insufficient_scope",
        'WWW-Authenticate: Bearer error="insufficient_scope", scope="..."',
        "RFC 6750 section 3.1; MCP 2025-11-25, Step-up authorization",
        seen=problem or _shown(challenge.error if challenge else None),
    )
    yield _verdict(
        "403 names the scopes to ask for",
        challenge is not None and bool(challenge.scopes),
        "scope with all that the request needs: a client cannot guess it",
        "RFC 6750 section 3; MCP 2025-11-25, Step-up authorization",
        seen=" ".join(challenge.scopes) if challenge else "",
    )


def _challenge(header: str) -> tuple[AuthChallenge | None, str]:
    try:
        return (AuthChallenge.from_www_authenticate(header) if header else None), ""
    except ProtocolError as error:
        return None, error.message


# -- discovery -------------------------------------------------------------------------------------------------


def _resource_metadata(seen: Seen, facts: Facts) -> Checks:
    if not (yield from _document(seen, "RFC 9728 section 3.2")):
        return
    document = seen.answer
    resource = document.get("resource")
    yield _verdict(
        "it describes this server",
        isinstance(resource, str) and _covers(resource, facts.server_url),
        f"resource: {facts.server_url}",
        "RFC 9728 section 3.3",
        seen=_shown(resource),
    )
    servers = document.get("authorization_servers")
    yield _verdict(
        "it names an authorization server",
        isinstance(servers, list) and bool(servers) and all(isinstance(server, str) for server in servers),
        "authorization_servers with at least one issuer",
        "RFC 9728 section 2; MCP 2025-06-18, Authorization server location",
        seen=_shown(servers),
    )
    yield from _secure("the authorization server is reached by TLS", servers if isinstance(servers, list) else [])
    methods = document.get("bearer_methods_supported", ["header"])
    yield _verdict(
        "the token goes into the header",
        isinstance(methods, list) and "header" in methods,
        "bearer_methods_supported with header",
        "RFC 9728 section 2; MCP 2025-06-18, Token requirements",
        seen=_shown(methods),
    )


def _server_metadata(seen: Seen, facts: Facts) -> Checks:
    if not (yield from _document(seen, "RFC 8414 section 3.2")):
        return
    document, issuer = seen.answer, facts.issuer
    if issuer:
        yield _verdict(
            "the issuer is the one that was asked for",
            document.get("issuer") == issuer,
            f"issuer: {issuer}, without any normalization",
            "RFC 8414 section 3.3",
            seen=_shown(document.get("issuer")),
        )
    methods = document.get("code_challenge_methods_supported")
    yield _verdict(
        "PKCE with S256 is announced",
        isinstance(methods, list) and METHOD in methods,
        'code_challenge_methods_supported: ["S256"]; a client must refuse a server without it',
        "RFC 8414 section 2; MCP 2026-07-28, Authorization code protection",
        seen=_shown(methods),
    )
    endpoints = [document.get("authorization_endpoint"), document.get("token_endpoint")]
    yield _verdict(
        "both endpoints are there",
        all(isinstance(endpoint, str) and endpoint for endpoint in endpoints),
        "authorization_endpoint and token_endpoint",
        "RFC 8414 section 2",
    )
    optional = [document.get(name) for name in ("registration_endpoint", "revocation_endpoint")]
    yield from _secure("every endpoint is reached by TLS", [*endpoints, *optional])
    yield _verdict(
        "a client can introduce itself",
        bool(document.get("registration_endpoint") or document.get("client_id_metadata_document_supported")),
        "client_id_metadata_document_supported or registration_endpoint; else clients are registered by hand",
        "MCP 2025-11-25, Client registration; RFC 7591 section 3",
        soft=True,
    )
    yield _verdict(
        "callbacks will say where they come from",
        document.get("authorization_response_iss_parameter_supported") is True,
        "authorization_response_iss_parameter_supported: true, against mix-up attacks",
        "RFC 9207 section 3; MCP 2026-07-28, Authorization",
        soft=True,
    )


def _document(seen: Seen, reference: str) -> Generator[Check, None, bool]:
    """Check that a document came at all; the generator returns whether there is more to look at."""
    if seen.status is not None and 400 <= seen.status < 500:
        yield Check("a document is here", "not applicable", f"{seen.status}: the client looks at the next place")
        return False
    yield _verdict(
        "a document is here",
        seen.status == 200 and bool(seen.answer),
        "200 with a JSON object",
        reference,
        seen=f"answered {seen.status}",
    )
    if seen.status != 200 or not seen.answer:
        return False
    media = seen.header("content-type").partition(";")[0].strip().lower()
    yield _verdict("it is labelled as JSON", media == "application/json", "application/json", reference, soft=True)
    return True


def _secure(name: str, urls: list[Any]) -> Checks:
    bare = [url for url in urls if isinstance(url, str) and not _is_secure(url)]
    reference = "RFC 9728 section 7.1; RFC 6749 section 3.1; MCP 2025-06-18, Communication security"
    yield _verdict(name, not bare, "https, or http on a loopback address", reference, seen=_shown(bare) if bare else "")


def _is_secure(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _covers(resource: str, server_url: str) -> bool:
    """Say whether a document's resource is the server, or its origin, for which the SDK lets it speak."""
    mine, theirs = server_url.rstrip("/"), resource.rstrip("/")
    return mine == theirs or mine.startswith(f"{theirs}/")


# -- registration and the browser ------------------------------------------------------------------------------


def _registration(seen: Seen, facts: Facts) -> Checks:
    answer = seen.answer
    yield _verdict(
        "the client is registered",
        seen.status in (200, 201) and isinstance(answer.get("client_id"), str),
        "201 with a client_id",
        "RFC 7591 section 3.2.1",
        seen=f"answered {seen.status}" + (f" {printable(str(answer['error']))}" if "error" in answer else ""),
    )
    if "client_id" not in answer:
        return
    yield _verdict("it is answered with 201", seen.status == 201, "201 Created", "RFC 7591 section 3.2.1", soft=True)
    yield _verdict(
        "the redirect URIs are kept",
        answer.get("redirect_uris", seen.request.get("redirect_uris")) == seen.request.get("redirect_uris"),
        "the redirect_uris that were sent, exactly",
        "RFC 7591 section 3.2.1; RFC 9700 section 2.1",
    )
    yield _verdict(
        "the registration is not stored on the way",
        "no-store" in seen.header("cache-control"),
        "Cache-Control: no-store",
        "RFC 7591 section 3.2.1",
        soft=True,
    )


def _authorize(seen: Seen, facts: Facts) -> Checks:
    sent = seen.query
    yield _verdict(
        "a code is asked for",
        sent.get("response_type") == "code",
        "response_type=code",
        "RFC 6749 section 4.1.1",
        seen=_shown(sent.get("response_type")),
    )
    yield _verdict(
        "the code is bound to a verifier",
        sent.get("code_challenge_method") == METHOD and len(sent.get("code_challenge", "")) == _CHALLENGE_LENGTH,
        "code_challenge with 43 characters and code_challenge_method=S256",
        "RFC 7636 section 4.3; MCP 2025-06-18, Authorization code protection",
        seen=_shown(sent.get("code_challenge_method")),
    )
    yield _verdict(
        "the state cannot be guessed",
        len(sent.get("state", "")) >= _SHORTEST_STATE,
        "a fresh random state of 128 bits or more",
        "RFC 6749 section 10.12",
    )
    yield _verdict(
        "the token is asked for this server",
        _names_resource(sent.get("resource"), facts),
        f"resource={facts.resource.get('resource', facts.server_url)}",
        "RFC 8707 section 2; MCP 2025-06-18, Resource parameter",
        seen=_shown(sent.get("resource")),
    )
    redirect = sent.get("redirect_uri", "")
    yield _verdict(
        "the code comes back safely",
        _is_secure(redirect),
        "a redirect_uri with https, or on a loopback address",
        "RFC 8252 section 7.3; RFC 9700 section 4.1",
        seen=_shown(redirect),
    )


def _names_resource(sent: str | None, facts: Facts) -> bool:
    known = facts.resource.get("resource")
    if not known:
        # MCP 2025-03-26 knew no resource metadata; the parameter is optional there.
        return sent is None or _covers(sent, facts.server_url)
    return sent is not None and sent.rstrip("/") in (str(known).rstrip("/"), facts.server_url.rstrip("/"))


def _callback(seen: Seen, facts: Facts) -> Checks:
    got = seen.query
    yield _verdict(
        "the state is the one that was sent",
        bool(got.get("state")) and got.get("state") == facts.authorization.get("state"),
        "the state of the authorization request, unchanged; a client must stop otherwise",
        "RFC 6749 section 10.12",
    )
    promised = facts.server.get("authorization_response_iss_parameter_supported") is True
    if promised or "iss" in got:
        expected = str(facts.server.get("issuer") or facts.issuer)
        yield _verdict(
            "it comes from the server that was asked",
            got.get("iss") == expected,
            f"iss={expected}",
            "RFC 9207 section 2.4",
            seen=_shown(got.get("iss")),
        )
    else:
        yield Check("it comes from the server that was asked", "not applicable", "the server does not announce `iss`")
    if "error" in got:
        yield Check(
            "a code came back", "failed", f"error={printable(got['error'])}", "a code", "RFC 6749 section 4.1.2.1"
        )
    else:
        yield _verdict("a code came back", bool(got.get("code")), "a code", "RFC 6749 section 4.1.2")


# -- the token endpoint ----------------------------------------------------------------------------------------


def _token(seen: Seen, facts: Facts) -> Checks:
    form = seen.form
    yield _verdict(
        "the code verifier is sent",
        43 <= len(form.get("code_verifier", "")) <= 128,
        "code_verifier with 43 to 128 characters",
        "RFC 7636 section 4.1 and 4.5",
    )
    yield _verdict(
        "the redirect URI is the same",
        form.get("redirect_uri") == facts.authorization.get("redirect_uri"),
        "the redirect_uri of the authorization request",
        "RFC 6749 section 4.1.3",
    )
    yield _verdict(
        "the token is asked for this server",
        form.get("resource") == facts.authorization.get("resource"),
        "the resource of the authorization request",
        "RFC 8707 section 2.2",
        seen=_shown(form.get("resource")),
    )
    yield from _issued(seen, facts, asked=facts.authorization.get("scope", ""))


def _refresh(seen: Seen, facts: Facts) -> Checks:
    yield from _issued(seen, facts, asked=str(facts.token.get("scope") or facts.authorization.get("scope", "")))
    answer = seen.answer
    if "access_token" not in answer:
        return
    yield _verdict(
        "the access token is a new one",
        answer["access_token"] != facts.token.get("access_token"),
        "another access_token",
        "RFC 6749 section 6",
    )
    if _is_public(seen):
        yield _verdict(
            "the refresh token is rotated",
            answer.get("refresh_token") not in (None, seen.form.get("refresh_token")),
            "a new refresh_token: a public client's must be good once",
            "RFC 9700 section 4.14.2; MCP 2025-06-18, Token theft",
        )


def _issued(seen: Seen, facts: Facts, *, asked: str) -> Checks:
    answer = seen.answer
    error = f" {printable(str(answer['error']))}" if "error" in answer else ""
    if seen.kind == "refresh" and facts.ended != "no" and "access_token" not in answer:
        yield Check(
            "an ended refresh token is refused", "passed", f"answered {seen.status}{error}", "", "RFC 7009 section 2.1"
        )
        return
    if facts.ended == "yes" and seen.kind == "refresh":
        yield Check(
            "an ended refresh token is refused",
            "failed",
            f"answered {seen.status} with a token",
            "400 with invalid_grant: it was revoked, or its family ended",
            "RFC 7009 section 2.1; RFC 9700 section 4.14.2",
        )
    yield _verdict(
        "a token is answered",
        seen.status == 200 and isinstance(answer.get("access_token"), str),
        "200 with access_token and token_type",
        "RFC 6749 section 5.1",
        seen=f"answered {seen.status}{error}",
    )
    if "access_token" not in answer:
        return
    yield _verdict(
        "it is a bearer token",
        str(answer.get("token_type", "")).lower() == "bearer",
        "token_type: Bearer",
        "RFC 6749 section 7.1; RFC 6750 section 4",
        seen=_shown(answer.get("token_type")),
    )
    yield _verdict(
        "the answer is not stored on the way",
        "no-store" in seen.header("cache-control"),
        "Cache-Control: no-store",
        "RFC 6749 section 5.1",
        soft=True,
    )
    lifetime = answer.get("expires_in")
    yield _verdict(
        "its lifetime is said",
        isinstance(lifetime, int) and not isinstance(lifetime, bool) and lifetime > 0,
        "expires_in in seconds, and short",
        "RFC 6749 section 5.1; RFC 9700 section 2.2.1",
        seen=f"{lifetime} s" if isinstance(lifetime, int) else _shown(lifetime),
        soft=True,
    )
    granted = frozenset(split_scopes(str(answer.get("scope", asked))))
    yield _verdict(
        "it reaches no further than was asked for",
        not asked or granted <= frozenset(asked.split()),
        "no scope that nobody asked for",
        "RFC 6749 section 3.3",
        seen=_shown(" ".join(sorted(granted))),
        soft=True,
    )


def _is_public(seen: Seen) -> bool:
    return not (seen.sent_header("authorization") or seen.form.get("client_secret"))


# GitHub's own words for invalid_grant; it says them with 200.
_REFUSALS = frozenset({"invalid_grant", "bad_refresh_token", "bad_verification_code"})


def _refused(seen: Seen, facts: Facts) -> Checks:
    answer = seen.answer
    said = f"answered {seen.status} {_shown(answer.get('error'))}"
    yield _verdict(
        "it is refused",
        answer.get("error") in _REFUSALS and "access_token" not in answer,
        "400 with invalid_grant, and no token",
        "RFC 6749 section 5.2; RFC 9700 section 4.14.2",
        seen=said,
    )
    if "access_token" not in answer:
        yield _verdict(
            "the refusal is the standard's",
            seen.status == 400 and answer.get("error") == "invalid_grant",
            "400 with invalid_grant",
            "RFC 6749 section 5.2",
            seen=said,
            soft=True,
        )


def _revoke(seen: Seen, facts: Facts) -> Checks:
    yield _verdict(
        "the revocation is confirmed",
        seen.status in (200, 204),
        "200, for a token that is not known any more too",
        "RFC 7009 section 2.2",
        seen=f"answered {seen.status}",
    )


_CHECKS: dict[str, Callable[[Seen, Facts], Checks]] = {
    "handshake": _request,
    "list": _request,
    "call": _request,
    "authorized": _request,
    "resource_metadata": _resource_metadata,
    "server_metadata": _server_metadata,
    "registration": _registration,
    "authorize": _authorize,
    "callback": _callback,
    "token": _token,
    "refresh": _refresh,
    "reuse": _refused,
    "replay": _refused,
    "revoke": _revoke,
}


def check_error(error: McpOAuthError) -> Check:
    """Say that the client stopped, and why: where no check of the exchange itself failed, this is the finding."""
    return Check("the client goes on", "failed", error.message, error.hint, error.reference)
