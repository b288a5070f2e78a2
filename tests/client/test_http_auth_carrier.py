"""Requests of an authorization on a network that has bad moments: retried where that is safe, never for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from typing import Any

import anyio
import httpx2
import pytest
from http_world import ASM, MCP, PRM, P, Person, World
from starlette.responses import Response

from mcp_oauth_nb import Session, Trace
from mcp_oauth_nb.client.bounds import FAREWELL_SECONDS, STREAM_PACE_SECONDS
from mcp_oauth_nb.client.channels import ATTEMPTS, ERROR
from mcp_oauth_nb.client.retrying import PatientTransport, unsent
from mcp_oauth_nb.oauth.errors import ProtocolError, SessionFailed, Unreachable
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio


class Line(httpx2.AsyncBaseTransport):
    """A network that does what the script says, one word a request: an exception, or a stream of an answer."""

    def __init__(self, *script: Any):
        self.script = list(script)
        self.closed = False
        self.sent = 0

    media = "application/json"

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent += 1
        word = self.script.pop(0)
        if isinstance(word, Exception):
            raise word
        return httpx2.Response(200, headers={"content-type": self.media}, stream=word)

    async def aclose(self) -> None:
        self.closed = True


class Body(httpx2.AsyncByteStream):
    """A body that comes in pieces, counted; it ends by an error, or never."""

    def __init__(self, pieces: Iterator[bytes], *, hangs: bool = False, error: Exception | None = None):
        self.pieces, self.hangs, self.error = pieces, hangs, error
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.given += len(piece)
            yield piece
        if self.hangs:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


def marked(attempts: int) -> httpx2.Request:
    request = httpx2.Request("GET", "https://auth.example/x?secret=1")
    ATTEMPTS.put(request, attempts)
    return request


def patient(*script: Any, **options: Any) -> tuple[PatientTransport, Line]:
    line = Line(*script)
    return PatientTransport(line, pause=lambda failed: 0.0, **options), line


BROKEN = httpx2.ConnectError("cut")


async def test_what_is_not_marked_is_sent_once_and_an_event_stream_passes_as_it_comes() -> None:
    body = Body(iter([b"data: 1\n\n"]), hangs=True)
    transport, line = patient(BROKEN, body)
    line.media = "text/event-stream"
    with pytest.raises(httpx2.ConnectError):
        await transport.handle_async_request(httpx2.Request("GET", MCP))
    answer = await transport.handle_async_request(httpx2.Request("GET", MCP))
    assert body.given == 0
    assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
    await transport.aclose()
    assert line.closed


async def test_a_request_that_fails_is_sent_again_as_often_as_allowed() -> None:
    transport, line = patient(BROKEN, httpx2.ReadTimeout("slow"), Body(iter([b"{", b"}"])))
    answer = await transport.handle_async_request(marked(3))
    assert (await answer.aread(), line.sent, ERROR.of(answer)) == (b"{}", 3, None)


async def test_an_answer_that_breaks_off_is_none() -> None:
    broken = Body(iter([b"{"]), error=httpx2.ReadError("cut"))
    transport, _ = patient(broken, Body(iter([b"{}"])))
    assert await (await transport.handle_async_request(marked(2))).aread() == b"{}"
    assert broken.closed


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_after_the_last_attempt_the_answer_says_so_without_the_query(attempts: int) -> None:
    transport, line = patient(*[BROKEN] * attempts)
    answer = await transport.handle_async_request(marked(attempts))
    error = ERROR.of(answer)
    assert (answer.status_code, line.sent) == (503, attempts)
    assert error is not None
    assert error.message == "https://auth.example/x cannot be reached (ConnectError)."
    assert isinstance(error.__cause__, httpx2.ConnectError)


async def test_an_answer_that_never_ends_is_given_up_at_the_deadline() -> None:
    body = Body(iter([b"{"]), hangs=True)
    transport, _ = patient(body, deadline=0.05)
    with anyio.fail_after(5):
        error = ERROR.of(await transport.handle_async_request(marked(3)))
    assert error is not None
    assert "no complete answer within 0.05 seconds" in error.message
    assert isinstance(error.__cause__, TimeoutError)
    assert body.closed


async def test_all_attempts_have_one_deadline() -> None:
    deadlines: list[float] = []

    class Deadlines(Line):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            deadlines.append(anyio.current_effective_deadline())
            return await super().handle_async_request(request)

    silent = Body(iter([]), hangs=True)
    transport = PatientTransport(Deadlines(BROKEN, silent), pause=lambda failed: 0.0, deadline=0.05)
    error = ERROR.of(await transport.handle_async_request(marked(3)))
    assert error is not None
    assert "0.05 seconds" in error.message
    assert deadlines == [deadlines[0]] * 2


async def test_a_body_without_end_is_not_read_to_the_end() -> None:
    body = Body(iter(lambda: b"x" * 65536, b""))
    transport, _ = patient(body)
    answer = await transport.handle_async_request(marked(1))
    assert len(await answer.aread()) > MAX_BODY_BYTES
    assert body.given <= MAX_BODY_BYTES + 65536
    assert body.closed


async def test_each_pause_is_told_how_many_attempts_failed() -> None:
    failures: list[int] = []

    def pause(failed: int) -> float:
        failures.append(failed)
        return 0.0

    await PatientTransport(Line(*[BROKEN] * 3), pause=pause).handle_async_request(marked(3))
    assert failures == [1, 2]


class Noting(Line):
    """A network that notes when a request came, and how many seconds it may take; every answer is short."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[float] = []
        self.may_take: list[float] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.came.append(anyio.current_time())
        self.may_take.append(anyio.current_effective_deadline() - anyio.current_time())
        return httpx2.Response(202)


