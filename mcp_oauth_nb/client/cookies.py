"""The cookies of an MCP connection: a load balancer may need one; a server that sets more and more is not followed."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from http.cookiejar import Cookie, CookieJar

#: The newest of so many cookies are kept, and none of more characters (RFC 6265 section 6.1 asks for as many).
MOST_COOKIES = 50
MOST_CHARACTERS = 4096


class BoundedCookies(CookieJar):
    """Cookies of which there are never too many."""

    def __init__(self) -> None:
        super().__init__()
        self._newest: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def set_cookie(self, cookie: Cookie) -> None:
        """Keep a cookie, in place of the oldest if there are too many."""
        if len(cookie.name) + len(cookie.value or "") + len(cookie.path) > MOST_CHARACTERS:
            return
        super().set_cookie(cookie)
        key = (cookie.domain, cookie.path, cookie.name)
        self._newest[key] = None
        self._newest.move_to_end(key)
        while len(self._newest) > MOST_COOKIES:
            oldest, _ = self._newest.popitem(last=False)
            with suppress(KeyError):
                # Its server may have taken it back, or its time may be over.
                self.clear(*oldest)
