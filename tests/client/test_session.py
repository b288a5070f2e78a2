from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from mcp import Client, CreateMessageResult, MCPError
from mcp.client import ClientRequestContext
from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Elicit, ElicitationResult, Resolve
from mcp_types import CreateMessageRequestParams, ElicitRequestParams, ElicitResult, TextContent
from pydantic import BaseModel
from sessions import happens, nothing_left, text  # noqa: F401
from small_server import CHALLENGE, METADATA, Knobs, build

from mcp_oauth_nb.client.session import Session
from mcp_oauth_nb.oauth.challenge import AUTHENTICATION_REQUIRED, AuthChallenge
from mcp_oauth_nb.oauth.errors import AuthenticationRequired, SessionClosed, SessionError, SessionFailed
from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.runtime import loops
from mcp_oauth_nb.runtime.loops import run
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]


@pytest.fixture
def knobs() -> Knobs:
    return Knobs()


@pytest.fixture
def server(knobs: Knobs) -> MCPServer:
    return build(knobs)


@pytest.fixture
async def session(server: MCPServer) -> AsyncIterator[Session]:
    async with Session.open(server) as session:
        yield session


class Authorizer:
    """Signs in, or fails to, and notes where and with what it was called."""

    def __init__(self, knobs: Knobs, *, works: bool = True):
        self._knobs = knobs
        self._works = works
        self.calls: list[tuple[AuthChallenge, threading.Thread]] = []

    async def __call__(self, challenge: AuthChallenge) -> None:
        self.calls.append((challenge, threading.current_thread()))
        self._knobs.signed_in = self._works


# -- open, ask, close ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
@pytest.mark.parametrize("traced", [False, True])
async def test_both_eras_work_with_and_without_a_recorder(
    server: MCPServer, mode: Any, version: str, traced: bool
) -> None:
    async with Session.open(server, mode=mode, trace=Trace() if traced else None) as session:
        assert session.protocol_version == version
        assert session.server_info is not None
        assert session.server_info.name == "small"
        assert session.server_capabilities.tools is not None
        assert session.authorization_metadata == METADATA
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"
        assert "add" in [tool.name for tool in (await session.list_tools()).tools]
        assert [prompt.name for prompt in (await session.list_prompts()).prompts] == ["summary"]
        prompt = await session.get_prompt("summary", {"user": "octocat"})
        assert prompt.messages[0].content == TextContent(type="text", text="Summarize octocat.")


async def test_the_authorization_metadata_is_a_copy_and_none_if_the_server_says_nothing(session: Session) -> None:
    metadata = session.authorization_metadata
    assert metadata is not None
    metadata.clear()
    assert session.authorization_metadata == METADATA
    async with Session.open(MCPServer("mute", log_level="CRITICAL")) as mute:
        assert mute.authorization_metadata is None


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_recorder_sees_the_frames_of_a_server_in_this_process(server: MCPServer, mode: Any) -> None:
    trace = Trace()
    async with Session.open(server, mode=mode, trace=trace) as session:
        await session.call_tool("add", {"a": 1, "b": 2})
    first = "server/discover" if mode == "auto" else "initialize"
    assert trace[0].request.title == first
    (call,) = trace.find("tools/call add")
    assert call.request.body["params"]["arguments"] == {"a": 1, "b": 2}
    assert call.response is not None


async def test_a_session_serves_callers_on_any_loop_and_thread_at_the_same_time(session: Session) -> None:
    def from_a_thread(number: int) -> str:
        return text(asyncio.run(session.call_tool("add", {"a": number, "b": 1})))

    answers = await asyncio.gather(
        *(asyncio.to_thread(from_a_thread, number) for number in range(4)),
        *(session.call_tool("add", {"a": number, "b": 1}) for number in range(4)),
    )
    assert [answer if isinstance(answer, str) else text(answer) for answer in answers] == [*"12341234"]


