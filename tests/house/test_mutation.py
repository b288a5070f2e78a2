"""What a run of the mutants counts as noticed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

MUTATION = Path(__file__).parent.parent.parent / "mutation"
sys.path.insert(0, str(MUTATION))

import trials  # noqa: E402 - it is found there


def collectable() -> None:
    """Collect the tests without the mutant."""


def not_collectable() -> None:
    """Fail to, as with a configuration that is half merged."""
    sys.exit("The tests cannot be collected")


@pytest.mark.parametrize(("code", "outcome"), [(0, "survived"), (1, "killed")])
def test_where_tests_were_run_they_decide(code: int, outcome: str) -> None:
    assert trials.outcome(code, not_collectable) == outcome


# Interrupted by an error of collection, an error of pytest itself, a wrong configuration, nothing to run, a crash.
@pytest.mark.parametrize("code", [2, 3, 4, 5, 99, -9])
def test_where_none_was_run_the_mutant_is_noticed_only_if_it_is_the_reason(code: int) -> None:
    assert trials.outcome(code, collectable) == "killed"
    with pytest.raises(SystemExit, match="cannot be collected"):
        trials.outcome(code, not_collectable)


def test_tests_that_cannot_be_read_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_nothing():\n    pass\n")
    trials._collect(tmp_path, ["test_one.py"])
    (tmp_path / "pyproject.toml").write_text("<<<<<<< HEAD\n")
    with pytest.raises(SystemExit, match="cannot be collected"):
        trials._collect(tmp_path, ["test_one.py"])
