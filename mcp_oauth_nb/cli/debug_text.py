"""A run of the flow debugger as lines for a terminal: each step as it passes, and the verdict at the end.

A colour never says what a sign and a word beside it do not say too: logs have no colours, and some code pages no signs.
"""

from __future__ import annotations

from collections.abc import Iterator
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

if TYPE_CHECKING:
    from ..debugger import Cause, FlowRun, Step, StepKind
    from ..debugger.debug_gate import Held

_COLOURS: dict[Outcome, str] = {"passed": "green", "failed": "red", "warning": "yellow"}
# Nobody has to look twice at what passed.
_WORDS: dict[Outcome, str] = {"passed": "", "failed": "failed: ", "warning": "warning: ", "not applicable": ""}

# Why a client stops although nothing is known to be wrong with the server.
_NO_VERDICT = (TransientError, SessionError, ConfigurationError)

Verdict = Literal["in order", "finding", "no answer"]


def verdict_of(run: FlowRun) -> Verdict:
    """Say what a run came to: every check passed, one failed, or nothing can be said about the server."""
    if run.cause is not None and not _is_no_fault(run.cause, run.error):
        return "finding"
    return "in order" if run.error is None else "no answer"


def _is_no_fault(cause: Cause, error: McpOAuthError | None) -> bool:
    """Say whether what failed first is only that the client stopped, for a reason that is none of the server's."""
    if isinstance(error, AccessDenied):
        return cause.step.error is error
    return _is_about(cause.check, error) and (isinstance(error, _NO_VERDICT) or _nobody_came(error))


def _nobody_came(error: McpOAuthError | None) -> bool:
    # The class itself: those below it are a server's answers.
    return type(error) is ReauthorizeError


def _is_about(check: Check, error: McpOAuthError | None) -> bool:
    """Say whether a check is only that the client stopped with an error."""
    from ..debugger.checks import check_error

    return error is not None and check == check_error(error)


# -- a step ----------------------------------------------------------------------------------------------------


def heading(number: int, held: Held, *, verbose: bool = False) -> list[str]:
    """Write what is about to be sent."""
    from ..debugger import STEPS

    about: StepKind = STEPS[held.kind]
    lines = ["", click.style(f"{number}. {about.title}", bold=True)]
    if verbose:
        lines += [f"   {sentence}" for sentence in about.why.replace(". ", ".\n").splitlines()]
    return lines


def body(step: Step, *, verbose: bool = False) -> list[str]:
    """Write what passed, and what was checked."""
    lines = []
    for message in step.messages:
        shown = str(message) if verbose else f"{message.sender} -> {message.receiver}   {message.title}"
        lines += [f"   {line}" for line in shown.splitlines()]
    for check in step.checks:
        lines += _check(check, step)
    return lines


def _check(check: Check, step: Step) -> list[str]:
    """Write a check; what is not as it should be takes a line for each thing that is known about it."""
    sign = click.style(f"{SIGNS[check.outcome]} {_WORDS[check.outcome]}", fg=_COLOURS.get(check.outcome))
    if check.outcome in ("passed", "not applicable"):
        what = ". ".join(part.removesuffix(".") for part in (check.name, check.message) if part)
        return [f"   {sign}{what}" + (click.style(f" ({check.reference})", dim=True) if check.reference else "")]
    known = {"Seen": check.message, "It should be": check.should, "See": check.reference}
    if step.error is not None and _is_about(check, step.error):
        # Of a client that stopped, its own hint says more.
        known = {"Seen": check.message, "What to do": step.error.hint, "See": check.reference}
    return [f"   {sign}{check.name}", *(f"     {label}: {text}" for label, text in known.items() if text)]


# -- the end ---------------------------------------------------------------------------------------------------


def conclusion(run: FlowRun, *, stopped: bool = False) -> list[str]:
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
    verdict, cause, error = verdict_of(run), run.cause, run.error
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
