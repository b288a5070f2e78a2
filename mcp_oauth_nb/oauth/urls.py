"""What is asked of a URL: what it may be written with, whether something may be sent to it, and where it is.

Each judge of URLs (settings, metadata, redirect URIs, the server's own address, the places that a server may lead to)
takes of these what its job asks for. A reason is the end of a sentence whose subject the judge knows.

A URL that somebody else wrote may lead to a place that only this machine can reach (server-side request forgery): in a
private network, or on this machine itself. Hence the reach of a host, by its text or by its address.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError

#: Where plain http is as good as https: the request never leaves the machine (RFC 8252 section 7.3).
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
#: How a host that is one of them is written in a URL.
LOOPBACK_TEXT = "127.0.0.1, [::1] or localhost"

CHARACTERS = "has characters that a URL cannot have"
NOT_ABSOLUTE = "must be an http(s) URL such as https://example.com/path"
USER_NAME = "has a user name"
FRAGMENT = "has a fragment"
NOT_SECURE = f"must use https, except on {LOOPBACK_TEXT}"
NOT_NORMAL = "is not in its normal form: lower-case scheme and host, no default port, no dot segments"

_WEB_PORTS = {"http": 80, "https": 443}

# -- as it is written --------------------------------------------------------------------------------------------


def has_url_characters(url: str) -> bool:
    """Say whether a text has no characters but those that a URL can have (RFC 3986 section 2), or nearly so.

    Braces and the like are let through: templates have them, and what is wrong with those is not their characters.
    """
    return url.isascii() and url.isprintable() and not set(url) & set(' "<>\\')


def split(url: str) -> SplitResult | None:
    """Take a URL apart; None if its host or its port cannot be told. What `urlsplit` raises quotes the value."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        return None
    return parts


def is_web(url: str) -> bool:
    """Say whether a text is an absolute http(s) URL, whatever else may be wrong with it."""
    parts = split(url)
    return parts is not None and parts.scheme in _WEB_PORTS and bool(parts.hostname) and parts.port != 0


def is_secure(parts: SplitResult) -> bool:
    """Say whether a secret may be sent there: by https, or to this machine (OAuth 2.1 section 1.5)."""
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)


def is_normal(url: str) -> bool:
    """Say whether a URL is the only spelling of itself, as is needed where it is compared character by character."""
    # Not before it is needed: the commands ask other questions of URLs, and start quickly.
    from pydantic import AnyUrl, ValidationError

    try:
        normal = str(AnyUrl(url))
    except ValidationError:
        return False
    return url in (normal, normal.removesuffix("/"))


def web_problem(url: str) -> str:
    """Say why a text is not the plain http(s) URL of a place on the web; empty if it is one."""
    if not has_url_characters(url):
        # `urlsplit` drops tabs and line ends in silence, a client does not.
        return CHARACTERS
    if not is_web(url):
        return NOT_ABSOLUTE
    if "@" in urlsplit(url).netloc:
        return USER_NAME
    # RFC 6749 sections 3.1 and 3.2, RFC 8414 section 2
    return FRAGMENT if "#" in url else ""


def url_problem(url: str) -> str:
    """Say why a text is no URL that something may be sent to; empty if it is one."""
    return web_problem(url) or ("" if is_secure(urlsplit(url)) else NOT_SECURE)


def check_public_url(url: str) -> None:
    """Check the address that clients find a server of ours at, and that is its issuer.

    Issuers and resources are compared character by character, so that there must be no second spelling of it.

    Raises:
        ConfigurationError: it is not an origin in its normal form, or plain http beyond this machine.
    """
    why = url_problem(url)
    if not why and urlsplit(url).path:
        why = "must be an origin such as https://mcp.example.com: no path and no slash at the end"
    if why or not is_normal(url):
        raise ConfigurationError(
            f"The public URL {why or NOT_NORMAL}.",
            hint=f"Correct --public-url: https://mcp.example.com, or http on {LOOPBACK_TEXT}.",
            reference="RFC 8414 section 2",
        )


# -- how far inside -----------------------------------------------------------------------------------------------

#: Returns the addresses of a host name, as text. May raise OSError.
Resolver = Callable[[str], Awaitable[Sequence[str]]]

_LABEL = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?<!-)")
_INSIDE = frozenset({"localhost", "local", "internal", "lan", "home", "corp", "intranet", "arpa"})
# An IPv6-only network reaches IPv4 through it (RFC 6052). Other wrappings of an IPv4 address are refused as a whole.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# The internet in IPv6 (RFC 4291 section 2.4, as IANA has assigned it), but for examples (RFC 9637). To the Pythons of
# today more is global, even forms that once stood for an IPv4 address.
_GLOBAL_UNICAST, _EXAMPLES = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("3fff::/20")


