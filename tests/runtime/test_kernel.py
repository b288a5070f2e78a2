from __future__ import annotations

import io
import logging
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython import get_ipython
from IPython.core.error import UsageError
from shells import Shell, opened

from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.runtime.kernel import install, load_ipython_extension, unload_ipython_extension

# As long as a real one, and of no known shape: only that it was remembered gives it away.
SECRET = "Zk3" + "qW9" * 12 + "%2F" + "x7"
MASKED = mask(SECRET)
# What a refresh token, a client's secret or a password may be. Its runs of letters are what would show.
AWKWARD = r"""Zk3qW+9vTb/8NxLm"2RpY'7sHd\F1gJ&5wKa<6tEcwéDhPz"""
RUNS = re.findall(r"\w{4,}", AWKWARD)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with opened(tmp_path) as shell:
        yield shell


@pytest.fixture
def loaded(shell: Shell) -> Shell:
    load_ipython_extension(shell)
    return shell


# -- on and off ------------------------------------------------------------------------------------------------


def test_the_extension_is_loaded_and_unloaded_by_name(shell: Shell) -> None:
    untouched = dict(vars(shell))
    callbacks = {event: list(functions) for event, functions in shell.events.callbacks.items()}
    shell.run_line_magic("load_ext", "mcp_oauth_nb")
    assert "showtraceback" in vars(shell)
    shell.run_line_magic("unload_ext", "mcp_oauth_nb")
    del untouched["shown"]
    assert {name: value for name, value in vars(shell).items() if name in untouched} == untouched
    assert "showtraceback" not in vars(shell)
    assert {event: list(functions) for event, functions in shell.events.callbacks.items()} == callbacks


def test_loading_twice_is_loading_once(loaded: Shell) -> None:
    load_ipython_extension(loaded)
    assert "ZeroDivisionError" in loaded.cell("1/0")[2]
    unload_ipython_extension(loaded)
    assert "showtraceback" not in vars(loaded)


def test_the_first_open_loads_it_so_that_it_can_be_unloaded_by_name(shell: Shell) -> None:
    install(shell)
    assert "mcp_oauth_nb" in shell.extension_manager.loaded
    shell.run_line_magic("unload_ext", "mcp_oauth_nb")
    assert "showtraceback" not in vars(shell)


def test_a_later_open_respects_that_it_was_unloaded(shell: Shell) -> None:
    install(shell)
    shell.run_line_magic("unload_ext", "mcp_oauth_nb")
    install(shell)
    assert "showtraceback" not in vars(shell)
    shell.run_line_magic("load_ext", "mcp_oauth_nb")
    assert "showtraceback" in vars(shell)


def test_outside_ipython_there_is_nothing_to_install() -> None:
    # IPython is imported, but no shell runs.
    assert get_ipython() is None
    install()


def test_a_program_without_ipython_does_not_import_it() -> None:
    code = "import sys; from mcp_oauth_nb.runtime.kernel import install; install(); print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "False\n"


