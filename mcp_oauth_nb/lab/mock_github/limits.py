"""Rate limits of the REST API: so many requests an hour, and a secondary limit on bursts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .state import State

_HOUR, _MINUTE = 3600.0, 60.0


@dataclass
class Window:
    """What one caller has used since `start`."""

    start: float
    used: int = 0


@dataclass(frozen=True)
class Quota:
    """What one caller may still do. `reset` is in seconds since the epoch."""

    limit: int
    used: int
    reset: int

    @property
    def remaining(self) -> int:
        """How many requests are left."""
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer carries."""
        values = {"limit": self.limit, "remaining": self.remaining, "used": self.used, "reset": self.reset}
        return {f"X-RateLimit-{name.title()}": str(value) for name, value in values.items()} | {
            "X-RateLimit-Resource": "core"
        }

    def body(self) -> dict[str, int]:
        """Return the same as JSON, for `/rate_limit`."""
        return {"limit": self.limit, "used": self.used, "remaining": self.remaining, "reset": self.reset}


class Limits:
    """Counts requests by caller: a user of an app, or the anonymous ones."""

    def __init__(self, state: State):
        self._state = state
        self._hours: dict[str, Window] = {}
        self._minutes: dict[str, Window] = {}

    def quota(self, caller: str | None) -> Quota:
        """Return what is left to a caller."""
        knobs = self._state.knobs
        with self._state.lock:
            window = self._window(self._hours, caller, _HOUR)
            limit = knobs.rate_limit_anonymous if caller is None else knobs.rate_limit
            return Quota(limit, window.used, math.ceil(window.start + _HOUR))

    def count(self, caller: str | None) -> None:
        """Use up one request of the hour's quota."""
        with self._state.lock:
            self._window(self._hours, caller, _HOUR).used += 1

    def too_fast(self, caller: str | None) -> bool:
        """Count a request of this minute, and say whether it was one too many."""
        allowed = self._state.knobs.secondary_limit
        with self._state.lock:
            window = self._window(self._minutes, caller, _MINUTE)
            window.used += 1
            return allowed is not None and window.used > allowed

    def _window(self, windows: dict[str, Window], caller: str | None, length: float) -> Window:
        now = self._state.now()
        window = windows.get(caller or "")
        if window is None or now >= window.start + length:
            window = windows[caller or ""] = Window(now)
        return window
