"""The logic of the token panel: the state of a handler's token, its earlier generations, refresh and revoke."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from traitlets import Enum, HasTraits, Int, Unicode

from ...client.handler import OAuthHandler
from ...oauth.clock import Clock, ManualClock
from ...oauth.errors import ConfigurationError, McpOAuthError, RefreshRejected
from ...oauth.jwt import JwtView, decode
from ...oauth.masking import mask, scrub
from ...oauth.token import EARLY_REFRESH_SECONDS, Token
from ...runtime.loops import begin
from ...trace import token_family
from ...trace.recorder import Trace
from ...trace.token_family import Family

State = Literal["valid", "expires soon", "expired", "no lifetime", "none"]


@dataclass(frozen=True)
class Lifetime:
    """How long a token still works, in seconds.

    Attributes:
        name: which token.
        state: whether it works, as a word.
        left: until it expires; negative afterwards; None if no answer said so.
        total: from its issue to its end, or from when it was first seen if that is all that is known.
    """

    name: str
    state: State
    left: float | None = None
    total: float | None = None

    @property
    def fraction(self) -> float:
        """The part of it that is left, from 0 to 1."""
        if self.left is None or not self.total:
            return 0.0
        return min(1.0, max(0.0, self.left / self.total))

    @property
    def text(self) -> str:
        """The same in words."""
        if self.left is None:
            return "none" if self.state == "none" else "no lifetime given: it is used until a server answers 401"
        if self.left <= 0:
            return f"expired {duration(-self.left)} ago"
        return f"{duration(self.left)} left of {duration(self.total or self.left)}"


@dataclass(frozen=True)
class ScopeLine:
    """A scope that was asked for, or granted, or both."""

    scope: str
    asked: bool
    granted: bool

    @property
    def difference(self) -> str:
        """The mark of the scope; empty if it was asked for and granted."""
        if self.asked and self.granted:
            return ""
        return "− asked, not granted" if self.asked else "+ granted, not asked"


class TokenModel(HasTraits):
    """Follows the token of a handler.

    Args:
        oauth: keeps the token.
        clock: tells what is left of it; the handler's if not given.
        asked: the scopes that were asked for; if not given, those of the newest recorded request, or the settings'.
        trace: the recorder of the handler's requests: the whole family is read from it. Without one the model
            knows what it saw itself.

    Attributes:
        version: grows when a look finds something else than the one before.
        busy: the action that is under way and can be cancelled, in words; empty if there is none.
        outcome: the result of the last action; empty before the first.
        message: the same in a sentence without secrets.
        hint: what to do after a failure.
        error: the name of the error's class.
    """

    version = Int(0)
    busy = Unicode()
    outcome = Enum(["", "done", "failed", "cancelled"], default_value="")
    message = Unicode()
    hint = Unicode()
    error = Unicode()

    def __init__(
        self,
        oauth: OAuthHandler,
        clock: Clock | None = None,
        *,
        asked: tuple[str, ...] | None = None,
        trace: Trace | None = None,
    ):
        super().__init__()
        self._oauth = oauth
        self._clock = clock or oauth.clock
        self._asked = asked
        self._trace = trace
        self._seen = Family()
        self._recorded: tuple[int, Family, tuple[str, ...] | None] = (-1, Family(), None)
        self._last: Token | None = None
        self._seen_at = 0.0
        self._shown: object = None
        self._work: Future[Any] | None = None
        # The work reports from the loop thread, the panel's timer looks on the kernel's.
        self._changing = threading.RLock()
        self.token: Token | None = None
        self._refresh_token = ""
        self.look()

    # -- what is shown ---------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The time by the panel's clock, in seconds since the epoch."""
        return self._clock.now()

    @property
    def access_token(self) -> str:
        """The access token, masked; empty if there is none."""
        return mask(self.token.access_token) if self.token else ""

    @property
    def refresh_token(self) -> str:
        """The refresh token, masked; empty if there is none."""
        return self._refresh_token

    @property
    def provider(self) -> str:
        """The host that refreshes."""
        return urlsplit(self._oauth.settings.oauth_token_url).netloc

    @property
    def lifetimes(self) -> tuple[Lifetime, Lifetime]:
        """Of the access token and of the refresh token."""
        token = self.token
        if token is None:
            refresh: State = "no lifetime" if self.refresh_token else "none"
            return Lifetime("Access token", "none"), Lifetime("Refresh token", refresh)
        return (
            self._lifetime("Access token", token, token.expires_at, "expires_in"),
            self._lifetime("Refresh token", token, token.refresh_token_expires_at, "refresh_token_expires_in")
            if token.refresh_token
            else Lifetime("Refresh token", "none"),
        )

    @property
    def scopes(self) -> tuple[ScopeLine, ...]:
        """Every scope that was asked for or granted."""
        asked, granted = self.asked, self.token.scopes if self.token else ()
        return tuple(ScopeLine(name, name in asked, name in granted) for name in dict.fromkeys((*asked, *granted)))

    @property
    def asked(self) -> tuple[str, ...]:
        """The scopes that were asked for."""
        if self._asked is not None:
            return self._asked
        return self._read_trace()[1] or self._oauth.settings.oauth_scopes

    @property
    def family(self) -> Family:
        """The generations of the token, as far as they are known."""
        return self._seen if self._trace is None else self._read_trace()[0]

    @property
    def jwt(self) -> JwtView | None:
        """The claims of the access token, if it is a JWT; not verified."""
        return decode(self.token.access_token) if self.token else None

    @property
    def can_advance(self) -> bool:
        """Whether the clock stands still until it is advanced, as a lab's does."""
        return isinstance(self._clock, ManualClock)

    @property
    def summary(self) -> str:
        """One line, the same on every run with a lab's clock."""
        access, refresh = self.lifetimes
        if self.token is None:
            return "no token"
        return f"{self.access_token}, {access.text}; refresh token: {refresh.text}"

    # -- what can be done ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the token and the clock again: another part of the program may have changed them."""
        with self._changing:
            self._look()

    def _look(self) -> None:
        try:
            self.token, self._refresh_token = self._oauth.token, mask(self._oauth.refresh_token or "")
        except McpOAuthError as error:
            self.token, self._refresh_token = None, ""
            self._tell(error)
        # A new token that appears during a refresh is the refresh's own; its origin is noted when the refresh is done.
        if self.token != self._last and not self.busy:
            self._seen.replaced()
            if self.token is not None:
                self._seen.issued(*token_family.masked(self.token), born="found in the store")
            self._last = self.token
            self._seen_at = self.now
        lifetimes = [(lifetime.text, round(lifetime.fraction, 2)) for lifetime in self.lifetimes]
        state = (self.token, lifetimes, self._recordings, self.now if self.can_advance else None)
        if state != self._shown:
            self._shown = state
            self.version += 1

    @property
    def _recordings(self) -> int:
        return len(self._trace) if self._trace is not None else len(self._seen.generations)

    def advance(self, seconds: float = 0.0, **more: float) -> None:
        """Move the lab's clock forward; arguments as `ManualClock.advance`.

        Raises:
            ConfigurationError: this clock goes by itself.
        """
        if not isinstance(self._clock, ManualClock):
            raise ConfigurationError("This clock goes by itself.", hint="Only a lab's clock can be advanced.")
        self._clock.advance(seconds, **more)
        self.look()

    async def refresh(self) -> Token:
        """Refresh the token.

        Raises:
            McpOAuthError: see `OAuthHandler.refresh_access_token`.
        """
        self.look()
        used, before = self.refresh_token, self.token
        self._begin(f"Refreshing: waiting for {self.provider}")
        try:
            token = await self._oauth.refresh_access_token()
        except BaseException as error:
            if isinstance(error, RefreshRejected):
                self._seen.refused(used, type(error).__name__)
            self._fail(error)
            raise
        if token != before:
            self._seen.rotated(used, *token_family.masked(token))
            self._last = token
        self._finish("done", f"Refreshed: {mask(token.access_token)} is the access token now.")
        return token

    async def revoke(self) -> bool:
        """Revoke the token at the provider, and forget it.

        Raises:
            McpOAuthError: see `OAuthHandler.revoke`.
        """
        self.look()
        revoked = self.access_token
        self._begin(f"Revoking: waiting for {self.provider}")
        try:
            confirmed = await self._oauth.revoke()
        except BaseException as error:
            self._fail(error)
            raise
        if confirmed:
            self._seen.revoked(revoked)
            self._last = None
            self._finish("done", f"Revoked: {revoked} no longer works, says {self.provider}.")
        else:
            told = f"Forgotten here. {self.provider} did not confirm an end: a copy works until it expires."
            self._finish("done", told if revoked else "There is no token to revoke.")
        return confirmed

    # -- for buttons -----------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any] | None:
        """Do `refresh()` or `revoke()` on the loop thread, and return at once; None if something is under way."""
        # `busy` is set when the work begins, a moment after a click.
        if self.busy or (self._work is not None and not self._work.done()):
            work.close()
            return None
        self._work = begin(work)
        return self._work

    def cancel(self) -> None:
        """Stop waiting for what is under way."""
        if self._work is not None:
            self._work.cancel()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _lifetime(self, name: str, token: Token, deadline: float | None, field: str) -> Lifetime:
        if deadline is None:
            return Lifetime(name, "no lifetime")
        left = deadline - self.now
        state: State = "expired" if left <= 0 else "expires soon" if left <= EARLY_REFRESH_SECONDS else "valid"
        return Lifetime(name, state, left, self._total(token, field, deadline))

    def _total(self, token: Token, field: str, deadline: float) -> float:
        try:
            return float(token[field])
        except (KeyError, TypeError, ValueError):
            # It comes from a store, which keeps the end only.
            return max(deadline - self._seen_at, 1.0)

    def _read_trace(self) -> tuple[Family, tuple[str, ...] | None]:
        if self._trace is None:
            return self._seen, None
        size = len(self._trace)
        if self._recorded[0] != size:
            exchanges, settings = self._trace.exchanges, self._oauth.settings
            asked = token_family.asked_scopes(exchanges, settings)
            self._recorded = (size, token_family.read(exchanges, settings), asked)
        return self._recorded[1:]

    def _begin(self, busy: str) -> None:
        with self._changing, self.hold_trait_notifications():
            self.busy = busy
            self.outcome, self.message, self.hint, self.error = "", "", "", ""

    def _finish(self, outcome: str, message: str) -> None:
        with self._changing, self.hold_trait_notifications():
            self.busy, self.outcome, self.message = "", outcome, message
            self._look()

    def _fail(self, error: BaseException) -> None:
        with self._changing, self.hold_trait_notifications():
            self.busy = ""
            if isinstance(error, McpOAuthError):
                self._tell(error)
            elif isinstance(error, Exception) and not isinstance(error, TimeoutError):
                self.outcome, self.error, self.message = "failed", type(error).__name__, "This was not expected."
            else:
                self.outcome, self.message = "cancelled", "Nobody waits for the answer any more."
                self.hint = "If the request was sent it may still be answered; a token that comes is kept."
            self._look()

    def _tell(self, error: McpOAuthError) -> None:
        self.outcome, self.error = "failed", type(error).__name__
        self.message, self.hint = scrub(error.message), scrub(error.hint)

    def __repr__(self) -> str:
        return f"TokenModel({self.summary})"


def duration(seconds: float) -> str:
    """Write a time span in its two largest units: `7 h 59 min`, `180 d`, `45 s`."""
    left = int(seconds)
    if left >= 30 * 86_400:
        return f"{left // 86_400} d"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"
