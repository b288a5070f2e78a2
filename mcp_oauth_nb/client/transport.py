"""The MCP transport over HTTP, with authorization: the SDK's streamable HTTP client on an HTTP client of ours.

What goes wrong with authorization would end the SDK's whole connection, as any exception does there. Once the
connection is open it becomes the JSON-RPC error answer of the one request that it concerns; `failure` finds the
typed error again. So does the answer of a proxy that reaches no server: the SDK would say no more than that it failed.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
from mcp import MCPError
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp_types import INTERNAL_ERROR, JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter
from pydantic import ValidationError

from ..oauth.clock import Clock, SystemClock
from ..oauth.errors import McpOAuthError, ProtocolError, SessionFailed, TransientError
from ..oauth.http import Answer
from ..oauth.http_faults import place_of
from ..oauth.masking import printable
from ..oauth.token_endpoint import check_available
from ..trace.http_recorder import receiver_of
from .channels import SCOPE
from .cookies import BoundedCookies
from .retrying import PatientTransport

if TYPE_CHECKING:
    from ..trace.recorder import Trace

#: Makes what carries the HTTP requests. A lab passes one that leads to its server.
TransportFactory = Callable[[], httpx2.AsyncBaseTransport]

# The SDK's own values: a server may think long, and holds an event stream open.
_TIMEOUT = httpx2.Timeout(30.0, read=300.0)

# A server that wants authorization says 401; what else it may mean.
_HINTS = {
    403: "A server asks for authorization with 401 and WWW-Authenticate. With 403 it, or a gateway in front of it, "
    "refuses whoever asks: look whether it allows this address, this Host and this Origin, and tell its operator "
    "otherwise.",
    404: "Check the address, its path included: nothing answers there. Many servers are at /mcp.",
    405: "Check the address, its path included: what is there takes no MCP messages. Many servers are at /mcp.",
    400: "The server, or a gateway in front of it, did not understand the message. A server that wants authorization "
    "says 401: if this one means that, tell its operator.",
}
_HINT_OTHERS = "Look the status up, and ask the server's operator: one that wants authorization says 401."

# What can be sent back in a header. A proxy that says it twice makes a space, which MCP would not allow.
_SESSION_ID = re.compile(r"[\x20-\x7e]+")

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
        #: What the server answered last, where it was a refusal: its method, place and status.
        self._refused: tuple[str, str, int] | None = None

    def refusal(self, error: SessionFailed) -> SessionFailed | None:
        """Return what a connection that could not be opened failed by, where the server said no by another status
        than 401; None if it failed otherwise.

        Args:
            error: what is known without the HTTP status.
        """
        if self._refused is None or not isinstance(error.__cause__, MCPError):
            return None
        method, place, status = self._refused
        said = printable(str(error.__cause__.message))
        refused = SessionFailed(
            f"The MCP connection failed: {place} answered {status} {_phrase(status)} to {method} ({said}).",
            hint=_HINTS.get(status, _HINT_OTHERS),
            reference="MCP 2025-11-25, Authorization, Error handling; RFC 9110 section 15.5",
        )
        refused.__cause__ = error.__cause__
        return refused

    def _saw(self, request: httpx2.Request, response: httpx2.Response) -> None:
        if request.method == "POST":
            refused = response.status_code >= 400
            self._refused = ("POST", place_of(request.url), response.status_code) if refused else None

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
            self._answer_for,
            self._saw,
            self._clock,
            auth=self._auth,
            transport=PatientTransport(carrier, error_frame=self._error_frame),
            timeout=_TIMEOUT,
            cookies=BoundedCookies(),
            # What is compressed can unpack to a thousand times its size before anyone can count it.
            headers={"Accept-Encoding": "identity"},
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            streams = await stack.enter_async_context(self._streams(client))
            self._stack = stack.pop_all()
        return streams

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    def _streams(self, client: httpx2.AsyncClient) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        # Events are bounded below, with an error that has a type.
        return streamable_http_client(str(self._url), http_client=client, max_sse_event_size=None)

    def _answer_for(self, request: httpx2.Request, error: McpOAuthError) -> httpx2.Response | None:
        """Make the answer that stands for an error, or None while the error is the connection's."""
        if not self._open:
            return None
        return httpx2.Response(
            503, content=self._error_frame(error), headers={"Content-Type": "application/json"}, request=request
        )

    def _error_frame(self, error: McpOAuthError) -> bytes:
        """Make the JSON-RPC error that stands for an error; `failure` finds it again."""
        self._failed += 1
        self._failures[self._failed] = error
        if len(self._failures) > _MOST_FAILURES:
            self._failures.popitem(last=False)
        data = {"type": _FAILURE, "number": self._failed}
        # Without an id: the SDK puts that of the request there.
        body = {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL_ERROR, "message": error.message, "data": data}}
        return json.dumps(body).encode()


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in {one.value for one in HTTPStatus} else "(a status of its own)"


