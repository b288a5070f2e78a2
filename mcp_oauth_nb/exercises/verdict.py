"""What a check says, and the decorator that keeps a wrong answer from ending the notebook."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..redaction import scrub


@dataclass(frozen=True, repr=False)
class Verdict:
    """Right or not yet, and why."""

    right: bool
    text: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.text}"

    def _repr_html_(self) -> str:
        sign = "✔" if self.right else "…"
        return f"<p>{sign} <b>{'Right' if self.right else 'Not yet'}:</b> {html.escape(self.text)}</p>"


def right(text: str) -> Verdict:
    """Make the verdict on a right answer; the text says what it shows."""
    return Verdict(True, text)


def not_yet(text: str) -> Verdict:
    """Make the verdict on an answer that is not right; the text says what is missing, without giving it away."""
    return Verdict(False, text)


def checked(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Decorate a check: an answer that is still `...` or makes the check stumble is "not yet", never an error."""

    @functools.wraps(check)
    def wrapper(answer: Any, *others: Any) -> Verdict:
        if answer is ...:
            return not_yet("replace the three dots by your answer, then run the cell again.")
        try:
            return check(answer, *others)
        except Exception as error:  # noqa: BLE001 - the answer may be anything, and its failure is the news
            return not_yet(f"your answer raised {type(error).__name__}: {scrub(str(error))}")

    return wrapper
