"""The audit log: who tried to get in, to what, and what came of it. One JSON object a line, no secrets.

It goes to the logger `mcp_oauth_nb.audit`; the same object is the record's attribute `audit`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Literal

from mcp.server.auth.provider import AccessToken

from ...oauth.masking import printable

log = logging.getLogger("mcp_oauth_nb.audit")


def record(
    outcome: Literal["granted", "denied"],
    what: Mapping[str, str | None],
    *,
    reason: str | None = None,
    status: int | None = None,
    access: AccessToken | None = None,
    needed: tuple[str, ...] = (),
) -> None:
    """Write down one authorization attempt.

    Args:
        outcome: denials are warnings.
        what: where it came from and what it was for, such as `address`, `method` and `tool`.
        reason: why it was denied.
        status: of the HTTP answer, if it was denied.
        access: who it was, as far as a valid token tells.
        needed: the scopes that the call needs.
    """
    level = logging.INFO if outcome == "granted" else logging.WARNING
    if not log.isEnabledFor(level):
        return
    who = {} if access is None else {"subject": access.subject, "client_id": access.client_id, "scopes": access.scopes}
    event: dict[str, Any] = {"event": "authorization", "outcome": outcome, "reason": reason, "status": status}
    event |= {**who, "needed": list(needed) or None, **what}
    event = {name: _clean(value) for name, value in event.items() if value is not None}
    log.log(level, "%s", json.dumps(event), extra={"audit": event})


def _clean(value: Any) -> Any:
    """Cut and escape what came from the network, secrets masked: a name of a tool may be anything."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
