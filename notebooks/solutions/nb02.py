"""Solutions of notebook 02. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mcp_oauth_nb import Lab


async def handler(lab: Lab) -> Callable[[dict[str, Any]], str]:
    """Decide by the type in the data; by the code only where there is no data."""
    by_type = {"oauth2": "authorize", "configuration": "configure", "transient": "retry"}

    def decide(error: dict[str, Any]) -> str:
        data = error.get("data")
        if isinstance(data, dict):
            return by_type.get(data.get("type", ""), "report")
        return "retry" if data is None and error["code"] == -32001 else "report"

    return decide


async def both_forms(lab: Lab) -> tuple[dict[str, Any], str]:
    """Write one challenge in both of its forms."""
    challenge = replace(
        lab.oauth.challenge(),
        scopes=("read:user", "repo"),
        resource_metadata="https://mcp.example/.well-known/oauth-protected-resource",
    )
    return challenge.to_jsonrpc(), challenge.to_www_authenticate()
