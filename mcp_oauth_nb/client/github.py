"""The part of GitHub's REST API that the tools need: who the user is, and which repositories they have.

    github = GitHubClient(token_source, base_url="https://api.github.com", timeout=30)
    user = await github.user()
    repositories = await github.repositories(limit=10)

The access token goes to the origin of `base_url` and nowhere else. Beside the client stand the two calls that an
OAuth App makes in its own name, with its client secret: check a token and revoke it.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .._version import __version__
from ..oauth.clock import Clock, SystemClock
from ..oauth.errors import (
    ConfigurationError,
    InsufficientScope,
    McpOAuthError,
    NotFound,
    ProtocolError,
    RateLimited,
    SecurityError,
    ServerUnavailable,
    TokenRejected,
)
from ..oauth.http import Answer, ClientFactory, default_client, send
from ..oauth.masking import printable
from ..oauth.token import split_scopes

#: The most items that GitHub puts on one page.
MAX_PAGE_SIZE = 100

_HEADERS = {
    "Accept": "application/vnd.github+json",
    "User-Agent": f"mcp-oauth-nb/{__version__}",  # GitHub answers 403 without one.
    "X-GitHub-Api-Version": "2022-11-28",
}

# GitHub asks for at least a minute's patience where a secondary limit names no time.
_UNNAMED_WAIT_SECONDS = 60.0
# A reset further away than this is a mistake: GitHub counts by the hour.
_LONGEST_WAIT_SECONDS = 24 * 3600.0

_BASE_HINT = "Check the API base URL: what answers there may not be the API. Or try again later."
_LINK_HINT = "Ask for fewer pages: the API's `Link` header, which leads to the next one, is wrong."

T = TypeVar("T")


class TokenSource(Protocol):
    """Where the client gets its access token; `OAuthHandler` is one."""

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """Return a token that should work now.

        Args:
            rejected: the token that GitHub has just answered with 401: refresh once and return another.

        Raises:
            ReauthorizeError: there is none, and only the user can get one.
        """
        ...


class _Lenient(BaseModel):
    # GitHub adds fields at any time and leaves private ones out: take what is known, miss nothing else.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class GitHubUser(_Lenient):
    """A user as `GET /user` shows them. What GitHub leaves out is None."""

    login: str
    id: int
    name: str | None = None
    email: str | None = None
    bio: str | None = None
    company: str | None = None
    location: str | None = None
    html_url: str | None = None
    avatar_url: str | None = None
    public_repos: int | None = None
    followers: int | None = None
    following: int | None = None
    created_at: datetime | None = None


class ListedRepository(_Lenient):
    """A repository as `GET /user/repos` shows it. What GitHub leaves out is None."""

    name: str
    full_name: str
    id: int
    private: bool | None = None
    fork: bool | None = None
    archived: bool | None = None
    description: str | None = None
    html_url: str | None = None
    language: str | None = None
    topics: tuple[str, ...] | None = None
    stargazers_count: int | None = None
    forks_count: int | None = None
    open_issues_count: int | None = None
    default_branch: str | None = None
    updated_at: datetime | None = None


_USER = TypeAdapter(GitHubUser)
_REPOSITORIES = TypeAdapter(list[ListedRepository])


class GitHubClient:
    """Reads GitHub's API as one user.

    Args:
        token_source: gives the access token, and another one after a 401.
        base_url: the API, such as `https://api.github.com` or `https://ghe.example/api/v3`.
        timeout: seconds for each request, from connecting to the last byte.
        client: makes the HTTP client for one request.
        page_size: the most items to ask for at once, 1 to 100.
        clock: tells when a relative waiting time ends.

    Every method may raise:
        TokenRejected: 401, and a refreshed token did not help either.
        InsufficientScope: the token lacks a scope; `required` names those that would do.
        RateLimited: `retry_at` says when to come back.
        ServerUnavailable, Unreachable: try again later.
        NotFound, ProtocolError: the answer is not what the API documents.
        SecurityError: the answer would have led the token to another host.
    """

    def __init__(
        self,
        token_source: TokenSource,
        *,
        base_url: str,
        timeout: float,
        client: ClientFactory = default_client,
        page_size: int = MAX_PAGE_SIZE,
        clock: Clock | None = None,
    ):
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page_size must be 1 to {MAX_PAGE_SIZE}, not {page_size}")
        self._token_source = token_source
        self._base_url = httpx.URL(base_url.rstrip("/"))
        self._timeout = timeout
        self._client = client
        self._page_size = page_size
        self._clock = clock or SystemClock()

    async def user(self) -> GitHubUser:
        """Return the user whom the token stands for."""
        return _parse(_USER, await self._get(f"{self._base_url}/user"))

    async def repositories(self, limit: int, *, include_private: bool = True) -> list[ListedRepository]:
        """Return the user's repositories, the most recently updated first.

        Args:
            limit: the most to return, at least 1. Pages are followed until there are that many.
            include_private: False leaves out the private ones that the token lets us see.

        Raises:
            ValueError: the limit is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        page: str | None = f"{self._base_url}/user/repos?sort=updated&per_page={min(limit, self._page_size)}"
        found: list[ListedRepository] = []
        while page is not None and len(found) < limit:
            answer = await self._get(page)
            items = _parse(_REPOSITORIES, answer)
            found += items if include_private else [item for item in items if not item.private]
            # An empty page ends it, so that every round brings the limit nearer.
            page = self._next_page(answer, page) if items else None
        return found[:limit]

    def _next_page(self, answer: Answer, current: str) -> str | None:
        target = next_link(answer.headers.get("link", ""))
        if target is None:
            return None
        try:
            url = httpx.URL(current).join(target)
            # A host in IDNA is decoded when it is asked for.
            place = _origin(url)
        except (httpx.InvalidURL, ValueError):
            raise ProtocolError(
                f"{answer.url} names a next page that is not a URL.", hint=_LINK_HINT, reference="RFC 8288"
            ) from None
        # User information would replace the bearer token, so it counts as another place.
        if place != _origin(self._base_url) or url.userinfo:
            raise SecurityError(
                f"{answer.url} names a next page on another host. The access token is not sent there.",
                hint="Set the API's own address as the base URL: its pages have to be on the same host.",
                reference="RFC 6750 section 5.3",
            )
        return str(url)

    async def _get(self, url: str) -> Answer:
        token = await self._token_source.access_token_for_request()
        answer = await self._send(url, token)
        if answer.status == 401:
            newer = await self._token_source.access_token_for_request(rejected=token)
            if newer != token:
                answer = await self._send(url, newer)
        _raise_for_status(answer, self._clock.now())
        return answer

    async def _send(self, url: str, token: str) -> Answer:
        headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
        return await send(self._client, "GET", url, deadline=self._timeout, headers=headers)


