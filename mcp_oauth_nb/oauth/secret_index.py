"""Finds the secrets that are remembered in a text, in time that grows with the text and not with what is remembered.

A peer chooses the text, and many of the secrets too. It must not be able to choose how long a search takes, so no place
of the text is compared with every secret that could begin there:

- A text is first sampled. A secret of 12 characters or more, wherever it stands, has eight in a row that begin at a
  multiple of five: where no sample is known, nothing is.
- Then each place is looked up by its first 12 characters. Up to four forms that begin so are compared one by one.
- More of them are a crowd. The longest one at a place is found by halving the lengths that occur. Each comparison is
  one of hashes, which are had for every part of a text from sums over its beginnings (Rabin and Karp 1987; the search
  by halving is that of Waldvogel and others for Internet addresses, 1997).
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

#: Shorter values are not remembered: masking every "repo" in a text would hide more than it protects.
SHORTEST = 12
#: Fewer characters of a secret, beside the mark of an abbreviation, are as likely to be an ordinary word.
SHORTEST_PIECE = 8
#: A longer piece is not looked for. IPython and pydantic leave 48 characters on either side, Python's reprs 80 at most.
LONGEST_PIECE = 1024

_SAMPLE, _STEP = 8, 5
_FEW, _SHORT = 4, 256


class Index:
    """The forms of secrets that are looked for. It grows only: to forget, another one is made.

    `secrets` has the secret of each form.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self._samples: set[str] = set()
        self._groups: dict[str, tuple[str, ...] | _Crowd] = {}
        self._beginnings = _Pieces()
        self._ends = _Pieces()
        self._not_in_pieces: list[str] = []

    def add(self, written: Mapping[str, Iterable[str]]) -> None:
        """Look for more secrets: for each its forms, which have 12 characters or more."""
        new: dict[str, list[str]] = {}
        for secret, forms in written.items():
            for form in forms:
                if form not in self.secrets:
                    new.setdefault(form[:SHORTEST], []).append(form)
                # What is a secret itself, and a form of another one too, is masked as itself.
                if form == secret or form not in self.secrets:
                    self.secrets[form] = secret
        for start, group in new.items():
            self._not_in_pieces += group
            self._samples.update(start[at : at + _SAMPLE] for at in range(_STEP))
            self._groups[start] = _grown(self._groups.get(start, ()), group)

    def may_be_in(self, text: str) -> bool:
        """Say whether a secret could be in a text; if not, none is."""
        return not self._samples.isdisjoint(
            [text[at : at + _SAMPLE] for at in range(0, len(text) - _SAMPLE + 1, _STEP)]
        )

    def found(self, text: str) -> Iterator[tuple[int, str]]:
        """Give the forms in a text and where they begin: from left to right, of those at one place the longest."""
        if not self.may_be_in(text):
            return
        searched, groups, done = _Searched(text), self._groups, 0
        places = range(len(text) - SHORTEST + 1)
        for at in [at for at in places if text[at : at + SHORTEST] in groups]:
            if at >= done:
                group = groups[text[at : at + SHORTEST]]
                form = group.longest(searched, at) if isinstance(group, _Crowd) else _first(group, text, at)
                if form is not None:
                    yield at, form
                    done = at + len(form)

    def beginning_at_the_end_of(self, text: str) -> tuple[int, str] | None:
        """Find the longest piece at the end of a text with which a form begins; return its place, and the form."""
        self._take_pieces()
        return self._beginnings.at_the_end_of(text)

    def end_at_the_beginning_of(self, text: str) -> tuple[int, str] | None:
        """Find the longest piece at the beginning of a text with which a form ends; return its end, and the form."""
        self._take_pieces()
        found = self._ends.at_the_end_of(text[:LONGEST_PIECE][::-1])
        return (min(len(text), LONGEST_PIECE) - found[0], found[1][::-1]) if found is not None else None

    def _take_pieces(self) -> None:
        # Most programs never see an abbreviated secret, and need none of this.
        new, self._not_in_pieces = self._not_in_pieces, []
        for form in new:
            self._beginnings.add(form)
            self._ends.add(form[::-1])


def _grown(group: tuple[str, ...] | _Crowd, forms: list[str]) -> tuple[str, ...] | _Crowd:
    if isinstance(group, tuple):
        all_of_them = sorted([*group, *forms], key=len, reverse=True)
        if len(all_of_them) <= _FEW and len(all_of_them[0]) <= _SHORT:
            return tuple(all_of_them)
        group, forms = _Crowd(), all_of_them
    group.add(forms)
    return group


def _first(forms: tuple[str, ...], text: str, at: int) -> str | None:
    return next((form for form in forms if text.startswith(form, at)), None)


class _Searched:
    """A text, with the hash of each of its beginnings once a crowd needs them."""

    def __init__(self, text: str):
        self.text = text
        self._sums: list[int] | None = None

    def hash(self, at: int, length: int, power: int) -> int:
        """Return the hash of a part, or -1 where the text ends before; `power` is 2**32 to the power of `length`."""
        if self._sums is None:
            self._sums = list(accumulate(map(ord, self.text), lambda sum_, c: ((sum_ << 32) + c) % _PRIME, initial=0))
        end = at + length
        return (self._sums[end] - self._sums[at] * power) % _PRIME if end < len(self._sums) else -1


