"""What the client makes of the answers of an MCP server's authorization server: values, or typed errors.

No error has a body in it; a body may hold a token.
"""

from __future__ import annotations

import httpx
import httpx2
from mcp.client.auth import OAuthFlowError

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
from .redaction import printable
from .token_endpoint import Grant
from .token_endpoint import read_token as read_token_answer
from .tokens import Token, split_scopes


async def answer_of(response: httpx2.Response) -> Answer:
    """Read a whole response, which must be bounded."""
    place = place_of(response.request.url)
    return Answer(place, response.status_code, httpx.Headers(response.headers.raw), await response.aread())


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
        McpOAuthError: see `token_endpoint.read_token`.
    """
    scopes = split_scopes(requested or "")
    return read_token_answer(
        await answer_of(response), grant=grant, now=now, requested_scopes=scopes, resource=resource
    )


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
