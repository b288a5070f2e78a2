"""The settings form: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from dotenv import dotenv_values
from guide import METADATA
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb import OAuthHandler
from mcp_oauth_nb.jupyter.widgets.settings_panel import FIELDS, SettingsForm, SettingsModel
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.masking import mask, scrub
from mcp_oauth_nb.oauth.settings import IsolatedSettings, Settings

A_SECRET = "typed-by-a-person-" + "in-a-test"


@pytest.fixture
def model() -> SettingsModel:
    return SettingsModel()


@pytest.fixture
def form() -> SettingsForm:
    return SettingsForm()


def filled(settings: Settings | None = None) -> SettingsForm:
    form = SettingsForm(settings)
    form.fields["OAUTH_CLIENT_ID"].value = "my-client"
    form.fields["OAUTH_CLIENT_SECRET"].value = A_SECRET
    return form


def told(form: SettingsForm, name: str) -> str:
    """What stands below a field."""
    return str(form._told[name].value)


def synced(form: SettingsForm) -> str:
    """All that the form's widgets tell a front end, which may save it."""

    def states(widget: Any) -> list[Any]:
        return [widget.get_state(), *(states(child) for child in getattr(widget, "children", ()))]

    return json.dumps(states(form.widget), default=repr)


def front_end_sends(widget: Any, content: dict[str, str]) -> None:
    widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


# -- the model -------------------------------------------------------------------------------------------------


def test_there_is_a_field_for_every_setting() -> None:
    assert {field.name for field in FIELDS} == {name.upper() for name in Settings.model_fields}


def test_a_new_model_has_the_defaults(model: SettingsModel) -> None:
    assert model.settings == IsolatedSettings()
    assert model.metadata == METADATA
    assert model.missing == ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    assert repr(model) == "SettingsModel(not set: OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET)"


def test_the_defaults_that_are_shown_are_those_of_the_settings(model: SettingsModel) -> None:
    for field in FIELDS:
        if field.default:
            model.set(field.name, field.default)
    assert model.settings == IsolatedSettings()


def test_a_changed_variable_is_in_the_settings_and_the_metadata(model: SettingsModel) -> None:
    model.set("OAUTH_SCOPES", " read:user, repo ")
    model.set("API_TIMEOUT", "2.5")
    assert model.settings.oauth_scopes == ("read:user", "repo")
    assert model.settings.api_timeout == 2.5
    assert (model.metadata or {})["scopes_supported"] == ["read:user", "repo"]


