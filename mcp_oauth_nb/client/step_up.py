"""The scopes that an MCP server asks for: what a challenge says, and when asking for more has to end."""

from __future__ import annotations

import httpx2

from ..oauth.errors import InsufficientScope, TokenRejected
from ..oauth.masking import printable
from .channels import CHALLENGE


def is_challenge(response: httpx2.Response) -> bool:
    """Say whether an answer makes the SDK authorize."""
    if response.status_code == 401:
        return True
    challenge = CHALLENGE.of(response)
    # The SDK's own condition for a step-up.
    return response.status_code == 403 and challenge is not None and challenge.error == "insufficient_scope"


def challenged_scopes(response: httpx2.Response) -> frozenset[str]:
    """Return the scopes that a challenge names."""
    challenge = CHALLENGE.of(response)
    return frozenset(challenge.scopes if challenge is not None else ())


class StepUps:
    """What was asked for in vain, on one connection: it is not asked for again."""

    def __init__(self) -> None:
        self._in_vain: set[frozenset[str]] = set()

    def check(self, response: httpx2.Response, granted: frozenset[str]) -> None:
        """Check that it makes sense to authorize for this challenge.

        Args:
            granted: the scopes of the token that was refused.

        Raises:
            InsufficientScope: the same was asked for before, or is there already.
        """
        needed = challenged_scopes(response)
        if response.status_code == 403 and (needed in self._in_vain or (needed and needed <= granted)):
            # RFC 6750 section 3.1. Asking again for what is there already would never end.
            raise _insufficient(response)

    def check_answer(self, response: httpx2.Response) -> None:
        """Check that the new token satisfied the MCP server.

        Raises:
            TokenRejected: it does not accept the token at all.
            InsufficientScope: it asks for scopes again.
        """
        if response.status_code == 401:
            raise TokenRejected(
                "The MCP server rejects the access token that it was just authorized for.",
                hint="Its operator has to look: the server must accept what its authorization server issues for it. "
                "Often the token's audience is not the server's address, or the two know different keys.",
                reference="RFC 6750 section 3.1; RFC 8707 section 2",
            )
        if is_challenge(response):
            self._in_vain.add(challenged_scopes(response))
            raise _insufficient(response)


def _insufficient(response: httpx2.Response) -> InsufficientScope:
    needed = tuple(sorted(challenged_scopes(response)))
    named = f": it needs {printable(' '.join(needed))}" if needed else ""
    return InsufficientScope(
        f"The token is not enough for this request{named}, and asking for it did not help.",
        required=needed,
        hint="The authorization server does not grant it to this user or client; ask its operator.",
    )
