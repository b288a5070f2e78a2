"""What a check says, and the decorator that keeps a wrong answer from ending the notebook."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..redaction import scrub

_MOST_LINES = 3


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


Check = TypeVar("Check", bound=Callable[..., Any])


def checked(check: Check) -> Check:
    """Decorate a check, sync or async: an answer that makes it stumble is "not yet", never an error.

    The same goes for an answer that is still `...`.
    """

    @functools.wraps(check)
    def wrapper(answer: Any, *others: Any) -> Any:
        if inspect.iscoroutinefunction(check):
            return _awaited(check, answer, others)
        if answer is ...:
            return _UNANSWERED
        try:
            return check(answer, *others)
        except Exception as error:  # noqa: BLE001 - the answer may be anything, and its failure is the news
            return _stumbled(error)

    return cast(Check, wrapper)


async def _awaited(check: Callable[..., Any], answer: Any, others: tuple[Any, ...]) -> Verdict:
    if answer is ...:
        return _UNANSWERED
    try:
        return cast(Verdict, await check(answer, *others))
    except Exception as error:  # noqa: BLE001 - as above
        return _stumbled(error)


def _stumbled(error: Exception) -> Verdict:
    # The SDK wraps what a sampling callback raises in a group, which says nothing to the learner.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    # The news and the hint; pydantic goes on for pages.
    text = "\n".join(str(error).splitlines()[:_MOST_LINES])
    return not_yet(f"your answer raised {type(error).__name__}: {scrub(text)}")


_UNANSWERED = not_yet("replace the three dots by your answer, then run the cell again.")
