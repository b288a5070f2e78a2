"""Solutions of notebook 07. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from mcp_oauth_nb import Lab
from mcp_oauth_nb.oauth.settings import IsolatedSettings, Settings


async def settings(lab: Lab) -> Settings:
    """Copy the endpoints from the document, and ask for the smallest scope."""
    return IsolatedSettings(
        oauth_client_id="my-client",
        oauth_client_secret="my-client-secret",
        oauth_issuer="https://files.example/tenants/7",
        oauth_authorization_url="https://files.example/tenants/7/authorize",
        oauth_token_url="https://tokens.files.example/v2/7",
        oauth_scopes="files.read",
        oauth_token_endpoint_auth_methods="client_secret_basic",
    )


async def matches(lab: Lab) -> Callable[[str, str], bool]:
    """Compare as strings; on the literal loopback address leave the port out."""

    def without_port(parts: SplitResult) -> tuple[str | None, ...]:
        return parts.scheme, parts.hostname, parts.path, parts.query, parts.fragment, parts.username

    def matches(registered: str, requested: str) -> bool:
        if registered == requested:
            return True
        ours, theirs = urlsplit(registered), urlsplit(requested)
        is_loopback = ours.scheme == "http" and ours.hostname == "127.0.0.1"
        return is_loopback and without_port(ours) == without_port(theirs)

    return matches
