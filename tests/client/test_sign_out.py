"""A sign-out: during a refresh, where both clients keep one rule, and by `McpAuth.revoke` (RFC 7009)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest
from http_world import ASM, MCP, Person, World
from issuing import TOKEN, Issuing
from mcp.shared.auth import OAuthClientInformationFull
from provider import Provider, signed_in
from starlette.responses import JSONResponse
from stepping import ISSUER, SERVER

from mcp_oauth_nb import HttpLab, ManualClock, McpAuth, Session
from mcp_oauth_nb.client.provider import AuthProvider
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    NotRevoked,
    ProtocolError,
    RateLimited,
    RedirectRefused,
    SecurityError,
    ServerUnavailable,
    Unreachable,
)
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import FileGrantStore, MemoryGrantStore

pytestmark = pytest.mark.anyio

REVOKE = f"{ISSUER}/revoke"
CALL, REFRESHED, REVOKED = f"POST {SERVER}", f"POST {TOKEN}", f"POST {REVOKE}"

Answered = Callable[[httpx2.Request], httpx2.Response]


class Revoking(Issuing):
    """`Issuing`, with a revocation endpoint: `revoked` has the forms that came there, `answered` the next answers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"changed": {"revocation_endpoint": REVOKE}, **options})
        self.revoked: list[dict[str, str]] = []
        self.answered: list[Answered] = []
        self.instead[REVOKE] = self._revoke

    def _revoke(self, request: httpx2.Request) -> httpx2.Response:
        self.revoked.append(dict(httpx2.QueryParams(request.content.decode())))
        return self.answered.pop(0)(request) if self.answered else httpx2.Response(200)

    def signs_out_during_a_refresh(self, answer: httpx2.Response | None = None) -> None:
        """From now on whoever refreshes is signed out meanwhile."""

        def meanwhile(form: dict[str, str]) -> httpx2.Response | None:
            if form["grant_type"] != "refresh_token":
                return None
            self.auth().forget(SERVER)
            return answer

        self.refuse = meanwhile


def says(status: int, **body: Any) -> Answered:
    return lambda request: httpx2.Response(status, json=body)


async def whose_refresh_is_due(server: Issuing) -> AuthProvider:
    """A session that is signed in, and whose token has expired."""
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    return provider


async def ended_by_a_sign_out(server: Revoking, provider: AuthProvider) -> AuthenticationRequired:
    """Call; return the error. Nobody is asked, and nothing is kept."""
    asked = len(server.sent_to)
    with pytest.raises(
        AuthenticationRequired, match="The user signed out while the token was being refreshed"
    ) as caught:
        await server.call(provider)
    assert (len(server.sent_to), server.store.entries()) == (asked, {})
    return caught.value


# -- during a refresh --------------------------------------------------------------------------------------------------


async def test_a_sign_out_during_a_refresh_ends_what_the_refresh_brought_and_nobody_is_asked() -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh()
    error = await ended_by_a_sign_out(server, provider)
    assert server.urls == [REFRESHED, REVOKED, REVOKED]
    assert server.revoked == [
        {"token": "refresh-2", "token_type_hint": "refresh_token", "client_id": "client-1"},
        {"token": "access-2", "token_type_hint": "access_token", "client_id": "client-1"},
    ]
    assert error.__cause__ is None
    assert "Authorize anew" in error.hint


async def test_a_sign_out_during_the_refresh_of_a_rejected_token_is_no_other() -> None:
    server = Revoking()
    provider = server.new()
    await server.call(provider)
    server.good = set()
    server.signs_out_during_a_refresh()
    await ended_by_a_sign_out(server, provider)
    assert server.urls == [CALL, REFRESHED, REVOKED, REVOKED]


async def test_a_sign_out_during_a_refresh_that_was_early_ends_the_call_although_the_old_token_is_still_good() -> None:
    server = Revoking()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3550)
    server.signs_out_during_a_refresh()
    await ended_by_a_sign_out(server, provider)


