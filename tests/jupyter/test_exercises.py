"""The notebooks' exercises: every check accepts the solution, and answers a wrong one without ever raising."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mcp_oauth_nb.exercises
import mcp_oauth_nb.jupyter.exercises
from mcp_oauth_nb import Lab
from mcp_oauth_nb.jupyter.exercises import Verdict, checked

pytestmark = pytest.mark.anyio

SOLUTIONS = Path(__file__).parent.parent.parent / "notebooks" / "solutions"
WRONG = [..., None, 0, -32001, "", "wrong", b"", (), [], {}, {"error": 1}, object(), ValueError("wrong"), Lab, print]


def solutions() -> list[tuple[str, str]]:
    """Each exercise, as the notebook's module and the name that solution and check share."""
    return [
        (path.stem, name)
        for path in sorted(SOLUTIONS.glob("nb*.py"))
        for name, member in inspect.getmembers(load(path), inspect.isfunction)
        if member.__module__ == path.stem and not name.startswith("_")
    ]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_of(notebook: str, name: str) -> Any:
    return getattr(getattr(mcp_oauth_nb.exercises, notebook), f"check_{name}")


async def verdict(check: Any, answer: Any, lab: Lab) -> Verdict:
    """Call a check as its notebook does: some look at the lab too, some await."""
    takes_lab = len(inspect.signature(check).parameters) > 1
    result = check(answer, lab) if takes_lab else check(answer)
    return await result if inspect.isawaitable(result) else result


@pytest.mark.parametrize(("notebook", "name"), solutions())
async def test_the_solution_is_right(notebook: str, name: str) -> None:
    async with Lab.open() as lab:
        answer = getattr(load(SOLUTIONS / f"{notebook}.py"), name)
        result = await verdict(check_of(notebook, name), await answer(lab), lab)
    assert result.right, result


@pytest.mark.parametrize(("notebook", "name"), solutions())
async def test_a_wrong_answer_is_not_yet_right_and_raises_nothing(notebook: str, name: str) -> None:
    async with Lab.open() as lab:
        for answer in WRONG:
            result = await verdict(check_of(notebook, name), answer, lab)
            assert not result.right, f"{answer!r} was accepted"
            assert repr(result).startswith("Not yet: ")


async def test_a_user_who_has_agreed_before_is_not_asked_again_and_the_check_says_so() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
        result = check_of("nb00", "denial")(await lab.authorize(allow=False))
    assert "Take a fresh lab" in result.text


def test_an_error_that_goes_on_for_pages_is_told_in_three_lines() -> None:
    @checked
    def check(answer: object) -> Verdict:
        raise ValueError("\n".join("abcdef"))

    assert check(1).text == "your answer raised ValueError: a\nb\nc"


async def test_the_error_of_an_answer_shows_no_secret_that_is_in_it() -> None:
    async with Lab.open() as lab:
        token = await lab.authorize()

    def fails(answer: object) -> Verdict:
        raise ValueError(f"{answer}, and the group has another: {token.refresh_token}")

    async def fails_later(answer: object) -> Verdict:
        raise ExceptionGroup("two", [ValueError(f"{answer}")])

    for result in (checked(fails)(token.access_token), await checked(fails_later)(token.access_token)):
        for shown in (result.text, repr(result), result._repr_html_()):
            assert "your answer raised ValueError: gho_****" in shown
            assert not [secret for secret in (token.access_token, token.refresh_token) if str(secret) in shown]


@pytest.mark.parametrize(("notebook", "name"), [("nb07", "matches"), ("nb13", "redirect_uri")])
def test_a_function_that_decides_says_true_or_false_and_nothing_like_it(notebook: str, name: str) -> None:
    result = check_of(notebook, name)(lambda registered, asked: int(registered == asked))
    assert not result.right
    assert result.text.endswith(("it said 1.", "it returned 1."))


def test_every_check_has_a_solution() -> None:
    modules = {notebook: getattr(mcp_oauth_nb.exercises, notebook) for notebook, _ in solutions()}
    there = {path.stem for path in Path(mcp_oauth_nb.jupyter.exercises.__file__).parent.glob("[a-z]*.py")}
    assert {module.__name__.rpartition(".")[2] for module in modules.values()} == there
    checks = {(module, name) for module in modules.values() for name in vars(module) if name.startswith("check_")}
    assert checks == {(modules[notebook], f"check_{name}") for notebook, name in solutions()}


def test_there_are_exercises_of_the_notebooks_alone() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nb14'"):
        _ = mcp_oauth_nb.exercises.nb14


def test_every_notebook_has_two_exercises() -> None:
    counts = dict.fromkeys((path.stem for path in SOLUTIONS.glob("nb*.py")), 0)
    for notebook, _ in solutions():
        counts[notebook] += 1
    assert set(counts.values()) == {2}
