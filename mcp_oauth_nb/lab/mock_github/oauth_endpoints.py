"""The OAuth endpoints `/login/oauth/authorize` and `/login/oauth/access_token`, and the metadata that names them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ...oauth.masking import remember_heard
from .device import GRANT_TYPE as DEVICE
from .device import PATH as DEVICE_PATH
from .device import Device
from .formats import answer, basic_credentials, error_fields, form_pairs, given, query_pairs, read_parameters, refusal
from .ledger import MockOAuthError
from .model import OFFLINE_ACCESS, BrowserSession, IssuedToken, OAuthApp, redirect_matches, scopes_cover, split_scopes
from .signin import (
    consent_page,
    current_browser,
    message_page,
    redirect_target,
    sign_in_first,
    stale_form,
    submitting_browser,
)
from .state import State

_AUTHORIZE_PATH = "/login/oauth/authorize"

# RFC 7636 section 4.2: what S256 makes is always 43 characters of base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")

# Parameters that the consent form repeats. `response_type` and `resource` (RFC 8707) are undocumented and ignored:
# there is no implicit grant, and GitHub's opaque tokens are bound to no resource.
_CARRIED = ("client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")


@dataclass(frozen=True)
class CheckedRequest:
    """A request whose client and redirect URI are known good. `scopes` is None where none were named."""

    app: OAuthApp
    redirect_uri: str
    parameters: Mapping[str, str]
    scopes: tuple[str, ...] | None = None
    offline_access: bool = False


class Authorize:
    """Asks the person, and sends the browser back with a code."""

    def __init__(self, state: State):
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [Route(_AUTHORIZE_PATH, self._ask), Route(_AUTHORIZE_PATH, self._decide, methods=["POST"])]

    async def _ask(self, request: Request) -> Response:
        parameters = given(query_pairs(request))
        checked = self._check(parameters)
        if isinstance(checked, Response):
            return checked
        browser = current_browser(self._state, request)
        if browser is None or browser.user is None or _wants_another_account(parameters, browser.user):
            return _choose_account(parameters)
        with self._state.lock:
            wanted = self._wanted(checked, browser.user)
            if self._was_granted(checked, browser.user, wanted):
                if not self._too_often(checked, browser.user, wanted):
                    return self._allowed(checked, browser.user, wanted)
                return self._consent(checked, browser, wanted, unusual=True)
        return self._consent(checked, browser, wanted)

    async def _decide(self, request: Request) -> Response:
        pairs = await form_pairs(request)
        form = dict(pairs)
        browser = submitting_browser(self._state, request, form)
        if browser is None or browser.user is None:
            return stale_form()
        # The parameters are checked again when the form comes back.
        checked = self._check({name: form[name] for name in _CARRIED if form.get(name)})
        if isinstance(checked, Response):
            return checked
        if form.get("authorize") != "1":
            return self._failed(checked, "access_denied", "The user has denied your application access.")
        ticked = {value for name, value in pairs if name == "granted_scope"}
        with self._state.lock:
            granted = tuple(scope for scope in self._wanted(checked, browser.user) if scope in ticked)
            return self._allowed(checked, browser.user, granted)

    # -- the request -------------------------------------------------------------------------------------------

    def _check(self, parameters: Mapping[str, str]) -> CheckedRequest | Response:
        remember_heard(parameters.get("state"))
        app = self._state.apps.get(parameters.get("client_id", ""))
        # RFC 6749 section 4.1.2.1: without a known client and a registered URI nothing may be redirected.
        if app is None:
            return message_page("Page not found", "There is no app with this client_id.", status=404)
        uri = redirect_target(app, parameters)
        if not redirect_matches(uri, app.redirect_uris):
            return self._mismatch(app, parameters)
        if app.suspended:
            text = "Your application has been suspended."
            return self._failed(_to_callback(app, parameters), "application_suspended", text)
        asked = split_scopes(parameters.get("scope", ""))
        checked = CheckedRequest(app, uri, parameters, app.scopes(asked) if asked else None, OFFLINE_ACCESS in asked)
        problem = _pkce_problem(parameters)
        return checked if problem is None else self._bad_pkce(checked, problem)

    def _mismatch(self, app: OAuthApp, parameters: Mapping[str, str]) -> Response:
        text = "The redirect_uri MUST match the registered callback URL for this application."
        if self._state.knobs.redirect_mismatch == "redirect":
            return self._failed(_to_callback(app, parameters), "redirect_uri_mismatch", text)
        # Which status the live page has is unverified.
        return message_page("Be careful!", f"{text} Continue only if you trust whoever sent you.", status=400)

    def _bad_pkce(self, checked: CheckedRequest, problem: str) -> Response:
        if self._state.knobs.pkce_error == "page":
            return message_page("Invalid request", problem, status=400)
        return self._failed(checked, "invalid_request", problem)  # RFC 7636 section 4.4.1

    # -- the decision ------------------------------------------------------------------------------------------

    def _wanted(self, checked: CheckedRequest, user: str) -> tuple[str, ...]:
        """The scopes that are asked for; without a scope parameter, all that this user granted before."""
        if checked.scopes is not None:
            return checked.scopes
        grant = self._state.ledger.grant(user, checked.app.client_id)
        return grant.scopes if grant else ()

    def _was_granted(self, checked: CheckedRequest, user: str, wanted: tuple[str, ...]) -> bool:
        grant = self._state.ledger.grant(user, checked.app.client_id)
        return grant is not None and scopes_cover(grant.scopes, wanted)

    def _too_often(self, checked: CheckedRequest, user: str, wanted: tuple[str, ...]) -> bool:
        return self._state.ledger.too_many_created(user, checked.app.client_id, wanted, self._state.now())

    def _consent(
        self, checked: CheckedRequest, browser: BrowserSession, wanted: tuple[str, ...], *, unusual: bool = False
    ) -> Response:
        return consent_page(
            checked.app,
            browser,
            wanted,
            action=_AUTHORIZE_PATH,
            fields={name: checked.parameters[name] for name in _CARRIED if name in checked.parameters},
            leads_to=checked.redirect_uri,
            unusual=unusual,
        )

    def _allowed(self, checked: CheckedRequest, user: str, granted: tuple[str, ...]) -> Response:
        ledger, now = self._state.ledger, self._state.now()
        ledger.allow(user, checked.app.client_id, granted)
        code = ledger.add_code(
            checked.app,
            user,
            granted,
            redirect_uri=checked.redirect_uri,
            code_challenge=checked.parameters.get("code_challenge"),
            offline_access=checked.offline_access,
            now=now,
        )
        return self._back(checked, {"code": code.code})

    def _failed(self, checked: CheckedRequest, error: str, description: str) -> Response:
        return self._back(checked, error_fields(MockOAuthError(error, description)))

    def _back(self, checked: CheckedRequest, answer: dict[str, str]) -> Response:
        if "state" in checked.parameters:
            answer["state"] = checked.parameters["state"]
        # RFC 9207 section 2: in error responses too.
        if (iss := self._state.knobs.iss) is not False:
            answer["iss"] = self._state.issuer if iss is True else iss
        joint = "&" if urlsplit(checked.redirect_uri).query else "?"
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return RedirectResponse(checked.redirect_uri + joint + urlencode(answer), 302, headers=headers)


def _to_callback(app: OAuthApp, parameters: Mapping[str, str]) -> CheckedRequest:
    """Make a request that ends at the registered callback, whatever redirect URI was asked for."""
    return CheckedRequest(app, app.callback, parameters)


def _pkce_problem(parameters: Mapping[str, str]) -> str | None:
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None and method is None:
        return None
    if challenge is None or method is None:
        return "code_challenge and code_challenge_method must be sent together."
    if method != "S256":
        return "code_challenge_method must be S256."
    return None if _CHALLENGE.fullmatch(challenge) else "code_challenge must be 43 characters of base64url."


def _wants_another_account(parameters: Mapping[str, str], user: str) -> bool:
    return parameters.get("prompt") == "select_account" or parameters.get("login", user) != user


def _choose_account(parameters: Mapping[str, str]) -> Response:
    """Let the person pick an account; the parameter that asked for the choice is left out on the way back."""
    rest = {name: value for name, value in parameters.items() if name not in ("prompt", "login", "allow_signup")}
    return sign_in_first(
        f"{_AUTHORIZE_PATH}?{urlencode(rest)}",
        login=parameters.get("login", ""),
        allow_signup=parameters.get("allow_signup", ""),
    )


_TOKEN_PATH = "/login/oauth/access_token"


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
        return [Route(_TOKEN_PATH, self._serve, methods=["POST"])]

    async def _serve(self, request: Request) -> Response:
        parameters = await read_parameters(request)
        if self._state.knobs.basic_auth and (basic := basic_credentials(request, form_encoded=True)):
            parameters = {"client_id": basic[0], "client_secret": basic[1]} | parameters
        try:
            # GitHub leaves grant_type out of the exchange, where RFC 6749 section 4.1.3 requires it.
            grant = self._grants.get(parameters.get("grant_type") or "authorization_code")
            if grant is None:
                raise MockOAuthError("unsupported_grant_type", "The grant_type passed is not supported.")
            with self._state.lock:
                issued = grant(parameters)
        except MockOAuthError as refused:
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
            raise MockOAuthError("unverified_user_email", "The primary email of the user must be verified.")
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


def _wrong_credentials() -> MockOAuthError:
    return MockOAuthError("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")


# RFC 8414 section 3.1 puts the issuer's path behind the well-known part; OpenID Connect Discovery
# section 4 puts it in front. The other combinations are 404, as on github.com.
_RFC_8414 = "/.well-known/oauth-authorization-server/login/oauth"
_OPENID = "/login/oauth/.well-known/openid-configuration"
_JWKS = "/login/oauth/.well-known/jwks"


class MetadataEndpoints:
    """Both documents, and the empty key set that the second one points to."""

    def __init__(self, state: State):
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            Route(_RFC_8414, self._rfc_8414),
            Route(_OPENID, self._openid),
            Route(_JWKS, self._jwks),
            Route("/.well-known/{path:path}", _nothing_here),
            Route("/login/oauth/.well-known/{path:path}", _nothing_here),
        ]

    async def _rfc_8414(self, _: Request) -> Response:
        return JSONResponse(self._metadata())

    async def _openid(self, _: Request) -> Response:
        # That GitHub names all endpoints here too is unverified; a client that reads this document needs them.
        openid = {
            "jwks_uri": self._state.web_url + _JWKS,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return JSONResponse(self._metadata() | openid)

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": []})

    def _metadata(self) -> dict[str, Any]:
        # No registration_endpoint: GitHub registers apps by hand only.
        web, knobs = self._state.web_url, self._state.knobs
        metadata: dict[str, Any] = {
            "issuer": self._state.issuer,
            "authorization_endpoint": web + _AUTHORIZE_PATH,
            "token_endpoint": web + _TOKEN_PATH,
            "device_authorization_endpoint": web + DEVICE_PATH,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", DEVICE],
            "code_challenge_methods_supported": ["S256"],
            "service_documentation": "https://docs.github.com/apps/creating-github-apps",
        }
        if knobs.iss_advertised:
            metadata["authorization_response_iss_parameter_supported"] = True
        return metadata


async def _nothing_here(_: Request) -> Response:
    return message_page("Page not found", "There is no metadata at this address.", status=404)
