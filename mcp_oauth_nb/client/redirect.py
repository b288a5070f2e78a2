"""Sends a person to the authorization server and waits for the answer: by listener, here or in a hub, or pasted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mcp.shared.auth import AuthorizationCodeResult

from ..oauth.authorization import callback_error, code_or_error, unknown_state
from ..oauth.errors import (
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    ReauthorizeError,
)
from ..oauth.masking import SecretUrl, remember_made
from ..oauth.text import shown_url
from .callback import CallbackListener
from .jupyterhub import JupyterHub, proxied
from .login import Opener, check_for_browser, open_in_browser

_TOO_LATE = "Call again, and paste the address that the browser ended at in time; `McpAuth(timeout=...)` sets it."
_PASTE = "have its address pasted, with `McpAuth(paste=...)`."
_PASTE_IN_TIME = "paste its address in time; `McpAuth(timeout=...)` sets it."

#: Given the authorization URL, returns the URL that the browser was redirected to.
Paste = Callable[[str], Awaitable[str]]

#: Checks the `iss` of an answer, present or not. It raises `IssuerMismatch`.
CheckIssuer = Callable[[str | None], None]


class _Refused(ReauthorizeError):
    """The genuine answer, and it is no; a listener shows the visitor so, whatever the kind of `error`."""

    def __init__(self, error: McpOAuthError):
        super().__init__(error.message)
        self.error = error


class Redirect:
    """One authorization's way through the browser: `start` it, and `stop` it whatever happens.

    Args:
        redirect_uri: a URI to listen at, see `CallbackListener`; or any URI if there is `paste`.
        paste: asks the person for the redirected URL, on the session's event loop; the first answer counts.
        show: tells the person what to do, with the URL.
        open_browser: opens the URL; `open_in_browser` if not given.
        timeout: seconds to wait for the person.
        listen: without it no port is opened, and only `paste` is asked.
        hub: the JupyterHub that this runs in.

    Attributes:
        answered: the authorization server has sent the person back, with a yes or a no.
    """

    def __init__(
        self,
        redirect_uri: str,
        *,
        paste: Paste | None,
        show: Callable[[str], None],
        open_browser: Opener | None,
        timeout: float,
        listen: bool,
        hub: JupyterHub | None,
    ):
        self._redirect_uri = redirect_uri
        self._paste = paste
        self._show = show
        self._open_browser = open_browser or open_in_browser
        self._timeout = timeout
        self._listens = listen
        self._hub = hub
        self._check_issuer: CheckIssuer = lambda iss: None
        # Set by `send`, before anybody is waited for.
        self._url: SecretUrl
        self.answered = False
        self._listener: CallbackListener[AuthorizationCodeResult] | None = None

    async def start(self, redirect_uri: str | None = None) -> str:
        """Listen, at a free port if the redirect URI names none, and return the URI to send along.

        Args:
            redirect_uri: in place of the configured one, such as the one that is already registered.

        Raises:
            ConfigurationError: nobody can listen there, and nobody can paste.
        """
        uri = redirect_uri or self._redirect_uri
        if not self._listens:
            return uri
        try:
            hint = _PASTE if self._paste is None else _PASTE_IN_TIME
            listener = CallbackListener(uri, self._read, self._hub, paste=hint)
        except ConfigurationError:
            if self._paste is None:
                raise
            return uri  # somewhere else, where the person copies the address from
        self._listener = await listener.__aenter__()
        return listener.redirect_uri

    def leads_elsewhere(self, registered: str) -> bool:
        """Whether an earlier registration has the browser come back another way: through a JupyterHub, or not."""
        now, then = proxied(self._redirect_uri), proxied(registered)
        return self._listens and (now and now.base) != (then and then.base)

    async def stop(self) -> None:
        """Release the port."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.__aexit__(None, None, None)

    async def send(self, url: str, check_issuer: CheckIssuer) -> None:
        """Send the person to the authorization endpoint.

        Args:
            check_issuer: compares the `iss` of the answer, of an error too (RFC 9207).

        Raises:
            SecurityError: the URL is not one for a browser.
        """
        self._url, self._check_issuer, self.answered = SecretUrl(url), check_issuer, False
        remember_made(self._state)
        check_for_browser(url)
        alone = f"Open this address in a browser:\n\n  {shown_url(url)}\n"
        self._show(self._listener.invitation(url) if self._listener else alone)
        self._open_browser(url)

    async def answer(self) -> AuthorizationCodeResult:
        """Return the answer that arrives first; the SDK then compares its `state` and `iss` once more.

        Raises:
            ReauthorizeError: the person declined, or did not come back in time.
            StateMismatch, IssuerMismatch: it does not belong to this request.
        """
        ways: list[Coroutine[Any, Any, AuthorizationCodeResult]] = []
        if self._listener is not None:
            ways.append(self._listener.wait(self._timeout))
        if self._paste is not None:
            ways.append(self._pasted(self._paste))
        try:
            return await _first(ways)
        except _Refused as refused:
            raise refused.error from None

    async def _pasted(self, paste: Paste) -> AuthorizationCodeResult:
        # The listener has the same deadline, and says what came instead.
        seconds = self._timeout if self._listener is None else None
        try:
            async with asyncio.timeout(seconds):
                return self._read(await paste(self._url))
        except TimeoutError:
            raise ReauthorizeError(f"No address was pasted within {self._timeout:g} seconds.", hint=_TOO_LATE) from None

    @property
    def _state(self) -> str:
        return parse_qs(urlsplit(self._url).query)["state"][-1]

    def _read(self, url: str) -> AuthorizationCodeResult:
        parameters = code_or_error(url)
        if parameters.get("state") != self._state:
            raise unknown_state()
        iss = parameters.get("iss")
        try:
            # RFC 9207 section 2.4: on error answers too, which the SDK never sees.
            self._check_issuer(iss)
        except IssuerMismatch as error:
            raise _Refused(error) from None
        self.answered = True
        if "code" not in parameters:
            raise _Refused(callback_error(parameters))
        remember_made(parameters["code"])
        return AuthorizationCodeResult(code=parameters["code"], state=parameters["state"], iss=iss)


async def _first(ways: list[Coroutine[Any, Any, AuthorizationCodeResult]]) -> AuthorizationCodeResult:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return await next(iter(done))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
