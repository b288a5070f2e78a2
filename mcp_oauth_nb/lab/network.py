"""The internet of an `HttpLab`: the hosts that exist there, in this process, and a person with a browser.

The MCP server lives on one event loop, as a server elsewhere does; a request from a cell, a thread or another
loop is answered there. No socket is opened, and a host that is not of this world cannot be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import httpx2
from starlette.applications import Starlette
from starlette.types import ASGIApp

from ..oauth.errors import ProtocolError
from ..oauth.masking import mask_fields
from ..runtime import loops
from ..trace.messages import AUTHORIZATION_SERVER, GITHUB, SERVER
from .mock_github import Autopilot, MockGitHub

#: The web site of the client, which publishes its metadata document.
CLIENT_SITE = "Client's site"

# Consent page, GitHub, callback: a person is sent from one server to another no more often than this.
_MOST_SERVERS = 6


class Network(httpx.AsyncBaseTransport):
    """Sends a request to its host.

    Args:
        public_url: the origin of the MCP server and its authorization server.
        github: answers for github.com and api.github.com.

    Attributes:
        documents: what other web sites publish, by URL.
        sites: whose web site is at an origin, and what answers there.
    """

    def __init__(self, public_url: str, github: MockGitHub):
        self._public_url = public_url
        self._github = github.transport()
        self._github_hosts = {urlsplit(url).netloc for url in (github.web_url, github.api_url)}
        self.documents: dict[str, dict[str, Any]] = {}
        self.sites: dict[str, tuple[str, httpx.AsyncBaseTransport]] = {}
        self._server: tuple[ASGIApp, asyncio.AbstractEventLoop] | None = None

    def serve(self, app: ASGIApp, home: asyncio.AbstractEventLoop) -> None:
        """Put the MCP server at the public URL.

        Args:
            home: the loop that it lives on.
        """
        self._server = app, home

    @contextlib.contextmanager
    def instead(self, make: Callable[[ASGIApp], ASGIApp]) -> Iterator[None]:
        """Put another application at the public URL for a while, such as one in front of what is there.

        Args:
            make: given the application that is there, returns the other one.
        """
        assert self._server is not None, "a lab that was opened has a server"
        before = self._server
        self._server = make(before[0]), before[1]
        try:
            yield
        finally:
            self._server = before

    @contextlib.asynccontextmanager
    async def running_instead(self, app: Starlette) -> AsyncIterator[None]:
        """Do the same with an application that has to be started and stopped."""
        assert self._server is not None, "a lab that was opened has a server"
        running = Running(app, self._server[1])
        await running.start()
        try:
            with self.instead(lambda _: app):
                yield
        finally:
            await running.stop()

    def party(self, url: str) -> str:
        """Return whom a request to a URL is for, as a trace names them."""
        origin, parts = _origin(url), urlsplit(url)
        if origin in self.sites:
            return self.sites[origin][0]
        if origin != self._public_url:
            return GITHUB if parts.netloc in self._github_hosts else CLIENT_SITE
        mine = parts.path in ("/mcp", "/health") or parts.path.startswith("/.well-known/oauth-protected-resource")
        return SERVER if mine else AUTHORIZATION_SERVER

    def knows(self, url: str) -> bool:
        """Say whether a page of a server here is at a URL."""
        return _origin(url) == self._public_url or urlsplit(url).netloc in self._github_hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ConnectError: there is no such host.
        """
        url = str(request.url)
        if url in self.documents:
            return httpx.Response(200, json=self.documents[url], request=request)
        if (site := self.sites.get(_origin(url))) is not None:
            return await site[1].handle_async_request(request)
        if self.party(url) == GITHUB:
            return await self._github.handle_async_request(request)
        if not self.knows(url) or self._server is None:
            raise httpx.ConnectError(f"{request.url.host} does not exist in this lab.", request=request)
        await request.aread()
        app, home = self._server
        status, headers, body = await loops.on(home, _ask(app, request))
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body), request=request)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    # A user name before the host is no part of the origin.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def _ask(app: ASGIApp, request: httpx.Request) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
    response = await httpx.ASGITransport(app).handle_async_request(request)
    return response.status_code, response.headers.raw, await response.aread()


