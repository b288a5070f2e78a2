"""`Session.open(url)` alone: it authorizes if the server asks, with the browser that the person has."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import anyio
import pytest
from http_world import MCP, World, served
from starlette.responses import Response

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.client.auth import default_auth
from mcp_oauth_nb.client.session import _http_transport
from mcp_oauth_nb.client.transport import HttpTransport
from mcp_oauth_nb.oauth.errors import ConfigurationError, SessionFailed

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8000/mcp"

PROGRAM = """
import asyncio, sys
from mcp_oauth_nb import Session

async def main():
    for _ in range(2):
        async with Session.open(sys.argv[1], loop="current") as session:
            print((await session.call_tool("whoami")).content[0].text)

asyncio.run(main())
"""

# Goes to the address as a browser does, and back to the listener.
BROWSER = "import sys, httpx; httpx.get(sys.argv[1], follow_redirects=True)"


async def test_a_url_alone_authorizes_with_the_persons_browser_once_a_process(tmp_path: Path) -> None:
    (tmp_path / "browser.py").write_text(BROWSER)
    # The standard library's own way to name a browser; with `&` it is not waited for.
    environment = {**os.environ, "BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s &"}
    with anyio.fail_after(40):
        async with served(streams=True) as world:
            command = (sys.executable, "-c", PROGRAM, f"{world.origin}/mcp")
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=environment)
            output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "octocat"
    # The second session, as of a cell that is run again, found the token of the first.
    assert output.decode().count("Open this address in a browser on this machine") == 1
    assert (world.count("/register"), world.count("/authorize")) == (1, 1)


@pytest.mark.parametrize("auth", [False, None])
async def test_who_wants_no_authorization_gets_the_servers_refusal_and_no_browser(auth: bool | None) -> None:
    with anyio.fail_after(20):
        async with served(streams=True) as world:
            with pytest.raises(SessionFailed):
                await Session.open(f"{world.origin}/mcp", auth=auth, loop="current")
    assert {one.path for one in world.seen} == {"/mcp"}


def transport(target: Any, auth: Any = True, *, asks: bool = False) -> HttpTransport | None:
    return _http_transport(target, auth, None, asks=asks)


def authorizes(made: HttpTransport | None) -> bool:
    return made is not None and made._auth is not None


def test_the_default_is_for_urls_and_leaves_an_authorize_callback_alone() -> None:
    assert authorizes(transport(URL))
    assert not authorizes(transport(URL, asks=True))
    assert authorizes(transport(URL, McpAuth(), asks=True))
    assert transport(World().server) is None
    assert transport("not a url") is None


@pytest.mark.parametrize("auth", [False, None])
def test_off_is_off(auth: Any) -> None:
    assert not authorizes(transport(URL, auth))


def test_an_auth_that_was_given_is_never_ignored() -> None:
    with pytest.raises(ConfigurationError, match="for a server at"):
        transport(World().server, McpAuth())


def test_the_default_is_one_for_the_process() -> None:
    assert default_auth() is default_auth()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 418])
async def test_a_status_that_is_not_401_is_named_by_the_error_of_a_connection(status: int) -> None:
    world = World(instead={"/mcp": lambda seen: Response(b'{"error": "no"}', status, media_type="application/json")})
    with pytest.raises(SessionFailed, match=rf"failed: {MCP} answered {status} ") as caught:
        await Session.open(MCP, auth=world.auth())
    assert "401" in caught.value.hint or "address" in caught.value.hint
