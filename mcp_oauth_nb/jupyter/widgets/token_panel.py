"""A token as it is now: masked, with its scopes, its lifetimes by the clock, its family, and what can be done to it.

panel = TokenPanel(lab.oauth, trace=lab.trace)
panel                                     # bars, buttons, the family
await panel.model.refresh()               # the same by a line of code
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from ...client.handler import OAuthHandler
from ...oauth.clock import Clock, iso
from ...oauth.text import json_text
from ...runtime.loops import running_loop
from ...trace.recorder import Trace
from ...trace.token_family import Generation
from .panel import (
    ACCENT,
    COLOURS,
    QUIET,
    SURFACE,
    Html,
    Panel,
    block,
    card,
    code,
    column,
    element,
    folded,
    heading,
    joined,
    paragraph,
    pill,
    row,
    status,
    table,
)
from .token_model import Lifetime, TokenModel

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_SIGNS = {"valid": "✔", "expires soon": "!", "expired": "✘", "no lifetime": "–", "none": "–"}
_PAINT = {
    "valid": COLOURS["passed"],
    "expires soon": COLOURS["warning"],
    "expired": COLOURS["failed"],
    "no lifetime": COLOURS["not applicable"],
    "none": COLOURS["not applicable"],
}
_MOST_GENERATIONS = 12
_DEEPEST = 5


class TokenPanel(Panel):
    """The token of a handler, and buttons to refresh and to revoke it.

    The bars follow the clock, a lab's or the system's: a timer on the event loop that shows the panel looks once in a
    while, until the panel's widget is closed. There is no thread, and outside an event loop no timer.

    Args:
        oauth: keeps the token.
        clock: the handler's if not given.
        asked: the scopes that were asked for; see `TokenModel`.
        trace: where the handler's requests are recorded; see `TokenModel`.
        period: seconds between two looks.

    Attributes:
        model: the `TokenModel` that is shown.
        refresh: the button that refreshes.
        revoke: the button that revokes.
        cancel: stops waiting for one of these.
        advance: buttons that move a lab's clock, by their minutes.
    """

    model: TokenModel
    by_code = "await panel.model.refresh()"

    def __init__(
        self,
        oauth: OAuthHandler,
        clock: Clock | None = None,
        *,
        asked: tuple[str, ...] | None = None,
        trace: Trace | None = None,
        period: float = 1.0,
    ):
        self.model = TokenModel(oauth, clock, asked=asked, trace=trace)
        self.refresh = _button("Refresh", "Exchange the refresh token for a new token", primary=True)
        self.revoke = _button("Revoke", "End the token at the provider, and forget it")
        self.cancel = _button("Cancel", "Stop waiting for the provider")
        labels = {10: "10 min", 60: "1 h", 480: "8 h"}
        self.advance = {
            minutes: _button(f"+ {label}", f"Advance the lab's clock by {label}", width="92px")
            for minutes, label in labels.items()
        }
        self._body, self._status, self._more = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self._clock_row = row(ipywidgets.HTML("Lab clock&nbsp;"), *self.advance.values())
        self._clock_row.layout.display = None if self.model.can_advance else "none"
        buttons = row(self.refresh, self.revoke, self.cancel)
        self.widget = column(self._body, buttons, self._clock_row, self._status, self._more)
        self._period = period
        self._timer: asyncio.TimerHandle | None = None
        self._connect()
        self._render()

    def _connect(self) -> None:
        model = self.model
        self.refresh.on_click(lambda _: model.start(model.refresh()))
        self.revoke.on_click(lambda _: model.start(model.revoke()))
        self.cancel.on_click(lambda _: model.cancel())
        for minutes, button in self.advance.items():
            button.on_click(lambda _, minutes=minutes: model.advance(minutes=minutes))
        model.observe(self._render)

    def close(self) -> None:
        """Stop following the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def follow(self) -> None:
        """Follow the clock from now on, on the running event loop. Displaying the panel does this."""
        loop = running_loop()
        if loop is not None and self._timer is None:
            self._timer = loop.call_later(self._period, _tick, weakref.ref(self))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self.model.look()
        self.follow()
        return super()._repr_mimebundle_(**options)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _render(self, _: Any = None) -> None:
        model = self.model
        self._body.value, self._status.value, self._more.value = _body(model), _status(model), _more(model)
        self.refresh.disabled = bool(model.busy) or not model.refresh_token
        self.revoke.disabled = bool(model.busy) or model.token is None
        self.cancel.disabled = not model.busy

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        return joined(_body(self.model), _status(self.model), _more(self.model))


def _tick(reference: weakref.ref[TokenPanel]) -> None:
    panel = reference()
    if panel is None or panel._timer is None:
        return
    panel._timer = None
    # A widget that was closed is shown nowhere any more.
    if panel.widget.comm is not None:
        panel.model.look()
        panel.follow()


def _button(text: str, tooltip: str, *, primary: bool = False, width: str = "110px") -> Any:
    style = "primary" if primary else ""
    return ipywidgets.Button(description=text, tooltip=tooltip, button_style=style, layout={"width": width})


