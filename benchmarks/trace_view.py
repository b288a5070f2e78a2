"""What it costs to show a trace: the panel opened, a page turned, and the static form, as the trace grows."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

from report import Row, Size

from mcp_oauth_nb import ManualClock, Trace
from mcp_oauth_nb.jupyter.widgets import TraceView
from mcp_oauth_nb.trace.messages import CLIENT, GITHUB


def trace(exchanges: int) -> Trace:
    """A trace of token requests, every tenth of them refused."""
    made = Trace(ManualClock(0))
    url = "https://github.com/login/oauth/access_token"
    for number in range(exchanges):
        bad = number % 10 == 0
        body = {"grant_type": "refresh_token", "number": number}
        asked = made.record(
            sender=CLIENT, receiver=GITHUB, protocol="http", kind="request", title=f"POST {url}", url=url, body=body
        )
        made.record(
            sender=GITHUB,
            receiver=CLIENT,
            protocol="http",
            kind="error" if bad else "response",
            title="400 Bad Request" if bad else "200 OK",
            body={"scope": "read:user", "text": "x" * 200},
            answers=asked,
        )
    return made


def rendering(size: Size) -> list[Row]:
    """Return how the time grows with the trace; ten times the exchanges may take ten times as long."""
    rounds = max(size.rounds // 3, 1)
    traces = {exchanges: trace(exchanges) for exchanges in size.exchanges}
    opened = {exchanges: _median(partial(TraceView, one), rounds) for exchanges, one in traces.items()}
    drawn = {exchanges: _median(partial(_draw, one), rounds) for exchanges, one in traces.items()}
    rows = []
    for small, large in itertools.pairwise(size.exchanges):
        grown = f"{small:,} to {large:,} exchanges: times as long"
        rows.append(Row(f"a trace view opened, {grown}", f"{opened[large] / opened[small]:.1f}", "at most 10"))
        rows.append(Row(f"the whole diagram drawn, {grown}", f"{drawn[large] / drawn[small]:.1f}", "about 10"))
    rows.append(
        Row(f"a trace view of {size.exchanges[-1]:,} exchanges opened", f"{opened[size.exchanges[-1]] * 1000:.0f} ms")
    )
    return rows


def _draw(one: Trace) -> str:
    return one.diagram().svg


def _median(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
