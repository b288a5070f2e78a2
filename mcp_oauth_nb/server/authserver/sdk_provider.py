"""The SDK's provider protocol over the directory and the grants: what its handlers ask, answered here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.background import BackgroundTasks

from ...oauth.clock import Clock
from ...oauth.errors import StoreUnavailable
from ...oauth.masking import remember_made
from ...oauth.pkce import random_token
from .clients import ClientDirectory
from .grants import Code, Grants, Refresh
from .waiting import Waiting

#: An authorization request waits this many seconds for the person.
FLOW_LIFETIME_SECONDS = 600.0
#: How many may wait at a time, and of one address.
MOST_FLOWS, MOST_FLOWS_EACH = 5000, 100

#: The browser that the authorization request in progress came from: its cookie. The SDK's protocol has no place for it.
BROWSER: ContextVar[str] = ContextVar("mcp_oauth_nb.server.authserver.browser")

#: What to do when the answer to the token request in progress has left. The SDK's protocol has no place for it, either.
AFTERWARDS: ContextVar[BackgroundTasks] = ContextVar("mcp_oauth_nb.server.authserver.afterwards")


class SdkProvider(OAuthAuthorizationServerProvider[Code, Refresh, AccessToken]):
    """What the SDK's handlers call.

    Args:
        consent_url: the page that asks the person.
        resource: the one resource that tokens are for.
        default_scopes: what a request that names none asks for.
        token_bytes: the source of randomness.
        clock: says when a client registered.
    """

    def __init__(
        self,
        clients: ClientDirectory,
        grants: Grants,
        *,
        consent_url: str,
        resource: str,
        default_scopes: Sequence[str],
        token_bytes: Callable[[int], bytes],
        clock: Clock,
    ):
        self.clients = clients
        self.grants = grants
        bounds = {"most": MOST_FLOWS, "most_each": MOST_FLOWS_EACH}
        #: Authorization requests that wait for the person's consent.
        self.flows = Waiting(grants.vault, "flows", clock, lifetime=FLOW_LIFETIME_SECONDS, **bounds)
        #: Those that were consented to and are on their way through GitHub, by the state that was sent there.
        self.upstream_flows = Waiting(grants.vault, "upstream_flows", clock, lifetime=FLOW_LIFETIME_SECONDS, **bounds)
        self._consent_url = consent_url
        self._resource = resource
        self._default_scopes = list(default_scopes)
        self._token_bytes = token_bytes
        self._clock = clock

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """Return the client, or None."""
        return await self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a client that registers itself; the endpoint has checked it.

        The SDK's handler has drawn its id and its secret, and read the time, by itself, and answers with this object:
        here they come from where everything else in this server does.
        """
        client_info.client_id = str(uuid.UUID(bytes=self._token_bytes(16), version=4))
        client_info.client_id_issued_at = int(self._clock.now())
        if client_info.client_secret is not None:
            client_info.client_secret = self._token_bytes(32).hex()
            remember_made(client_info.client_secret)
        await self.clients.register(client_info)

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Keep the request, bound to the browser it came from, and return the consent page's URL.

        Raises:
            AuthorizeError: it is for another resource, or the store does not answer.
        """
        if params.resource != self._resource:
            raise AuthorizeError("invalid_target", "The resource is not this server's.")  # RFC 8707 section 2.1
        flow = random_token(self._token_bytes)
        remember_made(flow)
        params.scopes = params.scopes or self._default_scopes
        record = {
            "client_id": client.client_id,
            "params": params.model_dump(mode="json"),
            "browser": BROWSER.get(),
            "form_token": random_token(self._token_bytes),
        }
        try:
            await self.flows.put(flow, record)
        except StoreUnavailable as error:
            # RFC 6749 section 4.1.2.1: it has this code because no redirect can have the status 503.
            raise AuthorizeError("temporarily_unavailable", "Try again later.") from error
        return f"{self._consent_url}?flow={flow}"

    async def load_authorization_code(self, client: OAuthClientInformationFull, authorization_code: str) -> Code | None:
        """Return a code that is still good."""
        return await self.grants.load_code(client.client_id, authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: Code
    ) -> OAuthToken:
        """Exchange a code for tokens, once."""
        await self.clients.renew(client)
        return await self.grants.redeem(authorization_code, self._resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> Refresh | None:
        """Return a refresh token that is still good."""
        return await self.grants.load_refresh(client.client_id, refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: Refresh, scopes: list[str]
    ) -> OAuthToken:
        """Exchange a refresh token for new tokens, once."""
        await self.clients.renew(client)
        tokens = await self.grants.rotate(refresh_token, scopes)
        AFTERWARDS.get().add_task(self.grants.answered, refresh_token)
        return tokens

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return what an access token stands for."""
        return await self.grants.verify(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """End the family of either token (RFC 7009 section 2.1), and with it the token at GitHub."""
        family = token.family if isinstance(token, Refresh) else str((getattr(token, "claims", None) or {})["grant"])
        await self.grants.end(family)
