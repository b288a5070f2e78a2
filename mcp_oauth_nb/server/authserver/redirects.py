"""Redirect URIs: which may be registered, which registered one a request's fits, and the answer that goes there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import SplitResult, urlencode, urlsplit

from ...oauth.urls import (
    CHARACTERS,
    FRAGMENT,
    NOT_NORMAL,
    NOT_SECURE,
    USER_NAME,
    has_url_characters,
    is_normal,
    is_secure,
    split,
)

ApplicationType = Literal["native", "web"]

#: More of them, or longer ones, have no honest use.
MAX_REDIRECT_URIS = 20
_MAX_LENGTH = 2000

# RFC 3986 section 3.1.
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*")
# What a browser runs, reads from disk or hands to a program that is not the client (CVE-2025-6514).
_DANGEROUS_SCHEMES = frozenset(
    "javascript data vbscript file filesystem blob about view-source ws wss ftp ftps sftp ssh telnet mailto tel sms "
    "chrome chrome-extension moz-extension edge resource jar search search-ms intent shell smb nfs afp ldap ldaps "
    "jnlp jnlps feed mhtml mk res hcp help rdp vnc applescript content itms-services microsoft-edge".split()
)
_OF_WINDOWS = "ms-"
# Stricter than the URL standard, which lets `;` and quotes through: the host is shown, and named in a CSP header.
_HOST = re.compile(r"(?:[a-z0-9.\-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
# `localhost` too: RFC 8252 section 8.3 advises against it, but clients publish it in documents that name no port.
_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?")


def problem_with(uri: str, application_type: ApplicationType) -> str | None:
    """Say why a redirect URI cannot be registered, or None if it can.

    A native app has http on this machine, a scheme of its own or https (RFC 8252 section 7); a web app has https
    only (OpenID Connect Registration 1.0 section 2).
    """
    if len(uri) > _MAX_LENGTH:
        return "is too long"
    if not has_url_characters(uri):
        return CHARACTERS
    parts = split(uri)
    if parts is None or not _SCHEME.fullmatch(parts.scheme) or len(uri) <= len(parts.scheme) + 1:
        return "is not an absolute URI"
    if parts.scheme in _DANGEROUS_SCHEMES or parts.scheme.startswith(_OF_WINDOWS):
        return "has a scheme that is never a client's"
    if "#" in uri:
        # RFC 6749 section 3.1.2
        return FRAGMENT
    if "@" in parts.netloc:
        # It disguises the host.
        return USER_NAME
    if "*" in uri:
        return "has a wildcard, which is no exact match"
    # Requests are compared with what is registered character by character, so that must be its only spelling.
    if not is_normal(uri):
        return NOT_NORMAL
    return _web_problem(parts, application_type)


def _web_problem(parts: SplitResult, application_type: ApplicationType) -> str | None:
    if parts.scheme in ("http", "https") and not _HOST.fullmatch(parts.netloc):
        return "has no host, or one with characters that no host name has"
    if parts.scheme == "https":
        return None
    if application_type == "web":
        return "of a web application must use https"
    return NOT_SECURE if parts.scheme == "http" and not is_secure(parts) else None


def matches(uri: str, registered: Iterable[str]) -> str | None:
    """Return the registered URI that a request's fits, or None.

    Exactly (RFC 9700 section 2.1), but for the port on the person's own machine: a native app gets one from its
    operating system when it starts to listen (RFC 8252 section 7.3).
    """
    return next((known for known in registered if uri == known or _differs_in_port(uri, known)), None)


def _differs_in_port(uri: str, known: str) -> bool:
    asked, allowed = split(uri), split(known)
    if asked is None or allowed is None or asked.scheme != "http" or allowed.scheme != "http":
        return False
    host, known_host = _LOOPBACK_HOST.fullmatch(asked.netloc), _LOOPBACK_HOST.fullmatch(allowed.netloc)
    if host is None or known_host is None or host[1] != known_host[1]:
        return False
    # Everything behind the port, as it is written.
    return uri.removeprefix(f"http://{asked.netloc}") == known.removeprefix(f"http://{allowed.netloc}")


def is_on_this_machine(uri: str) -> bool:
    """Say whether any program on the person's machine could be the one that listens there."""
    parts = split(uri)
    return parts is None or parts.scheme != "https"


def answer_url(redirect_uri: str, **parameters: str | None) -> str:
    """Add an authorization response to a redirect URI (RFC 6749 section 4.1.2), whose own query is kept."""
    given = {name: value for name, value in parameters.items() if value is not None}
    separator = "&" if "?" in redirect_uri else "?"
    return f"{redirect_uri}{separator}{urlencode(given)}"


def target_name(uri: str) -> str:
    """Name where a redirect URI leads: its host, or the scheme of an app."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in ("http", "https") else f"the app that opens {parts.scheme}:"
