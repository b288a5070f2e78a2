"""The gate, where a request waits for a person to look at it, change it and let it go.

The transports hold each request at the gate and show each exchange to the checks. The SDK's client, or the handler,
goes on working as it always does: it only waits a little longer for its answers.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..oauth.errors import ConfigurationError, SessionError
from ..oauth.http import read_bounded, unhurried
from ..oauth.masking import is_secret_name, mask, mask_header, mask_url, scrub
from .exchange import Seen, json_object


@dataclass
class Held:
    """A request, or a URL of the browser, that waits at the gate.

    Attributes:
        kind: which step of the flow it is; see `STEPS`.
        summary: one line for a person, without secrets.
        parameters: what can be changed, in clear: form fields, query parameters, JSON members, the bearer header.
        changed: the names that were changed or dropped.
    """

    kind: str
    summary: str
    parameters: dict[str, str] = field(default_factory=dict, repr=False)
    changed: dict[str, str] = field(default_factory=dict)

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set parameters, or drop those whose new value is None.

        Raises:
            ConfigurationError: one that is to be dropped is not there; nothing is changed then.
        """
        for name, value in changes.items():
            if value is None and name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise ConfigurationError(
                    f"The request has no parameter {name!r} to drop.", hint=f"Its parameters: {known}."
                )
        for name, value in changes.items():
            if value is None:
                del self.parameters[name]
                self.changed[name] = "dropped"
            else:
                self.changed[name] = "changed" if name in self.parameters else "added"
                self.parameters[name] = value

    def shown(self) -> dict[str, str]:
        """Return the parameters as they may be shown."""
        return {name: _shown(name, value) for name, value in self.parameters.items()}


def _shown(name: str, value: str) -> str:
    if name == "authorization":
        return mask_header(name, value)
    if is_secret_name(name):
        return mask(value)
    return mask_url(value) if "://" in value else scrub(value)


class Gate:
    """Holds requests, and releases them one after the other. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Held, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    @property
    def pending(self) -> Held | None:
        """The request that waits longest, or None."""
        return self._waiting[0][0] if self._waiting else None

    async def hold(self, held: Held) -> Held:
        """Wait until it is released.

        Raises:
            SessionError: the gate is closed.
        """
        if self._closed:
            raise _cancelled()
        entry = (held, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._arrived.set()
        try:
            await entry[1]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
            if not self._waiting:
                self._arrived.clear()
        return held

    def release(self) -> None:
        """Release the request that waits longest."""
        _, future = self._waiting.popleft()
        if not self._waiting:
            self._arrived.clear()
        if not future.done():
            future.set_result(None)

    def open(self) -> None:
        """Hold the requests that come from now on."""
        self._closed = False

    def close(self) -> None:
        """Send nothing any more: each request that waits, or comes later, ends with an error that says so."""
        self._closed = True
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(_cancelled())
        self._arrived.clear()

    async def next(self, script: asyncio.Task[None]) -> Held | None:
        """Wait until a request waits here; None if the script ends without one."""
        arrival = asyncio.ensure_future(self._arrived.wait())
        try:
            await asyncio.wait((arrival, script), return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        return self.pending


def _cancelled() -> SessionError:
    return SessionError("It was cancelled before it was sent.")


#: The name in a request's extensions under which its maker may say which step it is.
KIND = "mcp_oauth_nb.step"

_HANDSHAKES = ("initialize", "server/discover")
_METHODS = {"tools/list": "list", "tools/call": "call", **dict.fromkeys(_HANDSHAKES, "handshake")}


class GateListener(Protocol):
    """Is told of each exchange that passes."""

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
        sink: GateListener,
        classify: Callable[[str, str, Mapping[str, str], bytes], str | None],
        reads: Callable[[str], bool],
    ):
        self._gate = gate
        self._sink = sink
        self._classify = classify
        self._reads = reads

    async def handle(self, request: Any, send: Callable[[Any], Any], library: Any) -> Any:
        """Pass one request on, and its answer back; see `oauth.http.around`."""
        body = await request.aread()
        method, url = request.method, str(request.url)
        kind = request.extensions.get(KIND) or self._classify(method, url, request.headers, body)
        if kind is None:
            return await send(request)
        held = Held(kind, f"{method} {mask_url(url).partition('?')[0]}", _parameters_of(request.headers, body))
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


def _mcp_method(body: bytes) -> str:
    """Return the JSON-RPC method of a request, or an empty text."""
    return str(json_object(body).get("method", ""))


def step_of(method: str, url: str, headers: Mapping[str, str], body: bytes, server_url: str) -> str | None:
    """Name the step of the HTTP flow that a request is; None if it belongs to no step."""
    here, there = urlsplit(server_url), urlsplit(url)
    if (here.netloc, here.path) == (there.netloc, there.path):
        return _METHODS.get(_mcp_method(body)) if method == "POST" else None
    if method == "GET":
        authority = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
        return "server_metadata" if any(part in there.path for part in authority) else "resource_metadata"
    if "json" in headers.get("content-type", ""):
        return "registration"
    form = dict(parse_qsl(body.decode("utf-8", "replace")))
    grant = form.get("grant_type")
    return "revoke" if grant is None and "token" in form else "refresh" if grant == "refresh_token" else "token"


def _parameters_of(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return what can be changed about a request: its form fields or JSON members, and its Authorization header."""
    parameters: dict[str, str] = {}
    media = headers.get("content-type", "")
    if "urlencoded" in media:
        parameters = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    elif "json" in media and not _mcp_method(body):
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
    elif "json" in media and not _mcp_method(body):
        body = json.dumps({name: _json_value(value) for name, value in fields.items()}).encode()
    return library.Request(
        request.method, request.url, headers=headers, content=body or None, extensions=request.extensions
    )


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
