"""Limits by client address: how often, counted by the `limits` library, and how many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limits import parse
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter

from ..rate_limits import BoundedCounts, counted_in_store, seconds_left

#: How many failed authorizations an address may make.
FAILED_AUTHORIZATIONS = "30/minute"
#: How many sessions an address may open without a token.
ANONYMOUS_SESSIONS = "300/minute"
#: The most bytes of a request's body.
MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one address may cost the MCP endpoint; how often is in the notation of `limits`.

    Attributes:
        failures: authorizations that fail.
        openings: sessions that are opened without a token.
        body_bytes: of a request; the answer to more is 413.
        storage: counts, in this process's memory if not given. Share one between workers.
    """

    failures: str = FAILED_AUTHORIZATIONS
    openings: str = ANONYMOUS_SESSIONS
    body_bytes: int = MAX_BODY_BYTES
    storage: Storage | None = None


#: What holds where nobody says otherwise.
USUAL_LIMITS = Limits()


class RateLimit:
    """So many events for each key in a moving window of time.

    Args:
        limit: such as `30/minute`.
        name: of what is counted; keeps this limit's counts apart from others in the same storage.
        storage: counts; in this process's memory if not given. Share one between workers, made with
            `wrap_exceptions`.
    """

    def __init__(self, limit: str, name: str, *, storage: Storage | None = None):
        self._item = parse(limit)
        self._name = name
        self._limiter = MovingWindowRateLimiter(storage or BoundedCounts())

    async def blocked(self, key: str) -> int | None:
        """Return the seconds to wait if the limit is reached, else None. Nothing is counted.

        Raises:
            StoreUnavailable: the storage does not answer; so does `count`.
        """
        with counted_in_store(self._name):
            if await self._limiter.test(self._item, self._name, key):
                return None
            return await seconds_left(self._limiter, self._item, self._name, key)

    async def count(self, key: str) -> None:
        """Count one event."""
        with counted_in_store(self._name):
            await self._limiter.hit(self._item, self._name, key)


class InService:
    """How many requests of each address are served at this moment.

    Args:
        most: of one address.
    """

    def __init__(self, most: int):
        self._most = most
        self._running: Counter[str] = Counter()

    def is_full(self, address: str) -> bool:
        """Say whether the address has as many as it may have."""
        return self._running.get(address, 0) >= self._most

    @contextmanager
    def one_more(self, address: str) -> Iterator[None]:
        """Count one request while it is served."""
        self._running[address] += 1
        try:
            yield
        finally:
            self._running[address] -= 1
            if not self._running[address]:
                del self._running[address]
