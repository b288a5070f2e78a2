"""The tools over HTTP with the SDK's own client, in both eras; sessions that belong to one user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from resource_world import MODERN, PRIVATE, PROTECTED, URL, World, call, token_of

from mcp_oauth_nb import AuthenticationRequired, Lab
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.lab.lab import stand_in_model
from mcp_oauth_nb.oauth.challenge import OAUTH_EXTENSION
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.server.resource import upstream_by
from mcp_oauth_nb.server.resource.many_users import CallersToken
from mcp_oauth_nb.server.resource.sessions import Sessions
from mcp_oauth_nb.server.tools import required_scopes

pytestmark = pytest.mark.anyio

SHAPES = [
    pytest.param("auto", {"json_response": True, "stateless": True}, id="2026-07-28 json"),
    pytest.param("auto", {"json_response": False}, id="2026-07-28 stream"),
    pytest.param("legacy", {"json_response": True, "stateless": True}, id="2025-11-25 json stateless"),
    pytest.param("legacy", {"json_response": True}, id="2025-11-25 json"),
]


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_the_callers_token_reaches_the_tool(mode: str, shape: dict[str, Any]) -> None:
    async with World(**shape).running() as world:
        for user in ("octocat", "hubot"):
            async with world.client(mode, world.verifier.issue(user, "read:user")) as client:
                result = await client.call_tool(PROTECTED, {"include_repos": False})
                assert result.structured_content is not None
                assert result.structured_content["user"]["login"] == user
        assert world.upstream.served == ["octocat", "hubot"]


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_calls_at_the_same_time_do_not_mix_their_users(mode: str, shape: dict[str, Any]) -> None:
    async with World(**shape).running() as world, contextlib.AsyncExitStack() as stack:
        users = ["octocat", "hubot"]
        clients = [
            await stack.enter_async_context(world.client(mode, world.verifier.issue(user, "read:user")))
            for user in users
        ]
        results = await asyncio.gather(
            *(client.call_tool(PROTECTED, {"include_repos": False}) for client in clients for _ in range(5))
        )
        logins = [(result.structured_content or {})["user"]["login"] for result in results]
        assert logins == ["octocat"] * 5 + ["hubot"] * 5


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_without_a_token_the_sdks_client_gets_the_guides_error(mode: str, shape: dict[str, Any]) -> None:
    async with World(**shape).running() as world, world.client(mode) as client:
        tools = await client.list_tools()
        assert {tool.name for tool in tools.tools} == {PROTECTED, "analyze_code_with_llm"}
        with pytest.raises(MCPError) as caught:
            await client.call_tool(PROTECTED)
        assert (caught.value.code, caught.value.data["type"]) == (-32001, "oauth2")
        assert caught.value.data["authorization_url"] == f"{URL}/authorize"
        assert world.upstream.served == []


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_the_authorization_server_is_advertised_when_a_client_connects(mode: str, shape: dict[str, Any]) -> None:
    async with World(**shape).running() as world, world.client(mode) as client:
        capabilities = client.server_capabilities
        advertised = (capabilities.extensions if mode == "auto" else capabilities.experimental) or {}
        assert advertised[OAUTH_EXTENSION]["issuer"] == URL
        assert advertised[OAUTH_EXTENSION]["scopes_supported"] == ["read:user", "repo"]


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_private_repositories_come_with_the_scope_and_only_when_asked_for(
    mode: str, shape: dict[str, Any]
) -> None:
    async with World(**shape).running() as world:
        async with world.client(mode, world.verifier.issue("octocat", "read:user")) as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool(PROTECTED, PRIVATE)
            assert caught.value.data["scopes"] == ["read:user", "repo"]
        async with world.client(mode, world.verifier.issue("octocat", "read:user", "repo")) as client:
            seen = await repositories(client, {"include_private": True, "repo_limit": 100})
            assert any(one["private"] for one in seen)
            public = await repositories(client, {"repo_limit": 100})
            assert public == [one for one in seen if not one["private"]]


async def repositories(client: Client, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    result = await client.call_tool(PROTECTED, arguments)
    assert result.structured_content is not None
    found: list[dict[str, Any]] = result.structured_content["repositories"]
    return found


@pytest.mark.parametrize(("mode", "shape"), SHAPES)
async def test_a_user_whose_upstream_grant_is_gone_is_sent_to_authorize_again(mode: str, shape: dict[str, Any]) -> None:
    world = World(**shape)
    token = world.verifier.issue("stranger", "read:user")
    async with world.running(), world.client(mode, token) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool(PROTECTED)
        assert caught.value.data["type"] == "oauth2"


async def test_when_github_asks_for_a_pause_the_time_to_come_back_is_told_by_the_servers_clock() -> None:
    async with World(stateless=True).running() as world:
        token = world.verifier.issue("octocat", "read:user")
        world.github.faults.next_api(status=503, headers={"Retry-After": "30"})
        answer = await world.post(call(), token=token)
        assert "2026-01-01T00:00:30Z" in answer.text


async def test_the_open_tool_needs_no_token_in_the_current_version() -> None:
    async with World().running() as world, world.client("auto") as client:
        result = await client.call_tool("analyze_code_with_llm", {"code": "print(1)"})
        assert (result.structured_content or {})["model"] == "stand-in"


@pytest.mark.parametrize("scopes", [(), ("read:user",), ("gist",)], ids=["no scope", "one scope", "another scope"])
async def test_the_server_itself_refuses_what_the_http_layer_has_overlooked(scopes: tuple[str, ...]) -> None:
    """The second lock: an HTTP layer that takes every tool for open lets nothing through."""
    async with World(stateless=True, required_scopes=lambda tool, arguments: ()).running() as world:
        token = world.verifier.issue("octocat", *scopes) if scopes else None
        answer = await world.post(call(arguments=PRIVATE), token=token)
        assert answer.status_code == 200
        asked_for = answer.json()["error"]["data"]["scopes"]
        assert set(asked_for) == {"read:user", "repo", *scopes}, "a step-up loses nothing"
        assert world.upstream.served == []


async def test_the_authorization_servers_upstream_token_fits_the_tools() -> None:
    seen: list[Any] = []

    async def upstream_token(access: Any, *, rejected: str | None = None) -> str:
        seen.append((access, rejected))
        return "upstream"

    source = upstream_by(upstream_token)("access")  # type: ignore[arg-type]
    assert await source.access_token_for_request(rejected="old") == "upstream"
    assert seen == [("access", "old")]


async def test_of_the_callers_upstream_token_it_is_said_that_it_was_refused() -> None:
    async def upstream_token(access: Any, *, rejected: str | None = None) -> str:
        return f"after {rejected} for {access.subject}"

    caller = AccessToken(token="t", client_id="c", scopes=[], subject="octocat")
    here = auth_context_var.set(AuthenticatedUser(caller))
    try:
        source = CallersToken(upstream_by(upstream_token))
        assert await source.access_token_for_request(rejected="old") == "after old for octocat"
    finally:
        auth_context_var.reset(here)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_whoever_connects_is_told_who_this_is_what_needs_authorization_and_what_can_be_asked(mode: str) -> None:
    async with World().running() as world, world.client(mode) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("mcp-oauth-server", "0.1.0")
        assert f"{PROTECTED} needs authorization" in str(client.instructions)
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["github_user_summary"]


# -- sessions: one user each ---------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        running.verifier.issue("octocat", "read:user", "repo")
        running.verifier.issue("octocat/renewed", "read:user")
        running.verifier.issue("hubot", "read:user", "repo")
        running.verifier.issue("octocat/elsewhere", "read:user", client_id="client-2")
        running.verifier.issue("octocat/impostor", "read:user", claims={"iss": "https://evil.example"})
        yield running


OTHERS = [None, token_of("hubot"), token_of("octocat/elsewhere"), token_of("octocat/impostor")]
WHO = ["nobody", "another user", "another client", "another issuer"]


async def use(world: World, session: str, token: str | None, method: str = "POST") -> int:
    """Use a session; return the status."""
    headers = [("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")]
    if method == "POST":
        listing = {"jsonrpc": "2.0", "id": 5, "method": "tools/list"}
        return (await world.post(listing, token=token, headers=headers[:1])).status_code
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    headers.append(("Accept", "text/event-stream"))
    return (await world.send(method, "/mcp", headers=headers)).status_code


@pytest.mark.parametrize("adopted", [False, True], ids=["opened with a token", "opened without"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("other", OTHERS, ids=WHO)
async def test_a_session_id_is_worth_nothing_to_anybody_else(
    world: World, other: str | None, method: str, adopted: bool
) -> None:
    owner = token_of("octocat")
    session = await world.open_session(None if adopted else owner)
    assert await use(world, session, owner) == 200
    assert await use(world, session, other, method) == 404
    # And it still works for whom it belongs to, with a newer token too.
    assert await use(world, session, owner) == 200
    assert await use(world, session, token_of("octocat/renewed")) == 200


async def test_a_stolen_session_runs_no_tool(world: World) -> None:
    session = await world.open_session(token_of("octocat"))
    answer = await world.post(call(), token=token_of("hubot"), headers=[("Mcp-Session-Id", session)])
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Session not found")
    assert world.upstream.served == []


async def test_a_session_of_somebody_else_is_answered_like_one_that_does_not_exist(world: World) -> None:
    session = await world.open_session()
    assert await use(world, session, token_of("octocat")) == 200
    message, hubot = call(id="call-7"), token_of("hubot")
    theirs, none = [
        await world.post(message, token=hubot, headers=[("Mcp-Session-Id", name)]) for name in (session, "no-session")
    ]
    assert (theirs.status_code, theirs.json()["error"]) == (none.status_code, none.json()["error"])
    assert (theirs.json()["id"], none.json()["id"]) == (None, None)
    # Only we know better.
    denied = [event["reason"] for event in world.log.events if event["outcome"] == "denied"]
    assert denied == ["session_of_another_user"]


async def test_a_client_may_authorize_right_after_it_opened_its_session(world: World) -> None:
    session = await world.open_session(then=token_of("octocat"))
    assert await use(world, session, token_of("octocat")) == 200
    assert await use(world, session, None) == 404


async def test_a_client_may_authorize_in_the_middle_of_its_session(world: World) -> None:
    session = await world.open_session()
    headers = [("Mcp-Session-Id", session)]
    assert (await world.post(call(), headers=headers)).status_code == 401
    answer = await world.post(call(), token=token_of("octocat"), headers=headers)
    assert answer.json()["result"]["structuredContent"]["user"]["login"] == "octocat"


async def test_a_refused_request_takes_no_session_over(world: World) -> None:
    session = await world.open_session()
    headers = [("Mcp-Session-Id", session)]
    refused = await world.post(call(arguments=PRIVATE), token=token_of("octocat/renewed"), headers=headers)
    assert refused.status_code == 403
    assert await use(world, session, None) == 200


@pytest.mark.parametrize("token", [None, token_of("octocat")], ids=["opened anonymously", "taken over"])
async def test_a_session_that_was_ended_is_forgotten(world: World, token: str | None) -> None:
    session = await world.open_session()
    assert await use(world, session, token) == 200
    assert await use(world, session, token, "DELETE") == 200
    assert [await use(world, session, one) for one in (None, token_of("octocat"), token_of("hubot"))] == [404] * 3


async def test_a_session_of_nobody_does_not_become_open_again_by_a_request_of_the_current_version(world: World) -> None:
    session = await world.open_session()
    owner = token_of("octocat")
    assert await use(world, session, owner) == 200
    message = call(era=MODERN) | {"method": "no/such"}
    answer = await world.post(message, era=MODERN, token=owner, headers=[("Mcp-Session-Id", session)])
    assert answer.status_code == 404
    assert await use(world, session, None) == 404


async def test_sessions_that_the_sdk_has_long_ended_are_not_kept() -> None:
    clock = ManualClock(0.0)
    sessions, forever = Sessions(idle_timeout=10.0, now=clock.now), Sessions(idle_timeout=None, now=clock.now)
    who = AccessToken(token="t", client_id="c", scopes=[])
    for kept in (sessions, forever):
        for access in (None, who):
            async with kept.opening("192.0.2.1", access) as opened:
                await opened("nobody's" if access is None else "somebody's")
    with sessions.use("somebody's"):
        clock.advance(seconds=21)
        await sessions.end_idle()
        assert ("nobody's" in sessions, "somebody's" in sessions) == (False, True)
    clock.advance(seconds=20)
    await sessions.end_idle()
    assert "somebody's" in sessions
    clock.advance(seconds=1)
    await sessions.end_idle()
    assert len(sessions) == 0
    clock.advance(days=7)
    await forever.end_idle()
    assert ("nobody's" in forever, "somebody's" in forever) == (False, True)


# -- on a real socket, where answers are streams -------------------------------------------------------------------


@contextlib.asynccontextmanager
async def on_a_socket() -> AsyncIterator[tuple[str, World]]:
    listener = listen(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    world = World(public_url=url, json_response=False)
    server = uvicorn.Server(uvicorn.Config(world.app, log_level="critical", ws="none", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            await asyncio.wait({task}, timeout=0.01)
            assert not task.done()
        yield url, world
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_both_tools_work_over_a_socket_with_streams(mode: Any) -> None:
    async with on_a_socket() as (url, world):
        token = world.verifier.issue("octocat", "read:user", resource=f"{url}/mcp", expires_at=None)
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(
                streamable_http_client(f"{url}/mcp", http_client=http), mode=mode, sampling_callback=stand_in_model
            ) as client,
        ):
            analysis = await client.call_tool("analyze_code_with_llm", {"code": "print(1)"})
            assert (analysis.structured_content or {})["model"] == "stand-in"
            info = await client.call_tool(PROTECTED, {"include_repos": False})
            assert (info.structured_content or {})["user"]["login"] == "octocat"


async def test_an_answer_that_is_a_stream_is_not_held_back() -> None:
    """The sampling request of an earlier version arrives before the call has ended: the stream flows."""
    async with on_a_socket() as (url, _), httpx2.AsyncClient() as http:
        asked = asyncio.Event()

        async def model(context: Any, params: Any) -> Any:
            asked.set()
            return await stand_in_model(context, params)

        target = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(target, mode="legacy", sampling_callback=model) as client:
            await client.call_tool("analyze_code_with_llm", {"code": "print(1)"})
        assert asked.is_set()


async def test_metadata_on_a_socket_ignores_forged_hosts() -> None:
    async with on_a_socket() as (url, _), httpx.AsyncClient() as http:
        forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
        document = await http.get(f"{url}/.well-known/oauth-protected-resource/mcp", headers=forged)
        assert "evil" not in document.text
        assert document.json()["resource"] == f"{url}/mcp"


# -- the same step-up in process -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_in_process_private_repositories_are_challenged_with_the_union(mode: Any) -> None:
    async with Lab.open(mode=mode) as lab:
        await lab.authorize()
        with pytest.raises(AuthenticationRequired) as caught:
            await lab.session.call_tool(PROTECTED, PRIVATE)
        assert caught.value.challenge is not None
        assert caught.value.challenge.scopes == ("read:user", "repo")
        # Nothing was asked of GitHub beyond whether the token is good.
        assert not lab.trace.find("/user")
        result = await lab.session.call_tool(PROTECTED, PRIVATE | {"repo_limit": 100}, authorize=lab.authorize)
        assert any(one["private"] for one in (result.structured_content or {})["repositories"])


async def test_in_process_a_step_up_loses_nothing_that_was_granted_before() -> None:
    async with Lab.open() as lab:
        await lab.authorize(scopes=("read:user", "gist"))
        arguments = PRIVATE | {"repo_limit": 100}
        result = await lab.session.call_tool(PROTECTED, arguments, authorize=lab.authorize)
        assert not result.is_error
        assert lab.oauth.token is not None
        assert set(lab.oauth.token.scopes) == {"read:user", "gist", "repo"}


async def test_in_process_private_repositories_stay_out_unless_asked_for() -> None:
    async with Lab.open() as lab:
        await lab.authorize(scopes=("read:user", "repo"))
        result = await lab.session.call_tool(PROTECTED, {"repo_limit": 100})
        assert not any(one["private"] for one in (result.structured_content or {})["repositories"])


async def test_in_process_github_judges_a_token_without_scopes() -> None:
    async with Lab.open() as lab:
        app = lab.github.register_app("An app", ["http://127.0.0.1/callback"], kind="github_app")
        issued = lab.github.issue_token(app=app)
        lab.oauth.token = Token(issued.access_token)
        with pytest.raises(AuthenticationRequired) as caught:
            await lab.session.call_tool(PROTECTED, PRIVATE)
        # Refused as issued to another app, not for its scopes.
        assert caught.value.challenge is not None
        assert caught.value.challenge.scopes == ("read:user",)


async def test_the_caller_needs_a_token_where_there_is_no_request() -> None:
    source = CallersToken(upstream_by(None))  # type: ignore[arg-type]
    with pytest.raises(AuthenticationRequired):
        await source.access_token_for_request()


@pytest.mark.parametrize("value", [True, 1, 0, "", "yes", "no", "false", None, [], {}])
def test_whatever_is_not_plainly_false_needs_the_scope_for_private_repositories(value: object) -> None:
    # How the value is read is decided behind this check, by other code.
    assert required_scopes(PROTECTED, {"include_private": value}) == ("read:user", "repo")
    assert required_scopes(PROTECTED, {"include_private": False}) == required_scopes(PROTECTED, {}) == ("read:user",)
