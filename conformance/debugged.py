"""The flow debugger in the place of the client: the suite's own servers, and what the debugger finds wrong with them.

Several of the suite's scenarios plant a fault, to see whether a client stops. The debugger must stop too, and must name
that fault as the cause; of the others it must say that nothing is wrong. `report` runs them and writes it down.

As a program it is the client that the suite starts: `debugged.py DIRECTORY URL`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import scenarios
import suite
from client import METADATA_URL, open_browser, registered

from mcp_oauth_nb import McpAuth
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger

HERE = Path(__file__).parent

# The only tool of the suite's servers that ask for authorization.
TOOL = "test-tool"

#: The scenarios with a fault: the step and the check that must name it.
FAULTS = {
    "auth/resource-mismatch": ("resource_metadata", "it describes this server"),
    "auth/metadata-issuer-mismatch": ("server_metadata", "the issuer is the one that was asked for"),
    "auth/iss-supported-missing": ("callback", "it comes from the server that was asked"),
    "auth/iss-wrong-issuer": ("callback", "it comes from the server that was asked"),
    "auth/iss-unexpected": ("callback", "it comes from the server that was asked"),
    "auth/iss-normalized": ("callback", "it comes from the server that was asked"),
    "auth/scope-retry-limit": ("authorized", "the client goes on"),
}

RESULTS = """# The flow debugger against the official suite's servers

Written by `make conformance`. Where a scenario plants a fault, the debugger must name that fault as the first cause; in
all the others it must find nothing.

{tables}
"""


@dataclass(frozen=True)
class Found:
    """What the debugger found in one scenario.

    Attributes:
        step, check: of the first cause; empty if there is none.
        text: all that it says about it.
        steps: how many there were.
    """

    step: str = ""
    check: str = ""
    text: str = ""
    steps: int = 0


async def debug(url: str) -> Found:
    """Walk through one scenario."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    client = registered(context)
    auth = McpAuth(client=client, client_metadata_url=METADATA_URL, open_browser=open_browser, show=str)
    async with FlowDebugger.open(url, auth=auth, tool=TOOL) as debugger:
        await debugger.run()
        cause = debugger.cause
        if cause is None:
            return Found(text=str(debugger.error or ""), steps=len(debugger.steps))
        return Found(cause.step.kind, cause.check.name, str(cause.check), len(debugger.steps))


def problem(scenario: str, found: Found) -> str:
    """Say what is not as it should be about what was found; empty if all is."""
    step, check = FAULTS.get(scenario, ("", ""))
    if (found.step, found.check) != (step, check):
        return f"{scenario}: the cause is {found.check or 'none'!r}, and should be {check or 'none'!r}: {found.text}"
    return f"{scenario}: {found.text}" if found.text and not found.check else ""


def walk(*which: str) -> dict[str, Found]:
    """Let the suite run some scenarios with the debugger as the client."""
    with tempfile.TemporaryDirectory() as written, tempfile.TemporaryDirectory() as locks:
        command = [sys.executable, HERE / "in_turn.py", locks, sys.executable, __file__, written]
        program = " ".join(map(str, command))
        suite.run("client", "--command", program, "--timeout", str(suite.CLIENT_MILLISECONDS), *which)
        files = sorted(Path(written).iterdir())
        found = {path.stem.replace("_", "/"): Found(**json.loads(path.read_text(encoding="utf-8"))) for path in files}
    return {name: one for name, one in found.items() if name not in scenarios.CLIENT}


def report() -> list[str]:
    """Run the scenarios with authorization, write `results-debugger.md`, and return what is not as it should be."""
    tables, problems = [], []
    for revision in ("2025-03-26", "2025-11-25", "2026-07-28"):
        if revision == "2025-03-26":
            found = walk("--suite", "backcompat")
        else:
            found = walk("--suite", "auth", "--spec-version", revision)
        if revision == "2026-07-28":
            # No suite has them all.
            for name in FAULTS:
                found |= walk("--scenario", name)
            problems += [f"{name}: the debugger did not finish" for name in FAULTS if name not in found]
        problems += [f"{revision}, {text}" for name, one in found.items() if (text := problem(name, one))]
        problems += [] if found else [f"{revision}: no scenario was run"]
        tables.append(f"## {revision}\n\n{table(found)}")
    (HERE / "results-debugger.md").write_text(RESULTS.format(tables="\n\n".join(tables)), encoding="utf-8")
    return problems


def table(found: dict[str, Found]) -> str:
    """Return the table of one revision."""
    rows = ["| scenario | fault | the first cause that the debugger names |", "|---|---|---|"]
    for name, one in found.items():
        cause = f"{one.step}: {one.check}" if one.check else f"none, in {one.steps} steps"
        rows.append(f"| `{name}` | {'planted' if name in FAULTS else ''} | {cause} |")
    return "\n".join(rows)


def main(directory: str, url: str) -> None:
    """Be the client of one scenario, and write down what was found."""
    found = asyncio.run(debug(url))
    name = os.environ["MCP_CONFORMANCE_SCENARIO"].replace("/", "_")
    (Path(directory) / f"{name}.json").write_text(json.dumps(vars(found)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
