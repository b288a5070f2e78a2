"""A person in a real browser, Chromium, in front of `serve --mock`, and a client that waits for them."""

from __future__ import annotations

import asyncio
import queue
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from e2e_programs import CHROMIUM_FLAGS, chromium
from playwright.async_api import Browser, BrowserContext, Locator, Page, Request, async_playwright, expect
from program_world import LIMIT_SECONDS, Program

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.oauth.errors import AccessDenied

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

NAME = "Desk of a test"
WEB_CALLBACK = "https://shop.example/callback"
# Nobody listens there.
LOOPBACK_CALLBACK = "http://127.0.0.1:5005/callback"
WIDTHS = {"desktop": {"width": 1100, "height": 900}, "phone": {"width": 360, "height": 740}}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path)
    yield started
    started.stop()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A person's browser: it knows nobody yet."""
    opened = await browser.new_context()
    yield opened
    await opened.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


class Desk:
    """A client that is waiting: the URLs that it opens, for the test to walk."""

    def __init__(self, session: Session, urls: queue.Queue[str]):
        self.session = session
        self._urls = urls

    @asynccontextmanager
    async def calling(self, **arguments: Any) -> AsyncIterator[tuple[str, asyncio.Task[Any]]]:
        """Call the protected tool; give the URL that it wants opened, and the call, which goes on meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(self.session.call_tool("get_github_user_info", arguments))
            yield await asyncio.to_thread(self._urls.get, timeout=LIMIT_SECONDS), call


@pytest.fixture
async def desk(program: Program) -> AsyncIterator[Desk]:
    urls: queue.Queue[str] = queue.Queue()

    def open_browser(url: str) -> bool:
        urls.put(url)
        return True

    auth = McpAuth(client_name=NAME, open_browser=open_browser, show=str, timeout=LIMIT_SECONDS)
    async with Session.open(f"{program.url}/mcp", auth=auth) as session:
        yield Desk(session, urls)


def field(url: str, name: str) -> str:
    return parse_qs(urlsplit(url).query)[name][0]


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def authorization_url(program: Program, redirect_uri: str, *, scope: str = "read:user", name: str = NAME) -> str:
    """Register a client that nobody runs; return an authorization request of it."""
    web = redirect_uri.startswith("https:")
    about = {"application_type": "web" if web else "native", "token_endpoint_auth_method": "none", "client_name": name}
    answer = httpx.post(f"{program.url}/register", json={"redirect_uris": [redirect_uri], **about})
    fields = {
        "response_type": "code",
        "client_id": answer.json()["client_id"],
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": "a-state",
        "code_challenge": "A" * 43,
        "code_challenge_method": "S256",
        "resource": f"{program.url}/mcp",
    }
    return f"{program.url}/authorize?{urlencode(fields)}"


@asynccontextmanager
async def arriving(page: Page, url: str) -> AsyncIterator[list[str]]:
    """Wait until the browser goes back to the client, where nobody need be; the list then has the URL."""
    arrived: list[str] = []
    async with page.expect_request(lambda request: request.url.startswith(f"{field(url, 'redirect_uri')}?")) as sent:
        yield arrived
    arrived.append((await sent.value).url)


async def consent(page: Page) -> None:
    """Authorize the client here, sign in at the mocked GitHub, and authorize this server there."""
    await button(page, "Authorize").click()
    await page.get_by_role("radio", name="octocat").check()
    await button(page, "Sign in").click()
    await button(page, "Authorize").click()


async def at_the_client(page: Page, url: str) -> None:
    """Wait until the browser is back where the authorization URL said."""
    await page.wait_for_url(f"{field(url, 'redirect_uri')}?**")
    await expect(page.get_by_role("heading")).to_have_text("Signed in")


# -- what a person does ----------------------------------------------------------------------------------------------


async def test_a_person_consents_and_lands_on_the_clients_page(desk: Desk, page: Page, program: Program) -> None:
    async with desk.calling() as (url, call):
        await page.goto(url)
        await expect(page).to_have_title(f"Authorize {NAME}")
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Authorize {NAME}")
        main = page.get_by_role("main")
        for shown in ("unverified", urlsplit(field(url, "redirect_uri")).netloc, "read:user", f"{program.url}/mcp"):
            await expect(main).to_contain_text(shown)
        await expect(main).not_to_contain_text("repo")
        await consent(page)
        await at_the_client(page, url)
        result = await call
    assert result.structured_content["user"]["login"] == "octocat"
    assert f"Authorization of '{field(url, 'client_id')}' by octocat: scopes read:user" in program.log()


async def test_a_person_declines_and_the_client_hears_it(desk: Desk, page: Page, program: Program) -> None:
    visited: list[str] = []
    page.on("request", lambda request: visited.append(request.url))
    with pytest.RaisesGroup(AccessDenied):
        async with desk.calling() as (url, _):
            await page.goto(url)
            await button(page, "Cancel").click()
            await page.wait_for_url(f"{field(url, 'redirect_uri')}?**")
            await expect(page.get_by_role("heading")).to_have_text("Not signed in")
    assert not any("/login" in url for url in visited)
    assert f"Authorization of '{field(url, 'client_id')}': access_denied" in program.log()
    assert f"Authorization of '{field(url, 'client_id')}' by" not in program.log()


async def test_a_client_that_asks_for_more_shows_what_is_new_and_gets_the_union(
    desk: Desk, page: Page, program: Program
) -> None:
    async with desk.calling() as (url, call):
        await page.goto(url)
        await expect(page.get_by_text("New", exact=True)).to_have_count(0)
        await consent(page)
        await at_the_client(page, url)
        await call
    async with desk.calling(include_private=True, repo_limit=50) as (url, call):
        assert field(url, "scope").split() == ["read:user", "repo"]
        await page.goto(url)
        await expect(page.get_by_role("main")).to_contain_text("more than you have allowed it so far")
        scopes = page.get_by_role("listitem")
        await expect(scopes.filter(has_text="New")).to_contain_text(["repo"])
        await expect(scopes.filter(has_not_text="New")).to_contain_text(["read:user"])
        await button(page, "Authorize").click()
        await expect(page).to_have_title(re.compile("Mock GitHub"))
        await button(page, "Authorize").click()
        await at_the_client(page, url)
        result = await call
    assert any(repository["private"] for repository in result.structured_content["repositories"])
    assert f"Authorization of '{field(url, 'client_id')}' by octocat: scopes read:user repo" in program.log()


async def test_a_person_needs_no_mouse(desk: Desk, page: Page) -> None:
    async with desk.calling() as (url, call):
        await page.goto(url)
        await tab_to(page, button(page, "Authorize"))
        await page.keyboard.press("Enter")
        await tab_to(page, page.get_by_role("radio", name="octocat"))
        await page.keyboard.press("Space")
        await tab_to(page, button(page, "Sign in"))
        await page.keyboard.press("Enter")
        await expect(page).to_have_title(re.compile("Authorize .* Mock GitHub"))
        await tab_to(page, button(page, "Authorize"))
        await page.keyboard.press("Enter")
        await at_the_client(page, url)
        assert not (await call).is_error


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the control has the focus, and see to it that it shows."""
    await wanted.wait_for()
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("it => it === document.activeElement"):
            assert await wanted.evaluate("it => getComputedStyle(it).outlineStyle") != "none"
            return
    pytest.fail("The control cannot be reached with the Tab key.")


