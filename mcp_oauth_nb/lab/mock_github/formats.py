"""How the OAuth endpoints read and write: three input formats, three output formats, errors with status 200."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .ledger import Refused

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
    """Keep what has a value: a parameter without one counts as left out (RFC 6749 sections 3.1 and 3.2)."""
    return {name: value for name, value in pairs if value}


async def read_parameters(request: Request) -> dict[str, str]:
    """Read the query, and over it the body: a form, or a JSON object of strings."""
    found = given(query_pairs(request))
    if media_type(request) == "application/json":
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
        # What is no Base64, not even ASCII, or no UTF-8 underneath: each is an error of its own kind of ValueError.
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


def refusal(request: Request, refused: Refused) -> Response:
    """Write an OAuth error. The status is 200, where RFC 6749 section 5.2 asks for 400."""
    return answer(request, error_fields(refused) | refused.fields)


def error_fields(refused: Refused) -> dict[str, Any]:
    """Return `error`, `error_description` and `error_uri`."""
    kind = "authorization-request" if refused.code in _AUTHORIZATION_ERRORS else "oauth-app-access-token-request"
    page = f"managing-oauth-apps/troubleshooting-{kind}-errors/#{refused.code.replace('_', '-')}"
    return {
        "error": refused.code,
        "error_description": refused.description,
        "error_uri": _DOCUMENTATION + page,
    }


def media_type(request: Request) -> str:
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
