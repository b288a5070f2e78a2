"""The base of every panel: how it appears in a notebook, and the HTML that it is made of.

    class ThingPanel(Panel):
        def __init__(self, thing): self.model, self.widget = ThingModel(thing), ipywidgets.VBox([...])
        def _summary(self): return "one line, the same on every run"
        def _static_html(self): return joined(heading("Thing"), table(["field", "value"], rows))

The HTML is made with `oauth.markup`, and is safe by default.
Styles are inline, since those of a notebook do not reach into widgets, and viewers drop style sheets. Colours follow
the front end's theme where it has one, and are otherwise the page's own.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from traitlets import HasTraits

from ...oauth.check import SIGNS, Outcome
from ...oauth.markup import BREAK as BREAK
from ...oauth.markup import Html as Html
from ...oauth.markup import element as element
from ...oauth.markup import joined as joined
from ...oauth.markup import safe as safe
from ...oauth.markup import verbatim as verbatim
from ...oauth.masking import printable, scrub

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

INK = "var(--jp-content-font-color1,inherit)"
QUIET = "var(--jp-content-font-color2,inherit)"
EDGE = "var(--jp-border-color2,rgba(127,127,127,.4))"
SURFACE = "var(--jp-layout-color2,rgba(127,127,127,.12))"
LINK = "var(--jp-content-link-color,#0969da)"
MONO = "var(--jp-code-font-family,ui-monospace,monospace)"

#: Backgrounds for white text: each has a contrast of at least 4.5 with it, so they serve light and dark themes.
COLOURS: dict[Outcome, str] = {
    "passed": "#1a7f37",
    "failed": "#cf222e",
    "warning": "#8a5a00",
    "not applicable": "#57606a",
}
ACCENT = "#0969da"

#: What fits into a notebook's column.
WIDTH = "700px"
#: For `layout=` of a text field that takes the whole width, with room for its label.
WIDE = {"width": "calc(100% - 4px)", "max_width": WIDTH}

_LINES = "line-height:1.5;font-size:13px"
# JupyterLab drops the second of a notebook that it does not trust yet, and columns would run into each other.
_BREAKS = "overflow-wrap:break-word;overflow-wrap:anywhere"


class Panel(ABC):
    """A model with widgets around it; shown as the last value of a cell.

    Attributes:
        model: does the work. Whatever the panel does, a line of code does with it.
        widget: all of the panel, to be put into another layout.
        by_code: that line of code, for readers without a kernel.
    """

    model: HasTraits
    widget: Any
    by_code: ClassVar[str] = ""

    @abstractmethod
    def _summary(self) -> str:
        """Return one line that is the same on every run and holds no secret."""

    @abstractmethod
    def _static_html(self) -> Html:
        """Return what the panel shows now, for viewers that cannot run it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary()})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        static = joined(self._static_html(), without_kernel(self.by_code))
        return {**self.widget._repr_mimebundle_(), "text/plain": repr(self), "text/html": str(static)}


# -- HTML ------------------------------------------------------------------------------------------------------


def heading(text: object) -> Html:
    """A small heading, within a panel."""
    return element(
        "div", text, style=f"font-weight:600;margin:8px 0 4px;color:{INK};{_LINES}", role="heading", aria_level="4"
    )


def paragraph(*content: object, quiet: bool = False) -> Html:
    """One paragraph of prose."""
    colour = QUIET if quiet else INK
    return element("p", *content, style=f"margin:0 0 6px;color:{colour};max-width:{WIDTH};{_LINES}")


def code(value: object) -> Html:
    """Code within a line; it breaks anywhere, so that a long value does not need a scroll bar."""
    return element("code", value, style=f"font-family:{MONO};{_BREAKS};background:none;color:{INK};padding:0")


def prose(text: object) -> Html:
    """A text in which what stands between backticks is code."""
    parts = str(text).split("`")
    return joined(*(code(part) if i % 2 else safe(part) for i, part in enumerate(parts)))


def quiet(text: object) -> Html:
    """Words that stand back behind the others."""
    return element("span", text, style=f"color:{QUIET}")


def block(value: object) -> Html:
    """Code in a box of its own. Lines of plain strings stay lines; secrets in them are masked."""
    content = value if isinstance(value, Html) else verbatim(_lines(str(value)))
    style = (
        f"font-family:{MONO};margin:0 0 6px;padding:6px 10px;border-radius:4px;background:{SURFACE};color:{INK};"
        f"white-space:pre-wrap;{_BREAKS};max-width:{WIDTH};box-sizing:border-box;{_LINES}"
    )
    return element("pre", content, style=style)


def _lines(text: str) -> str:
    return "\n".join(printable(line, 2000) for line in scrub(text).split("\n"))


def badge(outcome: Outcome, label: str = "") -> Html:
    """A sign and a word for the result of a check; the colour says nothing more."""
    return pill(f"{SIGNS[outcome]} {label or outcome}", COLOURS[outcome])


