"""Where a server may lead the client: the URLs that it and its authorization server name.

The client asks them from inside its own network, with what it holds. The rule: outward only. A server on the internet
names places on the internet; one in a private network those and its neighbours; one on this machine any of them. All
by https, but for a server on this machine, which may name another there by http.
"""

from __future__ import annotations

import httpx
import httpx2

from .errors import SecurityError
from .http_faults import place_of
from .masking import printable
from .urls import Reach, Resolver, reach, reach_of_address, web_problem

_REFERENCE = "MCP, Security Best Practices, SSRF; RFC 9728 section 7.7"
_HINT = "The MCP server, or its authorization server, leads to a place that it has no business with. Do not sign in."
_HINT_OWN = "Use an https address of this server; http is for servers on this machine."


class Places:
    """The places that one server may lead to.

    Args:
        server_url: what the user chose, such as the MCP endpoint: its own origin may be asked whatever it is.
        resolver: finds the addresses of a host name.
    """

    def __init__(self, server_url: str, resolver: Resolver):
        self._server = httpx2.URL(server_url)
        self._resolver = resolver
        self._reach = _trusted(reach(_host(self._server)))
        self._connected = False

    def answered(self, peer: str | None) -> None:
        """Note an answer of the server: the address that it came from, if from any, says where the server is."""
        if peer is not None:
            self._reach, self._connected = _trusted(reach_of_address(peer)), True

    def check(self, url: str, *, credentials: bool) -> None:
        """Check a URL by its text.

        Args:
            credentials: more than a question goes there, or the person does.

        Raises:
            SecurityError: it is not a place for this server to lead to.
        """
        try:
            target = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            # It reads some URLs in one way that others read in another, and refuses them.
            raise _refused(url, web_problem(url) or "is malformed") from None
        own = self._is_own(target)
        # A person may type a host in another alphabet, for which the server's own URL stands here.
        if problem := web_problem(str(target) if own and not url.isascii() else url):
            raise _refused(url, problem)
        at = reach(_host(target))
        if not own and (at is Reach.NOWHERE or at > self._reach):
            raise _refused(url, "is further inside the network than the server that leads there")
        if target.scheme == "https" or (target.scheme == "http" and own and not credentials):
            return
        if target.scheme != "http" or at is not Reach.LOOPBACK or self._reach is not Reach.LOOPBACK:
            # RFC 6749 section 3.1 and 3.2
            raise _refused(url, "would be reached without TLS", _HINT_OWN if own else _HINT)

    async def check_resolved(self, url: str) -> None:
        """Check the addresses of a URL's host, for a server that is known to be on the internet.

        A name that changes its address after this look gains nothing: TLS shows that it is another's.

        Raises:
            SecurityError: one of them is not on the internet.
        """
        target = httpx2.URL(url)
        if not self._connected or self._reach is not Reach.PUBLIC or self._is_own(target):
            return
        try:
            addresses = await self._resolver(_host(target))
        except OSError:
            return  # There is no place to be led to, as the request will say.
        if any(reach_of_address(address) is not Reach.PUBLIC for address in addresses):
            raise _refused(url, "resolves to an address that is not on the internet")

    def _is_own(self, target: httpx2.URL) -> bool:
        mine, theirs = ((url.scheme, url.raw_host, url.port) for url in (self._server, target))
        return mine == theirs


def _host(url: httpx2.URL) -> str:
    # As it is asked for: `URL.host` may be in another alphabet.
    return url.raw_host.decode("ascii")


def _trusted(at: Reach) -> Reach:
    """Return how far inside a server at this reach may lead: one that is nowhere, no further than a stranger."""
    return Reach.PUBLIC if at is Reach.NOWHERE else at


def _refused(url: str, why: str, hint: str = _HINT) -> SecurityError:
    try:
        shown = place_of(url)
    except (httpx.InvalidURL, ValueError):
        shown = url[:100]
    return SecurityError(f"The address {printable(shown)} {why}.", hint=hint, reference=_REFERENCE)
