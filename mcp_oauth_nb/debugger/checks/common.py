"""What the checks of every step are written with. Nothing here quotes a secret."""

from __future__ import annotations

from collections.abc import Iterator

from mcp.shared.auth_utils import check_resource_allowed

from ...oauth.check import Check, Outcome
from ...oauth.masking import printable
from ...oauth.urls import url_problem
from ..exchange import Seen

Checks = Iterator[Check]


def verdict(name: str, ok: bool, should: str, reference: str, *, seen: str = "", soft: bool = False) -> Check:
    """Say what a requirement came to.

    Args:
        should: what should have been sent; only shown if it was not.
        seen: what was sent, without secrets.
        soft: a client can go on without it.
    """
    failed: Outcome = "warning" if soft else "failed"
    return Check(name, "passed" if ok else failed, seen, "" if ok else should, reference)


def shown(value: object) -> str:
    """Return a value from the network as it may be shown."""
    return printable(str(value)) if value not in (None, "", [], {}) else "nothing"


def answered(seen: Seen) -> str:
    """Say what a server answered: the status, and the error's code."""
    error = seen.answer.get("error")
    return f"answered {seen.status}" + (f" {printable(error, 60)}" if isinstance(error, str) else "")


def is_secure(url: str) -> bool:
    """Say whether a code or a token may be sent there: by TLS, or on this machine."""
    return not url_problem(url)


def covers(resource: str, server_url: str) -> bool:
    """Say whether a resource is the server, or what it stands under: as the SDK's client decides it."""
    try:
        return check_resource_allowed(server_url, resource)
    except ValueError:
        return False
