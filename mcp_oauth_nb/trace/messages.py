"""What crossed the wire, as values: messages (arrows) and exchanges (a request with its answer).

Separate from the recorder (`recorder`), so that `diagram` can draw a sequence without knowing who recorded it
and the recorder can offer `trace.diagram()`: both build on this module, and no import points upwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..oauth.markup import Html, element, verbatim
from ..oauth.masking import escape
from ..oauth.text import json_text, url_lines

#: The four parties of the flow.
BROWSER, CLIENT, SERVER, GITHUB = "Browser", "MCP client", "MCP server", "GitHub"
#: Over HTTP the MCP server has an authorization server of its own, at the same address or another.
AUTHORIZATION_SERVER = "Authorization server"

Kind = Literal["request", "response", "error", "notification"]

# Headers of every message or page, which say nothing about the flow: recorded, but left out where it is shown.
_QUIET_HEADERS = frozenset(
    "host user-agent connection accept-encoding content-length date server transfer-encoding vary "
    "content-security-policy x-frame-options x-content-type-options referrer-policy".split()
)


# A tool list with its schemas is hundreds of lines long, and hides what stands before and after it.
_MOST_BODY_LINES = 60


class Sink(Protocol):
    """Takes messages, as `recorder.Trace` does. The recorder of a transport knows nothing else of the trace."""

    def record(
        self,
        *,
        sender: str,
        receiver: str,
        protocol: Literal["http", "jsonrpc"],
        kind: Kind,
        title: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        url: str = "",
        answers: int | None = None,
    ) -> int:
        """See `Trace.record`."""
        ...


@dataclass(frozen=True)
class Message:
    """One arrow, already masked.

    A request and its answer share `exchange`. `at` is in seconds since the epoch. `url` is an HTTP request's whole
    address; `title` leaves the query out. `body` is a JSON value, a mapping of form fields, a text, or None.
    """

    number: int
    exchange: int
    at: float
    sender: str
    receiver: str
    protocol: Literal["http", "jsonrpc"]
    kind: Kind
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    url: str = ""

    def __str__(self) -> str:
        lines = [f"{self.sender} -> {self.receiver}   {self.title}"]
        lines += [f"    {line}" for line in url_lines(self.url)[1:]]
        for name, value in self.headers.items():
            if name not in _QUIET_HEADERS:
                first, *others = url_lines(value) if name == "location" else [value]
                lines += [f"    {name}: {first}", *(f"        {line}" for line in others)]
        if self.body is not None:
            lines += [f"    {line}" for line in self._body_lines()]
        return "\n".join(map(escape, lines))

    def _body_lines(self) -> list[str]:
        text = self.body if isinstance(self.body, str) else json_text(self.body)
        lines = text.splitlines()
        if len(lines) <= _MOST_BODY_LINES:
            return lines
        return [*lines[:_MOST_BODY_LINES], f"... {len(lines) - _MOST_BODY_LINES} more lines; `.body` has them all"]

    def __repr__(self) -> str:
        return f"<{self.number}. {self.sender} -> {self.receiver}: {self.title}>"


@dataclass(frozen=True)
class Exchange:
    """A request with its answer. There is none while it is under way, and never for a notification."""

    request: Message
    response: Message | None = None

    def __str__(self) -> str:
        return "\n".join(str(message) for message in (self.request, self.response) if message is not None)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(_as_html(message) for message in (self.request, self.response) if message is not None)


def _as_html(message: Message) -> str:
    parties = element("b", f"{message.sender} → {message.receiver}")
    lines = str(message).split("\n")[1:]
    block = element("pre", verbatim("\n".join(lines)), style=_BLOCK) if lines else None
    return element("div", parties, Html(" &nbsp; "), element("code", message.title), block)


_BLOCK = "margin:0 0 .7em 1.2em;font-size:var(--jp-code-font-size,.9em);line-height:1.35"
