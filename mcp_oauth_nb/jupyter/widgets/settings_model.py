"""The logic of the settings form: the guide's variables as texts, each checked as soon as it is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from traitlets import HasTraits, Int

from ...oauth import dotenv_text
from ...oauth.errors import ConfigurationError
from ...oauth.masking import mask, remember, scrub
from ...oauth.settings import IsolatedSettings, Settings

SECRET = "OAUTH_CLIENT_SECRET"


@dataclass(frozen=True)
class Field:
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
    SECRET: "Client secret",
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
_REQUIRED = ("OAUTH_CLIENT_ID", SECRET)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fields() -> tuple[Field, ...]:
    defaults = {name.upper(): info.default for name, info in Settings.model_fields.items()}
    shown = {name: "" if default is None else _text(default) for name, default in defaults.items()}
    return tuple(Field(name, label, shown[name], name in _REQUIRED) for name, label in _LABELS.items())


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
        self._texts = {field.name: "" for field in FIELDS if field.name != SECRET}
        self._secret = ""
        if settings is not None:
            self._load(settings)

    def _load(self, settings: Settings) -> None:
        for field in FIELDS:
            value = getattr(settings, field.name.lower())
            if field.name != SECRET and value is not None and _text(value) != field.default:
                self._texts[field.name] = _text(value)
        if settings.oauth_client_secret is not None:
            self._secret = settings.oauth_client_secret.get_secret_value()

    # -- what can be done ------------------------------------------------------------------------------------------

    def set(self, name: str, text: str) -> None:
        """Change a variable; an empty text takes it back to its default.

        Raises:
            ConfigurationError: there is no such variable. A value that cannot work raises nothing: see `problems`.
        """
        if name == SECRET:
            remember(text.strip())
            self._secret = text.strip()
        elif name in self._texts:
            self._texts[name] = text.strip()
        else:
            raise ConfigurationError(f"There is no variable {scrub(name)}.", variables=(name,))
        self.version += 1

    def get(self, name: str) -> str:
        """Return a variable's text, empty if it has its default; the secret masked."""
        return mask(self._secret) if name == SECRET else self._texts[name]

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
        return {**values, SECRET: self._secret} if secret and self._secret else values

    def __repr__(self) -> str:
        return f"SettingsModel({self.summary})"
