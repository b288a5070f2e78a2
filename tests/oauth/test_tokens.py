"""What a token response may hold, and what becomes of it."""

from __future__ import annotations

import dataclasses
import json
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.errors import ProtocolError
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.token import EARLY_REFRESH_SECONDS, Token, pasted_token, split_scopes

NOW = 1_767_225_600.0
END_OF_DATES = 253_402_300_799  # the last second of the year 9999
TEN_YEARS = 10 * 365 * 24 * 3600
ACCESS = "gho_" + "A1b2" * 9
REFRESH = "ghr_" + "C3d4" * 9
B64TOKEN = string.ascii_letters + string.digits + "-._~+/"


def read(**fields: Any) -> Token:
    return Token.from_response({"access_token": ACCESS, "token_type": "bearer", **fields}, now=NOW)


# -- expires_in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "lifetime"),
    [
        (3600, 3600),
        ("3600", 3600),
        (1, 1),
        ("9" * 18, TEN_YEARS),
        ("9" * 100, TEN_YEARS),
        (10**30, TEN_YEARS),
        (None, None),
        (0, None),
        ("0", None),
        (-1, None),
        ("-3600", None),
        (-(10**30), None),
    ],
)
@pytest.mark.parametrize(
    ("name", "deadline"), [("expires_in", "expires_at"), ("refresh_token_expires_in", "refresh_token_expires_at")]
)
def test_a_whole_number_of_seconds_becomes_an_absolute_time(
    name: str, deadline: str, value: Any, lifetime: int | None
) -> None:
    assert getattr(read(**{name: value}), deadline) == (None if lifetime is None else NOW + lifetime)


def test_a_missing_lifetime_means_until_a_server_says_401() -> None:
    assert read().expires_at is None
    assert not read().is_expired(NOW + 100 * TEN_YEARS)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        3600.5,
        math.nan,
        math.inf,
        " 3600",
        "3600.5",
        "+3600",
        "1e3",
        "soon",
        "３６００",
        [3600],
        {},
    ],
)
def test_anything_else_in_place_of_a_lifetime_counts_as_none_and_is_told(value: Any) -> None:
    token = read(expires_in=value)
    assert (token.access_token, token.expires_at) == (ACCESS, None)
    assert token.findings == (
        "The token response's expires_in is not a whole number of seconds; it counts as none (RFC 6749 section 5.1).",
    )


@pytest.mark.parametrize("value", [3600.0, "3600.0", "3600.", "3600"])
def test_a_whole_number_is_one_however_it_is_written(value: Any) -> None:
    token = read(expires_in=value)
    assert (token.expires_at, token.findings) == (NOW + 3600, ())


@pytest.mark.parametrize("name", ["expires_in", "refresh_token_expires_in", "refresh_token"])
def test_an_empty_string_is_no_value(name: str) -> None:
    token = read(**{name: ""})
    assert (token.expires_at, token.refresh_token, token.refresh_token_expires_at) == (None, None, None)
    assert token.findings == ()


@given(st.integers(-(10**9), 10**9))
def test_no_lifetime_makes_a_token_that_is_expired_on_arrival(seconds: int) -> None:
    assert not read(expires_in=seconds).is_expired(NOW)


def test_expiry_counts_from_the_answer_and_may_be_anticipated() -> None:
    token = read(expires_in=3600)
    assert not token.is_expired(NOW + 3599)
    assert token.is_expired(NOW + 3600)
    assert token.is_expired(NOW + 3600 - EARLY_REFRESH_SECONDS, margin=EARLY_REFRESH_SECONDS)
    assert not token.is_expired(NOW + 3599 - EARLY_REFRESH_SECONDS, margin=EARLY_REFRESH_SECONDS)


@pytest.mark.parametrize(("lifetime", "before"), [(3600, 60), (241, 60), (240, 60), (120, 30), (4, 1)])
def test_a_token_is_due_a_minute_before_it_expires_or_a_quarter_of_a_short_life(lifetime: int, before: int) -> None:
    token = read(expires_in=lifetime)
    for known in (token, Token.from_dict(token.to_dict())):
        assert known.is_due(NOW + lifetime - before)
        assert not known.is_due(NOW + lifetime - before - 0.01)


def test_a_token_of_unknown_age_is_due_a_minute_before_it_expires() -> None:
    token = Token(ACCESS, expires_at=NOW)
    assert token.is_due(NOW - 60)
    assert not token.is_due(NOW - 61)
    assert not Token(ACCESS, issued_at=NOW).is_due(NOW + TEN_YEARS)


