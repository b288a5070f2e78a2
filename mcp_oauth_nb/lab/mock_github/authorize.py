"""The authorization endpoint: `/login/oauth/authorize`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ...oauth.masking import remember_heard
from . import pages, redirects, scopes
from .formats import error_fields, form_pairs, given, query_pairs
from .ledger import Refused
from .model import Browser, OAuthApp
from .signin import current_browser, redirect_target, sign_in_first, stale_form, submitting_browser
from .state import State

PATH = "/login/oauth/authorize"

# RFC 7636 section 4.2: what S256 makes is always 43 characters of base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")

# What the consent form carries on. `response_type` and `resource` (RFC 8707) are undocumented and ignored:
# there is no implicit grant, and GitHub's opaque tokens are bound to no resource.
_CARRIED = ("client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")


@dataclass(frozen=True)
class AuthorizationRequest:
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
        return [Route(PATH, self._ask), Route(PATH, self._decide, methods=["POST"])]

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
        # Nothing that the page checked is taken on trust when its form comes back.
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

    def _check(self, parameters: Mapping[str, str]) -> AuthorizationRequest | Response:
        remember_heard(parameters.get("state"))
        app = self._state.apps.get(parameters.get("client_id", ""))
        # RFC 6749 section 4.1.2.1: without a known client and a registered URI nothing may be redirected.
        if app is None:
            return pages.error_page("Page not found", "There is no app with this client_id.", status=404)
        uri = redirect_target(app, parameters)
        if not redirects.matches(uri, app.redirect_uris):
            return self._mismatch(app, parameters)
        if app.suspended:
            text = "Your application has been suspended."
            return self._failed(_to_callback(app, parameters), "application_suspended", text)
        asked = scopes.split(parameters.get("scope", ""))
        checked = AuthorizationRequest(
            app, uri, parameters, app.scopes(asked) if asked else None, scopes.OFFLINE_ACCESS in asked
        )
        problem = _pkce_problem(parameters)
        return checked if problem is None else self._bad_pkce(checked, problem)

    def _mismatch(self, app: OAuthApp, parameters: Mapping[str, str]) -> Response:
        text = "The redirect_uri MUST match the registered callback URL for this application."
        if self._state.knobs.redirect_mismatch == "redirect":
            return self._failed(_to_callback(app, parameters), "redirect_uri_mismatch", text)
        # Which status the live page has is unverified.
        return pages.error_page("Be careful!", f"{text} Continue only if you trust whoever sent you.", status=400)

    def _bad_pkce(self, checked: AuthorizationRequest, problem: str) -> Response:
        if self._state.knobs.pkce_error == "page":
            return pages.error_page("Invalid request", problem, status=400)
        return self._failed(checked, "invalid_request", problem)  # RFC 7636 section 4.4.1

    # -- the decision ------------------------------------------------------------------------------------------

    def _wanted(self, checked: AuthorizationRequest, user: str) -> tuple[str, ...]:
        """What is asked for; without a scope parameter, all that this user granted before."""
        if checked.scopes is not None:
            return checked.scopes
        grant = self._state.ledger.grant(user, checked.app.client_id)
        return grant.scopes if grant else ()

    def _was_granted(self, checked: AuthorizationRequest, user: str, wanted: tuple[str, ...]) -> bool:
        grant = self._state.ledger.grant(user, checked.app.client_id)
        return grant is not None and scopes.covers(grant.scopes, wanted)

    def _too_often(self, checked: AuthorizationRequest, user: str, wanted: tuple[str, ...]) -> bool:
        return self._state.ledger.too_many_created(user, checked.app.client_id, wanted, self._state.now())

    def _consent(
        self, checked: AuthorizationRequest, browser: Browser, wanted: tuple[str, ...], *, unusual: bool = False
    ) -> Response:
        return pages.consent_page(
            checked.app,
            browser,
            wanted,
            action=PATH,
            fields={name: checked.parameters[name] for name in _CARRIED if name in checked.parameters},
            leads_to=checked.redirect_uri,
            unusual=unusual,
        )

    def _allowed(self, checked: AuthorizationRequest, user: str, granted: tuple[str, ...]) -> Response:
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

    def _failed(self, checked: AuthorizationRequest, error: str, description: str) -> Response:
        return self._back(checked, error_fields(Refused(error, description)))

    def _back(self, checked: AuthorizationRequest, answer: dict[str, str]) -> Response:
        if "state" in checked.parameters:
            answer["state"] = checked.parameters["state"]
        # RFC 9207 section 2: in error responses too.
        if (iss := self._state.knobs.iss) is not False:
            answer["iss"] = self._state.issuer if iss is True else iss
        joint = "&" if urlsplit(checked.redirect_uri).query else "?"
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return RedirectResponse(checked.redirect_uri + joint + urlencode(answer), 302, headers=headers)


def _to_callback(app: OAuthApp, parameters: Mapping[str, str]) -> AuthorizationRequest:
    """Make a request that ends at the registered callback, whatever redirect URI was asked for."""
    return AuthorizationRequest(app, app.callback, parameters)


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
    """Let the person pick an account; back here, what asked for the choice must not ask again."""
    rest = {name: value for name, value in parameters.items() if name not in ("prompt", "login", "allow_signup")}
    return sign_in_first(
        f"{PATH}?{urlencode(rest)}",
        login=parameters.get("login", ""),
        allow_signup=parameters.get("allow_signup", ""),
    )
