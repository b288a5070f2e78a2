"""What the package costs, as ratios measured in one run: `make bench` prints them and writes `results.md`.

The two sides of a ratio take turns, round by round, so that a machine that slows down slows both. Each ratio is the
median over the rounds. Nothing here is a test: a slow machine fails nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nbformat
from authorizations import in_process
from debugger import steps
from http_calls import calls as http_calls
from http_sessions import sessions
from mcp import Client
from mcp.server import MCPServer
from nbclient import NotebookClient
from report import FULL, SMALL, Row, Size, ratio, shares
from trace_view import rendering

from mcp_oauth_nb import Lab
from mcp_oauth_nb.client.github import GitHubClient
from mcp_oauth_nb.server.build import root_logger_untouched
from mcp_oauth_nb.server.tools import tools

ARGUMENTS = {"repo_limit": 5}
INTRODUCTION = """# Measured ratios

Written by `make bench`; {place}. Ratios are medians of {rounds} rounds in which the sides take turns, so that they
hold on other machines too; milliseconds, seconds, rates and KiB are those of this machine in the same run, whatever
else it did meanwhile.

Over HTTP, each server is a process of its own with the same uvicorn, the same tools and the same mocked GitHub behind
them; on real sockets, which stay open, one call follows the other. This package checks each call with its authorization
server (in memory) and a token from a complete authorization; the SDK's server and FastMCP with a static verifier that
knows one token. FastMCP runs with `dereference_schemas=False`: with its default, a call in 2026-07-28 takes it longer.
The client sends the same bytes each time, unless the SDK's is named.
"""
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


class FixedToken:
    """A token source that knows one token: what a server without authorization would have."""

    def __init__(self, token: str):
        self._token = token

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """Return the token."""
        return self._token


def bare_server(lab: Lab, client_party: str = "MCP server") -> MCPServer:
    """The same tools on a server that checks nothing."""
    assert lab.oauth.access_token is not None
    github = GitHubClient(
        FixedToken(lab.oauth.access_token),
        base_url=lab.settings.api_base_url,
        timeout=lab.settings.api_timeout,
        client=lab.http_client(client_party),
    )
    with root_logger_untouched():
        return MCPServer("bare", tools=tools(github, lab.oauth.challenge()), version="0", log_level="ERROR")


async def seconds_per_call(call: Callable[[], Awaitable[object]], number: int) -> float:
    """Time a block of calls."""
    start = time.perf_counter()
    for _ in range(number):
        await call()
    return (time.perf_counter() - start) / number


async def calls(size: Size) -> list[Row]:
    """An authorized call: through the check, and through `Session`, each against a bare SDK server."""
    async with Lab.open() as lab:
        await lab.authorize()
        async with Client(lab.server) as protected, Client(bare_server(lab)) as bare:
            ways: dict[str, Callable[[], Awaitable[object]]] = {
                "bare": lambda: bare.call_tool("get_github_user_info", ARGUMENTS),
                "protected": lambda: protected.call_tool("get_github_user_info", ARGUMENTS),
                "session": lambda: lab.session.call_tool("get_github_user_info", ARGUMENTS),
            }
            taken: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(size.rounds + 1):
                for way, call in ways.items():
                    taken[way].append(await seconds_per_call(call, size.calls))
                # The recording itself is not what grows here.
                lab.trace.clear()
    bare_ms = statistics.median(taken["bare"][1:]) * 1000
    return [
        Row("a call on a bare SDK server, with the same tool", f"{bare_ms:.2f} ms"),
        Row("the same behind the token check, SDK client", ratio(taken["protected"], taken["bare"]), "at most 1.08"),
        Row("the same through Session: thread hop and trace", ratio(taken["session"], taken["bare"]), "at most 1.25"),
    ]


def imports(size: Size) -> list[Row]:
    """How long a fresh Python takes, its own start subtracted."""
    statements = {
        "nothing": "pass",
        "mcp": "import mcp",
        "package": "import mcp_oauth_nb",
        "lab": "from mcp_oauth_nb import Lab, Session",
    }
    taken: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(size.rounds // 2 + 2):
        for name, statement in statements.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            taken[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    cost = {name: value - medians["nothing"] for name, value in medians.items()}
    return [
        Row("import mcp", f"{cost['mcp']:.2f} s"),
        Row("import mcp_oauth_nb, against import mcp", f"{cost['package'] / cost['mcp']:.2f}", "at most 1.10"),
        Row("from mcp_oauth_nb import Lab, Session, against import mcp", f"{cost['lab'] / cost['mcp']:.2f}"),
    ]


async def flow(lab: Lab) -> None:
    """Challenge, authorization, exchange, retried call."""
    await lab.session.call_tool("get_github_user_info", ARGUMENTS, authorize=lab.authorize)


def whole_flow(size: Size) -> list[Row]:
    """The whole flow, and where its time goes: each function's own time, by the package that it belongs to."""

    async def main() -> tuple[float, cProfile.Profile]:
        timed = size.rounds // 2 + 2
        labs = [await Lab.open(seed, loop="current") for seed in range(timed + size.rounds)]
        taken = []
        for lab in labs[:timed]:
            start = time.perf_counter()
            await flow(lab)
            taken.append(time.perf_counter() - start)
        profile = cProfile.Profile()
        profile.enable()
        for lab in labs[timed:]:
            await flow(lab)
        profile.disable()
        for lab in labs:
            await lab.aclose()
        return statistics.median(taken[1:]), profile

    seconds, profile = asyncio.run(main())
    return [
        Row("a whole flow, challenge to retried success", f"{seconds * 1000:.0f} ms"),
        Row("its own time", shares(profile)),
    ]


