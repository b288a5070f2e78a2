"""Transports around transports, which hold each request at the gate and show each exchange to the checks.

The SDK's client, or the handler, goes on working as it always does: it only waits a little longer for its answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import httpx2

from ..oauth.http import read_bounded, unhurried
from ..oauth.masking import mask_url
from .exchange import Seen, json_object
from .gate import Gate, Held

#: Under this name in a request's extensions stands which step it is, where its maker knows.
KIND = "mcp_oauth_nb.step"

_HANDSHAKES = ("initialize", "server/discover")
_METHODS = {"tools/list": "list", "tools/call": "call", **dict.fromkeys(_HANDSHAKES, "handshake")}


class Sink(Protocol):
    """Who hears of what passes."""

    def sent(self, held: Held) -> int:
        """A held request is about to leave; return the number under which its exchange is known."""
        ...

    def arrived(self, number: int, seen: Seen) -> None:
        """Its answer is here."""
        ...


class Tap:
    """Holds requests and shows exchanges, for either HTTP library.

    Args:
        gate: where requests wait.
        sink: hears of each exchange.
        classify: names the step of a request by its method, URL, headers and body; None lets it pass.
        reads: says whether the answer to a request may be read whole: not an event stream.
    """

    def __init__(
        self,
        gate: Gate,
        sink: Sink,
        classify: Callable[[str, str, Mapping[str, str], bytes], str | None],
        reads: Callable[[str], bool],
    ):
        self._gate = gate
        self._sink = sink
        self._classify = classify
        self._reads = reads

    async def handle(self, request: Any, send: Callable[[Any], Any], library: Any) -> Any:
        """Pass one request on, and its answer back."""
        body = await request.aread()
        method, url = request.method, str(request.url)
        kind = request.extensions.get(KIND) or self._classify(method, url, request.headers, body)
        if kind is None:
            return await send(request)
        held = Held(kind, f"{method} {mask_url(url).partition('?')[0]}", parameters_of(request.headers, body))
        with unhurried():
            await self._gate.hold(held)
        if held.changed:
            request = _changed(request, body, held.parameters, library)
            body = await request.aread()
        number = self._sink.sent(held)
        response = await send(request)
        content = b""
        if self._reads(kind) or response.status_code >= 400:
            try:
                content = await read_bounded(response.stream)
            finally:
                await response.stream.aclose()
            response.stream = library.ByteStream(content)
        seen = Seen(
            kind,
            method,
            url,
            dict(request.headers.items()),
            body,
            response.status_code,
            dict(response.headers.items()),
            content,
        )
        self._sink.arrived(number, seen)
        return response


class Gated2(httpx2.AsyncBaseTransport):
    """For the SDK's HTTP library."""

    def __init__(self, tap: Tap, inner: httpx2.AsyncBaseTransport):
        self._tap = tap
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await self._tap.handle(request, self._inner.handle_async_request, httpx2)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class Gated(httpx.AsyncBaseTransport):
    """For this package's own."""

    def __init__(self, tap: Tap, inner: httpx.AsyncBaseTransport):
        self._tap = tap
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._tap.handle(request, self._inner.handle_async_request, httpx)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def mcp_method(body: bytes) -> str:
    """Return the JSON-RPC method of a request, or an empty text."""
    return str(json_object(body).get("method", ""))


def step_of(method: str, url: str, headers: Mapping[str, str], body: bytes, server_url: str) -> str | None:
    """Name the step that a request of the HTTP flow is, by itself; None for what the flow is not about."""
    here, there = urlsplit(server_url), urlsplit(url)
    if (here.netloc, here.path) == (there.netloc, there.path):
        return _METHODS.get(mcp_method(body)) if method == "POST" else None
    if method == "GET":
        authority = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
        return "server_metadata" if any(part in there.path for part in authority) else "resource_metadata"
    if "json" in headers.get("content-type", ""):
        return "registration"
    form = dict(parse_qsl(body.decode("utf-8", "replace")))
    grant = form.get("grant_type")
    return "revoke" if grant is None and "token" in form else "refresh" if grant == "refresh_token" else "token"


def parameters_of(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return what can be changed about a request: its form fields or JSON members, and its Authorization header."""
    parameters: dict[str, str] = {}
    media = headers.get("content-type", "")
    if "urlencoded" in media:
        parameters = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    elif "json" in media and not mcp_method(body):
        members = json_object(body)
        parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in members.items()}
    authorization = headers.get("authorization")
    return {**parameters, **({"authorization": authorization} if authorization else {})}


def _changed(request: Any, body: bytes, parameters: Mapping[str, str], library: Any) -> Any:
    """Build the request again with other parameters."""
    fields = {name: value for name, value in parameters.items() if name != "authorization"}
    headers = {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in ("content-length", "authorization", "transfer-encoding")
    }
    if "authorization" in parameters:
        headers["authorization"] = parameters["authorization"]
    media = headers.get("content-type", "")
    if "urlencoded" in media:
        body = urlencode(fields).encode()
    elif "json" in media and not mcp_method(body):
        body = json.dumps({name: _json_value(value) for name, value in fields.items()}).encode()
    return library.Request(
        request.method, request.url, headers=headers, content=body or None, extensions=request.extensions
    )


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
