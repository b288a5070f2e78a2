"""Limits on how often one address may ask, kept by `limits` in memory or in a store that the workers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.requests import Request
from starlette.responses import Response

from ..rate_limits import BoundedCounts, client_address, counted_in_store, seconds_left
from .waiting import ADDRESS

Handler = Callable[[Request], Awaitable[Response]]
Endpoint = Literal["authorize", "token", "register"]


@dataclass(frozen=True)
class Rates:
    """How often one address may ask each endpoint, in the notation of `limits`; None is no limit.

    A registration is stored for months, so it has the tightest. `authorize` also covers the consent page. It is counted
    in `storage`, or in memory; `limits` measures real time, whatever our clock says. One that can fail is made with
    `wrap_exceptions`.
    """

    authorize: str | None = "120/minute"
    token: str | None = "300/minute"
    register: str | None = "60/minute;1000/day"
    storage: Storage | None = None


class Throttle:
    """Counts requests by address.

    Args:
        rates: how many are allowed, and where they are counted.
    """

    def __init__(self, rates: Rates):
        self._limiter = FixedWindowRateLimiter(rates.storage if rates.storage is not None else BoundedCounts())
        self._items: dict[Endpoint, list[RateLimitItem]] = {
            "authorize": _items(rates.authorize),
            "token": _items(rates.token),
            "register": _items(rates.register),
        }

    async def wait_for(self, endpoint: Endpoint, request: Request) -> int | None:
        """Count a request; return the seconds to wait if it is one too many (RFC 6585 section 4), else None.

        Raises:
            StoreUnavailable: nobody can tell now.
        """
        address = client_address(request.scope)
        with counted_in_store("requests"):
            for item in self._items[endpoint]:
                if not await self._limiter.hit(item, endpoint, address):
                    return await seconds_left(self._limiter, item, endpoint, address)
        return None

    def before(self, handler: Handler, endpoint: Endpoint, refuse: Callable[[int], Response]) -> Handler:
        """Let a handler answer only what is not one too many, and know the address that it counts against.

        Args:
            refuse: makes the answer, given the seconds to wait.
        """

        async def limited(request: Request) -> Response:
            wait = await self.wait_for(endpoint, request)
            if wait is not None:
                return refuse(wait)
            reset = ADDRESS.set(client_address(request.scope))
            try:
                return await handler(request)
            finally:
                ADDRESS.reset(reset)

        return limited


def _items(text: str | None) -> list[RateLimitItem]:
    return [parse(part) for part in text.split(";")] if text else []
