"""Proof Key for Code Exchange (RFC 7636), with the one method that OAuth 2.1 keeps: S256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InvalidCodeVerifier
from .masking import Secret, mask, remember_made

METHOD = "S256"

# RFC 7636 section 4.1: 43 to 128 of the unreserved characters.
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


@dataclass(frozen=True)
class PKCE:
    """A code verifier and the challenge made from it. Its repr masks the verifier."""

    code_verifier: str
    code_challenge: str
    method: str = METHOD

    def __post_init__(self) -> None:
        object.__setattr__(self, "code_verifier", Secret(self.code_verifier))

    @classmethod
    def from_verifier(cls, code_verifier: str) -> PKCE:
        """Make the pair for a verifier.

        Raises:
            InvalidCodeVerifier: it is not 43 to 128 unreserved characters (RFC 7636 section 4.1).
        """
        return cls(check_verifier(code_verifier), challenge_for(code_verifier))

    @classmethod
    def generate(cls, token_bytes: Callable[[int], bytes] = secrets.token_bytes) -> PKCE:
        """Make a fresh pair from 32 random bytes, as RFC 7636 section 4.1 recommends.

        Args:
            token_bytes: the source of randomness; a lab passes a seeded one.
        """
        return cls.from_verifier(random_token(token_bytes))

    def __repr__(self) -> str:
        return f"PKCE(code_verifier={mask(self.code_verifier)}, code_challenge={self.code_challenge}, {self.method})"


def generate_pkce_pair() -> tuple[str, str]:
    """Return a fresh `code_verifier` and its S256 `code_challenge`."""
    pkce = PKCE.generate()
    return pkce.code_verifier, pkce.code_challenge


def challenge_for(code_verifier: str) -> str:
    """Return BASE64URL(SHA256(ASCII(code_verifier))), RFC 7636 section 4.2."""
    return _base64url(hashlib.sha256(code_verifier.encode("ascii")).digest())


def check_verifier(code_verifier: str) -> str:
    """Return the verifier if RFC 7636 section 4.1 allows it.

    Raises:
        InvalidCodeVerifier: wrong length or characters.
    """
    remember_made(code_verifier)
    if not _VERIFIER.fullmatch(code_verifier):
        raise InvalidCodeVerifier(
            f"The code verifier ({len(code_verifier)} characters) is not 43 to 128 characters of "
            "A-Z, a-z, 0-9, '-', '.', '_' and '~'.",
            reference="RFC 7636 section 4.1",
        )
    return code_verifier


def verify(code_verifier: str, code_challenge: str, method: str = METHOD) -> bool:
    """Say whether the verifier fits the challenge, as a token endpoint does: the mock GitHub's. (Ours has the SDK's.)

    Any method but S256 is refused: `plain` protects nothing (RFC 9700 section 2.1.1).
    """
    if method != METHOD or not _VERIFIER.fullmatch(code_verifier):
        return False
    # RFC 7636 section 4.6; in constant time, so that the answer's delay tells nothing.
    return hmac.compare_digest(challenge_for(code_verifier).encode(), code_challenge.encode())


def random_token(token_bytes: Callable[[int], bytes]) -> str:
    """Return 32 random bytes as 43 URL-safe characters: good for a code verifier, and for a `state`."""
    return _base64url(token_bytes(32))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
