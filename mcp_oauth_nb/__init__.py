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

if TYPE_CHECKING:
    from .browser_login import login
    from .challenge import AuthChallenge
    from .clock import ManualClock, SystemClock
    from .config import Settings
    from .discovery import discover_authorization_server, discover_resource
    from .errors import AuthenticationRequired, McpOAuthError
    from .flow_debugger import FlowDebugger
    from .http_auth import McpAuth
    from .http_auth_storage import FileGrantStore, KeyringGrantStore
    from .http_lab import HttpLab
    from .lab import Lab
    from .loops import allow_asyncio_run, run
    from .mock_github import MockGitHub
    from .oauth_handler import OAuthHandler
    from .pkce import PKCE, generate_pkce_pair
    from .server import build_server
    from .session import Session
    from .store import FileTokenStore, MemoryTokenStore
    from .store_keyring import KeyringTokenStore
    from .tokens import Token
    from .trace import Trace

_HOMES = {
    "AuthChallenge": "challenge",
    "AuthenticationRequired": "errors",
    "FileGrantStore": "http_auth_storage",
    "FileTokenStore": "store",
    "FlowDebugger": "flow_debugger",
    "HttpLab": "http_lab",
    "KeyringGrantStore": "http_auth_storage",
    "KeyringTokenStore": "store_keyring",
    "Lab": "lab",
    "ManualClock": "clock",
    "McpAuth": "http_auth",
    "McpOAuthError": "errors",
    "MemoryTokenStore": "store",
    "MockGitHub": "mock_github",
    "OAuthHandler": "oauth_handler",
    "PKCE": "pkce",
    "Session": "session",
    "Settings": "config",
    "SystemClock": "clock",
    "Token": "tokens",
    "Trace": "trace",
    "allow_asyncio_run": "loops",
    "build_server": "server",
    "discover_authorization_server": "discovery",
    "discover_resource": "discovery",
    "generate_pkce_pair": "pkce",
    "login": "browser_login",
    "run": "loops",
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Make the kernel honest and give it `%mcp`: `%load_ext mcp_oauth_nb`. See `kernel` and `magics`."""
    from . import kernel, magics

    kernel.load_ipython_extension(shell)
    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Undo it: `%unload_ext mcp_oauth_nb`."""
    from . import kernel, magics

    try:
        magics.unload(shell)
    finally:
        kernel.unload_ipython_extension(shell)
