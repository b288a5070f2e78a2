"""Reading a bearer token from a request, and the ways in which a request is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ...oauth.masking import remember_heard

# RFC 6750 section 2.1: "Bearer" 1*SP b64token. RFC 9110 section 11.1: the scheme's case does not matter. Beyond
# b64token there are the tokens of other issuers, with `:`, `!` or `|` (RFC 6749 appendix A.12): their verifier judges.
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([^\x00-\x20\x7f-\xff\"',=\\]+=*)")
# RFC 9110 section 11.4: credentials of any other scheme.
_OTHER_SCHEME = re.compile(rb"(?![Bb][Ee][Aa][Rr][Ee][Rr](?: |$))[!#$%&'*+\-.^_`|~0-9A-Za-z]+ +[\x21-\x7e][\x20-\x7e]*")


@dataclass(eq=False)
class RefusedRequest(Exception):
    """A request that is not let through, with everything that its answer says.

    Attributes:
        status: of the HTTP answer.
        reason: for the audit log: one word for what was wrong.
        description: for the client's developer; printable ASCII, no secrets.
        error: RFC 6750 section 3.1; None where the request brought no bearer token at all.
        scopes: those that would do.
        retry_after: seconds, where waiting helps.
    """

    status: int
    reason: str
    description: str
    error: str | None = None
    scopes: tuple[str, ...] = ()
    retry_after: int | None = None

    @property
    def counts_as_failure(self) -> bool:
        """Whether it brings a rate limit nearer: something was tried. To bring nothing is how discovery begins."""
        return self.error is not None


def malformed(reason: str, description: str) -> RefusedRequest:
    """Make the refusal of a request that breaks RFC 6750 itself."""
    return RefusedRequest(400, reason, description, error="invalid_request")


def presents_credentials(scope: Mapping[str, Any]) -> bool:
    """Say whether the request tries to authorize, well or badly."""
    return any(name == b"authorization" for name, _ in scope["headers"]) or _has_token_in_query(scope)


def bearer_token(scope: Mapping[str, Any]) -> str | None:
    """Return the bearer token of an ASGI request; None if it has no credentials.

    What it brings as credentials is masked from then on, however it is refused.

    Raises:
        RefusedRequest: the token is in the query string, there are several, or the header is malformed (400); or
            the credentials are of another scheme than Bearer (401).
    """
    remember_heard(*_brought(scope))
    if _has_token_in_query(scope):
        # MCP Authorization, "Access Token Usage": tokens must not be in the URI. RFC 9700 section 4.3.2.
        raise malformed("token_in_query", "A token in the query string is not accepted; use the Authorization header")
    headers = [value for name, value in scope["headers"] if name == b"authorization"]
    if not headers:
        return None
    if len(headers) > 1:
        # RFC 9110 section 5.3: the field is no list. To choose one would be a guess.
        raise malformed("several_headers", "There is more than one Authorization header")
    if match := _BEARER.fullmatch(headers[0]):
        return match[1].decode("ascii")
    if _OTHER_SCHEME.fullmatch(headers[0]):
        # RFC 6750 section 3.1: no error code for a method that this resource does not support.
        raise RefusedRequest(401, "unsupported_scheme", "Use a bearer token")
    raise malformed("malformed_header", "The Authorization header is not: Bearer, a space, the token")


def _has_token_in_query(scope: Mapping[str, Any]) -> bool:
    return any(True for _ in _tokens_in_query(scope))


def _tokens_in_query(scope: Mapping[str, Any]) -> Iterator[str]:
    query: bytes = scope.get("query_string", b"")
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else []
    return (value for name, value in pairs if name == "access_token")


def _brought(scope: Mapping[str, Any]) -> Iterator[str]:
    """Give all that stands where credentials do, well written or not."""
    yield from _tokens_in_query(scope)
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").partition(" ")
            yield (credentials or scheme).strip(" \"'")
