"""The recorder around the SDK's HTTP client: what passes, what fails, what is read in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from mcp_oauth_nb import ManualClock, Trace

pytestmark = pytest.mark.anyio

URL = "https://mcp.example/mcp"


class Body(httpx2.AsyncByteStream):
    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"answer":'
        yield b" 42}"

    async def aclose(self) -> None:
        self.closed = True


class Line(httpx2.AsyncBaseTransport):
    """Answers with a body in pieces; a line that is cut answers nothing."""

    def __init__(self, *, cut: bool = False):
        self.cut = cut
        self.body = Body()
        self.closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.cut:
            raise httpx2.ConnectError("cut")
        return httpx2.Response(200, headers={"Content-Type": "application/json"}, stream=self.body)

    async def aclose(self) -> None:
        self.closed = True


async def test_an_exchange_is_recorded_whole_and_passes_in_pieces() -> None:
    trace, line = Trace(ManualClock(0)), Line()
    client = httpx2.AsyncClient(transport=trace.http2(line, receiver="Server"))
    async with client, client.stream("POST", URL, json={"question": 6}) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    assert pieces == [b'{"answer":', b" 42}"]
    assert line.closed
    assert line.body.closed
    request, answer = trace.messages
    assert (request.title, request.receiver, answer.kind) == (f"POST {URL}", "Server", "response")
    assert "42" in str(answer.body)


async def test_a_request_that_fails_is_recorded_as_failed() -> None:
    trace = Trace(ManualClock(0))
    async with httpx2.AsyncClient(transport=trace.http2(Line(cut=True))) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(URL)
    assert [message.kind for message in trace.messages] == ["request", "error"]


async def test_an_answer_that_is_left_early_is_recorded_as_far_as_it_was_read() -> None:
    trace, line = Trace(ManualClock(0)), Line()
    async with httpx2.AsyncClient(transport=trace.http2(line)) as client, client.stream("GET", URL) as response:
        async for _ in response.aiter_raw():
            break
    assert line.body.closed
    assert [message.kind for message in trace.messages] == ["request", "response"]


async def test_an_answer_that_is_all_there_is_recorded_before_anybody_reads_it() -> None:
    trace = Trace(ManualClock(0))
    inner = httpx2.MockTransport(lambda request: httpx2.Response(200, stream=httpx2.ByteStream(b'{"answer": 42}')))
    client = httpx2.AsyncClient(transport=trace.http2(inner))
    async with client, client.stream("GET", URL) as response:
        assert [message.kind for message in trace.messages] == ["request", "response"]
        assert await response.aread() == b'{"answer": 42}'