class _Crowd:
    """Forms that begin alike, many or long. They are in several tables: one would be sorted anew for each form."""

    def __init__(self) -> None:
        self._tables: list[_Table] = []
        self._size = 0
        self._latest: list[str] = []

    def add(self, forms: list[str]) -> None:
        self._size += sum(map(len, forms))
        latest = [*self._latest, *forms]
        if len(latest) <= 2 * _FEW and max(map(len, latest)) <= _SHORT:
            self._latest = latest
            return
        table, self._latest = _Table(latest), []
        # As each table has at least four times the size of the next, there are few, and a form is seldom sorted again.
        tables = self._tables
        while tables and tables[-1].size < 4 * table.size:
            tables, table = tables[:-1], _Table([*tables[-1].forms, *table.forms])
        self._tables = [*tables, table]

    def longest(self, searched: _Searched, at: int) -> str | None:
        if len(self._tables) > 1 and len(searched.text) > self._size:
            # One table is quicker, and the text so long that making it does not matter.
            self._tables = [_Table([form for table in self._tables for form in table.forms])]
        best = max((form for form in self._latest if searched.text.startswith(form, at)), key=len, default=None)
        for table in self._tables:
            if (form := table.longest(searched, at)) is not None and (best is None or len(form) > len(best)):
                best = form
        return best


class _Table:
    """Forms that begin alike, arranged by length for a search by halving."""

    def __init__(self, forms: list[str]):
        self.forms = forms
        self.size = sum(map(len, forms))
        self._lengths = sorted({len(form) for form in forms})
        self._powers = [pow(1 << 32, length, _PRIME) for length in self._lengths]
        # For each length: the key of a beginning of a form, and the longest form that this beginning begins with.
        self._marks: list[dict[str | int, str | None]] = [{} for _ in self._lengths]
        chain: list[str] = []
        for form in sorted(forms):
            while chain and not form.startswith(chain[-1]):
                chain.pop()
            chain.append(form)
            self._mark(form, chain)

    def _mark(self, form: str, chain: list[str]) -> None:
        """Leave a mark at each length where the search for a form comes by.

        Args:
            chain: the forms that this one begins with, the shortest first, itself the last.
        """
        low, middle, high = 0, 0, len(self._lengths) - 1
        while low <= high:
            length = self._lengths[middle]
            if length <= len(form):
                shorter = bisect_right(chain, length, key=len)
                key = form[:length] if length <= _SHORT else _hash(form[:length])
                self._marks[middle][key] = chain[shorter - 1] if shorter else None
                low = middle + 1
            else:
                high = middle - 1
            middle = (low + high) // 2

    def longest(self, searched: _Searched, at: int) -> str | None:
        """Return the longest form that begins at a place."""
        text, best = searched.text, None
        # The shortest length first, which most places do not pass; then half of those that are left, and so on.
        low, middle, high = 0, 0, len(self._lengths) - 1
        while low <= high:
            length = self._lengths[middle]
            key = text[at : at + length] if length <= _SHORT else searched.hash(at, length, self._powers[middle])
            if key in self._marks[middle]:
                best = self._marks[middle][key] or best
                low = middle + 1
            else:
                high = middle - 1
            middle = (low + high) // 2
        # Equal hashes are no proof.
        return best if best is not None and text.startswith(best, at) else None


class _Pieces:
    """Forms by their first eight characters, sorted: those that begin with a piece stand side by side."""

    def __init__(self) -> None:
        self._sorted: dict[str, list[str]] = {}

    def add(self, form: str) -> None:
        insort(self._sorted.setdefault(form[:SHORTEST_PIECE], []), form)

    def at_the_end_of(self, text: str) -> tuple[int, str] | None:
        for start in range(max(0, len(text) - LONGEST_PIECE), len(text) - SHORTEST_PIECE + 1):
            if (forms := self._sorted.get(text[start : start + SHORTEST_PIECE])) is not None:
                piece = text[start:]
                place = bisect_left(forms, piece)
                if place < len(forms) and forms[place].startswith(piece):
                    return start, forms[place]
        return None


def _hash(text: str) -> int:
    return int.from_bytes(text.encode("utf-32-be", "surrogatepass"), "big") % _PRIME


def _is_prime(number: int) -> bool:
    """Say whether an odd number below 2**64 is prime (Miller and Rabin, with the bases that suffice there)."""
    even = number - 1
    twos = (even & -even).bit_length() - 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        value = pow(base, even >> twos, number)
        if value != 1 and all(pow(value, 1 << square, number) != even for square in range(twos)):
            return False
    return True


def _random_prime() -> int:
    while not _is_prime(number := 1 << 60 | secrets.randbits(60) | 1):
        pass
    return number


# Nobody outside knows it, and so nobody can look for texts that have the same hash.
_PRIME = _random_prime()
