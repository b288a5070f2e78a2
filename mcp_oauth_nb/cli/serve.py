"""The server as a program over stdio: logs on stderr, the token that `login` has stored."""

from __future__ import annotations

import logging
import sys

from ..client.handler import OAuthHandler
from ..oauth.settings import Settings
from ..runtime.log_records import ScrubbingFormatter
from ..server.build import build_server, log_authorization_metadata
from ..store.chosen import chosen_store

# Libraries that report every request at INFO. With LOG_LEVEL=DEBUG they may.
_CHATTY = ("httpx", "mcp")
# These report sockets, which is no part of the flow at any level.
_SILENT = ("httpcore", "asyncio")


def configure_logging(settings: Settings) -> None:
    """Send the logs of this process to stderr, at `LOG_LEVEL`: stdout belongs to the protocol."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ScrubbingFormatter("%(levelname)s - %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    quiet = logging.NOTSET if settings.log_level == "DEBUG" else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)


def serve_stdio(settings: Settings) -> None:
    """Serve until the client closes stdin. Without credentials the server runs, and says so when called."""
    configure_logging(settings)
    log_authorization_metadata(settings)
    oauth = OAuthHandler(settings=settings, store=chosen_store())
    build_server(oauth).run("stdio")
