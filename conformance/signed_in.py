"""A way for the suite's server scenarios, which bring no token, to a server that wants one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.client.login import Opener
from mcp_oauth_nb.store.grants import MemoryGrantStore

TIMEOUT_SECONDS = 120


def sign_in(endpoint: str, open_browser: Opener) -> str:
    """Walk through a whole authorization; return the access token."""
    store = MemoryGrantStore()

    async def call() -> None:
        auth = McpAuth(store=store, open_browser=open_browser, show=str, timeout=TIMEOUT_SECONDS)
        async with Session.open(endpoint, auth=auth) as session:
            await session.call_tool("get_github_user_info", {})

    asyncio.run(call())
    (grant,) = store.entries().values()
    assert grant.token is not None
    return grant.token.access_token


class _Server(ThreadingTCPServer):
    # A stream that the server never ends would otherwise keep the thread, and so this program.
    daemon_threads = True
    block_on_close = False


@contextmanager
def with_token(url: str, token: str) -> Iterator[str]:
    """Stand in front of a server, at another address, and add the token to each request; yield the address.

    Of what the client sends, all else stays as it is to the byte: scenarios test for spaces in headers.
    """
    upstream = urlsplit(url).netloc

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            head = list(iter(self.rfile.readline, b"\r\n"))
            if not head or not head[-1]:
                return
            length = next((int(line[15:]) for line in head if line.lower().startswith(b"content-length:")), 0)
            with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
                connection.sendall(changed(head, own, upstream, token) + self.rfile.read(length))
                # A client may leave in the middle of a stream.
                with suppress(ConnectionError):
                    while data := connection.recv(65536):
                        self.wfile.write(data)

    with _Server(("127.0.0.1", 0), Handler) as server:
        own = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{own}"
        finally:
            server.shutdown()


def changed(head: list[bytes], own: str, upstream: str, token: str) -> bytes:
    """Return a request's head with the token, for a connection that ends with the answer.

    Args:
        head: its lines, without the empty one.
        own: the `Host` to replace; another, which a scenario has made up, is for the server to judge.
        upstream: what to replace it with.
        token: the access token.
    """
    lines = [line for line in head if not line.lower().startswith(b"connection:")]
    for number, line in enumerate(lines):
        if line.lower().startswith(b"host:") and line[5:].strip() == own.encode():
            lines[number] = f"Host: {upstream}\r\n".encode()
    lines += [f"Authorization: Bearer {token}\r\n".encode(), b"Connection: close\r\n", b"\r\n"]
    return b"".join(lines)
