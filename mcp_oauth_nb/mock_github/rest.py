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

_DOCUMENTATION = "https://docs.github.com/rest"


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
    """Add an ETag, or answer 304 where the caller has this very content (RFC 9110 section 13.1.2)."""
    content = bytes(response.body) + response.headers.get("link", "").encode()
    opaque = f'"{hashlib.sha256(content).hexdigest()}"'
    headers = {"ETag": f"W/{opaque}", "Cache-Control": "private, max-age=60, s-maxage=60"}
    headers["Vary"] = "Accept, Authorization"
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if known & {opaque, "*"}:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
