"""The end of a token before its time (RFC 7009), and what a sign-out means for a refresh: one rule for both clients.

while the refresh is under way    what happens to the token that it brings
the user signs out                it is revoked at the server that gave it, and the call ends with `signed_out`:
                                  nobody is asked again because of it
the user signs in again           the newer token is used; this one is not revoked, as it may be of the same grant
another process refreshes         the same
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from .clock import iso
from .errors import AuthenticationRequired, Challenge, McpOAuthError, NotRevoked, ProtocolError, TransientError
from .http import Answer, ClientFactory
from .masking import printable
from .settings import Settings
from .token import Token
from .token_endpoint import check_available, post


class Revocation:
    """The revocation of one token, request by request: `form` is what to ask next, and `read` takes the answer.

    Attributes:
        alive: the kinds of token that are not known to have ended.
        error: why; None where the server says that it ends no tokens of that kind.
    """

    def __init__(self, token: Token | None):
        # RFC 7009 section 2.1: the refresh token first; where supported it takes its access tokens along.
        kinds = (("refresh_token", token.refresh_token), ("access_token", token.access_token)) if token else ()
        self._left = [{"token": value, "token_type_hint": kind} for kind, value in kinds if value is not None]
        self.alive = [form["token_type_hint"] for form in self._left]
        self.error: McpOAuthError | None = None

    @property
    def form(self) -> dict[str, str] | None:
        """The fields of the next request; None if there is none, or if the server cannot answer now."""
        # One refusal says nothing about the other token.
        return self._left[0] if self._left and not isinstance(self.error, TransientError) else None

    def read(self, answer: Answer | McpOAuthError, now: float) -> None:
        """Note what the request was answered, or why it was not.

        Args:
            now: the time in seconds since the epoch.
        """
        kind = self._left.pop(0)["token_type_hint"]
        try:
            if isinstance(answer, McpOAuthError):
                raise answer
            if _has_ended(answer, now):
                self.alive.remove(kind)
        except McpOAuthError as error:
            self.error = self.error or error


async def revoke(settings: Settings, client: ClientFactory, url: str, token: Token, *, now: float) -> bool:
    """Revoke a token at an RFC 7009 endpoint.

    Args:
        now: the time in seconds since the epoch.

    Returns:
        Whether all of it has ended; False where the server revokes tokens of one kind only.

    Raises:
        ServerUnavailable, RateLimited: try again later.
        ProtocolError: it did not answer 200. Whatever could be revoked is.
    """
    revocation = Revocation(token)
    while (form := revocation.form) is not None:
        revocation.read(await post(settings, client, url, form), now)
    if revocation.error is not None:
        raise revocation.error
    return not revocation.alive


def _has_ended(answer: Answer, now: float) -> bool:
    check_available(answer, now)
    if answer.status == 200:
        return True
    with suppress(ProtocolError):
        # RFC 7009 section 2.2.1: such tokens, JWTs say, end by themselves only. To ask again would change nothing.
        if answer.json_object().get("error") == "unsupported_token_type":
            return False
    raise ProtocolError(
        f"{answer.url} answered {answer.status}.",
        hint="The token may still be valid. Try again, or end it on the provider's own page.",
        reference="RFC 7009 section 2.2",
    )


def not_revoked(
    token: Token,
    cause: McpOAuthError | None,
    *,
    why: str = "The server ends no such tokens.",
    alive: Sequence[str] = (),
) -> NotRevoked:
    """Return the error that says what of a token may outlive a sign-out.

    Args:
        token: nothing of it is kept here.
        cause: why.
        why: the same in a sentence, where no error says it.
        alive: the kinds of token that are not known to have ended; all that there are if not given.
    """
    kinds = tuple(alive or Revocation(token).alive)
    ends = {"refresh_token": token.refresh_token_expires_at, "access_token": token.expires_at}
    named = [f"the {kind.replace('_', ' ')}{_until(ends[kind])}" for kind in kinds]
    said = cause.message if cause is not None else why
    error = NotRevoked(f"{said} Nothing is kept here, but {' and '.join(named)} may still be good there.", alive=kinds)
    error.__cause__ = cause
    return error


def _until(expires_at: float | None) -> str:
    return "" if expires_at is None else f" (until {printable(iso(expires_at))})"


def signed_out(lives_on: NotRevoked | None, challenge: Challenge | None = None) -> AuthenticationRequired:
    """Return the error of a call whose user signed out while its token was refreshed.

    Args:
        lives_on: what the refresh brought, where it could not be revoked.
        challenge: where to authorize.
    """
    message = "The user signed out while the token was being refreshed."
    if lives_on is None:
        error = AuthenticationRequired(message, challenge=challenge, hint=_AGAIN)
    else:
        error = AuthenticationRequired(f"{message} {lives_on.message}", challenge=challenge, hint=lives_on.hint)
    error.__cause__ = lives_on
    return error


_AGAIN = "Nothing is kept, and nobody was asked to sign in again. Authorize anew if you want to go on."
