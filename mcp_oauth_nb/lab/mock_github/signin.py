"""What a person at the browser sees and sends: the pages, the sign-in with its cookie, forms of this browser alone.

Every value on a page is escaped on its way in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from .formats import form_pairs, query_pairs
from .model import Browser, OAuthApp, User, redirect_matches
from .state import State

_STYLE = """
:root { color-scheme: light dark; --edge: #d1d9e0; --soft: #59636e; --go: #1f883d; }
@media (prefers-color-scheme: dark) { :root { --edge: #3d444d; --soft: #9198a1; --go: #238636; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 30rem; margin: 2rem auto; padding: 0 1rem; }
.mock { text-align: center; color: var(--soft); font-size: .875rem; }
main { border: 1px solid var(--edge); border-radius: .5rem; padding: 0 1.5rem 1.5rem; }
h1 { font-size: 1.25rem; }
fieldset { border: 1px solid var(--edge); border-radius: .4rem; margin: 1rem 0; }
label { display: block; padding: .2rem 0; }
input[type=text] { font: inherit; padding: .4rem; width: 12rem; letter-spacing: .1em; text-transform: uppercase; }
button { font: inherit; padding: .5rem 1rem; border: 1px solid var(--edge); border-radius: .4rem; cursor: pointer; }
button.go { background: var(--go); color: #fff; }
.soft { color: var(--soft); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

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


def page(title: str, body: str, *, status: int = 200, leads_to: str | None = None) -> HTMLResponse:
    """Wrap a body in the frame that all pages share.

    Args:
        title: plain text.
        body: HTML, already escaped.
        leads_to: the app that a form on this page redirects to in the end.
    """
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Mock GitHub</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n"
        '<body><p class="mock">Mock GitHub: nothing here is real.</p>\n'
        f"<main><h1>{escape(title)}</h1>\n{body}\n</main></body></html>\n"
    )
    return HTMLResponse(html, status, headers=_security_headers(leads_to))


def error_page(title: str, explanation: str, *, status: int) -> HTMLResponse:
    """Show what is wrong with the request. Nothing is redirected: nobody knows whom the redirect would serve."""
    return page(title, f"<p>{escape(explanation)}</p>", status=status)


def _sign_in_page(
    users: Iterable[User], browser: Browser, return_to: str, *, suggested: str, sign_up: bool, leads_to: str | None
) -> HTMLResponse:
    """Ask who is sitting there."""
    choices = "".join(
        f'<label><input type="radio" name="login" value="{escape(user.login)}" required'
        f"{' checked' if user.login == suggested else ''}> {escape(user.login)}"
        f' <span class="soft">{escape(user.name)}</span></label>'
        for user in users
    )
    invitation = '<p class="soft">New to GitHub? Accounts are made with add_user() here.</p>' if sign_up else ""
    fields = _hidden({"authenticity_token": browser.form_token, "return_to": return_to})
    form = (
        f'<form method="post" action="/login">{fields}<fieldset><legend>Choose an account</legend>{choices}</fieldset>'
        f'<button class="go" type="submit">Sign in</button></form>{invitation}'
    )
    return page("Sign in", form, leads_to=leads_to)


def consent_page(
    app: OAuthApp,
    browser: Browser,
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
        unusual: the question was answered before; say why it comes again.
    """
    # Attack 18 of the security list: whoever claims to be the app, this is where the code is sent.
    target = urlsplit(leads_to).netloc if leads_to else "the device that shows the code"
    boxes = "".join(
        f'<label><input type="checkbox" name="granted_scope" value="{escape(scope)}" checked> '
        f"<code>{escape(scope)}</code> "
        f'<span class="soft">{escape(_DESCRIPTIONS.get(scope, ""))}</span></label>'
        for scope in scopes
    )
    wanted = f"<fieldset><legend>It asks for</legend>{boxes}</fieldset>" if boxes else "<p>It asks for public data.</p>"
    warning = "<p>This app has asked unusually often. Please authorize it again to continue.</p>" if unusual else ""
    form = (
        f"{warning}<p><strong>{escape(app.name)}</strong> wants to access the account "
        f"<strong>{escape(browser.user or '')}</strong>.</p>"
        f'<form method="post" action="{escape(action)}">'
        f"{_hidden({'authenticity_token': browser.form_token, **fields})}{wanted}"
        f'<p class="soft">Authorizing leads to <strong>{escape(target)}</strong></p>'
        '<button type="submit" name="authorize" value="0">Cancel</button> '
        '<button class="go" type="submit" name="authorize" value="1">Authorize</button></form>'
    )
    return page(f"Authorize {app.name}", form, leads_to=leads_to)


def _front_page(user: str | None, links: Mapping[str, str]) -> HTMLResponse:
    """Say what this is to whoever opens the address by hand."""
    who = f"Signed in as <strong>{escape(user)}</strong>." if user else "Nobody is signed in."
    items = "".join(f'<li><a href="{escape(url)}">{escape(name)}</a></li>' for name, url in links.items())
    return page("A GitHub for learning and tests", f"<p>{who}</p><ul>{items}</ul>")


def device_page(browser: Browser, *, problem: str = "") -> HTMLResponse:
    """Ask for the code that the device shows."""
    note = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    form = (
        f'{note}<form method="post" action="/login/device">{_hidden({"authenticity_token": browser.form_token})}'
        '<label for="user_code">The code that your device shows</label>'
        '<input type="text" id="user_code" name="user_code" required maxlength="9" '
        'autocomplete="off" autocapitalize="characters" spellcheck="false"> '
        '<button class="go" type="submit">Continue</button></form>'
    )
    return page("Device activation", form)


def _hidden(fields: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )


def _security_headers(leads_to: str | None) -> dict[str, str]:
    # Browsers apply `form-action` to every redirect that follows, and an app that signs its own clients' users in here
    # sends the browser on to places that nobody here knows.
    targets = "" if leads_to else "form-action 'self'; "
    return {
        # RFC 9700 section 4.16: nobody may put the consent page into a frame and guide the click.
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; {targets}"
        "base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # RFC 9700 section 4.2: the address of this page holds the state. Same-origin keeps `Origin` on our forms.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


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
        return _front_page(browser.user if browser else None, links)

    async def _show(self, request: Request) -> Response:
        browser = current_browser(self._state, request) or self._state.new_browser()
        query = dict(query_pairs(request))
        return_to = _local(query.get("return_to", ""))
        response = _sign_in_page(
            list(self._state.users.values()),
            browser,
            return_to,
            suggested=query.get("login", ""),
            sign_up=query.get("allow_signup") != "false",
            leads_to=_destination(self._state, dict(parse_qsl(urlsplit(return_to).query))),
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
    return error_page("This form is out of date", "Go back, reload the page and submit the form again.", status=422)


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
