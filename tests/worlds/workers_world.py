"""What several workers of one deployment need: Redis, a mocked GitHub, the workers, and a proxy in front of them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import redis
import uvicorn
from e2e_programs import redis_server
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mcp_oauth_nb.oauth.http import tls_context

LIMIT_SECONDS = 30
PASSWORD = "p@ss/of#a:test"
HOP_BY_HOP = {b"connection", b"transfer-encoding", b"keep-alive"}


class Redis:
    """A Redis server with a password that writes everything down at once."""

    def __init__(self, directory: Path):
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://:p%40ss%2Fof%23a%3Atest@127.0.0.1:{self.port}/3"

    def start(self) -> None:
        options = f"--bind 127.0.0.1 --port {self.port} --appendonly yes --appendfsync always".split()
        command = [redis_server(), *options, "--dir", str(self.directory), "--requirepass", PASSWORD]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = list(itertools.takewhile(lambda line: "Ready to accept" not in line, self.process.stdout))
        assert self.process.poll() is None, "".join(said)
        # It goes on talking: somebody listens, or it would stop when the pipe is full.
        self._reader = threading.Thread(target=self.process.stdout.read)
        self._reader.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_SECONDS)
        self._reader.join(LIMIT_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def everything(self) -> bytes:
        """All keys and values, and all that is on the disk."""
        with redis.Redis(port=self.port, db=3, password=PASSWORD) as client:
            keys = list(client.scan_iter())
            found = [part for key in keys for part in (key, client.dump(key) or b"")]
            found += [client.get(key) or b"" for key in keys if client.type(key) == b"string"]
        return b"\n".join(found + [path.read_bytes() for path in self.directory.rglob("*") if path.is_file()])


class Mock:
    """`mcp-oauth-nb mock-github` for this deployment; `settings` are the variables that lead to it."""

    def __init__(self, public_url: str):
        command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "mock-github", "--port", "0"]
        command += ["--callback", f"{public_url}/oauth/callback"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        lines = itertools.takewhile(lambda line: not line.startswith("Users:"), self.process.stdout)
        self.settings = dict(re.findall(r"^(\w+)=(.*)$", "".join(lines), re.MULTILINE))

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=LIMIT_SECONDS)


class Worker:
    """One `serve --transport http` with more `options`; `address` is its own, behind the proxy."""

    def __init__(self, directory: Path, public_url: str, variables: dict[str, str], *options: str):
        self._directory = directory
        self._public_url = public_url
        self._variables = variables
        self._options = options
        self._port = "0"
        self._log = tempfile.TemporaryFile("a+", encoding="utf-8")  # noqa: SIM115
        self.start()

    def start(self, **variables: str) -> None:
        command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "serve", "--transport", "http", "--stateless"]
        command += ["--port", self._port, "--public-url", self._public_url, *self._options]
        environment = {**os.environ, "HOME": str(self._directory), **self._variables, **variables}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=self._directory, env=environment
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"Listens at: +(http://\S+:(\d+))\n", self.said)
        assert found is not None, self.said + self.log()
        # The same again after a restart, as a proxy expects it.
        self.address, self._port = found[1], found[2]

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> float:
        """Send SIGTERM; return how long it took, in seconds."""
        start = time.monotonic()
        self.process.terminate()
        self.process.communicate(timeout=LIMIT_SECONDS)
        return time.monotonic() - start

    def kill(self) -> None:
        """Send SIGKILL: it has no time for anything."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        self._log.close()


class Proxy:
    """Gives each request to the next worker; one that refuses the connection is passed over, as proxies do."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.workers: list[Worker] = []
        self._turns = itertools.count()
        config = uvicorn.Config(self._pass_on, interface="asgi3", log_level="critical", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        content, begun = await request.body(), False
        # A connection for each request, so that one that a worker has just closed is never used.
        async with httpx.AsyncClient(timeout=LIMIT_SECONDS, verify=tls_context()) as client:
            turn = next(self._turns) % len(self.workers)
            for worker in (*self.workers[turn:], *self.workers[:turn]):
                url = f"{worker.address}{request.url.path}?{request.url.query}".removesuffix("?")
                try:
                    asked = client.stream(request.method, url, headers=request.headers.raw, content=content)
                    async with asked as got:
                        begun = True
                        response = StreamingResponse(got.aiter_raw(), got.status_code)
                        response.raw_headers = [pair for pair in got.headers.raw if pair[0].lower() not in HOP_BY_HOP]
                        await response(scope, receive, send)
                        return
                except httpx.ConnectError:
                    continue
                except httpx.TransportError:
                    # The worker may have done it: nobody else is asked.
                    break
            if not begun:
                await Response("Bad Gateway", 502)(scope, receive, send)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(LIMIT_SECONDS)
