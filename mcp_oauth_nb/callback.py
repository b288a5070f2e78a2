"""A listener on the loopback interface that catches the browser's redirect (RFC 8252 section 7.3).

It runs in a thread of its own, answers on 127.0.0.1 only, and ends with the first callback that is genuine.
What it serves says nothing that came from the request, and of the request only the query is read: behind a
proxy its headers would be somebody's cookies.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from .errors import (
    ConfigurationError,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    SecurityError,
)
from .loopback import can_listen_at, listen

T = TypeVar("T")

_HEADERS = {
    "Cache-Control": "no-store",
    # The address bar holds the code: nothing on this page may take it elsewhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_NOBODY_CAME = (
    "Sign in again, and finish in the browser in time. If the browser is on another machine, the redirect cannot "
    "arrive here: paste its address, with `mcp-oauth-nb login --paste` or an `AuthorizePanel`."
)


class CallbackListener(Generic[T]):
    """Waits for one genuine callback: `async with CallbackListener(redirect_uri, read) as listener:`.

    Args:
        redirect_uri: a loopback URI. Its path is served; without a port, a free one is taken.
        read: verifies the callback's URL and returns what `wait()` returns. A `SecurityError` or `ProtocolError` means
            "not the callback that is waited for": the visitor gets a 400 and the wait goes on. The authorization
            server's own error ends it, an `OAuthErrorResponse` too.

    Raises:
        ConfigurationError: the URI is not `http://127.0.0.1[:port]/path`, or its port is taken.
    """

    def __init__(self, redirect_uri: str, read: Callable[[str], T]):
        parts = urlsplit(redirect_uri)
        if not can_listen_at(redirect_uri):
            raise ConfigurationError(
                "OAUTH_REDIRECT_URI does not lead to this machine, so nobody can listen there.",
                variables=("OAUTH_REDIRECT_URI",),
                hint="Use http://127.0.0.1/callback, or paste the redirected URL instead.",
                reference="RFC 8252 section 7.3",
            )
        self._host = parts.hostname
        self._port = parts.port or 0
        self._path = parts.path or "/"
        self._read = read
        self._result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def redirect_uri(self) -> str:
        """The URI to send along, with the port that is really listened on."""
        return f"http://{self._host}:{self._port}{self._path}"

    async def wait(self, timeout: float) -> T:
        """Return what `read` made of the callback.

        Args:
            timeout: seconds to wait for the user.

        Raises:
            ReauthorizeError: the time is over.
            McpOAuthError: the callback brought the authorization server's error; see `authorization.callback_error`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(self._result)
        except TimeoutError:
            raise ReauthorizeError(f"No callback arrived within {timeout:g} seconds.", hint=_NOBODY_CAME) from None

    async def __aenter__(self) -> CallbackListener[T]:
        listener = listen(self._port, variable="OAUTH_REDIRECT_URI")
        self._port = listener.getsockname()[1]
        app = Starlette(routes=[Route(self._path, self._callback)])
        server = self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )

        def serve() -> None:
            # uvicorn leaves the socket open if it is told to stop while it starts.
            with listener:
                server.run([listener])

        self._thread = threading.Thread(target=serve, name="mcp-oauth-nb callback", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None, "entered before left"
        assert self._thread is not None, "entered before left"
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)

    async def _callback(self, request: Request) -> Response:
        if self._result.done():
            return _page(409, "Already done", "This sign-in has already been completed. You can close this window.")
        try:
            # As it came: `request.url` is made with the Host header, and has to be UTF-8.
            value = self._read(f"{self.redirect_uri}?{request.scope['query_string'].decode('latin-1')}")
        except McpOAuthError as error:
            if isinstance(error, SecurityError | ProtocolError) and not isinstance(error, OAuthErrorResponse):
                return _page(400, "Not the expected answer", "This does not belong to the sign-in that is under way.")
            # The genuine answer, and it is no.
            self._result.set_exception(error)
            return _page(200, "Not signed in", "The authorization server reported a problem; the program shows it.")
        self._result.set_result(value)
        return _page(200, "Signed in", "You can close this window and go back to the program.")


def _page(status: int, title: str, text: str) -> HTMLResponse:
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:1.1rem system-ui;max-width:34rem;"
        f"margin:15vh auto;padding:0 1rem}}</style><h1>{title}</h1><p>{text}</p></html>",
        status_code=status,
        headers=_HEADERS,
    )
