"""A protected call over HTTP: this package, the SDK's server and FastMCP, each with the same tools, in turns.

Sockets are real, connections are kept, one call follows the other. Two clients: one that sends the same bytes each
time and does nothing else, so that what is measured is the server, and the SDK's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from http_processes import Server, running
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from report import FULL, Row, Size, ratio

MODERN, LEGACY = "2026-07-28", "2025-11-25"
KINDS = ("ours", "bare", "fastmcp")
TOOLS: dict[str, dict[str, Any]] = {"get_github_user_info": {"repo_limit": 5}, "echo": {"text": "hello"}}
_CLIENT = {"name": "bench", "version": "1"}


class RawCaller:
    """Calls one tool with the same bytes each time, over one connection."""

    def __init__(self, server: Server, era: str, tool: str):
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        self._headers = {
            "Authorization": f"Bearer {server.token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": era,
        }
        params: dict[str, Any] = {"name": tool, "arguments": TOOLS[tool]}
        if era == MODERN:
            self._headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
            params["_meta"] = {
                PROTOCOL_VERSION_META_KEY: era,
                CLIENT_INFO_META_KEY: _CLIENT,
                CLIENT_CAPABILITIES_META_KEY: {},
            }
        else:
            self._open_session(era)
        self._body = message("tools/call", params, id=1)

    def _open_session(self, era: str) -> None:
        params = {"protocolVersion": era, "capabilities": {}, "clientInfo": _CLIENT}
        headers, _ = self._post(message("initialize", params, id=0))
        self._headers["Mcp-Session-Id"] = headers["Mcp-Session-Id"]
        self._post(message("notifications/initialized"))

    def call(self) -> bytes:
        """Make one call; return the answer."""
        return self._post(self._body)[1]

    def check(self) -> None:
        """Make one call that must succeed."""
        answer = json.loads(self.call())
        assert not answer.get("result", {"isError": True}).get("isError"), answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, body: bytes) -> tuple[http.client.HTTPMessage, bytes]:
        self._connection.request("POST", "/mcp", body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status < 300, (response.status, answer)
        return response.headers, answer


def message(method: str, params: Any = None, **request: Any) -> bytes:
    """A JSON-RPC message."""
    parts = {"jsonrpc": "2.0", **request, "method": method} | ({} if params is None else {"params": params})
    return json.dumps(parts).encode()


def cpu_seconds(server: Server) -> float:
    """The time that a server has kept a processor busy, by the kernel's count (nanoseconds, all threads)."""
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def turns(number: int) -> list[str]:
    """The order of one round: everyone comes first as often."""
    shift = number % len(KINDS)
    return [*KINDS[shift:], *KINDS[:shift]]


class Taken:
    """Seconds for each call, by kind of server and round."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.cpu: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def note(self, kind: str, times: list[float], busy: float) -> None:
        """Keep one round: its median call, for what else the machine does hits few calls hard, and the mean work.

        Args:
            times: when the first call began and each ended.
            busy: seconds that the server has worked for all of them.
        """
        self.wall[kind].append(statistics.median(end - start for start, end in itertools.pairwise(times)))
        self.cpu[kind].append(busy / (len(times) - 1))

    def rows(self, what: str) -> list[Row]:
        """The ratios of elapsed time, with the goals, and those of the servers' processor time."""
        milliseconds = statistics.median(self.wall["bare"][1:]) * 1000
        processor = ", ".join(
            f"{ratio(self.cpu['ours'], self.cpu[kind])} against {name}"
            for kind, name in (("bare", "SDK"), ("fastmcp", "FastMCP"))
        )
        return [
            Row(f"{what}: against a bare SDK server", ratio(self.wall["ours"], self.wall["bare"]), "at most 1.10"),
            Row(f"{what}: against FastMCP", ratio(self.wall["ours"], self.wall["fastmcp"]), "below 1.0"),
            Row(f"{what}: processor time of the server", processor),
            Row(f"{what}: a call on the bare SDK server, on this machine", f"{milliseconds:.2f} ms"),
        ]


def raw_calls(servers: dict[str, Server], era: str, tool: str, size: Size) -> Taken:
    """Measure with the client that only sends bytes."""
    taken = Taken()
    callers = {kind: RawCaller(servers[kind], era, tool) for kind in KINDS}
    for caller in callers.values():
        caller.check()
    for number in range(size.rounds + 1):
        for kind in turns(number):
            busy, times = cpu_seconds(servers[kind]), [time.perf_counter()]
            for _ in range(size.raw_calls):
                callers[kind].call()
                times.append(time.perf_counter())
            taken.note(kind, times, cpu_seconds(servers[kind]) - busy)
    for caller in callers.values():
        caller.close()
    return taken


async def sdk_calls(servers: dict[str, Server], mode: Any, tool: str, size: Size) -> Taken:
    """Measure with the SDK's client."""
    taken = Taken()
    async with contextlib.AsyncExitStack() as stack:
        clients = {kind: await connect(stack, servers[kind], mode) for kind in KINDS}
        for number in range(size.rounds + 1):
            for kind in turns(number):
                busy, times = cpu_seconds(servers[kind]), [time.perf_counter()]
                for _ in range(size.sdk_calls):
                    result = await clients[kind].call_tool(tool, TOOLS[tool])
                    times.append(time.perf_counter())
                taken.note(kind, times, cpu_seconds(servers[kind]) - busy)
                assert not result.is_error, result
    return taken


async def connect(stack: contextlib.AsyncExitStack, server: Server, mode: Any) -> Client:
    """Connect the SDK's client for as long as the stack stands."""
    carrier = httpx2.AsyncClient(headers={"Authorization": f"Bearer {server.token}"}, timeout=30)
    http_client = await stack.enter_async_context(carrier)
    transport = streamable_http_client(f"{server.url}/mcp", http_client=http_client)
    return await stack.enter_async_context(Client(transport, mode=mode))


def calls(size: Size) -> list[Row]:
    """Measure everything that compares the three servers."""
    rows: list[Row] = []
    with running(*KINDS) as servers:
        for era in (MODERN, LEGACY):
            for tool in TOOLS:
                rows += raw_calls(servers, era, tool, size).rows(f"`{tool}`, {era}")
        rows += asyncio.run(sdk_calls(servers, "auto", "get_github_user_info", size)).rows(
            f"`get_github_user_info`, {MODERN}, SDK client"
        )
    return rows


if __name__ == "__main__":
    for row in calls(FULL):
        print(f"{row.what:75} {row.value:30} {row.goal}")
