"""`%mcp` in IPython shells of the tests' own, and in a real kernel."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from kernels import PATIENCE, Kernel, started
from mcp import MCPError
from mcp.server import MCPServer, Server
from mcp_types import CallToolResult, ImageContent, TextContent, Tool
from shells import Shell, opened
from small_server import Knobs, build
from test_debug_command import Site, follows
from traitlets.config import Config

from mcp_oauth_nb import HttpLab, Lab, McpAuth, Session, Trace, load_ipython_extension, run
from mcp_oauth_nb.jupyter.magics_completion import COMMANDS
from mcp_oauth_nb.jupyter.magics_results import Connected, ExchangeList, ToolList, ToolResult
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    AuthenticationRequired,
    ConfigurationError,
    SessionClosed,
    SessionError,
    SessionFailed,
)
from mcp_oauth_nb.oauth.masking import remember
from mcp_oauth_nb.trace.diagram import Diagram
from mcp_oauth_nb.trace.messages import Exchange

USER = "get_github_user_info"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with opened(tmp_path) as shell:
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        yield shell
        shell.run_line_magic("unload_ext", "mcp_oauth_nb")


@pytest.fixture
def lab(shell: Shell) -> Iterator[Lab]:
    lab = run(Lab.open())
    shell.user_ns["lab"] = lab
    yield lab
    run(lab.aclose())


@pytest.fixture
def knobs(shell: Shell) -> Knobs:
    """Those of a small server, which is the variable `server`."""
    knobs = Knobs()
    shell.user_ns["server"] = build(knobs)
    return knobs


def mcp(shell: Shell, line: str) -> Any:
    return shell.run_line_magic("mcp", line)


def tab(shell: InteractiveShell, line: str) -> set[str]:
    """Press Tab at the end of a line; return what is offered."""
    with provisionalcompleter():
        return {completion.text for completion in shell.Completer.completions(line, len(line))}


# -- connecting ------------------------------------------------------------------------------------------------


def test_alone_it_says_what_it_can_do(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert mcp(shell, "") is None
    said = capsys.readouterr().out
    assert all(f"%mcp {command}" in said for command in COMMANDS)
    assert shell.find_line_magic("mcp").__doc__ == said.rstrip("\n")


def test_a_lab_is_connected_to_by_its_name_and_authorizes_when_asked(shell: Shell, lab: Lab) -> None:
    connected = mcp(shell, "connect lab")
    assert isinstance(connected, Connected)
    assert connected.session is lab.session
    assert repr(connected) == (
        "Connected to mcp-oauth-server 0.1.0 by MCP 2026-07-28: 2 tools\n"
        "get_github_user_info(include_repos: boolean = true, repo_limit: integer = 10, "
        "include_private: boolean = false)\n"
        "    Fetch the authenticated GitHub user and their repositories. Needs authorization.\n"
        'analyze_code_with_llm(code: string, analysis_type: string = "explain", max_tokens: integer = 500)\n'
        "    Analyse code with the client's own model, by MCP sampling. Needs no authorization."
    )
    result = mcp(shell, f"call {USER} repo_limit=1")
    assert isinstance(result, ToolResult)
    assert result.value["user"]["login"] == "octocat"
    assert len(result.value["repositories"]) == 1
    assert lab.oauth.token is not None


def test_an_http_lab_is_too(shell: Shell) -> None:
    lab = run(HttpLab.open())
    shell.user_ns["lab"] = lab
    assert mcp(shell, "connect lab").session is lab.session
    assert mcp(shell, f"call {USER}").value["user"]["login"] == "octocat"
    third = repr(mcp(shell, "trace")).splitlines()[2]
    assert third.split("  ")[1:3] == ["3", "MCP client -> MCP server"]
    assert third.endswith("  401 Unauthorized (error -32001)")
    lab.browser.allow = False
    with pytest.raises(AccessDenied):
        mcp(shell, f"call {USER} include_private=true")
    run(lab.aclose())


def test_a_url_is_connected_to_with_the_browser(shell: Shell) -> None:
    with Site().running() as site:
        shell.user_ns["mine"] = McpAuth(open_browser=follows, show=str, timeout=PATIENCE)
        connected = mcp(shell, f"connect {site.url} --auth mine --legacy")
        assert repr(connected).startswith("Connected to protected")
        assert "by MCP 2025-11-25: 2 tools" in repr(connected)
        assert repr(mcp(shell, "call whoami")) == '{"result": "octocat"}'
        assert "POST /register" in repr(mcp(shell, "trace"))
        mcp(shell, "close")


def test_a_variable_may_hold_the_url_too(shell: Shell) -> None:
    shell.user_ns["url"] = "http://127.0.0.1:9/mcp"
    with pytest.raises(SessionFailed):
        mcp(shell, "connect url")


def test_a_server_object_is_connected_to_and_without_a_token_its_challenge_is_the_error(
    shell: Shell, knobs: Knobs
) -> None:
    connected = mcp(shell, "connect server")
    assert connected.session.server_info.name == "small"
    assert repr(mcp(shell, "call add a=1 b=2")) == '{"result": 3}'
    with pytest.raises(AuthenticationRequired) as caught:
        mcp(shell, "call protected")
    assert caught.value.challenge is not None
    with pytest.raises(MCPError):
        mcp(shell, "call not_configured")


def test_what_a_variable_holds_may_be_one_of_its_attributes(shell: Shell, lab: Lab) -> None:
    connected = mcp(shell, "connect lab.server")
    assert connected.session is not lab.session
    assert connected.trace is not lab.trace


def test_connecting_again_closes_what_was_opened_before(shell: Shell, knobs: Knobs) -> None:
    first = mcp(shell, "connect server").session
    second = mcp(shell, "connect server").session
    assert knobs.lifespans == 1
    with pytest.raises(SessionClosed):
        run(first.list_tools())
    assert run(second.list_tools()).tools


def test_connecting_to_the_session_that_is_connected_does_not_close_it(shell: Shell, knobs: Knobs) -> None:
    shell.user_ns["mine"] = mcp(shell, "connect server")
    assert mcp(shell, "connect mine.session").session is shell.user_ns["mine"].session
    assert mcp(shell, "call add a=1 b=2").value == {"result": 3}
    run(shell.user_ns["mine"].session.aclose())


def test_where_connecting_fails_the_connection_of_before_stays(shell: Shell, knobs: Knobs) -> None:
    mcp(shell, "connect server")
    with pytest.raises(SessionFailed):
        mcp(shell, "connect http://127.0.0.1:9/mcp")
    assert mcp(shell, "call add a=1 b=2").value == {"result": 3}


def test_a_server_that_is_of_no_use_is_not_left_connected(shell: Shell) -> None:
    knobs = Knobs()
    server = build(knobs)

    async def breaks(ctx: Any, call_next: Any) -> Any:
        if ctx.method == "tools/list":
            raise MCPError(-32603, "not today")
        return await call_next(ctx)

    server.middleware.append(breaks)
    shell.user_ns["server"] = server
    with pytest.raises(MCPError):
        mcp(shell, "connect server")
    assert knobs.lifespans == 0
    with pytest.raises(SessionClosed):
        mcp(shell, "tools")


def test_closing_closes_what_it_opened_and_leaves_what_is_a_variables(
    shell: Shell, lab: Lab, knobs: Knobs, capsys: pytest.CaptureFixture[str]
) -> None:
    mcp(shell, "connect server")
    assert mcp(shell, "close") is None
    assert knobs.lifespans == 0
    mcp(shell, "connect lab")
    mcp(shell, "close")
    assert run(lab.session.list_tools()).tools
    mcp(shell, "close")
    assert capsys.readouterr().out == "Closed.\nLet go of lab, which stays open.\nNothing was connected.\n"


MISUSED = {
    "nonsense": "%mcp has no command 'nonsense'; it has connect, tools, call, trace, close.",
    "connect": "%mcp connect takes one URL, or the name of one variable.",
    "connect a b": "%mcp connect takes one URL, or the name of one variable.",
    "connect nothing": "There is no variable 'nothing'.",
    "connect lab --auth nothing": "There is no variable 'nothing'.",
    "connect lab --fast": "%mcp connect does not know '--fast'; it knows --legacy and --auth VARIABLE.",
    "connect lab --auth": "%mcp connect does not know '--auth'; it knows --legacy and --auth VARIABLE.",
    "tools now": "%mcp tools takes nothing more.",
    "close now": "%mcp close takes nothing more.",
    "call": "Which tool? %mcp call NAME; %mcp tools lists them.",
    "call x 7": "'7' is not argument=value; or write all arguments as a JSON object, {...}.",
    "call x 'a": "No closing quotation: 'a",
    "call x {1}": "This is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)): {1}",
    "call x $lab": "$lab is not a dictionary of arguments.",
    "call x a=$nothing": "There is no variable 'nothing'.",
    "trace 0": "%mcp trace takes nothing, `diagram`, or a number from 1 to 2.",
    "trace picture": "%mcp trace takes nothing, `diagram`, or a number from 1 to 2.",
}


def test_a_mistake_is_one_line_that_says_how_it_goes(shell: Shell, lab: Lab) -> None:
    mcp(shell, "connect lab")
    for line, said in MISUSED.items():
        with pytest.raises(UsageError) as caught:
            mcp(shell, line)
        assert str(caught.value) == said


def test_errors_are_typed_and_say_what_to_do(shell: Shell) -> None:
    for line in ("tools", "call x", "trace"):
        with pytest.raises(SessionClosed, match="What to do: Begin with: %mcp connect URL"):
            mcp(shell, line)
    shell.user_ns["seven"] = 7
    with pytest.raises(ConfigurationError):
        mcp(shell, "connect seven")
    name, text, _ = shell.cell("%mcp connect seven")
    assert (name, text.splitlines()[0]) == ("ConfigurationError", "A session cannot connect to an object of type int.")


# -- calling ---------------------------------------------------------------------------------------------------


@pytest.fixture
def echo(shell: Shell) -> list[Any]:
    """A connection to a tool that takes anything, and what it was given."""
    server, given = MCPServer("echo", log_level="CRITICAL"), []

    @server.tool()
    def echo(
        text: str = "", number: int = 0, flag: bool | None = None, either: str | int = "", more: Any = None
    ) -> str:
        """Say it.

        And more.
        """
        given.append({"text": text, "number": number, "flag": flag, "either": either, "more": more})
        return text

    shell.user_ns["server"] = server
    mcp(shell, "connect server")
    return given


ARGUMENTS: dict[str, dict[str, Any]] = {
    '{"text": "{text} $text {0!r}", "number": 3}': {"text": "{text} $text {0!r}", "number": 3},
    "text=7 number=7": {"text": "7", "number": 7},
    "text='two words' more=\"a = b\"": {"text": "two words", "more": "a = b"},
    "flag=true": {"flag": True},
    "flag=True": {"flag": True},
    "flag=null": {"flag": None},
    "either=7": {"either": 7},
    "either=seven": {"either": "seven"},
    "more=[1,2]": {"more": [1, 2]},
    "more=$numbers": {"more": [1, 2, 3]},
    "more=$holder.numbers": {"more": [4]},
    "$everything": {"text": "all", "number": 1},
    "text=": {"text": ""},
}


def test_arguments_are_json_or_pairs_or_variables(shell: Shell, echo: list[Any]) -> None:
    class Holder:
        numbers = (4,)

    shell.user_ns |= {"numbers": [1, 2, 3], "holder": Holder, "everything": {"text": "all", "number": 1}}
    nothing = {"text": "", "number": 0, "flag": None, "either": "", "more": None}
    for line, arguments in ARGUMENTS.items():
        # As a cell, so that IPython has its turn with the braces.
        assert shell.run_cell(f"%mcp call echo {line}").success
        assert echo.pop() == {**nothing, **arguments}, line


def test_pythons_words_are_understood_where_a_text_is_not_meant(shell: Shell, echo: list[Any]) -> None:
    mcp(shell, "call echo flag=None text=None")
    assert (echo[0]["flag"], echo[0]["text"]) == (None, "None")


def test_a_tool_that_is_not_listed_can_be_called_and_says_no(shell: Shell, knobs: Knobs) -> None:
    mcp(shell, "connect server")
    result = mcp(shell, "call nothing a=1")
    assert result.is_error
    assert repr(result) == "✘ nothing failed: Unknown tool: nothing"


def test_a_result_shows_its_structure_or_else_its_text(shell: Shell, knobs: Knobs) -> None:
    server = shell.user_ns["server"]

    @server.tool(structured_output=False)
    def picture() -> list[Any]:
        return [TextContent(type="text", text="A cat:"), ImageContent(type="image", data="", mime_type="image/png")]

    @server.tool(structured_output=False)
    def silent() -> None:
        return None

    mcp(shell, "connect server")
    assert repr(mcp(shell, "call picture")) == "A cat:\n(image)"
    assert repr(mcp(shell, "call silent")) == "(none)"


def test_what_a_server_says_reaches_the_screen_masked_and_escaped(shell: Shell, echo: list[Any]) -> None:
    secret = "Kd8" * 12
    remember(secret)
    shell.user_ns["said"] = f"one\x1b[2J\n\u202etwo {secret}"
    result = mcp(shell, "call echo text=$said")
    assert secret in result.value["result"]
    shown = repr(ToolResult("echo", result.result.model_copy(update={"structured_content": None})))
    assert shown.startswith("one\\x1b[2J\n\\u202etwo ****")
    assert "\x1b" not in repr(result)
    assert secret not in repr(result)


def test_so_does_what_it_says_of_itself_and_its_tools(shell: Shell) -> None:
    secret = "Kd9" * 12
    remember(secret)
    odd = f"\x1b[2J\u202e{secret}"
    schema = {"properties": {odd: {"type": odd}, f"{odd}2": {"type": "string", "default": odd}}, "required": [odd]}
    tools = ToolList((Tool(name=odd, description=f"{odd}\nMore.", input_schema={"type": "object", **schema}),))
    shell.user_ns["server"] = Server(odd, version=odd)
    connected = mcp(shell, "connect server")
    answer = CallToolResult(content=[TextContent(type="text", text=odd)], is_error=True)
    for shown in (tools, dataclasses.replace(connected, tools=tools), ToolResult(odd, answer)):
        assert repr(shown).count("\\x1b[2J\\u202e****") >= 2
        assert not {"\x1b", "\u202e"} & set(repr(shown))
        assert secret not in repr(shown)


# -- looking ---------------------------------------------------------------------------------------------------


def test_the_tools_are_a_list_with_names(shell: Shell, echo: list[Any]) -> None:
    tools = mcp(shell, "tools")
    assert isinstance(tools, ToolList)
    assert tools["echo"] is tools[0]
    assert tools.find("other") is None
    with pytest.raises(KeyError):
        tools["other"]
    assert repr(tools) == (
        'echo(text: string = "", number: integer = 0, flag: boolean = null, either: integer or string = "", '
        "more = null)\n    Say it."
    )
    assert repr(ToolList()) == "(none)"


def test_a_server_without_tools_has_none(shell: Shell) -> None:
    shell.user_ns["server"] = Server("bare")
    assert repr(mcp(shell, "connect server")).endswith("0 tools\n(none)")


def test_the_trace_is_a_table_a_diagram_or_one_exchange(shell: Shell, knobs: Knobs) -> None:
    mcp(shell, "connect server")
    mcp(shell, "call add a=1 b=2")
    table = mcp(shell, "trace")
    assert isinstance(table, ExchangeList)
    assert len(table) == 3
    assert repr(table) == (
        " 1  MCP client -> MCP server  server/discover  server/discover: result\n"
        " 2  MCP client -> MCP server  tools/list       tools/list: result\n"
        " 3  MCP client -> MCP server  tools/call add   tools/call: result"
    )
    diagram = mcp(shell, "trace diagram")
    assert isinstance(diagram, Diagram)
    assert "tools/call add" in diagram.text
    third = mcp(shell, "trace 3")
    assert isinstance(third, Exchange)
    assert third == table[2]
    assert repr(ExchangeList(())) == "(none)"


def test_a_notification_has_no_answer_and_a_request_under_way_has_none_yet(shell: Shell) -> None:
    trace = Trace()
    for kind in ("request", "notification"):
        trace.record(sender="a", receiver="b", protocol="jsonrpc", kind=kind, title=kind)  # type: ignore[arg-type]
    assert repr(ExchangeList(trace.exchanges)) == " 1  a -> b  request       (no answer yet)\n 2  a -> b  notification"


def test_a_session_of_ones_own_can_be_called_and_says_who_has_its_trace(shell: Shell, knobs: Knobs) -> None:
    session = run(Session.open(shell.user_ns["server"]))
    shell.user_ns["session"] = session
    assert mcp(shell, "connect session").session is session
    assert mcp(shell, "call add a=1 b=2").value == {"result": 3}
    with pytest.raises(SessionError, match="%mcp connect URL records"):
        mcp(shell, "trace")
    run(session.aclose())


# -- on and off ------------------------------------------------------------------------------------------------


def test_unloading_closes_what_it_opened_and_leaves_no_trace(tmp_path: Path) -> None:
    with opened(tmp_path) as shell:
        magics = {kind: set(found) for kind, found in shell.magics_manager.magics.items()}
        functions = set(vars(shell.magics_manager.user_magics))
        knobs = Knobs()
        shell.user_ns["server"] = build(knobs)
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        mcp(shell, "connect server")
        shell.run_line_magic("unload_ext", "mcp_oauth_nb")
        assert knobs.lifespans == 0
        assert {kind: set(found) for kind, found in shell.magics_manager.magics.items()} == magics
        assert set(vars(shell.magics_manager.user_magics)) == functions
        assert shell.Completer.custom_matchers == []
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        with pytest.raises(SessionClosed):
            mcp(shell, "tools")
        shell.run_line_magic("unload_ext", "mcp_oauth_nb")


def test_a_server_that_fails_while_it_closes_does_not_keep_the_rest_loaded(tmp_path: Path) -> None:
    with opened(tmp_path) as shell:
        knobs = Knobs(farewell=RuntimeError("goodbye"))
        shell.user_ns["server"] = build(knobs)
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        mcp(shell, "connect server")
        with pytest.raises(SessionFailed):
            shell.run_line_magic("unload_ext", "mcp_oauth_nb")
        assert shell.find_line_magic("mcp") is None
        assert "showtraceback" not in vars(shell)


def test_a_command_of_the_same_name_comes_back_and_a_later_one_stays(tmp_path: Path) -> None:
    @no_var_expand
    def earlier(line: str) -> str:
        return "earlier"

    def later(line: str) -> str:
        return "later"

    with opened(tmp_path) as shell:
        shell.register_magic_function(earlier, magic_name="mcp")
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        assert mcp(shell, "") is None
        shell.run_line_magic("unload_ext", "mcp_oauth_nb")
        assert mcp(shell, "") == "earlier"
        shell.run_line_magic("load_ext", "mcp_oauth_nb")
        shell.register_magic_function(later, magic_name="mcp")
        shell.run_line_magic("unload_ext", "mcp_oauth_nb")
        assert mcp(shell, "") == "later"


def test_loading_twice_is_loading_once(shell: Shell) -> None:
    before = shell.find_line_magic("mcp")
    load_ipython_extension(shell)
    assert shell.find_line_magic("mcp") is before
    assert len(shell.Completer.custom_matchers) == 1


# -- completion ------------------------------------------------------------------------------------------------

LINES = {
    "%mc": {"%mcp"},
    "%mcp ": set(COMMANDS),
    "%mcp c": {"connect", "call", "close"},
    "value = %mcp c": {"connect", "call", "close"},
    "%mcp connect ": {"lab", "server", "--legacy", "--auth"},
    "%mcp connect s": {"server"},
    "%mcp connect lab ": {"--legacy", "--auth"},
    "%mcp connect --": {"--legacy", "--auth"},
    "%mcp connect --legacy ": {"lab", "server", "--auth"},
    "%mcp connect --auth ": {"mine"},
    "%mcp connect --auth mine ": {"lab", "server", "--legacy"},
    "%mcp call ": {USER, "analyze_code_with_llm"},
    "%mcp call a": {"analyze_code_with_llm"},
    f"%mcp call {USER} ": {"include_repos=", "repo_limit=", "include_private="},
    f"%mcp call {USER} repo_limit=1 ": {"include_repos=", "include_private="},
    f"%mcp call {USER} include_private=": {"include_private=true", "include_private=false"},
    "%mcp call analyze_code_with_llm analysis_type=s": {
        "analysis_type=security_review",
        "analysis_type=suggest_improvements",
    },
    "%mcp trace ": {"diagram", "1", "2"},
    "%mcp trace d": {"diagram"},
}
# IPython's own matchers have their say here.
NOTHING_OF_OURS = [
    "%mcp tools ",
    "%mcp close ",
    f"%mcp call {USER} {{",
    f"%mcp call {USER} repo_limit=",
    "%mcp call other ",
    "%mcp trace 1 ",
    "%mcp other ",
    "mcp c",
    "x % mcp c",
    "%mcpc",
    "print(1)",
]


@pytest.fixture
def connected(shell: Shell, lab: Lab) -> Shell:
    shell.user_ns |= {"server": lab.server, "mine": McpAuth(), "_hidden": lab, "other": 7}
    mcp(shell, "connect lab")
    return shell


def test_tab_offers_commands_variables_tools_and_arguments(connected: Shell) -> None:
    for line, offered in LINES.items():
        assert tab(connected, line) == offered, line


def test_tab_offers_nothing_of_ours_elsewhere(connected: Shell) -> None:
    ours = set(COMMANDS) | {USER, "analyze_code_with_llm", "diagram", "repo_limit=", "include_repos=", "--legacy"}
    for line in NOTHING_OF_OURS:
        assert not tab(connected, line) & ours, line


def test_tab_asks_no_server(connected: Shell, lab: Lab) -> None:
    before = len(lab.trace)
    for line in LINES:
        tab(connected, line)
    assert len(lab.trace) == before


def test_tab_before_anything_is_connected_offers_no_tools(shell: Shell) -> None:
    for line in ("%mcp call ", "%mcp call add ", "%mcp trace 1"):
        assert not tab(shell, line) & {"add", "a=", "1"}


# -- a terminal and a kernel -----------------------------------------------------------------------------------


def test_in_a_terminal_it_works_as_well(tmp_path: Path) -> None:
    config = Config(HistoryManager={"hist_file": ":memory:"}, TerminalInteractiveShell={"simple_prompt": True})
    shell = TerminalInteractiveShell(ipython_dir=str(tmp_path), config=config)
    shell.user_ns["server"] = build()
    assert shell.run_cell("%load_ext mcp_oauth_nb").success
    assert shell.run_cell("%mcp connect server").success
    assert shell.run_cell("result = %mcp call add a=1 b=2").success
    assert shell.user_ns["result"].value == {"result": 3}
    assert tab(shell, "%mcp call a") == {"add"}
    assert shell.run_cell("%unload_ext mcp_oauth_nb").success
    shell.history_manager.end_session()
    shell.restore_sys_module_state()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with started(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.value("%load_ext mcp_oauth_nb")
        yield kernel


def completed(kernel: Kernel, code: str) -> list[str]:
    """Press Tab at the end of a cell."""
    request = kernel._client.complete(code, len(code))
    while True:
        message = kernel._client.get_shell_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") == request:
            return sorted(message["content"]["matches"])


def test_in_a_kernel_the_cells_of_a_notebook(kernel: Kernel) -> None:
    kernel.value("from mcp_oauth_nb import Lab; lab = await Lab.open()")
    assert kernel.value("%mcp connect lab").startswith("Connected to mcp-oauth-server 0.1.0")
    assert '"login": "octocat"' in kernel.value(f"%mcp call {USER} repo_limit=1")
    assert kernel.value("(await lab.session.list_tools()).tools[0].name") == f"'{USER}'"
    assert "tools/call" in kernel.value("%mcp trace")
    assert completed(kernel, "1 + 1\n%mcp call an") == ["analyze_code_with_llm"]
    assert completed(kernel, "%mcp c") == ["call", "close", "connect"]
    failed = kernel.run("%mcp trace 99")
    assert "%mcp trace takes nothing, `diagram`, or a number from 1 to " in failed.stderr


def test_in_a_kernel_stop_ends_a_call_and_the_connection_stays(kernel: Kernel) -> None:
    kernel.value("""
