"""Offers of the Tab key after `%mcp`, by a pure function. No server is asked: the tools were listed before."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from .magics_results import Connected, properties

#: The commands, in the order of their help.
COMMANDS = ("connect", "tools", "call", "trace", "close")
#: Options of `connect`.
OPTIONS = ("--legacy", "--auth")

# `value = %mcp call ...` too.
_LINE = re.compile(r"^\s*(?:[\w.]+\s*=\s*)?%mcp(\s.*)$")

# Module and class. Only modules that are loaded are looked at: from no other can a variable come.
_TARGETS = (
    ("mcp.server", "MCPServer"),
    ("mcp", "StdioServerParameters"),
    ("mcp_oauth_nb.lab.lab", "Lab"),
    ("mcp_oauth_nb.lab.http_lab", "HttpLab"),
    ("mcp_oauth_nb.client.session", "Session"),
)
_AUTH = (("mcp_oauth_nb.client.auth", "McpAuth"),)


def completions(line: str, connected: Connected | None, names: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """Return what may stand at the end of a line.

    Args:
        line: up to the cursor.
        connected: what `%mcp` is connected to.
        names: the user's variables.

    Returns:
        The piece that is there already, and all that it may become; None if the line is none of `%mcp`.
    """
    match = _LINE.match(line)
    if match is None:
        return None
    *before, piece = re.split(r"\s+", match[1].lstrip()) if match[1].strip() else [""]
    offered = _offered(before, piece, connected, names)
    return piece, [text for text in offered if text.startswith(piece)]


def _offered(before: list[str], piece: str, connected: Connected | None, names: Mapping[str, Any]) -> list[str]:
    match before:
        case []:
            return list(COMMANDS)
        case ["connect", *given]:
            if given and given[-1] == "--auth":
                return _variables(names, _AUTH)
            rest = [option for option in OPTIONS if option not in given]
            return rest if piece.startswith("-") or _has_target(given) else [*_variables(names, _TARGETS), *rest]
        case ["call"]:
            return [tool.name for tool in connected.tools] if connected is not None else []
        case ["call", name, *given]:
            return _arguments(name, given, piece, connected)
        case ["trace"]:
            return ["diagram", *map(str, range(1, 1 + _recorded(connected)))]
    return []


def _has_target(given: list[str]) -> bool:
    return any(
        not word.startswith("-") and before != "--auth" for before, word in zip(["", *given], given, strict=False)
    )


def _arguments(name: str, given: list[str], piece: str, connected: Connected | None) -> list[str]:
    tool = connected.tools.find(name) if connected is not None else None
    if tool is None or any(word.startswith("{") for word in (*given, piece)):
        return []
    known = properties(tool)
    named, equals, _ = piece.partition("=")
    if equals:
        return [f"{named}={value}" for value in _values(known.get(named, {}))]
    taken = {word.partition("=")[0] for word in given}
    return [f"{argument}=" for argument in known if argument not in taken]


def _values(schema: dict[str, Any]) -> list[str]:
    if "enum" in schema:
        return [value if isinstance(value, str) else json.dumps(value) for value in schema["enum"]]
    return ["true", "false"] if schema.get("type") == "boolean" else []


def _recorded(connected: Connected | None) -> int:
    return len(connected.trace.exchanges) if connected is not None and connected.trace is not None else 0


def _variables(names: Mapping[str, Any], kinds: tuple[tuple[str, str], ...]) -> list[str]:
    loaded = tuple(
        kind
        for module, name in kinds
        if module in sys.modules and isinstance(kind := getattr(sys.modules[module], name, None), type)
    )
    return sorted(name for name, value in names.items() if isinstance(value, loaded) and not name.startswith("_"))