@pytest.mark.parametrize(("redirect_uri", "asked_again"), [(WEB_CALLBACK, False), (LOOPBACK_CALLBACK, True)])
async def test_consent_is_remembered_for_what_only_the_client_can_receive(
    program: Program, context: BrowserContext, redirect_uri: str, asked_again: bool
) -> None:
    url = authorization_url(program, redirect_uri)
    codes = []
    for to_ask in (True, asked_again):
        page = await context.new_page()
        async with arriving(page, url) as arrived:
            # Not `goto`, for which a client that is nowhere is an error.
            await page.evaluate("url => { location.href = url }", url)
            if to_ask and not codes:
                await consent(page)
            elif to_ask:
                await button(page, "Authorize").click()
        codes.append(field(arrived[0], "code"))
    assert codes[0] != codes[1]


async def test_another_browser_cannot_finish_what_this_one_began(
    program: Program, context: BrowserContext, browser: Browser, page: Page
) -> None:
    url = authorization_url(program, LOOPBACK_CALLBACK)
    await page.goto(url)
    question = page.url
    await button(page, "Authorize").click()
    await page.get_by_role("radio", name="octocat").check()
    await button(page, "Sign in").click()
    await expect(page).to_have_title(re.compile("Authorize .* Mock GitHub"))
    # GitHub's answer is taken away from this browser, as an attacker would do to have a victim bring it.
    fields = await page.locator("form").evaluate("form => Object.fromEntries(new FormData(form))")
    github = page.url.partition("?")[0]
    answer = await context.request.post(github, form={**fields, "authorize": "1"}, max_redirects=0)
    back = answer.headers["location"]
    assert urlsplit(back).path == "/oauth/callback"
    other = await browser.new_context()
    try:
        victim = await other.new_page()
        for address in (question, back):
            response = await victim.goto(address)
            assert response is not None
            assert response.status == 400
            await expect(victim.get_by_role("heading")).to_have_text("Start again")
    finally:
        await other.close()
    async with arriving(page, url) as arrived:
        await page.evaluate("url => { location.href = url }", back)
    assert field(arrived[0], "code")


