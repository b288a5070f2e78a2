"""The flow debugger's panel: step, look, ask "what if", and see what comes of it.

debug = await FlowDebugger.open(lab)
debug                                  # the panel
await debug.step()                     # the same by a line of code
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from ...client.jupyterhub import FindHub, JupyterHub, way_back
from ...debugger import FlowRun
from ...debugger.export import FORMATS, export
from ...oauth.errors import McpOAuthError
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
    "page": ("From a page", "Ask what a browser would ask for a client in a web page"),
    "look": ("Ended tokens", "Try the tokens that a revocation or an old refresh token has ended"),
}


_LABEL = {"description_width": "60px"}


class FlowPanel(Panel):
    """Buttons for a run, what is pending with its parameters, the steps, the diagram, the step that is looked at.

    A click changes only what is below the button, so that nothing jumps away from under the mouse.

    Args:
        run: what is stepped.
        hub: finds the JupyterHub that this runs in.

    Attributes:
        run: what is stepped.
        model: the `FlowModel` that is shown.
        next: sends what is pending; so does the Enter key in `predict`.
        to_end: steps until nothing is left to send.
        cancel: ends what is under way, such as the wait for a person.
        reset: begins from the beginning.
        actions: buttons that begin something else, by its name.
        parameter, value, set, drop: change a parameter of the pending request. The value is hidden, since it may be a
            code or a token, and is taken out at once: a notebook that is saved does not hold it.
        predict: what is expected of the next answer.
        really: that a real server may be sent a changed request.
        pasted, paste: the address that the browser came back to, where it cannot reach this machine.
        steps: the list of the steps; `back` and `forth` go through it.
        sequence: the diagram.
        exports: buttons that make a file, by its format.
    """

    model: FlowModel

    by_code: ClassVar[str] = "await debug.step()"

    def __init__(self, run: FlowRun, *, hub: FindHub = JupyterHub.here):
        self.run = run
        self._hub = hub
        self.model = FlowModel(run)
        self.next = _button("Next step", "Send what is pending", primary=True)
        self.to_end = _button("Run to the end", "Step until nothing is left to send")
        self.cancel = _button("Cancel", "End what is under way")
        self.reset = _button("Reset", "Close the connection and begin again")
        self.actions = {name: _button(*_ACTIONS[name]) for name in run.actions}
        self.parameter = ipywidgets.Combobox(
            description="What if",
            placeholder="parameter",
            tooltip="The parameter to change",
            # Letter by letter, the last ones may come after the click on a button.
            continuous_update=False,
            style=_LABEL,
            layout={"width": "270px"},
        )
        self.value = ipywidgets.Password(
            description="is",
            placeholder="new value",
            tooltip="The new value",
            style={"description_width": "16px"},
            layout={"width": "220px"},
        )
        self.set = _button("Change", "Send the new value in place of the parameter's")
        self.drop = _button("Drop", "Send the request without the parameter")
        self.predict = ipywidgets.Text(
            description="Predict",
            placeholder="what will come: 401, invalid_grant ...",
            tooltip="Part of the answer that you expect; Enter sends the request",
            style=_LABEL,
            layout={"width": "340px"},
        )
        self.really = ipywidgets.Checkbox(
            description="This is a real server; I may send it changed requests", indent=False, layout={"width": "auto"}
        )
        self.pasted = ipywidgets.Password(
            description="Redirected address",
            placeholder="paste it if the browser cannot reach this machine",
            style={"description_width": "130px"},
            layout={"width": "520px"},
        )
        self.paste = _button("Complete", "Use the pasted address")
        self.steps = ipywidgets.Select(
            rows=6, description="Steps", tooltip="The steps so far", style=_LABEL, layout=panel.WIDE
        )
        self.back, self.forth = panel.stepping(self.steps, "step of the list")
        self.exports = {name: _button(name, f"Make a file: {name}; a link to it appears") for name in FORMATS}
        self.sequence = SequenceWidget()
        self._head, self._status, self._link, self._cause = (ipywidgets.HTML() for _ in range(4))
        self._pending, self._parameters, self._step, self._file = (ipywidgets.HTML() for _ in range(4))
        self.widget = self._laid_out()
        # The model changes on the loop's thread, and on the one that a button was clicked on.
        self._rendering = threading.RLock()
        self._showing = False
        self._connect()
        self._render()

    def _laid_out(self) -> Any:
        # Its height is fixed, as its text comes and goes with every step.
        self._status.layout.min_height = "22px"
        self._moves = panel.row(self.back, self.forth)
        self._what_if = panel.row(self.parameter, self.value, self.set, self.drop)
        self._person = panel.column(self._link, panel.row(self.pasted, self.paste))
        self._next = panel.column(self._pending, self._what_if, self.really, self.predict, self._parameters)
        self._next.layout.border_left = f"4px solid {panel.ACCENT}"
        self._next.layout.padding, self._next.layout.margin = "2px 0 2px 10px", "4px 0 8px"
        return panel.column(
            self._head,
            panel.row(self.next, self.to_end, self.cancel, self.reset),
            panel.row(*self.actions.values()),
            self._status,
            self._person,
            self._cause,
            self._next,
            self.steps,
            self._moves,
            self.sequence,
            self._step,
            panel.row(ipywidgets.Label("Export"), *self.exports.values()),
            self._file,
        )

    def _connect(self) -> None:
        model, start = self.model, self.model.start
        self.next.on_click(lambda _: start(model.next(self._taken(self.predict))))
        panel.on_enter(self.predict, self.next.click)
        self.to_end.on_click(lambda _: start(model.to_the_end()))
        self.cancel.on_click(lambda _: model.cancel())
        self.reset.on_click(lambda _: start(model.reset(), anyway=True))
        for name, button in self.actions.items():
            button.on_click(lambda _, name=name: start(model.begin(name)))
        for name, button in self.exports.items():
            button.on_click(lambda _, name=name: self._export(name))
        self.set.on_click(lambda _: model.attempt_change(panel.typed(self.parameter), self._typed(self.value)))
        panel.on_enter(self.value, self.set.click)
        self.drop.on_click(lambda _: model.attempt_change(panel.typed(self.parameter), None))
        self.paste.on_click(lambda _: model.attempt_paste(self._typed(self.pasted)))
        panel.on_enter(self.pasted, self.paste.click)
        self.really.observe(lambda change: setattr(model, "confirmed", change["new"]), "value")
        self.steps.observe(self._chosen, "value")
        self.sequence.observe(lambda change: model.choose_exchange(change["new"]), "chosen")
        model.observe(self._render)

    def _typed(self, field: Any) -> str:
        panel.typed(field)
        return self._taken(field)

    def _taken(self, field: Any) -> str:
        value, field.value = str(field.value), ""
        return value

    def _chosen(self, change: dict[str, Any]) -> None:
        with self._rendering:
            # A value that the panel itself puts into the list was not chosen by a person.
            if change["new"] is not None and not self._showing:
                self.model.choose(change["new"])

    def _export(self, form: str) -> None:
        try:
            name, media, text = export(self.run, form)
        except McpOAuthError as error:
            self.model.tell(error)
            return
        self._file.value = panel.paragraph(flow_view.download(name, media, text))

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        with self._rendering:
            outer, self._showing = self._showing, True
            try:
                self._show_choice()
                self._show_state()
                self._show_person()
                self._show_pending()
                self._show_steps()
            finally:
                self._showing = outer

    def _show_choice(self) -> None:
        # This is set before the next step is shown: new options remove a text that was typed meanwhile.
        names = flow_view.held_names(self.run.pending)
        if list(self.parameter.options) != names:
            self.parameter.options, self.parameter.value = names, ""

    def _show_state(self) -> None:
        cause = flow_view.cause_html(self.run.cause)
        self._head.value, self._status.value, self._cause.value = flow_view.head_html(self.run), self._told(), cause
        self._cause.layout.display = "" if cause else "none"
        self._enable()

    def _enable(self) -> None:
        # Not while something is under way for a moment: a button that is disabled loses the keyboard's focus.
        run = self.run
        self.cancel.disabled = not (self.model.busy or run.state == "stepping")
        self.next.disabled = self.to_end.disabled = run.state in ("done", "stopped", "cancelled")
        for name, button in self.actions.items():
            button.disabled = run.state == "stepping" or not run.can(name)

    def _told(self) -> Html:
        if self.model.message:
            hint = panel.joined(panel.BREAK, "What to do: ", self.model.hint) if self.model.hint else None
            return panel.status(self.model.message, hint, sign="✘", alert=True)
        return flow_view.newest_html(self.run, busy=self.model.busy)

    def _show_person(self) -> None:
        url = self.run.link
        self._person.layout.display = "" if url else "none"
        then = f"{way_back(url, self._hub())} The run goes on then, or with a pasted address."
        self._link.value = panel.sign_in_link(url, then) if url else ""

    def _show_pending(self) -> None:
        names = flow_view.held_names(self.run.pending)
        self._pending.value = flow_view.pending_html(self.run)
        self._parameters.value = flow_view.parameters_html(self.run.pending)
        self._what_if.layout.display = "" if names else "none"
        self.really.layout.display = "" if names and self.run.real else "none"
        self.predict.layout.display = "" if self.run.pending is not None else "none"

    def _show_steps(self) -> None:
        step = self.model.step
        options = [(flow_view.option(taken), taken.number) for taken in self.run.steps]
        if list(self.steps.options) != options:
            self.steps.options = options
        if step is not None and self.steps.value != step.number:
            self.steps.value = step.number
        self.steps.layout.display = self._moves.layout.display = "" if options else "none"
        self.sequence.layout.display = "" if options else "none"
        messages = self.model.messages
        self.sequence.svg = self.run.diagram.svg_with(lit=messages[0].exchange if messages else None)
        self._step.value = flow_view.step_html(step) if step is not None else flow_view.others_html(messages)

    def _summary(self) -> str:
        return f"{self.run.name}: {self.model.summary}"

    def _static_html(self) -> Html:
        return flow_view.static_html(self.run)


def _button(label: str, tooltip: str, *, primary: bool = False) -> Any:
    return ipywidgets.Button(
        description=label, tooltip=tooltip, button_style="primary" if primary else "", layout={"width": "auto"}
    )
