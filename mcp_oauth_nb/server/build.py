"""The MCP server: two tools, one prompt, and the check in front of the protected tool."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server import MCPServer

from ..client.github import GitHubClient
from ..client.handler import OAuthHandler
from ..oauth.http import ClientFactory, default_client
from ..oauth.settings import Settings
from .protection import ProtectTools, TokenCheck
from .tools import SUMMARY, tools

log = logging.getLogger(__name__)


def build_server(
    oauth: OAuthHandler | None = None, *, settings: Settings | None = None, client: ClientFactory = default_client
) -> MCPServer:
    """Build the server, ready for `mcp.Client(server)`, `Session.open(server)` or `server.run("stdio")`.

    Args:
        oauth: keeps the user's token; a new handler if not given.
        settings: for a new handler; from the environment if not given.
        client: makes the HTTP client for one request of the tools.
    """
    oauth = oauth or OAuthHandler(settings=settings)
    github = GitHubClient(
        oauth,
        base_url=oauth.settings.api_base_url,
        timeout=oauth.settings.api_timeout,
        client=client,
        clock=oauth.clock,
    )
    protection = ProtectTools(oauth, TokenCheck(oauth, github, client))
    with root_logger_untouched():
        server = MCPServer(
            oauth.settings.server_name,
            version=oauth.settings.server_version,
            instructions=(
                "get_github_user_info needs authorization: without it the call fails with error -32001, "
                "whose data says where to authorize. analyze_code_with_llm needs none."
            ),
            tools=tools(github, oauth.challenge()),
            extensions=[protection],
            middleware=[protection.advertise],
            log_level=oauth.settings.log_level,
        )
    server.add_prompt(SUMMARY)
    return server


def log_authorization_metadata(settings: Settings) -> None:
    """Log what the guide promises at start-up: the endpoints, or what is missing."""
    if not settings.is_oauth_configured():
        log.error("OAuth is not configured: set %s", " and ".join(settings.missing()))
        return
    metadata = settings.get_authorization_metadata()
    log.info("OAuth is configured")
    log.info("OAuth scopes: %s", ", ".join(metadata["scopes_supported"]))
    log.info("OAuth Issuer: %s", metadata["issuer"])
    log.info("Authorization Endpoint: %s", metadata["authorization_endpoint"])
    log.info("Token Endpoint: %s", metadata["token_endpoint"])
    log.info("Supported Grant Types: %s", ", ".join(metadata["grant_types_supported"]))
    log.info("PKCE Methods: %s", ", ".join(metadata["code_challenge_methods_supported"]))


@contextmanager
def root_logger_untouched() -> Iterator[None]:
    """Keep `MCPServer()` from giving the root logger a handler: that is for the program, or the kernel, to decide."""
    placeholder = logging.NullHandler()
    logging.getLogger().addHandler(placeholder)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(placeholder)
