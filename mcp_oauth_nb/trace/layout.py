"""The layout of a sequence diagram, in columns of a monospaced font; shared by its text and SVG forms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from .messages import AUTHORIZATION_SERVER, BROWSER, CLIENT, GITHUB, SERVER, Message

#: The width that a diagram keeps to, in columns, for up to five participants.
WIDTH = 110

_ORDER = (BROWSER, CLIENT, SERVER, AUTHORIZATION_SERVER, GITHUB)
_LONGEST_NAME = 16

# A title names the path only: the arrow shows the host.
_URL = re.compile(r"(?<!\S)(?:[a-z][a-z0-9+.\-]*://[^\s/?#]*(/[^\s?#]*)?|(/[^\s?#]*))(?:[?#]\S*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where each participant's lifeline is, in columns, and how wide everything is."""

    lanes: Mapping[str, int]
    width: int

    def span(self, message: Message) -> tuple[int, int]:
        """Return the columns between which a message is drawn. One to oneself loops on the right."""
        ends = sorted((self.lanes[message.sender], self.lanes[message.receiver]))
        if ends[0] < ends[1]:
            return ends[0], ends[1]
        return ends[0], next((column for column in self.lanes.values() if column > ends[0]), self.width)


def participants(messages: Sequence[Message]) -> tuple[str, ...]:
    """Return who takes part: the parties of the flow in their usual order, then others as they appear."""
    seen = dict.fromkeys(name for message in messages for name in (message.sender, message.receiver))
    return tuple(name for name in _ORDER if name in seen) + tuple(name for name in seen if name not in _ORDER)


def lay_out(messages: Sequence[Message]) -> Layout:
    """Place the lifelines so that the titles fit, within `WIDTH`. There must be a message."""
    names = participants(messages)
    index = {name: place for place, name in enumerate(names)}
    boxes = [cells(name_of(name)) + 4 for name in names]
    # Between two lifelines: half of each box and two spaces. After the last: the other half of its box.
    least = [(left + 1) // 2 + 2 + right // 2 for left, right in pairwise(boxes)] + [(boxes[-1] + 1) // 2]
    wanted = list(least)
    for message in messages:
        first, last = sorted((index[message.sender], index[message.receiver]))
        lanes = range(first, max(last, first + 1))
        if len(lanes) == 1:
            # A title that is cut keeps the first half of its room, which is made wide enough for the number.
            least[first] = max(least[first], 2 * len(f"{message.number}.") + 3)
        share = -(-(cells(label_of(message)) + 4) // len(lanes))
        for lane in lanes:
            wanted[lane] = max(wanted[lane], least[lane], share)
    gaps = _share_out(WIDTH - boxes[0] // 2, least, wanted)
    columns = [boxes[0] // 2]
    for gap in gaps:
        columns.append(columns[-1] + gap)
    return Layout(dict(zip(names, columns, strict=False)), columns[-1])


def _share_out(width: int, least: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Give every gap its least width, and of the rest as much as it wants, smallest wish first so that none is wasted.

    Args:
        width: the columns to share.
        least: what each gap must have, even if that is more than there is.
        wanted: what each gap would like, at least its least.
    """
    gaps = list(least)
    spare = max(0, width - sum(least))
    order = sorted(range(len(gaps)), key=lambda gap: wanted[gap] - least[gap])
    for position, gap in enumerate(order):
        extra = min(wanted[gap] - least[gap], spare // (len(order) - position))
        gaps[gap] += extra
        spare -= extra
    return gaps


def label_of(message: Message) -> str:
    """Return what stands above an arrow: its number and its title."""
    return f"{message.number}. {title_of(message)}"


def title_of(message: Message) -> str:
    """Return a message's title on one line, its URLs cut down to their paths."""
    title = message.title
    if message.protocol == "http" and isinstance(message.body, dict) and {"jsonrpc", "method"} <= set(message.body):
        # All MCP messages go to one URL: the method of the message says more than "POST /mcp".
        title = title.split(" ", 2)[-1]
    return printable(_URL.sub(lambda match: match[1] or match[2] or "/", title))


def name_of(name: str) -> str:
    """Return a participant's name as its box shows it: the usual parties' whole, another's cut."""
    return name if name in _ORDER else shorten(printable(name), _LONGEST_NAME)


def printable(text: str) -> str:
    """Put a text on one line; what could move the cursor, turn the writing direction or break XML becomes U+FFFD."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def cells(text: str) -> int:
    """Count the columns that a text takes in a monospaced font."""
    return len(text) if text.isascii() else sum(map(cell, text))


def cell(char: str) -> int:
    """Count the columns of one character: 0 for a combining one, 2 for a wide one."""
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, room: int) -> str:
    """Cut the middle out of a text that takes more than `room` columns: both ends tell more."""
    if cells(text) <= room:
        return text
    tail = _prefix(text[::-1], (room - 1) // 2)[::-1]
    return f"{_prefix(text, room - 1 - cells(tail))}…{tail}"


def _prefix(text: str, room: int) -> str:
    return text[: sum(columns <= room for columns in accumulate(map(cell, text)))]
