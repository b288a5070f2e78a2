"""`%mcp`: an MCP server by a few words in a cell. It is there after `%load_ext mcp_oauth_nb`.

    %mcp connect http://127.0.0.1:8000/mcp
    %mcp call get_github_user_info repo_limit=2
    %mcp trace diagram

Each command does what a line of code does with a `Session`, on the loop thread, and returns a value. Stop ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .magics_commands import HELP, Commands

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_undo: dict[InteractiveShell, Callable[[], None]] = {}


def load(shell: InteractiveShell) -> None:
    """Give a shell `%mcp` and its completion; the second time do nothing."""
    if shell in _undo:
        return
    from IPython.core.magic import no_var_expand

    # IPython is typed in part only.
    ipython: Any = shell
    commands = Commands(lambda: ipython.user_ns)

    # Otherwise IPython would take the braces of JSON for its own.
    @no_var_expand
    def mcp(line: str) -> Any:
        return commands.run(line)

    mcp.__doc__ = HELP
    lines: dict[str, Any] = ipython.magics_manager.magics["line"]
    before = lines.get("mcp")
    ipython.register_magic_function(mcp, "line", "mcp")
    matcher = _matcher(commands)
    ipython.Completer.custom_matchers.append(matcher)

    def undo() -> None:
        ipython.Completer.custom_matchers.remove(matcher)
        # If somebody registered another one since, theirs stays.
        if lines.get("mcp") is mcp:
            del lines["mcp"]
            del ipython.magics_manager.user_magics.mcp
            if before is not None:
                lines["mcp"] = before
        commands.let_go()

    _undo[shell] = undo


def unload(shell: InteractiveShell) -> None:
    """Take `%mcp` away again, and close what it opened."""
    undo = _undo.pop(shell, None)
    if undo is not None:
        undo()


def _matcher(commands: Commands) -> Any:
    from IPython.core.completer import SimpleCompletion, context_matcher

    # IPython is typed in part only.
    as_matcher: Any = context_matcher

    def mcp_matcher(context: Any) -> Any:
        found = commands.completions(context.text_until_cursor)
        piece, offered = found or ("", [])
        return {
            "completions": [SimpleCompletion(text=text, type="mcp") for text in offered],
            "matched_fragment": piece,
            # Files and Python's names are no answer to a command of ours.
            "suppress": found is not None,
        }

    return as_matcher()(mcp_matcher)
