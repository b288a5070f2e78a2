"""What both rate limits share: whom a request counts against, how long to wait, a storage that does not answer."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from limits import RateLimitItem
from limits.aio.strategies import RateLimiter
from limits.errors import StorageError

from .errors import StoreUnavailable


def client_address(scope: Mapping[str, Any]) -> str:
    """Return whom a request is counted against: an IPv4 address, or an IPv6 network of 64 bits, which one client owns.

    It is the address that the web server saw. Behind a proxy, tell the web server which proxies to believe.
    """
    return _counted_as((scope.get("client") or ("unknown",))[0])


# One client asks often, and to read its address takes longer than to count it.
@functools.lru_cache(maxsize=1024)
def _counted_as(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        # A household has a whole /64 of IPv6 addresses to choose from (RFC 6177).
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


async def seconds_left(limiter: RateLimiter, item: RateLimitItem, *names: str) -> int:
    """Return the seconds until a limit that is reached lets the next one pass (RFC 6585 section 4)."""
    stats = await limiter.get_window_stats(item, *names)
    return max(1, math.ceil(stats.reset_time - time.time()))


@contextlib.contextmanager
def counted_in_store(what: str) -> Iterator[None]:
    """Type the failure of a storage, which must be made with `wrap_exceptions`.

    Args:
        what: is counted, such as `requests`.

    Raises:
        StoreUnavailable: the storage does not answer.
    """
    try:
        yield
    except StorageError as error:
        raise StoreUnavailable(f"The store that counts {what} does not answer.") from error
