"""Parameters as they arrive: each at most once, an empty one counts as left out (RFC 6749 section 3.1)."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.requests import Request
from starlette.types import Message

from ...oauth.masking import is_secret_name, remember_heard

FORM = "application/x-www-form-urlencoded"
#: More than any request here needs, in bytes.
MAX_BODY_BYTES = 64 * 1024
#: Of an authorization request, which is kept until the person decides.
MAX_QUERY = 16 * 1024
_MAX_FIELDS = 50


class Malformed(Exception):
    """The parameters cannot be read."""


class Parameters(dict[str, str]):
    """The parameters by name, and the names that came more than once."""

    repeated: frozenset[str] = frozenset()


def read(text: str) -> Parameters:
    """Parse a query string or form body, whose length is bounded already. What is secret in it is masked from then on.

    Raises:
        Malformed: there are too many, or they are not UTF-8.
    """
    try:
        pairs = parse_qsl(text, max_num_fields=_MAX_FIELDS, errors="strict", keep_blank_values=True)
    except ValueError:
        raise Malformed("The parameters are too many, or not UTF-8.") from None
    # Before anybody judges them: what is refused may be logged, too.
    remember_heard(*(value for name, value in pairs if is_secret_name(name)))
    found = Parameters({name: value for name, value in pairs if value})
    # A second one counts even if empty: which of the two somebody else reads is unknown.
    found.repeated = frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return found


def read_query(request: Request) -> Parameters:
    """Parse a request's query.

    Raises:
        Malformed: see `read`.
    """
    query: bytes = request.scope["query_string"]
    if len(query) > MAX_QUERY:
        raise Malformed("The query is too long.")
    try:
        return read(query.decode("ascii"))
    except UnicodeDecodeError:
        raise Malformed("The query must be percent-encoded.") from None


async def read_form(request: Request) -> Parameters:
    """Parse a form body.

    Raises:
        Malformed: it is labelled as something else, or see `read`.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Malformed(f"The body must be {FORM}.")
    try:
        return read((await request.body()).decode("ascii"))
    except UnicodeDecodeError:
        raise Malformed("The body must be percent-encoded.") from None


def basic_client_id(request: Request) -> str | None:
    """Return the client id in an `Authorization: Basic` header (RFC 6749 section 2.3.1), or None.

    The secret beside it is masked from then on.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    remember_heard(credentials)
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    remember_heard(unquote(secret))
    return unquote(client_id) or None


def as_query(request: Request, parameters: Mapping[str, str]) -> Request:
    """Make the GET request that has these parameters and nothing else."""
    scope = {**request.scope, "method": "GET", "query_string": urlencode(parameters).encode("ascii")}
    return Request(scope)


def as_form(request: Request, parameters: Mapping[str, str]) -> Request:
    """Make the same request with these form fields and nothing else."""
    body = urlencode(parameters).encode("ascii")
    return with_body(request, body, FORM)


def with_body(request: Request, body: bytes, content_type: str) -> Request:
    """Make the same request with another body."""
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({**request.scope, "headers": [*headers, (b"content-type", content_type.encode())]}, receive)
