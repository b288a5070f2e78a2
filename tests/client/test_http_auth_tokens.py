"""From token to token, stepped by hand: what is refreshed when and where, what a refusal costs, what is kept."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import httpx2
import pytest
from issuing import TOKEN, Answer, Issuing
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from stepping import ISSUER, SERVER, Plain

from mcp_oauth_nb import HttpLab
from mcp_oauth_nb.client.provider import AuthProvider
from mcp_oauth_nb.client.sdk_storage import GrantStorage
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    InsufficientScope,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    ServerUnavailable,
    TokenRejected,
    TransientError,
)
from mcp_oauth_nb.oauth.masking import mask, remember_heard, scrub
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore
from mcp_oauth_nb.store.records import Store, store_of

pytestmark = pytest.mark.anyio


def refresh_gets(status: int, **body: Any) -> Answer:
    return lambda form: httpx2.Response(status, json=body) if form["grant_type"] == "refresh_token" else None


def code_gets(status: int, **body: Any) -> Answer:
    return lambda form: httpx2.Response(status, json=body) if form["grant_type"] == "authorization_code" else None


def mine(**changes: Any) -> OAuthClientInformationFull:
    """A client that was made beforehand."""
    known = {"client_id": "mine", "redirect_uris": ["http://127.0.0.1/callback"], "issuer": ISSUER}
    return OAuthClientInformationFull.model_validate({**known, **changes})


# -- when, where, and for whom -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "refreshed"), [(3539, 0), (3540, 1), (3599, 1), (3601, 1)])
async def test_a_token_is_refreshed_a_minute_before_it_ends_and_nobody_is_asked(seconds: int, refreshed: int) -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(seconds)
    assert await server.call(provider) == 200
    assert server.urls == [f"POST {TOKEN}", f"POST {SERVER}"][1 - refreshed :]
    assert server.refreshed == ["refresh-1"][:refreshed]
    assert len(server.sent_to) == 1


async def test_a_refresh_after_a_restart_goes_where_the_grant_came_from_with_its_client_and_resource() -> None:
    server = Issuing(changed={"token_endpoint": f"{ISSUER}/its/own/token"})
    await server.call(server.new())
    server.clock.advance(3600)
    assert await server.call(server.new()) == 200
    assert server.urls == [f"POST {ISSUER}/its/own/token", f"POST {SERVER}"]
    (form,) = server.forms
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
        "client_id": "client-1",
        "resource": SERVER,
    }
    assert server.grant.token is not None
    assert (server.grant.issuer, server.grant.token.access_token) == (ISSUER, "access-2")
    # What it was granted, as the answer names nothing else (RFC 6749 section 6).
    assert server.grant.token.scopes == ("read:user",)


async def test_after_a_restart_a_token_is_used_as_it_is() -> None:
    server = Issuing()
    await server.call(server.new())
    assert await server.call(server.new()) == 200
    assert server.urls == [f"POST {SERVER}"]


async def test_a_token_that_is_rejected_before_its_time_is_refreshed_before_anybody_is_asked() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.good = set()
    assert await server.call(provider) == 200
    assert server.urls == [f"POST {SERVER}", f"POST {TOKEN}", f"POST {SERVER}"]


async def test_what_another_session_refreshed_is_used_and_not_refreshed_again() -> None:
    server = Issuing()
    one, two = server.new(), server.new()
    await server.call(one)
    await server.call(two)
    server.clock.advance(3600)
    await server.call(two)
    assert await server.call(one) == 200
    assert server.urls == [f"POST {SERVER}"]
    # It is not due, but it is not the one that was rejected, either.
    server.good = set()
    await server.call(two)
    assert await server.call(one) == 200
    assert server.urls == [f"POST {SERVER}"] * 2


async def test_a_rejected_token_that_cannot_be_refreshed_gives_way_to_what_another_session_was_given() -> None:
    server = Issuing()
    server.renewable = False
    one, two = server.new(), server.new()
    await server.call(one)
    await server.call(two)
    server.good = set()
    await server.call(two)
    assert await server.call(one) == 200
    assert (server.urls, len(server.sent_to)) == ([f"POST {SERVER}"] * 2, 2)


async def test_who_waited_for_another_session_that_refreshes_uses_what_that_was_given() -> None:
    server = Issuing()
    one, two = server.new(), server.new()
    await server.call(one)
    await server.call(two)
    server.clock.advance(3600)
    flow = one.async_auth_flow(httpx2.Request("POST", SERVER))
    refresh = await anext(flow)
    async with anyio.create_task_group() as calls:
        calls.start_soon(server.call, two)
        await anyio.wait_all_tasks_blocked()
        answer = server.answer(refresh)
        answer.request = refresh
        assert (await flow.asend(answer)).headers["authorization"] == "Bearer access-2"
        await flow.aclose()
    assert server.urls == [f"POST {SERVER}"]
    assert server.requests[-1].headers["authorization"] == "Bearer access-2"


async def test_a_code_goes_where_the_person_was_sent_wherever_another_call_refreshes_meanwhile() -> None:
    server, away, back = Issuing(), anyio.Event(), anyio.Event()

    async def come_back_later(url: str) -> str:
        away.set()
        await back.wait()
        return await server.paste(url)

    await server.call(server.new())
    server.needs, server.changed["token_endpoint"] = "repo", f"{ISSUER}/moved/token"
    provider = server.new(paste=come_back_later)
    async with anyio.create_task_group() as calls:
        calls.start_soon(server.call, provider)
        await away.wait()
        server.clock.advance(3600)
        flow = provider.async_auth_flow(httpx2.Request("POST", SERVER))
        assert str((await anext(flow)).url) == TOKEN
        await flow.aclose()
        back.set()
    (asked,) = (one for one in server.requests if b"a-code" in one.content)
    assert str(asked.url) == f"{ISSUER}/moved/token"


async def test_who_is_signed_out_elsewhere_is_asked_again_and_nothing_is_refreshed() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.auth().forget(SERVER)
    server.clock.advance(3600)
    assert await server.call(provider) == 200
    assert (len(server.sent_to), server.refreshed) == (2, [])


async def signed_in_an_hour_ago(server: Issuing) -> tuple[AuthProvider, Grant, Token]:
    """A session whose token is due, its grant, and the token that a newer sign-in would bring."""
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    assert server.grant.token is not None
    newer = replace(server.grant.token, access_token="newer", expires_at=server.clock.now() + 3600)
    return provider, server.grant, newer


async def test_a_new_sign_in_while_a_refresh_is_under_way_is_later_and_is_used() -> None:
    server = Issuing()
    provider, known, newer = await signed_in_an_hour_ago(server)

    def meanwhile(form: dict[str, str]) -> httpx2.Response:
        server.store.save(known.key, replace(known, token=newer))
        server.good = {"newer"}
        return httpx2.Response(200, json={"access_token": "older", "token_type": "Bearer", "expires_in": 3600})

    server.refuse = meanwhile
    assert await server.call(provider) == 200
    assert (server.grant.token, len(server.sent_to)) == (newer, 1)


async def test_who_takes_over_a_token_of_another_session_takes_over_its_registration() -> None:
    server = Issuing()
    one, two = server.new(), server.new()
    await server.call(one)
    await server.call(two)
    server.clock.advance(3600)
    server.refuse = lambda form: (
        httpx2.Response(401, json={"error": "invalid_client"}) if form["client_id"] == "client-1" else None
    )
    await server.call(two)
    assert await server.call(one) == 200
    assert (server.urls, server.clients) == ([f"POST {SERVER}"], 2)
    server.good, server.refuse = set(), refresh_gets(400, error="invalid_grant")
    assert await server.call(one) == 200
    assert httpx2.URL(server.sent_to[-1]).params["client_id"] == "client-2"
    assert server.clients == 2


async def test_a_client_that_names_no_issuer_belongs_to_the_one_that_gave_it_a_token() -> None:
    server = Issuing()
    await server.call(server.new(client=mine(issuer=None)))
    assert (server.grant.issuer, server.grant.client.issuer) == (ISSUER, ISSUER)


class Busy(MemoryGrantStore):
    """A store at which somebody else is refreshing, and does not come to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    @asynccontextmanager
    async def alone(self, seconds: float) -> AsyncIterator[bool]:
        self.waited.append(seconds)
        yield False


