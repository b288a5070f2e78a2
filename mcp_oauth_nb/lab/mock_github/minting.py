"""Where codes, tokens and ids come from: a seed, one stream of random numbers for each kind.

One stream per kind keeps a token's bytes the same when a run shows one more page or makes one more API call.
"""

from __future__ import annotations

import random
import string
import threading
import zlib

from ...oauth.masking import remember_made

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# No vowels: a user code should not spell a word (RFC 8628 section 6.1).
_CONSONANTS = "BCDFGHJKLMNPQRSTVWXZ"


class Mint:
    """Makes every random value of the mock, and remembers which of them are secret.

    Args:
        seed: the same seed and the same calls give the same bytes.
    """

    def __init__(self, seed: int | str):
        self._seed = seed
        self._streams: dict[str, random.Random] = {}
        self._issued: set[str] = set()
        self._lock = threading.Lock()

    def token(self, prefix: str, length: int = 36) -> str:
        """Make a token: prefix, random characters, and a checksum in its last six, as GitHub's have."""
        body = self._pick(prefix, _BASE62, length - 6)
        return self._secret(prefix + body + _base62(zlib.crc32(body.encode("ascii"))))

    def code(self) -> str:
        """Make an authorization code: 20 hexadecimal digits."""
        return self._secret(self._pick("code", "0123456789abcdef", 20))

    def device_code(self) -> str:
        """Make a device code: 40 hexadecimal digits."""
        return self._secret(self._pick("device_code", "0123456789abcdef", 40))

    def client_secret(self) -> str:
        """Make a client secret: 40 hexadecimal digits."""
        return self._secret(self._pick("client_secret", "0123456789abcdef", 40))

    def user_code(self) -> str:
        """Make a user code to type, such as `WDJB-MJHT`."""
        letters = self._pick("user_code", _CONSONANTS, 8)
        return f"{letters[:4]}-{letters[4:]}"

    def client_id(self, prefix: str) -> str:
        """Make a client id: a prefix that tells the kind of app, `mock` for who finds it in a log, 10 characters."""
        return f"{prefix}mock{self._pick('client_id', _BASE62, 10)}"

    def nonce(self, kind: str) -> str:
        """Make a value that only the mock's own pages use: a browser session, a form's token."""
        value = self._pick(kind, _BASE62, 32)
        remember_made(value)
        return value

    def request_id(self) -> str:
        """Make a value for `X-GitHub-Request-Id`."""
        return ":".join(self._pick("request_id", "0123456789ABCDEF", length) for length in (4, 6, 7, 8))

    def issued(self) -> set[str]:
        """Return every secret made so far: codes, tokens, device codes and client secrets."""
        with self._lock:
            return set(self._issued)

    def _pick(self, kind: str, alphabet: str, length: int) -> str:
        with self._lock:
            # Seeding from a string is stable across processes and versions of Python.
            stream = self._streams.setdefault(kind, random.Random(f"{self._seed}:{kind}"))
            return "".join(stream.choices(alphabet, k=length))

    def _secret(self, value: str) -> str:
        remember_made(value)
        with self._lock:
            self._issued.add(value)
        return value


def _base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0")
