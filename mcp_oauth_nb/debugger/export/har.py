"""A run as an HTTP Archive 1.2, for the network tab of a browser or another tool."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..._version import __version__
from ...oauth.clock import iso
from ...trace.messages import Message
from ..recording import wire_form
from ..run import FlowRun


def to_har(run: FlowRun) -> str:
    """Write the HTTP exchanges of the client; a browser's own are not among them."""
    exchanges = [step.exchange for step in run.steps]
    entries = [
        _entry(exchange.request, exchange.response)
        for exchange in exchanges
        if exchange is not None and exchange.response is not None and exchange.request.protocol == "http"
    ]
    creator = {"name": "mcp_oauth_nb", "version": __version__}
    return json.dumps({"log": {"version": "1.2", "creator": creator, "entries": entries}}, indent=2) + "\n"


def _entry(request: Message, response: Message) -> dict[str, Any]:
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
