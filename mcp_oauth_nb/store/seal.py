"""A stored document under AES-256-GCM (NIST SP 800-38D): who gets at the file, or at its backup, cannot read it."""

from __future__ import annotations

import base64
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_CIPHER = "AES-256-GCM"
_NONCE_BYTES = 12


class Seal:
    """Seals and opens documents of one kind.

    Args:
        key: at least 32 random bytes.
        kind: what the documents hold. One of another kind is not taken for it.
    """

    def __init__(self, key: bytes, kind: str):
        # One key may serve for several kinds of store; and the name that a key goes by must not help to guess it.
        self._cipher = AESGCM(_derived(key, f"mcp_oauth_nb store v1 {kind}", 32))
        self._key_name = _derived(key, "mcp_oauth_nb store key name v1", 8).hex()
        self._kind = kind.encode()

    def close(self, content: bytes) -> dict[str, str]:
        """Return the sealed form of a document, a JSON object."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, self._kind)
        return {"encrypted": _CIPHER, "key": self._key_name, "content": base64.b64encode(sealed).decode("ascii")}

    def fits(self, document: dict[str, Any]) -> bool:
        """Say whether a document was sealed with this key."""
        return document.get("key") == self._key_name

    def open(self, document: dict[str, Any]) -> bytes:
        """Return the document in clear.

        Raises:
            ValueError: it is damaged.
        """
        sealed = base64.b64decode(document["content"], validate=True)
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._kind)
        except InvalidTag:
            raise ValueError("this is not what was sealed") from None

    def __repr__(self) -> str:
        return f"Seal({_CIPHER})"


def is_sealed(document: object) -> bool:
    """Say whether a stored document is in the sealed form."""
    return isinstance(document, dict) and document.get("encrypted") == _CIPHER


def _derived(key: bytes, purpose: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose.encode()).derive(key)
