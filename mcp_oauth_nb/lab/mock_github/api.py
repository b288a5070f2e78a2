"""The REST API: who is calling, may they, how much is left, and what has changed since.

So many requests an hour are allowed, and a secondary limit ends bursts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .formats import VERSIONS, Endpoint, Problem, dated_response, problem_response, unless_unchanged, version
from .manage import Manage
from .model import IssuedToken
from .resources import PublicResource, Resource, Resources
from .state import State

_HOUR, _MINUTE = 3600.0, 60.0


@dataclass
class _Window:
    """The requests of one caller since `start`."""

    start: float
    used: int = 0


@dataclass(frozen=True)
class _Quota:
    """The quota of one caller. `reset` is in seconds since the epoch."""

    limit: int
    used: int
    reset: int

    @property
    def remaining(self) -> int:
        """How many requests are left."""
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer carries."""
        values = {"limit": self.limit, "remaining": self.remaining, "used": self.used, "reset": self.reset}
        return {f"X-RateLimit-{name.title()}": str(value) for name, value in values.items()} | {
            "X-RateLimit-Resource": "core"
        }

    def body(self) -> dict[str, int]:
        """Return the same as JSON, for `/rate_limit`."""
        return {"limit": self.limit, "used": self.used, "remaining": self.remaining, "reset": self.reset}


class _Limits:
    """Counts requests by caller: a user of an app, or the anonymous ones."""

    def __init__(self, state: State):
        self._state = state
        self._hours: dict[str, _Window] = {}
        self._minutes: dict[str, _Window] = {}

    def quota(self, caller: str | None) -> _Quota:
        """Return what is left to a caller."""
        knobs = self._state.knobs
        with self._state.lock:
            window = self._window(self._hours, caller, _HOUR)
            limit = knobs.rate_limit_anonymous if caller is None else knobs.rate_limit
            return _Quota(limit, window.used, math.ceil(window.start + _HOUR))

    def count(self, caller: str | None) -> None:
        """Use up one request of the hour's quota."""
        with self._state.lock:
            self._window(self._hours, caller, _HOUR).used += 1

    def too_fast(self, caller: str | None) -> bool:
        """Count a request of this minute, and say whether it was one too many."""
        allowed = self._state.knobs.secondary_limit
        with self._state.lock:
            window = self._window(self._minutes, caller, _MINUTE)
            window.used += 1
            return allowed is not None and window.used > allowed

    def _window(self, windows: dict[str, _Window], caller: str | None, length: float) -> _Window:
        now = self._state.now()
        window = windows.get(caller or "")
        if window is None or now >= window.start + length:
            window = windows[caller or ""] = _Window(now)
        return window


_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_COMMON_HEADERS = {
    "X-GitHub-Media-Type": "github.v3; format=json",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Link, Location, Retry-After, X-GitHub-OTP, X-RateLimit-Limit, "
    "X-RateLimit-Remaining, X-RateLimit-Used, X-RateLimit-Resource, X-RateLimit-Reset, X-OAuth-Scopes, "
    "X-Accepted-OAuth-Scopes, X-Poll-Interval, X-GitHub-Media-Type, X-GitHub-SSO, X-GitHub-Request-Id, "
    "Deprecation, Sunset",
}
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, "
    "If-Unmodified-Since, X-GitHub-Api-Version, X-GitHub-OTP, X-Requested-With, User-Agent",
    "Access-Control-Allow-Methods": "GET, POST, PATCH, PUT, DELETE",
    "Access-Control-Max-Age": "86400",
}


