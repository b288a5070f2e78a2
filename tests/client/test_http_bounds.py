"""What an MCP server's answers may cost a client: bytes, time, and the size of one event. Long streams go on."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest

from mcp_oauth_nb import Session
from mcp_oauth_nb.client import bounds
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.bounds import GLANCE_BYTES, MAX_MESSAGE_BYTES
from mcp_oauth_nb.client.retrying import PatientTransport
from mcp_oauth_nb.client.transport import HttpTransport
from mcp_oauth_nb.oauth.errors import McpOAuthError, ProtocolError, Unreachable
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:8123/mcp"
KIB = b" " * 1024
JSON = "application/json"
EVENTS = "text/event-stream"


class Body(httpx2.AsyncByteStream):
    """A body that counts what was taken of it. `count` None: it never ends."""

    def __init__(self, chunk: bytes = KIB, count: int | None = None, begin: bytes = b"", end: bytes = b"") -> None:
        self.chunk, self.count, self.begin, self.end = chunk, count, begin, end
        self.taken, self.closed = 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.begin:
            yield self.begin
        sent = 0
        while self.count is None or sent < self.count:
            sent += 1
            self.taken += len(self.chunk)
            yield self.chunk
            await anyio.lowlevel.checkpoint()
        if self.end:
            yield self.end

    async def aclose(self) -> None:
        self.closed = True


class Silent(Body):
    """A body that begins and then says nothing."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep_forever()


Answer = Callable[[dict[str, Any]], httpx2.Response | None]


class Server(httpx2.AsyncBaseTransport):
    """An MCP server of a few lines. `instead` may answer a message in its place."""

    def __init__(self, instead: Answer = lambda message: None) -> None:
        self.instead = instead
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        message = json.loads(request.content) if request.method == "POST" else {"method": request.method}
        if (answer := self.instead(message)) is not None:
            return answer
        if request.method != "POST":
            return httpx2.Response(405)
        if "id" not in message:
            return httpx2.Response(202)
        server = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "s", "version": "1"},
        }
        result = {"initialize": server, "tools/list": {"tools": []}, "tools/call": said("hi")}[message["method"]]
        headers = {"mcp-session-id": "one"} if message["method"] == "initialize" else {}
        return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def calling(answer: Callable[[], httpx2.Response]) -> Answer:
    return lambda message: answer() if message["method"] == "tools/call" else None


def answer(body: Body, status: int = 200, media: str = JSON, **headers: str) -> Callable[[], httpx2.Response]:
    named = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda: httpx2.Response(status, headers=named, stream=body)


def open_at(server: Server, trace: Trace | None = None) -> Any:
    return Session.open(URL, mode="legacy", auth=auth_at(server), trace=trace, loop="current")


def auth_at(server: Server) -> McpAuth:
    async def nobody(url: str) -> str:
        raise ProtocolError("nobody is asked")

    return McpAuth(paste=nobody, listen=False, open_browser=lambda url: True, show=str, carrier=lambda: server)


# -- what nobody needs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 307])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "br", "zstd"])
async def test_of_the_body_of_a_refusal_no_more_is_read_than_is_shown(status: int, encoding: str) -> None:
    body = Body(gzip.compress(b"a" * 1_000_000) if encoding == "gzip" else KIB)
    headers = {"content-type": "text/html", "content-encoding": encoding, "location": URL}
    transport = PatientTransport(Server(lambda message: httpx2.Response(status, headers=headers, stream=body)))
    async with httpx2.AsyncClient(transport=transport) as client:
        response = await client.post(URL, json={"method": "ping"})
    assert (response.status_code, response.content) == (status, b"")
    assert body.taken <= GLANCE_BYTES + len(body.chunk)
    assert body.closed


async def test_a_short_body_of_a_refusal_is_there_to_be_shown() -> None:
    transport = PatientTransport(Server(lambda message: httpx2.Response(401, json={"error": "invalid_token"})))
    async with httpx2.AsyncClient(transport=transport) as client:
        assert (await client.post(URL, json={"method": "ping"})).json() == {"error": "invalid_token"}


