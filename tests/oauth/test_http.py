"""One request at a time: the deadline, the bound on the body, redirects, and faults on a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Script
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.oauth.errors import McpOAuthError, ProtocolError, RedirectRefused, Unreachable
from mcp_oauth_nb.oauth.http import Answer, default_client, limited, send, unhurried
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio

URL = "https://api.example/path"
NOW = 1_800_000_000.0
DAY = 24 * 3600


async def get(server: Script, **options: Any) -> Answer:
    return await send(server.client, "GET", URL, deadline=5, **options)


# -- the request ---------------------------------------------------------------------------------------------------


async def test_an_answer_is_complete_and_its_repr_shows_no_content() -> None:
    answer = await get(Script(Response(b"canary", 201, {"X-Note": "1"}, "Text/Plain; charset=utf-8")))
    assert (answer.status, answer.body, answer.text, answer.headers["x-note"]) == (201, b"canary", "canary", "1")
    assert answer.content_type == "text/plain"
    assert repr(answer) == "Answer(201, text/plain, 6 bytes)"


def test_the_repr_of_an_answer_cannot_disturb_a_terminal() -> None:
    answer = Answer(URL, 200, httpx.Headers([(b"content-type", "text/\u202e\x1b[2J".encode())]), b"")
    assert repr(answer) == "Answer(200, text/\\u202e\\x1b[2j, 0 bytes)"


async def test_forms_json_headers_and_basic_credentials_are_sent() -> None:
    server = Script(Response())
    await send(server.client, "POST", URL, deadline=5, data={"a": "1 2"}, auth=("user", "word"))
    await send(server.client, "DELETE", URL, deadline=5, json_body={"a": 1}, headers={"Accept": "x/y"})
    form, document = server.seen
    assert (form.method, form.body) == ("POST", b"a=1+2")
    assert form.headers["authorization"].startswith("Basic ")
    assert (document.method, document.json(), document.headers["accept"]) == ("DELETE", {"a": 1}, "x/y")


async def test_no_compression_is_asked_for() -> None:
    server = Script(Response())
    await get(server)
    assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_the_client_is_closed_after_its_one_request() -> None:
    made: list[httpx.AsyncClient] = []

    def factory() -> httpx.AsyncClient:
        made.append(Script(Response()).client())
        return made[-1]

    await send(factory, "GET", URL, deadline=5)
    assert [client.is_closed for client in made] == [True]


async def test_the_default_client_verifies_certificates_with_one_context_for_all() -> None:
    async with default_client() as client:
        assert not client.is_closed


# -- redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_never_followed(status: int) -> None:
    server = Script(Response(status_code=status, headers={"Location": "https://evil.example/?code=canary"}))
    with pytest.raises(RedirectRefused) as caught:
        await send(server.client, "POST", URL, deadline=5, data={"client_secret": "s"})
    assert len(server.seen) == 1
    assert "canary" not in str(caught.value)


async def test_a_caller_that_checks_redirects_itself_gets_them_as_answers() -> None:
    server = Script(Response(status_code=302, headers={"Location": "/next"}))
    answer = await get(server, refuse_redirects=False)
    assert (answer.status, answer.headers["location"], len(server.seen)) == (302, "/next", 1)


@pytest.mark.parametrize("answer", [Response(status_code=304, headers={"Location": "/x"}), Response(status_code=302)])
async def test_a_3xx_that_redirects_nowhere_is_an_answer(answer: Response) -> None:
    assert (await get(Script(answer))).status == answer.status_code


# -- bodies --------------------------------------------------------------------------------------------------------


async def test_the_largest_allowed_body_is_read_whole() -> None:
    assert len((await get(Script(Response(b"x" * MAX_BODY_BYTES)))).body) == MAX_BODY_BYTES


async def test_one_byte_more_is_refused() -> None:
    with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
        await get(Script(Response(b"x" * (MAX_BODY_BYTES + 1))))


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread(encoding: str) -> None:
    with pytest.raises(ProtocolError, match="compressed"):
        await get(Script(Response(b"\x1f\x8b bomb", headers={"Content-Encoding": encoding})))


async def test_an_identity_encoding_is_no_compression() -> None:
    assert (await get(Script(Response(b"x", headers={"Content-Encoding": "Identity"})))).body == b"x"


def answer_with(body: bytes, **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(URL, 200, httpx.Headers(fields), body)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_every_json_object_is_parsed(value: dict[str, Any]) -> None:
    assert answer_with(json.dumps(value).encode()).json_object() == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>canary</html>",
        b'{"a": 1} canary',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\xff"}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "a": 2}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"[]",
        b'"canary"',
        b"null",
    ],
)
def test_anything_else_is_a_protocol_error_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        answer_with(body).json_object()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_text_that_is_not_utf_8_is_shown_as_such() -> None:
    assert answer_with(b"a\xffb").text == "a\N{REPLACEMENT CHARACTER}b"


# -- Retry-After ---------------------------------------------------------------------------------------------------


def http_date(timestamp: float) -> str:
    return format_datetime(datetime.fromtimestamp(timestamp, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("86401", DAY),
        ("9" * 5000, DAY),
        (http_date(NOW + 90), 90),
        (http_date(NOW - 90), 0),
        (http_date(NOW + 10 * DAY), DAY),
        (http_date(NOW + 90).replace("GMT", "-0000"), 90),
        ("Fri Jan 15 08:01:30 2027", 90),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_a_day(value: str, wait: float) -> None:
    assert answer_with(b"", retry_after=value).retry_at(NOW) == NOW + wait


@pytest.mark.parametrize("value", ["", "-5", "1.5", "soon", "٣", "Fri, 99 Foo 2026 00:00:00 GMT", "1 2"])
def test_a_retry_after_that_is_neither_is_ignored(value: str) -> None:
    answer = Answer(URL, 503, httpx.Headers([(b"retry-after", value.encode())]), b"")
    assert answer.retry_at(NOW) is None


def test_no_retry_after_says_nothing() -> None:
    assert answer_with(b"").retry_at(NOW) is None


@given(
    st.text(st.characters(max_codepoint=255))
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Dec) [0-9]{1,6} [0-9]{2}:[0-5][0-9]:[0-5][0-9] [-+]?[A-Z0-9]{1,5}",
        fullmatch=True,
    )
)
def test_no_retry_after_breaks_anything_or_leads_beyond_a_day(value: str) -> None:
    at = Answer(URL, 503, httpx.Headers([(b"retry-after", value.encode("latin-1"))]), b"").retry_at(NOW)
    assert at is None or NOW <= at <= NOW + DAY


# -- a real socket -------------------------------------------------------------------------------------------------

Handler = Callable[[anyio.abc.SocketStream], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """A server on 127.0.0.1 that reads a request's head and leaves the rest to the handler."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await handler(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/path"
        group.cancel_scope.cancel()


