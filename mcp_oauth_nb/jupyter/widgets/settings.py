"""The guide's settings as a form, with what they come to: the authorization metadata and the `.env` file.

form = SettingsForm(lab.settings)
form                                             # fields, with what is wrong beside them
form.model.set("OAUTH_SCOPES", "read:user,repo") # the same by a line of code
handler = OAuthHandler(settings=form.model.settings)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...oauth.masking import scrub
from ...oauth.settings import Settings
from ...oauth.text import json_text
from .panel import (
    COLOURS,
    QUIET,
    WIDE,
    Html,
    Panel,
    block,
    card,
    code,
    column,
    element,
    heading,
    joined,
    on_enter,
    paragraph,
    pill,
    row,
    status,
    table,
)
from .settings_model import FIELDS, SECRET, Field, SettingsModel

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_FIRST = ("OAUTH_CLIENT_ID", SECRET, "OAUTH_SCOPES", "OAUTH_REDIRECT_URI")
_LABEL = "150px"


class SettingsForm(Panel):
    """A field for each variable, and below them what the settings come to.

    Args:
        settings: what to begin with; the defaults if not given. `mcp_oauth_nb.oauth.settings.settings` are those of the
            environment and of `.env`.

    Attributes:
        model: the `SettingsModel` that is shown; `model.settings` are the settings.
        fields: the text fields, by the names of the variables. The secret's is a password field, which is emptied as
            soon as its content was taken: a notebook that is saved does not hold it.
        more: shows the variables that are seldom changed.
        forget: takes the client secret away.
    """

    model: SettingsModel
    by_code = 'panel.model.set("OAUTH_SCOPES", "read:user,repo"); panel.model.settings'

    def __init__(self, settings: Settings | None = None):
        self.model = SettingsModel(settings)
        self.fields = {field.name: _field(field) for field in FIELDS}
        self._told = {field.name: ipywidgets.HTML() for field in FIELDS}
        self.more = ipywidgets.ToggleButton(
            value=any(name not in _FIRST for name in self.model.problems),
            description="All variables",
            tooltip="Show the variables that are seldom changed",
            layout={"width": "140px"},
        )
        self.forget = ipywidgets.Button(
            description="Forget secret", tooltip="Take the client secret away", layout={"width": "140px"}
        )
        first, others = (
            [self._line(field) for field in FIELDS if (field.name in _FIRST) is wanted] for wanted in (True, False)
        )
        self._others = column(*others)
        self._result = ipywidgets.HTML()
        self.widget = column(
            ipywidgets.HTML(heading("Settings")), *first, row(self.more, self.forget), self._others, self._result
        )
        self._connect()
        self._render()

    def _line(self, field: Field) -> Any:
        return column(self.fields[field.name], self._told[field.name])

    def _connect(self) -> None:
        for name, field in self.fields.items():
            if name != SECRET:
                field.observe(lambda change, name=name: self._edited(name, change["new"]), "value")
        # While it is typed it stays in the field; it is taken at Enter, and when the field is left.
        self.fields[SECRET].observe(self._take_secret, "value")
        on_enter(self.fields[SECRET], self._take_secret)
        self.forget.on_click(lambda _: self.model.set(SECRET, ""))
        self.more.observe(self._render, "value")
        self.model.observe(self._render)

    def _edited(self, name: str, text: str) -> None:
        if scrub(text) != text:
            # A secret in the wrong field would be saved with it.
            self.fields[name].value = ""
            text = ""
        if text.strip() != self.model.get(name):
            self.model.set(name, text)

    def _take_secret(self, _: Any = None) -> None:
        field = self.fields[SECRET]
        typed, field.value = field.value, ""
        if typed.strip():
            self.model.set(SECRET, typed)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        model, problems = self.model, self.model.problems
        for field in FIELDS:
            widget, problem = self.fields[field.name], problems.get(field.name)
            if field.name == SECRET:
                widget.placeholder = f"set: {model.get(SECRET)}" if model.get(SECRET) else "type it, then Enter"
            # What is being typed is not to be trimmed under the person's hands.
            elif widget.value.strip() != model.get(field.name):
                widget.value = model.get(field.name)
            self._told[field.name].value = _told(field, problem.message if problem else "", model)
        self._others.layout.display = "" if self.more.value else "none"
        self.forget.disabled = not model.get(SECRET)
        self._result.value = _result(model)

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        model, problems = self.model, self.model.problems
        rows = []
        for field in FIELDS:
            value = model.get(field.name)
            if field.name in _FIRST or value:
                problem = problems.get(field.name)
                shown = code(value) if value else element("i", field.default or "not set")
                told = _told(field, problem.message if problem else "", model)
                rows.append((field.label, joined(shown, told)))
        return joined(heading("Settings"), table((), rows, widths=("24%", "76%")), _result(model))


def _field(field: Field) -> Any:
    secret = field.name == SECRET
    return (ipywidgets.Password if secret else ipywidgets.Text)(
        description=field.label,
        tooltip=field.name,
        placeholder=field.default or "required",
        # The secret must not travel, or be saved, letter by letter.
        continuous_update=not secret,
        style={"description_width": _LABEL},
        layout=WIDE,
    )


def _told(field: Field, problem: str, model: SettingsModel) -> Html:
    """The variable's name below its field, and what is wrong with its value."""
    if problem:
        sign = pill("✘ cannot work", COLOURS["failed"])
        _, _, why = problem.partition(field.name)
        told = joined(sign, " ", element("span", why.strip() or problem, role="alert"))
    elif field.name in model.missing:
        told = pill("! required", COLOURS["warning"])
    else:
        told = Html("")
    name = element("span", field.name, style=f"color:{QUIET};font-size:11px;overflow-wrap:anywhere")
    return element("div", name, " ", told, style=f"margin:-4px 0 4px calc({_LABEL} + 8px);line-height:1.4")


def _result(model: SettingsModel) -> Html:
    metadata = model.metadata
    described = (
        block(json_text(metadata, 80))
        if metadata is not None
        else paragraph("None while a value cannot work.", quiet=True)
    )
    return joined(
        _verdict(model),
        heading("Authorization metadata (RFC 8414)"),
        described,
        heading(".env"),
        block(model.env_text()),
        paragraph("The secret is left out: fill it in by hand, and keep the file out of version control.", quiet=True),
    )


def _verdict(model: SettingsModel) -> Html:
    if model.problems:
        return card(status(f"These settings {model.summary}.", sign="✘", alert=True), colour=COLOURS["failed"])
    if model.missing:
        told = f"OAuth is not configured: {' and '.join(model.missing)} missing."
        return card(status(told, sign="!"), colour=COLOURS["warning"])
    return card(status("These settings are complete.", sign="✔"), colour=COLOURS["passed"])
