"""The person at the browser, as a run sees them: a link to open, and perhaps an address that is pasted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..oauth.errors import SessionError


class Person:
    """Waits for an address that somebody pastes. It belongs to one event loop, but may be handed one from any thread.

    Args:
        changed: is called when the link comes and when it goes.

    Attributes:
        link: what is to be opened now, or an empty text.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.link = ""
        self._changed = changed
        self._answer: asyncio.Future[str] | None = None

    async def wait(self, url: str) -> str:
        """Show the link until an address is pasted, or the wait is cancelled because the browser came by itself."""
        self.link = url
        self._answer = asyncio.get_running_loop().create_future()
        self._changed()
        try:
            return await self._answer
        finally:
            self.link, self._answer = "", None
            self._changed()

    def paste(self, url: str) -> None:
        """Hand over the address.

        Raises:
            SessionError: nobody waits for one.
        """
        answer = self._answer
        if answer is None:
            raise SessionError("No browser is waited for.", hint="Step to the authorization request first.")
        answer.get_loop().call_soon_threadsafe(_set, answer, url.strip())


def _set(answer: asyncio.Future[str], url: str) -> None:
    if not answer.done():
        answer.set_result(url)
