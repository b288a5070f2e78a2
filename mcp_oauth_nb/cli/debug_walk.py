"""The walk of `mcp-oauth-nb debug`: each step is taken and printed, and the person is asked where one is needed.

The flow runs on the loop thread. The main thread, which has the terminal, prints, asks, and gets Ctrl-C.

A colour never says what a sign and a word beside it do not say too: logs have no colours, and some code pages no signs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import click

from ..oauth.check import SIGNS, Check, Outcome
from ..oauth.errors import (
    AccessDenied,
    ConfigurationError,
    McpOAuthError,
    ReauthorizeError,
    SessionError,
    TransientError,
)
from ..oauth.masking import mask_url, scrub
from ..runtime.loops import run

if TYPE_CHECKING:
    from ..debugger import Cause, FlowRun, Step, StepKind
    from ..debugger.debug_gate import Held
    from ..jupyter.flow_debugger import FlowDebugger


_COLOURS: dict[Outcome, str] = {"passed": "green", "failed": "red", "warning": "yellow"}
# A check that passed needs no word.
_WORDS: dict[Outcome, str] = {"passed": "", "failed": "failed: ", "warning": "warning: ", "not applicable": ""}

# Why a client stops although nothing is known to be wrong with the server.
_NO_VERDICT = (TransientError, SessionError, ConfigurationError)

Verdict = Literal["in order", "finding", "no answer"]


def _verdict_of(run: FlowRun) -> Verdict:
    """Say the verdict on a run: every check passed, one failed, or nothing can be said about the server."""
    if run.cause is not None and not _is_no_fault(run.cause, run.error):
        return "finding"
    return "in order" if run.error is None else "no answer"


def _is_no_fault(cause: Cause, error: McpOAuthError | None) -> bool:
    """Say whether what failed first is only that the client stopped, for a reason that is none of the server's."""
    if isinstance(error, AccessDenied):
        return cause.step.error is error
    return _is_about(cause.check, error) and (isinstance(error, _NO_VERDICT) or _nobody_came(error))


def _nobody_came(error: McpOAuthError | None) -> bool:
    # Only the class itself: its subclasses are answers of a server.
    return type(error) is ReauthorizeError


def _is_about(check: Check, error: McpOAuthError | None) -> bool:
    """Say whether a check is only that the client stopped with an error."""
    from ..debugger.checks import check_error

    return error is not None and check == check_error(error)


# -- a step ----------------------------------------------------------------------------------------------------


def _heading(number: int, held: Held, *, verbose: bool = False) -> list[str]:
    """Write what is about to be sent."""
    from ..debugger import STEPS

    about: StepKind = STEPS[held.kind]
    lines = ["", click.style(f"{number}. {about.title}", bold=True)]
    if verbose:
        lines += [f"   {sentence}" for sentence in about.why.replace(". ", ".\n").splitlines()]
    return lines


def _body(step: Step, *, verbose: bool = False) -> list[str]:
    """Write what passed, and what was checked."""
    lines = []
    for message in step.messages:
        shown = str(message) if verbose else f"{message.sender} -> {message.receiver}   {message.title}"
        lines += [f"   {line}" for line in shown.splitlines()]
    for check in step.checks:
        lines += _check(check, step)
    return lines


def _check(check: Check, step: Step) -> list[str]:
    """Write a check; one that failed takes a line for each thing that is known about it."""
    sign = click.style(f"{SIGNS[check.outcome]} {_WORDS[check.outcome]}", fg=_COLOURS.get(check.outcome))
    if check.outcome in ("passed", "not applicable"):
        what = ". ".join(part.removesuffix(".") for part in (check.name, check.message) if part)
        return [f"   {sign}{what}" + (click.style(f" ({check.reference})", dim=True) if check.reference else "")]
    known = {"Seen": check.message, "It should be": check.should, "See": check.reference}
    if step.error is not None and _is_about(check, step.error):
        # If the client stopped, its own hint says more.
        known = {"Seen": check.message, "What to do": step.error.hint, "See": check.reference}
    return [f"   {sign}{check.name}", *(f"     {label}: {text}" for label, text in known.items() if text)]


