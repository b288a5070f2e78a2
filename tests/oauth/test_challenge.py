"""AuthChallenge: the -32001 error and the WWW-Authenticate header, there and back."""

from __future__ import annotations

import dataclasses
import json
import string
from typing import Any

import guide
import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp import MCPError
from mcp.client.auth.utils import extract_field_from_www_auth
from mcp_types import REQUEST_TIMEOUT

from mcp_oauth_nb.oauth.challenge import (
    AUTHENTICATION_REQUIRED,
    NOT_CONFIGURED,
    OAUTH_EXTENSION,
    AuthChallenge,
    parse_challenges,
)
from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.oauth.settings import IsolatedSettings

GUIDE = AuthChallenge(
    authorization_url="https://github.com/login/oauth/authorize",
    token_url="https://github.com/login/oauth/access_token",
    scopes=("read:user",),
    resource="https://api.github.com",
)

OVER_HTTP = AuthChallenge(
    scopes=("read:user", "repo"),
    resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp",
    error="insufficient_scope",
    error_description='needs "repo", not C:\\repo',
)

# -- the -32001 error ----------------------------------------------------------------------------------------------


def test_the_error_with_default_settings_is_the_guides_json_in_the_guides_order() -> None:
    error = AuthChallenge.from_settings(IsolatedSettings()).to_jsonrpc()
    assert guide.text(error) == guide.text(guide.ERROR)


def test_the_names_on_the_wire_are_those_that_clients_look_for() -> None:
    assert (AUTHENTICATION_REQUIRED, NOT_CONFIGURED) == (-32001, -32000)
    assert OAUTH_EXTENSION == "io.github.mcp-oauth-nb/oauth"


def test_the_repr_does_not_repeat_a_secret_that_the_server_echoes() -> None:
    secret = r"""Zk3qW9vTb"NxLm2RpY'dF1gJ5wKa\tEcUzo0Vr"""
    remember(secret)
    challenge = AuthChallenge(scopes=(secret,), error_description=f"{secret} has expired")
    assert repr(challenge).count(mask(secret)) == 2
    assert "NxLm2RpY" not in repr(challenge)


def test_the_repr_shows_what_is_given_a_line_each() -> None:
    challenge = AuthChallenge(scopes=("a",), grant_type="", resource_metadata="https://mcp.example/metadata")
    assert repr(challenge).splitlines() == [
        "AuthChallenge(",
        "    scopes=('a',),",
        "    grant_type='',",
        "    code_challenge_method='S256',",
        "    message='Authentication required',",
        "    resource_metadata='https://mcp.example/metadata'",
        ")",
    ]


@pytest.mark.parametrize("form", ["header", "error"])
def test_the_repr_masks_a_token_that_a_server_echoes(form: str) -> None:
    token = "gho_" + "Q7x" * 12
    if form == "header":
        challenge = AuthChallenge.from_www_authenticate(
            f'Bearer error_description="{token} has expired", scope="{token}"'
        )
    else:
        data = {"type": "oauth2", "authorization_url": f"https://id.example/{token}", "scopes": [token]}
        challenge = AuthChallenge.from_jsonrpc({"code": -32001, "message": f"no {token}", "data": data})
    assert token not in repr(challenge)
    assert mask(token) in repr(challenge)


def test_a_challenge_stays_what_the_server_sent() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GUIDE.authorization_url = "https://evil.example"  # type: ignore[misc]


def test_the_challenge_follows_the_settings_and_the_resource() -> None:
    custom = IsolatedSettings(
        oauth_authorization_url="https://id.example/authorize",
        oauth_token_url="https://id.example/token",
        oauth_scopes="a,b",
        api_base_url="https://api.example",
    )
    challenge = AuthChallenge.from_settings(custom)
    assert challenge == AuthChallenge(
        "https://id.example/authorize", "https://id.example/token", ("a", "b"), "https://api.example"
    )
    assert AuthChallenge.from_settings(custom, resource="https://other.example").resource == "https://other.example"


def test_an_mcp_error_reads_back_as_the_challenge_it_was_made_from() -> None:
    assert AuthChallenge.from_mcp_error(MCPError(**GUIDE.to_jsonrpc())) == GUIDE


def test_the_error_object_and_the_whole_response_read_the_same() -> None:
    response = {"jsonrpc": "2.0", "id": 7, "error": guide.ERROR}
    assert AuthChallenge.from_jsonrpc(response) == GUIDE
    assert AuthChallenge.from_jsonrpc(response["error"]) == GUIDE


def test_a_request_timeout_has_the_same_code_and_is_no_challenge() -> None:
    assert REQUEST_TIMEOUT == AUTHENTICATION_REQUIRED
    timeout = MCPError(REQUEST_TIMEOUT, "Timed out while waiting for response.", {"timeout": 5})
    assert AuthChallenge.from_mcp_error(timeout) is None
    assert AuthChallenge.from_mcp_error(MCPError(REQUEST_TIMEOUT, "Timed out")) is None


