"""A small MCP server for the session's tests: in process, or over stdio with `python small_server.py`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from mcp import CreateMessageResult, MCPError, SamplingMessage
from mcp.server import MCPServer
from mcp.server.extension import Extension
from mcp.server.mcpserver.resolve import Resolve, Sample
from mcp_types import TextContent

from mcp_oauth_nb.oauth.challenge import AUTHENTICATION_REQUIRED, NOT_CONFIGURED, OAUTH_EXTENSION, AuthChallenge

METADATA = {"issuer": "https://github.com", "token_endpoint": "https://github.com/login/oauth/access_token"}
CHALLENGE = AuthChallenge(
    authorization_url="https://github.com/login/oauth/authorize",
    token_url="https://github.com/login/oauth/access_token",
    scopes=("read:user",),
    resource="https://api.github.com",
)


@dataclass
class Knobs:
    """What a test sets and sees.

    Attributes:
        signed_in: opens the tool `protected`.
        slow_start: the lifespan does not begin before it is set.
        farewell: raised by the lifespan on the way out.
        hold: the lifespan does not end before it is set.
        waiting: set while `wait` runs, which it does until it is cancelled.
        stopped: set when `wait` ended.
        lifespans: how many connections are open.
    """

    signed_in: bool = False
    slow_start: bool = False
    farewell: Exception | None = None
    hold: threading.Event | None = None
    waiting: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    lifespans: int = 0


class Advertise(Extension):
    """Says at `server/discover` where to authorize."""

    identifier = OAUTH_EXTENSION

    def settings(self) -> dict[str, Any]:
        return METADATA


async def advertise_at_initialize(ctx: Any, call_next: Any) -> Any:
    result = await call_next(ctx)
    if ctx.method == "initialize":
        result["capabilities"]["experimental"] = {OAUTH_EXTENSION: METADATA}
    return result


def ask() -> Sample:
    question = SamplingMessage(role="user", content=TextContent(type="text", text="What is it?"))
    return Sample([question], max_tokens=10)


def build(knobs: Knobs | None = None) -> MCPServer:
    knobs = knobs or Knobs()

    @asynccontextmanager
    async def lifespan(_: MCPServer) -> AsyncIterator[None]:
        if knobs.slow_start:
            knobs.waiting.set()
            await asyncio.Event().wait()
        knobs.lifespans += 1
        try:
            yield
        finally:
            knobs.lifespans -= 1
        if knobs.hold is not None:
            await asyncio.to_thread(knobs.hold.wait, 5)
        if knobs.farewell is not None:
            raise knobs.farewell

    server = MCPServer(
        "small",
        version="1.0",
        log_level="CRITICAL",
        lifespan=lifespan,
        extensions=[Advertise()],
        middleware=[advertise_at_initialize],
    )

    @server.tool()
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def protected() -> str:
        if not knobs.signed_in:
            raise MCPError(AUTHENTICATION_REQUIRED, "Authentication required", CHALLENGE.to_data())
        return "welcome"

    @server.tool()
    async def not_configured() -> str:
        raise MCPError(NOT_CONFIGURED, "OAuth is not configured", {"type": "configuration"})

    @server.tool()
    async def wait() -> str:
        knobs.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            knobs.stopped.set()

    @server.tool()
    async def thread() -> str:
        return threading.current_thread().name

    @server.tool()
    async def leave() -> str:
        sys.exit("a tool should not do this")

    @server.tool()
    async def vanish() -> str:
        os._exit(3)

    @server.tool()
    async def sample(answer: Annotated[CreateMessageResult, Resolve(ask)]) -> str:
        assert isinstance(answer.content, TextContent)
        return answer.content.text

    @server.prompt()
    def summary(user: str) -> str:
        return f"Summarize {user}."

    return server


if __name__ == "__main__":
    build().run("stdio")
