"""`MockGitHub`: both hosts in one ASGI app, with the accounts and apps that exist from the start."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from starlette.types import ASGIApp

from ...oauth.clock import Clock, SystemClock
from .app import build_app
from .faults import Faults
from .knobs import Knobs
from .model import Affiliation, AppKind, IssuedToken, OAuthApp, Organization, RedirectUri, Repository, User
from .state import State
from .transport import MockTransport

#: The callbacks of the app that exists from the start: every port of this machine, and nothing else.
DEFAULT_REDIRECT_URIS = ("http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback")


class MockGitHub:
    """GitHub's authorization server and REST API, as GitHub documents them, offline.

    Args:
        seed: decides every token, code, id and repository; the same calls then give the same bytes.
        clock: what time it is; the system's clock unless given.
        web_url: where the web pages and OAuth endpoints are.
        api_url: where the REST API is. It may share the host of `web_url` under a path of its own, as in
            GitHub Enterprise Server: `http://127.0.0.1:9000/api/v3`.
    """

    def __init__(
        self,
        seed: int | str = 7,
        clock: Clock | None = None,
        *,
        web_url: str = "https://github.com",
        api_url: str = "https://api.github.com",
    ):
        self._state = State(seed, clock or SystemClock(), web_url, api_url)
        self._default = self.register_app("Mock OAuth App", DEFAULT_REDIRECT_URIS)
        #: The ASGI app that serves both hosts.
        self.app: ASGIApp = build_app(self._state)

    @classmethod
    def at(cls, base_url: str, *, seed: int | str = 7, clock: Clock | None = None) -> MockGitHub:
        """Make one for a single address, such as `http://127.0.0.1:9000`.

        The web pages are at `/`, the REST API at `/api/v3`, as in GitHub Enterprise Server.
        """
        base = base_url.rstrip("/")
        return cls(seed, clock, web_url=base, api_url=f"{base}/api/v3")

    @property
    def web_url(self) -> str:
        """Where the web pages and OAuth endpoints are."""
        return self._state.web_url

    @property
    def api_url(self) -> str:
        """Where the REST API is."""
        return self._state.api_url

    @property
    def issuer(self) -> str:
        """The issuer in the metadata and in `iss`."""
        return self._state.issuer

    @property
    def clock(self) -> Clock:
        """The clock that was given."""
        return self._state.clock

    @property
    def knobs(self) -> Knobs:
        """What can be chosen about the mock's behaviour; read at the call."""
        return self._state.knobs

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong; read at the call."""
        return self._state.faults

    @property
    def client_id(self) -> str:
        """The client id of the app that exists from the start."""
        return self._default.client_id

    @property
    def client_secret(self) -> str:
        """The client secret of the app that exists from the start, in clear."""
        return self._default.client_secret

    @property
    def users(self) -> dict[str, User]:
        """The accounts, by login."""
        return self._state.users

    @property
    def apps(self) -> dict[str, OAuthApp]:
        """The registered apps, by client id."""
        return self._state.apps

    @property
    def organizations(self) -> dict[str, Organization]:
        """The organizations, by login."""
        return self._state.organizations

    @property
    def repositories(self) -> list[Repository]:
        """All repositories."""
        return self._state.repositories

    def add_user(self, login: str, *, name: str = "", email: str | None = None, email_verified: bool = True) -> User:
        """Add an account, without repositories.

        Raises:
            ValueError: the login is taken.
        """
        with self._state.lock:
            if login in self.users:
                raise ValueError(f"there is an account {login!r} already")
            number = max(user.id for user in self.users.values()) + 1
            user = User(login, number, name, email, email_verified=email_verified)
            self.users[login] = user
            return user

    def add_repository(self, owner: str, name: str, *, private: bool = False) -> Repository:
        """Add a repository to a user's own.

        Raises:
            KeyError: there is no such user.
        """
        with self._state.lock:
            number = max((repository.id for repository in self.repositories), default=0) + 1
            affiliations: dict[str, Affiliation] = {self.users[owner].login: "owner"}
            repository = Repository(number, owner, name, private, affiliations=affiliations)
            self.repositories.append(repository)
            return repository

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return an httpx transport that leads here, in process; any other host raises `httpx.ConnectError`."""
        return MockTransport(self.app, (self.web_url, self.api_url))

    def register_app(
        self,
        name: str,
        redirect_uris: Sequence[str | RedirectUri],
        *,
        kind: AppKind = "oauth_app",
        expiring_tokens: bool = True,
        device_flow: bool = True,
        homepage: str = "https://example.com",
    ) -> OAuthApp:
        """Register a client.

        Args:
            name: shown on the consent page.
            redirect_uris: 1 to 10 callbacks; the first is used where a request names none.
            kind: an OAuth App has scopes, a GitHub App has not.
            expiring_tokens: issue refresh tokens without being asked for `offline_access`.
            device_flow: accept the device flow.

        Raises:
            ValueError: no callback, or more than ten.
        """
        return self._state.register_app(
            name,
            redirect_uris,
            kind=kind,
            expiring_tokens=expiring_tokens,
            device_flow=device_flow,
            homepage=homepage,
        )

    def issue_token(
        self, user: str = "octocat", scopes: Sequence[str] = ("read:user",), app: OAuthApp | None = None
    ) -> IssuedToken:
        """Issue a token without a flow, for tests that start where the flow ends.

        Raises:
            KeyError: there is no such user.
        """
        state, client = self._state, app or self._default
        with state.lock:
            granted = client.scopes(tuple(scopes))
            login = state.users[user].login
            state.ledger.allow(login, client.client_id, granted)
            return state.ledger.issue(client, login, granted, expiring=client.expiring_tokens, now=state.now())

    def revoke_token(self, access_token: str) -> bool:
        """Revoke an access token and its refresh token; say whether it existed."""
        with self._state.lock:
            return self._state.ledger.revoke(access_token)

    def issued_secrets(self) -> set[str]:
        """Return every code, token, device code and client secret ever issued, to search outputs for leaks."""
        return self._state.mint.issued()

    def __repr__(self) -> str:
        return f"MockGitHub({self.web_url}, {self.api_url}, {len(self.apps)} apps, {len(self.users)} users)"
