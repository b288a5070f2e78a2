"""Clients with one check less, for the lab alone: what the real ones look like without the lines that matter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.shared.auth_utils import resource_url_from_server_url
from pydantic import AnyUrl

from ...client.auth import McpAuth
from ...client.flow_requests import Wire
from ...client.handler import OAuthHandler
from ...client.provider import AuthProvider
from ...client.sdk_storage import GrantStorage
from ...client.step_up import StepUps
from ...oauth.authorization import AuthorizationRequest, AuthorizationResponse, callback_parameters
from ...oauth.patience import Patience
from ...oauth.token import Token
from ...oauth.token_endpoint import Grant

# -- clients of GitHub ---------------------------------------------------------------------------------------------


class WithoutPkce(OAuthHandler):
    """Without PKCE, as before 2015: the code is all it takes."""

    def get_authorization_url(self, **options: Any) -> AuthorizationRequest:
        """Leave the challenge out."""
        url, state, code_verifier = super().get_authorization_url(**options)
        address, _, query = url.partition("?")
        kept = [pair for pair in query.split("&") if not pair.startswith("code_challenge")]
        return AuthorizationRequest(f"{address}?{'&'.join(kept)}", state, code_verifier)

    async def _request_token(self, grant: Grant, fields: dict[str, str], scopes: tuple[str, ...]) -> Token:
        fields.pop("code_verifier", None)
        return await super()._request_token(grant, fields, scopes)


class WithoutState(WithoutPkce):
    """Without looking at `state`: whatever callback arrives answers the flow that waits. (PKCE would notice, too.)"""

    def get_authorization_url(self, **options: Any) -> AuthorizationRequest:
        """Remember that a flow waits."""
        request = super().get_authorization_url(**options)
        self._state = request.state
        return request

    def read_callback(self, url: str) -> AuthorizationResponse:
        """Take the code, whoever sent it."""
        flow = self._flows.get(self._state)
        assert flow is not None, "this client begins one flow, and answers it once"
        return AuthorizationResponse(callback_parameters(url)["code"], flow)


class FollowsRedirects(OAuthHandler):
    """With an HTTP client that follows every redirect, 307 and 308 with the whole body."""

    async def _request_token(self, grant: Grant, fields: dict[str, str], scopes: tuple[str, ...]) -> Token:
        client_id, client_secret = self.settings.credentials()
        form = {"grant_type": grant, "client_id": client_id, "client_secret": client_secret, **fields}
        async with self._client() as client:
            response = await client.post(self.settings.oauth_token_url, data=form, follow_redirects=True)
        return Token.from_response(response.json(), now=self.clock.now(), requested_scopes=scopes)


# -- clients of MCP servers ----------------------------------------------------------------------------------------


class IgnoresIssuer(AuthProvider):
    """Without RFC 9207: it does not look who answered."""

    def _check_issuer(self, iss: str | None) -> None:
        pass

    async def _person_came_back(self) -> AuthorizationCodeResult:
        answer = await super()._person_came_back()
        return answer.model_copy(update={"iss": None})


class _AnyServer(Wire):
    """Without a look at the metadata."""

    def check_metadata(self) -> None:
        """Find every authorization server good enough."""


class TrustsAnyServer(AuthProvider):
    """Without a check of the authorization server's metadata: it takes one that does not announce PKCE."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._wire = _AnyServer(self.context, self._wire.places, Patience())


class NeverTired(StepUps):
    """Without a memory of what was asked for in vain."""

    def check(self, response: httpx2.Response, granted: frozenset[str]) -> None:
        """Find that it always makes sense to ask the person."""

    def check_answer(self, response: httpx2.Response) -> None:
        """Find every answer satisfactory."""


class AsksForEver(AuthProvider):
    """Without an end to step-up."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._step_ups = NeverTired()


def provider_of(kind: type[AuthProvider], auth: McpAuth, url: str) -> AuthProvider:
    """Make a provider of another kind for one connection, as `auth.provider(url)` makes one of the real kind."""
    metadata = OAuthClientMetadata(client_name=auth.client_name, redirect_uris=[AnyUrl(auth.redirect_uri)])
    storage = GrantStorage(auth.store, resource_url_from_server_url(url), auth.clock, auth.client)
    return kind(
        url, metadata, storage, auth.redirect(), auth.clock, token_bytes=auth.token_bytes, resolver=auth.resolver
    )


class TrustsTheResource:
    """A client that keeps its credentials by the MCP server alone, and refreshes wherever that leads to.

    Args:
        ask: sends a GET and returns the JSON of the answer.
        post: sends a form.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[dict[str, Any]]],
        post: Callable[[str, dict[str, str]], Awaitable[object]],
        credentials: dict[str, str],
    ):
        self._ask = ask
        self._post = post
        self._credentials = credentials

    async def refresh(self, resource_metadata: str) -> None:
        """Find the token endpoint anew, and go there with everything."""
        resource = await self._ask(resource_metadata)
        issuer = resource["authorization_servers"][0]
        metadata = await self._ask(f"{issuer}/.well-known/oauth-authorization-server")
        await self._post(metadata["token_endpoint"], {"grant_type": "refresh_token", **self._credentials})
