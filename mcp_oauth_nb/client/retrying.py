"""Carries the requests that an authorization makes: each has a total deadline, and some are asked again.

httpx2 tells an authorization nothing of a request that failed, so that it could not go on with a token that is still
good. Here such a failure becomes an answer that says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import httpx2

from ..oauth.errors import McpOAuthError
from ..oauth.http import limited, read_bounded
from ..oauth.http_faults import late, out_of_reach, place_of
from .bounds import FAREWELL_SECONDS, STREAM_PACE_SECONDS, ErrorFrame, bound
from .channels import ATTEMPTS, ERROR

#: Of one request of an authorization: all attempts, with their answers, in seconds.
DEADLINE_SECONDS = 30.0

_LATER = "Check the host name and the network, and call again: your tokens are kept."


def unsent(url: str, error: McpOAuthError) -> httpx2.Request:
    """Make what stands for a refresh that cannot be asked for."""
    request = httpx2.Request("POST", url)
    ERROR.put(request, error)
    return request


def no_answer(error: McpOAuthError, request: httpx2.Request | None = None) -> httpx2.Response:
    """Make the answer that stands for an error."""
    response = httpx2.Response(503, request=request)
    ERROR.put(response, error)
    return response


def _pause(failed: int) -> float:
    # With jitter: many clients of a server that comes back do not come all at once.
    return random.uniform(0.05, 0.25) * (1 << failed)


class PatientTransport(httpx2.AsyncBaseTransport):
    """Sends the requests that carry `ATTEMPTS` so often, and bounds what all others are answered: `bounds`.

    Args:
        inner: does the work.
        error_frame: makes the message that ends an event stream of which one event is too long.
        deadline: seconds for one request with all its attempts.
        pause: seconds to wait, given the number of attempts that failed.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        error_frame: ErrorFrame = lambda error: b"{}",
        deadline: float = DEADLINE_SECONDS,
        pause: Callable[[int], float] = _pause,
    ):
        self._error_frame = error_frame
        self._next_stream = 0.0
        self._inner = inner
        self._deadline = deadline
        self._pause = pause

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        attempts = ATTEMPTS.of(request)
        if attempts is None:
            return await self._message(request)
        place = place_of(request.url)
        try:
            with limited(self._deadline):
                return await self._attempt(request, attempts)
        except TimeoutError as error:
            failure = late(place, self._deadline, _LATER)
            failure.__cause__ = error
        except httpx2.TransportError as error:
            failure = out_of_reach(place, error, _LATER)
            failure.__cause__ = error
        return no_answer(failure)

    async def _message(self, request: httpx2.Request) -> httpx2.Response:
        if "text/event-stream" in request.headers.get("accept", "") and request.method == "GET":
            now = anyio.current_time()
            begin = max(now, self._next_stream)
            self._next_stream = begin + STREAM_PACE_SECONDS
            await anyio.sleep(begin - now)
        if request.method != "DELETE":
            return await self._bounded(request)
        try:
            with anyio.fail_after(FAREWELL_SECONDS):
                return await self._bounded(request)
        except TimeoutError as error:
            raise late(place_of(request.url), FAREWELL_SECONDS) from error

    async def _bounded(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        await bound(request, response, self._error_frame)
        return response

    async def _attempt(self, request: httpx2.Request, attempts: int) -> httpx2.Response:
        for failed in range(1, attempts):
            try:
                return await self._send(request)
            except httpx2.TransportError:
                await anyio.sleep(self._pause(failed))
        return await self._send(request)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and read what comes; one byte over the limit is enough for the reader to refuse it."""
        response = await self._inner.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream), "an asynchronous transport answers so"
        try:
            response.stream = httpx2.ByteStream(await read_bounded(stream))
        finally:
            await stream.aclose()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()
