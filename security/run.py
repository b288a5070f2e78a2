"""All that the project knows about its own security, in one table: `make security`.

It runs what `SECURITY.md` names, and what takes too long for `make test`: the attacks without and with their defences,
the tests of every promise and of every cell of the fault matrix, the long searches, the load and the mutation run. It
exits with 1 unless all of it holds.

    python security/run.py [--without load] [--without mutation]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mcp_oauth_nb import run
from mcp_oauth_nb.lab import attacks

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"`(test_\w+)\.py::(test_\w+)`")

#: Long runs, by the target that makes them; the last line that each prints is for this table.
LONG = {"load": "chaos", "mutation": "mutation"}

#: A test, as the file and the name of its function or class.
Test = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """One line of the table.

    Attributes:
        name: of the part.
        result: what came of it, in numbers.
        holds: whether it is as it should be; None if it was left out.
    """

    name: str
    result: str
    holds: bool | None


def main() -> None:
    """Run all parts, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--without", action="append", default=[], choices=list(LONG), help="leave a part out")
    left_out = parser.parse_args().without
    start = time.monotonic()
    found = run(attacks.table())
    print(f"{found!r}\n", flush=True)
    parts = [attacked(found), *tested()]
    parts += [long_run(name, target) for name, target in LONG.items() if name not in left_out]
    parts += [Part(name, "left out", None) for name in left_out]
    print("\n" + "\n".join(lines(parts)) + f"\n\n{(time.monotonic() - start) / 60:.0f} minutes")
    sys.exit(1 if any(part.holds is False for part in parts) else 0)


def lines(parts: Iterable[Part]) -> Iterator[str]:
    """Write the table."""
    words = {True: "holds", False: "FAILS", None: "-"}
    for part in parts:
        yield f"{words[part.holds]:<7}{part.name:<32}{part.result}"


def attacked(found: attacks.Table) -> Part:
    """Sum up the attacks."""
    outcomes = found.outcomes
    without = sum(one.succeeded for one in outcomes if not one.defence)
    stopped = sum(not one.succeeded for one in outcomes if one.defence)
    number = len(outcomes) // 2
    return Part("attacks", f"{without} of {number} succeed without the check, {stopped} are stopped by it", found.holds)


# -- the tests -------------------------------------------------------------------------------------------------------


def named(text: str) -> set[Test]:
    """Return the tests that a part of `SECURITY.md` names."""
    return set(_NAMED.findall(text))


def tested() -> Iterator[Part]:
    """Run the tests once, all together, and sum them up by part."""
    promises, _, faults = SECURITY.partition("## Appendix: faults")
    rows = sum("`test_" in line for line in faults.splitlines())
    parts = {
        "promises of SECURITY.md": named(promises),
        f"faults, a matrix of {rows} rows": named(faults),
        "advisories": within("test_advisories"),
        "leaks": within("test_leaks"),
        "attacks, as tests": within("test_attacks"),
        "properties and fuzzed parsers": within("test_properties", "test_fuzz", "test_store_restart"),
    }
    results = pytest(set().union(*parts.values()))
    for name, tests in parts.items():
        yield summed_up(name, tests, results)


def place(file: str) -> Path:
    """Return where a file of tests is: in the folder of its room."""
    return next(TESTS.rglob(f"{file}.py"))


def within(*files: str) -> set[Test]:
    """Return all the tests of these files."""
    text = {file: place(file).read_text(encoding="utf-8") for file in files}
    return {
        (file, name)
        for file in files
        for name in re.findall(r"^(?:(?:async )?def (?=test)|class (?=Test))(\w+)", text[file], re.M)
    }


def pytest(tests: set[Test]) -> dict[Test, list[str]]:
    """Run tests, the slow ones and those in a browser too; return the outcome of each of their cases."""
    # A whole file is told as one argument: there are hundreds of names.
    whole = {file for file, _ in tests if within(file) <= tests}
    nodes = [str(place(file)) for file in whole]
    nodes += [f"{place(file)}::{name}" for file, name in tests if file not in whole]
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", f"--junit-xml={report}", *sorted(nodes)]
        subprocess.run(command, cwd=ROOT, env={"E2E_VENV": ".venv-e2e", **os.environ}, check=False)
        return outcomes(ElementTree.parse(report).iter("testcase"))


_BAD = ("failure", "error", "skipped")


def outcomes(cases: Iterable[ElementTree.Element]) -> dict[Test, list[str]]:
    """Read a report: the outcome of each case of each test."""
    results: dict[Test, list[str]] = {}
    for case in cases:
        # `tests.room.test_x` for a function, `tests.room.test_x.TestY` for a class.
        # Of a file that cannot be read there is its name alone.
        _, _, file, *classes = (case.attrib["classname"] or case.attrib["name"]).split(".")
        test = (file, classes[0] if classes else case.attrib["name"].partition("[")[0])
        results.setdefault(test, []).append(next((each.tag for each in case if each.tag in _BAD), "passed"))
    return results


def summed_up(name: str, tests: set[Test], results: dict[Test, list[str]]) -> Part:
    """Count the cases of a part. One that is skipped, or never ran, holds nothing."""
    outcomes = [outcome for test in tests for outcome in results.get(test, ["not run"])]
    passed = outcomes.count("passed")
    others = [f"{outcomes.count(kind)} {kind}" for kind in sorted(set(outcomes) - {"passed"})]
    return Part(name, ", ".join([f"{passed} passed in {len(tests)} tests", *others]), not others and passed > 0)


# -- the long runs ---------------------------------------------------------------------------------------------------


def long_run(name: str, target: str) -> Part:
    """Run a program of its own; its last line is its result."""
    print(f"\n{name}: make {target}", flush=True)
    process = subprocess.Popen(["make", "-s", target], cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    return Part(name, last or "said nothing", process.wait() == 0)


if __name__ == "__main__":
    main()
