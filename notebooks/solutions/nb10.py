"""Solutions of notebook 10. A test runs them against the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from mcp_oauth_nb import AuthChallenge, Lab
from mcp_oauth_nb.exercises import nb10


async def find_metadata(lab: Lab) -> Callable[[httpx.Response], str]:
    """Take the header's URL, else put the well-known part between host and path."""

    def answer(response: httpx.Response) -> str:
        challenge = AuthChallenge.from_www_authenticate(response.headers.get("www-authenticate", ""))
        if challenge is not None and challenge.resource_metadata is not None:
            return challenge.resource_metadata
        url = response.request.url
        path = "/.well-known/oauth-protected-resource" + url.path.rstrip("/")
        return str(url.copy_with(path=path))

    return answer


async def document(lab: Lab) -> dict[str, Any]:
    """Say who the client is, where it is found, and where its browser comes back to."""
    return {
        "client_id": nb10.MINE,
        "client_name": "My notebook",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    }
