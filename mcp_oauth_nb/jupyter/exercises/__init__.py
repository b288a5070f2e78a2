"""Checks for the notebooks' exercises: each looks at an answer and says what is still missing.

    answer = ...                       # the learner's
    nb03.check_challenge(answer)       # "Not yet: ..." until it is right; it never raises

The checks of a subject stand together. A notebook finds its own by its number, such as `nb03`. The solutions are in
`notebooks/solutions`, and a test runs them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar, cast

from ...oauth.markup import element, verbatim
from ...oauth.masking import scrub

__all__ = ["Verdict", "checked", "not_yet", "right"]

_SUBJECTS = {
    "first_contact": ("nb00", "nb01", "nb02"),
    "code_and_token": ("nb03", "nb04", "nb05"),
    "own_client": ("nb06", "nb07", "nb08", "nb09"),
    "over_http": ("nb10", "nb11"),
    "broken_servers": ("nb12", "nb13"),
}
_MODULES = {notebook: module for module, notebooks in _SUBJECTS.items() for notebook in notebooks}

_MOST_LINES = 3


def __getattr__(name: str) -> ModuleType:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f".{_MODULES[name]}", __name__)


@dataclass(frozen=True, repr=False)
class Verdict:
    """Right or not yet, and why."""

    right: bool
    text: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.text}"

    def _repr_html_(self) -> str:
        sign = "✔" if self.right else "…"
        word = element("b", "Right:" if self.right else "Not yet:")
        return element("p", f"{sign} ", word, " ", verbatim(self.text))


def right(text: str) -> Verdict:
    """Make the verdict on a right answer; the text says what it shows."""
    return Verdict(True, text)


def not_yet(text: str) -> Verdict:
    """Make the verdict on an answer that is not right; the text says what is missing, without giving it away."""
    return Verdict(False, text)


Check = TypeVar("Check", bound=Callable[..., Any])

#: Looks at the form of an answer before its check does: the verdict if it is wrong, else None.
Form = Callable[[Any], Verdict | None]


def _any_form(answer: Any) -> None:
    """Let every answer pass to the check."""


def checked(check: Check, form: Form = _any_form) -> Check:
    """Decorate a check, sync or async: an answer that makes it stumble is "not yet", never an error.

    The same goes for an answer that is still `...`.

    Args:
        check: looks at the answer.
        form: refuses answers that are of another form; the check does not see them.
    """

    @functools.wraps(check)
    def wrapper(answer: Any, *others: Any) -> Any:
        refused = _UNANSWERED if answer is ... else form(answer)
        if inspect.iscoroutinefunction(check):
            return _awaited(check, refused, answer, others)
        if refused is not None:
            return refused
        try:
            return check(answer, *others)
        except Exception as error:  # noqa: BLE001 - the answer may be anything, and its failure is the news
            return _stumbled(error)

    return cast(Check, wrapper)


def checked_function(check: Check) -> Check:
    """Decorate the check of an answer that is a function made with `def`; otherwise as `checked`."""
    return checked(check, _function)


def checked_async_function(check: Check) -> Check:
    """Decorate the check of an answer that is a function made with `async def`; otherwise as `checked`."""
    return checked(check, _async_function)


def _function(answer: Any) -> Verdict | None:
    if not callable(answer):
        return not_yet("that cannot be called: assign the function itself, without parentheses.")
    # The check would get a coroutine that is never awaited, and Python would warn of it.
    return not_yet("that function is made with `async def`: a plain `def` will do.") if _is_async(answer) else None


def _async_function(answer: Any) -> Verdict | None:
    return None if _is_async(answer) else not_yet("that is not a function made with `async def`.")


def _is_async(answer: Any) -> bool:
    """Say whether calling it makes a coroutine; an object with an async `__call__` counts too."""
    return inspect.iscoroutinefunction(answer) or inspect.iscoroutinefunction(getattr(answer, "__call__", None))  # noqa: B004


async def _awaited(check: Callable[..., Any], refused: Verdict | None, answer: Any, others: tuple[Any, ...]) -> Verdict:
    if refused is not None:
        return refused
    try:
        return cast(Verdict, await check(answer, *others))
    except Exception as error:  # noqa: BLE001 - as above
        return _stumbled(error)


def _stumbled(error: Exception) -> Verdict:
    # The SDK wraps what a sampling callback raises in a group, which says nothing to the learner.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    # The first lines have the message and the hint; pydantic's messages have pages.
    text = "\n".join(str(error).splitlines()[:_MOST_LINES])
    return not_yet(f"your answer raised {type(error).__name__}: {scrub(text)}")


_UNANSWERED = not_yet("replace the three dots by your answer, then run the cell again.")
