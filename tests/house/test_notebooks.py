"""The notebooks as files: they follow the template, are as `make notebooks` leaves them, and hold no secret.

That their outputs are right is nbval's claim: it executes and compares them beside these tests.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from mcp_oauth_nb.lab.attacks import ATTACKS
from mcp_oauth_nb.lab.mock_github.ledger import Mint
from mcp_oauth_nb.oauth.pkce import PKCE, random_token

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
MOST_LINES = 11
FLOWS = 60

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", NOTEBOOKS / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def parse(cell: Any) -> ast.Module:
    """A cell's code; a line that is a magic command counts as a blank one."""
    source = re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
    tree = compile(source, "cell", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    return tree


def test_there_are_fourteen_of_them_in_order() -> None:
    assert [path.stem[:2] for path in PATHS] == [f"{number:02}" for number in range(14)]


@each_notebook
def test_the_file_is_as_make_notebooks_leaves_it(path: Path) -> None:
    notebook = read(path)
    assert refresh().normalise(copy.deepcopy(notebook)) == notebook
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"


def test_in_how_many_pieces_a_kernel_sends_what_is_printed_makes_no_difference() -> None:
    pieces = [nbformat.v4.new_output("stream", text=text) for text in ("one\n", "two\n")]
    other = nbformat.v4.new_output("stream", name="stderr", text="three\n")
    cell = nbformat.v4.new_code_cell(outputs=[*pieces, other])
    refresh().normalise(nbformat.v4.new_notebook(cells=[cell]))
    assert [(output.name, output.text) for output in cell.outputs] == [("stdout", "one\ntwo\n"), ("stderr", "three\n")]


@each_notebook
def test_every_cell_was_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_the_first_cell_says_what_for_how_long_and_by_which_specification(path: Path) -> None:
    first = read(path).cells[0]
    assert re.match(rf"# {int(path.stem[:2])} · ", first.source)
    for word in ("**You will**", "**Needs**", "**Time**", "**Spec**"):
        assert word in first.source


@each_notebook
def test_the_first_code_cell_imports_and_does_nothing_else(path: Path) -> None:
    first = parse(code_cells(path)[0])
    assert first.body
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in first.body)


@each_notebook
def test_cells_are_short(path: Path) -> None:
    assert max(len(cell.source.splitlines()) for cell in code_cells(path)) <= MOST_LINES


@each_notebook
def test_claims_are_asserted_and_answers_are_predicted(path: Path) -> None:
    asserts = [node for cell in code_cells(path) for node in ast.walk(parse(cell)) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 3 or path.stem.startswith("00")
    assert asserts
    assert "Predict" in prose(path)
    assert re.search(r"RFC \d{4}|MCP \d{4}-\d\d-\d\d", prose(path))


@each_notebook
def test_something_is_broken_on_purpose_and_the_error_has_its_hint(path: Path) -> None:
    broken = [cell for cell in code_cells(path) if "raises-exception" in cell.metadata.get("tags", [])]
    errors = [output.evalue for cell in broken for output in cell.outputs if output.output_type == "error"]
    assert len(errors) == len(broken)
    # One of the SDK's own may be among them, which has none.
    assert any("What to do:" in error for error in errors)


@each_notebook
def test_there_are_two_exercises_with_hints_and_a_recap(path: Path) -> None:
    text = prose(path)
    assert len(re.findall(r"^## Exercise \d", text, re.MULTILINE)) == 2
    assert text.count("<details><summary>Hint</summary>") == 2
    assert "## Recap" in text
    answers = [cell for cell in code_cells(path) if re.search(r"^answer = \.\.\.", cell.source, re.MULTILINE)]
    assert len(answers) == 2


@each_notebook
def test_every_link_leads_to_a_file(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)\)", prose(path))
    assert not [target for target in targets if not (NOTEBOOKS / target).exists()]
    # `mcp-oauth-nb lab` copies the notebooks alone.
    assert not [target for target in targets if "/" in target]


@pytest.mark.parametrize(("here", "there"), [*pairwise(PATHS)], ids=lambda path: path.stem[:2])
def test_each_leads_to_the_next(here: Path, there: Path) -> None:
    assert f"]({there.name})" in prose(here).rpartition("**Next:**")[2]


# -- what is counted -------------------------------------------------------------------------------------------

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()


def path_of(number: int) -> Path:
    return PATHS[number]


def rows(text: str, heading: str) -> int:
    """How many rows the first table after a heading has."""
    table = re.search(r"^\|.*\n\|[-| ]+\n((?:\|.*(?:\n|$))+)", text.partition(heading)[2], re.MULTILINE)
    assert table is not None
    return len(table[1].splitlines())


def attacks_shown() -> list[int]:
    return [int(number) for number in re.findall(r"^### (\d+) · ", prose(path_of(13)), re.MULTILINE)]


