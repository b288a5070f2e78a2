"""Signing in with a browser: the loopback listener, and what may and may not reach it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from mcp_oauth_nb import Lab, McpAuth, OAuthHandler, login
from mcp_oauth_nb.client.callback import CallbackListener
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    McpOAuthError,
    OAuthErrorResponse,
    ReauthorizeError,
    SecurityError,
    StateMismatch,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as opened:
        yield opened


class Person:
    """Stands for the user and the browser: goes through the mock's pages, then visits where they lead.

    Args:
        allow: click "Authorize", or "Cancel".
        before: addresses to visit first, made from the callback.
    """

    def __init__(self, lab: Lab, *, allow: bool = True, before: Callable[[str], list[str]] = lambda _: []):
        self.lab = lab
        self.allow = allow
        self.before = before
        self.pages: list[httpx.Response] = []
        self._visit: asyncio.Task[None] | None = None

    def open(self, url: str) -> bool:
        self._visit = asyncio.ensure_future(self._go(url))
        return True

    async def _go(self, url: str) -> None:
        callback = await self.lab.browser.authorize(url, allow=self.allow)
        async with httpx.AsyncClient() as browser:
            for address in [*self.before(callback), callback]:
                self.pages.append(await browser.get(address))

    async def done(self) -> list[httpx.Response]:
        assert self._visit is not None
        await self._visit
        return self.pages


async def sign_in(lab: Lab, person: Person) -> list[str]:
    shown: list[str] = []
    await login(lab.oauth, show=shown.append, open_browser=person.open, timeout=10)
    return shown


async def test_a_person_signs_in_and_the_token_is_kept(lab: Lab) -> None:
    person = Person(lab)
    shown = await sign_in(lab, person)
    (page,) = await person.done()
    assert lab.oauth.is_authenticated()
    assert "https://github.com/login/oauth/authorize?" in shown[0]
    assert page.status_code == 200
    assert "Signed in" in page.text


async def test_the_redirect_goes_to_a_free_port_that_is_released_afterwards(lab: Lab) -> None:
    person = Person(lab)
    await sign_in(lab, person)
    (page,) = await person.done()
    assert page.url.host == "127.0.0.1"
    # As a listener does: the last visitor's connection may linger.
    listen(page.url.port or 0).close()


async def test_a_listener_that_is_left_while_it_starts_releases_its_port() -> None:
    async with CallbackListener("http://127.0.0.1/callback", str) as listener:
        port = urlsplit(listener.redirect_uri).port
    assert port
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


async def test_the_code_is_exchanged_with_the_redirect_uri_that_was_used(lab: Lab) -> None:
    await sign_in(lab, Person(lab))
    sent = lab.trace.find("/access_token")[-1].request.body["redirect_uri"]
    assert sent.startswith("http://127.0.0.1:")


async def test_other_scopes_can_be_asked_for(lab: Lab) -> None:
    person = Person(lab)
    token = await login(lab.oauth, show=str, open_browser=person.open, timeout=10, scopes=("gist",))
    await person.done()
    assert token.scopes == ("gist",)


async def test_a_redirect_uri_without_a_path_is_served_at_the_root() -> None:
    async with CallbackListener("http://127.0.0.1", str) as listener, httpx.AsyncClient() as browser:
        await browser.get(f"{listener.redirect_uri}?code=1")
        assert urlsplit(await listener.wait(5)).path == "/"


async def test_of_two_that_sign_in_at_once_each_is_waited_for_at_a_port_of_its_own() -> None:
    uri = "http://127.0.0.1/callback"
    async with CallbackListener(uri, str) as one, CallbackListener(uri, str) as two:
        assert one.redirect_uri != two.redirect_uri


async def test_no_log_has_the_code(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with CallbackListener("http://127.0.0.1/callback", str) as listener, httpx.AsyncClient() as browser:
        await browser.get(f"{listener.redirect_uri}?code=the-code")
    # The browser of this test has a log of its own.
    assert "the-code" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


async def test_the_path_of_the_redirect_uri_is_the_one_that_is_served() -> None:
    async with CallbackListener("http://localhost/elsewhere", lambda url: url) as listener, httpx.AsyncClient() as user:
        assert (await user.get(listener.redirect_uri.replace("/elsewhere", "/callback"))).status_code == 404
        await user.get(f"{listener.redirect_uri}?code=1")
        assert await listener.wait(5) == f"{listener.redirect_uri}?code=1"
        assert listener.redirect_uri.startswith("http://localhost:")


async def test_the_page_takes_nothing_elsewhere(lab: Lab) -> None:
    person = Person(lab)
    await sign_in(lab, person)
    (page,) = await person.done()
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]


async def test_wrong_visitors_do_not_end_the_wait(lab: Lab) -> None:
    def strangers(callback: str) -> list[str]:
        base = callback.partition("?")[0]
        return [
            base.replace("/callback", "/favicon.ico"),
            base,
            f"{base}?code=stolen-code-of-somebody&state=wrong",
            f"{callback}&state=twice",
            callback.replace("iss=", "iss=https%3A%2F%2Fevil.example%2F"),
        ]

    person = Person(lab, before=strangers)
    await sign_in(lab, person)
    pages = await person.done()
    assert [page.status_code for page in pages] == [404, 400, 400, 400, 400, 200]
    assert lab.oauth.is_authenticated()


async def test_nothing_from_the_request_is_shown_on_the_page(lab: Lab) -> None:
    def attack(callback: str) -> list[str]:
        base = callback.partition("?")[0]
        return [f"{base}?error=<script>alert(1)</script>&state=x", f"{base}?error_description=<b>bold</b>"]

    person = Person(lab, before=attack)
    await sign_in(lab, person)
    assert not [page for page in await person.done() if "<script>" in page.text or "bold" in page.text]


async def test_a_second_visit_gets_a_page_that_says_so(lab: Lab) -> None:
    async with CallbackListener(lab.settings.oauth_redirect_uri, lab.oauth.read_callback) as listener:
        request = lab.oauth.get_authorization_url(redirect_uri=listener.redirect_uri)
        callback = await lab.browser.authorize(request.url)
        async with httpx.AsyncClient() as browser:
            statuses = [(await browser.get(callback)).status_code for _ in range(2)]
        await listener.wait(5)
    assert statuses == [200, 409]


async def test_a_visit_after_the_wait_is_over_gets_a_page_that_says_so(lab: Lab) -> None:
    async with CallbackListener(lab.settings.oauth_redirect_uri, lab.oauth.read_callback) as listener:
        request = lab.oauth.get_authorization_url(redirect_uri=listener.redirect_uri)
        callback = await lab.browser.authorize(request.url)
        with pytest.raises(ReauthorizeError):
            await listener.wait(0.01)
        async with httpx.AsyncClient() as browser:
            page = await browser.get(callback)
    assert page.status_code == 410
    assert "does not wait for this sign-in any more" in page.text


async def test_a_person_who_declines_gets_a_page_and_the_program_the_reason(lab: Lab) -> None:
    person = Person(lab, allow=False)
    with pytest.raises(AccessDenied):
        await sign_in(lab, person)
    (page,) = await person.done()
    assert (page.status_code, "Not signed in" in page.text) == (200, True)
    assert not lab.oauth.is_authenticated()


@pytest.mark.parametrize(
    ("error", "raised"),
    [("redirect_uri_mismatch", ConfigurationError), ("application_suspended", OAuthErrorResponse)],
)
async def test_every_error_of_the_authorization_server_ends_the_wait(
    lab: Lab, error: str, raised: type[McpOAuthError]
) -> None:
    async with CallbackListener(lab.settings.oauth_redirect_uri, lab.oauth.read_callback) as listener:
        request = lab.oauth.get_authorization_url(redirect_uri=listener.redirect_uri)
        async with httpx.AsyncClient() as browser:
            page = await browser.get(listener.redirect_uri, params={"error": error, "state": request.state})
        assert "Not signed in" in page.text
        with pytest.raises(raised, match=error):
            await listener.wait(5)


async def test_a_person_who_does_not_come_is_waited_for_until_the_deadline(lab: Lab) -> None:
    with pytest.raises(ReauthorizeError, match=r"within 0\.01 seconds") as caught:
        await login(lab.oauth, show=str, open_browser=lambda url: False, timeout=0.01)
    assert "login --paste" in caught.value.hint


async def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
        async with Lab.open(oauth_redirect_uri=uri) as lab:
            with pytest.raises(ConfigurationError, match="cannot be listened on") as caught:
                await login(lab.oauth, show=str, open_browser=lambda url: True, timeout=1)
    assert caught.value.variables == ("OAUTH_REDIRECT_URI",)


@pytest.mark.parametrize(
    "uri", ["https://hub.example/callback", "https://127.0.0.1/callback", "https://[::1]/callback"]
)
async def test_a_redirect_uri_where_nobody_listens_is_a_clear_error(uri: str) -> None:
    async with Lab.open(oauth_redirect_uri=uri) as lab:
        with pytest.raises(ConfigurationError, match="does not lead to this machine") as caught:
            await login(lab.oauth, show=str, open_browser=lambda url: True, timeout=1)
    assert caught.value.variables == ("OAUTH_REDIRECT_URI",)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "calc.exe", "vscode://open"])
async def test_only_web_addresses_are_handed_to_the_browser(lab: Lab, url: str) -> None:
    # Past the check of the settings, as `model_copy` goes.
    settings = lab.settings.model_copy(update={"oauth_authorization_url": url})
    opened: list[str] = []
    with pytest.raises(SecurityError):
        await login(
            OAuthHandler(settings=settings, client=lab.http_client()),
            show=opened.append,
            open_browser=lambda address: bool(opened.append(address)),
            timeout=1,
        )
    assert opened == [], "nor shown, since what is shown may be clicked"


# -- the listener's own fate ------------------------------------------------------------


@pytest.mark.parametrize("ends", [ValueError("no"), SystemExit(3)], ids=repr)
async def test_who_waits_hears_at_once_of_an_error_in_the_listener_that_nobody_foresaw(ends: BaseException) -> None:
    def read(url: str) -> str:
        raise ends

    async with CallbackListener("http://127.0.0.1/callback", read) as listener, httpx.AsyncClient() as browser:
        assert (await browser.get(f"{listener.redirect_uri}?code=1")).status_code == 500
        with anyio.fail_after(5), pytest.raises(ReauthorizeError, match="ended by itself") as caught:
            await listener.wait(60)
    assert type(ends).__name__ in caught.value.message
    assert type(caught.value.__cause__) is type(ends)
    assert "paste" in caught.value.hint


def test_the_listener_works_where_warnings_are_errors() -> None:
    # A process of its own: what warns at its import does so once.
    code = """
        import asyncio, httpx
        from mcp_oauth_nb.client.callback import CallbackListener
        async def main():
            async with CallbackListener("http://127.0.0.1/callback", str) as listener, httpx.AsyncClient() as browser:
                await browser.get(listener.redirect_uri + "?code=1")
                print((await listener.wait(20)).partition("?")[2])
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("code=1", "", 0)


