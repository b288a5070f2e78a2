"""IPython shells for the tests of what the package does to one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mcp_oauth_nb.runtime.kernel import unload_ipython_extension


class Shell(InteractiveShell):
    """A shell whose screen is a list."""

    def __init__(self, directory: Path):
        super().__init__(ipython_dir=str(directory), config=Config(HistoryManager={"hist_file": ":memory:"}))
        self.shown: list[tuple[str, str, str]] = []

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        self.shown.append((etype.__name__, str(evalue), "\n".join(stb)))

    def cell(self, code: str) -> tuple[str, str, str]:
        """Run a cell that fails; return what the screen shows."""
        self.shown.clear()
        result = self.run_cell(code, store_history=True)
        assert not result.success
        (shown,) = self.shown
        return shown


@contextmanager
def opened(directory: Path) -> Iterator[Shell]:
    """A shell without the extension, for one test."""
    shell = Shell(directory)
    yield shell
    unload_ipython_extension(shell)
    shell.history_manager.end_session()
    shell.restore_sys_module_state()
