"""The pages that people see here: consent, and what went wrong. Every value is escaped on its way in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from html import escape

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; --ground: #f2f4f8; --card: #fff; --text: #1c2230; --soft: #565f70; --edge: #d9dee7;
  --control: #a9b2c1; --tint: #eef1fd; --accent: #3d4fd1; --on-accent: #fff; --good: #1a7f4b; --warn: #8a5300;
  --warn-tint: #fff6e5; --shadow: 0 1px 2px rgb(20 28 50 / 6%), 0 12px 32px rgb(20 28 50 / 10%); }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1118; --card: #171b25; --text: #e8ebf2; --soft: #a0a9ba;
  --edge: #2c3343; --control: #525d73; --tint: #222a4a; --accent: #aab6ff; --on-accent: #10142b; --good: #5fd39a;
  --warn: #f2bd66; --warn-tint: #2b2416; --shadow: 0 12px 32px rgb(0 0 0 / 40%); } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; padding: clamp(1rem, 5vh, 4rem) 1rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 27rem; margin: 0 auto; padding: 1.75rem 2rem; background: var(--card); border: 1px solid var(--edge);
  border-radius: 1rem; box-shadow: var(--shadow); overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.3; text-align: center; text-wrap: balance; }
h2 { margin: 1.5rem 0 .5rem; font-size: .875rem; font-weight: 600; color: var(--soft); }
p { margin: 0; }
svg { width: 1.25rem; height: 1.25rem; flex: none; fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linecap: round; stroke-linejoin: round; }
code { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--soft); }
.who { display: flex; align-items: center; justify-content: center; gap: .75rem; margin-bottom: 1.25rem;
  color: var(--soft); }
.tile { display: grid; place-items: center; width: 3.25rem; height: 3.25rem; border-radius: .9rem;
  background: var(--tint); color: var(--accent); font-size: 1.375rem; font-weight: 600; }
.tile svg { width: 1.5rem; height: 1.5rem; }
.lead { text-align: center; color: var(--soft); text-wrap: balance; }
ul { margin: 0; padding: 0; list-style: none; }
li { display: flex; gap: .75rem; padding: .375rem 0; }
li > svg { margin-top: .125rem; color: var(--good); }
.what { flex: 1; min-width: 0; }
.what > code { display: block; }
.new { flex: none; align-self: start; padding: 0 .5rem; border-radius: 1rem; background: var(--tint);
  color: var(--accent); font-size: .8125rem; font-weight: 600; line-height: 1.5rem; }
dl { margin: 1rem 0 1.25rem; padding: .25rem 0; border: 1px solid var(--edge); border-width: 1px 0;
  font-size: .875rem; }
dl div { display: flex; gap: 1rem; padding: .375rem 0; }
dt { flex: none; width: 7rem; color: var(--soft); }
dd { margin: 0; min-width: 0; }
.warn { display: flex; gap: .75rem; margin-bottom: 1.25rem; padding: .75rem 1rem; border-radius: .6rem;
  background: var(--warn-tint); font-size: .875rem; }
.warn svg { color: var(--warn); }
.buttons { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; margin-bottom: 1rem; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .5rem 1rem; border: 1px solid var(--control);
  border-radius: .6rem; background: transparent; color: inherit; cursor: pointer; }
button:hover { background: var(--tint); }
button.go { border-color: transparent; background: var(--accent); color: var(--on-accent); }
button.go:hover { filter: brightness(1.08); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.foot { font-size: .875rem; text-align: center; color: var(--soft); }
@media (max-width: 26rem) { main { padding: 1.5rem 1.25rem; } dl div { display: block; } dt { width: auto; } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_SCOPES = {
    "read:user": "Read your GitHub profile",
    "repo": "Read and write your GitHub repositories, private ones too",
}


_LEAD = "It wants to use this MCP server in your name."

# Drawn in a square of 24; none says anything that is not in words beside it.
_ICONS = {
    "check": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "link": '<path d="M4 12h16M14 6l6 6-6 6"/>',
    "server": '<rect x="4" y="4" width="16" height="7" rx="2"/><rect x="4" y="13" width="16" height="7" rx="2"/>'
    '<path d="M8 7.5h.01M8 16.5h.01"/>',
    "stop": '<circle cx="12" cy="12" r="9"/><path d="M12 8v5M12 16.5h.01"/>',
    "warning": '<path d="M12 4l9 16H3zM12 10v4M12 17h.01"/>',
}


@dataclass(frozen=True)
class Question:
    """What a person is asked to consent to.

    Attributes:
        client_name: what the client calls itself.
        client_known_by: why that name may be believed, or not.
        redirect_to: where the answer goes.
        on_this_machine: any program here could be what listens there.
        scopes: what is asked for.
        allowed_before: scopes that this person has allowed this client already, in this browser.
        resource: the MCP server that it is for.
    """

    client_name: str
    client_known_by: str
    redirect_to: str
    on_this_machine: bool
    scopes: Sequence[str]
    resource: str
    allowed_before: AbstractSet[str] = frozenset()

    @property
    def asks_for_more(self) -> bool:
        """Say whether the client has some of this and wants the rest."""
        return bool(self.allowed_before) and not self.allowed_before >= set(self.scopes)


def consent_page(question: Question, *, fields: Mapping[str, str]) -> HTMLResponse:
    """Ask whether this client may act for the person, and say where the answer goes.

    Args:
        fields: what the form carries on.
    """
    lead = "It asks for more than you have allowed it so far." if question.asks_for_more else _LEAD
    scopes = "".join(_scope(scope, question) for scope in question.scopes)
    # RFC 8252 section 8.6: what listens on this machine cannot prove that it is the client it says.
    warning = (
        f'<p class="warn">{_icon("warning")}<span>The answer goes to a program on your own device. Continue only if '
        "you have just started this from a program that you trust: any other could use the same name.</span></p>"
        if question.on_this_machine
        else ""
    )
    hidden = "".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}">' for n, v in fields.items())
    body = (
        f'<p class="lead">{lead}</p>'
        f"<h2>It may then</h2><ul>{scopes}</ul>"
        f"<dl>{_fact('The client', question.client_known_by)}{_fact('Answer goes to', question.redirect_to, 'strong')}"
        f"{_fact('MCP server', question.resource)}</dl>"
        f'{warning}<form method="post" action="/consent">{hidden}<div class="buttons">'
        '<button type="submit" name="authorize" value="0">Cancel</button>'
        '<button class="go" type="submit" name="authorize" value="1">Authorize</button></div></form>'
        '<p class="foot">You sign in at GitHub next. The client never sees your GitHub token.</p>'
    )
    initial = next((letter for letter in question.client_name if letter.isalnum()), "?").upper()
    tiles = f'<span class="tile">{escape(initial)}</span>{_icon("link")}<span class="tile">{_icon("server")}</span>'
    return _page(f"Authorize {question.client_name}", body, tiles=tiles, leads_on=True)


def error_page(title: str, explanation: str, *, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Show what is wrong. Nothing is redirected: nobody knows whom the redirect would serve."""
    tiles = f'<span class="tile">{_icon("stop")}</span>'
    response = _page(title, f'<p class="lead">{escape(explanation)}</p>', tiles=tiles, status=status)
    response.headers.update(headers or {})
    return response


