"""A run as a file: JSON, HAR, Mermaid, a report in Markdown. All are made from what is masked already.

`replayable` adds a notebook and a test, which run the flow again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .._version import __version__
from ..clock import iso
from ..wire import Message
from .record import Step
from .run import FlowRun


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


# -- HAR -------------------------------------------------------------------------------------------------------


def to_har(run: FlowRun) -> str:
    """Write the HTTP exchanges as an HTTP Archive 1.2, for the network tab of a browser or another tool."""
    exchanges = [step.exchange for step in run.steps]
    entries = [
        _entry(exchange.request, exchange.response)
        for exchange in exchanges
        if exchange is not None and exchange.response is not None and exchange.request.protocol == "http"
    ]
    creator = {"name": "mcp_oauth_nb", "version": __version__}
    return json.dumps({"log": {"version": "1.2", "creator": creator, "entries": entries}}, indent=2) + "\n"


def _entry(request: Message, response: Message) -> dict[str, Any]:
    milliseconds = max(0.0, (response.at - request.at) * 1000)
    status, _, reason = response.title.partition(" ")
    known = status.isdigit()
    return {
        "startedDateTime": iso(request.at),
        "time": milliseconds,
        "request": {
            "method": request.title.partition(" ")[0],
            "url": request.url,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _pairs(request.headers),
            "queryString": _pairs(dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))),
            "headersSize": -1,
            "bodySize": -1,
            **({"postData": _body(request, "mimeType")} if request.body is not None else {}),
        },
        "response": {
            "status": int(status) if known else 0,
            "statusText": reason if known else response.title,
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _pairs(response.headers),
            "content": {"size": -1, **_body(response, "mimeType")},
            "redirectURL": response.headers.get("location", ""),
            "headersSize": -1,
            "bodySize": -1,
        },
        "cache": {},
        "timings": {"send": 0, "wait": milliseconds, "receive": 0},
    }


def _body(message: Message, media: str) -> dict[str, str]:
    body = message.body
    text = "" if body is None else body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return {media: message.headers.get("content-type", ""), "text": text}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


# -- the report ------------------------------------------------------------------------------------------------


def to_markdown(run: FlowRun) -> str:
    """Write a report for an issue: the cause first, then the steps, then each exchange, folded."""
    cause = run.cause
    rows = [f"| {s.number} | {s.about.title} | {_cell(s.outcome)} | {_verdicts(s)} |" for s in run.steps]
    parts = [
        f"# Authorization of {run.name}",
        f"**First cause.** {cause!r}" if cause is not None else f"The run is {run.state}; no check failed.",
        "\n".join(["| | step | outcome | checks |", "|---|---|---|---|", *rows]),
        f"```mermaid\n{run.diagram.mermaid}\n```",
        *[_details(step) for step in run.steps],
        f"Made with mcp_oauth_nb {__version__}. Secrets are masked; the same secret has the same mask.",
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(step: Step) -> str:
    return "<br>".join(_cell(str(check)) for check in step.checks if check.outcome != "passed") or "✔"


def _details(step: Step) -> str:
    # Four backticks: a body may have three.
    text = "\n".join(str(message) for message in step.messages)
    return f"<details><summary>{step.number}. {step.about.title}</summary>\n\n````\n{text}\n````\n\n</details>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


Write = Callable[[FlowRun], str]

_FORMATS: dict[str, tuple[str, str, Write]] = {
    "JSON": ("mcp-flow.json", "application/json", to_json),
    "HAR": ("mcp-flow.har", "application/json", to_har),
    "Mermaid": ("mcp-flow.mmd", "text/plain", to_mermaid),
    "Markdown report": ("mcp-flow.md", "text/markdown", to_markdown),
}

#: File name, media type and writer of each format.
FORMATS: Mapping[str, tuple[str, str, Write]] = MappingProxyType(_FORMATS)
