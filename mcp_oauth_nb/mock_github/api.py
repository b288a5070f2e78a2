"""The REST API: who is calling, may they, how much is left, and what has changed since."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .formats import query_pairs
from .limits import Limits
from .listing import Unprocessable, paginate, select
from .manage import Manage
from .model import IssuedToken
from .payloads import repository_json, user_json
from .rest import Endpoint, json_response, problem_response, unless_unchanged
from .state import State

_VERSIONS = ("2022-11-28", "2026-03-10")
_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_COMMON_HEADERS = {
    "X-GitHub-Media-Type": "github.v3; format=json",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Link, Retry-After, X-RateLimit-Remaining, X-RateLimit-Reset",
}

Resource = Callable[[Request, IssuedToken], Response]


class Api:
    """`/user`, `/user/repos`, `/rate_limit` and an app's own tokens, behind the checks that all calls go through."""

    def __init__(self, state: State):
        self._state = state
        self._limits = Limits(state)

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            Route("/user", self._checked(self._limited(self._user))),
            Route("/user/repos", self._checked(self._limited(self._repositories))),
            Route("/rate_limit", self._checked(self._rate_limit)),
            *Manage(self._state, self._checked).routes(),
            Route("/{path:path}", self._checked(_nothing_here), methods=_ALL_METHODS),
        ]

    # -- the resources -----------------------------------------------------------------------------------------

    def _user(self, request: Request, token: IssuedToken) -> Response:
        private = not {"user", "read:user"}.isdisjoint(token.scopes)
        return json_response(user_json(self._state, self._state.users[token.user], private=private))

    def _repositories(self, request: Request, token: IssuedToken) -> Response:
        query = dict(query_pairs(request))
        page = paginate(select(self._state.repositories, token, query), query)
        response = json_response([repository_json(self._state, item, token.user) for item in page.items])
        # The configured address, never the Host header: a link must not lead elsewhere.
        if link := page.link(f"{self._state.api_url}/user/repos", query):
            response.headers["Link"] = link
        response.headers["X-Accepted-OAuth-Scopes"] = "repo"
        return response

    async def _rate_limit(self, request: Request) -> Response:
        quota = self._limits.quota(self._caller(self._token(request)))
        core = quota.body()
        response = json_response({"resources": {"core": core}, "rate": core})
        response.headers.update(quota.headers())
        return response

    # -- the checks --------------------------------------------------------------------------------------------

    def _checked(self, endpoint: Endpoint) -> Endpoint:
        """Refuse what no endpoint accepts, and add the headers that every answer carries."""

        async def serve(request: Request) -> Response:
            response = _refusal(request) or await endpoint(request)
            response.headers["X-GitHub-Request-Id"] = self._state.mint.request_id()
            response.headers.update(_COMMON_HEADERS)
            return response

        return serve

    def _limited(self, resource: Resource) -> Endpoint:
        """Find out who is calling, and count the call."""

        async def serve(request: Request) -> Response:
            token = self._token(request)
            caller = self._caller(token)
            response = self._over_limit(caller)
            if response is None:
                response = self._answer(request, resource, token)
                # A refusal costs nothing, and neither does an answer that the caller has already.
                if response.status_code != 304:
                    self._limits.count(caller)
            response.headers.update(self._limits.quota(caller).headers())
            # A GitHub App's tokens have no scopes to tell.
            if token is not None and token.access_token.startswith("gho_"):
                response.headers["X-OAuth-Scopes"] = ", ".join(token.scopes)
                response.headers.setdefault("X-Accepted-OAuth-Scopes", "")
            return response

        return serve

    def _answer(self, request: Request, resource: Resource, token: IssuedToken | None) -> Response:
        if token is None:
            sent = "authorization" in request.headers
            return problem_response(401, "Bad credentials" if sent else "Requires authentication")
        try:
            return unless_unchanged(request, resource(request, token))
        except Unprocessable as problem:
            return problem_response(422, problem.message, errors=problem.errors)

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


def _refusal(request: Request) -> Response | None:
    if not request.headers.get("user-agent"):
        text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
        return Response(text, 403, media_type="text/plain")
    if request.headers.get("x-github-api-version", _VERSIONS[0]) not in _VERSIONS:
        return problem_response(400, f"This API version is not supported. Known are {', '.join(_VERSIONS)}.")
    return None


async def _nothing_here(_: Request) -> Response:
    return problem_response(404, "Not Found")