# -- HTML ------------------------------------------------------------------------------------------------------


def _body(model: TokenModel) -> Html:
    access, refresh = model.lifetimes
    rows = [_token_row(access, model.access_token), _token_row(refresh, model.refresh_token)]
    # The system's time is not shown: it would change with every look.
    told = f"clock: {iso(model.now)}" if model.can_advance else ""
    clock = element("span", told, style=f"font-weight:400;color:{QUIET};font-size:12px")
    return joined(heading(joined("Token ", clock)), table((), rows, widths=("18%", "28%", "54%")), _scopes(model))


def _token_row(lifetime: Lifetime, masked: str) -> tuple[object, object, object]:
    label = pill(f"{_SIGNS[lifetime.state]} {lifetime.state}", _PAINT[lifetime.state])
    return lifetime.name, joined(code(masked), " ", label) if masked else label, _bar(lifetime) if masked else ""


def _bar(lifetime: Lifetime) -> Html:
    if lifetime.left is None:
        return element("span", lifetime.text, style=f"color:{QUIET}")
    percent = round(100 * lifetime.fraction)
    colour = ACCENT if lifetime.state == "valid" else _PAINT[lifetime.state]
    filled = element("div", style=f"width:{percent}%;height:8px;border-radius:4px;background:{colour}")
    trough = element(
        "div",
        filled,
        style=f"background:{SURFACE};border-radius:4px;margin:6px 0 2px",
        role="meter",
        aria_label=f"Lifetime of the {lifetime.name.lower()}",
        aria_valuemin="0",
        aria_valuemax="100",
        aria_valuenow=str(percent),
        aria_valuetext=lifetime.text,
    )
    return joined(trough, element("div", lifetime.text, style="font-size:12px"))


def _scopes(model: TokenModel) -> Html:
    if model.token is None:
        return paragraph("Asked for: ", code(" ".join(model.asked)), ". There is no token yet.", quiet=True)
    rows = [
        (
            code(line.scope),
            "✔ yes" if line.asked else "– no",
            "✔ yes" if line.granted else "– no",
            pill(line.difference, COLOURS["warning"]) if line.difference else "",
        )
        for line in model.scopes
    ]
    return table(("Scope", "Asked", "Granted", ""), rows, widths=("34%", "18%", "18%", "30%"))


def _status(model: TokenModel) -> Html:
    if model.busy:
        return status(f"{model.busy} …", sign="…")
    if not model.outcome:
        return Html("")
    sign, alert = {"done": ("✔", False), "failed": ("✘", True), "cancelled": ("–", False)}[model.outcome]
    error = joined(element("b", model.error), ": ") if model.error else None
    hint = paragraph("What to do: ", model.hint) if model.hint else None
    return card(
        status(error, model.message, sign=sign, alert=alert),
        hint,
        colour=COLOURS["failed"] if alert else COLOURS["passed" if model.outcome == "done" else "not applicable"],
    )


def _more(model: TokenModel) -> Html:
    return joined(_family(model), _jwt(model))


def _family(model: TokenModel) -> Html | None:
    tree = list(model.family.tree())
    if not tree:
        return None
    rows = []
    for depth, generation in tree[-_MOST_GENERATIONS:]:
        branch = "└─ " if depth else ""
        indent = f"padding-left:{18 * min(max(depth - 1, 0), _DEEPEST)}px"
        name = element("span", f"{branch}generation {generation.number}", style=indent)
        label = _generation_label(generation, model)
        told = "; ".join([generation.end or f"from: {generation.born}", *generation.notes])
        masks = (element("div", code(value)) for value in (generation.access_token, generation.refresh_token) if value)
        rows.append((name, joined(*masks), joined(label, " ", told)))
    older = len(tree) - len(rows)
    return joined(
        heading("Rotation family"),
        paragraph(f"{older} older ones are not shown.", quiet=True) if older else None,
        table(("", "Access and refresh token", ""), rows, widths=("30%", "26%", "44%")),
    )


def _generation_label(generation: Generation, model: TokenModel) -> Html:
    if generation.end:
        return pill("✘ dead", COLOURS["failed"])
    if generation.access_token == model.access_token:
        return pill("✔ in use", COLOURS["passed"])
    # It is not used any more, and nothing ended it: it works until it expires.
    return pill("! left over", COLOURS["warning"])


def _jwt(model: TokenModel) -> Html | None:
    view = model.jwt
    if view is None:
        return None
    times = [(code(name), at) for name, at in view.times.items()]
    return folded(
        "The access token is a JWT: what it says (read, not verified)",
        paragraph("Only the server that it is for checks the signature, which is not shown.", quiet=True),
        heading("Header"),
        block(json_text(dict(view.header), 80)),
        heading("Claims"),
        block(json_text(dict(view.claims), 80)),
        table((), times, widths=("18%", "82%")) if times else None,
    )
