"""The challenge inspector: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import MCPError

from mcp_oauth_nb import AuthChallenge, AuthenticationRequired, Lab
from mcp_oauth_nb.jupyter.widgets.challenge_model import EXAMPLES, ChallengeModel
from mcp_oauth_nb.jupyter.widgets.challenge_panel import ChallengeInspector
from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.oauth.masking import remember

CHALLENGE = AuthChallenge(
    authorization_url="https://login.example/authorize",
    token_url="https://login.example/token",
    scopes=("repo", "gist"),
    resource="https://mcp.example/mcp",
    resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp",
)
HEADER = CHALLENGE.to_www_authenticate()
BOTH = "-32001: challenge; WWW-Authenticate: challenge"


@pytest.fixture
def model() -> ChallengeModel:
    return ChallengeModel(CHALLENGE)


@pytest.fixture
def panel() -> ChallengeInspector:
    return ChallengeInspector(CHALLENGE)


def shown(panel: ChallengeInspector) -> str:
    """What a person reads below the texts."""
    return str(panel._error.value + panel._bearer.value + panel._lines.value)


# -- where challenges come from --------------------------------------------------------------------------------


def test_a_challenge_fills_both_carriers(model: ChallengeModel) -> None:
    assert json.loads(model.jsonrpc) == CHALLENGE.to_jsonrpc()
    assert model.header == HEADER
    assert repr(model) == f"ChallengeModel({BOTH})"


@pytest.mark.parametrize(
    "source",
    [
        CHALLENGE,
        AuthenticationRequired(challenge=CHALLENGE),
        MCPError(-32001, "Authentication required", CHALLENGE.to_data()),
        CHALLENGE.to_jsonrpc(),
        {"jsonrpc": "2.0", "id": 1, "error": CHALLENGE.to_jsonrpc()},
        HEADER,
        f"WWW-Authenticate: {HEADER}",
        None,
    ],
    ids=["challenge", "our error", "the SDK's error", "object", "response", "header", "header with its name", "guide"],
)
def test_whatever_carries_the_news_is_read(source: Any) -> None:
    assert ChallengeModel(source).summary == BOTH


@pytest.mark.parametrize("text", ["[" * 200_000, '{"code": ' + "1" * 5_000 + "}"], ids=["too deep", "too long"])
def test_json_that_python_cannot_read_is_a_typed_error(model: ChallengeModel, text: str) -> None:
    model.jsonrpc = text
    error = model.jsonrpc_reading.error
    assert isinstance(error, ProtocolError)
    assert "number too long, or too deep" in error.message


@pytest.mark.anyio
async def test_the_error_of_a_labs_server_is_read() -> None:
    async with Lab.open() as lab:
        with pytest.raises(AuthenticationRequired) as raised:
            await lab.session.call_tool("get_github_user_info")
    assert json.loads(ChallengeModel(raised.value).jsonrpc)["data"]["scopes"] == ["read:user"]


@pytest.mark.parametrize("source", [7, ValueError("x"), AuthenticationRequired(), [HEADER]])
def test_anything_else_carries_no_challenge(source: Any) -> None:
    with pytest.raises(TypeError, match="there is no challenge in a"):
        ChallengeModel(source)


def test_a_timeout_with_the_same_code_is_no_challenge() -> None:
    model = ChallengeModel(MCPError(-32001, "Timed out"))
    assert model.summary == "-32001: no challenge; WWW-Authenticate: no challenge"
    assert "the SDK has the same code for a timeout" in model.jsonrpc_reading.other


def test_a_header_that_cannot_be_read_is_shown_all_the_same() -> None:
    model = ChallengeModel('Bearer scope="open')
    assert model.header == 'Bearer scope="open'
    assert model.summary == "-32001: no challenge; WWW-Authenticate: ProtocolError"


def test_an_error_that_cannot_be_read_is_shown_all_the_same() -> None:
    model = ChallengeModel({"code": -32001, "data": {"type": "oauth2", "scopes": "repo"}})
    assert model.summary == "-32001: ProtocolError; WWW-Authenticate: no challenge"


def test_what_no_header_can_carry_leaves_the_header_empty() -> None:
    assert ChallengeModel(AuthChallenge(scopes=("caf\u00e9",))).header == ""


def test_secrets_are_masked_in_both_texts() -> None:
    secret = "a-secret-that-was-echoed-01"
    remember(secret)
    model = ChallengeModel({"code": 1, "message": secret, "data": {"access_token": "another-secret-echoed-02"}})
    model.header = f'Bearer error_description="{secret}"'
    assert secret not in model.jsonrpc + model.header
    assert "another-secret" not in model.jsonrpc


def test_a_header_that_looks_like_a_token_is_left_readable(model: ChallengeModel) -> None:
    assert model.header.startswith('Bearer resource_metadata="https://')


# -- the model -------------------------------------------------------------------------------------------------


def test_an_edited_header_is_read_at_once(model: ChallengeModel) -> None:
    model.header = 'Bearer error="insufficient_scope", scope="repo"'
    challenge = model.header_reading.challenge
    assert challenge is not None
    assert (challenge.error, challenge.scopes) == ("insufficient_scope", ("repo",))
    model.header = "Basic realm=x"
    assert model.header_reading.other == "No Bearer challenge is in it."
    model.header = 'Bearer scope="repo'
    assert isinstance(model.header_reading.error, ProtocolError)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("{", "ProtocolError"),
        ("[]", "ProtocolError"),
        ("{}", "no challenge"),
        ('{"error": 7}', "no challenge"),
        ('{"data": {"type": "oauth2", "token_url": 7}}', "ProtocolError"),
        ('{"data": {"type": "oauth2"}}', "challenge"),
    ],
)
def test_an_edited_error_is_read_at_once(model: ChallengeModel, text: str, outcome: str) -> None:
    model.jsonrpc = text
    assert model.jsonrpc_reading.outcome == outcome


def test_json_that_is_broken_is_pointed_at(model: ChallengeModel) -> None:
    model.jsonrpc = '{\n"code" 1}'
    assert "line 2, column 8" in str(model.jsonrpc_reading.error)


def test_the_fields_of_one_carrier_are_told_by_those_of_the_other(model: ChallengeModel) -> None:
    lines = {line.jsonrpc_name: line for line in model.lines}
    assert (lines["scopes"].jsonrpc, lines["scopes"].header_name, lines["scopes"].header) == (
        "repo gist",
        "scope",
        "repo gist",
    )
    assert lines["authorization_url"].header == CHALLENGE.resource_metadata
    assert {line.header for line in ChallengeModel({}).lines} == {""}


def test_edits_are_taken_back(model: ChallengeModel) -> None:
    model.header = ""
    assert model.edited
    model.restore()
    assert (model.header, model.edited) == (HEADER, False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_what_its_name_says(name: str) -> None:
    expected = {
        "A timeout with the same code": "-32001: no challenge; WWW-Authenticate: challenge",
        "A field of the wrong type": "-32001: ProtocolError; WWW-Authenticate: challenge",
        "A missing quotation mark": "-32001: challenge; WWW-Authenticate: ProtocolError",
        "A parameter twice": "-32001: challenge; WWW-Authenticate: ProtocolError",
    }
    model = ChallengeModel(CHALLENGE)
    model.load(name)
    assert model.summary == expected.get(name, BOTH)


def test_an_example_that_is_not_there_is_an_error(model: ChallengeModel) -> None:
    with pytest.raises(KeyError):
        model.load("none")


# -- what a client does next -----------------------------------------------------------------------------------


def test_the_error_leads_straight_to_the_endpoints(model: ChallengeModel) -> None:
    steps = "\n".join(model.jsonrpc_steps)
    assert "https://login.example/authorize for repo gist" in steps
    assert "resource=https://mcp.example/mcp" in steps
    assert "https://login.example/token" in steps


def test_an_error_that_asks_for_nothing_names_nothing(model: ChallengeModel) -> None:
    model.jsonrpc = json.dumps({"data": {**CHALLENGE.to_data(), "scopes": [], "resource": None}})
    assert model.jsonrpc_steps[1] == "Open https://login.example/authorize, with the challenge (S256)."


def test_the_header_leads_to_the_metadata_first(model: ChallengeModel) -> None:
    assert model.header_steps[0].startswith(f"Read {CHALLENGE.resource_metadata}: ")
    model.header = "Bearer"
    assert "the well-known URLs of the server" in model.header_steps[0]
    assert "for what scopes_supported says" in model.header_steps[3]


@pytest.mark.parametrize(
    ("error", "first"),
    [
        ("invalid_token", "Refresh the token"),
        ("insufficient_scope", "Keep the token"),
        ("invalid_request", "Correct the request"),
    ],
)
def test_each_error_code_has_its_own_way(model: ChallengeModel, error: str, first: str) -> None:
    model.header = f'Bearer error="{error}", scope="repo"'
    assert model.header_steps[0].startswith(first)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"authorization_url": None}, "Stop: without authorization_url there is no way to a token."),
        ({"code_challenge_method": "plain"}, "Stop: only the PKCE method S256 protects the code"),
    ],
)
def test_a_client_stops_where_it_cannot_go_on_safely(model: ChallengeModel, change: dict[str, Any], step: str) -> None:
    model.jsonrpc = json.dumps({"data": {**CHALLENGE.to_data(), **change}})
    assert model.jsonrpc_steps[0].startswith(step)


def test_what_cannot_be_read_or_is_something_else_leads_nowhere(model: ChallengeModel) -> None:
    model.jsonrpc, model.header = "{}", 'Bearer scope="'
    assert model.jsonrpc_steps == ("No authorization: report the error as it is.",)
    assert model.header_steps == (
        "It counts as absent: go on by the well-known address, as without it.",
        "Tell the server's operator: each parameter once, its value in double quotes, and a comma between two.",
    )


# -- the panel -------------------------------------------------------------------------------------------------


def test_the_panel_shows_both_carriers_and_what_is_read(panel: ChallengeInspector) -> None:
    assert (panel.jsonrpc.value, panel.header.value) == (panel.model.jsonrpc, panel.model.header)
    assert shown(panel).count("✔ challenge") == 2
    assert "The same news, field by field" in shown(panel)


def test_typing_is_read_at_once(panel: ChallengeInspector) -> None:
    panel.header.value = 'Bearer scope="repo'
    assert "✘ ProtocolError" in panel._bearer.value
    assert 'role="alert"' in panel._bearer.value
    assert "RFC 9110 section 11.6.1" in panel._bearer.value
    panel.jsonrpc.value = "{}"
    assert "! no challenge" in panel._error.value
    panel.jsonrpc.value = "{"
    assert "This is not JSON" in panel._error.value


def test_an_example_replaces_the_texts_and_can_be_taken_back(panel: ChallengeInspector) -> None:
    assert panel.restore.disabled
    panel.example.value = "Too few scopes"
    assert "insufficient_scope" in panel.header.value
    panel.restore.click()
    assert (panel.header.value, panel.example.value, panel.restore.disabled) == (HEADER, "As it was", True)


def test_every_text_field_has_a_name(panel: ChallengeInspector) -> None:
    assert [panel.jsonrpc.tooltip, panel.header.tooltip] == [
        "-32001 error: The JSON-RPC error object",
        "WWW-Authenticate: The value of the header",
    ]


def test_what_a_server_wrote_cannot_become_markup(panel: ChallengeInspector) -> None:
    panel.header.value = 'Bearer error="<script>", error_description="<img src=x>\u202e"'
    panel.jsonrpc.value = '{"message": "<script>", "data": {"type": "oauth2", "resource": "<img>"}}'
    everything = shown(panel) + panel._static_html()
    assert [bad for bad in ("<script", "<img", "\u202e") if bad in everything] == []


def test_the_static_form_has_the_same_and_is_the_same_on_every_run(panel: ChallengeInspector) -> None:
    html = panel._static_html()
    assert html == ChallengeInspector(CHALLENGE)._static_html()
    for part in (panel._error.value, panel._bearer.value, panel._lines.value, "Bearer resource_metadata="):
        assert part in html
    assert repr(panel) == f"ChallengeInspector({BOTH})"