class Network2(httpx2.AsyncBaseTransport):
    """The same network for the SDK's HTTP client."""

    def __init__(self, network: Network):
        self._network = network

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request.

        Raises:
            httpx2.ConnectError: there is no such host.
        """
        asked = httpx.Request(
            request.method, str(request.url), headers=request.headers.raw, content=await request.aread()
        )
        try:
            response = await self._network.handle_async_request(asked)
        except httpx.ConnectError as error:
            raise httpx2.ConnectError(str(error)) from None
        body = httpx2.ByteStream(await response.aread())
        return httpx2.Response(
            response.status_code, headers=response.headers.raw, stream=body, extensions=response.extensions
        )


class ByName(httpx.AsyncBaseTransport):
    """Sends a request that was pinned to an address to the host that it names.

    A client metadata document is fetched from the address that was checked, so that the name is not resolved twice.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport):
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        request.url = request.url.copy_with(host=request.headers["host"])
        return await self._inner.handle_async_request(request)


async def resolve(host: str) -> Sequence[str]:
    """Return the address of every host in a lab: a public one, to which no connection is made."""
    return ("93.184.215.14",)


class Person:
    """Somebody with a browser: opens an authorization URL, decides, signs in at GitHub, and is sent back.

    Args:
        transport: where the browser's requests go, recorded.
        network: knows whose pages are in this world.
        user: the GitHub account.

    Attributes:
        allow: press "Authorize" on the MCP server's consent page; False presses "Cancel".
        refuses: scopes at which "Cancel" is pressed there.
        allow_at_github: the same on GitHub's page, where GitHub shows one.
        scopes: tick only these of the scopes on GitHub's page; None ticks all.
        asked: the parameters of each authorization request that was opened, secrets masked.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, network: Network, *, user: str):
        self.allow = True
        self.refuses: Collection[str] = ()
        self.allow_at_github = True
        self.scopes: Collection[str] | None = None
        self.asked: list[dict[str, str]] = []
        self._pilot = Autopilot(transport, user=user)
        self._network = network

    @property
    def user(self) -> str:
        """The GitHub account. Another one takes effect at the next sign-in."""
        return self._pilot.user

    @user.setter
    def user(self, login: str) -> None:
        self._pilot.user = login

    @property
    def cookies(self) -> httpx.Cookies:
        """The browser's cookies; clear them for another browser."""
        return self._pilot.cookies

    async def authorize(self, url: str) -> str:
        """Open an authorization URL and go through with it.

        Returns:
            The URL at the client that the browser is sent to in the end, with `code` or `error`.

        Raises:
            ProtocolError: a server shows an error page, or leads nowhere.
        """
        parameters = dict(parse_qsl(urlsplit(url).query))
        self.asked.append(mask_fields(parameters))
        agrees = self.allow and not set(self.refuses) & set(parameters.get("scope", "").split())
        for _ in range(_MOST_SERVERS):
            allow = self.allow_at_github if self._network.party(url) == GITHUB else agrees
            url = await self._pilot.authorize(url, allow=allow, scopes=self.scopes)
            if not self._network.knows(url):
                return url
        raise ProtocolError(f"The browser was sent from server to server {_MOST_SERVERS} times without an end.")

    def __repr__(self) -> str:
        return f"Person({self.user}, allow={self.allow})"


class Running:
    """Runs an application's lifespan on a loop, in one task that enters and leaves it."""

    def __init__(self, app: Starlette, home: asyncio.AbstractEventLoop):
        self._app = app
        self._home = home
        self._started = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and wait until it serves."""
        await loops.on(self._home, self._start())

    async def stop(self) -> None:
        """Stop, and wait for it. Stopping again does nothing."""
        if self._home.is_running():
            await loops.on(self._home, self._leave())

    def stop_soon(self) -> None:
        """Ask it to stop, without waiting; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the task with it
            self._home.call_soon_threadsafe(self._stop.set)

    async def _start(self) -> None:
        self._task = self._home.create_task(self._run(), name="mcp-oauth-nb http lab")
        await self._started.wait()

    async def _leave(self) -> None:
        self._stop.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        async with self._app.router.lifespan_context(self._app):
            self._started.set()
            await self._stop.wait()
