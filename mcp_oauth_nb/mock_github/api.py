"""The REST API: who is calling, may they, how much is left, and what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .limits import Limits, Quota
from .listing import Unprocessable, paginate, select
from .model import IssuedToken
from .payloads import repository_json, user_json
from .state import State

_DOCUMENTATION = "https://docs.github.com/rest"
_VERSIONS = ("2022-11-28", "2026-03-10")
_DEFAULT_VERSION = _VERSIONS[0]

Handler = Callable[[Request, IssuedToken], Awaitable[Response]]


class Api:
    """`/user`, `/user/repos` and `/rate_limit`, behind the checks that all calls go through."""

    def __init__(self, state: State):
        self._state = state
        self._limits = Limits(state)

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            Route("/user", self._guarded(self._user)),
            Route("/user/repos", self._guarded(self._repositories)),
            Route("/rate_limit", self._rate_limit),
            Route("/{path:path}", self._not_found),
        ]

    # -- the resources -----------------------------------------------------------------------------------------

    async def _user(self, request: Request, token: IssuedToken) -> Response:
        private = bool({"user", "read:user"} & set(token.scopes))
        return json_response(user_json(self._state, self._state.users[token.user], private=private))

    async def _repositories(self, request: Request, token: IssuedToken) -> Response:
        query = dict(request.query_params)
        page = paginate(select(self._state.repositories, token, query), query)
        response = json_response([repository_json(self._state, item, token.user) for item in page.items])
        # The base is the configured address, never the Host header: a link must not leave the API.
        if link := page.link(f"{self._state.api_url}/user/repos", query):
            response.headers["Link"] = link
        response.headers["X-Accepted-OAuth-Scopes"] = "repo"
        return response

    async def _rate_limit(self, request: Request) -> Response:
        if problem := self._bad_request(request):
            return problem
        quota = self._limits.quota(_caller(self._token(request)))
        core = quota.body()
        return self._finish(request, json_response({"resources": {"core": core}, "rate": core}), None, quota)

    async def _not_found(self, request: Request) -> Response:
        return self._finish(request, problem_response(404, "Not Found"), None, None)

    # -- the checks --------------------------------------------------------------------------------------------

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            if problem := self._bad_request(request):
                return self._finish(request, problem, None, None)
            token = self._token(request)
            caller = _caller(token)
            if refused := self._over_limit(caller):
                return self._finish(request, refused, token, self._limits.quota(caller))
            if token is None:
                self._limits.count(None)
                sent = "authorization" in request.headers
                message = "Bad credentials" if sent else "Requires authentication"
                return self._finish(request, problem_response(401, message), None, self._limits.quota(None))
            try:
                response = await handler(request, token)
            except Unprocessable as problem_:
                response = problem_response(422, problem_.message, errors=problem_.errors)
            response = _unless_changed(request, response)
            if response.status_code != 304:
                self._limits.count(caller)
            return self._finish(request, response, token, self._limits.quota(caller))

        return serve

    def _bad_request(self, request: Request) -> Response | None:
        if not request.headers.get("user-agent"):
            text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
            return Response(text, 403, media_type="text/plain")
        version = request.headers.get("x-github-api-version", _DEFAULT_VERSION)
        if version not in _VERSIONS:
            return problem_response(400, f"The API version is not supported. Known are {', '.join(_VERSIONS)}.")
        return None

    def _token(self, request: Request) -> IssuedToken | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        # GitHub's own scheme `token` means the same as RFC 6750's.
        if scheme.lower() not in ("bearer", "token"):
            return None
        with self._state.lock:
            return self._state.ledger.find(value.strip(), self._state.now())

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

    def _finish(self, request: Request, response: Response, token: IssuedToken | None, quota: Quota | None) -> Response:
        headers = {
            "X-GitHub-Request-Id": self._state.mint.request_id(),
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Api-Version-Selected": request.headers.get("x-github-api-version", _DEFAULT_VERSION),
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "ETag, Link, Retry-After, X-RateLimit-Remaining, X-RateLimit-Reset",
        }
        if token is not None and token.access_token.startswith("gho_"):
            headers["X-OAuth-Scopes"] = ", ".join(token.scopes)
            headers["X-Accepted-OAuth-Scopes"] = response.headers.get("x-accepted-oauth-scopes", "")
        response.headers.update(headers | (quota.headers() if quota else {}))
        return response


def json_response(content: Any, status: int = 200) -> Response:
    """Write JSON as the API does."""
    return Response(json.dumps(content), status, media_type="application/json; charset=utf-8")


def problem_response(status: int, message: str, *, errors: list[dict[str, str]] | None = None) -> Response:
    """Write an error: the status is in the body too, as a string. No `WWW-Authenticate`, even with 401."""
    body: dict[str, Any] = {"message": message}
    if errors:
        body["errors"] = errors
    return json_response(body | {"documentation_url": _DOCUMENTATION, "status": str(status)}, status)


def _unless_changed(request: Request, response: Response) -> Response:
    """Add an ETag, or answer 304 where the caller has this very content (RFC 9110 section 13.1.2)."""
    if response.status_code != 200:
        return response
    content = bytes(response.body) + response.headers.get("link", "").encode()
    etag = f'W/"{hashlib.sha256(content).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60", "Vary": "Accept, Authorization"}
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if etag.removeprefix("W/") in known:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _caller(token: IssuedToken | None) -> str | None:
    return None if token is None else f"user ID {token.user}"