async def test_while_somebody_else_refreshes_a_token_that_is_good_is_used_and_otherwise_it_is_said() -> None:
    server = Issuing(store := Busy())
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3550)
    assert await server.call(provider) == 200
    assert server.urls == [f"POST {SERVER}"]
    server.clock.advance(50)
    with pytest.raises(TransientError):
        await server.call(provider)
    assert (server.urls, len(server.sent_to)) == ([], 1)
    # As long as the other may take.
    assert len(store.waited) == 2
    assert all(34.0 < seconds <= 35.0 for seconds in store.waited)


# -- a refresh that fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_scope"])
async def test_a_refresh_token_that_its_server_refuses_is_forgotten_and_the_registration_is_not(code: str) -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse = refresh_gets(400, error=code)
    server.instead[SERVER] = lambda request: httpx2.Response(503)
    await server.call(provider)
    assert server.grant.token is None
    assert server.refreshed == ["refresh-1"]
    assert "authorization" not in server.requests[-1].headers
    del server.instead[SERVER]
    assert await server.call(provider) == 200
    assert (len(server.sent_to), server.clients, server.refreshed) == (2, 1, [])
    assert server.grant.token is not None


async def test_a_refusal_that_no_oauth_server_said_leaves_the_token_to_others_and_is_not_asked_for_again() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse = refresh_gets(404)
    server.instead[SERVER] = lambda request: httpx2.Response(503)
    for refreshed in (["refresh-1"], []):
        await server.call(provider)
        assert server.refreshed == refreshed
        assert "authorization" not in server.requests[-1].headers
    assert server.grant.token is not None
    assert server.grant.token.refresh_token == "refresh-1"


