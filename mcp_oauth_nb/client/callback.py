"""A listener on the loopback interface that catches the browser's redirect (RFC 8252 section 7.3).

It runs in a thread of its own, answers on the loopback interface only, and ends with the first genuine callback.
What it serves says nothing that came from the request, and of the request only the query and the Host are read:
behind a proxy its other headers are somebody's cookies.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..oauth.errors import (
    ConfigurationError,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    SecurityError,
)
from ..oauth.text import shown_url
from ..oauth.urls import LOOPBACK_HOSTS
from ..runtime.loops import ReportingThread
from ..runtime.pages import message_page
from .jupyterhub import JupyterHub, proxied
from .loopback import can_listen_at, listen_as

T = TypeVar("T")

_NOBODY_CAME = (
    "Sign in again, and finish in the browser in time. If the browser is on another machine, the redirect cannot "
    "arrive here: "
)
_PASTE = "paste its address, with `mcp-oauth-nb login --paste` or an `AuthorizePanel`."
_PROXY_DID_NOT_LEAD_HERE = (
    "Sign in again, and finish in the browser in time. If it ended on an error page of the JupyterHub, your server "
    "there has no jupyter-server-proxy: install it (pip install jupyter-server-proxy) where the server runs and "
    "restart that, or paste the address of the page."
)
_LISTENER_ENDED = (
    "Sign in again. If the listener ends again, the cause above says why: paste the address that the browser ends on, "
    "with `mcp-oauth-nb login --paste` or an `AuthorizePanel`, which needs no listener."
)


class CallbackListener(Generic[T]):
    """Waits for one genuine callback: `async with CallbackListener(redirect_uri, read) as listener:`.

    Args:
        redirect_uri: a loopback URI, or one that leads here through jupyter-server-proxy; see `jupyterhub.proxied`. Its
            path is served; without a port, or with port 0, a free one is taken.
        read: verifies the callback's URL and returns what `wait()` returns. A `SecurityError` or `ProtocolError` means
            "not the callback that is waited for": the visitor gets a 400 and the wait goes on. The authorization
            server's own error ends it, an `OAuthErrorResponse` too.
        hub: the JupyterHub that this runs in.
        paste: how whoever waits here takes a pasted address; for a hint.

    Raises:
        ConfigurationError: the URI is neither `http://127.0.0.1[:port]/path` (or with `[::1]` or `localhost`) nor
            `https://.../proxy/PORT/path`, or its port is taken.
    """

    def __init__(
        self, redirect_uri: str, read: Callable[[str], T], hub: JupyterHub | None = None, *, paste: str = _PASTE
    ):
        parts, self._way = urlsplit(redirect_uri), proxied(redirect_uri)
        if self._way is None and not can_listen_at(redirect_uri):
            raise ConfigurationError(
                "OAUTH_REDIRECT_URI does not lead to this machine, so nobody can listen there.",
                variables=("OAUTH_REDIRECT_URI",),
                hint="Use http://127.0.0.1/callback, or paste the redirected URL instead. "
                "In a JupyterHub, https://.../proxy/8765/callback leads here too.",
                reference="RFC 8252 section 7.3",
            )
        # jupyter-server-proxy asks at `localhost`.
        self._host = "localhost" if self._way or parts.hostname is None else parts.hostname
        self._port = self._way.port if self._way else parts.port or 0
        self._path = self._way.path if self._way else parts.path or "/"
        # Or the browser's own Host, which jupyter-server-proxy passes on.
        self._names = LOOPBACK_HOSTS | {parts.hostname}
        self._read = read
        self._hub = hub
        self._paste = paste
        self._result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._server: uvicorn.Server | None = None
        self._thread: ReportingThread | None = None
        # How many callbacks were refused, and why the last one was.
        self._refused: tuple[int, McpOAuthError] | None = None

    @property
    def redirect_uri(self) -> str:
        """The URI to send along, with the port that is really listened on."""
        if self._way:
            return self._way.at(self._port)
        # RFC 3986 section 3.2.2: an address of IPv6 stands in brackets.
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{self._path}"

    def invitation(self, url: str) -> str:
        """Say to the person what to open, and whatever may keep the browser from coming back."""
        far = self._way is not None or self._hub is not None
        text = f"Open this address in a browser{'' if far else ' on this machine'}:\n\n  {shown_url(url)}\n"
        if self._way is not None:
            return f"{text}\nIt comes back through {urlsplit(self._way.base).netloc}, by jupyter-server-proxy.\n"
        return f"{text}\n{self._hub.hint}\n" if self._hub is not None else text

    async def wait(self, timeout: float) -> T:
        """Return what `read` made of the callback.

        Args:
            timeout: seconds to wait for the user.

        Raises:
            ReauthorizeError: the time is over, or the listener ended by itself.
            McpOAuthError: the callback brought the authorization server's error; see `authorization.callback_error`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(self._result)
        except TimeoutError:
            raise self.in_vain(timeout) from None

    def in_vain(self, seconds: float) -> ReauthorizeError:
        """Return the error of who waited so long for nothing: it says what came instead, and why it was refused."""
        if self._refused is None:
            return ReauthorizeError(f"No callback arrived within {seconds:g} seconds.", hint=self._nobody_came)
        number, last = self._refused
        came = "One came and was" if number == 1 else f"{number} came and were"
        return ReauthorizeError(
            f"No callback of this sign-in arrived within {seconds:g} seconds. {came} refused, the last because: "
            f"{last.message}",
            hint=f"{last.hint} {self._nobody_came}",
            reference=last.reference,
        )

    @property
    def _nobody_came(self) -> str:
        if self._way is not None:
            return _PROXY_DID_NOT_LEAD_HERE
        return self._hub.hint if self._hub is not None else f"{_NOBODY_CAME}{self._paste}"

    async def __aenter__(self) -> CallbackListener[T]:
        listeners = listen_as(self._host, self._port, variable="OAUTH_REDIRECT_URI")
        self._port = listeners[0].getsockname()[1]
        app = Starlette(routes=[Route(self._path, self._callback)])
        # No websockets: nobody needs them, and their import warns, which may be an error.
        options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
        server = self._server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options))

        def serve() -> None:
            # uvicorn leaves the sockets open if it is told to stop while it starts.
            with contextlib.ExitStack() as stack:
                for listener in listeners:
                    stack.enter_context(listener)
                server.run(listeners)

        self._thread = ReportingThread(serve, "mcp-oauth-nb callback", self._listener_ended)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None, "entered before left"
        assert self._thread is not None, "entered before left"
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)

    def _listener_ended(self, error: BaseException | None) -> None:
        if error is None:
            return  # It was told to.
        ended = ReauthorizeError(
            f"The listener for the browser's answer ended by itself ({type(error).__name__}).", hint=_LISTENER_ENDED
        )
        ended.__cause__ = error
        # Unless there is an answer already, or nobody waits any more.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._result.set_exception(ended)

    def _is_for_us(self, request: Request) -> bool:
        """Whether a request came by a name that leads here; a page that had its own name bound to 127.0.0.1 did not."""
        try:
            # Without the port: a proxy in front may have another one.
            return urlsplit(f"//{request.headers.get('host', '')}").hostname in self._names
        except ValueError:
            return False

    def _refuse(self, error: McpOAuthError) -> None:
        number, _ = self._refused or (0, None)
        self._refused = (number + 1, error)

    async def _callback(self, request: Request) -> Response:
        if not self._is_for_us(request):
            error = ProtocolError(
                "It came by a name that is not this listener's.",
                hint="Paste the address that the browser ended at, or use a redirect URI on 127.0.0.1.",
                reference="RFC 8252 section 8.3",
            )
            self._refuse(error)
            return message_page(
                "Not the expected address", "Were you signing in? Copy this page's address and paste it.", status=400
            )
        if self._result.cancelled():
            return message_page(
                "Too late", "The program does not wait for this sign-in any more. Start it again there.", status=410
            )
        if self._result.done():
            return message_page(
                "Already done", "This sign-in has already been completed. You can close this window.", status=409
            )
        try:
            # As it came: `request.url` is made with the Host header, and has to be UTF-8.
            value = self._read(f"{self.redirect_uri}?{request.scope['query_string'].decode('latin-1')}")
        except McpOAuthError as error:
            if isinstance(error, SecurityError | ProtocolError) and not isinstance(error, OAuthErrorResponse):
                self._refuse(error)
                return message_page(
                    "Not the expected answer", "This does not belong to the sign-in that is under way.", status=400
                )
            # The genuine answer, and it is no.
            self._result.set_exception(error)
            return message_page("Not signed in", "The authorization server reported a problem; the program shows it.")
        except BaseException as error:
            # uvicorn makes a page of it and goes on: nobody else would hear of it.
            self._listener_ended(error)
            raise
        self._result.set_result(value)
        return message_page("Signed in", "You can close this window and go back to the program.", good=True)
