"""What an MCP server answers in the wrong place or the wrong form: nobody waits for ever, and the session goes on."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest
from mcp import MCPError

from mcp_oauth_nb import Session
from mcp_oauth_nb.client import bounds as http_bounds
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.cookies import MOST_CHARACTERS, MOST_COOKIES
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ProtocolError, RateLimited, ServerUnavailable, SessionFailed, TransientError

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8123/mcp"
RESULT = {"content": [{"type": "text", "text": "hi"}]}
INFO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "s", "version": "1"},
}
Answer = Callable[[dict[str, Any]], httpx2.Response | None]


class Server(httpx2.AsyncBaseTransport):
    """An MCP server of a few lines. `instead` may answer a message in its place."""

    def __init__(self, instead: Answer) -> None:
        self.instead = instead
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        message = json.loads(await request.aread()) if request.method == "POST" else {"method": request.method}
        if (answer := self.instead(message)) is not None:
            return answer
        if request.method != "POST":
            return httpx2.Response(405)
        if "id" not in message:
            return httpx2.Response(202)
        results = {"initialize": INFO, "tools/list": {"tools": []}, "tools/call": RESULT, "server/discover": {}}
        return in_json({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})


class Pieces(httpx2.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def in_json(message: Any, status: int = 200, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=message, headers=headers)


def events(*pieces: bytes, status: int = 200, media: str = "text/event-stream") -> httpx2.Response:
    return httpx2.Response(status, headers={"content-type": media}, stream=Pieces(*pieces))


def once(method: str, answer: Callable[[dict[str, Any]], httpx2.Response]) -> Answer:
    """Answer the first message of a method so, and all others as usual."""
    left = [answer]
    return lambda message: left.pop()(message) if message["method"] == method and left else None


def opened(server: Server, mode: Any = "legacy") -> Any:
    async def nobody(url: str) -> str:
        raise ProtocolError("nobody is asked")

    given: dict[str, Any] = {"open_browser": lambda url: True, "show": str, "clock": ManualClock(1_800_000_000)}
    auth = McpAuth(paste=nobody, listen=False, carrier=lambda: server, **given)
    return Session.open(URL, mode=mode, auth=auth, loop="current")


# -- an answer in JSON -------------------------------------------------------------------------------------------


NO_ANSWERS = {
    "the answer to another request": {"jsonrpc": "2.0", "id": "another", "result": RESULT},
    "the answer to a request of a huge number": {"jsonrpc": "2.0", "id": 10**400, "result": RESULT},
    "a notification": {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}},
    "a request": {"jsonrpc": "2.0", "id": 5, "method": "ping"},
}


@pytest.mark.parametrize("name", NO_ANSWERS)
@pytest.mark.parametrize("status", [200, 201, 300])
async def test_a_body_that_answers_another_request_or_none_is_a_typed_error_and_the_session_goes_on(
    name: str, status: int
) -> None:
    server = Server(once("tools/call", lambda message: in_json(NO_ANSWERS[name], status)))
    with anyio.fail_after(20):
        async with opened(server) as session:
            with pytest.raises(ProtocolError, match=r"answered tools/call with the answer to (another|no) request"):
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


# -- the session's id --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", [b"\xe9\xe9", "☃".encode(), b"a\x01b"])
async def test_a_session_id_that_cannot_be_sent_back_is_a_typed_error(identifier: bytes) -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": message["id"], "result": INFO}
        return httpx2.Response(200, json=body, headers=[(b"mcp-session-id", identifier)])

    with anyio.fail_after(20), pytest.raises(ProtocolError, match="an id that cannot be sent back"):
        await opened(Server(once("initialize", answer)))


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


async def test_without_a_session_a_404_is_an_error_of_its_request() -> None:
    async with opened(Server(once("tools/call", lambda message: in_json({}, 404)))) as session:
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


# -- what an event stream asks for -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"9" * 400, b"9" * 5000, b"1_0", "²".encode(), "٣".encode(), b"-5", b" 7"])
@pytest.mark.parametrize(("status", "media"), [(200, "text/event-stream"), (200, "text/event-stream; charset=utf-16"),
                                               (300, "text/event-stream")])  # fmt: skip
async def test_a_stream_that_says_never_come_back_ends_one_call_and_not_the_session(
    value: bytes, status: int, media: str
) -> None:
    text = b"retry:" + value + b"\nid: 1\ndata:\n\n"
    text = text.decode().encode("utf-16") if "utf-16" in media else text
    server = Server(once("tools/call", lambda message: events(text, status=status, media=media)))
    with anyio.fail_after(30):
        async with opened(server) as session:
            with pytest.raises(MCPError, match="SSE stream ended"):
                await session.call_tool("x")
            assert not (await session.call_tool("x")).is_error


async def test_the_servers_own_stream_that_says_never_come_back_does_not_end_the_session() -> None:
    def answer(message: dict[str, Any]) -> httpx2.Response | None:
        if message["method"] == "initialize":
            started = {"jsonrpc": "2.0", "id": message["id"], "result": INFO}
            return in_json(started, **{"mcp-session-id": "one"})
        if message["method"] != "GET":
            return None
        asked.set()
        return events(b"retry: " + b"9" * 400 + b"\ndata:\n\n")

    asked = anyio.Event()
    with anyio.fail_after(20):
        async with opened(Server(answer)) as session:
            await asked.wait()
            for _ in range(10):
                assert not (await session.call_tool("x")).is_error


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"retry: 0\n", b"retry: 0\n"),
        (b"retry:500\r\n", b"retry: 500\r\n"),
        (b"retry: 300001\r", b"retry: 300000\r"),
        (b"retry: " + b"9" * 30 + b"\n", b"retry: 300000\n"),
        (b"retry: 5s\n", b":\n"),
        (b"data: retry: 999999999\n", b"data: retry: 999999999\n"),
        (b"retry-after: 999999999\n", b"retry-after: 999999999\n"),
        (b"ret\nretry\nre\n", b"ret\nretry\nre\n"),
        (b"\n\nretry: 999999\n\n", b"\n\nretry: 300000\n\n"),
    ],
)
def test_a_stream_arrives_as_it_was_but_for_a_retry_that_is_too_long_however_it_is_cut(
    sent: bytes, read: bytes
) -> None:
    chance = random.Random(7)
    text = b"data: before\n\n" + sent + b"data: after\n\n"
    expected = b"data: before\n\n" + read + b"data: after\n\n"
    for _ in range(100):
        retries = http_bounds._Retries()
        cuts = sorted(chance.sample(range(len(text) + 1), chance.randint(0, 8)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert b"".join(map(retries.bounded, pieces)) == expected


def test_a_retry_without_end_is_not_collected() -> None:
    retries = http_bounds._Retries()
    passed = b"".join(retries.bounded(piece) for piece in (b"\nretry: ", *[b"9"] * 1000))
    assert len(passed) > 900
    assert b"\nretry" not in passed


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
