"""The logic of the flow debugger's panel: traits that follow a run."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from traitlets import Bool, HasTraits, Int, Unicode

from ...debugger import STEPS, FlowRun, Step
from ...oauth.errors import McpOAuthError
from ...oauth.masking import scrub
from ...runtime.loops import begin
from ...trace.messages import Message


class FlowModel(HasTraits):
    """Follows a run. The methods without `await` are for buttons: they begin the work and return.

    Args:
        run: what is stepped.

    Attributes:
        version: grows with every change of the run.
        chosen: the number of the step that is looked at; 0 for the newest.
        exchange: the number of the exchange that is looked at instead, if it belongs to no step: one between others
            than the client, such as the authorization server and GitHub.
        busy: whether something is under way that can be cancelled.
        message: what went wrong with the last click, without secrets.
        hint: what to do about it.
        confirmed: that a real server may be sent a changed request.
    """

    version = Int(0)
    chosen = Int(0)
    exchange = Int(0)
    busy = Bool(False)
    message = Unicode()
    hint = Unicode()
    confirmed = Bool(False)

    def __init__(self, run: FlowRun):
        super().__init__()
        self.run = run
        self._work: Future[Any] | None = None
        self._queued: Coroutine[Any, Any, Any] | None = None
        self._lock = threading.RLock()
        run.observe(self._changed)

    def _changed(self) -> None:
        self.version += 1

    # -- what is shown ---------------------------------------------------------------------------------------------

    @property
    def step(self) -> Step | None:
        """The step that is looked at."""
        steps = self.run.steps
        if not steps or self.exchange:
            return None
        return steps[self.chosen - 1] if 0 < self.chosen <= len(steps) else steps[-1]

    @property
    def summary(self) -> str:
        """The state of the run, in one line."""
        pending = self.run.pending
        after = f"; next: {STEPS[pending.kind].title}" if pending is not None else ""
        count = len(self.run.steps)
        return f"{self.run.state}, {count} step{'s' * (count != 1)}{after}"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the step that is looked at."""
        if self.exchange:
            return tuple(message for message in self.run.trace.messages if message.exchange == self.exchange)
        return self.step.messages if self.step is not None else ()

    def choose(self, number: int) -> None:
        """Look at a step; 0 for the newest."""
        with self.hold_trait_notifications():
            self.chosen, self.exchange = number, 0

    def choose_exchange(self, exchange: int) -> bool:
        """Look at an exchange, and at the step that it belongs to; False if there is no such exchange."""
        for step in self.run.steps:
            if any(message.exchange == exchange for message in step.messages):
                self.choose(step.number)
                return True
        known = any(message.exchange == exchange for message in self.run.diagram.messages)
        if known:
            self.exchange = exchange
        return known

    # -- what a line of code does too ------------------------------------------------------------------------------

    async def next(self, predict: str = "") -> Step | None:
        """Take one step and look at it."""
        step = await self.run.step(predict=predict)
        self.choose(0)
        return step

    async def to_the_end(self) -> None:
        """Step to the end of what is under way."""
        await self.run.run()
        self.choose(0)

    async def begin(self, action: str) -> None:
        """Begin one of the run's actions; it stops before its first request."""
        await self.run.begin(action)

    async def reset(self) -> None:
        """Begin from the beginning."""
        await self.run.reset()
        self.choose(0)

    def change(self, name: str, value: str | None) -> None:
        """Change a parameter of what is pending, or drop it with None."""
        self.run.change(really=self.confirmed, **{name: value})

    # -- for buttons -----------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, Any], *, anyway: bool = False) -> Future[Any]:
        """Do something on the loop thread; `busy` until it is done, and a typed error becomes `message` and `hint`.

        Args:
            work: waits until the action under way ends, unless that waits for a person. Only one click waits.
            anyway: do it at once.
        """
        with self._lock:
            if self.busy and self._work is not None and not anyway:
                if self.run.link or self._queued is not None:
                    work.close()
                else:
                    self._queued = work
                return self._work
            self._forget_queued()
            with self.hold_trait_notifications():
                self.busy, self.message, self.hint = True, "", ""
            self._work = begin(self._watched(work))
            return self._work

    async def _watched(self, work: Coroutine[Any, Any, Any] | None) -> None:
        try:
            while work is not None:
                await work
                with self._lock:
                    work, self._queued = self._queued, None
                    self.busy = work is not None
        except McpOAuthError as error:
            self.tell(error)
        finally:
            with self._lock:
                self._forget_queued()
                self.busy = False

    def _forget_queued(self) -> None:
        if self._queued is not None:
            self._queued.close()
        self._queued = None

    def attempt_change(self, name: str, value: str | None) -> None:
        """As `change`; an error becomes `message` and `hint`."""
        try:
            self.change(name, value)
        except McpOAuthError as error:
            self.tell(error)

    def attempt_paste(self, url: str) -> None:
        """As `run.paste`; an error becomes `message` and `hint`."""
        try:
            self.run.paste(url)
        except McpOAuthError as error:
            self.tell(error)

    def tell(self, error: McpOAuthError) -> None:
        """Show an error."""
        with self.hold_trait_notifications():
            self.message, self.hint = scrub(error.message), scrub(error.hint)

    def cancel(self) -> Future[Any]:
        """End what is under way; the steps stay."""
        return begin(self.run.cancel())

    def __repr__(self) -> str:
        return f"FlowModel({self.summary})"
