"""Reading what the suite wrote, judging it, and writing it down. No processes here: `run` starts those."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The suite's check of every message, whatever the scenario: alone it says nothing about the scenario.
WIRE_CHECK = "wire-schema-valid"

START, END = "<!-- conformance -->", "<!-- /conformance -->"

_DIRECTORY = re.compile(r"(?:(?:authorization-)?server-)?(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_SUMMARY_LINE = re.compile(r"^[✓✗] (\S+): ", re.MULTILINE)
_SUMMARY_END = re.compile(r"^(?:Total|Passed): ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What the suite found in one scenario: the id and the status of each check, as often as it was made."""

    scenario: str
    checks: tuple[tuple[str, str], ...]

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(status == "SUCCESS" for _, status in self.checks)

    @property
    def unmet(self) -> list[str]:
        """The ids of the checks that failed. A warning, which is an unmet SHOULD, is one too."""
        return [name for name, status in self.checks if status in ("FAILURE", "WARNING")]

    @property
    def is_green(self) -> bool:
        """Whether something of the scenario's own was checked and nothing was found wanting."""
        return not self.unmet and any(name != WIRE_CHECK and status == "SUCCESS" for name, status in self.checks)


@dataclass(frozen=True)
class Run:
    """One run of the suite.

    Attributes:
        role: what was tested: the client, the server, the authorization server.
        how: with which part of the suite, or in which setting.
        revision: of the specification.
        outcomes: one of each scenario.
        finished: the suite came to its end.
        said: all that it printed.
        excused: why a scenario, or `scenario:check`, is not applicable; more than this run has.
        hollow: why a scenario that passes does not count.
    """

    role: str
    how: str
    revision: str
    outcomes: Sequence[Outcome]
    finished: bool = True
    said: str = field(default="", repr=False)
    excused: Mapping[str, str] = field(default_factory=dict)
    hollow: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What sets it apart from the other runs of the same role."""
        return f"{self.how}, {self.revision}"

    @property
    def counted(self) -> list[Outcome]:
        """The scenarios that apply."""
        return [one for one in self.outcomes if one.scenario not in self.excused and one.scenario not in self.hollow]

    def excused_checks(self, outcome: Outcome) -> set[str]:
        """Return which checks of a scenario that counts are not applicable."""
        prefix = f"{outcome.scenario}:"
        return {key.removeprefix(prefix) for key in self.excused if key.startswith(prefix)}

    def failures(self, outcome: Outcome) -> list[str]:
        """Return the checks that are unmet and should not be."""
        excused = self.excused_checks(outcome)
        return [name for name in outcome.unmet if name not in excused]

    def problems(self) -> list[str]:
        """Return everything that is not as it should be, in words."""
        found = [] if self.finished else ["the suite did not finish"]
        if not self.outcomes:
            found.append("no scenario was run")
        for outcome in self.outcomes:
            found += [f"{outcome.scenario}: {problem}" for problem in self._problems(outcome)]
        return [f"{self.role}, {self.title}: {problem}" for problem in found]

    def _problems(self, outcome: Outcome) -> list[str]:
        if outcome.scenario in self.excused:
            stale = ["passes, but is listed as not applicable"] if outcome.is_green else []
            return stale + [f"{name} is unmet" for name in outcome.unmet if name == WIRE_CHECK]
        if outcome.scenario in self.hollow:
            return [f"{name} is unmet" for name, status in outcome.checks if status == "FAILURE"]
        found = [f"{name} is unmet" for name in dict.fromkeys(self.failures(outcome))]
        met = self.excused_checks(outcome) - set(outcome.unmet)
        found += [f"{name} passes, but is listed as not applicable" for name in sorted(met)]
        if not found and not outcome.passed:
            found.append("nothing was checked")
        return found


def read(directory: Path, said: str) -> tuple[list[Outcome], bool, str]:
    """Read a run's results; return them, whether the suite came to its end, and what it printed.

    Args:
        directory: where the suite wrote them.
        said: what it printed; a scenario that could not be started appears only there.
    """
    outcomes = {}
    for path in directory.rglob("checks.json"):
        found = _DIRECTORY.fullmatch(path.parent.relative_to(directory).as_posix())
        assert found is not None, path
        checks = json.loads(path.read_text(encoding="utf-8"))
        outcomes[found[1]] = Outcome(found[1], tuple((check["id"], check["status"]) for check in checks))
    order = list(dict.fromkeys([*_SUMMARY_LINE.findall(said), *outcomes]))
    failed = (("could-not-be-run", "FAILURE"),)
    return [outcomes.get(name) or Outcome(name, failed) for name in order], bool(_SUMMARY_END.search(said)), said


def stale(listed: Iterable[str], runs: Sequence[Run]) -> list[str]:
    """Return the listed keys whose scenario was in none of the runs."""
    ran = {outcome.scenario for run in runs for outcome in run.outcomes}
    gone = [key for key in listed if key.partition(":")[0] not in ran]
    return [f"{key}: listed as not applicable, but there is no such scenario" for key in gone]


def totals(runs: Sequence[Run], revisions: Sequence[str]) -> str:
    """Return the table of how many checks passed, with a column for each revision."""
    rows = _head(["checks passed, in scenarios", *revisions])
    for role, how in dict.fromkeys((run.role, run.how) for run in runs):
        found = {run.revision: run for run in runs if (run.role, run.how) == (role, how)}
        cells = [_total(found[revision]) if revision in found else "" for revision in revisions]
        if any(cells):
            rows.append(_row([f"{role}, {how}", *cells]))
    return "\n".join(rows)


def _total(run: Run) -> str:
    if not run.finished:
        return "**did not finish**"
    passed = str(sum(outcome.passed for outcome in run.counted))
    if failed := sum(len(run.failures(outcome)) for outcome in run.counted):
        passed += f", **{failed} failed**"
    others = len(run.outcomes) - len(run.counted)
    return f"{passed} in {len(run.counted)}" + (f" ({others} not applicable)" if others else "")


def details(runs: Sequence[Run]) -> str:
    """Return the tables of all scenarios: one of each subject, with a column for each run."""
    sections = []
    for role in dict.fromkeys(run.role for run in runs):
        columns = [run for run in runs if run.role == role]
        names = dict.fromkeys(outcome.scenario for run in columns for outcome in run.outcomes)
        rows = _head(["scenario", *(run.title for run in columns)])
        rows += [_row([f"`{name}`", *(_cell(run, name) for run in columns)]) for name in names]
        sections.append(f"## {role}\n\n" + "\n".join(rows))
    return "\n\n".join(sections)


def _cell(run: Run, scenario: str) -> str:
    outcome = next((one for one in run.outcomes if one.scenario == scenario), None)
    if outcome is None:
        return ""
    if outcome not in run.counted:
        return "not applicable"
    parts = [str(outcome.passed)]
    if failed := len(run.failures(outcome)):
        parts.append(f"**{failed} failed**")
    if excused := len(outcome.unmet) - failed:
        parts.append(f"{excused} not applicable")
    return ", ".join(parts)


def reasons(listed: Mapping[str, str]) -> str:
    """Return the table of what is listed, and why."""
    rows = [_row([" check ".join(f"`{part}`" for part in key.split(":")), why]) for key, why in listed.items()]
    return "\n".join([*_head(["scenario", "why"]), *rows])


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), f"|{'---|' * len(cells)}"]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def between_markers(text: str, inside: str) -> str:
    """Return the text with something else between its two markers.

    Raises:
        ValueError: it does not have one of each, in their order.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"there is no {START} ... {END}")
    return f"{before}{START}\n{inside}\n{END}{after}"
