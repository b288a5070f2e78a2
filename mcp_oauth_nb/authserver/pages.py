"""The pages that people see here: consent, and what went wrong. Every value is escaped on its way in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; --edge: #d1d9e0; --soft: #59636e; --go: #1f883d; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --edge: #3d444d; --soft: #9198a1; --go: #238636; --warn: #d29922; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 32rem; margin: 2rem auto; padding: 0 1rem; }
main { border: 1px solid var(--edge); border-radius: .5rem; padding: 0 1.5rem 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.25rem; }
dt { color: var(--soft); font-size: .875rem; }
dd { margin: 0 0 .6rem; }
button { font: inherit; padding: .5rem 1rem; border: 1px solid var(--edge); border-radius: .4rem; cursor: pointer; }
button.go { background: var(--go); color: #fff; }
.warn { border-left: .25rem solid var(--warn); padding-left: .75rem; }
.soft { color: var(--soft); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_SCOPES = {
    "read:user": "Read your GitHub profile",
    "repo": "Read and write your GitHub repositories, private ones too",
}


@dataclass(frozen=True)
class Question:
    """What a person is asked to consent to."""

    client_name: str
    client_known_by: str
    redirect_to: str
    on_this_machine: bool
    scopes: Sequence[str]
    resource: str


def consent_page(question: Question, *, fields: Mapping[str, str], leads_to: Sequence[str]) -> HTMLResponse:
    """Ask whether this client may act for the person, and say where the answer goes.

    Args:
        fields: what the form carries on.
        leads_to: URLs where the form may lead to in the end. Browsers apply `form-action` to redirects too.
    """
    scopes = "".join(
        f"<li><code>{escape(scope)}</code> <span class='soft'>{escape(_SCOPES.get(scope, ''))}</span></li>"
        for scope in question.scopes
    )
    # RFC 8252 section 8.6: what listens on this machine cannot prove that it is the client it says.
    warning = (
        '<p class="warn">The answer goes to a program on your own device. Continue only if you have just started '
        "this from a program that you trust: any other could use the same name.</p>"
        if question.on_this_machine
        else ""
    )
    hidden = "".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}">' for n, v in fields.items())
    body = (
        f"<p><strong>{escape(question.client_name)}</strong> wants to use this MCP server in your name.</p>{warning}"
        f"<dl><dt>The client</dt><dd>{escape(question.client_known_by)}</dd>"
        f"<dt>The answer goes to</dt><dd><strong>{escape(question.redirect_to)}</strong></dd>"
        f"<dt>For</dt><dd>{escape(question.resource)}</dd>"
        f"<dt>It may then</dt><dd><ul>{scopes}</ul></dd></dl>"
        f'<form method="post" action="/consent">{hidden}'
        '<button type="submit" name="authorize" value="0">Cancel</button> '
        '<button class="go" type="submit" name="authorize" value="1">Authorize</button></form>'
        '<p class="soft">You sign in at GitHub next. The client never sees your GitHub token.</p>'
    )
    return _page(f"Authorize {question.client_name}", body, leads_to=leads_to)


def error_page(title: str, explanation: str, *, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Show what is wrong. Nothing is redirected: nobody knows whom the redirect would serve."""
    response = _page(title, f"<p>{escape(explanation)}</p>", status=status)
    response.headers.update(headers or {})
    return response


def _page(title: str, body: str, *, status: int = 200, leads_to: Sequence[str] = ()) -> HTMLResponse:
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{body}\n</main></body></html>\n"
    )
    return HTMLResponse(html, status, headers=_headers(leads_to))


def _headers(leads_to: Sequence[str]) -> dict[str, str]:
    targets = " ".join(["'self'", *dict.fromkeys(_source(url) for url in leads_to)])
    return {
        # RFC 9700 section 4.16: nobody may put the consent page into a frame and guide the click.
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; "
        "base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        # RFC 9700 section 4.2: addresses here hold a state. Same-origin keeps `Origin` on our own form.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _source(url: str) -> str:
    parts = urlsplit(url)
    # An app's own scheme has no host that could be named.
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"