# -- the other fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token_type", ["bearer", "Bearer", "BEARER"])
def test_the_case_of_the_token_type_does_not_matter(token_type: str) -> None:
    token = read(token_type=token_type)
    assert (token.access_token, token.token_type) == (ACCESS, token_type)


@pytest.mark.parametrize("body", [{}, {"token_type": None}, {"token_type": ""}])
def test_a_token_type_that_is_missing_is_bearer_and_told(body: dict[str, Any]) -> None:
    token = Token.from_response({"access_token": ACCESS, **body}, now=NOW)
    assert token.token_type == "bearer"
    assert token.findings == (
        "The token response's token_type is missing; the token is used as a bearer token (RFC 6749 section 5.1).",
    )


@pytest.mark.parametrize("token_type", ["mac", "DPoP", "bearer ", 1, 0, False])
def test_any_other_token_type_is_refused(token_type: Any) -> None:
    with pytest.raises(ProtocolError, match="response's token_type is") as caught:
        read(token_type=token_type)
    assert (repr(token_type) if isinstance(token_type, str) else type(token_type).__name__) in caught.value.message
    assert "RFC 6749 section 7.1" in caught.value.reference
    assert "httpx2.Auth" in caught.value.hint


NO_TOKENS: list[Any] = ["", "a\r\nX: y", "ümlaut", "\u202eabc", 1, ["x"]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("access_token", value) for value in [*NO_TOKENS, "a b", " a", "a\t"]),
    ],
)
def test_a_token_outside_its_alphabet_is_refused_and_not_quoted(name: str, value: Any) -> None:
    with pytest.raises(ProtocolError, match=name) as caught:
        read(**{name: value})
    assert len(str(value)) < 3 or str(value) not in str(caught.value)


def test_a_response_without_an_access_token_is_refused() -> None:
    with pytest.raises(ProtocolError, match="access_token"):
        Token.from_response({"token_type": "bearer"}, now=NOW)


@given(st.text(B64TOKEN, min_size=1), st.sampled_from(["", "=", "=="]))
def test_every_token_of_rfc_6750_is_accepted(value: str, padding: str) -> None:
    assert read(access_token=value + padding).access_token == value + padding


@pytest.mark.parametrize("value", ["ada@example.com:grant-1:secret", "00Dxx!AQ0AQ", "12|plain", "a=b", "="])
def test_a_token_with_other_visible_characters_is_used_stored_and_told(value: str) -> None:
    token = read(access_token=value)
    assert token.access_token == pasted_token(value) == Token.from_dict(token.to_dict()).access_token == value
    assert token.findings == (
        "The token response's access_token has characters that a header may not have; it is sent as it is "
        "(RFC 6750 section 2.1).",
    )
    assert not read().findings


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("repo", ("repo",)),
        ("repo,gist", ("repo", "gist")),
        ("repo gist", ("repo", "gist")),
        (" repo,, gist repo ", ("repo", "gist")),
        ("", ()),
    ],
)
def test_what_was_granted_is_what_the_server_says_separated_by_spaces_or_commas(
    scope: str, granted: tuple[str, ...]
) -> None:
    body = {"access_token": ACCESS, "token_type": "bearer", "scope": scope}
    assert Token.from_response(body, now=NOW, requested_scopes=("user",)).scopes == granted


def test_an_omitted_scope_means_what_was_asked_for() -> None:
    body = {"access_token": ACCESS, "token_type": "bearer"}
    assert Token.from_response(body, now=NOW, requested_scopes=("user", "repo")).scopes == ("user", "repo")


@pytest.mark.parametrize("scope", [["repo"], [], 1, True])
def test_a_scope_that_is_no_string_counts_as_what_was_asked_for_and_is_told(scope: Any) -> None:
    body = {"access_token": ACCESS, "token_type": "bearer", "scope": scope}
    token = Token.from_response(body, now=NOW, requested_scopes=("user",))
    assert token.scopes == ("user",)
    assert token.findings == (
        "The token response's scope is not a string; what was asked for counts as granted (RFC 6749 section 5.1).",
    )


@given(st.lists(st.text("abc:_", min_size=1)), st.sampled_from([" ", ",", ", "]))
def test_splitting_scopes_keeps_their_order_and_drops_repetitions(scopes: list[str], separator: str) -> None:
    assert split_scopes(separator.join(scopes)) == tuple(dict.fromkeys(scopes))


