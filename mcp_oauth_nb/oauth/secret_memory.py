"""What is remembered as a secret, by who it came from: nobody can make this package forget what is not theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .secret_forms import forms
from .secret_index import Index

#: Of what was made, and of what was heard, at least the newest of so many are remembered ...
MOST = 10_000
#: ... or, if that is less, the newest of so many characters, the forms of each counted together.
MOST_CHARACTERS = 1_000_000

_Forms = frozenset[str]


class Memory:
    """Secrets in three kinds. No kind displaces another, and a secret of two kinds counts as the one that stays longer.

    - *kept*: configured, or read from a store. They stay.
    - *made*: for one request or one authorization. The newest stay, and what is held for as long as it is held.
    - *heard*: from a peer, who may say many, and repeat ours. The newest stay.

    Args:
        most: of each kind that forgets, so many are remembered at least ...
        most_characters: ... or the newest of so many characters.

    Attributes:
        index: finds all of them in a text.
    """

    def __init__(self, most: int = MOST, most_characters: int = MOST_CHARACTERS) -> None:
        self.index = Index()
        self._most, self._most_characters = most, most_characters
        self._kept: dict[str, _Forms] = {}
        self._held: dict[str, _Forms] = {}
        self._holders: Counter[str] = Counter()
        self._made = _Newest(most, most_characters)
        self._heard = _Newest(most, most_characters)

    def __contains__(self, secret: str) -> bool:
        return any(secret in place for place in (self._kept, self._held, self._made, self._heard))

    def all(self) -> set[str]:
        """Return every secret."""
        return {*self._kept, *self._held, *self._made, *self._heard}

    def keep(self, secret: str) -> None:
        """Remember a secret for good."""
        if secret not in self._kept:
            held = self._held.pop(secret) if secret in self._held else None
            self._kept[secret] = held or self._taken(secret)

    def make(self, secret: str) -> None:
        """Remember what was made for a request."""
        if secret not in self._kept and secret not in self._held:
            self._put(self._made, {secret: self._taken(secret)})

    def hear(self, said: Iterable[str]) -> None:
        """Remember what a peer said, all of one message together."""
        new: dict[str, _Forms] = {}
        characters = 0
        # Backwards: of very many, no work is done on those that would be forgotten at once.
        for secret in reversed(list(said)):
            if secret not in new and not any(secret in place for place in (self._kept, self._held, self._made)):
                new[secret] = self._heard.pop(secret) or forms(secret)
                characters += _size(new[secret])
                if len(new) == self._most or characters > self._most_characters:
                    break
        new = dict(reversed(new.items()))
        self.index.add(new)
        self._put(self._heard, new)

    def hold(self, secret: str) -> None:
        """Remember a secret until it is released as often as it was held."""
        if secret not in self._kept and secret not in self._held:
            self._held[secret] = self._taken(secret)
        self._holders[secret] += 1

    def release(self, secret: str) -> None:
        """Give up one hold: after the last, the secret is one among those that were made."""
        self._holders[secret] -= 1
        if self._holders[secret] <= 0:
            del self._holders[secret]
            if (written := self._held.pop(secret, None)) is not None:
                self._put(self._made, {secret: written})

    def _taken(self, secret: str) -> _Forms:
        """Take a secret out of the kinds that forget, to put it into another one."""
        written = self._made.pop(secret) or self._heard.pop(secret)
        if written is None:
            written = forms(secret)
            self.index.add({secret: written})
        return written

    def _put(self, place: _Newest, new: dict[str, _Forms]) -> None:
        if place.put(new):
            self.index = Index()
            self.index.add({**self._heard.all(), **self._made.all(), **self._held, **self._kept})


class _Newest:
    """The newest secrets, in two generations: when the younger is full, the older is forgotten at once."""

    def __init__(self, most: int, most_characters: int) -> None:
        self._most, self._most_characters = most, most_characters
        self._young: dict[str, _Forms] = {}
        self._old: dict[str, _Forms] = {}
        self._characters = 0

    def __contains__(self, secret: str) -> bool:
        return secret in self._young or secret in self._old

    def __iter__(self) -> Iterator[str]:
        return iter([*self._old, *self._young])

    def all(self) -> dict[str, _Forms]:
        return {**self._old, **self._young}

    def pop(self, secret: str) -> _Forms | None:
        if (written := self._young.pop(secret, None)) is not None:
            self._characters -= _size(written)
            return written
        return self._old.pop(secret, None)

    def put(self, new: dict[str, _Forms]) -> bool:
        """Take secrets in; say whether others were forgotten."""
        forgotten = False
        for secret, written in new.items():
            self._young[secret] = written
            self._characters += _size(written)
            if len(self._young) == self._most or self._characters > self._most_characters:
                forgotten = forgotten or bool(self._old)
                self._young, self._old, self._characters = {}, self._young, 0
        return forgotten


def _size(written: _Forms) -> int:
    return sum(map(len, written))
