"""Whether the tests would notice a mistake in the checks that security rests on: `make mutation`.

Each mutant is a module with one small mistake. Those tests of the module that run its line are run on it: they kill it,
or it survives.
A module is tried again if it, or a test that killed one of its mutants, has changed since; tests that were added make
no score old: see `plan.relied_on`.
Prints a score for each module and the survivors, and writes `scores/` and `results.md`. The reason why nobody should
kill a survivor is in `survivors.toml`, by hand. Ends with 1 if a survivor has none, or if fewer than 85 of 100 mutants
are killed; of all modules together, and those below it are named.

    python mutation/run.py [--workers N] [--all]          # what has changed; or all modules
    python mutation/run.py MODULE ...                     # these, changed or not
    python mutation/run.py --again MODULE ...             # those that survived, after tests were added
    python mutation/run.py --only TEXT MODULE             # some mutants only; writes no results
    python mutation/run.py --report                       # nothing; writes results.md from the scores that are kept
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import trials
from mutants import mutants_of
from plan import EACH, PLAN, fingerprint, is_there, relied_on, tests_of
from report import LEAST, Key, Score, keep, kept, low, printed, reasons, results, snippet
from trials import Trial

HERE = Path(__file__).parent
SCORES = HERE / "scores"


def main() -> int:
    """Run, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"one of: {', '.join(PLAN)}")
    parser.add_argument("--workers", type=int, default=2, help="mutants that are tested at once (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants with this in their place or change")
    parser.add_argument("--again", action="store_true", help="try what survived last time; the rest stays killed")
    parser.add_argument("--all", action="store_true", help="try the modules that did not change, too")
    parser.add_argument("--report", action="store_true", help="try nothing, write the report of what is kept")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(PLAN):
        parser.error(f"not in the plan: {', '.join(sorted(unknown))}")
    scores = {score.module: score for score in kept(SCORES, options.modules or PLAN)}
    started = time.monotonic()
    if not options.report:
        modules = options.modules or [name for name in PLAN if options.all or _is_old(name, scores)]
        for score in _tried(modules, options, scores):
            scores[score.module] = score
            if not options.only:
                keep(SCORES, score)
    minutes = (time.monotonic() - started) / 60
    known = reasons(HERE / "survivors.toml")
    ordered = [scores[name] for name in PLAN if name in scores]
    print(printed(ordered, known))
    if not options.only:
        (HERE / "results.md").write_text(results(list(kept(SCORES, PLAN)), known), encoding="utf-8")
    return _verdict(ordered, known, minutes)


def _is_old(module: str, scores: dict[str, Score]) -> bool:
    score = scores.get(module)
    return score is None or score.fingerprint != fingerprint(module) or not is_there(module, score.relied_on)


def _tried(modules: list[str], options: argparse.Namespace, before: Mapping[str, Score]) -> Iterator[Score]:
    if not modules:
        return
    with trials.places(options.workers) as at:
        trials.warm(sorted({test for module in modules for test in tests_of(module)}), at[0])
        for module in modules:
            yield _score(module, at, options.only, before.get(module), again=options.again)


def _verdict(scores: list[Score], known: Mapping[Key, str], minutes: float) -> int:
    """Print what is missing, and the sum; return the exit code."""
    unexplained = [survivor for score in scores for survivor in score.survivors if survivor.key not in known]
    if unexplained:
        print("\nWithout a reason in survivors.toml:\n\n" + snippet(unexplained))
    if below := ", ".join(f"{score.module} {score.share:.1%}" for score in scores if low(score)):
        print(f"Below {LEAST:.0%}, which all together must reach and a module need not: {below}")
    total = sum(scores, start=Score("all"))
    print(f"{total.killed + total.timeouts} of {total.mutants} killed: {total.share:.1%}, in {minutes:.0f} minutes")
    return 1 if unexplained or total.share < LEAST else 0


def _score(module: str, at: list[trials.Place], only: str, before: Score | None, *, again: bool) -> Score:
    tests = trials.measured(module, tests_of(module), at[0], each=module in EACH)
    source = (trials.ROOT / trials.PACKAGE / module).read_text(encoding="utf-8")
    found = [Trial(mutant, number) for number, mutant in enumerate(mutants_of(source))]
    found = [trial for trial in found if only in f"{trial.mutant.where} {trial.mutant.change}"]
    score = Score(module)
    if again and before is not None and before.mutants == len(found):
        survived = {(survivor.where, survivor.change) for survivor in before.survivors}
        found = [trial for trial in found if (trial.mutant.where, trial.mutant.change) in survived]
        score = replace(before, mutants=before.mutants - len(found), survivors=[])
        score.killed = score.mutants - before.timeouts
    elif before is not None:
        found = [replace(trial, killer=before.killer(trial.number)) for trial in found]
    score.fingerprint = fingerprint(module)
    for trial in trials.run(module, tests, iter(found), at):
        score.count(trial)
        print("." if trial.outcome != "survived" else "S", end="", file=sys.stderr, flush=True)
    score.relied_on = relied_on(module, score.killers)
    print(f" {module} ({tests.seconds:.0f} s of tests)", file=sys.stderr)
    return score


if __name__ == "__main__":
    sys.exit(main())
