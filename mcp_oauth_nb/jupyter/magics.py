"""`%mcp`: an MCP server by a few words in a cell. It is there after `%load_ext mcp_oauth_nb`.

    %mcp connect http://127.0.0.1:8000/mcp
    %mcp call get_github_user_info repo_limit=2
    %mcp trace diagram

Each command does what a line of code does with a `Session`, on the loop thread, and returns a value. Stop ends it.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ..oauth.errors import SessionClosed, SessionError
from ..runtime.loops import run
from .magics_completion import COMMANDS, completions
from .magics_results import Connected, ExchangeList, ToolList, ToolResult, properties, types

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..client.session import Session
    from ..trace.diagram import Diagram
    from ..trace.messages import Exchange
    from ..trace.recorder import Trace


_HELP = """\
%mcp connect URL [--auth VARIABLE] [--legacy]
    Connect to a server, and authorize if it asks. In place of the URL the name of a variable: a server object,
    a Lab, an HttpLab, a Session. --auth names an McpAuth; --legacy speaks MCP 2025-11-25.
%mcp tools
    List the tools.
%mcp call NAME [{json} | argument=value ...]
    Call a tool. A value $name is that of a variable; $name alone gives all arguments.
%mcp trace [diagram | NUMBER]
    Show what crossed the wire: as a table, as a diagram, or one exchange in full.