class _Client(httpx2.AsyncClient):
    """An HTTP client that answers with an error of authorization instead of raising it."""

    def __init__(
        self,
        answer_for: Callable[[httpx2.Request, McpOAuthError], httpx2.Response | None],
        saw: Callable[[httpx2.Request, httpx2.Response], None],
        clock: Clock,
        **options: Any,
    ):
        super().__init__(**options)
        self._answer_for = answer_for
        self._saw = saw
        self._clock = clock

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        with anyio.CancelScope() as scope:
            SCOPE.put(request, scope)
            try:
                response = await super().send(request, **options)
            except McpOAuthError as error:
                answer = self._answer_for(request, error)
                if answer is None:
                    raise
                return answer
        self._saw(request, response)
        try:
            return await self._of_a_server(request, response)
        except (ProtocolError, SessionFailed) as error:
            await response.aclose()
            if (answer := self._answer_for(request, error)) is None:
                raise
            return answer

    async def _of_a_server(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return what an MCP server answered; of what a proxy did in its place, the typed error's answer.

        Raises:
            ProtocolError: the SDK would wait for another answer for ever, or fail with no type.
            SessionFailed: the server has this session no more.
        """
        place = place_of(request.url)
        if response.status_code == 404 and request.method == "POST" and MCP_SESSION_ID in request.headers:
            raise SessionFailed(
                f"{place} answered 404 to a request of this session: the server has ended the session, or lost it in a "
                "restart.",
                hint="Open it again: `session = await Session.open(url)`. Who has signed in stays signed in.",
                reference="MCP 2025-11-25, Transports, Session Management",
            )
        if not _SESSION_ID.fullmatch(response.headers.get("mcp-session-id", "none")):
            raise ProtocolError(
                f"{place} opens a session by an id that cannot be sent back.",
                hint="Tell the server's operator: a session id is made of visible ASCII characters.",
                reference="MCP 2025-11-25, Transports, Session Management",
            )
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            return await self._answering(request, response, place)
        try:
            check_available(
                Answer(place, response.status_code, httpx.Headers(response.headers.raw), b""), self._clock.now()
            )
        except TransientError as error:
            if (answer := self._answer_for(request, error)) is not None:
                await response.aclose()
                return answer
        return response

    async def _answering(self, request: httpx2.Request, response: httpx2.Response, place: str) -> httpx2.Response:
        """Return a response in JSON that answers the request: the SDK gives it to whoever has its id, or to nobody.

        Raises:
            ProtocolError: it is something else.
        """
        # A refusal is read by the SDK, which puts the id there; 202 has no answer.
        if request.method != "POST" or response.status_code >= 400 or response.status_code == 202:
            return response
        sent = json.loads(await request.aread())
        if "method" not in sent or "id" not in sent:
            return response
        try:
            message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(await response.aread(), by_name=False)
        except ValidationError:
            problem = ProtocolError(
                f"{place} answered {sent['method']} with JSON that is no JSON-RPC message.",
                hint="Look whether something else than the MCP server answers there, and tell its operator otherwise.",
                reference="MCP 2025-11-25, Transports, Streamable HTTP",
            )
            if self._answer_for(request, problem) is None:
                # At the beginning the SDK may go on in another version of the protocol.
                return response
            # `from None`: it quotes what was sent.
            raise problem from None
        if isinstance(message, JSONRPCError) and message.id != sent["id"]:
            # JSON-RPC 2.0 section 5: null, for whoever could not read the id. Here it can be of no other request.
            message.id = sent["id"]
            content = message.model_dump_json(by_alias=True, exclude_unset=True)
            kept = {name: value for name, value in response.headers.items() if name != "content-length"}
            return httpx2.Response(response.status_code, headers=kept, content=content, request=request)
        if not isinstance(message, JSONRPCError) and not (
            isinstance(message, JSONRPCResponse) and str(message.id) == str(sent["id"])
        ):
            what = "another request" if isinstance(message, JSONRPCResponse) else "no request"
            raise ProtocolError(
                f"{place} answered {sent['method']} with the answer to {what}.",
                hint="Tell the server's operator: a JSON body answers the request that was sent, by its `id`.",
                reference="MCP 2025-11-25, Transports, Streamable HTTP; JSON-RPC 2.0 section 5",
            )
        return response
