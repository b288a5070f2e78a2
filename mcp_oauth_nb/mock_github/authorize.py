"""The authorization endpoint: `/login/oauth/authorize`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from . import pages, redirects, scopes
from .formats import error_fields
from .ledger import Refused
from .model import Browser, OAuthApp
from .signin import current_browser, read_pairs, redirect_target, sign_in_first, stale_form, submitting_browser
from .state import State

PATH = "/login/oauth/authorize"

# RFC 7636 section 4.2: what S256 makes is always 43 characters of base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")


@dataclass(frozen=True)
class AuthorizationRequest:
    """A request whose client and redirect URI are known good. `scopes` is None where none were named."""

    app: OAuthApp
    redirect_uri: str
    parameters: Mapping[str, str]
    scopes: tuple[str, ...] | None
    offline_access: bool

    @property
    def query(self) -> str:
        """The request as it came, for the form that carries it on."""
        return urlencode(self.parameters)


class Authorize:
    """Asks the person, and sends the browser back with a code."""

    def __init__(self, state: State):
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [Route(PATH, self._ask), Route(PATH, self._decide, methods=["POST"])]

    async def _ask(self, request: Request) -> Response:
        parameters = dict(parse_qsl(request.url.query, keep_blank_values=True))
        checked = self._check(parameters)
        if isinstance(checked, Response):
            return checked
        browser = current_browser(self._state, request)
        if browser is None or browser.user is None or _another_account(parameters, browser.user):
            return _choose_account(parameters)
        with self._state.lock:
            wanted = self._wanted(checked, browser.user)
            if self._may_skip_consent(checked, browser.user, wanted):
                return self._allowed(checked, browser.user, wanted)
        return self._consent(checked, browser, wanted)

    async def _decide(self, request: Request) -> Response:
        pairs = await read_pairs(request)
        form = dict(pairs)
        browser = submitting_browser(self._state, request, form)
        if browser is None or browser.user is None:
            return stale_form()
        checked = self._check(dict(parse_qsl(form.get("request", ""), keep_blank_values=True)))
        if isinstance(checked, Response):
            return checked
        if form.get("authorize") != "1":
            return self._failed(checked, "access_denied", "The user has denied your application access.")
        ticked = {value for name, value in pairs if name == "granted_scope"}
        with self._state.lock:
            wanted = tuple(scope for scope in self._wanted(checked, browser.user) if scope in ticked)
            return self._allowed(checked, browser.user, wanted)

    # -- the request -------------------------------------------------------------------------------------------

    def _check(self, parameters: Mapping[str, str]) -> AuthorizationRequest | Response:
        app = self._state.apps.get(parameters.get("client_id", ""))
        # RFC 6749 section 4.1.2.1: without a known client and a registered URI nothing may be redirected.
        if app is None:
            return pages.error_page("Page not found", "There is no app with this client_id.", status=404)
        uri = redirect_target(app, parameters)
        if not redirects.matches(uri, app.redirect_uris):
            return self._mismatch(app, parameters)
        asked = scopes.split(parameters.get("scope", ""))
        checked = AuthorizationRequest(
            app,
            uri,
            parameters,
            scopes.normalise(asked) if asked else None,
            scopes.OFFLINE_ACCESS in asked,
        )
        if app.suspended:
            registered = AuthorizationRequest(app, app.callback, parameters, (), False)
            return self._failed(registered, "application_suspended", "Your application has been suspended.")
        problem = _pkce_problem(parameters)
        return checked if problem is None else self._bad_pkce(checked, problem)

    def _mismatch(self, app: OAuthApp, parameters: Mapping[str, str]) -> Response:
        if self._state.knobs.redirect_mismatch == "redirect":
            registered = AuthorizationRequest(app, app.callback, parameters, (), False)
            text = "The redirect_uri MUST match the registered callback URL for this application."
            return self._failed(registered, "redirect_uri_mismatch", text)
        text = "The redirect_uri is not associated with this application. The app is misconfigured, or somebody is after your account."
        return pages.error_page("Be careful!", text, status=400)

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

    def _may_skip_consent(self, checked: AuthorizationRequest, user: str, wanted: tuple[str, ...]) -> bool:
        ledger, client_id = self._state.ledger, checked.app.client_id
        grant = ledger.grant(user, client_id)
        if grant is None or not scopes.covers(grant.scopes, wanted):
            return False
        return not ledger.too_many_created(user, client_id, wanted, self._state.now())

    def _consent(self, checked: AuthorizationRequest, browser: Browser, wanted: tuple[str, ...]) -> Response:
        return pages.consent_page(
            checked.app,
            browser,
            wanted,
            action=PATH,
            fields={"request": checked.query},
            leads_to=checked.redirect_uri,
        )

    def _allowed(self, checked: AuthorizationRequest, user: str, granted: tuple[str, ...]) -> Response:
        state = self._state
        state.ledger.allow(user, checked.app.client_id, granted)
        code = state.ledger.add_code(
            checked.app,
            user,
            granted,
            redirect_uri=checked.redirect_uri,
            code_challenge=checked.parameters.get("code_challenge"),
            offline_access=checked.offline_access,
            now=state.now(),
        )
        return self._back(checked, {"code": code.code})

    def _failed(self, checked: AuthorizationRequest, error: str, description: str) -> Response:
        return self._back(checked, error_fields(Refused(error, description)))

    def _back(self, checked: AuthorizationRequest, answer: dict[str, str]) -> Response:
        if "state" in checked.parameters:
            answer["state"] = checked.parameters["state"]
        # RFC 9207 section 2: on errors too.
        if self._state.knobs.iss is not False:
            answer["iss"] = self._state.issuer if self._state.knobs.iss is True else self._state.knobs.iss
        joint = "&" if urlsplit(checked.redirect_uri).query else "?"
        return RedirectResponse(
            checked.redirect_uri + joint + urlencode(answer),
            302,
            headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
        )


def _pkce_problem(parameters: Mapping[str, str]) -> str | None:
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None and method is None:
        return None
    if challenge is None or method is None:
        return "code_challenge and code_challenge_method must be sent together."
    if method != "S256":
        return "code_challenge_method must be S256."
    return None if _CHALLENGE.fullmatch(challenge) else "code_challenge must be 43 characters of base64url."


def _another_account(parameters: Mapping[str, str], user: str) -> bool:
    return parameters.get("prompt") == "select_account" or parameters.get("login", user) != user


def _choose_account(parameters: Mapping[str, str]) -> Response:
    """Let the person pick an account; back here, what asked for the choice must not ask again."""
    rest = {name: value for name, value in parameters.items() if name not in ("prompt", "login", "allow_signup")}
    return sign_in_first(
        f"{PATH}?{urlencode(rest)}",
        login=parameters.get("login", ""),
        allow_signup=parameters.get("allow_signup", ""),
    )
