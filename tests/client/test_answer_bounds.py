"""What one answer may cost, without a session: how much of it is read, and what becomes of the rest."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest
from jumping import in_no_time

from mcp_oauth_nb.client.bounds import GLANCE_BYTES, MAX_MESSAGE_BYTES, _Retries, _sizes, bound
from mcp_oauth_nb.client.retrying import PatientTransport
from mcp_oauth_nb.oauth.errors import ProtocolError, Unreachable
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio

URL = "https://mcp.example/mcp"
JSON = "application/json"
EVENTS = "text/event-stream"


class Body(httpx2.AsyncByteStream):
    """A body in pieces, that counts what was taken of it."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.taken, self.closed = 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.taken += len(piece)
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def of_length(length: int) -> Body:
    """A body in pieces of at most a megabyte."""
    whole = 1024 * 1024
    return Body(*[b"x" * whole] * (length // whole), b"x" * (length % whole))


async def read(body: Body, media: str, status: int = 200, method: str = "POST", **headers: str) -> httpx2.Response:
    """Answer a request so, and read what passes the bounds."""
    named = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = httpx2.Request(method, URL)
    response = httpx2.Response(status, headers=named, stream=body, request=request)
    await bound(request, response, lambda error: f'{{"error": "{type(error).__name__}"}}'.encode())
    await response.aread()
    await response.aclose()
    return response


# -- messages --------------------------------------------------------------------------------------------------------


LIMITS = [
    (200, MAX_MESSAGE_BYTES), (299, MAX_MESSAGE_BYTES), (400, MAX_BODY_BYTES), (402, MAX_BODY_BYTES),
    (404, MAX_BODY_BYTES), (500, MAX_BODY_BYTES),
]  # fmt: skip


@pytest.mark.parametrize(("status", "limit"), LIMITS)
async def test_a_message_is_read_up_to_its_limit_and_what_is_longer_is_an_error(status: int, limit: int) -> None:
    assert len((await read(of_length(limit), f"{JSON}; charset=utf-8", status)).content) == limit
    body = of_length(limit + 3 * 1024 * 1024)
    with pytest.raises(ProtocolError, match=f"^{URL} sent a message of more than {limit} bytes") as caught:
        await read(body, JSON.upper(), status)
    assert body.taken <= limit + 1024 * 1024
    assert body.closed
    assert caught.value.hint.startswith("Ask for less at once")
    assert "Streamable HTTP" in caught.value.reference


@pytest.mark.parametrize(
    ("status", "media", "method"),
    [
        (401, JSON, "POST"), (403, JSON, "POST"), (307, JSON, "POST"), (200, JSON, "DELETE"), (200, EVENTS, "DELETE"),
        (200, "text/html", "POST"), (200, "", "GET"), (399, JSON, "POST"), (401, EVENTS, "POST"),
    ],
)  # fmt: skip
async def test_of_what_nobody_needs_a_short_body_is_there_to_be_shown_and_of_a_longer_one_nothing(
    status: int, media: str, method: str
) -> None:
    short = await read(of_length(GLANCE_BYTES), media, status, method)
    # Events that are no success are not looked at, and therefore not passed on.
    assert len(short.content) == (0 if media == EVENTS else GLANCE_BYTES)
    body = Body(*[b"x" * 1024] * 1024)
    assert (await read(body, media, status, method)).content == b""
    assert GLANCE_BYTES < body.taken <= GLANCE_BYTES + 1024
    assert body.closed


async def test_a_short_body_in_pieces_is_shown_whole() -> None:
    assert (await read(Body(b"one ", b"two"), "text/plain", 401)).text == "one two"
    assert (await read(Body(b"one ", b"two"), JSON)).text == "one two"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate, gzip", "x"])
async def test_what_is_compressed_is_refused_unread_or_not_shown(encoding: str) -> None:
    for media in (JSON, EVENTS):
        body = Body(b"packed")
        with pytest.raises(ProtocolError, match="compressed"):
            await read(body, media, content_encoding=encoding)
        assert (body.taken, body.closed) == (0, True)
    response = await read(Body(b"packed"), "text/html", 401, content_encoding=encoding)
    assert response.content == b""
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
async def test_what_says_that_it_is_not_compressed_is_read(encoding: str) -> None:
    assert (await read(Body(b"plain"), JSON, content_encoding=encoding)).content == b"plain"


class Slow(Body):
    """A body whose end comes after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(b"the ", b"end")
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in super().__aiter__():
            yield piece
            await anyio.sleep(self.seconds / 2)


@pytest.mark.parametrize("status", [200, 500])
def test_a_message_is_waited_for_for_five_minutes(status: int) -> None:
    async def wait() -> None:
        assert (await read(Slow(299.5), JSON, status)).text == "the end"
        body = Slow(300.5)
        with pytest.raises(Unreachable, match=f"^{URL} gave no complete answer within 300 seconds"):
            await read(body, JSON, status)
        assert body.closed

    in_no_time(wait)


def test_what_nobody_needs_is_waited_for_for_five_seconds() -> None:
    async def wait() -> None:
        assert (await read(Slow(4.5), JSON, 401)).text == "the end"
        body = Slow(5.5)
        assert (await read(body, JSON, 401)).text == ""
        assert body.closed

    in_no_time(wait)


# -- event streams -----------------------------------------------------------------------------------------------


async def test_an_event_stream_is_utf_8_whatever_it_says() -> None:
    response = await read(Body(b"data: 1\n\n"), f"{EVENTS}; charset=utf-16")
    assert response.headers["content-type"] == EVENTS
    assert response.content == b"data: 1\n\n"


def event(length: int) -> list[bytes]:
    """An event of so many bytes, in pieces of at most a megabyte."""
    return [*of_length(length - 8).pieces, b"data: \n\n"]


async def test_a_stream_of_any_length_passes_while_no_event_is_longer_than_a_message() -> None:
    pieces = event(MAX_MESSAGE_BYTES) + event(100) + event(MAX_MESSAGE_BYTES)
    body = Body(*pieces)
    assert (await read(body, EVENTS)).content == b"".join(pieces)
    assert body.closed


@pytest.mark.parametrize(("method", "end"), [("POST", b"\n\n"), ("GET", b"")])
async def test_an_event_that_is_too_long_ends_a_call_by_an_error_and_the_servers_own_stream_by_nothing(
    method: str, end: bytes
) -> None:
    first = b"data: first\n\n" if method == "POST" else b""
    body = Body(first, *of_length(MAX_MESSAGE_BYTES - len(end)).pieces, b"x" + end, *of_length(2**23).pieces)
    content = (await read(body, EVENTS, method=method)).content
    assert content.startswith(first)
    assert body.taken <= len(first) + MAX_MESSAGE_BYTES + 1024 * 1024
    error = b'\nevent: too-long\n\nevent: message\ndata: {"error": "ProtocolError"}\n\n'
    assert content.endswith(error) is (method == "POST")
    assert (b"too-long" in content) is (method == "POST")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 100])
def test_the_length_of_each_event_is_known_however_it_arrives(newline: bytes, pieces: int) -> None:
    events = [b"data: " + b"x" * length + newline * 2 for length in (1, 30, 2)]
    stream = b"".join(events) + b"data: un"
    found, pending, tail = [], 0, b""
    for begin in range(0, len(stream), pieces):
        chunk = stream[begin : begin + pieces]
        *done, pending = _sizes(pending, tail, chunk)
        found += done
        tail = (tail + chunk)[-3:]
    assert (found, pending) == ([*map(len, events)], len(b"data: un"))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"retry: 0\n", b"retry: 0\n"),
        (b"retry:500\r\n", b"retry: 500\r\n"),
        (b"retry: 300001\r", b"retry: 300000\r"),
        (b"retry: " + b"9" * 30 + b"\n", b"retry: 300000\n"),
        (b"retry: 5s\n", b":\n"),
        (b"retry:  5\n", b":\n"),
        (b"retry: " + b"9" * 33 + b"\n", b"retry: 300000\n"),
        (b"retry:" + b"9" * 34 + b"\n", b"retry: 300000\n"),
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
        retries = _Retries()
        cuts = sorted(chance.sample(range(len(text) + 1), chance.randint(0, 8)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert b"".join(map(retries.bounded, pieces)) == expected


def test_a_retry_without_end_is_not_collected() -> None:
    retries = _Retries()
    passed = b"".join(retries.bounded(piece) for piece in (b"\nretry: ", *[b"9"] * 1000))
    assert len(passed) > 900
    assert b"\nretry" not in passed


@pytest.mark.parametrize(("digits", "read"), [(40, b"retry: 300000\n"), (41, b":\n")])
def test_a_retry_of_more_digits_than_any_time_needs_is_none(digits: int, read: bytes) -> None:
    assert _Retries().bounded(b"retry:" + b"9" * digits + b"\n") == read


@pytest.mark.parametrize(("digits", "passed_on"), [(34, False), (35, True)])
def test_what_is_held_back_of_a_retry_is_short(digits: int, passed_on: bool) -> None:
    field = b"retry:" + b"9" * digits
    assert _Retries().bounded(field) == (b":" + field if passed_on else b"")


# -- the numbers, and what is paced ----------------------------------------------------------------------------------


def test_a_message_may_have_32_mib_and_a_glance_is_of_16_kib() -> None:
    assert (MAX_MESSAGE_BYTES, GLANCE_BYTES) == (32 * 2**20, 16 * 2**10)


def test_a_farewell_is_waited_for_for_ten_seconds_and_streams_are_opened_a_tenth_of_a_second_apart() -> None:
    class Server(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await anyio.sleep(farewell if request.method == "DELETE" else 0)
            return httpx2.Response(200, headers={"content-type": EVENTS if request.method == "GET" else JSON})

    async def wait() -> None:
        nonlocal farewell
        async with httpx2.AsyncClient(transport=PatientTransport(Server())) as client:
            assert (await client.delete(URL)).status_code == 200
            farewell = 10.5
            with pytest.raises(Unreachable):
                await client.delete(URL)
            begin = anyio.current_time()
            for _ in range(4):
                await client.get(URL, headers={"Accept": EVENTS})
            assert 0.3 <= anyio.current_time() - begin < 0.5

    farewell = 9.5
    in_no_time(wait)
