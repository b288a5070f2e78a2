"""What a JWT says, read without verifying it: for a person who wonders what a token holds, never for a decision.

    view = jwt.decode(token)             # None if it is no JWT
    view.claims["scope"], view.times["exp"]

To a client an access token is opaque (RFC 6749 section 1.4): only the server that it is for checks the signature.
"""

from __future__ import annotations

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
        None for everything else: an encrypted JWT, or one with an extension that whoever reads it has to know (section
        4.1.11).
    """
    if token.count(".") != 2 or len(token) > _LONGEST:
        return None
    # Not before there is something to read: it loads the algorithms of every signature.
    import jwt

    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    # RFC 7515 section 4.1.1: `alg` must be there.
    if not isinstance(read["header"].get("alg"), str):
        return None
    return JwtView(mask_fields(read["header"]), mask_fields(read["payload"]))


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST
