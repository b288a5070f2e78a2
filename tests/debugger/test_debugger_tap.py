"""What is changed at the gate goes out so, and all the rest of a request as it was."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

import httpx
import httpx2
import pytest

from mcp_oauth_nb.debugger.breaking import with_query
from mcp_oauth_nb.debugger.debug_gate import Gate, Held, Tap
from mcp_oauth_nb.debugger.exchange import Seen
from mcp_oauth_nb.oauth.http import around

pytestmark = pytest.mark.anyio

URL = "https://auth.example/token?api-version="
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": {"n": 1}}}


class Heard:
    """Who hears of what passes."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def sent(self, held: Held) -> int:
        return 0

    def arrived(self, number: int, seen: Seen) -> None:
        self.seen.append(seen)


async def changed(library: Any, changes: dict[str, str | None], **content: Any) -> Any:
    """Return the request that went out after a change of the one that was made; the checks saw the same."""
    out: list[Any] = []

    def answer(request: Any) -> Any:
        out.append(request)
        return library.Response(200, json={})

    gate, heard = Gate(), Heard()
    tap = Tap(gate, heard, lambda *request: "token", lambda kind: True)
    gated = around(library.MockTransport(answer), tap.handle)
    headers = {"Authorization": "Bearer a-token", "MCP-Protocol-Version": "2025-11-25"}
    request = library.Request("POST", URL, headers=headers, extensions={"timeout": {"read": 3.0}}, **content)
    sending = asyncio.create_task(gated.handle_async_request(request))
    held = await gate.next(sending)
    assert held is not None
    held.change(changes)
    gate.release()
    await sending
    (sent,) = out
    assert (heard.seen[0].sent, heard.seen[0].sent_headers) == (sent.content, dict(sent.headers.items()))
    assert str(sent.url) == URL
    assert sent.headers["mcp-protocol-version"] == "2025-11-25"
    assert sent.extensions["timeout"] == {"read": 3.0}
    assert sent.headers["content-length"] == str(len(sent.content))
    return sent


both = pytest.mark.parametrize("library", [httpx, httpx2])


@both
async def test_a_change_of_one_field_leaves_the_others_an_empty_one_too(library: Any) -> None:
    form = {"grant_type": "refresh_token", "scope": "", "resource": "https://mcp.example/mcp?a=b&c"}
    sent = await changed(library, {"grant_type": "other"}, data=form)
    assert dict(parse_qsl(sent.content.decode(), keep_blank_values=True)) == {**form, "grant_type": "other"}
    assert sent.headers["authorization"] == "Bearer a-token"


@both
async def test_a_field_that_is_dropped_is_gone_and_one_that_is_added_is_there(library: Any) -> None:
    sent = await changed(library, {"code": None, "audience": ""}, data={"code": "a-code", "state": "s"})
    assert parse_qsl(sent.content.decode(), keep_blank_values=True) == [("state", "s"), ("audience", "")]


@both
async def test_a_change_of_one_member_leaves_the_others_their_types(library: Any) -> None:
    members = {"redirect_uris": ["http://127.0.0.1/callback"], "client_name": "n", "max": 5, "jwks": None, "on": True}
    sent = await changed(library, {"client_name": "other", "max": None}, json=members)
    assert json.loads(sent.content) == {k: v for k, v in {**members, "client_name": "other"}.items() if k != "max"}


@both
@pytest.mark.parametrize(("value", "header"), [("Bearer another", ["Bearer another"]), (None, [])])
async def test_another_token_or_none_goes_with_the_same_message(
    library: Any, value: str | None, header: list[str]
) -> None:
    sent = await changed(library, {"authorization": value}, json=CALL)
    assert sent.headers.get_list("authorization") == header
    assert json.loads(sent.content) == CALL


def test_a_url_that_is_broken_on_purpose_keeps_its_other_parameters_an_empty_one_too() -> None:
    broken = with_query("https://auth.example/authorize?state=&scope=a+b#end", lambda query: {**query, "code": "c"})
    assert broken == "https://auth.example/authorize?state=&scope=a+b&code=c#end"
