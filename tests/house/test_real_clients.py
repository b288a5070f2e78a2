"""Clients that nobody here wrote, each through the whole of `serve --mock` on real sockets.

Each one registers itself, sends a person to the consent page, calls the protected tool with the token that it gets,
and refreshes it: the server's log says so, and the person was asked once.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import fastmcp
import httpx2
import pytest
from e2e_programs import node
from fastmcp.client.auth import OAuth
from key_value.aio.stores.disk import DiskStore
from mcp import Client, StdioServerParameters
from mcp.client.auth import OAuthClientProvider
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from peers_world import node_packages
from program_world import LIMIT_SECONDS, Person, Program
from test_authserver_sdk_client import Storage

pytestmark = pytest.mark.anyio

# Long enough to be used once on a busy machine, short enough to wait for its end.
LIFETIME_SECONDS = 3


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    started = Program(tmp_path_factory.mktemp("server"), "--token-lifetime", str(LIFETIME_SECONDS))
    yield started
    started.stop()


def logged(program: Program, what: str) -> int:
    return len(re.findall(what, program.log()))


def authorizations(program: Program, client_id: str) -> int:
    return logged(program, f"Authorization of '{client_id}' by octocat")


def refreshes(program: Program, client_id: str) -> int:
    return logged(program, f"Refresh by '{client_id}' for octocat")


def login(result: Any) -> str:
    """Return whom the tool reports on."""
    return str(result.structured_content["user"]["login"])


async def until_expired(provider: OAuthClientProvider) -> None:
    """Return when the client itself knows that its token has expired."""
    with anyio.fail_after(LIMIT_SECONDS):
        while provider.context.is_token_valid():  # noqa: ASYNC110, since nothing announces that time has passed
            await anyio.sleep(0.05)


# -- the SDK's own client --------------------------------------------------------------------------------------------


class Listener:
    """What a program has for the browser that comes back: one page, and who has visited it."""

    def __init__(self) -> None:
        self._visits: asyncio.Queue[str] = asyncio.Queue()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Listener]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nDone")
        await writer.drain()
        writer.close()
        self._visits.put_nowait(target)

    async def visit(self) -> AuthorizationCodeResult:
        """Wait for the browser."""
        async with asyncio.timeout(LIMIT_SECONDS):
            fields = parse_qs(urlsplit(await self._visits.get()).query)
        return AuthorizationCodeResult(code=fields["code"][0], state=fields["state"][0], iss=fields["iss"][0])


def sdk_provider(program: Program, person: Person, listener: Listener) -> OAuthClientProvider:
    async def open_browser(url: str) -> None:
        person.open(url)

    metadata = OAuthClientMetadata.model_validate({"client_name": "Plain SDK client", "redirect_uris": [listener.url]})
    return OAuthClientProvider(f"{program.url}/mcp", metadata, Storage(), open_browser, listener.visit)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_gets_in_and_refreshes(program: Program, mode: Any) -> None:
    person = Person()
    async with Listener().open() as listener:
        provider = sdk_provider(program, person, listener)
        async with (
            httpx2.AsyncClient(auth=provider, timeout=LIMIT_SECONDS) as http,
            Client(streamable_http_client(f"{program.url}/mcp", http_client=http), mode=mode) as client,
        ):
            assert (await client.list_tools()).tools
            assert person.pages == []
            assert login(await client.call_tool("get_github_user_info")) == "octocat"
            await until_expired(provider)
            assert not (await client.call_tool("get_github_user_info")).is_error
    assert person.pages.count("/consent") == 1
    assert provider.context.client_info is not None
    client_id = str(provider.context.client_info.client_id)
    assert authorizations(program, client_id) == 1
    assert refreshes(program, client_id) >= 1


async def test_the_sdks_client_steps_up_to_the_scopes_that_a_call_needs(program: Program) -> None:
    person = Person()
    async with Listener().open() as listener:
        provider = sdk_provider(program, person, listener)
        async with (
            httpx2.AsyncClient(auth=provider, timeout=LIMIT_SECONDS) as http,
            Client(streamable_http_client(f"{program.url}/mcp", http_client=http)) as client,
        ):
            await client.call_tool("get_github_user_info")
            assert not (await client.call_tool("get_github_user_info", {"include_private": True})).is_error
    assert person.pages.count("/consent") == 2
    assert provider.context.current_tokens is not None
    assert provider.context.current_tokens.scope == "read:user repo"


# -- FastMCP's client, with its own OAuth ----------------------------------------------------------------------------


class Desk:
    """What `webbrowser` opens URLs with: the person who sits there. With nobody there, it leaves them to others."""

    def __init__(self) -> None:
        self.person: Person | None = None

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        return self.person is not None and self.person.open(url)


_DESK = Desk()


@functools.cache
def _put_up_desk() -> None:
    # Once for the process: the standard library has no way to take it back.
    webbrowser.register("desk", None, _DESK, preferred=True)  # type: ignore[arg-type]


@pytest.fixture
def person() -> Iterator[Person]:
    """Whoever sits at this machine's browser."""
    _put_up_desk()
    _DESK.person = Person()
    yield _DESK.person
    _DESK.person = None


