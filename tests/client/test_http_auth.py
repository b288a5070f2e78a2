"""An MCP client over HTTP: authorization through the SDK's own flow, against the SDK's own server."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from http_world import ASM, MCP, PRM, P, Person, World, served
from mcp.shared.auth import OAuthClientInformationFull
from starlette.responses import Response
from stepping import SERVER, Steps

from mcp_oauth_nb import ManualClock, Session, Trace
from mcp_oauth_nb.client.auth import McpAuth, default_auth
from mcp_oauth_nb.oauth.errors import ConfigurationError, InsufficientScope, ServerUnavailable
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.store.grants import FileGrantStore, MemoryGrantStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


async def call(world: World, auth: McpAuth, tool: str = "whoami") -> str:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool(tool)).content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_session_discovers_registers_authorizes_and_calls(world: World, mode: str) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current", mode=mode) as session:  # type: ignore[arg-type]
        answer = await session.call_tool("whoami")
    assert answer.content[0].text == "octocat"  # type: ignore[union-attr]
    assert [world.count(path) for path in (PRM, ASM, "/register", "/authorize", "/token")] == [1, 1, 1, 1, 1]


async def test_the_authorization_request_binds_pkce_resource_and_scope(world: World) -> None:
    person = Person(world)
    await call(world, world.auth(person))
    sent = parse_qs(urlsplit(person.urls[0]).query)
    assert sent["code_challenge_method"] == ["S256"]
    assert sent["resource"] == [MCP]
    assert sent["scope"] == ["read:user"]
    assert sent["redirect_uri"][0].startswith("http://127.0.0.1:")


async def test_the_token_endpoint_is_asked_for_json(world: World) -> None:
    await call(world, world.auth())
    (token_request,) = [one for one in world.seen if one.path == "/token"]
    assert token_request.headers["accept"] == "application/json"


async def test_the_second_session_needs_no_browser(world: World) -> None:
    auth = world.auth()
    assert [await call(world, auth) for _ in range(2)] == ["octocat", "octocat"]
    assert world.count("/authorize") == 1


async def test_a_restart_finds_the_grant_in_a_file_that_only_its_owner_can_read(world: World, tmp_path: Path) -> None:
    path = tmp_path / "grants.json"
    await call(world, world.auth(store=FileGrantStore(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await call(world, world.auth(store=FileGrantStore(path)))
    assert world.count("/authorize") == 1
    assert world.count("/register") == 1


async def test_expiry_is_remembered_across_a_restart(world: World, tmp_path: Path) -> None:
    await call(world, world.auth(store=FileGrantStore(tmp_path / "grants.json")))
    world.clock.advance(3590)
    del world.seen[:]
    await call(world, world.auth(store=FileGrantStore(tmp_path / "grants.json")))
    # Refreshed before the first request, which so never went out with a token that was about to end.
    assert [one.path for one in world.seen][:2] == ["/token", "/mcp"]
    assert world.count("/authorize") == 0


async def test_a_refresh_after_a_restart_goes_to_the_endpoint_of_the_recorded_issuer(world: World) -> None:
    auth = world.auth()
    await call(world, auth)
    ((key, grant),) = auth.store.entries().items()
    assert grant.metadata is not None
    moved = grant.metadata.model_copy(update={"token_endpoint": f"{P}/elsewhere"})
    auth.store.save(key, replace(grant, metadata=moved))
    world.clock.advance(3700)
    world.instead["/elsewhere"] = lambda seen: Response(status_code=503)
    # It is looked up whether the endpoint has moved since: it has not.
    world.patch[ASM] = {"token_endpoint": f"{P}/elsewhere"}
    del world.seen[:]
    with pytest.raises(ServerUnavailable):
        await call(world, auth)
    # The SDK alone would post the refresh token to /token on the resource's host, whoever issued it.
    assert world.seen[0].path == "/elsewhere"
    assert [one.path for one in world.seen if one.method == "POST"] == ["/elsewhere"]


async def test_a_token_that_was_revoked_is_refreshed_before_anybody_is_asked(world: World) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        await session.call_tool("whoami")
        world.revoke_access()
        answer = await session.call_tool("whoami")
    assert answer.content[0].text == "octocat"  # type: ignore[union-attr]
    assert world.count("/token", "refresh_token") == 1
    assert world.count("/authorize") == 1


async def test_many_calls_at_once_refresh_once(world: World) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        await session.call_tool("whoami")
        world.revoke_access()
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(session.call_tool, "whoami")
    assert world.count("/token", "refresh_token") == 1
    assert world.count("/authorize") == 1


async def test_two_sessions_share_the_rotated_refresh_token(world: World) -> None:
    auth = world.auth()
    async with (
        Session.open(MCP, auth=auth, loop="current") as one,
        Session.open(MCP, auth=auth, loop="current") as two,
    ):
        for session in (one, two):
            await session.call_tool("whoami")
        world.clock.advance(3590)
        for session in (one, two):
            await session.call_tool("whoami")
    assert world.count("/token", "refresh_token") == 1
    assert world.count("/authorize") == 1


async def test_step_up_asks_for_the_union_of_scopes_and_repeats_the_call(world: World) -> None:
    person = Person(world)
    assert await call(world, world.auth(person), "private") == "a secret plan"
    assert [parse_qs(urlsplit(url).query)["scope"] for url in person.urls] == [["read:user"], ["read:user repo"]]


async def test_step_up_that_is_not_granted_ends_in_a_typed_error_and_the_session_goes_on(world: World) -> None:
    world.withheld = frozenset({"repo"})
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        await session.call_tool("whoami")
        with pytest.raises(InsufficientScope, match="read:user repo") as caught:
            await session.call_tool("private")
        assert caught.value.required == ("read:user", "repo")
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]


async def test_the_client_is_registered_once_for_all_scopes_but_asks_for_few(world: World) -> None:
    person = Person(world)
    await call(world, world.auth(person), "private")
    (client,) = world.authority.clients.values()
    assert client.scope == "read:user repo"
    assert parse_qs(urlsplit(person.urls[0]).query)["scope"] == ["read:user"]


async def test_a_client_that_was_registered_for_less_is_registered_again(world: World) -> None:
    world.patch[ASM] = {"scopes_supported": None}
    assert await call(world, world.auth(), "private") == "a secret plan"
    assert [client.scope for client in world.authority.clients.values()] == ["read:user", "read:user repo"]


@pytest.mark.parametrize("tells_scope", [True, False])
async def test_endless_challenges_open_the_browser_once_only(world: World, tells_scope: bool) -> None:
    world.withheld, world.tells_scope = frozenset({"repo"}), tells_scope
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        for _ in range(3):
            with pytest.raises(InsufficientScope):
                await session.call_tool("private")
    assert world.count("/authorize") == 2  # to sign in, and to step up


async def test_the_trace_has_the_whole_flow_masked(world: World) -> None:
    trace = Trace(world.clock)
    async with Session.open(MCP, auth=world.auth(), loop="current", trace=trace) as session:
        await session.call_tool("whoami")
    titles = [f"{m.receiver}: {m.title}" for m in trace.messages if m.protocol == "http" and m.kind == "request"]
    assert f"MCP server: GET {P}{PRM}" in titles
    assert f"Authorization server: POST {P}/token" in titles
    assert [m for m in trace.messages if m.protocol == "jsonrpc" and m.title == "tools/call whoami"]
    shown = "\n".join(map(str, trace.messages)) + str(trace.diagram())
    secret = [*world.authority.access, *world.authority.refresh]
    secret += [c.client_secret for c in world.authority.clients.values() if c.client_secret]
    assert secret
    assert not [one for one in secret if one in shown]


async def test_credentials_are_kept_under_the_issuer_and_the_resource(world: World) -> None:
    store = MemoryGrantStore()
    await call(world, world.auth(store=store))
    (key,) = store.entries()
    assert (key.issuer, key.resource) == (P, MCP)
    assert "access-" not in repr(store.entries())


async def test_forgetting_a_server_means_a_new_registration(world: World) -> None:
    auth = world.auth()
    await call(world, auth)
    auth.forget(MCP)
    await call(world, auth)
    assert world.count("/register") == 2


async def test_auth_is_for_urls_only(world: World) -> None:
    with pytest.raises(ConfigurationError, match="`auth` is for a server at"):
        await Session.open(world.server, auth=world.auth(), loop="current")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_it_works_over_a_real_socket_with_event_streams_on_the_session_thread(mode: str) -> None:
    with anyio.fail_after(20):
        async with served(streams=True) as world:
            person, trace = Person(world), Trace(world.clock)
            auth = world.auth(person, open_browser=lambda url: True, paste=person.follow, carrier=None)
            opening = Session.open(f"{world.origin}/mcp", auth=auth, trace=trace, mode=mode)  # type: ignore[arg-type]
            async with opening as session:
                assert (await session.call_tool("private")).content[0].text == "a secret plan"  # type: ignore[union-attr]
    assert world.count("/authorize") == 2
    assert not [one for one in world.authority.access if one in str(trace.messages)]


async def test_a_damaged_grant_counts_as_signed_out(world: World, tmp_path: Path) -> None:
    path = tmp_path / "grants.json"
    await call(world, world.auth(store=FileGrantStore(path)))
    path.write_text(path.read_text().replace('"client_id"', '"client"'))
    assert await call(world, world.auth(store=FileGrantStore(path))) == "octocat"
    assert world.count("/authorize") == 2


def test_stores_show_no_content(tmp_path: Path) -> None:
    assert repr(MemoryGrantStore()) == "MemoryGrantStore(0 grants)"
    assert repr(FileGrantStore(tmp_path / "g.json")).startswith("FileGrantStore(")


async def test_a_client_registers_by_the_name_that_it_is_given_or_that_of_the_package(world: World) -> None:
    await call(world, world.auth(client_name="My notebook"))
    await call(world, world.auth())
    assert [client.client_name for client in world.authority.clients.values()] == ["My notebook", "mcp-oauth-nb"]


async def test_randomness_and_addresses_come_from_where_the_caller_says() -> None:
    steps = Steps(peer=("93.184.215.14", 443))
    for _ in range(2):
        await steps.walk(steps.auth(token_bytes=bytes).provider(SERVER))
    # State and challenge included.
    assert len(steps.sent_to) == 2
    assert len(set(steps.sent_to)) == 1
    assert set(steps.resolved) == {"auth.example"}


def test_without_a_listener_somebody_has_to_paste() -> None:
    with pytest.raises(ConfigurationError, match="Nobody would wait"):
        McpAuth(listen=False)


def test_a_cell_that_is_run_again_authorizes_with_what_it_had_the_first_time() -> None:
    assert default_auth() is default_auth()
    assert default_auth().timeout == 300


def test_two_clients_of_the_same_settings_are_equal_and_show_neither_registration_nor_what_is_remembered() -> None:
    client = OAuthClientInformationFull(client_id="an-id", redirect_uris=["http://127.0.0.1/cb"])
    store, clock = MemoryGrantStore(), ManualClock(1.0)
    one, other = (McpAuth(store=store, clock=clock, client=client) for _ in range(2))
    assert one == other
    assert "an-id" not in repr(one)
    assert "Patience" not in repr(one)


def test_a_client_metadata_url_must_be_https() -> None:
    with pytest.raises(ConfigurationError, match="client metadata URL"):
        McpAuth(client_metadata_url="http://client.example/metadata.json")


@pytest.mark.parametrize("issuer", ["https://as.example", None])
def test_the_secret_of_a_client_is_masked_from_then_on_even_if_the_client_is_refused(issuer: str | None) -> None:
    secret = f"a-secret-registered-beforehand-at-{issuer}"
    client = OAuthClientInformationFull(
        client_id="an-id", client_secret=secret, issuer=issuer, redirect_uris=["http://127.0.0.1/cb"]
    )
    with nullcontext() if issuer else pytest.raises(ConfigurationError):
        assert secret not in repr(McpAuth(client=client).client)
    assert secret not in scrub(repr(client))
