"""Settings: the guide's configuration table, from the environment and from `.env`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guide
import pytest

from mcp_oauth_nb.lab.lab import Lab
from mcp_oauth_nb.oauth.errors import ConfigurationError, NotConfigured
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.settings import IsolatedSettings, Settings

SECRET = "-".join(["a", "secret", "that", "nobody", "may", "see"])
COMPLETE = {"OAUTH_CLIENT_ID": "an-id", "OAUTH_CLIENT_SECRET": SECRET}

DEFAULTS = {
    "OAUTH_CLIENT_ID": None,
    "OAUTH_CLIENT_SECRET": None,
    "OAUTH_AUTHORIZATION_URL": "https://github.com/login/oauth/authorize",
    "OAUTH_TOKEN_URL": "https://github.com/login/oauth/access_token",
    "OAUTH_SCOPES": ("read:user",),
    "OAUTH_ISSUER": "https://github.com",
    "OAUTH_GRANT_TYPES_SUPPORTED": ("authorization_code", "refresh_token"),
    "OAUTH_CODE_CHALLENGE_METHODS_SUPPORTED": ("S256",),
    "OAUTH_RESPONSE_TYPES_SUPPORTED": ("code",),
    "OAUTH_TOKEN_ENDPOINT_AUTH_METHODS": ("client_secret_post", "client_secret_basic"),
    "OAUTH_REDIRECT_URI": "http://127.0.0.1/callback",
    "API_BASE_URL": "https://api.github.com",
    "API_TIMEOUT": 30.0,
    "SERVER_NAME": "mcp-oauth-server",
    "SERVER_VERSION": "0.1.0",
    "LOG_LEVEL": "INFO",
}

# Each variable: another value as it is written, and as it is read.
OTHERS = {
    "OAUTH_CLIENT_ID": ("Iv1.other", "Iv1.other"),
    "OAUTH_CLIENT_SECRET": (SECRET, SECRET),
    "OAUTH_AUTHORIZATION_URL": ("https://id.example/authorize", "https://id.example/authorize"),
    "OAUTH_TOKEN_URL": ("https://id.example/token", "https://id.example/token"),
    "OAUTH_SCOPES": ("read:user, repo,,gist", ("read:user", "repo", "gist")),
    "OAUTH_ISSUER": ("https://id.example", "https://id.example"),
    "OAUTH_GRANT_TYPES_SUPPORTED": ("authorization_code", ("authorization_code",)),
    "OAUTH_CODE_CHALLENGE_METHODS_SUPPORTED": ("plain,S256", ("plain", "S256")),
    "OAUTH_RESPONSE_TYPES_SUPPORTED": ("code,token", ("code", "token")),
    "OAUTH_TOKEN_ENDPOINT_AUTH_METHODS": ("client_secret_basic", ("client_secret_basic",)),
    "OAUTH_REDIRECT_URI": ("http://localhost:8765/callback", "http://localhost:8765/callback"),
    "API_BASE_URL": ("http://127.0.0.1:9000/api/v3", "http://127.0.0.1:9000/api/v3"),
    "API_TIMEOUT": ("2.5", 2.5),
    "SERVER_NAME": ("another server", "another server"),
    "SERVER_VERSION": ("9.9", "9.9"),
    "LOG_LEVEL": ("debug", "DEBUG"),
}

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """Start in an empty directory without any of the variables; call it to set some."""
    monkeypatch.chdir(tmp_path)
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


def value_of(settings: Settings, name: str) -> object:
    value = getattr(settings, name.lower())
    return value.get_secret_value() if name == "OAUTH_CLIENT_SECRET" and value is not None else value


# -- defaults ------------------------------------------------------------------------------------------------------


def test_the_metadata_with_defaults_is_the_guides_json_in_the_guides_order(environment: Environment) -> None:
    metadata = Settings().get_authorization_metadata()
    assert guide.text(metadata) == guide.text(guide.METADATA)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_variable_has_the_documented_default(environment: Environment, name: str) -> None:
    assert value_of(Settings(), name) == DEFAULTS[name]


def test_there_is_no_setting_beyond_the_documented_variables() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(DEFAULTS)


# -- environment and .env ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_every_variable_is_read_from_the_environment(environment: Environment, name: str) -> None:
    written, read = OTHERS[name]
    environment(**{name: written})
    assert value_of(Settings(), name) == read


@pytest.mark.parametrize("name", OTHERS)
def test_every_variable_is_read_from_dot_env(environment: Environment, tmp_path: Path, name: str) -> None:
    written, read = OTHERS[name]
    (tmp_path / ".env").write_text(f"# a comment\n{name}={written}\nSOMETHING_ELSE=1\n", encoding="utf-8")
    assert value_of(Settings(), name) == read


def test_the_metadata_follows_the_settings(environment: Environment) -> None:
    environment(**{name: written for name, (written, _) in OTHERS.items()})
    assert Settings().get_authorization_metadata() == {
        "issuer": "https://id.example",
        "authorization_endpoint": "https://id.example/authorize",
        "token_endpoint": "https://id.example/token",
        "scopes_supported": ["read:user", "repo", "gist"],
        "response_types_supported": ["code", "token"],
        "grant_types_supported": ["authorization_code"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }


def test_the_environment_wins_over_dot_env_and_an_argument_over_both(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVER_NAME=from-file\nSERVER_VERSION=from-file\nLOG_LEVEL=ERROR\n")
    environment(SERVER_NAME="from-environment", SERVER_VERSION="from-environment")
    settings = Settings(server_version="from-argument")
    assert (settings.server_name, settings.server_version) == ("from-environment", "from-argument")
    assert settings.log_level == "ERROR"


def test_dot_env_is_found_in_a_directory_above(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SERVER_NAME=from-above\n")
    below = tmp_path / "notebooks" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Settings().server_name == "from-above"


def test_an_empty_variable_counts_as_not_set(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OAUTH_CLIENT_ID=\nOAUTH_SCOPES=\n")
    environment(OAUTH_CLIENT_SECRET="", API_TIMEOUT="")
    settings = Settings()
    assert settings.missing() == ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    assert (settings.oauth_scopes, settings.api_timeout) == (("read:user",), 30.0)


def test_names_are_case_sensitive_as_the_guide_says(environment: Environment) -> None:
    environment(oauth_client_id="an-id", Server_Name="wrong case")
    settings = Settings()
    assert settings.oauth_client_id is None
    assert settings.server_name == "mcp-oauth-server"


@pytest.mark.parametrize("written", ["read:user,repo", " read:user , repo ", "read:user repo", "read:user,,repo,"])
def test_lists_are_separated_by_commas_and_forgive_spaces(environment: Environment, written: str) -> None:
    environment(OAUTH_SCOPES=written)
    assert Settings().oauth_scopes == ("read:user", "repo")


def test_isolated_settings_ignore_environment_and_dot_env(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVER_NAME=from-file\n")
    environment(OAUTH_CLIENT_ID="from-environment", API_TIMEOUT="rubbish")
    settings = IsolatedSettings(server_version="7")
    assert settings.oauth_client_id is None
    assert (settings.server_name, settings.server_version) == ("mcp-oauth-server", "7")


def test_a_byte_order_mark_in_dot_env_does_not_hide_the_first_variable(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfSERVER_NAME=from-file\n")
    assert Settings().server_name == "from-file"


@pytest.mark.parametrize("make", [Settings, IsolatedSettings, Lab.open])
def test_an_argument_that_is_no_setting_is_refused(environment: Environment, make: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="'oauth_scope'"):
        make(oauth_scope="repo")


def test_isolated_settings_do_not_even_open_dot_env(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SERVER_NAME=\xff\xfe\n")
    assert IsolatedSettings().server_name == "mcp-oauth-server"


# -- configured or not ---------------------------------------------------------------------------------------------


def test_oauth_is_configured_with_an_id_and_a_secret(environment: Environment) -> None:
    environment(**COMPLETE)
    settings = Settings()
    assert settings.is_oauth_configured()
    assert settings.missing() == ()
    assert settings.credentials() == ("an-id", SECRET)


@pytest.mark.parametrize(
    ("given", "missing", "message"),
    [
        ({}, ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"), "OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET are not set"),
        ({"OAUTH_CLIENT_ID": "an-id"}, ("OAUTH_CLIENT_SECRET",), "OAUTH_CLIENT_SECRET is not set"),
        ({"OAUTH_CLIENT_SECRET": SECRET}, ("OAUTH_CLIENT_ID",), "OAUTH_CLIENT_ID is not set"),
    ],
)
def test_missing_credentials_are_named(
    environment: Environment, given: dict[str, str], missing: tuple[str, ...], message: str
) -> None:
    environment(**given)
    settings = Settings()
    assert not settings.is_oauth_configured()
    with pytest.raises(NotConfigured, match=f"OAuth is not configured: {message}") as caught:
        settings.credentials()
    assert caught.value.variables == missing
    assert ".env" in caught.value.hint


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_credentials_count_as_missing(environment: Environment, blank: str) -> None:
    assert Settings(oauth_client_id=blank, oauth_client_secret=blank).missing() == (
        "OAUTH_CLIENT_ID",
        "OAUTH_CLIENT_SECRET",
    )


def test_white_space_around_pasted_credentials_is_dropped(environment: Environment) -> None:
    environment(OAUTH_CLIENT_ID=" an-id\n", OAUTH_CLIENT_SECRET=f"{SECRET}\n")
    assert Settings().credentials() == ("an-id", SECRET)


# -- bad values ----------------------------------------------------------------------------------------------------

BAD = [
    ("OAUTH_AUTHORIZATION_URL", "javascript:alert('oops')", "must be an http"),
    ("OAUTH_AUTHORIZATION_URL", "no-scheme.example/oops", "must be an http"),
    ("OAUTH_AUTHORIZATION_URL", "https://", "must be an http"),
    ("OAUTH_TOKEN_URL", "http://oops.example/token", "must use https"),
    ("OAUTH_TOKEN_URL", "http://127.0.0.1.oops.example/token", "must use https"),
    ("OAUTH_TOKEN_URL", "https://me:oops@id.example/token", "has a user name"),
    ("OAUTH_TOKEN_URL", "https://:oops@id.example/token", "has a user name"),
    ("OAUTH_TOKEN_URL", "https://[oops]/token", "must be an http"),
    ("OAUTH_TOKEN_URL", "https://[::1/oops", "must be an http"),
    ("OAUTH_TOKEN_URL", "https://id.example:99999/oops", "must be an http"),
    ("OAUTH_TOKEN_URL", "https://id.example:port/oops", "must be an http"),
    ("OAUTH_TOKEN_URL", "https://id.example/oops two", "has characters that a URL cannot have"),
    ("OAUTH_TOKEN_URL", "https://id.example/oops\ttwo", "has characters that a URL cannot have"),
    ("OAUTH_ISSUER", "https://id.example/#oops", "has a fragment"),
    ("OAUTH_ISSUER", "ftp://id.example/oops", "must be an http"),
    ("OAUTH_REDIRECT_URI", "http://0.0.0.0/oops", "must use https"),
    ("API_BASE_URL", "oops", "must be an http"),
    ("OAUTH_SCOPES", " , ", "needs at least one value"),
    ("OAUTH_GRANT_TYPES_SUPPORTED", ",", "needs at least one value"),
    ("OAUTH_CODE_CHALLENGE_METHODS_SUPPORTED", "plain", "must contain S256"),
    ("API_TIMEOUT", "oops", "valid number"),
    ("API_TIMEOUT", "0", "greater than 0"),
    ("API_TIMEOUT", "-1", "greater than 0"),
    ("API_TIMEOUT", "nan", ""),
    ("API_TIMEOUT", "inf", ""),
    ("API_TIMEOUT", "86400", "less than or equal to 3600"),
    ("LOG_LEVEL", "OOPS", "'DEBUG', 'INFO'"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD)
def test_a_bad_value_names_its_variable_and_never_its_value(
    environment: Environment, name: str, value: str, why: str
) -> None:
    environment(**{name: value})
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert caught.value.variables == (name,)
    assert f"{name} " in caught.value.message
    assert why in caught.value.message
    assert "oops" not in f"{caught.value} {caught.value!r}".lower()
    assert caught.value.__cause__ is None


def test_all_bad_values_are_named_at_once(environment: Environment) -> None:
    environment(API_TIMEOUT="never", LOG_LEVEL="loud", OAUTH_TOKEN_URL="http://id.example")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert set(caught.value.variables) == {"API_TIMEOUT", "LOG_LEVEL", "OAUTH_TOKEN_URL"}


def test_a_bad_value_among_the_arguments_names_its_variable_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        IsolatedSettings(api_timeout=-1)
    assert caught.value.variables == ("API_TIMEOUT",)


def test_a_dot_env_that_is_not_text_is_a_configuration_error_that_names_the_file(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(f"OAUTH_CLIENT_SECRET={SECRET}\n".encode() + b"\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env") as caught:
        Settings()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9000", "[::1]:9000", "localhost", "LOCALHOST:1"])
def test_plain_http_is_allowed_on_this_machine(environment: Environment, host: str) -> None:
    environment(OAUTH_TOKEN_URL=f"http://{host}/token")
    assert Settings().oauth_token_url == f"http://{host}/token"


# -- secrets -------------------------------------------------------------------------------------------------------


def test_the_secret_is_masked_in_every_form_of_the_settings(environment: Environment) -> None:
    environment(**COMPLETE)
    settings = Settings()
    forms = [
        repr(settings),
        str(settings),
        f"{settings}",
        repr(settings.model_dump()),
        settings.model_dump_json(),
        repr(dict(settings)),
        repr(settings.oauth_client_secret),
        str(settings.__rich_repr__()),
        repr(list(settings.__rich_repr__())),
    ]
    assert [form for form in forms if SECRET in form] == []


def test_the_secret_is_found_in_any_text_from_then_on(environment: Environment) -> None:
    environment(**COMPLETE)
    Settings()
    assert SECRET not in scrub(f"somebody printed {SECRET}")


@pytest.mark.parametrize("wrong", [{"api_timeout": -1}, {"no_such_setting": 1}])
def test_the_secret_is_known_even_if_another_setting_is_wrong(wrong: dict[str, Any]) -> None:
    # IPython's verbose tracebacks show the arguments.
    secret = f"{SECRET}-beside-{next(iter(wrong))}"
    with pytest.raises((ConfigurationError, TypeError)):
        IsolatedSettings(**wrong, oauth_client_secret=f" {secret}\n")
    assert secret not in scrub(f"'{secret}'")


def test_settings_cannot_be_changed_behind_the_handlers_back() -> None:
    with pytest.raises(ValueError, match="frozen"):
        IsolatedSettings().oauth_token_url = "https://evil.example"  # type: ignore[misc]


# -- the module ----------------------------------------------------------------------------------------------------


def python(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**environment, **variables}, capture_output=True, text=True
    )


def test_importing_reads_nothing_and_the_first_use_reads_once(tmp_path: Path) -> None:
    code = """
