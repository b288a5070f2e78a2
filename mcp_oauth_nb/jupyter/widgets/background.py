"""Work that a button begins on the loop thread, and nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from ...oauth.errors import McpOAuthError
from ...runtime import loops

log = logging.getLogger(__name__)


def begin(work: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Begin something; an error that is not this package's, which no panel shows, is logged by its name."""
    future = asyncio.run_coroutine_threadsafe(work, loops.loop())
    future.add_done_callback(_log_unexpected)
    return future


def _log_unexpected(future: Future[Any]) -> None:
    # Its text may hold anything.
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, McpOAuthError):
        log.error("An action of a panel ended with %s.", type(error).__name__)
