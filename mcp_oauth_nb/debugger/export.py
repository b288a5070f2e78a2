"""A run as a file: JSON, HAR, Mermaid, a report, a notebook, a test. All are made from what is masked already.

`export_code` writes the notebook and the test, which play the run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .._version import __version__
from ..oauth.clock import iso
from ..trace.messages import Message
from .export_code import NOTEBOOK_FILE, TEST_FILE, to_notebook, to_pytest
from .recording import wire_form
from .run import FlowRun
from .step import Step


def _to_har(run: FlowRun) -> str:
    """Write the HTTP exchanges of the client; a browser's own are not among them."""
    exchanges = [step.exchange for step in run.steps]
    entries = [
        _har_entry(exchange.request, exchange.response)
        for exchange in exchanges
        if exchange is not None and exchange.response is not None and exchange.request.protocol == "http"
    ]
    creator = {"name": "mcp_oauth_nb", "version": __version__}
    return json.dumps({"log": {"version": "1.2", "creator": creator, "entries": entries}}, indent=2) + "\n"


def _har_entry(request: Message, response: Message) -> dict[str, Any]:
    milliseconds = max(0.0, round((response.at - request.at) * 1000, 3))
    status, _, reason = response.title.partition(" ")
    known = status.isdigit()
    media, text = _content(response)
    return {
        "startedDateTime": iso(request.at),
        "time": milliseconds,
        "request": {
            "method": request.title.partition(" ")[0],
            "url": request.url,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _pairs(request.headers.items()),
            "queryString": _pairs(parse_qsl(urlsplit(request.url).query, keep_blank_values=True)),
            "headersSize": -1,
            "bodySize": -1,
            **({"postData": _posted(request)} if request.body is not None else {}),
        },
        "response": {
            # 0 where there was no answer, as browsers write it.
            "status": int(status) if known else 0,
            "statusText": reason if known else response.title,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _pairs(response.headers.items()),
            "content": {"size": len(text.encode()), "mimeType": media, "text": text},
            "redirectURL": response.headers.get("location", ""),
            "headersSize": -1,
            "bodySize": -1,
        },
        "cache": {},
        "timings": {"send": 0, "wait": milliseconds, "receive": 0},
    }


def _posted(request: Message) -> dict[str, Any]:
    media, text = _content(request)
    if isinstance(request.body, dict) and media.startswith("application/x-www-form-urlencoded"):
        # HAR 1.2, postData: parameters or a text, not both.
        return {"mimeType": media, "params": _pairs(request.body.items())}
    return {"mimeType": media, "text": text}


def _content(message: Message) -> tuple[str, str]:
    media = message.headers.get("content-type", "")
    return media, wire_form(media, message.body)


def _pairs(values: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values]


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


def _to_json(run: FlowRun) -> str:
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


def _to_mermaid(run: FlowRun) -> str:
    """Write the sequence as Mermaid source."""
    return run.diagram.mermaid + "\n"


# -- the report ------------------------------------------------------------------------------------------------


def _to_markdown(run: FlowRun) -> str:
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


_Write = Callable[[FlowRun], str]

_FORMATS: dict[str, tuple[str, str, _Write]] = {
    "JSON": ("mcp-flow.json", "application/json", _to_json),
    "HAR": ("mcp-flow.har", "application/json", _to_har),
    "Mermaid": ("mcp-flow.mmd", "text/plain", _to_mermaid),
    "Markdown report": ("mcp-flow.md", "text/markdown", _to_markdown),
    "notebook": (NOTEBOOK_FILE, "application/x-ipynb+json", to_notebook),
    "pytest": (TEST_FILE, "text/x-python", to_pytest),
}

#: File name, media type and writer of each format.
FORMATS: Mapping[str, tuple[str, str, _Write]] = MappingProxyType(_FORMATS)
