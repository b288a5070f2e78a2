"""What an MCP server answers in the wrong place or the wrong form: nobody waits for ever, and the session goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from answering import INFO, RESULT, URL, Server, events, in_json, once, opened
from mcp import MCPError

from mcp_oauth_nb.client.cookies import MOST_CHARACTERS, MOST_COOKIES
from mcp_oauth_nb.oauth.errors import (
    McpOAuthError,
    ProtocolError,
    RateLimited,
    ServerUnavailable,
    SessionFailed,
    TransientError,
)
from mcp_oauth_nb.trace.messages import AUTHORIZATION_SERVER, SERVER
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

# -- an answer in JSON -------------------------------------------------------------------------------------------


NO_ANSWERS = {
    "the answer to another request": {"jsonrpc": "2.0", "id": "another", "result": RESULT},
    "the answer to a request of a huge number": {"jsonrpc": "2.0", "id": 10**400, "result": RESULT},
    "a notification": {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}},
    "a request": {"jsonrpc": "2.0", "id": 5, "method": "ping"},
}


@pytest.mark.parametrize("name", NO_ANSWERS)
@pytest.mark.parametrize("status", [200, 201, 203, 300, 399])
async def test_a_body_that_answers_another_request_or_none_is_a_typed_error_and_the_session_goes_on(
    name: str, status: int
) -> None:
    server = Server(once("tools/call", lambda message: in_json(NO_ANSWERS[name], status)))
    with anyio.fail_after(20):
        async with opened(server) as session:
            what = "another request" if name.startswith("the answer") else "no request"
            with pytest.raises(ProtocolError, match=f"{URL} answered tools/call with the answer to {what}"):
                await session.call_tool("x")
            assert not (await session.call_tool("x")).is_error


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_a_handshake_that_is_answered_by_something_else_is_the_same_typed_error(name: str) -> None:
    with anyio.fail_after(20), pytest.raises(ProtocolError, match="answered initialize with the answer to"):
        await opened(Server(once("initialize", lambda message: in_json(NO_ANSWERS[name]))))


@pytest.mark.parametrize("identifier", [None, "server-error", 99])
async def test_an_error_that_a_server_could_not_number_is_that_of_the_request(identifier: Any) -> None:
    error = {"jsonrpc": "2.0", "id": identifier, "error": {"code": -32601, "message": "no such method"}}
    with anyio.fail_after(20):
        # An earlier server answers so to the first question of a newer client, which then goes on as an earlier one.
        async with opened(Server(once("server/discover", lambda message: in_json(error))), "auto") as session:
            assert session.protocol_version == "2025-11-25"
        async with opened(Server(once("tools/call", lambda message: in_json(error)))) as session:
            with pytest.raises(MCPError, match="no such method"):
                await session.call_tool("x")
            assert not (await session.call_tool("x")).is_error


async def test_an_answer_whose_id_became_a_text_is_the_answer() -> None:
    answer = once("tools/call", lambda message: in_json({"jsonrpc": "2.0", "id": str(message["id"]), "result": RESULT}))
    async with opened(Server(answer)) as session:
        assert not (await session.call_tool("x")).is_error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"echo": "secret-in-no-message"}', b'{"jsonrpc": "2.0"}'])
async def test_a_body_that_is_no_message_is_a_typed_error_that_does_not_quote_it(body: bytes) -> None:
    headers = {"content-type": "application/json"}
    server = Server(once("tools/call", lambda message: httpx2.Response(200, headers=headers, content=body)))
    async with opened(server) as session:
        with pytest.raises(ProtocolError, match="with JSON that is no JSON-RPC message") as caught:
            await session.call_tool("x")
        assert "echo" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert not (await session.call_tool("x")).is_error


async def test_what_needs_no_answer_may_have_any() -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        return None if "id" in message or message["method"] == "GET" else in_json({"echo": "of a notification"})

    async with opened(server := Server(answer)) as session:
        assert not (await session.call_tool("x")).is_error
    assert any(b"notifications/initialized" in request.content for request in server.requests)


# -- authorization that fails ------------------------------------------------------------------------------------


async def test_an_authorization_that_fails_costs_a_call_and_at_the_beginning_the_connection() -> None:
    def challenge(message: dict[str, Any]) -> httpx2.Response:
        return httpx2.Response(401, headers={"www-authenticate": "Bearer"})

    with anyio.fail_after(20):
        async with opened(Server(once("tools/call", challenge))) as session:
            with pytest.raises(McpOAuthError):
                await session.call_tool("x")
            assert not (await session.call_tool("x")).is_error
        trace = Trace()
        with pytest.raises(McpOAuthError) as caught:
            await opened(Server(once("initialize", challenge)), trace=trace)
    assert not isinstance(caught.value, SessionFailed)
    assert {message.receiver for message in trace.messages if message.kind == "request"} == {
        SERVER,
        AUTHORIZATION_SERVER,
    }


# -- the session's id --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", [b"\xe9\xe9", "☃".encode(), b"a\x01b"])
async def test_a_session_id_that_cannot_be_sent_back_is_a_typed_error(identifier: bytes) -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": message["id"], "result": INFO}
        return httpx2.Response(200, json=body, headers=[(b"mcp-session-id", identifier)])

    with anyio.fail_after(20), pytest.raises(ProtocolError, match="an id that cannot be sent back"):
        await opened(Server(once("initialize", answer)))


async def test_a_stream_that_opens_a_session_by_such_an_id_is_closed_unread() -> None:
    class Stream(httpx2.AsyncByteStream):
        closed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"

        async def aclose(self) -> None:
            self.closed = True

    headers = [(b"content-type", b"text/event-stream"), (b"mcp-session-id", b"\xe9")]
    stream = Stream()
    with anyio.fail_after(20), pytest.raises(ProtocolError, match="an id that cannot be sent back"):
        await opened(Server(once("initialize", lambda message: httpx2.Response(200, headers=headers, stream=stream))))
    assert stream.closed


def with_a_session_id(message: dict[str, Any]) -> httpx2.Response | None:
    if message["method"] != "initialize":
        return None
    return in_json({"jsonrpc": "2.0", "id": message["id"], "result": INFO}, **{"Mcp-Session-Id": "a session of ours"})


async def test_a_session_that_its_server_has_no_more_is_told_so_and_one_without_a_stream_of_its_own_goes_on() -> None:
    gone = False

    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        return in_json({}, 404) if message["method"] == "GET" or gone else with_a_session_id(message)

    async with opened(Server(answer)) as session:
        assert not (await session.call_tool("x")).is_error
        gone = True
        with pytest.raises(SessionFailed, match="answered 404 to a request of this session") as caught:
            await session.call_tool("x")
    assert caught.value.hint.startswith("Open it again")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 499])
async def test_without_a_session_a_refusal_is_an_error_of_its_request(status: int) -> None:
    async with opened(Server(once("tools/call", lambda message: in_json({}, status)))) as session:
        with pytest.raises(MCPError):
            await session.call_tool("x")
        assert not (await session.call_tool("x")).is_error


# -- a refusal that is not 401 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phrase", "hint"),
    [
        (403, "Forbidden", "this Host and this Origin"),
        (404, "Not Found", "nothing answers there"),
        (405, "Method Not Allowed", "takes no MCP messages"),
        (400, "Bad Request", "did not understand the message"),
        (418, "I'm a Teapot", "Look the status up"),
        (499, r"\(a status of its own\)", "Look the status up"),
    ],
)
async def test_a_connection_that_is_refused_is_told_with_the_status_and_what_it_may_mean(
    status: int, phrase: str, hint: str
) -> None:
    with pytest.raises(SessionFailed, match=f"{URL} answered {status} {phrase} to POST") as caught:
        await opened(Server(lambda message: in_json({"error": "no"}, status)))
    assert hint in caught.value.hint
    assert isinstance(caught.value.__cause__, MCPError)


async def test_a_connection_whose_last_answer_was_no_refusal_failed_by_something_else() -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        if message["method"] == "server/discover":
            return in_json({"error": "no"}, 400)
        error = {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32603, "message": "not today"}}
        return in_json(error) if message["method"] == "initialize" else None

    with pytest.raises(SessionFailed, match="not today") as caught:
        await opened(Server(answer), "auto")
    assert "answered 400" not in caught.value.message


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServerUnavailable)])
async def test_a_proxy_that_reaches_no_server_is_named_with_the_time_to_come_back(
    status: int, kind: type[TransientError]
) -> None:
    page = httpx2.Response(status, headers={"Retry-After": "60"}, html="<p>no</p>")
    async with opened(Server(once("tools/call", lambda message: page))) as session:
        with pytest.raises(kind, match=f"{URL} answered {status}") as caught:
            await session.call_tool("x")
        assert caught.value.retry_at == 1_800_000_060
        assert not (await session.call_tool("x")).is_error


async def test_no_answer_is_asked_for_in_a_form_that_would_have_to_be_unpacked() -> None:
    server = Server(lambda message: None)
    async with opened(server) as session:
        await session.call_tool("x")
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


# -- cookies -----------------------------------------------------------------------------------------------------


async def test_cookies_come_back_and_a_server_that_sets_more_and_more_is_sent_so_many_only() -> None:
    number = 0

    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        nonlocal number
        if message["method"] != "tools/call":
            return None
        body = {"jsonrpc": "2.0", "id": message["id"], "result": RESULT}
        headers = [("set-cookie", f"long={'x' * MOST_CHARACTERS}"), ("set-cookie", "sticky=node-7")]
        for _ in range(20):
            number += 1
            headers.append(("set-cookie", f"c{number}=1"))
        return httpx2.Response(200, json=body, headers=headers)

    server = Server(answer)
    async with opened(server) as session:
        for _ in range(8):
            await session.call_tool("x")
    calls = [request for request in server.requests if b"tools/call" in request.content]
    (cookies,) = calls[-1].headers.get_list("cookie")
    assert len(cookies.split("; ")) == MOST_COOKIES
    # Each answer sets it anew, so that it is never the oldest.
    assert all("sticky=node-7" in call.headers["cookie"].split("; ") for call in calls[1:])
    assert {"sticky=node-7", "c140=1"} <= set(cookies.split("; "))
    assert "long=" not in cookies


# -- what is sent ------------------------------------------------------------------------------------------------


async def test_a_server_may_think_for_five_minutes_and_all_else_takes_half_a_minute_at_most() -> None:
    server = Server(lambda message: None)
    async with opened(server) as session:
        await session.call_tool("x")
    for request in server.requests:
        assert request.extensions["timeout"] == {"connect": 30.0, "read": 300.0, "write": 30.0, "pool": 30.0}


async def test_a_recording_has_each_request_with_the_mcp_server_as_its_receiver() -> None:
    trace = Trace()
    async with opened(Server(lambda message: None), trace=trace) as session:
        await session.call_tool("x")
    requests = [message for message in trace.messages if (message.protocol, message.kind) == ("http", "request")]
    assert any("tools/call" in request.title for request in requests)
    assert {request.receiver for request in requests} == {SERVER}


async def test_what_carries_the_requests_is_closed_with_the_session() -> None:
    class Closing(Server):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    async with opened(server := Closing(lambda message: None)) as session:
        await session.call_tool("x")
        assert not server.closed
    assert server.closed


@pytest.mark.parametrize("megabytes", [20, 40])
async def test_an_event_may_be_as_long_as_a_message_and_one_that_is_longer_is_a_typed_error(megabytes: int) -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response:
        result = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": RESULT}).encode()
        pieces = [b" " * 2**20] * megabytes
        return events(b"event: message\ndata: " + result, *pieces, b"\n\n")

    with anyio.fail_after(20):
        async with opened(Server(once("tools/call", answer))) as session:
            if megabytes > 32:
                with pytest.raises(ProtocolError, match="sent a message of more than"):
                    await session.call_tool("x")
            else:
                assert not (await session.call_tool("x")).is_error
