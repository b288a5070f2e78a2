"""The steps of a flow: the table of all kinds, the record that each leaves behind, and the first cause of a failure.

The table says of each kind who talks to whom, why it exists, and what asks for it. The debugger, its panel, the
exports and the documentation of a run are made from it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ..oauth.check import SIGNS, Check
from ..oauth.errors import McpOAuthError
from ..oauth.text import WIDTH
from ..trace.messages import Exchange, Message
from ..trace.recorder import Trace
from .checks.refusals import STILL_COUNT


@dataclass(frozen=True)
class StepKind:
    """One step of the flow.

    Attributes:
        title: its name.
        why: why it exists, in two sentences.
        reference: the section that asks for it.
    """

    title: str
    why: str
    reference: str


_STEPS = {
    "handshake": StepKind(
        "Introduction",
        "Client and server agree on a version of the protocol and say what they can do. A server may let everybody "
        "do that, or ask for a token already here.",
        "MCP 2026-07-28, Lifecycle",
    ),
    "list": StepKind(
        "List of the tools",
        "The client learns which tools there are. Whether a tool needs a token does not show here.",
        "MCP 2025-06-18, Tools",
    ),
    "call": StepKind(
        "Request to the MCP server",
        "The client asks for what the user wants. Without a good token a protected server refuses, and the refusal "
        "says where to go.",
        "RFC 6750 section 3; MCP 2025-06-18, Authorization",
    ),
    "resource_metadata": StepKind(
        "Protected resource metadata",
        "The MCP server says who issues tokens for it. So the client needs to know nothing but the server's URL.",
        "RFC 9728 section 3",
    ),
    "server_metadata": StepKind(
        "Authorization server metadata",
        "The authorization server lists its endpoints and what it supports. The client checks that the document is "
        "that server's own and that PKCE with S256 is among it.",
        "RFC 8414 section 3",
    ),
    "registration": StepKind(
        "Registration of the client",
        "The authorization server has never met this client and gives it an id. The redirect URIs are fixed here, so "
        "that a code is only ever sent to this client.",
        "RFC 7591 section 3",
    ),
    "authorize": StepKind(
        "Authorization request, by the browser",
        "The person signs in and consents at the authorization server, where the client cannot look. The request "
        "carries the hash of a fresh code verifier, a state, the scopes and the resource.",
        "RFC 6749 section 4.1.1; RFC 7636 section 4.3; RFC 8707 section 2.1",
    ),
    "callback": StepKind(
        "Callback with the code",
        "The browser brings a code that is good once and briefly. The state shows that it answers this request, and "
        "`iss` which server it comes from.",
        "RFC 6749 section 4.1.2; RFC 9207 section 2",
    ),
    "token": StepKind(
        "Code for token",
        "The client exchanges the code for tokens and shows the code verifier. Whoever stole the code does not have "
        "the verifier.",
        "RFC 6749 section 4.1.3; RFC 7636 section 4.5",
    ),
    "authorized": StepKind(
        "The request again, with the token",
        "The client repeats its request with the access token in the Authorization header. The server checks that the "
        "token was made for it, is still good and reaches far enough.",
        "RFC 6750 section 2.1; RFC 8707 section 2",
    ),
    "refresh": StepKind(
        "Refresh",
        "The access token has expired, and the refresh token gets a new one without asking the person. For a public "
        "client each refresh token is good once and brings its successor.",
        "RFC 6749 section 6; RFC 9700 section 4.14",
    ),
    "reuse": StepKind(
        "The old refresh token, once more",
        "A refresh token that was used up comes back: either the client or a thief has an old copy. The server cannot "
        "tell which, so it must end the whole family of tokens.",
        "RFC 9700 section 4.14.2",
    ),
    "replay": StepKind(
        "The code, once more",
        "A code that was exchanged before is sent again, as whoever read a log would do. The server must refuse it, "
        "and should end the tokens that it gave.",
        "RFC 6749 section 4.1.2",
    ),
    "revoke": StepKind(
        "Revocation",
        "The client is done and says so. The token is worthless from then on, wherever a copy of it may lie.",
        "RFC 7009 section 2",
    ),
    "ended_refresh": StepKind(
        "The ended refresh token, tried",
        "The newest refresh token comes once more, after a revocation or a reuse has ended it. A confirmation alone "
        "proves nothing: that it is refused does.",
        "RFC 7009 section 2; RFC 9700 section 4.14.2",
    ),
    "ended_token": StepKind(
        "The ended access token, tried",
        "The request that was answered before is sent again, with the access token of the grant that has ended. A "
        "resource that checks a JWT by itself cannot know of that, and takes it until it expires.",
        "RFC 7009 section 2.1 and 3",
    ),
    "preflight": StepKind(
        "What a browser asks for a page",
        "Before a page of another site may send a token, its browser asks the server. Only a server that wants clients "
        "in pages has to allow it, and then at every endpoint that a client needs.",
        "RFC 9700 section 2.6",
    ),
    "cross_origin": StepKind(
        "The refusal, as a page sees it",
        "A client in a page calls without a token, and must be able to read the challenge. A browser hides every "
        "header that the server does not expose.",
        "RFC 9728 section 5.1",
    ),
}

#: Every step, in the order in which a first run meets them.
STEPS: Mapping[str, StepKind] = MappingProxyType(_STEPS)


@dataclass(frozen=True, repr=False)
class Step:
    """One step that was taken.

    Attributes:
        number: its place in the run, from 1.
        kind: its key in `STEPS`.
        messages: what crossed the wire for it, masked: a request with its answer, or the browser's arrow.
        checks: what was asked of it, and what came of each.
        changed: the parameters that were changed before it was sent, and how.
        predicted: what somebody thought would come of it.
        error: the error by which the client stopped after it.
    """

    number: int
    kind: str
    messages: tuple[Message, ...] = ()
    checks: tuple[Check, ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    predicted: str = ""
    error: McpOAuthError | None = None

    @property
    def about(self) -> StepKind:
        """Its title, the reason why it exists, and what asks for it."""
        return STEPS[self.kind]

    @property
    def exchange(self) -> Exchange | None:
        """The request with its answer; None before anything was sent."""
        if not self.messages:
            return None
        return Exchange(self.messages[0], self.messages[1] if len(self.messages) > 1 else None)

    @property
    def outcome(self) -> str:
        """The answer, in one line: `200 OK`, or `400 Bad Request (error=invalid_grant)`."""
        return self.messages[-1].title if self.messages else "nothing was sent"

    @property
    def prediction_held(self) -> bool | None:
        """Whether the outcome has the text that was predicted; None if nothing was."""
        return self.predicted.lower() in self.outcome.lower() if self.predicted else None

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    def __repr__(self) -> str:
        what_if = ", ".join(f"{name} {how}" for name, how in self.changed)
        lines = [f"{self.number}. {self.about.title}" + (f"   [what if: {what_if}]" if what_if else "")]
        if self.messages:
            first = self.messages[0]
            lines.append(f"   {first.sender} -> {first.receiver}   {first.title}")
            lines += [f"   {message.sender} -> {message.receiver}   {message.title}" for message in self.messages[1:]]
        lines += [f"   {check}" for check in self.checks]
        if self.predicted:
            lines.append(f"   predicted {self.predicted!r}: {'right' if self.prediction_held else 'not so'}")
        if self.error is not None:
            lines.append(f"   {type(self.error).__name__}: {self.error.message}")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class Cause:
    """The first thing that was not as it should be; what failed after it may be only its symptom."""

    step: Step
    check: Check

    def __repr__(self) -> str:
        return f"{self._where}: {self.check}"

    @property
    def _where(self) -> str:
        title = self.step.about.title
        return f"Step {self.step.number}, {title[0].lower()}{title[1:]}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show it in a notebook: the same, in lines that fit there."""
        check = self.check
        should = f"It should be: {check.should}" if check.should else ""
        seen = f"Seen: {check.message}" if check.message else ""
        parts = (f"{SIGNS[check.outcome]} {check.name}", seen, should, check.reference)
        wrapped = (textwrap.wrap(part, WIDTH, break_long_words=False, break_on_hyphens=False) for part in parts)
        printer.text("\n   ".join([self._where, *(line for lines in wrapped for line in lines)]))


