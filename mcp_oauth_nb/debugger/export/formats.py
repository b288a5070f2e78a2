"""A run as a file: JSON, HAR, Mermaid, a report, a notebook, a test. All are made from what is masked already.

A notebook and a test play it again; see `notebook` and `pytest_test`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..._version import __version__
from ...trace.messages import Message
from ..run import FlowRun
from ..step import Step
from . import notebook as export_notebook
from . import pytest_test as export_pytest
from .har import to_har


def export(run: FlowRun, format: str) -> tuple[str, str, str]:
    """Write a run down.

    Args:
        format: a key of `FORMATS`.

    Returns:
        A file name, its media type, and the text.
    """
    name, media, write = FORMATS[format]
    return name, media, write(run)


# -- JSON and Mermaid ------------------------------------------------------------------------------------------


def to_json(run: FlowRun) -> str:
    """Write every step with its messages and checks."""
    document = {
        "made_with": f"mcp_oauth_nb {__version__}",
        "server": run.name,
        "state": run.state,
        "cause": repr(run.cause) if run.cause is not None else None,
        "steps": [_step(step) for step in run.steps],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "kind": step.kind,
        "title": step.about.title,
        "reference": step.about.reference,
        "changed": dict(step.changed),
        "predicted": step.predicted or None,
        "outcome": step.outcome,
        "error": type(step.error).__name__ if step.error is not None else None,
        "messages": [_message(message) for message in step.messages],
        "checks": [vars(check) for check in step.checks],
    }


def _message(message: Message) -> dict[str, Any]:
    return {**vars(message), "headers": dict(message.headers)}


def to_mermaid(run: FlowRun) -> str:
    """Write the sequence as Mermaid source."""
    return run.diagram.mermaid + "\n"


# -- the report ------------------------------------------------------------------------------------------------


def to_markdown(run: FlowRun) -> str:
    """Write a report for an issue: the cause first, then the steps, then each exchange, folded."""
    cause = run.cause
    rows = [f"| {s.number} | {s.about.title} | {_cell(s.outcome)} | {_verdicts(s)} |" for s in run.steps]
    parts = [
        f"# Authorization of {run.name}",
        f"**First cause.** {_cell(repr(cause))}" if cause is not None else f"The run is {run.state}; no check failed.",
        "\n".join(["| | step | outcome | checks |", "|---|---|---|---|", *rows]),
        f"```mermaid\n{run.diagram.mermaid}\n```",
        *[_details(step) for step in run.steps],
        f"Made with mcp_oauth_nb {__version__}. Secrets are masked; the same secret has the same mask.",
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(step: Step) -> str:
    return "<br>".join(_cell(str(check)) for check in step.checks if check.outcome != "passed") or "✔"


def _details(step: Step) -> str:
    text = "\n".join(str(message) for message in step.messages)
    # Longer than any fence that a body may have.
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    return f"<details><summary>{step.number}. {step.about.title}</summary>\n\n{fence}\n{text}\n{fence}\n\n</details>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


Write = Callable[[FlowRun], str]

_FORMATS: dict[str, tuple[str, str, Write]] = {
    "JSON": ("mcp-flow.json", "application/json", to_json),
    "HAR": ("mcp-flow.har", "application/json", to_har),
    "Mermaid": ("mcp-flow.mmd", "text/plain", to_mermaid),
    "Markdown report": ("mcp-flow.md", "text/markdown", to_markdown),
    "notebook": (export_notebook.FILE, "application/x-ipynb+json", export_notebook.to_notebook),
    "pytest": (export_pytest.FILE, "text/x-python", export_pytest.to_pytest),
}

#: File name, media type and writer of each format.
FORMATS: Mapping[str, tuple[str, str, Write]] = MappingProxyType(_FORMATS)
