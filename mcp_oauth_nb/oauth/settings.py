"""Settings from the environment and a `.env` file, and the authorization metadata made from them.

    from mcp_oauth_nb.config import settings

`settings` is read when it is first asked for, not when this module is imported; `Settings()` reads afresh.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from dotenv import find_dotenv
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from .environment import READING
from .errors import ConfigurationError, NotConfigured
from .masking import remember
from .urls import url_problem

GITHUB_AUTHORIZATION_URL = "https://github.com/login/oauth/authorize"
GITHUB_TOKEN_URL = "https://github.com/login/oauth/access_token"
GITHUB_API_URL = "https://api.github.com"

_CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def _without_blanks(value: Any) -> Any:
    return value.strip() or None if isinstance(value, str) else value


class EnvironmentSettings(BaseSettings):
    """What is read from the environment and a `.env` file. Every field is a variable of the same name in capitals.

    The `.env` file is looked for in the working directory and above; the environment wins over it. An empty variable
    counts as not set.

    Raises:
        ConfigurationError: a value cannot work; the message names the variable, never the value.
    """

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        # With or without a byte order mark, which Windows' Notepad may write.
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    def __init__(self, **values: Any):
        # Before anything can go wrong: a traceback may show the arguments.
        for name, value in values.items():
            if name.lower() in self._secrets() and isinstance(value, str):
                remember(value.strip())
        options: dict[str, Any] = {"_env_file": find_dotenv(usecwd=True) or None}
        for name, value in values.items():
            # The environment and `.env` hold much else, but an argument that nothing reads is a mistake.
            if not name.startswith("_") and name.lower() not in type(self).model_fields:
                raise TypeError(f"there is no setting {name!r}")
            # Fields are known by the names of their variables only: with `populate_by_name` the environment's
            # lower-case names would count too, and the guide says that names are case-sensitive.
            options[name if name.startswith("_") else name.upper()] = value
        try:
            with READING:
                super().__init__(**options)
        except ValidationError as error:
            # `from None`: pydantic's error holds the input, which may be the secret. So does the next one.
            raise _explained(error) from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{options['_env_file']} is not UTF-8 text.", hint="Save it as UTF-8.") from None
        except OSError as error:
            raise ConfigurationError(
                f"{options['_env_file']} cannot be read ({error.strerror}).", hint="Correct its mode or owner."
            ) from None
        for name in self._secrets():
            if (secret := getattr(self, name)) is not None:
                remember(secret.get_secret_value())

    @classmethod
    def _secrets(cls) -> list[str]:
        return [name for name, field in cls.model_fields.items() if field.annotation == SecretStr | None]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over `.env`; nothing else is asked."""
        return init_settings, env_settings, dotenv_settings


