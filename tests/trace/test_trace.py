"""The recorder: what crossed the wire, in order, masked and copied, over HTTP and as JSON-RPC frames of both eras."""

from __future__ import annotations

import gzip
import json
import re
import threading
import zlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, Literal, cast
from urllib.parse import quote

import anyio
import httpx
import pytest
from mcp import Client, CreateMessageResult, MCPError
from mcp.shared.message import SessionMessage
from mcp_types import TextContent, jsonrpc_message_adapter
from scripted_server import Script
from small_server import build
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from mcp_oauth_nb.client.connection import transport
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.trace.diagram import Diagram
from mcp_oauth_nb.trace.http_recorder import acting_as, receiver_of
from mcp_oauth_nb.trace.messages import AUTHORIZATION_SERVER, BROWSER, CLIENT, GITHUB, SERVER
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

URL = "https://github.com/login/oauth/access_token"
SECRET = "canary-secret-" + "q1W2" * 8
MASKED = mask(SECRET)


def client(trace: Trace, *answers: Response, **parties: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=trace.http(httpx.ASGITransport(Script(*answers)), **parties))


def note(trace: Trace, title: str, kind: Literal["request", "response"] = "request", answers: int | None = None) -> int:
    return trace.record(sender=CLIENT, receiver=SERVER, protocol="jsonrpc", kind=kind, title=title, answers=answers)


def everything(trace: Trace) -> str:
    """All that a trace can show, in one text."""
    shown = [repr(trace), str(trace.exchanges), trace.diagram().text, trace.diagram().mermaid, trace.diagram().svg]
    shown += [json.dumps([dict(m.headers), m.body, m.url, m.title], default=repr) for m in trace.messages]
    shown += [exchange._repr_html_() for exchange in trace.exchanges]
    return "\n".join(shown)


# -- the list ------------------------------------------------------------------------------------------------------


def test_a_title_is_one_line_that_cannot_disturb_a_terminal() -> None:
    trace = Trace()
    note(trace, "error -32050: one\ntwo \x1b[2J")
    assert repr(trace) == r"  1  MCP client -> MCP server: error -32050: one\ntwo \x1b[2J"


def test_messages_are_numbered_and_stamped_in_the_order_of_recording() -> None:
    clock = ManualClock(100)
    trace = Trace(clock)
    first = note(trace, "one")
    clock.advance(5)
    note(trace, "done", "response", first)
    assert [(m.number, m.exchange, m.at, m.title) for m in trace.messages] == [(1, 1, 100, "one"), (2, 1, 105, "done")]
    assert repr(trace) == "  1  MCP client -> MCP server: one\n  2  MCP client -> MCP server: done"
    assert len(trace) == 2


def test_an_answer_finds_its_request_whatever_came_between() -> None:
    trace = Trace()
    first, second = note(trace, "first"), note(trace, "second")
    note(trace, "answer to second", "response", second)
    note(trace, "answer to first", "response", first)
    note(trace, "third")
    pairs = [(e.request.title, e.response.title if e.response else None) for e in trace.exchanges]
    assert pairs == [("first", "answer to first"), ("second", "answer to second"), ("third", None)]
    assert trace[1] == trace.exchanges[1]


def test_since_and_diagram_begin_after_a_mark() -> None:
    trace = Trace()
    note(trace, "before")
    mark = len(trace)
    note(trace, "after")
    assert [exchange.request.title for exchange in trace.since(mark)] == ["after"]
    assert trace.diagram(mark) == Diagram(trace.messages[1:])
    assert trace.diagram() == Diagram(trace.messages)


def test_find_looks_at_the_titles_of_requests() -> None:
    trace = Trace()
    note(trace, "tools/call add")
    note(trace, "prompts/get x")
    assert [exchange.request.title for exchange in trace.find("tools/")] == ["tools/call add"]
    assert trace.find("nothing") == ()


def test_numbers_go_on_after_the_trace_was_cleared() -> None:
    trace = Trace()
    note(trace, "one")
    note(trace, "two")
    trace.clear()
    assert (len(trace), repr(trace)) == (0, "(empty trace)")
    note(trace, "three")
    assert [(m.number, m.exchange) for m in trace.messages] == [(3, 3)]


