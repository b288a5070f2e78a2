"""The protected resource: the MCP endpoint over HTTP, as RFC 6750, RFC 8707, RFC 9728 and MCP ask for it."""

from .app import build_http_app
from .metadata import PublicAddress
from .protection import ProtectedResource
from .server import build_http_server, upstream_by

__all__ = ["ProtectedResource", "PublicAddress", "build_http_app", "build_http_server", "upstream_by"]