@pytest.mark.parametrize("refusal", [refresh_gets(503), refresh_gets(404), refresh_gets(401, error="invalid_client")])
@pytest.mark.parametrize("client", [None, mine()])
async def test_a_refresh_that_fails_early_disturbs_nobody_until_the_token_ends(
    refusal: Answer, client: OAuthClientInformationFull | None
) -> None:
    answer = refusal({"grant_type": "refresh_token"})
    if client is None and answer is not None and answer.status_code == 401:
        return  # Its registration is made anew at once: the person is asked.
    server = Issuing()
    provider = server.new(client=client)
    await server.call(provider)
    server.clock.advance(3550)
    server.refuse = refusal
    for refreshed in (["refresh-1"], []):
        assert await server.call(provider) == 200
        assert server.refreshed == refreshed
    assert len(server.sent_to) == 1
    server.clock.advance(50)
    server.refuse = lambda form: None
    assert await server.call(provider) == 200
    assert server.refreshed == ["refresh-1"]
    # What was put off is over: the next token is refreshed early again.
    server.clock.advance(3550)
    assert await server.call(provider) == 200
    assert server.refreshed == ["refresh-2"]


async def test_a_token_that_was_not_refreshed_early_and_is_rejected_then_is_refreshed_before_anybody_is_asked() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3550)
    server.good, server.refuse = set(), refresh_gets(503)
    with pytest.raises(TransientError):
        await server.call(provider)
    assert (server.refreshed, len(server.sent_to)) == (["refresh-1", "refresh-1"], 1)
    server.refuse = refresh_gets(404)
    again = server.new()
    assert await server.call(again) == 200
    assert (server.refreshed, len(server.sent_to)) == (["refresh-1", "refresh-1"], 2)


async def test_a_token_that_ended_and_cannot_be_refreshed_now_is_said_and_kept() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    for advanced, good in ((3600, {"access-1"}), (0, set())):
        server.clock.advance(advanced)
        server.good, server.refuse = good, refresh_gets(503)
        with pytest.raises(TransientError):
            await server.call(provider)
        # It is asked no second time: what is asked next is where the endpoint is by now.
        assert server.refreshed == ["refresh-1"]
    server.refuse = lambda form: None
    assert await server.call(provider) == 200
    assert len(server.sent_to) == 1


async def test_calls_that_wait_while_a_token_endpoint_is_looked_for_ask_nobody_either() -> None:
    server, failed = Issuing(), []
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse = refresh_gets(503)

    async def call() -> None:
        try:
            await server.walk(provider)
        except TransientError as error:
            failed.append(error)

    async with anyio.create_task_group() as calls:
        for _ in range(3):
            calls.start_soon(call)
    assert (len(failed), len(server.sent_to)) == (3, 1)
    server.refuse = lambda form: None
    assert await server.call(provider) == 200
    assert (server.refreshed, len(server.sent_to)) == (["refresh-1"], 1)