def test_the_slow_import_of_the_first_call_is_begun() -> None:
    code = """if True:
        import sys, threading
        from mcp_oauth_nb.runtime import kernel
        kernel._import_slow_modules()
        for thread in set(threading.enumerate()) - {threading.main_thread()}:
            thread.join()
        print("jsonschema" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "True\n"


ORDINARY = [
    "1/0",
    "1/",
    "if 1:\nx",
    "'unfinished",
    "raise KeyboardInterrupt",
    "assert False, 'why'",
    "%nonsense",
    "raise UsageError('wrong')",
]


@pytest.mark.parametrize("code", ORDINARY)
def test_ordinary_errors_look_as_before(shell: Shell, capsys: pytest.CaptureFixture[str], code: str) -> None:
    shell.user_ns["UsageError"] = UsageError

    def look() -> tuple[Any, str]:
        shell.shown.clear()
        shell.execution_count = 1
        assert not shell.run_cell(code, store_history=True).success
        return list(shell.shown), capsys.readouterr().err

    before = look()
    assert before != ([], "")
    load_ipython_extension(shell)
    assert look() == before


def test_a_users_own_handler_stays_the_one_that_is_called(shell: Shell) -> None:
    handled: list[str] = []

    def handler(self: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None) -> None:
        handled.append(kind.__name__)

    shell.set_custom_exc((LookupError,), handler)
    load_ipython_extension(shell)
    assert not shell.run_cell("{}[1]").success
    unload_ipython_extension(shell)
    assert not shell.run_cell("[][1]").success
    assert handled == ["KeyError", "IndexError"]
    assert shell.shown == []


def test_somebody_who_came_in_front_of_us_later_stays_when_we_go(loaded: Shell) -> None:
    ours = loaded._showtraceback
    seen: list[str] = []

    def theirs(kind: type, error: BaseException, lines: list[str]) -> None:
        seen.append(kind.__name__)
        ours(kind, error, lines)

    loaded._showtraceback = theirs  # type: ignore[method-assign]
    unload_ipython_extension(loaded)
    remember(SECRET)
    assert SECRET in loaded.cell(f"raise ValueError({SECRET!r})")[1]
    assert seen == ["ValueError"]


def test_somebody_who_was_there_first_is_put_back(shell: Shell) -> None:
    def theirs(kind: type, error: BaseException, lines: list[str]) -> None: ...

    shell._showtraceback = theirs  # type: ignore[method-assign]
    load_ipython_extension(shell)
    unload_ipython_extension(shell)
    assert shell._showtraceback is theirs


# -- exception groups ------------------------------------------------------------------------------------------

GROUPS = {
    "a group": "raise ExceptionGroup('several', [ValueError('first'), OSError('second')])",
    "a group of base exceptions": "raise BaseExceptionGroup('several', [KeyboardInterrupt()])",
    "an error while a group was handled": (
        "try:\n  raise ExceptionGroup('several', [ValueError('first')])\nexcept Exception:\n  raise OSError('after')"
    ),
}


@pytest.mark.parametrize("code", GROUPS.values(), ids=GROUPS)
def test_ipython_alone_shows_no_error_for_a_group(shell: Shell, capsys: pytest.CaptureFixture[str], code: str) -> None:
    # If this fails, IPython has learnt it, and `_report_groups` can go.
    assert not shell.run_cell(code).success
    assert shell.shown == []
    assert "several" in capsys.readouterr().err


@pytest.mark.parametrize("code", GROUPS.values(), ids=GROUPS)
def test_a_group_in_the_chain_is_shown_as_an_error(
    loaded: Shell, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    kind, text, trace = loaded.cell(code)
    assert kind in ("ExceptionGroup", "BaseExceptionGroup", "OSError")
    assert "several" in text or text == "after"
    assert "several" in trace
    assert capsys.readouterr().err == ""


def test_a_groups_traceback_names_the_cell_and_hides_ipython(loaded: Shell) -> None:
    trace = loaded.cell("def deep():\n  raise ExceptionGroup('several', [ValueError('first')])\ndeep()")[2]
    # Later versions of Python underline the call.
    assert [line for line in trace.splitlines() if not set(line) <= set(" |~^")] == [
        "  + Exception Group Traceback (most recent call last):",
        "  |   Cell In[1], line 3, in <module>",
        "  |     deep()",
        "  |   Cell In[1], line 2, in deep",
        "  |     raise ExceptionGroup('several', [ValueError('first')])",
        "  | ExceptionGroup: several (1 sub-exception)",
        "  +-+---------------- 1 ----------------",
        "    | ValueError: first",
        "    +------------------------------------",
    ]


def test_a_file_that_is_no_cell_keeps_its_name(loaded: Shell, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise ExceptionGroup('several', [ValueError('first')])")
    assert f'File "{script}", line 1' in loaded.cell(f"import runpy; runpy.run_path({str(script)!r})")[2]


def test_the_group_can_be_looked_at_afterwards(loaded: Shell) -> None:
    loaded.cell("raise ExceptionGroup('several', [ValueError('first')])")
    assert isinstance(sys.last_value, ExceptionGroup)
    loaded.shown.clear()
    loaded.run_line_magic("tb", "")
    assert [kind for kind, _, _ in loaded.shown] == ["ExceptionGroup"]


def test_the_debugger_is_entered_where_the_user_asked_for_it(loaded: Shell) -> None:
    entered: list[bool] = []
    loaded.debugger = lambda force: entered.append(force)  # type: ignore[method-assign]
    loaded.InteractiveTB.call_pdb = False
    loaded._call_pdb = True
    loaded.cell("raise ExceptionGroup('several', [ValueError('first')])")
    assert entered == [True]


def test_leaving_with_a_group_in_the_chain_is_shown_as_leaving(loaded: Shell) -> None:
    with pytest.warns(UserWarning, match="To exit"):
        kind, _, trace = loaded.cell(
            "try:\n  raise ExceptionGroup('several', [ValueError('first')])\nexcept Exception:\n  raise SystemExit(3)"
        )
    assert kind == "SystemExit"
    assert "use %tb to see the full traceback" in trace


# -- secrets ---------------------------------------------------------------------------------------------------


@pytest.fixture
def _known() -> None:
    remember(SECRET)
    remember(AWKWARD)


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    "code",
    [
        f"raise ValueError('token ' + {SECRET!r})",
        f"raise ExceptionGroup('several', [ValueError({SECRET!r})])",
        f"raise KeyboardInterrupt({SECRET!r})",
        f"x = {SECRET!r} +",
    ],
    ids=["message", "group", "no Exception", "syntax error"],
)
def test_a_known_secret_is_masked_in_any_traceback(loaded: Shell, code: str) -> None:
    shown = "\n".join(loaded.cell(code))
    assert SECRET not in shown
    # Highlighting cuts it at `%2F`; its pieces must not be there either.
    assert SECRET[:20] not in shown
    assert MASKED in shown


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    "code",
    [
        "raise KeyError(awkward)",
        "raise ValueError({'token': awkward})",
        "raise ValueError(awkward.encode())",
        "import json; raise ValueError({'body': json.dumps({'token': awkward})})",
        "import html; raise ValueError(html.escape(awkward))",
        "def f(token, body): 1/0\nf(awkward, awkward.encode())",
    ],
    ids=["KeyError", "dict", "bytes", "JSON", "HTML", "variables"],
)
def test_a_secret_with_quotes_and_backslashes_is_masked_as_python_writes_it(loaded: Shell, code: str) -> None:
    loaded.user_ns["awkward"] = AWKWARD
    loaded.run_line_magic("xmode", "Verbose")
    shown = "\n".join([*loaded.cell(code), repr(loaded.last_execution_result.error_in_exec)])
    assert not any(run in shown for run in RUNS)
    assert mask(AWKWARD) in shown


@pytest.mark.usefixtures("_known")
def test_the_reply_and_the_stored_error_hold_no_secret_and_the_same_name(loaded: Shell) -> None:
    loaded.cell(f"raise LookupError({SECRET!r})")
    result = loaded.last_execution_result
    # The kernel makes its reply of these two.
    assert type(result.error_in_exec).__name__ == "LookupError"
    assert str(result.error_in_exec) == MASKED
    # %notebook saves these.
    assert SECRET[:20] not in str(loaded.history_manager.exceptions)


@pytest.mark.parametrize("code", ["def f({0}): global {0}", "from __future__ import {0}"])
def test_a_secret_in_a_cell_that_cannot_be_parsed_is_masked_in_the_reply_too(loaded: Shell, code: str) -> None:
    # Without quotes it is a name, and Python's message quotes it.
    secret = "Zk3" + "qW9" * 12
    remember(secret)
    loaded.cell(code.format(secret))
    error = loaded.last_execution_result.error_before_exec
    assert type(error).__name__ == "SyntaxError"
    assert mask(secret) in str(error)
    assert secret[:20] not in str(error)


@pytest.mark.usefixtures("_known")
def test_the_reply_to_a_cell_that_runs_silently_holds_no_secret_either(loaded: Shell) -> None:
    result = loaded.run_cell(f"raise LookupError({SECRET!r})", silent=True)
    assert str(result.error_in_exec) == MASKED


@pytest.mark.usefixtures("_known")
def test_a_secret_in_the_error_of_a_transformer_is_masked_in_the_reply_too(loaded: Shell) -> None:
    def refuse(lines: list[str]) -> list[str]:
        raise LookupError(SECRET)

    loaded.input_transformers_cleanup.append(refuse)
    loaded.cell("1 + 1")
    assert str(loaded.last_execution_result.error_before_exec) == MASKED


@pytest.mark.usefixtures("_known")
def test_what_a_cell_prints_is_its_own_business(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded.run_cell(f"print({SECRET!r})").success
    assert SECRET in capsys.readouterr().out


def test_an_error_without_a_secret_stays_the_very_object(loaded: Shell) -> None:
    loaded.user_ns["error"] = error = ValueError("nothing to hide")
    loaded.cell("raise error")
    assert loaded.last_execution_result.error_in_exec is error


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError(SECRET)


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize("note", ["nothing to hide", SECRET])
def test_an_error_whose_text_cannot_be_had_is_shown_without_it(loaded: Shell, note: str) -> None:
    loaded.user_ns["error"] = error = Speechless()
    error.add_note(note)
    kind, text, trace = loaded.cell("raise error")
    assert (kind, text) == ("Speechless", "<exception str() failed>")
    # IPython's traceback says why, in its own way.
    assert MASKED in trace
    result = loaded.last_execution_result
    assert type(result.error_in_exec).__name__ == "Speechless"
    stored = getattr(loaded.history_manager, "exceptions", {})
    assert SECRET[:20] not in "\n".join([trace, str(stored), str(result.error_in_exec), str(result.error_before_exec)])


@pytest.mark.usefixtures("_known")
def test_what_ipython_itself_fails_to_show_is_masked_in_the_reply(loaded: Shell) -> None:
    class Stopped(Exception):
        def _render_traceback_(self) -> list[str]:
            raise KeyboardInterrupt(SECRET)

    loaded.user_ns["error"] = Stopped()
    result = loaded.run_cell("raise error", store_history=True)
    assert type(result.error_in_exec).__name__ == "KeyboardInterrupt"
    assert str(result.error_in_exec) == MASKED


def test_a_variable_is_not_taken_for_the_secret_it_holds(loaded: Shell) -> None:
    trace = loaded.cell("def exchange(code_verifier): 1/0\nexchange(code_verifier=str())")[2]
    assert "****" not in trace


# -- what no cell raises ---------------------------------------------------------------------------------------


@pytest.fixture
def as_in_a_kernel() -> Iterator[None]:
    """pytest has hooks of its own in front of these, which would collect the errors."""
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = threading.__excepthook__, sys.__unraisablehook__
    yield
    assert (threading.excepthook, sys.unraisablehook) == (threading.__excepthook__, sys.__unraisablehook__)
    threading.excepthook, sys.unraisablehook = before


class Finalized:
    def __init__(self, text: str):
        self.text = text

    def __del__(self) -> None:
        raise ValueError(self.text)


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.mark.usefixtures("_known", "as_in_a_kernel")
@pytest.mark.parametrize("hook", ["thread", "finalizer"])
def test_an_error_that_no_cell_raises_is_masked_and_others_look_as_before(
    hook: str, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    def written(text: str) -> str:
        if hook == "thread":
            thread = threading.Thread(target=fail, args=(text,), name="worker")
            thread.start()
            thread.join()
        else:
            Finalized(text)
        return capsys.readouterr().err

    plain = written("nothing to hide")
    assert SECRET in written(SECRET)
    load_ipython_extension(shell)
    assert written("nothing to hide") == plain
    masked = written(f"sent {SECRET}")
    assert SECRET[:8] not in masked
    assert f"ValueError: sent {MASKED}" in masked
    # Python 3.14: "ignored while calling deallocator", and what names the function.
    assert masked.startswith("Exception in thread worker:" if hook == "thread" else "Exception ignored ")
    assert "NoneType" not in masked
    unload_ipython_extension(shell)
    assert SECRET in written(SECRET)


@pytest.mark.usefixtures("_known", "as_in_a_kernel", "loaded")
def test_a_thread_whose_name_is_a_secret_is_shown_masked(capsys: pytest.CaptureFixture[str]) -> None:
    thread = threading.Thread(target=fail, args=("nothing to hide",), name=SECRET)
    thread.start()
    thread.join()
    written = capsys.readouterr().err
    assert written.startswith(f"Exception in thread {MASKED}:")
    assert written.endswith("ValueError: nothing to hide\n")
    assert SECRET[:8] not in written


@pytest.mark.usefixtures("_known", "as_in_a_kernel")
def test_hooks_of_somebody_who_came_later_stay_when_we_go(shell: Shell) -> None:
    load_ipython_extension(shell)
    ours, heard = threading.excepthook, []

    def theirs(args: Any) -> None:
        heard.append(args.exc_type)
        ours(args)

    threading.excepthook = theirs
    unload_ipython_extension(shell)
    assert threading.excepthook is theirs
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    threading.excepthook = threading.__excepthook__


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    """A logger of somebody else, with a handler and a format of its own."""
    text = io.StringIO()
    logger = logging.Logger("somebody", logging.DEBUG)
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(message)s %(args)r"))
    logger.addHandler(handler)
    return logger, text


@pytest.mark.usefixtures("_known", "loaded")
@pytest.mark.parametrize(
    "args",
    [
        ("sent %s", SECRET),
        (f"sent {SECRET}",),
        ("sent %r", [SECRET]),
        ("sent %(token)s", {"token": SECRET}),
        ("%s %d", ValueError(SECRET), 3),
        ("sent %r", [SECRET, AWKWARD]),
        ("sent %s: %s", SECRET, KeyError(AWKWARD)),
    ],
    ids=["argument", "message", "inside an argument", "by name", "error", "awkward", "awkward error"],
)
def test_what_anybody_logs_is_masked_whatever_its_handlers_are(
    args: tuple[Any, ...], log: tuple[logging.Logger, io.StringIO]
) -> None:
    logger, text = log
    logger.debug(*args)
    assert MASKED in text.getvalue()
    assert SECRET[:8] not in text.getvalue()
    assert not any(run in text.getvalue() for run in RUNS)


@pytest.mark.usefixtures("_known", "loaded")
def test_the_traceback_in_a_log_is_masked_too(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, text = log
    try:
        fail(SECRET)
    except ValueError:
        logger.exception("failed")
    assert text.getvalue().endswith(f"ValueError: {MASKED}\n")
    assert "test_kernel.py" in text.getvalue()


class Dumb:
    def __str__(self) -> str:
        raise ValueError(SECRET)


@pytest.mark.usefixtures("_known", "loaded")
@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("bad %d", "x"), "bad %d ('x',) (cannot be formatted)"),
        ((f"bad %d {SECRET}", "x"), f"bad %d {MASKED} ('x',) (cannot be formatted)"),
        (("%d %s", SECRET, 3), f"%d %s ('{MASKED}', 3) (cannot be formatted)"),
        (("%(x)d", {"y": SECRET}), f"%(x)d {{'y': '{MASKED}'}} (cannot be formatted)"),
        (("%s %s", SECRET, Dumb()), f"{MASKED} Dumb"),
    ],
    ids=["type of an argument", "secret in the message", "in an argument", "by name", "no text"],
)
def test_a_faulty_log_call_shows_no_secret_and_nothing_of_what_was_handled_meanwhile(
    args: tuple[Any, ...], shown: str, log: tuple[logging.Logger, io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    logger, text = log
    logger.handlers[0].setFormatter(None)
    try:
        fail(SECRET)
    except ValueError:
        logger.error(*args)
        logger.exception("failed", "x")
    first, second, *trace = text.getvalue().splitlines()
    assert (first, second) == (shown, "failed ('x',) (cannot be formatted)")
    assert trace[-1] == f"ValueError: {MASKED}"
    assert SECRET[:8] not in text.getvalue()
    # Where `logging` writes of records that cannot be formatted.
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_known", "loaded")
def test_the_stack_in_a_log_is_masked_too(tmp_path: Path, log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, text = log
    script = tmp_path / "script.py"
    script.write_text(f"log.error('here', stack_info=True)  # {SECRET}")
    runpy.run_path(str(script), {"log": logger})
    assert MASKED in text.getvalue()
    assert SECRET[:8] not in text.getvalue()


def test_what_is_logged_without_a_secret_stays_the_very_record(shell: Shell) -> None:
    before = logging.getLogRecordFactory()
    load_ipython_extension(shell)
    value = object()
    try:
        fail("nothing to hide")
    except ValueError:
        made = logging.getLogRecordFactory()("x", 10, "f", 1, "%s %d", (value, 3), sys.exc_info())
    assert made.args == (value, 3)
    assert made.exc_info is not None
    unload_ipython_extension(shell)
    assert logging.getLogRecordFactory() is before


@pytest.mark.usefixtures("_known")
def test_a_usage_error_does_not_repeat_a_secret(loaded: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    loaded.run_cell(f"from IPython.core.error import UsageError\nraise UsageError('unknown argument: ' + {SECRET!r})")
    assert capsys.readouterr().err == f"UsageError: unknown argument: {MASKED}\n"
