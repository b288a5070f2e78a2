"""How messages and exchanges are shown."""

from __future__ import annotations

import dataclasses

import pytest

from mcp_oauth_nb.trace.messages import CLIENT, GITHUB, Exchange, Message

REQUEST = Message(
    number=1,
    exchange=1,
    at=0.0,
    sender=CLIENT,
    receiver=GITHUB,
    protocol="http",
    kind="request",
    title="GET https://api.github.com/user",
    headers={"host": "api.github.com", "accept": "application/json", "user-agent": "x"},
    url="https://api.github.com/user?a=1&b=2",
)
ANSWER = dataclasses.replace(
    REQUEST,
    number=2,
    sender=GITHUB,
    receiver=CLIENT,
    kind="response",
    title="200 OK",
    headers={},
    body={"login": "<octocat>", "name": "ö"},
    url="",
)


def test_a_message_is_shown_with_its_parameters_and_without_the_headers_that_every_message_has() -> None:
    assert str(REQUEST) == (
        "MCP client -> GitHub   GET https://api.github.com/user\n    ?a=1\n    &b=2\n    accept: application/json"
    )


def test_a_json_body_is_shown_as_json_in_the_readers_own_letters() -> None:
    assert str(ANSWER) == 'GitHub -> MCP client   200 OK\n    {"login": "<octocat>", "name": "ö"}'


def test_a_location_is_shown_one_parameter_to_a_line() -> None:
    moved = dataclasses.replace(ANSWER, headers={"location": "http://127.0.0.1/cb?code=****&state=****"}, body=None)
    assert str(moved).splitlines()[1:] == [
        "    location: http://127.0.0.1/cb",
        "        ?code=****",
        "        &state=****",
    ]


def test_a_body_that_is_text_keeps_its_lines() -> None:
    assert str(dataclasses.replace(ANSWER, body="one\ntwo")).splitlines()[1:] == ["    one", "    two"]


def test_what_could_disturb_a_terminal_is_shown_escaped() -> None:
    evil = "\x1b[2J\u202e"
    message = dataclasses.replace(ANSWER, title=f"404 {evil}", headers={"x-note": evil}, body=f"{evil}\n{{evil}}")
    assert str(message).splitlines() == [
        r"GitHub -> MCP client   404 \x1b[2J\u202e",
        r"    x-note: \x1b[2J\u202e",
        r"    \x1b[2J\u202e",
        "    {evil}",
    ]


def test_a_long_body_is_cut_and_says_so() -> None:
    lines = str(dataclasses.replace(ANSWER, body="\n".join(map(str, range(100))))).splitlines()
    assert lines[60:] == ["    59", "    ... 40 more lines; `.body` has them all"]


def test_a_repr_is_one_line() -> None:
    assert repr(REQUEST) == "<1. MCP client -> GitHub: GET https://api.github.com/user>"


def test_an_exchange_shows_its_request_and_then_its_answer() -> None:
    assert repr(Exchange(REQUEST, ANSWER)) == str(Exchange(REQUEST, ANSWER)) == f"{REQUEST}\n{ANSWER}"
    assert str(Exchange(REQUEST)) == str(REQUEST)


def test_the_html_form_says_the_same_and_escapes_it() -> None:
    shown = Exchange(REQUEST, ANSWER)._repr_html_()
    assert "&lt;octocat&gt;" in shown
    assert "<octocat>" not in shown
    assert "accept: application/json" in shown
    assert "<pre" not in Exchange(dataclasses.replace(ANSWER, body=None))._repr_html_()


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REQUEST.title = "other"  # type: ignore[misc]
