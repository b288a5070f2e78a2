"""Checks of each step of the flow: pure functions from an exchange, and the facts before it, to checks.

The table here chooses the checks of a step; the modules hold them. A check that failed says what the server, or the
client, should have sent. Nothing here quotes a secret.
"""

from __future__ import annotations

from collections.abc import Callable

from ...oauth.check import Check
from ...oauth.errors import McpOAuthError
from ..exchange import Checks, Facts, Seen
from .client import check_authorization, check_callback, check_registration
from .cors import check_cross_origin, check_preflight
from .mcp_server import check_ended_token, check_request
from .metadata_documents import check_resource_metadata, check_server_metadata
from .token_answers import check_ended_refresh, check_refresh, check_reuse, check_revocation, check_token

_CHECKS: dict[str, Callable[[Seen, Facts], Checks]] = {
    "handshake": check_request,
    "list": check_request,
    "call": check_request,
    "authorized": check_request,
    "resource_metadata": check_resource_metadata,
    "server_metadata": check_server_metadata,
    "registration": check_registration,
    "authorize": check_authorization,
    "callback": check_callback,
    "token": check_token,
    "refresh": check_refresh,
    "reuse": check_reuse,
    "replay": check_reuse,
    "revoke": check_revocation,
    "ended_refresh": check_ended_refresh,
    "ended_token": check_ended_token,
    "preflight": check_preflight,
    "cross_origin": check_cross_origin,
}


def check(seen: Seen, facts: Facts) -> tuple[Check, ...]:
    """Check one exchange by the rules of its step.

    Args:
        seen: the exchange, in clear.
        facts: what earlier steps have shown.
    """
    return tuple(_CHECKS[seen.kind](seen, facts))


_GO_ON = "an answer with which the client can go on"


def check_error(error: McpOAuthError) -> Check:
    """Say that the client stopped, and why: where no check of the exchange itself failed, this is the finding."""
    # The error's hint is for the user of the client; the server must only answer so that the client can go on.
    return Check("the client goes on", "failed", error.message, _GO_ON, error.reference)
