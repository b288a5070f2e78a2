"""The state that all parts of the mock share: addresses, accounts, apps, browsers, the ledger, the lock.

The accounts and repositories that exist from the start are the same for the same seed, on every machine.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ...oauth.clock import Clock, iso
from .knobs import Faults, Knobs
from .ledger import Ledger, Mint
from .model import (
    Affiliation,
    AppKind,
    BrowserSession,
    DeviceRequest,
    OAuthApp,
    Organization,
    RedirectUri,
    Repository,
    User,
)

_FIRST_DAY = 1_577_836_800  # 2020-01-01T00:00:00Z
_LAST_DAY = 1_767_225_600  # 2026-01-01T00:00:00Z

_ADJECTIVES = "brave calm clever eager gentle happy quiet rapid shiny silent sunny tiny wild wise".split()
_NOUNS = "anchor beacon compass engine forge garden harbor kettle ladder lantern mirror orbit river signal".split()
_LANGUAGES = ("Python", "TypeScript", "Rust", "Go", "Shell", "Jupyter Notebook", None)


def _default_users() -> list[User]:
    """Make the three people that everybody can sign in as."""
    octocat = User("octocat", 583_231, "The Octocat", "octocat@example.com", company="@octo-org")
    octocat.location, octocat.followers, octocat.following = "San Francisco", 4242, 9
    octocat.public_gists, octocat.private_gists, octocat.disk_usage, octocat.plan = 8, 3, 52_011, "pro"
    # Not verified: a client that takes an address for proven must look at that.
    octocat.more_emails = {"octocat@octo-org.example": False}
    hubot = User("hubot", 480_938, "Hubot", bio="I work at night.", company="@octo-org", followers=700, following=1)
    hubot.created_at = "2010-11-17T02:22:58Z"
    mona = User("monalisa", 2_500_001, "Mona Lisa", "mona@example.com", location="Paris", followers=61, following=12)
    mona.created_at, mona.two_factor_authentication = "2012-10-08T13:37:00Z", False
    return [octocat, hubot, mona]


def _default_organizations() -> list[Organization]:
    """Make the one organization, to which two of them belong."""
    description = "Anchors, beacons and compasses."
    return [Organization("octo-org", 6_007_854, "Octo Org", description, ("octocat", "hubot"), ("octocat",))]


def _default_repositories(seed: int | str) -> list[Repository]:
    """Make their repositories: more than a page for octocat, public and private, own and shared."""
    maker = _Maker(random.Random(f"{seed}:repositories"))
    octocat: Mapping[str, Affiliation] = {"octocat": "owner"}
    repositories = [maker.named("octocat", "hello-world", octocat, stars=2500)]
    repositories += [maker.any("octocat", octocat, private=number % 3 == 0) for number in range(33)]
    repositories += [
        maker.any("octo-org", {"octocat": "organization_member", "hubot": "organization_member"}, number == 0, True)
        for number in range(3)
    ]
    repositories += [maker.any("hubot", {"hubot": "owner"}, private=number == 0) for number in range(4)]
    repositories += [
        maker.any("monalisa", {"monalisa": "owner", "octocat": "collaborator"}, private=number == 0)
        for number in range(2)
    ]
    return repositories


class _Maker:
    def __init__(self, rng: random.Random):
        self._rng = rng
        self._names: set[str] = set()
        self._next_id = 1_296_269

    def any(
        self, owner: str, affiliations: Mapping[str, Affiliation], private: bool, organization: bool = False
    ) -> Repository:
        name = self._name()
        # A multiplication is exact on every machine, where a power of a float need not be.
        stars = 0 if private else int(40 * self._rng.random()) ** 2
        return self.named(owner, name, affiliations, private=private, organization=organization, stars=stars)

    def named(
        self,
        owner: str,
        name: str,
        affiliations: Mapping[str, Affiliation],
        *,
        private: bool = False,
        organization: bool = False,
        stars: int = 0,
    ) -> Repository:
        self._next_id += self._rng.randrange(1, 500)
        created, updated = sorted(self._rng.sample(range(_FIRST_DAY, _LAST_DAY), 2))
        return Repository(
            id=self._next_id,
            owner=owner,
            name=name,
            private=private,
            description=f"The {name.replace('-', ' ')}, explained by example.",
            fork=self._rng.random() < 0.15,
            archived=self._rng.random() < 0.1,
            language=self._rng.choice(_LANGUAGES),
            stars=stars,
            forks=stars // 7,
            size=self._rng.randrange(10, 90_000),
            created_at=iso(created),
            updated_at=iso(updated),
            pushed_at=iso(self._rng.randrange(created, updated + 1)),
            owner_is_organization=organization,
            affiliations=dict(affiliations),
        )

    def _name(self) -> str:
        while True:
            name = f"{self._rng.choice(_ADJECTIVES)}-{self._rng.choice(_NOUNS)}"
            if name not in self._names:
                self._names.add(name)
                return name


_MOST_BROWSERS = 1000
_MOST_REDIRECT_URIS = 10


class State:
    """The state that the endpoints read and change.

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
        self.users: dict[str, User] = {user.login: user for user in _default_users()}
        self.organizations: dict[str, Organization] = {one.login: one for one in _default_organizations()}
        self.repositories: list[Repository] = _default_repositories(seed)
        self.apps: dict[str, OAuthApp] = {}
        self.device_requests: dict[str, DeviceRequest] = {}
        self._browsers: OrderedDict[str, BrowserSession] = OrderedDict()

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

    def browser(self, cookie: str | None) -> BrowserSession | None:
        """Return the browser that sent this cookie, if it is known."""
        with self.lock:
            return self._browsers.get(cookie) if cookie else None

    def browsers(self) -> tuple[BrowserSession, ...]:
        """Return the browsers that are remembered, oldest first."""
        with self.lock:
            return tuple(self._browsers.values())

    def new_browser(self, user: str | None = None) -> BrowserSession:
        """Note a browser that visits for the first time, or that just signed in and gets a fresh cookie."""
        with self.lock:
            browser = BrowserSession(self.mint.nonce("browser"), self.mint.nonce("form"), user)
            self._browsers[browser.cookie] = browser
            if len(self._browsers) > _MOST_BROWSERS:
                self._browsers.popitem(last=False)
            return browser

    def forget_browser(self, browser: BrowserSession) -> None:
        """Make its cookie worthless."""
        with self.lock:
            self._browsers.pop(browser.cookie, None)
