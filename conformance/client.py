"""The client that the official conformance suite runs: it authorizes, lists the tools and calls each of them.

The suite's last argument is the server's URL; what a scenario needs beside it comes in MCP_CONFORMANCE_CONTEXT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from mcp.client import ClientRequestContext
from mcp.shared.auth import OAuthClientInformationFull
from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult, Tool
from pydantic import AnyUrl

from mcp_oauth_nb import McpAuth, Session

# The suite's own, which its authorization servers take for a client id.
METADATA_URL = "https://conformance-test.local/client-metadata.json"
REDIRECT_URI = "http://127.0.0.1/callback"

EXAMPLES: dict[str, Any] = {"number": 2, "integer": 2, "string": "text", "boolean": True, "array": [], "object": {}}

Call = tuple[str, dict[str, Any]]


def open_browser(url: str) -> bool:
    """Follow the redirects, as the browser of a person who agrees: the suite's servers ask nothing."""
    threading.Thread(target=lambda: httpx.get(url, follow_redirects=True), daemon=True).start()
    return True


def registered(context: Mapping[str, Any]) -> OAuthClientInformationFull | None:
    """Return the registration that the scenario made beforehand, if it made one."""
    if "client_secret" not in context or "issuer" not in context:
        return None
    return OAuthClientInformationFull(
        client_id=context["client_id"],
        client_secret=context["client_secret"],
        issuer=context["issuer"],
        redirect_uris=[AnyUrl(REDIRECT_URI)],
        token_endpoint_auth_method="client_secret_basic",
    )


async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """Answer a question as a person who accepts every default."""
    if not isinstance(params, ElicitRequestFormParams):
        return ElicitResult(action="decline")
    properties: Mapping[str, Any] = params.requested_schema.get("properties", {})
    # Without a default, the suite asks for no more than to be confirmed.
    return ElicitResult(action="accept", content={name: one.get("default", True) for name, one in properties.items()})


def calls(tools: Sequence[Tool], context: Mapping[str, Any]) -> list[Call]:
    """Return which tools to call, and with what: what the scenario says, or else each tool with examples."""
    if "toolCalls" in context:
        return [(call["name"], call["arguments"]) for call in context["toolCalls"]]
    schemas = {tool.name: tool.input_schema for tool in tools}
    # `json-schema-2020-12-preservation` wants to see again what it sent.
    known = {"schema": schemas.get("json_schema_2020_12_tool")}
    return [(name, examples(schema, known)) for name, schema in schemas.items()]


def examples(schema: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the required arguments: those that are known, and for the others something of their type."""
    types = {name: one.get("type") for name, one in schema.get("properties", {}).items()}
    return {name: known.get(name) or EXAMPLES.get(str(types.get(name))) for name in schema.get("required", [])}


async def main(url: str) -> None:
    """Walk through one scenario."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    auth = McpAuth(
        client=registered(context),
        client_metadata_url=METADATA_URL,
        open_browser=open_browser,
        show=lambda text: None,
    )
    async with Session.open(url, auth=auth, elicitation=agree) as session:
        for name, arguments in calls((await session.list_tools()).tools, context):
            await session.call_tool(name, arguments)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