async def test_a_session_gets_past_a_challenge_without_end() -> None:
    bodies: list[Body] = []

    def challenge(message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "GET":
            return httpx2.Response(404)
        bodies.append(Body())
        return httpx2.Response(401, headers={"www-authenticate": "Bearer"}, stream=bodies[-1])

    with anyio.fail_after(20), pytest.raises(McpOAuthError):
        await open_at(Server(challenge))
    assert bodies
    assert all(body.taken <= GLANCE_BYTES + 1024 and body.closed for body in bodies)


async def test_a_refusal_that_falls_silent_is_waited_for_a_moment_only() -> None:
    body = Silent()
    transport = PatientTransport(Server(lambda message: httpx2.Response(401, stream=body)))
    async with httpx2.AsyncClient(transport=transport) as client:
        with anyio.fail_after(bounds.GLANCE_SECONDS + 5):
            assert (await client.post(URL, json={"method": "ping"})).content == b""
    assert body.closed


# -- messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "limit"), [(200, MAX_MESSAGE_BYTES), (400, MAX_BODY_BYTES), (500, MAX_BODY_BYTES)])
async def test_a_message_without_end_is_a_typed_error_and_the_session_goes_on(status: int, limit: int) -> None:
    body = Body(KIB * 1024)
    async with open_at(server := Server()) as session:
        server.instead = calling(answer(body, status))
        with pytest.raises(ProtocolError, match=f"^{URL} sent a message of more than {limit} bytes") as caught:
            await session.call_tool("t")
        assert "Streamable HTTP" in caught.value.reference
        server.instead = calling(lambda: None)  # type: ignore[arg-type,return-value]
        assert (await session.call_tool("t")).content[0].text == "hi"
    assert body.taken <= limit + len(body.chunk)
    assert body.closed


async def test_a_message_without_end_at_the_beginning_is_the_same_typed_error() -> None:
    with pytest.raises(ProtocolError, match="sent a message of more than"):
        await open_at(Server(lambda message: answer(Body(KIB * 1024))()))


async def test_a_message_as_long_as_allowed_arrives() -> None:
    async with open_at(server := Server()) as session:

        def long(message: dict[str, Any]) -> httpx2.Response | None:
            if message["method"] != "tools/call":
                return None
            whole = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": said("x")}).encode()
            return answer(Body(whole[:-1], 1, end=b" " * (MAX_MESSAGE_BYTES - len(whole)) + b"}"))()

        server.instead = long
        assert (await session.call_tool("t")).content[0].text == "x"


@pytest.mark.parametrize("media", [JSON, EVENTS])
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x"])
async def test_a_compressed_message_is_refused_unread(media: str, encoding: str) -> None:
    body = Body(gzip.compress(b"a" * 1_000_000))
    async with open_at(server := Server()) as session:
        server.instead = calling(answer(body, media=media, content_encoding=encoding))
        with pytest.raises(ProtocolError, match="compressed"):
            await session.call_tool("t")
    assert (body.taken, body.closed) == (0, True)
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


async def test_without_authorization_the_bounds_are_the_same() -> None:
    server = Server()
    transport = HttpTransport(URL, carrier=lambda: server)
    async with Session.open(transport, mode="legacy", loop="current") as session:
        assert (await session.call_tool("t")).content[0].text == "hi"
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


# -- event streams -----------------------------------------------------------------------------------------------


def event(message: dict[str, Any], newline: bytes = b"\n") -> bytes:
    return b"event: message" + newline + b"data: " + json.dumps(message).encode() + newline * 2


async def test_a_stream_of_more_than_the_limit_goes_on_while_its_events_are_short() -> None:
    note = event(
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 65536}}
    )
    count = MAX_MESSAGE_BYTES // len(note) + 2
    async with open_at(server := Server()) as session:

        def streaming(message: dict[str, Any]) -> httpx2.Response | None:
            if message["method"] != "tools/call":
                return None
            last = event({"jsonrpc": "2.0", "id": message["id"], "result": said("at last")})
            return answer(Body(note, count, end=last), media=EVENTS)()

        server.instead = streaming
        assert (await session.call_tool("t")).content[0].text == "at last"


