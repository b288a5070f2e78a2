"""Sessions in real kernels: the cells that people run, in the order in which things go wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, started

# Stop must be answered within this time, in seconds.
AT_ONCE = 1.0

SETUP = """
import asyncio, gc, sys, threading
from mcp_oauth_nb import Session, run
from mcp_oauth_nb.runtime.loops import loop
from small_server import Knobs, build

knobs = Knobs()
server = build(knobs)

def announce():
    "Print as soon as the server's tool `wait` is running."
    def announce():
        knobs.waiting.wait()
        print("waiting", flush=True)
        knobs.waiting.clear()
    threading.Thread(target=announce, name="announcer").start()

def left():
    "Count the tasks and threads that are there."
    gc.collect()
    async def tasks():
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(100):
            await asyncio.sleep(0.01)
            if all(task.done() for task in others): break
        return sum(not task.done() for task in others)
    return run(tasks()), threading.active_count()

# So that the loop thread, and the import that the first open() begins, are there, and gone, before anything is counted.
async with Session.open(server):
    import jsonschema
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with started(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.value(SETUP)
        yield kernel


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """The shared kernel; whatever a test does in it, no task and no thread may be left."""
    before = shared.value("left()")
    assert before.startswith("(0, ")
    yield shared
    # IPython keeps the last error, for %debug, and with it all that its frames refer to: give it another.
    shared.run("session = None; raise ZeroDivisionError")
    assert shared.value("left()") == before


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Kernel]:
    with started(tmp_path) as kernel:
        yield kernel


def cell(code: str) -> str:
    return textwrap.dedent(code).strip()


ADD = "(await session.call_tool('add', {'a': 1, 'b': 2})).structured_content['result']"
OPEN = "session = await Session.open(server)"


# -- cells -----------------------------------------------------------------------------------------------------


def test_opened_in_one_cell_used_in_the_next_closed_in_another(kernel: Kernel) -> None:
    kernel.value(OPEN)
    assert kernel.value(ADD) == "3"
    assert kernel.value("session") == "Session(small 1.0, 2026-07-28, open)"
    kernel.value("await session.aclose()")
    assert kernel.value("session") == "Session(small 1.0, 2026-07-28, closed)"
    kernel.value("await session.aclose()")
    assert kernel.run(ADD).traceback.splitlines()[-2] == "SessionClosed: The session is closed."


def test_usable_after_a_cell_that_failed(kernel: Kernel) -> None:
    kernel.value(OPEN)
    failed = kernel.run("await session.call_tool('protected')")
    assert failed.error is not None
    assert failed.error["ename"] == "AuthenticationRequired"
    # The traceback is about the call and what to do, not about the SDK's insides.
    assert "/mcp/" not in failed.traceback
    assert "What to do:" in failed.traceback
    assert kernel.run("1 / 0").error is not None
    assert kernel.value(ADD) == "3"


def test_a_block_in_a_cell_that_fails_is_closed(kernel: Kernel) -> None:
    failed = kernel.run(
        cell("""
            async with Session.open(server) as session:
                1 / 0
        """)
    )
    assert failed.error is not None
    assert failed.error["ename"] == "ZeroDivisionError"
    assert kernel.value("session") == "Session(small 1.0, 2026-07-28, closed)"


@pytest.mark.parametrize(
    ("call", "raised"),
    [
        ("await session.call_tool('wait')", "CancelledError"),
        ("run(session.call_tool('wait'))", "KeyboardInterrupt"),
        # The `await` makes ipykernel handle the signal by a callback on the loop that `run` blocks.
        ("run(session.call_tool('wait')); await asyncio.sleep(0)", "KeyboardInterrupt"),
        ("await session.use(lambda client: client.call_tool('wait'))", "CancelledError"),
    ],
)
def test_stop_is_answered_at_once_and_the_session_stays_usable(kernel: Kernel, call: str, raised: str) -> None:
    kernel.value(OPEN)
    running = kernel.start(f"announce(); {call}")
    kernel.wait_for_output("waiting")
    kernel.interrupt()
    stopped = kernel.finish(running)
    assert stopped.error is not None
    assert stopped.error["ename"] == raised
    assert stopped.seconds < AT_ONCE
    assert kernel.value("knobs.stopped.wait(5), knobs.stopped.clear()") == "(True, None)"
    assert kernel.value(ADD) == "3"
    assert kernel.value("run(session.call_tool('thread')).structured_content['result']") == "'mcp-oauth-nb loop'"


