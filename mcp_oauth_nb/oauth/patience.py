"""Leaving a server alone as long as it asked for: `Retry-After` (RFC 9110 section 10.2.3), remembered by endpoint.

A refresh that is needed waits where that fits its deadline. Nothing else does: what is still good is used, a code is
sent once, and an error says when to come back.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .errors import TransientError
from .http import Answer
from .http_faults import place_of
from .token_endpoint import check_available


@dataclass(frozen=True)
class _Request:
    """What a server asked for: when, and until when."""

    kind: type[TransientError]
    message: str
    asked_at: float
    retry_at: float


class Patience:
    """Remembers which endpoints asked to be left alone. May be shared by clients, on any threads.

    Args:
        pause: waits so many seconds, where that is a way to outlast an endpoint; None for who never waits.
    """

    def __init__(self, pause: Callable[[float], Awaitable[None]] | None = None):
        self._pause = pause
        self._asked: dict[str, _Request] = {}

    def check(self, url: str, now: float) -> None:
        """Say once more what an endpoint answered, without a request, until the time that it named has come.

        Args:
            now: the time in seconds since the epoch.

        Raises:
            ServerUnavailable, RateLimited: as it answered, with the same `retry_at`.
        """
        asked = self._asked.get(place_of(url))
        # A clock that was set back since says nothing about how long it has been.
        if asked is not None and asked.asked_at <= now < asked.retry_at:
            raise asked.kind(asked.message, retry_at=asked.retry_at)

    async def outlast(self, url: str, now: float, *, deadline: float) -> bool:
        """Wait for the time that an endpoint named, if that is to come soon enough.

        Args:
            now: the time in seconds since the epoch.
            deadline: the longest wait, in seconds.

        Returns:
            Whether the endpoint may now be asked again.
        """
        asked = self._asked.get(place_of(url))
        if self._pause is None or asked is None:
            return False
        # With jitter: many that were told the same time do not come all at once.
        wait = max(0.0, asked.retry_at - now) * random.uniform(1.0, 1.2)
        if wait > deadline:
            return False
        await self._pause(wait)
        if self._asked.get(place_of(url)) is asked:
            # It was waited for, whatever the clock says.
            del self._asked[place_of(url)]
        return True

    def heard(self, answer: Answer, now: float) -> None:
        """Remember what an endpoint asks for; forget it if it answers as usual.

        Args:
            now: the time in seconds since the epoch.
        """
        try:
            check_available(answer, now)
        except TransientError as error:
            if error.retry_at is not None:
                self._asked[answer.url] = _Request(type(error), error.message, now, error.retry_at)
        else:
            self._asked.pop(answer.url, None)

    def __repr__(self) -> str:
        return f"Patience({sorted(self._asked)})"
