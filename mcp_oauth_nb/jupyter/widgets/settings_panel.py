"""The guide's settings as a form, with the authorization metadata and the `.env` file that they make.

form = SettingsForm(lab.settings)
form                                             # fields, with what is wrong beside them
form.model.set("OAUTH_SCOPES", "read:user,repo") # the same by a line of code
handler = OAuthHandler(settings=form.model.settings)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traitlets import HasTraits, Int

from ...oauth import dotenv_text
from ...oauth.errors import ConfigurationError
from ...oauth.masking import mask, remember, scrub
from ...oauth.settings import IsolatedSettings, Settings
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

if TYPE_CHECKING:
    ipywidgets: Any
else:
    import ipywidgets


_SECRET = "OAUTH_CLIENT_SECRET"


@dataclass(frozen=True)
class _Field:
    """One variable of the guide's table.

    Attributes:
        name: of the environment variable.
        label: what it is, in a few words.
        default: as text; empty if there is none.
        required: whether OAuth works without it.
    """

    name: str
    label: str
    default: str
    required: bool = False


_LABELS = {
    "OAUTH_CLIENT_ID": "Client id",
    _SECRET: "Client secret",
    "OAUTH_SCOPES": "Scopes",
    "OAUTH_REDIRECT_URI": "Redirect URI",
    "OAUTH_AUTHORIZATION_URL": "Authorization URL",
    "OAUTH_TOKEN_URL": "Token URL",
    "OAUTH_ISSUER": "Issuer",
    "API_BASE_URL": "API base URL",
    "OAUTH_GRANT_TYPES_SUPPORTED": "Grant types",
    "OAUTH_CODE_CHALLENGE_METHODS_SUPPORTED": "PKCE methods",
    "OAUTH_RESPONSE_TYPES_SUPPORTED": "Response types",
    "OAUTH_TOKEN_ENDPOINT_AUTH_METHODS": "Client authentication",
    "API_TIMEOUT": "API timeout (s)",
    "SERVER_NAME": "Server name",
    "SERVER_VERSION": "Server version",
    "LOG_LEVEL": "Log level",
}
_REQUIRED = ("OAUTH_CLIENT_ID", _SECRET)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fields() -> tuple[_Field, ...]:
    defaults = {name.upper(): info.default for name, info in Settings.model_fields.items()}
    shown = {name: "" if default is None else _text(default) for name, default in defaults.items()}
    return tuple(_Field(name, label, shown[name], name in _REQUIRED) for name, label in _LABELS.items())


#: In the order of the form.
FIELDS = _fields()


class SettingsModel(HasTraits):
    """Settings while they are written. Nothing is read from, or written to, the environment or a file.

    The client secret is held here, but is no trait, and no text shows it.

    Args:
        settings: what to begin with; the defaults if not given.

    Attributes:
        version: grows with every change.
    """

    version = Int(0)

    def __init__(self, settings: Settings | None = None):
        super().__init__()
        self._texts = {field.name: "" for field in FIELDS if field.name != _SECRET}
        self._secret = ""
        if settings is not None:
            self._load(settings)

    def _load(self, settings: Settings) -> None:
        for field in FIELDS:
            value = getattr(settings, field.name.lower())
            if field.name != _SECRET and value is not None and _text(value) != field.default:
                self._texts[field.name] = _text(value)
        if settings.oauth_client_secret is not None:
            self._secret = settings.oauth_client_secret.get_secret_value()

    # -- what can be done ------------------------------------------------------------------------------------------

    def set(self, name: str, text: str) -> None:
        """Change a variable; an empty text takes it back to its default.

        Raises:
            ConfigurationError: there is no such variable. A value that cannot work raises nothing: see `problems`.
        """
        if name == _SECRET:
            remember(text.strip())
            self._secret = text.strip()
        elif name in self._texts:
            self._texts[name] = text.strip()
        else:
            raise ConfigurationError(f"There is no variable {scrub(name)}.", variables=(name,))
        self.version += 1

    def get(self, name: str) -> str:
        """Return a variable's text, empty if it has its default; the secret masked."""
        return mask(self._secret) if name == _SECRET else self._texts[name]

    # -- what comes of it ------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings as they are now.

        Raises:
            ConfigurationError: a value cannot work.
        """
        return IsolatedSettings(**self._values(secret=True))

    @property
    def problems(self) -> dict[str, ConfigurationError]:
        """The variables whose values cannot work, each with the error that it alone causes."""
        problems = {}
        for name, value in self._values(secret=True).items():
            try:
                IsolatedSettings(**{name: value})
            except ConfigurationError as error:
                problems[name] = error
        return problems

    @property
    def missing(self) -> tuple[str, ...]:
        """The required variables that are not set."""
        given = self._values(secret=True)
        return tuple(name for name in _REQUIRED if name not in given)

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The authorization metadata that the settings describe; None while a value cannot work."""
        try:
            return self.settings.get_authorization_metadata()
        except ConfigurationError:
            return None

    def env_text(self, *, secret: bool = False) -> str:
        """Return the text of a `.env` file: what is required, and what differs from its default.

        Args:
            secret: write the client secret in clear; otherwise its line is empty, to be filled in by hand.
        """
        given = self._values(secret=secret)
        names = (field.name for field in FIELDS if field.required or field.name in given)
        return dotenv_text.write({name: given.get(name, "") for name in names})

    @property
    def summary(self) -> str:
        """One line without values."""
        problems = self.problems
        if problems:
            return f"cannot work: {', '.join(problems)}"
        if self.missing:
            return f"not set: {', '.join(self.missing)}"
        return "complete"

    def _values(self, *, secret: bool) -> dict[str, str]:
        values = {name: text for name, text in self._texts.items() if text}
        return {**values, _SECRET: self._secret} if secret and self._secret else values

    def __repr__(self) -> str:
        return f"SettingsModel({self.summary})"