def test_a_session_outlives_the_loop_that_opened_it(server: MCPServer) -> None:
    async def opened() -> Session:
        return await Session.open(server)

    session = asyncio.run(opened())
    assert text(asyncio.run(session.call_tool("thread"))) == loops.THREAD_NAME
    assert text(run(session.call_tool("add", {"a": 1, "b": 2}))) == "3"
    asyncio.run(session.aclose())


async def test_a_tool_may_call_the_session_it_is_called_through(knobs: Knobs) -> None:
    server = build(knobs)

    @server.tool()
    async def again() -> str:
        return text(await session.call_tool("add", {"a": 20, "b": 22}))

    async with Session.open(server) as session:
        assert text(await session.call_tool("again")) == "42"


async def test_use_gives_the_sdks_client_on_the_sessions_loop(session: Session) -> None:
    async def work(client: Client) -> tuple[str, str]:
        return client.protocol_version, threading.current_thread().name

    assert await session.use(work) == ("2026-07-28", loops.THREAD_NAME)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_may_ask_the_clients_model(server: MCPServer, mode: Any) -> None:
    async def sampling(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="A lamp."), model="m")

    async with Session.open(server, mode=mode, sampling=sampling) as session:
        assert text(await session.call_tool("sample")) == "A lamp."


class Colour(BaseModel):
    name: str