def test_stop_reaches_an_await_that_has_nothing_to_do_with_us(kernel: Kernel) -> None:
    running = kernel.start("print('sleeping', flush=True); await asyncio.sleep(20)")
    kernel.wait_for_output("sleeping")
    kernel.interrupt()
    stopped = kernel.finish(running)
    assert stopped.error is not None
    assert stopped.seconds < AT_ONCE


def test_stop_while_opening_leaves_nothing_behind(kernel: Kernel) -> None:
    running = kernel.start("knobs.slow_start = True; announce(); session = await Session.open(server)")
    kernel.wait_for_output("waiting")
    kernel.interrupt()
    assert kernel.finish(running).seconds < AT_ONCE
    kernel.value("knobs.slow_start = False")


@pytest.mark.parametrize("order", ["first, second", "second, first"])
def test_two_sessions_closed_in_either_order(kernel: Kernel, order: str) -> None:
    kernel.value("first = await Session.open(server, mode='legacy')")
    kernel.value("second = await Session.open(server)")
    for name in order.split(", "):
        kernel.value(f"(await {name}.call_tool('add', {{'a': 1, 'b': 2}})).structured_content")
        kernel.value(f"await {name}.aclose()")


def test_an_opening_cell_that_is_run_again_replaces_the_session(kernel: Kernel) -> None:
    for _ in range(3):
        kernel.value(OPEN)
    # Each of the older ones was asked to close on the loop that serves this call.
    assert kernel.value(f"{ADD}, knobs.lifespans") == "(3, 1)"
    assert kernel.value("len(asyncio.all_tasks(loop())) < 5") == "True"


def test_called_from_a_button(kernel: Kernel) -> None:
    kernel.value(OPEN)
    comm = kernel.value(
        cell("""
            import ipywidgets
            pressed = []

            def call(_):
                pressed.append(run(session.call_tool('add', {'a': 1, 'b': 2})).structured_content['result'])

            button = ipywidgets.Button()
            button.on_click(call)
            button.comm.comm_id
        """)
    )
    kernel.press(comm.strip("'"))
    kernel.press(comm.strip("'"))
    assert kernel.value("pressed") == "[3, 3]"
    kernel.value("button.close()")


def test_a_pasted_script_may_use_a_session(kernel: Kernel) -> None:
    # Last of those that await: it patches asyncio for good, with sessions open before and after.
    kernel.value(OPEN)
    script = cell("""
        async def main():
            async with Session.open(server) as mine:
                return (await mine.call_tool('add', {'a': 20, 'b': 22})).structured_content['result']

        asyncio.run(main())
    """)
    assert kernel.run(script).error is not None
    kernel.value("from mcp_oauth_nb import allow_asyncio_run; allow_asyncio_run()")
    assert kernel.value(script) == "42"
    assert kernel.value(ADD) == "3"


# -- errors ----------------------------------------------------------------------------------------------------

SECRET = "'Zk3' + 'qW9' * 12"


def test_a_group_is_an_error_and_the_next_cell_runs(kernel: Kernel) -> None:
    failed = kernel.run("raise ExceptionGroup('several', [ValueError('first')])")
    assert failed.error is not None
    assert failed.error["ename"] == failed.reply["ename"] == "ExceptionGroup"
    assert "| ValueError: first" in failed.traceback
    assert failed.stderr == ""
    assert kernel.value("1 + 1") == "2"