def test_a_token_reads_like_the_response_it_came_from() -> None:
    token = read(expires_in="3600", scope="repo", extra=1)
    assert (token["access_token"], token["expires_in"], token["scope"], token["extra"]) == (ACCESS, "3600", "repo", 1)
    with pytest.raises(KeyError):
        token["refresh_token_expires_in"]


def test_a_token_without_a_response_has_its_own_fields_to_read() -> None:
    token = Token(ACCESS, refresh_token=REFRESH)
    assert (token["access_token"], token["refresh_token"], token["token_type"]) == (ACCESS, REFRESH, "bearer")


# -- succession, storage, display ------------------------------------------------------------------------------------


def test_a_refresh_answer_without_a_refresh_token_keeps_the_old_one() -> None:
    old = read(refresh_token=REFRESH, refresh_token_expires_in=100)
    new = Token.from_response({"access_token": "new", "token_type": "bearer", "expires_in": 60}, now=NOW + 10)
    successor = old.succeeded_by(new)
    assert (successor.access_token, successor.expires_at) == ("new", NOW + 70)
    assert (successor.refresh_token, successor.refresh_token_expires_at) == (REFRESH, NOW + 100)


def test_a_rotated_refresh_token_replaces_the_old_one() -> None:
    new = Token("new", refresh_token="ghr_" + "z" * 36)
    assert read(refresh_token=REFRESH).succeeded_by(new) is new


def test_a_stored_token_comes_back_as_it_was_with_its_absolute_expiry() -> None:
    token = read(expires_in=3600, refresh_token=REFRESH, refresh_token_expires_in=9999, scope="repo,user")
    token = dataclasses.replace(token, resource="https://api.github.com")
    assert Token.from_dict(json.loads(json.dumps(token.to_dict()))) == token


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": "a b"},
        {"scopes": "repo"},
        {"scopes": [1]},
        {"expires_at": "tomorrow"},
        {"expires_at": True},
        {"expires_at": -0.5},
        {"expires_at": END_OF_DATES + 1},
        {"issued_at": math.nan},
        {"refresh_token": ["x"]},
        {"refresh_token_expires_at": {}},
        {"resource": ["https://api.example"]},
    ],
)
def test_a_corrupt_store_is_a_protocol_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=f"response's {next(iter(change))} "):
        Token.from_dict({**read().to_dict(), **change})


@pytest.mark.parametrize("moment", [0, 0.5, END_OF_DATES])
def test_every_time_that_can_be_written_as_a_date_can_be_stored(moment: float) -> None:
    stored = {**read().to_dict(), "expires_at": moment}
    assert repr(Token.from_dict(stored)).count("expires ") == 1
    assert Token.from_dict(stored).expires_at == moment


def test_a_stored_token_without_a_type_is_a_bearer_token() -> None:
    assert Token.from_dict({"access_token": ACCESS}) == Token(ACCESS, "bearer")


def test_the_same_token_is_equal_whenever_it_arrived() -> None:
    # A refresh looks whether the token that it began with is still there: also if a store forgot when it came.
    assert read() == dataclasses.replace(read(), issued_at=None) == dataclasses.replace(read(), issued_at=NOW + 1)


def test_tokens_are_secrets_from_the_moment_they_are_known() -> None:
    access, refresh = "an-access-token-of-nobody", "a-refresh-token-of-nobody"
    read(access_token=access, refresh_token=refresh)
    shown = scrub(f"{access} and {refresh}")
    assert access not in shown
    assert refresh not in shown


def test_what_was_pasted_is_a_secret_even_if_it_cannot_be_a_token() -> None:
    with pytest.raises(ProtocolError, match="cannot be a token"):
        pasted_token('"a-token-in-quotes" ')
    assert "a-token-in-quotes" not in scrub('You pasted "a-token-in-quotes"')


def test_the_repr_tells_everything_but_the_secrets() -> None:
    token = read(expires_in=3600, refresh_token=REFRESH, scope="repo,user")
    assert repr(token) == str(token)
    assert ACCESS not in repr(token)
    assert REFRESH not in repr(token)
    assert "gho_****" in repr(token)
    assert "refresh_token=ghr_****" in repr(token)
    assert "scopes=repo,user, expires 2026-01-01T01:00:00Z" in repr(token)
    assert "scopes=none, no expiry" in repr(read())


def test_a_token_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().access_token = "other"  # type: ignore[misc]


def test_a_refresh_token_may_be_any_visible_ascii_since_it_never_goes_into_a_header() -> None:
    # RFC 6749 appendix A.17.
    assert read(refresh_token="a!b*c=d").refresh_token == "a!b*c=d"
