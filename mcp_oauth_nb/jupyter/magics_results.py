"""Results of `%mcp`: values that read well as the last line of a cell, and that code can use further."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..oauth.masking import escape, printable, scrub
from ..oauth.text import json_text
from ..trace.layout import title_of
from ..trace.messages import Exchange

if TYPE_CHECKING:
    from mcp_types import CallToolResult, Tool

    from ..client.session import Session
    from ..trace.recorder import Trace

_NOTHING = "(none)"


def text_of(text: str) -> str:
    """Return a server's text as it may be shown: secrets masked, control characters escaped, lines kept."""
    return "\n".join(map(escape, scrub(text).split("\n")))


# -- tools -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ToolList(Sequence["Tool"]):
    """The tools of a server, by their place or their name."""

    tools: tuple[Tool, ...] = ()

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.tools[key]
        if (tool := self.find(key)) is None:
            raise KeyError(key)
        return tool

    def __len__(self) -> int:
        return len(self.tools)

    def find(self, name: str) -> Tool | None:
        """Return the tool of a name, or None."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def __repr__(self) -> str:
        return "\n".join(line for tool in self.tools for line in _lines(tool)) or _NOTHING


def properties(tool: Tool) -> dict[str, Any]:
    """Return the JSON schema of each argument of a tool."""
    found = tool.input_schema.get("properties")
    return {name: schema if isinstance(schema, dict) else {} for name, schema in (found or {}).items()}


def types(schema: dict[str, Any]) -> set[str]:
    """Return the JSON types that a schema names, by itself or by its alternatives."""
    own = schema.get("type", [])
    named = {own} if isinstance(own, str) else set(own)
    return named.union(*(types(other) for other in schema.get("anyOf", []) if isinstance(other, dict)))


def _lines(tool: Tool) -> Iterator[str]:
    required = tool.input_schema.get("required", [])
    arguments = [_argument(name, schema, name in required) for name, schema in properties(tool).items()]
    yield f"{printable(tool.name)}({', '.join(arguments)})"
    first = (tool.description or "").strip().partition("\n")[0]
    if first:
        yield f"    {printable(first)}"


def _argument(name: str, schema: dict[str, Any], required: bool) -> str:
    kinds = [kind for kind in sorted(types(schema)) if kind != "null"]
    shown = f"{printable(name)}: {printable(' or '.join(kinds))}" if kinds else printable(name)
    if required:
        return shown
    return f"{shown} = {printable(json.dumps(schema.get('default'), ensure_ascii=False))}"


# -- a connection ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Connected:
    """The connection of `%mcp`.

    Attributes:
        target: what was asked for: a URL, or the name of a variable.
        session: the connection.
        trace: what crossed the wire, where it is recorded.
        tools: as they were listed last.
        owned: opened by `%mcp`, which closes it.
        authorize: obtains a token, where the session does not do it by itself.
    """

    target: str
    session: Session
    trace: Trace | None
    tools: ToolList
    owned: bool
    authorize: Any = None

    def __repr__(self) -> str:
        info = self.session.server_info
        server = printable(f"{info.name} {info.version}".strip()) if info else "a server without a name"
        number = len(self.tools)
        tools = f"{number} tool{'' if number == 1 else 's'}"
        return f"Connected to {server} by MCP {self.session.protocol_version}: {tools}\n{self.tools!r}"


# -- an answer -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ToolResult:
    """The answer of a tool.

    Attributes:
        tool: its name.
        result: the SDK's value.
    """

    tool: str
    result: CallToolResult

    @property
    def is_error(self) -> bool:
        """Whether the tool says that it failed."""
        return bool(self.result.is_error)

    @property
    def value(self) -> Any:
        """The structured content; without it the text."""
        structured = self.result.structured_content
        return self.text if structured is None else structured

    @property
    def text(self) -> str:
        """The content for a person: texts as they are, of everything else its kind."""
        return "\n".join(
            content.text if content.type == "text" else f"({content.type})" for content in self.result.content
        )

    def __repr__(self) -> str:
        value = self.value
        shown = text_of(value if isinstance(value, str) else json_text(value)) or _NOTHING
        return f"✘ {printable(self.tool)} failed: {shown}" if self.is_error else shown


# -- a recording -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class ExchangeList(Sequence[Exchange]):
    """The exchanges of a trace; `%mcp trace 3` shows the third."""

    exchanges: tuple[Exchange, ...]

    def __getitem__(self, key: Any) -> Any:
        return self.exchanges[key]

    def __len__(self) -> int:
        return len(self.exchanges)

    def __repr__(self) -> str:
        rows = [_row(number, exchange) for number, exchange in enumerate(self.exchanges, start=1)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(_line(row, widths) for row in rows) or _NOTHING


def _row(number: int, exchange: Exchange) -> tuple[str, str, str, str]:
    request, response = exchange.request, exchange.response
    answer = title_of(response) if response else "" if request.kind == "notification" else "(no answer yet)"
    return str(number), f"{request.sender} -> {request.receiver}", title_of(request), answer


def _line(row: tuple[str, str, str, str], widths: list[int]) -> str:
    number, *cells = row
    padded = [cell.ljust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    return "  ".join([number.rjust(widths[0] + 1), *padded]).rstrip()