def says(data: bytes) -> Handler:
    async def handler(stream: anyio.abc.SocketStream) -> None:
        await stream.send(data)

    return handler


def falls_silent_after(data: bytes) -> Handler:
    async def handler(stream: anyio.abc.SocketStream) -> None:
        if data:
            await stream.send(data)
        await anyio.sleep_forever()

    return handler


async def ask(handler: Handler, *, deadline: float = 5) -> Answer:
    async with listening(handler) as url:
        with anyio.fail_after(10):
            try:
                return await send(default_client, "GET", url, deadline=deadline)
            except McpOAuthError as error:
                # Raised below: the task group above would wrap it.
                failure = error
    raise failure


async def test_a_plain_answer_arrives_over_a_socket() -> None:
    answer = await ask(says(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'))
    assert answer.json_object() == {"a": 1}
    assert answer.peer == "127.0.0.1"


async def test_what_follows_the_announced_length_is_not_part_of_the_answer() -> None:
    assert (await ask(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokcanary"))).body == b"ok"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntruncated",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
    ],
    ids=["truncated", "truncated chunk", "two lengths", "negative length", "not http", "bad header"],
)
async def test_an_answer_that_is_not_valid_http_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not valid HTTP"):
        await ask(says(data))


async def test_a_server_that_hangs_up_without_a_word_is_unreachable_and_nothing_is_lost() -> None:
    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        pass

    with pytest.raises(Unreachable) as caught:
        await ask(hang_up)
    assert caught.value.kind == "transient"


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
    ids=["before the status", "in the head", "in the body"],
)
async def test_the_deadline_holds_wherever_the_server_falls_silent(data: bytes) -> None:
    with pytest.raises(Unreachable, match=r"within 0\.05 seconds"):
        await ask(falls_silent_after(data), deadline=0.05)


async def test_an_endless_body_is_cut_off_while_it_streams() -> None:
    sent = 0

    async def pour(stream: anyio.abc.SocketStream) -> None:
        nonlocal sent
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(anyio.BrokenResourceError):
            while True:
                await stream.send(b"x" * 65536)
                sent += 65536

    with pytest.raises(ProtocolError, match="more than"):
        await ask(pour)
    assert sent < 64 * MAX_BODY_BYTES


async def test_nobody_listening_is_unreachable() -> None:
    async with listening(says(b"")) as url:
        pass
    with pytest.raises(Unreachable, match="ConnectError"):
        await send(default_client, "GET", url, deadline=5)


async def test_a_server_without_tls_where_tls_is_expected_is_unreachable() -> None:
    async with listening(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        with pytest.raises(Unreachable):
            await send(default_client, "GET", url.replace("http:", "https:"), deadline=5)


async def test_a_cancelled_request_is_cancelled_and_not_an_error() -> None:
    async with listening(falls_silent_after(b"")) as url:
        with anyio.move_on_after(0.05) as scope:
            await send(default_client, "GET", url, deadline=60)
        assert scope.cancelled_caught


async def test_no_error_shows_the_query_or_the_user_information() -> None:
    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        pass

    for handler, deadline in ((hang_up, 5.0), (falls_silent_after(b""), 0.05), (says(b"junk\r\n\r\n"), 5.0)):
        async with listening(handler) as url:
            where = url.replace("://", "://user:canary-password@") + "?code=canary-code#canary"
            with pytest.raises(McpOAuthError) as caught:
                await send(default_client, "GET", where, deadline=deadline)
            assert "canary" not in str(caught.value)
            assert url in str(caught.value)


async def test_a_json_answer_of_a_web_framework_is_read() -> None:
    assert (await get(Script(JSONResponse({"ok": True})))).json_object() == {"ok": True}


async def test_the_time_of_a_request_stands_still_while_somebody_looks_at_it() -> None:
    with limited(0.02), unhurried():
        await anyio.sleep(0.05)


async def test_the_time_goes_on_afterwards() -> None:
    async def look_then_wait() -> None:
        with limited(0.02):
            with unhurried():
                await anyio.sleep(0.05)
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await look_then_wait()


async def test_the_time_of_several_requests_stands_still_with_that_of_one() -> None:
    with limited(0.02), limited(60), unhurried():
        await anyio.sleep(0.05)


async def test_without_a_request_there_is_no_time_to_stop() -> None:
    with unhurried():
        await anyio.lowlevel.checkpoint()
