"""The protected resource: which requests reach the MCP endpoint, tool by tool, in both protocol eras.

The SDK guards the whole endpoint or nothing. Here an open tool needs no token; a protected one needs a token that
was issued for this resource and has the scopes of the call.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import AnyHttpUrl, ValidationError
from starlette.authentication import AuthCredentials
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...oauth.challenge import AuthChallenge
from ...oauth.clock import Clock, SystemClock, iso
from ...oauth.errors import StoreUnavailable, TransientError
from ..rate_limits import RETRY_SECONDS, client_address
from . import audit
from .bearer import RefusedRequest, bearer_token, presents_credentials
from .incoming import Incoming, parse_message, read_body
from .limits import USUAL_LIMITS, InService, Limits, RateLimit
from .sessions import Principal, Sessions

#: Requests of one address that are served at a time without a token.
MOST_REQUESTS_OF_STRANGERS = 100

_SESSION_HEADER = MCP_SESSION_ID_HEADER.lower().encode("ascii")
_VERSION_HEADER = MCP_PROTOCOL_VERSION_HEADER.lower().encode("ascii")
_UNNAMED_WAIT_SECONDS = 30

#: Says which scopes a call needs; none for an open tool.
RequiredScopes = Callable[[str, Mapping[str, Any]], tuple[str, ...]]


class ResourceGate:
    """ASGI middleware around the SDK's MCP endpoint.

    The caller's `AccessToken` reaches the tools through the SDK's `get_access_token()`.

    Args:
        app: the endpoint.
        verifier: knows tokens; the SDK's `TokenVerifier`. It may raise `TransientError` where it cannot tell now.
        resource_url: the audience that a token must have (RFC 8707).
        required_scopes: says what a call of a tool needs.
        challenge: where to authorize; its scopes are asked for where the call itself names none.
        limits: what one address may cost.
        sessions: who uses which session; None if the endpoint keeps none.
        clock: tells whether a token has expired.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verifier: TokenVerifier,
        resource_url: str,
        required_scopes: RequiredScopes,
        challenge: AuthChallenge,
        limits: Limits = USUAL_LIMITS,
        sessions: Sessions | None = None,
        clock: Clock | None = None,
    ):
        self._app = app
        self._verifier = verifier
        self._audience = _normalised(resource_url)
        self._required_scopes = required_scopes
        self._challenge = challenge
        self._failures = RateLimit(limits.failures, "failed authorizations", storage=limits.storage)
        self._openings = RateLimit(limits.openings, "anonymous sessions", storage=limits.storage)
        self._strangers = InService(MOST_REQUESTS_OF_STRANGERS)
        self._sessions = sessions
        if sessions is not None:
            sessions.end = self._end_session
        self._clock = clock or SystemClock()
        self._bounded = RequestBodyLimitMiddleware(self._serve, limits.body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Before the body and the token are looked at: guessing shall cost the guesser, not us.
        if presents_credentials(scope) and (refusal := await self._limited(scope)) is not None:
            await self._refuse(refusal, Incoming(), None, scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    async def _limited(self, scope: Scope) -> RefusedRequest | None:
        try:
            wait = await self._failures.blocked(client_address(scope))
        except TransientError as error:
            return self._unavailable(error)
        if wait is None:
            return None
        return RefusedRequest(429, "rate_limited", "Too many failed authorizations", retry_after=wait)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body, receive = await read_body(receive)
        except ConnectionResetError:
            return
        message = parse_message(body) if scope["method"] == "POST" else Incoming()
        needed = self._required_scopes(message.tool, message.arguments) if message.tool is not None else ()
        access = None
        try:
            access = await self._authenticate(scope, needed)
            self._authorize(access, needed)
            if not message.readable:
                raise RefusedRequest(400, "unreadable", "Parse error")
            session_id = _session_id(scope)
            if self._sessions is not None and not await self._sessions.admits(session_id, access):
                # Exactly what the SDK says of a session that does not exist.
                message = replace(message, id=None)
                raise RefusedRequest(404, "session_of_another_user", "Session not found")
            if access is None:
                await self._check_strangers_share(scope)
        except RefusedRequest as refusal:
            await self._refuse(refusal, message, access, scope, receive, send, needed=needed)
            return
        if access is not None:
            audit.record("granted", _what(scope, message), access=access, needed=needed)
            await self._pass_on(access, session_id, scope, receive, send)
            return
        with self._strangers.one_more(client_address(scope)):
            await self._pass_on(access, session_id, scope, receive, send)

    async def _check_strangers_share(self, scope: Scope) -> None:
        """Refuse what would cost one address without a token more than its share."""
        address = client_address(scope)
        if self._strangers.is_full(address):
            raise RefusedRequest(
                429, "many_requests", "Too many requests without a token are being served", retry_after=RETRY_SECONDS
            )
        if not self._may_open_session(scope):
            return
        try:
            wait = await self._openings.blocked(address)
            if wait is None:
                await self._openings.count(address)
                return
        except StoreUnavailable:
            # Nobody counts now, but the places for strangers' sessions are bounded all the same.
            return
        raise RefusedRequest(429, "many_sessions", "Too many sessions without a token", retry_after=wait)

    def _may_open_session(self, scope: Scope) -> bool:
        """Say whether the SDK makes a session for this request: it comes without one, in an earlier version."""
        if self._sessions is None or _header(scope, _SESSION_HEADER) is not None:
            return False
        version = _header(scope, _VERSION_HEADER)
        return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS

    # -- who is it, and may they ---------------------------------------------------------------------------------

    async def _authenticate(self, scope: Scope, needed: tuple[str, ...]) -> AccessToken | None:
        """Return what the request's token stands for, None without a token. A bad token is refused on any request."""
        token = bearer_token(scope)
        if token is None:
            return None
        try:
            access = await self._verifier.verify_token(token)
        except TransientError as error:
            raise self._unavailable(error) from error
        if access is None:
            raise self._invalid("unknown_token", "The access token is unknown, revoked or expired", needed)
        if access.expires_at is not None and access.expires_at <= self._clock.now():
            raise self._invalid("expired", "The access token has expired", needed)
        if access.resource is None or _normalised(access.resource) != self._audience:
            # RFC 8707 section 2, MCP "Token Audience Binding and Validation".
            raise self._invalid("wrong_audience", "The access token was not issued for this resource", needed)
        return access

    def _unavailable(self, error: TransientError) -> RefusedRequest:
        wait = _UNNAMED_WAIT_SECONDS
        if error.retry_at is not None:
            wait = max(1, round(error.retry_at - self._clock.now()))
        return RefusedRequest(503, "unavailable", "The token cannot be checked now", retry_after=wait)

    def _invalid(self, reason: str, description: str, needed: tuple[str, ...]) -> RefusedRequest:
        return RefusedRequest(401, reason, description, error="invalid_token", scopes=needed)

    def _authorize(self, access: AccessToken | None, needed: tuple[str, ...]) -> None:
        if not needed:
            return
        if access is None:
            # RFC 6750 section 3.1: no error code, for the client may not have known.
            raise RefusedRequest(401, "missing_token", "Authentication required", scopes=needed)
        if not set(needed) <= set(access.scopes):
            # The union, so that a step-up does not lose what was granted (MCP, "Scope Challenge Handling").
            union = tuple(dict.fromkeys((*access.scopes, *needed)))
            raise RefusedRequest(
                403, "insufficient_scope", "The call needs more scopes", error="insufficient_scope", scopes=union
            )

    # -- passing on ----------------------------------------------------------------------------------------------

    async def _pass_on(
        self, access: AccessToken | None, session_id: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope = {key: value for key, value in scope.items() if key not in ("user", "auth")}
        user = None if access is None else AuthenticatedUser(access)
        if user is not None and (self._sessions is None or not self._sessions.is_guarded(session_id)):
            # The SDK binds the session to this user. One that was opened anonymously stays so for the SDK: we guard it.
            scope |= {"user": user, "auth": AuthCredentials(user.scopes)}
        token = auth_context_var.set(user)
        try:
            await self._in_session(access, session_id, scope, receive, send)
        finally:
            auth_context_var.reset(token)

    async def _in_session(
        self, access: AccessToken | None, session_id: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        sessions = self._sessions
        if sessions is None:
            await self._app(scope, receive, send)
        elif self._may_open_session(scope):
            async with sessions.opening(client_address(scope), access) as opened:
                await self._app(scope, receive, _watch_opening(send, opened))
        else:
            ends = session_id is not None and scope["method"] == "DELETE"
            with sessions.use(session_id):
                await self._app(scope, receive, _watch_end(send, sessions, str(session_id)) if ends else send)

    async def _end_session(self, session_id: str, bound: Principal | None) -> None:
        """End a session as its client would: the SDK has no other public way."""
        scope: Scope = {
            "type": "http",
            "method": "DELETE",
            "path": "/",
            "query_string": b"",
            "headers": [(_SESSION_HEADER, session_id.encode("latin-1"))],
        }
        if bound is not None:
            client_id, issuer, subject = bound
            claims = None if issuer is None else {"iss": issuer}
            access = AccessToken(token="", client_id=client_id, scopes=[], subject=subject, claims=claims)
            scope = {**scope, "user": AuthenticatedUser(access), "auth": AuthCredentials()}
        await self._app(scope, _no_body, _discard)

    # -- refusing ------------------------------------------------------------------------------------------------

    async def _refuse(
        self,
        refusal: RefusedRequest,
        message: Incoming,
        access: AccessToken | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        needed: tuple[str, ...] = (),
    ) -> None:
        if refusal.counts_as_failure:
            # Where it cannot be counted, no guess can be right either: the token's store is the same.
            with contextlib.suppress(StoreUnavailable):
                await self._failures.count(client_address(scope))
        if refusal.reason != "unreadable":
            what = _what(scope, message)
            audit.record("denied", what, reason=refusal.reason, status=refusal.status, access=access, needed=needed)
        challenge = replace(self._challenge, scopes=refusal.scopes or self._challenge.scopes)
        headers = {"Cache-Control": "no-store"}
        if refusal.error is not None or refusal.status == 401:
            headers["WWW-Authenticate"] = _www_authenticate(challenge, refusal)
        if refusal.retry_after is not None:
            headers["Retry-After"] = str(refusal.retry_after)
        body = {"jsonrpc": "2.0", "id": message.id, "error": self._error(challenge, refusal)}
        await JSONResponse(body, refusal.status, headers=headers)(scope, receive, send)

    def _error(self, challenge: AuthChallenge, refusal: RefusedRequest) -> dict[str, Any]:
        """Return the JSON-RPC error: the guide's -32001 wherever authorizing helps."""
        if refusal.status in (401, 403):
            text = challenge.message if refusal.status == 401 else refusal.description
            return replace(challenge, message=text).to_jsonrpc()
        if refusal.retry_after is not None:
            retry_at = iso(self._clock.now() + refusal.retry_after)
            data = {"type": "transient", "retry_at": retry_at}
            return {"code": INTERNAL_ERROR, "message": refusal.description, "data": data}
        code = PARSE_ERROR if refusal.reason == "unreadable" else INVALID_REQUEST
        return {"code": code, "message": refusal.description}


def _www_authenticate(challenge: AuthChallenge, refusal: RefusedRequest) -> str:
    """Write the header; to authorize does not help a malformed request, so that one names no scopes."""
    description = refusal.description if refusal.error is not None else None
    scopes = () if refusal.status == 400 else challenge.scopes
    return replace(challenge, error=refusal.error, error_description=description, scopes=scopes).to_www_authenticate()


@functools.lru_cache(maxsize=128)
def _normalised(url: str) -> str | None:
    """Write a URL so that case and default port do not matter, a trailing slash aside; None if it is none."""
    try:
        return str(AnyHttpUrl(url)).removesuffix("/")
    except ValidationError:
        return None


def _session_id(scope: Scope) -> str | None:
    return _header(scope, _SESSION_HEADER)


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _watch_opening(send: Send, opened: Callable[[str], Awaitable[None]]) -> Send:
    async def watch(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            session_id = next((value for name, value in message["headers"] if name.lower() == _SESSION_HEADER), None)
            if session_id is not None:
                await opened(session_id.decode("latin-1"))
        await send(message)

    return watch


def _watch_end(send: Send, sessions: Sessions, session_id: str) -> Send:
    async def watch(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            sessions.forget(session_id)
        await send(message)

    return watch


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _discard(message: Message) -> None:
    """Send nothing to anybody."""


def _what(scope: Scope, message: Incoming) -> dict[str, str | None]:
    return {
        "address": client_address(scope),
        "http": scope["method"],
        "method": message.method,
        "tool": message.tool,
    }
