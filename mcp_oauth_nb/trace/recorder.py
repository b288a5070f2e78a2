"""The recorder: HTTP exchanges and JSON-RPC frames, in the order in which they crossed the wire.

Everything is masked while it is recorded (`oauth.masking`), and copied, so that a trace can be shown, saved and
shared. Traffic is recorded on whatever thread it runs; a trace can be read while it grows.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal

import httpx

from ..oauth.clock import Clock, SystemClock
from ..oauth.http import around
from ..oauth.masking import escape, scrub
from .diagram import Diagram
from .frames import recorded_frames
from .http_recorder import HttpRecorder, Receiver
from .messages import CLIENT, GITHUB, SERVER, Exchange, Kind, Message

if TYPE_CHECKING:
    import httpx2


class Trace:
    """A list of messages that grows while the traffic passes.

    Args:
        clock: stamps each message.
    """

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or SystemClock()
        self._messages: list[Message] = []
        self._numbers = 0
        self._exchanges = 0
        self._lock = threading.Lock()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message so far."""
        with self._lock:
            return tuple(self._messages)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request with its answer, in the order of the requests."""
        return pair(self.messages)

    @property
    def next_exchange(self) -> int:
        """The number that the next exchange will have."""
        with self._lock:
            return self._exchanges + 1

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: int) -> Exchange:
        return self.exchanges[index]

    def since(self, number: int) -> tuple[Exchange, ...]:
        """Return the exchanges that began after the first `number` messages: `mark = len(trace)` before, this after."""
        return pair(self.messages[number:])

    def find(self, text: str) -> tuple[Exchange, ...]:
        """Return the exchanges whose request title or URL contains a text, such as `tools/call` or `/login/oauth`."""
        requests = ((exchange.request, exchange) for exchange in self.exchanges)
        return tuple(exchange for request, exchange in requests if text in request.title or text in request.url)

    def clear(self) -> None:
        """Forget all messages. Numbers go on from where they were."""
        with self._lock:
            self._messages.clear()

    def diagram(self, since: int = 0, *, parties: Collection[str] | None = None) -> Diagram:
        """Draw the sequence, from the message after the first `since`.

        Args:
            parties: draw only what these send to each other.
        """
        messages = self.messages[since:]
        return Diagram([m for m in messages if parties is None or {m.sender, m.receiver} <= set(parties)])

    def __repr__(self) -> str:
        return (
            "\n".join(f"{m.number:>3}  {m.sender} -> {m.receiver}: {m.title}" for m in self.messages) or "(empty trace)"
        )

    # -- recording ---------------------------------------------------------------------------------------------

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
        """Append one message, whose content must already be masked.

        Args:
            answers: the exchange that this message completes; without it a new exchange begins.

        Returns:
            The number of the exchange.
        """
        with self._lock:
            if answers is None:
                self._exchanges += 1
            exchange = self._exchanges if answers is None else answers
            self._numbers += 1
            self._messages.append(
                Message(
                    self._numbers,
                    exchange,
                    self._clock.now(),
                    sender,
                    receiver,
                    protocol,
                    kind,
                    escape(scrub(title)),
                    headers or {},
                    body,
                    url,
                )
            )
            return exchange

    def http(
        self, transport: httpx.AsyncBaseTransport, *, sender: str = CLIENT, receiver: Receiver = GITHUB
    ) -> httpx.AsyncBaseTransport:
        """Wrap an httpx transport so that what passes through it is recorded.

        Args:
            transport: the one that does the work.
            sender: who uses it, such as `MCP client`.
            receiver: who answers, or a function that says so for a URL.
        """
        return around(transport, HttpRecorder(self, sender, receiver).handle)

    def http2(
        self, transport: httpx2.AsyncBaseTransport, *, sender: str = CLIENT, receiver: Receiver = SERVER
    ) -> httpx2.AsyncBaseTransport:
        """Wrap an httpx2 transport, which the SDK's HTTP client uses, in the same way.

        Args:
            transport: the one that does the work.
            sender: who uses it, such as `MCP client`.
            receiver: who answers, or a function that says so for a URL.
        """
        return around(transport, HttpRecorder(self, sender, receiver).handle)

    def frames(
        self, transport: AbstractAsyncContextManager[tuple[Any, Any]], *, client: str = CLIENT, server: str = SERVER
    ) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        """Wrap an MCP transport so that its JSON-RPC frames are recorded: `Client(trace.frames(transport))`."""
        return recorded_frames(self, transport, client, server)


def pair(messages: tuple[Message, ...]) -> tuple[Exchange, ...]:
    """Put requests and answers together; an answer whose request is not among the messages is left out."""
    answers = {message.exchange: message for message in messages if message.kind in ("response", "error")}
    return tuple(
        Exchange(message, answers.get(message.exchange) if message.kind == "request" else None)
        for message in messages
        if message.kind in ("request", "notification")
    )
