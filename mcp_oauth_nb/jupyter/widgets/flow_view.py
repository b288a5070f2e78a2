"""The HTML of the flow debugger's panel: the step that is looked at, the next one, the cause."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ...debugger import STEPS, FlowRun, Step
from ...debugger.debug_gate import Held
from ...debugger.step import Cause
from ...oauth.check import SIGNS, Check, Outcome
from ...oauth.errors import McpOAuthError
from ...trace.messages import Message
from . import panel
from .panel import Html

# A message of more lines is folded.
_SHORT = 16
_STATES = {
    "ready": ("○", panel.COLOURS["not applicable"]),
    "stepping": ("▸", panel.ACCENT),
    "done": ("✔", panel.COLOURS["passed"]),
    "stopped": ("✘", panel.COLOURS["failed"]),
    "cancelled": ("–", panel.COLOURS["not applicable"]),
}


def verdict(step: Step) -> Outcome:
    """Return the worst of a step's checks."""
    outcomes = {check.outcome for check in step.checks}
    order: tuple[Outcome, ...] = ("failed", "warning", "passed")
    return next((outcome for outcome in order if outcome in outcomes), "not applicable")


def option(step: Step) -> str:
    """One line of the list of steps."""
    changed = " (changed)" if step.changed else ""
    return f"{step.number}. {SIGNS[verdict(step)]} {step.about.title}{changed}: {step.outcome}"


def step_html(step: Step) -> Html:
    """A step with its exchange and its checks."""
    checks = [[panel.badge(check.outcome), _told(check), panel.safe(check.reference)] for check in step.checks]
    return panel.joined(
        panel.heading(f"Step {step.number}: {step.about.title}"),
        panel.paragraph(panel.prose(step.about.why), " ", _quiet(step.about.reference)),
        _what_if(step),
        *[_message(message) for message in step.messages],
        panel.table(["", "What was checked", "Because of"], checks, widths=("18%", "52%", "30%")) if checks else None,
        _error(step.error) if step.error is not None else None,
    )


def head_html(run: FlowRun) -> Html:
    """The server that is debugged, and the state of the run."""
    sign, colour = _STATES[run.state]
    count = len(run.steps)
    steps = _quiet(f"{count} step{'s' * (count != 1)}")
    return panel.heading(
        panel.joined("Flow debugger ", panel.code(run.name), " ", panel.pill(f"{sign} {run.state}", colour), " ", steps)
    )


def newest_html(run: FlowRun, *, busy: bool) -> Html:
    """The result of the newest step, or the event that is waited for."""
    if run.link:
        return panel.status("The run waits for the browser.", sign="…")
    if not run.steps:
        return panel.status("Under way ...", sign="…") if busy else Html("")
    step = run.steps[-1]
    told = panel.joined(f"Step {step.number}, {step.about.title}: ", panel.code(step.outcome))
    return panel.status(told, sign=SIGNS[verdict(step)])


def others_html(messages: Sequence[Message]) -> Html:
    """An exchange that is none of the client's."""
    if not messages:
        return Html("")
    return panel.joined(
        panel.heading(f"Exchange {messages[0].exchange}: between others"),
        panel.paragraph("The MCP client takes no part in it; the lab shows it nevertheless.", quiet=True),
        *[_message(message) for message in messages],
    )


def pending_html(run: FlowRun) -> Html:
    """The request that will be sent next; its parameters are in `parameters_html`."""
    held = run.pending
    if held is None:
        return panel.paragraph(_nothing_pending(run), quiet=True)
    about = STEPS[held.kind]
    return panel.joined(
        panel.heading(f"Next: {about.title}"),
        panel.paragraph(panel.prose(about.why), " ", _quiet(about.reference)),
        panel.paragraph(panel.code(held.summary)),
    )