def test_a_known_secret_is_masked_in_the_message_and_in_the_reply(kernel: Kernel) -> None:
    kernel.value(f"from mcp_oauth_nb.oauth.masking import remember; secret = {SECRET}; remember(secret)")
    failed = kernel.run("raise LookupError(f'no such token: {secret}')")
    assert failed.error is not None
    sent = str((failed.error, failed.reply, failed.stdout, failed.stderr))
    assert "qW9qW9" not in sent
    assert failed.reply["ename"] == failed.error["ename"] == "LookupError"
    assert failed.reply["evalue"] == failed.error["evalue"]
    assert failed.error["evalue"].startswith("no such token: ****")


@pytest.mark.parametrize("begin", ["", "await asyncio.sleep(0); "], ids=["plain", "awaiting"])
def test_an_error_whose_text_cannot_be_had_is_answered_without_a_secret(kernel: Kernel, begin: str) -> None:
    kernel.value(f"from mcp_oauth_nb.oauth.masking import remember; secret = {SECRET}; remember(secret)")
    kernel.value("class Speechless(Exception):\n  def __str__(self): raise RuntimeError(secret)")
    # ipykernel alone does not answer at all if the cell awaits.
    failed = kernel.run(f"{begin}raise Speechless")
    assert "qW9qW9" not in str((failed.error, failed.reply, failed.stdout, failed.stderr))
    assert failed.reply["ename"] == "Speechless"
    assert failed.reply["evalue"] == "<exception str() failed>"


def test_unloading_puts_everything_back(kernel: Kernel) -> None:
    kernel.value("%unload_ext mcp_oauth_nb")
    lost = kernel.run("raise ExceptionGroup('several', [ValueError('first')])")
    assert lost.error is None
    shown = kernel.run(f"raise LookupError({SECRET})")
    assert "qW9qW9" in shown.traceback
    # The next open() respects it; loading by name does not care.
    kernel.value(OPEN)
    assert kernel.run("raise ExceptionGroup('several', [ValueError('first')])").error is None
    kernel.value("%load_ext mcp_oauth_nb")
    assert kernel.run("raise ExceptionGroup('several', [ValueError('first')])").error is not None


# -- the end of a kernel ---------------------------------------------------------------------------------------

STDIO = """
import sys
from mcp import StdioServerParameters
from mcp_oauth_nb import Session
from small_server import build

local = await Session.open(build())
remote = await Session.open(StdioServerParameters(command=sys.executable, args=["small_server.py"]))
remote
"""


def test_a_group_in_a_kernel_where_only_awaiting_cells_ran_does_not_hang_it(fresh: Kernel) -> None:
    fresh.value(STDIO)
    failed = fresh.run("await remote.list_tools(); raise ExceptionGroup('several', [ValueError('first')])")
    assert failed.error is not None
    assert failed.reply["status"] == "error"
    _shut_down_quietly(fresh)


def test_a_kernel_restarts_and_shuts_down_with_sessions_open_at_once_and_silently(fresh: Kernel) -> None:
    assert fresh.value(STDIO) == "Session(small 1.0, 2026-07-28, open)"
    fresh.restart()
    assert fresh.value(STDIO) == "Session(small 1.0, 2026-07-28, open)"
    running = fresh.start("print('running', flush=True); await local.call_tool('wait')")
    fresh.wait_for_output("running")
    fresh.interrupt()
    fresh.finish(running)
    _shut_down_quietly(fresh)


# What is registered last runs first at exit: it ends the loop thread, and says whether all that ran there has ended.
ENDING = """
import atexit, sys
from mcp_oauth_nb.runtime import loops
atexit.register(lambda: print("all ended" if loops.stop() else "left behind", file=sys.__stderr__))
"""


def _shut_down_quietly(kernel: Kernel) -> None:
    """Shut it down. Jupyter kills a kernel that does not end soon, and then its exit code is not 0."""
    kernel.value(ENDING)
    code, stderr = kernel.shutdown()
    assert code == 0
    assert [
        line for line in stderr.splitlines() if "[IPKernelApp] WARNING | Kernel is running over TCP" not in line
    ] == ["all ended"]
