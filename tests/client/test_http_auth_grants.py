"""The tokens of one connection: whose they are, who was quicker, and which errors are ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import httpx2
import pytest
from http_world import ASM, MCP, PRM, Person, Seen, World
from mcp import MCPError
from mcp_types import ErrorData, JSONRPCError
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.transport import HttpTransport
from mcp_oauth_nb.oauth.errors import ProtocolError, ServerUnavailable
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore

pytestmark = pytest.mark.anyio

EVIL = "https://evil.example"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


def text_of(result: Any) -> str:
    return str(result.content[0].text)


def grant_of(store: MemoryGrantStore) -> Grant:
    (grant,) = store.entries().values()
    return grant


def expired(world: World, grant: Grant) -> Grant:
    """The grant with another token, which the server gave somewhere else; it is over by now, but can be refreshed."""
    client = world.authority.clients[grant.client.client_id]
    given = world.authority._issue(client, ["read:user"], MCP)
    assert given.refresh_token is not None
    token = Token(given.access_token, refresh_token=given.refresh_token, expires_at=world.clock.now() - 1)
    return replace(grant, token=token)


async def test_a_refresh_token_goes_to_its_own_issuer_while_a_call_is_led_to_another(world: World) -> None:
    store, opened, person = MemoryGrantStore(), anyio.Event(), Person(world)

    async def paste(url: str) -> str:
        if url.startswith(EVIL):
            opened.set()
            await anyio.sleep_forever()
        return await person.follow(url)

    auth = world.auth(store=store, paste=paste, listen=False, open_browser=lambda url: True)
    async with Session.open(MCP, auth=auth, loop="current") as session, anyio.create_task_group() as calls:
        grant = grant_of(store)
        evil = {f"{name}_endpoint": f"{EVIL}/evil/{name}" for name in ("authorization", "token", "registration")}
        evil |= {"issuer": EVIL, "code_challenge_methods_supported": ["S256"]}  # type: ignore[dict-item]
        world.patch[PRM] = {"authorization_servers": [EVIL]}
        world.instead[ASM] = lambda seen: JSONResponse(evil) if seen.url.startswith(EVIL) else None
        world.instead["/evil/registration"] = lambda seen: JSONResponse({"client_id": "evil"}, status_code=201)
        world.instead["/evil/token"] = lambda seen: JSONResponse({"error": "invalid_grant"}, status_code=400)
        world.authority.refresh.clear()
        world.revoke_access()
        calls.start_soon(session.call_tool, "whoami")
        with anyio.fail_after(10):
            await opened.wait()
        # Another process, which signed in at the old server, has left its token in the store.
        known = expired(world, grant)
        store.save(known.key, known)
        with anyio.fail_after(10):
            assert text_of(await session.call_tool("whoami")) == "octocat"
        calls.cancel_scope.cancel()
    assert world.count("/evil/token") == 0
    assert world.count("/token", "refresh_token") == 2


async def test_a_token_that_another_session_stored_during_a_refused_refresh_is_refreshed_and_nobody_is_asked(
    world: World,
) -> None:
    store = MemoryGrantStore()
    auth = world.auth(store=store, paste=Person(world).follow, listen=False, open_browser=lambda url: True)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        world.clock.advance(3700)

        def overtaken(seen: Seen) -> Response:
            del world.instead["/token"]
            newer = expired(world, grant_of(store))
            store.save(newer.key, newer)
            return JSONResponse({"error": "invalid_grant"}, 400)

        world.instead["/token"] = overtaken
        assert text_of(await session.call_tool("whoami")) == "octocat"
    assert (world.count("/authorize"), world.count("/token", "refresh_token")) == (1, 2)


def test_an_error_of_the_server_is_not_taken_for_ours_whatever_its_data_says() -> None:
    transport = HttpTransport(MCP)
    ours = ProtocolError("ours")
    frame = transport._error_frame(ours)
    assert b'"number": 1' in frame
    for data in ({"number": 1}, {"type": "else", "number": 1}, [1], 1, None, {"type": "mcp-oauth-nb/failure"}):
        assert transport.failure(MCPError.from_error_data(error_of(data))) is None
    mine = {"type": "mcp-oauth-nb/failure", "number": 1}
    assert transport.failure(MCPError.from_error_data(error_of(mine))) is ours
    assert transport.failure(MCPError.from_error_data(error_of(mine))) is None


def test_the_errors_of_calls_that_nobody_waited_for_are_not_kept_for_ever() -> None:
    transport = HttpTransport(MCP)
    transport.opened()
    request = httpx2.Request("POST", MCP)
    answers = [transport._answer_for(request, ServerUnavailable(f"number {number}")) for number in range(101)]
    assert None not in answers
    errors = [
        MCPError.from_jsonrpc_error(JSONRPCError.model_validate({**answer.json(), "id": 1}))
        for answer in answers
        if answer
    ]
    assert transport.failure(errors[0]) is None
    for number in (1, 100):
        found = transport.failure(errors[number])
        assert found is not None
        assert found.message == f"number {number}"
        assert transport.failure(errors[number]) is None


def error_of(data: Any) -> ErrorData:
    return ErrorData(code=-32603, message="no", data=data)
