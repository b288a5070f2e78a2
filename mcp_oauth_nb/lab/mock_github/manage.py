"""An app's management of its own tokens over the REST API: check, reset, revoke.

A token is opaque, so to check it here is the only way to tell whether it was issued to this app: it stands in
for the audience check that RFC 9700 section 4.10 asks for.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .formats import Endpoint, Problem, basic_credentials, json_response, problem_response
from .model import IssuedToken, OAuthApp
from .payloads import token_json
from .state import State

Action = Callable[[OAuthApp, IssuedToken], Response]


class Manage:
    """`/applications/{client_id}/token` and `/grant`, behind HTTP Basic with client id and secret."""

    def __init__(self, state: State, checked: Callable[[Endpoint], Endpoint]):
        self._state = state
        self._checked = checked

    def routes(self) -> list[Route]:
        """Return what to mount."""
        token, grant = "/applications/{client_id}/token", "/applications/{client_id}/grant"
        return [
            Route(token, self._guarded(self._check), methods=["POST"]),
            Route(token, self._guarded(self._reset), methods=["PATCH"]),
            Route(token, self._guarded(self._revoke), methods=["DELETE"]),
            Route(grant, self._guarded(self._withdraw), methods=["DELETE"]),
        ]

    def _check(self, app: OAuthApp, token: IssuedToken) -> Response:
        return json_response(token_json(self._state, token, app))

    def _reset(self, app: OAuthApp, token: IssuedToken) -> Response:
        fresh = self._state.ledger.reset(token, self._state.now())
        return json_response(token_json(self._state, fresh, app))

    def _revoke(self, app: OAuthApp, token: IssuedToken) -> Response:
        self._state.ledger.revoke(token.access_token)
        return Response(status_code=204)

    def _withdraw(self, app: OAuthApp, token: IssuedToken) -> Response:
        self._state.ledger.withdraw(token.user, app.client_id)
        return Response(status_code=204)

    def _guarded(self, action: Action) -> Endpoint:
        async def serve(request: Request) -> Response:
            return self._decide(request, await request.body(), action)

        return self._checked(serve)

    def _decide(self, request: Request, body: bytes, action: Action) -> Response:
        app = self._authenticated(request)
        if app is None:
            return problem_response(401, "Bad credentials")
        if app.client_id != request.path_params["client_id"]:
            return problem_response(404, "Not Found")
        try:
            access_token = _access_token(body)
        except Problem as problem:
            return problem.response()
        with self._state.lock:
            token = self._state.ledger.find(access_token, self._state.now())
            # Another app's token is answered like an unknown one: that is the point of the check.
            if token is None or token.client_id != app.client_id:
                return problem_response(404, "Not Found")
            return action(app, token)

    def _authenticated(self, request: Request) -> OAuthApp | None:
        credentials = basic_credentials(request, form_encoded=False)
        app = self._state.apps.get(credentials[0]) if credentials else None
        if app is None or credentials is None:
            return None
        return app if hmac.compare_digest(credentials[1].encode(), app.client_secret.encode()) else None


def _access_token(body: bytes) -> str:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    value = fields.get("access_token") if isinstance(fields, dict) else None
    if not isinstance(value, str):
        missing = [{"resource": "OauthAccess", "field": "access_token", "code": "missing_field"}]
        raise Problem(422, "Validation Failed", errors=missing)
    return value
