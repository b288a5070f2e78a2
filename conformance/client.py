"""The client that the official conformance suite runs: it authorizes, lists the tools and calls each of them.

The suite's last argument is the server's URL; what a scenario needs beside it comes in MCP_CONFORMANCE_CONTEXT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading

import httpx
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import AnyUrl

from mcp_oauth_nb import McpAuth, Session

# The suite's own, which its authorization servers take for a client id.
METADATA_URL = "https://conformance-test.local/client-metadata.json"
REDIRECT_URI = "http://127.0.0.1/callback"


def open_browser(url: str) -> bool:
    """Follow the redirects, as the browser of a person who agrees: the suite's servers ask nothing."""
    threading.Thread(target=lambda: httpx.get(url, follow_redirects=True), daemon=True).start()
    return True


def registered() -> OAuthClientInformationFull | None:
    """Return the registration that the scenario made beforehand, if it made one."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    if "client_secret" not in context or "issuer" not in context:
        return None
    return OAuthClientInformationFull(
        client_id=context["client_id"],
        client_secret=context["client_secret"],
        issuer=context["issuer"],
        redirect_uris=[AnyUrl(REDIRECT_URI)],
        token_endpoint_auth_method="client_secret_basic",
    )


async def main(url: str) -> None:
    """Walk through one scenario."""
    auth = McpAuth(
        client=registered(), client_metadata_url=METADATA_URL, open_browser=open_browser, show=lambda text: None
    )
    async with Session.open(url, auth=auth) as session:
        for tool in (await session.list_tools()).tools:
            await session.call_tool(tool.name, {})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
