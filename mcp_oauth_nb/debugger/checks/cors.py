"""Whether a client in a web page could do all this: what a browser asks first, and what it lets the page read.

No server has to let web pages in. So only one whose MCP endpoint allows a page is held to the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...oauth.check import Check
from ..exchange import Checks, Facts, Seen, verdict

#: The origin of the client's web page: a site that is none of the servers of the flow.
ORIGIN = "https://client.example"

_ASKED_FOR = "access-control-request-headers"
_REFERENCE = "RFC 9700 section 2.6; Fetch Standard, CORS protocol"


def check_preflight(seen: Seen, facts: Facts) -> Checks:
    """Check the answer to what a browser asks before it lets a page send a request."""
    here = seen.url.partition("?")[0]
    if here == str(facts.server.get("authorization_endpoint", "")).partition("?")[0]:
        yield verdict(
            "the authorization endpoint is for people, not for pages",
            not _allows(seen),
            "no Access-Control-Allow-Origin: a person is sent there, and no page reads it",
            "RFC 9700 section 2.6",
        )
        return
    name = f"a page may send {seen.sent_header('access-control-request-method')} to it"
    if seen.url != facts.server_url and not facts.pages:
        yield Check(name, "not applicable", "the MCP endpoint lets no page in")
        return
    if seen.url == facts.server_url and not _allows(seen):
        yield Check(name, "not applicable", f"answered {seen.status} for {ORIGIN}, which nobody has to allow")
        return
    refused = _refused_headers(seen)
    yield verdict(
        name,
        _allows(seen) and not refused,
        f"2xx, Access-Control-Allow-Origin: * and Access-Control-Allow-Headers: {seen.sent_header(_ASKED_FOR)}",
        _REFERENCE,
        seen=f"it does not allow {', '.join(refused)}" if _allows(seen) and refused else f"answered {seen.status}",
    )


def check_cross_origin(seen: Seen, facts: Facts) -> Checks:
    """Check that a page can read the refusal with which the way to a token begins."""
    yield verdict(
        "a page may read the answer",
        _shares(seen),
        "Access-Control-Allow-Origin in the answer, too, whatever its status",
        _REFERENCE,
        seen=f"answered {seen.status}",
    )
    if seen.status == 401:
        yield verdict(
            "a page may read WWW-Authenticate",
            bool({"www-authenticate", "*"} & _names(seen.header("access-control-expose-headers"))),
            "Access-Control-Expose-Headers: WWW-Authenticate; a page does not see the challenge otherwise",
            "RFC 9728 section 5.1; Fetch Standard, CORS protocol",
        )


def _allows(seen: Seen) -> bool:
    return seen.status is not None and 200 <= seen.status < 300 and _shares(seen)


def _shares(seen: Seen) -> bool:
    return seen.header("access-control-allow-origin") in ("*", ORIGIN)


def _refused_headers(seen: Seen) -> list[str]:
    allowed = _names(seen.header("access-control-allow-headers"))
    asked = sorted(_names(seen.sent_header(_ASKED_FOR)))
    # Fetch Standard: the asterisk stands for every header but this one.
    return [name for name in asked if name not in allowed and (name == "authorization" or "*" not in allowed)]


def _names(header: str) -> set[str]:
    names: Iterable[str] = header.lower().split(",")
    return {name.strip() for name in names if name.strip()}
