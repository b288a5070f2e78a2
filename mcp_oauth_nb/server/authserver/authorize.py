"""The authorization endpoint: the SDK's handler, behind the checks that it leaves out."""

from __future__ import annotations

import re
from typing import Any

from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.provider import AuthorizationErrorCode
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...oauth.errors import McpOAuthError, StoreUnavailable
from ...runtime.pages import message_page
from ..rate_limits import RETRY_SECONDS
from . import forms, redirects
from .browsers import Browsers
from .clients import Client
from .forms import Malformed, Parameters
from .sdk_provider import BROWSER, SdkProvider

Problem = tuple[AuthorizationErrorCode, str]

# RFC 7636 section 4.2: what S256 makes is always 43 characters of base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")
_CARRIED = "client_id redirect_uri response_type scope state code_challenge code_challenge_method resource".split()


class AuthorizeEndpoint:
    """Checks the request, binds it to the browser, and sends the browser to the consent page.

    Args:
        provider: knows the clients.
        issuer: sent as `iss` on every answer (RFC 9207).
        resource: the one resource that can be asked for.
        consent_url: where the SDK's handler sends a good request.
    """

    def __init__(
        self,
        provider: SdkProvider,
        browsers: Browsers,
        *,
        issuer: str,
        resource: str,
        consent_url: str,
    ):
        self._clients = provider.clients
        self._sdk = AuthorizationHandler(provider)
        self._browsers = browsers
        self._issuer = issuer
        self._resource = resource
        self._consent_url = consent_url

    async def handle(self, request: Request) -> Response:
        """Answer a request by GET or POST (RFC 6749 section 3.1)."""
        try:
            parameters = forms.read_query(request) if request.method == "GET" else await forms.read_form(request)
        except Malformed as error:
            return message_page("Invalid request", str(error), status=400)
        # RFC 6749 section 4.1.2.1: before client and redirect URI are known good, nothing is redirected.
        if parameters.repeated & {"client_id", "redirect_uri"}:
            return message_page("Invalid request", "client_id or redirect_uri is repeated.", status=400)
        try:
            client = await self._clients.find(parameters.get("client_id", ""))
        except StoreUnavailable:
            raise
        except McpOAuthError as error:
            return message_page("Unknown client", error.message, status=400)
        if not client.allows(parameters.get("redirect_uri", "")):
            text = "The redirect_uri is missing, or is not one that this client has registered."
            return message_page("Unknown address", text, status=400)
        return await self._checked(request, client, parameters)

    async def _checked(self, request: Request, client: Client, parameters: Parameters) -> Response:
        redirect_uri = parameters["redirect_uri"]
        state = None if "state" in parameters.repeated else parameters.get("state")
        problem = self._problem(client, parameters)
        if problem is not None:
            return to_client(redirect_uri, issuer=self._issuer, state=state, error=problem)
        carried = {name: parameters[name] for name in _CARRIED if name in parameters}
        browser = self._browsers.of(request) or self._browsers.new()
        reset = BROWSER.set(self._browsers.fingerprint(browser))
        try:
            response = await self._sdk.handle(forms.as_query(request, {**carried, "resource": self._resource}))
        finally:
            BROWSER.reset(reset)
        location = response.headers.get("location", "")
        if location.startswith(f"{self._consent_url}?"):
            self._browsers.remember(response, browser)
        elif location:
            response.headers["location"] = redirects.answer_url(location, iss=self._issuer)
        return response

    def _problem(self, client: Client, parameters: Parameters) -> Problem | None:
        if parameters.repeated:
            return "invalid_request", "A parameter is repeated."  # RFC 6749 section 3.1
        if "request" in parameters or "request_uri" in parameters:
            return "invalid_request", "Request objects are not supported."
        if parameters.get("response_type") != "code":
            missing = "response_type" not in parameters
            return ("invalid_request", "response_type is missing.") if missing else _ONLY_CODE
        if parameters.get("response_mode", "query") != "query":
            return "invalid_request", "response_mode must be query."
        if "authorization_code" not in client.grant_types:
            return "unauthorized_client", "The client is not registered for the authorization code grant."
        return _pkce_problem(parameters) or self._target_problem(client, parameters)

    def _target_problem(self, client: Client, parameters: Parameters) -> Problem | None:
        # RFC 8707 section 2.1 leaves it to the server what an absent one means: there is one that it can be.
        if not same_resource(parameters.get("resource", self._resource), self._resource):
            return "invalid_target", f"resource must be {self._resource}"
        unknown = set(parameters.get("scope", "").split()) - set(client.may_ask)
        if unknown:
            return "invalid_scope", f"The scopes are: {' '.join(client.may_ask)}."
        return None


_ONLY_CODE: Problem = ("unsupported_response_type", "response_type must be code.")


def _pkce_problem(parameters: Parameters) -> Problem | None:
    challenge = parameters.get("code_challenge")
    if challenge is None:
        return "invalid_request", "code_challenge is required."  # RFC 7636 section 4.4.1
    # RFC 7636 section 4.3: left out means plain, which protects nothing (RFC 9700 section 2.1.1).
    if parameters.get("code_challenge_method") != "S256":
        return "invalid_request", "code_challenge_method must be S256."
    if not _CHALLENGE.fullmatch(challenge):
        return "invalid_request", "code_challenge is not what S256 makes: 43 characters of base64url."
    return None


def same_resource(given: str, resource: str) -> bool:
    """Compare resource indicators: scheme and host in any case (RFC 3986 section 6.2.2.1), the rest exactly.

    A slash behind the path is no difference, as it is none for the endpoint itself.
    """
    scheme, separator, rest = given.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.lower()}{slash}{path.removesuffix('/')}" == resource


def to_client(
    redirect_uri: str, *, issuer: str, state: str | None, error: Problem | None = None, code: str | None = None
) -> Response:
    """Send the browser back to the client with a code or an error, and always with `iss` (RFC 9207 section 2)."""
    kind, description = error or (None, None)
    fields: dict[str, Any] = {"code": code, "error": kind, "error_description": description}
    url = redirects.answer_url(redirect_uri, **fields, state=state, iss=issuer)
    # 303: a browser that answers a form with another form would send it along (RFC 9700 section 4.12).
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def unavailable_page() -> Response:
    """Tell a person that the store does not answer."""
    text = "This server cannot remember anything just now. Try again in a moment; nothing is lost."
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return message_page("Not now", text, status=503, headers=headers)


def too_many(wait: int) -> Response:
    """Ask a person for patience (RFC 6585 section 4)."""
    text = f"There were too many requests from your address. Try again in {wait} seconds."
    return message_page("Too many requests", text, status=429, headers={"Retry-After": str(wait)})
