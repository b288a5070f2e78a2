from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from mcp import MCPError, StdioServerParameters
from mcp.server import MCPServer
from sessions import happens, nothing_left, text  # noqa: F401
from small_server import METADATA, Knobs, build

from mcp_oauth_nb.client.connection import _first_file
from mcp_oauth_nb.client.session import Session
from mcp_oauth_nb.oauth.errors import AuthenticationRequired, ConfigurationError, SessionFailed
from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]

HERE = Path(__file__).parent.parent / "worlds"
STDIO = StdioServerParameters(command=sys.executable, args=[str(HERE / "small_server.py")])


@pytest.fixture
def knobs() -> Knobs:
    return Knobs()


@pytest.fixture
def server(knobs: Knobs) -> MCPServer:
    return build(knobs)


@pytest.fixture
async def session(server: MCPServer) -> AsyncIterator[Session]:
    async with Session.open(server) as session:
        yield session


class Breaking:
    """A transport that fails in the background, as one does whose network is gone: in a group of groups."""

    def __init__(self, server: MCPServer, *, at_once: bool = False, says: str = "the network is gone"):
        self._inner = memory_transport(server)
        self._at_once = at_once
        self._says = says
        self._break = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def break_now(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._break.set)

    async def _fail(self) -> None:
        if not self._at_once:
            await self._break.wait()
        raise ConnectionResetError(self._says)

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as outer, self._inner as streams, anyio.create_task_group() as inner:
            inner.start_soon(self._fail)
            yield streams
            outer.cancel_scope.cancel()

    async def __aenter__(self) -> tuple[Any, Any]:
        self._cm = self._streams()
        return await self._cm.__aenter__()

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._cm.__aexit__(*error)


def memory_transport(server: MCPServer) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    from mcp.client._memory import InMemoryTransport

    return InMemoryTransport(server)


async def test_a_transport_of_ones_own_can_be_recorded(server: MCPServer) -> None:
    trace = Trace()
    async with Session.open(memory_transport(server), trace=trace) as session:
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"
    assert trace.find("tools/call add")


# -- connections that fail -------------------------------------------------------------------------------------


async def test_a_connection_that_breaks_fails_the_pending_and_the_later_calls_with_the_first_cause(
    server: MCPServer, knobs: Knobs
) -> None:
    transport = Breaking(server)
    session = await Session.open(transport)
    call = asyncio.create_task(session.call_tool("wait"))
    assert await happens(knobs.waiting)
    transport.break_now()
    for failing in (call, session.call_tool("add", {"a": 1, "b": 2})):
        with pytest.raises(SessionFailed, match=r"The MCP connection failed: ConnectionResetError") as caught:
            await failing
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        # IPython loses errors with a group in this chain.
        assert caught.value.__context__ is None
    assert repr(session) == "Session(small 1.0, 2026-07-28, failed)"
    await session.aclose()


async def test_a_connection_that_cannot_be_made_fails_with_the_first_cause(server: MCPServer) -> None:
    with pytest.raises(SessionFailed) as caught:
        await Session.open(Breaking(server, at_once=True))
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert caught.value.__context__ is None


async def test_what_a_broken_connection_says_can_neither_disturb_a_terminal_nor_show_a_secret(
    server: MCPServer,
) -> None:
    secret = "a-secret-that-the-network-repeats"
    remember(secret)
    transport = Breaking(server, at_once=True, says=f"\x1b[2J\u202e{secret}\x07 {'long ' * 100}\nsecond line")
    with pytest.raises(SessionFailed) as caught:
        await Session.open(transport)
    said = caught.value.message
    assert said.startswith(f"The MCP connection failed: ConnectionResetError (\\x1b[2J\\u202e{mask(secret)}\\x07 long ")
    assert "second line" not in said
    assert said.isprintable()
    assert len(said) < 300


