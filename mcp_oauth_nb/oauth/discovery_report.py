"""How a discovery is shown: what was asked, what the documents say, and what is not as it should be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .markup import element, joined, left_table
from .masking import printable


@dataclass(frozen=True)
class Probe:
    """One request of a discovery, and what came of it. The URL is shown without its query."""

    url: str
    status: int
    outcome: str

    def __str__(self) -> str:
        return f"{self.status}  {self.url}  {self.outcome}"


class Report(ABC):
    """A value whose repr is its report, as text and as HTML; the same on every run."""

    probes: tuple[Probe, ...]
    findings: tuple[str, ...]

    @abstractmethod
    def _title(self) -> str:
        """Return the first line."""

    @abstractmethod
    def _rows(self) -> Mapping[str, Any]:
        """Return the fields of the metadata that are shown."""

    def __repr__(self) -> str:
        return "\n".join([printable(self._title()), *self._lines()])

    def _lines(self) -> Iterator[str]:
        rows = _shown(self._rows())
        wide = _longest(rows)
        place = _longest(probe.url for probe in self.probes)
        yield from (f"  {probe.status}  {probe.url:<{place}}  {probe.outcome}" for probe in self.probes)
        yield ""
        yield from (f"  {name:<{wide}}  {value}" for name, value in rows.items())
        yield from ["", *(f"  ! {finding}" for finding in self.findings)] if self.findings else []

    def _repr_html_(self) -> str:
        probes = [(str(probe.status), probe.url, probe.outcome) for probe in self.probes]
        findings = element("ul", *(element("li", finding) for finding in self.findings)) if self.findings else None
        title = element("p", element("b", self._title()))
        return joined(title, left_table(probes), left_table(_shown(self._rows()).items()), findings)


def _longest(texts: Iterable[str]) -> int:
    return len(max(texts, key=len, default=""))


def _shown(rows: Mapping[str, Any]) -> dict[str, str]:
    """Write the values for a person; they come from the network."""
    return {
        name: printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in rows.items()
    }
