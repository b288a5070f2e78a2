"""For other people's tests: fixtures that bring the mocked GitHub and a lab, and a stricter nbval.

`pytest --nbval --nbval-strict` fails three kinds of notebook cells that nbval lets pass: a cell that was saved
without having been executed, a cell that ended with an exception of which the kernel sent no error message (an
exception group, for instance), and a cell that swallowed its timeout.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .clock import ManualClock
    from .lab import Lab
    from .mock_github import MockGitHub

_SEED = 7
_PROBE_TIMEOUT_SECONDS = 10.0


@pytest.fixture
def mcp_clock() -> ManualClock:
    """A clock that stands at the lab's first moment until it is advanced."""
    from .clock import ManualClock
    from .lab import LAB_EPOCH

    return ManualClock(LAB_EPOCH)


@pytest.fixture
def mcp_mock_github(mcp_clock: ManualClock) -> MockGitHub:
    """A mocked GitHub: `httpx.AsyncClient(transport=mcp_mock_github.transport())` reaches it."""
    from .mock_github import MockGitHub

    return MockGitHub(seed=_SEED, clock=mcp_clock)


@pytest.fixture
def mcp_lab() -> Iterator[Lab]:
    """An open lab, closed afterwards; usable from sync and async tests."""
    from .lab import Lab
    from .loops import run

    async def opened() -> Lab:
        return await Lab.open(_SEED)

    lab = run(opened())
    yield lab
    run(lab.aclose())


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--nbval-strict`."""
    parser.getgroup("nbval").addoption(
        "--nbval-strict",
        action="store_true",
        help="fail notebook cells that nbval passes: never executed, failed without a message, swallowed timeout",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Look at a notebook cell once more after nbval has passed it."""
    if not item.config.getoption("--nbval-strict") or not _is_cell(item):
        return (yield)
    cell: Any = item
    if cell.cell.execution_count is None and cell.cell.source.strip() and not cell.options["skip"]:
        pytest.fail(f"Cell {cell.cell_num} was saved without having been executed, so nothing would be compared.")
    result = yield
    if cell.parent.timed_out:
        pytest.fail(f"Cell {cell.cell_num} did not end in time, and swallowed the interrupt.")
    if not cell.options["check_exception"] and _failed_silently(cell.parent.kernel.kc):
        pytest.fail(f"Cell {cell.cell_num} raised an exception of which the kernel sent no message.")
    return result


def _is_cell(item: pytest.Item) -> bool:
    # By name, so that pytest starts without importing nbval where it is not used.
    return type(item).__name__ == "IPyNbCell"


def _failed_silently(client: Any) -> bool:
    """Ask the kernel whether the cell that it ran last had succeeded."""
    question = "get_ipython().last_execution_succeeded"
    identifier = client.execute("", silent=True, user_expressions={"ok": question})
    while True:
        reply = client.get_shell_msg(timeout=_PROBE_TIMEOUT_SECONDS)
        if reply["parent_header"].get("msg_id") == identifier:
            answer = reply["content"].get("user_expressions", {}).get("ok", {})
            return bool(answer.get("data", {}).get("text/plain") == "False")
