"""The logic of the trace view: which exchanges match, which of them are on the page, which is looked at or compared."""

from __future__ import annotations

import json
from typing import Any

from traitlets import Bool, Enum, HasTraits, Int, Unicode, observe

from ...trace.diagram import Diagram
from ...trace.diff import TraceDiff, diff
from ...trace.messages import Exchange, Message
from ...trace.recorder import Trace

#: How many exchanges are on a page: their diagram is still looked at as a whole.
PAGE_SIZE = 10


class TraceModel(HasTraits):
    """A window onto a trace. The cost of a page does not grow with the trace, that of a filter does linearly.

    Args:
        trace: the recording; it may grow.
        size: how many exchanges a page has.

    Attributes:
        text: must be in the title or the address of the request, or in the title of the answer.
        search: must be anywhere in the exchange, headers and bodies included.
        party: the party that must have sent or received it; empty for all.
        protocol: `http`, `jsonrpc`, or empty for both.
        errors_only: show only what was answered by an error.
        page: counts from 1.
        chosen: the number of the exchange that is looked at; 0 for none.
        pinned: the number of the exchange that it is compared with; 0 for none.
        version: grows with every look at the trace.
    """

    text = Unicode()
    search = Unicode()
    party = Unicode()
    protocol = Enum(["", "http", "jsonrpc"], default_value="")
    errors_only = Bool(False)
    page = Int(1)
    chosen = Int(0)
    pinned = Int(0)
    version = Int(0)

    def __init__(self, trace: Trace, *, size: int = PAGE_SIZE):
        super().__init__()
        self.trace = trace
        self.size = size
        self.exchanges: tuple[Exchange, ...] = ()
        self.matches: tuple[Exchange, ...] = ()
        self.parties: tuple[str, ...] = ()
        self._read: tuple[int, int] = (-1, -1)
        self._by_number: dict[int, Exchange] = {}
        # The text that is searched is made once: an exchange changes only when its answer comes.
        self._haystacks: dict[tuple[int, bool], str] = {}
        self.look()

    # -- what can be done ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the trace again, if it has changed."""
        state = (len(self.trace), self.trace.next_exchange)
        if state == self._read:
            return
        self._read = state
        self.exchanges = self.trace.exchanges
        self._by_number = {exchange.request.exchange: exchange for exchange in self.exchanges}
        names = (name for e in self.exchanges for name in (e.request.sender, e.request.receiver))
        self.parties = tuple(dict.fromkeys(names))
        with self.hold_trait_notifications():
            self._filter()
            self.version += 1

    def choose(self, number: int) -> Exchange:
        """Look at an exchange, and turn to its page.

        Raises:
            LookupError: there is none of this number, or the filters hide it.
        """
        exchange = self._by_number.get(number)
        place = next((i for i, match in enumerate(self.matches) if match is exchange), None)
        if exchange is None or place is None:
            raise LookupError(f"exchange {number} is not among the {len(self.matches)} that are shown")
        with self.hold_trait_notifications():
            self.page = place // self.size + 1
            self.chosen = number
        return exchange

    def turn(self, page: int) -> None:
        """Turn to a page, the nearest if there is no such, and look at its first exchange."""
        with self.hold_trait_notifications():
            self.page = min(max(page, 1), self.pages)
            self.chosen = next(iter(self.numbers), 0)

    def pin(self) -> None:
        """Keep the exchange that is shown now, to compare others with it."""
        self.pinned = self.chosen

    def unpin(self) -> None:
        """End the comparison."""
        self.pinned = 0

    def diff(self, left: int, right: int) -> TraceDiff:
        """Compare two exchanges by their numbers.

        Raises:
            LookupError: there is none of this number.
        """
        for number in (left, right):
            if number not in self._by_number:
                raise LookupError(f"there is no exchange {number}")
        return diff(self._by_number[left], self._by_number[right])

    # -- what is shown ---------------------------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        """How many pages the matches fill, at least one."""
        return max(1, -(-len(self.matches) // self.size))

    @property
    def window(self) -> tuple[Exchange, ...]:
        """The exchanges of the page."""
        start = (self.page - 1) * self.size
        return self.matches[start : start + self.size]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the exchanges of the page."""
        return tuple(exchange.request.exchange for exchange in self.window)

    @property
    def exchange(self) -> Exchange | None:
        """The exchange that is looked at."""
        return self._by_number.get(self.chosen)

    @property
    def difference(self) -> TraceDiff | None:
        """The exchange that is shown against the pinned one, if these are two."""
        if self.pinned in (0, self.chosen) or self.pinned not in self._by_number or self.exchange is None:
            return None
        return self.diff(self.pinned, self.chosen)

    @property
    def diagram(self) -> Diagram:
        """The sequence diagram of the page."""
        pairs = ((exchange.request, exchange.response) for exchange in self.window)
        messages = (message for pair in pairs for message in pair if message is not None)
        return Diagram(sorted(messages, key=lambda message: message.number))

    @property
    def summary(self) -> str:
        """One line: how many there are, and where the page stands."""
        shown, there = len(self.matches), len(self.exchanges)
        many = f"{shown} of {there} exchanges" if shown != there else f"{there} exchange{'s' * (there != 1)}"
        return f"{many}, page {self.page} of {self.pages}"

    # -- inside ----------------------------------------------------------------------------------------------------

    @observe("text", "search", "party", "protocol", "errors_only")
    def _changed(self, _: Any) -> None:
        with self.hold_trait_notifications():
            self.page = 1
            self._filter()
            self.version += 1

    def _filter(self) -> None:
        self.matches = tuple(exchange for exchange in self.exchanges if self._fits(exchange))
        self.page = min(self.page, self.pages)
        if self.chosen not in self.numbers:
            self.chosen = next(iter(self.numbers), 0)

    def _fits(self, exchange: Exchange) -> bool:
        request, answer = exchange.request, exchange.response
        if self.errors_only and not is_error(exchange):
            return False
        if self.party and self.party not in (request.sender, request.receiver):
            return False
        if self.protocol and self.protocol != request.protocol:
            return False
        if self.text:
            titles = f"{request.title}\n{request.url}\n{answer.title if answer else ''}"
            if self.text.lower() not in titles.lower():
                return False
        return not self.search or self.search.lower() in self._haystack(exchange)

    def _haystack(self, exchange: Exchange) -> str:
        key = (exchange.request.exchange, exchange.response is not None)
        if key not in self._haystacks:
            messages = (message for message in (exchange.request, exchange.response) if message is not None)
            self._haystacks[key] = "\n".join(map(_written_out, messages)).lower()
        return self._haystacks[key]

    def __repr__(self) -> str:
        return f"TraceModel({self.summary})"


def is_error(exchange: Exchange) -> bool:
    """Say whether an exchange was answered by an error, or is a message about one."""
    return exchange.response is not None and exchange.response.kind == "error"


def _written_out(message: Message) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in message.headers.items())
    body = message.body if isinstance(message.body, str) else json.dumps(message.body, ensure_ascii=False)
    return f"{message.title}\n{message.url}\n{headers}\n{body if message.body is not None else ''}"
