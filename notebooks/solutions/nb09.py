"""Solutions of notebook 09. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_oauth_nb import Lab, McpOAuthError


async def repair(lab: Lab) -> dict[str, Any]:
    """Correct what the errors name, one after the other."""
    return {
        "oauth_redirect_uri": "http://127.0.0.1/callback",
        "oauth_token_url": "https://github.com/login/oauth/access_token",
        "oauth_client_secret": lab.github.client_secret,
    }


async def find(lab: Lab) -> Callable[[BaseException], McpOAuthError | None]:
    """Look at the error, then into it."""

    def find(error: BaseException) -> McpOAuthError | None:
        if isinstance(error, McpOAuthError):
            return error
        inner = (find(inside) for inside in getattr(error, "exceptions", ()))
        return next((found for found in inner if found is not None), None)

    return find
