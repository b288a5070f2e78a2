"""Which redirect URIs GitHub accepts. Looser than the exact match that RFC 9700 section 2.1 and MCP demand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

from .model import RedirectUri

_LOOPBACK = frozenset({"127.0.0.1", "[::1]", "localhost"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A host ends up in a header of the consent page, so it is made of nothing but names and addresses.
_HOST = re.compile(r"[a-z0-9.\-]*|\[[0-9a-f:.]+\]", re.IGNORECASE)


def matches(uri: str, registered: Iterable[RedirectUri]) -> bool:
    """Say whether a redirect URI fits one of the registered ones."""
    parts = _split(uri)
    return parts is not None and any(_fits(parts, one) for one in registered)


def _split(uri: str) -> SplitResult | None:
    """Take a URI apart, unless it is one that two parsers may read differently."""
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in uri):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    # RFC 6749 section 3.1.2 forbids the fragment. What is left besides host and port would be `user@`.
    host = parts.netloc.removesuffix("" if port is None else f":{port}").removesuffix(":")
    if not parts.scheme or "#" in uri or not _HOST.fullmatch(host):
        return None
    segments = unquote(parts.path).replace("\\", "/").split("/")
    return None if ".." in segments or "." in segments else parts


def _fits(parts: SplitResult, registered: RedirectUri) -> bool:
    known = urlsplit(registered.url)
    host, wanted = _host(parts), _host(known)
    if parts.scheme != known.scheme:
        return False
    # RFC 8252 section 7.3: a native app listens on whatever port is free.
    loopback = host == wanted and host in _LOOPBACK and parts.scheme == "http"
    if not loopback and _port(parts) != _port(known):
        return False
    if not registered.wildcard:
        return host == wanted and (parts.path, parts.query) == (known.path, known.query)
    return (host == wanted or host.endswith(f".{wanted}")) and _is_below(parts.path, known.path)


def _is_below(path: str, registered: str) -> bool:
    path, registered = path or "/", registered or "/"
    return path == registered or path.startswith(registered.rstrip("/") + "/")


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _port(parts: SplitResult) -> int | None:
    return parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)
