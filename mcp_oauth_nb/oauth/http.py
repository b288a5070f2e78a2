"""One way to make an HTTP request: a total deadline, a bounded body, no redirects, typed errors.

A client lives for one request. That costs little (the TLS context is kept) and leaves no connection
pool behind that belongs to one event loop, so the callers can be used from any thread and loop.
"""

from __future__ import annotations

import functools
import json
import math
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

import anyio
import httpx
import httpx2

from .errors import ProtocolError, Unreachable
from .http_faults import (
    MAX_BODY_BYTES,
    TELL_THE_OPERATOR,
    WRONG_PLACE,
    compressed,
    late,
    out_of_reach,
    place_of,
    redirected,
    too_long,
)
from .masking import printable
from .urls import peer_of

_LONGEST_WAIT_SECONDS = 24 * 3600

# A compressed body can unpack to a thousand times its size before anyone can count it.
_PLAIN = {"Accept-Encoding": "identity"}

#: Makes the client for one request. A lab passes one that leads to its mock.
ClientFactory = Callable[[], httpx.AsyncClient]


@dataclass(frozen=True, repr=False)
class Answer:
    """A complete response: status, headers and at most `MAX_BODY_BYTES` of body. Its repr shows no content.

    `peer` is the address that it came from, if it came over a network.
    """

    url: str
    status: int
    headers: httpx.Headers
    body: bytes
    peer: str | None = None

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return self.body.decode("utf-8", "replace")

    def json_object(self) -> dict[str, Any]:
        """Parse the body as one JSON object.

        Raises:
            ProtocolError: it is not one, nests too deep, repeats a key or has a number that JSON lacks.
        """
        try:
            value = json.loads(self.body.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ProtocolError(
                f"{self.url} sent a body that is not valid JSON.", hint=WRONG_PLACE, reference="RFC 8259"
            ) from None
        if not isinstance(value, dict):
            raise ProtocolError(f"{self.url} sent JSON that is not an object.", hint=WRONG_PLACE)
        return value

    def retry_at(self, now: float) -> float | None:
        """Return when to come back, in seconds since the epoch: what Retry-After says, at most a day away.

        Args:
            now: the time in seconds since the epoch.
        """
        # RFC 9110 section 10.2.3: seconds, or a date.
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return now + min(int(value[:9]), _LONGEST_WAIT_SECONDS)
        try:
            date = parsedate_to_datetime(value)
            # RFC 9110 section 5.6.7: a date without a zone, as in the asctime form, is UTC.
            at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
        return min(max(at, now), now + _LONGEST_WAIT_SECONDS)

    def __repr__(self) -> str:
        return f"Answer({self.status}, {printable(self.content_type)}, {len(self.body)} bytes)"


def default_client() -> httpx.AsyncClient:
    """Make a client for the real network."""
    return httpx.AsyncClient(verify=tls_context())


async def read_bounded(stream: AsyncIterable[bytes], limit: int = MAX_BODY_BYTES) -> bytes:
    """Read a body to its end, or a little beyond the limit, in bytes: the reader then refuses it."""
    content = bytearray()
    async for chunk in stream:
        content += chunk
        if len(content) > limit:
            break
    return bytes(content)


Transport = TypeVar("Transport", httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport)
#: Passes a request of either library on with `send`, and returns an answer of the same library.
Handle = Callable[[Any, Callable[[Any], Awaitable[Any]], Any], Awaitable[Any]]


class _Around:
    library: Any

    def __init__(self, inner: Any, handle: Handle):
        self._inner = inner
        self._handle = handle

    async def handle_async_request(self, request: Any) -> Any:
        return await self._handle(request, self._inner.handle_async_request, self.library)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _AroundHttpx(_Around, httpx.AsyncBaseTransport):
    library = httpx


class _AroundHttpx2(_Around, httpx2.AsyncBaseTransport):
    library = httpx2


def around(inner: Transport, handle: Handle) -> Transport:
    """Make a transport around another one: of `httpx`, with which this package calls, or of `httpx2`, the SDK's.

    The two libraries share the shape of requests and answers, but not their classes.

    Args:
        handle: is given each request, what sends it on, and the library.
    """
    made: Any = _AroundHttpx if isinstance(inner, httpx.AsyncBaseTransport) else _AroundHttpx2
    return cast(Transport, made(inner, handle))


_limits: ContextVar[tuple[anyio.CancelScope, ...]] = ContextVar("limits", default=())


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Limit the time of one request, or of several; `unhurried` stops the clock.

    Raises:
        TimeoutError: it is over.
    """
    with anyio.fail_after(seconds) as scope:
        token = _limits.set((*_limits.get(), scope))
        try:
            yield
        finally:
            _limits.reset(token)


@contextmanager
def unhurried() -> Iterator[None]:
    """Let the time of the request under way stand still: a person looks at it before it is sent."""
    now = anyio.current_time()
    left = [(scope, scope.deadline - now) for scope in _limits.get()]
    for scope, _ in left:
        scope.deadline = math.inf
    try:
        yield
    finally:
        for scope, seconds in left:
            scope.deadline = anyio.current_time() + seconds


async def send(
    factory: ClientFactory,
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    json_body: Any = None,
    refuse_redirects: bool = True,
) -> Answer:
    """Send one request and read the whole answer.

    Args:
        factory: makes the client.
        deadline: seconds for everything: connect, send, wait and read.
        auth: user name and password for HTTP Basic.
        data: form fields.
        json_body: a JSON value to send.
        refuse_redirects: raise on a redirect instead of returning it. It is never followed here.

    Raises:
        Unreachable: no connection, or no complete answer within the deadline.
        RedirectRefused: the server answered 3xx with a Location.
        ProtocolError: the body is over `MAX_BODY_BYTES`, or not valid HTTP.
    """
    place = place_of(url)
    try:
        with limited(deadline):
            async with factory() as client:
                # The deadline above is the only timer, so that it holds whatever the phase.
                request = client.build_request(
                    method, url, headers={**_PLAIN, **(headers or {})}, data=data, json=json_body, timeout=None
                )
                response = await client.send(
                    request, stream=True, follow_redirects=False, auth=auth or httpx.USE_CLIENT_DEFAULT
                )
                peer = peer_of(response.extensions)
                try:
                    body = await _read(response, place)
                finally:
                    await response.aclose()
    except TimeoutError as error:
        raise late(place, deadline) from error
    except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
        # httpx files a server that hung up without a word under protocol errors, but only a reset under network errors.
        if "disconnected without sending" in str(error):
            raise Unreachable(f"{place} closed the connection without an answer.") from error
        raise ProtocolError(
            f"{place} sent an answer that is not valid HTTP ({type(error).__name__}).",
            hint="Check the scheme and the port of the URL: what listens there may speak another protocol.",
            reference="RFC 9112",
        ) from None
    except (httpx.InvalidURL, UnicodeError):
        # httpx prepares a redirect even if it is not to follow it; a host in IDNA that is none is a `UnicodeError`.
        raise ProtocolError(
            f"{place} redirects to an address that is none.",
            hint=TELL_THE_OPERATOR,
            reference="RFC 9110 section 10.2.2",
        ) from None
    except httpx.TransportError as error:
        raise out_of_reach(place, error) from error
    if refuse_redirects and response.has_redirect_location:
        raise redirected(place, response.status_code)
    return Answer(place, response.status_code, response.headers, body, peer)


async def _read(response: httpx.Response, place: str) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise compressed(place)
    body = await read_bounded(response.aiter_bytes(64 * 1024))
    if len(body) > MAX_BODY_BYTES:
        raise too_long(place)
    return body


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the one context of this process: to make another takes longer than a handshake."""
    return httpx.create_ssl_context()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
