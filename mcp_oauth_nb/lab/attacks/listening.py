"""An attack on the port where a program waits for the browser: row 12."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from ...client.handler import OAuthHandler
from ...client.login import login
from ...client.loopback import listen
from ...oauth.settings import Settings
from ...trace.messages import CLIENT
from ..lab import Lab
from .cast import query_of, randomness
from .outcome import Plot, attack


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
        statuses: what was answered, or "closed" where nobody listens any more.
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
    """Listen on a port; yield it, and the addresses that browsers came to."""
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
    """Show nothing: in a lab nobody has to be told which address to open."""
