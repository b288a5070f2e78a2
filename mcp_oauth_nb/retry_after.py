"""Leaving a server alone as long as it asked for: `Retry-After` (RFC 9110 section 10.2.3), remembered by endpoint."""

from __future__ import annotations

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
    """Remembers which endpoints asked to be left alone. May be shared by clients, on any threads."""

    def __init__(self) -> None:
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