def _scope(scope: str, question: Question) -> str:
    is_new = question.asks_for_more and scope not in question.allowed_before
    words = f"{escape(_SCOPES[scope])} <code>{escape(scope)}</code>" if scope in _SCOPES else escape(scope)
    note = '<span class="new">New</span>' if is_new else ""
    return f'<li>{_icon("check")}<span class="what">{words}</span>{note}</li>'


def _fact(name: str, value: str, tag: str = "span") -> str:
    return f"<div><dt>{name}</dt><dd><{tag}>{escape(value)}</{tag}></dd></div>"


def _icon(name: str) -> str:
    return f'<svg viewBox="0 0 24 24" aria-hidden="true">{_ICONS[name]}</svg>'


def _page(title: str, body: str, *, tiles: str, status: int = 200, leads_on: bool = False) -> HTMLResponse:
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n"
        f'<body><main><div class="who" aria-hidden="true">{tiles}</div><h1>{escape(title)}</h1>\n'
        f"{body}\n</main></body></html>\n"
    )
    return HTMLResponse(html, status, headers=_headers(leads_on))


def _headers(leads_on: bool) -> dict[str, str]:
    # Chromium applies `form-action` to every redirect that follows. After the answer to this page those are of others:
    # upstream may lead on to a company's sign-in, and a client's https address to its app, by a scheme of its own.
    targets = "" if leads_on else "form-action 'self'; "
    return {
        # RFC 9700 section 4.16: nobody may put the consent page into a frame and guide the click.
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; {targets}"
        "base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        # RFC 9700 section 4.2: addresses here hold a state. Same-origin keeps `Origin` on our own form.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
