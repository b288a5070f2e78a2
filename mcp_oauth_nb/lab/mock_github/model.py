"""The things GitHub knows: scopes, users, repositories, apps with their redirect URIs, and what was issued to whom.

Values and rules only, no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from ...oauth.clock import iso
from ...oauth.masking import mask

# A scope and the scopes that it includes (GitHub's "Scopes for OAuth apps").
_INCLUDES = {
    "repo": ("repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"),
    "user": ("read:user", "user:email", "user:follow"),
    "admin:org": ("write:org", "read:org", "manage_runners:org"),
    "write:org": ("read:org",),
    "admin:public_key": ("write:public_key", "read:public_key"),
    "write:public_key": ("read:public_key",),
    "admin:repo_hook": ("write:repo_hook", "read:repo_hook"),
    "write:repo_hook": ("read:repo_hook",),
    "admin:gpg_key": ("write:gpg_key", "read:gpg_key"),
    "write:gpg_key": ("read:gpg_key",),
    "write:packages": ("read:packages",),
    "write:discussion": ("read:discussion",),
    "project": ("read:project",),
}
_ALONE = ("admin:org_hook", "gist", "notifications", "delete_repo", "delete:packages", "workflow", "codespace")

#: Asks for a refresh token; it is never part of what is granted.
OFFLINE_ACCESS = "offline_access"

_KNOWN_SCOPES = frozenset(_INCLUDES) | {scope for inner in _INCLUDES.values() for scope in inner} | frozenset(_ALONE)


def split_scopes(text: str) -> tuple[str, ...]:
    """Split a scope parameter: spaces as documented, commas because they work too."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def normalise_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Leave out scopes that another one includes, and those that do not exist: `user,user:email` is `user`.

    GitHub's handling of an unknown scope is unverified; here it is not granted.
    """
    asked = tuple(dict.fromkeys(scope for scope in scopes if scope in _KNOWN_SCOPES))
    included = {inner for scope in asked for inner in _INCLUDES.get(scope, ())}
    return tuple(scope for scope in asked if scope not in included)


def scopes_cover(granted: Iterable[str], asked: Iterable[str]) -> bool:
    """Say whether everything asked for is among the granted scopes or included in one of them."""
    have = set(granted)
    have |= {inner for scope in have for inner in _INCLUDES.get(scope, ())}
    return set(asked) <= have


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
        return normalise_scopes(asked) if self.kind == "oauth_app" else ()

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
class AppAuthorization:
    """The scopes that one user has allowed one app, over all flows."""

    user: str
    client_id: str
    scopes: tuple[str, ...] = ()


@dataclass(repr=False)
class BrowserSession:
    """A browser that visited the mock: its cookie, who is signed in, and the token of its forms."""

    cookie: str
    form_token: str
    user: str | None = None

    def __repr__(self) -> str:
        return f"BrowserSession(user={self.user})"


_LOOPBACK = frozenset({"127.0.0.1", "[::1]", "localhost"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A host ends up in a header of the consent page, so it is made of nothing but names and addresses.
_HOST = re.compile(r"[a-z0-9.\-]*|\[[0-9a-f:.]+\]", re.IGNORECASE)


def redirect_matches(uri: str, registered: Iterable[RedirectUri]) -> bool:
    """Say whether a redirect URI fits one of the registered ones."""
    parts = _split(uri)
    return parts is not None and any(_fits(parts, one) for one in registered)


def _split(uri: str) -> SplitResult | None:
    """Take a URI apart, unless it is one that two parsers may read differently."""
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in uri):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    # RFC 6749 section 3.1.2 forbids the fragment. What is left besides host and port would be `user@`.
    host = parts.netloc.removesuffix("" if port is None else f":{port}").removesuffix(":")
    if not parts.scheme or "#" in uri or not _HOST.fullmatch(host):
        return None
    segments = unquote(parts.path).replace("\\", "/").split("/")
    return None if ".." in segments or "." in segments else parts


def _fits(parts: SplitResult, registered: RedirectUri) -> bool:
    known = urlsplit(registered.url)
    host, wanted = _host(parts), _host(known)
    if parts.scheme != known.scheme:
        return False
    # RFC 8252 section 7.3: a native app listens on whatever port is free.
    loopback = host == wanted and host in _LOOPBACK and parts.scheme == "http"
    if not loopback and _port(parts) != _port(known):
        return False
    if not registered.wildcard:
        return host == wanted and (parts.path, parts.query) == (known.path, known.query)
    return (host == wanted or host.endswith(f".{wanted}")) and _is_below(parts.path, known.path)


def _is_below(path: str, registered: str) -> bool:
    path, registered = path or "/", registered or "/"
    return path == registered or path.startswith(registered.rstrip("/") + "/")


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _port(parts: SplitResult) -> int | None:
    return parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)
