"""The SDK's `OAuthClientProvider`, with what it leaves out.

The flow is the SDK's. This class stands around it, sees every request that it makes and every answer that it gets,
and adds: typed errors without a body in them, bounded and timed requests that ask for JSON, no redirects of
credentials, absolute expiry, a refresh before a new authorization, tokens kept on a server's bad day, refusal of
metadata without S256, an end to step-up, and calls that do not wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeGuard, cast

import anyio
import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.auth.utils import (
    create_client_registration_request,
    extract_field_from_www_auth,
    union_scopes,
    validate_authorization_response_iss,
)
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from .challenge import AuthChallenge
from .clock import Clock, SystemClock
from .errors import (
    ConfigurationError,
    InsufficientScope,
    IssuerMismatch,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    RedirectRefused,
    TokenRejected,
)
from .http import MAX_BODY_BYTES, Answer
from .http_auth_checks import (
    answer_of,
    check_metadata,
    check_registration,
    check_registration_offered,
    flow_error,
    read_token,
)
from .http_auth_redirect import Redirect
from .http_auth_storage import GrantStorage, oauth_token
from .redaction import printable
from .tokens import EARLY_REFRESH_SECONDS, Token

#: Of each phase of one request to an authorization server: connect, send, wait for the next bytes.
REQUEST_TIMEOUT_SECONDS = 30.0

#: The cancel scope around the request that is being authorized.
sending: ContextVar[anyio.CancelScope | None] = ContextVar("sending", default=None)

_Flow = AsyncGenerator[httpx2.Request, httpx2.Response]


class _Stop(BaseException):
    """Carries an error out of the SDK's flow, which logs the traceback of every `Exception` that passes through."""

    def __init__(self, error: McpOAuthError):
        super().__init__(error.message)
        self.error = error


@contextmanager
def _stopping() -> Iterator[None]:
    try:
        yield
    except McpOAuthError as error:
        raise _Stop(error) from None


@dataclass
class _Context(OAuthContext):
    """The SDK's state of a flow, with an expiry that is absolute and asks the given clock."""

    clock: Clock = field(default_factory=SystemClock)
    token: Token | None = None
    margin: float = EARLY_REFRESH_SECONDS

    def hold(self, token: Token | None, *, fresh: bool = False) -> None:
        """Use a token from now on."""
        now = self.clock.now()
        self.token = token
        self.current_tokens = oauth_token(token, now) if token is not None else None
        # A token that lives for a minute is not to be refreshed at every call.
        left = token.expires_at - now if fresh and token is not None and token.expires_at is not None else None
        self.margin = EARLY_REFRESH_SECONDS if left is None else min(EARLY_REFRESH_SECONDS, left / 4)

    def is_token_valid(self) -> bool:
        margin = self.margin if self.can_refresh_token() else 0.0
        return self.token is not None and not self.token.is_expired(self.clock.now(), margin=margin)

    def clear_tokens(self) -> None:
        super().clear_tokens()
        self.token = None


