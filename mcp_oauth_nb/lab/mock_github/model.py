"""The things GitHub knows: users, repositories, apps, and what was issued to whom. Values only, no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...oauth.clock import iso
from ...oauth.masking import mask
from .scopes import normalise

AppKind = Literal["oauth_app", "github_app"]
Affiliation = Literal["owner", "collaborator", "organization_member"]


@dataclass
class User:
    """A person with an account. `email_verified=False` makes the token endpoint refuse."""

    login: str
    id: int
    name: str = ""
    email: str | None = None
    bio: str = ""
    company: str | None = None
    location: str | None = None
    created_at: str = "2011-01-25T18:44:36Z"
    updated_at: str = "2026-01-05T09:00:00Z"
    followers: int = 0
    following: int = 0
    public_gists: int = 0
    private_gists: int = 0
    disk_usage: int = 0
    two_factor_authentication: bool = True
    plan: str = "free"
    email_verified: bool = True
    #: Further addresses, and whether each was verified. The first one is `email`, or a private one made of the login.
    more_emails: Mapping[str, bool] = field(default_factory=dict)


@dataclass
class Organization:
    """An organization; `members` are the logins of its people, `public_members` those of them who say so."""

    login: str
    id: int
    name: str = ""
    description: str | None = None
    members: tuple[str, ...] = ()
    public_members: tuple[str, ...] = ()
    created_at: str = "2014-05-01T10:00:00Z"
    updated_at: str = "2025-11-20T08:30:00Z"


@dataclass
class Repository:
    """A repository. `affiliations` says who sees it in their own list, and why."""

    id: int
    owner: str
    name: str
    private: bool = False
    description: str | None = None
    fork: bool = False
    archived: bool = False
    language: str | None = "Python"
    stars: int = 0
    forks: int = 0
    size: int = 0
    created_at: str = "2020-01-01T00:00:00Z"
    updated_at: str = "2025-01-01T00:00:00Z"
    pushed_at: str = "2025-01-01T00:00:00Z"
    owner_is_organization: bool = False
    affiliations: Mapping[str, Affiliation] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """Owner and name, such as `octocat/hello-world`."""
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True)
class RedirectUri:
    """A registered callback.

    Args:
        url: the callback URL.
        wildcard: accept sub-domains and deeper paths too, as GitHub always did; without it the URI must be
            equal. On a loopback address the port may differ in either case.
    """

    url: str
    wildcard: bool = True


@dataclass(repr=False)
class OAuthApp:
    """A registered client: an OAuth App or a GitHub App."""

    client_id: str
    client_secret: str
    name: str
    redirect_uris: tuple[RedirectUri, ...]
    kind: AppKind = "oauth_app"
    expiring_tokens: bool = True
    device_flow: bool = True
    suspended: bool = False
    homepage: str = "https://example.com"

    @property
    def callback(self) -> str:
        """The callback that is used when a request names none."""
        return self.redirect_uris[0].url

    def gets_refresh_token(self, offline_access: bool) -> bool:
        """Say whether its users' tokens expire: the app opted in, or the flow asked for `offline_access`."""
        return self.expiring_tokens or (offline_access and self.kind == "oauth_app")

    def scopes(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        """Return what of the asked scopes it can get. A GitHub App has permissions instead: none."""
        return normalise(asked) if self.kind == "oauth_app" else ()

    @property
    def token_prefix(self) -> str:
        """How its users' access tokens begin."""
        return "gho_" if self.kind == "oauth_app" else "ghu_"

    def __repr__(self) -> str:
        return f"OAuthApp({self.name!r}, {self.kind}, client_id={self.client_id}, secret={mask(self.client_secret)})"


@dataclass(repr=False)
class IssuedToken:
    """An access token and its refresh token, as the mock keeps them. Times are in seconds since the epoch.

    `family` is shared by all tokens that refreshes made from one authorization, and `by_device` says whether that was
    one of the device flow.
    """

    access_token: str
    refresh_token: str | None
    user: str
    client_id: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    refresh_token_expires_at: float | None
    id: int
    family: int
    expires_in: int | None = None
    refresh_token_expires_in: int | None = None
    revoked: bool = False
    refresh_token_spent: bool = False
    by_device: bool = False

    def is_live(self, now: float) -> bool:
        """Say whether the access token works at this time."""
        return not self.revoked and (self.expires_at is None or now < self.expires_at)

    def can_refresh(self, now: float) -> bool:
        """Say whether the refresh token works at this time."""
        if self.refresh_token is None or self.refresh_token_spent:
            return False
        return self.refresh_token_expires_at is None or now < self.refresh_token_expires_at

    def response(self) -> dict[str, Any]:
        """Return the token endpoint's answer, with the secrets in clear."""
        body: dict[str, Any] = {"access_token": self.access_token}
        if self.refresh_token is not None:
            body["expires_in"] = self.expires_in
            body["refresh_token"] = self.refresh_token
            body["refresh_token_expires_in"] = self.refresh_token_expires_in
        # GitHub separates by commas where RFC 6749 section 3.3 says spaces.
        return body | {"scope": ",".join(self.scopes), "token_type": "bearer"}

    def __getitem__(self, name: str) -> Any:
        return self.response()[name]

    def __repr__(self) -> str:
        expiry = f"expires {iso(self.expires_at)}" if self.expires_at is not None else "no expiry"
        scopes = ",".join(self.scopes) or "none"
        state = ", revoked" if self.revoked else ""
        return f"IssuedToken({mask(self.access_token)}, user={self.user}, scopes={scopes}, {expiry}{state})"


@dataclass(repr=False)
class IssuedCode:
    """An authorization code and everything that it is bound to."""

    code: str
    client_id: str
    user: str
    scopes: tuple[str, ...]
    redirect_uri: str
    code_challenge: str | None
    offline_access: bool
    expires_at: float
    used: bool = False

    def __repr__(self) -> str:
        return f"IssuedCode({mask(self.code)}, user={self.user}, client_id={self.client_id})"


@dataclass(repr=False)
class DeviceRequest:
    """A device that waits for its user (RFC 8628)."""

    device_code: str
    user_code: str
    client_id: str
    scopes: tuple[str, ...]
    offline_access: bool
    expires_at: float
    interval: int
    last_poll: float | None = None
    decision: Literal["pending", "allowed", "denied", "used"] = "pending"
    user: str | None = None
    granted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"DeviceRequest({self.user_code}, {self.decision}, client_id={self.client_id})"


@dataclass
class Grant:
    """What one user has allowed one app, over all flows."""

    user: str
    client_id: str
    scopes: tuple[str, ...] = ()


@dataclass(repr=False)
class Browser:
    """A browser that visited the mock: its cookie, who is signed in, and the token of its forms."""

    cookie: str
    form_token: str
    user: str | None = None

    def __repr__(self) -> str:
        return f"Browser(user={self.user})"
