"""The flow debugger's panel: step, look, ask "what if", and see what comes of it.

debug = await FlowDebugger.open(lab)
debug                                  # the panel
await debug.step()                     # the same by a line of code
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from ..debugger import FlowRun
from ..debugger.export import FORMATS, export
from . import flow_view, panel
from .flow_model import FlowModel
from .panel import Html, Panel
from .sequence import SequenceWidget

if TYPE_CHECKING:
    ipywidgets: Any
else:
    import ipywidgets

# Buttons, and not a list: JupyterLab takes the arrow keys away from those.
_ACTIONS = {
    "authorize": ("Authorize", "Connect, and authorize when the server asks"),
    "call": ("Call again", "The same request, with the token that is there"),
    "refresh": ("Refresh", "Let the access token expire, and call"),
    "reuse": ("Old refresh token", "Send the refresh token that was used up, once more"),
    "replay": ("Used code", "Send the authorization code that was exchanged, once more"),
    "step_up": ("Ask for more", "Call what needs more scopes"),
    "revoke": ("Revoke", "Say that the tokens are not needed any more"),
}


class FlowPanel(Panel):
    """Buttons for a run, what is pending with its parameters, the steps, the one that is looked at, the diagram.

    Args:
        run: what is stepped.
    """

    by_code: ClassVar[str] = "await debug.step()"

    def __init__(self, run: FlowRun):
        self.run = run
        self.model = FlowModel(run)
        self.next = _button("Next step", "Send what is pending", primary=True)
        self.to_end = _button("Run to the end", "Step until nothing is left to send")
        self.cancel = _button("Cancel", "End what is under way")
        self.reset = _button("Reset", "Close the connection and begin again")
        self.actions = {name: _button(*_ACTIONS[name]) for name in run.actions}
        self.parameter = ipywidgets.Combobox(
            description="What if", placeholder="a parameter", layout={"width": "250px"}, continuous_update=True
        )
        # Hidden, since it may be a code or a token; taken out at once.
        self.value = ipywidgets.Password(
            placeholder="new value", layout={"width": "170px"}, description="", tooltip="New value"
        )
        self.set = _button("Change", "Send the new value in place of the parameter's")
        self.drop = _button("Drop", "Send the request without the parameter")
        self.predict = ipywidgets.Text(
            description="Predict", placeholder="such as 401 or invalid_grant", layout={"width": "330px"}
        )
        self.really = ipywidgets.Checkbox(
            description="This is a real server; I may send it changed requests", indent=False
        )
        self.pasted = ipywidgets.Password(
            description="Redirected address",
            placeholder="paste it if the browser cannot reach this machine",
            style={"description_width": "initial"},
            layout={"width": "430px"},
        )
        self.paste = _button("Complete", "Use the pasted address")
        self.steps = ipywidgets.Select(rows=6, description="Steps", layout={"width": "100%"})
        self.back, self.forth = panel.stepping(self.steps, "step")
        self.exports = {name: _button(name, f"Make a file: {name}; a link to it appears") for name in FORMATS}
        self._head, self._status, self._pending = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self._link, self._cause, self._step = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self._file = ipywidgets.HTML()
        self.sequence = SequenceWidget()
        self._moves = panel.row(self.back, self.forth)
        self._what_if = panel.row(self.parameter, self.value, self.set, self.drop)
        self._person = panel.column(self._link, panel.row(self.pasted, self.paste))
        self.widget = panel.column(
            self._head,
            panel.row(self.next, self.to_end, self.cancel, self.reset),
            panel.row(*self.actions.values()),
            self._status,
            self._person,
            self._cause,
            self._pending,
            self._what_if,
            self.really,
            self.predict,
            self.steps,
            self._moves,
            self._step,
            self.sequence,
            panel.row(ipywidgets.Label("Export"), *self.exports.values()),
            self._file,
        )
        self._connect()
        self._render()

    def _connect(self) -> None:
        model, start = self.model, self.model.start
        self.next.on_click(lambda _: start(model.next(self._taken(self.predict))))
        panel.on_enter(self.predict, self.next.click)
        self.to_end.on_click(lambda _: start(model.to_the_end()))
        self.cancel.on_click(lambda _: model.cancel())
        self.reset.on_click(lambda _: start(model.reset()))
        for name, button in self.actions.items():
            button.on_click(lambda _, name=name: start(model.begin(name)))
        for name, button in self.exports.items():
            button.on_click(lambda _, name=name: self._export(name))
        self.set.on_click(lambda _: model.attempt_change(self.parameter.value, self._taken(self.value)))
        panel.on_enter(self.value, self.set.click)
        self.drop.on_click(lambda _: model.attempt_change(self.parameter.value, None))
        self.paste.on_click(lambda _: model.attempt_paste(self._taken(self.pasted)))
        panel.on_enter(self.pasted, self.paste.click)
        self.really.observe(lambda change: setattr(model, "confirmed", change["new"]), "value")
        self.steps.observe(self._chosen, "value")
        self.sequence.observe(lambda change: model.choose_exchange(change["new"]), "chosen")
        model.observe(self._render)

    def _taken(self, field: Any) -> str:
        value, field.value = str(field.value), ""
        return value

    def _chosen(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            self.model.chosen = change["new"]

    def _export(self, form: str) -> None:
        name, media, text = export(self.run, form)
        self._file.value = panel.paragraph(flow_view.download(name, media, text))

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        run, model = self.run, self.model
        self._head.value = panel.heading(f"Flow debugger: {run.name} ({model.summary})")
        self._status.value = self._told()
        self._pending.value = flow_view.pending_html(run)
        self._cause.value = flow_view.cause_html(run.cause)
        self._show_person()
        self._show_what_if()
        self._show_steps()
        self.sequence.svg = run.diagram.svg_with(lit=model.step.messages[0].exchange if self._lit() else None)
        self.cancel.disabled = not (model.busy or run.state == "stepping")
        self.next.disabled = self.to_end.disabled = model.busy or run.state in ("done", "stopped", "cancelled")
        for name, button in self.actions.items():
            button.disabled = model.busy or run.state == "stepping" or not run.can(name)
        self.reset.disabled = model.busy

    def _lit(self) -> bool:
        return self.model.step is not None and bool(self.model.step.messages)

    def _told(self) -> Html:
        if self.model.message:
            hint = panel.joined(panel.BREAK, "What to do: ", self.model.hint) if self.model.hint else None
            return panel.status(self.model.message, hint, sign="✘", alert=True)
        return panel.status("Under way ...", sign="…") if self.model.busy else Html("")

    def _show_person(self) -> None:
        url = self.run.link
        self._person.layout.display = "" if url else "none"
        self._link.value = (
            f"<p role='status' style='margin:0'><a href='{html.escape(url)}' target='_blank' rel='noopener noreferrer' "
            f"style='color:{panel.LINK};text-decoration:underline'>Sign in at {html.escape(urlsplit(url).netloc)}</a> "
            "(opens a new tab). The run goes on when the browser comes back.</p>"
            if url
            else ""
        )

    def _show_what_if(self) -> None:
        names = flow_view.held_names(self.run.pending)
        if list(self.parameter.options) != names:
            self.parameter.options, self.parameter.value = names, ""
        self._what_if.layout.display = "" if names else "none"
        self.really.layout.display = "" if names and self.run.real else "none"
        self.predict.layout.display = "" if self.run.pending is not None else "none"

    def _show_steps(self) -> None:
        step = self.model.step
        options = [(flow_view.option(taken), taken.number) for taken in self.run.steps]
        if list(self.steps.options) != options:
            self.steps.unobserve_all("value")
            self.steps.options = options
            self.steps.observe(self._chosen, "value")
        if step is not None and self.steps.value != step.number:
            self.steps.value = step.number
        self.steps.layout.display = self._moves.layout.display = "" if options else "none"
        self._step.value = flow_view.step_html(step) if step is not None else ""

    def _summary(self) -> str:
        return f"{self.run.name}: {self.model.summary}"

    def _static_html(self) -> Html:
        return flow_view.static_html(self.run)


def _button(label: str, tooltip: str, *, primary: bool = False) -> Any:
    return ipywidgets.Button(
        description=label, tooltip=tooltip, button_style="primary" if primary else "", layout={"width": "auto"}
    )
