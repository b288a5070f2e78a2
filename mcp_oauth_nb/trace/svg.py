"""A sequence diagram as SVG, for light and dark pages. `diagram.to_svg` is the way in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .layout import Layout, cells, label_of, lay_out, name_of, printable, shorten, title_of
from .messages import BROWSER, CLIENT, GITHUB, SERVER, Message

# Pixels: a column of the layout, the margin around the drawing, a row of label and arrow, the space between exchanges.
_COLUMN, _MARGIN, _ROW, _PAUSE = 7.8, 22, 40, 12
# The height of the loop of a message to oneself.
_LOOP = 18
_HEADER = 40
# Above this many messages the participants are named at the bottom again.
_LONG = 12

_SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

# Each has a contrast of at least 4.5 with the white of its text, so they serve on light and dark cards.
_ACTORS = {BROWSER: "#8250df", CLIENT: "#0969da", SERVER: "#1a7f37", GITHUB: "#57606a"}
_OTHERS = "#b35900"

_LIGHT = {"card": "#ffffff", "edge": "#d1d9e0", "ink": "#1f2328", "quiet": "#59636e", "bad": "#cf222e"}
_DARK = {"card": "#161b22", "edge": "#3d444d", "ink": "#e6edf3", "quiet": "#9da7b3", "bad": "#ff7b72"}

# Light enough on both cards for every text to keep its contrast.
_LIT = 'fill="#54aeff" fill-opacity="0.15"'
_UNLIT = 'fill="none"'


def _style() -> str:
    light, dark = (";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in (_LIGHT, _DARK))
    rules = [
        f".mcp-diagram{{{light}}}",
        f"@media(prefers-color-scheme:dark){{.mcp-diagram{{{dark}}}}}",
        # Notebook front ends have a theme of their own, whatever the system's is.
        f'[data-jp-theme-light="true"] .mcp-diagram,.vscode-light .mcp-diagram{{{light}}}',
        f'[data-jp-theme-light="false"] .mcp-diagram,.vscode-dark .mcp-diagram{{{dark}}}',
    ]
    for name in _LIGHT:
        rules.append(f".mcp-diagram .f-{name}{{fill:var(--{name})}}.mcp-diagram .s-{name}{{stroke:var(--{name})}}")
    return "".join(rules)


# The reader's theme. Where styles are stripped, the attributes still draw the light one.
_STYLE = _style()


def to_svg(messages: Sequence[Message], *, lit: int | None = None, choosable: bool = False) -> str:
    """Draw a self-contained SVG element, without ids, so that any number of them share a page.

    Args:
        messages: the arrows.
        lit: the exchange whose arrows are marked: by a band, and by a sign at the margin.
        choosable: say on each arrow which exchange it belongs to, in `data-exchange`, for a widget to react to.
    """
    if not messages:
        return _frame(260, 60, "Sequence diagram: no messages", "", [_text(130, 35, "(no messages)", "quiet")])
    layout = lay_out(messages)
    rows = _rows(messages)
    end = rows[-1] + (_LOOP if messages[-1].sender == messages[-1].receiver else 0) + 2 * _PAUSE
    foot = len(messages) > _LONG
    height = end + (_HEADER if foot else 0) + _MARGIN / 2
    parts = [_lifeline(name, column, end) for name, column in layout.lanes.items()]
    for top in [_MARGIN / 2, end] if foot else [_MARGIN / 2]:
        parts += [_header(name, column, top) for name, column in layout.lanes.items()]
    for message, y in zip(messages, rows, strict=True):
        group = _message(layout, message, y)
        if choosable or message.exchange == lit:
            group = _marked(layout, message, y, group, lit=message.exchange == lit, choosable=choosable)
        parts.append(group)
    names = [printable(name) for name in layout.lanes]
    title = f"Sequence diagram: {len(messages)} messages between {', '.join(names)}"
    # An image has no parts that could be chosen; a group has.
    role = "group" if choosable else "img"
    return _frame(_x(layout.width) + _MARGIN, height, title, _description(messages), parts, role=role)


def _description(messages: Sequence[Message]) -> str:
    return "; ".join(f"{printable(m.sender)} to {printable(m.receiver)}: {label_of(m)}" for m in messages)


def _frame(
    width: float, height: float, title: str, description: str, parts: Sequence[str], *, role: str = "img"
) -> str:
    desc = f"<desc>{escape(description)}</desc>" if description else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mcp-diagram" role="{role}" aria-label="{escape(title)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width:100%;height:auto"><title>{escape(title)}</title>{desc}<style>{_STYLE}</style>'
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10" '
        f"{_paint(fill='card', stroke='edge')}/>" + "\n".join(["", *parts, "</svg>"])
    )


def _rows(messages: Sequence[Message]) -> list[float]:
    """Return the height of each arrow. Request and answer stay together."""
    rows, y = [], _MARGIN / 2 + _HEADER - _PAUSE
    for message in messages:
        y += _ROW + (_PAUSE if message.kind in ("request", "notification") else 0)
        rows.append(y)
        y += _LOOP if message.sender == message.receiver else 0
    return rows


def _lifeline(name: str, column: int, end: float) -> str:
    x, top = _x(column), _MARGIN / 2 + 20
    return (
        f'<line x1="{x:.9g}" y1="{top:.9g}" x2="{x:.9g}" y2="{end:.9g}" stroke="{_actor(name)}" stroke-width="1.5" '
        'stroke-opacity="0.45"/>'
    )


def _header(name: str, column: int, top: float) -> str:
    shown = name_of(name)
    width = (cells(shown) + 3) * _COLUMN
    return (
        f'<rect x="{_x(column) - width / 2:.1f}" y="{top:.9g}" width="{width:.1f}" height="30" rx="8" '
        f'fill="{_actor(name)}"/><text x="{_x(column):.9g}" y="{top + 20:.9g}" font-family="{_SANS}" font-size="13" '
        f'font-weight="600" text-anchor="middle" fill="#ffffff">{escape(shown)}</text>'
    )


def _message(layout: Layout, message: Message, y: float) -> str:
    left, right = layout.span(message)
    title, colour = title_of(message), _colour(message)
    shown = shorten(title, right - left - 3)
    # The whole title as a tooltip, where the front end allows one.
    tip = f"<title>{escape(title)}</title>" if shown != title else ""
    text = _text(_x(left) + 2 * _COLUMN, y - 12, shown, colour, anchor="start")
    return f"<g>{tip}{text}{_arrow(layout, message, y, colour)}{_number(layout, message, y)}</g>"


def _marked(layout: Layout, message: Message, y: float, group: str, *, lit: bool, choosable: bool) -> str:
    """Put a band behind an arrow: visible if the arrow is lit, and clickable if it can be chosen."""
    width = _x(layout.width) + _MARGIN - 4
    height = _ROW + (_LOOP if message.sender == message.receiver else 0)
    band = (
        f'<rect x="2" y="{y - 27:.9g}" width="{width - 0.4:.9g}" height="{height}" '
        f'{_LIT if lit else _UNLIT} pointer-events="all"/>'
    )
    sign = f'<path d="M6 {y - 6:.9g}l9 6-9 6Z" {_paint(fill="ink")}/>' if lit else ""
    name = f"{printable(message.sender)} to {printable(message.receiver)}: {label_of(message)}"
    data = f' data-exchange="{message.exchange}" aria-label="{escape(name)}"' if choosable else ""
    current = ' aria-current="true"' if lit else ""
    return f"<g{data}{current}>{band}{sign}{group.removeprefix('<g>')}"


def _arrow(layout: Layout, message: Message, y: float, colour: str) -> str:
    start, end = _x(layout.lanes[message.sender]), _x(layout.lanes[message.receiver])
    dashes = ' stroke-dasharray="5 4"' if message.kind == "notification" else ""
    pen = f'{_paint(stroke=colour)} stroke-width="1.5"'
    if start == end:
        step, path, y = -1, f"M{start:.9g} {y:.9g}h36q6 0 6 6v{_LOOP - 12}q0 6-6 6h-34", y + _LOOP
    else:
        step = 1 if end > start else -1
        path = f"M{start:.9g} {y:.9g}H{end - 2 * step:.9g}"
    line = f'<path d="{path}" {pen}{dashes}/>'
    if message.kind == "notification":
        back = end - 9 * step
        return f'{line}<path d="M{back:.9g} {y - 5:.9g}L{end - step:.9g} {y:.9g}L{back:.9g} {y + 5:.9g}" {pen}/>'
    head = f'<path d="M{end - step:.9g} {y:.9g}L{end - 10 * step:.9g} {y - 5:.9g}V{y + 5:.9g}Z" {_paint(fill=colour)}/>'
    if message.kind == "error":
        x = end - 20 * step
        head += f'<path d="M{x - 5:.9g} {y - 5:.9g}l10 10m0-10l-10 10" {_paint(stroke=colour)} stroke-width="2"/>'
    return line + head


def _number(layout: Layout, message: Message, y: float) -> str:
    digits = str(message.number)
    width = max(18.0, 8 + 6.5 * len(digits))
    x = _x(layout.lanes[message.sender])
    return (
        f'<rect x="{x - width / 2:.9g}" y="{y - 9:.9g}" width="{width:.9g}" height="18" rx="9" '
        f'fill="{_actor(message.sender)}" class="s-card" stroke="{_LIGHT["card"]}" stroke-width="2"/>'
        f'<text x="{x:.9g}" y="{y + 3.8:.9g}" font-family="{_SANS}" font-size="10.5" font-weight="600" '
        f'text-anchor="middle" fill="#ffffff">{digits}</text>'
    )


def _text(x: float, y: float, text: str, colour: str, *, anchor: str = "middle") -> str:
    # A rim in the colour of the card keeps the text readable where it crosses a lifeline.
    return (
        f'<text x="{x:.9g}" y="{y:.9g}" font-family="{_MONO}" font-size="12" text-anchor="{anchor}" '
        f'{_paint(fill=colour, stroke="card")} stroke-width="5" stroke-linejoin="round" paint-order="stroke">'
        f"{escape(text)}</text>"
    )


def _colour(message: Message) -> str:
    return {"request": "ink", "response": "quiet", "error": "bad", "notification": "quiet"}[message.kind]


def _actor(name: str) -> str:
    return _ACTORS.get(name, _OTHERS)


def _x(column: float) -> float:
    return round(_MARGIN + column * _COLUMN, 1)


def _paint(*, fill: str | None = None, stroke: str | None = None) -> str:
    """Colour by class, for the theme, and by attribute, for a page that drops the style."""
    classes = [f"f-{fill}"] * (fill is not None) + [f"s-{stroke}"] * (stroke is not None)
    attributes = f' fill="{_LIGHT[fill] if fill else "none"}"' + (f' stroke="{_LIGHT[stroke]}"' if stroke else "")
    return f'class="{" ".join(classes)}"{attributes}'