class AuthProvider(OAuthClientProvider):
    """Authorizes the requests of one connection to one MCP server: `httpx2.AsyncClient(auth=provider)`.

    Args:
        server_url: the MCP endpoint.
        client_metadata: what to register with; the redirect URI is filled in.
        storage: keeps the grant.
        redirect: the way through the browser.
        clock: says when a token has expired.
        client_metadata_url: the client's id where the server takes Client ID Metadata Documents.
    """

    context: _Context

    def __init__(
        self,
        server_url: str,
        client_metadata: OAuthClientMetadata,
        storage: GrantStorage,
        redirect: Redirect,
        clock: Clock,
        client_metadata_url: str | None = None,
    ):
        super().__init__(server_url, client_metadata, storage, client_metadata_url=client_metadata_url)
        self.context = _Context(
            server_url, client_metadata, storage, self._send_person, self._person_came_back, client_metadata_url,
            clock=clock,
        )  # fmt: skip
        self._storage = storage
        self._redirect = redirect
        self._clock = clock
        self._unavailable: Answer | None = None
        # Challenges that a new authorization did not satisfy.
        self._refused: set[frozenset[str]] = set()

    # -- every request and answer -------------------------------------------------------------------------------

    async def async_auth_flow(self, request: httpx2.Request) -> _Flow:
        """See `httpx2.Auth`.

        Raises:
            InsufficientScope: the server asks for scopes again after they were asked for.
            TokenRejected: the server does not accept a token that it was just given.
            TransientError: a server cannot answer now; the tokens are kept.
            McpOAuthError: see `errors`.
        """
        flow = super().async_auth_flow(request)
        try:
            outgoing = await flow.__anext__()
            while True:
                if outgoing is request:
                    response = yield outgoing
                else:
                    self._prepare(outgoing)
                    # An interrupted cell must not lose a token between the server's answer and the store.
                    self._shield(_is_token_request(outgoing))
                    response = yield outgoing
                    await self._check(outgoing, response)
                outgoing = await flow.asend(response)
                self._shield(False)
        except StopAsyncIteration:
            return
        except _Stop as stop:
            raise stop.error from None
        except OAuthFlowError as error:
            raise flow_error(error) from None
        finally:
            self._shield(False)
            await flow.aclose()

    @staticmethod
    def _shield(on: bool) -> None:
        scope = sending.get()
        if scope is not None:
            scope.shield = on

    def _prepare(self, request: httpx2.Request) -> None:
        # GitHub answers form-encoded unless asked for JSON; and what is compressed cannot be bounded.
        request.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        # A request that no client built has no timeout at all.
        request.extensions["timeout"] = httpx2.Timeout(REQUEST_TIMEOUT_SECONDS).as_dict()
        if request.method == "POST":
            check_metadata(self.context, self._unavailable, self._clock.now())
        if _is_registration(request):
            check_registration_offered(self.context)

    async def _check(self, request: httpx2.Request, response: httpx2.Response) -> None:
        place = printable(str(request.url.copy_with(userinfo=b"", query=None, fragment=None)))
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise ProtocolError(f"{place} sent a compressed body although none was accepted.")
        response.stream = _Bounded(cast(httpx2.AsyncByteStream, response.stream), place)
        if request.method == "POST" and response.has_redirect_location:
            raise RedirectRefused(f"{place} answered {response.status_code} with a redirect, which is not followed.")
        if _is_registration(request):
            await check_registration(response, self._clock.now())
        elif request.method == "GET" and (response.status_code >= 500 or response.status_code == 429):
            self._unavailable = await answer_of(response)

    # -- the flow of one request ----------------------------------------------------------------------------------

    async def _auth_flow(self, request: httpx2.Request) -> _Flow:
        early: httpx2.Response | None = None
        await self._ready()
        if self.context.is_token_valid():
            # The SDK would hold its lock until the answer begins, and other calls would wait for it.
            self._add_auth_header(request)
            early = yield request
            if not _is_challenge(early):
                return
        used = request.headers.get("authorization")
        flow = super()._auth_flow(request)
        answers, refreshed, listening = 0, False, False
        try:
            outgoing = await flow.__anext__()
            while True:
                if outgoing is not request:
                    # Before the first answer, only a refresh.
                    refreshed = refreshed or answers == 0
                    response = yield self._for_all_scopes() if _is_registration(outgoing) else outgoing
                elif early is not None and request.headers.get("authorization") == used:
                    answers, response, early = answers + 1, early, None
                else:
                    answers, response, early = answers + 1, (yield request), None
                if outgoing is request and answers == 1:
                    if response.status_code == 401 and not refreshed and self.context.can_refresh_token():
                        # The SDK authorizes at once. But a token that was revoked may leave a refresh token behind.
                        refreshing = await self._refresh_token()
                        if await self._handle_refresh_response((yield refreshing)):
                            self._add_auth_header(request)
                            response = yield request
                    if _is_challenge(response):
                        listening = True
                        await self._before_authorization(response)
                elif outgoing is request:
                    self._after_authorization(response)
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            try:
                if listening:
                    await self._redirect.stop()
            finally:
                await flow.aclose()

    def _for_all_scopes(self) -> httpx2.Request:
        """Register for every scope that a step-up may need: each authorization asks for its own few.

        The SDK registers for the first few only, and servers hold a client to that. A second registration would be
        another client, to which a stateful MCP session does not belong.
        """
        scope = self.context.client_metadata.scope
        for metadata in (self.context.protected_resource_metadata, self.context.oauth_metadata):
            scope = union_scopes(scope, " ".join(metadata.scopes_supported or ()) if metadata is not None else None)
        return create_client_registration_request(
            self.context.oauth_metadata,
            self.context.client_metadata.model_copy(update={"scope": scope}),
            self.context.get_authorization_base_url(self.context.server_url),
        )

    async def _ready(self) -> None:
        if not self._initialized:
            async with self.context.lock:
                if not self._initialized:
                    await self._initialize()
        if not self.context.is_token_valid():
            self._adopt()

    def _adopt(self) -> bool:
        """Use the stored token if another session, or process, put a newer one there."""
        grant = self._storage.current()
        if grant is None or grant.token is None or grant.token == self.context.token:
            return False
        self.context.hold(grant.token)
        return self.context.is_token_valid()

    async def _initialize(self) -> None:
        grant = self._storage.current()
        await super()._initialize()
        if grant is None:
            self.context.hold(None)
            return
        # Without them a refresh token would go to the resource's host, whoever issued it.
        self.context.oauth_metadata = grant.metadata
        self.context.protected_resource_metadata = grant.resource_metadata
        self.context.auth_server_url = grant.issuer if grant.resource_metadata is not None else None
        self.context.hold(grant.token)

    async def _before_authorization(self, response: httpx2.Response) -> None:
        self._unavailable = None
        needed = _scopes(response)
        if response.status_code == 403:
            granted = frozenset(self.context.token.scopes if self.context.token is not None else ())
            if needed in self._refused or (needed and needed <= granted):
                # RFC 6750 section 3.1. Asking again for what is there already would never end.
                raise _insufficient(response)
        client = self.context.client_info
        if self._registered_here(client) and not needed <= frozenset((client.scope or " ".join(needed)).split()):
            # Registered for less than is needed now: the SDK registers again, for the union.
            self.context.client_info = client = None
        uris = client.redirect_uris if client is not None else None
        self.context.client_metadata.redirect_uris = [AnyUrl(await self._listen(str(uris[0]) if uris else None))]

    async def _listen(self, registered: str | None) -> str:
        if registered is not None:
            try:
                # Not every server knows that a loopback redirect may change its port (RFC 8252 section 7.3).
                return await self._redirect.start(registered)
            except ConfigurationError:
                # The port is taken meanwhile.
                if not self._registered_here(self.context.client_info):
                    raise
                self.context.client_info = None
        return await self._redirect.start()

    def _registered_here(self, client: OAuthClientInformationFull | None) -> TypeGuard[OAuthClientInformationFull]:
        """Say whether the SDK registered this client, and can so do it again."""
        made = self._storage.registered
        known = {self.context.client_metadata_url, made.client_id if made is not None else None}
        return client is not None and client.client_id not in known

    def _after_authorization(self, response: httpx2.Response) -> None:
        if response.status_code == 401:
            raise TokenRejected("The MCP server rejects the access token that it was just authorized for.")
        if _is_challenge(response):
            self._refused.add(_scopes(response))
            raise _insufficient(response)

    # -- the steps of the SDK's flow that are done better ---------------------------------------------------------

    async def _send_person(self, url: str) -> None:
        endpoint = str(self.context.oauth_metadata.authorization_endpoint) if self.context.oauth_metadata else ""
        if "?" in endpoint and url.startswith(f"{endpoint}?"):
            # RFC 6749 section 3.1: a query that the endpoint already has is kept; the SDK begins a second one.
            url = f"{endpoint}&{url[len(endpoint) + 1 :]}"
        with _stopping():
            check_metadata(self.context, self._unavailable, self._clock.now())
            await self._redirect.send(url, self._check_issuer)

    async def _person_came_back(self) -> AuthorizationCodeResult:
        with _stopping():
            return await self._redirect.answer()

    def _check_issuer(self, iss: str | None) -> None:
        try:
            validate_authorization_response_iss(iss, self.context.oauth_metadata)
        except OAuthFlowError as error:
            raise IssuerMismatch(f"{printable(str(error))}.") from None

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        with _stopping():
            try:
                token = await self._token(response, "authorization_code")
            except ConfigurationError as error:
                # The server knows this client no more, or not yet: it may have lost its registrations.
                self._storage.forget(client=True)
                self.context.client_info = None
                raise ReauthorizeError(
                    error.message, hint="The registration was forgotten. Call again: a new one is made."
                ) from None
            self._keep(token)

    async def _handle_refresh_response(self, response: httpx2.Response) -> bool:
        old = self.context.token
        if response.status_code in (404, 410):
            # The endpoint is gone; a new authorization begins with a new discovery.
            return self._refresh_refused(client=False)
        with _stopping():
            try:
                token = await self._token(response, "refresh_token")
            except (ReauthorizeError, OAuthErrorResponse, ConfigurationError) as error:
                return self._refresh_refused(client=isinstance(error, ConfigurationError))
            self._keep(old.succeeded_by(token) if old is not None else token)
        return True

    def _refresh_refused(self, *, client: bool) -> bool:
        if self._adopt():
            return True
        self._storage.forget(client=client)
        self.context.clear_tokens()
        if client:
            self.context.client_info = None
        return False

    async def _token(self, response: httpx2.Response, grant: str) -> Token:
        current, asked = self.context.token, self.context.client_metadata.scope
        refreshing = grant == "refresh_token"
        return await read_token(
            response,
            "refresh_token" if refreshing else "authorization_code",
            now=self._clock.now(),
            # RFC 6749 section 5.1 and 6: no scope means what was asked for, or what the old token has.
            requested=" ".join(current.scopes) if refreshing and current is not None else asked,
            resource=self.context.get_resource_url(),
        )

    def _keep(self, token: Token) -> None:
        client = self.context.client_info
        assert client is not None, "a token was asked for by a client"
        client.issuer = client.issuer or self._expected_issuer()
        self._storage.bind(client.issuer, client, self.context.oauth_metadata, self.context.protected_resource_metadata)
        self.context.hold(token, fresh=True)
        self._storage.keep(token)


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
                raise ProtocolError(f"{self._place} sent more than {MAX_BODY_BYTES} bytes; the rest was not read.")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_registration(request: httpx2.Request) -> bool:
    # The SDK posts forms to the token endpoint, and JSON here.
    return request.method == "POST" and request.headers.get("content-type") == "application/json"


def _is_token_request(request: httpx2.Request) -> bool:
    return request.method == "POST" and not _is_registration(request)


def _is_challenge(response: httpx2.Response) -> bool:
    if response.status_code == 401:
        return True
    # The SDK's own condition for a step-up.
    return response.status_code == 403 and extract_field_from_www_auth(response, "error") == "insufficient_scope"


def _scopes(response: httpx2.Response) -> frozenset[str]:
    challenge = AuthChallenge.from_www_authenticate(response.headers.get("www-authenticate", ""))
    return frozenset(challenge.scopes if challenge is not None else ())


def _insufficient(response: httpx2.Response) -> InsufficientScope:
    needed = tuple(sorted(_scopes(response)))
    named = f": it needs {printable(' '.join(needed))}" if needed else ""
    return InsufficientScope(
        f"The token is not enough for this request{named}, and asking for it did not help.",
        required=needed,
        hint="The authorization server does not grant it to this user or client; ask its operator.",
    )
