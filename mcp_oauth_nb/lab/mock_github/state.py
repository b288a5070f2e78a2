"""The one place that everything in the mock shares: addresses, accounts, apps, browsers, the ledger, the lock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlsplit

from ...oauth.clock import Clock
from .faults import Faults
from .knobs import Knobs
from .ledger import Ledger
from .minting import Mint
from .model import AppKind, Browser, DeviceRequest, OAuthApp, Organization, RedirectUri, Repository, User
from .seeding import default_organizations, default_repositories, default_users

_MOST_BROWSERS = 1000
_MOST_REDIRECT_URIS = 10


class State:
    """What the endpoints read and change.

    Nothing awaits while it holds `lock`, so the mock serves any number of threads and event loops at once.
    """

    def __init__(self, seed: int | str, clock: Clock, web_url: str, api_url: str):
        self.web_url = web_url.rstrip("/")
        self.api_url = api_url.rstrip("/")
        self.issuer = f"{self.web_url}/login/oauth"
        self.clock = clock
        self.lock = threading.RLock()
        self.knobs = Knobs()
        self.faults = Faults()
        self.mint = Mint(seed)
        self.ledger = Ledger(self.mint, self.knobs)
        self.users: dict[str, User] = {user.login: user for user in default_users()}
        self.organizations: dict[str, Organization] = {one.login: one for one in default_organizations()}
        self.repositories: list[Repository] = default_repositories(seed)
        self.apps: dict[str, OAuthApp] = {}
        self.device_requests: dict[str, DeviceRequest] = {}
        self._browsers: OrderedDict[str, Browser] = OrderedDict()

    def now(self) -> float:
        """Return the mock's time: the clock's, plus the skew that was asked for."""
        return self.clock.now() + self.faults.clock_skew

    @property
    def secure(self) -> bool:
        """Whether the web pages are served over TLS, so that cookies may insist on it."""
        return urlsplit(self.web_url).scheme == "https"

    def register_app(
        self,
        name: str,
        redirect_uris: Sequence[str | RedirectUri],
        *,
        kind: AppKind,
        expiring_tokens: bool,
        device_flow: bool,
        homepage: str,
    ) -> OAuthApp:
        """Add an app; `MockGitHub.register_app` explains the arguments."""
        if not 1 <= len(redirect_uris) <= _MOST_REDIRECT_URIS:
            raise ValueError(f"an app has 1 to {_MOST_REDIRECT_URIS} redirect URIs, not {len(redirect_uris)}")
        uris = tuple(uri if isinstance(uri, RedirectUri) else RedirectUri(uri) for uri in redirect_uris)
        with self.lock:
            app = OAuthApp(
                self.mint.client_id("Ov23li" if kind == "oauth_app" else "Iv23li"),
                self.mint.client_secret(),
                name,
                uris,
                kind,
                expiring_tokens,
                device_flow,
                homepage=homepage,
            )
            self.apps[app.client_id] = app
            return app

    # -- browsers ----------------------------------------------------------------------------------------------

    def browser(self, cookie: str | None) -> Browser | None:
        """Return the browser that sent this cookie, if it is known."""
        with self.lock:
            return self._browsers.get(cookie) if cookie else None

    def browsers(self) -> tuple[Browser, ...]:
        """Return the browsers that are remembered, oldest first."""
        with self.lock:
            return tuple(self._browsers.values())

    def new_browser(self, user: str | None = None) -> Browser:
        """Note a browser that visits for the first time, or that just signed in and gets a fresh cookie."""
        with self.lock:
            browser = Browser(self.mint.nonce("browser"), self.mint.nonce("form"), user)
            self._browsers[browser.cookie] = browser
            if len(self._browsers) > _MOST_BROWSERS:
                self._browsers.popitem(last=False)
            return browser

    def forget_browser(self, browser: Browser) -> None:
        """Make its cookie worthless."""
        with self.lock:
            self._browsers.pop(browser.cookie, None)
