"""One authorization's way through the browser, by itself: who is sent where, and which answer counts."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import anyio
import httpx2
import pytest
from mcp.shared.auth import AuthorizationCodeResult

from mcp_oauth_nb import ManualClock
from mcp_oauth_nb.client.jupyterhub import JupyterHub
from mcp_oauth_nb.client.redirect import Redirect
from mcp_oauth_nb.oauth.authorization import PendingFlow, PendingFlows, check_issuer, read_callback
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    ProtocolError,
    ReauthorizeError,
    SecurityError,
    StateMismatch,
)
from mcp_oauth_nb.oauth.masking import mask, remember_heard, scrub
from mcp_oauth_nb.oauth.pkce import PKCE
from mcp_oauth_nb.oauth.secret_memory import MOST_CHARACTERS

pytestmark = pytest.mark.anyio

HERE = "http://127.0.0.1/callback"
STATE = "the-state-of-this-request"
URL = f"https://as.example/authorize?state={STATE}"


class Way:
    """A way, and what the person saw of it.

    Args:
        brings: the query of the address that the person pastes; nobody pastes if there is none.
    """

    def __init__(self, brings: str | None = None, *, uri: str = HERE, **options: Any):
        self.brings = brings
        self.shown: list[str] = []
        self.opened: list[str] = []
        self.asked: list[str] = []
        self.issuers: list[str | None] = []
        given: dict[str, Any] = {
            "paste": self._paste if brings is not None else None,
            "show": self.shown.append,
            "open_browser": self._open,
            "timeout": 5,
            "listen": False,
            "hub": None,
        }
        self.redirect = Redirect(uri, **{**given, **options})

    def _open(self, url: str) -> bool:
        self.opened.append(url)
        return True

    async def _paste(self, url: str) -> str:
        self.asked.append(url)
        return f"{HERE}?{self.brings}"

    def check_issuer(self, iss: str | None) -> None:
        self.issuers.append(iss)
        if iss == "https://evil.example":
            raise IssuerMismatch("Another issuer.")

    async def go(self, url: str = URL) -> AuthorizationCodeResult:
        """Send the person there, and return the answer."""
        await self.redirect.send(url, self.check_issuer)
        with anyio.fail_after(2):
            return await self.redirect.answer()

    async def visited(self, query: str) -> tuple[httpx2.Response, AuthorizationCodeResult | McpOAuthError]:
        """Send the person there, who comes back to the listener; return the page they see, and the answer."""
        uri = await self.redirect.start()
        try:
            await self.redirect.send(URL, self.check_issuer)
            async with httpx2.AsyncClient(trust_env=False) as browser:
                visit = asyncio.create_task(browser.get(f"{uri}?{query}"))
                with anyio.fail_after(2):
                    try:
                        answer: AuthorizationCodeResult | McpOAuthError = await self.redirect.answer()
                    except McpOAuthError as error:
                        answer = error
                    return await visit, answer
        finally:
            await self.redirect.stop()


async def never(url: str) -> str:
    await anyio.sleep_forever()
    raise AssertionError


# -- where the browser comes back to ---------------------------------------------------------------------------------


async def test_without_a_listener_the_uri_is_sent_along_as_it_is() -> None:
    assert await Way().redirect.start() == HERE
    assert await Way().redirect.start("http://127.0.0.1:8765/registered") == "http://127.0.0.1:8765/registered"


@pytest.mark.parametrize("registered", [None, "http://127.0.0.1/registered"])
async def test_the_port_that_is_listened_at_is_sent_along_and_is_free_after_the_stop(registered: str | None) -> None:
    redirect = Way(listen=True).redirect
    uri = httpx2.URL(await redirect.start(registered))
    assert uri.path == ("/registered" if registered else "/callback")
    assert uri.port
    with socket.create_connection(("127.0.0.1", uri.port), timeout=1):
        pass
    await redirect.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", uri.port), timeout=1)
    await redirect.stop()


async def test_a_uri_elsewhere_needs_somebody_who_pastes() -> None:
    elsewhere = "https://app.example/callback"
    with pytest.raises(ConfigurationError, match="nobody can listen"):
        await Way(uri=elsewhere, listen=True).redirect.start()
    way = Way(f"state={STATE}&code=a-code", uri=elsewhere, listen=True)
    assert await way.redirect.start() == elsewhere
    assert (await way.go()).code == "a-code"


PROXIED = "https://hub.example/user/ada/proxy/8765/callback"


@pytest.mark.parametrize(
    ("now", "then", "listens", "elsewhere"),
    [
        (HERE, "http://127.0.0.1:8765/callback", True, False),
        (HERE, PROXIED, True, True),
        (PROXIED, HERE, True, True),
        (PROXIED, PROXIED.replace("8765", "9999"), True, False),
        (PROXIED, PROXIED.replace("ada", "bob"), True, True),
        (HERE, PROXIED, False, False),
    ],
)
async def test_a_registration_leads_elsewhere_if_the_browser_would_come_back_through_another_server(
    now: str, then: str, listens: bool, elsewhere: bool
) -> None:
    assert bool(Way(uri=now, listen=listens).redirect.leads_elsewhere(then)) is elsewhere


# -- sending the person --------------------------------------------------------------------------------------------


async def test_the_address_is_shown_and_opened_and_whoever_pastes_has_it_too() -> None:
    way = Way(f"state={STATE}&code=a-code")
    await way.go()
    assert way.shown == [f"Open this address in a browser:\n\n  {URL}\n"]
    assert way.opened == way.asked == [URL]
    assert repr(way.asked) == repr([URL.replace(STATE, mask(STATE))])


@pytest.mark.parametrize("listen", [True, False])
async def test_of_an_endless_address_the_beginning_is_shown_and_all_of_it_is_opened(listen: bool) -> None:
    way = Way(f"state={STATE}&code=a-code", listen=listen)
    endless = f"{URL}&scope={'a' * 300_000}"
    await way.redirect.start()
    try:
        await way.redirect.send(endless, way.check_issuer)
    finally:
        await way.redirect.stop()
    assert way.opened == [endless]
    assert URL[:40] in way.shown[0]
    assert f"{len(endless):,} characters" in way.shown[0]
    assert len(way.shown[0]) < 400


async def test_an_address_of_eight_thousand_characters_is_shown_whole() -> None:
    long = f"{URL}&scope=".ljust(8_000, "a")
    way = Way(f"state={STATE}&code=a-code")
    await way.go(long)
    assert long in way.shown[0]


async def test_who_is_awaited_on_this_machine_is_invited_to_open_the_address_on_it() -> None:
    way = Way(listen=True)
    await way.visited(f"state={STATE}&code=a-code")
    assert way.shown == [f"Open this address in a browser on this machine:\n\n  {URL}\n"]


async def test_in_a_hub_whoever_is_awaited_is_told_how_the_browser_comes_back() -> None:
    hub = JupyterHub("/user/ada/")
    way = Way(listen=True, hub=hub)
    await way.visited(f"state={STATE}&code=a-code")
    assert way.shown == [f"Open this address in a browser:\n\n  {URL}\n\n{hub.hint}\n"]


async def test_an_address_that_could_start_a_program_is_shown_to_nobody_and_opened_by_nobody() -> None:
    way = Way("code=x")
    with pytest.raises(SecurityError, match="is not opened"):
        await way.go("vscode://open?state=x")
    assert way.shown == way.opened == way.asked == []


# -- the answer ------------------------------------------------------------------------------------------------------


async def test_a_yes_is_the_code_with_its_state_and_its_issuer() -> None:
    way = Way(f"state={STATE}&code=a-code-of-this-request&iss=https://as.example")
    answer = await way.go()
    assert (answer.code, answer.state, answer.iss) == ("a-code-of-this-request", STATE, "https://as.example")
    assert way.issuers == ["https://as.example"]
    assert way.redirect.answered
    # However much others say meanwhile.
    for number in range(9):
        remember_heard(f"{number}" * (MOST_CHARACTERS // 2 + 1))
    assert "a-code-of-this-request" not in scrub("It brought a-code-of-this-request.")


async def test_an_answer_without_an_issuer_is_checked_too() -> None:
    way = Way(f"state={STATE}&code=a-code")
    assert (await way.go()).iss is None
    assert way.issuers == [None]


async def test_an_empty_issuer_is_checked_as_one_and_not_taken_for_none() -> None:
    way = Way(f"state={STATE}&code=a-code&iss=")
    assert (await way.go()).iss == ""
    assert way.issuers == [""]


async def test_a_no_is_a_typed_error_and_an_answer() -> None:
    way = Way(f"state={STATE}&error=access_denied")
    with pytest.raises(AccessDenied):
        await way.go()
    assert way.redirect.answered
    assert way.issuers == [None]


@pytest.mark.parametrize("state", ["", "state=of-another&", "state=&"])
async def test_an_answer_of_another_request_is_none(state: str) -> None:
    way = Way(f"{state}code=a-code")
    with pytest.raises(StateMismatch):
        await way.go()
    assert not way.redirect.answered
    assert way.issuers == []


async def test_an_answer_of_another_issuer_is_none_and_its_error_is_not_believed() -> None:
    for brings in ("code=a-code", "error=access_denied"):
        way = Way(f"state={STATE}&{brings}&iss=https://evil.example")
        with pytest.raises(IssuerMismatch, match="Another issuer"):
            await way.go()
        assert not way.redirect.answered


async def test_an_answer_without_code_and_error_is_none() -> None:
    way = Way(f"state={STATE}")
    with pytest.raises(ProtocolError, match="neither a code nor an error"):
        await way.go()
    assert not way.redirect.answered


SAME = "https://as.example"


class Strict(Way):
    """A way to a server that always says who it is."""

    def check_issuer(self, iss: str | None) -> None:
        check_issuer(iss, SAME, required=True)


def said(error: McpOAuthError | None) -> tuple[Any, ...]:
    return (error is None,) if error is None else (type(error), error.message, error.hint, error.reference)


@pytest.mark.parametrize("iss", [SAME, "https://evil.example", "", None], ids=["same", "evil", "empty", "none"])
@pytest.mark.parametrize("state", [STATE, "another", None], ids=["ours", "another's", "none"])
@pytest.mark.parametrize(
    "brings", ["code=1", "error=access_denied", "error=no&code=1", "error=&code=", "page=1", "code=1&code=2"]
)
async def test_whatever_comes_back_the_handler_and_a_session_say_the_same(
    clock: ManualClock, brings: str, state: str | None, iss: str | None
) -> None:
    query = "&".join([brings, *([f"state={state}"] if state else []), *([f"iss={iss}"] if iss is not None else [])])
    flows = PendingFlows(clock)
    flows.add(PendingFlow(STATE, PKCE.generate(), HERE, SAME, (), clock.now()))
    by_hand: McpOAuthError | None = None
    try:
        read_callback(f"{HERE}?{query}", flows, iss_required=True)
    except McpOAuthError as error:
        by_hand = error
    over_http: McpOAuthError | None = None
    try:
        await Strict(query).go()
    except McpOAuthError as error:
        over_http = error
    assert said(by_hand) == said(over_http)


async def test_the_next_request_has_no_answer_yet() -> None:
    way = Way(f"state={STATE}&code=a-code")
    await way.go()
    await way.redirect.send(URL, way.check_issuer)
    assert not way.redirect.answered


async def test_a_state_in_the_query_of_the_endpoint_is_not_that_of_the_request() -> None:
    way = Way(f"state={STATE}&code=a-code")
    assert (await way.go(f"https://as.example/authorize?state=theirs&state={STATE}")).state == STATE


async def test_who_comes_back_to_the_listener_is_believed_likewise() -> None:
    page, answer = await Way(listen=True).visited(f"state={STATE}&code=a-code")
    assert "Signed in" in page.text
    assert isinstance(answer, AuthorizationCodeResult)
    assert answer.code == "a-code"


@pytest.mark.parametrize(
    ("query", "kind"), [("error=access_denied", AccessDenied), ("code=x&iss=https://evil.example", IssuerMismatch)]
)
async def test_a_no_at_the_listener_ends_the_wait_and_the_visitor_is_told_so(
    query: str, kind: type[McpOAuthError]
) -> None:
    page, answer = await Way(listen=True).visited(f"state={STATE}&{query}")
    assert "Not signed in" in page.text
    assert isinstance(answer, kind)


async def test_of_two_ways_the_first_answer_counts_and_the_other_is_given_up() -> None:
    ended = []

    async def slow(url: str) -> str:
        try:
            return await never(url)
        finally:
            # Whoever gives up may have something to do still.
            await asyncio.sleep(0)
            ended.append(url)

    way = Way(listen=True, paste=slow)
    uri = await way.redirect.start()
    try:
        async with httpx2.AsyncClient(trust_env=False) as browser, anyio.create_task_group() as group:
            group.start_soon(browser.get, f"{uri}?state={STATE}&code=from-the-browser")
            assert (await way.go()).code == "from-the-browser"
            assert ended == [URL]
    finally:
        await way.redirect.stop()

    way = Way(f"state={STATE}&code=pasted", listen=True)
    await way.redirect.start()
    try:
        assert (await way.go()).code == "pasted"
    finally:
        await way.redirect.stop()


# -- nobody comes ----------------------------------------------------------------------------------------------------


async def test_a_paste_that_never_comes_ends_at_the_deadline_with_what_to_do() -> None:
    with pytest.raises(ReauthorizeError, match=r"No address was pasted within 0\.01 seconds") as caught:
        await Way(paste=never, timeout=0.01).go()
    assert "McpAuth(timeout=...)" in caught.value.hint


@pytest.mark.parametrize(("paste", "hint"), [(None, "McpAuth(paste=...)"), (never, "paste its address in time")])
async def test_who_listens_in_vain_says_how_this_client_takes_a_pasted_address(paste: Any, hint: str) -> None:
    way = Way(paste=paste, timeout=0.01, listen=True)
    await way.redirect.start()
    try:
        with pytest.raises(ReauthorizeError, match=r"No callback arrived within 0\.01 seconds") as caught:
            await way.go()
    finally:
        await way.redirect.stop()
    assert hint in caught.value.hint
