"""The pytest plugin: the fixtures, and the cells that nbval alone lets pass."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import httpx
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from mcp_oauth_nb import Lab, ManualClock, MockGitHub, run
from mcp_oauth_nb.oauth.errors import ServerUnavailable, SessionClosed

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.anyio

SWALLOWED = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass"
# IPython prints a group to stderr, whose text is not what such a cell is tested for.
GROUP = "# NBVAL_IGNORE_OUTPUT\nraise ExceptionGroup('two', [ValueError('one'), KeyError('other')])"

# A cell that is meant to fail, and one that nobody has written yet: both are right as they are.
EXPECTED = new_code_cell("# NBVAL_RAISES_EXCEPTION\n# NBVAL_IGNORE_OUTPUT\n1 / 0", execution_count=1)
EMPTY = new_code_cell("  \n")
# Each notebook has these two and one more: its source, what was saved as its output, and whether it was saved as
# executed.
NOTEBOOKS = {
    "right": ("1 + 1", "2", True),
    "changed": ("1 + 1", "3", True),
    "unexecuted": ("1 + 1", None, False),
    "skipped": ("# NBVAL_SKIP\n1 / 0", None, False),
    "group": (GROUP, None, True),
    "hanging": (SWALLOWED, None, True),
}


def write(directory: Path) -> None:
    for name, (source, output, executed) in NOTEBOOKS.items():
        cell = new_code_cell(source, execution_count=1 if executed else None)
        if output is not None:
            cell.outputs = [new_output("execute_result", data={"text/plain": output}, execution_count=1)]
        nbformat.write(new_notebook(cells=[EXPECTED, EMPTY, cell]), directory / f"{name}.ipynb")


def failing(directory: Path, *options: str) -> dict[str, str]:
    """Run the notebooks; return the failing ones, each with the message."""
    report = directory / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    command += ["--nbval-cell-timeout=2", f"--junitxml={report}", *options, str(directory)]
    subprocess.run(command, cwd=directory, check=False, capture_output=True, timeout=100)
    cases = [*ElementTree.parse(report).getroot().iter("testcase")]
    assert len({case.get("classname", "") for case in cases}) == len(NOTEBOOKS)
    failures = [(case.get("classname", ""), case.find("failure")) for case in cases]
    return {name: failure.get("message", "") for name, failure in failures if failure is not None}


def names(failures: dict[str, str]) -> set[str]:
    return {name for name in NOTEBOOKS if any(name in place for place in failures)}


def test_the_strict_check_catches_what_nbval_catches_and_what_it_lets_pass(tmp_path: Path) -> None:
    write(tmp_path)
    strict = failing(tmp_path, "--nbval-strict")
    assert names(strict) == {"changed", "unexecuted", "group", "hanging"}
    text = " ".join(strict.values())
    for reason in ("without having been executed", "sent no message", "swallowed the interrupt"):
        assert reason in text
    # If this fails, nbval has learnt it, and the plugin can shrink.
    assert names(failing(tmp_path)) == {"changed"}


@pytest.fixture
def closed_afterwards() -> Iterator[list[Lab]]:
    """Expects of the labs in its list that they are closed when the test's other fixtures have ended."""
    labs: list[Lab] = []
    yield labs
    for lab in labs:
        with pytest.raises(SessionClosed):
            run(lab.session.list_tools())


def test_a_lab_is_there_for_sync_tests(closed_afterwards: list[Lab], mcp_lab: Lab) -> None:
    closed_afterwards.append(mcp_lab)
    result = run(mcp_lab.session.call_tool("get_github_user_info", authorize=mcp_lab.authorize))
    assert not result.is_error


async def test_a_lab_is_there_for_async_tests(mcp_lab: Lab) -> None:
    assert (await mcp_lab.session.list_tools()).tools


async def test_lab_clock_and_github_of_a_test_are_one_world(
    mcp_mock_github: MockGitHub, mcp_clock: ManualClock, mcp_lab: Lab
) -> None:
    token = await mcp_lab.authorize()
    headers = {"Authorization": f"Bearer {token.access_token}", "User-Agent": "test"}
    async with httpx.AsyncClient(transport=mcp_mock_github.transport(), headers=headers) as client:
        assert (await client.get("https://api.github.com/user")).status_code == 200
    mcp_clock.advance(hours=8)
    assert not mcp_lab.oauth.is_authenticated()
    mcp_mock_github.faults.next_token(status=503)
    with pytest.raises(ServerUnavailable):
        await mcp_lab.oauth.refresh_access_token()


@pytest.mark.parametrize("how", ["marked", "by the mode"])
def test_the_test_in_the_readme_passes_as_it_is_written(pytester: pytest.Pytester, how: str) -> None:
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n((?:(?!```).)*?async def test_.*?)^```", readme, re.MULTILINE | re.DOTALL)
    if how == "by the mode":
        assert '`anyio_mode = "auto"`' in readme
        pytester.makeini("[pytest]\nanyio_mode = auto")
        code = code.replace("@pytest.mark.anyio\n", "")
    pytester.makepyfile(code)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", "-q").assert_outcomes(passed=1)


async def test_the_mock_keeps_the_time_of_its_clock(mcp_mock_github: MockGitHub, mcp_clock: ManualClock) -> None:
    token = mcp_mock_github.issue_token()
    headers = {"Authorization": f"Bearer {token.access_token}", "User-Agent": "test"}
    async with httpx.AsyncClient(transport=mcp_mock_github.transport(), headers=headers) as client:
        assert (await client.get("https://api.github.com/user")).status_code == 200
        mcp_clock.advance(hours=8)
        assert (await client.get("https://api.github.com/user")).status_code == 401
