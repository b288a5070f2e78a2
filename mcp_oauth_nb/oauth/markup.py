"""HTML that is safe by default, for the reprs of values and the panels: every string but `Html` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .masking import printable


class Html(str):
    """Text that is HTML already; every other string is escaped where it is put in."""

    __slots__ = ()


#: The end of a line.
BREAK = Html("<br>")


def safe(value: object, limit: int = 2000) -> Html:
    """Return a value as HTML: known secrets masked, control and bidi characters escaped, cut at the limit."""
    return value if isinstance(value, Html) else Html(html.escape(printable(str(value), limit)))


def verbatim(text: str) -> Html:
    """Escape a text of our own for HTML, and do nothing else to it: lines stay lines, nothing is masked."""
    return Html(html.escape(text))


def joined(*parts: object) -> Html:
    """Return the parts one after the other; None and empty ones are left out."""
    return Html("".join(safe(part) for part in parts if part is not None and part != ""))


def element(tag: str, *content: object, style: str = "", **attributes: str) -> Html:
    """Build `<tag ...>content</tag>`. Write attribute names that are Python words with a final underscore: `for_`."""
    given = {**({"style": style} if style else {}), **attributes}
    text = "".join(f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in given.items())
    return Html(f"<{tag}{text}>{joined(*content)}</{tag}>")


def left_table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> Html:
    """Build a table as the notebook draws it, but for the cells, which it would align to the right."""
    titles, *body = (
        element("tr", *(element(tag, cell, style="text-align:left") for cell in row))
        for tag, row in (("th", head), *(("td", row) for row in rows))
    )
    return element("table", element("thead", titles) if head else None, element("tbody", *body))