def _stranger(url: str) -> str:
    if "code=good" not in url:
        raise StateMismatch("The callback's state belongs to nobody.")
    return url


async def test_who_waited_in_vain_hears_that_a_callback_came_and_why_it_was_refused() -> None:
    async with CallbackListener("http://127.0.0.1/callback", _stranger) as listener, httpx.AsyncClient() as browser:
        await browser.get(f"{listener.redirect_uri}?code=bad-secret")
        with pytest.raises(ReauthorizeError, match=r"No callback of this sign-in arrived within 0\.01 s") as once:
            await listener.wait(0.01)
    assert "One came and was refused, the last because: The callback's state belongs to nobody." in once.value.message
    assert StateMismatch.hint in once.value.hint
    assert "login --paste" in once.value.hint
    assert once.value.reference == "RFC 6749 section 10.12"
    assert "bad-secret" not in str(once.value)


async def test_the_refused_callbacks_are_counted_and_do_not_keep_the_genuine_one_away() -> None:
    async with CallbackListener("http://127.0.0.1/callback", _stranger) as listener, httpx.AsyncClient() as browser:
        for _ in range(3):
            await browser.get(listener.redirect_uri)
        assert "3 came and were refused" in listener.in_vain(1.0).message
        await browser.get(f"{listener.redirect_uri}?code=good")
        assert "code=good" in await listener.wait(5)


