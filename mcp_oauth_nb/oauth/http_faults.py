"""What goes wrong with an HTTP exchange, in the same words whichever client made it."""

from __future__ import annotations

import httpx

from .errors import ProtocolError, RedirectRefused, Unreachable
from .masking import scrub

#: What to do where something else than the endpoint seems to answer.
WRONG_PLACE = "Check that the URL is the right endpoint's: a proxy or a login page may answer in its place."
#: What to do where only the server can be mended.
TELL_THE_OPERATOR = "Nothing can be done about it here: tell the server's operator, with this message."
#: The largest body that is read, in bytes.
MAX_BODY_BYTES = 1024 * 1024


def place_of(url: object) -> str:
    """Return a URL as a message may show it: without user, password, query and fragment.

    Secrets in its path are masked: it may be an address that a server wrote.

    Args:
        url: a string, or what becomes one by `str`.

    Raises:
        httpx.InvalidURL: it is none.
    """
    return scrub(str(httpx.URL(str(url)).copy_with(userinfo=b"", query=None, fragment=None)))


def late(place: str, deadline: float, hint: str | None = None) -> Unreachable:
    """Return the error for an answer that is not complete after `deadline` seconds."""
    return Unreachable(f"{place} gave no complete answer within {deadline:g} seconds.", hint=hint)


def out_of_reach(place: str, error: Exception, hint: str | None = None) -> Unreachable:
    """Return the error for a request that did not arrive."""
    return Unreachable(f"{place} cannot be reached ({type(error).__name__}).", hint=hint)


def redirected(place: str, status: int) -> RedirectRefused:
    """Return the error for a redirect."""
    return RedirectRefused(f"{place} answered {status} with a redirect, which is not followed.")


def compressed(place: str) -> ProtocolError:
    """Return the error for a body with a Content-Encoding that was not accepted (RFC 9110 section 12.5.3)."""
    return ProtocolError(
        f"{place} sent a compressed body although none was accepted.",
        hint="The server, or a proxy before it, compresses without being asked to: tell its operator.",
        reference="RFC 9110 section 12.5.3",
    )


def too_long(place: str) -> ProtocolError:
    """Return the error for a body over `MAX_BODY_BYTES`."""
    return ProtocolError(f"{place} sent more than {MAX_BODY_BYTES} bytes; the rest was not read.", hint=WRONG_PLACE)
