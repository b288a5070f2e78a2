"""What was seen of the sessions, and the verdict: no wrong answer, no token lost, no token at the wrong user."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

OK = "ok"
#: The grant has ended. That is counted for itself, and shows whenever the session calls next.
AGAIN = "sign in again"

#: One line of the report: what was measured, the value, and the goal if there is one.
Figure = tuple[str, str, str]


@dataclass(frozen=True)
class Call:
    """One call of a tool. Times are in seconds since the run began; `outcome` is `OK` or the kind of its error."""

    began: float
    ended: float
    user: str
    outcome: str


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong, in seconds since the run began."""

    name: str
    began: float
    ended: float


@dataclass
class Counts:
    """Fills while the sessions run.

    Attributes:
        calls: all of them.
        troubles: what went wrong meanwhile.
        wrong: answers that are not the session's own, and errors that nobody declared.
        lost: why grants ended although nobody ended them, by user.
        misplaced: tokens that one session got or sent, and another had before.
        reached_nobody: users whose grant nobody could keep: GitHub had used their refresh token up, and what it gave
            for it reached no worker, or one that was killed before the store had it.
        refreshes: answers of the token endpoint to refresh tokens, by what they were.
        upstream_refreshes: tokens that GitHub gave for a refresh token.
        faults: requests to GitHub that were hit by bad weather.
    """

    calls: list[Call] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    misplaced: list[str] = field(default_factory=list)
    reached_nobody: set[str] = field(default_factory=set)
    refreshes: Counter[str] = field(default_factory=Counter)
    upstream_refreshes: int = 0
    faults: int = 0
    seconds: float = 0.0
    _owners: dict[bytes, str] = field(default_factory=dict, repr=False)
    _zero: float = field(default_factory=time.perf_counter)

    # -- while it runs ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let time and calls count from here."""
        self._zero = time.perf_counter()
        self.calls.clear()
        self.refreshes.clear()

    def end(self) -> None:
        """Say that the run is over; what comes now are the last calls."""
        self.seconds = self.now()

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.perf_counter() - self._zero

    def token(self, user: str, token: str) -> None:
        """Note a token that a session got, or sent."""
        owner = self._owners.setdefault(hashlib.sha256(token.encode()).digest(), user)
        if owner != user:
            self.misplaced.append(f"{user} has a token of {owner}")

    def ended(self, user: str, why: str, *, bound: bool) -> bool:
        """Note that a session cannot go on without its person; `bound` to, and returned, if nobody could help it."""
        if bound:
            self.reached_nobody.add(user)
        elif user not in self.reached_nobody:
            self.lost.setdefault(user, why)
        return user in self.reached_nobody

    # -- afterwards ------------------------------------------------------------------------------------------------

    @property
    def broken(self) -> Counter[str]:
        """Whatever breaks a promise, and how often."""
        texts = [f"wrong answer: {text}" for text in self.wrong]
        texts += [f"token lost: {user}: {why}" for user, why in self.lost.items()]
        texts += [f"token at the wrong user: {text}" for text in self.misplaced]
        return Counter(texts)

    @property
    def verdict(self) -> str:
        """The three promises in a line."""
        numbers = len(self.wrong), len(self.lost), len(self.misplaced)
        return "{} wrong answers, {} tokens lost, {} at the wrong user".format(*numbers)

    def figures(self) -> list[Figure]:
        """The figures."""
        during = [call for call in self.calls if call.began < self.seconds]
        well = [call for call in during if not self._met_trouble(call)]
        ill = [call for call in during if self._met_trouble(call)]
        answered = sum(call.outcome == OK for call in self.calls)
        errors = Counter(call.outcome for call in self.calls if call.outcome != OK)
        trouble = self._seconds_of_trouble()
        return [
            ("wrong answers", str(len(self.wrong)), "0"),
            ("tokens lost", str(len(self.lost)), "0"),
            ("tokens at the wrong user", str(len(self.misplaced)), "0"),
            (
                "signed in again: what GitHub gave for a refresh token reached no worker that lived",
                str(len(self.reached_nobody)),
                "",
            ),
            ("calls, and how many were answered", f"{len(self.calls)}, {answered}", ""),
            ("declared errors", _listed(errors), ""),
            ("refreshes of our tokens, by answer", _listed(self.refreshes), ""),
            ("refreshes of GitHub's tokens", str(self.upstream_refreshes), ""),
            ("requests to GitHub that bad weather hit", str(self.faults), ""),
            *_pace("while all is well", well, self.seconds - trouble),
            *_pace("in trouble", ill, trouble),
            *((f"recovery: {name}", f"{seconds:.1f} s", "") for name, seconds in self.recoveries()),
        ]

    def recoveries(self) -> list[tuple[str, float]]:
        """For each trouble after which all was well, the seconds to the end of the last call that failed."""
        found = []
        inorder = sorted(self.troubles, key=lambda each: each.began)
        for number, trouble in enumerate(inorder):
            over = max(each.ended for each in inorder[: number + 1])
            until = next((each.began for each in inorder[number + 1 :]), float("inf"))
            failed = [
                call.ended for call in self.calls if call.outcome not in (OK, AGAIN) and over < call.ended < until
            ]
            if over < until:
                found.append((trouble.name, max(failed, default=over) - over))
        return found

    def _met_trouble(self, call: Call) -> bool:
        return any(trouble.began < call.ended and call.began < trouble.ended for trouble in self.troubles)

    def _seconds_of_trouble(self) -> float:
        covered, last = 0.0, 0.0
        for trouble in sorted(self.troubles, key=lambda each: each.began):
            covered += max(0.0, trouble.ended - max(last, trouble.began))
            last = max(last, trouble.ended)
        return covered


def _pace(what: str, calls: Sequence[Call], seconds: float) -> list[Figure]:
    if not calls or seconds <= 0:
        return []
    taken = sorted(call.ended - call.began for call in calls)
    median, late = statistics.median(taken) * 1000, taken[int(len(taken) * 0.95)] * 1000
    answered = sum(call.outcome == OK for call in calls) / len(calls)
    return [
        (f"{what}: calls a second, and how many are answered", f"{len(calls) / seconds:.2g}, {answered:.0%}", ""),
        (f"{what}: a call takes (p50, p95)", f"{median:.0f} ms, {late:.0f} ms", ""),
    ]


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in counter.most_common()) or "none"