def test_threads_that_record_at_once_lose_no_message_and_no_number() -> None:
    trace = Trace()
    threads = [threading.Thread(target=lambda: [note(trace, "x") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.number for m in trace.messages] == list(range(1, 1601))
    assert len({m.exchange for m in trace.messages}) == 1600


# -- HTTP ----------------------------------------------------------------------------------------------------------


async def test_a_request_and_its_answer_are_recorded_as_they_were() -> None:
    trace = Trace()
    async with client(trace, JSONResponse({"login": "octocat"}, 201)) as http:
        await http.get("https://api.github.com/user?per_page=5", headers={"Accept": "application/json"})
    request, answer = trace.messages
    assert (request.sender, request.receiver, answer.sender, answer.receiver) == (CLIENT, GITHUB, GITHUB, CLIENT)
    assert (request.title, request.url) == ("GET https://api.github.com/user", "https://api.github.com/user?per_page=5")
    assert request.headers["accept"] == "application/json"
    assert (answer.title, answer.body, answer.kind) == ("201 Created", {"login": "octocat"}, "response")
    assert trace.find("per_page=5") == trace.exchanges


async def test_the_caller_still_gets_the_whole_answer() -> None:
    trace = Trace()
    async with client(trace, JSONResponse({"access_token": SECRET})) as http:
        assert (await http.post(URL)).json() == {"access_token": SECRET}


async def test_secrets_are_masked_wherever_they_travel_and_the_mask_can_be_followed() -> None:
    trace = Trace()
    answers = (
        JSONResponse({"access_token": SECRET, "nested": [{"refresh_token": SECRET}]}),
        RedirectResponse(f"http://127.0.0.1/cb?code={SECRET}&state={SECRET}"),
        PlainTextResponse(f"your token is {SECRET}"),
        Response(f"access_token={SECRET}&scope=repo", media_type="application/x-www-form-urlencoded"),
        JSONResponse({"note": SECRET}, headers={"Set-Cookie": f"session={SECRET}"}),
    )
    async with client(trace, *answers) as http:
        await http.post(URL, data={"code": SECRET, "client_secret": SECRET, "client_id": "app"})
        await http.get(f"https://github.com/authorize?code={SECRET}&scope=repo")
        await http.post(URL, json={"access_token": SECRET}, headers={"Authorization": f"Bearer {SECRET}"})
        await http.get(f"https://user:{SECRET}@github.com/x#access_token={SECRET}")
        await http.post(URL, content=f"t={SECRET}", headers={"Content-Type": "text/plain", "Cookie": f"a={SECRET}"})
    assert SECRET not in everything(trace)
    assert trace[0].request.body == {"code": MASKED, "client_secret": MASKED, "client_id": "app"}
    assert trace[1].request.url == f"https://github.com/authorize?code={MASKED}&scope=repo"
    assert trace[2].request.headers["authorization"] == f"Bearer {MASKED}"


# Of characters that survive the case of a host and of a media type, and of those that end a value where nobody quotes.
LOWER = "q7x2m9v4b8n1k5j3h6g0f2d8s4"
AWKWARD = "Zk3qW9vTb+8NxLm2RpY&7sHd4F1gJ;5wKa6tEcU/zo0VrXn=="
NUMBER = 739204857261940385


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {LOWER: 1, "a": [{AWKWARD: 2}]}},
        {"json": {"number": NUMBER, "a": [NUMBER]}},
        {"json": {"jsonrpc": "2.0", "id": NUMBER, "result": {AWKWARD: LOWER}}},
        {"json": {}, "headers": {f"x-{LOWER}": "1"}},
        {"json": {}, "headers": {"location": f"https://{LOWER}.example/{AWKWARD}"}},
        {"json": {}, "headers": {"location": f"/x?note={AWKWARD}#note={AWKWARD}"}},
        {"content": b"x", "headers": {"content-type": f"{LOWER}/x"}},
        {"json": {}, "extensions": {"reason_phrase": LOWER.encode()}},
    ],
    ids=["name", "number", "JSON-RPC", "header", "host", "query", "media type", "reason"],
)
async def test_a_secret_that_a_peer_echoes_where_none_belongs_is_masked(answer: dict[str, Any]) -> None:
    trace = Trace()
    await echoed(trace, "GET", "https://h.example/", answer)
    assert not any(piece in everything(trace) for piece in shown_of_secrets())
    assert "****" in everything(trace)


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (f"https://{LOWER}.example/", ""),
        (f"https://h.example/{AWKWARD}", ""),
        (f"https://h.example/?{LOWER}", ""),
        (f"https://h.example/?{quote(AWKWARD)}=1", ""),
        (f"https://h.example/?note={AWKWARD}&a=b", ""),
        ("https://h.example/", f"{LOWER}=1&{quote(AWKWARD, safe='')}=2"),
        ("https://h.example/", f"note={AWKWARD}&a=b"),
    ],
    ids=["host", "path", "query", "name in the query", "unquoted in the query", "name in a form", "unquoted in a form"],
)
async def test_a_secret_that_somebody_sends_where_none_belongs_is_masked(url: str, body: str) -> None:
    trace = Trace()
    await echoed(trace, "POST", url, {"json": {}}, body)
    assert not any(piece in everything(trace) for piece in shown_of_secrets())
    assert "****" in everything(trace)


