"""What the client makes of the answers of an MCP server's authorization server: values, or typed errors.

No error has a body in it; a body may hold a token.
"""

from __future__ import annotations

import httpx
import httpx2
from mcp.client.auth import OAuthFlowError

from ..oauth.authorization import unknown_state
from ..oauth.errors import IssuerMismatch, McpOAuthError, ProtocolError, SecurityError, ServerUnavailable
from ..oauth.http import Answer
from ..oauth.http_faults import place_of
from ..oauth.masking import printable
from ..oauth.token import Token, split_scopes
from ..oauth.token_endpoint import GrantType
from ..oauth.token_endpoint import read_token as read_token_answer


async def answer_of(response: httpx2.Response) -> Answer:
    """Read a whole response, which must be bounded."""
    place = place_of(response.request.url)
    return Answer(place, response.status_code, httpx.Headers(response.headers.raw), await response.aread())


async def read_token(
    response: httpx2.Response, grant: GrantType, *, now: float, requested: str | None, resource: str
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
        return unknown_state()
    if text.startswith("Authorization response") or "metadata issuer mismatch" in text:
        return IssuerMismatch(
            f"{printable(text)}.",
            hint="A client must not use such metadata: tell the operator that `issuer` has to be what was asked for.",
            reference="RFC 8414 section 3.3; RFC 9207 section 2.4",
        )
    if text.startswith("Protected resource metadata request failed"):
        return ServerUnavailable(f"{printable(text)}.")
    if text.startswith("Protected resource "):
        return SecurityError(
            f"{printable(text)}.",
            hint="A client must not use metadata of another resource: tell the server's operator.",
            reference="RFC 9728 section 3.3",
        )
    return ProtocolError(
        f"{printable(text)}.",
        hint="Call again; if it stays so, tell the server's operator what this says.",
        reference="MCP 2025-11-25, Authorization",
    )
