"""How the mock reads requests and writes answers, at the OAuth endpoints and in the REST API.

The OAuth endpoints have three input formats, three output formats, and errors with status 200. The REST API has JSON,
errors, and the ETag that spares the quota.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .ledger import MockOAuthError

_DOCUMENTATION = "https://docs.github.com/apps/"
_AUTHORIZATION_ERRORS = frozenset("access_denied redirect_uri_mismatch application_suspended".split())
_NO_STORE = {"Cache-Control": "no-store"}  # RFC 6749 section 5.1


def query_pairs(request: Request) -> list[tuple[str, str]]:
    """Read the query as names and values. Bytes that are no UTF-8 are replaced, where `request.url` would raise."""
    return parse_qsl(request.scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)


async def form_pairs(request: Request) -> list[tuple[str, str]]:
    """Read a submitted form as names and values, whatever its bytes are."""
    return parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)


def given(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keep the parameters that have a value: one without counts as left out (RFC 6749 sections 3.1 and 3.2)."""
    return {name: value for name, value in pairs if value}


async def read_parameters(request: Request) -> dict[str, str]:
    """Read the query, and over it the body: a form, or a JSON object of strings."""
    found = given(query_pairs(request))
    if _media_type(request) == "application/json":
        return found | _json_fields(await request.body())
    return found | given(await form_pairs(request))


def basic_credentials(request: Request, *, form_encoded: bool) -> tuple[str, str] | None:
    """Return user name and password of HTTP Basic, if that is what the request carries.

    Args:
        form_encoded: undo the encoding that RFC 6749 section 2.3.1 puts on top.
    """
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        # Not Base64, not ASCII, or not UTF-8 when decoded: each raises a subclass of ValueError.
        return None
    if not colon:
        return None
    return (unquote_plus(name), unquote_plus(password)) if form_encoded else (name, password)


def answer(request: Request, body: Mapping[str, Any]) -> Response:
    """Write an answer as `Accept` asks: JSON, XML, or a form, which is also what anything else gets."""
    accepted = {part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    if "application/json" in accepted:
        return JSONResponse(dict(body), headers=_NO_STORE)
    if "application/xml" in accepted:
        fields = "".join(f"<{name}>{escape(str(value), quote=False)}</{name}>" for name, value in body.items())
        xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<OAuth>{fields}</OAuth>'
        return Response(xml, media_type="application/xml", headers=_NO_STORE)
    return Response(urlencode(body), media_type="application/x-www-form-urlencoded", headers=_NO_STORE)


def refusal(request: Request, refused: MockOAuthError) -> Response:
    """Write an OAuth error. The status is 200, where RFC 6749 section 5.2 asks for 400."""
    return answer(request, error_fields(refused) | refused.fields)


def error_fields(refused: MockOAuthError) -> dict[str, Any]:
    """Return `error`, `error_description` and `error_uri`."""
    kind = "authorization-request" if refused.code in _AUTHORIZATION_ERRORS else "oauth-app-access-token-request"
    page = f"managing-oauth-apps/troubleshooting-{kind}-errors/#{refused.code.replace('_', '-')}"
    return {
        "error": refused.code,
        "error_description": refused.description,
        "error_uri": _DOCUMENTATION + page,
    }


def _media_type(request: Request) -> str:
    """Return the request's media type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        fields = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {_encodable(name): _encodable(value) for name, value in fields.items() if isinstance(value, str) and value}


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can write (RFC 8259 section 8.2) and no answer of ours could repeat."""
    return text.encode("utf-8", "replace").decode()


#: What a route calls.
Endpoint = Callable[[Request], Awaitable[Response]]

#: The versions of the API that are supported, the oldest first: it is the default.
VERSIONS = ("2022-11-28", "2026-03-10")
# Fields of the mock's answers that the second version has no more.
_REMOVED = frozenset({"has_downloads", "use_squash_pr_title_as_default", "rate"})

_REST_DOCUMENTATION = "https://docs.github.com/rest"


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
    return json_response(body | {"documentation_url": _REST_DOCUMENTATION, "status": str(status)}, status)


def unless_unchanged(request: Request, response: Response) -> Response:
    """Add an ETag, or answer 304 where the caller has this very content (RFC 9110 sections 13.1.2 and 13.1.3)."""
    content = bytes(response.body) + response.headers.get("link", "").encode()
    opaque = f'"{hashlib.sha256(content).hexdigest()}"'
    headers = {"ETag": f"W/{opaque}", "Cache-Control": "private, max-age=60, s-maxage=60"}
    headers["Vary"] = "Accept, Authorization"
    dated = response.headers.get("last-modified")
    if dated is not None:
        headers["Last-Modified"] = dated
    # A date counts only if no tag was sent, and only if it is the date of the answer: clients send that one back.
    same_date = dated is not None and request.headers.get("if-modified-since") == dated
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if known & {opaque, "*"} or (same_date and "if-none-match" not in request.headers):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
