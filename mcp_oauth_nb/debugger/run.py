"""A run: the shipping client, stopped before each thing that it sends.

    run = await FlowDebugger.open("http://127.0.0.1:8000/mcp", tool="get_github_user_info")
    run.pending                       # what will be sent next, masked
    await run.step()                  # send it; see the answer and what was checked
    run.change(code_verifier=None)    # what if it were missing?
    await run.run()                   # to the end

The client is a script (see `http_flow` and `guided_flow`) in a task on the loop thread. It is no copy of a
client: the SDK's own, or the handler of this package, waits at the gate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import httpx
import httpx2
from mcp import MCPError
from pydantic import ValidationError

from ..oauth.errors import ConfigurationError, McpOAuthError, ProtocolError, SessionError, Unreachable
from ..oauth.masking import printable
from ..runtime import loops
from ..trace.diagram import Diagram
from ..trace.recorder import Trace
from .checks import check, check_error
from .debug_gate import Gate, Held
from .exchange import Facts, Seen
from .recording import Recorder, Setup
from .step import STEPS, Cause, Records, Step, first_cause

_SERVER_LOG = "Look into the MCP server's own log: the answer of this step shows what it sent."

T = TypeVar("T")

#: A script: it sends the requests of one action, and ends.
Script = Callable[[], Awaitable[None]]


class Flow(Protocol):
    """The flow that is stepped: a target with the client for it."""

    name: str
    #: Whether other people may depend on the server.
    real: bool
    facts: Facts
    trace: Trace
    #: What it was opened with, to play the run again.
    setup: Setup
    #: What can be done, by name; the first is the flow itself.
    actions: dict[str, Script]

    def can(self, action: str) -> bool:
        """Say whether an action has what it needs."""
        ...

    @property
    def link(self) -> str:
        """The URL that a person is to open in a browser now, or an empty text."""
        ...

    def paste(self, url: str) -> None:
        """Take the URL that the browser came back to."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


#: Makes a flow that waits at a gate and tells a run what passes.
MakeFlow = Callable[["FlowRun"], Flow]


