"""The token, revocation and registration endpoints: the SDK's handlers, behind the checks that they leave out."""

from __future__ import annotations

from typing import Any

from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.revoke import RevocationHandler
from mcp.server.auth.handlers.token import TokenErrorResponse, TokenHandler, TokenSuccessResponse
from mcp.server.auth.json_response import PydanticJSONResponse
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import RegistrationError
from mcp.server.auth.settings import ClientRegistrationOptions
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...oauth.errors import InvalidCodeVerifier
from ...oauth.pkce import check_verifier
from ..rate_limits import RETRY_SECONDS
from . import clients, forms
from .authorize import same_resource
from .forms import Malformed, Parameters
from .metadata import GRANT_TYPES
from .sdk_provider import AFTERWARDS, SdkProvider

# RFC 6749 section 5.1.
_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class RequestRefused(Exception):
    """A request that does not get as far as the SDK's handler."""

    def __init__(self, error: str, description: str, status: int = 400):
        self.error = error
        self.description = description
        self.status = status

    def response(self) -> Response:
        """Write it as RFC 6749 section 5.2 does."""
        return _error(self.error, self.description, self.status)


class StrictTokenHandler(TokenHandler):
    """The SDK's handler, with RFC 6749 section 5.2's codes where it has others."""

    def response(self, obj: TokenSuccessResponse | TokenErrorResponse) -> PydanticJSONResponse:
        """Write the answer."""
        if isinstance(obj, TokenErrorResponse):
            if obj.error == "unsupported_grant_type":
                # The endpoint has refused grants that nobody can use: this one is not for this client.
                obj = TokenErrorResponse(error="unauthorized_client", error_description="The grant is not for you.")
            elif obj.error == "invalid_request" and "redirect_uri did not match" in (obj.error_description or ""):
                obj = TokenErrorResponse(error="invalid_grant", error_description=obj.error_description)
        response: PydanticJSONResponse = super().response(obj)
        return response


class BackChannel:
    """The endpoints that clients ask themselves.

    Args:
        resource: the one resource that tokens are for.
        options: what may be registered.
    """

    def __init__(self, provider: SdkProvider, *, resource: str, options: ClientRegistrationOptions):
        self._authenticator = ClientAuthenticator(provider)
        self._tokens = StrictTokenHandler(provider, self._authenticator)
        self._revocation = RevocationHandler(provider, self._authenticator)
        self._registration = RegistrationHandler(provider, options)
        self._resource = resource
        self._scopes = frozenset(options.valid_scopes or ())

    async def token(self, request: Request) -> Response:
        """POST /token (RFC 6749 section 3.2)."""
        try:
            form = await _credentials(request)
        except RequestRefused as refused:
            return refused.response()
        try:
            self._check_grant(form)
        except RequestRefused as refused:
            return await self._unauthenticated(forms.as_form(request, form)) or refused.response()
        afterwards = BackgroundTasks()
        AFTERWARDS.set(afterwards)
        response = _challenged(await self._tokens.handle(forms.as_form(request, form)))
        response.background = afterwards
        return response

    async def _unauthenticated(self, request: Request) -> Response | None:
        """Refuse a client that is not known or does not prove itself (RFC 6749 section 5.2).

        It is told so before it is told anything else: it would not know otherwise that it has to register again.
        """
        try:
            await self._authenticator.authenticate_request(request)
        except AuthenticationError as error:
            return _challenged(_error("invalid_client", error.message, 401))
        return None

    def _check_grant(self, form: Parameters) -> None:
        grant = form.get("grant_type")
        if grant is None:
            raise RequestRefused("invalid_request", "grant_type is missing.")
        if grant not in GRANT_TYPES:
            raise RequestRefused("unsupported_grant_type", f"The grant types are: {' '.join(GRANT_TYPES)}.")
        # RFC 8707 section 2.2 leaves it to the server what an absent one means: there is one that it can be.
        if not same_resource(form.get("resource", self._resource), self._resource):
            raise RequestRefused("invalid_target", f"resource must be {self._resource}")
        if grant == "authorization_code":
            _check_verifier(form)

    async def revoke(self, request: Request) -> Response:
        """POST /revoke (RFC 7009)."""
        try:
            form = await _credentials(request)
        except RequestRefused as refused:
            return refused.response()
        if "token" not in form:
            return _error("invalid_request", "token is missing.")
        # RFC 7009 section 2.1: no more than a hint, and the SDK's model would refuse one that it does not know.
        form.pop("token_type_hint", None)
        # The SDK's model wants the field of a public client too.
        form.setdefault("client_secret", "")
        response = await self._revocation.handle(forms.as_form(request, form))
        if response.status_code == 401:
            # RFC 7009 section 2.2.1; the SDK says unauthorized_client.
            return _challenged(_error("invalid_client", "Client authentication failed.", 401))
        return response

    async def register(self, request: Request) -> Response:
        """POST /register (RFC 7591)."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _error("invalid_client_metadata", "The body must be application/json.")
        try:
            body = clients.check_registration(await request.body(), self._scopes)
        except RegistrationError as error:
            return _error(error.error, error.error_description or "")
        response = await self._registration.handle(forms.with_body(request, body, "application/json"))
        # RFC 7591 section 3.2.1: it may hold a secret.
        response.headers.update(_NOT_STORED)
        return response


async def _credentials(request: Request) -> Parameters:
    """Read a form, and see to it that it names the client (RFC 6749 section 2.3.1).

    Raises:
        RequestRefused: the form cannot be read, or authenticates in two ways.
    """
    in_header = forms.basic_client_id(request)
    try:
        # Refused whatever it holds, and read first: a secret in it is masked from then on.
        forms.read_query(request)
        if request.scope["query_string"]:
            raise RequestRefused("invalid_request", "Parameters belong into the body, where no log keeps them.")
        form = await forms.read_form(request)
    except Malformed as error:
        raise RequestRefused("invalid_request", str(error)) from None
    if form.repeated:
        raise RequestRefused("invalid_request", "A parameter is repeated.")
    # RFC 6749 section 2.3: one way to authenticate, not two.
    if "authorization" in request.headers and "client_secret" in form:
        raise RequestRefused("invalid_request", "The client authenticates in two ways.")
    if "client_id" not in form and in_header is not None:
        form["client_id"] = in_header
    return form


def _check_verifier(form: Parameters) -> None:
    verifier = form.get("code_verifier")
    if verifier is None:
        raise RequestRefused("invalid_request", "code_verifier is required.")
    try:
        check_verifier(verifier)
    except InvalidCodeVerifier:
        raise RequestRefused("invalid_grant", "code_verifier is not 43 to 128 characters of its alphabet.") from None


def _challenged(response: Response) -> Response:
    if response.status_code == 401:
        # RFC 6749 section 5.2, RFC 9110 section 15.5.2.
        response.headers["WWW-Authenticate"] = 'Basic realm="client"'
    return response


def _error(error: str, description: str, status: int = 400) -> Response:
    content: dict[str, Any] = {"error": error, "error_description": description}
    return JSONResponse(content, status, headers=_NOT_STORED)


def unavailable() -> Response:
    """Tell a client that the store does not answer (RFC 9110 section 15.6.4): what it has stays good."""
    response = _error("temporarily_unavailable", "Nothing was changed. Try again later.", 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def slow_down(wait: int) -> Response:
    """Ask a client for patience (RFC 6585 section 4)."""
    response = _error("temporarily_unavailable", f"Too many requests. Try again in {wait} seconds.", 429)
    response.headers["Retry-After"] = str(wait)
    return response
