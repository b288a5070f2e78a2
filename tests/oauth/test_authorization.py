"""The front channel: the URL that starts a flow, and the checks on the callback that ends it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import random
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.authorization import (
    FLOW_LIFETIME_SECONDS,
    AuthorizationRequest,
    PendingFlow,
    PendingFlows,
    build_url,
    describe,
    read_callback,
)
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    ServerUnavailable,
    StateMismatch,
)
from mcp_oauth_nb.oauth.masking import mask, printable, remember, remember_heard, remember_made, scrub
from mcp_oauth_nb.oauth.pkce import PKCE

ISSUER = "https://id.example"
REDIRECT_URI = "http://127.0.0.1:8765/callback"
STATE = "state-of-the-honest-flow-0123456789"
CODE = "code-for-the-honest-flow-0123456789"


def flow(state: str = STATE, *, seed: int = 7, **changes: Any) -> PendingFlow:
    fields: dict[str, Any] = {
        "state": state,
        "pkce": PKCE.generate(random.Random(seed).randbytes),
        "redirect_uri": REDIRECT_URI,
        "issuer": ISSUER,
        "scopes": ("read:user", "repo"),
        "started_at": 1000.0,
    }
    return PendingFlow(**{**fields, **changes})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def flows(clock: ManualClock) -> PendingFlows:
    """One honest flow waits for its callback."""
    pending = PendingFlows(clock)
    pending.add(flow())
    return pending


def callback(**parameters: str) -> str:
    return f"{REDIRECT_URI}?{urlencode(parameters)}"


GENUINE = {"code": CODE, "state": STATE, "iss": ISSUER}

# -- the authorization request -------------------------------------------------------------------------------------


def test_the_url_carries_every_parameter_of_the_flow_once() -> None:
    pending = flow()
    url = build_url("https://id.example/authorize", client_id="an id", flow=pending, resource="https://api.example/v3")
    assert url.startswith("https://id.example/authorize?")
    assert dict(parse_qsl(urlsplit(url).query, strict_parsing=True)) == {
        "response_type": "code",
        "client_id": "an id",
        "redirect_uri": REDIRECT_URI,
        "scope": "read:user repo",
        "state": STATE,
        "code_challenge": pending.pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": "https://api.example/v3",
    }
    assert all(len(values) == 1 for values in parse_qs(urlsplit(url).query).values())


def test_the_challenge_in_the_url_is_the_sha256_of_the_verifier_which_is_not_in_it() -> None:
    pending = flow()
    url = build_url("https://id.example/authorize", client_id="id", flow=pending, resource="https://api.example")
    digest = hashlib.sha256(pending.pkce.code_verifier.encode("ascii")).digest()
    expected = base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
    assert parse_qs(urlsplit(url).query)["code_challenge"] == [expected]
    assert pending.pkce.code_verifier not in url


def test_a_query_of_the_endpoint_is_kept() -> None:
    url = build_url(
        "https://id.example/authorize?tenant=a%20b", client_id="id", flow=flow(), resource="https://api.example"
    )
    query = parse_qs(urlsplit(url).query)
    assert (query["tenant"], query["client_id"]) == (["a b"], ["id"])


def test_the_request_is_a_triple_that_masks_itself() -> None:
    pending = flow()
    url = build_url("https://id.example/authorize", client_id="an-id", flow=pending, resource="https://api.example")
    request = AuthorizationRequest(url, pending.state, pending.pkce.code_verifier)
    assert tuple(request) == (request.url, request.state, request.code_verifier)
    for shown in (repr(request), str(request), f"{request}"):
        assert STATE not in shown
        assert pending.pkce.code_verifier not in shown
    assert "client_id=an-id" in repr(request)


# -- the callback --------------------------------------------------------------------------------------------------


def test_a_genuine_callback_gives_its_code_and_its_flow(flows: PendingFlows) -> None:
    response = read_callback(callback(**GENUINE), flows)
    assert (response.code, response.flow) == (CODE, flow())


@pytest.mark.parametrize(
    "form", ["{}", "  {}\n", "?{query}", "{query}", "localhost:8765/callback?{query}", "/cb?{query}"]
)
def test_a_callback_may_be_a_whole_url_or_what_was_copied_of_it(flows: PendingFlows, form: str) -> None:  # fmt: skip
    pasted = form.format(callback(**GENUINE), query=urlencode(GENUINE))
    assert read_callback(pasted, flows).code == CODE


def test_reprs_of_flows_and_responses_show_no_secret(flows: PendingFlows) -> None:
    response = read_callback(callback(**GENUINE), flows)
    shown = f"{response!r} {response.flow!r} {flows!r}"
    assert [secret for secret in (CODE, STATE, flow().pkce.code_verifier) if secret in shown] == []


@pytest.mark.parametrize("state", ["", "another", STATE + "x", STATE.upper(), STATE[:-1]])
def test_a_wrong_state_is_refused_and_leaves_the_flow_waiting(flows: PendingFlows, state: str) -> None:
    with pytest.raises(StateMismatch):
        read_callback(callback(**{**GENUINE, "state": state}), flows)
    assert read_callback(callback(**GENUINE), flows).code == CODE


def test_a_missing_state_is_refused(flows: PendingFlows) -> None:
    with pytest.raises(StateMismatch) as caught:
        read_callback(callback(code=CODE, iss=ISSUER), flows)
    assert caught.value.reference == "RFC 6749 section 10.12"


def test_an_error_with_a_wrong_state_is_a_state_mismatch_first(flows: PendingFlows) -> None:
    with pytest.raises(StateMismatch):
        read_callback(callback(error="access_denied", state="forged"), flows)
    assert read_callback(callback(**GENUINE), flows).code == CODE


@pytest.mark.parametrize(
    "iss", ["https://evil.example", ISSUER + "/", ISSUER.upper(), "https://id.example:443", " " + ISSUER, ""]
)
@pytest.mark.parametrize("answer", [{"code": CODE}, {"error": "access_denied"}])
def test_another_issuer_is_refused_unnormalised_on_errors_too_and_leaves_the_flow_waiting(
    flows: PendingFlows, iss: str, answer: dict[str, str]
) -> None:  # fmt: skip
    with pytest.raises(IssuerMismatch) as caught:
        read_callback(callback(**answer, state=STATE, iss=iss), flows)
    assert f"names the issuer {iss or '(empty)'}, but" in caught.value.message
    assert caught.value.reference == "RFC 9207 section 2.4"
    assert CODE not in str(caught.value)
    assert read_callback(callback(**GENUINE), flows).code == CODE


def test_a_wrong_state_is_reported_before_a_wrong_issuer(flows: PendingFlows) -> None:
    with pytest.raises(StateMismatch):
        read_callback(callback(code=CODE, state="forged", iss="https://evil.example"), flows)


def test_a_missing_issuer_is_accepted_unless_the_server_always_sends_it(flows: PendingFlows) -> None:
    for answer in ({"code": CODE}, {"error": "access_denied"}):
        with pytest.raises(IssuerMismatch, match="has no iss"):
            read_callback(callback(**answer, state=STATE), flows, iss_required=True)
    assert read_callback(callback(code=CODE, state=STATE), flows).code == CODE


def test_an_issuer_is_not_compared_where_none_is_known(clock: ManualClock) -> None:
    flows = PendingFlows(clock)
    flows.add(flow(issuer=None))
    assert read_callback(callback(**GENUINE), flows).code == CODE


def test_a_callback_works_once(flows: PendingFlows) -> None:
    read_callback(callback(**GENUINE), flows)
    with pytest.raises(StateMismatch):
        read_callback(callback(**GENUINE), flows)


def test_an_error_answer_ends_the_flow(flows: PendingFlows) -> None:
    with pytest.raises(AccessDenied):
        read_callback(callback(error="access_denied", state=STATE, iss=ISSUER), flows)
    with pytest.raises(StateMismatch):
        read_callback(callback(**GENUINE), flows)


def test_a_callback_after_ten_minutes_is_refused(flows: PendingFlows, clock: ManualClock) -> None:
    clock.advance(FLOW_LIFETIME_SECONDS)
    assert flows.get(STATE) is not None
    clock.advance(1)
    with pytest.raises(StateMismatch):
        read_callback(callback(**GENUINE), flows)
    assert len(flows) == 0


@pytest.mark.parametrize("name", ["code", "state", "iss", "error"])
def test_a_repeated_parameter_is_refused_even_if_both_are_the_same(flows: PendingFlows, name: str) -> None:
    value = {**GENUINE, "error": "access_denied"}[name]
    twice = callback(**{**GENUINE, name: value}) + "&" + urlencode({name: value})
    with pytest.raises(ProtocolError, match=f"repeats the parameter {name}"):
        read_callback(twice, flows)
    assert read_callback(callback(**GENUINE), flows).code == CODE


@pytest.mark.parametrize("query", [{"state": STATE}, {"state": STATE, "code": ""}, {"state": STATE, "error": ""}])
def test_neither_code_nor_error_is_a_protocol_error_and_leaves_the_flow_waiting(
    flows: PendingFlows, query: dict[str, str]
) -> None:
    with pytest.raises(ProtocolError, match="neither a code nor an error"):
        read_callback(callback(**query), flows)
    assert read_callback(callback(**GENUINE), flows).code == CODE


@pytest.mark.parametrize("pasted", ["", "hello", "https://login.example/", "https://github.com/login?return_to=%2F"])
def test_the_address_of_another_page_is_not_taken_for_an_attack(flows: PendingFlows, pasted: str) -> None:
    with pytest.raises(ProtocolError, match="not a callback") as caught:
        read_callback(pasted, flows)
    assert "ended on after Authorize" in caught.value.hint
    assert read_callback(callback(**GENUINE), flows).code == CODE


def test_a_code_beside_an_error_is_not_kept(flows: PendingFlows) -> None:
    with pytest.raises(AccessDenied):
        read_callback(callback(**GENUINE, error="access_denied"), flows)
    assert flows.find(CODE, "x" * 43) is None


@pytest.mark.parametrize("url", ["http://[::1/callback?code=a", "https://[canary]/?state=b"])
def test_what_is_no_url_is_a_protocol_error_that_does_not_quote_it(flows: PendingFlows, url: str) -> None:
    with pytest.raises(ProtocolError, match="not a URL") as caught:
        read_callback(url, flows)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("access_denied", AccessDenied),
        ("server_error", ServerUnavailable),
        ("temporarily_unavailable", ServerUnavailable),
        ("login_required", ReauthorizeError),
        ("consent_required", ReauthorizeError),
        ("interaction_required", ReauthorizeError),
        ("invalid_scope", OAuthErrorResponse),
        ("redirect_uri_mismatch", ConfigurationError),
        ("application_suspended", OAuthErrorResponse),
    ],
)
def test_error_answers_are_typed_by_what_helps(flows: PendingFlows, error: str, expected: type[McpOAuthError]) -> None:
    with pytest.raises(expected, match=error) as caught:
        read_callback(callback(error=error, error_description="Because of the weather", state=STATE), flows)
    assert type(caught.value) is expected
    assert "(Because of the weather)" in caught.value.message


def test_a_redirect_uri_that_is_not_registered_is_a_matter_of_configuration(flows: PendingFlows) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_callback(callback(error="redirect_uri_mismatch", state=STATE), flows)
    assert caught.value.variables == ("OAUTH_REDIRECT_URI",)


def test_an_error_without_a_class_keeps_its_code(flows: PendingFlows) -> None:
    with pytest.raises(OAuthErrorResponse) as caught:
        read_callback(callback(error="unsupported_response_type", state=STATE), flows)
    assert caught.value.code == "unsupported_response_type"


def test_control_and_bidi_characters_of_an_error_are_escaped(flows: PendingFlows) -> None:
    hostile = "\x1b[31mred\r\nINFO forged log line\u202edlrow\u200b\x00"
    with pytest.raises(OAuthErrorResponse) as caught:
        read_callback(callback(error="x" + hostile, error_description=hostile, state=STATE), flows)
    for shown in (caught.value.message, caught.value.code):
        assert shown.isprintable()
        assert "\\x1b[31mred\\r\\nINFO" in shown
        assert "\\u202e" in shown


def test_what_a_forged_callback_brings_displaces_nothing_and_is_masked_all_the_same(flows: PendingFlows) -> None:
    remember_made("made-for-one-request")
    for page in range(9):
        query = "&".join(f"code=forged{page}-{number:08d}" for number in range(2500))
        with pytest.raises(ProtocolError):
            read_callback(f"{REDIRECT_URI}?{query}&state={STATE}", flows)
    assert scrub("made-for-one-request") == mask("made-for-one-request")
    assert scrub("forged8-00002499") == mask("forged8-00002499")


def test_the_code_of_a_genuine_callback_is_ours_and_nothing_that_is_heard_displaces_it(flows: PendingFlows) -> None:
    read_callback(callback(code=CODE, state=STATE), flows)
    for page in range(3):
        remember_heard(*(f"heard{page}-{number:08d}" for number in range(10_000)))
    assert scrub(CODE) == mask(CODE)


def test_a_secret_that_a_server_echoes_is_masked(flows: PendingFlows) -> None:
    remember(STATE)
    with pytest.raises(OAuthErrorResponse) as caught:
        read_callback(callback(error="e" + CODE, error_description=f"no {CODE} {STATE}", code=CODE, state=STATE), flows)
    for shown in (str(caught.value), caught.value.code):
        assert CODE not in shown
        assert STATE not in shown


def test_long_texts_of_a_server_are_cut() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"


@given(st.text())
@settings(deadline=None)
def test_whatever_a_server_says_is_printable_afterwards(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text() | st.text("?&=%codestaierr0A[]:/#@").map(lambda text: f"http://127.0.0.1/callback?{text}"))
@settings(deadline=None)
def test_no_callback_at_all_raises_anything_but_the_packages_errors(text: str) -> None:
    flows = PendingFlows(ManualClock(1000.0))
    flows.add(flow())
    with pytest.raises((StateMismatch, ProtocolError)):
        read_callback(text, flows)
    assert len(flows) == 1


# -- pending flows -------------------------------------------------------------------------------------------------


def test_a_flow_is_found_by_the_code_that_answered_it_else_by_its_verifier(flows: PendingFlows) -> None:
    other = flow("state-of-another-flow", seed=8)
    flows.add(other)
    assert flows.find(CODE, other.pkce.code_verifier) == other
    read_callback(callback(**GENUINE), flows)
    assert flows.find(CODE, other.pkce.code_verifier) == flow()
    assert flows.find("a code that was pasted", other.pkce.code_verifier) == other
    assert flows.find("a code that was pasted", flow().pkce.code_verifier) == flow()
    assert flows.find("a code that was pasted", "x" * 43) is None


def test_a_finished_flow_is_forgotten(flows: PendingFlows) -> None:
    response = read_callback(callback(**GENUINE), flows)
    flows.finish(response.flow)
    assert flows.find(CODE, response.flow.pkce.code_verifier) is None
    flows.finish(response.flow)


def test_an_unanswered_flow_is_forgotten_when_its_pasted_code_was_exchanged(flows: PendingFlows) -> None:
    waiting = flows.get(STATE)
    assert waiting is not None
    flows.finish(waiting)
    assert len(flows) == 0


def test_an_answered_flow_is_forgotten_after_ten_minutes_too(flows: PendingFlows, clock: ManualClock) -> None:
    read_callback(callback(**GENUINE), flows)
    clock.advance(minutes=10, seconds=1)
    assert flows.find(CODE, flow().pkce.code_verifier) is None


def test_abandoned_flows_do_not_pile_up(flows: PendingFlows) -> None:
    for number in range(500):
        flows.add(flow(f"state-{number}"))
    assert len(flows) <= 101
    assert flows.get("state-499") is not None
    assert flows.get(STATE) is None


def test_of_two_callbacks_with_one_state_only_one_wins(flows: PendingFlows) -> None:
    assert flows.answer(STATE, CODE)
    assert not flows.answer(STATE, CODE)


class Outrun(PendingFlows):
    """Between the look for a flow and its end, a second callback comes in on another thread."""

    def get(self, state: str | None) -> PendingFlow | None:
        found = super().get(state)
        super().answer(STATE, "the code of the quicker callback")
        return found


def test_the_slower_of_two_simultaneous_callbacks_is_refused(clock: ManualClock) -> None:
    flows = Outrun(clock)
    flows.add(flow())
    with pytest.raises(StateMismatch):
        read_callback(callback(**GENUINE), flows)


# -- to the letter -------------------------------------------------------------------------------------------------


def test_what_was_sent_and_what_was_verified_cannot_be_changed(flows: PendingFlows) -> None:
    response = read_callback(callback(**GENUINE), flows)
    for one, name in ((response, "code"), (response.flow, "state")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, "another")


def test_the_attributes_of_a_flow_and_of_its_answer_are_masked(flows: PendingFlows) -> None:
    response = read_callback(callback(**GENUINE), flows)
    assert set(vars(response)) == {"code", "flow"}
    assert set(vars(response.flow)) == {field.name for field in dataclasses.fields(PendingFlow)}
    assert CODE not in repr(vars(response))
    assert STATE not in repr(vars(response.flow))


def test_a_request_is_shown_parameter_by_parameter_with_masks() -> None:
    request = AuthorizationRequest(f"https://id.example/a?state={STATE}&scope=repo", STATE, "v" * 43)
    assert repr(request) == (
        "AuthorizationRequest(\n    https://id.example/a\n    "
        f"?state={mask(STATE)}\n    &scope=repo\n    state {mask(STATE)}\n    code_verifier {mask('v' * 43)}\n)"
    )


def test_an_answer_to_nothing_and_an_answer_without_a_code_are_not_kept(flows: PendingFlows) -> None:
    assert not flows.answer("of-nobody", CODE)
    assert flows.answer(STATE, None)
    assert repr(flows) == "PendingFlows(0 waiting, 0 answered)"


def test_a_flow_waits_for_ten_minutes_beside_ninety_nine_others(clock: ManualClock) -> None:
    flows = PendingFlows(clock)
    for number in range(100):
        flows.add(flow(f"{STATE}-{number}"))
    clock.advance(599.5)
    assert flows.get(f"{STATE}-0") is not None
    clock.advance(1)
    assert flows.get(f"{STATE}-99") is None


@pytest.mark.parametrize(
    ("code", "description", "text"),
    [
        ("e", "No.", "e (No)"),
        ("e", "", "e"),
        ("e", 5, "e"),
        ("e", None, "e"),
        (None, "No", "an error without a code (No)"),
    ],
)
def test_an_error_is_described_by_its_code_and_by_what_is_a_text(code: object, description: object, text: str) -> None:
    assert describe(code, description) == text


def test_a_callback_that_is_in_no_encoding_is_not_a_url(flows: PendingFlows) -> None:
    with pytest.raises(ProtocolError, match="not a URL"):
        read_callback(f"{REDIRECT_URI}?code=\ud800&state={STATE}", flows)


def test_a_query_alone_may_begin_with_its_question_mark(flows: PendingFlows) -> None:
    assert read_callback(f"?code={CODE}&state={STATE}", flows).code == CODE


def test_a_parameter_that_is_empty_once_is_repeated_all_the_same(flows: PendingFlows) -> None:
    with pytest.raises(ProtocolError, match=r"repeats the parameter code and state\."):
        read_callback(f"{REDIRECT_URI}?code=&code={CODE}&state={STATE}&state=", flows)
