"""Who may exchange a refresh token: one presenter; and one more if the first died before the answer left.

The token itself stays until the answer has left (`Grants.answered`). Until then it may not be told apart whether
somebody else presents it, or the client again because its worker was killed: so whoever comes second waits. When the
token goes, the first was answered, and this is reuse. When it stays, the first counts as dead.
"""

from __future__ import annotations

import anyio

from .vault import Vault

#: Seconds that one exchange takes at most.
PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.02


class Exchanges:
    """Turns to exchange refresh tokens.

    Args:
        vault: where they are.

    Attributes:
        patience: seconds after which whoever has the turn counts as dead.
    """

    def __init__(self, vault: Vault):
        self._vault = vault
        self.patience = PATIENCE_SECONDS

    async def offer(self, token: str, *, lifetime: float) -> None:
        """Let a refresh token be exchanged; before it is given to anybody."""
        await self._vault.put("unclaimed", token, {}, lifetime=lifetime)

    async def claim(self, token: str, *, lifetime: float) -> bool:
        """Take the turn; False if somebody has it and answered, or may still answer.

        Args:
            lifetime: of the token, in seconds.
        """
        # First, so that whoever takes the turn and dies leaves one behind.
        await self._vault.put("unclaimed", _again(token), {}, lifetime=lifetime)
        if await self._vault.delete("unclaimed", token):
            return True
        with anyio.move_on_after(self.patience):
            # The store has no event to wait for: the other one may be in another process.
            while await self._vault.get("refresh", token) is not None:  # noqa: ASYNC110
                await anyio.sleep(_POLL_SECONDS)
            return False
        return await self._vault.delete("unclaimed", _again(token))

    async def close(self, token: str) -> None:
        """Let nobody exchange the token any more."""
        await self._vault.delete("refresh", token)
        await self._vault.delete("unclaimed", token)
        await self._vault.delete("unclaimed", _again(token))


def _again(token: str) -> str:
    return f"{token} again"
