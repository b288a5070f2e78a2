"""The variables of the environment that are secrets, and how a program is started without them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Every variable that this package reads and that is a secret or, as a store's URL may, has one in it.
SECRET_VARIABLES = ("OAUTH_CLIENT_SECRET", "MCP_CLIENT_SECRET", "TOKEN_STORE_KEY", "STORE_ENCRYPTION_KEY", "STORE_URL")

#: Held by whoever reads them, so that nobody takes one for missing while a program is started.
READING = threading.RLock()


@contextmanager
def without_secrets() -> Iterator[None]:
    """Take the secrets out of the environment, which the programs that are started meanwhile inherit."""
    with READING:
        taken = {name: os.environ.pop(name) for name in SECRET_VARIABLES if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(taken)
