"""What a body asks for: read from the body alone, and what cannot be read asks for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.types import Message

from mcp_oauth_nb.server.resource.incoming import Incoming, parse_message, read_body

pytestmark = pytest.mark.anyio


def read(**message: Any) -> Incoming:
    return parse_message(json.dumps(message).encode())


def test_of_a_call_the_id_the_tool_and_its_arguments_are_read() -> None:
    called = read(jsonrpc="2.0", id=7, method="tools/call", params={"name": "whoami", "arguments": {"a": [1]}})
    assert called == Incoming(7, "tools/call", "whoami", {"a": [1]}, readable=True)


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        ({"id": 1, "method": "tools/list", "params": {"name": "whoami", "arguments": {"a": 1}}}, (1, "tools/list")),
        ({"id": 1, "method": "tools/call", "params": ["whoami"]}, (1, "tools/call")),
        ({"id": 1, "method": "tools/call", "params": {"name": 5, "arguments": {"a": 1}}}, (1, "tools/call")),
        ({"id": 1, "method": ["tools/call"], "params": {"name": "whoami"}}, (1, None)),
        ({"id": 1, "result": {}}, (1, None)),
        ({}, (None, None)),
    ],
)
def test_what_calls_no_tool_by_its_name_asks_for_none(message: dict[str, Any], seen: tuple[Any, Any]) -> None:
    assert read(**message) == Incoming(*seen)


@pytest.mark.parametrize("arguments", [None, [], "a", 5])
def test_a_call_whose_arguments_are_no_object_has_none(arguments: Any) -> None:
    called = read(method="tools/call", params={"name": "whoami", "arguments": arguments})
    assert called == Incoming(None, "tools/call", "whoami", {})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", '{"method": "a"}'.encode("utf-16"), b"[" * 200_000])
def test_what_is_no_json_in_utf_8_is_not_readable(body: bytes) -> None:
    assert parse_message(body) == Incoming(readable=False)


@pytest.mark.parametrize("body", [b"[]", b'[{"id": 1, "method": "tools/call"}]', b"null", b'"tools/call"', b"1"])
def test_what_is_not_one_message_is_readable_and_asks_for_nothing(body: bytes) -> None:
    assert parse_message(body) == Incoming(readable=True)


def test_of_a_name_that_is_repeated_the_last_one_counts() -> None:
    body = b'{"method": "tools/call", "params": {"name": "open", "name": "protected"}}'
    assert parse_message(body).tool == "protected"


@pytest.mark.parametrize(
    ("given", "seen"),
    [("one", "one"), ("", ""), (0, 0), (-3, -3), (True, None), (False, None), (1.5, None), (None, None), ([1], None)],
)
def test_an_id_is_a_text_or_a_whole_number(given: Any, seen: Any) -> None:
    found = read(id=given, method="ping").id
    assert (found, type(found)) == (seen, type(seen))


def test_an_id_with_half_a_character_cannot_be_sent_back() -> None:
    assert parse_message(rb'{"id": "\ud800", "method": "ping"}').id is None


class Arriving:
    """A client whose messages come one after the other."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)

    async def __call__(self) -> Message:
        return self.messages.pop(0)


async def test_a_body_in_pieces_is_read_whole_and_given_once_more_and_then_what_follows() -> None:
    client = Arriving(
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b"two"},
        {"type": "http.disconnect"},
    )
    body, again = await read_body(client)
    assert body == b"one two"
    assert await again() == {"type": "http.request", "body": b"one two", "more_body": False}
    assert await again() == {"type": "http.disconnect"}


async def test_of_a_client_that_goes_away_nothing_is_read() -> None:
    client = Arriving({"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"})
    with pytest.raises(ConnectionResetError, match="the client disconnected"):
        await read_body(client)
