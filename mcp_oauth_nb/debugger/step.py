"""What a run leaves behind: one record for each step, and the first cause of what went wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..oauth.check import SIGNS, Check
from ..oauth.errors import McpOAuthError
from ..oauth.text import WIDTH
from ..trace.messages import Exchange, Message
from ..trace.recorder import Trace
from .checks.refusals import STILL_COUNT
from .flow_table import STEPS, StepKind


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
        """What was answered, in one line: `200 OK`, or `400 Bad Request (error=invalid_grant)`."""
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
    """Collects steps as their exchanges pass, from a trace that grows beside."""

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
        """Put more about a step in its place."""
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
