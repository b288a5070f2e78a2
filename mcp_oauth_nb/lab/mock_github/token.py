"""The token endpoint: `/login/oauth/access_token`."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .device import GRANT_TYPE as DEVICE
from .device import Device
from .formats import answer, basic_credentials, read_parameters, refusal
from .ledger import Refused
from .model import IssuedToken, OAuthApp
from .state import State

PATH = "/login/oauth/access_token"


class TokenEndpoint:
    """Exchanges codes, refresh tokens and device codes for access tokens."""

    def __init__(self, state: State, device: Device):
        self._state = state
        self._grants: dict[str, Callable[[Mapping[str, str]], IssuedToken]] = {
            "authorization_code": self._exchange,
            "refresh_token": self._refresh,
            DEVICE: device.poll,
        }

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [Route(PATH, self._serve, methods=["POST"])]

    async def _serve(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        if self._state.knobs.basic_auth and (basic := basic_credentials(request, form_encoded=True)):
            parameters = {"client_id": basic[0], "client_secret": basic[1]} | parameters
        try:
            # GitHub leaves grant_type out of the exchange, where RFC 6749 section 4.1.3 requires it.
            grant = self._grants.get(parameters.get("grant_type") or "authorization_code")
            if grant is None:
                raise Refused("unsupported_grant_type", "The grant_type passed is not supported.")
            with self._state.lock:
                issued = grant(parameters)
        except Refused as refused:
            return refusal(request, refused)
        return answer(request, issued.response())

    def _exchange(self, parameters: Mapping[str, str]) -> IssuedToken:
        state, app = self._state, self._client(parameters)
        code = state.ledger.redeem(
            app,
            parameters.get("code", ""),
            redirect_uri=parameters.get("redirect_uri"),
            code_verifier=parameters.get("code_verifier"),
            now=state.now(),
        )
        if not state.users[code.user].email_verified:
            raise Refused("unverified_user_email", "The primary email of the user must be verified.")
        expiring = app.gets_refresh_token(code.offline_access)
        return state.ledger.issue(app, code.user, code.scopes, expiring=expiring, now=state.now())

    def _refresh(self, parameters: Mapping[str, str]) -> IssuedToken:
        app = self._refreshing_client(parameters)
        # A scope parameter is not read: a refresh cannot change what was granted.
        return self._state.ledger.refresh(app, parameters.get("refresh_token", ""), self._state.now())

    def _refreshing_client(self, parameters: Mapping[str, str]) -> OAuthApp:
        # "Refreshing user access tokens": the secret is required unless the token came by the device flow.
        if self._state.ledger.came_by_device(parameters.get("refresh_token", "")) and "client_secret" not in parameters:
            return self._known_app(parameters)
        return self._client(parameters)

    def _client(self, parameters: Mapping[str, str]) -> OAuthApp:
        """Authenticate the client. PKCE does not stand in for the secret: GitHub has no public clients."""
        app = self._known_app(parameters)
        if not hmac.compare_digest(parameters.get("client_secret", "").encode(), app.client_secret.encode()):
            raise _wrong_credentials()
        return app

    def _known_app(self, parameters: Mapping[str, str]) -> OAuthApp:
        app = self._state.apps.get(parameters.get("client_id", ""))
        if app is None:
            raise _wrong_credentials()
        return app


def _wrong_credentials() -> Refused:
    return Refused("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