async def test_both_clients_end_a_call_alike_whose_user_signed_out_during_its_refresh(clock: ManualClock) -> None:
    server, github = Revoking(), Provider()
    session = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh()
    over_http = await ended_by_a_sign_out(server, session)
    handler = await signed_in(github, clock, revocation_url="https://id.example/revoke")

    def sign_out() -> None:
        handler.token = None

    github.meanwhile = sign_out
    with pytest.raises(AuthenticationRequired) as caught:
        await handler.refresh_access_token()
    by_hand = caught.value
    assert by_hand.challenge == handler.challenge()
    assert (type(by_hand), by_hand.message, by_hand.hint) == (type(over_http), over_http.message, over_http.hint)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(400, json={"error": "invalid_grant"}),
        httpx2.Response(503),
        httpx2.Response(401),
        httpx2.Response(404),
    ],
    ids=["refused", "later", "unknown client", "no OAuth"],
)
async def test_whatever_a_refresh_was_answered_who_signed_out_meanwhile_is_not_asked_to_sign_in(
    answer: httpx2.Response,
) -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh(answer)
    await ended_by_a_sign_out(server, provider)
    assert server.urls == [REFRESHED]


@pytest.mark.parametrize("status", [400, 503])
async def test_the_handler_too_tells_of_a_sign_out_and_not_of_the_refusal_that_came_after_it(
    clock: ManualClock, status: int
) -> None:
    github = Provider()
    handler = await signed_in(github, clock)
    github.spoiled.append(JSONResponse({"error": "invalid_grant"}, status))

    def sign_out() -> None:
        handler.token = None

    github.meanwhile = sign_out
    with pytest.raises(AuthenticationRequired, match="signed out"):
        await handler.refresh_access_token()


async def test_after_such_an_end_the_next_call_signs_in_anew() -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh()
    await ended_by_a_sign_out(server, provider)
    assert await server.call(provider) == 200
    assert len(server.sent_to) == 2


async def test_a_sign_in_during_a_refresh_is_used_and_nothing_of_the_same_grant_is_revoked() -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)

    def signs_in(form: dict[str, str]) -> httpx2.Response:
        grant = server.grant
        assert grant.token is not None
        newer = Token("newer", refresh_token="newest", expires_at=server.clock.now() + 3600, resource=SERVER)
        server.store.save(
            grant.key, type(grant)(grant.issuer, grant.resource, grant.client, grant.metadata, None, newer)
        )
        server.good = {"newer"}
        return httpx2.Response(200, json={"access_token": "older", "token_type": "Bearer"})

    server.refuse = signs_in
    assert await server.call(provider) == 200
    assert (server.revoked, server.urls) == ([], [REFRESHED, CALL])


async def test_what_a_refresh_brought_and_cannot_be_revoked_is_told() -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh()
    server.answered = [says(503)]
    error = await ended_by_a_sign_out(server, provider)
    assert (
        "the refresh token and the access token (until 2027-01-15T10:00:00Z) may still be good there" in error.message
    )
    assert isinstance(error.__cause__, NotRevoked)
    assert isinstance(error.__cause__.__cause__, ServerUnavailable)
    assert error.hint == error.__cause__.hint
    # Nor is the server, which cannot answer, asked a second time.
    assert server.urls == [REFRESHED, REVOKED]


@pytest.mark.parametrize("fails", [False, True], ids=["GitHub's way is not known", "it fails"])
async def test_the_handler_tells_so_too(clock: ManualClock, fails: bool) -> None:
    github = Provider()
    handler = await signed_in(github, clock, revocation_url="https://id.example/none" if fails else None)

    def sign_out() -> None:
        handler.token = None

    github.meanwhile = sign_out
    with pytest.raises(
        AuthenticationRequired, match=r"the refresh token and the access token .* may still be good"
    ) as caught:
        await handler.refresh_access_token()
    assert isinstance(caught.value.__cause__, NotRevoked)
    assert caught.value.__cause__.alive == ("refresh_token", "access_token")
    assert caught.value.challenge == handler.challenge()


