"""What people without a token may cost: sessions, streams and bodies are counted by address, and end first."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from limits.aio.storage import MemoryStorage
from limits.errors import StorageError
from mcp.server.auth.provider import AccessToken
from resource_world import LEGACY, MODERN, URL, World, call, token_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.server.rate_limits import BoundedCounts, Shares
from mcp_oauth_nb.server.resource.front_door import FrontDoor, transport_security
from mcp_oauth_nb.server.resource.gate import MOST_REQUESTS_OF_STRANGERS
from mcp_oauth_nb.server.resource.limits import ANONYMOUS_SESSIONS, FAILED_AUTHORIZATIONS, InService, Limits, RateLimit
from mcp_oauth_nb.server.resource.metadata import PublicAddress
from mcp_oauth_nb.server.resource.sessions import ANONYMOUS_IDLE_SECONDS, MOST_ANONYMOUS, Sessions

pytestmark = pytest.mark.anyio

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HELLO = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
OPEN = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
HERE, THERE = "192.0.2.1", "198.51.100.7"


class Deployment(World):
    """A world whose sessions have a clock of their own, and as many places as the test says."""

    def __init__(self, anonymous: Shares | None = None, owned: Shares | None = None, **options: Any):
        self.time = ManualClock(1000.0)
        self.sessions = Sessions(anonymous=anonymous, owned=owned, now=self.time.now)
        super().__init__(sessions=self.sessions, **options)
        for name in ("octocat", "hubot"):
            self.verifier.issue(name, "read:user")

    async def open(self, client: str = HERE, name: str | None = None) -> str:
        answer = await self.post(OPEN, client=client, token=name and token_of(name), headers=[])
        assert answer.status_code == 200, answer.text
        return str(answer.headers["mcp-session-id"])

    async def lives(self, session: str, name: str | None = None, client: str = HERE) -> bool:
        headers = [("Mcp-Session-Id", session)]
        answer = await self.post(LIST, headers=headers, client=client, token=name and token_of(name))
        assert answer.status_code in (200, 404), answer.text
        return answer.status_code == 200


@asynccontextmanager
async def deployed(*shares: Shares | None, **options: Any) -> AsyncIterator[Deployment]:
    world = Deployment(*shares, **options)
    async with world.running():
        yield world


# -- sessions --------------------------------------------------------------------------------------------------------


async def test_an_address_that_opens_session_after_session_without_a_token_is_told_when_to_come_back() -> None:
    async with deployed(limits=Limits(openings="3/minute")) as world:
        for _ in range(3):
            await world.open()
        answer = await world.post(OPEN, headers=[])
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["data"]["type"] == "transient"
        # Others get in, and so does a person with a token behind the same address.
        await world.open(client=THERE)
        await world.open(name="octocat")


async def test_whoever_tries_without_opening_anything_is_counted_all_the_same() -> None:
    # The SDK makes a session before it reads the message.
    async with deployed(limits=Limits(openings="3/minute")) as world:
        for _ in range(3):
            assert (await world.post(LIST)).status_code == 400
        assert (await world.post(OPEN, headers=[])).status_code == 429


@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_requests_that_open_no_session_are_not_counted_as_if_they_did(era: str) -> None:
    async with deployed(limits=Limits(openings="1/minute")) as world:
        headers = [("Mcp-Session-Id", await world.open())] if era == LEGACY else []
        body = LIST if era == LEGACY else call("no-such-tool", era=MODERN)
        for _ in range(3):
            assert (await world.post(body, era=era, headers=headers)).status_code != 429


async def test_an_endpoint_without_sessions_counts_none() -> None:
    async with World(stateless=True, limits=Limits(openings="1/minute")).running() as world:
        for _ in range(3):
            assert (await world.post(LIST)).status_code == 200


async def test_an_address_that_has_all_of_its_sessions_loses_the_one_that_it_used_longest_ago() -> None:
    async with deployed(Shares(100, 2)) as world:
        first, second, other = await world.open(), await world.open(), await world.open(client=THERE)
        world.time.advance(seconds=1)
        assert await world.lives(first)
        third = await world.open()
        assert [await world.lives(one) for one in (first, second, third, other)] == [True, False, True, True]


async def test_when_strangers_places_are_full_the_address_that_has_most_of_them_loses_one() -> None:
    async with deployed(Shares(4, 3)) as world:
        single = await world.open(client=THERE)
        many = [await world.open() for _ in range(3)]
        late = await world.open(client="203.0.113.9")
        assert [await world.lives(one) for one in (single, *many, late)] == [True, False, True, True, True]


async def test_many_addresses_hold_no_more_sessions_together_than_there_are_places_for_strangers() -> None:
    places = Shares(MOST_ANONYMOUS, 100)
    for number in range(3 * MOST_ANONYMOUS):
        places.take(f"10.{number >> 8}.{number & 255}.1", str(number), number)
    assert len(places) == MOST_ANONYMOUS
    async with deployed(Shares(5, 5)) as world:
        opened = [await world.open(client=f"203.0.113.{number}") for number in range(20)]
        assert len(world.sessions) == 5
        assert [await world.lives(one) for one in opened[-6:]] == [False] + [True] * 5


async def test_addresses_of_one_ipv6_network_share_its_places() -> None:
    async with deployed(Shares(100, 2)) as world:
        opened = [await world.open(client=f"2001:db8:0:1::{number}") for number in range(1, 4)]
        elsewhere = await world.open(client="2001:db8:0:2::1")
        assert [await world.lives(one) for one in (*opened, elsewhere)] == [False, True, True, True]


async def test_no_number_of_strangers_displaces_a_person_or_keeps_one_out() -> None:
    async with deployed(Shares(3, 3), Shares(3, 3)) as world:
        mine = await world.open(name="octocat")
        for number in range(20):
            await world.open(client=f"203.0.113.{number}")
        assert await world.lives(mine, "octocat")
        assert await world.lives(await world.open(name="hubot"), "hubot")


async def test_a_person_who_takes_all_places_makes_room_for_the_next_person() -> None:
    async with deployed(None, Shares(3, 3)) as world:
        greedy = [await world.open(name="octocat") for _ in range(3)]
        other = await world.open(name="hubot")
        assert await world.lives(other, "hubot")
        assert [await world.lives(one, "octocat") for one in greedy] == [False, True, True]


async def test_a_session_that_a_token_has_taken_over_counts_as_that_persons() -> None:
    async with deployed(Shares(1, 1), Shares(2, 2)) as world:
        session = await world.open()
        assert await world.lives(session, "octocat")
        await world.open()
        await world.open()
        assert await world.lives(session, "octocat")
        # It has a place among the person's, and gives way to their own.
        world.time.advance(seconds=1)
        for _ in range(2):
            await world.open(name="octocat")
        assert not await world.lives(session, "octocat")


async def opened_all(sessions: Sessions, number: int, address: str, access: AccessToken | None = None) -> None:
    for count in range(number):
        async with sessions.opening(address, access) as opened:
            await opened(f"{address} {count}")


async def test_one_address_has_a_hundred_sessions_and_strangers_a_thousand_together() -> None:
    sessions = Sessions()
    await opened_all(sessions, 100, HERE)
    assert f"{HERE} 0" in sessions
    await opened_all(sessions, 101, THERE)
    assert (f"{THERE} 0" in sessions, len(sessions)) == (False, 200)
    for number in range(9):
        await opened_all(sessions, 100, f"203.0.113.{number}")
    assert len(sessions) == 1000


async def test_one_person_has_a_thousand_sessions_and_all_people_nine_thousand() -> None:
    sessions, people = Sessions(), [AccessToken(token="t", client_id=str(number), scopes=[]) for number in range(10)]
    await opened_all(sessions, 1001, "0", people[0])
    assert ("0 0" in sessions, "0 1" in sessions, len(sessions)) == (False, True, 1000)
    for access in people[1:]:
        await opened_all(sessions, 900, access.client_id, access)
    assert len(sessions) == 9000


async def test_a_session_without_a_token_ends_when_it_was_idle_for_as_long_as_a_person_is_waited_for() -> None:
    async with deployed() as world:
        stranger, person = await world.open(), await world.open(name="octocat")
        world.time.advance(seconds=600)
        await world.sessions.end_idle()
        assert await world.lives(stranger)
        world.time.advance(seconds=600.5)
        await world.sessions.end_idle()
        assert not await world.lives(stranger)
        assert await world.lives(person, "octocat")


class Stopped(asyncio.SelectorEventLoop):
    """An event loop whose clock a test moves."""

    now = 0.0

    def time(self) -> float:
        return self.now


def test_a_server_that_runs_looks_every_thirty_seconds_for_sessions_that_nobody_uses() -> None:
    async def later(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Stopped)
        loop.now += seconds
        for _ in range(10):
            await asyncio.sleep(0)

    async def run() -> None:
        async with deployed() as world:
            for _ in range(2):
                await world.open()
                world.time.advance(seconds=ANONYMOUS_IDLE_SECONDS + 1)
                await later(29.4)
                assert len(world.sessions) == 1
                await later(0.6)
                assert len(world.sessions) == 0

    anyio.run(run, backend_options={"loop_factory": Stopped})


async def test_a_persons_stream_that_stays_open_is_in_use_however_long() -> None:
    time = ManualClock(0.0)
    sessions = Sessions(10.0, owned=Shares(2, 2, 20.0), now=time.now)
    people = [AccessToken(token="t", client_id=name, scopes=[]) for name in "abc"]
    for access in people[:2]:
        async with sessions.opening(HERE, access) as opened:
            await opened(access.client_id)
    with sessions.use("a"):
        for _ in range(10):
            time.advance(seconds=20)
            await sessions.end_idle()
        assert ("a" in sessions, "b" in sessions) == (True, False)
        async with sessions.opening(HERE, people[2]) as opened:
            await opened("c")
        assert "a" in sessions


WHO = [None, AccessToken(token="t", client_id="c", scopes=[])]


async def two_sessions(access: AccessToken | None, now: ManualClock) -> Sessions:
    """Two sessions of somebody who may have two: `a`, and then `b`."""
    sessions = Sessions(anonymous=Shares(2, 2), owned=Shares(2, 2), now=now.now)
    for name in "ab":
        async with sessions.opening(HERE, access) as opened:
            await opened(name)
        now.advance(seconds=1)
    return sessions


@pytest.mark.parametrize("access", WHO)
async def test_a_session_that_is_being_opened_has_its_place_and_gives_it_back_if_it_is_not(
    access: AccessToken | None,
) -> None:
    sessions = await two_sessions(access, ManualClock(0.0))
    async with sessions.opening(HERE, access):
        assert ("a" in sessions, "b" in sessions) == (False, True)
    async with sessions.opening(HERE, access) as opened:
        await opened("c")
    assert ("b" in sessions, "c" in sessions) == (True, True)


@pytest.mark.parametrize("access", WHO)
async def test_a_session_that_is_forgotten_leaves_its_place_to_the_next(access: AccessToken | None) -> None:
    sessions = await two_sessions(access, ManualClock(0.0))
    sessions.forget("b")
    async with sessions.opening(HERE, access) as opened:
        await opened("c")
    assert ("a" in sessions, "c" in sessions) == (True, True)


@pytest.mark.parametrize("access", WHO)
@pytest.mark.parametrize("ended", [False, True])
async def test_a_session_is_used_when_a_request_begins_and_when_it_ends(
    access: AccessToken | None, *, ended: bool
) -> None:
    now = ManualClock(0.0)
    sessions = await two_sessions(access, now)
    with sessions.use("a"):
        if not ended:
            async with sessions.opening(HERE, access):
                assert ("a" in sessions, "b" in sessions) == (True, False)
            return
        now.advance(seconds=1)
        with sessions.use("b"):
            now.advance(seconds=1)
    async with sessions.opening(HERE, access):
        assert ("a" in sessions, "b" in sessions) == (True, False)


async def test_a_persons_session_with_an_open_stream_gives_way_after_the_others_of_that_person() -> None:
    now, who = ManualClock(0.0), WHO[1]
    sessions = await two_sessions(who, now)
    with sessions.use("a"):
        now.advance(seconds=1)
        with sessions.use("b"):
            now.advance(seconds=1)
        now.advance(seconds=1)
        await sessions.end_idle()
        async with sessions.opening(HERE, who):
            assert ("a" in sessions, "b" in sessions) == (True, False)


@asynccontextmanager
async def held(world: World, *sessions: str) -> AsyncIterator[list[asyncio.Task[int]]]:
    """Open the event stream of each session, and read nothing of it."""
    begun: list[int] = []
    all_begun = asyncio.Event()

    async def stream(session: str) -> int:
        asked = asyncio.Event()
        statuses: list[int] = []

        async def receive() -> Any:
            if asked.is_set():
                await anyio.sleep_forever()
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                begun.append(message["status"])
                if len(begun) == len(sessions):
                    all_begun.set()

        headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"text/event-stream")]
        headers.append((b"mcp-session-id", session.encode()))
        scope = {"type": "http", "method": "GET", "path": "/mcp", "query_string": b"", "client": (HERE, 1)}
        await world.app(scope | {"headers": headers}, receive, send)
        return statuses[0]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream(session)) for session in sessions]
        with anyio.fail_after(20):
            await all_begun.wait()
        yield tasks
        for task in tasks:
            task.cancel()


async def test_a_stream_that_is_held_open_does_not_keep_a_strangers_session_from_giving_way() -> None:
    async with deployed(Shares(2, 2)) as world:
        session = await world.open()
        async with held(world, session) as streams:
            world.time.advance(hours=1)
            await world.sessions.end_idle()
            assert await world.lives(session), "it is in use"
            world.time.advance(seconds=1)
            for _ in range(2):
                await world.open()
            assert not await world.lives(session)
            with anyio.fail_after(5):
                assert await streams[0] == 200


async def test_requests_without_a_token_beyond_an_addresss_share_are_asked_to_come_back() -> None:
    async with deployed(json_response=False) as world:
        sessions = [await world.open() for _ in range(MOST_REQUESTS_OF_STRANGERS)]
        theirs = await world.open(client=THERE)
        async with held(world, *sessions):
            for era, session in ((LEGACY, sessions[0]), (MODERN, "")):
                answer = await world.post(LIST, era=era, headers=[("Mcp-Session-Id", session)] if session else [])
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
            assert await world.lives(theirs, client=THERE)
            assert (await world.post(OPEN, headers=[], token=token_of("octocat"))).status_code == 200
        assert await world.lives(sessions[0])


def test_what_is_in_service_is_counted_until_it_is_done_and_by_address() -> None:
    strangers = InService(2)
    with strangers.one_more(HERE):
        assert not strangers.is_full(HERE)
        with strangers.one_more(HERE):
            assert (strangers.is_full(HERE), strangers.is_full(THERE)) == (True, False)
        assert not strangers.is_full(HERE)
    with strangers.one_more(HERE):
        assert not strangers.is_full(HERE)
    assert (InService(0).is_full(HERE), InService(1).is_full(HERE)) == (True, False)


class Address(str):
    """An address of which a test sees when nobody has it any more."""


def test_nothing_is_kept_of_an_address_that_is_not_served_any_more() -> None:
    strangers, address = InService(2), Address(HERE)
    gone = weakref.ref(address)
    with strangers.one_more(address):
        pass
    del address
    assert gone() is None


class NoCounts(MemoryStorage):
    """Counts of a store that does not answer."""

    async def get_moving_window(self, *args: Any, **options: Any) -> tuple[float, int]:
        raise StorageError(OSError("gone"))

    acquire_entry = get_moving_window  # type: ignore[assignment]


async def test_whoever_cannot_count_says_what_is_not_counted() -> None:
    for name in ("failed authorizations", "anonymous sessions"):
        limit = RateLimit("3/minute", name, storage=NoCounts(wrap_exceptions=True))
        for asked in (limit.blocked, limit.count):
            with pytest.raises(StoreUnavailable, match=f"counts {name}"):
                await asked(HERE)


@pytest.mark.parametrize(("limit", "most"), [(FAILED_AUTHORIZATIONS, 30), (ANONYMOUS_SESSIONS, 300)])
async def test_an_address_has_so_many_attempts_a_minute_and_another_limit_has_its_own(limit: str, most: int) -> None:
    counts = BoundedCounts()
    failures = RateLimit(limit, "failures", storage=counts)
    for _ in range(most):
        assert await failures.blocked(HERE) is None
        await failures.count(HERE)
    seconds = await failures.blocked(HERE)
    assert seconds is not None
    assert 0 < seconds <= 61
    assert await failures.blocked(THERE) is None
    assert await RateLimit(limit, "openings", storage=counts).blocked(HERE) is None
    assert await RateLimit(limit, "failures", storage=counts).blocked(HERE) is not None


# -- bodies ----------------------------------------------------------------------------------------------------------


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"size": len(await request.body())})


async def busy(_: Request) -> PlainTextResponse:
    return PlainTextResponse("not now", 503)


async def elsewhere(_: Request) -> PlainTextResponse:
    return PlainTextResponse("not now", 429, headers={"Retry-After": "77"})


ROUTES = [Route("/echo", echo, methods=["POST", "PUT"]), Route("/busy", busy), Route("/elsewhere", elsewhere)]


class Sender:
    """Sends a body piece by piece, when the test says so.

    Attributes:
        pieces: what is sent; `None` is the end.
        seconds: that each piece may take to come.
        patience: seconds until the test gives up.
        status: of the answer.
    """

    def __init__(self, app: Any, path: str, client: str = HERE, method: str = "POST", size: str = ""):
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.waits = asyncio.Event()
        self.seconds: list[float] = []
        self.patience = 5.0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._app = app
        headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")]
        if size != "unsaid":
            headers.append((b"content-length", size.encode()) if size else (b"transfer-encoding", b"chunked"))
        self.scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        self.scope |= {"client": (client, 1), "http_version": "1.1", "root_path": "", "scheme": "http"}

    async def __call__(self) -> int:
        with anyio.fail_after(self.patience):
            await self._app(self.scope, self.receive, self.send)
        return self.status

    async def receive(self) -> Any:
        self.waits.set()
        self.seconds.append(anyio.current_effective_deadline() - anyio.current_time())
        piece = await self.pieces.get()
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])


def front(app: Any = None, **options: Any) -> FrontDoor:
    """A front door to which each body that is not there at once is a slow one.

    The server's own application has another one within, which counts by its own rules and by a clock.
    """
    app = app or Starlette(routes=ROUTES)
    return FrontDoor(app, transport_security(PublicAddress(URL)), **{"prompt_seconds": 0.0, **options})


@pytest.mark.parametrize("path", ["/mcp", "/echo"])
async def test_a_body_that_does_not_arrive_in_time_is_not_waited_for(path: str) -> None:
    async with World(authorization_server_routes=ROUTES).running() as world:
        slow = Sender(front(world.app, body_seconds=0.0), path)
        slow.pieces.put_nowait(b"a piece")
        with anyio.fail_after(5):
            assert await slow() == 408
        assert slow.headers[b"connection"] == b"close"


async def test_a_slow_body_has_thirty_seconds_from_its_first_piece_to_its_last() -> None:
    door = FrontDoor(Starlette(routes=ROUTES), transport_security(PublicAddress(URL)), prompt_seconds=0.0)
    async with asyncio.TaskGroup() as group:
        sender = Sender(door, "/echo")
        sender.patience = 60.0
        running = group.create_task(sender())
        while len(sender.seconds) < 2:
            await anyio.lowlevel.checkpoint()
        for piece in (b"a", b"b", None):
            sender.pieces.put_nowait(piece)
        assert await running == 200
    promptly, *slowly = sender.seconds
    assert promptly <= 0
    assert all(29 < seconds <= 30 for seconds in slowly)
    assert sorted(slowly, reverse=True) == slowly


async def test_a_body_counts_as_slow_after_one_second() -> None:
    async with World(authorization_server_routes=ROUTES).running() as world:
        sender = Sender(world.app, "/echo")
        sender.pieces.put_nowait(None)
        assert await sender() == 200
    assert all(0 < seconds <= 1 for seconds in sender.seconds)


@pytest.mark.parametrize(("method", "size"), [("PUT", "3"), ("PUT", ""), ("POST", "3"), ("POST", "unsaid")])
async def test_a_body_is_on_its_way_whatever_the_method_and_however_it_was_announced(method: str, size: str) -> None:
    door = front(most_bodies=0)
    assert await Sender(door, "/echo", method=method, size=size)() == 429


async def test_one_address_has_sixty_four_bodies_on_their_way() -> None:
    async with asyncio.TaskGroup() as group:
        door = front()
        slow = [Sender(door, "/echo") for _ in range(64)]
        for one in slow:
            group.create_task(one())
            await one.waits.wait()
        late = Sender(door, "/echo")
        assert await late() == 429
        for one in slow:
            one.pieces.put_nowait(None)
    assert {one.status for one in slow} == {200}


async def test_bodies_that_come_promptly_are_served_however_many_come_together_from_one_address() -> None:
    async with asyncio.TaskGroup() as group:
        door = front(prompt_seconds=60.0, most_bodies=1)
        together = [Sender(door, "/echo") for _ in range(200)]
        for one in together:
            group.create_task(one())
            await one.waits.wait()
        for one in together:
            one.pieces.put_nowait(None)
    assert {one.status for one in together} == {200}


async def test_whoever_asks_without_a_body_is_served_while_bodies_are_on_their_way() -> None:
    asking = Sender(front(most_bodies=0), "/elsewhere", method="GET", size="unsaid")
    assert await asking() == 429
    assert asking.headers[b"retry-after"] == b"77", "the route's own answer"


async def test_one_address_has_so_many_bodies_on_their_way_and_others_are_served() -> None:
    door = front(most_bodies=2)
    async with asyncio.TaskGroup() as group:
        slow = [Sender(door, "/echo") for _ in range(2)]
        running = [group.create_task(one()) for one in slow]
        for one in slow:
            await one.waits.wait()
        late = Sender(door, "/echo")
        assert await late() == 429
        assert int(late.headers[b"retry-after"]) > 0
        other = Sender(door, "/echo", THERE)
        other.pieces.put_nowait(None)
        assert await other() == 200
        for one in slow:
            one.pieces.put_nowait(b"x")
            one.pieces.put_nowait(None)
        assert [await task for task in running] == [200, 200]
        again = Sender(door, "/echo")
        again.pieces.put_nowait(None)
        assert await again() == 200


async def test_a_body_that_has_arrived_counts_no_more_however_long_its_answer_takes() -> None:
    read, answered = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> PlainTextResponse:
        await request.body()
        read.set()
        await answered.wait()
        return PlainTextResponse("at last")

    routes = [Route("/slow", slow, methods=["POST"]), *ROUTES]
    door = front(Starlette(routes=routes), most_bodies=1)
    first, second = Sender(door, "/slow"), Sender(door, "/echo")
    for one in (first, second):
        one.pieces.put_nowait(None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(first())
        await read.wait()
        assert await second() == 200
        answered.set()
    assert await running == 200


async def test_whoever_has_sent_a_body_may_listen_to_the_answer_for_as_long_as_it_takes() -> None:
    heard: list[str] = []

    async def until_the_client_leaves(request: Request) -> PlainTextResponse:
        await request.body()
        heard.append("the body")
        heard.append((await request.receive())["type"])
        return PlainTextResponse("at last")

    route = Route("/listen", until_the_client_leaves, methods=["POST"])
    listener = Sender(front(Starlette(routes=[route]), body_seconds=0.0), "/listen")
    listener.pieces.put_nowait(None)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(listener())
        # A deadline that is over already would be noticed in one of the loop's next turns.
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
        assert (heard, listener.status) == (["the body"], 0)
        listener.pieces.put_nowait(None)
    assert await running == 200


async def test_a_body_of_one_piece_that_promises_no_more_has_arrived() -> None:
    second: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/first":
            other = Sender(door, "/second")
            other.pieces.put_nowait(None)
            second.append(await other())
        await PlainTextResponse("done")(scope, receive, send)

    async def whole() -> Any:
        return {"type": "http.request", "body": b"all of it"}

    door = FrontDoor(app, transport_security(PublicAddress(URL)), most_bodies=1)
    first = Sender(door, "/first")
    await door(first.scope, whole, first.send)
    assert (first.status, second) == (200, [200])


async def test_what_is_not_http_is_no_business_of_the_front_door() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    door = FrontDoor(app, transport_security(PublicAddress(URL)))
    await door({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_whoever_is_to_come_back_is_told_when_by_whatever_route() -> None:
    async with World(authorization_server_routes=ROUTES).running() as world:
        assert (await world.send("GET", "/busy")).headers["retry-after"] == "5"
        assert (await world.send("GET", "/elsewhere")).headers["retry-after"] == "77"
        assert "retry-after" not in (await world.send("GET", "/health")).headers
