"""A run as a notebook: the debugger over the recorded answers, to step through once more, with a claim at the end."""

from __future__ import annotations

import json
from typing import Any

from ..._version import __version__
from ...oauth.clock import iso
from ...oauth.masking import printable
from ..comparison import observe
from ..recording import Recording
from ..run import FlowRun
from .pytest_test import answers_of, literal

FILE = "mcp-flow.ipynb"

_SERVER = """# The authorization of {name}, played again

Recorded on {date}, made with mcp_oauth_nb {version}. The debugger steps the client against the recorded answers:
nothing is sent, and no browser is needed. No secret is in here; stand-ins take their places.

Run the notebook once and save it; from then on `pytest --nbval {file}` says whether anything has changed.
`MCP_SERVER=live pytest --nbval-lax {file}` asks the server itself, and a URL in place of `live` another server; a
browser opens."""

_LAB = """# The authorization in the lab of seed {seed}, played again

Made with mcp_oauth_nb {version}. A new lab of the same seed answers as the first one did. No secret is in here.

Run the notebook once and save it; from then on `pytest --nbval {file}` says whether anything has changed."""

_IMPORTS = """import json
{os}
{lab}from mcp_oauth_nb.debugger.recording import Recording
from mcp_oauth_nb.debugger.replay import play, replayed
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger"""

_OPEN_SERVER = """recorded = Recording.from_dict({"setup": SETUP, "steps": ANSWERS})
recording = recorded.against(os.environ.get("MCP_SERVER"))
debug = await FlowDebugger.open(recording)
debug"""

_OPEN_LAB = """recording = Recording.from_dict({"setup": SETUP, "steps": ANSWERS})
lab = await Lab.open(**recording.setup.lab)
debug = await FlowDebugger.open(lab, **recording.setup.options)
debug"""

_REST = """ended = await play(debug, recording)
debug"""

_CLAIM = """found = replayed(debug, recording, ended).differences(EXPECTED)
assert not found, "\\n".join(found)"""


def to_notebook(run: FlowRun) -> str:
    """Write a notebook that plays the run again and compares every step.

    Raises:
        ConfigurationError: see `Recording.of`.
    """
    recording = Recording.of(run)
    value, lab = recording.to_dict(), recording.setup.lab
    head = {"version": __version__, "file": FILE}
    intro = (
        _LAB.format(seed=lab["seed"], **head)
        if lab
        else _SERVER.format(name=_code(recording.setup.url), date=iso(recording.steps[0].at)[:10], **head)
    )
    data = {"SETUP": value["setup"], "ANSWERS": answers_of(value["steps"], lab=bool(lab)), "EXPECTED": observe(run)}
    cells = [
        _prose(intro),
        _code_cell(
            _IMPORTS.format(os="" if lab else "import os\n", lab="from mcp_oauth_nb import Lab\n" if lab else "")
        ),
        _prose("The run: what was asked and answered, and what is expected of each step. Nothing here has to be read."),
        _code_cell("\n".join(f"{name} = {literal(item)}" for name, item in data.items()), hidden=True),
        _prose("## The debugger\n\nIts buttons and these lines of code do the same."),
        _code_cell(_OPEN_LAB if lab else _OPEN_SERVER),
        _prose("One step: what was sent, what came back, and what was checked."),
        _code_cell("await debug.step()"),
        _prose("The rest as it was recorded, with every action that was begun and every parameter that was changed."),
        _code_cell(_REST),
        _prose("## What happened"),
        _code_cell("debug.diagram"),
        _code_cell('print(debug.cause or "No check failed.")'),
        _prose("## Is it as it was?"),
        _code_cell(_CLAIM),
        _code_cell("await debug.aclose()" + ("\nawait lab.aclose()" if lab else "")),
    ]
    for number, cell in enumerate(cells, 1):
        cell["id"] = f"cell-{number:02}"
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code_cell(source: str, *, hidden: bool = False) -> dict[str, Any]:
    metadata = {"jupyter": {"source_hidden": True}} if hidden else {}
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}


def _code(text: str) -> str:
    return f"`{printable(text).replace('`', '')}`"