async def echoed(trace: Trace, method: str, url: str, answer: dict[str, Any], body: str = "") -> None:
    """Record one exchange whose secrets are known, as a party that does not mind them sends it."""
    for secret in (LOWER, AWKWARD, str(NUMBER)):
        remember(secret)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    inner = httpx.MockTransport(lambda request: httpx.Response(200, **answer))
    async with httpx.AsyncClient(transport=trace.http(inner)) as client:
        await client.request(method, url, content=body, headers=headers)


def shown_of_secrets() -> list[str]:
    return [LOWER, str(NUMBER), *re.findall(r"\w{8,}", AWKWARD)]


async def test_a_form_that_carries_a_secret_has_one_mask_however_it_was_quoted() -> None:
    trace = Trace()
    await echoed(trace, "POST", f"https://h.example/?code={quote(AWKWARD, safe='')}", {"json": {}}, f"code={AWKWARD}")
    request = trace[0].request
    assert request.url == f"https://h.example/?code={mask(AWKWARD)}"
    assert request.body == {"code": mask(AWKWARD)}


async def test_an_answer_that_says_200_and_means_no_says_so_in_its_title() -> None:
    trace = Trace()
    async with client(trace, JSONResponse({"error": "bad_verification_code"})) as http:
        await http.post(URL)
    assert trace.messages[1].title == "200 OK (error=bad_verification_code)"


async def test_a_redirect_says_where_it_leads() -> None:
    trace = Trace()
    async with client(trace, RedirectResponse("http://127.0.0.1:1/cb?code=1", 302)) as http:
        await http.get(URL)
    assert trace.messages[1].title == "302 Found -> http://127.0.0.1:1/cb"


async def test_a_redirect_to_no_url_does_not_break_the_recording() -> None:
    trace = Trace()
    async with client(trace, Response(status_code=302, headers={"Location": "http://[?x"})) as http:
        await http.get(URL)
    assert trace.messages[1].title == "302 Found -> http://["


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Response(), None),
        (PlainTextResponse("hello"), "hello"),
        (Response(b"{", media_type="application/json"), "(1 bytes, not valid JSON)"),
        (Response(b"[" * 100_000, media_type="application/json"), "(100,000 bytes, not valid JSON)"),
        (Response(b"{}", media_type="application/scim+json; charset=utf-8"), {}),
        (Response(b"<html>", media_type="text/html"), "(6 bytes of text/html)"),
        (Response(b"??"), "(2 bytes of unknown type)"),
        (Response(b"x" * 300_000, media_type="text/plain"), "(262,145 bytes or more, not recorded)"),
    ],
    ids=["empty", "text", "bad json", "deep json", "+json", "html", "no type", "long"],
)
async def test_a_body_is_recorded_if_it_can_be_masked(answer: Response, shown: Any) -> None:
    trace = Trace()
    async with client(trace, answer) as http:
        await http.get(URL)
    recorded = trace.messages[1].body
    assert recorded == shown or (isinstance(recorded, str) and recorded.endswith("or more, not recorded)"))


async def test_an_oauth_error_is_an_error_arrow_although_github_answers_200() -> None:
    trace = Trace()
    async with client(trace, JSONResponse({"error": "bad_verification_code"})) as http:
        await http.post(URL)
    answer = trace.messages[1]
    assert (answer.kind, answer.title) == ("error", "200 OK (error=bad_verification_code)")


