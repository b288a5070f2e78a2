"""PKCE to play with: edit the verifier and watch the challenge, flip a character, try `plain`.

    play = PkcePlayground()
    play                                      # fields and buttons
    play.model.flip(); play.model.accepted    # the same by a line of code

The verifier here is a toy made for the panel. That of a real flow is never shown by this package.
"""

from __future__ import annotations

import base64
import hashlib
import random
import string
from itertools import groupby
from typing import TYPE_CHECKING, Any

from traitlets import Enum, HasTraits, Unicode, validate

from ...oauth.check import Check
from ...oauth.errors import InvalidCodeVerifier
from ...oauth.masking import scrub
from ...oauth.pkce import METHOD, challenge_for, check_verifier, random_token, verify
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

if TYPE_CHECKING:
    ipywidgets: Any
else:
    import ipywidgets


#: RFC 7636 appendix B: a public verifier.
APPENDIX_B = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#: RFC 7636 section 4.1, in the order in which `flip` goes through them.
UNRESERVED = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-._~"

_SECTION = "RFC 7636 section 4.1"
_NOT_A_TOY = "That is the verifier of a real flow, which is never shown. Play with the toy."


class PkceModel(HasTraits):
    """One flow in miniature: a challenge was sent when it started, and now a verifier is presented for it.

    The verifier is a toy. It may be shown, because no flow uses it; one that this package knows from a real flow is
    not taken.

    Args:
        seed: decides the toys; the same seed gives the same ones.
        octets: 32 bytes to make the first toy from, instead.

    Attributes:
        verifier: what is presented at the token endpoint. Assign to it to edit it.
        method: `S256`, or `plain` to see why not.
        sent: the verifier that the flow was started with; its challenge is what the server keeps.
        notice: why the last edit was not taken; empty otherwise.
    """

    verifier = Unicode()
    method = Enum([METHOD, "plain"], default_value=METHOD)
    sent = Unicode()
    notice = Unicode()

    def __init__(self, seed: int = 7, octets: bytes | None = None):
        super().__init__()
        # A stream of its own: a lab with the same seed draws other values.
        self._random = random.Random(f"{seed} playground")
        self._toys = {APPENDIX_B}
        first = (lambda _: octets) if octets is not None else self._random.randbytes
        self._begin(random_token(first))

    # -- what can be done ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the flow anew with the verifier as it is now: its challenge is sent to the server."""
        self.sent = self.verifier

    def generate(self) -> str:
        """Start with a fresh toy of 32 bytes from the seed, and return it."""
        return self._begin(random_token(self._random.randbytes))

    def load_appendix_b(self) -> None:
        """Start with the example of RFC 7636 appendix B."""
        self._begin(APPENDIX_B)

    def restore(self) -> None:
        """Take back all edits since the start."""
        self.verifier = self.sent

    def flip(self, position: int = 0) -> str:
        """Replace one character by the next one of the alphabet, and return the new verifier.

        Args:
            position: counts from 0; negative ones count from the end.

        Raises:
            IndexError: the verifier has no such position.
        """
        old = self.verifier[position]
        new = UNRESERVED[(UNRESERVED.find(old) + 1) % len(UNRESERVED)]
        position %= len(self.verifier)
        self.verifier = self.verifier[:position] + new + self.verifier[position + 1 :]
        return self.verifier

    def _begin(self, toy: str) -> str:
        self._toys.add(toy)
        with self.hold_trait_notifications():
            self.verifier = self.sent = toy
            self.method = METHOD
        return toy

    @validate("verifier")
    def _only_toys(self, proposal: Any) -> str:
        text: str = proposal["value"]
        # A real one that is pasted by mistake must not be saved in the notebook.
        real = scrub(text) != text and not any(toy in text for toy in self._toys)
        self.notice = _NOT_A_TOY if real else ""
        return self.verifier if real else text

    # -- what comes of it ------------------------------------------------------------------------------------------

    @property
    def error(self) -> InvalidCodeVerifier | None:
        """What `check_verifier` raises for a verifier of this kind; None if RFC 7636 section 4.1 allows it."""
        if not self.strangers and 43 <= len(self.verifier) <= 128:
            return None
        try:
            # The length is all that the error tells. The toy itself must not be remembered, and masked, as a secret.
            check_verifier(" " * len(self.verifier))
        except InvalidCodeVerifier as error:
            return error
        return None  # pragma: no cover

    @property
    def strangers(self) -> str:
        """The characters that a verifier cannot have, each once."""
        return "".join(dict.fromkeys(c for c in self.verifier if c not in UNRESERVED))

    @property
    def digest(self) -> str:
        """SHA-256 of the verifier in hexadecimal; empty if it is not ASCII."""
        return hashlib.sha256(self.verifier.encode()).hexdigest() if self.verifier.isascii() else ""

    @property
    def base64(self) -> str:
        """The digest in plain Base64, before it is made fit for URLs."""
        return base64.b64encode(bytes.fromhex(self.digest)).decode()

    @property
    def challenge(self) -> str:
        """The challenge that the verifier has by the chosen method; empty where it has none."""
        return _challenge(self.verifier, self.method)

    @property
    def sent_challenge(self) -> str:
        """The challenge that the flow was started with, by the chosen method."""
        return _challenge(self.sent, self.method)

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which the two challenges differ."""
        here, there = self.challenge, self.sent_challenge
        shorter = min(len(here), len(there))
        return (*(i for i in range(shorter) if here[i] != there[i]), *range(shorter, len(here)))

    @property
    def accepted(self) -> bool:
        """What `verify(verifier, sent_challenge, method)` says."""
        return self.verifier.isascii() and verify(self.verifier, self.sent_challenge, self.method)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The rules one by one."""
        return (self._check_length(), self._check_characters(), self._check_method(), self._check_fit())

    def _check_length(self) -> Check:
        length = len(self.verifier)
        if 43 <= length <= 128:
            return Check("length", "passed", f"{length} characters", reference=_SECTION)
        return Check("length", "failed", f"{length} characters", "43 to 128 characters", _SECTION)

    def _check_characters(self) -> Check:
        name, should = "characters", "A-Z a-z 0-9 - . _ ~ only"
        if not self.strangers:
            return Check(name, "passed", should, reference=_SECTION)
        return Check(name, "failed", f"Not allowed: {' '.join(map(ascii, self.strangers))}", should, _SECTION)

    def _check_method(self) -> Check:
        reference = "RFC 9700 section 2.1.1; RFC 7636 section 7.2"
        if self.method == METHOD:
            return Check("method", "passed", METHOD, reference=reference)
        seen = "plain is refused: the challenge is the verifier, so whoever sees the authorization URL has both"
        return Check("method", "failed", seen, METHOD, reference)

    def _check_fit(self) -> Check:
        name, reference = "fits the challenge", "RFC 7636 section 4.6"
        if self.accepted:
            return Check(name, "passed", "verify() is True: the server hands out the token", reference=reference)
        if self.method != METHOD or self.error is not None:
            return Check(
                name, "failed", "verify() is False, whatever the challenge is", "a valid verifier, and S256", reference
            )
        return Check(
            name,
            "failed",
            "verify() is False: the server answers invalid_grant",
            "the verifier of the start",
            reference,
        )

    def __repr__(self) -> str:
        return f"PkceModel({self.summary})"

    @property
    def summary(self) -> str:
        """One line, without the verifier."""
        verdict = "accepted" if self.accepted else "refused"
        return f"{len(self.verifier)} characters, {self.method}, {verdict}"


def _challenge(verifier: str, method: str) -> str:
    if not verifier.isascii():
        return ""
    return challenge_for(verifier) if method == METHOD else verifier


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
            # A value that the model refused must not stay in the field, which is saved in the notebook.
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