@pytest.mark.parametrize(("headers", "looked_for"), [({}, True), ({"Retry-After": "60"}, False)])
async def test_where_a_token_endpoint_is_by_now_is_found_out_unless_it_named_a_time_to_come_back(
    headers: dict[str, str], looked_for: bool
) -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse = lambda form: httpx2.Response(503, headers=headers) if "refresh_token" in form else None
    with pytest.raises(ServerUnavailable) as caught:
        await server.call(provider)
    assert (caught.value.retry_at is None, f"GET {SERVER}" in server.urls) == (looked_for, looked_for)
    assert len(server.sent_to) == 1


async def test_a_token_endpoint_that_is_out_of_service_and_has_moved_is_where_the_person_is_sent_from_then_on() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse, server.changed["token_endpoint"] = refresh_gets(503), f"{ISSUER}/moved/token"
    assert await server.call(provider) == 200
    assert (server.urls[0], f"POST {ISSUER}/moved/token" in server.urls) == (f"POST {TOKEN}", True)
    assert len(server.sent_to) == 2


async def test_a_token_that_is_rejected_and_cannot_be_refreshed_now_is_no_reason_to_ask_anybody() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.good, server.refuse = set(), refresh_gets(503)
    with pytest.raises(TransientError):
        await server.call(provider)
    assert len(server.sent_to) == 1


@pytest.mark.parametrize(
    ("seconds", "lifetime", "refreshed", "asked"),
    [
        (3600, 3600, ["refresh-1", "refresh-late"], 1),
        (3599, 3600, ["refresh-1"], 2),
        (3600, None, ["refresh-1"], 2),
    ],
)
async def test_a_new_token_that_may_have_ended_on_its_way_is_refreshed_and_any_other_that_is_rejected_is_not(
    seconds: int, lifetime: int | None, refreshed: list[str], asked: int
) -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    late = {"access_token": "late", "refresh_token": "refresh-late", "token_type": "Bearer"}

    def slow(form: dict[str, str]) -> httpx2.Response | None:
        if form.get("refresh_token") != "refresh-1":
            return None
        server.clock.advance(seconds)
        return httpx2.Response(200, json=late | ({"expires_in": lifetime} if lifetime is not None else {}))

    server.refuse = slow
    assert await server.call(provider) == 200
    assert (server.refreshed, len(server.sent_to)) == (refreshed, asked)


async def test_a_token_that_ends_too_early_again_and_again_is_not_refreshed_for_ever() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)

    def slow(form: dict[str, str]) -> httpx2.Response | None:
        server.clock.advance(3600)
        late = {"access_token": f"late-{len(server.requests)}", "refresh_token": "late", "token_type": "Bearer"}
        return httpx2.Response(200, json={**late, "expires_in": 3600}) if "refresh_token" in form else None

    server.refuse = slow
    assert await server.call(provider) == 200
    assert (len(server.refreshed), len(server.sent_to)) == (3, 2)


async def test_a_client_that_the_server_knows_no_more_is_registered_again() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.clock.advance(3600)
    server.refuse = lambda form: (
        httpx2.Response(401, json={"error": "invalid_client"}) if form["client_id"] == "client-1" else None
    )
    assert await server.call(provider) == 200
    assert (server.clients, len(server.sent_to)) == (2, 2)
    assert server.grant.client.client_id == "client-2"


async def test_a_client_that_the_server_knows_no_more_is_not_tried_again_after_a_restart() -> None:
    server = Issuing()
    await server.call(provider := server.new())
    server.clock.advance(3600)
    server.refuse = lambda form: (
        httpx2.Response(401, json={"error": "invalid_client"}) if form["client_id"] == "client-1" else None
    )
    server.instead[f"{ISSUER}/register"] = lambda request: httpx2.Response(503)
    with pytest.raises(McpOAuthError):
        await server.call(provider)
    assert [form["client_id"] for form in server.forms] == ["client-1"]
    server.instead.clear()
    assert await server.call(server.new()) == 200
    assert [form["client_id"] for form in server.forms] == ["client-2"]


@pytest.mark.parametrize(
    ("client", "url", "hint"),
    [
        (mine(), None, "McpAuth(client=...)"),
        (None, "https://app.example/client.json", "McpAuth(client_metadata_url=...)"),
    ],
)
@pytest.mark.parametrize("when", ["code", "refresh"])
async def test_a_client_that_was_passed_and_is_refused_is_named_and_kept(
    client: OAuthClientInformationFull | None, url: str | None, hint: str, when: str
) -> None:
    server = Issuing(changed={"client_id_metadata_document_supported": True})
    provider = server.new(client=client, client_metadata_url=url)
    refused = httpx2.Response(401, json={"error": "invalid_client"})
    if when == "refresh":
        await server.call(provider)
        server.clock.advance(3600)
    server.refuse = lambda form: refused
    with pytest.raises(ConfigurationError, match="invalid_client") as caught:
        await server.call(provider)
    assert hint in caught.value.hint
    assert server.clients == 0
    if when == "refresh":
        assert server.grant.token is not None
    server.refuse = lambda form: None
    assert await server.call(provider) == 200


