"""Makes an IPython kernel honest.

On by `%load_ext mcp_oauth_nb` or the first `open()` in a kernel, off by `%unload_ext mcp_oauth_nb`:

- Exception groups are reported as errors. IPython only prints them, so that "Run all" goes on and nbval passes.
- Stop reaches an `await` that nothing else would wake.
- Secrets that this package knows are masked in every error that the notebook shows and saves: tracebacks, usage errors
  of magics, what threads and finalizers leave on stderr, and everything that is logged.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
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

from ..oauth.masking import scrub
from .log_records import mask_record, said
from .loops import running_loop

if TYPE_CHECKING:
    from types import TracebackType

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    # IPython is typed in part only.
    AnyShell = Any


class _Waker:
    """Lets a signal wake the kernel's event loop while a cell awaits.

    ipykernel answers SIGINT by `IOLoop.add_callback`, which on the loop's own thread takes the loop to be awake. But
    it sleeps, until something else happens: Stop came 10 seconds late. With a wakeup file descriptor the signal is
    itself something that happens, and nothing runs until then.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._planned: asyncio.Handle | None = None

    def cell_begins(self) -> None:
        """Prepare the wakeup for the moment when the loop runs: when the cell awaits, if it does."""
        loop = running_loop()
        if loop is not None and threading.current_thread() is threading.main_thread():
            self._planned = loop.call_soon(self._arm, loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        if before not in (-1, self._sender.fileno()):
            # Another one is set, which wakes the loop as well: asyncio's own, for loop.add_signal_handler().
            signal.set_wakeup_fd(before)
            return
        self._loop = loop
        loop.add_reader(self._receiver, self._drain)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            self._receiver.recv(4096)

    def cell_ends(self) -> None:
        """Leave the signals as they were."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._planned is not None:
            self._planned.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._receiver)
            self._loop = None
            current = signal.set_wakeup_fd(-1)
            if current != self._sender.fileno():
                signal.set_wakeup_fd(current)

    def close(self) -> None:
        """Leave the signals as they were, for good."""
        self.cell_ends()
        self._receiver.close()
        self._sender.close()


Undo = Callable[[], None]

# Once for each shell: after `%unload_ext` the next open() does not load it again.
_installed: weakref.WeakSet[InteractiveShell] = weakref.WeakSet()
_active: dict[int, list[Undo]] = {}


def install(shell: InteractiveShell | None = None) -> None:
    """Load the extension into the running shell, the first time; outside IPython do nothing.

    Args:
        shell: in place of the running one.
    """
    shell = shell or _running_shell()
    if shell is not None and shell not in _installed:
        manager: Any = shell.extension_manager
        manager.load_extension("mcp_oauth_nb")


def _running_shell() -> InteractiveShell | None:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Switch everything on; called by `%load_ext mcp_oauth_nb`."""
    if id(shell) in _active:
        return
    _installed.add(shell)
    _active[id(shell)] = [
        _report_groups(shell),
        _mask_errors(shell),
        _mask_stored_errors(shell),
        _mask_usage_errors(shell),
        _mask_stray_errors(),
        _mask_logs(),
        _wake_for_signals(shell),
    ]
    _import_slow_modules()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Put everything back; called by `%unload_ext mcp_oauth_nb`."""
    for undo in reversed(_active.pop(id(shell), [])):
        undo()


def _import_slow_modules() -> None:
    # The SDK imports it in the first `call_tool`. Beside JupyterLab, whose optional packages it looks for, that takes
    # 1.5 seconds: begin now.
    threading.Thread(target=importlib.import_module, args=("jsonschema",), daemon=True).start()


def _shadow(shell: AnyShell, name: str, replacement: Callable[..., Any]) -> Undo:
    """Put a function in front of a method of one shell."""
    before = vars(shell).get(name)
    target: Callable[..., Any] = replacement
    original: Callable[..., Any] = getattr(shell, name)

    def shadow(*args: Any, **options: Any) -> Any:
        return target(*args, **options)

    def undo() -> None:
        nonlocal target
        # A hook that was put in front of this one since stays, and still calls it.
        target = original
        if vars(shell).get(name) is shadow:
            delattr(shell, name)
            if before is not None:
                setattr(shell, name, before)

    setattr(shell, name, shadow)
    return undo


def _on_events(shell: AnyShell, callbacks: dict[str, Callable[..., None]]) -> Undo:
    for event, callback in callbacks.items():
        shell.events.register(event, callback)

    def undo() -> None:
        for event, callback in callbacks.items():
            shell.events.unregister(event, callback)

    return undo


# -- exception groups ------------------------------------------------------------------------------------------


def _report_groups(shell: AnyShell) -> Undo:
    """Show an error with a group in its chain by the way of all errors.

    IPython writes it to stderr and sends no error message. In front of `showtraceback`, because `set_custom_exc` would
    take the place of the user's handler, and would get syntax errors too.
    """
    from IPython.core.error import UsageError

    show = shell.showtraceback
    if not hasattr(shell, "_last_traceback"):
        # ipykernel reads it after a failed cell, and does not answer at all if no cell ever set it.
        shell._last_traceback = None

    def showtraceback(exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        error = exc_tuple[1] if exc_tuple else sys.exc_info()[1] or getattr(sys, "last_value", None)
        shown_well = isinstance(error, SyntaxError | UsageError) or options.get("exception_only", False)
        if shown_well or not _has_group(error):
            show(exc_tuple, *args, **options)
            return
        # This also notes the error for %debug and %tb, as `showtraceback` does.
        kind, error, trace = shell._get_exc_info(exc_tuple)
        shell._showtraceback(kind, error, _format(shell, error, trace))
        if shell.call_pdb:
            shell.debugger(force=True)

    return _shadow(shell, "showtraceback", showtraceback)


def _has_group(error: BaseException | None) -> bool:
    # Under this condition IPython shows no traceback.
    while error is not None and not isinstance(error, BaseExceptionGroup):
        error = error.__context__
    return error is not None


_FILE = re.compile(r'File "([^"]+)", (?=line \d)')


def _format(shell: AnyShell, error: BaseException, trace: TracebackType | None) -> list[str]:
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("IPython."):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace)).rstrip("\n")

    def cell(match: re.Match[str]) -> str:
        found = shell.compile.format_code_name(match[1])
        return match[0] if found is None else f"{found[0]} {found[1]}, "

    return _FILE.sub(cell, text).split("\n")


# -- secrets ---------------------------------------------------------------------------------------------------


def _mask_errors(shell: AnyShell) -> Undo:
    """Mask secrets where errors leave the kernel: the message on the screen, the reply, and what `%notebook` saves."""
    show = shell._showtraceback

    def _showtraceback(kind: type[BaseException], error: BaseException, lines: list[str]) -> None:
        show(kind, _masked_error(error), _masked_lines(lines))

    def post_execute() -> None:
        _mask_result(shell.last_execution_result)

    # A silent cell has the first event only; if IPython failed to show an error, its result is with the second only.
    undo_events = _on_events(shell, {"post_execute": post_execute, "post_run_cell": _mask_result})
    undo_shadow = _shadow(shell, "_showtraceback", _showtraceback)

    def undo() -> None:
        undo_shadow()
        undo_events()

    return undo


def _mask_result(result: ExecutionResult | None) -> None:
    # ipykernel makes the reply's `evalue` of these.
    for name in ("error_before_exec", "error_in_exec"):
        error = getattr(result, name, None)
        if error is not None:
            setattr(result, name, _masked_error(error))


def _mask_stored_errors(shell: AnyShell) -> Undo:
    """Mask what `%notebook` saves. Where IPython fails to make it, ipykernel does not answer, or with that failure."""
    store = getattr(shell, "_format_exception_for_storage", None)
    if store is None:  # in older versions of IPython
        return lambda: None

    def _format_exception_for_storage(error: BaseException, *args: Any, **options: Any) -> dict[str, Any]:
        if said(str, error) is None:
            error = _masked_error(error).with_traceback(error.__traceback__)
        stored = store(error, *args, **options)
        return {**stored, "evalue": scrub(stored["evalue"]), "traceback": _masked_lines(stored["traceback"])}

    return _shadow(shell, "_format_exception_for_storage", _format_exception_for_storage)


def _masked_error(error: BaseException) -> BaseException:
    """Return the error, or in its place one of the same name if its text holds a secret, or cannot be had."""
    # The text includes its notes, and the line of a syntax error.
    whole, text = "".join(traceback.format_exception_only(error)), said(str, error)
    if text is None:
        text = "<exception str() failed>"  # As Python has it.
    elif scrub(whole) == whole:
        return error
    kind: type[Exception] = type(type(error).__name__, (Exception,), {})
    return kind(scrub(text))


# A colour change after `=` is kept as a space: `client_secret=secret` in the source is a variable, not a secret.
_COLOURS = re.compile(r"(=?)(?:\x1b\[[0-9;]*m)+")


def _masked_lines(blocks: list[str]) -> list[str]:
    return ["\n".join(map(_masked_line, block.split("\n"))) for block in blocks]


def _masked_line(line: str) -> str:
    masked = scrub(line)
    # Highlighting may have cut a secret in pieces; then it is shown without colours.
    plain = _COLOURS.sub(lambda match: f"{match[1]} " if match[1] else "", masked)
    plain_masked = scrub(plain)
    return masked if plain_masked == plain else plain_masked


def _mask_usage_errors(shell: AnyShell) -> Undo:
    # A magic repeats the argument that it did not understand.
    show = shell.show_usage_error

    def show_usage_error(error: BaseException) -> None:
        show(scrub(str(error)))

    return _shadow(shell, "show_usage_error", show_usage_error)


def _mask_stray_errors() -> Undo:
    """Mask the errors that are raised outside of cells: in threads, and in finalizers."""
    thread_before, finalizer_before = threading.excepthook, sys.unraisablehook
    active = True

    def in_thread(args: Any) -> None:
        name = args.thread.name if args.thread is not None else "?"
        if not (active and args.exc_type is not SystemExit and _wrote_masked(f"Exception in thread {name}:", args)):
            thread_before(args)

    def in_finalizer(args: Any) -> None:
        title = args.err_msg or "Exception ignored in"
        if args.object is not None:  # Python 3.14 names it in the message.
            title += f": {type(args.object)}"
        if not (active and _wrote_masked(title, args)):
            finalizer_before(args)

    def undo() -> None:
        nonlocal active
        # A hook that was put in front of this one since stays, and still calls it.
        active = False
        if threading.excepthook is in_thread:
            threading.excepthook = thread_before
        if sys.unraisablehook is in_finalizer:
            sys.unraisablehook = finalizer_before

    threading.excepthook, sys.unraisablehook = in_thread, in_finalizer
    return undo


def _wrote_masked(title: str, args: Any) -> bool:
    """Write an error to stderr if it holds a secret, masked; else leave it to the hook that was there before."""
    text = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
    masked, masked_title = scrub(text), scrub(title)
    if (masked, masked_title) == (text, title):
        return False
    print(f"{masked_title}\n{masked}", file=sys.stderr, end="")
    return True


def _mask_logs() -> Undo:
    """Mask what is logged by any handler: a notebook saves their stderr.

    Libraries log the URLs that they ask, and asyncio the errors of tasks that were never awaited. A filter would have
    to be given to each handler, those included that a cell adds later; and the SDK's handler shows errors its own way.
    """
    before = logging.getLogRecordFactory()
    active = True

    def factory(*args: Any, **options: Any) -> logging.LogRecord:
        record = before(*args, **options)
        if active:
            # A record that is wrong in any way raises no error in the code that logs.
            with suppress(Exception):
                mask_record(record)
        return record

    def undo() -> None:
        nonlocal active
        active = False
        if logging.getLogRecordFactory() is factory:
            logging.setLogRecordFactory(before)

    logging.setLogRecordFactory(factory)
    return undo


# -- Stop ------------------------------------------------------------------------------------------------------


def _wake_for_signals(shell: AnyShell) -> Undo:
    waker = _Waker()
    undo_events = _on_events(shell, {"pre_execute": waker.cell_begins, "post_execute": waker.cell_ends})
    # The cell that loads the extension may be about to await.
    waker.cell_begins()

    def undo() -> None:
        undo_events()
        waker.close()

    return undo