def ask_for_a_colour() -> Elicit[Colour]:
    return Elicit("Which colour?", Colour)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_may_ask_the_person(server: MCPServer, mode: Any) -> None:
    @server.tool()
    async def paint(answer: Annotated[ElicitationResult[Colour], Resolve(ask_for_a_colour)]) -> str:
        return answer.data.name if isinstance(answer, AcceptedElicitation) else "nothing"

    async def elicitation(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert params.message == "Which colour?"
        return ElicitResult(action="accept", content={"name": "green"})

    async with Session.open(server, mode=mode, elicitation=elicitation) as session:
        assert text(await session.call_tool("paint")) == "green"


async def test_the_client_introduces_itself_by_name(server: MCPServer) -> None:
    trace = Trace()
    async with Session.open(server, mode="legacy", trace=trace, name="a notebook"):
        assert trace[0].request.body["params"]["clientInfo"]["name"] == "a notebook"


async def test_closing_ends_the_connection_and_closing_again_does_nothing(server: MCPServer, knobs: Knobs) -> None:
    session = await Session.open(server)
    assert knobs.lifespans == 1
    await session.aclose()
    assert knobs.lifespans == 0
    await session.aclose()
    with pytest.raises(SessionClosed, match=r"The session is closed\."):
        await session.call_tool("add", {"a": 1, "b": 2})
    assert session.protocol_version == "2026-07-28"


async def test_closing_at_once_from_several_places_waits_in_each_for_the_end(server: MCPServer, knobs: Knobs) -> None:
    session = await Session.open(server)
    await asyncio.gather(session.aclose(), session.aclose(), asyncio.to_thread(run, session.aclose()))
    assert knobs.lifespans == 0


async def test_two_sessions_close_in_the_order_in_which_they_were_opened(server: MCPServer) -> None:
    first, second = await Session.open(server), await Session.open(server)
    await first.aclose()
    assert text(await second.call_tool("add", {"a": 1, "b": 2})) == "3"
    await second.aclose()


async def test_closing_ends_a_pending_call(server: MCPServer, knobs: Knobs) -> None:
    session = await Session.open(server)
    call = asyncio.create_task(session.call_tool("wait"))
    assert await happens(knobs.waiting)
    await session.aclose()
    with pytest.raises(SessionClosed):
        await call
    assert knobs.stopped.is_set()


async def test_a_pending_call_does_not_wait_until_a_slow_server_has_closed(server: MCPServer, knobs: Knobs) -> None:
    knobs.hold = threading.Event()
    session = await Session.open(server)
    call = asyncio.create_task(session.call_tool("wait"))
    assert await happens(knobs.waiting)
    closing = asyncio.create_task(session.aclose())
    with pytest.raises(SessionClosed):
        await call
    assert not closing.done()
    knobs.hold.set()
    await closing


async def test_work_on_the_session_may_close_it(server: MCPServer) -> None:
    session = await Session.open(server)

    async def work(client: Client) -> None:
        await session.aclose()

    with pytest.raises(SessionClosed):
        await session.use(work)
    assert repr(session) == "Session(small 1.0, 2026-07-28, closed)"


async def test_a_session_that_nobody_has_any_more_is_closed(server: MCPServer, knobs: Knobs) -> None:
    session = await Session.open(server)
    assert knobs.lifespans == 1
    del session
    gc.collect()
    async with Session.open(server) as later:
        # The old one was asked first, on the same loop.
        await later.list_tools()
        assert knobs.lifespans == 1


async def test_the_repr_is_stable_and_names_no_target(server: MCPServer) -> None:
    session = await Session.open(server)
    assert repr(session) == "Session(small 1.0, 2026-07-28, open)"
    await session.aclose()
    assert repr(session) == "Session(small 1.0, 2026-07-28, closed)"


async def test_a_server_that_does_not_introduce_itself_has_a_repr_too(session: Session) -> None:
    session.server_info = None
    assert repr(session) == "Session(unnamed server, 2026-07-28, open)"


async def test_the_name_that_a_server_gives_itself_cannot_disturb_a_terminal_or_show_a_secret() -> None:
    secret = "-".join(["a", "secret", "that", "is", "known"])
    remember(secret)
    async with Session.open(MCPServer(f"\x1b[2J{secret}", version="1", log_level="CRITICAL")) as session:
        assert repr(session) == rf"Session(\x1b[2J{mask(secret)} 1, 2026-07-28, open)"


# -- authorization ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_protected_tool_raises_with_the_challenge(server: MCPServer, mode: Any) -> None:
    async with Session.open(server, mode=mode) as session:
        with pytest.raises(AuthenticationRequired, match="Authentication required") as caught:
            await session.call_tool("protected")
    assert caught.value.challenge == CHALLENGE


async def test_authorize_runs_on_the_callers_side_and_the_call_is_repeated(session: Session, knobs: Knobs) -> None:
    authorize = Authorizer(knobs)
    assert text(await session.call_tool("protected", authorize=authorize)) == "welcome"
    assert authorize.calls == [(CHALLENGE, threading.current_thread())]


async def test_authorize_can_be_given_once_for_all_calls(server: MCPServer, knobs: Knobs) -> None:
    authorize = Authorizer(knobs)
    async with Session.open(server, authorize=authorize) as session:
        assert text(await session.call_tool("protected")) == "welcome"
        assert text(await session.call_tool("protected")) == "welcome"
    assert len(authorize.calls) == 1


async def test_a_second_challenge_is_raised_and_not_answered(session: Session, knobs: Knobs) -> None:
    authorize = Authorizer(knobs, works=False)
    with pytest.raises(AuthenticationRequired) as caught:
        await session.call_tool("protected", authorize=authorize)
    assert len(authorize.calls) == 1
    assert caught.value.hint.startswith("`authorize` ran")


async def test_an_authorize_that_fails_ends_the_call_with_its_own_error(session: Session) -> None:
    async def authorize(challenge: AuthChallenge) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await session.call_tool("protected", authorize=authorize)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_timeout_has_the_same_code_and_is_no_challenge(server: MCPServer, knobs: Knobs, mode: Any) -> None:
    authorize = Authorizer(knobs)
    async with Session.open(server, mode=mode, authorize=authorize) as session:
        with pytest.raises(MCPError) as caught:
            await session.call_tool("wait", timeout=0.05)
        assert caught.value.code == -32001
        assert authorize.calls == []
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


async def test_the_sessions_timeout_holds_for_every_request(server: MCPServer) -> None:
    async with Session.open(server, timeout=0.05) as session:
        with pytest.raises(MCPError):
            await session.call_tool("wait")


async def test_the_timeout_of_a_call_holds_for_its_repetition_too(server: MCPServer, knobs: Knobs) -> None:
    @server.tool()
    async def protected_and_slow() -> None:
        if not knobs.signed_in:
            raise MCPError(AUTHENTICATION_REQUIRED, "Authentication required", CHALLENGE.to_data())
        await asyncio.Event().wait()

    async with Session.open(server) as session, asyncio.timeout(5):
        with pytest.raises(MCPError) as caught:
            await session.call_tool("protected_and_slow", authorize=Authorizer(knobs), timeout=0.05)
    assert caught.value.code == -32001


async def test_other_errors_of_the_server_pass_unchanged(session: Session) -> None:
    with pytest.raises(MCPError) as caught:
        await session.call_tool("not_configured")
    # Its code is the one that the SDK uses for a closed connection.
    assert (caught.value.code, caught.value.data) == (-32000, {"type": "configuration"})
    assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


# -- interruptions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_cancelled_call_is_cancelled_in_the_server_and_the_session_goes_on(
    server: MCPServer, knobs: Knobs, mode: Any
) -> None:
    async with Session.open(server, mode=mode) as session:
        call = asyncio.create_task(session.call_tool("wait"))
        assert await happens(knobs.waiting)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await happens(knobs.stopped)
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


