"""The browser's side of the mock: pages, the sign-in with its cookie, and forms that only this browser can submit.

How the pages look is in `templates/`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ...runtime.pages import Form, page
from .formats import form_pairs, query_pairs
from .model import BrowserSession, OAuthApp, redirect_matches
from .state import State

_TEMPLATES = "lab/mock_github/templates"

_DESCRIPTIONS = {
    "repo": "Full control of private repositories",
    "public_repo": "Access public repositories",
    "user": "Update all user data",
    "read:user": "Read all user profile data",
    "user:email": "Access user email addresses (read-only)",
    "gist": "Create gists",
    "read:org": "Read organization and team membership",
    "workflow": "Update GitHub Action workflows",
}


def message_page(title: str, text: str, *, status: int = 200) -> HTMLResponse:
    """Tell the person one thing. Nothing is redirected: after an error, a redirect could serve an attacker."""
    return page(f"{_TEMPLATES}/message.html", title, status=status, text=text)


def consent_page(
    app: OAuthApp,
    browser: BrowserSession,
    scopes: Iterable[str],
    *,
    action: str,
    fields: Mapping[str, str],
    leads_to: str | None,
    unusual: bool = False,
) -> HTMLResponse:
    """Ask whether the app may have what it asks for, and say where the answer goes.

    Args:
        action: where the form is submitted to.
        fields: what it carries on.
        leads_to: the address that the app is answered at.
        unusual: the question was answered before; say why it comes again.
    """
    return page(
        f"{_TEMPLATES}/consent.html",
        f"Authorize {app.name}",
        form=_form(leads_to),
        app=app.name,
        user=browser.user or "",
        action=action,
        fields={"authenticity_token": browser.form_token, **fields},
        scopes=list(scopes),
        meanings=_DESCRIPTIONS,
        # Attack 18 of the security list: any program can claim to be the app, so the page shows where the code is sent.
        target=urlsplit(leads_to).netloc if leads_to else "the device that shows the code",
        unusual=unusual,
    )


def device_page(browser: BrowserSession, *, problem: str = "") -> HTMLResponse:
    """Ask for the code that the device shows."""
    fields = {"authenticity_token": browser.form_token}
    return page(f"{_TEMPLATES}/device.html", "Device activation", form=Form.HERE, fields=fields, problem=problem)


def _form(leads_to: str | None) -> Form:
    # An app that signs the users of its own clients in here sends the browser on, to addresses that are not known here.
    return Form.ONWARD if leads_to else Form.HERE


_COOKIE = "user_session"


class SignIn:
    """`/login`, to pick an account, and the front page, which says who is signed in."""

    def __init__(self, state: State):
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            Route("/", self._front),
            Route("/login", self._show),
            Route("/login", self._submit, methods=["POST"]),
        ]

    async def _front(self, request: Request) -> Response:
        browser = current_browser(self._state, request)
        links = {
            "Sign in as somebody else": "/login",
            "Connect a device": "/login/device",
            "Metadata of the authorization server": "/.well-known/oauth-authorization-server/login/oauth",
            "REST API": f"{self._state.api_url}/rate_limit",
        }
        user = browser.user if browser else None
        return page(f"{_TEMPLATES}/front.html", "A GitHub for learning and tests", user=user, links=links)

    async def _show(self, request: Request) -> Response:
        browser = current_browser(self._state, request) or self._state.new_browser()
        query = dict(query_pairs(request))
        return_to = _local(query.get("return_to", ""))
        response = page(
            f"{_TEMPLATES}/sign_in.html",
            "Sign in",
            form=_form(_destination(self._state, dict(parse_qsl(urlsplit(return_to).query)))),
            fields={"authenticity_token": browser.form_token, "return_to": return_to},
            users=list(self._state.users.values()),
            suggested=query.get("login", ""),
            sign_up=query.get("allow_signup") != "false",
        )
        return self._with_cookie(response, browser)

    async def _submit(self, request: Request) -> Response:
        form = dict(await form_pairs(request))
        browser = submitting_browser(self._state, request, form)
        login = form.get("login", "")
        if browser is None or login not in self._state.users:
            return stale_form()
        # A fresh cookie: one that was planted before the sign-in must not become the session.
        self._state.forget_browser(browser)
        response = RedirectResponse(_local(form.get("return_to", "")), 303)
        return self._with_cookie(response, self._state.new_browser(login))

    def _with_cookie(self, response: Response, browser: BrowserSession) -> Response:
        response.set_cookie(_COOKIE, browser.cookie, httponly=True, samesite="lax", secure=self._state.secure)
        return response


def current_browser(state: State, request: Request) -> BrowserSession | None:
    """Return the browser that sent the request, if its cookie is known."""
    return state.browser(request.cookies.get(_COOKIE))


def submitting_browser(state: State, request: Request, form: Mapping[str, str]) -> BrowserSession | None:
    """Return the browser, if the form that it submits is one that the mock gave to it (RFC 6749 section 10.12)."""
    browser = current_browser(state, request)
    origin = request.headers.get("origin", state.web_url)
    if browser is None or origin != state.web_url:
        return None
    same = hmac.compare_digest(form.get("authenticity_token", "").encode(), browser.form_token.encode())
    return browser if same else None


def sign_in_first(return_to: str, *, login: str = "", allow_signup: str = "") -> Response:
    """Send the browser to the sign-in page and from there to a local address."""
    fields = {"return_to": return_to, "login": login, "allow_signup": allow_signup}
    return RedirectResponse("/login?" + urlencode({name: value for name, value in fields.items() if value}), 302)


def stale_form() -> Response:
    """Refuse a form that is not this browser's own."""
    return message_page("This form is out of date", "Go back, reload the page and submit the form again.", status=422)


def _destination(state: State, parameters: Mapping[str, str]) -> str | None:
    """Return where an authorization request leads, if its app and redirect URI are in order."""
    app = state.apps.get(parameters.get("client_id", ""))
    if app is None:
        return None
    uri = redirect_target(app, parameters)
    return uri if redirect_matches(uri, app.redirect_uris) else None


def redirect_target(app: OAuthApp, parameters: Mapping[str, str]) -> str:
    """Return the redirect URI that was asked for, or the registered callback."""
    return parameters.get("redirect_uri") or app.callback


def _local(address: str) -> str:
    """Keep the path of this host; whatever names another host, or may be read so, becomes the front page."""
    # RFC 9700 section 4.11: no open redirector.
    fine = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if fine else "/"