def notebooks(size: Size) -> list[Row]:
    """All notebooks, against as many kernels that do nothing but the import of their first cell."""
    paths = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))[: size.notebooks]
    taken = {"whole": 0.0, "imports": 0.0}
    for path in paths:
        for kind in taken:
            notebook = nbformat.read(path, as_version=4)
            if kind == "imports":
                notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:1]
            start = time.perf_counter()
            NotebookClient(notebook, timeout=60).execute(cwd=str(NOTEBOOKS))
            taken[kind] += time.perf_counter() - start
    return [
        Row(f"{len(paths)} notebooks, executed one after the other", f"{taken['whole']:.1f} s"),
        Row("the same, against kernels that only import", f"{taken['whole'] / taken['imports']:.2f}"),
    ]


def table(title: str, rows: list[Row]) -> str:
    """One part of the report."""
    lines = [f"## {title}", "", "| what | measured | goal |", "|---|---|---|"]
    lines += [f"| {row.what} | {row.value} | {row.goal} |" for row in rows]
    return "\n".join(lines) + "\n"


Measurement = Callable[[Size], list[Row]]

#: What is measured, by the part of the report.
PARTS: dict[str, tuple[Measurement, ...]] = {
    "In process": (lambda size: asyncio.run(calls(size)), imports, whole_flow, notebooks),
    "Calls over HTTP": (http_calls,),
    "Authorizations and sessions over HTTP": (in_process, sessions),
    "The flow debugger and the trace view": (lambda size: asyncio.run(steps(size)), rendering),
}


def main(arguments: list[str]) -> None:
    """Measure, print, and keep the tables; with `--small` only see that everything runs, and keep nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one round of everything, to see that it runs")
    parser.add_argument("--part", choices=PARTS, help="only this part of the report; keep nothing")
    options = parser.parse_args(arguments)
    size = SMALL if options.small else FULL
    parts = {options.part: PARTS[options.part]} if options.part else PARTS
    place = f"Python {platform.python_version()}, {platform.machine()}"
    text = INTRODUCTION.format(place=place, rounds=size.rounds)
    for title, measurements in parts.items():
        text += "\n" + table(title, [row for measure in measurements for row in measure(size)])
    print(text)
    if size is FULL and parts is PARTS:
        (Path(__file__).parent / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
