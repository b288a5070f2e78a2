"""Two exchanges side by side: what was added, removed or changed, field by field rather than line by line.

    print(trace_diff.diff(trace[3], trace[7]))

An exchange is laid out as named values (a header, a parameter, a field of the body), so that the order in which they
were written makes no difference. Pure functions, linear in the size of the exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from ..oauth.masking import escape
from ..oauth.text import json_text
from .messages import Exchange, Message

Change = Literal["same", "added", "removed", "changed"]

#: A sign beside each word, so that no colour has to be told apart.
SIGNS: dict[Change, str] = {"same": "=", "added": "+", "removed": "−", "changed": "≠"}

# These headers depend on the time, or on the body, which is compared itself.
_QUIET_HEADERS = frozenset({"date", "content-length"})


@dataclass(frozen=True)
class Line:
    """One named value of both exchanges; None where an exchange does not have it."""

    part: str
    name: str
    change: Change
    left: str | None
    right: str | None

    def __str__(self) -> str:
        shown = {
            "same": self.left,
            "added": self.right,
            "removed": self.left,
            "changed": f"{self.left} -> {self.right}",
        }
        # The name and the value come from a peer, so they are made printable.
        return escape(f"{SIGNS[self.change]} {self.change:<7}  {self.part} {self.name}: {shown[self.change]}")


@dataclass(frozen=True, repr=False)
class TraceDiff:
    """The aligned lines of two exchanges. `print` shows those that differ."""

    left: int
    right: int
    lines: tuple[Line, ...]

    @property
    def differences(self) -> tuple[Line, ...]:
        """The lines that are not the same in both."""
        return tuple(line for line in self.lines if line.change != "same")

    def __bool__(self) -> bool:
        return bool(self.differences)

    @property
    def summary(self) -> str:
        """How many lines there are of each kind."""
        counts = {change: sum(line.change == change for line in self.lines) for change in SIGNS}
        told = [f"{count} {change}" for change, count in counts.items() if count and change != "same"]
        return f"Exchange {self.left} against {self.right}: {', '.join(told) or 'no difference'}"

    def __repr__(self) -> str:
        return "\n".join([self.summary, *map(str, self.differences)])


def diff(left: Exchange, right: Exchange) -> TraceDiff:
    """Compare two exchanges: both requests, then both answers."""
    here, there = dict(_fields(left)), dict(_fields(right))
    order = {part: rank for rank, part in enumerate(dict.fromkeys(part for part, _ in _PARTS))}
    keys = sorted(dict.fromkeys([*here, *there]), key=lambda key: order[key[0]])
    lines = tuple(Line(*key, _change(here.get(key), there.get(key)), here.get(key), there.get(key)) for key in keys)
    return TraceDiff(left.request.exchange, right.request.exchange, lines)


def _change(left: str | None, right: str | None) -> Change:
    if left == right:
        return "same"
    if left is None:
        return "added"
    return "removed" if right is None else "changed"


_Key = tuple[str, str]
_PARTS = [
    (f"{side} {part}".strip(), part) for side in ("request", "response") for part in ("", "parameter", "header", "body")
]


def _fields(exchange: Exchange) -> Iterator[tuple[_Key, str]]:
    yield from _of("request", exchange.request)
    if exchange.response is not None:
        yield from _of("response", exchange.response)


def _of(side: str, message: Message) -> Iterator[tuple[_Key, str]]:
    yield (side, "from"), message.sender
    yield (side, "to"), message.receiver
    yield (side, "line"), message.title
    for name, value in _numbered(parse_qsl(urlsplit(message.url).query, keep_blank_values=True)):
        yield (f"{side} parameter", name), value
    for name, value in message.headers.items():
        if name not in _QUIET_HEADERS:
            yield (f"{side} header", name), value
    for name, value in _leaves(message.body, ""):
        yield (f"{side} body", name), value


def _numbered(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Number the parameters that occur more than once, so that none is lost."""
    seen: dict[str, int] = {}
    for name, value in pairs:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Name each value inside a JSON value by the way to it: `result.tools[0].name`."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    elif value is not None or path:
        yield path or "text", value if isinstance(value, str) else json_text(value)
