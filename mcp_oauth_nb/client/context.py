"""The state of the SDK's flow, with an expiry that is absolute; and how an error gets out of the flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import anyio
from mcp.client.auth.oauth2 import OAuthContext

from ..oauth.clock import Clock, SystemClock
from ..oauth.errors import McpOAuthError
from ..oauth.token import Token
from .registration import auth_method
from .sdk_storage import oauth_token


class Stop(BaseException):
    """Carries an error out of the SDK's flow, which logs the traceback of every `Exception` that passes through."""

    def __init__(self, error: McpOAuthError):
        super().__init__(error.message)
        self.error = error


@contextmanager
def stopping() -> Iterator[None]:
    """Raise a typed error as a `Stop`."""
    try:
        yield
    except McpOAuthError as error:
        raise Stop(error) from None


def free_lock() -> anyio.Lock:
    """Make a lock that one task may take and another release: a debugger steps a flow from cell to cell."""
    return cast(anyio.Lock, anyio.Semaphore(1, max_value=1))


@dataclass
class Context(OAuthContext):
    """The SDK's state of a flow, with an expiry that asks the given clock."""

    def __repr__(self) -> str:
        # The SDK's has the client's secret and both tokens.
        return f"Context({self.server_url}, {self.token!r})"

    clock: Clock = field(default_factory=SystemClock)
    token: Token | None = None
    #: The server could not refresh it early, and is not to be asked again before it must.
    to_the_end: bool = False
    lock: anyio.Lock = field(default_factory=free_lock)

    def hold(self, token: Token | None) -> None:
        """Use a token from now on."""
        self.token, self.to_the_end = token, False
        self.current_tokens = None
        if token is not None:
            self.current_tokens = oauth_token(token, self.clock.now())
            # The SDK's model has made plain texts of them.
            self.current_tokens.access_token = token.access_token
            self.current_tokens.refresh_token = token.refresh_token

    @property
    def is_expired(self) -> bool:
        """Whether the token's lifetime is over, or there is none."""
        return self.token is None or self.token.is_expired(self.clock.now())

    def may_have_ended(self, asked_at: float) -> bool:
        """Say whether the server, which counts from when it answered, may say so before our clock does.

        Args:
            asked_at: when the token was asked for, in seconds since the epoch.
        """
        token = self.token
        if token is None or token.expires_at is None or token.issued_at is None:
            return False
        return self.clock.now() - asked_at >= token.expires_at - token.issued_at

    def is_token_valid(self) -> bool:
        """Say whether to use the token as it is, neither without one nor with a better one."""
        if self.token is None or self.is_expired:
            return False
        return self.to_the_end or not self.can_refresh_token() or not self.token.is_due(self.clock.now())

    @property
    def auth_method(self) -> str:
        """How the client authenticates at the token endpoint; see `registration.auth_method`."""
        return auth_method(self.client_info, self.oauth_metadata) if self.client_info is not None else "none"

    def prepare_token_auth(
        self, data: dict[str, str], headers: dict[str, str] | None = None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Add what authenticates the client. The SDK would send nothing where the registration names no method."""
        known = self.client_info
        if known is None:
            return super().prepare_token_auth(data, headers)
        with stopping():
            self.client_info = known.model_copy(update={"token_endpoint_auth_method": self.auth_method})
        try:
            return super().prepare_token_auth(data, headers)
        finally:
            self.client_info = known

    def clear_tokens(self) -> None:
        """Forget the token."""
        super().clear_tokens()
        self.token = None
