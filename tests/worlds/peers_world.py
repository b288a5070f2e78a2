"""Software that nobody here wrote, run on ports of its own, and the person between it and ours."""

from __future__ import annotations

import functools
import json
import queue
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn
from e2e_programs import node, npm
from program_world import LIMIT_SECONDS, Form, Person
from starlette.types import ASGIApp

from mcp_oauth_nb import McpAuth, Session, Trace
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.store.lock import ProcessLock

PEERS = Path(__file__).parent / "peers"

# Between two looks at what announces itself to nobody.
POLL_SECONDS = 0.2

#: What the buttons that say yes send, in the pages of all the servers here.
YES = {"approve", "allow", "1"}


class Visitor(Person):
    """A person who finds the button that says yes wherever a page has it, and signs in as octocat where one types."""

    def _submit(self, browser: Any, page: Any, form: Form) -> Any:
        form.buttons.sort(key=lambda button: button[1] in YES)
        form.fields = [(name, value or "octocat") for name, value in form.fields]
        return super()._submit(browser, page, form)


@contextmanager
def listening(build: Callable[[str], ASGIApp]) -> Iterator[str]:
    """Serve an application on a free port of 127.0.0.1 in a thread of its own.

    Args:
        build: makes it for its own URL.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(build(url), log_level="critical", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()


@dataclass
class Visit:
    """Our client at somebody else's server: who sits there, what crossed the wire, and what time it is."""

    url: str
    person: Visitor = field(default_factory=Visitor)
    trace: Trace = field(default_factory=Trace)
    clock: ManualClock = field(default_factory=lambda: ManualClock(1_700_000_000.0))

    @asynccontextmanager
    async def session(self, mode: Any = "auto", **options: Any) -> AsyncIterator[Session]:
        """Open a session; the consent is clicked by the person."""
        auth = McpAuth(open_browser=self.person.open, show=str, timeout=LIMIT_SECONDS, clock=self.clock, **options)
        async with Session.open(self.url, auth=auth, mode=mode, trace=self.trace, timeout=LIMIT_SECONDS) as session:
            yield session

    def sent(self, text: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests whose URL or title contains a text."""
        bodies = (exchange.request.body for exchange in self.trace.find(text))
        return [body for body in bodies if isinstance(body, dict)]

    def grants(self) -> list[str]:
        """Return the grant types that token endpoints were asked for, in order."""
        return [body["grant_type"] for body in self.sent("token") if "grant_type" in body]


def cached(*what: str | Path | bytes) -> Path:
    """Return a place among the temporary files that stands for something, for whoever wants the same."""
    name = sha256(repr(what).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mcp-oauth-nb-peers-{name}"


@functools.cache
def node_packages() -> Path:
    """Install the packages that `peers/package.json` names, once for all processes, and return where they are."""
    wanted = (PEERS / "package.json").read_bytes()
    with ProcessLock(cached(PEERS)).changing():
        installed = PEERS / "node_modules" / "installed.json"
        if not installed.exists() or installed.read_bytes() != wanted:
            options = "--no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error".split()
            subprocess.run([npm(), "install", *options], cwd=PEERS, check=True, timeout=110)
            installed.write_bytes(wanted)
    return PEERS / "node_modules"


class Talker:
    """A program that says one line at a time, and is told one; it ends when its input does.

    Args:
        command: how to start it.
    """

    def __init__(self, command: Sequence[str | Path]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put("")

    def line(self) -> str:
        """Return the next line; it fails if there is none in time."""
        line = self._lines.get(timeout=LIMIT_SECONDS)
        assert line, f"the program ended with {self.process.wait(LIMIT_SECONDS)}"
        return line

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it, and see that it is gone."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(LIMIT_SECONDS)
        finally:
            self.process.kill()
            self._reader.join(LIMIT_SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def talking(*command: str | Path) -> Iterator[Talker]:
    """Run a program that talks in lines."""
    talker = Talker(command)
    try:
        yield talker
    finally:
        talker.close()


@contextmanager
def node_server(name: str, *arguments: str) -> Iterator[str]:
    """Run one of the servers in `peers/`; its URL is the line that it says."""
    node_packages()
    with talking(node(), PEERS / f"{name}.mjs", *arguments) as server:
        yield server.line()


class Client:
    """A client made by others that a test drives: it is told what to call and says what came of it.

    Args:
        talker: the program.
        person: opens what it wants to be opened.
    """

    def __init__(self, talker: Talker, person: Person):
        self.opened: list[str] = []
        self._talker = talker
        self._person = person

    def said(self) -> dict[str, Any]:
        """Return what it says next; the person opens the pages that it asks for meanwhile."""
        while True:
            said: dict[str, Any] = json.loads(self._talker.line())
            if "authorize" not in said:
                return said
            self.opened.append(said["authorize"])
            self._person.open(said["authorize"])

    def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Let it call a tool, and return what it says came of it."""
        self._talker.tell(json.dumps({"tool": tool, "args": arguments}))
        return self.said()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Let it call a tool, and return the result."""
        said = self.ask(tool, **arguments)
        assert "result" in said, said
        result: dict[str, Any] = said["result"]
        return result

    def login(self) -> str:
        """Let it ask our server whom the token is for."""
        return str(self.call("get_github_user_info")["structuredContent"]["user"]["login"])

    def private_repositories(self) -> int:
        """Let it ask for what needs another scope; return how many there are."""
        result = self.call("get_github_user_info", include_private=True, repo_limit=50)
        return sum(repository["private"] for repository in result["structuredContent"]["repositories"])

    def until_expired(self) -> None:
        """Return when it says that its token has expired."""
        self._talker.tell('"expire"')
        assert self.said() == {"expired": True}

    def call_until(self, happened: Callable[[], bool]) -> None:
        """Let it call again and again until something has happened: nothing announces that a token has expired."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not happened():
            assert time.monotonic() < deadline
            self.login()
            time.sleep(POLL_SECONDS)
