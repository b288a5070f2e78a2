"""`Session`: an MCP connection that stays open from cell to cell.

The connection (`connection`) lives on the loop thread (`loops`); cells, callbacks and scripts only send it work.
"""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import httpx2
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp_types import (
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    GetPromptResult,
    Implementation,
    ListPromptsResult,
    ListToolsResult,
    ServerCapabilities,
)

from .._version import __version__
from ..oauth.challenge import OAUTH_EXTENSION, AuthChallenge
from ..oauth.errors import AuthenticationRequired, ConfigurationError, McpOAuthError, SessionFailed
from ..oauth.masking import printable
from ..runtime import kernel, loops
from ..runtime.awaitable_context import Opening
from ..trace.recorder import Trace
from .connection import Connection, Target, transport

if TYPE_CHECKING:
    from .auth import McpAuth
    from .transport import HttpTransport

T = TypeVar("T")

#: Obtains a token for the server, so that the call can be repeated.
Authorize = Callable[[AuthChallenge], Awaitable[object]]

_NOT_AUTHORIZED = (
    "`authorize` ran, and the server still has no valid token: let it give the token to the OAuth handler that the "
    "server uses."
)


class Sampling(Protocol):
    """The client's model, which a server may ask to write something."""

    async def __call__(self, context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        """Answer one `sampling/createMessage` request."""
        ...


class Elicitation(Protocol):
    """The person at the client, whom a server may ask for a few values."""

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        """Answer one `elicitation/create` request."""
        ...


class Session:
    """An open connection to an MCP server. Make it with `Session.open()`.

    All methods may be called from any cell, callback, thread or event loop, at the same time too.

    Attributes:
        protocol_version: what client and server agreed on, such as `2026-07-28`.
        server_info: the server's name and version, where it told them.
        server_capabilities: what the server said that it can do.
    """

    def __init__(self, connection: Connection, authorize: Authorize | None, http: HttpTransport | None = None):
        self._connection = connection
        self._http = http
        self._authorize = authorize
        self.protocol_version: str = connection.client.protocol_version
        self.server_info: Implementation | None = connection.client.server_info
        self.server_capabilities: ServerCapabilities = connection.client.server_capabilities
        # A cell that is run again drops the session of the first time, which must not stay connected.
        finalizer = weakref.finalize(self, connection.close_soon)
        finalizer.atexit = False

    @classmethod
    def open(
        cls,
        target: Target,
        *,
        mode: Literal["auto", "legacy"] = "auto",
        sampling: Sampling | None = None,
        elicitation: Elicitation | None = None,
        trace: Trace | None = None,
        authorize: Authorize | None = None,
        auth: McpAuth | httpx2.Auth | bool | None = True,
        timeout: float | None = None,
        name: str = "mcp-oauth-nb",
        loop: Literal["thread", "current"] = "thread",
    ) -> Opening[Session]:
        """Connect: `session = await Session.open(target)`, or `async with Session.open(target) as session:`.

        Args:
            target: the SDK's server object, `StdioServerParameters`, a URL, or an MCP transport.
            mode: `auto` speaks MCP 2026-07-28 where the server can, `legacy` 2025-11-25.
            sampling: answers the server's requests to a model. It runs on the session's loop.
            elicitation: answers the server's questions to the person, on the session's loop too.
            trace: records the JSON-RPC frames; of a server at a URL that `auth` is for, the HTTP exchanges too.
            authorize: the default of `call_tool`. With it, and without an `McpAuth`, it alone authorizes.
            auth: how to authorize with a server at a URL if it asks (401, discovery, browser, token). Without it, as
                `McpAuth()` does, with one store in memory for the whole process. Any `httpx2.Auth` will do, such as
                the SDK's own providers. False or None: never.
            timeout: of each request, in seconds; without it a request waits until it is cancelled.
            name: how the client introduces itself.
            loop: `thread` is right for notebooks; `current` uses the running loop and starts no thread, for a
                program that lives in one `asyncio.run()`.

        Raises:
            ConfigurationError: the target is nothing that can be connected to.
            SessionFailed: the connection could not be made; its cause says why.
            McpOAuthError: authorization failed; see `errors`.
        """

        async def opened() -> Session:
            kernel.install()
            http = _http_transport(target, auth, trace, asks=authorize is not None)
            client = Client(
                transport(target if http is None else http, trace),
                mode=mode,
                sampling_callback=sampling,
                elicitation_callback=elicitation,
                read_timeout_seconds=timeout,
                client_info=Implementation(name=name, version=__version__),
            )
            home = asyncio.get_running_loop() if loop == "current" else loops.loop()
            connection = Connection(client, home)
            try:
                await loops.on(home, connection.open())
            except SessionFailed as error:
                cause = error.__cause__
                if http is not None and isinstance(cause, MCPError):
                    cause = http.failure(cause)
                if http is not None and isinstance(cause, McpOAuthError):
                    raise cause from None
                if http is not None and (refused := http.refusal(error)) is not None:
                    raise refused from refused.__cause__
                raise
            except BaseException:
                # An interrupted cell included: nothing may stay behind.
                connection.close_soon()
                raise
            if http is not None:
                http.opened()
            return cls(connection, authorize, http)

        return Opening(opened, cls.aclose)

    @property
    def authorization_metadata(self) -> dict[str, Any] | None:
        """What the server said about its authorization server (RFC 8414 names), or None."""
        advertised = self.server_capabilities
        # `server/discover` has extensions; `initialize` has only the experimental capabilities.
        for settings in (advertised.extensions, advertised.experimental):
            if settings and OAUTH_EXTENSION in settings:
                return copy.deepcopy(settings[OAUTH_EXTENSION]) or None
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
            raise AuthenticationRequired(challenge=answer, hint=None if authorize is None else _NOT_AUTHORIZED)
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
            McpOAuthError: with `auth`, authorization failed; the session stays open.
        """
        self._connection.check()
        try:
            return await loops.on(self._connection.home, self._connection.call(work))
        except MCPError as error:
            failure = self._http.failure(error) if self._http is not None else None
            if failure is None:
                raise
        raise failure

    async def aclose(self) -> None:
        """Close the connection; calls that are under way fail with `SessionClosed`. Closing again does nothing.

        Raises:
            SessionFailed: the server, or its lifespan, failed while it was closing.
        """
        if self._connection.reachable:
            await loops.on(self._connection.home, self._connection.close())

    def __repr__(self) -> str:
        info = self.server_info
        server = printable(f"{info.name} {info.version}") if info else "unnamed server"
        return f"Session({server}, {self.protocol_version}, {self._connection.state})"


def _http_transport(
    target: Target, auth: McpAuth | httpx2.Auth | bool | None, trace: Trace | None, *, asks: bool
) -> HttpTransport | None:
    """Return the transport to a server at a URL; None for any other target.

    Args:
        asks: the caller has a way of its own to authorize.
    """
    if not isinstance(target, str) or not target.startswith(("http://", "https://")):
        if auth is True or not auth:
            return None
        raise ConfigurationError(
            "`auth` is for a server at an http:// or https:// URL.",
            hint="A server in this process or over stdio asks by the -32001 error: pass `authorize=` instead.",
            reference="MCP 2025-06-18, Authorization",
        )
    # What few need is loaded when it is.
    from .auth import McpAuth, default_auth
    from .other_auth import Foreign
    from .transport import HttpTransport

    if not auth or (auth is True and asks):
        return HttpTransport(target)
    if auth is True:
        auth = default_auth()
    if isinstance(auth, McpAuth):
        return auth.transport(target, trace)
    if isinstance(auth, httpx2.Auth):
        return HttpTransport(target, auth=Foreign(auth), trace=trace)
    raise ConfigurationError(
        f"`auth` is an object of type {type(auth).__name__}, which authorizes nothing here.",
        hint="Pass an McpAuth, an httpx2.Auth such as the SDK's OAuthClientProvider, True or False.",
    )
