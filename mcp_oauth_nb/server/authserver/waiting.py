"""Records of people who have not signed in yet: anybody can make them, so they are counted by address and bounded.

waiting for consent -> on the way through GitHub -> a code: whoever has that has signed in
registered, described by a document -> used in a sign-in: kept for good in a collection that strangers cannot fill
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from ...oauth.clock import Clock
from ..rate_limits import UNKNOWN, Shares
from .vault import Kind, Vault

#: Whom the request in progress counts against. The SDK's protocol has no place for it.
ADDRESS: ContextVar[str] = ContextVar("mcp_oauth_nb.server.authserver.address", default=UNKNOWN)


class Waiting:
    """Records of one kind, each at the cost of the address that made it.

    Each worker counts those that it made: in a store that several share there are as many times more of them.

    Args:
        vault: where they are.
        kind: which they are.
        clock: tells when they are of no use any more.
        most: of all addresses together.
        most_each: of one.
        lifetime: seconds that one is kept.
    """

    def __init__(self, vault: Vault, kind: Kind, clock: Clock, *, most: int, most_each: int, lifetime: float):
        self._vault = vault
        self._kind: Kind = kind
        self._clock = clock
        self._lifetime = lifetime
        self._shares = Shares(most, most_each, lifetime)

    def __len__(self) -> int:
        return len(self._shares)

    async def put(self, name: str, value: Mapping[str, Any], *, lifetime: float | None = None) -> None:
        """Keep a record. What its address, or the one that has most, has had for longest may go for it.

        Args:
            lifetime: seconds, if it is shorter than that of the others.
        """
        for lost in self._shares.take(ADDRESS.get(), name, self._clock.now()):
            await self._vault.delete(self._kind, lost)
        await self._vault.put(self._kind, name, value, lifetime=min(lifetime or self._lifetime, self._lifetime))

    async def get(self, name: str) -> dict[str, Any] | None:
        """Return the record, or None."""
        return await self._vault.get(self._kind, name)

    async def delete(self, name: str) -> bool:
        """Remove the record; True for the one caller that removed it."""
        self._shares.leave(name)
        return await self._vault.delete(self._kind, name)