_FIRST = ("OAUTH_CLIENT_ID", _SECRET, "OAUTH_SCOPES", "OAUTH_REDIRECT_URI")
_LABEL = "150px"


class SettingsForm(Panel):
    """A field for each variable; below them the metadata and the `.env` file that the settings make.

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

    def _line(self, field: _Field) -> Any:
        return column(self.fields[field.name], self._told[field.name])

    def _connect(self) -> None:
        for name, field in self.fields.items():
            if name != _SECRET:
                field.observe(lambda change, name=name: self._edited(name, change["new"]), "value")
        # While it is typed it stays in the field; it is taken at Enter, and when the field is left.
        self.fields[_SECRET].observe(self._take_secret, "value")
        on_enter(self.fields[_SECRET], self._take_secret)
        self.forget.on_click(lambda _: self.model.set(_SECRET, ""))
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
        field = self.fields[_SECRET]
        typed, field.value = field.value, ""
        if typed.strip():
            self.model.set(_SECRET, typed)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        model, problems = self.model, self.model.problems
        for field in FIELDS:
            widget, problem = self.fields[field.name], problems.get(field.name)
            if field.name == _SECRET:
                widget.placeholder = f"set: {model.get(_SECRET)}" if model.get(_SECRET) else "type it, then Enter"
            # A text that is being typed is not trimmed while the person types.
            elif widget.value.strip() != model.get(field.name):
                widget.value = model.get(field.name)
            self._told[field.name].value = _told(field, problem.message if problem else "", model)
        self._others.layout.display = "" if self.more.value else "none"
        self.forget.disabled = not model.get(_SECRET)
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


def _field(field: _Field) -> Any:
    secret = field.name == _SECRET
    return (ipywidgets.Password if secret else ipywidgets.Text)(
        description=field.label,
        tooltip=field.name,
        placeholder=field.default or "required",
        # The secret must not travel, or be saved, letter by letter.
        continuous_update=not secret,
        style={"description_width": _LABEL},
        layout=WIDE,
    )


def _told(field: _Field, problem: str, model: SettingsModel) -> Html:
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