class FlowRun:
    """One run over a flow. All methods may be called from any cell, callback or thread.

    Attributes:
        gate: where what is about to be sent waits.
        recorder: takes note of what a recording needs; see `Recording.of`.
    """

    def __init__(self, make: MakeFlow):
        self.gate = Gate()
        self._make = make
        self._observers: list[Callable[[], None]] = []
        self._begin()

    def _begin(self) -> None:
        self._flow = self._make(self)
        self._records = Records(self._flow.trace)
        self.recorder = Recorder()
        self._script: asyncio.Task[None] | None = None
        self._action = ""
        self._error: McpOAuthError | None = None
        self._predicted = ""
        self._start = len(self._flow.trace)

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step that was taken."""
        return self._records.steps()

    @property
    def pending(self) -> Held | None:
        """What will be sent by the next step, or None if nothing is under way."""
        return self.gate.pending

    @property
    def trace(self) -> Trace:
        """Everything that crossed the wire, masked."""
        return self._flow.trace

    @property
    def diagram(self) -> Diagram:
        """The sequence so far."""
        return self._flow.trace.diagram(since=self._start)

    @property
    def name(self) -> str:
        """What is debugged."""
        return self._flow.name

    @property
    def setup(self) -> Setup:
        """What the run was opened with."""
        return self._flow.setup

    @property
    def real(self) -> bool:
        """Whether other people may depend on the server: a change must then be confirmed."""
        return self._flow.real

    @property
    def error(self) -> McpOAuthError | None:
        """The error by which the client stopped, or None."""
        return self._error

    @property
    def cause(self) -> Cause | None:
        """The first thing that was not as it should be, or None."""
        return first_cause(self.steps)

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions that can be begun when none is under way."""
        return tuple(self._flow.actions)

    def can(self, action: str) -> bool:
        """Say whether an action has what it needs, such as a refresh token."""
        return self._flow.can(action)

    @property
    def state(self) -> str:
        """`ready`, `stepping`, `done`, `stopped` (by an error) or `cancelled`."""
        if self._script is None:
            return "ready"
        if not self._script.done():
            return "stepping"
        if self._script.cancelled():
            return "cancelled"
        return "stopped" if self._error is not None else "done"

    def observe(self, changed: Callable[[], None]) -> None:
        """Call a function after every change; on the loop's thread, or the caller's."""
        self._observers.append(changed)

    # -- what can be done ------------------------------------------------------------------------------------------

    async def begin(self, action: str = "") -> Held | None:
        """Begin the flow, or one of the other `actions`, and return what it would send first.

        Raises:
            ConfigurationError: there is no such action.
            SessionError: something else is under way.
        """
        return await self._on_loop(self._begin_action(action))

    async def step(self, *, predict: str = "") -> Step | None:
        """Send what is pending, and wait for the answer and for what the client would send next.

        Args:
            predict: part of the status line that you expect, such as `401` or `invalid_grant`.

        Returns:
            The step, or None if nothing was left to send.
        """
        return await self._on_loop(self._take_step(predict))

    async def run(self, *, until: str = "") -> FlowRun:
        """Step to the end of the action that is under way.

        Args:
            until: stop before a step of this kind is sent, such as `token`; see `STEPS`.

        Raises:
            ConfigurationError: there is no such kind.
        """
        if until and until not in STEPS:
            raise ConfigurationError(f"There is no step {until!r}.", hint=f"One of: {', '.join(STEPS)}.")
        if until and self._script is None:
            await self.begin()
        while self.pending is None or self.pending.kind != until:
            if await self.step() is None:
                break
        return self

    def change(self, *, really: bool = False, **parameters: str | None) -> Held:
        """Change the pending request before it is sent.

        Args:
            really: needed where the server is a real one: a wrong request may have consequences there.
            parameters: new values; None drops a parameter.

        Raises:
            SessionError: nothing is pending.
            ConfigurationError: a parameter to drop is not there; or the server is real and `really` is missing.
        """
        pending = self.pending
        if pending is None:
            raise SessionError("Nothing is pending that could be changed.", hint="Begin with `await debug.step()`.")
        if self.real and not really:
            raise ConfigurationError(
                f"{self.name} is a real server, and a changed request may have consequences there.",
                hint="If you may do that: change(..., really=True).",
            )
        pending.change(parameters)
        self.tell()
        return pending

    async def cancel(self) -> None:
        """End the action that is under way, such as the wait for a person. The connection and the steps stay."""
        await self._on_loop(self._cancel())
        self.tell()

    def paste(self, url: str) -> None:
        """Hand over the URL that the browser came back to, where no program can listen for it.

        Raises:
            SessionError: no browser is waited for.
        """
        self._flow.paste(url)

    @property
    def link(self) -> str:
        """The URL that a person is to open in a browser now, or an empty text. It holds the flow's `state`."""
        return self._flow.link

    async def reset(self) -> None:
        """End the action that is under way, close the connection and forget the run: the next step is the first."""
        await self._on_loop(self._end())
        self._begin()
        self.tell()

    async def aclose(self) -> None:
        """End what is under way and close the connection. The steps can still be looked at."""
        await self._on_loop(self._end())

    # -- on the loop -----------------------------------------------------------------------------------------------

    async def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return await loops.on(loops.loop(), work)

    async def _begin_action(self, action: str) -> Held | None:
        if self.state == "stepping":
            raise SessionError(f"The action {self._action!r} is under way.", hint="Step to its end, or reset().")
        action = action or next(iter(self._flow.actions))
        if action not in self._flow.actions:
            known = ", ".join(self._flow.actions)
            raise ConfigurationError(f"There is no action {action!r}.", hint=f"One of: {known}.")
        self.recorder.begun(action, cancelled=self.state == "cancelled")
        self._action, self._error = action, None
        self.gate.open()
        self._script = asyncio.create_task(self._play(self._flow.actions[action]))
        pending = await self.gate.next(self._script)
        self.tell()
        return pending

    async def _play(self, script: Script) -> None:
        try:
            await script()
        except McpOAuthError as error:
            self._stop(error)
        except MCPError as error:
            self._stop(
                ProtocolError(
                    f"The MCP server answered error {error.code}: {printable(error.message)}.", hint=_SERVER_LOG
                )
            )
        except (httpx.TransportError, httpx2.TransportError) as error:
            self._stop(Unreachable(f"There is no answer ({type(error).__name__})."))
        except ValidationError:
            # The text of the error quotes the answer.
            self._stop(ProtocolError("The MCP server's answer is not one that the SDK can read.", hint=_SERVER_LOG))
        except RuntimeError as error:
            # The SDK has no class of its own for these.
            if not any(words in str(error) for words in ("structured content", "Invalid schema for tool")):
                raise
            self._stop(ProtocolError("The tool's result is not what its output schema promises.", hint=_SERVER_LOG))
        finally:
            # A request for a token waits on when a cell is interrupted, and a connection sends requests in the
            # background and when it closes. None of them may wait for a step that will not be taken.
            self.gate.close()

    def _stop(self, error: McpOAuthError) -> None:
        """Add the error to the step after which the client stopped."""
        self._error = error
        if not len(self._records):
            return
        place = len(self._records) - 1
        step = self._records[place]
        checks = step.checks if step.failed else (*step.checks, check_error(error))
        self._records.replace(place, replace(step, checks=checks, error=error))

    async def _take_step(self, predict: str) -> Step | None:
        if self._script is None:
            await self._begin_action("")
        script = self._script
        assert script is not None, "an action has begun"
        if self.gate.pending is None:
            await self.gate.next(script)
        if self.gate.pending is None:
            _raise_bug(script)
            return None
        self._predicted = predict
        before = len(self._records)
        self.gate.release()
        await self.gate.next(script)
        self.tell()
        _raise_bug(script)
        steps = self._records.steps()
        return steps[before] if len(steps) > before else None

    async def _cancel(self) -> None:
        if self._script is not None and not self._script.done():
            self._script.cancel()
            await asyncio.wait([self._script])

    async def _end(self) -> None:
        await self._cancel()
        await self._flow.aclose()

    # -- what the taps tell ----------------------------------------------------------------------------------------

    def sent(self, held: Held) -> int:
        """See `debug_gate.GateListener`."""
        kind = held.kind if held.kind in STEPS else "call"
        changed = tuple(held.changed.items())
        step = Step(len(self._records) + 1, kind, changed=changed, predicted=self._predicted)
        self.recorder.sent(held)
        return self._records.add(step, self.trace.next_exchange)

    def arrived(self, number: int, seen: Seen) -> None:
        """See `debug_gate.GateListener`."""
        facts = self._flow.facts
        step = self._records[number]
        self._records.replace(number, replace(step, checks=check(seen, facts)))
        self.recorder.arrived(number, seen)
        facts.learn(seen)

    def tell(self) -> None:
        """Say that something changed."""
        for observer in self._observers:
            observer()

    def __repr__(self) -> str:
        lines = [f"Flow debugger: {self.name}, {self.state}"]
        lines += [_line(step) for step in self.steps]
        if (pending := self.pending) is not None:
            lines.append(f"  next  {STEPS[pending.kind].title}: {pending.summary}")
        if (cause := self.cause) is not None:
            lines.append(f"Cause: {cause!r}")
        return "\n".join(lines)


def _raise_bug(script: asyncio.Task[None]) -> None:
    """Raise an error with which no script should end; errors that a client may meet were caught before."""
    if script.done() and not script.cancelled():
        script.result()


def _line(step: Step) -> str:
    verdict = "✘" if step.failed else "!" if any(check.outcome == "warning" for check in step.checks) else "✔"
    return f"  {step.number:>4}  {verdict} {step.about.title}: {step.outcome}"