async def test_a_callback_that_comes_by_a_strange_name_is_not_read_so_that_the_genuine_one_still_counts() -> None:
    read: list[str] = []

    def once(url: str) -> str:
        read.append(url)
        return _stranger(url)

    async with CallbackListener("http://127.0.0.1/callback", once) as listener, httpx.AsyncClient() as browser:
        address = f"{listener.redirect_uri}?code=good"
        for number in ("One came and was", "2 came and were"):
            assert (await browser.get(address, headers={"Host": "evil.example"})).status_code == 400
            assert number in listener.in_vain(1.0).message
        assert read == []
        await browser.get(address)
        assert "code=good" in await listener.wait(5)


async def test_who_waited_in_vain_hears_that_a_callback_came_by_a_strange_name() -> None:
    async with CallbackListener("http://127.0.0.1/callback", _stranger) as listener, httpx.AsyncClient() as browser:
        for _ in range(2):
            await browser.get(f"{listener.redirect_uri}?code=good-secret", headers={"Host": "evil.example"})
        said = listener.in_vain(1.0)
    assert "2 came and were refused, the last because: It came by a name that is not this listener's." in said.message
    assert "use a redirect URI on 127.0.0.1" in said.hint
    assert said.reference == "RFC 8252 section 8.3"
    assert "good-secret" not in str(said)
    assert "evil.example" not in str(said)


# -- where it listens ------------------------------------------------------------


async def test_a_redirect_to_ipv6_arrives() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        # Where there is no IPv6 this is said when the listener starts.
        with pytest.raises(ConfigurationError, match="of ::1 cannot be listened on"):
            await CallbackListener("http://[::1]/callback", str).__aenter__()
        return
    async with CallbackListener("http://[::1]/callback", str) as listener, httpx.AsyncClient() as browser:
        assert re.fullmatch(r"http://\[::1\]:[0-9]+/callback", listener.redirect_uri)
        await browser.get(f"{listener.redirect_uri}?code=1")
        assert await listener.wait(5) == f"{listener.redirect_uri}?code=1"


async def test_a_redirect_to_localhost_arrives_whichever_family_the_browser_tries() -> None:
    async with CallbackListener("http://localhost/callback", str) as listener, httpx.AsyncClient() as browser:
        port = urlsplit(listener.redirect_uri).port
        assert (await browser.get(f"http://127.0.0.1:{port}/elsewhere")).status_code == 404
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            return
        assert (await browser.get(f"http://[::1]:{port}/callback?code=1")).status_code == 200


def test_whoever_signs_in_is_waited_for_five_minutes_at_both_kinds_of_server() -> None:
    assert inspect.signature(login).parameters["timeout"].default == McpAuth().timeout == 300.0
