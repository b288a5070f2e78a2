"""Sign a person in with their own browser: send them away, catch the redirect, exchange the code."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable

from ..oauth.environment import without_secrets
from ..oauth.errors import SecurityError
from ..oauth.token import Token
from ..oauth.urls import web_problem
from .callback import CallbackListener
from .handler import OAuthHandler
from .jupyterhub import FindHub, JupyterHub

#: Shows a URL to the person; returns whether a browser was opened.
Opener = Callable[[str], bool]


async def login(
    oauth: OAuthHandler,
    *,
    show: Callable[[str], None] = print,
    open_browser: Opener | None = None,
    timeout: float = 300.0,
    scopes: tuple[str, ...] | None = None,
    hub: FindHub = JupyterHub.here,
) -> Token:
    """Run the flow with a listener on 127.0.0.1, and keep the token in the handler's store.

    Args:
        oauth: the handler; its `OAUTH_REDIRECT_URI` must be a loopback URI or, in a JupyterHub, one like
            `https://hub.example/user/ada/proxy/PORT/callback`. It is used as it is, since the provider knows it.
        show: tells the person what to do, with the URL.
        open_browser: opens the URL; `open_in_browser` if not given.
        timeout: seconds to wait for the person.
        scopes: what to ask for; the settings' scopes if not given.
        hub: finds the JupyterHub that this runs in.

    Raises:
        NotConfigured: the client id or secret is missing.
        ConfigurationError: nobody can listen at the redirect URI.
        ReauthorizeError: the person declined, or did not come back in time.
        SecurityError: the authorization URL is not one for a browser.
    """
    async with CallbackListener(oauth.settings.oauth_redirect_uri, oauth.read_callback, hub()) as listener:
        request = oauth.get_authorization_url(scopes=scopes, redirect_uri=listener.redirect_uri)
        # An address that is shown may be clicked.
        check_for_browser(request.url)
        show(listener.invitation(request.url))
        (open_browser or open_in_browser)(request.url)
        response = await listener.wait(timeout)
    return await oauth.exchange_code_for_token(response.code, response.flow.pkce.code_verifier)


def check_for_browser(url: str) -> None:
    """Check a URL before it is opened, or shown to anybody.

    Raises:
        SecurityError: any scheme but http(s) could start a program (CVE-2025-6514).
    """
    if problem := web_problem(url):
        raise SecurityError(
            f"The authorization URL {problem}. It is not opened.",
            hint="Check OAUTH_AUTHORIZATION_URL; a server that sends such a URL is not to be trusted.",
            reference="RFC 6749 section 3.1",
        )


def open_in_browser(url: str) -> bool:
    """Open a URL as `webbrowser.open` does, by a program that does not inherit our secrets."""
    with without_secrets():
        return webbrowser.open(url)