def of_the_form(title: str) -> set[str]:
    """The fields that notebook 04 shows in a table of the token request."""
    table = prose(path_of(4)).partition(title)[2]
    first = re.findall(r"^\| ([^|]*`[^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)
    return {name for cell in first if "header" not in cell for name in re.findall(r"`(\w+)`", cell)}


# The notebook, a sentence with a number in words, and how many there are.
COUNTS = [
    (0, "## {} actors", lambda: rows(prose(path_of(0)), "## Four actors")),
    (0, "{} words are enough", lambda: rows(prose(path_of(0)), "words are enough")),
    (2, "can end in {} ways", lambda: rows(prose(path_of(2)), "can end in four ways")),
    (4, "with all {} fields of the form", lambda: len(of_the_form("| field | why it is there |\n|---|---|"))),
    (10, "become known to it in {} ways", lambda: len(re.findall(r"^\d\. \*\*", prose(path_of(10)), re.MULTILINE))),
    (12, "## {} broken servers", lambda: len(re.findall(r"^\*\*\d\.\*\* ", prose(path_of(12)), re.MULTILINE))),
    (13, "a client and a server in {} ways", lambda: len(attacks_shown())),
]


@pytest.mark.parametrize(("number", "sentence", "count"), COUNTS)
def test_what_is_counted_in_words_is_as_many(number: int, sentence: str, count: Any) -> None:
    text = " ".join(prose(path_of(number)).lower().split())
    assert sentence.format(NUMBERS[count()]) in text


def test_the_list_of_attacks_is_described_as_it_is() -> None:
    threats = Counter(attack.row for attack in ATTACKS)
    assert sorted(threats) == list(range(1, 21))
    assert sorted(threats.values())[-3:] == [1, 2, 2]
    assert "threats in a list of twenty; two of the threats have two attacks each" in prose(path_of(13))
    titles = re.findall(r"^### (\d+) · ", prose(path_of(13)), re.MULTILINE)
    assert len(titles) == len(set(titles))
    assert set(attacks_shown()) <= set(threats)


def test_every_symptom_of_the_table_is_reproduced() -> None:
    text = prose(path_of(9))
    in_table = {int(number) for number in re.findall(r"\| (\d+) \|", text.partition("##")[0])}
    told = {int(number) for number in re.findall(r"^##.* (\d+) · ", text, re.MULTILINE)}
    assert told == in_table == set(range(1, 16))


@each_notebook
def test_other_notebooks_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"[Nn]otebooks? (\d+)(?:(?:,| to| and) (\d+))*", prose(path))
    numbers = {int(number) for found in named for number in found if number}
    assert numbers <= set(range(14))
    # A link is told by its number, and leads there.
    for number, target in re.findall(r"\[(?:notebook )?(\d+)(?: · [^\]]*)?\]\(([^)]+)\)", prose(path), re.IGNORECASE):
        assert target.startswith(f"{int(number):02}-"), target


@each_notebook
def test_nothing_is_promised_of_the_readme_that_it_lacks(path: Path) -> None:
    # `mcp-oauth-nb lab` copies the notebooks alone, so that there may be no README beside them.
    assert "README" not in prose(path)


@each_notebook
def test_nothing_in_it_belongs_to_one_machine(path: Path) -> None:
    outputs = json.dumps([cell.outputs for cell in code_cells(path)], ensure_ascii=False)
    assert not re.search(r" at 0x[0-9a-f]{6,}", outputs)
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users|private|var)/", outputs)
    # A port in an output was free on one machine only, unless a cell names it.
    ports = set(re.findall(r"127\.0\.0\.1:(\d+)", outputs))
    assert ports <= set(re.findall(r":(\d+)", "".join(cell.source for cell in code_cells(path))))
    assert "widgets" not in read(path).metadata


def secrets_of(seed: int) -> set[str]:
    """What a lab of this seed issues, mock and client, for more flows than any notebook runs."""
    mint = Mint(seed)
    issued = {mint.client_secret() for _ in range(5)}
    for _ in range(FLOWS):
        issued |= {mint.code(), mint.device_code()}
        issued |= {mint.token("gho_"), mint.token("ghu_"), mint.token("ghr_", 76)}
    for whose in ("client", "http client"):
        client = random.Random(f"{seed} {whose}")
        for _ in range(FLOWS):
            issued |= {random_token(client.randbytes), PKCE.generate(client.randbytes).code_verifier}
    return issued


def test_no_secret_that_a_lab_ever_issues_is_in_any_notebook() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
    seeds = {7, *(int(seed) for text in texts.values() for seed in re.findall(r"(?:seed=|open\()(\d+)", text))}
    secrets = {secret for seed in seeds for secret in secrets_of(seed)}
    leaks = {(name, secret[:8]) for name, text in texts.items() for secret in secrets if secret in text}
    assert not leaks
    shapes = {name: re.findall(r"(?:gh[opusr]|mcp)_[A-Za-z0-9\-_]{20,}", text) for name, text in texts.items()}
    assert not any(shapes.values()), shapes


@pytest.mark.parametrize("path", [path for path in PATHS if path.stem >= "10"], ids=lambda path: path.stem)
def test_what_looks_random_over_http_is_a_code_challenge_or_masked(path: Path) -> None:
    # Codes, states, verifiers and cookies there are all made of 32 bytes in base64url.
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"(.{0,20})(?<![\w\-])[A-Za-z0-9\-_]{43}(?![\w\-])", text)
    assert not [before for before in found if "code_challenge" not in before]


def test_the_search_for_secrets_finds_what_a_lab_issues() -> None:
    assert len(secrets_of(7)) == 5 + FLOWS * 9
    assert json.dumps(sorted(secrets_of(7))) != json.dumps(sorted(secrets_of(8)))
