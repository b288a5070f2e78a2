"""Exercises of notebook 08: the real GitHub."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

import anyio
from mcp import MCPError, StdioServerParameters, stdio_client

from ...client.session import Session
from ...lab.lab import Lab
from ...oauth.errors import AuthenticationRequired, ProtocolError
from .verdict import Verdict, checked, not_yet, right

_PORT = 8123
# A server starts in one or two seconds.
_SECONDS = 15.0


@checked
async def check_redirect_uri(answer: Any, lab: Lab) -> Verdict:
    """The answer is a redirect URI that GitHub accepts although it is not the registered one."""
    if not isinstance(answer, str):
        return not_yet("that is not a string: a redirect URI is one.")
    parts = urlsplit(answer)
    if parts.hostname != "127.0.0.1":
        return not_yet("the host is not the registered one, 127.0.0.1: to GitHub another name is another place.")
    if parts.port != _PORT:
        return not_yet(f"the notebook listens on port {_PORT}, and the browser would go elsewhere.")
    if parts.path.rstrip("/") in ("", "/callback"):
        return not_yet("the path is not one of its own: the first notebook uses it already.")
    request = lab.oauth.get_authorization_url(redirect_uri=answer)
    try:
        callback = await lab.browser.authorize(request.url)
    except ProtocolError as error:
        return not_yet(f"GitHub shows an error page. {error.message}")
    if not callback.startswith(f"{answer}?code="):
        return not_yet(f"GitHub sent the browser to {callback.partition('?')[0]}.")
    return right(
        "any port, and a path below the registered one. Other providers compare the whole path; MCP wants that."
    )


@checked
async def check_host(answer: Any) -> Verdict:
    """The answer is a host's configuration, with which the server starts and answers with the challenge."""
    if not isinstance(answer, dict) or not {"command", "args", "env"} <= set(answer):
        return not_yet("that is not a dict with the keys command, args and env.")
    secret = answer["env"].get("OAUTH_CLIENT_SECRET", "")
    # As a word of its own: a short secret may be a part of other words.
    if secret and re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", " ".join(answer["args"])):
        return not_yet("the secret is in args, where the list of processes shows it.")
    command = StdioServerParameters(command=answer["command"], args=answer["args"], env=answer["env"])
    try:
        async with asyncio.timeout(_SECONDS):
            await _call_protected_tool(command)
    except AuthenticationRequired:
        if not (answer["env"].get("OAUTH_CLIENT_ID") and secret):
            return not_yet("the server has credentials, but not from env: other users may see where they come from.")
        return right("the server runs, has its credentials, and waits for somebody to sign in.")
    except TimeoutError:
        return not_yet(f"that command did not answer within {_SECONDS:g} seconds, as an MCP server would.")
    except MCPError as error:
        return not_yet(f"the server runs and answers {error.code}, {error.message}.")
    return not_yet("the server answered without asking for a token: invent credentials of your own.")


async def _call_protected_tool(command: StdioServerParameters) -> None:
    async with await anyio.open_file(os.devnull, "w") as log:
        server = stdio_client(command, errlog=cast(TextIO, log.wrapped))
        async with Session.open(server) as session:
            await session.call_tool("get_github_user_info")