def first_cause(steps: Iterable[Step]) -> Cause | None:
    """Find the first failed check; a client's error alone, without one before it, counts as one.

    After a request was changed, only that something wrong was accepted counts; see `refusals`.
    """
    changed = False
    for step in steps:
        changed = changed or bool(step.changed)
        for check in step.failed:
            if not changed or check.name in STILL_COUNT:
                return Cause(step, check)
    return None


class Records:
    """Collects steps as their exchanges pass, from a trace that grows at the same time."""

    def __init__(self, trace: Trace):
        self._trace = trace
        self._steps: list[Step] = []
        self._exchanges: list[int] = []

    def add(self, step: Step, exchange: int) -> int:
        """Add a step whose exchange will complete in the trace; return its place in the list."""
        self._steps.append(step)
        self._exchanges.append(exchange)
        return len(self._steps) - 1

    def replace(self, place: int, step: Step) -> None:
        """Replace a step by one with more facts."""
        self._steps[place] = step

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, place: int) -> Step:
        return self._steps[place]

    def steps(self) -> tuple[Step, ...]:
        """Return every step with its messages as they are now."""
        by_exchange: dict[int, list[Message]] = {}
        for message in self._trace.messages:
            by_exchange.setdefault(message.exchange, []).append(message)
        return tuple(
            replace(step, messages=tuple(by_exchange.get(exchange, ())))
            for step, exchange in zip(self._steps, self._exchanges, strict=True)
        )
