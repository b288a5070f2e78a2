"""What a JWT says, read without verifying it: for a person who wonders what a token holds, never for a decision.

    view = jwt_view.decode(token)             # None if it is no JWT
    view.claims["scope"], view.times["exp"]

To a client an access token is opaque (RFC 6749 section 1.4): only the server that it is for checks the signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .clock import iso
from .masking import mask_fields

# Longer ones exist, but no one reads them.
_LONGEST = 16_384
# RFC 7519 section 4.1, and `auth_time` of OpenID Connect: seconds since the epoch.
_TIMES = ("iat", "nbf", "exp", "auth_time")
_LATEST = 253_402_300_799


@dataclass(frozen=True)
class JwtView:
    """The two readable parts of a signed JWT. The signature is not kept.

    Attributes:
        header: how it is signed.
        claims: what it says, fields that are secret by their name masked.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def times(self) -> dict[str, str]:
        """The claims that are times, in UTC."""
        return {name: iso(self.claims[name]) for name in _TIMES if _is_time(self.claims.get(name))}


def decode(token: str) -> JwtView | None:
    """Read a JWT in the compact form of a JWS (RFC 7515 section 7.1) without verifying its signature.

    Returns:
        None for everything else, an encrypted JWT included.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST:
        return None
    header, claims = _object(parts[0]), _object(parts[1])
    # RFC 7515 section 4.1.1: `alg` must be there.
    if header is None or claims is None or not isinstance(header.get("alg"), str):
        return None
    return JwtView(mask_fields(header), mask_fields(claims))


def _object(part: str) -> dict[str, Any] | None:
    try:
        # RFC 7515 section 2: base64url without padding.
        value = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST
