"""Servers that are odd in one way: the client, `discover()` and the debugger come to one verdict on each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from http_world import ASM, MCP, PRM, P, Seen, World
from starlette.responses import Response

from mcp_oauth_nb import Session
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.oauth.discovery import discover
from mcp_oauth_nb.oauth.errors import McpOAuthError

pytestmark = pytest.mark.anyio

ROOT_PRM = "/.well-known/oauth-protected-resource"
OIDC = "/.well-known/openid-configuration"
DOCUMENT = {"resource": MCP, "authorization_servers": [P]}
SERVER = {
    "issuer": P,
    "authorization_endpoint": f"{P}/authorize",
    "token_endpoint": f"{P}/token",
    "registration_endpoint": f"{P}/register",
    "code_challenge_methods_supported": ["S256"],
    "response_types_supported": ["code"],
}
Odd = dict[str, Callable[[Seen], Response | None]]


def answers(body: Any = b"", status: int = 200, media: str = "application/json", **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda seen: Response(content, status, media_type=media, headers=headers)


def challenge(line: str) -> Any:
    def answer(seen: Seen) -> Response | None:
        return (
            None if "authorization" in seen.headers else Response(status_code=401, headers={"WWW-Authenticate": line})
        )

    return answer


PAGE = answers(b"<html>", media="text/html")
BOM = b"\xef\xbb\xbf"

# What is odd, what is answered, and, where nobody gets in, words of the error.
TABLE: dict[str, tuple[Odd, str]] = {
    "the resource is the origin": ({PRM: answers({**DOCUMENT, "resource": P})}, ""),
    "the resource is another": (
        {PRM: answers({**DOCUMENT, "resource": f"{P}/other"})},
        "describes the resource",
    ),
    "the resource is no URL": ({PRM: answers({**DOCUMENT, "resource": "api://1"})}, "`resource` is wrong"),
    "no list of servers": (
        {PRM: answers({**DOCUMENT, "authorization_servers": P})},
        "`authorization_servers`",
    ),
    "one bad server among the good": ({PRM: answers({**DOCUMENT, "authorization_servers": ["", P]})}, ""),
    "an empty link": ({PRM: answers({**DOCUMENT, "resource_documentation": ""})}, ""),
    "a resource document with a byte order mark": ({PRM: answers(BOM + json.dumps(DOCUMENT).encode())}, ""),
    "no resource document": ({PRM: answers(status=404), ROOT_PRM: answers(status=404)}, ""),
    "a 500 at the first place": ({PRM: answers(status=500), ROOT_PRM: answers(DOCUMENT)}, ""),
    "a page at the first place": ({PRM: PAGE, ROOT_PRM: answers(DOCUMENT)}, ""),
    "a catch-all at the first place": ({PRM: answers({"status": "ok"}), ROOT_PRM: answers(DOCUMENT)}, ""),
    "a redirect to a login page elsewhere": (
        {PRM: answers(status=302, location="https://login.example/"), ROOT_PRM: answers(DOCUMENT)},
        "",
    ),
    "no server in the document": ({PRM: answers({"resource": MCP}), ROOT_PRM: answers(status=404)}, ""),
    "broken JSON": ({PRM: answers(b"{"), ROOT_PRM: answers(status=404)}, "not valid JSON"),
    "a 500 everywhere": ({PRM: answers(status=500), ROOT_PRM: answers(status=500)}, "answered 500"),
    "a server document at the second place": ({ASM: answers(status=404), OIDC: answers(SERVER)}, ""),
    "a server error, and the second place": ({ASM: answers(status=500), OIDC: answers(SERVER)}, ""),
    "a page, and the second place": ({ASM: PAGE, OIDC: answers(SERVER)}, ""),
    "no endpoints at the first place": ({ASM: answers({"issuer": P}), OIDC: answers(SERVER)}, ""),
    "no endpoints anywhere": (
        {ASM: answers({"issuer": P}), OIDC: answers(status=404)},
        "`authorization_endpoint`",
    ),
    "an empty link of the server": ({ASM: answers({**SERVER, "op_policy_uri": ""})}, ""),
    "a server document with a byte order mark": ({ASM: answers(BOM + json.dumps(SERVER).encode())}, ""),
    "a relative endpoint": (
        {ASM: answers({**SERVER, "token_endpoint": "/token"}), OIDC: answers(status=404)},
        '"/token"',
    ),
    "a slash after the issuer": (
        {ASM: answers({**SERVER, "issuer": f"{P}/"}), OIDC: answers(status=404)},
        "only a slash",
    ),
    "no metadata of the server": ({ASM: answers(status=404), OIDC: answers(status=404)}, "metadata"),
    "a challenge with a parameter twice": (
        {"/mcp": challenge(f'Bearer resource_metadata="{P}/x", resource_metadata="{P}{PRM}"')},
        "",
    ),
    "a challenge with single quotes": ({"/mcp": challenge(f"Bearer resource_metadata='{P}{PRM}'")}, ""),
    "a challenge that quotes a parameter": ({"/mcp": challenge(r'Bearer error_description="scope=\"admin\""')}, ""),
}


@pytest.mark.parametrize("name", TABLE)
async def test_client_discovery_and_debugger_agree_on_an_odd_server(name: str) -> None:
    odd, words = TABLE[name]
    async with World(instead=odd, binds=name != "the resource is the origin").running() as world:
        by_client, by_discovery = await client(world), await discovered(world)
        async with FlowDebugger.open(MCP, auth=world.auth(), tool="whoami") as debug:
            await debug.run()
    by_debugger = debug.error.message if debug.error is not None else ""
    if not words:
        assert (by_client, by_discovery, by_debugger) == ("", "", "")
        return
    for said in (by_client, by_discovery, by_debugger):
        assert words in said
    cause = debug.cause
    assert cause is not None
    assert cause.step.kind in ("resource_metadata", "server_metadata")


async def client(world: World) -> str:
    """Return what the client says; nothing if it gets in."""
    try:
        async with Session.open(MCP, auth=world.auth()) as session:
            await session.call_tool("whoami")
    except McpOAuthError as error:
        return error.message
    return ""


async def discovered(world: World) -> str:
    try:
        await discover(MCP, client=lambda: httpx.AsyncClient(transport=httpx.ASGITransport(world.app)))
    except McpOAuthError as error:
        return error.message
    return ""