async def test_a_refused_refresh_of_who_was_slower_does_not_touch_what_the_quicker_one_stored() -> None:
    server = Issuing()
    provider, known, newer = await signed_in_an_hour_ago(server)

    def overtaken(form: dict[str, str]) -> httpx2.Response:
        server.store.save(known.key, replace(known, token=newer))
        server.good = {"newer"}
        return httpx2.Response(400, json={"error": "invalid_grant"})

    server.refuse = overtaken
    assert await server.call(provider) == 200
    assert (server.grant.token, len(server.sent_to)) == (newer, 1)


# -- a code that is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [code_gets(400, error="invalid_request"), code_gets(404), code_gets(200)])
async def test_a_code_that_is_refused_blames_a_registration_of_another_day_and_no_fresh_one(refusal: Answer) -> None:
    server = Issuing()
    provider = server.new()
    server.refuse = refusal
    with pytest.raises((OAuthErrorResponse, ProtocolError)) as fresh:
        await server.call(provider)
    assert not isinstance(fresh.value, ReauthorizeError)
    assert len(server.store.entries()) == 1
    with pytest.raises(ReauthorizeError, match="authenticated by none") as stored:
        await server.call(server.new())
    assert "The registration was forgotten. Call again" in stored.value.hint
    assert stored.value.reference == "RFC 6749 section 5.2"
    assert server.store.entries() == {}
    server.refuse = lambda form: None
    assert await server.call(server.new()) == 200
    assert server.clients == 2


async def test_a_fresh_registration_that_the_token_endpoint_does_not_know_is_forgotten() -> None:
    server = Issuing()
    provider = server.new()
    server.refuse = code_gets(401, error="invalid_client")
    with pytest.raises(ReauthorizeError, match="authenticated by none"):
        await server.call(provider)
    server.refuse = lambda form: None
    assert await server.call(provider) == 200
    assert (server.clients, server.grant.client.client_id) == (2, "client-2")


async def never(url: str) -> str:
    """The person, whom the server shows that it does not know the client."""
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


@pytest.mark.parametrize(("client", "day", "kept"), [(None, "this", 1), (None, "another", 0), (mine(), "another", 1)])
async def test_where_nobody_comes_back_a_registration_of_another_day_is_dropped_and_no_other(
    client: OAuthClientInformationFull | None, day: str, kept: int
) -> None:
    server = Issuing()
    if day == "another":
        await server.call(server.new(client=client))
        server.store.save(server.grant.key, replace(server.grant, token=None))
    with pytest.raises(ReauthorizeError):
        await server.call(server.new(client=client, paste=never, timeout=0.05))
    assert len(server.store.entries()) == kept


async def test_a_step_up_that_nobody_answers_costs_neither_the_registration_nor_the_token() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool("get_github_user_info")
        before = dict(lab.auth.store.entries())
        session = await lab.connect(auth=replace(lab.auth, paste=never, timeout=0.05))
        with pytest.raises(ReauthorizeError):
            await session.call_tool("get_github_user_info", {"include_private": True})
        assert lab.auth.store.entries() == before
        await session.call_tool("get_github_user_info")
        assert len(lab.trace.find("/register")) == 1


async def test_a_person_who_came_back_once_does_not_vouch_for_the_registration_the_next_time() -> None:
    server = Issuing()
    people = [server.paste, never]
    provider = server.new(paste=lambda url: people.pop(0)(url), timeout=0.05)
    await server.call(provider)
    server.good.clear()
    server.refuse = refresh_gets(400, error="invalid_grant")
    with pytest.raises(ReauthorizeError):
        await server.call(provider)
    assert server.store.entries() == {}