# -- the end ---------------------------------------------------------------------------------------------------


def _conclusion(run: FlowRun, *, stopped: bool = False) -> list[str]:
    """Write the verdict.

    Args:
        stopped: before the browser was needed, because there is none.
    """
    return ["", *_notes(run, stopped), *_verdict(run)]


def _notes(run: FlowRun, stopped: bool) -> Iterator[str]:
    kinds = {step.kind for step in run.steps}
    if stopped:
        yield "Stopped before the authorization request: there is no browser (--no-browser)."
    elif run.error is None and not kinds & {"resource_metadata", "server_metadata", "authorize"}:
        yield "The server asked for no authorization. If one of its tools does, name it: --tool NAME"


def _verdict(run: FlowRun) -> Iterator[str]:
    verdict, cause, error = _verdict_of(run), run.cause, run.error
    if verdict == "finding" and cause is not None:
        later = sum(len(step.failed) for step in run.steps) - 1
        yield click.style(f"First cause: step {cause.step.number}, {cause.step.about.title}", fg="red", bold=True)
        yield from _check(cause.check, cause.step)
        if later:
            yield f"   {_of(later, 'failed check')} after it, perhaps its symptoms."
    elif verdict == "no answer" and error is not None:
        message, hint = _without_verdict(error)
        yield click.style("No verdict: ", fg="yellow", bold=True) + message
        yield f"What to do: {hint}"
    else:
        yield click.style("In order: ", fg="green", bold=True) + _counted(run)


def _without_verdict(error: McpOAuthError) -> tuple[str, str]:
    """Return what happened and what to do, for somebody who types commands."""
    if _nobody_came(error):
        return (
            "The browser did not come back in time.",
            "--timeout waits longer; --paste is for a browser on another machine, --no-browser for where nobody is.",
        )
    if isinstance(error, SessionError):
        return (
            error.message,
            "Check that the address is that of an MCP endpoint, such as https://server.example/mcp, and that the "
            "server is up.",
        )
    return error.message, error.hint


def _counted(run: FlowRun) -> str:
    outcomes = [check.outcome for step in run.steps for check in step.checks]
    passed, warnings = outcomes.count("passed"), outcomes.count("warning")
    return f"{_of(len(run.steps), 'step')}, {_of(passed, 'check')} passed, {_of(warnings, 'warning')}."


