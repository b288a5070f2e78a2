"""What the flow debugger's panel shows and does, without a widget: traits that follow a run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from traitlets import Bool, HasTraits, Int, Unicode

from .. import loops
from ..debugger import STEPS, FlowRun, Step
from ..errors import McpOAuthError
from ..redaction import scrub


class FlowModel(HasTraits):
    """Follows a run. The methods without `await` are for buttons: they begin the work and return.

    Args:
        run: what is stepped.

    Attributes:
        version: grows with every change of the run.
        chosen: the number of the step that is looked at; 0 for the newest.
        busy: whether something is under way that can be cancelled.
        message: what went wrong with the last click, without secrets.
        hint: what to do about it.
        confirmed: that a real server may be sent a changed request.
    """

    version = Int(0)
    chosen = Int(0)
    busy = Bool(False)
    message = Unicode()
    hint = Unicode()
    confirmed = Bool(False)

    def __init__(self, run: FlowRun):
        super().__init__()
        self.run = run
        self._work: Future[Any] | None = None
        run.observe(self._changed)

    def _changed(self) -> None:
        self.version += 1

    # -- what is shown ---------------------------------------------------------------------------------------------

    @property
    def step(self) -> Step | None:
        """The step that is looked at."""
        steps = self.run.steps
        if not steps:
            return None
        return steps[self.chosen - 1] if 0 < self.chosen <= len(steps) else steps[-1]

    @property
    def summary(self) -> str:
        """Where the run stands, in one line."""
        pending = self.run.pending
        after = f"; next: {STEPS[pending.kind].title}" if pending is not None else ""
        count = len(self.run.steps)
        return f"{self.run.state}, {count} step{'s' * (count != 1)}{after}"

    def choose_exchange(self, exchange: int) -> bool:
        """Look at the step that an arrow of the diagram belongs to; False if it belongs to none."""
        for step in self.run.steps:
            if any(message.exchange == exchange for message in step.messages):
                self.chosen = step.number
                return True
        return False

    # -- what a line of code does too ------------------------------------------------------------------------------

    async def next(self, predict: str = "") -> Step | None:
        """Take one step and look at it."""
        step = await self.run.step(predict=predict)
        self.chosen = 0
        return step

    async def to_the_end(self) -> None:
        """Step to the end of what is under way."""
        await self.run.run()
        self.chosen = 0

    async def begin(self, action: str) -> None:
        """Begin one of the run's actions; it stops before its first request."""
        await self.run.begin(action)

    async def reset(self) -> None:
        """Begin from the beginning."""
        await self.run.reset()
        self.chosen = 0

    def change(self, name: str, value: str | None) -> None:
        """Change a parameter of what is pending, or drop it with None."""
        self.run.change(really=self.confirmed, **{name: value})

    # -- for buttons -----------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Do something on the loop thread; `busy` until it is done, and a typed error becomes `message` and `hint`."""
        if self.busy:
            work.close()
            return _done()
        with self.hold_trait_notifications():
            self.busy, self.message, self.hint = True, "", ""
        self._work = asyncio.run_coroutine_threadsafe(self._watched(work), loops.loop())
        return self._work

    async def _watched(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except McpOAuthError as error:
            self.tell(error)
        finally:
            self.busy = False

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
        return asyncio.run_coroutine_threadsafe(self.run.cancel(), loops.loop())

    def __repr__(self) -> str:
        return f"FlowModel({self.summary})"


def _done() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(None)
    return future
