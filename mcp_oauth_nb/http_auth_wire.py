"""Every request that an authorization makes, and every answer that it gets, on their way through the provider.

Places are checked before anything is sent there; JSON is asked for; bodies are bounded; credentials follow no redirect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import parse_qs

import httpx2

from .errors import TransientError
from .http_auth_carrier import DEADLINE_SECONDS, allow, no_answer, unreachable
from .http_auth_checks import answer_of
from .http_auth_context import Context
from .http_auth_metadata import check_metadata
from .http_auth_reading import Discovery
from .http_auth_registration import check_registration_offered
from .http_faults import MAX_BODY_BYTES, compressed, place_of, redirected, too_long
from .places import Places
from .redaction import printable
from .retry_after import Patience


class Wire:
    """Looks at what passes, for one provider. `discovery` reads the challenges and documents of it.

    Args:
        context: the flow's state.
        places: where the MCP server may lead to.
        patience: remembers how long a token endpoint asked to be left alone.
    """

    def __init__(self, context: Context, places: Places, patience: Patience):
        self.places = places
        self._context = context
        self._patience = patience
        self.discovery = Discovery(context, context.clock)

    async def prepare(self, request: httpx2.Request) -> None:
        """Check a request of the flow, and complete it.

        Raises:
            SecurityError: it would go to a place that the MCP server may not lead to.
            McpOAuthError: see `check_metadata`, `check_registration_offered`.
        """
        # GitHub answers form-encoded unless asked for JSON; and what is compressed cannot be bounded.
        request.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        # A request that no client built has no timeout at all.
        request.extensions["timeout"] = httpx2.Timeout(DEADLINE_SECONDS).as_dict()
        allow(request, attempts=_attempts(request))
        if request.method == "POST":
            self.check_metadata()
        if is_registration(request):
            check_registration_offered(self._context, self.discovery.reason("registration_endpoint"))
        self.places.check(str(request.url), credentials=request.method == "POST")
        await self.places.check_resolved(str(request.url))

    def check_metadata(self) -> None:
        """Check that the authorization server may be used; see `http_auth_metadata.check_metadata`."""
        check_metadata(self._context, self.places, self.discovery)

    def check_patience(self, token_endpoint: str) -> None:
        """Check that a token may be asked for now; see `Patience.check`."""
        self._patience.check(token_endpoint, self._context.clock.now())

    async def outlast(self, request: httpx2.Request) -> bool:
        """Wait until a token may be asked for again; see `Patience.outlast`."""
        return await self._patience.outlast(str(request.url), self._context.clock.now(), deadline=DEADLINE_SECONDS)

    def spared(self, request: httpx2.Request) -> httpx2.Response | None:
        """Return what stands for the answer to a request that is not to be sent now; None if it is."""
        if is_token_request(request):
            try:
                self.check_patience(str(request.url))
            except TransientError as error:
                # As if there had been no connection: what is still good is used.
                return no_answer(error, request)
        return None

    async def check(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Check an answer before the SDK reads it.

        Raises:
            TransientError: the server cannot answer now.
            ProtocolError, SecurityError: it is none that the flow can use.
        """
        place = printable(place_of(request.url))
        error = unreachable(response)
        if error is not None and not is_refresh(request):
            # What a refresh makes of it is for the flow: the token may still be good.
            raise error
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise compressed(place)
        response.stream = _Bounded(cast(httpx2.AsyncByteStream, response.stream), place)
        if request.method == "POST" and response.has_redirect_location:
            raise redirected(place, response.status_code)
        if is_registration(request):
            return  # The flow reads it, with what was sent.
        if is_token_request(request) and error is None:
            self._patience.heard(await answer_of(response), self._context.clock.now())


def is_registration(request: httpx2.Request) -> bool:
    """Say whether a request of the flow registers a client."""
    # The SDK posts forms to the token endpoint, and JSON here.
    return request.method == "POST" and request.headers.get("content-type") == "application/json"


def is_token_request(request: httpx2.Request) -> bool:
    """Say whether a request of the flow asks for a token."""
    return request.method == "POST" and not is_registration(request)


def is_refresh(request: httpx2.Request) -> bool:
    """Say whether a request of the flow asks for a token by a refresh token."""
    return is_token_request(request) and parse_qs(request.content.decode()).get("grant_type") == ["refresh_token"]


def _attempts(request: httpx2.Request) -> int:
    if request.method == "GET":
        return 3
    # Nobody knows whether the refresh token was used up; asking once more tells. A code is never sent twice.
    return 2 if is_refresh(request) else 1


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it gets too long."""

    def __init__(self, inner: httpx2.AsyncByteStream, place: str):
        self._inner = inner
        self._place = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise too_long(self._place)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
