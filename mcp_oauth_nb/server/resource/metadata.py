"""The public address and what is built from it: the resource identifier and the RFC 9728 documents.

Everything a client is told comes from this fixed URL, never from `Host` or `X-Forwarded-*`: whoever can forge those
would otherwise choose the authorization server of our clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mcp.server.auth.handlers.metadata import ProtectedResourceMetadataHandler
from mcp.server.auth.routes import cors_middleware
from mcp.shared.auth import ProtectedResourceMetadata
from starlette.routing import Route

from ...oauth.challenge import AuthChallenge
from ...oauth.urls import LOOPBACK_HOSTS, check_public_url

#: Where the MCP endpoint is, below the public URL.
MCP_PATH = "/mcp"
#: Where it answers: people write the address with a slash, too.
MCP_PATHS = (MCP_PATH, f"{MCP_PATH}/")

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True)
class PublicAddress:
    """Where clients find this server.

    Args:
        url: an origin without a trailing slash, such as `https://mcp.example.com` or `http://127.0.0.1:8000`.

    Raises:
        ConfigurationError: it is no such URL, is not in its normal form, or is plain http beyond this machine.
    """

    url: str

    def __post_init__(self) -> None:
        check_public_url(self.url)

    @property
    def host(self) -> str:
        """The host with its port, as the `Host` header names it."""
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int | None:
        """The port; None if it is the scheme's own."""
        return urlsplit(self.url).port

    @property
    def is_loopback(self) -> bool:
        """Whether it names this machine."""
        return urlsplit(self.url).hostname in LOOPBACK_HOSTS

    @property
    def resource(self) -> str:
        """The resource identifier (RFC 8707): the URL of the MCP endpoint."""
        return self.url + MCP_PATH

    @property
    def metadata_url(self) -> str:
        """Where the RFC 9728 document is: the well-known path stands between host and path (section 3.1)."""
        return self.url + _WELL_KNOWN + MCP_PATH

    def challenge(self, scopes: tuple[str, ...]) -> AuthChallenge:
        """Return the challenge that leads to the authorization server at this address."""
        return AuthChallenge(
            authorization_url=f"{self.url}/authorize",
            token_url=f"{self.url}/token",
            scopes=scopes,
            resource=self.resource,
            resource_metadata=self.metadata_url,
        )

    def authorization_metadata(self, scopes: Sequence[str]) -> dict[str, Any]:
        """Return what is advertised inside MCP when a client connects; RFC 8414 has the complete document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "scopes_supported": list(scopes),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        }


def metadata_routes(address: PublicAddress, issuers: Sequence[str], scopes: Sequence[str], name: str) -> list[Route]:
    """Return the routes of the protected resource metadata (RFC 9728), in the path form and the root form.

    Args:
        issuers: the authorization servers whose tokens are accepted.
        scopes: all that a client may ask for.
        name: shown to people.
    """
    # Strings, not URL objects made elsewhere: those would have gained a trailing slash, and RFC 8414 section 3.3
    # compares the issuer character by character.
    document = ProtectedResourceMetadata.model_validate(
        {
            "resource": address.resource,
            "authorization_servers": list(issuers),
            "scopes_supported": list(scopes),
            "resource_name": name,
        }
    )
    endpoint = cors_middleware(ProtectedResourceMetadataHandler(document).handle, ["GET", "OPTIONS"])
    paths = [_WELL_KNOWN + path for path in (*MCP_PATHS, "")]
    return [Route(path, endpoint, methods=["GET", "OPTIONS"]) for path in paths]
