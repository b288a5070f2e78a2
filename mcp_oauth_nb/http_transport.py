"""The MCP transport over HTTP, with authorization: the SDK's streamable HTTP client on an HTTP client of ours.

What goes wrong with authorization would end the SDK's whole connection, as any exception does there. Once the
connection is open it becomes the JSON-RPC error answer of the one request that it concerns; `failure` finds the
typed error again. So does the answer of a proxy that reaches no server: the SDK would say no more than that it failed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
from mcp import MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import INTERNAL_ERROR

from .clock import Clock, SystemClock
from .errors import McpOAuthError, TransientError
from .http import Answer
from .http_auth_carrier import PatientTransport
from .http_auth_provider import sending
from .http_faults import place_of
from .recording_http import receiver_of
from .token_endpoint import check_available

if TYPE_CHECKING:
    from .trace import Trace

#: Makes what carries the HTTP requests. A lab passes one that leads to its server.
TransportFactory = Callable[[], httpx2.AsyncBaseTransport]

# The SDK's own values: a server may think long, and holds an event stream open.
_TIMEOUT = httpx2.Timeout(30.0, read=300.0)

_FAILURE = "mcp-oauth-nb/failure"
_MOST_FAILURES = 100


class HttpTransport:
    """An MCP transport to a URL: `Client(HttpTransport(url, auth=provider))`.

    Args:
        url: the MCP endpoint.
        auth: authorizes the requests.
        trace: records the HTTP exchanges.
        carrier: makes the transport below; the network if not given.
        clock: tells when a relative waiting time ends.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: httpx2.Auth | None = None,
        trace: Trace | None = None,
        carrier: TransportFactory | None = None,
        clock: Clock | None = None,
    ):
        self._clock = clock or SystemClock()
        self._url = httpx2.URL(url)
        self._auth = auth
        self._trace = trace
        self._carrier = carrier or httpx2.AsyncHTTPTransport
        self._stack = AsyncExitStack()
        self._open = False
        self._failures: OrderedDict[int, McpOAuthError] = OrderedDict()
        self._failed = 0

    def opened(self) -> None:
        """Say that the handshake is over: from now on an error concerns one request, not the connection."""
        self._open = True

    def failure(self, error: MCPError) -> McpOAuthError | None:
        """Return the typed error behind an `MCPError`; None if it is the server's own."""
        data = error.data
        number = data.get("number") if isinstance(data, dict) and data.get("type") == _FAILURE else None
        return self._failures.pop(number, None) if isinstance(number, int) else None

    async def __aenter__(self) -> tuple[Any, Any]:
        carrier = self._carrier()
        if self._trace is not None:
            carrier = self._trace.http2(carrier, receiver=partial(receiver_of, server=str(self._url)))
        client = _Client(
            self._answer_for, self._clock, auth=self._auth, transport=PatientTransport(carrier), timeout=_TIMEOUT
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            streams = await stack.enter_async_context(streamable_http_client(str(self._url), http_client=client))
            self._stack = stack.pop_all()
        return streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    def _answer_for(self, request: httpx2.Request, error: McpOAuthError) -> httpx2.Response | None:
        """Make the answer that stands for an error, or None while the error is the connection's."""
        if not self._open:
            return None
        self._failed += 1
        self._failures[self._failed] = error
        if len(self._failures) > _MOST_FAILURES:
            self._failures.popitem(last=False)
        data = {"type": _FAILURE, "number": self._failed}
        # Without an id: the SDK puts that of the request there.
        body = {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL_ERROR, "message": error.message, "data": data}}
        return httpx2.Response(503, json=body, request=request)


class _Client(httpx2.AsyncClient):
    """An HTTP client that answers with an error of authorization instead of raising it."""

    def __init__(
        self,
        answer_for: Callable[[httpx2.Request, McpOAuthError], httpx2.Response | None],
        clock: Clock,
        **options: Any,
    ):
        super().__init__(**options)
        self._answer_for = answer_for
        self._clock = clock

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        with anyio.CancelScope() as scope:
            outer = sending.set(scope)
            try:
                response = await super().send(request, **options)
            except McpOAuthError as error:
                answer = self._answer_for(request, error)
                if answer is None:
                    raise
                return answer
            finally:
                sending.reset(outer)
        return await self._of_a_server(request, response)

    async def _of_a_server(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return what an MCP server answered; of what a proxy did in its place, the typed error's answer."""
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            return response
        place = place_of(request.url)
        try:
            check_available(
                Answer(place, response.status_code, httpx.Headers(response.headers.raw), b""), self._clock.now()
            )
        except TransientError as error:
            if (answer := self._answer_for(request, error)) is not None:
                await response.aclose()
                return answer
        return response