async def test_a_server_that_fails_on_the_way_out_says_so_once(server: MCPServer, knobs: Knobs) -> None:
    knobs.farewell = OSError("disk full")
    session = await Session.open(server)
    with pytest.raises(SessionFailed) as caught:
        await session.aclose()
    assert caught.value.__cause__ is knobs.farewell
    await session.aclose()


async def test_a_tool_that_exits_ends_its_own_session_and_no_other(server: MCPServer, session: Session) -> None:
    async with Session.open(server, trace=Trace()) as doomed:
        with pytest.raises(SessionFailed, match="SystemExit"):
            await doomed.call_tool("leave")
    assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


async def test_a_tool_that_exits_and_is_called_directly_exits_its_caller(session: Session) -> None:
    # Without a recorder the SDK runs the tool in the caller's own call.
    with pytest.raises(SystemExit):
        await session.call_tool("leave")
    assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ({"url": "x"}, "an object of type dict"),
        (None, "an object of type NoneType"),
        ("localhost:8000/mcp", "a string that is not an http"),
    ],
)
async def test_what_cannot_be_connected_to_is_refused_with_what_can(target: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"A session cannot connect to {named}") as caught:
        await Session.open(target)
    assert "Pass an MCPServer" in caught.value.hint


# -- stdio and HTTP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_a_server_over_stdio(mode: Any, version: str) -> None:
    trace = Trace()
    async with Session.open(STDIO, mode=mode, trace=trace) as session:
        assert session.protocol_version == version
        assert session.authorization_metadata == METADATA
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"
        with pytest.raises(AuthenticationRequired):
            await session.call_tool("protected")
    assert len(trace.find("tools/call")) == 2


async def test_a_stdio_server_starts_where_stderr_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    # As in a kernel that pytest started, nbval's for one.
    with pytest.raises(OSError, match="fileno"):
        sys.stderr.fileno()
    async with Session.open(STDIO) as session:
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


def test_where_nothing_is_a_file_the_words_of_a_started_server_are_dropped() -> None:
    assert _first_file(None, io.StringIO()) == subprocess.DEVNULL


async def test_a_stdio_server_that_dies_fails_all_calls() -> None:
    async with Session.open(STDIO) as session:
        pending = asyncio.create_task(session.call_tool("wait"))
        for failing in (session.call_tool("vanish"), pending, session.call_tool("add", {"a": 1, "b": 2})):
            with pytest.raises(
                SessionFailed, match=r"The MCP connection failed: MCPError \(Connection closed\)\."
            ) as caught:
                await failing
            assert isinstance(caught.value.__cause__, MCPError)


async def test_a_command_that_does_not_exist_fails_with_the_systems_error() -> None:
    with pytest.raises(SessionFailed) as caught:
        await Session.open(StdioServerParameters(command=str(HERE / "no such command")))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@asynccontextmanager
async def listening(server: MCPServer) -> AsyncIterator[str]:
    """Serve over HTTP on a free port of this machine; yield the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app()
    web = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    serving = asyncio.create_task(web.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        web.should_exit = True
        await serving
        listener.close()


async def test_a_server_over_http_until_it_is_gone(server: MCPServer) -> None:
    trace = Trace()
    async with listening(server) as url:
        session = await Session.open(url, trace=trace)
        assert session.authorization_metadata == METADATA
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"
        with pytest.raises(AuthenticationRequired):
            await session.call_tool("protected")
    assert trace.find("tools/call add")
    with pytest.raises(SessionFailed, match="ConnectError"):
        await session.call_tool("add", {"a": 1, "b": 2})
    await session.aclose()


async def test_a_url_where_nobody_listens_fails() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(SessionFailed, match="ConnectError"):
            await Session.open(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp")


async def test_the_sdks_private_in_memory_transport_is_where_we_import_it_from() -> None:
    # If this fails, the SDK moved it: correct the one import in connection._streams().
    from mcp.client._memory import InMemoryTransport

    async with InMemoryTransport(build()) as streams:
        assert len(streams) == 2