import threading
from small_server import Knobs, build
knobs = Knobs()
server = build(knobs)
threading.Thread(target=lambda: (knobs.waiting.wait(), print("waiting", flush=True))).start()
""")
    kernel.value("%mcp connect server")
    cell = kernel.start("%mcp call wait")
    kernel.wait_for_output("waiting")
    kernel.interrupt()
    outcome = kernel.finish(cell)
    assert outcome.error is not None
    assert outcome.error["ename"] == "KeyboardInterrupt"
    assert outcome.seconds < 2
    assert kernel.value("knobs.stopped.wait(5)") == "True"
    assert kernel.value("%mcp call add a=1 b=2") == '{"result": 3}'


def test_in_a_kernel_the_address_for_the_browser_is_shown_under_the_cell(kernel: Kernel) -> None:
    with Site().running() as site:
        kernel.value("import webbrowser; nobody = webbrowser.GenericBrowser('true')")
        kernel.value("webbrowser.register('nobody', None, nobody, preferred=True)")
        cell = kernel.start(f"%mcp connect {site.url}")
        printed = ""
        while "\n\n  http" not in printed:
            message = kernel._client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == cell:
                printed += message["content"]["text"]
        address = printed.split("\n\n  ")[1].split()[0]
        assert httpx.get(address, follow_redirects=True).status_code == 200
        assert kernel.finish(cell).result.startswith("Connected to protected")
        kernel.value("%unload_ext mcp_oauth_nb")
        assert kernel.run("%mcp tools").stderr == "UsageError: Line magic function `%mcp` not found.\n"


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import mcp_oauth_nb.jupyter.magics, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"mcp", "httpx", "pydantic", "ipywidgets", "IPython"}
