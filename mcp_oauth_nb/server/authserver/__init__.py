"""The MCP server's own authorization server: the SDK's provider protocol and handlers, federated to GitHub.

    server = AuthorizationServer("https://mcp.example", settings=settings)
    app = Starlette(routes=server.routes())

Its clients are MCP clients; towards GitHub it is a client itself, through `OAuthHandler`. The two sides never share
a token: GitHub's stays here, sealed, and the MCP client gets an opaque one that is good at this server alone.
"""

from .documents import DocumentFetcher
from .server import AuthorizationServer
from .throttle import Rates

__all__ = ["AuthorizationServer", "DocumentFetcher", "Rates"]