async def test_who_comes_back_with_a_no_keeps_the_registration_of_another_day() -> None:
    server = Issuing()
    await server.call(server.new())
    server.store.save(server.grant.key, replace(server.grant, token=None))

    async def declined(url: str) -> str:
        return f"http://127.0.0.1/callback?error=access_denied&state={httpx2.URL(url).params['state']}"

    with pytest.raises(AccessDenied):
        await server.call(server.new(paste=declined))
    assert server.grant.client.client_id == "client-1"


async def test_a_code_of_a_client_that_was_passed_is_refused_with_the_servers_own_error() -> None:
    server = Issuing()
    server.refuse = code_gets(400, error="invalid_grant")
    with pytest.raises(McpOAuthError) as caught:
        await server.call(server.new(client=mine()))
    assert not isinstance(caught.value, ConfigurationError)
    assert "registration was forgotten" not in caught.value.hint


async def test_the_code_of_a_genuine_callback_stays_masked_whatever_peers_say_afterwards() -> None:
    server, code = Issuing(), "the-code-of-a-genuine-callback"

    async def come_back(url: str) -> str:
        return (await server.paste(url)).replace("a-code", code)

    await server.call(server.new(paste=come_back))
    for page in range(3):
        remember_heard(*(f"heard{page}-{number:08d}" for number in range(10_000)))
    assert scrub(f"It was {code}.") == f"It was {mask(code)}."


# -- how the client authenticates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "listed", "sent"),
    [
        ({"client_secret": "s3cret-of-mine"}, None, "basic"),
        ({"client_secret": "s3cret-of-mine"}, ["client_secret_post"], "post"),
        ({"client_secret": "s3cret-of-mine", "token_endpoint_auth_method": "client_secret_post"}, None, "post"),
        ({}, None, "none"),
    ],
)
async def test_a_client_authenticates_as_it_is_registered_with_a_code_and_with_a_refresh_token(
    said: dict[str, str], listed: list[str] | None, sent: str
) -> None:
    server = Issuing(changed={"token_endpoint_auth_methods_supported": listed} if listed else {})
    provider = server.new(client=mine(**said))
    for _ in range(2):
        assert await server.call(provider) == 200
        (request,) = (one for one in server.requests if str(one.url) == TOKEN)
        (form,) = server.forms
        basic = "Basic " + base64.b64encode(b"mine:s3cret-of-mine").decode()
        assert request.headers.get("authorization") == (basic if sent == "basic" else None)
        assert form.get("client_secret") == ("s3cret-of-mine" if sent == "post" else None)
        server.clock.advance(3600)
    assert "s3cret-of-mine" not in repr(provider.context)
    assert "refresh-" not in repr(provider.context)


async def test_a_stored_registration_that_is_damaged_is_replaced_when_its_token_ends() -> None:
    server = Issuing()
    await server.call(server.new())
    client = server.grant.client.model_copy(update={"token_endpoint_auth_method": "unheard-of"})
    server.store.save(server.grant.key, replace(server.grant, client=client))
    server.clock.advance(3600)
    provider = server.new()
    for _ in range(3):
        try:
            assert await server.call(provider) == 200
            break
        except McpOAuthError:
            continue
    assert server.grant.client.client_id == "client-2"
    assert server.grant.client.token_endpoint_auth_method == "none"


# -- scopes ------------------------------------------------------------------------------------------------------


async def test_a_step_up_after_a_restart_asks_for_what_is_there_and_what_is_missing_where_the_server_is_now() -> None:
    server = Issuing()
    await server.call(server.new())
    server.needs = "repo"
    server.changed["token_endpoint"] = f"{ISSUER}/moved/token"
    assert await server.call(server.new()) == 200
    assert httpx2.URL(server.sent_to[-1]).params["scope"] == "read:user repo"
    assert f"POST {ISSUER}/moved/token" in server.urls


async def test_a_step_up_that_the_person_declines_costs_no_token_even_if_the_client_registered_anew_for_it() -> None:
    server = Issuing()

    def registered_for_less(request: httpx2.Request) -> httpx2.Response:
        server.clients += 1
        told = {"client_id": f"client-{server.clients}", "scope": json.loads(request.content).get("scope")}
        return httpx2.Response(201, json={**told, "redirect_uris": ["http://127.0.0.1/callback"]})

    async def decline(url: str) -> str:
        asked = httpx2.URL(url).params
        return str(httpx2.URL(asked["redirect_uri"], params={"error": "access_denied", "state": asked["state"]}))

    server.instead[f"{ISSUER}/register"] = registered_for_less
    await server.call(server.new())
    before, server.needs = server.grant, "repo"
    with pytest.raises(AccessDenied):
        await server.call(server.new(paste=decline))
    assert server.clients == 2
    assert server.grant == before
    server.needs = ""
    assert await server.call(server.new()) == 200
    assert server.urls == [f"POST {SERVER}"]


