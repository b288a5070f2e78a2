"""Two URLs that should be the same and are not: what differs, in words for whoever has to mend it."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from .settings import LOOPBACK_HOSTS

_PORTS = {"http": 80, "https": 443}


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
    parts = _parts(ours, theirs, ports) or ["the spelling"]
    return f"{' and '.join(parts)} {'differs' if len(parts) == 1 else 'differ'}"


def _parts(ours: SplitResult, theirs: SplitResult, ports: tuple[int | None, int | None]) -> list[str]:
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
    return parts.port or _PORTS.get(parts.scheme)