def _of(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


# A reused refresh token and a revocation must end the tokens, which is looked at after each. In between the person
# signs in once more: to revoke tokens that have ended already would show nothing. A code that is sent again should end
# the tokens too, so it comes last.
_TOUR = ("page", "refresh", "reuse", "look", "again", "revoke", "look", "replay")

#: What `--format` takes beside `plain`, and the format of the export that it is.
FORMATS = {
    "json": "JSON",
    "har": "HAR",
    "mermaid": "Mermaid",
    "markdown": "Markdown report",
    "notebook": "notebook",
    "pytest": "pytest",
}


def walk(
    debug: FlowDebugger,
    *,
    tour: bool = False,
    no_browser: bool = False,
    form: str = "plain",
    verbose: bool = False,
    asking: Asking | None = None,
) -> Verdict:
    """Step through the flow, print it, and close the debugger.

    Args:
        debug: nothing was sent yet.
        tour: do after the token what ends it.
        no_browser: stop before the authorization request.
        form: `plain` prints each step when it was taken, a key of `FORMATS` the whole run at its end.
        verbose: plain with the reasons and the messages.
        asking: asks the person for the address that the browser came back to.

    Returns:
        The verdict, which was printed last.
    """

    def show(lines: list[str], *, err: bool = False) -> None:
        # Masked once more: a check may quote the address that the person typed.
        click.echo(scrub("\n".join(lines)), err=err, color=False if os.environ.get("NO_COLOR") else None)

    if form == "plain":
        show([f"The authorization of {mask_url(debug.name)}"])
    try:
        steps = _Walk(debug, show if form == "plain" else _nothing, verbose, asking)
        stopped = steps.take(("authorize", "step_up", *(_TOUR if tour else ())), no_browser=no_browser)
        if form != "plain":
            click.echo(scrub(debug.export(FORMATS[form]).rstrip("\n")))
        show(_conclusion(debug, stopped=stopped), err=form != "plain")
        return _verdict_of(debug)
    finally:
        run(debug.aclose())


def _nothing(lines: list[str]) -> None:
    """Show nothing."""


class _Walk:
    """The steps of one walk."""

    def __init__(
        self, debug: FlowDebugger, show: Callable[[list[str]], None], verbose: bool, asking: Asking | None
    ) -> None:
        self._debug = debug
        self._show = show
        self._verbose = verbose
        self._asking = asking

    def take(self, actions: tuple[str, ...], *, no_browser: bool) -> bool:
        """Take all steps of these actions, as far as they go; say whether the missing browser ended it."""
        debug = self._debug
        for action in actions:
            if action == "again":
                # The newest token counts as expired; that it cannot be refreshed leads to the person.
                action = "refresh" if debug.can("look") and debug.can("revoke") else ""
            if debug.error is not None or not debug.can(action):
                continue
            run(debug.begin(action))
            while debug.pending is not None:
                if no_browser and debug.pending.kind == "authorize":
                    run(debug.cancel())
                    return True
                self._step()
        return False

    def _step(self) -> None:
        held = self._debug.pending
        assert held is not None, "only what is pending is stepped"
        self._show(_heading(len(self._debug.steps) + 1, held, verbose=self._verbose))
        step = self._taken()
        if step is not None:
            self._show(_body(step, verbose=self._verbose))

    def _taken(self) -> Step | None:
        return run(self._debug.step()) if self._asking is None else self._asking.taken(self._debug)


class Asking:
    """Asks for a pasted address in the thread that has the terminal, while the flow waits on the loop.

    A prompt on any other thread would keep the process from ending, and Ctrl-C from the prompt.
    """

    def __init__(self) -> None:
        self._answer: asyncio.Future[str] | None = None
        self._asked: asyncio.Event | None = None

    async def wait(self, url: str) -> str:
        """See `http_auth.McpAuth.paste`."""
        assert self._asked is not None, "a step is being taken"
        self._answer = asyncio.get_running_loop().create_future()
        self._asked.set()
        return await self._answer

    def taken(self, debug: FlowDebugger) -> Step | None:
        """Take a step, and ask when it is time to."""
        step = run(self._begun(debug))
        while run(self._asks(step)):
            run(self._give(_prompt()))
        return run(_result(step))

    async def _begun(self, debug: FlowDebugger) -> asyncio.Task[Step | None]:
        self._asked = asyncio.Event()
        return asyncio.create_task(debug.step())

    async def _asks(self, step: asyncio.Task[Step | None]) -> bool:
        assert self._asked is not None, "a step is being taken"
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait((step, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        return not step.done()

    async def _give(self, address: str) -> None:
        assert self._asked is not None, "a step is being taken"
        self._asked.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(address)


async def _result(step: asyncio.Task[Step | None]) -> Step | None:
    return await step


def _prompt() -> str:
    """Ask the person.

    Raises:
        ConfigurationError: the standard input is not a terminal, so that no person can answer.
    """
    hidden = sys.stdin.isatty()
    label = "After you have authorized, copy the browser's whole address here" + (" (not shown)" if hidden else "")
    try:
        return str(click.prompt(label, hide_input=hidden, err=True))
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise ConfigurationError(
                "Nobody pasted an address: the standard input is at its end.",
                hint="Run it in a terminal; where nobody is, --no-browser.",
            ) from None
        raise KeyboardInterrupt from None
