"""Everything the authorization server remembers, sealed, in a key-value store that several workers may share.

A code, token or state is never a key: its SHA-256 is. A value is encrypted with AES-256-GCM and bound to its place,
so whoever reads the store learns nothing, and whoever writes to it cannot move a record to another key.

What must happen once is decided by `delete`. The store's API has no compare-and-swap, but a delete says whether it
was the one that removed the record (Redis: DEL; memory: one loop), so of any number of workers one wins. Whatever
follows from losing, such as reuse of a code, is written as a mark *before* the delete: no interleaving misses it.

A store that does not answer raises `StoreUnavailable` (`store.shared` sees to that), and what is done in several steps
keeps what is used up for the last one: whoever was stopped half way can do it again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import anyio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from key_value.aio.protocols import AsyncKeyValue

from ...oauth.clock import Clock
from ...oauth.errors import ConfigurationError
from ...oauth.masking import Hidden

log = logging.getLogger(__name__)

Kind = Literal[
    "clients",  # registered dynamically, and used in a sign-in
    "newcomers",  # registered dynamically, and not used yet
    "documents",  # Client ID Metadata Documents of clients that were used in a sign-in
    "new_documents",  # those of other clients
    "flows",  # authorization requests that wait for the person's consent
    "consents",  # what a browser has consented to
    "upstream_flows",  # on their way through GitHub, by the state that was sent there
    "codes",  # authorization codes
    "access",
    "refresh",
    "unclaimed",  # refresh tokens that nobody has begun to exchange
    "used",  # codes and refresh tokens that were used up, and the family that they belong to
    "families",  # what one authorization by one person gave; all its tokens live as long as it
    "ended",  # families that were ended, maybe before they were written
    "upstream",  # the family's token at GitHub
    "turns",  # whose turn it is to refresh that token
]

_NONCE_BYTES = 12
_SHORTEST_KEY = 32
_TURN_POLL_SECONDS = 0.02
# What every call of a tool asks for; nobody changes what `get` returns of it.
_OFTEN_ASKED_FOR: tuple[Kind, ...] = ("families", "upstream")
_MOST_AT_HAND = 10_000
# The store forgets a while after the clock here says so: its clock is another one.
_SLACK_SECONDS = 60.0


class Vault:
    """Sealed records with a lifetime.

    Args:
        store: where they are; shared between workers, or in memory.
        key: at least 32 random bytes; all workers have the same one.
        clock: decides what has expired.
        exclusive: nobody else has the store, so that what every request asks for is kept at hand, opened. Never for a
            store that others share: what they end must be over here, too.

    Raises:
        ConfigurationError: the key is too short.
    """

    def __init__(self, store: AsyncKeyValue, key: bytes, clock: Clock, *, exclusive: bool = False):
        if len(key) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"The encryption key has {len(key)} bytes.",
                hint=f"Use {_SHORTEST_KEY} random bytes or more, the same for every worker and after a restart.",
            )
        self._store = store
        self._clock = clock
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=b"mcp_oauth_nb vault v1").derive(key))
        self._exclusive = exclusive
        self._at_hand: Hidden[str, dict[str, Any]] = Hidden()

    async def put(
        self, kind: Kind, name: str, value: Mapping[str, Any], *, lifetime: float, kept: float = _SLACK_SECONDS
    ) -> None:
        """Store a JSON value in place of any other.

        Args:
            name: a secret or an identifier; only its hash is stored.
            lifetime: seconds until it is no longer good.
            kept: seconds from then on for which `take_expired` still finds it.
        """
        key = _key(kind, name)
        record = json.dumps({"until": self._clock.now() + lifetime, "value": value}).encode()
        self._keep_at_hand(kind, key, record)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, record, _place(kind, key))
        entry = {"sealed": base64.b64encode(sealed).decode("ascii")}
        await self._store.put(key, entry, collection=_collection(kind), ttl=lifetime + kept)

    async def get(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """Return the value, or None if there is none that is still good."""
        key = _key(kind, name)
        record = self._at_hand.get(key)
        if record is None:
            entry = await self._store.get(key, collection=_collection(kind))
            record = self._open(kind, key, entry) if entry is not None else None
        if record is None or record["until"] <= self._clock.now():
            return None
        value: dict[str, Any] = record["value"]
        return value

    async def delete(self, kind: Kind, name: str) -> bool:
        """Remove the record; True for the one caller that removed it."""
        key = _key(kind, name)
        self._at_hand.pop(key, None)
        return await self._store.delete(key, collection=_collection(kind))

    async def claim(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """Take the value out: of all who try, in any worker, one gets it."""
        value = await self.get(kind, name)
        return value if value is not None and await self.delete(kind, name) else None

    async def take_expired(self, kind: Kind) -> list[dict[str, Any]]:
        """Take out all values that are no longer good: of all workers that ask, one gets each.

        A store that cannot list its keys has none to give; those of `store.shared` and the one in memory can.
        """
        list_keys = getattr(self._store, "keys", None)
        if list_keys is None:
            return []
        taken = []
        for key in await list_keys(collection=_collection(kind)):
            entry = await self._store.get(key, collection=_collection(kind))
            record = self._unseal(kind, key, entry) if entry is not None else None
            if record is None or record["until"] > self._clock.now():
                continue
            self._at_hand.pop(key, None)
            if await self._store.delete(key, collection=_collection(kind)):
                taken.append(record["value"])
        return taken

    @contextlib.asynccontextmanager
    async def turn(self, name: str, *, lifetime: float, patience: float) -> AsyncIterator[None]:
        """Let one worker at a time do something slow. Whoever starts the name puts the first turn there: `give_turn`.

        Args:
            lifetime: of the turn, in seconds; as long as what it guards.
            patience: seconds after which the one whose turn it is counts as dead.
        """
        with anyio.move_on_after(patience):
            # The store has no event to wait for: the other one may be in another process.
            while not await self.delete("turns", name):  # noqa: ASYNC110
                await anyio.sleep(_TURN_POLL_SECONDS)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.give_turn(name, lifetime=lifetime)

    async def give_turn(self, name: str, *, lifetime: float) -> None:
        """Say that nobody is at work on the name."""
        await self.put("turns", name, {}, lifetime=lifetime)

    def _keep_at_hand(self, kind: Kind, key: str, record: bytes) -> None:
        # Here and nowhere else, before the store has it: a delete that comes in between then takes both away. To keep
        # what was read could bring back what was deleted meanwhile.
        if self._exclusive and kind in _OFTEN_ASKED_FOR:
            self._at_hand[key] = json.loads(record)
            self._at_hand.move_to_end(key)
            if len(self._at_hand) > _MOST_AT_HAND:
                self._at_hand.popitem(last=False)

    def _open(self, kind: Kind, key: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        record = self._unseal(kind, key, entry)
        if record is None:
            # Another key, or somebody wrote to the store. Either way: as if nothing were there.
            log.warning("A record of %r cannot be opened with this encryption key, and is ignored.", kind)
        return record

    def _unseal(self, kind: Kind, key: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            sealed = base64.b64decode(entry["sealed"])
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(kind, key))
        except (InvalidTag, KeyError, TypeError, ValueError):
            return None
        record: dict[str, Any] = json.loads(plain)
        return record

    def __repr__(self) -> str:
        return f"Vault({type(self._store).__name__})"


def _key(kind: Kind, name: str) -> str:
    return hashlib.sha256(f"{kind}\n{name}".encode()).hexdigest()


def _collection(kind: Kind) -> str:
    return f"mcp_oauth_{kind}"


def _place(kind: Kind, key: str) -> bytes:
    return f"{kind}\n{key}".encode()