def parameters_html(held: Held | None) -> Html:
    """The parameters of what will be sent, masked, with what was changed."""
    if held is None:
        return Html("")
    changes = {name: panel.pill(f"! {how}", panel.COLOURS["warning"]) for name, how in held.changed.items()}
    rows = [[panel.code(name), panel.code(value), changes.get(name, "")] for name, value in held.shown().items()]
    rows += [[panel.code(name), "", mark] for name, mark in changes.items() if name not in held.parameters]
    if not rows:
        return Html("")
    return panel.table(["Parameter", "Value", ""], rows, widths=("27%", "57%", "16%"))


def _nothing_pending(run: FlowRun) -> str:
    return {
        "ready": "Nothing was sent yet. The first step connects.",
        "done": "Done. Choose an action to go on: call again, refresh, try the old refresh token, revoke.",
        "stopped": "The client stopped. Begin again, or reset.",
        "cancelled": "Cancelled. Begin again, or reset.",
        "stepping": "Under way ...",
    }[run.state]


def cause_html(cause: Cause | None) -> Html:
    """The first cause of what went wrong, to be read out at once."""
    if cause is None:
        return Html("")
    where = panel.element("b", f"First cause, step {cause.step.number} ({cause.step.about.title})")
    return panel.card(
        panel.status(where, ": ", _told(cause.check), " ", _quiet(cause.check.reference), sign="✘", alert=True),
        colour=panel.COLOURS["failed"],
    )


def static_html(run: FlowRun) -> Html:
    """The whole run, for viewers without a kernel."""
    rows = [[f"{s.number}", panel.badge(verdict(s)), s.about.title, panel.code(s.outcome)] for s in run.steps]
    steps = panel.table(["", "", "Step", "Outcome"], rows, widths=("6%", "22%", "36%", "36%")) if rows else None
    details = [panel.folded(f"{step.number}. {step.about.title}", step_html(step)) for step in run.steps]
    waits = run.pending is not None or not rows
    return panel.joined(
        panel.heading(f"Flow debugger: {run.name} ({run.state})"),
        cause_html(run.cause),
        steps,
        *details,
        panel.joined(pending_html(run), parameters_html(run.pending)) if waits else None,
    )


def _told(check: Check) -> Html:
    should = panel.joined(panel.BREAK, "It should be: ", check.should) if check.should else None
    seen = f": {check.message}" if check.message else ""
    return panel.joined(check.name, seen, should)


def _message(message: Message) -> Html:
    lines = str(message).split("\n")
    parties, _, title = lines[0].partition("   ")
    first = panel.joined(panel.element("b", parties.replace("->", "→")), " ", panel.code(title))
    if message.kind == "notification" and message.protocol == "http":
        return panel.joined(panel.paragraph(first), _rest(lines))
    return panel.folded(first, _rest(lines), opened=len(lines) <= _SHORT)


def _rest(lines: list[str]) -> Html | None:
    return panel.block("\n".join(line[4:] for line in lines[1:])) if len(lines) > 1 else None


def _what_if(step: Step) -> Html | None:
    parts = []
    if step.changed:
        changes = ", ".join(f"{name} {how}" for name, how in step.changed)
        parts.append(panel.paragraph(panel.pill("what if"), " ", changes))
    if step.predicted:
        held = "That is what came." if step.prediction_held else "That is not what came."
        parts.append(panel.paragraph("You predicted ", panel.code(step.predicted), ". ", held))
    return panel.joined(*parts) if parts else None


def _error(error: McpOAuthError) -> Html:
    return panel.card(
        panel.status(panel.element("b", type(error).__name__), ": ", error.message, sign="✘", alert=True),
        panel.paragraph("What to do: ", error.hint) if error.hint else None,
        colour=panel.COLOURS["failed"],
    )


def _quiet(text: str) -> Html:
    return panel.element("span", text, style=f"color:{panel.QUIET};font-size:12px")


def download(name: str, media: str, text: str) -> Html:
    """A link that saves a text as a file; the text is in the link itself."""
    data = base64.b64encode(text.encode()).decode("ascii")
    return panel.link(f"Save {name}", f"data:{media};base64,{data}", download=name)


def held_names(held: Held | None) -> list[str]:
    """The parameters that can be changed, for a drop-down list."""
    return list(held.parameters) if held is not None else []
