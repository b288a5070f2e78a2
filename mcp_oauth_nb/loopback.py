"""Sockets on the loopback interface."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from .errors import ConfigurationError


def can_listen_at(uri: str) -> bool:
    """Say whether a redirect to this URI arrives at a socket of `listen`: that is IPv4, and plain http."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")


def listen(port: int, *, variable: str | None = None) -> socket.socket:
    """Listen on a port of 127.0.0.1; 0 takes a free one.

    Connections wait from now on, also before a server accepts them: who comes early is not turned away.

    Args:
        variable: the environment variable that named the port.

    Raises:
        ConfigurationError: the port is taken, or not allowed.
    """
    # The protocol by name: asyncio turns Nagle's algorithm off only then, and each answer else waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # Nobody listens there any more, though the last visitor's connection may linger for a minute. On Windows
            # the option would let two listen.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The literal address, so that no name lookup can point it elsewhere (RFC 8252 section 8.3).
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        free = f"without a port in {variable}, a free one is taken" if variable else "0 takes a free one"
        raise ConfigurationError(
            f"Port {port} of 127.0.0.1 cannot be listened on: {error.strerror}.",
            variables=(variable,) if variable else (),
            hint=f"End the program that uses it, or choose another port; {free}.",
        ) from error
    return listener
