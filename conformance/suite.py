"""The official conformance suite, as a program of Node: installed here from npm, run, and its findings read."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Protocol

from report import Outcome, read

HERE = Path(__file__).parent
NAME = "@modelcontextprotocol/conformance@0.2.0-alpha.12"

# Generous: a client waits for its turn, and the machine may be busy.
CLIENT_MILLISECONDS = 600_000
RUN_SECONDS = 900


class Person(Protocol):
    """Opens an authorization URL, and says yes."""

    def open(self, url: str) -> bool:
        """Go there; return whether a browser was opened."""


def install() -> None:
    """Install the suite, once."""
    manifest = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "package.json"
    if not manifest.exists() or f'"version": "{NAME.rpartition("@")[2]}"' not in manifest.read_text(encoding="utf-8"):
        # npm would look for a project in the directories above.
        options = ["--prefix", str(HERE), "--no-audit", "--no-fund", "--no-save"]
        subprocess.run(["npm", "install", *options, NAME, "node@22"], check=True)


def run(*arguments: str, person: Person | None = None) -> tuple[list[Outcome], bool, str]:
    """Run the suite to its end; open the URL that it prints for a person.

    Returns:
        what it found, whether it came to its end, and all that it said.
    """
    node = HERE / "node_modules" / ".bin" / "node"
    program = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [str(node), str(program), *arguments, "--output-dir", directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=directory,
        )
        stopper = threading.Timer(RUN_SECONDS, process.terminate)
        stopper.start()
        said = ""
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if person is not None and (found := re.match(r"http://\S+/authorize\?\S+", line)):
                person.open(found[0])
        stopper.cancel()
        process.wait()
        return read(Path(directory), said)
