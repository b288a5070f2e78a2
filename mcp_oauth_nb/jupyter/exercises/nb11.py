"""Exercises of notebook 11: scopes and step-up."""

from __future__ import annotations

from typing import Any

from ...lab.http_lab import HttpLab
from .verdict import Verdict, checked_async_function, checked_function, not_yet, right

_PUBLIC, _PRIVATE = frozenset({"read:user"}), frozenset({"read:user", "repo"})
_NEEDS = 'Bearer error="insufficient_scope", scope="{}", resource_metadata="https://one.example/document"'

# The cases: a name, the arguments of the function, and the result that it must return.
_CASES: tuple[tuple[str, str, frozenset[str], frozenset[str] | None], ...] = (
    ("no token yet", 'Bearer scope="read:user"', frozenset(), _PUBLIC),
    ("a call that needs both", _NEEDS.format("read:user repo"), _PUBLIC, _PRIVATE),
    ("a server that names only what this call needs", _NEEDS.format("repo"), _PUBLIC, _PRIVATE),
    ("a token that has it already", _NEEDS.format("repo"), _PRIVATE, None),
    ("a token with more than that", _NEEDS.format("read:user"), _PRIVATE, None),
    ("a token that expired", 'Bearer error="invalid_token", scope="read:user"', _PUBLIC, _PUBLIC),
    ("an expired token, and no scope named", 'Bearer error="invalid_token"', _PUBLIC, _PUBLIC),
    ("an expired token that could do more", 'Bearer error="invalid_token", scope="read:user"', _PRIVATE, _PRIVATE),
)


@checked_function
def check_scopes_to_ask(answer: Any) -> Verdict:
    """The answer is a function from a challenge and the granted scopes to the scopes to ask for."""
    for what, header, granted, expected in _CASES:
        found = answer(header, set(granted))
        if found is None if expected is None else isinstance(found, set | frozenset) and found == expected:
            continue
        has = ", ".join(sorted(granted)) or "nothing"
        return not_yet(f"with {what} (the token has {has}), for {header!r} it returned {found!r}.")
    return right("the union, so that nothing is lost, and an end where asking again would change nothing.")


@checked_async_function
async def check_report(answer: Any) -> Verdict:
    """The answer counts repositories, asks the person once, and takes a no."""
    public, everything = await _counts()
    async with HttpLab.open() as lab:
        found = await answer(lab.session)
        if found != (public, everything):
            return not_yet(f"there are {public} public ones and {everything} in all; it returned {found!r}.")
        if len(lab.browser.asked) != 1:
            return not_yet(f"the person was asked {len(lab.browser.asked)} times.")
    async with HttpLab.open() as lab:
        lab.browser.refuses = {"repo"}
        found = await answer(lab.session)
        if found != (public, None):
            return not_yet(f"the person said no to repo; then {(public, None)} is true, and it returned {found!r}.")
    return right("one question for both, and a no leaves the half that needs less.")


async def _counts() -> tuple[int, int]:
    """Count the repositories, the public ones and all, in a lab of its own."""
    counts = []
    async with HttpLab.open() as lab:
        for private in (False, True):
            arguments = {"include_private": private, "repo_limit": 100}
            result = await lab.session.call_tool("get_github_user_info", arguments)
            counts.append(len((result.structured_content or {})["repositories"]))
    return counts[0], counts[1]
