"""The tokens of one connection: read from the store, refreshed in turn, kept under the issuer that gave them.

The part of the provider that knows the store. A refresh token works once, and several sessions and processes may have
the same one; so who refreshes has the turn from the look at the store until the new token is in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import NamedTuple, TypeGuard

import anyio
import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata

from ..oauth.errors import (
    ConfigurationError,
    McpOAuthError,
    ProtocolError,
    ReauthorizeError,
    RefreshRejected,
    TransientError,
)
from ..oauth.revocation import signed_out
from ..oauth.token import Token
from ..oauth.token_endpoint import GrantType, refusing
from ..store.grants import Grant
from ..store.lock import still_taken
from .channels import ERROR, GRANT
from .context import Context, Stop, free_lock, stopping
from .flow_checks import read_token
from .refresher import SignedOut, outcome
from .registration import client_refused
from .retrying import unsent
from .sdk_storage import GrantStorage

#: How long to wait for others that refresh: as long as they may take.
TURN_SECONDS = 35.0

# What the SDK's state says of the authorization server.
_KNOWN = ("client_info", "oauth_metadata", "protected_resource_metadata", "auth_server_url")


class Unreached(NamedTuple):
    """A refresh that nobody could answer: where it went, the error, the grant whose token is set aside meanwhile."""

    token_endpoint: str
    error: TransientError
    held: Grant


class GrantProvider(OAuthClientProvider):
    """The SDK's provider over a `GrantStorage`.

    Args:
        context: the state, with handlers and storage.
        storage: keeps the grant.
    """

    context: Context

    def __init__(self, context: Context, storage: GrantStorage):
        super().__init__(context.server_url, context.client_metadata, storage)
        # In place of the SDK's own.
        self.context = context
        self._storage = storage
        self._refreshing = free_lock()
        # What the token that is used belongs to, whatever a discovery has found since.
        self._held: Grant | None = None
        # The flow that is under way, or the last one, registered its client itself.
        self._registered_now = False
        # What an earlier authorization found out about the server. It may have moved since.
        self._stored_metadata: OAuthMetadata | None = None
        # How often a refresh ended with a sign-out, so that who waited for it ends alike.
        self._sign_outs = 0
        # The token endpoint that just could not be reached, while it is found out whether it has moved.
        self._unreached: Unreached | None = None

    # -- from the store --------------------------------------------------------------------------------------------

    async def _ready(self) -> None:
        if not self._initialized:
            async with self.context.lock:
                if not self._initialized:
                    await self._initialize()
        if not self.context.is_token_valid():
            self._adopt()

    async def _initialize(self) -> None:
        grant = self._storage.current()
        await super()._initialize()
        self._hold(grant)
        if grant is not None:
            # Without them a refresh token would go to the resource's host, whoever issued it.
            self._know_stored(grant)

    def _hold(self, grant: Grant | None) -> None:
        self._held = grant
        self.context.hold(grant.token if grant is not None else None)

    def _know(self, grant: Grant) -> None:
        """Go on with the client and the endpoints of a grant."""
        self.context.client_info = grant.client.model_copy()
        self.context.oauth_metadata = grant.metadata
        self.context.protected_resource_metadata = grant.resource_metadata
        self.context.auth_server_url = grant.issuer if grant.resource_metadata is not None else None

    def _know_stored(self, grant: Grant) -> None:
        self._know(grant)
        self._stored_metadata = grant.metadata

    def _forget_stored(self) -> None:
        """Forget what is known about the authorization server, so that it is looked for again."""
        self.context.oauth_metadata = self.context.protected_resource_metadata = self.context.auth_server_url = None

    def _adopt(self) -> bool:
        """Use what is stored, if another session or process changed it; a sign-out is a change too.

        Returns:
            Whether there is now a token to use as it is.
        """
        grant = self._storage.current()
        stored = grant.token if grant is not None else None
        if stored == self.context.token:
            return False
        self._hold(grant)
        if grant is not None:
            with suppress(anyio.WouldBlock):
                # An authorization that is under way has a client and endpoints of its own.
                self.context.lock.acquire_nowait()
                self._know_stored(grant)
                self.context.lock.release()
        return self.context.is_token_valid()

    def _registered_here(self, client: OAuthClientInformationFull | None) -> TypeGuard[OAuthClientInformationFull]:
        """Say whether the SDK registered this client, and can so do it again."""
        made = self._storage.registered
        known = {self.context.client_metadata_url, made.client_id if made is not None else None}
        return client is not None and client.client_id not in known

    # -- refresh -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn_to_refresh(self, rejected: Token | None) -> AsyncIterator[bool]:
        """Wait for others who refresh, and say whether there is still something to refresh.

        Args:
            rejected: what the MCP server answered 401 to.

        Raises:
            AuthenticationRequired: the user signed out during the refresh that was waited for.
        """
        if rejected is not None:
            self._adopt()
        if not self._must_refresh(rejected):
            yield False
            return
        patient_until, sign_outs = anyio.current_time() + TURN_SECONDS, self._sign_outs
        async with self._refreshing, self._storage.alone(patient_until - anyio.current_time()) as mine:
            self._adopt()
            if self._sign_outs != sign_outs and self.context.token is None:
                raise Stop(signed_out(None))
            wanted = self._must_refresh(rejected)
            if wanted and not mine:
                # A refresh token works once, and is under way already.
                with stopping():
                    self._put_off(still_taken(TURN_SECONDS), rejected)
            yield wanted and mine

    def _must_refresh(self, rejected: Token | None) -> bool:
        wanted = not self.context.is_token_valid() or (rejected is not None and rejected == self.context.token)
        return wanted and self.context.can_refresh_token()

    async def _refresh_token(self) -> httpx2.Request:
        held = self._held
        assert held is not None, "a token that is refreshed is held"
        # A discovery may have led to another server since. Nothing waits in between, so that no other call sees this.
        found = {name: getattr(self.context, name) for name in _KNOWN}
        self._know(held)
        try:
            request = await super()._refresh_token()
        except Stop as stop:
            # A damaged registration: the client cannot authenticate as it says.
            request = unsent(self._get_token_endpoint(), stop.error)
        finally:
            for name, value in found.items():
                setattr(self.context, name, value)
        # Until the answer is there, another call may hold something else.
        GRANT.put(request, held)
        return request

    async def _finish_refresh(self, response: httpx2.Response, rejected: Token | None) -> bool:
        """Read the answer to a refresh; say whether there is now a new token to use.

        Args:
            rejected: what the MCP server answered 401 to.

        Raises:
            SignedOut: the user signed out meanwhile.
        """
        try:
            return await self._handle_refresh_response(response)
        except SignedOut:
            self._sign_outs += 1
            self._adopt()
            raise
        except Stop as stop:
            if isinstance(stop.error, RefreshRejected) and not self._is_usable(rejected):
                self._set_aside(GRANT.at(response.request))
            else:
                with stopping():
                    self._put_off(stop.error, rejected)
            return False

    def _is_usable(self, rejected: Token | None) -> bool:
        return rejected is None and not self.context.is_expired

    def _put_off(self, error: McpOAuthError, rejected: Token | None) -> None:
        """Go on with the token that could not be refreshed now, if it can be used, or raise the error."""
        if not self._is_usable(rejected):
            raise error
        # Refreshing early is a courtesy: what is still valid is still used. When it ends, the next refresh decides.
        self.context.to_the_end = True

    async def _handle_refresh_response(self, response: httpx2.Response) -> bool:
        held = GRANT.at(response.request)
        assert held.token is not None, "it was refreshed"
        asked, replace = self._token(response, held.token), partial(self._replace, held)
        stored, refused = self._storage.stored, self._storage.forget_token
        with stopping():
            try:
                token = await outcome(held.token, asked, stored=stored, replace=replace, refused=refused)
                if token != self.context.token:
                    self._adopt()
            except RefreshRejected as error:
                if not error.final:
                    raise
                self.context.clear_tokens()
            except ConfigurationError as error:
                if not self._registered_here(held.client):
                    raise self._client_refused(error, held.client) from None
                self._storage.forget_client(held.client, held.token)
                self.context.client_info = None
                self.context.clear_tokens()
        return self.context.is_token_valid()

    def _replace(self, held: Grant, old: Token, new: Token) -> bool:
        self._storage.bind(held.issuer, held.client, held.metadata, held.resource_metadata)
        kept = self._storage.keep(new, instead_of=old)
        if kept is not None:
            self._hold(kept)
        return kept is not None

    # -- has the token endpoint moved? -------------------------------------------------------------------------------

    def _doubt_endpoint(self, refresh: httpx2.Request, error: TransientError) -> Unreached:
        """Go on without the token until a discovery has said where the token endpoint is by now."""
        held = GRANT.at(refresh)
        self._unreached = Unreached(str(refresh.url), error, held)
        self._set_aside(held)
        return self._unreached

    def _check_moved(self) -> None:
        """Check, before anybody is asked, that the token endpoint is not the one that just could not be reached.

        Raises:
            TransientError: it is; as the refresh had it.
        """
        if self._unreached is not None and self._unreached.token_endpoint == self._get_token_endpoint():
            raise self._unreached.error

    def _doubt_no_more(self) -> None:
        """Take the token back that was set aside, unless there is a new one."""
        unreached, self._unreached = self._unreached, None
        if unreached is not None and self.context.token is None:
            self._storage.take_back()
            self._hold(unreached.held)
            self._know_stored(unreached.held)

    def _set_aside(self, held: Grant) -> None:
        """Go on without a token that the store keeps until a new authorization replaces it."""
        assert held.token is not None, "it was refreshed"
        self._storage.set_aside(held.token)
        self.context.clear_tokens()

    # -- into the store ----------------------------------------------------------------------------------------------

    async def _handle_token_response(self, response: httpx2.Response) -> None:
        with stopping():
            try:
                token = await self._token(response)
            except (ConfigurationError, ProtocolError) as error:
                raise self._code_refused(error) from None
            self._keep(token)

    def _code_refused(self, error: McpOAuthError) -> McpOAuthError:
        """Return the error to raise where a code was not exchanged, so that the next call does not meet it again."""
        client = self.context.client_info
        assert client is not None, "a token was asked for by a client"
        of_client = isinstance(error, ConfigurationError)
        if not self._registered_here(client):
            return self._client_refused(error, client) if of_client else error
        if not of_client and self._registered_now:
            return error
        # The server knows this client no more, or not yet: it may have lost its registrations. Not every server, and
        # no gateway, says so with an OAuth error.
        self._storage.forget_client(client, self.context.token)
        self.context.client_info = None
        message, lists = client_refused(error, client, self.context.oauth_metadata)
        return ReauthorizeError(
            message,
            hint="The registration was forgotten. Call again: a new one is made. If that ends alike, the server does "
            f"not accept the clients that it registers: tell its operator how this one authenticated; {lists}. Or "
            "register one by hand, and pass it: McpAuth(client=...).",
            reference="RFC 6749 section 5.2",
        )

    def _client_refused(self, error: McpOAuthError, client: OAuthClientInformationFull) -> ConfigurationError:
        message, lists = client_refused(error, client, self.context.oauth_metadata)
        hint = (
            "Look whether the authorization server can read the document at McpAuth(client_metadata_url=...)."
            if client.client_id == self.context.client_metadata_url
            else "Check the id, the secret and the token_endpoint_auth_method of the client that was passed; "
            f"{lists}: McpAuth(client=...)."
        )
        return ConfigurationError(message, hint=hint, reference="RFC 6749 section 5.2")

    async def _token(self, response: httpx2.Response, refreshed: Token | None = None) -> Token:
        grant: GrantType = "authorization_code" if refreshed is None else "refresh_token"
        with refusing(grant):
            if (error := ERROR.of(response)) is not None:
                raise error
        return await read_token(
            response,
            grant,
            now=self.context.clock.now(),
            # RFC 6749 section 5.1 and 6: no scope means what was asked for, or what the old token has.
            requested=self.context.client_metadata.scope if refreshed is None else " ".join(refreshed.scopes),
            resource=self.context.get_resource_url(),
        )

    def _keep(self, token: Token) -> None:
        client = self.context.client_info
        assert client is not None, "a token was asked for by a client"
        client.issuer = client.issuer or self._expected_issuer()
        metadata, resource_metadata = self.context.oauth_metadata, self.context.protected_resource_metadata
        self._storage.bind(client.issuer, client, metadata, resource_metadata)
        self._hold(self._storage.keep(token))
