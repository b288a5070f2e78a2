"""A recording to look through: filter, search, one exchange in full, two compared, and their diagram.

view = TraceView(lab.trace)
view                                             # a page of exchanges; an arrow of the diagram can be clicked
view.model.errors_only = True                    # the same by a line of code
print(view.model.diff(3, 7))
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from ...oauth.masking import escape
from ...oauth.text import json_text
from ...trace.diff import SIGNS, Change, Line, TraceDiff
from ...trace.layout import shorten, title_of
from ...trace.messages import Exchange, Message
from ...trace.recorder import Trace
from ...trace.svg import to_svg
from .panel import (
    COLOURS,
    INK,
    WIDTH,
    Html,
    Panel,
    block,
    code,
    column,
    element,
    folded,
    heading,
    joined,
    on_enter,
    paragraph,
    pill,
    row,
    safe,
    status,
    table,
    verbatim,
)
from .sequence import SequenceWidget
from .trace_model import PAGE_SIZE, TraceModel, is_error

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_LONGEST_OPTION = 88
_MOST_LINES = 40
# A message of more lines is folded, unless something was searched for in it.
_SHORT = 24
_FOUND = "background:#ffd33d;color:#1f2328;padding:0"
_PAINT: dict[Change, str] = {
    "added": COLOURS["passed"],
    "removed": COLOURS["failed"],
    "changed": COLOURS["warning"],
    "same": COLOURS["not applicable"],
}


class TraceView(Panel):
    """The exchanges of a trace, a page at a time.

    Args:
        trace: what is looked at.
        size: how many exchanges a page has.

    Attributes:
        model: the `TraceModel` that is shown.
        text: a field that filters by titles and addresses.
        search: a field that searches headers and bodies too.
        party, protocol, errors_only: more filters.
        list: the exchanges of the page.
        first, previous, next, last: turn the page.
        pin: compares the next ones with this one; pressed again, ends the comparison.
        look: reads the trace again.
        sequence: the diagram of the page.
    """

    model: TraceModel
    by_code = 'panel.model.search = "invalid_grant"; panel.model.exchange'

    def __init__(self, trace: Trace, *, size: int = PAGE_SIZE):
        self.model = TraceModel(trace, size=size)
        self.text = _text("Filter", "in titles and addresses", "Show what has this in its title or address")
        self.search = _text("Search", "in headers and bodies", "Show what has this anywhere, bodies included")
        self.party = _select("Party", "Show what this party sends or receives")
        self.protocol = _select("Protocol", "Show one protocol only")
        self.protocol.options = [("both", ""), ("HTTP", "http"), ("JSON-RPC", "jsonrpc")]
        self.errors_only = ipywidgets.Checkbox(
            description="Errors only", tooltip="Show what was answered by an error", indent=False
        )
        self.errors_only.layout.width = "120px"
        self.list = ipywidgets.Select(
            rows=size,
            description="Exchanges",
            tooltip="The exchanges of this page",
            style={"description_width": "80px"},
            layout={"width": "calc(100% - 4px)"},
        )
        self.first = _button("« First", "Turn to the first page")
        self.previous = _button("‹ Previous", "Turn to the page before")
        self.next = _button("Next ›", "Turn to the next page")
        self.last = _button("Last »", "Turn to the last page")
        self.pin = ipywidgets.ToggleButton(
            description="Compare", tooltip="Compare the exchanges chosen next with this one", layout={"width": "96px"}
        )
        self.look = _button("Look again", "Read the trace again")
        self.sequence = SequenceWidget()
        self._summary_line, self._detail = ipywidgets.HTML(), ipywidgets.HTML()
        self.widget = column(
            row(self.text, self.search),
            row(self.party, self.protocol, self.errors_only),
            self._summary_line,
            self.list,
            row(self.first, self.previous, self.next, self.last, self.pin, self.look),
            self._detail,
            self.sequence,
        )
        self._rendering = False
        self._connect()
        self._render()

    def _connect(self) -> None:
        model = self.model
        for name in ("text", "search", "party", "protocol", "errors_only"):
            getattr(self, name).observe(lambda change, name=name: self._set(name, change["new"]), "value")
        for field in (self.text, self.search):
            on_enter(field, lambda: model.turn(1))
        self.list.observe(lambda change: self._choose(change["new"]), "value")
        self.sequence.observe(lambda change: self._choose(change["new"]), "chosen")
        self.first.on_click(lambda _: model.turn(1))
        self.previous.on_click(lambda _: model.turn(model.page - 1))
        self.next.on_click(lambda _: model.turn(model.page + 1))
        self.last.on_click(lambda _: model.turn(model.pages))
        self.pin.observe(lambda change: self._pin(change["new"]), "value")
        self.look.on_click(lambda _: model.look())
        model.observe(self._render)

    def _set(self, name: str, value: Any) -> None:
        # While the panel takes over the model's values, nothing was chosen by a person.
        if not self._rendering and value is not None:
            setattr(self.model, name, value)

    def _choose(self, number: int | None) -> None:
        if not self._rendering and number in self.model.numbers:
            self.model.chosen = number

    def _pin(self, wanted: bool) -> None:
        if wanted != bool(self.model.pinned):
            self.model.pin() if wanted else self.model.unpin()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self.model.look()
        return super()._repr_mimebundle_(**options)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        self._rendering = True
        try:
            self._show_filters()
            self._show_page()
        finally:
            self._rendering = False

    def _show_filters(self) -> None:
        model = self.model
        _offer(self.party, [("everybody", ""), *((escape(name), name) for name in _with(model.parties, model.party))])
        for name in ("text", "search", "party", "protocol", "errors_only"):
            widget = getattr(self, name)
            if widget.value != getattr(model, name):
                widget.value = getattr(model, name)

    def _show_page(self) -> None:
        model = self.model
        _offer(self.list, [(_option(exchange), exchange.request.exchange) for exchange in model.window])
        self.list.value = model.chosen if model.chosen in model.numbers else None
        self.first.disabled = self.previous.disabled = model.page <= 1
        self.next.disabled = self.last.disabled = model.page >= model.pages
        self.pin.disabled = not (model.chosen or model.pinned)
        self.pin.value = bool(model.pinned)
        self._summary_line.value = status(model.summary)
        self._detail.value = _detail(model)
        self.sequence.svg = model.diagram.svg_with(lit=model.chosen or None)

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        model = self.model
        rows = [_row(exchange, model) for exchange in model.window]
        listed = table(("", "Exchange", "Answer"), rows, widths=("20%", "50%", "30%"))
        return joined(
            heading(f"Trace: {model.summary}"),
            _filters(model),
            listed if rows else paragraph("Nothing matches."),
            _detail(model),
            folded("Sequence diagram of this page", _picture(model)) if rows else None,
        )


# -- controls --------------------------------------------------------------------------------------------------


def _button(text: str, tooltip: str, *, width: str = "96px") -> Any:
    return ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": width})


def _text(label: str, placeholder: str, tooltip: str) -> Any:
    style, layout = {"description_width": "80px"}, {"width": "338px"}
    return ipywidgets.Text(description=label, placeholder=placeholder, tooltip=tooltip, style=style, layout=layout)


def _select(label: str, tooltip: str) -> Any:
    style, layout = {"description_width": "80px"}, {"width": "240px"}
    return ipywidgets.Dropdown(description=label, tooltip=tooltip, options=[("", "")], style=style, layout=layout)


def _offer(widget: Any, options: list[tuple[str, Any]]) -> None:
    if list(widget.options) != options:
        widget.options = options


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in ("", *names) else (*names, name)


def _option(exchange: Exchange) -> str:
    """One line of the list."""
    request, answer = exchange.request, exchange.response
    text = f"{request.exchange}. {_verdict(exchange)}  {title_of(request)}"
    text += f"  ⟶ {title_of(answer)}" if answer is not None else ""
    return shorten(text, _LONGEST_OPTION)


def _verdict(exchange: Exchange) -> str:
    if is_error(exchange):
        return "✘ error"
    if exchange.response is None:
        return "– notification" if exchange.request.kind == "notification" else "… no answer"
    return "✔ answered"


# -- HTML ------------------------------------------------------------------------------------------------------


def _row(exchange: Exchange, model: TraceModel) -> tuple[object, object, object]:
    request, answer = exchange.request, exchange.response
    mark = "▸ " if request.exchange == model.chosen else ""
    colour = COLOURS["failed"] if is_error(exchange) else COLOURS["not applicable"]
    parties = f"{request.sender} → {request.receiver}"
    return (
        joined(f"{mark}{request.exchange} ", pill(_verdict(exchange), colour)),
        joined(element("div", parties), code(title_of(request))),
        code(title_of(answer)) if answer is not None else "",
    )


def _filters(model: TraceModel) -> Html | None:
    shown = {
        "in titles": model.text,
        "anywhere": model.search,
        "party": model.party,
        "protocol": model.protocol,
        "errors": "only" if model.errors_only else "",
    }
    told = ", ".join(f"{name}: {value}" for name, value in shown.items() if value)
    return paragraph(f"Filtered by {told}.", quiet=True) if told else None


def _detail(model: TraceModel) -> Html:
    difference, exchange = model.difference, model.exchange
    if difference is not None:
        return diff_html(difference)
    if exchange is None:
        return paragraph("Nothing matches." if model.exchanges else "Nothing was recorded yet.", quiet=True)
    hint = None
    if model.pinned:
        hint = paragraph(f"Choose another exchange to compare it with exchange {model.pinned}.", quiet=True)
    messages = [message for message in (exchange.request, exchange.response) if message is not None]
    return joined(hint, *(_message(message, model.search) for message in messages))


def _message(message: Message, search: str) -> Html:
    first, *others = str(message).split("\n")
    parties, _, title = first.partition("   ")
    # Masked and escaped already while it was recorded and written out.
    lines = [line.removeprefix("    ") for line in others]
    name = joined(element("b", parties.replace("->", "→")), " ", code(verbatim(title)))
    if not lines:
        return paragraph(name)
    text = "\n".join(lines)
    opened = len(lines) <= _SHORT or (bool(search) and search.lower() in text.lower())
    return joined(folded(name, block(_found(text, search)), opened=opened), _found_below(message, search))


def _found(text: str, search: str) -> Html:
    """The text with every place marked where the search was found."""
    if not search:
        return verbatim(text)
    parts = re.split(f"({re.escape(search)})", text, flags=re.IGNORECASE)
    marked = (element("mark", verbatim(p), style=_FOUND) if i % 2 else verbatim(p) for i, p in enumerate(parts))
    return joined(*marked)


def _found_below(message: Message, search: str) -> Html | None:
    """Say where the search was found if that is in the part of a long body that is not shown."""
    if not search or message.body is None or search.lower() in str(message).lower():
        return None
    text = message.body if isinstance(message.body, str) else json_text(message.body)
    found = [escape(line.strip()) for line in text.splitlines() if search.lower() in line.lower()]
    if not found:
        return None
    return joined(paragraph("Found further down in the body:", quiet=True), block(_found("\n".join(found[:3]), search)))


def diff_html(difference: TraceDiff) -> Html:
    """Two exchanges aligned, what differs first, what does not folded away."""
    differing = difference.differences
    same = [line for line in difference.lines if line.change == "same"]
    head = ("", "", f"Exchange {difference.left}", f"Exchange {difference.right}")
    widths = ("15%", "25%", "30%", "30%")
    rows = [_diff_row(line) for line in differing[:_MOST_LINES]]
    left_out = len(differing) - len(rows)
    quiet = [(line.part, line.name, code(safe(line.left, 300))) for line in same[:_MOST_LINES]]
    return joined(
        heading(difference.summary),
        table(head, rows, widths=widths) if rows else paragraph("They are the same."),
        paragraph(f"{left_out} more lines differ; `.differences` has them all.", quiet=True) if left_out else None,
        folded(f"{len(same)} the same in both", table((), quiet, widths=("22%", "28%", "50%"))) if same else None,
    )


def _diff_row(line: Line) -> tuple[object, ...]:
    name = joined(element("div", line.part), element("b", line.name))
    left, right = (code(safe(value, 300)) if value is not None else "" for value in (line.left, line.right))
    return pill(f"{SIGNS[line.change]} {line.change}", _PAINT[line.change]), name, left, right


def _picture(model: TraceModel) -> Html:
    # As an image: a viewer that does not trust the notebook would drop the drawing and keep its words.
    svg = to_svg(model.diagram.messages, lit=model.chosen or None)
    data = base64.b64encode(svg.encode()).decode("ascii")
    alt = f"Sequence diagram of {len(model.diagram.messages)} messages"
    return Html(f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}" style="max-width:{WIDTH};color:{INK}">')
