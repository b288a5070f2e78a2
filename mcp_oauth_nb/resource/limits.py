"""Rate limits by client address, counted by the `limits` library."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from limits import parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from ..errors import StoreUnavailable

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
        with _typed():
            return None if await self._limiter.test(self._item, self._name, key) else await self._wait(key)

    async def count(self, key: str) -> int | None:
        """Count one event. Returns the seconds to wait if it was one too many, else None."""
        with _typed():
            return None if await self._limiter.hit(self._item, self._name, key) else await self._wait(key)

    async def _wait(self, key: str) -> int:
        stats = await self._limiter.get_window_stats(self._item, self._name, key)
        return max(1, math.ceil(stats.reset_time - time.time()))


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise StoreUnavailable("The store that counts failures does not answer.") from error


def client_address(scope: Mapping[str, Any]) -> str:
    """Return whom a request is counted against: an IPv4 address, or an IPv6 network of 64 bits, which one client owns.

    It is the address that the web server saw. Behind a proxy, tell the web server which proxies to believe.
    """
    return _counted_as((scope.get("client") or ("unknown",))[0])


# One client asks often, and to read its address takes longer than to count it.
@functools.lru_cache(maxsize=1024)
def _counted_as(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
