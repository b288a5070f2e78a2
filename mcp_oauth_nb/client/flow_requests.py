"""Every request that an authorization makes, and every answer that it gets, on their way through the provider.

Places are checked before anything is sent there; JSON is asked for; bodies are bounded; credentials follow no redirect.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import parse_qs

import httpx2

from ..oauth.allowed_urls import Places
from ..oauth.errors import McpOAuthError, SecurityError
from ..oauth.http import read_bounded
from ..oauth.http_faults import MAX_BODY_BYTES, compressed, place_of, redirected, too_long
from ..oauth.masking import printable
from ..oauth.metadata_reading import ENDPOINTS
from ..oauth.patience import Patience
from ..oauth.pkce import METHOD
from .channels import ATTEMPTS, ERROR
from .context import Context
from .flow_checks import answer_of
from .reading import FlowDiscovery
from .registration import check_registration_offered
from .retrying import DEADLINE_SECONDS, no_answer


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
        self.discovery = FlowDiscovery(context, context.clock)

    async def prepare(self, request: httpx2.Request) -> httpx2.Response | None:
        """Check a request of the flow, and complete it.

        Returns:
            What stands for the answer to a request for a token that is not to be sent; None if it is. What that means
            is for the flow: a token that cannot be refreshed may still be good.

        Raises:
            SecurityError: it would go to a place that the MCP server may not lead to.
            McpOAuthError: see `check_metadata`, `check_registration_offered`.
        """
        try:
            await self._prepare(request)
            if is_token_request(request):
                self.check_patience(str(request.url))
        except McpOAuthError as error:
            if not is_token_request(request):
                raise
            return no_answer(error, request)
        return None

    async def _prepare(self, request: httpx2.Request) -> None:
        if (error := ERROR.of(request)) is not None:
            raise error
        # GitHub answers form-encoded unless asked for JSON; and what is compressed cannot be bounded.
        request.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        # A request that no client built has no timeout at all.
        request.extensions["timeout"] = httpx2.Timeout(DEADLINE_SECONDS).as_dict()
        ATTEMPTS.put(request, _attempts(request))
        if request.method == "POST" and not (is_refresh(request) or is_revocation(request)):
            # These go to the server that issued the token, which may not be the one that was found since.
            self.check_metadata()
        if is_registration(request):
            check_registration_offered(self._context, self.discovery.reason("registration_endpoint"))
        self.places.check(str(request.url), credentials=request.method == "POST")
        await self.places.check_resolved(str(request.url))

    def check_metadata(self) -> None:
        """Check, before anything is sent there, that an authorization server may be used by what its metadata says.

        Raises:
            McpOAuthError: there is no metadata that can be used; see `FlowDiscovery.check`.
            SecurityError: it does not announce PKCE with S256, or names an endpoint that is no place for one.
        """
        metadata = self._context.oauth_metadata
        if metadata is None:
            self.discovery.check()
            return
        if METHOD not in (metadata.code_challenge_methods_supported or ()):
            issuer = printable(str(metadata.issuer))
            reason = self.discovery.reason("code_challenge_methods_supported")
            raise SecurityError(
                f"The authorization server {issuer} does not announce PKCE with S256.{reason}",
                hint="Without it a stolen code could be used by anybody. Tell its operator: the metadata needs "
                '"code_challenge_methods_supported": ["S256"].',
                reference="MCP 2026-07-28, Authorization; RFC 8414 section 2; RFC 9700 section 2.1.1",
            )
        for name in ENDPOINTS:
            endpoint = getattr(metadata, name)
            if endpoint is not None:
                self.places.check(str(endpoint), credentials=True)

    def check_patience(self, token_endpoint: str) -> None:
        """Check that a token may be asked for now; see `Patience.check`."""
        self._patience.check(token_endpoint, self._context.clock.now())

    async def outlast(self, request: httpx2.Request) -> bool:
        """Wait until a token may be asked for again; see `Patience.outlast`."""
        return await self._patience.outlast(str(request.url), self._context.clock.now(), deadline=DEADLINE_SECONDS)

    async def check(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Check an answer before the SDK reads it.

        Returns:
            The answer; for a token what stands for it, where it is none that the flow can use.

        Raises:
            TransientError: the server cannot answer now.
            ProtocolError, SecurityError: it is none that the flow can use.
        """
        try:
            await self._check(request, response)
        except McpOAuthError as error:
            if not is_token_request(request):
                raise
            return no_answer(error, request)
        return response

    async def _check(self, request: httpx2.Request, response: httpx2.Response) -> None:
        place = printable(place_of(request.url))
        if (error := ERROR.of(response)) is not None:
            raise error
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise compressed(place)
        await _read(response, place)
        if request.method == "POST" and response.has_redirect_location:
            raise redirected(place, response.status_code)
        if is_registration(request):
            return  # The flow reads it, with what was sent.
        if is_token_request(request):
            self._patience.heard(await answer_of(response), self._context.clock.now())


def is_registration(request: httpx2.Request) -> bool:
    """Say whether a request of the flow registers a client."""
    # The SDK posts forms to the token endpoint, and JSON here.
    return request.method == "POST" and request.headers.get("content-type") == "application/json"


def is_token_request(request: httpx2.Request) -> bool:
    """Say whether a request of the flow asks for a token, or for its end."""
    return request.method == "POST" and not is_registration(request)


def is_refresh(request: httpx2.Request) -> bool:
    """Say whether a request of the flow asks for a token by a refresh token."""
    return _form(request).get("grant_type") == ["refresh_token"]


def is_revocation(request: httpx2.Request) -> bool:
    """Say whether a request of the flow ends a token (RFC 7009 section 2.1)."""
    return "token_type_hint" in _form(request)


def _form(request: httpx2.Request) -> dict[str, list[str]]:
    return parse_qs(request.content.decode()) if is_token_request(request) else {}


def _attempts(request: httpx2.Request) -> int:
    if request.method == "GET" or is_revocation(request):
        return 3
    # Nobody knows whether the refresh token was used up; asking once more tells. A code is never sent twice.
    return 2 if is_refresh(request) else 1


async def _read(response: httpx2.Response, place: str) -> None:
    """Read the body, from below the response: who carries the request reads that again, whatever it was."""
    stream = cast(httpx2.AsyncByteStream, response.stream)
    try:
        body = await read_bounded(stream)
    finally:
        await stream.aclose()
    response.stream = httpx2.ByteStream(body if len(body) <= MAX_BODY_BYTES else b"")
    if len(body) > MAX_BODY_BYTES:
        raise too_long(place)
