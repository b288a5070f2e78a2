"""What an IPython kernel needs to be honest. On by `%load_ext mcp_oauth_nb` or the first `open()`, off by `%unload_ext`.

- Exception groups are reported as errors. IPython only prints them, so that "Run all" goes on and nbval passes.
- Stop reaches an `await` that nothing else would wake.
- Secrets that this package knows are masked in every traceback.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import signal
import socket
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .loops import running_loop
from .redaction import scrub

if TYPE_CHECKING:
    from types import TracebackType

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

# Once for each shell: whoever unloads the extension does not want the next open() to load it again.
_installed: weakref.WeakSet[InteractiveShell] = weakref.WeakSet()
_active: dict[int, list[Callable[[], None]]] = {}


def install(shell: InteractiveShell | None = None) -> None:
    """Load the extension into the running shell, the first time; outside IPython do nothing.

    Args:
        shell: in place of the running one.
    """
    shell = shell or _running_shell()
    if shell is not None and shell not in _installed:
        shell.extension_manager.load_extension(__package__)


def _running_shell() -> InteractiveShell | None:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Switch everything on; called by `%load_ext mcp_oauth_nb`."""
    if id(shell) in _active:
        return
    _installed.add(shell)
    _active[id(shell)] = [_report_groups(shell), _mask_tracebacks(shell), _wake_for_signals(shell)]
    _import_slow_modules()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Put everything back; called by `%unload_ext mcp_oauth_nb`."""
    for undo in reversed(_active.pop(id(shell), [])):
        undo()


def _import_slow_modules() -> None:
    # The SDK imports it in the first `call_tool`. Beside JupyterLab, whose optional packages it looks for, it takes
    # 1.5 seconds: begin now.
    threading.Thread(target=importlib.import_module, args=("jsonschema",), daemon=True).start()


def _replace(shell: InteractiveShell, name: str, replacement: Callable[..., None]) -> Callable[[], None]:
    """Shadow a method of one shell; return what takes the shadow away, unless somebody else shadowed it since."""
    before = vars(shell).get(name)
    setattr(shell, name, replacement)

    def undo() -> None:
        if vars(shell).get(name) is not replacement:
            return
        if before is None:
            delattr(shell, name)
        else:
            setattr(shell, name, before)

    return undo