async def test_fastmcps_client_gets_in_with_its_own_oauth_and_refreshes(
    program: Program, person: Person, tmp_path: Path
) -> None:
    store = DiskStore(directory=tmp_path)
    oauth = OAuth(token_storage=store)
    async with fastmcp.Client(f"{program.url}/mcp", auth=oauth) as client:
        assert login(await client.call_tool("get_github_user_info")) == "octocat"
        await until_expired(oauth)
    restarted = OAuth(token_storage=store)
    async with fastmcp.Client(f"{program.url}/mcp", auth=restarted) as client:
        assert login(await client.call_tool("get_github_user_info")) == "octocat"
    await store.close()
    assert person.pages.count("/consent") == 1
    assert restarted.context.client_info is not None
    client_id = str(restarted.context.client_info.client_id)
    assert authorizations(program, client_id) == 1
    assert refreshes(program, client_id) >= 1


# -- mcp-remote, which connects hosts that only know stdio -----------------------------------------------------------


@pytest.fixture(scope="session")
def mcp_remote() -> Path:
    """Install it, once, with npm."""
    return node_packages() / "mcp-remote" / "dist" / "proxy.js"


class Opener:
    """A program for `$BROWSER` that hands the URL to a person in this process."""

    def __init__(self, directory: Path, person: Person):
        self.urls: list[str] = []
        self.path = directory / "browser"
        self._person = person
        self._listener = socket.create_server(("127.0.0.1", 0))
        address = self._listener.getsockname()
        script = f"import socket, sys\nsocket.create_connection({address!r}).sendall(sys.argv[1].encode())\n"
        self.path.write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
        self.path.chmod(0o700)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Opener:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # Wakes the thread up: an empty URL is the end.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join(LIMIT_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as said:
                url = said.read().decode()
            if not url:
                return
            self.urls.append(url)
            self._person.open(url)


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_mcp_remote_gets_in_refreshes_and_steps_up(
    program: Program, mcp_remote: Path, tmp_path: Path, mode: Any
) -> None:
    person = Person()
    with Opener(tmp_path, person) as opener, (tmp_path / "mcp-remote.log").open("w", encoding="utf-8") as log:
        environment = {"BROWSER": str(opener.path), "MCP_REMOTE_CONFIG_DIR": str(tmp_path / "state")}
        # No desktop: then the opener that it brings along asks $BROWSER.
        parameters = StdioServerParameters(
            command=node(), args=[str(mcp_remote), f"{program.url}/mcp"], env=environment, cwd=tmp_path
        )
        async with Client(stdio_client(parameters, log), mode=mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} >= {"get_github_user_info"}
            assert opener.urls == []
            assert login(await client.call_tool("get_github_user_info")) == "octocat"
            client_id = parse_qs(urlsplit(opener.urls[0]).query)["client_id"][0]
            # It refreshes a token that is good for less than a minute before each use.
            await client.call_tool("get_github_user_info")
            assert refreshes(program, client_id) >= 2
            assert person.pages.count("/consent") == 1
            assert authorizations(program, client_id) == 1
            private = await client.call_tool("get_github_user_info", {"include_private": True, "repo_limit": 50})
            assert private.structured_content is not None
            assert any(repository["private"] for repository in private.structured_content["repositories"])
    assert person.pages.count("/consent") == 2
    assert authorizations(program, client_id) == 2
