"""Real kernels for the tests: started, fed cells, interrupted and shut down as a notebook front end does it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

# What a cell may take, in seconds, before a test fails. Kernels share two cores with whatever else runs.
PATIENCE = 20.0

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Outcome:
    """What a cell sent back.

    Attributes:
        reply: the content of its `execute_reply`.
        error: the content of its `error` message; None if there was none.
        seconds: from when it was waited for to its reply.
    """

    reply: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    stdout: str = ""
    stderr: str = ""
    result: str = ""
    seconds: float = 0.0

    @property
    def traceback(self) -> str:
        """The error's traceback, without its colours."""
        return _ANSI.sub("", "\n".join(self.error["traceback"])) if self.error else ""


class Kernel:
    """One kernel process."""

    def __init__(self, directory: Path):
        here = str(Path(__file__).parent)
        # The package of this checkout, wherever another one may be installed.
        path = os.pathsep.join([here, str(Path(here).parent.parent)])
        environment = {**os.environ, "IPYTHONDIR": str(directory), "PYTHONPATH": path}
        # ipykernel behaves differently where it finds this: people's kernels do not.
        environment.pop("PYTEST_CURRENT_TEST", None)
        self._manager = KernelManager(kernel_name="python3", shutdown_wait_time=PATIENCE)
        # Stays open: a restarted kernel gets it again.
        self._log = (directory / "stderr.txt").open("w+")
        self._manager.start_kernel(env=environment, stderr=self._log, stdout=self._log, cwd=here)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)

    def run(self, code: str) -> Outcome:
        """Run a cell to its end, whatever the end is."""
        return self.finish(self.start(code))

    def value(self, code: str) -> str:
        """Run a cell that must succeed; return the repr of its last expression."""
        outcome = self.run(code)
        assert outcome.error is None, outcome.traceback
        assert outcome.reply["status"] == "ok"
        return outcome.result

    def start(self, code: str) -> str:
        """Send a cell and return at once."""
        return str(self._client.execute(code))

    def wait_for_output(self, text: str) -> None:
        """Wait until a running cell printed a text."""
        deadline = time.monotonic() + PATIENCE
        printed = ""
        while text not in printed:
            message = self._client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]

    def finish(self, cell: str) -> Outcome:
        """Wait for the reply to a cell, and all its output."""
        outcome = Outcome()
        begin = time.monotonic()
        while True:
            message = self._client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell:
                break
        outcome.seconds = time.monotonic() - begin
        outcome.reply = message["content"]
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell and self._collect(message, outcome):
                return outcome

    @staticmethod
    def _collect(message: dict[str, Any], outcome: Outcome) -> bool:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            setattr(outcome, content["name"], getattr(outcome, content["name"]) + content["text"])
        elif kind == "execute_result":
            outcome.result = content["data"]["text/plain"]
        elif kind == "error":
            outcome.error = content
        return bool(kind == "status" and content["execution_state"] == "idle")

    def interrupt(self) -> None:
        """Press Stop."""
        self._manager.interrupt_kernel()

    def press(self, comm: str) -> None:
        """Press an ipywidgets button, as the front end does."""
        data = {"method": "custom", "content": {"event": "click"}}
        self._client.shell_channel.send(self._client.session.msg("comm_msg", {"comm_id": comm, "data": data}))

    def restart(self) -> None:
        """Press Restart."""
        self._manager.restart_kernel()
        self._client.wait_for_ready(timeout=PATIENCE)

    def shutdown(self) -> tuple[int | None, str]:
        """Ask the kernel to exit, and wait until it did.

        Returns:
            Its exit code, and what it wrote to its own stderr.
        """
        process = self._manager.provisioner.process  # type: ignore[union-attr]
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        self._log.seek(0)
        return process.returncode, self._log.read()

    def kill(self) -> None:
        """End it for sure."""
        if self._manager.has_kernel:
            self._client.stop_channels()
            self._manager.shutdown_kernel(now=True)
        self._log.close()


@contextmanager
def started(directory: Path) -> Iterator[Kernel]:
    kernel = Kernel(directory)
    try:
        yield kernel
    finally:
        kernel.kill()
