"""Software that nobody here wrote, run on ports of its own, and the person between it and ours."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from test_serve_http import LIMIT_SECONDS, Form, Person

from mcp_oauth_nb import McpAuth, Session, Trace
from mcp_oauth_nb.clock import ManualClock

#: What the buttons that say yes send, in the pages of all the servers here.
YES = {"approve", "allow", "1"}


class Visitor(Person):
    """A person who finds the button that says yes wherever a page has it."""

    def _submit(self, browser: Any, page: Any, form: Form) -> Any:
        form.buttons.sort(key=lambda button: button[1] in YES)
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
