"""May an authorization server be used, by what its metadata says? Asked before anything is sent there."""

from __future__ import annotations

from mcp.client.auth.oauth2 import OAuthContext

from ..oauth.allowed_urls import Places
from ..oauth.errors import SecurityError
from ..oauth.masking import printable
from ..oauth.metadata_reading import ENDPOINTS
from ..oauth.pkce import METHOD
from .reading import FlowDiscovery


def check_metadata(context: OAuthContext, places: Places, discovery: FlowDiscovery) -> None:
    """Check, before anything is sent there, that an authorization server may be used.

    Args:
        context: the SDK's, with the metadata that was discovered.
        places: where the MCP server may lead to.
        discovery: what was read on the way.

    Raises:
        McpOAuthError: there is no metadata that can be used; see `FlowDiscovery.check`.
        SecurityError: it does not announce PKCE with S256, or names an endpoint that is no place for one.
    """
    metadata = context.oauth_metadata
    if metadata is None:
        discovery.check()
        return
    if METHOD not in (metadata.code_challenge_methods_supported or ()):
        issuer = printable(str(metadata.issuer))
        reason = discovery.reason("code_challenge_methods_supported")
        raise SecurityError(
            f"The authorization server {issuer} does not announce PKCE with S256.{reason}",
            hint="Without it a stolen code could be used by anybody. Tell its operator: the metadata needs "
            '"code_challenge_methods_supported": ["S256"].',
            reference="MCP 2026-07-28, Authorization; RFC 8414 section 2; RFC 9700 section 2.1.1",
        )
    for name in ENDPOINTS:
        endpoint = getattr(metadata, name)
        if endpoint is not None:
            places.check(str(endpoint), credentials=True)
