"""Learn, prototype and verify MCP authorization in Jupyter.

    from mcp_oauth_nb import Lab

    lab = await Lab.open()
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    lab.trace.diagram()

The names below are imported when they are first used, so that `import mcp_oauth_nb` costs next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .runtime import moved

if TYPE_CHECKING:
    from .client.auth import McpAuth
    from .client.handler import OAuthHandler
    from .client.login import login
    from .client.session import Session
    from .jupyter.flow_debugger import FlowDebugger
    from .lab.http_lab import HttpLab
    from .lab.lab import Lab
    from .lab.mock_github import MockGitHub
    from .oauth.challenge import AuthChallenge
    from .oauth.clock import ManualClock, SystemClock
    from .oauth.discovery import discover_authorization_server, discover_resource
    from .oauth.errors import AuthenticationRequired, McpOAuthError
    from .oauth.pkce import PKCE, generate_pkce_pair
    from .oauth.settings import Settings
    from .oauth.token import Token
    from .runtime.loops import allow_asyncio_run, run
    from .server.build import build_server
    from .store.grants import FileGrantStore, KeyringGrantStore
    from .store.keyring import KeyringTokenStore
    from .store.tokens import FileTokenStore, MemoryTokenStore
    from .trace.recorder import Trace

_HOMES = {
    "AuthChallenge": "oauth.challenge",
    "AuthenticationRequired": "oauth.errors",
    "FileGrantStore": "store.grants",
    "FileTokenStore": "store.tokens",
    "FlowDebugger": "jupyter.flow_debugger",
    "HttpLab": "lab.http_lab",
    "KeyringGrantStore": "store.grants",
    "KeyringTokenStore": "store.keyring",
    "Lab": "lab.lab",
    "ManualClock": "oauth.clock",
    "McpAuth": "client.auth",
    "McpOAuthError": "oauth.errors",
    "MemoryTokenStore": "store.tokens",
    "MockGitHub": "lab.mock_github",
    "OAuthHandler": "client.handler",
    "PKCE": "oauth.pkce",
    "Session": "client.session",
    "Settings": "oauth.settings",
    "SystemClock": "oauth.clock",
    "Token": "oauth.token",
    "Trace": "trace.recorder",
    "allow_asyncio_run": "runtime.loops",
    "build_server": "server.build",
    "discover_authorization_server": "oauth.discovery",
    "discover_resource": "oauth.discovery",
    "generate_pkce_pair": "oauth.pkce",
    "login": "client.login",
    "run": "runtime.loops",
}

__all__ = [
    "AuthChallenge",
    "AuthenticationRequired",
    "FileGrantStore",
    "FileTokenStore",
    "FlowDebugger",
    "HttpLab",
    "KeyringGrantStore",
    "KeyringTokenStore",
    "Lab",
    "ManualClock",
    "McpAuth",
    "McpOAuthError",
    "MemoryTokenStore",
    "MockGitHub",
    "OAuthHandler",
    "PKCE",
    "Session",
    "Settings",
    "SystemClock",
    "Token",
    "Trace",
    "__version__",
    "allow_asyncio_run",
    "build_server",
    "discover_authorization_server",
    "discover_resource",
    "generate_pkce_pair",
    "load_ipython_extension",
    "login",
    "run",
    "unload_ipython_extension",
]

# A library stays silent unless the program, or the kernel, gives it a handler.
logging.getLogger(__name__).addHandler(logging.NullHandler())


moved.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Make the kernel honest and give it `%mcp`: `%load_ext mcp_oauth_nb`. See `kernel` and `magics`."""
    from .jupyter import magics
    from .runtime import kernel

    kernel.load_ipython_extension(shell)
    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Undo it: `%unload_ext mcp_oauth_nb`."""
    from .jupyter import magics
    from .runtime import kernel

    try:
        magics.unload(shell)
    finally:
        kernel.unload_ipython_extension(shell)