# -- the app's own calls -----------------------------------------------------------------------------------------


async def check_token(
    client_id: str,
    client_secret: str,
    access_token: str,
    *,
    base_url: str,
    timeout: float,
    client: ClientFactory = default_client,
    clock: Clock | None = None,
) -> bool:
    """Ask GitHub whether a token is alive and was issued to this app, the nearest thing to an audience check.

    Args:
        base_url: the API.
        timeout: seconds for the whole request.

    Raises:
        ConfigurationError: GitHub does not know these client credentials.
        ServerUnavailable, RateLimited, Unreachable: nothing is known; try again later.
        ProtocolError: any other answer.
    """
    answer = await _app_call(
        "POST", client_id, client_secret, access_token, base_url=base_url, timeout=timeout, client=client, clock=clock
    )
    if answer is None:
        return False
    app = answer.json_object().get("app")
    named = app.get("client_id") if isinstance(app, dict) else None
    return named is None or named == client_id


async def revoke_token(
    client_id: str,
    client_secret: str,
    access_token: str,
    *,
    base_url: str,
    timeout: float,
    client: ClientFactory = default_client,
    clock: Clock | None = None,
) -> bool:
    """End one token. Returns whether GitHub knew it; either way it works no longer.

    Args and Raises: as `check_token`.
    """
    answer = await _app_call(
        "DELETE", client_id, client_secret, access_token, base_url=base_url, timeout=timeout, client=client, clock=clock
    )
    return answer is not None


