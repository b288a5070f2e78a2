"""Keys that seal what is stored: given, or in a variable of the deployment, in base64 or hexadecimal."""

from __future__ import annotations

import base64
import os

from dotenv import dotenv_values, find_dotenv

from ..oauth.environment import READING
from ..oauth.errors import ConfigurationError
from ..oauth.masking import remember

#: Makes an encryption key.
KEY_COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
SHORTEST_KEY = 32


def key_from(given: str | bytes | None, variable: str) -> bytes | None:
    """Return a key, or None if there is none.

    Args:
        given: the key, or its text; what the variable holds if None.
        variable: in the environment or `.env`; an empty one is as good as none, but an empty `given` is a mistake.

    Raises:
        ConfigurationError: it is not 32 bytes or more, or not base64 or hexadecimal.
    """
    text = given if given is not None else from_environment(variable) or None
    if text is None:
        return None
    if isinstance(text, str):
        remember(text.strip())
    key = text if isinstance(text, bytes) else _decode(text.strip())
    if key is not None:
        # As a traceback with variables shows it.
        remember(repr(key)[2:-1])
    if key is None or len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"{variable} is not {SHORTEST_KEY} bytes or more in base64 or hexadecimal.",
            variables=(variable,),
            hint=f"Make one: {KEY_COMMAND}",
        )
    return key


def from_environment(name: str) -> str | None:
    """Return a variable of the environment or, if it is not there, of `.env`."""
    with READING:
        if name in os.environ:
            return os.environ[name]
    path = find_dotenv(usecwd=True)
    return dotenv_values(path, encoding="utf-8-sig").get(name) if path else None


def _decode(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
