"""Finds the commands that would open an address, by Python's audit hooks, in a process that executes none of them.

`opened` starts that process, which runs this file as its program.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# The index of the command among the arguments of an audit event (PEP 578).
_STARTS = {"subprocess.Popen": 1, "os.posix_spawn": 1, "os.spawn": 2, "os.exec": 1, "os.system": 0, "os.startfile": 0}
_TIMEOUT_SECONDS = 60


@dataclass
class Opened:
    """The result for one address.

    Attributes:
        url: the address.
        refused: why the library does not open it.
        commands: what would be executed with the address, or a part of it, in it; each word by word.
    """

    url: str
    refused: str
    commands: list[list[str]]

    @property
    def by_shell(self) -> bool:
        """Whether the address is a part of a command line, in place of one word of a command."""
        return any(self.url not in command for command in self.commands)


async def opened(urls: list[str], *, shell: bool) -> list[Opened]:
    """Find out what would be executed to open addresses.

    Args:
        shell: not by the library, but by a client that opens any address with a command line.
    """
    argv = [sys.executable, "-P", __file__, json.dumps({"path": sys.path, "urls": urls, "shell": shell})]
    ran = await asyncio.to_thread(
        subprocess.run, argv, stdout=subprocess.PIPE, timeout=_TIMEOUT_SECONDS, check=True, text=True
    )
    return [Opened(**each) for each in json.loads(ran.stdout)]


def _by_shell(url: str) -> str:
    subprocess.run(["/bin/sh", "-c", f'xdg-open "{url}"'], check=False)
    return ""


def _by_library(url: str) -> str:
    # Absolute imports, since this file is a program here; inside the function, since the other client needs none.
    from mcp_oauth_nb.client.auth import McpAuth
    from mcp_oauth_nb.oauth.errors import SecurityError

    try:
        asyncio.run(McpAuth(show=lambda text: None).redirect().send(url, lambda iss: None))
    except SecurityError as error:
        return error.message
    return ""


def _main(path: list[str], urls: list[str], shell: bool) -> None:
    sys.path[:] = path
    # The browser that `webbrowser` tries first.
    os.environ["BROWSER"] = "xdg-open %s"
    everything: list[list[str]] = []
    sys.addaudithook(lambda event, args: _hold(event, args, everything))
    told = []
    for url in urls:
        everything.clear()
        refused = ""
        with suppress(PermissionError):
            refused = (_by_shell if shell else _by_library)(url)
        # `webbrowser` also asks the desktop which browser it has.
        piece = url.partition(":")[2].strip("/")[:12]
        commands = [command for command in everything if piece in " ".join(command)]
        told.append({"url": url, "refused": refused, "commands": commands})
    print(json.dumps(told))


def _hold(event: str, args: tuple[Any, ...], everything: list[list[str]]) -> None:
    """Note a command, and keep it from being executed."""
    if event not in _STARTS:
        return
    command = args[_STARTS[event]]
    if event == "os.system":
        command = ["/bin/sh", "-c", command]
    elif event == "os.startfile":
        command = ["start", command]
    elif isinstance(command, str):  # Windows, where a command is one text
        command = shlex.split(command)
    everything.append([os.fsdecode(word) for word in command])
    raise PermissionError("Nothing is executed here.")


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
