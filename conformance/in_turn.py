"""Run a command when it is its turn: `in_turn.py DIRECTORY COMMAND...`.

The suite starts the clients of all its scenarios at once. Forty on a busy machine are so slow together that the SDK,
after ten seconds without an answer, takes the suite's servers for old ones. The command keeps the lock until it ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import sys
from pathlib import Path

AT_ONCE = 4


def main(directory: str, *command: str) -> None:
    """Wait for one of the turns, and become the command."""
    lock = os.open(Path(directory) / f"{random.randrange(AT_ONCE)}.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
