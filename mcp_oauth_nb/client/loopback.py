"""Sockets to listen at: on the loopback interface, unless another address is asked for."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from ..oauth.errors import ConfigurationError
from ..oauth.urls import LOOPBACK_HOSTS

# What `localhost` may stand for. A browser that finds nobody at one of them tries the other.
_LOCALHOST = ("127.0.0.1", "::1")
# This machine has no such address: IPv6 is off, or not there at all.
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
# The free port of one address may be taken at the other.
_TRIES = 20


def can_listen_at(uri: str) -> bool:
    """Say whether a redirect to this URI arrives at the sockets of `listen_as`: on this machine, by plain http."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


def listen_as(
    name: str, port: int, *, variable: str | None = None, bind: Callable[[str, int], socket.socket] | None = None
) -> list[socket.socket]:
    """Listen where a browser arrives that is sent to a loopback name, at one port; 0 takes a free one.

    For `localhost` that is IPv4 and IPv6, as far as the machine has them: where only one of the two is listened at,
    another program may take the other and be given the code (RFC 8252 section 8.3).

    Args:
        name: `127.0.0.1`, `::1` or `localhost`.
        variable: the environment variable that named the port.
        bind: makes the socket of an address and a port, or raises OSError.

    Raises:
        ConfigurationError: the port is taken or not allowed at one of the addresses, or this machine has none of them.
    """
    addresses = _LOCALHOST if name == "localhost" else (name,)
    for _ in range(_TRIES):
        try:
            return _listeners(addresses, port, bind or _listener)
        except _Taken as taken:
            error, address = taken.error, taken.address
        # A port that somebody chose is not another one the next time.
        if port or error.errno != errno.EADDRINUSE:
            break
    raise _cannot_listen(address, port, error, variable) from error


class _Taken(Exception):
    """One address that could not be listened at, and why."""

    def __init__(self, address: str, error: OSError):
        super().__init__(address)
        self.address = address
        self.error = error


def _listeners(addresses: Sequence[str], port: int, bind: Callable[[str, int], socket.socket]) -> list[socket.socket]:
    found: list[socket.socket] = []
    missing: _Taken | None = None
    for address in addresses:
        try:
            found.append(bind(address, port))
        except OSError as error:
            if _is_missing(error):
                missing = _Taken(address, error)
                continue
            for listener in found:
                listener.close()
            raise _Taken(address, error) from None
        port = found[0].getsockname()[1]
    if not found:
        assert missing is not None, "every address was either found or missing"
        raise missing
    return found


def _is_missing(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) or error.errno in _NO_SUCH_ADDRESS


def listen(port: int, *, host: str = "127.0.0.1", variable: str | None = None) -> socket.socket:
    """Listen on a port; 0 takes a free one.

    Connections wait from now on, also before a server accepts them: who comes early is not turned away.

    Args:
        host: an address of this machine. The default is a literal, so that no name lookup can point it elsewhere
            (RFC 8252 section 8.3).
        variable: the environment variable that named the port.

    Raises:
        ConfigurationError: it is no address of this machine, or the port is taken or not allowed.
    """
    try:
        return _listener(host, port)
    except OSError as error:
        raise _cannot_listen(host, port, error, variable) from error


def _cannot_listen(host: str, port: int, error: OSError, variable: str | None) -> ConfigurationError:
    free = f"without a port in {variable}, a free one is taken" if variable else "0 takes a free one"
    return ConfigurationError(
        f"Port {port} of {host} cannot be listened on: {error.strerror}.",
        variables=(variable,) if variable else (),
        hint=f"End the program that uses it, or choose another port ({free}) or address.",
    )


def _listener(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # The protocol by name: asyncio turns Nagle's algorithm off only then, and each answer else waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # Nobody listens there any more, though the last visitor's connection may linger for a minute. On Windows
            # the option would let two listen.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` is not to take IPv4's port too.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
