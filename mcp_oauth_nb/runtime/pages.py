"""The pages that people see in a browser: one frame, one style, one set of headers.

A template stands in the folder `templates` of whoever shows the page, and extends `runtime/templates/frame.html`. Every
value is escaped on its way in. No page runs a script, loads anything or can be framed.
"""

from __future__ import annotations

import base64
import enum
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).parent.parent
_NOTHING: Mapping[str, str] = {}


class Form(enum.Enum):
    """Where the form on a page may lead, with the two headers that this decides."""

    #: There is none. Nothing learns the address of the page, which may hold a state or a code (RFC 9700 section 4.2).
    NONE = "form-action 'none'; ", "no-referrer"
    #: To this site. Same-origin keeps `Origin` on the form, by which it is known to be ours.
    HERE = "form-action 'self'; ", "same-origin"
    #: Onward, nobody here knows where to. Chromium applies `form-action` to every redirect that follows: a provider may
    #: lead on to a company's sign-in, and a client's https address to its app, by a scheme of its own.
    ONWARD = "", "same-origin"


def page_headers(form: Form = Form.NONE, *, style: str = "") -> dict[str, str]:
    """Return the headers that protect a page.

    Args:
        style: the style sheet that the page holds.
    """
    targets, referrer = form.value
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    styles = f"style-src 'sha256-{digest}'; " if style else ""
    return {
        # RFC 9700 section 4.16: nobody may put a page into a frame and guide the click.
        "Content-Security-Policy": f"default-src 'none'; {styles}{targets}base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": referrer,
        "Cache-Control": "no-store",
    }


def page(
    template: str,
    title: str,
    *,
    status: int = 200,
    form: Form = Form.NONE,
    headers: Mapping[str, str] = _NOTHING,
    **values: Any,
) -> HTMLResponse:
    """Make a page.

    Args:
        template: its path in this package.
        headers: more of them.
        values: what the template shows besides the title.
    """
    style = _style()
    html = _templates().get_template(template).render(title=title, **values)
    return HTMLResponse(html, status, headers={**page_headers(form, style=style), **headers})


def message_page(
    title: str, text: str, *, status: int = 200, good: bool = False, headers: Mapping[str, str] = _NOTHING
) -> HTMLResponse:
    """Tell a person one thing. Nothing is redirected: where something is wrong, nobody knows whom that would serve."""
    return page("runtime/templates/message.html", title, status=status, headers=headers, text=text, good=good)


@functools.cache
def _style() -> str:
    return (_PACKAGE / "runtime/templates/page.css").read_text(encoding="utf-8")


@functools.cache
def _templates() -> Environment:
    # Not before the first page: most programs show none.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.globals["style"] = Markup(_style())
    return made
