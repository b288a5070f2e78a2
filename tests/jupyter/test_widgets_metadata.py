"""The metadata explorer: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

from mcp_oauth_nb import Lab
from mcp_oauth_nb.jupyter.widgets.metadata_model import MetadataModel, read_value, value_text
from mcp_oauth_nb.jupyter.widgets.metadata_panel import MetadataExplorer
from mcp_oauth_nb.oauth.discovery import DiscoveredAuthorizationServer, DiscoveredResource, Discovery

SERVER: dict[str, Any] = {
    "issuer": "https://login.example",
    "authorization_endpoint": "https://login.example/authorize",
    "token_endpoint": "https://login.example/token",
    "scopes_supported": ["read:user"],
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
}
RESOURCE: dict[str, Any] = {
    "resource": "https://mcp.example/mcp",
    "authorization_servers": ["https://login.example"],
    "scopes_supported": ["read:user"],
}
FOUND = Discovery(
    "https://mcp.example/mcp",
    DiscoveredResource(
        "https://mcp.example/mcp", ProtectedResourceMetadata.model_validate(RESOURCE), "https://login.example"
    ),
    DiscoveredAuthorizationServer("https://login.example", OAuthMetadata.model_validate(SERVER)),
)
PKCE = "code_challenge_methods_supported"


@pytest.fixture
def model() -> MetadataModel:
    return MetadataModel(SERVER, expected="https://login.example")


@pytest.fixture
def panel() -> MetadataExplorer:
    return MetadataExplorer(SERVER, expected="https://login.example")


def shown(panel: MetadataExplorer) -> str:
    """What a person reads beside the controls."""
    return str(panel._counts.value + panel._detail.value + panel._changes.value)


# -- where documents come from ---------------------------------------------------------------------------------


def test_a_discovery_has_both_documents_with_the_names_that_were_asked_for() -> None:
    model = MetadataModel(FOUND)
    assert model.kinds == ("protected resource", "authorization server")
    assert model.document == RESOURCE
    assert "It is the server that was asked" in str(model.findings[0].check)
    model.kind = "authorization server"
    assert (model.document, model.field) == (SERVER, "issuer")
    assert "exactly the issuer" in str(model.findings[0].check)


def test_a_discovery_that_began_at_the_issuer_has_one_document() -> None:
    assert MetadataModel(Discovery("https://login.example", None, FOUND.server)).kinds == ("authorization server",)


def test_the_sdks_models_and_dictionaries_are_documents_too() -> None:
    assert MetadataModel(FOUND.server.metadata).document["token_endpoint"] == "https://login.example/token"
    assert MetadataModel(RESOURCE).kind == "protected resource"
    assert MetadataModel({}, kind="protected resource").kind == "protected resource"


@pytest.mark.anyio
async def test_a_lab_and_a_session_show_what_their_server_advertised() -> None:
    async with Lab.open() as lab:
        for source in (lab, lab.session):
            assert MetadataModel(source).document == lab.settings.get_authorization_metadata()


@pytest.mark.parametrize("source", [None, 7, "https://login.example", [SERVER]])
def test_anything_else_is_no_document(source: Any) -> None:
    with pytest.raises(TypeError, match="no metadata document"):
        MetadataModel(source)


def test_the_document_that_was_given_is_left_alone() -> None:
    document = copy.deepcopy(SERVER)
    MetadataModel(document).remove("issuer")
    assert document == SERVER


def test_a_secret_in_a_document_is_masked() -> None:
    model = MetadataModel({**SERVER, "client_secret": "a-secret-in-a-document-01"})
    model.set("registration_access_token", "a-secret-in-an-edit-0001")
    assert "a-secret-in" not in json.dumps(model.document)


# -- the model -------------------------------------------------------------------------------------------------


def test_fields_that_are_there_or_should_be_come_first(model: MetadataModel) -> None:
    outcomes = [finding.present or finding.check.outcome != "not applicable" for finding in model.findings]
    assert outcomes == sorted(outcomes, reverse=True)


def test_the_summary_counts_the_checks(model: MetadataModel) -> None:
    assert repr(model) == "MetadataModel(authorization server: 6 passed, 3 warning)"
    assert MetadataModel({}, kind="protected resource").summary == "protected resource: 2 warning, 2 failed"


@pytest.mark.parametrize("text", ["PKCE", " code_CHALLENGE ", "rfc 7636", '["s256"]'])
def test_the_filter_finds_names_meanings_sections_and_values(model: MetadataModel, text: str) -> None:
    model.filter = text
    assert PKCE in [finding.field.name for finding in model.visible]
    assert len(model.visible) < 4


def test_the_filter_finds_outcomes(model: MetadataModel) -> None:
    model.filter = "warning"
    assert {finding.check.outcome for finding in model.visible} == {"warning"}


def test_a_field_that_is_left_out_is_judged_anew(model: MetadataModel) -> None:
    assert model.remove(PKCE).check.outcome == "failed"
    assert [str(change) for change in model.changes] == [f"{PKCE}: ✔ passed → ✘ failed"]
    assert model.summary.endswith("; 1 changed by edits")


def test_an_edit_may_change_another_check(model: MetadataModel) -> None:
    model.set("registration_endpoint", "https://login.example/register")
    assert [change.name for change in model.changes] == [
        "registration_endpoint",
        "client_id_metadata_document_supported",
    ]


def test_edits_are_taken_back(model: MetadataModel) -> None:
    model.set("issuer", "https://evil.example")
    model.set("x-new", 1)
    assert model.edited
    model.restore()
    assert (model.document, model.changes, model.edited) == (SERVER, (), False)


def test_edits_of_one_document_stay_while_the_other_is_shown() -> None:
    model = MetadataModel(FOUND)
    model.remove("resource")
    model.kind = "authorization server"
    model.kind = "protected resource"
    assert "resource" not in model.document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["S256"]', ["S256"]),
        ("true", True),
        ("https://a.example", "https://a.example"),
        (' "x" ', "x"),
        ("7", 7),
        ("None", "None"),
    ],
)
def test_a_value_is_read_as_a_person_writes_it(text: str, value: Any) -> None:
    assert read_value(text) == value
    assert read_value(value_text(value)) == value


@pytest.mark.parametrize("text", ['["S256"', '{"a"', '"open', "", pytest.param("[" * 200_000, id="deep")])
def test_a_value_that_begins_like_json_must_be_json(model: MetadataModel, text: str) -> None:
    with pytest.raises(ValueError, match="This is not JSON: "):
        model.set_text(PKCE, text)
    assert model.error.startswith("This is not JSON: ")
    assert not model.edited
    model.set_text(PKCE, '["plain"]')
    assert (model.error, model.document[PKCE]) == ("", ["plain"])


def test_an_error_goes_when_another_field_is_chosen(model: MetadataModel) -> None:
    with pytest.raises(ValueError, match="JSON"):
        model.set_text(PKCE, "[")
    model.field = "issuer"
    assert model.error == ""


def test_a_field_that_is_nowhere_shows_the_first(model: MetadataModel) -> None:
    model.set("x-new", 1)
    model.remove("x-new")
    assert model.selected.field.name == "issuer"


# -- the panel -------------------------------------------------------------------------------------------------


def test_the_list_has_a_sign_for_each_check_and_brackets_where_a_field_is_missing(panel: MetadataExplorer) -> None:
    labels = [label for label, _ in panel.fields.options]
    assert labels[:2] == ["✔ issuer", "✔ authorization_endpoint"]
    assert "! (registration_endpoint)" in labels
    assert "– (jwks_uri)" in labels


def test_a_chosen_field_is_shown_in_detail(panel: MetadataExplorer) -> None:
    panel.fields.value = PKCE
    assert panel.model.field == PKCE
    for text in ("✔ passed", "PKCE", "RFC 7636 section 4.3", "S256"):
        assert text in shown(panel)
    assert panel.value.value == '["S256"]'


def test_checks_follow_while_one_types(panel: MetadataExplorer) -> None:
    panel.fields.value = PKCE
    panel.value.value = '["plain"'
    assert "This is not JSON" in shown(panel)
    assert 'role="alert"' in shown(panel)
    assert panel.value.value == '["plain"'
    panel.value.value = '[ "plain" ]'
    assert "What the edits change:" in shown(panel)
    assert "It lacks" in shown(panel)
    # As it was typed, spaces and all.
    assert panel.value.value == '[ "plain" ]'
    assert panel.fields.value == PKCE


def test_the_buttons_leave_out_and_take_back(panel: MetadataExplorer) -> None:
    assert panel.restore.disabled
    panel.fields.value = "token_endpoint"
    panel.remove.click()
    assert (panel.value.value, panel.remove.disabled, panel.restore.disabled) == ("", True, False)
    assert "✘ (token_endpoint)" in [label for label, _ in panel.fields.options]
    panel.restore.click()
    assert (panel.value.value, panel.restore.disabled) == ('"https://login.example/token"', True)


def test_a_field_that_is_missing_can_be_given_a_value(panel: MetadataExplorer) -> None:
    panel.fields.value = "registration_endpoint"
    panel.value.value = "https://login.example/register"
    assert panel.model.document["registration_endpoint"] == "https://login.example/register"
    assert panel.value.value == "https://login.example/register"


def test_an_edit_without_consequence_says_so(panel: MetadataExplorer) -> None:
    panel.model.set("scopes_supported", ["repo"])
    assert "no check comes to anything else" in shown(panel)


def test_the_filter_shortens_the_list_and_keeps_what_is_shown(panel: MetadataExplorer) -> None:
    panel.filter.value = "pkce"
    assert PKCE in [name for _, name in panel.fields.options]
    assert (panel.fields.value, panel.model.field) == (None, "issuer")
    panel.filter.value = ""
    assert panel.fields.value == "issuer"


def test_the_list_can_be_gone_through_without_a_mouse(panel: MetadataExplorer) -> None:
    panel.next.click()
    assert panel.model.field == "authorization_endpoint"
    panel.previous.click()
    assert panel.model.field == "issuer"
    panel.filter.value = "pkce"
    panel.filter._handle_msg({"content": {"data": {"method": "custom", "content": {"event": "submit"}}}, "buffers": []})
    assert panel.model.field == PKCE


def test_two_documents_can_be_switched_between() -> None:
    panel = MetadataExplorer(FOUND)
    assert panel.document.layout.display == ""
    panel.document.value = "authorization server"
    assert panel.model.kind == "authorization server"
    assert panel.fields.value == "issuer"


def test_one_document_offers_nothing_to_switch(panel: MetadataExplorer) -> None:
    assert panel.document.layout.display == "none"


def test_the_model_leads_the_panel(panel: MetadataExplorer) -> None:
    panel.model.set(PKCE, ["plain"])
    assert (panel.fields.value, panel.value.value) == (PKCE, '["plain"]')


def test_what_a_server_wrote_cannot_become_markup() -> None:
    panel = MetadataExplorer({**SERVER, "<script>": "<img src=x>", "token_endpoint": "<script>"})
    panel.fields.value = "token_endpoint"
    everything = shown(panel) + panel._static_html()
    assert "<script" not in everything
    assert "<img" not in everything


def test_the_static_form_has_every_field_and_is_the_same_on_every_run(panel: MetadataExplorer) -> None:
    panel.model.remove(PKCE)
    other = MetadataExplorer(SERVER, expected="https://login.example")
    other.model.remove(PKCE)
    html = panel._static_html()
    assert html == other._static_html()
    assert [finding.field.name for finding in panel.model.findings if finding.field.name not in html] == []
    assert "What the edits change:" in html
    expected = "authorization server: 5 passed, 3 warning, 1 failed; 1 changed by edits"
    assert repr(panel) == f"MetadataExplorer({expected})"


def test_a_filter_with_all_that_matters_leaves_nothing_folded(panel: MetadataExplorer) -> None:
    panel.filter.value = "exactly the name they asked"
    panel.filter.value = "passed"
    assert "<details" not in panel._static_html()