def pill(text: object, colour: str = COLOURS["not applicable"]) -> Html:
    """White words on a colour that has a contrast of at least 4.5 with them."""
    style = (
        f"display:inline-block;padding:0 8px;border-radius:9px;background:{colour};color:#fff;font-size:11px;"
        "line-height:18px;font-weight:600;white-space:nowrap"
    )
    return element("span", text, style=style)


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, widths: Sequence[str] = ()) -> Html:
    """A table that keeps to the width. A cell is a string, or `Html`.

    Args:
        head: the titles of the columns; none for a table without a first row.
        rows: the cells.
        widths: of the columns, such as `("30%", "70%")`.
    """
    # Notebooks align cells to the right, and paint every other row; styles that are inherited are set once.
    style = f"border-collapse:collapse;border:0;width:100%;max-width:{WIDTH};margin:0 0 6px;color:{INK};"
    style += f"{_BREAKS};{_LINES}{';table-layout:fixed' if widths else ''}"
    cell = f"text-align:left;vertical-align:top;padding:4px 10px 4px 0;border:0;border-bottom:1px solid {EDGE}"
    bare = "background:none"
    columns = Html("".join(f'<col style="width:{width}">' for width in widths))
    titles = [element("th", title, style=f"{cell};font-weight:600", scope="col") for title in head]
    body = [element("tr", *(element("td", value, style=cell) for value in row), style=bare) for row in rows]
    return element("table", columns, element("tr", *titles, style=bare) if head else "", *body, style=style)


def card(*content: object, colour: str = "") -> Html:
    """A box with a quiet border; a colour marks its left edge."""
    left = f"border-left:4px solid {colour};" if colour else ""
    style = (
        f"border:1px solid {EDGE};{left}border-radius:6px;padding:8px 12px;margin:0 0 6px;max-width:{WIDTH};"
        "box-sizing:border-box"
    )
    return element("div", *content, style=style)


def folded(summary: object, *content: object, opened: bool = False) -> Html:
    """A part that opens at a click or the Enter key, in viewers without a kernel too."""
    title = element("summary", summary, style=f"cursor:pointer;color:{INK};{_LINES}")
    attributes = {"open": "open"} if opened else {}
    return element("details", title, *content, style=f"margin:0 0 6px;max-width:{WIDTH}", **attributes)


def status(*content: object, sign: str = "", alert: bool = False) -> Html:
    """A line that assistive technology reads out: an alert at once, a status when it is idle."""
    style = f"margin:0;color:{INK};max-width:{WIDTH};{_LINES}"
    return element("p", f"{sign} " if sign else "", *content, style=style, role="alert" if alert else "status")


def link(text: object, url: str, **attributes: str) -> Html:
    """A link; what it leads to is put in as it is."""
    return element("a", text, href=url, style=f"color:{LINK};text-decoration:underline", **attributes)


def sign_in_link(url: str, then: str) -> Html:
    """The link to an authorization URL, which opens in a tab of its own, and what comes after that."""
    to = link(f"Sign in at {urlsplit(url).netloc}", url, target="_blank", rel="noopener noreferrer")
    return status(to, " (opens a new tab). ", then)


def without_kernel(by_code: str) -> Html:
    """The note below the static form of a panel."""
    line = joined(" By a line of code: ", code(verbatim(by_code)), ".") if by_code else ""
    return paragraph("This is a picture of the panel; run the cell to use it.", line, quiet=True)


# -- widgets ---------------------------------------------------------------------------------------------------


def on_enter(field: Any, action: Callable[[], object]) -> None:
    """Call `action` when the Enter key is pressed in a text field, after the text has come from the browser."""

    def key(_: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("event") == "submit":
            typed(field)
            action()

    field.on_msg(key)


def typed(field: Any, patience: float = 1.0) -> str:
    """Return the text of a field when a button that needs it is clicked, or Enter is pressed.

    In JupyterLab with ipykernel 7 two threads of the kernel handle what was typed and the click after it, so that
    the click may come first. An empty field is therefore waited for.

    Args:
        field: a text widget.
        patience: for how many seconds to wait while it is empty.
    """
    arrived = threading.Event()

    def notice(change: dict[str, Any]) -> None:
        if change["new"]:
            arrived.set()

    field.observe(notice, "value")
    try:
        if not field.value:
            arrived.wait(patience)
        return str(field.value)
    finally:
        field.unobserve(notice, "value")


def stepping(choice: Any, what: str) -> tuple[Any, Any]:
    """Two buttons that choose the option before and after, in a list or a drop-down list.

    JupyterLab takes the arrow keys away from both (ipywidgets issue 3912); buttons work by keyboard everywhere.

    Args:
        choice: a `Select` or `Dropdown`.
        what: is chosen, such as `field`; for the tooltips.
    """

    def mover(by: int) -> Callable[[Any], None]:
        def move(_: Any) -> None:
            if choice.options:
                now = choice.index if choice.index is not None else min(0, -by)
                choice.index = (now + by) % len(choice.options)

        return move

    buttons = []
    for word, by in (("Previous", -1), ("Next", 1)):
        button = ipywidgets.Button(description=word, tooltip=f"{word} {what}", layout={"width": "90px"})
        button.on_click(mover(by))
        buttons.append(button)
    return buttons[0], buttons[1]


def row(*children: Any) -> Any:
    """Widgets side by side, wrapped where the width ends."""
    layout = {"flex_flow": "row wrap", "align_items": "center", "max_width": WIDTH, "overflow": "hidden"}
    return ipywidgets.HBox(list(children), layout=layout)


def column(*children: Any) -> Any:
    """Widgets one below the other, in the width of a panel."""
    return ipywidgets.VBox(list(children), layout={"max_width": WIDTH, "overflow": "hidden"})