@pytest.mark.parametrize("begin", [b"data: ", b"event: message\ndata: {", b": ", b"id: 1\ndata: 1\ndata: "])
async def test_an_event_without_end_is_a_typed_error_and_the_session_goes_on(begin: bytes) -> None:
    body = Body(b"x" * 1024 * 1024, begin=begin)
    async with open_at(server := Server()) as session:
        server.instead = calling(answer(body, media=EVENTS))
        with pytest.raises(ProtocolError, match=f"sent a message of more than {MAX_MESSAGE_BYTES} bytes"):
            await session.call_tool("t")
        server.instead = calling(lambda: None)  # type: ignore[arg-type,return-value]
        assert (await session.call_tool("t")).content[0].text == "hi"
    assert body.taken <= MAX_MESSAGE_BYTES + len(body.chunk)


async def test_of_the_servers_own_stream_an_event_without_end_is_not_read_to_its_end() -> None:
    body = Body(b"x" * 1024 * 1024, 40, begin=b"data: ")
    transport, passed = PatientTransport(Server(lambda message: answer(body, media=EVENTS)())), 0
    client = httpx2.AsyncClient(transport=transport)
    async with client, client.stream("GET", URL, headers={"Accept": EVENTS}) as response:
        async for chunk in response.aiter_bytes():
            passed += len(chunk)
    assert passed <= MAX_MESSAGE_BYTES + len(body.chunk)
    assert body.taken <= MAX_MESSAGE_BYTES + len(body.chunk)
    assert body.closed


async def test_an_event_without_end_at_the_beginning_is_the_same_typed_error() -> None:
    with pytest.raises(ProtocolError, match="sent a message of more than"):
        await open_at(Server(lambda message: answer(Body(b"x" * 1024 * 1024, begin=b"data: "), media=EVENTS)()))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
def test_an_event_is_as_long_as_from_one_blank_line_to_the_next_however_it_arrives(newline: bytes, pieces: int) -> None:
    event_bytes = b"data: abc" + newline + newline
    stream = event_bytes * 5 + b"data: un"
    longest, pending, tail = 0, 0, b""
    for begin in range(0, len(stream), pieces):
        chunk = stream[begin : begin + pieces]
        *done, pending = bounds._sizes(pending, tail, chunk)
        longest = max(longest, pending, *done) if done else max(longest, pending)
        tail = (tail + chunk)[-bounds._OVERLAP :]
    assert (longest, pending) == (len(event_bytes), len(b"data: un"))


async def test_a_server_that_has_its_stream_opened_again_and_again_is_not_asked_without_a_pause() -> None:
    transport = PatientTransport(Server(lambda message: httpx2.Response(200, headers={"content-type": EVENTS})))
    begin = anyio.current_time()
    async with httpx2.AsyncClient(transport=transport) as client:
        for _ in range(4):
            await client.get(URL, headers={"Accept": EVENTS})
    assert anyio.current_time() - begin >= 3 * bounds.STREAM_PACE_SECONDS


# -- the end, and the recording ----------------------------------------------------------------------------------


async def test_a_farewell_that_is_not_answered_ends() -> None:
    class Mute(Server):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "DELETE":
                await anyio.sleep_forever()
            return await super().handle_async_request(request)

    transport = PatientTransport(Mute())
    async with httpx2.AsyncClient(transport=transport) as client:
        with anyio.fail_after(bounds.FAREWELL_SECONDS + 5), pytest.raises(Unreachable):
            await client.delete(URL)


@pytest.mark.parametrize("media", [JSON, EVENTS, "text/plain"])
async def test_a_farewell_that_is_answered_without_end_is_not_read(media: str) -> None:
    body = Body(b": an event\n\n" * 64)
    with anyio.fail_after(20):
        async with open_at(server := Server()) as session:
            assert (await session.call_tool("t")).content[0].text == "hi"
            server.instead = lambda message: answer(body, media=media)() if message["method"] == "DELETE" else None
    assert 0 < body.taken <= GLANCE_BYTES + len(body.chunk)
    assert body.closed


async def test_a_recording_keeps_a_bounded_part_of_what_passes() -> None:
    trace = Trace()
    async with open_at(server := Server(), trace) as session:
        server.instead = calling(answer(Body(KIB * 1024), 200))
        with pytest.raises(ProtocolError):
            await session.call_tool("t")
    assert any("not recorded" in str(message.body) for message in trace.messages)
