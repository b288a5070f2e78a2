"""How the REST API writes an answer: JSON, errors, and the ETag that spares the quota."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

#: What a route calls.
Endpoint = Callable[[Request], Awaitable[Response]]

#: The versions of the API that are supported, the oldest first: it is the default.
VERSIONS = ("2022-11-28", "2026-03-10")
# What the second one took out of the answers that the mock gives.
_REMOVED = frozenset({"has_downloads", "use_squash_pr_title_as_default", "rate"})

_DOCUMENTATION = "https://docs.github.com/rest"


class Problem(Exception):
    """An error of the REST API on its way to the wire.

    Args:
        status: of the answer.
        message: for the developer.
        errors: one entry for each field at fault.
        accepted: the scopes any of which would have helped, as `X-Accepted-OAuth-Scopes` names them.
    """

    def __init__(
        self, status: int, message: str, *, errors: list[dict[str, str]] | None = None, accepted: str | None = None
    ):
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.accepted = accepted

    def response(self) -> Response:
        """Write the answer."""
        response = problem_response(self.status, self.message, errors=self.errors)
        if self.accepted is not None:
            response.headers["X-Accepted-OAuth-Scopes"] = self.accepted
        return response


def version(request: Request) -> str:
    """Return the version of the API that the request names, or the one that counts where none is named."""
    return request.headers.get("x-github-api-version", VERSIONS[0])


def dated_response(request: Request, content: dict[str, Any] | list[dict[str, Any]]) -> Response:
    """Write JSON without the fields that the version of the API no longer has."""
    if version(request) != VERSIONS[0]:
        content = _without_removed(content) if isinstance(content, dict) else [_without_removed(one) for one in content]
    return json_response(content)


def _without_removed(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _REMOVED}


def json_response(content: Any, status: int = 200) -> Response:
    """Write JSON as the API does."""
    return Response(json.dumps(content), status, media_type="application/json; charset=utf-8")


def problem_response(status: int, message: str, *, errors: list[dict[str, str]] | None = None) -> Response:
    """Write an error: the status is in the body too, as a string. No `WWW-Authenticate`, even with 401."""
    body: dict[str, Any] = {"message": message}
    if errors:
        body["errors"] = errors
    return json_response(body | {"documentation_url": _DOCUMENTATION, "status": str(status)}, status)


def unless_unchanged(request: Request, response: Response) -> Response:
    """Add an ETag, or answer 304 where the caller has this very content (RFC 9110 sections 13.1.2 and 13.1.3)."""
    content = bytes(response.body) + response.headers.get("link", "").encode()
    opaque = f'"{hashlib.sha256(content).hexdigest()}"'
    headers = {"ETag": f"W/{opaque}", "Cache-Control": "private, max-age=60, s-maxage=60"}
    headers["Vary"] = "Accept, Authorization"
    dated = response.headers.get("last-modified")
    if dated is not None:
        headers["Last-Modified"] = dated
    # A date counts only where there is no tag, and only the one that was told: no client makes up another.
    same_date = dated is not None and request.headers.get("if-modified-since") == dated
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if known & {opaque, "*"} or (same_date and "if-none-match" not in request.headers):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
