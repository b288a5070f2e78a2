"""What all measurements share: a line of the report, the ratio of two sides that took turns, and whose code ran."""

from __future__ import annotations

import cProfile
import pstats
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: in which the sides of a ratio take turns; one more warms up.
        calls: in a block that is timed in process.
        raw_calls: in a block over HTTP, by the client that only sends bytes.
        sdk_calls: the same by the SDK's client.
        authorizations: complete ones in one process.
        sessions: at once.
        exchanges: in the traces that are shown, each longer than the one before.
        notebooks: how many are executed; None executes all.
    """

    rounds: int = 15
    calls: int = 40
    raw_calls: int = 30
    sdk_calls: int = 10
    authorizations: int = 30
    sessions: int = 200
    exchanges: tuple[int, ...] = (100, 1_000, 10_000)
    notebooks: int | None = None


FULL = Size()
#: Says that everything runs, and nothing about how fast.
SMALL = Size(
    rounds=1,
    calls=1,
    raw_calls=1,
    sdk_calls=1,
    authorizations=1,
    sessions=2,
    exchanges=(1, 10),
    notebooks=1,
)


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        what: was measured.
        value: a ratio, or a figure of this machine: those name their unit.
        goal: for the ratio, if there is one.
    """

    what: str
    value: str
    goal: str = ""


def ratio(these: Sequence[float], those: Sequence[float]) -> str:
    """The median of the rounds' ratios; the first round warms up."""
    return f"{statistics.median(a / b for a, b in zip(these[1:], those[1:], strict=True)):.2f}"


def package_of(file: str) -> str:
    """The package that a profiled function belongs to."""
    parts = Path(file).parts
    if "mcp_oauth_nb" in parts:
        return "the mock" if "mock_github" in parts else "mcp_oauth_nb"
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return "Python"


def shares(profile: cProfile.Profile) -> str:
    """Whose functions took the time, by their own time."""
    own_time: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        own_time[package_of(file)] += own
    total = sum(own_time.values())
    return ", ".join(f"{name} {share / total:.0%}" for name, share in own_time.most_common(7))
