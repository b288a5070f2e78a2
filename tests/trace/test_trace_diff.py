"""Two exchanges are aligned by the names of their values."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.trace.diff import Line, diff
from mcp_oauth_nb.trace.messages import CLIENT, GITHUB, Exchange, Message


def exchange(
    number: int, *, url: str = "", headers: dict[str, str] | None = None, body: Any = None, **answer: Any
) -> Exchange:
    title = "POST https://github.com/login/oauth/access_token"
    request = Message(2 * number - 1, number, 0.0, CLIENT, GITHUB, "http", "request", title, headers or {}, body, url)
    if not answer:
        return Exchange(request)
    kind, shown = answer.get("kind", "response"), answer.get("title", "200 OK")
    response = Message(2 * number, number, 0.0, GITHUB, CLIENT, "http", kind, shown, {}, answer.get("answer"))
    return Exchange(request, response)


def changes(left: Exchange, right: Exchange) -> list[tuple[str, ...]]:
    lines = diff(left, right).differences
    return [(line.change, line.part, line.name, line.left or "", line.right or "") for line in lines]


def test_the_same_exchange_has_no_difference() -> None:
    one = exchange(1, body={"a": 1}, answer={"b": [1, 2]})
    assert not diff(one, one)
    assert repr(diff(one, one)) == "Exchange 1 against 1: no difference"
    assert {line.change for line in diff(one, one).lines} == {"same"}


def test_values_are_added_removed_and_changed() -> None:
    left = exchange(3, body={"grant_type": "authorization_code", "code": "****", "client_id": "x"})
    right = exchange(7, body={"client_id": "x", "grant_type": "refresh_token", "refresh_token": "****"})
    assert changes(left, right) == [
        ("changed", "request body", "grant_type", "authorization_code", "refresh_token"),
        ("removed", "request body", "code", "****", ""),
        ("added", "request body", "refresh_token", "", "****"),
    ]
    assert repr(diff(left, right)).splitlines() == [
        "Exchange 3 against 7: 1 added, 1 removed, 1 changed",
        "≠ changed  request body grant_type: authorization_code -> refresh_token",
        "− removed  request body code: ****",
        "+ added    request body refresh_token: ****",
    ]


def test_the_order_of_names_makes_no_difference() -> None:
    left = exchange(1, url="https://x.example/?a=1&b=2", headers={"accept": "*/*", "x": "y"})
    right = exchange(2, url="https://x.example/?b=2&a=1", headers={"x": "y", "accept": "*/*"})
    assert changes(left, right) == []


def test_a_parameter_that_comes_twice_is_seen() -> None:
    left, right = (exchange(1, url=f"https://x.example/?{query}") for query in ("resource=a", "resource=a&resource=b"))
    assert changes(left, right) == [("added", "request parameter", "resource (2)", "", "b")]


def test_deep_values_are_named_by_the_way_to_them() -> None:
    left = exchange(1, answer={"tools": [{"name": "a", "icons": []}]})
    right = exchange(2, answer={"tools": [{"name": "b", "icons": []}, 5]})
    assert changes(left, right) == [
        ("changed", "response body", "tools[0].name", "a", "b"),
        ("added", "response body", "tools[1]", "", "5"),
    ]


def test_an_answer_that_did_not_come_is_removed_with_all_its_parts() -> None:
    assert {change[:2] for change in changes(exchange(1, answer="pong"), exchange(2))} == {
        ("removed", "response"),
        ("removed", "response body"),
    }


def test_headers_that_follow_from_the_moment_are_left_out() -> None:
    left, right = (exchange(1, headers={"date": day, "content-length": day}) for day in "12")
    assert changes(left, right) == []


def test_null_in_a_body_is_a_value_and_no_body_is_none() -> None:
    assert changes(exchange(1, body=None), exchange(2, body={"a": None})) == [
        ("added", "request body", "a", "", "null")
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, json_values)
def test_a_diff_backwards_says_the_opposite(left: Any, right: Any) -> None:
    forth, back = (
        diff(exchange(1, body=left), exchange(2, body=right)),
        diff(exchange(2, body=right), exchange(1, body=left)),
    )
    opposite = {"added": "removed", "removed": "added", "changed": "changed", "same": "same"}
    turned = {Line(line.part, line.name, opposite[line.change], line.right, line.left) for line in back.lines}  # type: ignore[arg-type]
    assert set(forth.lines) == turned


def test_what_a_peer_wrote_cannot_disturb_a_terminal_where_a_difference_is_printed() -> None:
    evil = "\x1b[2J\u202e\rone\nline"
    left = exchange(1, headers={f"x-{evil}": evil}, body={evil: evil})
    right = exchange(2, headers={f"x-{evil}": "other"}, body=[evil])
    found = diff(left, right)
    assert len(found.differences) > 2
    assert all(str(line).isprintable() for line in found.lines)
    assert len(repr(found).split("\n")) == 1 + len(found.differences)
    # The value is as it was.
    assert any(line.left == evil for line in found.lines)
