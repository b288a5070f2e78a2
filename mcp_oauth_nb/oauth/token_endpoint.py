"""The token endpoint: how a client authenticates there, and what each answer means."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from .authorization import describe, redirect_uri_mismatch
from .errors import (
    AccessDenied,
    ConfigurationError,
    InvalidAuthorizationCode,
    InvalidCodeVerifier,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    RateLimited,
    ReauthorizeError,
    RefreshRejected,
    ServerUnavailable,
    TransientError,
)
from .http import Answer, ClientFactory, send
from .http_faults import TELL_THE_OPERATOR, WRONG_PLACE
from .masking import printable
from .settings import Settings
from .token import Token, is_absent

log = logging.getLogger(__name__)

GrantType = Literal["authorization_code", "refresh_token"]

# The standard's codes (RFC 6749 section 5.2) beside GitHub's own.
_BAD_GRANT = frozenset({"invalid_grant", "bad_verification_code", "bad_refresh_token"})
#: Codes of a client that is not known, or not so.
BAD_CLIENT = frozenset({"invalid_client", "unauthorized_client", "incorrect_client_credentials"})
# Codes of the authorization endpoint (RFC 6749 section 4.1.2.1) that servers use here too, instead of a 5xx.
_LATER = frozenset({"server_error", "temporarily_unavailable"})


async def post(settings: Settings, client: ClientFactory, url: str, fields: Mapping[str, str]) -> Answer:
    """Send a form to the token or revocation endpoint, authenticated as the configured client.

    Raises:
        NotConfigured: the client id or secret is missing.
        Unreachable, RedirectRefused, ProtocolError: see `http.send`.
    """
    auth, credentials = client_authentication(settings)
    return await send(
        client,
        "POST",
        url,
        deadline=settings.api_timeout,
        # GitHub answers form-encoded unless asked for JSON.
        headers={"Accept": "application/json"},
        auth=auth,
        data={**fields, **credentials},
    )


def client_authentication(settings: Settings) -> tuple[tuple[str, str] | None, dict[str, str]]:
    """Return HTTP Basic credentials or form fields, by the first configured method that is known here.

    Raises:
        ConfigurationError: no method is known.
    """
    client_id, client_secret = settings.credentials()
    for method in settings.oauth_token_endpoint_auth_methods:
        if method == "client_secret_post":
            return None, {"client_id": client_id, "client_secret": client_secret}
        if method == "client_secret_basic":
            # RFC 6749 section 2.3.1: form-encoded before they become user name and password.
            return (quote(client_id, safe=""), quote(client_secret, safe="")), {}
    raise ConfigurationError(
        "OAUTH_TOKEN_ENDPOINT_AUTH_METHODS names no method that this client speaks.",
        variables=("OAUTH_TOKEN_ENDPOINT_AUTH_METHODS",),
        hint="Use client_secret_post or client_secret_basic.",
    )


def read_token(
    answer: Answer, *, grant: GrantType, now: float, requested_scopes: tuple[str, ...] = (), resource: str | None = None
) -> Token:
    """Return the token that an answer grants.

    Args:
        answer: what the endpoint sent.
        grant: what was asked for; it decides what a refusal means.
        now: the time in seconds since the epoch.
        requested_scopes: granted when the answer names none.
        resource: the resource indicator that was sent (RFC 8707).

    Raises:
        RefreshRejected: whatever answers a refresh with neither a token nor "later"; see `refusing`.
        McpOAuthError: see `read` and `Token.from_response`.
    """
    with refusing(grant):
        body = read(answer, grant=grant, now=now)
        token = Token.from_response(body, now=now, requested_scopes=requested_scopes, resource=resource)
    for finding in token.findings:
        log.info("%s: %s", answer.url, finding)
    return token


@contextmanager
def refusing(grant: GrantType) -> Iterator[None]:
    """Raise every error of a refresh that the same request would meet again as `RefreshRejected`.

    A gateway's 422, a login page, a redirect and an endpoint that is gone are no OAuth errors (RFC 6749 section 5.2).
    To ask again would bring them again, so that only a new authorization helps. Errors that say "later", and those of
    the client's own credentials, stay what they are; so does every error of another grant.
    """
    try:
        yield
    except (TransientError, ConfigurationError, RefreshRejected):
        raise
    except McpOAuthError as error:
        if grant != "refresh_token":
            raise
        said_so = isinstance(error, ReauthorizeError | OAuthErrorResponse)
        raise RefreshRejected(f"The token was not refreshed. {error.message}", final=said_so) from error


def read(answer: Answer, *, grant: GrantType, now: float) -> dict[str, Any]:
    """Return the fields of a successful token answer, JSON or form-encoded.

    Args:
        answer: what the endpoint sent.
        grant: what was asked for; it decides what a refusal means.
        now: the time in seconds since the epoch.

    Raises:
        ServerUnavailable, RateLimited: try again later.
        InvalidAuthorizationCode, InvalidCodeVerifier, RefreshRejected, AccessDenied: authorize again.
        ConfigurationError: the provider does not know these credentials or this redirect URI.
        OAuthErrorResponse: any other OAuth error.
        ProtocolError: the answer is neither a token nor an error.
    """
    check_available(answer, now)
    body = _fields(answer)
    if not is_absent(body, "error"):
        if not is_absent(body, "access_token"):
            raise ProtocolError(
                f"{answer.url} answered with both an error and a token; neither is used.",
                hint=TELL_THE_OPERATOR,
                reference="RFC 6749 sections 5.1 and 5.2",
            )
        # RFC 6749 section 5.2 says 400; GitHub says 200.
        raise error_for(body, grant)
    if not 200 <= answer.status < 300:
        raise ProtocolError(
            f"{answer.url} answered {answer.status} without an OAuth error.",
            hint=WRONG_PLACE,
            reference="RFC 6749 section 5.2",
        )
    return body


def check_available(answer: Answer, now: float) -> None:
    """Raise if an answer says "not now".

    Raises:
        ServerUnavailable, RateLimited: a 5xx, 408, 425 or 429; try again later.
    """
    # RFC 9110 section 15.5.9, RFC 8470 section 5.2: the same request may be sent again.
    if answer.status >= 500 or answer.status in (408, 425):
        raise ServerUnavailable(f"{answer.url} answered {answer.status}.", retry_at=answer.retry_at(now))
    if answer.status == 429:
        raise RateLimited(f"{answer.url} answered 429 Too Many Requests.", retry_at=answer.retry_at(now))


def error_for(body: Mapping[str, Any], grant: GrantType) -> McpOAuthError:
    """Type an OAuth error answer by what the caller can do about it."""
    code, description = body.get("error"), body.get("error_description")
    text = f"The token endpoint answered {describe(code, description)}."
    if not isinstance(code, str):
        return ProtocolError(text, hint=TELL_THE_OPERATOR, reference="RFC 6749 section 5.2")
    if code in _BAD_GRANT:
        if grant == "refresh_token":
            return RefreshRejected(text)
        return InvalidCodeVerifier(text) if _speaks_of_pkce(description) else InvalidAuthorizationCode(text)
    if code in _LATER:
        return ServerUnavailable(text)
    if code in BAD_CLIENT:
        return ConfigurationError(text, variables=("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"), hint=_CREDENTIALS_HINT)
    if code == "redirect_uri_mismatch":
        return redirect_uri_mismatch(text)
    if code == "access_denied":
        return AccessDenied(text)
    return OAuthErrorResponse(text, code=printable(code))


_CREDENTIALS_HINT = "Check OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET against the provider's page of your OAuth app."


def _speaks_of_pkce(description: Any) -> bool:
    # Providers that tell the two apart do it in the description only: the code is invalid_grant for both.
    words = description.lower() if isinstance(description, str) else ""
    return any(word in words for word in ("verifier", "pkce", "code_challenge"))


def _fields(answer: Answer) -> dict[str, Any]:
    if answer.content_type == "application/json":
        return answer.json_object()
    # GitHub's default. Parsed only if labelled: a login page or a proxy's error must not pass for a token.
    if answer.content_type == "application/x-www-form-urlencoded":
        return _form(answer)
    media = printable(answer.content_type) or "no content type"
    raise ProtocolError(
        f"{answer.url} answered {answer.status} with {media}, not with JSON.",
        hint=WRONG_PLACE,
        reference="RFC 6749 section 5.1",
    )


def _form(answer: Answer) -> dict[str, Any]:
    pairs = parse_qsl(answer.text, keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ProtocolError(
            f"{answer.url} repeated a field in its form-encoded answer.",
            hint=TELL_THE_OPERATOR,
            reference="RFC 6749 section 3.2",
        )
    return fields