async def test_an_answer_that_a_transport_gives_as_a_whole_is_recorded_too() -> None:
    trace = Trace()
    inner = httpx.MockTransport(lambda request: httpx.Response(200, json={"access_token": SECRET}))
    async with httpx.AsyncClient(transport=trace.http(inner)) as http:
        assert (await http.get(URL)).json() == {"access_token": SECRET}
    assert [(m.kind, m.body) for m in trace.messages] == [("request", None), ("response", {"access_token": MASKED})]


async def test_of_a_long_streamed_body_only_the_beginning_is_kept() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100_000

    trace = Trace()
    inner = httpx.MockTransport(lambda request: httpx.Response(200, content=chunks()))
    async with httpx.AsyncClient(transport=trace.http(inner)) as http:
        assert len((await http.get(URL)).content) == 1_000_000
    assert trace.messages[1].body == "(262,145 bytes or more, not recorded)"


async def test_no_answer_is_an_error_arrow() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"refused, token={SECRET}")

    trace = Trace()
    async with httpx.AsyncClient(transport=trace.http(httpx.MockTransport(refuse))) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(URL)
    assert [(m.kind, m.title) for m in trace.messages][1] == ("error", "no answer: ConnectError")
    assert trace[0].response == trace.messages[1]


async def test_who_speaks_to_whom_can_be_said() -> None:
    trace = Trace()
    async with client(trace, Response(), sender=BROWSER, receiver="Elsewhere") as http:
        await http.get(URL)
        with acting_as(SERVER):
            await http.get(URL)
        await http.get(URL)
    assert [m.sender for m in trace.messages] == [BROWSER, "Elsewhere", SERVER, "Elsewhere", BROWSER, "Elsewhere"]
    assert trace.messages[3].receiver == SERVER