async def test_event_streams_are_opened_with_a_pause_between_them_and_nothing_else_waits() -> None:
    line = Noting()
    transport = PatientTransport(line)
    stream = {"Accept": "application/json, text/event-stream"}
    with anyio.fail_after(4):
        for _ in range(50):
            await transport.handle_async_request(httpx2.Request("POST", MCP, headers=stream))
            await transport.handle_async_request(httpx2.Request("GET", MCP))
        line.came.clear()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(transport.handle_async_request, httpx2.Request("GET", MCP, headers=stream))
        await transport.handle_async_request(httpx2.Request("GET", MCP, headers=stream))
    gaps = [later - earlier for earlier, later in pairwise(line.came)]
    assert len(gaps) == 3
    assert sum(gaps) >= 3 * STREAM_PACE_SECONDS * 0.9


async def test_a_farewell_has_ten_seconds_and_a_message_as_long_as_its_answer_takes() -> None:
    line = Noting()
    transport = PatientTransport(line)
    for method in ("DELETE", "POST"):
        await transport.handle_async_request(httpx2.Request(method, MCP))
    farewell, message = line.may_take
    assert FAREWELL_SECONDS - 5 < farewell <= FAREWELL_SECONDS
    assert message == float("inf")


async def test_a_request_of_an_authorization_has_thirty_seconds() -> None:
    line = Noting()
    await PatientTransport(line).handle_async_request(marked(1))
    (seconds,) = line.may_take
    assert 29.0 < seconds <= 30.0


def test_what_stands_for_a_refresh_that_cannot_be_asked_for_says_why() -> None:
    error = ProtocolError("The client cannot authenticate.")
    request = unsent("https://auth.example/token", error)
    assert (request.method, ERROR.of(request)) == ("POST", error)


async def test_a_farewell_that_is_not_answered_in_time_is_a_typed_error() -> None:
    transport, _ = patient(TimeoutError())
    with pytest.raises(Unreachable, match=f"^{MCP} gave no complete answer within {FAREWELL_SECONDS:g} seconds"):
        await transport.handle_async_request(httpx2.Request("DELETE", MCP))


async def test_what_is_not_marked_is_bounded_too() -> None:
    body = Body(iter(lambda: b"x" * 65536, b""))
    transport, line = patient(body)
    line.media = "text/html"
    answer = await transport.handle_async_request(httpx2.Request("POST", MCP))
    assert (await answer.aread(), body.given, body.closed) == (b"", 65536, True)


async def test_the_pause_grows_and_varies() -> None:
    transport = PatientTransport(Line(*[BROKEN] * 3))
    pauses = [[transport._pause(failed) for _ in range(50)] for failed in (1, 2)]
    assert len(set(pauses[0])) > 1
    assert 0 < max(pauses[0]) <= 0.5 < max(pauses[1]) <= 1.0


# -- in a session ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


