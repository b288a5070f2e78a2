"""For other people's tests: a lab as fixtures, with its clock and its GitHub; and a stricter nbval.

The three fixtures of a test are one world: what `mcp_clock` says is the time of `mcp_lab` and of `mcp_mock_github`, and
the token that `mcp_lab` gets is good at `mcp_mock_github`. An `async def` test needs a plugin that runs it; the one of
anyio is installed with the MCP SDK, and wants `@pytest.mark.anyio`, or `anyio_mode = "auto"` in the configuration.

`pytest --nbval --nbval-strict` fails three kinds of notebook cells that nbval lets pass: a cell that was saved
without having been executed, a cell that ended with an exception of which the kernel sent no error message (an
exception group, for instance), and a cell that swallowed its timeout.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..oauth.clock import ManualClock
    from .lab import Lab
    from .mock_github import MockGitHub

_SEED = 7
_PROBE_TIMEOUT_SECONDS = 10.0


@pytest.fixture
def mcp_lab() -> Iterator[Lab]:
    """An open lab, closed afterwards; usable from sync and async tests."""
    from ..runtime.loops import run
    from .lab import Lab

    async def opened() -> Lab:
        return await Lab.open(_SEED)

    lab = run(opened())
    yield lab
    run(lab.aclose())


@pytest.fixture
def mcp_clock(mcp_lab: Lab) -> ManualClock:
    """The lab's clock, which stands still until it is advanced."""
    return mcp_lab.clock


@pytest.fixture
def mcp_mock_github(mcp_lab: Lab) -> MockGitHub:
    """The lab's GitHub: `httpx.AsyncClient(transport=mcp_mock_github.transport())` reaches it, unrecorded."""
    return mcp_lab.github


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
    if not item.config.getoption("--nbval-strict") or not _is_cell(item) or item.parent is None:
        return (yield)
    cell: Any = item
    if cell.cell.execution_count is None and cell.cell.source.strip() and not cell.options["skip"]:
        pytest.fail(f"Cell {cell.cell_num} was saved without having been executed, so nothing would be compared.")
    client = cell.parent.kernel.kc
    if not item.parent.stash.get(_WATCHED, False):
        _evaluate(client, _WATCH)
        item.parent.stash[_WATCHED] = True
    result = yield
    if cell.parent.timed_out:
        pytest.fail(f"Cell {cell.cell_num} did not end in time, and swallowed the interrupt.")
    if not cell.options["check_exception"] and _evaluate(client, _SUCCEEDED) == "False":
        pytest.fail(f"Cell {cell.cell_num} raised an exception of which the kernel sent no message.")
    return result


# The kernel's answer says whether a cell failed, but nbval takes the answer and looks only at the messages. So the
# kernel is asked to note it. An expression, unlike a statement, leaves no trace in the notebook's namespace.
_WATCHED = pytest.StashKey[bool]()
_WATCH = (
    "get_ipython().events.register('post_run_cell', "
    "lambda result: setattr(get_ipython(), '_nbval_strict_succeeded', result.success))"
)
_SUCCEEDED = "get_ipython()._nbval_strict_succeeded"


def _is_cell(item: pytest.Item) -> bool:
    # The class is known by its name, so that pytest starts without importing nbval where it is not used.
    return type(item).__name__ == "IPyNbCell"


def _evaluate(client: Any, expression: str) -> str:
    """Return the repr of an expression in the kernel."""
    identifier = client.execute("", silent=True, user_expressions={"value": expression})
    while True:
        reply = client.get_shell_msg(timeout=_PROBE_TIMEOUT_SECONDS)
        if reply["parent_header"].get("msg_id") == identifier:
            value = reply["content"].get("user_expressions", {}).get("value", {})
            return str(value.get("data", {}).get("text/plain"))
