"""`SECURITY.md` names the test of each promise and of each cell of the fault matrix: all of them exist."""

from __future__ import annotations

import ast
import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mcp_oauth_nb

TESTS = Path(__file__).parent.parent
TEXT = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
#: The rows of the matrix that the project works through.
FAULTS = 24


def names_in(file: str) -> set[str]:
    tree = ast.parse(next(TESTS.rglob(file)).read_text(encoding="utf-8"))
    # Of the module itself: nothing else is collected.
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def rows(part: str) -> list[list[str]]:
    """The cells of the tables in a part of the document, without the heads."""
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "`test_" in line or "—" in line]


def test_each_test_that_is_named_exists() -> None:
    named = NAMED.findall(TEXT)
    assert len(named) > 80
    files = {file for file, _ in named}
    there = {(file, name) for file in files for name in names_in(file)}
    assert sorted(set(named) - there) == []


def test_each_reference_to_a_test_is_one_that_is_checked() -> None:
    assert TEXT.count("::") == len(NAMED.findall(TEXT))


def test_each_promise_has_a_test() -> None:
    promises = TEXT.partition("## What is promised")[2].partition("## What is out of scope")[0]
    paragraphs = re.split(r"^\*\*", promises, flags=re.MULTILINE)[1:]
    assert len(paragraphs) == 6
    assert [text.partition("**")[0] for text in paragraphs if not NAMED.search(text)] == []
    table = [
        line for line in promises.splitlines() if line.startswith("| ") and not re.match(r"\| (where|promise) \|", line)
    ]
    assert [line for line in table if not NAMED.search(line)] == []


def test_each_cell_of_the_fault_matrix_has_a_test_or_the_reason_why_there_is_none() -> None:
    matrix = rows(TEXT.partition("## Appendix: faults")[2])
    assert len(matrix) == FAULTS
    for fault, *cells in matrix:
        assert len(cells) == 3, fault
        assert [cell for cell in cells if not NAMED.search(cell) and not re.fullmatch(r"— \(.+\)", cell)] == [], fault
        assert any(NAMED.search(cell) for cell in cells), fault


def test_the_supported_version_is_the_current_one() -> None:
    current = ".".join(mcp_oauth_nb.__version__.split(".")[:2])
    assert f"| {current} | yes |" in TEXT


def test_nobody_is_told_to_write_to_an_address_that_may_not_exist() -> None:
    assert not re.search(r"[\w.]+@[\w.]+\.\w+|https?://", TEXT)


# -- the table of `make security` ------------------------------------------------------------------------------------

SCRIPT = runpy.run_path(str(TESTS.parent / "security" / "run.py"))
REPORT = """
<testsuite>
  <testcase classname="tests.house.test_x" name="test_a[1]"/>
  <testcase classname="tests.house.test_x" name="test_a[2]"><failure/></testcase>
  <testcase classname="tests.house.test_x.TestLife" name="runTest"><error/></testcase>
  <testcase classname="tests.house.test_x" name="test_b"/>
</testsuite>
"""


def test_each_case_counts_for_its_test_be_it_a_function_or_a_class() -> None:
    results = SCRIPT["outcomes"](ElementTree.fromstring(REPORT).iter("testcase"))
    assert results == {
        ("test_x", "test_a"): ["passed", "failure"],
        ("test_x", "TestLife"): ["error"],
        ("test_x", "test_b"): ["passed"],
    }
    part = SCRIPT["summed_up"]("a part", {("test_x", "TestLife"), ("test_x", "test_b")}, results)
    assert (part.result, part.holds) == ("1 passed in 2 tests, 1 error", False)


def test_what_never_ran_or_was_left_out_does_not_hold() -> None:
    part = SCRIPT["summed_up"]("a part", {("test_x", "test_a")}, {})
    assert (part.result, part.holds) == ("0 passed in 1 tests, 1 not run", False)
    assert list(SCRIPT["lines"]([SCRIPT["Part"]("load", "left out", None)])) == [f"-      {'load':<32}left out"]


def test_the_state_machines_are_among_the_properties() -> None:
    assert {("test_properties", "TestHandlerForLong"), ("test_properties", "TestHttpForLong")} <= SCRIPT["within"](
        "test_properties"
    )
