"""What an event stream asks for in `retry`. The SDK sleeps between its attempts, so these tests take seconds."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest
from answering import INFO, Server, events, in_json, once, opened
from mcp import MCPError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("value", [b"9" * 400, b"9" * 5000, b"1_0", "²".encode(), "٣".encode(), b"-5", b" 7"])
@pytest.mark.parametrize(("status", "media"), [(200, "text/event-stream"), (200, "text/event-stream; charset=utf-16"),
                                               (300, "text/event-stream")])  # fmt: skip
async def test_a_stream_that_says_never_come_back_ends_one_call_and_not_the_session(
    value: bytes, status: int, media: str
) -> None:
    text = b"retry:" + value + b"\nid: 1\ndata:\n\n"
    text = text.decode().encode("utf-16") if "utf-16" in media else text
    server = Server(once("tools/call", lambda message: events(text, status=status, media=media)))
    with anyio.fail_after(30):
        async with opened(server) as session:
            with pytest.raises(MCPError, match="SSE stream ended"):
                await session.call_tool("x")
            assert not (await session.call_tool("x")).is_error


async def test_the_servers_own_stream_that_says_never_come_back_does_not_end_the_session() -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        if message["method"] == "initialize":
            started = {"jsonrpc": "2.0", "id": message["id"], "result": INFO}
            return in_json(started, **{"mcp-session-id": "one"})
        if message["method"] != "GET":
            return None
        asked.set()
        return events(b"retry: " + b"9" * 400 + b"\ndata:\n\n")

    asked = anyio.Event()
    with anyio.fail_after(20):
        async with opened(Server(answer)) as session:
            await asked.wait()
            for _ in range(10):
                assert not (await session.call_tool("x")).is_error
