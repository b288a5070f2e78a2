"""The MCP server and its tools, the check in front of them, the resource server, the authorization server.

Main names: `build_server`, `resource.build_http_app`, `authserver.AuthorizationServer`. It imports `client` and the
rooms below that. All its modules are public. What others need of `resource` and `authserver` is what these
export.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import build_server

__all__ = ["build_server"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(".build", __name__), name)