class Drip(httpx.AsyncByteStream):
    """Gives one part; the next only when it is let go."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"first "
        await self.go.wait()
        yield b"second"

    async def aclose(self) -> None:
        self.closed = True


async def test_a_streamed_answer_is_neither_buffered_nor_read_ahead() -> None:
    drip, trace = Drip(), Trace()
    inner = httpx.MockTransport(
        lambda request: httpx.Response(200, stream=drip, headers={"Content-Type": "text/plain"})
    )
    with anyio.fail_after(5):
        async with httpx.AsyncClient(transport=trace.http(inner)) as http, http.stream("GET", URL) as response:
            parts = response.aiter_raw()
            assert await anext(parts) == b"first "
            assert len(trace) == 1
            drip.go.set()
            assert await anext(parts) == b"second"
    assert drip.closed
    assert trace.messages[1].body == "first second"


async def test_an_answer_that_is_not_read_to_its_end_is_recorded_as_far_as_it_was_read() -> None:
    drip, trace = Drip(), Trace()
    inner = httpx.MockTransport(
        lambda request: httpx.Response(200, stream=drip, headers={"Content-Type": "text/plain"})
    )
    async with httpx.AsyncClient(transport=trace.http(inner)) as http, http.stream("GET", URL) as response:
        await anext(response.aiter_raw())
        await cast(httpx.AsyncByteStream, response.stream).aclose()
    # Closed twice, recorded once.
    assert [m.body for m in trace.messages] == [None, "first "]


async def test_closing_the_recorded_transport_closes_the_one_inside() -> None:
    closed = []

    class Inner(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(True)

    await Trace().http(Inner()).aclose()
    assert closed == [True]


async def test_what_was_recorded_does_not_change_with_the_original() -> None:
    trace, headers = Trace(), httpx.Headers({"X-Note": "before"})
    async with client(trace, Response()) as http:
        request = http.build_request("GET", URL, headers=headers)
        await http.send(request)
        request.headers["X-Note"] = "after"
    assert trace.messages[0].headers["x-note"] == "before"


# -- JSON-RPC ------------------------------------------------------------------------------------------------------


async def test_the_frames_of_the_modern_era_are_recorded() -> None:
    trace = Trace()
    with anyio.fail_after(10):
        async with Client(transport(build(), trace), mode="auto") as mcp:
            await mcp.call_tool("add", {"a": 1, "b": 2})
    titles = [exchange.request.title for exchange in trace.exchanges]
    assert titles[0] == "server/discover"
    assert "tools/call add" in titles
    [call] = trace.find("tools/call add")
    assert call.request.body["params"]["arguments"] == {"a": 1, "b": 2}
    assert call.response is not None
    assert (call.response.title, call.response.kind) == ("tools/call: result", "response")
    assert call.request.body["id"] == call.response.body["id"]


async def test_the_frames_of_the_legacy_era_are_recorded_with_its_notification() -> None:
    trace = Trace()
    with anyio.fail_after(10):
        async with Client(transport(build(), trace), mode="legacy") as mcp:
            await mcp.call_tool("add", {"a": 1, "b": 2})
    assert [exchange.request.title for exchange in trace.exchanges][:2] == ["initialize", "notifications/initialized"]
    assert [exchange.response is None for exchange in trace.exchanges][:2] == [False, True]
    assert trace.messages[0].receiver == trace.messages[1].sender == SERVER


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_challenge_is_an_error_arrow_in_both_eras(mode: Any) -> None:
    trace = Trace()
    with anyio.fail_after(10):
        async with Client(transport(build(), trace), mode=mode) as mcp:
            with pytest.raises(MCPError):
                await mcp.call_tool("protected", {})
    [call] = trace.find("tools/call protected")
    assert call.response is not None
    assert (call.response.kind, call.response.title) == ("error", "error -32001: Authentication required")
    assert call.response.body["error"]["data"]["type"] == "oauth2"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_tool_that_failed_says_so_in_its_title(mode: Any) -> None:
    trace = Trace()
    with anyio.fail_after(10):
        async with Client(transport(build(), trace), mode=mode) as mcp:
            await mcp.call_tool("add", {"a": "no number", "b": 2})
    [call] = trace.find("tools/call add")
    assert call.response is not None
    assert call.response.title == "tools/call: the tool failed"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_secret_in_the_arguments_of_a_tool_is_masked_in_the_frames_of_both_directions(mode: Any) -> None:
    trace = Trace()
    with anyio.fail_after(10):
        async with Client(transport(build(), trace), mode=mode) as mcp:
            await mcp.call_tool("add", {"a": 1, "b": SECRET, "access_token": SECRET, "code": "print(1)"})
    assert SECRET not in everything(trace)
    [call] = trace.find("tools/call add")
    assert call.request.body["params"]["arguments"]["access_token"] == MASKED
    assert call.request.body["params"]["arguments"]["code"] == "print(1)"


class Frame:
    """What an MCP stream carries: something with a `message` that can be dumped."""

    def __init__(self, **body: Any):
        self.message = self
        self._body = {"jsonrpc": "2.0", **body}

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return self._body


class Wire:
    """Both ends of an MCP transport in one: what is sent is received."""

    def __init__(self) -> None:
        self.send_end, self.receive_end = anyio.create_memory_object_stream[Any](10)

    async def __aenter__(self) -> tuple[Any, Any]:
        return self.receive_end, self.send_end

    async def __aexit__(self, *_: object) -> None:
        self.receive_end.close()
        self.send_end.close()


async def through(trace: Trace, *items: Any) -> list[Any]:
    """Send items through a recorded wire, and return what came out at the other end."""
    async with trace.frames(Wire()) as (read, write):
        async with write:
            for item in items:
                await write.send(item)
        async with read:
            return [await read.receive(), *[item async for item in read]]


async def test_a_line_that_is_no_json_rpc_is_an_error_that_does_not_quote_it() -> None:
    trace = Trace()
    assert len(await through(trace, ValueError(SECRET))) == 1
    assert [m.title for m in trace.messages] == ["not a JSON-RPC frame: ValueError"] * 2
    assert SECRET not in everything(trace)


async def test_both_sides_may_use_the_same_id_for_their_own_requests() -> None:
    trace = Trace()
    await through(trace, Frame(id=1, method="ping"))
    # The wire turned the client's request round, so that the server asked with the same id.
    assert [(m.sender, m.exchange) for m in trace.messages] == [(CLIENT, 1), (SERVER, 2)]


async def test_an_answer_to_no_request_is_kept_but_pairs_with_nothing() -> None:
    trace = Trace()
    await through(trace, Frame(id=99, result={}))
    assert len(trace) == 2
    assert trace.exchanges == ()


async def test_a_second_answer_does_not_take_the_place_of_the_first() -> None:
    trace = Trace()
    await through(trace, Frame(id=1, method="ping"), Frame(id=1, result={"n": 1}), Frame(id=1, result={"n": 2}))
    asked, *_ = trace.exchanges
    assert asked.response is not None
    assert asked.response.body["result"] == {"n": 1}


async def test_a_result_that_asks_for_input_says_so() -> None:
    trace = Trace()
    await through(trace, Frame(id=1, result={"inputRequests": {"x": {}}}), Frame(id=1, method="tools/call", params=[]))
    assert trace.messages[0].title == ": input required"
    assert "tools/call" in [m.title for m in trace.messages]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_the_server_asks_back_runs_in_the_context_of_the_call(mode: Literal["auto", "legacy"]) -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")

    async def model(context: Any, params: Any) -> CreateMessageResult:
        content = TextContent(type="text", text=caller.get())
        return CreateMessageResult(role="assistant", content=content, model="model")

    async with Client(transport(build(), Trace()), mode=mode, sampling_callback=model) as client:
        caller.set("somebody")
        assert (await client.call_tool("sample")).structured_content == {"result": "somebody"}


async def test_a_stream_without_a_context_of_its_own_has_none() -> None:
    async with Trace().frames(Wire()) as (read, write):
        assert read.last_context is None
        await write.aclose()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_recorded_as_what_it_says(encoding: str) -> None:
    packed = gzip.compress(b'{"n": 1}') if encoding == "gzip" else zlib.compress(b'{"n": 1}')
    headers = {"content-type": "application/json", "content-encoding": encoding}
    trace = await recorded(packed, headers)
    assert trace[0].response is not None
    assert trace[0].response.body == {"n": 1}


async def test_a_small_answer_that_unpacks_to_a_large_one_is_not_recorded() -> None:
    packed = gzip.compress(b"x" * 50_000_000)
    trace = await recorded(packed, {"content-type": "text/plain", "content-encoding": "gzip"})
    assert trace[0].response is not None
    assert trace[0].response.body == "(262,145 bytes or more, not recorded)"


async def test_a_compression_that_nobody_here_unpacks_is_named() -> None:
    trace = await recorded(b"?" * 9, {"content-type": "text/plain", "content-encoding": "br"})
    assert trace[0].response is not None
    assert trace[0].response.body == "(9 bytes, compressed by br)"


async def recorded(body: bytes, headers: dict[str, str]) -> Trace:
    """A trace of one request that is answered so; the client does not read it as text."""
    trace = Trace()
    transport = trace.http(httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, stream=Raw(body))))
    response = await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1/"))
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    async for _ in stream:
        pass
    await stream.aclose()
    return trace


class Raw(httpx.AsyncByteStream):
    """Bytes as they are on the wire."""

    def __init__(self, content: bytes):
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


@pytest.mark.parametrize("server", ["https://mcp.example/mcp", "https://mcp.example:443/mcp"])
@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://mcp.example/mcp", SERVER),
        ("https://mcp.example:443/mcp", SERVER),
        ("https://mcp.example/.well-known/oauth-protected-resource/mcp", SERVER),
        ("https://mcp.example/mcp/.well-known/oauth-protected-resource", SERVER),
        ("https://mcp.example/.well-known/oauth-authorization-server", AUTHORIZATION_SERVER),
        ("https://mcp.example/token", AUTHORIZATION_SERVER),
        ("https://mcp.example:8443/mcp", AUTHORIZATION_SERVER),
        ("http://mcp.example/mcp", AUTHORIZATION_SERVER),
        ("https://auth.example/mcp", AUTHORIZATION_SERVER),
    ],
)
def test_what_is_not_of_the_mcp_server_is_of_an_authorization_server(server: str, url: str, party: str) -> None:
    assert receiver_of(url, server) == party


@pytest.mark.parametrize(
    ("frame", "title", "content"),
    [
        ({"id": 1, "method": "tools/call", "params": {"text": "x" * 300_000}}, "tools/call", "params"),
        ({"id": 1, "result": {"text": "x" * 300_000}}, ": result", "result"),
        ({"id": 1, "error": {"code": -5, "message": "x" * 300_000}}, "error -5", "error"),
    ],
)
async def test_of_a_frame_beyond_all_measure_is_recorded_what_it_is_and_not_what_is_in_it(
    frame: dict[str, Any], title: str, content: str
) -> None:
    trace = Trace(ManualClock(0))
    sent = SessionMessage(jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0", **frame}))
    assert await through(trace, sent) == [sent]
    message = trace.messages[0]
    assert title in message.title
    assert "not recorded" in str(message.body[content])
    assert len(str(message.body)) < 500
