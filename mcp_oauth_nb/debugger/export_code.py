"""A run as code that plays it again: a test, and a notebook to step through once more, with a claim at the end.

The test is one file. Both fail when a server answers otherwise.
"""

from __future__ import annotations

import json
from typing import Any

from .._version import __version__
from ..oauth.clock import iso
from ..oauth.masking import printable
from .comparison import observe
from .recording import Recording
from .run import FlowRun

# Braces are doubled where they are Python's.
_SERVER_TEST = '''"""Does the authorization of {name} still go as it did on {date}?

    pytest {file}                      offline: the client, against the answers that were recorded
    MCP_SERVER=live pytest -s {file}   the server as it is now; a browser opens. A URL names another server.

Of a live server, what is another each time counts by its type only: client ids, dates, lifetimes, tools' results.
Made with mcp_oauth_nb {version}, which it needs. It holds no secret: stand-ins take their places.
"""
'''
_LAB_TEST = '''"""Does the authorization in the lab of seed {seed} still go as it did?

    pytest {file}                      offline, in a new lab

Made with mcp_oauth_nb {version}, which it needs. It holds no secret.
"""
'''
_TEST = '''
import json
{import_os}
import pytest

from mcp_oauth_nb import run
from mcp_oauth_nb.debugger.recording import Recording
from mcp_oauth_nb.debugger.replay import Replayed, replay

STEPS = (
{steps}
)


@pytest.fixture(scope="module")
def now() -> Replayed:
    """The flow as it goes now."""
    recording = Recording.from_dict({{"setup": SETUP, "steps": ANSWERS}})
    return run(replay(recording{against}))


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1), ids=STEPS)
def test_step_is_as_recorded(now: Replayed, number: int) -> None:
    found = now.differences(EXPECTED, number)
    assert not found, "\\n".join(found)


def test_nothing_comes_after_the_last_step(now: Replayed) -> None:
    assert now.ended == ""


SETUP = {setup}

# What was asked, changed and answered. The client gets to see these answers.
ANSWERS = {answers}

# What is expected of each step.
EXPECTED = {expected}
'''

TEST_FILE = "test_mcp_flow.py"


def to_pytest(run: FlowRun) -> str:
    """Write a test that plays the run again and compares every step.

    Raises:
        ConfigurationError: see `Recording.of`.
    """
    recording = Recording.of(run)
    setup, steps = recording.to_dict()["setup"], recording.to_dict()["steps"]
    head = {"file": TEST_FILE, "version": __version__, "date": iso(recording.steps[0].at)[:10]}
    if recording.setup.lab:
        top = _LAB_TEST.format(seed=recording.setup.lab["seed"], **head)
    else:
        top = _SERVER_TEST.format(name=_inert(recording.setup.url), **head)
    names = [f"{number}-{step.kind}" for number, step in enumerate(recording.steps, 1)]
    return top + _TEST.format(
        import_os="" if recording.setup.lab else "import os\n",
        against="" if recording.setup.lab else '.against(os.environ.get("MCP_SERVER"))',
        steps="\n".join(f'    "{name}",' for name in names),
        setup=literal(setup),
        answers=literal(_answers_of(steps, lab=bool(recording.setup.lab))),
        expected=literal(observe(run)),
    )


def _answers_of(steps: list[dict[str, Any]], *, lab: bool) -> list[dict[str, Any]]:
    """Return the steps of a recording with the answers that a replay needs: those of a lab are its own."""
    return (
        [{name: value for name, value in step.items() if name not in ("answer", "brought")} for step in steps]
        if lab
        else steps
    )


def literal(value: Any) -> str:
    """Write a JSON value as Python that reads it: text in it can neither end the literal nor hide what it says."""
    # ASCII only, so that nothing in it can turn the direction of writing. JSON never has three quotes in a row: inside
    # a text they are escaped, and a backslash keeps a raw literal open.
    text = json.dumps(value, indent=1, ensure_ascii=True)
    assert '"""' not in text, "JSON has none"
    return f'json.loads(\n    r"""\n{text}\n"""\n)'


def _inert(text: str) -> str:
    """Return a text so that it can be put into a docstring."""
    return text.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'").replace("\n", " ")


NOTEBOOK_FILE = "mcp-flow.ipynb"

_SERVER_NOTEBOOK = """# The authorization of {name}, played again

Recorded on {date}, made with mcp_oauth_nb {version}. The debugger steps the client against the recorded answers:
nothing is sent, and no browser is needed. No secret is in here; stand-ins take their places.

Run the notebook once and save it; from then on `pytest --nbval {file}` says whether anything has changed.
`MCP_SERVER=live pytest --nbval-lax {file}` asks the server itself, and a URL in place of `live` another server; a
browser opens."""

_LAB_NOTEBOOK = """# The authorization in the lab of seed {seed}, played again

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
    head = {"version": __version__, "file": NOTEBOOK_FILE}
    intro = (
        _LAB_NOTEBOOK.format(seed=lab["seed"], **head)
        if lab
        else _SERVER_NOTEBOOK.format(name=_code(recording.setup.url), date=iso(recording.steps[0].at)[:10], **head)
    )
    data = {"SETUP": value["setup"], "ANSWERS": _answers_of(value["steps"], lab=bool(lab)), "EXPECTED": observe(run)}
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
