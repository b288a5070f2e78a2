"""Keys that seal what is stored: given, or in a variable of the deployment, in base64 or hexadecimal."""

from __future__ import annotations

import base64

from pydantic import SecretStr

from ..oauth.errors import ConfigurationError
from ..oauth.masking import remember
from ..oauth.settings import DeploymentSettings

#: Makes an encryption key.
KEY_COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
SHORTEST_KEY = 32


def key_from(given: str | bytes | None, variable: str) -> bytes | None:
    """Return a key, or None if there is none.

    Args:
        given: the key, or its text; what the variable holds if None. An empty one is a mistake.
        variable: one of `DeploymentSettings`.

    Raises:
        ConfigurationError: it is not 32 bytes or more, or not base64 or hexadecimal.
    """
    text = given
    if text is None:
        set_here: SecretStr | None = getattr(DeploymentSettings(), variable.lower())
        if set_here is None:
            return None
        text = set_here.get_secret_value()
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


def _decode(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