class Settings(EnvironmentSettings):
    """The guide's configuration. See `EnvironmentSettings`."""

    oauth_client_id: str | None = None
    oauth_client_secret: SecretStr | None = None
    oauth_authorization_url: str = GITHUB_AUTHORIZATION_URL
    oauth_token_url: str = GITHUB_TOKEN_URL
    oauth_scopes: _CommaSeparated = ("read:user",)
    oauth_issuer: str = "https://github.com"
    oauth_grant_types_supported: _CommaSeparated = ("authorization_code", "refresh_token")
    oauth_code_challenge_methods_supported: _CommaSeparated = ("S256",)
    oauth_response_types_supported: _CommaSeparated = ("code",)
    oauth_token_endpoint_auth_methods: _CommaSeparated = ("client_secret_post", "client_secret_basic")
    oauth_redirect_uri: str = "http://127.0.0.1/callback"
    api_base_url: str = GITHUB_API_URL
    api_timeout: float = Field(default=30.0, gt=0, le=3600, allow_inf_nan=False)
    server_name: str = Field(default="mcp-oauth-server", min_length=1)
    server_version: str = Field(default="0.1.0", min_length=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    _lists: ClassVar = (
        "oauth_scopes",
        "oauth_grant_types_supported",
        "oauth_code_challenge_methods_supported",
        "oauth_response_types_supported",
        "oauth_token_endpoint_auth_methods",
    )

    _trimmed = field_validator("oauth_client_id", "oauth_client_secret", mode="before")(_without_blanks)

    @field_validator(*_lists, mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator(*_lists)
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("needs at least one value")
        return value

    @field_validator("oauth_code_challenge_methods_supported")
    @classmethod
    def _s256_only(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # OAuth 2.1 section 7.5.2 and the guide: PKCE is required, with S256.
        if "S256" not in value:
            raise ValueError("must contain S256, the one method that this client and server use")
        return value

    @field_validator("oauth_authorization_url", "oauth_token_url", "oauth_issuer", "oauth_redirect_uri", "api_base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if problem := url_problem(value):
            raise ValueError(problem)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    def missing(self) -> tuple[str, ...]:
        """Return the required variables that are not set."""
        required = (("OAUTH_CLIENT_ID", self.oauth_client_id), ("OAUTH_CLIENT_SECRET", self.oauth_client_secret))
        return tuple(name for name, value in required if value is None)

    def is_oauth_configured(self) -> bool:
        """Say whether both the client id and the client secret are set."""
        return not self.missing()

    def credentials(self) -> tuple[str, str]:
        """Return the client id and the client secret, in clear.

        Raises:
            NotConfigured: one of them is missing.
        """
        if self.oauth_client_id is None or self.oauth_client_secret is None:
            missing = self.missing()
            verb = "is" if len(missing) == 1 else "are"
            raise NotConfigured(f"OAuth is not configured: {' and '.join(missing)} {verb} not set.", variables=missing)
        return self.oauth_client_id, self.oauth_client_secret.get_secret_value()

    def get_authorization_metadata(self) -> dict[str, Any]:
        """Return the authorization server metadata (RFC 8414 section 2) that these settings describe."""
        return {
            "issuer": self.oauth_issuer,
            "authorization_endpoint": self.oauth_authorization_url,
            "token_endpoint": self.oauth_token_url,
            "scopes_supported": list(self.oauth_scopes),
            "response_types_supported": list(self.oauth_response_types_supported),
            "grant_types_supported": list(self.oauth_grant_types_supported),
            "code_challenge_methods_supported": list(self.oauth_code_challenge_methods_supported),
            "token_endpoint_auth_methods_supported": list(self.oauth_token_endpoint_auth_methods),
        }


class IsolatedSettings(Settings):
    """Settings from arguments alone: a lab behaves the same whatever the environment and `.env` hold."""

    def __init__(self, **values: Any):
        super().__init__(**values, _env_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out every source but the arguments."""
        return (init_settings,)


class DeploymentSettings(EnvironmentSettings):
    """Where this machine keeps secrets, and the secret of a client that `debug` is started with.

    They are no part of the guide's configuration, which describes the provider. So a store of tokens works whatever
    `OAUTH_*`, or a `LOG_LEVEL` of another program, may be.
    """

    #: Where `login`, `logout`, `serve` and `doctor` keep the token.
    token_store: Literal["file", "keyring"] = "file"
    #: Encrypts the files of tokens and grants. White space alone is a key that cannot work, and not the lack of one.
    token_store_key: SecretStr | None = None
    #: Where `serve --transport http` keeps its state. `store.shared` masks the password that may be in it.
    store_url: str | None = Field(default=None, repr=False)
    store_encryption_key: SecretStr | None = None
    mcp_client_secret: SecretStr | None = None

    _trimmed = field_validator("store_url", "mcp_client_secret", mode="before")(_without_blanks)

    @field_validator("token_store", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value


def _explained(error: ValidationError) -> ConfigurationError:
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(problem["loc"][0]).upper() if problem["loc"] else "settings"
        problems.append((name, problem["msg"].removeprefix("Value error, ")))
    text = "; ".join(f"{name} {why[:1].lower()}{why[1:]}" for name, why in problems)
    return ConfigurationError(
        f"The configuration cannot work: {text}.", variables=tuple(dict.fromkeys(name for name, _ in problems))
    )


@functools.cache
def current_settings() -> Settings:
    """Return the settings of this process, read at the first call."""
    return Settings()


if TYPE_CHECKING:
    settings: Settings
else:

    def __getattr__(name: str) -> Any:
        if name == "settings":
            return current_settings()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