def test_a_challenge_is_recognised_by_its_type_whatever_the_code() -> None:
    assert AuthChallenge.from_jsonrpc({**GUIDE.to_jsonrpc(), "code": -32099}) == GUIDE


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"jsonrpc": "2.0", "id": 1, "result": {"type": "oauth2"}},
        {"error": None},
        {"error": "oauth2"},
        {"code": -32001, "message": "Authentication required"},
        {"code": -32001, "message": "Authentication required", "data": None},
        {"code": -32001, "message": "Authentication required", "data": "oauth2"},
        {"code": -32001, "message": "Authentication required", "data": ["oauth2"]},
        {"code": -32001, "message": "Authentication required", "data": {"type": "configuration"}},
    ],
)
def test_any_other_answer_is_no_challenge(other: dict[str, Any]) -> None:
    assert AuthChallenge.from_jsonrpc(other) is None


def test_any_other_exception_is_no_challenge() -> None:
    assert AuthChallenge.from_mcp_error(ValueError("Authentication required")) is None


def test_what_a_sparse_challenge_leaves_out_has_defaults() -> None:
    sparse = AuthChallenge.from_jsonrpc({"code": -32001, "data": {"type": "oauth2"}})
    assert sparse == AuthChallenge()
    assert (sparse.grant_type, sparse.code_challenge_method) == ("authorization_code", "S256")
    assert sparse.message == "Authentication required"


@pytest.mark.parametrize("scopes", ["read:user", {"read:user": 1}, ["read:user", 7], 7, None])
def test_scopes_that_are_no_list_of_strings_are_a_protocol_error(scopes: object) -> None:
    with pytest.raises(ProtocolError, match="`scopes`"):
        AuthChallenge.from_jsonrpc({"data": {"type": "oauth2", "scopes": scopes}})


@pytest.mark.parametrize("name", ["authorization_url", "token_url", "resource", "grant_type", "code_challenge_method"])
@pytest.mark.parametrize("value", [7, ["https://evil.example"], {}, True])
def test_a_field_that_is_no_string_is_a_protocol_error(name: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=f"`{name}`"):
        AuthChallenge.from_mcp_error(MCPError(-32001, "", {"type": "oauth2", name: value}))


_scopes = st.lists(st.text(string.ascii_letters + ":_-./", min_size=1), max_size=5, unique=True).map(tuple)
_texts = st.none() | st.text(min_size=1)


@given(
    st.builds(
        AuthChallenge,
        authorization_url=_texts,
        token_url=_texts,
        scopes=st.lists(st.text()).map(tuple),
        resource=_texts,
        grant_type=st.text(min_size=1),
        code_challenge_method=st.text(min_size=1),
        message=st.text(),
        resource_metadata=st.none(),
        error=st.none(),
        error_description=st.none(),
    )
)
@settings(deadline=None)
def test_every_challenge_survives_the_way_through_json(challenge: AuthChallenge) -> None:
    error = json.loads(json.dumps(challenge.to_jsonrpc()))
    assert AuthChallenge.from_jsonrpc(error) == challenge
    assert AuthChallenge.from_mcp_error(MCPError(**error)) == challenge


# -- WWW-Authenticate ----------------------------------------------------------------------------------------------


def test_the_header_reads_back_as_the_challenge_it_was_made_from() -> None:
    assert AuthChallenge.from_www_authenticate(OVER_HTTP.to_www_authenticate()) == OVER_HTTP


def test_the_header_of_an_empty_challenge_is_the_scheme_alone() -> None:
    assert GUIDE.to_www_authenticate() == 'Bearer scope="read:user"'
    assert AuthChallenge().to_www_authenticate() == "Bearer"
    assert AuthChallenge.from_www_authenticate("Bearer") == AuthChallenge()


def test_the_sdks_own_reader_agrees_on_the_header() -> None:
    challenge = AuthChallenge(
        scopes=("read:user", "repo"),
        resource_metadata="https://mcp.example/.well-known/oauth-protected-resource",
        error="invalid_token",
        error_description="The token has expired, ask again",
    )
    response = httpx2.Response(401, headers={"WWW-Authenticate": challenge.to_www_authenticate()})
    assert extract_field_from_www_auth(response, "scope") == "read:user repo"
    assert extract_field_from_www_auth(response, "resource_metadata") == challenge.resource_metadata
    assert extract_field_from_www_auth(response, "error") == "invalid_token"
    assert extract_field_from_www_auth(response, "error_description") == challenge.error_description


