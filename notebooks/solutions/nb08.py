"""Solutions of notebook 08. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

import sys
from typing import Any

from mcp_oauth_nb import Lab


async def redirect_uri(lab: Lab) -> str:
    """Go below the registered path."""
    return "http://127.0.0.1:8123/callback/second"


async def host(lab: Lab) -> dict[str, Any]:
    """Name the credentials in the child's environment."""
    return {
        "command": sys.executable,
        "args": ["-m", "mcp_oauth_nb", "serve"],
        "env": {"OAUTH_CLIENT_ID": "my-client", "OAUTH_CLIENT_SECRET": "my-client-secret"},
    }