def test_an_empty_text_takes_a_variable_back_to_its_default(model: SettingsModel) -> None:
    model.set("OAUTH_SCOPES", "repo")
    model.set("OAUTH_SCOPES", " ")
    assert model.settings.oauth_scopes == ("read:user",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OAUTH_TOKEN_URL", "http://as.example/token"),
        ("OAUTH_ISSUER", "github.com"),
        ("OAUTH_CODE_CHALLENGE_METHODS_SUPPORTED", "plain"),
        ("OAUTH_SCOPES", ","),
        ("API_TIMEOUT", "soon"),
        ("API_TIMEOUT", "0"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_work_is_a_typed_problem_of_its_variable(
    model: SettingsModel, name: str, text: str
) -> None:
    model.set(name, text)
    model.set("OAUTH_CLIENT_ID", "x")
    assert list(model.problems) == [name]
    assert model.problems[name].variables == (name,)
    assert model.metadata is None
    assert model.summary == f"cannot work: {name}"
    with pytest.raises(ConfigurationError, match=name):
        _ = model.settings


def test_every_variable_that_cannot_work_is_named(model: SettingsModel) -> None:
    model.set("OAUTH_TOKEN_URL", "x")
    model.set("API_TIMEOUT", "-1")
    assert set(model.problems) == {"OAUTH_TOKEN_URL", "API_TIMEOUT"}


def test_an_unknown_variable_is_a_mistake(model: SettingsModel) -> None:
    with pytest.raises(ConfigurationError, match="no variable OAUTH_SCOPE"):
        model.set("OAUTH_SCOPE", "repo")


def test_a_secret_that_is_typed_is_masked_from_then_on_and_so_is_one_in_the_wrong_field(model: SettingsModel) -> None:
    typed = "typed-" + "Zq4" * 8
    model.set("OAUTH_CLIENT_SECRET", f" {typed} ")
    assert scrub(f"it is {typed}") == f"it is {mask(typed)}"
    with pytest.raises(ConfigurationError) as caught:
        model.set(typed, "repo")
    assert typed not in str(caught.value)


def test_a_model_begins_with_given_settings() -> None:
    settings = IsolatedSettings(
        oauth_client_id="x", oauth_client_secret=A_SECRET, oauth_scopes=("repo", "gist"), api_timeout=5
    )
    model = SettingsModel(settings)
    assert model.settings == settings
    assert (model.get("OAUTH_SCOPES"), model.get("API_TIMEOUT"), model.get("OAUTH_ISSUER")) == ("repo,gist", "5", "")


def test_the_settings_serve_a_handler(model: SettingsModel) -> None:
    model.set("OAUTH_CLIENT_ID", "x")
    model.set("OAUTH_CLIENT_SECRET", A_SECRET)
    assert model.summary == "complete"
    assert OAuthHandler(settings=model.settings).get_authorization_url().url.startswith("https://github.com/")


def test_the_environment_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_SCOPES", "repo")
    assert SettingsModel().settings.oauth_scopes == ("read:user",)


def test_the_env_text_leaves_the_secret_out_unless_it_is_asked_for(model: SettingsModel) -> None:
    model.set("OAUTH_CLIENT_ID", "x")
    model.set("OAUTH_CLIENT_SECRET", A_SECRET)
    model.set("OAUTH_SCOPES", "read:user,repo")
    assert model.env_text() == "OAUTH_CLIENT_ID=x\nOAUTH_CLIENT_SECRET=\nOAUTH_SCOPES=read:user,repo\n"
    assert f"OAUTH_CLIENT_SECRET={A_SECRET}\n" in model.env_text(secret=True)


def test_the_env_text_gives_the_same_settings_to_a_server(
    model: SettingsModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.set("OAUTH_CLIENT_ID", "it's # a ${HOME} id")
    model.set("OAUTH_CLIENT_SECRET", A_SECRET)
    model.set("SERVER_NAME", "my server")
    (tmp_path / ".env").write_text(model.env_text(secret=True), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert Settings().model_dump() == model.settings.model_dump()


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_any_client_id_survives_the_env_text(text: str) -> None:
    model = SettingsModel()
    model.set("OAUTH_CLIENT_ID", text)
    assert (dotenv_values(stream=io.StringIO(model.env_text()))["OAUTH_CLIENT_ID"] or "") == text.strip()


# -- the panel -------------------------------------------------------------------------------------------------


def test_a_new_form_shows_defaults_and_what_is_required(form: SettingsForm) -> None:
    assert form.fields["OAUTH_SCOPES"].placeholder == "read:user"
    assert "! required" in told(form, "OAUTH_CLIENT_ID")
    assert "OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET missing" in form._result.value


def test_what_is_typed_is_checked_at_once(form: SettingsForm) -> None:
    form.fields["OAUTH_TOKEN_URL"].value = "http://as.example/token"
    assert 'role="alert"' in told(form, "OAUTH_TOKEN_URL")
    assert "must use https" in told(form, "OAUTH_TOKEN_URL")
    assert "None while a value cannot work." in form._result.value
    form.fields["OAUTH_TOKEN_URL"].value = "https://as.example/token"
    assert "alert" not in told(form, "OAUTH_TOKEN_URL")
    assert "https://as.example/token" in form._result.value


def test_a_line_of_code_changes_the_fields_too(form: SettingsForm) -> None:
    form.model.set("OAUTH_SCOPES", "repo")
    assert form.fields["OAUTH_SCOPES"].value == "repo"


def test_a_space_that_is_being_typed_stays(form: SettingsForm) -> None:
    form.fields["OAUTH_SCOPES"].value = "read:user, "
    assert form.fields["OAUTH_SCOPES"].value == "read:user, "
    assert form.model.settings.oauth_scopes == ("read:user",)


def test_the_secret_is_hidden_and_taken_out_of_its_field() -> None:
    form = filled()
    field = form.fields["OAUTH_CLIENT_SECRET"]
    assert isinstance(field, ipywidgets.Password)
    assert not field.continuous_update
    assert (field.value, field.placeholder) == ("", f"set: {mask(A_SECRET)}")
    assert form.model.summary == "complete"


def test_the_enter_key_takes_the_secret_too(form: SettingsForm) -> None:
    field = form.fields["OAUTH_CLIENT_SECRET"]
    with field.hold_trait_notifications():
        field.value = A_SECRET
        front_end_sends(field, {"event": "submit"})
    assert form.model.get("OAUTH_CLIENT_SECRET") == mask(A_SECRET)


def test_an_empty_secret_field_changes_nothing() -> None:
    form = filled()
    front_end_sends(form.fields["OAUTH_CLIENT_SECRET"], {"event": "submit"})
    assert form.model.summary == "complete"


def test_the_secret_can_be_forgotten() -> None:
    form = filled()
    form.forget.click()
    assert form.model.missing == ("OAUTH_CLIENT_SECRET",)
    assert form.forget.disabled
    assert form.fields["OAUTH_CLIENT_SECRET"].placeholder == "type it, then Enter"


def test_no_secret_is_in_what_may_be_saved() -> None:
    form = filled()
    form.fields["OAUTH_SCOPES"].value = f"{A_SECRET}"
    form.model.env_text(secret=True)
    everything = synced(form) + json.dumps(form._repr_mimebundle_(), default=repr) + repr(form) + repr(form.model)
    assert A_SECRET not in everything
    assert form.model.settings.oauth_scopes == ("read:user",)


def test_the_variables_that_are_seldom_changed_are_hidden_until_asked_for(form: SettingsForm) -> None:
    assert form._others.layout.display == "none"
    form.more.value = True
    assert form._others.layout.display != "none"


def test_every_field_has_a_label_and_names_its_variable(form: SettingsForm) -> None:
    for name, field in form.fields.items():
        assert field.description
        assert field.tooltip == name


def test_the_static_form_shows_the_same_without_a_kernel() -> None:
    form = filled(IsolatedSettings(api_timeout=5))
    form.fields["OAUTH_ISSUER"].value = "<b>"
    html = form._repr_mimebundle_()["text/html"]
    assert "my-client" in html
    assert mask(A_SECRET) in html
    assert "API timeout (s)" in html
    assert "Log level" not in html
    assert "<b></b>" not in html
    assert "&lt;b&gt;" in html
    assert repr(form) == "SettingsForm(cannot work: OAUTH_ISSUER)"


def test_the_same_settings_give_the_same_bytes() -> None:
    assert filled()._repr_mimebundle_()["text/html"] == filled()._repr_mimebundle_()["text/html"]
