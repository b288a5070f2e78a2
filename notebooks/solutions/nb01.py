"""Solutions of notebook 01. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from mcp_oauth_nb import Lab


async def well_known_url(lab: Lab) -> Callable[[str], str]:
    """Put the well-known part between the issuer's host and its path."""

    def url(issuer: str) -> str:
        parts = urlsplit(issuer)
        path = parts.path.removesuffix("/")
        return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}"

    return url


async def honest_server(lab: Lab) -> Lab:
    """Configure the issuer that GitHub's own metadata names."""
    async with Lab.open(oauth_issuer="https://github.com/login/oauth", oauth_scopes=("read:user", "repo")) as second:
        return second
