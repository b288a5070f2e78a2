"""The SDK's `OAuthClientProvider`, with what it leaves out.

The flow is the SDK's. This class stands around it, sees every request that it makes and every answer that it gets,
and adds: typed errors without a body in them, places checked before anything goes there (`flow_requests`), tokens
that are refreshed in turn, before a new authorization, and survive a server's bad day (`refreshing`), an end to
step-up (`step_up`), and calls that do not wait for each other.

What one request goes through, by the state that it is in:

    state        what happens                                           next
    look         the token is valid, and not the one that got a 401     call
                 it is due, has expired, or got a 401                    refresh, after whoever is at it
                 there is none, or none that can be refreshed            authorize
    refresh      a token came, or another session has stored one         call
                 it was refused                                          authorize
                 the server asks for a wait that fits the deadline       look, after it, once
                 nobody answers there                                    moved?
                 the user signed out                                     revoke what came; `AuthenticationRequired`
    call         401, of three calls at most                             look
                 401 to the token that has just come, or at the last     authorize
                 403 that asks for scopes                                authorize
                 any other answer                                        done
    moved?       the metadata names another token endpoint               authorize
                 it names the same one                                   the error of the refresh
    authorize    the SDK's flow: metadata, registration, browser, code   call; done

An early refresh is a courtesy: where it fails while the token is valid, the token is used. What travels beside the
requests is in `channels`.

A flow may be stepped by hand, one request at a time and from any task:

    flow = provider.async_auth_flow(request)
    outgoing = await anext(flow)
    outgoing = await flow.asend(response)       # until StopAsyncIteration; then `await flow.aclose()`
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import TypeGuard

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.client.auth.utils import extract_resource_metadata_from_www_auth
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from pydantic import AnyUrl

from ..oauth.allowed_urls import Places
from ..oauth.authorization import check_issuer
from ..oauth.clock import Clock
from ..oauth.errors import (
    ConfigurationError,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ServerUnavailable,
    TransientError,
    Unreachable,
)
from ..oauth.masking import printable
from ..oauth.patience import Patience
from ..oauth.revocation import signed_out
from ..oauth.token import Token
from ..oauth.token_endpoint import BAD_CLIENT
from ..oauth.urls import Resolver, peer_of, resolve
from ..store.grants import Grant
from .channels import GRANT, SCOPE
from .context import Context, Stop, stopping
from .flow_checks import flow_error
from .flow_requests import Wire, is_registration, is_token_request
from .front_channel import FrontChannel, with_one_query
from .redirect import Redirect
from .refresher import SignedOut
from .refreshing import GrantProvider, Unreached
from .registration import read_registration, redirects_elsewhere, registration_request
from .sdk_storage import GrantStorage
from .sign_out import GrantRevocation
from .step_up import StepUps, challenged_scopes, is_challenge

_Flow = AsyncGenerator[httpx2.Request, httpx2.Response]

# The SDK logs, with its traceback, what is raised from here as a typed error. Who did not ask for logs sees it once.
logging.getLogger("mcp.client.auth").addHandler(logging.NullHandler())


def is_out_of_service(error: McpOAuthError) -> TypeGuard[TransientError]:
    """Say whether an error may mean that nobody serves an address any more. Who names a time to come back does."""
    return isinstance(error, Unreachable | ServerUnavailable) and error.retry_at is None


def _shield(request: httpx2.Request, on: bool) -> None:
    """Keep an interrupt away from the call that a request is of, or let it come again."""
    scope = SCOPE.of(request)
    if scope is not None:
        scope.shield = on


class AuthProvider(GrantProvider):
    """Authorizes the requests of one connection to one MCP server: `httpx2.AsyncClient(auth=provider)`.

    Args:
        server_url: the MCP endpoint.
        client_metadata: what to register with; the redirect URI is filled in.
        storage: keeps the grant.
        redirect: the way through the browser.
        clock: says when a token has expired.
        client_metadata_url: the client's id where the server takes Client ID Metadata Documents.
        token_bytes: the source of randomness for `state` and the code verifier.
        resolver: finds the addresses of the hosts that a server on the internet leads to.
        patience: remembers how long a token endpoint asked to be left alone.
    """

    def __init__(
        self,
        server_url: str,
        client_metadata: OAuthClientMetadata,
        storage: GrantStorage,
        redirect: Redirect,
        clock: Clock,
        client_metadata_url: str | None = None,
        *,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        resolver: Resolver = resolve,
        patience: Patience | None = None,
    ):
        handlers = (self._send_person, self._person_came_back)
        context = Context(server_url, client_metadata, storage, *handlers, client_metadata_url, clock=clock)
        super().__init__(context, storage)
        self._redirect = redirect
        self._front = FrontChannel(redirect, token_bytes)
        self._wire = Wire(context, Places(server_url, resolver), patience or Patience())
        self._step_ups = StepUps()
        self._doubted: OAuthClientInformationFull | None = None

    # -- every request and answer -------------------------------------------------------------------------------

    async def async_auth_flow(self, request: httpx2.Request) -> _Flow:
        """See `httpx2.Auth`.

        Raises:
            AuthenticationRequired: the user signed out while the token was refreshed; what came of it is revoked.
            InsufficientScope: the server asks for scopes again after they were asked for.
            TokenRejected: the server does not accept a token that it was just given.
            TransientError: a server cannot answer now; the tokens are kept.
            SecurityError: a server leads to a place that it has no business with, or a check of the flow failed.
            McpOAuthError: see `errors`.
        """
        if request.method == "DELETE":
            # The farewell of a session, at most with the token that is there: no reason to send anybody to a browser.
            await self._ready()
            if self.context.token is not None:
                self._add_auth_header(request)
            yield request
            return
        flow = super().async_auth_flow(request)
        try:
            outgoing = await flow.__anext__()
            while True:
                if outgoing is request:
                    response = yield outgoing
                    self._wire.places.answered(peer_of(response.extensions))
                    response = self._wire.discovery.challenged(request, response)
                else:
                    instead = await self._wire.prepare(outgoing)
                    # An interrupted cell must not lose a token between the server's answer and the store.
                    _shield(request, is_token_request(outgoing))
                    response = instead or await self._wire.check(outgoing, (yield outgoing))
                outgoing = await flow.asend(response)
                _shield(request, False)
        except StopAsyncIteration:
            return
        except SignedOut as out:
            # Nobody else would end the token that has just come: an interrupted cell waits for it.
            revocation = GrantRevocation(self.context, replace(GRANT.at(outgoing), token=out.orphan))
            while (ending := revocation.request()) is not None:
                instead = await self._wire.prepare(ending)
                await revocation.read(instead or await self._wire.check(ending, (yield ending)))
            raise self._annotated(signed_out(revocation.failure))  # noqa: B904 (it has its cause)
        except Stop as stop:
            raise self._annotated(stop.error) from stop.error.__cause__
        except McpOAuthError as error:
            self._annotated(error)
            if self._unreached is None or not isinstance(error, TransientError):
                raise
            # Nor can it be found out where the token endpoint is by now: the network may be down.
            raise self._unreached.error from error
        except OAuthFlowError as error:
            raise self._annotated(flow_error(error)) from None
        except httpx2.InvalidURL as error:
            text = f"A server named an address that is none ({printable(str(error))})."
            hint = "Tell the server's operator: every address in its challenge and its metadata has to be a URL."
            raise self._annotated(ProtocolError(text, hint=hint, reference="RFC 9728 section 2")) from None
        finally:
            _shield(request, False)
            await flow.aclose()

    async def revoke(self, grant: Grant, send: Callable[[httpx2.Request], Awaitable[httpx2.Response]]) -> None:
        """End the token of a grant at the issuer that gave it.

        Args:
            grant: one with a token.
            send: sends a request, within a deadline.

        Raises:
            NotRevoked: it, or a part of it, may still be good.
        """
        revocation = GrantRevocation(self.context, grant)
        while (request := revocation.request()) is not None:
            instead = await self._wire.prepare(request)
            await revocation.read(instead or await self._wire.check(request, await send(request)))
        if (failure := revocation.failure) is not None:
            raise failure

    @property
    def findings(self) -> tuple[str, ...]:
        """What was wrong in the server's challenges and metadata, and was passed over; a sentence each."""
        return self._wire.discovery.findings

    def _annotated(self, error: McpOAuthError) -> McpOAuthError:
        self._wire.discovery.annotate(error)
        return error

    # -- the flow of one request ----------------------------------------------------------------------------------

    async def _auth_flow(self, request: httpx2.Request) -> _Flow:
        await self._ready()
        self.context.protocol_version = request.headers.get(MCP_PROTOCOL_VERSION_HEADER)
        early: httpx2.Response | None = None
        sent: Token | None = None
        refreshed, asked_at = False, 0.0
        rounds, waited = 0, False
        doubted: Unreached | None = None
        # With the token that is there; after a 401 with one that another session has, or that is refreshed now. The SDK
        # would hold its lock until the answer begins, so that calls wait for each other, and would authorize at once.
        while rounds < 3:
            refresh: httpx2.Request | None = None
            try:
                async with self._turn_to_refresh(sent) as turn:
                    if turn:
                        asked_at = self.context.clock.now()
                        refresh = await self._refresh_token()
                        refreshed = await self._finish_refresh((yield refresh), sent)
            except Stop as stop:
                # Nobody has the turn meanwhile, and an interrupt ends the wait.
                _shield(request, False)
                if not waited and refresh is not None and await self._wire.outlast(refresh):
                    waited = True
                    continue
                if refresh is None or not is_out_of_service(stop.error):
                    raise
                # What was stored may be of another day.
                doubted = self._doubt_endpoint(refresh, stop.error)
                break
            rounds += 1
            if not self.context.is_token_valid() or self.context.token == sent:
                break
            self._add_auth_header(request)
            sent, early = self.context.token, (yield request)
            # No person is asked where the refresh failed for the moment, or what it gave came too late.
            if early.status_code != 401 or (refreshed and not self.context.may_have_ended(asked_at)):
                break
        if early is not None and not is_challenge(early):
            return
        try:
            if doubted is not None:
                # Where is its authorization server by now? If it has moved, that is where to authorize.
                asking = httpx2.Request("GET", self.context.server_url)
                early = self._wire.discovery.challenged(asking, (yield asking))
                if early.status_code != 401:
                    raise doubted.error
            flow = self._authorization(request, early)
            try:
                outgoing = await flow.__anext__()
                while True:
                    outgoing = await flow.asend((yield outgoing))
            except StopAsyncIteration:
                return
            finally:
                await flow.aclose()
        finally:
            self._doubt_no_more()

    async def _authorization(self, request: httpx2.Request, early: httpx2.Response | None) -> _Flow:
        """Run the SDK's flow.

        Args:
            early: what the MCP server answered already, to the header that the request has now.
        """
        used = request.headers.get("authorization")
        flow = super()._auth_flow(request)
        answers, listening = 0, False
        try:
            outgoing = await flow.__anext__()
            while True:
                if is_registration(outgoing) and outgoing is not request:
                    self._check_moved()
                    self._doubted, self._registered_now = None, True
                    registration = yield registration_request(self.context)
                    response = await read_registration(self.context, registration, self.context.clock.now())
                    if finding := await redirects_elsewhere(registration):
                        self._wire.discovery.note(finding)
                elif outgoing is not request:
                    response = yield outgoing
                    if outgoing.method == "GET":
                        response = await self._wire.discovery.read(response)
                else:
                    # Unless another call has authorized meanwhile.
                    known = early if request.headers.get("authorization") == used else None
                    answers, response, early = answers + 1, known or (yield request), None
                    if answers > 1:
                        self._wire.discovery.answered(response)
                        self._step_ups.check_answer(response)
                    elif is_challenge(response):
                        listening = True
                        await self._before_authorization(response)
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            try:
                if listening:
                    await self._redirect.stop()
            finally:
                # Before another call has its turn.
                self._doubt_no_more()
                await flow.aclose()

    # -- the client, and where the browser comes back to --------------------------------------------------------------

    async def _before_authorization(self, response: httpx2.Response) -> None:
        self._registered_now = False
        if response.status_code == 401 or self.context.oauth_metadata is self._stored_metadata:
            # What the store says of the server may be of another day; a 401 begins with a discovery anyway.
            self._forget_stored()
        self._wire.discovery.begin(response)
        if (url := extract_resource_metadata_from_www_auth(response)) is not None:
            self._wire.places.check(url, credentials=False)
        if self._registered_here(self.context.client_info) and not self._can_authenticate():
            self.context.client_info = None
        granted = self.context.token.scopes if self.context.token is not None else ()
        self._step_ups.check(response, frozenset(granted))
        needed, client = challenged_scopes(response), self.context.client_info
        if self._registered_here(client) and not needed <= frozenset((client.scope or " ".join(needed)).split()):
            # Registered for less than is needed now: the SDK registers again, for the union.
            self.context.client_info = client = None
        # Who keeps the registration of another day may have to hear that the server has not.
        self._doubted = client if self._registered_here(client) and response.status_code == 401 else None
        uris = client.redirect_uris if client is not None else None
        self.context.client_metadata.redirect_uris = [AnyUrl(await self._listen(str(uris[0]) if uris else None))]

    def _can_authenticate(self) -> bool:
        """Say whether the client can authenticate as its registration says, which may be damaged."""
        try:
            return bool(self.context.auth_method)
        except ProtocolError:
            return False

    async def _listen(self, registered: str | None) -> str:
        here = self._registered_here(self.context.client_info)
        if registered is not None and here and self._redirect.leads_elsewhere(registered):
            # The same store, in a JupyterHub and out of it.
            self.context.client_info = registered = None
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

    # -- the person ---------------------------------------------------------------------------------------------------

    async def _send_person(self, url: str) -> None:
        metadata = self.context.oauth_metadata
        with stopping():
            self._wire.check_metadata()
            self._check_moved()
            _ = self.context.auth_method
            # Before the person says yes for nothing.
            self._wire.check_patience(self._get_token_endpoint())
            url = with_one_query(url, str(metadata.authorization_endpoint)) if metadata is not None else url
            await self._front.send(url, self._check_issuer)

    async def _person_came_back(self) -> AuthorizationCodeResult:
        with stopping():
            unknown = False
            try:
                return await self._front.answer()
            except OAuthErrorResponse as error:
                unknown = self._doubted is not None and error.code in BAD_CLIENT
                if unknown:
                    error.hint = "The registration was forgotten. Call again: a new one is made."
                raise
            finally:
                # A server that does not know a client tells the person, and nobody else (RFC 6749 section 4.1.2.1);
                # but some tell the client.
                if self._doubted is not None and (unknown or not self._redirect.answered):
                    self._storage.forget_client(self._doubted, self.context.token)
                    self.context.client_info = None

    def _check_issuer(self, iss: str | None) -> None:
        metadata = self.context.oauth_metadata
        expected = str(metadata.issuer) if metadata is not None else "nobody that publishes an issuer"
        required = metadata is not None and metadata.authorization_response_iss_parameter_supported is True
        check_issuer(iss, expected, required=required)

    async def _perform_authorization_code_grant(self) -> tuple[str, str]:
        code, verifier = await super()._perform_authorization_code_grant()
        return code, self._front.verifier(verifier)
