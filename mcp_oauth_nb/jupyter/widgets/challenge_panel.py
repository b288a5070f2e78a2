"""The news that authorization is needed, in its two carriers side by side.

inspector = ChallengeInspector(error)                 # an MCPError, a challenge, a header ...
inspector                                             # both texts, to be edited, and what a client reads
inspector.model.header = 'Bearer scope="repo"'        # the same by a line of code
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...oauth.masking import escape
from .challenge_model import EXAMPLES, CarrierReading, ChallengeModel
from .panel import (
    BREAK,
    COLOURS,
    WIDTH,
    Html,
    Panel,
    block,
    card,
    code,
    column,
    element,
    heading,
    joined,
    paragraph,
    pill,
    prose,
    row,
    status,
    stepping,
    table,
    verbatim,
)

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_JSONRPC = "JSON-RPC error -32001 (in process, stdio)"
_HEADER = "401 with WWW-Authenticate (HTTP)"
_NONE = "—"


class ChallengeInspector(Panel):
    """Both carriers as text, what a client reads in each, and what it does next.

    Args:
        source: see `ChallengeModel`.

    Attributes:
        model: the `ChallengeModel` that is shown.
        jsonrpc: the error object; edit it, and it is read anew.
        header: the value of the header, likewise.
        example: replaces the texts by an example.
        restore: takes all edits back.
    """

    model: ChallengeModel
    by_code = "panel.model.header = 'Bearer scope=\"repo\"'"

    def __init__(self, source: Any = None):
        self.model = ChallengeModel(source)
        self.jsonrpc = _area("-32001 error", "The JSON-RPC error object", 17)
        self.header = _area("WWW-Authenticate", "The value of the header", 6)
        self.example = ipywidgets.Dropdown(
            options=list(EXAMPLES),
            description="Try",
            tooltip="Replace the texts by an example",
            style={"description_width": "30px"},
            layout={"width": "260px"},
        )
        self.restore = ipywidgets.Button(description="Undo edits", tooltip="Take all edits back")
        self._error, self._bearer, self._lines = (ipywidgets.HTML() for _ in range(3))
        sides = ipywidgets.HBox(
            [_side(_JSONRPC, self.jsonrpc, self._error), _side(_HEADER, self.header, self._bearer)],
            layout={"max_width": WIDTH},
        )
        self.widget = column(row(self.example, *stepping(self.example, "example"), self.restore), sides, self._lines)
        self._connect()
        self._render()

    def _connect(self) -> None:
        self.jsonrpc.observe(lambda change: self.model.set_trait("jsonrpc", change["new"]), "value")
        self.header.observe(lambda change: self.model.set_trait("header", change["new"]), "value")
        self.example.observe(lambda change: self.model.load(change["new"]), "value")
        self.restore.on_click(self._restore)
        self.model.observe(self._render)

    def _restore(self, _: Any) -> None:
        self.example.value = next(iter(EXAMPLES))
        self.model.restore()

    def _render(self, _: Any = None) -> None:
        model = self.model
        self.jsonrpc.value, self.header.value = model.jsonrpc, model.header
        self.restore.disabled = not model.edited
        self._error.value = _reading(model.jsonrpc_reading, model.jsonrpc_steps)
        self._bearer.value = _reading(model.header_reading, model.header_steps)
        self._lines.value = _lines(model)

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        model = self.model
        return joined(
            heading(_JSONRPC),
            block(model.jsonrpc),
            _reading(model.jsonrpc_reading, model.jsonrpc_steps),
            heading(_HEADER),
            # The model has masked it.
            block(verbatim(escape(model.header))),
            _reading(model.header_reading, model.header_steps),
            _lines(model),
        )


def _area(description: str, placeholder: str, rows: int) -> Any:
    # The heading above it is what one sees; the description, which has no room, is its name for assistive technology.
    return ipywidgets.Textarea(
        description=description,
        placeholder=placeholder,
        tooltip=f"{description}: {placeholder}",
        rows=rows,
        style={"description_width": "0"},
        layout={"width": "98%"},
    )


def _side(title: str, area: Any, reading: Any) -> Any:
    return ipywidgets.VBox([ipywidgets.HTML(heading(title)), area, reading], layout={"width": "50%"})


def _reading(reading: CarrierReading, steps: Sequence[str]) -> Html:
    """The challenge as a client reads it, and the client's next step."""
    if reading.error is not None:
        colour = COLOURS["failed"]
        told = joined(pill(f"✘ {reading.outcome}", colour), " ", reading.error.message)
        told = joined(told, f" ({reading.error.reference})" if reading.error.reference else "")
    elif reading.challenge is None:
        colour = COLOURS["warning"]
        told = joined(pill("! no challenge", colour), " ", reading.other)
    else:
        colour = COLOURS["passed"]
        told = joined(pill("✔ challenge", colour), " understood")
    items = [element("li", prose(step), style="margin:0 0 2px;overflow-wrap:anywhere") for step in steps if step]
    todo = element("ol", *items, style="margin:0;padding-left:20px;line-height:1.45")
    return card(status(told, alert=reading.error is not None), paragraph(element("b", "Next")), todo, colour=colour)


def _lines(model: ChallengeModel) -> Html:
    rows = [(x.news, _cell(x.jsonrpc_name, x.jsonrpc), _cell(x.header_name, x.header)) for x in model.lines]
    return joined(
        heading("The same news, field by field"),
        table(("News", "-32001", "WWW-Authenticate"), rows, widths=("24%", "38%", "38%")),
    )


def _cell(name: str, value: str) -> Html:
    if name.startswith("("):
        return element("i", name)
    return joined(element("b", code(name)), BREAK, code(value or _NONE))
