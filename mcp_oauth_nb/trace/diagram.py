"""A sequence of messages as a diagram: text for terminals, Mermaid for documents, SVG for notebooks.

Pure functions from messages to strings, linear in their number. The three forms say the same: requests and
answers are solid arrows, errors are crossed, notifications are dashed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .layout import Layout, cell, cells, label_of, lay_out, name_of, participants, printable, shorten
from .messages import Message
from .svg import to_svg

__all__ = ["Diagram", "to_mermaid", "to_svg", "to_text"]


@dataclass(frozen=True, repr=False)
class Diagram:
    """A sequence diagram. Jupyter shows the SVG; `repr`, `str` and `print` give the text form."""

    messages: Sequence[Message]

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))

    @property
    def text(self) -> str:
        """The diagram in box-drawing characters."""
        return to_text(self.messages)

    @property
    def mermaid(self) -> str:
        """The diagram as Mermaid source, for a Markdown document."""
        return to_mermaid(self.messages)

    @property
    def svg(self) -> str:
        """The diagram as a self-contained SVG element."""
        return to_svg(self.messages)

    def svg_with(self, *, lit: int | None = None) -> str:
        """Draw the SVG for a widget whose arrows can be chosen.

        Args:
            lit: the number of the exchange whose arrows are marked.
        """
        return to_svg(self.messages, lit=lit, choosable=True)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        # No text/html: a notebook that is not trusted would show it with the drawing stripped off.
        return {"text/plain": self.text, "image/svg+xml": self.svg}


# -- text ------------------------------------------------------------------------------------------------------


def to_text(messages: Sequence[Message]) -> str:
    """Draw lifelines and arrows in box-drawing characters, at most `WIDTH` columns wide."""
    if not messages:
        return "(no messages)"
    layout = lay_out(messages)
    lines = [*_text_header(layout)]
    for message in messages:
        # Request and answer stay together.
        if message.kind in ("request", "notification"):
            lines.append(_lifelines(layout))
        lines += _text_message(layout, message)
    return "\n".join("".join(line).rstrip() for line in lines)


def _text_header(layout: Layout) -> Iterator[list[str]]:
    top, middle, bottom = ([" "] * (layout.width + 1) for _ in range(3))
    for name, column in layout.lanes.items():
        shown = name_of(name)
        wide = cells(shown) + 2
        start = column - (wide + 2) // 2
        _write(top, start, f"┌{'─' * wide}┐")
        _write(middle, start, f"│ {shown} │")
        _write(bottom, start, f"└{'─' * wide}┘")
        bottom[column] = "┬"
    yield from (top, middle, bottom)


def _text_message(layout: Layout, message: Message) -> Iterator[list[str]]:
    left, right = layout.span(message)
    label = _lifelines(layout)
    _write(label, left + 2, shorten(label_of(message), right - left - 3))
    yield label
    arrow = _lifelines(layout)
    dash = "╌" if message.kind == "notification" else "─"
    if message.sender == message.receiver:
        _write(arrow, left, f"├{dash}{'✗' if message.kind == 'error' else dash}┐")
        back = _lifelines(layout)
        _write(back, left + 1, f"<{dash}┘")
        yield from (arrow, back)
        return
    for column in range(left + 1, right):
        arrow[column] = dash if arrow[column] == " " else "┼"
    forward = layout.lanes[message.sender] == left
    tail, head, step = (left, right - 1, -1) if forward else (right, left + 1, 1)
    arrow[tail], arrow[head] = ("├", ">") if forward else ("┤", "<")
    if message.kind == "error":
        arrow[head + 2 * step] = "✗"
    yield arrow


def _lifelines(layout: Layout) -> list[str]:
    line = [" "] * (layout.width + 1)
    for column in layout.lanes.values():
        line[column] = "│"
    return line


def _write(line: list[str], column: int, text: str) -> None:
    """Write a text into a line of cells; the cell after a wide character becomes empty."""
    for char in text:
        cells = cell(char)
        if cells == 0:
            line[column - 1] += char
            continue
        line[column : column + cells] = [char, *[""] * (cells - 1)]
        column += cells


# -- Mermaid ---------------------------------------------------------------------------------------------------

_MERMAID_ARROWS = {"request": "->>", "response": "->>", "error": "-x", "notification": "--)"}


def to_mermaid(messages: Sequence[Message]) -> str:
    """Write a Mermaid `sequenceDiagram`."""
    ids = {name: f"P{number}" for number, name in enumerate(participants(messages), start=1)}
    lines = [f"    participant {alias} as {_mermaid_escape(printable(name))}" for name, alias in ids.items()]
    lines += [
        f"    {ids[message.sender]}{_MERMAID_ARROWS[message.kind]}{ids[message.receiver]}: "
        f"{_mermaid_escape(label_of(message))}"
        for message in messages
    ]
    return "\n".join(["sequenceDiagram", *lines])


def _mermaid_escape(text: str) -> str:
    # `;` ends a statement, `#` starts an entity, `%%{` a directive; `<` and `&` would be read as HTML. A colon before
    # an entity would lose the entity's end where the word "style" stands before it.
    return re.sub(r"[;#%<&]|:(?! )", lambda match: f"#{ord(match[0])};", text)