class Reach(enum.IntEnum):
    """How far inside a place is. Who is at one reach may lead to the same or a lower one."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    #: Link-local (cloud metadata services), multicast, unspecified, or an address in disguise.
    NOWHERE = 3


def reach(host: str) -> Reach:
    """Return the reach of a host by its text alone: nothing is resolved."""
    host = host.lower().strip("[]").rstrip(".")
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        return reach_of_address(host)
    last = host.rpartition(".")[2]
    if last == "localhost":
        # RFC 6761 section 6.3
        return Reach.LOOPBACK
    if not last or (not last.isalpha() and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)):
        # Every other spelling of an IPv4 address ends in a number (2130706433, 0x7f.1).
        return Reach.NOWHERE
    return Reach.PUBLIC if is_public_name(host) else Reach.PRIVATE


def reach_of_address(address: str) -> Reach:
    """Return the reach of an address; `NOWHERE` if it is none."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return Reach.NOWHERE
    if is_public(address):
        return Reach.PUBLIC
    disguised = isinstance(ip, ipaddress.IPv6Address) and (ip in _NAT64 or ip.ipv4_mapped or ip.sixtofour or ip.teredo)
    # From Python 3.13 on, an address in disguise is on this machine if the one in it is.
    if ip.is_loopback and not disguised:
        return Reach.LOOPBACK
    if disguised or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return Reach.NOWHERE
    return Reach.PRIVATE


def is_public_name(host: str) -> bool:
    """Say whether a host in lower case is a name, not an address, that can be out in the internet."""
    labels = host.split(".")
    top = labels[-1]
    # An address in any spelling ends in a number (2130706433, 0x7f.1): they are refused before anything resolves them.
    worldwide = top.isalpha() or top.startswith("xn--")
    return len(labels) > 1 and all(map(_LABEL.fullmatch, labels)) and worldwide and top not in _INSIDE


def is_public(address: str) -> bool:
    """Say whether an address is out in the internet: not private, loopback, link-local, multicast or reserved."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))
        # Teredo's are not global to Python; the others are.
        if ip.sixtofour or ip not in _GLOBAL_UNICAST or ip in _EXAMPLES:
            return False
    return ip.is_global and not ip.is_multicast


def peer_of(extensions: Mapping[str, Any]) -> str | None:
    """Return the address that an HTTP response came from, by its extensions; None if it came over no network."""
    stream = extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else None


async def resolve(host: str, look_up: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> Sequence[str]:
    """Ask the operating system for the addresses of a host name. Who gives up does not wait for its answer.

    Args:
        look_up: asks it.

    Raises:
        OSError: there are none.
    """
    import anyio.to_thread

    def ask() -> list[str]:
        found = look_up(host, 443, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)


# -- two that should be the same -----------------------------------------------------------------------------------


def difference(expected: str, seen: str) -> str:
    """Say what differs between two URLs, in a few words such as `only a slash at the end differs`.

    Args:
        expected: what it should be.
        seen: what was sent. Neither is part of the answer.
    """
    if expected == seen:
        return "they are the same"
    if expected.rstrip("/") == seen.rstrip("/"):
        return "only a slash at the end differs"
    try:
        ours, theirs = urlsplit(expected), urlsplit(seen)
        ports = _port(ours), _port(theirs)
    except ValueError:
        return "one of them is no URL"
    if not theirs.scheme or not theirs.netloc:
        return "one of them is no absolute URL"
    parts = _differing(ours, theirs, ports) or ["the spelling"]
    return f"{' and '.join(parts)} {'differs' if len(parts) == 1 else 'differ'}"


def _differing(ours: SplitResult, theirs: SplitResult, ports: tuple[int | None, int | None]) -> list[str]:
    hosts = (ours.hostname or "", theirs.hostname or "")
    if (ours.scheme, hosts[0], ports[0], _rest(ours)) == (theirs.scheme, hosts[1], ports[1], _rest(theirs)):
        # What is left: upper case in the host, or a default port that one of them writes out.
        return ["only the case"] if ours.netloc.lower() == theirs.netloc.lower() else ["only a default port"]
    found = []
    if ours.scheme != theirs.scheme:
        found.append("the scheme")
    if hosts[0] != hosts[1]:
        alias = all(host in LOOPBACK_HOSTS for host in hosts)
        found.append("the name of this machine" if alias else "the host")
    if ports[0] != ports[1] and (ours.port, theirs.port) != (None, None):
        # Where neither writes a port out, the scheme alone says it.
        found.append("the port")
    if _rest(ours) != _rest(theirs):
        same = _rest(ours).lower() == _rest(theirs).lower()
        found.append("the case of the path" if same else "the path")
    return found


def _rest(parts: SplitResult) -> str:
    return f"{parts.path.rstrip('/')}?{parts.query}#{parts.fragment}"


def _port(parts: SplitResult) -> int | None:
    return parts.port or _WEB_PORTS.get(parts.scheme)
