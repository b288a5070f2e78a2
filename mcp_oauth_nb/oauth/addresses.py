"""Where an address is: out in the internet, in a private network, or on this machine.

A URL that somebody else wrote may lead to a place that only this machine can reach (server-side request forgery).
"""

from __future__ import annotations

import enum
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread

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

    def ask() -> list[str]:
        found = look_up(host, 443, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