# -- the page itself -------------------------------------------------------------------------------------------------

# Of every text that shows: what it is, its colour, and the first ground behind it that is not transparent.
COLORS = """() => [...document.querySelectorAll('body *')].filter(it => it.checkVisibility() &&
    [...it.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())).map(it => {
  let ground = it;
  while (getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
  return [it.innerText, getComputedStyle(it).color, getComputedStyle(ground).backgroundColor];
})"""


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 between two colours that have no transparency."""
    light, dark = sorted((luminance(color) for color in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color)
    assert found is not None, color
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(text) / 255 for text in found.groups())
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_the_pages_can_be_read(browser: Browser, program: Program, color_scheme: Any, width: str) -> None:
    context = await browser.new_context(color_scheme=color_scheme, viewport=WIDTHS[width])  # type: ignore[arg-type]
    try:
        page = await context.new_page()
        name = "A client with a name that is longer than most of them"
        native = authorization_url(program, LOOPBACK_CALLBACK, scope="read:user repo", name=name)
        for address in (native, authorization_url(program, WEB_CALLBACK), f"{program.url}/authorize?client_id=nobody"):
            await page.goto(address)
            assert await page.locator("html").get_attribute("lang") == "en"
            assert await page.title()
            await expect(page.get_by_role("heading", level=1)).to_have_count(1)
            await expect(page.get_by_role("main")).to_have_count(1)
            # Nothing is cut off at the side.
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            colors = await page.evaluate(COLORS)
            assert colors
            for text, color, ground in colors:
                assert contrast(color, ground) >= 4.5, f"{text!r}: {color} on {ground}"
    finally:
        await context.close()


async def test_the_two_schemes_differ(browser: Browser, program: Program) -> None:
    grounds = set()
    for color_scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=color_scheme)  # type: ignore[arg-type]
        page = await context.new_page()
        await page.goto(f"{program.url}/authorize?client_id=nobody")
        grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        await context.close()
    assert len(grounds) == 2


async def test_no_script_and_no_foreign_style_runs_on_the_consent_page(program: Program, page: Page) -> None:
    await page.goto(authorization_url(program, LOOPBACK_CALLBACK, name="<script>document.title = 'taken'</script>"))
    assert "taken" in await page.get_by_role("heading", level=1).inner_text()
    ran = await page.evaluate("""() => {
      const script = document.createElement('script');
      script.textContent = 'window.ran = true';
      document.body.append(script);
      document.body.insertAdjacentHTML('beforeend', '<p id=styled style="color: rgb(1, 2, 3)">x</p>');
      return [window.ran === true, getComputedStyle(document.getElementById('styled')).color === 'rgb(1, 2, 3)'];
    }""")
    assert ran == [False, False]
    assert (await page.title()).startswith("Authorize ")


@asynccontextmanager
async def serving(html: str) -> AsyncIterator[str]:
    """Put a page on a port of this machine; give its URL."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html>{html}".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_the_consent_page_cannot_be_put_into_a_frame(program: Program, page: Page) -> None:
    await page.goto(authorization_url(program, LOOPBACK_CALLBACK))
    # The same site, so that the cookie comes along and only the header stands in the way.
    frames = f"<iframe src='{page.url}'></iframe><iframe src='{program.url}/health'></iframe>"
    async with serving(f"<title>A game</title>{frames}") as game:
        await page.goto(game)
        _, framed, other = page.frames
        assert other.url == f"{program.url}/health"
        assert framed.url == "chrome-error://chromewebdata/"


# What is secret between client and server; each has its form in this package.
SECRETS = re.compile(r"mcp_[\w-]{20}|gh[oru]_\w{10}|code_verifier=|client_secret=|refresh_token=")


async def test_no_secret_but_the_protocols_own_is_in_an_address_a_referrer_or_the_page(
    desk: Desk, context: BrowserContext, page: Page, program: Program
) -> None:
    requests: list[Request] = []
    context.on("request", lambda request: requests.append(request))
    async with desk.calling() as (url, call):
        await page.goto(url)
        html = await page.content()
        await consent(page)
        await at_the_client(page, url)
        await call
    assert not SECRETS.search(html)
    assert await page.evaluate("history.length") > 2
    with_code = {urlsplit(request.url).path for request in requests if "code=" in urlsplit(request.url).query}
    assert with_code == {"/oauth/callback", "/callback"}
    for request in requests:
        assert not SECRETS.search(request.url)
        referrer = (await request.all_headers()).get("referer", "")
        assert urlsplit(referrer).netloc in ("", urlsplit(request.url).netloc)
    cookies = await context.cookies()
    assert all(cookie.get("httpOnly") and cookie.get("sameSite") == "Lax" for cookie in cookies)
    assert any(cookie.get("name") == "mcp_consent" for cookie in cookies)
