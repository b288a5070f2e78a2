"""Sockets to listen at: on the loopback interface, unless another address is asked for."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from .errors import ConfigurationError


def can_listen_at(uri: str) -> bool:
    """Say whether a redirect to this URI arrives at a socket of `listen`: that is IPv4, and plain http."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")


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
        free = f"without a port in {variable}, a free one is taken" if variable else "0 takes a free one"
        raise ConfigurationError(
            f"Port {port} of {host} cannot be listened on: {error.strerror}.",
            variables=(variable,) if variable else (),
            hint=f"End the program that uses it, or choose another port ({free}) or address.",
        ) from error


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