async def test_a_step_up_that_did_not_help_is_not_asked_for_twice() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.needs = "repo"
    server.granted = ""

    def less(form: dict[str, str]) -> httpx2.Response | None:
        server.good = {"less"}
        return httpx2.Response(200, json={"access_token": "less", "token_type": "Bearer", "scope": "read:user"})

    server.refuse = less
    for asked in (2, 2):
        with pytest.raises(InsufficientScope) as caught:
            await server.call(provider)
        assert caught.value.required == ("repo",)
        assert "it needs repo" in caught.value.message
        assert len(server.sent_to) == asked


async def test_a_scope_that_the_token_has_already_is_not_asked_for_again() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    server.needs, server.granted = "read:user", ""
    with pytest.raises(InsufficientScope):
        await server.call(provider)
    assert len(server.sent_to) == 1


async def test_the_state_of_a_flow_shows_no_token() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    context = provider.context
    shown = f"{context!r} {context.current_tokens!r}"
    assert context.current_tokens is not None
    assert context.current_tokens.access_token == "access-1"
    assert "access-1" not in shown
    assert "refresh-1" not in shown


async def test_a_token_endpoint_that_asks_one_session_for_patience_is_not_asked_by_another() -> None:
    server, patience = Issuing(), Patience()
    sessions = [server.new(patience=patience) for _ in range(2)]
    for provider in sessions:
        await server.call(provider)
    server.clock.advance(3550)
    server.refuse = lambda form: httpx2.Response(429, headers={"Retry-After": "60"})
    asked = 0
    for provider in sessions:
        assert await server.call(provider) == 200
        asked += len(server.refreshed)
    assert asked == 1


async def test_where_nobody_is_registered_nobody_tries() -> None:
    server = Issuing(changed={"registration_endpoint": None})
    with pytest.raises(ConfigurationError):
        await server.call(server.new())
    assert not [url for url in server.urls if url.startswith(f"POST {ISSUER}")]
    server.changed = {"registration_endpoint": "/register"}
    with pytest.raises(McpOAuthError) as caught:
        await server.call(server.new())
    assert '"/register"' in caught.value.message


async def test_how_a_client_authenticated_is_not_noted_in_its_registration() -> None:
    server = Issuing()
    provider = server.new(client=mine(client_secret="a-secret-of-a-client"))
    assert provider.context.auth_method == "none"
    await server.call(provider)
    assert provider.context.client_info is not None
    assert provider.context.client_info.token_endpoint_auth_method is None
    assert server.grant.client.token_endpoint_auth_method is None


async def test_a_refusal_that_is_not_for_a_scope_is_the_answer() -> None:
    server = Issuing()
    provider = server.new()
    await server.call(provider)
    header = {"WWW-Authenticate": 'Bearer error="invalid_request", scope="read:user"'}
    server.instead[SERVER] = lambda request: httpx2.Response(403, headers=header)
    assert await server.call(provider) == 403
    assert len(server.sent_to) == 1


async def test_a_new_token_that_is_rejected_at_once_is_said_and_not_asked_for_for_ever() -> None:
    server = Issuing()
    server.instead[SERVER] = lambda request: httpx2.Response(401, headers={"WWW-Authenticate": "Bearer"})
    with pytest.raises(TokenRejected):
        await server.call(server.new())
    assert len(server.sent_to) == 1


# -- the farewell ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed_in", [True, False])
async def test_a_farewell_goes_with_the_token_that_is_there_and_sends_nobody_anywhere(signed_in: bool) -> None:
    server = Issuing()
    if signed_in:
        await server.call(server.new())
    flow = server.new().async_auth_flow(request := httpx2.Request("DELETE", SERVER))
    assert await anext(flow) is request
    assert request.headers.get("authorization") == ("Bearer access-1" if signed_in else None)
    with pytest.raises(StopAsyncIteration):
        await flow.asend(httpx2.Response(401, request=request))


# -- the storage by itself ---------------------------------------------------------------------------------------


