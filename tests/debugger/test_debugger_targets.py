"""The flow debugger against servers on real sockets: this package's as a program, and one that nobody here wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions, RevocationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from program_world import LIMIT_SECONDS, Person, Program

from mcp_oauth_nb import McpAuth
from mcp_oauth_nb.client.loopback import listen
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger

pytestmark = pytest.mark.anyio

FLOW = ["resource_metadata", "server_metadata", "registration", "authorize", "callback", "token", "authorized"]
AGAIN = ["authorize", "callback", "token", "authorized"]


def kinds(debug: FlowDebugger) -> list[str]:
    return [step.kind for step in debug.steps]


def failed(debug: FlowDebugger) -> list[str]:
    return [f"{step.kind}: {one}" for step in debug.steps for one in step.failed]


async def act(debug: FlowDebugger, action: str) -> list[str]:
    before = len(debug.steps)
    await debug.begin(action)
    await debug.run()
    return kinds(debug)[before:]


# -- serve --mock --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    started = Program(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("mode", "version"),
    [("auto", "2026-07-28"), ("legacy", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2025-03-26", "2025-03-26")],
)
async def test_the_own_server_passes_in_every_version(program: Program, mode: Any, version: str) -> None:
    auth = McpAuth(open_browser=Person().open, show=str, timeout=LIMIT_SECONDS)
    tool = {"tool": "get_github_user_info", "more": {"include_private": True}}
    async with FlowDebugger.open(f"{program.url}/mcp", auth=auth, mode=mode, **tool) as debug:
        await debug.run()
        assert kinds(debug) == ["handshake", "list", "call", *FLOW]
        spoken = debug.steps[1].exchange
        assert spoken is not None
        assert spoken.request.headers["mcp-protocol-version"] == version
        assert await act(debug, "refresh") == ["refresh", "authorized"]
        assert (await act(debug, "step_up"))[-1] == "authorized"
        # The step-up began another family.
        assert not debug.can("reuse")
        await act(debug, "refresh")
        assert await act(debug, "reuse") == ["reuse"]
        assert (await act(debug, "call"))[-1] == "authorized"
        assert await act(debug, "replay") == ["replay"]
        assert (await act(debug, "call"))[-1] == "authorized"
        assert await act(debug, "revoke") == ["revoke"]
        assert failed(debug) == []
        assert debug.cause is None


# -- FastMCP's example of a server with OAuth ----------------------------------------------------------------------


def browse(url: str) -> bool:
    """Follow the redirects: the server asks nobody."""
    threading.Thread(target=lambda: httpx.get(url, follow_redirects=True), daemon=True).start()
    return True


@pytest.fixture
def fastmcp_url() -> Iterator[str]:
    listener = listen(0, variable="")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    provider = InMemoryOAuthProvider(
        base_url=url,
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["read"], default_scopes=["read"]
        ),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=["read"],
    )
    mcp = FastMCP("example", auth=provider)

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    server = uvicorn.Server(uvicorn.Config(mcp.http_app(), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"{url}/mcp"
    server.should_exit = True
    thread.join(LIMIT_SECONDS)


@pytest.mark.parametrize("mode", ["auto", "legacy", "2025-06-18"])
async def test_fastmcps_own_server_is_walked_through(fastmcp_url: str, mode: Any) -> None:
    auth = McpAuth(open_browser=browse, show=str, timeout=LIMIT_SECONDS)
    async with FlowDebugger.open(fastmcp_url, auth=auth, mode=mode, tool="add", arguments={"a": 1, "b": 2}) as debug:
        await debug.run()
        # Everything there needs a token, the introduction too.
        assert kinds(debug) == ["handshake", *FLOW, "list", "call"]
        assert await act(debug, "refresh") == ["refresh", "authorized"]
        assert await act(debug, "replay") == ["replay"]
        assert failed(debug) == []
        assert debug.cause is None
        # The client authenticates by HTTP Basic, as it is registered; the SDK's endpoint wants the secret in the form.
        assert await act(debug, "revoke") == ["revoke"]
        assert debug.cause is not None
        assert debug.cause.check.name == "the revocation is confirmed"
        assert "invalid_request" in debug.cause.check.message
        # So nothing has ended, and nobody looks whether it has.
        assert not debug.can("look")
        assert await act(debug, "call") == ["call"]


async def test_fastmcps_own_server_keeps_a_family_whose_refresh_token_came_back(fastmcp_url: str) -> None:
    auth = McpAuth(open_browser=browse, show=str, timeout=LIMIT_SECONDS)
    async with FlowDebugger.open(fastmcp_url, auth=auth, tool="add", arguments={"a": 1, "b": 2}) as debug:
        for action in ("authorize", "refresh", "reuse", "refresh"):
            await act(debug, action)
        assert debug.cause is not None
        assert debug.cause.check.name == "an ended refresh token is refused"