@pytest.mark.parametrize("endpoint", ["https://10.0.0.1/revoke", "http://auth.example/revoke", None])
async def test_nothing_is_revoked_at_a_place_that_the_server_may_not_lead_to(endpoint: str | None) -> None:
    server = Revoking(changed={"revocation_endpoint": endpoint} if endpoint else {})
    provider = await whose_refresh_is_due(server)
    server.signs_out_during_a_refresh()
    error = await ended_by_a_sign_out(server, provider)
    assert server.urls == [REFRESHED]
    assert isinstance(error.__cause__, NotRevoked)
    assert isinstance(error.__cause__.__cause__, SecurityError if endpoint else type(None))


async def test_a_call_that_waits_for_the_refresh_ends_with_the_sign_out_too() -> None:
    server = Revoking()
    provider = await whose_refresh_is_due(server)
    server.requests.clear()
    refreshing = provider.async_auth_flow(httpx2.Request("POST", SERVER))
    refresh = await anext(refreshing)
    waiting = provider.async_auth_flow(httpx2.Request("POST", SERVER))
    second = asyncio.create_task(anext(waiting))  # type: ignore[arg-type]
    await anyio.wait_all_tasks_blocked()
    answer = server.answer(refresh)
    answer.request = refresh
    server.auth().forget(SERVER)
    ending = await refreshing.asend(answer)
    with pytest.raises(AuthenticationRequired, match="signed out"):
        await second
    assert str(ending.url) == REVOKE
    await refreshing.aclose()
    assert server.sent_to[1:] == []


# -- over a network that waits -----------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(revokes=True).running() as running:
        yield running


def alive(world: World) -> set[str]:
    """The tokens that the server takes."""
    access = {token for token in world.authority.access if world.ends[token] > world.clock.now()}
    return access | set(world.authority.refresh)


class Held(httpx2.ASGITransport):
    """A network on which the answer to a refresh, or to a revocation, waits until `answer` is set."""

    def __init__(self, world: World, what: bytes):
        super().__init__(world.app)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.what = what

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if self.what in await request.aread():
            self.asked.set()
            await self.answer.wait()
        return response


async def test_a_cell_that_is_interrupted_leaves_nothing_alive_of_what_its_refresh_brought(world: World) -> None:
    held, store = Held(world, b"grant_type=refresh_token"), MemoryGrantStore()
    auth = world.auth(store=store, carrier=lambda: held)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
        world.clock.advance(3700)
        call = asyncio.create_task(session.call_tool("whoami"))
        await held.asked.wait()
        auth.forget(MCP)
        call.cancel()
        await anyio.wait_all_tasks_blocked()
        held.answer.set()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert alive(world) == set()


async def test_a_revocation_while_a_call_refreshes_ends_both_the_old_token_and_the_new_one(world: World) -> None:
    held, person = Held(world, b"grant_type=refresh_token"), Person(world)
    auth = world.auth(person, carrier=lambda: held)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
        world.clock.advance(3700)
        call = asyncio.create_task(session.call_tool("whoami"))
        await held.asked.wait()
        assert await auth.revoke(MCP)
        held.answer.set()
        with pytest.raises(AuthenticationRequired, match="signed out"):
            await call
    assert alive(world) == set()
    assert auth.store.entries() == {}
    assert len(person.urls) == 1


async def test_a_caller_that_is_cancelled_does_not_stop_a_revocation(world: World) -> None:
    held = Held(world, b"token_type_hint=refresh_token")
    auth = world.auth(carrier=lambda: held)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
    caller = asyncio.create_task(auth.revoke(MCP))
    await held.asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    held.answer.set()
    await anyio.wait_all_tasks_blocked()
    assert alive(world) == set()


@pytest.mark.parametrize("secret", [False, True])
async def test_the_sdks_own_server_which_wants_one_more_field_revokes_too(world: World, secret: bool) -> None:
    if not secret:
        world.patch[ASM] = {"token_endpoint_auth_methods_supported": ["none"]}
    auth = world.auth()
    async with Session.open(MCP, auth=auth, loop="current") as session:
        await session.call_tool("whoami")
    assert alive(world)
    assert await auth.revoke(MCP)
    assert alive(world) == set()


# -- McpAuth.revoke ----------------------------------------------------------------------------------------------------


