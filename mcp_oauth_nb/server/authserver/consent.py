"""The consent page, and the way back from GitHub.

GitHub remembers that a person has authorized *this server*, whatever client stands behind it, and then asks nothing
more. So this server asks itself, for each client; and it checks at the callback that the browser is the one that
consented. Otherwise an attacker could consent in theirs and have the victim finish the flow (SECURITY.md, row 15).
"""

from __future__ import annotations

import hmac
import logging
from typing import Any

from mcp.server.auth.provider import AuthorizationErrorCode, AuthorizationParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...oauth.errors import AccessDenied, McpOAuthError, StoreUnavailable, TransientError
from ...runtime.pages import message_page
from . import forms, pages, redirects
from .authorize import to_client
from .browsers import Browsers
from .clients import Client
from .federation import Upstream
from .forms import Malformed, Parameters
from .sdk_provider import SdkProvider

log = logging.getLogger(__name__)

#: Consent is asked for again after this many seconds, and in every new browser session.
CONSENT_LIFETIME_SECONDS = 8 * 3600.0

_ORIGINS = {"pre-registered": "known to this server", "dynamic": "registered itself under this name, unverified"}
_STALE = "This request is no longer waiting, or belongs to another browser. Start again from your application."


class ConsentEndpoint:
    """Asks the person, sends them to GitHub, and the answer to the client."""

    def __init__(self, provider: SdkProvider, upstream: Upstream, browsers: Browsers, *, public_url: str):
        self._clients = provider.clients
        self._grants = provider.grants
        self._vault = provider.grants.vault
        self._flows = provider.flows
        self._upstream_flows = provider.upstream_flows
        self._upstream = upstream
        self._browsers = browsers
        self._issuer = public_url

    # -- the page ------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        """GET /consent: show the page; or go on, where this browser has said yes to the same before."""
        flow_id = request.query_params.get("flow", "")
        flow = await self._flows.get(flow_id)
        client = await self._clients.get(flow["client_id"]) if flow is not None else None
        if flow is None or client is None or not self._browsers.is_same(request, flow["browser"]):
            return _stale()
        params = AuthorizationParams.model_validate(flow["params"])
        redirect_uri = str(params.redirect_uri)
        allowed_before = await self._allowed_before(flow, params)
        if _may_skip(redirect_uri, params, allowed_before) and await self._flows.delete(flow_id):
            return await self._to_upstream(flow, params)
        question = pages.Question(
            client_name=client.display_name,
            client_known_by=_known_by(client),
            redirect_to=redirects.target_name(redirect_uri),
            on_this_machine=redirects.is_on_this_machine(redirect_uri),
            scopes=params.scopes or [],
            resource=params.resource or "",
            allowed_before=allowed_before,
        )
        fields = {"flow": flow_id, "form_token": flow["form_token"]}
        return pages.consent_page(question, fields=fields)

    async def decide(self, request: Request) -> Response:
        """POST /consent: the person has pressed a button."""
        try:
            form = await forms.read_form(request)
        except Malformed as error:
            return message_page("Invalid request", str(error), status=400)
        flow_id = form.get("flow", "")
        flow = await self._flows.get(flow_id)
        # Nothing is used up by a form that another site made this browser send (RFC 9700 section 4.7).
        if flow is None or not self._is_genuine(request, form, flow) or not await self._flows.delete(flow_id):
            return _stale()
        params = AuthorizationParams.model_validate(flow["params"])
        if form.get("authorize") != "1":
            return self._failed(flow, ("access_denied", "The user has denied the access."))
        return await self._to_upstream(flow, params)

    def _is_genuine(self, request: Request, form: Parameters, flow: dict[str, Any]) -> bool:
        origin = request.headers.get("origin", self._issuer)
        return (
            not form.repeated
            and origin == self._issuer
            and self._browsers.is_same(request, flow["browser"])
            and hmac.compare_digest(form.get("form_token", "").encode(), flow["form_token"].encode())
        )

    # -- consent that was given before ---------------------------------------------------------------------------

    async def _allowed_before(self, flow: dict[str, Any], params: AuthorizationParams) -> frozenset[str]:
        given = await self._vault.get("consents", _consent_name(flow, params))
        return frozenset(given["scopes"]) if given is not None else frozenset()

    async def _remember_consent(self, flow: dict[str, Any], params: AuthorizationParams) -> None:
        scopes = sorted({*await self._allowed_before(flow, params), *(params.scopes or [])})
        name = _consent_name(flow, params)
        await self._vault.put("consents", name, {"scopes": scopes}, lifetime=CONSENT_LIFETIME_SECONDS)

    # -- to GitHub and back --------------------------------------------------------------------------------------

    async def _to_upstream(self, flow: dict[str, Any], params: AuthorizationParams) -> Response:
        try:
            url, state, code_verifier = self._upstream.begin(params.scopes or [])
        except McpOAuthError as error:
            log.error("No way to the upstream provider: %s", error.message)
            return self._failed(flow, ("server_error", "The upstream provider is not configured."))
        record = {**flow, "code_verifier": code_verifier}
        await self._upstream_flows.put(state, record)
        return RedirectResponse(url, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

    async def callback(self, request: Request) -> Response:
        """GET /oauth/callback: GitHub has sent the browser back."""
        try:
            parameters = forms.read_query(request)
        except Malformed as error:
            return message_page("Invalid request", str(error), status=400)
        state = parameters.get("state", "")
        flow = None if parameters.repeated else await self._upstream_flows.get(state)
        # Only the browser that consented finishes the flow; another one does not even use it up.
        if flow is None or not self._browsers.is_same(request, flow["browser"]):
            return _stale()
        if not await self._upstream_flows.delete(state):
            return _stale()
        return await self._came_back(f"{self._upstream.settings.oauth_redirect_uri}?{request.url.query}", state, flow)

    async def _came_back(self, url: str, state: str, flow: dict[str, Any]) -> Response:
        params = AuthorizationParams.model_validate(flow["params"])
        try:
            person = await self._upstream.finish(
                url, state=state, code_verifier=flow["code_verifier"], scopes=params.scopes or []
            )
        except McpOAuthError as error:
            log.warning("The upstream provider gave no token: %s", error.message)
            return self._failed(flow, (_kind(error, url), "GitHub did not give the access that was asked for."))
        try:
            # Not before: what anybody can make by pressing a button is not kept for hours.
            await self._remember_consent(flow, params)
            code = await self._grants.issue_code(
                flow["client_id"], params, scopes=person.scopes, subject=person.login, upstream=person.token
            )
        except StoreUnavailable as error:
            # Nobody will ever ask for this token, so it does not stay.
            log.warning("No code could be stored: %s", error.message)
            await self._upstream.revoke(person.token)
            return self._failed(flow, ("temporarily_unavailable", "Try again later."))
        return to_client(str(params.redirect_uri), issuer=self._issuer, state=params.state, code=code)

    def _failed(self, flow: dict[str, Any], problem: tuple[AuthorizationErrorCode, str]) -> Response:
        params = flow["params"]
        log.info("Authorization of %r: %s", flow["client_id"], problem[0])
        return to_client(params["redirect_uri"], issuer=self._issuer, state=params["state"], error=problem)


def _kind(error: McpOAuthError, url: str) -> AuthorizationErrorCode:
    """Say in the codes of RFC 6749 section 4.1.2.1 what went wrong at GitHub."""
    said = forms.read(url.partition("?")[2]).get("error")
    if isinstance(error, AccessDenied):
        return "access_denied"
    if said == "server_error" or not isinstance(error, TransientError):
        return "server_error"
    return "temporarily_unavailable"


def _consent_name(flow: dict[str, Any], params: AuthorizationParams) -> str:
    """Name what a consent is remembered under. A program on this machine may listen elsewhere each time."""
    redirect_uri = str(params.redirect_uri)
    target = "this machine" if redirects.is_on_this_machine(redirect_uri) else redirect_uri
    return "\n".join([flow["browser"], flow["client_id"], target, params.resource or ""])


def _may_skip(redirect_uri: str, params: AuthorizationParams, allowed_before: frozenset[str]) -> bool:
    """Say whether the person need not be asked: they allowed all of it before, and it can only go to that client.

    RFC 8252 section 8.6: whoever listens on this machine may only claim to be the client, so no flow to it runs
    without the person. What they allowed before is shown, no more.
    """
    if redirects.is_on_this_machine(redirect_uri):
        return False
    return bool(allowed_before) and allowed_before.issuperset(params.scopes or [])


def _known_by(client: Client) -> str:
    if client.origin == "document":
        return f"described by {client.client_id}"
    return _ORIGINS[client.origin]


def _stale() -> Response:
    return message_page("Start again", _STALE, status=400)