%mcp close
    Close the connection."""

_CONSTANTS = {"True": True, "False": False, "None": None}


class _Commands:
    """The commands of `%mcp` in one shell.

    Args:
        variables: returns the user's.

    Attributes:
        connected: what `connect` connected to last, or None.
    """

    def __init__(self, variables: Callable[[], Mapping[str, Any]]):
        self.connected: Connected | None = None
        self._variables = variables

    def run(self, line: str) -> Any:
        """Run a line's command; return the value to be shown.

        Raises:
            UsageError: IPython's, which it shows as one line.
            McpOAuthError: what went wrong; see `errors`.
            MCPError: the server's answer is another error.
        """
        command, _, rest = line.strip().partition(" ")
        if not command:
            print(_HELP)
            return None
        if command not in COMMANDS:
            _misused(f"%mcp has no command {command!r}; it has {', '.join(COMMANDS)}.")
        return getattr(self, command)(rest.strip())

    # -- commands --------------------------------------------------------------------------------------------------

    def connect(self, rest: str) -> Connected:
        """`%mcp connect TARGET`: connect, and let go of what was connected before."""
        target, options = _connect_options(rest)
        auth = self._variable(options["auth"]) if options["auth"] else True
        mode: Literal["auto", "legacy"] = "legacy" if options["legacy"] else "auto"
        connected = self._connected(target, auth, mode)
        try:
            connected = dataclasses.replace(connected, tools=_listed(connected.session))
        except BaseException:
            _let_go(connected)
            raise
        before, self.connected = self.connected, connected
        if before is not None and before.session is not connected.session:
            _let_go(before)
        return connected

    def tools(self, rest: str) -> ToolList:
        """`%mcp tools`: list them anew."""
        _takes_nothing("tools", rest)
        connected = self._here()
        tools = _listed(connected.session)
        self.connected = dataclasses.replace(connected, tools=tools)
        return tools

    def call(self, rest: str) -> ToolResult:
        """`%mcp call NAME ...`: call a tool."""
        connected = self._here()
        name, _, given = rest.partition(" ")
        if not name:
            _misused("Which tool? %mcp call NAME; %mcp tools lists them.")
        arguments = self._arguments(connected, name, given.strip())
        return ToolResult(name, run(connected.session.call_tool(name, arguments, authorize=connected.authorize)))

    def trace(self, rest: str) -> ExchangeList | Diagram | Exchange:
        """`%mcp trace`: show what crossed the wire."""
        trace = self._recorder()
        if rest == "diagram":
            return trace.diagram()
        exchanges = trace.exchanges
        if not rest:
            return ExchangeList(exchanges)
        if not rest.isdecimal() or not 1 <= int(rest) <= len(exchanges):
            _misused(f"%mcp trace takes nothing, `diagram`, or a number from 1 to {len(exchanges)}.")
        return exchanges[int(rest) - 1]

    def close(self, rest: str = "") -> None:
        """`%mcp close`: close what `connect` opened. A session that came from a variable stays open."""
        _takes_nothing("close", rest)
        connected = self.let_go()
        if connected is None:
            print("Nothing was connected.")
        elif connected.owned:
            print("Closed.")
        else:
            print(f"Let go of {connected.target}, which stays open.")

    def let_go(self) -> Connected | None:
        """Forget the connection, close it if it was opened here, and return what it was."""
        connected, self.connected = self.connected, None
        if connected is not None:
            _let_go(connected)
        return connected

    # -- their parts -----------------------------------------------------------------------------------------------

    def _here(self) -> Connected:
        if self.connected is None:
            raise SessionClosed("%mcp is connected to nothing.", hint="Begin with: %mcp connect URL")
        return self.connected

    def _recorder(self) -> Trace:
        trace = self._here().trace
        if trace is None:
            raise SessionError(
                "This session was opened elsewhere, and whether it is recorded is not known here.",
                hint="%mcp connect URL records; with a Session.open(..., trace=trace) of your own, look at `trace`.",
            )
        return trace

    def _variable(self, name: str) -> Any:
        first, *others = name.split(".")
        variables = self._variables()
        if first not in variables:
            _misused(f"There is no variable {name!r}.")
        value = variables[first]
        for other in others:
            value = getattr(value, other)
        return value

    def completions(self, line: str) -> tuple[str, list[str]] | None:
        """See `magics_completion.completions`."""
        return completions(line, self.connected, self._variables())

    def _connected(self, target: str, auth: Any, mode: Literal["auto", "legacy"]) -> Connected:
        from ..client.session import Session
        from ..lab.http_lab import HttpLab
        from ..lab.lab import Lab
        from ..trace.recorder import Trace

        value = target if target.startswith(("http://", "https://")) else self._variable(target)
        match value:
            case Lab():
                return Connected(target, value.session, value.trace, ToolList(), False, value.authorize)
            case HttpLab():
                return Connected(target, value.session, value.trace, ToolList(), False)
            case Session():
                return Connected(target, value, None, ToolList(), False)
        trace = Trace()
        session = run(Session.open(value, mode=mode, trace=trace, auth=auth))
        return Connected(target, session, trace, ToolList(), True)

    def _arguments(self, connected: Connected, name: str, text: str) -> dict[str, Any]:
        if text.startswith("{"):
            return _json_object(text)
        words = _words(text)
        if len(words) == 1 and words[0].startswith("$"):
            value = self._variable(words[0][1:])
            if not isinstance(value, dict):
                _misused(f"{words[0]} is not a dictionary of arguments.")
            return value
        tool = connected.tools.find(name)
        schemas = properties(tool) if tool is not None else {}
        arguments = {}
        for word in words:
            argument, equals, value = word.partition("=")
            if not equals:
                _misused(f"{word!r} is not argument=value; or write all arguments as a JSON object, {{...}}.")
            arguments[argument] = self._value(value, schemas.get(argument, {}))
        return arguments

    def _value(self, text: str, schema: dict[str, Any]) -> Any:
        if text.startswith("$"):
            return self._variable(text[1:])
        if types(schema) == {"string"}:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        try:
            return json.loads(text)
        except ValueError:
            return text


def _connect_options(rest: str) -> tuple[str, dict[str, Any]]:
    words = _words(rest)
    options: dict[str, Any] = {"auth": "", "legacy": False}
    targets = []
    while words:
        word = words.pop(0)
        if word == "--legacy":
            options["legacy"] = True
        elif word == "--auth" and words:
            options["auth"] = words.pop(0)
        elif word.startswith("-"):
            _misused(f"%mcp connect does not know {word!r}; it knows --legacy and --auth VARIABLE.")
        else:
            targets.append(word)
    if len(targets) != 1:
        _misused("%mcp connect takes one URL, or the name of one variable.")
    return targets[0], options


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        _misused(f"{error}: {text}")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        _misused(f"This is not JSON ({error}): {text}")
    assert isinstance(value, dict), "it begins with a brace"
    return value


def _takes_nothing(command: str, rest: str) -> None:
    if rest:
        _misused(f"%mcp {command} takes nothing more.")


def _listed(session: Session) -> ToolList:
    if session.server_capabilities.tools is None:
        return ToolList()
    return ToolList(tuple(run(session.list_tools()).tools))


def _let_go(connected: Connected) -> None:
    if connected.owned:
        run(connected.session.aclose())


def _misused(message: str) -> NoReturn:
    from IPython.core.error import UsageError

    raise UsageError(message)


_undo: dict[InteractiveShell, Callable[[], None]] = {}


def load(shell: InteractiveShell) -> None:
    """Give a shell `%mcp` and its completion; the second time do nothing."""
    if shell in _undo:
        return
    from IPython.core.magic import no_var_expand

    # IPython is typed in part only.
    ipython: Any = shell
    commands = _Commands(lambda: ipython.user_ns)

    # Without it IPython would expand the braces of JSON as variables.
    @no_var_expand
    def mcp(line: str) -> Any:
        return commands.run(line)

    mcp.__doc__ = _HELP
    lines: dict[str, Any] = ipython.magics_manager.magics["line"]
    before = lines.get("mcp")
    ipython.register_magic_function(mcp, "line", "mcp")
    matcher = _matcher(commands)
    ipython.Completer.custom_matchers.append(matcher)

    def undo() -> None:
        ipython.Completer.custom_matchers.remove(matcher)
        # A magic that was registered over it since stays.
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


def _matcher(commands: _Commands) -> Any:
    from IPython.core.completer import SimpleCompletion, context_matcher

    # IPython is typed in part only.
    as_matcher: Any = context_matcher

    def mcp_matcher(context: Any) -> Any:
        found = commands.completions(context.text_until_cursor)
        piece, offered = found or ("", [])
        return {
            "completions": [SimpleCompletion(text=text, type="mcp") for text in offered],
            "matched_fragment": piece,
            # Names of files and of Python are not offered after `%mcp`.
            "suppress": found is not None,
        }

    return as_matcher()(mcp_matcher)
