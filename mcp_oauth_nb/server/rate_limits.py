"""What strangers may cost: whom a request counts against, a bounded number of places, counts, how long to wait.

Whatever is kept for somebody who has shown no token is kept in a `Shares`: each address has so many places, all of them
together so many, and a new one is paid for by the address that holds most. So a table that strangers fill stays as
large as it is, and who fills it displaces nobody but themselves.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from limits import RateLimitItem
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import RateLimiter
from limits.errors import StorageError

from ..oauth.errors import StoreUnavailable

#: What all clients are counted as whose address the web server does not say, or says in no form that is one.
UNKNOWN = "unknown"

#: When to come back, in seconds, where nobody can know.
RETRY_SECONDS = 5

_MOST_COUNTED = 50_000
# The count of what was never counted, and when its window ended.
_NEVER = (0, -math.inf)
# An IPv6 address with the name of an interface.
_LONGEST_ADDRESS = 64


def client_address(scope: Mapping[str, Any]) -> str:
    """Return whom a request is counted against: an IPv4 address, or an IPv6 network of 64 bits, which one client owns.

    It is the address that the web server saw. Behind a proxy, tell the web server which proxies to believe.
    """
    host: str = (scope.get("client") or (UNKNOWN,))[0]
    return _counted_as(host) if len(host) <= _LONGEST_ADDRESS else UNKNOWN


# One client asks often, and to read its address takes longer than to count it.
@functools.lru_cache
def _counted_as(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name that a proxy passed on may be anything, of any length: each would be one more address to count.
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        # A household has a whole /64 of IPv6 addresses to choose from (RFC 6177).
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Shares:
    """A bounded number of places, shared by those who hold them.

    Args:
        most: places in all.
        most_each: places of one owner.
        lifetime: seconds after its last use for which a place can be of use; None is for ever.
    """

    def __init__(self, most: int, most_each: int, lifetime: float | None = None):
        self._most = most
        self._most_each = most_each
        self._lifetime = math.inf if lifetime is None else lifetime
        # The places of each owner with the time of their last use, the one that was used longest ago first.
        self._places: dict[Hashable, OrderedDict[str, float]] = {}
        self._owners: dict[str, Hashable] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._owners

    def __len__(self) -> int:
        return len(self._owners)

    def take(self, owner: Hashable, name: str, now: float) -> list[str]:
        """Give an owner a place; return the names of those that have lost theirs for it.

        An owner whose places are all taken loses the one that it used longest ago. If all places are taken, the owner
        who has most of them does; of several, the one who has not used it for longest.
        """
        self.leave(name)
        lost = []
        own = self._places.get(owner)
        if own is not None and len(own) >= self._most_each:
            lost.append(self._first(own))
        elif len(self._owners) >= self._most:
            lost = self.unused(now) or [self._first(self._largest())]
        for one in lost:
            self.leave(one)
        self._owners[name] = owner
        self._places.setdefault(owner, OrderedDict())[name] = now
        return lost

    def use(self, name: str, now: float) -> None:
        """Note that a place is used."""
        if name in self._owners:
            own = self._places[self._owners[name]]
            own[name] = now
            own.move_to_end(name)

    def leave(self, name: str) -> None:
        """Give a place back; one that nobody has is no error."""
        if name not in self._owners:
            return
        owner = self._owners.pop(name)
        del self._places[owner][name]
        if not self._places[owner]:
            del self._places[owner]

    def unused(self, now: float) -> list[str]:
        """Return the names whose lifetime is over."""
        limit = now - self._lifetime
        return [name for own in self._places.values() for name, used in own.items() if used < limit]

    def _largest(self) -> OrderedDict[str, float]:
        return max(self._places.values(), key=lambda own: (len(own), -own[self._first(own)]))

    @staticmethod
    def _first(own: OrderedDict[str, float]) -> str:
        return next(iter(own))


class BoundedCounts(Storage, MovingWindowSupport):
    """Counts in this process's memory, for `limits`: each request costs the same, however many addresses are counted.

    The library's own storage looks at all its keys at each request, and has no bound. Here the key that was begun
    longest ago gives way: who has so many addresses is not held back by counting them.

    Args:
        most: keys that are counted at a time.
        now: tells the time, in seconds since 1970.
    """

    STORAGE_SCHEME = None

    def __init__(self, most: int = _MOST_COUNTED, now: Callable[[], float] = time.time):
        super().__init__()
        self._most = most
        self._now = now
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._events: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it fails with: nothing does."""
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count; return how many there are in this window."""
        count, until = self._counts.get(key, _NEVER)
        if until <= self._now():
            self._counts.pop(key, None)
            count, until = 0, self._now() + expiry
        self._counts[key] = (count + amount, until)
        _keep(self._counts, self._most)
        return count + amount

    async def get(self, key: str) -> int:
        """Return how many there are in this window."""
        count, until = self._counts.get(key, _NEVER)
        return count if self._now() < until else 0

    async def get_expiry(self, key: str) -> float:
        """Return when the window ends."""
        _, until = self._counts.get(key, _NEVER)
        return max(until, self._now())

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count in a moving window; False if it is full."""
        now = self._now()
        events = [at for at in self._events.pop(key, []) if at > now - expiry]
        allowed = len(events) + amount <= limit
        self._events[key] = events + [now] * amount if allowed else events
        _keep(self._events, self._most)
        return allowed

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest event in the window was, and how many are in it."""
        now = self._now()
        events = [at for at in self._events.get(key, []) if at > now - expiry]
        return (events[0] if events else now), len(events)

    async def check(self) -> bool:
        """Say that it works."""
        return True

    async def reset(self) -> int:
        """Forget everything; return how many keys there were."""
        found = len(self._counts) + len(self._events)
        self._counts.clear()
        self._events.clear()
        return found

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._counts.pop(key, None)
        self._events.pop(key, None)


def _keep(table: OrderedDict[str, Any], most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)


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
