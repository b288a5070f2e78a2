"""Rate limits by client address, counted by the `limits` library."""

from __future__ import annotations

from limits import parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from ..rate_limits import counted_in_store, seconds_left

#: How many failed authorizations an address may make.
FAILED_AUTHORIZATIONS = "30/minute"


class RateLimit:
    """So many events for each key in a moving window of time.

    Args:
        limit: such as `30/minute`.
        name: keeps this limit's counts apart from others in the same storage.
        storage: counts; in this process's memory if not given. Share one between workers, made with
            `wrap_exceptions`.
    """

    def __init__(self, limit: str, name: str, *, storage: Storage | None = None):
        self._item = parse(limit)
        self._name = name
        self._limiter = MovingWindowRateLimiter(storage or MemoryStorage())

    async def blocked(self, key: str) -> int | None:
        """Return the seconds to wait if the limit is reached, else None. Nothing is counted.

        Raises:
            StoreUnavailable: the storage does not answer; so does `count`.
        """
        with counted_in_store("failures"):
            if await self._limiter.test(self._item, self._name, key):
                return None
            return await seconds_left(self._limiter, self._item, self._name, key)

    async def count(self, key: str) -> None:
        """Count one event."""
        with counted_in_store("failures"):
            await self._limiter.hit(self._item, self._name, key)
