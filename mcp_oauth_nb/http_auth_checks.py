"""What the client makes of the answers of an MCP server's authorization server: values, or typed errors.

No error has a body in it; a body may hold a token.
"""

from __future__ import annotations

import httpx
import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.client.auth.oauth2 import OAuthContext

from .errors import (
    IssuerMismatch,
    McpOAuthError,
    ProtocolError,
    SecurityError,
    ServerUnavailable,
    StateMismatch,
)
from .http import Answer
from .http_faults import place_of
from .pkce import METHOD
from .places import Places
from .redaction import printable
from .token_endpoint import Grant, check_available, read
from .tokens import Token, split_scopes


async def answer_of(response: httpx2.Response) -> Answer:
    """Read a whole response, which must be bounded."""
    place = place_of(response.request.url)
    return Answer(place, response.status_code, httpx.Headers(response.headers.raw), await response.aread())


def check_metadata(context: OAuthContext, places: Places, unavailable: Answer | None, now: float) -> None:
    """Check, before anything is sent there, that an authorization server may be used.

    Args:
        context: the SDK's, with the metadata that was discovered.
        places: where the MCP server may lead to.
        unavailable: a 5xx or 429 that discovery met.
        now: the time in seconds since the epoch.

    Raises:
        TransientError: the metadata cannot be had now.
        ProtocolError: there is none.
        SecurityError: it does not announce PKCE with S256, or names an endpoint that is no place for one.
    """
    metadata = context.oauth_metadata
    if metadata is None:
        if unavailable is not None:
            check_available(unavailable, now)
        if context.auth_server_url is not None:
            # The SDK would go on with guessed endpoints on the resource's host.
            raise ProtocolError(
                f"The authorization server {printable(context.auth_server_url)} publishes no metadata.",
                reference="RFC 8414 section 3",
            )
        return  # MCP 2025-03-26: a server without metadata has its endpoints at /authorize, /token and /register.
    if METHOD not in (metadata.code_challenge_methods_supported or ()):
        raise SecurityError(
            f"The authorization server {printable(str(metadata.issuer))} does not announce PKCE with S256.",
            hint="Without it a stolen code could be used by anybody. Its operator must add "
            "code_challenge_methods_supported to its metadata.",
            reference="MCP 2026-07-28, Authorization; RFC 8414 section 2; RFC 9700 section 2.1.1",
        )
    for endpoint in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.registration_endpoint):
        if endpoint is not None:
            places.check(str(endpoint), credentials=True)


async def read_token(
    response: httpx2.Response, grant: Grant, *, now: float, requested: str | None, resource: str
) -> Token:
    """Read the answer of the token endpoint.

    Args:
        grant: what was asked for; it decides what a refusal means.
        now: the time in seconds since the epoch.
        requested: the scopes that were asked for, granted when the answer names none.
        resource: what the token is for.

    Raises:
        McpOAuthError: see `token_endpoint.read` and `Token.from_response`.
    """
    body = read(await answer_of(response), grant=grant, now=now)
    return Token.from_response(body, now=now, requested_scopes=split_scopes(requested or ""), resource=resource)


def flow_error(error: OAuthFlowError) -> McpOAuthError:
    """Type an error of the SDK's flow. It has one class for most of them, so its text decides."""
    text = str(error)
    if text.startswith("State parameter mismatch"):
        # Not its text: it quotes both.
        return StateMismatch("The callback's state is not the one that was sent.")
    if text.startswith("Authorization response") or "metadata issuer mismatch" in text:
        return IssuerMismatch(f"{printable(text)}.")
    if text.startswith("Protected resource metadata request failed"):
        return ServerUnavailable(f"{printable(text)}.")
    if text.startswith("Protected resource "):
        return SecurityError(f"{printable(text)}.", reference="RFC 9728 section 3.3")
    return ProtocolError(f"{printable(text)}.")