async def _app_call(
    method: str,
    client_id: str,
    client_secret: str,
    access_token: str,
    *,
    base_url: str,
    timeout: float,
    client: ClientFactory,
    clock: Clock | None,
) -> Answer | None:
    """Return None where GitHub knows no such token for this app: 404, or 422 if it never had the shape of one."""
    answer = await send(
        client,
        method,
        f"{base_url.rstrip('/')}/applications/{quote(client_id, safe='')}/token",
        deadline=timeout,
        headers=_HEADERS,
        auth=(client_id, client_secret),
        json_body={"access_token": access_token},
    )
    if answer.status in (404, 422):
        return None
    if answer.status == 401:
        raise ConfigurationError(
            f"{httpx.URL(base_url).host} does not accept these client credentials.",
            variables=("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"),
        )
    _raise_for_status(answer, (clock or SystemClock()).now())
    return answer


# -- reading answers -----------------------------------------------------------------------------------------------


def _raise_for_status(answer: Answer, now: float) -> None:
    """Type a refusal by what the caller can do about it."""
    if answer.status < 300:
        return
    if answer.status == 401:
        raise TokenRejected(f"{answer.url} does not accept the access token.")
    if answer.status >= 500:
        raise ServerUnavailable(f"{answer.url} answered {answer.status}.", retry_at=answer.retry_at(now))
    if answer.status in (403, 429):
        raise _refusal(answer, now)
    if answer.status == 404:
        raise NotFound(f"{answer.url} answered 404 Not Found.")
    raise ProtocolError(f"{answer.url} answered {answer.status}.", hint=_BASE_HINT)


def _refusal(answer: Answer, now: float) -> McpOAuthError:
    if answer.status == 429 or _is_rate_limit(answer):
        return RateLimited(f"{answer.url} has a rate limit, and it is used up.", retry_at=_come_back_at(answer, now))
    accepted = split_scopes(answer.headers.get("x-accepted-oauth-scopes", ""))
    granted = split_scopes(answer.headers.get("x-oauth-scopes", ""))
    # Any one of the accepted scopes would do. Tokens without scopes, such as GitHub Apps', lack the second header.
    if accepted and "x-oauth-scopes" in answer.headers and not set(accepted) & set(granted):
        told = printable(", ".join(accepted))
        return InsufficientScope(f"{answer.url} needs one of the scopes {told}.", required=accepted, granted=granted)
    return ProtocolError(
        f"{answer.url} answered 403 Forbidden.",
        hint="The owner of the token, or a rule of the organization (SSO, app approval, IP allow list), forbids it.",
    )


def _is_rate_limit(answer: Answer) -> bool:
    if "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0":
        return True
    # A secondary limit may come without either header; then only the text tells.
    try:
        body = json.loads(answer.text)
    except (ValueError, RecursionError):
        return False
    message = body.get("message") if isinstance(body, dict) else None
    return isinstance(message, str) and "rate limit" in message.lower()


def _come_back_at(answer: Answer, now: float) -> float:
    """Return when GitHub will answer again, in seconds since the epoch, at most a day away."""
    after = answer.retry_at(now)
    if after is not None:
        return after
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining", "0") == "0" and re.fullmatch(r"[0-9]{1,12}", reset):
        return min(max(float(reset), now), now + _LONGEST_WAIT_SECONDS)
    return now + _UNNAMED_WAIT_SECONDS


def _parse(adapter: TypeAdapter[T], answer: Answer) -> T:
    try:
        return adapter.validate_json(answer.body)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"])) or "the body"
    raise ProtocolError(f"{answer.url} sent an answer of the wrong shape, at {where}.", hint=_BASE_HINT)


# RFC 8288 section 3: <URI-Reference> and parameters, each a token or a quoted string.
_PARAMETER = r';\s*([\w!#$&+\-.^`|~*]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+)))?\s*'
_LINK_PARAMETER = re.compile(_PARAMETER)
_LINK = re.compile(rf"[\s,]*<([^>]*)>\s*((?:{_PARAMETER})*)(?=,|$)")


def next_link(header: str) -> str | None:
    """Return the target of the first link with the relation `next` in a `Link` header (RFC 8288), or None."""
    position = 0
    while match := _LINK.match(header, position):
        position = match.end()
        names = ((name.lower(), quoted or plain) for name, quoted, plain in _LINK_PARAMETER.findall(match[2]))
        # RFC 8288 section 3.3: only the first `rel` of a link counts.
        relation = next((value for name, value in names if name == "rel"), "")
        if "next" in relation.lower().split():
            return match[1]
    return None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
