"""What came out of the trials: scores, survivors with the reasons that people gave, and `results.md`."""

from __future__ import annotations

import json
import platform
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trials import Trial

#: Module, qualified name and change: what stays the same while lines move.
Key = tuple[str, str, str]
#: The share of all mutants that must be killed. No module must reach it alone: of thirty, four may well be equivalent.
LEAST = 0.85

_INTRODUCTION = """# Mutation

Written by `make mutation`: {minutes:.0f} CPU minutes of {system}. Each mutant is a module with one small mistake; the
tests of that module ({tests}) that run its line are run on it. A timeout counts as
killed: the mutant made the tests endless.

No mutants are made of texts of several words, of the hints and references of errors, of what is logged, of
documentation, and of annotations. All others count: those that no test could tell from the original, too. Of all
mutants together {least:.0%} must be killed; a module below that is marked, and its survivors are worth a look.

A score is kept (`mutation/scores`) until the code of the module, that of a test which killed one of its mutants or the
kinds of mistakes change; of a change elsewhere it knows nothing. `make mutation ALL=1` tries all of them again.
"""


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed."""

    module: str
    where: str
    change: str
    line: int

    @property
    def key(self) -> Key:
        """What its reason is found by."""
        return self.module, self.where, self.change


@dataclass
class Score:
    """What became of a module's mutants."""

    module: str
    mutants: int = 0
    killed: int = 0
    timeouts: int = 0
    seconds: float = 0.0
    survivors: list[Survivor] = field(default_factory=list)
    #: Of what was tried; see `plan.fingerprint`.
    fingerprint: str = ""
    #: The mutants that each test killed, by their numbers: next time these tests come first.
    killers: dict[str, list[int]] = field(default_factory=dict)
    #: Hashes of the tests' code that killed; see `plan.relied_on`.
    relied_on: list[str] = field(default_factory=list)

    def count(self, trial: Trial) -> None:
        """Take a trial into account."""
        self.mutants += 1
        self.killed += trial.outcome == "killed"
        self.timeouts += trial.outcome == "timeout"
        self.seconds += trial.seconds
        if trial.killer:
            self.killers.setdefault(trial.killer, []).append(trial.number)
        if trial.outcome == "survived":
            mutant = trial.mutant
            self.survivors.append(Survivor(self.module, mutant.where, mutant.change, mutant.line))

    def killer(self, number: int) -> str:
        """Return the test that killed a mutant."""
        return next((test for test, numbers in self.killers.items() if number in numbers), "")

    @property
    def share(self) -> float:
        """The part that was killed, from 0 to 1."""
        return (self.killed + self.timeouts) / self.mutants if self.mutants else 0.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.module,
            self.mutants + other.mutants,
            self.killed + other.killed,
            self.timeouts + other.timeouts,
            self.seconds + other.seconds,
            [*self.survivors, *other.survivors],
        )


def low(score: Score) -> bool:
    """Say whether a module is below what all together must reach."""
    return score.share < LEAST


def reasons(path: Path) -> dict[Key, str]:
    """Read the reasons: a table for each module and place in it, with a line for each change."""
    document = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        (module, where, change): reason
        for module, places in document.items()
        for where, changes in places.items()
        for change, reason in changes.items()
    }


def snippet(survivors: Iterable[Survivor]) -> str:
    """Write the lines for `survivors.toml` that are still without their reason."""
    lines: list[str] = []
    last, begun = None, 0
    for one in sorted(survivors, key=lambda one: (one.module, one.line)):
        if last != (one.module, one.where):
            last = (one.module, one.where)
            lines.append(f"\n[{json.dumps(one.module)}.{json.dumps(one.where)}]")
            begun = len(lines)
        text = f"'{one.change}'" if "'" not in one.change else json.dumps(one.change)
        # Of two that read the same in one place, one; the same in another place has a reason of its own.
        if f'{text} = ""' not in lines[begun:]:
            lines.append(f'{text} = ""')
    return "\n".join(lines)


def printed(scores: list[Score], known: Mapping[Key, str]) -> str:
    """Write the table and the survivors for a terminal."""
    lines = [f"\n{'module':26}{'mutants':>8}{'killed':>8}{'survived':>9}{'timeouts':>9}{'score':>8}{'CPU s':>8}"]
    for one in scores:
        survived = len(one.survivors)
        lines.append(
            f"{one.module:26}{one.mutants:8}{one.killed:8}{survived:9}{one.timeouts:9}{one.share:8.1%}{one.seconds:8.0f}"
        )
    for one in scores:
        for survivor in one.survivors:
            lines.append(f"\n{one.module}:{survivor.line} {survivor.where}\n    {survivor.change}")
            lines.append(f"    {known.get(survivor.key, 'NO REASON')}")
    seen = {survivor.key for one in scores for survivor in one.survivors}
    modules = {one.module for one in scores}
    lines += [f"\nKilled by now, its reason can go: {key}" for key in known if key[0] in modules and key not in seen]
    return "\n".join(lines)


def keep(directory: Path, score: Score) -> None:
    """Write a module's score down, in place of an earlier one."""
    directory.mkdir(exist_ok=True)
    rows = {**asdict(score), "killers": {test: sorted(numbers) for test, numbers in sorted(score.killers.items())}}
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    # The numbers of one test in one line, and the hashes.
    text = re.sub(r'(?<=[\d"]),\n *(?=\d|"[0-9a-f]{8}")', ", ", text)
    _file(directory, score.module).write_text(f"{text}\n", encoding="utf-8")


def kept(directory: Path, modules: Iterable[str]) -> Iterator[Score]:
    """Read the scores that were written down; a module that was never tried has none."""
    for module in modules:
        if (path := _file(directory, module)).exists():
            one = json.loads(path.read_text(encoding="utf-8"))
            yield Score(**{**one, "survivors": [Survivor(**each) for each in one["survivors"]]})


def _file(directory: Path, module: str) -> Path:
    return directory / f"{module.removesuffix('.py').replace('/', '.')}.json"


def results(scores: list[Score], known: Mapping[Key, str]) -> str:
    """Write `results.md`."""
    total = sum(scores, start=Score("**all**"))
    system = f"Python {platform.python_version()}, {platform.system()}"
    tests = "`mutation/plan.py` names them"
    lines = [_INTRODUCTION.format(system=system, minutes=total.seconds / 60, tests=tests, least=LEAST)]
    lines += ["| module | mutants | killed | survived | timeouts | score |", "|---|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {one.module} | {one.mutants} | {one.killed} | {len(one.survivors)} | {one.timeouts} "
        f"| {one.share:.1%}{' (low)' if low(one) else ''} |"
        for one in [*scores, total]
    ]
    lines += ["", "## Survivors"]
    for one in scores:
        if one.survivors:
            lines += ["", f"### {one.module}", ""]
            lines += [
                f"- `{survivor.where}`: `{survivor.change}`: {known.get(survivor.key, 'NO REASON')}"
                for survivor in sorted(one.survivors, key=lambda one: one.line)
            ]
    return "\n".join(lines) + "\n"
