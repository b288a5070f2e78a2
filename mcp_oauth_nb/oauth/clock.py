"""Time as a dependency: everything that expires asks a clock it was given."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code that needs the time gets it."""

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return time.time()

    def __repr__(self) -> str:
        return "SystemClock()"


class ManualClock:
    """A clock that stands still until it is advanced; safe to share between threads.

    Args:
        start: its first time, in seconds since the epoch.
    """

    def __init__(self, start: float = 0.0):
        self._now = float(start)
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._now

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> None:
        """Move forward by the sum of the arguments.

        Raises:
            ValueError: the sum is negative; time does not run backwards here.
        """
        step = seconds + 60 * (minutes + 60 * (hours + 24 * days))
        if step < 0:
            raise ValueError("a ManualClock only moves forward: the sum of the arguments is negative")
        with self._lock:
            self._now += step

    def __repr__(self) -> str:
        return f"ManualClock({iso(self._now)})"


def iso(timestamp: float) -> str:
    """Write seconds since the epoch as UTC, to the second: `2026-01-01T00:00:00Z`."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