import os, pathlib
import mcp_oauth_nb.config as config          # a bad value does no harm here,
import mcp_oauth_nb.oauth_handler
try:
    config.settings                           # only here
except config.ConfigurationError as error:
    print(error.variables)
os.environ["API_TIMEOUT"] = "7"               # an error is not remembered
print(config.settings.api_timeout)
os.environ["API_TIMEOUT"] = "8"               # the settings are
from mcp_oauth_nb.config import settings
print(settings.api_timeout, settings is config.settings)
"""
    done = python(code, tmp_path, API_TIMEOUT="rubbish")
    assert (done.stdout.splitlines(), done.stderr) == (["('API_TIMEOUT',)", "7.0", "7.0 True"], "")


def test_the_guides_check_of_the_configuration_works_as_printed(tmp_path: Path) -> None:
    code = "from mcp_oauth_nb.config import settings; print(settings.is_oauth_configured())"
    assert python(code, tmp_path, **COMPLETE).stdout == "True\n"
    assert python(code, tmp_path).stdout == "False\n"


def test_the_module_has_no_other_lazy_names() -> None:
    import mcp_oauth_nb.oauth.settings as config

    with pytest.raises(AttributeError, match="has no attribute 'setting'"):
        _ = config.setting  # type: ignore[attr-defined]
