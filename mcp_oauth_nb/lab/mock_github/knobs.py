"""The mock's adjustable behaviour: knobs where GitHub's own is not certain, and faults on demand.

GitHub's documentation and its observed behaviour differ in places. Every knob is read at the call, so a test can turn
it in the middle of a flow. `unverified` in a comment means that the behaviour of the live service is not known: no
client may depend on the default.

With a fault, the next answer of an endpoint is slow, broken, refused or missing:

    github.faults.next_token(status=503)
    github.faults.next_api(delay=30, times=2)

Each call queues a fault. A fault is used up by one request to its endpoint, in the order they were queued.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, Unpack

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Knobs:
    """The knobs. Times and lifetimes are in seconds; a limit of None is no limit."""

    #: Send `iss` on callbacks (RFC 9207): yes, no, or this value instead (a mix-up attack).
    iss: bool | str = True
    #: Advertise `authorization_response_iss_parameter_supported` in the metadata. Unverified.
    iss_advertised: bool = True
    #: A redirect URI that does not match: the error page seen live, or the documented redirect.
    redirect_mismatch: Literal["page", "redirect"] = "page"
    #: PKCE parameters that break the rules: where the error is shown. Unverified.
    pkce_error: Literal["redirect", "page"] = "redirect"
    #: Accept HTTP Basic client authentication at the token endpoint. Unverified.
    basic_auth: bool = True
    #: A refresh token that comes back a second time kills its whole family. Unverified; off is the milder reading.
    refresh_reuse_revokes: bool = False
    code_lifetime: float = 600
    access_token_lifetime: int = 28_800
    refresh_token_lifetime: int = 15_897_600
    #: Live tokens for one user, app and scope; the oldest is revoked when one more is issued.
    tokens_per_scope: int | None = 10
    #: New tokens for one user, app and scope in an hour; then consent is asked again even where it was given.
    tokens_per_hour: int | None = 10
    device_code_lifetime: int = 900
    device_interval: int = 5
    #: REST requests an hour, per user and per anonymous address.
    rate_limit: int = 5000
    rate_limit_anonymous: int = 60
    #: The status of a refusal, primary limit or secondary: GitHub documents both.
    rate_limit_status: Literal[403, 429] = 403
    #: REST requests a minute before the secondary limit refuses; its Retry-After may be absent (None).
    secondary_limit: int | None = None
    secondary_retry_after: int | None = 60


Endpoint = Literal["authorize", "token", "device", "api", "discovery"]

_NOT_JSON = b"<!doctype html><title>Unicorn!</title><p>This page is taking too long to load."


#: An ASGI extension: the server that offers it turns `HungUp` into a broken connection.
HANG_UP = "mock_github.hang_up"


class HungUp(Exception):
    """The connection is to end without an answer. Raised only where the scope has the extension `HANG_UP`."""


class FaultOptions(TypedDict, total=False):
    """The faults of one answer. Without any of these it is as always."""

    #: Answer with this status instead of asking the endpoint.
    status: int
    #: Answer with this body; the status is 200 unless given.
    body: str | bytes
    #: The made-up answer's media type.
    content_type: str
    #: Added to the answer, made up or not; they replace headers of the same name.
    headers: Mapping[str, str]
    #: Seconds of real time before anything happens; a client that gives up cancels it.
    delay: float
    #: Promise the whole body, send half of it, and hang up.
    truncated: bool
    #: Answer with an HTML page.
    not_json: bool
    #: Answer with a body of this many bytes.
    oversized: int
    #: Hang up without an answer.
    drop: bool
    #: Let the endpoint do its work, and only then spoil the answer: the client cannot know whether its code
    #: or refresh token was used up.
    processed: bool
    #: Spoil this many answers.
    times: int


@dataclass(frozen=True)
class WaitingFault:
    """One fault that waits for its request."""

    status: int | None = None
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    truncated: bool = False
    drop: bool = False
    processed: bool = False

    @classmethod
    def of(cls, options: FaultOptions) -> WaitingFault:
        """Read the options of `Faults.next_token`."""
        body = options.get("body")
        if isinstance(body, str):
            body = body.encode()
        content_type = options.get("content_type")
        if options.get("not_json"):
            body, content_type = _NOT_JSON, content_type or "text/html; charset=utf-8"
        if size := options.get("oversized", 0):
            body = b'"' + b"x" * (size - 2) + b'"'
        return cls(
            options.get("status"),
            body,
            content_type,
            dict(options.get("headers", {})),
            options.get("delay", 0.0),
            options.get("truncated", False),
            options.get("drop", False),
            options.get("processed", False),
        )

    @property
    def made_up(self) -> bool:
        """Whether the answer is not the endpoint's own."""
        return self.status is not None or self.body is not None


