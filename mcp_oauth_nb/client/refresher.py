"""What a refresh leaves: one rule for `McpAuth` and for `OAuthHandler`, which a server has for its users, too.

Who refreshes has the turn, has looked at the store once more, and has asked. What then counts is what is stored by now:

    stored now     a token came             it was refused                      any other error
    the same       store it, and use it     forget the old one; raise           keep the old one; raise
    another one    use that                 use that, and never delete it       use that
    none           `SignedOut`: revoke it   `SignedOut`                         `SignedOut`

To refresh early is a courtesy: while the old token is still valid, only a refusal and a sign-out matter to a call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..oauth.errors import McpOAuthError, RefreshRejected
from ..oauth.token import Token


class SignedOut(Exception):
    """The user signed out during the refresh: `orphan` is what it brought, and is to be revoked."""

    def __init__(self, orphan: Token | None = None):
        self.orphan = orphan


async def outcome(
    before: Token,
    asked: Awaitable[Token],
    *,
    stored: Callable[[], Token | None],
    replace: Callable[[Token, Token], bool],
    refused: Callable[[Token], None],
) -> Token:
    """Wait for the answer to a refresh; return the token to use.

    Args:
        before: the token that is refreshed.
        asked: brings what the server gives.
        stored: returns the token that is there now, if any.
        replace: puts a token in the place of another one if that is still there; returns whether it was.
        refused: forgets a token that the server refused, if it is still there.

    Raises:
        SignedOut: nobody is signed in any more.
        McpOAuthError: as `asked` had it, if nobody else stored a token meanwhile.
    """
    try:
        token = before.succeeded_by(await asked)
    except McpOAuthError as error:
        found = stored()
        if found != before:
            return _used(found)
        if isinstance(error, RefreshRejected) and error.final:
            refused(before)
        raise
    return token if replace(before, token) else _used(stored(), token)


def _used(found: Token | None, orphan: Token | None = None) -> Token:
    # A refresh token alone is none to use.
    if found is None or not found.access_token:
        raise SignedOut(orphan) from None
    return found
