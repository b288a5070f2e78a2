"""Telling browsers apart: a cookie that lives as long as the browser's session, and the hash of it that is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from ...oauth.masking import remember_heard, remember_made
from ...oauth.pkce import random_token

_VALUE = re.compile(r"[A-Za-z0-9\-_]{43}")


class Browsers:
    """Gives each browser its cookie.

    Args:
        secure: the public URL is https. The cookie then has the `__Host-` prefix, which no other host can set.
        token_bytes: the source of randomness.
    """

    def __init__(self, *, secure: bool, token_bytes: Callable[[int], bytes]):
        self.cookie = "__Host-mcp_consent" if secure else "mcp_consent"
        self._secure = secure
        self._token_bytes = token_bytes

    def of(self, request: Request) -> str | None:
        """Return a request's cookie, or None if it has none that could be ours."""
        value = request.cookies.get(self.cookie, "")
        # Another worker may have made it.
        remember_heard(value)
        return value if _VALUE.fullmatch(value) else None

    def new(self) -> str:
        """Make a cookie for a browser that has none."""
        value = random_token(self._token_bytes)
        remember_made(value)
        return value

    def remember(self, response: Response, browser: str) -> None:
        """Set the cookie. Lax: it must come along when GitHub sends the browser back."""
        response.set_cookie(self.cookie, browser, path="/", secure=self._secure, httponly=True, samesite="lax")

    def is_same(self, request: Request, fingerprint: str) -> bool:
        """Say whether a request comes from the browser with this fingerprint."""
        browser = self.of(request)
        return browser is not None and hmac.compare_digest(self.fingerprint(browser), fingerprint)

    @staticmethod
    def fingerprint(browser: str) -> str:
        """Return what is stored of a cookie."""
        return hashlib.sha256(browser.encode()).hexdigest()
