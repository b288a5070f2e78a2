"""A run as a test: one file that plays it again and fails when a server answers otherwise."""

from __future__ import annotations

import json
from typing import Any

from ..._version import __version__
from ...oauth.clock import iso
from ..comparison import observe
from ..recording import Recording
from ..run import FlowRun

# Braces are doubled where they are Python's.
_SERVER = '''"""Does the authorization of {name} still go as it did on {date}?

    pytest {file}                      offline: the client, against the answers that were recorded
    MCP_SERVER=live pytest -s {file}   the server as it is now; a browser opens. A URL names another server.

Of a live server, what is another each time counts by its type only: client ids, dates, lifetimes, tools' results.
Made with mcp_oauth_nb {version}, which it needs. It holds no secret: stand-ins take their places.
"""
'''
_LAB = '''"""Does the authorization in the lab of seed {seed} still go as it did?

    pytest {file}                      offline, in a new lab

Made with mcp_oauth_nb {version}, which it needs. It holds no secret.
"""
'''
_BODY = '''
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

FILE = "test_mcp_flow.py"


def to_pytest(run: FlowRun) -> str:
    """Write a test that plays the run again and compares every step.

    Raises:
        ConfigurationError: see `Recording.of`.
    """
    recording = Recording.of(run)
    setup, steps = recording.to_dict()["setup"], recording.to_dict()["steps"]
    head = {"file": FILE, "version": __version__, "date": iso(recording.steps[0].at)[:10]}
    if recording.setup.lab:
        top = _LAB.format(seed=recording.setup.lab["seed"], **head)
    else:
        top = _SERVER.format(name=_inert(recording.setup.url), **head)
    names = [f"{number}-{step.kind}" for number, step in enumerate(recording.steps, 1)]
    return top + _BODY.format(
        import_os="" if recording.setup.lab else "import os\n",
        against="" if recording.setup.lab else '.against(os.environ.get("MCP_SERVER"))',
        steps="\n".join(f'    "{name}",' for name in names),
        setup=literal(setup),
        answers=literal(answers_of(steps, lab=bool(recording.setup.lab))),
        expected=literal(observe(run)),
    )


def answers_of(steps: list[dict[str, Any]], *, lab: bool) -> list[dict[str, Any]]:
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
    """Return a text as it may stand in a docstring."""
    return text.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'").replace("\n", " ")
