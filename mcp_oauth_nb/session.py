"""`Session`: an MCP connection that stays open from cell to cell.

A cell is a task of its own, and the SDK's client must be left by the task that entered it. So a task that belongs to
the session enters and leaves it, on the loop thread (`loops`); cells only send it work, from any thread and loop.
"""

from __future__ import annotations

import asyncio
import copy
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal, Protocol, TypeVar

from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer, Server
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    GetPromptResult,
    Implementation,
    ListPromptsResult,
    ListToolsResult,
    ServerCapabilities,
)

from . import kernel, loops
from ._version import __version__
from .challenge import OAUTH_EXTENSION, AuthChallenge
from .errors import AuthenticationRequired, ConfigurationError, SessionClosed, SessionError, SessionFailed
from .opening import Opening
from .redaction import scrub
from .trace import Trace

T = TypeVar("T")

#: What can be connected to: a server object in this process, a command to start, a URL, or an MCP transport.
Target = MCPServer | Server[Any] | StdioServerParameters | str | AbstractAsyncContextManager[tuple[Any, Any]]

#: Obtains a token for the server, so that the call can be repeated.
Authorize = Callable[[AuthChallenge], Awaitable[object]]


class Sampling(Protocol):
    """The client's model, which a server may ask to write something."""

    async def __call__(self, context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        """Answer one `sampling/createMessage` request."""
        ...


# How long a lost connection may take to say what went wrong: as long as the SDK waits for an in-memory server.
_GRACE_SECONDS = 3.0


class Session:
    """An open connection to an MCP server. Make it with `Session.open()`.

    All methods may be called from any cell, callback, thread or event loop, at the same time too.

    Attributes:
        protocol_version: what client and server agreed on, such as `2026-07-28`.
        server_info: the server's name and version, where it told them.
        server_capabilities: what the server said that it can do.
    """

    def __init__(self, connection: _Connection, authorize: Authorize | None):
        self._connection = connection
        self._authorize = authorize
        self.protocol_version: str = connection.client.protocol_version
        self.server_info: Implementation | None = connection.client.server_info
        self.server_capabilities: ServerCapabilities = connection.client.server_capabilities
        # The owner task does not know this object, so that a cell which is run again leaves no connection behind.
        finalizer = weakref.finalize(self, connection.close_soon)
        finalizer.atexit = False

    @classmethod
    def open(
        cls,
        target: Target,
        *,
        mode: Literal["auto", "legacy"] = "auto",
        sampling: Sampling | None = None,
        trace: Trace | None = None,
        authorize: Authorize | None = None,
        timeout: float | None = None,
        name: str = "mcp-oauth-nb",
        loop: Literal["thread", "current"] = "thread",
    ) -> Opening[Session]:
        """Connect: `session = await Session.open(target)`, or `async with Session.open(target) as session:`.

        Args:
            target: the SDK's server object, `StdioServerParameters`, a URL, or an MCP transport.
            mode: `auto` speaks MCP 2026-07-28 where the server can, `legacy` 2025-11-25.
            sampling: answers the server's requests to a model. It runs on the session's loop.
            trace: records the JSON-RPC frames.
            authorize: the default of `call_tool`.
            timeout: of each request, in seconds; without it a request waits until it is cancelled.
            name: how the client introduces itself.
            loop: `thread` is right for notebooks; `current` uses the running loop and starts no thread, for a
                program that lives in one `asyncio.run()`.

        Raises:
            ConfigurationError: the target is nothing that can be connected to.
            SessionFailed: the connection could not be made; its cause says why.
        """
        client = Client(
            _transport(target, trace),
            mode=mode,
            sampling_callback=sampling,
            read_timeout_seconds=timeout,
            client_info=Implementation(name=name, version=__version__),
        )

        async def opened() -> Session:
            kernel.install()
            home = asyncio.get_running_loop() if loop == "current" else loops.loop()
            connection = _Connection(client, home)
            try:
                await loops.on(home, connection.open())
            except BaseException:
                # An interrupted cell included: nothing may stay behind.
                connection.close_soon()
                raise
            return cls(connection, authorize)

        return Opening(opened, cls.aclose)

    @property
    def authorization_metadata(self) -> dict[str, Any] | None:
        """What the server said about its authorization server (RFC 8414 names), or None."""
        advertised = self.server_capabilities
        # `server/discover` has extensions; `initialize` has only the experimental capabilities.
        for settings in (advertised.extensions, advertised.experimental):
            if settings and OAUTH_EXTENSION in settings:
                return copy.deepcopy(settings[OAUTH_EXTENSION])
        return None

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        *,
        authorize: Authorize | None = None,
        timeout: float | None = None,
    ) -> CallToolResult:
        """Call a tool.

        Args:
            name: the tool's name.
            arguments: its arguments.
            authorize: called with the challenge if the server asks for authorization, on the caller's event loop;
                the call is then repeated, once.
            timeout: in seconds, in place of the session's.

        Raises:
            AuthenticationRequired: the server asks for authorization; with `authorize`, it asks again.
            MCPError: any other error that the server or the SDK reports, a timeout included.
            SessionClosed: the session was closed.
            SessionFailed: the connection ended by itself.
        """
        authorize = authorize or self._authorize
        answer = await self._call_or_challenge(name, arguments, timeout)
        if isinstance(answer, AuthChallenge) and authorize is not None:
            await authorize(answer)
            answer = await self._call_or_challenge(name, arguments, timeout)
        if isinstance(answer, AuthChallenge):
            raise AuthenticationRequired(challenge=answer)
        return answer

    async def _call_or_challenge(
        self, name: str, arguments: dict[str, Any] | None, timeout: float | None
    ) -> CallToolResult | AuthChallenge:
        try:
            return await self.use(lambda client: client.call_tool(name, arguments, read_timeout_seconds=timeout))
        except MCPError as error:
            # By its data, not by its code: -32001 is also the SDK's timeout.
            challenge = AuthChallenge.from_mcp_error(error)
            if challenge is None:
                raise
            return challenge

    async def list_tools(self) -> ListToolsResult:
        """Return the server's tools, in `.tools`."""
        return await self.use(lambda client: client.list_tools())

    async def list_prompts(self) -> ListPromptsResult:
        """Return the server's prompts, in `.prompts`."""
        return await self.use(lambda client: client.list_prompts())

    async def get_prompt(self, name: str, arguments: dict[str, str] | None = None) -> GetPromptResult:
        """Return a prompt's messages."""
        return await self.use(lambda client: client.get_prompt(name, arguments))

    async def use(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Run `work(client)` with the SDK's client on the session's loop: for all that has no method here.

        Raises:
            SessionClosed: the session was closed.
            SessionFailed: the connection ended by itself.
        """
        self._connection.check()
        return await loops.on(self._connection.home, self._connection.call(work))

    async def aclose(self) -> None:
        """Close the connection; calls that are under way fail with `SessionClosed`. Closing again does nothing.

        Raises:
            SessionFailed: the server, or its lifespan, failed while it was closing.
        """
        if self._connection.reachable:
            await loops.on(self._connection.home, self._connection.close())

    def __repr__(self) -> str:
        info = self.server_info
        server = scrub(f"{info.name} {info.version}") if info else "unnamed server"
        return f"Session({server}, {self.protocol_version}, {self._connection.state})"


# -- targets ---------------------------------------------------------------------------------------------------


def _transport(target: Target, trace: Trace | None) -> Any:
    if isinstance(target, str) and not target.startswith(("http://", "https://")):
        raise ConfigurationError("The target is a string, but not a URL that begins with http:// or https://.")
    if not isinstance(target, MCPServer | Server | StdioServerParameters | str | AbstractAsyncContextManager):
        raise ConfigurationError(
            f"Session.open() cannot connect to an object of type {type(target).__name__}.",
            hint="Pass an MCPServer, StdioServerParameters, the URL of a server, or an MCP transport.",
        )
    # Without a recorder the SDK calls a server in this process directly, which is faster.
    return target if trace is None else trace.frames(_streams(target))


def _streams(target: Target) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    match target:
        case MCPServer() | Server():
            # Private to the SDK, and the only door to true frames of both eras without a socket. Nobody else here
            # imports it; test_session says so if it moves.
            from mcp.client._memory import InMemoryTransport

            return InMemoryTransport(target)
        case StdioServerParameters():
            return stdio_client(target)
        case str():
            return streamable_http_client(target)
        case _:
            return target


# -- the owner -------------------------------------------------------------------------------------------------


class _Connection:
    """The SDK's client and the task that owns it, at home on one event loop.

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
        error = SessionFailed(f"The MCP connection failed: {type(self._cause).__name__}.")
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
        if self.state == "open":
            await self._fail(lost)
        raise self._refusal()

    async def _fail(self, error: MCPError) -> None:
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
        if self._owner is not None:
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