class Flaky(httpx2.ASGITransport):
    """Loses the first answers, or requests, of some.

    Args:
        hit: says which.
        times: how many.
        after: the server has done its work when the answer is lost.
    """

    def __init__(self, world: World, hit: Callable[[httpx2.Request], bool], times: int, *, after: bool = False):
        super().__init__(world.app)
        self.hit, self.left, self.after = hit, times, after

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        if self.left and self.hit(request):
            self.left -= 1
            if self.after:
                await super().handle_async_request(request)
            raise httpx2.ReadError("cut")
        return await super().handle_async_request(request)


def to(path: str, *words: bytes) -> Callable[[httpx2.Request], bool]:
    return lambda request: request.url.path == path and all(word in request.content for word in words)


async def call(world: World, carrier: Any, **options: Any) -> str:
    auth = world.auth(carrier=lambda: carrier, **options)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool("whoami")).content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("path", [PRM, ASM])
async def test_discovery_survives_a_bad_moment_but_not_a_bad_day(world: World, path: str) -> None:
    assert await call(world, Flaky(world, to(path), 2)) == "octocat"
    with pytest.raises(Unreachable):
        await call(world, Flaky(world, to(path), 99))
    assert world.count("/authorize") == 1


async def test_a_registration_and_a_code_are_sent_once(world: World) -> None:
    for path in ("/register", "/token"):
        flaky = Flaky(world, to(path), 99)
        with pytest.raises(Unreachable):
            await call(world, flaky)
        assert flaky.left == 98


REFRESH = to("/token", b"grant_type=refresh_token")


async def test_a_refresh_whose_answer_was_lost_is_asked_for_once_more(world: World) -> None:
    auth = world.auth()
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
    world.clock.advance(3700)
    assert await call(world, Flaky(world, REFRESH, 1), store=auth.store) == "octocat"
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (1, 1)


async def test_a_refresh_token_that_was_used_up_by_a_lost_answer_is_one_clean_authorization(world: World) -> None:
    auth = world.auth()
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
    world.clock.advance(3700)
    assert await call(world, Flaky(world, REFRESH, 1, after=True), store=auth.store) == "octocat"
    assert (world.count("/token", "refresh_token"), world.count("/authorize")) == (2, 2)


async def test_a_network_that_is_down_keeps_the_refresh_token_and_uses_a_token_that_is_still_good(world: World) -> None:
    person = Person(world)
    store = world.auth().store
    await call(world, world.carrier(), store=store)
    world.clock.advance(3590)
    flaky = Flaky(world, REFRESH, 99)
    auth = world.auth(person, store=store, carrier=lambda: flaky)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        for _ in range(3):
            assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
        # It was asked for once, with its one retry, not at every call.
        assert flaky.left == 97
        world.clock.advance(60)
        with pytest.raises(Unreachable, match=f"{P}/token"):
            await session.call_tool("whoami")
        flaky.left = 0
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
    assert person.urls == []


async def test_a_server_on_a_bad_day_is_no_reason_to_drop_what_is_still_good(world: World) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        world.clock.advance(3590)
        world.instead["/token"] = lambda seen: Response(status_code=503)
        for _ in range(3):
            await session.call_tool("whoami")
    assert world.count("/token", "refresh_token") == 1


async def test_the_trace_shows_every_attempt(world: World) -> None:
    trace = Trace(world.clock)
    auth = world.auth(carrier=lambda: Flaky(world, to(PRM), 1))
    async with Session.open(MCP, auth=auth, loop="current", trace=trace) as session:
        await session.call_tool("whoami")
    asked = [message for message in trace.messages if message.title == f"GET {P}{PRM}"]
    assert len(asked) == 2
    assert [message for message in trace.messages if message.kind == "error" and message.exchange == asked[0].exchange]


async def test_a_metadata_document_without_end_is_a_protocol_error(world: World) -> None:
    world.instead[PRM] = lambda seen: Response(b" " * (MAX_BODY_BYTES + 1), media_type="application/json")
    with pytest.raises(ProtocolError, match="more than"):
        await call(world, world.carrier())


async def test_an_mcp_server_that_cannot_be_reached_is_the_connections_error(world: World) -> None:
    with pytest.raises(SessionFailed):
        await call(world, Flaky(world, to("/mcp"), 99))
