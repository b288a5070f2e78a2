"""The person at the browser: the sign-in page, its cookie, and forms that only this browser can submit."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from . import pages, redirects
from .formats import form_pairs, query_pairs
from .model import Browser, OAuthApp
from .state import State

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
        return pages.front_page(browser.user if browser else None, links)

    async def _show(self, request: Request) -> Response:
        browser = current_browser(self._state, request) or self._state.new_browser()
        query = dict(query_pairs(request))
        return_to = _local(query.get("return_to", ""))
        response = pages.sign_in_page(
            list(self._state.users.values()),
            browser,
            return_to,
            suggested=query.get("login", ""),
            sign_up=query.get("allow_signup") != "false",
            leads_to=destination(self._state, dict(parse_qsl(urlsplit(return_to).query))),
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

    def _with_cookie(self, response: Response, browser: Browser) -> Response:
        response.set_cookie(_COOKIE, browser.cookie, httponly=True, samesite="lax", secure=self._state.secure)
        return response


def current_browser(state: State, request: Request) -> Browser | None:
    """Return the browser that sent the request, if its cookie is known."""
    return state.browser(request.cookies.get(_COOKIE))


def submitting_browser(state: State, request: Request, form: Mapping[str, str]) -> Browser | None:
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
    return pages.error_page(
        "This form is out of date", "Go back, reload the page and submit the form again.", status=422
    )


def destination(state: State, parameters: Mapping[str, str]) -> str | None:
    """Return where an authorization request leads, if its app and redirect URI are in order."""
    app = state.apps.get(parameters.get("client_id", ""))
    if app is None:
        return None
    uri = redirect_target(app, parameters)
    return uri if redirects.matches(uri, app.redirect_uris) else None


def redirect_target(app: OAuthApp, parameters: Mapping[str, str]) -> str:
    """Return the redirect URI that was asked for, or the registered callback."""
    return parameters.get("redirect_uri") or app.callback


def _local(address: str) -> str:
    """Keep the path of this host; whatever names another host, or may be read so, becomes the front page."""
    # RFC 9700 section 4.11: no open redirector.
    fine = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if fine else "/"