async def test_what_is_revoked_is_good_for_nothing_at_this_packages_server_and_kept_nowhere() -> None:
    async with HttpLab.open(loop="current") as lab:
        await lab.session.call_tool("get_github_user_info")
        token = lab.token
        assert token is not None
        (grant,) = lab.auth.store.entries().values()
        assert await lab.authorization_server.verify_token(token.access_token) is not None
        before = len(lab.trace)
        assert await lab.auth.revoke(lab.url)
        assert await lab.authorization_server.verify_token(token.access_token) is None
        assert lab.auth.store.entries() == {}
        asked = lab.trace.since(before)
        assert [one.request.title for one in asked if one.request.sender == "MCP client"] == [
            "POST https://mcp.example/revoke"
        ] * 2
        assert token.access_token not in lab.trace.diagram().text
        again = await lab.http.post(
            "/token",
            data={
                "grant_type": "refresh_token",
                "refresh_token": token.refresh_token,
                "client_id": grant.client.client_id,
            },
        )
        assert again.json()["error"] == "invalid_grant"
        # A second time there is nothing to end.
        before = len(lab.trace)
        assert not await lab.auth.revoke(lab.url)
        assert len(lab.trace) == before


async def carried(server: Revoking, **options: Any) -> McpAuth:
    """A client of a server that is reached through a transport, signed in."""

    async def handle(request: httpx2.Request) -> httpx2.Response:
        server.requests.append(request)
        return server.answer(request)

    auth = server.auth(carrier=lambda: httpx2.MockTransport(handle), **options)
    await server.call(auth.provider(SERVER))
    server.requests.clear()
    return auth


