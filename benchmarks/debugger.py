"""What stepping costs: the whole flow over HTTP in a lab, by the SDK's client alone and by the flow debugger.

Both sides do the same: connect, list the tools, call one without a token, discover, register, send the person, exchange
the code, and call again. What the lab's servers do in it is the same too, so that a ratio of 1 would mean that nobody
is looking.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

from report import Row, Size, ratio

from mcp_oauth_nb import HttpLab, Session
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger

TOOL = "get_github_user_info"


async def by_session(lab: HttpLab) -> None:
    """Let the client go its way, recorded as in every lab."""
    async with Session.open(lab.url, auth=lab.new_auth()) as session:
        await session.list_tools()
        await session.call_tool(TOOL)


async def by_debugger(lab: HttpLab) -> int:
    """Stop before each request, and check each answer; return the number of steps."""
    async with FlowDebugger.open(lab) as debug:
        await debug.run()
        assert debug.cause is None, debug
        return len(debug.steps)


async def steps(size: Size) -> list[Row]:
    """Return how much longer the flow takes when it is stepped."""
    taken: dict[str, list[float]] = {"session": [], "debugger": []}
    async with HttpLab.open() as lab:
        ways: dict[str, Callable[[HttpLab], Awaitable[object]]] = {"session": by_session, "debugger": by_debugger}
        count = await by_debugger(lab)
        for _ in range(size.rounds + 1):
            for way, flow in ways.items():
                # The recording itself is not what grows here.
                lab.trace.clear()
                start = time.perf_counter()
                await flow(lab)
                taken[way].append(time.perf_counter() - start)
    apart = [(a - b) / count * 1000 for a, b in zip(taken["debugger"][1:], taken["session"][1:], strict=True)]
    return [
        Row("the whole flow over HTTP, by Session", f"{statistics.median(taken['session'][1:]) * 1000:.0f} ms"),
        Row(f"the same in the flow debugger, {count} steps", ratio(taken["debugger"], taken["session"]), "at most 1.2"),
        Row("what one step adds", f"{statistics.median(apart):.2f} ms"),
    ]