def stored(store: Store[Grant], token: str, **options: Any) -> tuple[GrantStorage, Grant]:
    """What one session keeps, and sees of it."""
    storage = GrantStorage(store_of(Grant, store), SERVER, ManualClock(1_000), **options)
    storage.bind(ISSUER, mine(), None, None)
    grant = storage.keep(Token(token))
    assert grant is not None
    return storage, grant


async def test_the_storage_serves_the_plain_sdk_too() -> None:
    clock, client, store = ManualClock(1_000), mine(), MemoryGrantStore()
    storage = GrantStorage(store, SERVER, clock)
    assert await storage.get_tokens() is None
    storage.bind(ISSUER, client, None, None)
    given = OAuthToken(access_token="an-access-token", expires_in=100, scope="repo gist", refresh_token="another")
    await storage.set_tokens(given)
    clock.advance(40)
    assert await storage.get_tokens() == given.model_copy(update={"expires_in": 60})
    assert await storage.get_client_info() == client
    (grant,) = store.entries().values()
    assert grant.token is not None
    assert (grant.token.resource, grant.saved_at) == (SERVER, 1_000)
    # Without anything but the token.
    await storage.set_tokens(OAuthToken(access_token="an-access-token"))
    assert await storage.get_tokens() == OAuthToken(access_token="an-access-token")


@pytest.mark.parametrize("kind", [MemoryGrantStore, Plain])
async def test_a_token_is_replaced_only_where_the_one_before_is_still_there(kind: Callable[[], Store[Grant]]) -> None:
    store = kind()
    storage, grant = stored(store, "old")
    assert storage.keep(Token("newer"), instead_of=Token("another")) is None
    assert store.entries() == {grant.key: grant}
    newer = storage.keep(Token("newer"), instead_of=grant.token)
    assert store.entries() == {grant.key: newer}
    async with storage.alone(1) as turn:
        assert turn


def test_a_token_is_forgotten_unless_there_is_another_already() -> None:
    store = MemoryGrantStore()
    storage, grant = stored(store, "newer")
    storage.forget_token(Token("old"))
    assert store.entries() == {grant.key: grant}
    storage.forget_token(Token("newer"))
    assert store.entries() == {grant.key: replace(grant, token=None)}


def test_a_registration_is_forgotten_unless_it_is_another_or_has_another_token() -> None:
    store = MemoryGrantStore()
    storage, grant = stored(store, "good")
    storage.forget_client(mine(client_id="another"), grant.token)
    storage.forget_client(mine(), Token("old"))
    storage.forget_client(mine(), None)
    assert store.entries() == {grant.key: grant}
    storage.forget_client(mine(), grant.token)
    assert store.entries() == {}


async def test_a_registration_takes_no_place_of_tokens_that_are_in_use_and_its_secret_is_masked() -> None:
    store = MemoryGrantStore()
    storage, grant = stored(store, "good")
    await storage.set_client_info(mine(client_id="another"))
    assert store.entries() == {grant.key: grant}
    storage.forget_token(Token("good"))
    await storage.set_client_info(mine(client_id="another"))
    assert [one.client.client_id for one in store.entries().values()] == ["another"]
    secret = "the-secret-of-a-client-of-nobody"
    await storage.set_client_info(mine(client_secret=secret, issuer=None))
    assert secret not in scrub(f"It is {secret}.")
    assert len(store.entries()) == 1


@pytest.mark.parametrize(("given", "under"), [(None, ""), (mine(), "mine"), (mine(client_id="another"), "")])
def test_of_clients_that_register_themselves_one_is_kept_and_of_those_that_are_given_each(
    given: OAuthClientInformationFull | None, under: str
) -> None:
    _, grant = stored(MemoryGrantStore(), "good", client=given)
    assert grant.key.client_id == under


def test_without_a_lock_what_was_refused_counts_as_gone_and_is_still_there() -> None:
    client, store = OAuthClientInformationFull(client_id="a-client"), Plain()
    grant = Grant("https://id.example", SERVER, client, token=Token("refused"))
    store.save(grant.key, grant)
    storage = GrantStorage(store_of(Grant, store), SERVER, ManualClock(1))
    assert grant.token is not None
    storage.forget_token(grant.token)
    assert storage.current() == replace(grant, token=None)
    assert store.entries() == {grant.key: grant}
    newer = replace(grant, token=Token("newer"))
    store.save(grant.key, newer)
    storage.forget_client(client, None)
    assert storage.current() == newer
    store.save(grant.key, grant)
    storage.forget_client(client, None)
    assert store.entries() == {}
