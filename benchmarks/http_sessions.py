"""Many sessions at once, each with a token of its own: what the server needs for each, and what stays afterwards.

The memory is what the kernel counts as resident (VmRSS). Python keeps what it has freed, so the first wave of sessions
shows what they need, and the later ones whether anything of them stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from authorizations import over_sockets
from http_processes import Server, running
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from report import FULL, Row, Size

WARM_UP = 10
WAVES = 2
_LEAST = 0.1
MODES = {"legacy": "2025-11-25", "auto": "2026-07-28"}
ARGUMENTS = {"repo_limit": 5}


@dataclass
class Wave:
    """Resident memory of the server around one wave of sessions, in KiB."""

    before: int
    open: int
    after: int


def resident(server: Server) -> int:
    """The server's resident memory in KiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


async def wave(server: Server, tokens: Sequence[str], mode: Any) -> Wave:
    """Open a session for each token, all at once; call, keep all open, call again, close. Any error ends it."""
    before = resident(server)
    context = ssl.create_default_context()
    everyone, measured = asyncio.Barrier(len(tokens) + 1), asyncio.Event()

    async def session(token: str) -> None:
        async with contextlib.AsyncExitStack() as stack:
            headers = {"Authorization": f"Bearer {token}"}
            carrier = httpx2.AsyncClient(headers=headers, verify=context, timeout=120)
            http_client = await stack.enter_async_context(carrier)
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http_client)
            client = await stack.enter_async_context(Client(transport, mode=mode))
            await call(client)
            await everyone.wait()
            await measured.wait()
            await call(client)

    async with asyncio.TaskGroup() as group:
        for token in tokens:
            group.create_task(session(token))
        await everyone.wait()
        opened = resident(server)
        measured.set()
    return Wave(before, opened, resident(server))


async def call(client: Client) -> None:
    """Make a call that must succeed."""
    result = await client.call_tool("get_github_user_info", ARGUMENTS)
    assert not result.is_error, result


def waves(server: Server, tokens: Sequence[str], mode: str) -> list[Wave]:
    """Several waves, one after the other, when a few sessions have warmed the server up."""
    asyncio.run(wave(server, tokens[:WARM_UP], mode))
    return [asyncio.run(wave(server, tokens, mode)) for _ in range(WAVES)]


def rows_of(ours: list[Wave], bare: list[Wave], version: str, number: int) -> list[Row]:
    """What two waves show: the first what sessions need, the second what of them stays."""
    # The kernel counts in pages: a few sessions may fit in those that are there.
    needed = [max((first.open - first.before) / number, _LEAST) for first in (ours[0], bare[0])]
    stays = [(second.after - first.after) / number for first, second in (ours, bare)]
    what = f"{number} sessions at once, {version}"
    return [
        Row(f"{what}: errors in {WAVES} waves", "0", "0"),
        Row(f"{what}: memory of each, against a bare SDK server", f"{needed[0] / needed[1]:.2f}"),
        Row(f"{what}: memory of each, on this machine", f"{needed[0]:.0f} KiB (bare SDK server: {needed[1]:.0f} KiB)"),
        Row(
            f"{what}: what as many more add for each, when all are closed, on this machine",
            f"{stays[0]:.1f} KiB (bare SDK server: {stays[1]:.1f} KiB)",
        ),
    ]


def sessions(size: Size) -> list[Row]:
    """Authorizations over sockets, and what their tokens open."""
    rows: list[Row] = []
    for mode, version in MODES.items():
        # New processes for each: memory that the one has freed would serve the other.
        with running("deployment", "bare_sessions") as servers:
            more, tokens = over_sockets(servers["deployment"], size.sessions)
            rows += more if not rows else []
            ours = waves(servers["deployment"], tokens, mode)
            bare = waves(servers["bare_sessions"], [servers["bare_sessions"].token] * size.sessions, mode)
            rows += rows_of(ours, bare, version, size.sessions)
    return rows


if __name__ == "__main__":
    for row in sessions(FULL):
        print(f"{row.what:75} {row.value:30} {row.goal}")
