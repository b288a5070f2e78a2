"""The servers of `http_servers`, each in a process of its own, as the measurements see them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = Path(__file__).parent / "http_servers.py"


@dataclass
class Server:
    """A running server.

    Attributes:
        url: its public URL.
        token: one that it accepts; empty if it must be asked for.
        process: ends with `stop`.
    """

    url: str
    token: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()


@contextlib.contextmanager
def running(*kinds: str) -> Iterator[dict[str, Server]]:
    """Start servers of these kinds; end them at the end."""
    servers: dict[str, Server] = {}
    try:
        for kind in kinds:
            process = subprocess.Popen([sys.executable, str(_PROGRAM), kind], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            servers[kind] = Server("", "", process)
            if not (line := process.stdout.readline()):
                raise RuntimeError(f"The server {kind!r} did not start; why is above.")
            servers[kind] = Server(**json.loads(line), process=process)
        yield servers
    finally:
        for server in servers.values():
            server.stop()
