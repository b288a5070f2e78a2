"""What the server says about itself (RFC 8414 section 2), built from its fixed public URL and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from mcp.server.auth.routes import build_metadata
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthMetadata
from pydantic import AnyHttpUrl

#: `none` is a public client, which proves itself by PKCE alone.
AUTH_METHODS = ("none", "client_secret_post", "client_secret_basic")
#: What is advertised, and what a client may be registered for.
GRANT_TYPES = ("authorization_code", "refresh_token")


def describe(public_url: str, *, scopes: Sequence[str], default_scopes: Sequence[str]) -> OAuthMetadata:
    """Build the metadata document: the SDK's, and what this server does beyond it."""
    document = build_metadata(AnyHttpUrl(public_url), None, registration(scopes, default_scopes), REVOCATION)
    return OAuthMetadata.model_validate(
        {
            **document.model_dump(),
            # RFC 8414 section 3.3: compared character by character, and AnyHttpUrl had added a slash.
            "issuer": public_url,
            "response_modes_supported": ["query"],
            "grant_types_supported": list(GRANT_TYPES),
            "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "authorization_response_iss_parameter_supported": True,  # RFC 9207 section 3
            "client_id_metadata_document_supported": True,
        }
    )


def registration(scopes: Sequence[str], default_scopes: Sequence[str]) -> ClientRegistrationOptions:
    """Return the SDK's options for dynamic registration."""
    return ClientRegistrationOptions(enabled=True, valid_scopes=list(scopes), default_scopes=list(default_scopes))


#: The SDK's options for revocation.
REVOCATION = RevocationOptions(enabled=True)