async def test_an_opening_that_is_cancelled_leaves_nothing_behind(knobs: Knobs) -> None:
    knobs.slow_start = True
    opening = asyncio.ensure_future(Session.open(build(knobs)))
    assert await happens(knobs.waiting)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    # `_nothing_left` sees that the owner is gone.


async def test_a_closing_that_is_cancelled_goes_on_by_itself(server: MCPServer, knobs: Knobs) -> None:
    session = await Session.open(server)
    closing = asyncio.create_task(session.aclose())
    asyncio.get_running_loop().call_soon(closing.cancel)
    with pytest.raises(asyncio.CancelledError):
        await closing
    await session.aclose()
    assert knobs.lifespans == 0


# -- on the current loop ---------------------------------------------------------------------------------------


async def test_a_plain_program_needs_no_thread(server: MCPServer, knobs: Knobs) -> None:
    threads = threading.active_count()
    async with Session.open(server, loop="current") as session:
        assert text(await session.call_tool("thread")) == threading.current_thread().name
        assert text(await session.call_tool("protected", authorize=Authorizer(knobs))) == "welcome"
        assert threading.active_count() == threads


async def test_a_cancelled_call_on_the_current_loop_leaves_the_session_usable(server: MCPServer, knobs: Knobs) -> None:
    async with Session.open(server, loop="current") as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.call_tool("wait")
        assert knobs.stopped.is_set()
        assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"


def test_a_session_whose_loop_has_ended_says_so_and_closes_silently(server: MCPServer) -> None:
    async def opened() -> Session:
        return await Session.open(server, loop="current")

    session = asyncio.run(opened())
    with pytest.raises(SessionError):
        run(session.call_tool("add", {"a": 1, "b": 2}))
    run(session.aclose())


def test_a_session_whose_loop_stands_still_says_so_in_place_of_waiting(server: MCPServer) -> None:
    loop = asyncio.new_event_loop()

    async def opened() -> Session:
        return await Session.open(server, loop="current")

    session = loop.run_until_complete(opened())
    with pytest.raises(SessionFailed, match="does not run") as caught:
        run(session.call_tool("add", {"a": 1, "b": 2}))
    assert "Open a session" in caught.value.hint
    loop.run_until_complete(session.aclose())
    loop.close()


async def test_a_session_cannot_be_used_in_a_forked_process(session: Session) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            session._connection.check()
        except SessionFailed:
            code = 0
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert text(await session.call_tool("add", {"a": 1, "b": 2})) == "3"
