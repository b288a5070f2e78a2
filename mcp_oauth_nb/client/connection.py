"""A connection that outlives the code that opened it: the SDK's client, and the task that owns it.

anyio's scopes must be left by the task that entered them, and every cell is a task of its own. So one task enters the
client, waits, and leaves it, all on one event loop; callers only send it work.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal, TextIO, TypeVar, cast

from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer, Server
from mcp_types import CONNECTION_CLOSED

from ..oauth.errors import ConfigurationError, SessionClosed, SessionError, SessionFailed
from ..oauth.masking import printable
from ..trace.recorder import Trace

T = TypeVar("T")

#: What can be connected to: a server object in this process, a command to start, a URL, or an MCP transport.
Target = MCPServer | Server[Any] | StdioServerParameters | str | AbstractAsyncContextManager[tuple[Any, Any]]

# How long a lost connection may take to say what went wrong: as long as the SDK waits for an in-memory server.
_GRACE_SECONDS = 3.0


# -- the owner -------------------------------------------------------------------------------------------------


class Connection:
    """The SDK's client and the task that owns it, at home on one event loop.

    It knows nothing of the `Session` in front of it, which is so collected when nobody has it any more.

    Args:
        client: not entered yet.
        home: the loop on which the owner, and every call, runs.
    """

    def __init__(self, client: Client, home: asyncio.AbstractEventLoop):
        self.client = client
        self.home = home
        self.state: Literal["open", "closed", "failed"] = "closed"
        self._cause: BaseException | None = None
        self._owner: asyncio.Task[None] | None = None
        self._entered = asyncio.Event()
        self._leave = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()
        self._process = os.getpid()

    @property
    def reachable(self) -> bool:
        """Whether its loop still takes work. It does not on the other side of a fork, or after the loop ended."""
        return self._process == os.getpid() and self.home.is_running()

    def check(self) -> None:
        """Raise what a call must raise now, if it cannot be served."""
        if self.state != "open":
            raise self._refusal()
        if not self.reachable:
            raise SessionFailed(
                "The session's event loop does not run in this process, or no longer.",
                hint="Open a session in the process, and on the loop, that uses it.",
            )

    def _refusal(self) -> SessionError:
        if self._cause is None:
            return SessionClosed("The session is closed.")
        said = printable(str(self._cause).partition("\n")[0])
        error = SessionFailed(
            f"The MCP connection failed: {type(self._cause).__name__}{said and f' ({said})'}.",
            hint="Check that the server starts and stays up; what is in brackets is the first thing that went wrong.",
        )
        # Set here, not by `raise ... from` where the error was caught: no group around the cause gets into the chain.
        error.__cause__ = self._cause
        return error

    def close_soon(self) -> None:
        """Ask the owner to leave, without waiting; from any thread, a finalizer's included."""
        if self.reachable:
            # The loop may be closed between the question and the call.
            with suppress(RuntimeError):
                self.home.call_soon_threadsafe(self._let_go)

    # -- on its loop ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the owner and wait until it has entered the client."""
        owner = self._owner = self.home.create_task(self._own(), name="mcp-oauth-nb session")
        _owners.add(owner)
        owner.add_done_callback(self._ended)
        await self._entered.wait()
        self.check()

    async def _own(self) -> None:
        async with self.client:
            self.state = "open"
            self._entered.set()
            await self._leave.wait()

    def _ended(self, owner: asyncio.Task[None]) -> None:
        _owners.discard(owner)
        if not owner.cancelled() and (error := owner.exception()) is not None:
            self._cause = _first(error)
        self.state = "closed" if self._cause is None else "failed"
        self._entered.set()
        self._drop_calls()

    async def call(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Do some work for a caller, in a task of its own that ends when the connection does."""
        self.check()
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._calls.add(task)
        lost: MCPError | None = None
        try:
            return await work(self.client)
        except asyncio.CancelledError:
            if self.state == "open":
                # The caller gave up; otherwise the connection did.
                raise
        except MCPError as error:
            if not _says_connection_lost(error):
                raise
            lost = error
        finally:
            self._calls.discard(task)
        if lost is not None:
            await self._fail(lost)
        raise self._refusal()

    async def _fail(self, error: MCPError) -> None:
        if self.state == "open":
            self.state, self._cause = "failed", error
            self._leave.set()
        # Where a transport broke, the owner brings the reason, which says more than "Connection closed".
        await self._owner_ended(_GRACE_SECONDS)

    async def close(self) -> None:
        """Leave the client and wait until it is left."""
        was_open = self.state == "open"
        self._let_go()
        await self._owner_ended()
        if was_open and self._cause is not None:
            raise self._refusal()

    def _let_go(self) -> None:
        if self.state == "open":
            self.state = "closed"
        self._leave.set()
        self._drop_calls()
        if self._owner is not None and not self._entered.is_set():
            # Still in the handshake, which may never be answered.
            self._owner.cancel()

    def _drop_calls(self) -> None:
        for call in self._calls:
            call.cancel()

    async def _owner_ended(self, seconds: float | None = None) -> None:
        # Unlike awaiting the task, this leaves the owner alone if the caller is cancelled.
        assert self._owner is not None, "what was opened has an owner"
        await asyncio.wait({self._owner}, timeout=seconds)


# The event loop keeps only weak references to tasks, and an owner goes on after its session was collected.
_owners: set[asyncio.Task[None]] = set()


def _first(error: BaseException) -> BaseException:
    """Return the error that came first in a group of groups, which is how anyio reports one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _says_connection_lost(error: MCPError) -> bool:
    # By the SDK's text too: servers use the code for errors of their own, this package's for "not configured".
    return error.code == CONNECTION_CLOSED and error.message == "Connection closed" and error.data is None


# -- targets ---------------------------------------------------------------------------------------------------


def transport(target: Target, trace: Trace | None = None) -> Any:
    """Return what `Client(...)` takes for a target.

    Args:
        trace: records the JSON-RPC frames.

    Raises:
        ConfigurationError: the target is nothing that can be connected to.
    """
    if not isinstance(target, MCPServer | Server | StdioServerParameters | str | AbstractAsyncContextManager):
        raise _not_connectable(f"an object of type {type(target).__name__}")
    if isinstance(target, str) and not target.startswith(("http://", "https://")):
        raise _not_connectable("a string that is not an http:// or https:// URL")
    if trace is not None:
        return trace.frames(_streams(target))
    # Without a recorder the SDK calls a server in this process directly, which is faster.
    return _streams(target) if isinstance(target, StdioServerParameters) else target


def _not_connectable(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"A session cannot connect to {what}.",
        hint="Pass an MCPServer, StdioServerParameters, the URL of a server, or an MCP transport.",
    )


def _streams(target: Target) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    match target:
        case MCPServer() | Server():
            # Private to the SDK, and the only door to true frames of both eras without a socket. Nobody else here
            # imports it; test_connection says so if it moves.
            from mcp.client._memory import InMemoryTransport

            return InMemoryTransport(target)
        case StdioServerParameters():
            return stdio_client(target, errlog=_first_file(sys.stderr, sys.__stderr__))
        case str():
            return streamable_http_client(target)
        case _:
            return target


def _first_file(*streams: TextIO | None) -> TextIO:
    """Return the first stream that a process can write to; without any its words are dropped."""
    for stream in streams:
        # pythonw.exe has no stderr at all; a kernel's is a file only sometimes.
        with suppress(OSError, ValueError):
            if stream is not None and stream.fileno() >= 0:
                return stream
    return cast(TextIO, subprocess.DEVNULL)
