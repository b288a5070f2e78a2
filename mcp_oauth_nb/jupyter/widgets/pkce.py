"""PKCE to play with: edit the verifier and watch the challenge, flip a character, try `plain`.

    play = PkcePlayground()
    play                                      # fields and buttons
    play.model.flip(); play.model.accepted    # the same by a line of code

The verifier here is a toy made for the panel. That of a real flow is never shown by this package.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from ...oauth.check import Check
from ...oauth.pkce import METHOD
from .panel import (
    WIDE,
    Html,
    Panel,
    badge,
    code,
    column,
    element,
    heading,
    joined,
    paragraph,
    pill,
    row,
    status,
    table,
    verbatim,
)
from .pkce_model import PkceModel

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_TOY = "A toy, made for this panel: no flow uses it. A real verifier is a secret; do not paste one here."
_WIDTHS = ("24%", "76%")
_CHANGED = "font-weight:700;text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:3px"


class PkcePlayground(Panel):
    """The verifier in a field, each step to the challenge below it, and what the server says.

    Args:
        seed: decides the toys; the same seed gives the same ones.
        octets: 32 bytes to make the first toy from, instead.

    Attributes:
        model: the `PkceModel` that is shown.
        field: the verifier.
        method: S256, or plain.
        flip: changes one character, the one at `position`.
        position: which one, from 1.
        restore: takes all edits back.
        start: sends the challenge of the verifier as it is now.
        generate: starts with another toy.
        example: starts with the verifier of RFC 7636 appendix B.
    """

    model: PkceModel
    by_code = "panel.model.flip(); panel.model.accepted"

    def __init__(self, seed: int = 7, octets: bytes | None = None):
        self.model = PkceModel(seed, octets)
        self.field = ipywidgets.Text(description="Verifier (toy)", style={"description_width": "110px"}, layout=WIDE)
        self.method = ipywidgets.ToggleButtons(
            options=[METHOD, "plain"],
            tooltips=["Method S256: the challenge is the SHA-256 of the verifier", "Method plain: it is the verifier"],
            style={"button_width": "90px"},
            layout={"margin": "0 0 0 116px"},
        )
        self.position = ipywidgets.BoundedIntText(
            value=1,
            min=1,
            max=43,
            description="Character no.",
            style={"description_width": "110px"},
            layout={"width": "180px"},
        )
        self.flip = _button("Flip it", "Replace this character of the verifier by another", primary=True)
        self.restore = _button("Undo edits", "Take back all edits since the start")
        self.start = _button("Start with this", "Send the challenge of this verifier to the server")
        self.generate = _button("New toy", "Start with another toy verifier")
        self.example = _button("RFC example", "Start with the verifier of RFC 7636 appendix B")
        self._steps, self._verdict = ipywidgets.HTML(), ipywidgets.HTML()
        self.widget = column(
            self.field,
            self.method,
            row(self.position, self.flip, self.restore),
            row(self.start, self.generate, self.example),
            self._steps,
            self._verdict,
        )
        self._connect()
        self._render()

    def _connect(self) -> None:
        self.field.observe(self._edited, "value")
        self.method.observe(lambda change: self.model.set_trait("method", change["new"]), "value")
        self.flip.on_click(lambda _: self.model.flip(self.position.value - 1))
        self.restore.on_click(lambda _: self.model.restore())
        self.start.on_click(lambda _: self.model.start())
        self.generate.on_click(lambda _: self.model.generate())
        self.example.on_click(lambda _: self.model.load_appendix_b())
        self.model.observe(self._render)

    def _edited(self, change: dict[str, Any]) -> None:
        if change["new"] != self.model.verifier:
            self.model.verifier = change["new"]
            # What the model did not take must not stay in a field that is saved.
            self.field.value = self.model.verifier

    def _render(self, _: Any = None) -> None:
        model = self.model
        self.field.value, self.method.value = model.verifier, model.method
        self.position.max = max(1, len(model.verifier))
        self.flip.disabled = not model.verifier
        self.restore.disabled = self.start.disabled = model.verifier == model.sent
        self._steps.value, self._verdict.value = _steps(model), _verdict(model)

    def _summary(self) -> str:
        return self.model.summary

    def _static_html(self) -> Html:
        shown = table(
            (), [("Verifier", code(verbatim(self.model.verifier))), ("Method", self.model.method)], widths=_WIDTHS
        )
        return joined(heading("PKCE playground"), shown, _steps(self.model), _verdict(self.model))


def _button(text: str, tooltip: str, *, primary: bool = False) -> Any:
    return ipywidgets.Button(description=text, tooltip=tooltip, button_style="primary" if primary else "")


def _steps(model: PkceModel) -> Html:
    """The way from the verifier to the challenge, and the challenge that it is compared with."""
    rows: list[tuple[object, object]] = []
    if model.method == METHOD and model.digest:
        rows += [
            ("SHA-256", code(model.digest)),
            ("Base64", code(verbatim(model.base64))),
            ("+ → -   / → _   no =", joined(_marked(model), " ", pill("challenge"))),
        ]
    elif model.challenge:
        rows += [("nothing is done to it", joined(_marked(model), " ", pill("challenge")))]
    rows += [("the server keeps", code(verbatim(model.sent_challenge)))]
    return joined(paragraph(_TOY, quiet=True), table((), rows, widths=_WIDTHS))


def _marked(model: PkceModel) -> Html:
    """The challenge with the characters underlined that differ from the one that was sent."""
    changed = set(model.changed)
    runs = groupby(enumerate(model.challenge), key=lambda item: item[0] in changed)
    texts = ((marked, verbatim("".join(c for _, c in run))) for marked, run in runs)
    return code(joined(*(element("b", text, style=_CHANGED) if marked else text for marked, text in texts)))


def _verdict(model: PkceModel) -> Html:
    edits = sum(a != b for a, b in zip(model.verifier, model.sent, strict=False))
    edits += abs(len(model.verifier) - len(model.sent))
    lines = [status(model.notice, sign="✘", alert=True)] if model.notice else []
    if edits and model.challenge:
        of = f"{len(model.changed)} of {len(model.challenge)}"
        told = f"{edits} changed in the verifier, and {of} in the challenge: those that are underlined."
        lines.append(paragraph(told))
    lines.append(table((), [_row(check) for check in model.checks], widths=("15%", "24%", "61%")))
    if model.error is not None:
        error = model.error
        lines.append(paragraph(code(f"{type(error).__name__}: {error.message}")))
    return joined(*lines)


def _row(check: Check) -> tuple[object, object, object]:
    should = f" It should be: {check.should}." if check.should else ""
    return badge(check.outcome), check.name, f"{check.message}.{should} ({check.reference})"
