"""The lab over HTTP: the whole flow at a public URL, the same on every run, with nothing that leaves the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mcp_oauth_nb import AuthenticationRequired, HttpLab, run
from mcp_oauth_nb.lab.network import Network2
from mcp_oauth_nb.oauth.errors import AccessDenied, InsufficientScope, ProtocolError, RateLimited, SessionClosed
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.runtime import loops
from mcp_oauth_nb.store.grants import Grant
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.trace.messages import AUTHORIZATION_SERVER, CLIENT, SERVER

pytestmark = pytest.mark.anyio

TOOL = "get_github_user_info"
MODES: list[Literal["auto", "legacy"]] = ["auto", "legacy"]


def text(result: Any) -> str:
    return "".join(block.text for block in result.content)


def recording(lab: HttpLab) -> str:
    return repr(lab.trace) + "".join(map(str, lab.trace.exchanges)) + lab.trace.diagram().svg


async def whole_flow(lab: HttpLab) -> None:
    """Authorize, step up, refresh; then two more clients with the other forms of registration."""
    await lab.session.call_tool(TOOL)
    await lab.session.call_tool(TOOL, {"include_private": True})
    lab.clock.advance(hours=2)
    await lab.session.call_tool(TOOL)
    for changes in ({"client": lab.registered_client}, {"client_metadata_url": lab.client_metadata_url}):
        other = await lab.connect(auth=lab.new_auth(**changes))
        await other.call_tool(TOOL)


@pytest.mark.parametrize("mode", MODES)
async def test_one_call_goes_all_the_way(mode: Literal["auto", "legacy"]) -> None:
    async with HttpLab.open(mode=mode) as lab:
        assert "octocat" in text(await lab.session.call_tool(TOOL))
        assert lab.session.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert [asked["scope"] for asked in lab.browser.asked] == ["read:user"]


@pytest.mark.parametrize("mode", MODES)
async def test_the_same_seed_gives_the_same_bytes_on_either_loop(mode: Literal["auto", "legacy"]) -> None:
    recordings = []
    loops_: list[Literal["thread", "current"]] = ["thread", "current"]
    for loop in loops_:
        async with HttpLab.open(seed=3, mode=mode, loop=loop) as lab:
            await whole_flow(lab)
            recordings.append(recording(lab))
    assert recordings[0] == recordings[1]


async def test_another_seed_gives_other_secrets() -> None:
    recordings = []
    for seed in (1, 2):
        async with HttpLab.open(seed=seed) as lab:
            await lab.session.call_tool(TOOL)
            recordings.append(recording(lab))
    assert recordings[0] != recordings[1]


async def test_the_token_of_a_lab_is_the_one_for_its_server_whatever_else_the_client_has() -> None:
    async with HttpLab.open() as lab:
        elsewhere = "https://other.example/mcp"
        key, grant = (
            TokenKey("https://other.example", "c", elsewhere),
            Grant("https://other.example", elsewhere, lab.registered_client, token=Token("token-of-another-server")),
        )
        lab.auth.store.save(key, grant)
        assert lab.token is None
        await lab.session.call_tool(TOOL)
        (found,) = [one.token for one in lab.auth.store.entries().values() if one.resource == lab.url]
        assert lab.token == found


async def test_the_three_forms_of_registration_show_on_the_wire() -> None:
    async with HttpLab.open() as lab:
        await whole_flow(lab)
    ids = [asked["client_id"] for asked in lab.browser.asked]
    assert ids[-2:] == ["notebook", lab.client_metadata_url]
    (registration,) = lab.trace.find("/register")
    assert registration.response is not None
    assert registration.response.body["client_id"] == ids[0]
    fetched = [message.sender for message in lab.trace.messages if message.title == f"GET {lab.client_metadata_url}"]
    assert fetched == [AUTHORIZATION_SERVER]


async def test_a_client_may_publish_a_document_of_its_own() -> None:
    url = "https://mine.example/client.json"
    async with HttpLab.open() as lab:
        lab.publish(url, {"client_id": url, "client_name": "Mine", "redirect_uris": ["http://127.0.0.1/callback"]})
        session = await lab.connect(auth=lab.new_auth(client_metadata_url=url))
        assert "octocat" in text(await session.call_tool(TOOL))


async def test_exchanges_are_recorded_in_the_order_of_the_wire() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool(TOOL)
        await lab.session.call_tool(TOOL, {"include_private": True})
    titles = [message.title for message in lab.trace.messages]
    for status in ("401", "403"):
        refused = next(place for place, title in enumerate(titles) if title.startswith(status))
        assert titles[refused - 1].endswith(TOOL)
    assert titles[titles.index(f"POST {lab.url} tools/call {TOOL}") + 1] == "401 Unauthorized (error -32001)"


async def test_a_diagram_can_be_of_some_parties_only() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool(TOOL)
    drawn = lab.trace.diagram(parties=(CLIENT, SERVER, AUTHORIZATION_SERVER)).text
    assert "GitHub" in lab.trace.diagram().text
    assert "GitHub" not in drawn
    assert "tools/call get_github_user_info" in drawn
    assert "GET /.well-known/oauth-protected-resource/mcp" in drawn


async def test_the_server_is_reached_from_any_loop_and_thread_at_the_same_time() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool(TOOL)
        answers: list[int] = []

        def elsewhere() -> None:
            async def ask() -> None:
                answers.append((await lab.http.get("/health")).status_code)
                await lab.session.call_tool(TOOL)

            asyncio.run(ask())

        threads = [threading.Thread(target=elsewhere) for _ in range(4)]
        for thread in threads:
            thread.start()
        await lab.session.call_tool(TOOL)
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert answers == [200] * 4
    assert len(lab.browser.asked) == 1


@pytest.mark.parametrize("url", ["https://example.com/", "http://mcp.example/mcp", "https://mcp.example.evil.test/mcp"])
async def test_no_other_host_can_be_reached(url: str) -> None:
    async with HttpLab.open() as lab:
        with pytest.raises(httpx.ConnectError):
            await lab.http.get(url)
        transport = Network2(lab.network)
        async with httpx2.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(url)


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_cannot_authorize_gets_the_challenge_of_the_body(mode: Literal["auto", "legacy"]) -> None:
    async with HttpLab.open() as lab:
        session = await lab.connect(mode=mode, auth=False)
        with pytest.raises(AuthenticationRequired) as caught:
            await session.call_tool(TOOL)
    assert caught.value.challenge is not None
    assert caught.value.challenge.resource == lab.url


async def test_a_person_who_cancels_is_a_typed_error_and_may_change_their_mind() -> None:
    async with HttpLab.open() as lab:
        for knob in ("allow", "allow_at_github"):
            setattr(lab.browser, knob, False)
            with pytest.raises(AccessDenied):
                await lab.session.call_tool(TOOL)
            setattr(lab.browser, knob, True)
        assert "octocat" in text(await lab.session.call_tool(TOOL))


async def test_a_person_may_grant_less_than_was_asked_for() -> None:
    async with HttpLab.open() as lab:
        assert lab.token is None
        lab.browser.scopes = ["read:user"]
        with pytest.raises(InsufficientScope):
            await lab.session.call_tool(TOOL, {"include_private": True})
        assert lab.browser.asked[0]["scope"] == "read:user repo"
        assert lab.token is not None
        assert lab.token.scopes == ("read:user",)


async def test_another_user_can_sit_at_the_browser() -> None:
    async with HttpLab.open(user="monalisa") as lab:
        assert "monalisa" in text(await lab.session.call_tool(TOOL))
        lab.browser.user = "octocat"
        lab.browser.cookies.clear()
        other = await lab.connect(auth=lab.new_auth())
        assert '"octocat"' in text(await other.call_tool(TOOL))
        assert lab.browser.user == "octocat"


async def test_another_client_is_not_held_back_by_the_patience_that_the_first_one_was_asked_for() -> None:
    async with HttpLab.open() as lab:
        endpoint = str(lab.authorization_server.metadata.token_endpoint)
        busy = Answer(endpoint, 429, httpx.Headers({"Retry-After": "60"}), b"")
        lab.auth.patience.heard(busy, lab.clock.now())
        with pytest.raises(RateLimited):
            await lab.session.call_tool(TOOL)
        other = await lab.connect(auth=lab.new_auth())
        assert not (await other.call_tool(TOOL)).is_error


async def test_until_when_github_asks_for_patience_is_told_by_the_labs_clock() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool(TOOL)
        lab.github.faults.next_api(status=429, headers={"Retry-After": "60"})
        result = await lab.session.call_tool(TOOL)
        assert result.is_error
        assert "Try again after 2026-01-01T00:01:00Z" in text(result)


async def test_the_model_is_asked_over_http_too() -> None:
    async with HttpLab.open() as lab:
        assert "No model here" in text(await lab.session.call_tool("analyze_code_with_llm", {"code": "1 + 1"}))
    assert lab.browser.asked == []


async def test_the_environment_does_not_change_a_lab_and_settings_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_TOKEN_URL", "https://elsewhere.example/token")
    async with HttpLab.open(server_name="mine") as lab:
        await lab.session.call_tool(TOOL)
        assert lab.session.server_info is not None
        assert lab.session.server_info.name == "mine"


async def test_a_closed_lab_can_still_be_looked_at() -> None:
    lab = await HttpLab.open()
    await lab.session.call_tool(TOOL)
    await lab.aclose()
    await lab.aclose()
    assert len(lab.trace) > 20
    assert repr(lab).startswith("HttpLab(https://mcp.example, seed=7")
    with pytest.raises(SessionClosed):
        await lab.session.list_tools()


def test_a_lab_works_without_await() -> None:
    lab = run(HttpLab.open())
    assert not run(lab.session.call_tool(TOOL)).is_error
    run(lab.aclose())


async def test_a_lab_that_is_dropped_stops_its_server() -> None:
    lab = await HttpLab.open()
    gone = weakref.ref(lab)
    running = lab._running
    assert running is not None
    assert running._task is not None
    task, home = running._task, loops.loop()
    del lab
    gc.collect()
    assert gone() is None

    async def ended() -> None:
        await asyncio.wait({task}, timeout=5)

    await loops.on(home, ended())
    assert task.done()


async def test_a_browser_that_ends_on_an_error_page_says_so() -> None:
    async with HttpLab.open() as lab:
        with pytest.raises(ProtocolError):
            await lab.browser.authorize("https://mcp.example/consent?flow=none")
        assert repr(lab.browser) == "Person(octocat, allow=True)"


async def test_no_secret_shows_anywhere() -> None:
    async with HttpLab.open() as lab:
        await whole_flow(lab)
        shown = recording(lab) + repr([lab, lab.browser, lab.browser.asked, lab.auth, lab.session, lab.settings])
        shown += "".join(exchange._repr_html_() for exchange in lab.trace.exchanges)
        shown += repr([vars(message) for message in lab.trace.messages])
        secrets = lab.github.issued_secrets()
        for grant in lab.auth.store.entries().values():
            assert grant.token is not None
            secrets |= {grant.token.access_token, str(grant.token.refresh_token)}
            # A public client has none.
            secrets |= {secret for secret in [grant.client.client_secret] if secret is not None}
    assert len(secrets) > 8
    assert not [secret for secret in secrets if secret in shown]


async def test_a_server_that_stands_in_for_a_while_is_started_and_stopped_whatever_happens() -> None:
    seen = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        seen.append("started")
        yield
        seen.append("stopped")

    other = Starlette(routes=[Route("/mcp", lambda request: PlainTextResponse("another"))], lifespan=lifespan)
    async with HttpLab.open() as lab:
        with contextlib.suppress(ZeroDivisionError):
            async with lab.network.running_instead(other):
                assert (await lab.http.get("/mcp")).text == "another"
                assert seen == ["started"]
                raise ZeroDivisionError
        assert seen == ["started", "stopped"]
        assert (await lab.http.get("/health")).json() == {"status": "ok"}