class Faults:
    """The queues of faults, and the clock skew. Safe to use from any thread."""

    def __init__(self) -> None:
        #: How many seconds the mock's clock is ahead of the clock it was given; negative is behind.
        self.clock_skew = 0.0
        self._queues: dict[Endpoint, deque[WaitingFault]] = {}
        self._lock = threading.Lock()

    def next_authorize(self, **fault: Unpack[FaultOptions]) -> None:
        """Spoil the next answer of the authorization endpoint; `FaultOptions` lists how."""
        self._add("authorize", fault)

    def next_token(self, **fault: Unpack[FaultOptions]) -> None:
        """Spoil the next answer of the token endpoint; `FaultOptions` lists how."""
        self._add("token", fault)

    def next_device(self, **fault: Unpack[FaultOptions]) -> None:
        """Spoil the next answer of the device authorization endpoint; `FaultOptions` lists how."""
        self._add("device", fault)

    def next_api(self, **fault: Unpack[FaultOptions]) -> None:
        """Spoil the next answer of the REST API; `FaultOptions` lists how."""
        self._add("api", fault)

    def next_discovery(self, **fault: Unpack[FaultOptions]) -> None:
        """Spoil the next answer of a metadata address, known or unknown; `FaultOptions` lists how."""
        self._add("discovery", fault)

    def clear(self) -> None:
        """Forget every fault, and set the clock right."""
        with self._lock:
            self._queues.clear()
            self.clock_skew = 0.0

    def take(self, endpoint: Endpoint) -> WaitingFault | None:
        """Use up the next fault of an endpoint."""
        with self._lock:
            queue = self._queues.get(endpoint)
            return queue.popleft() if queue else None

    def _add(self, endpoint: Endpoint, options: FaultOptions) -> None:
        with self._lock:
            self._queues.setdefault(endpoint, deque()).extend([WaitingFault.of(options)] * options.get("times", 1))


class Faulty:
    """ASGI middleware: an endpoint whose answers can be spoiled."""

    def __init__(self, app: ASGIApp, faults: Faults, endpoint: Endpoint):
        self._app = app
        self._faults = faults
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with the fault that waits for it."""
        fault = self._faults.take(self._endpoint)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await anyio.sleep(fault.delay)
        own = _Answer()
        if fault.processed or not (fault.drop or fault.made_up):
            await self._app(scope, receive, own.collect)
        if fault.drop:
            await _hang_up(scope, send)
        else:
            await _send_spoiled(fault, own, send)


@dataclass
class _Answer:
    """The endpoint's own answer, held back."""

    status: int = 200
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        self.body += message.get("body", b"")


async def _send_spoiled(fault: WaitingFault, own: _Answer, send: Send) -> None:
    status, headers, body = own.status, own.headers, own.body
    if fault.made_up:
        status, body = fault.status or 200, fault.body or b""
        headers = {b"content-type": (fault.content_type or "application/json").encode()}
    headers[b"content-length"] = str(len(body)).encode()
    headers |= {name.lower().encode(): value.encode("latin-1") for name, value in fault.headers.items()}
    await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
    # A server closes the connection of an app that returns while there should be more.
    half = {"body": body[: len(body) // 2], "more_body": True}
    await send({"type": "http.response.body", **(half if fault.truncated else {"body": body})})


async def _hang_up(scope: Scope, send: Send) -> None:
    if HANG_UP in scope.get("extensions", {}):
        raise HungUp
    # ASGI has no message for hanging up. On a socket, a body shorter than announced is nearest to it.
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
