"""Where what is about to be sent waits for somebody to look at it, change it and let it go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..oauth.errors import ConfigurationError, SessionError
from ..oauth.masking import is_secret_name, mask, mask_header, mask_url, scrub


@dataclass
class Held:
    """Something that waits at the gate.

    Attributes:
        kind: which step of the flow it is; see `steps.STEPS`.
        summary: one line for a person, without secrets.
        parameters: what can be changed, in clear: form fields, query parameters, JSON members, the bearer header.
        changed: the names that were changed or dropped.
    """

    kind: str
    summary: str
    parameters: dict[str, str] = field(default_factory=dict, repr=False)
    changed: dict[str, str] = field(default_factory=dict)

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set parameters, or drop those whose new value is None.

        Raises:
            ConfigurationError: one that is to be dropped is not there; nothing is changed then.
        """
        for name, value in changes.items():
            if value is None and name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise ConfigurationError(
                    f"The request has no parameter {name!r} to drop.", hint=f"Its parameters: {known}."
                )
        for name, value in changes.items():
            if value is None:
                del self.parameters[name]
                self.changed[name] = "dropped"
            else:
                self.changed[name] = "changed" if name in self.parameters else "added"
                self.parameters[name] = value

    def shown(self) -> dict[str, str]:
        """Return the parameters as they may be shown."""
        return {name: _shown(name, value) for name, value in self.parameters.items()}


def _shown(name: str, value: str) -> str:
    if name == "authorization":
        return mask_header(name, value)
    if is_secret_name(name):
        return mask(value)
    return mask_url(value) if "://" in value else scrub(value)


class Gate:
    """Holds one thing after the other. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Held, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    @property
    def pending(self) -> Held | None:
        """What waits longest, or None."""
        return self._waiting[0][0] if self._waiting else None

    async def hold(self, held: Held) -> Held:
        """Wait until it is released.

        Raises:
            SessionError: nobody is there to release it.
        """
        if self._closed:
            raise _cancelled()
        entry = (held, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._arrived.set()
        try:
            await entry[1]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
            if not self._waiting:
                self._arrived.clear()
        return held

    def release(self) -> None:
        """Let what waits longest go."""
        _, future = self._waiting.popleft()
        if not self._waiting:
            self._arrived.clear()
        if not future.done():
            future.set_result(None)

    def open(self) -> None:
        """Hold what comes from now on."""
        self._closed = False

    def close(self) -> None:
        """Let nothing of what waits be sent, nor what comes; whoever wants to send it is told so."""
        self._closed = True
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(_cancelled())
        self._arrived.clear()

    async def next(self, script: asyncio.Task[None]) -> Held | None:
        """Wait until something waits here; None if the script that sends ended without."""
        arrival = asyncio.ensure_future(self._arrived.wait())
        try:
            await asyncio.wait((arrival, script), return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        return self.pending


def _cancelled() -> SessionError:
    return SessionError("It was cancelled before it was sent.")