class Api:
    """The resources, `/rate_limit` and an app's own tokens, behind the checks that all calls go through."""

    def __init__(self, state: State):
        self._state = state
        self._limits = _Limits(state)
        self._resources = Resources(state)

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            *(Route(path, self._checked(self._limited(_signed_in(own)))) for path, own in self._own()),
            *(Route(path, self._checked(self._limited(public))) for path, public in self._public()),
            Route("/rate_limit", self._checked(self._rate_limit)),
            *Manage(self._state, self._checked).routes(),
            Route("/{path:path}", self._checked(_nothing_here), methods=_ALL_METHODS),
        ]

    def _own(self) -> list[tuple[str, Resource]]:
        resources = self._resources
        return [
            ("/user", resources.user),
            ("/user/emails", resources.emails),
            ("/user/orgs", resources.own_organizations),
            ("/user/repos", resources.own_repositories),
        ]

    def _public(self) -> list[tuple[str, PublicResource]]:
        resources = self._resources
        return [
            ("/users/{login}", resources.account),
            ("/users/{login}/repos", resources.repositories_of),
            ("/users/{login}/orgs", resources.organizations_of),
            ("/orgs/{login}", resources.organization),
            ("/repos/{owner}/{name}", resources.repository),
            ("/meta", resources.meta),
        ]

    async def _rate_limit(self, request: Request) -> Response:
        quota = self._limits.quota(self._caller(self._token(request)))
        core = quota.body()
        # Nothing is searched here, so nothing of that quota is ever used.
        search = core | {"limit": 30, "used": 0, "remaining": 30}
        response = dated_response(request, {"resources": {"core": core, "search": search}, "rate": core})
        response.headers.update(quota.headers())
        return response

    # -- the checks --------------------------------------------------------------------------------------------

    def _checked(self, endpoint: Endpoint) -> Endpoint:
        """Refuse what no endpoint accepts, and add the headers that every answer carries."""

        async def serve(request: Request) -> Response:
            response = _refusal(request) or await endpoint(request)
            response.headers["X-GitHub-Request-Id"] = self._state.mint.request_id()
            if version(request) in VERSIONS:
                response.headers["X-GitHub-Api-Version-Selected"] = version(request)
            response.headers.update(_COMMON_HEADERS)
            return response

        return serve

    def _limited(self, resource: PublicResource) -> Endpoint:
        """Find out who is calling, and count the call."""

        async def serve(request: Request) -> Response:
            token = self._token(request)
            caller = self._caller(token)
            response = self._over_limit(caller)
            if response is None:
                response = self._answer(request, resource, token)
                # A refusal over the limit does not count against the quota, nor does 304.
                if response.status_code != 304:
                    self._limits.count(caller)
            response.headers.update(self._limits.quota(caller).headers())
            # A GitHub App's tokens have no scopes.
            if token is not None and token.access_token.startswith("gho_"):
                response.headers["X-OAuth-Scopes"] = ", ".join(token.scopes)
                response.headers.setdefault("X-Accepted-OAuth-Scopes", "")
            return response

        return serve

    def _answer(self, request: Request, resource: PublicResource, token: IssuedToken | None) -> Response:
        # Credentials that are wrong are refused even where none are needed.
        if token is None and "authorization" in request.headers:
            return problem_response(401, "Bad credentials")
        try:
            return unless_unchanged(request, resource(request, token))
        except Problem as problem:
            return problem.response()

    def _token(self, request: Request) -> IssuedToken | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        # GitHub's own scheme `token` means the same as the one of RFC 6750 section 2.1.
        if scheme.lower() not in ("bearer", "token"):
            return None
        with self._state.lock:
            return self._state.ledger.find(value.strip(), self._state.now())

    def _caller(self, token: IssuedToken | None) -> str | None:
        return None if token is None else f"user ID {self._state.users[token.user].id}"

    def _over_limit(self, caller: str | None) -> Response | None:
        knobs = self._state.knobs
        if self._limits.too_fast(caller):
            response = problem_response(knobs.rate_limit_status, "You have exceeded a secondary rate limit.")
            if knobs.secondary_retry_after is not None:
                response.headers["Retry-After"] = str(knobs.secondary_retry_after)
            return response
        if self._limits.quota(caller).remaining == 0:
            return problem_response(knobs.rate_limit_status, f"API rate limit exceeded for {caller or '127.0.0.1'}.")
        return None


def _signed_in(resource: Resource) -> PublicResource:
    """Let nobody in without a token."""

    def answer(request: Request, token: IssuedToken | None) -> Response:
        if token is None:
            raise Problem(401, "Requires authentication")
        return resource(request, token)

    return answer


def _refusal(request: Request) -> Response | None:
    if not request.headers.get("user-agent"):
        text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
        return Response(text, 403, media_type="text/plain")
    if version(request) not in VERSIONS:
        return problem_response(400, f"This API version is not supported. Known are {', '.join(VERSIONS)}.")
    return None


async def _nothing_here(request: Request) -> Response:
    # A browser asks before it calls from another origin, and every address says yes (Fetch standard, section 3.3).
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=_PREFLIGHT)
    return problem_response(404, "Not Found")