def redirected(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(307, headers={"location": "https://evil.example/"})


def broken(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("the connection was lost")


BOTH = ("refresh_token", "access_token")


@pytest.mark.parametrize(
    ("answers", "cause", "alive", "requests"),
    [
        ([says(503)], ServerUnavailable, BOTH, 1),
        ([says(429)], RateLimited, BOTH, 1),
        ([broken] * 3, Unreachable, BOTH, 3),
        ([says(401, error="invalid_client"), says(200)], ProtocolError, ("refresh_token",), 2),
        ([says(200), says(503)], ServerUnavailable, ("access_token",), 2),
        ([redirected] * 2, RedirectRefused, BOTH, 2),
        ([says(403, error="unsupported_token_type"), says(200)], type(None), ("refresh_token",), 2),
        ([says(200), says(403, error="unsupported_token_type")], type(None), ("access_token",), 2),
        ([lambda request: httpx2.Response(200, content=b"x" * 2_000_000)] * 2, ProtocolError, BOTH, 2),
    ],
    ids=["503", "429", "lost", "invalid_client", "503 later", "redirect", "unsupported 1", "unsupported 2", "endless"],
)
async def test_a_token_that_may_live_on_is_named_with_the_reason_and_nothing_is_kept_all_the_same(
    answers: list[Answered], cause: type[Exception], alive: tuple[str, ...], requests: int
) -> None:
    server = Revoking()
    auth = await carried(server)
    server.answered = list(answers)
    with pytest.raises(NotRevoked, match=r"Nothing is kept here, but the .* may still be good there") as caught:
        await auth.revoke(SERVER)
    assert caught.value.alive == alive
    assert type(caught.value.__cause__) is cause
    assert (server.store.entries(), server.urls) == ({}, [REVOKED] * requests)
    assert not [secret for secret in ("access-1", "refresh-1") if secret in f"{caught.value} {caught.value!r}"]


async def test_a_server_without_a_revocation_endpoint_is_said_to_have_none() -> None:
    server = Revoking(changed={})
    auth = await carried(server)
    with pytest.raises(NotRevoked, match=r"https://auth\.example names no revocation endpoint") as caught:
        await auth.revoke(SERVER)
    assert (caught.value.alive, server.urls, server.store.entries()) == (BOTH, [], {})
    assert caught.value.reference == "RFC 7009 section 2"


async def test_an_access_token_without_a_refresh_token_is_revoked_alone() -> None:
    server = Revoking()
    server.renewable = False
    assert await (await carried(server)).revoke(SERVER)
    assert [form["token_type_hint"] for form in server.revoked] == ["access_token"]


@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post"])
async def test_the_client_authenticates_as_it_does_at_the_token_endpoint(method: str) -> None:
    server = Revoking()
    client = {"client_id": "mine", "redirect_uris": ["http://127.0.0.1/callback"], "issuer": ISSUER}
    client |= {"token_endpoint_auth_method": method} | ({"client_secret": "a-secret"} if method != "none" else {})
    auth = await carried(server, client=OAuthClientInformationFull.model_validate(client))
    assert await auth.revoke(SERVER)
    (header,) = {request.headers.get("authorization") for request in server.requests}
    basic = base64.b64encode(b"mine:a-secret").decode()
    assert header == (f"Basic {basic}" if method == "client_secret_basic" else None)
    secrets = {form.get("client_secret") for form in server.revoked}
    assert secrets == {"a-secret" if method == "client_secret_post" else None}


def with_secret(**changes: Any) -> OAuthClientInformationFull:
    """A client that was made beforehand, with a secret."""
    known = {"client_id": "mine", "client_secret": "a-secret", "redirect_uris": ["http://127.0.0.1/callback"]}
    return OAuthClientInformationFull.model_validate({**known, "issuer": ISSUER, **changes})


async def test_a_client_whose_method_nobody_named_authenticates_as_the_issuers_metadata_says() -> None:
    listed = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    server = Revoking(changed={"revocation_endpoint": REVOKE, **listed})
    auth = await carried(server, client=with_secret())
    assert await auth.revoke(SERVER)
    assert {form.get("client_secret") for form in server.revoked} == {"a-secret"}


async def test_a_secret_in_the_form_is_never_replaced_by_an_empty_one() -> None:
    server = Revoking()
    auth = await carried(server, client=with_secret(token_endpoint_auth_method="client_secret_post"))
    server.answered = [says(400, error="invalid_request")] * 2
    with pytest.raises(NotRevoked):
        await auth.revoke(SERVER)
    assert [form["client_secret"] for form in server.revoked] == ["a-secret"] * 2


async def test_a_registration_that_is_damaged_is_told_and_nothing_is_sent() -> None:
    server = Revoking()
    auth = await carried(server)
    server.grant.client.token_endpoint_auth_method = "client_secret_jwt"
    with pytest.raises(NotRevoked, match="token_endpoint_auth_method 'client_secret_jwt'"):
        await auth.revoke(SERVER)
    assert server.urls == []


async def test_each_issuer_is_told_of_its_own_token_only_and_each_failure_is_told() -> None:
    server = Revoking()
    auth = await carried(server)
    first = server.grant
    assert first.metadata is not None
    elsewhere = first.metadata.model_copy(update={"revocation_endpoint": "https://other.example/revoke"})
    second = type(first)("https://other.example", SERVER, first.client, elsewhere, None, Token("theirs"))
    server.store.save(second.key, second)
    server.instead["https://other.example/revoke"] = says(503)
    server.answered = [says(503)]
    with pytest.raises(NotRevoked, match=r"auth\.example") as caught:
        await auth.revoke(SERVER)
    sent = {str(request.url): request.content.decode() for request in server.requests}
    assert sorted(sent) == [REVOKE, "https://other.example/revoke"]
    assert "theirs" not in sent[REVOKE]
    assert "refresh-1" not in sent["https://other.example/revoke"]
    (note,) = caught.value.__notes__
    assert "other.example" in note


async def test_revoking_one_server_leaves_the_tokens_for_the_others(tmp_path: Any) -> None:
    server = Revoking()
    auth = await carried(server, store=FileGrantStore(tmp_path / "grants.json"))
    assert not await auth.revoke("https://other.example/mcp")
    assert (len(auth.store.entries()), server.requests) == (1, [])
    assert await auth.revoke(SERVER)
    assert auth.store.entries() == {}


async def test_a_registration_without_a_token_is_forgotten_and_nothing_is_sent() -> None:
    server = Revoking()
    auth = await carried(server)
    grant = server.grant
    server.store.save(grant.key, type(grant)(grant.issuer, grant.resource, grant.client, grant.metadata))
    assert not await auth.revoke(SERVER)
    assert (server.store.entries(), server.requests) == ({}, [])