_header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(
    st.builds(
        AuthChallenge,
        scopes=_scopes,
        resource_metadata=st.none() | _header_text,
        error=st.none() | _header_text,
        error_description=st.none() | _header_text,
    )
)
@settings(deadline=None)
def test_every_challenge_survives_the_way_through_a_header(challenge: AuthChallenge) -> None:
    assert AuthChallenge.from_www_authenticate(challenge.to_www_authenticate()) == challenge


@pytest.mark.parametrize(
    "text", ["a\r\nSet-Cookie: b=c", "a\x00b", "a\x7fb", "a\tb", "naïve", "„quoted”", "\u202eleft"]
)
def test_a_header_is_never_made_from_text_that_could_break_out_of_it(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        AuthChallenge(error_description=text).to_www_authenticate()


SEVERAL: list[tuple[str, list[tuple[str, dict[str, str]]]]] = [
    ("", []),
    (" , ,", []),
    ("Negotiate", [("Negotiate", {})]),
    ("X-Own a=b", [("X-Own", {"a": "b"})]),
    ("Negotiate oYGpMIGmoAMKAQ==", [("Negotiate", {})]),
    ("Negotiate, Bearer", [("Negotiate", {}), ("Bearer", {})]),
    ('Basic realm="a", Bearer error=x', [("Basic", {"realm": "a"}), ("Bearer", {"error": "x"})]),
    # RFC 9110 section 11.6.1 has this one.
    (
        'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
        [("Basic", {"realm": "simple"}), ("Newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
    ),
    ('NTLM TlRMTVNTUAAB, bearer error = "x,y=z" ,\t b=c', [("NTLM", {}), ("bearer", {"error": "x,y=z", "b": "c"})]),
    ('Bearer SCOPE="a", Bearer scope="b"', [("Bearer", {"scope": "a"}), ("Bearer", {"scope": "b"})]),
    (',Bearer realm="",,', [("Bearer", {"realm": ""})]),
    ('Bearer realm="naïve"', [("Bearer", {"realm": "naïve"})]),
]


@pytest.mark.parametrize(("header", "expected"), SEVERAL)
def test_a_header_may_hold_several_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        'error="invalid_token"',
        "=",
        '"Bearer"',
        'Bearer error="unfinished',
        'Bearer error="a" scope="b"',
        'Bearer error="a", scope="b',
        'Bearer error="a\r\nb"',
        'Bearer error="a"b',
        "Bearer two words",
        "Bearer\x00",
        "Bearer\n",
    ],
)
def test_a_malformed_header_is_a_protocol_error_that_does_not_quote_it(header: str) -> None:
    with pytest.raises(ProtocolError, match="is malformed") as caught:
        parse_challenges(header)
    assert caught.value.reference == "RFC 9110 section 11.6.1"
    assert "error=" not in str(caught.value)


def test_a_repeated_parameter_is_refused_rather_than_chosen() -> None:
    with pytest.raises(ProtocolError, match="repeats a parameter"):
        AuthChallenge.from_www_authenticate('Bearer resource_metadata="https://a", Resource_Metadata="https://evil"')


def test_the_bearer_challenge_is_found_among_others_in_any_case() -> None:
    found = AuthChallenge.from_www_authenticate('Basic realm="x", bEARER scope="repo", error=invalid_token')
    assert found == AuthChallenge(scopes=("repo",), error="invalid_token")


@pytest.mark.parametrize("header", ["", 'Basic realm="Bearer"', "Negotiate abc=", "BearerX"])
def test_a_header_without_bearer_is_no_challenge(header: str) -> None:
    assert AuthChallenge.from_www_authenticate(header) is None


_pieces = st.lists(st.sampled_from(["Bearer ", 'a="', '"', ",", "=", "a", " "])).map("".join)


@given(st.text() | st.text('Bearer=", \t\\a1;') | _pieces)
@example('Bearer a="\\')
@example("a\n")
@settings(deadline=None)
def test_no_header_at_all_gives_anything_but_challenges_or_a_protocol_error(header: str) -> None:
    try:
        challenges = parse_challenges(header)
    except ProtocolError:
        return
    assert all(scheme and isinstance(parameters, dict) for scheme, parameters in challenges)


PATTERNS = ["a", " ", ",", "=", '"', "\\", "a ", "a,", "a=", 'a="', "a, ", " ,\t", 'Bearer a="b", ', 'Bearer a="\\\\']


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("start", ["", "Bearer ", 'Bearer a="', "Bearer a", "Bearer a=b, "])
@pytest.mark.timeout(20)  # Each takes a fraction of a second; a reader that backtracks would need minutes.
def test_reading_takes_time_in_proportion_to_the_header(start: str, pattern: str) -> None:
    with pytest.raises(ProtocolError):
        parse_challenges(start + pattern * (200_000 // len(pattern)) + "\x00")
