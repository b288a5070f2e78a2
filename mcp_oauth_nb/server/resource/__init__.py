"""The protected resource: the MCP endpoint over HTTP, as RFC 6750, RFC 8707, RFC 9728 and MCP ask for it."""

from .app import build_http_app
from .gate import ResourceGate
from .limits import Limits
from .many_users import build_http_server, upstream_by
from .metadata import PublicAddress

__all__ = ["Limits", "PublicAddress", "ResourceGate", "build_http_app", "build_http_server", "upstream_by"]
