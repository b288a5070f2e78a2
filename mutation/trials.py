"""Runs tests on each mutant, in a fork of a process that has imported everything but this project.

Each place is a copy of the project of its own, so that the processes that tests start see the mutant, too, and the
checkout stays as it is.
"""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from coverage import CoverageData

if TYPE_CHECKING:
    from mutants import Mutant

ROOT = Path(__file__).parent.parent
PACKAGE = "mcp_oauth_nb"
_COPIED = (PACKAGE, "tests")
# The first failure is enough, and nobody reads it.
_OPTIONS = ["-x", "-q", "-o", "addopts=", "-m", "not e2e and not security", "-p", "no:cacheprovider", "--tb=line"]
_OPTIONS += ["--assert=plain", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
_MEASURING = [f"--cov={PACKAGE}", "--cov-context=test", "--cov-report="]
# Twice as long as all tests of the module, and some seconds for a machine that has other things to do.
_LONGER, _GRACE_SECONDS = 2.0, 10.0
_LOOK_SECONDS = 0.02
# So many tests that killed a neighbour come before all others.
_LIKELY = 3


@dataclass
class Trial:
    """A mutant that is being tested, or was.

    Attributes:
        number: its place among those of its module.
        killer: the test that noticed it; before the trial, the one that did so last time.
    """

    mutant: Mutant
    number: int = 0
    outcome: str = ""
    killer: str = ""
    started: float = 0.0
    seconds: float = 0.0


@dataclass
class Place:
    """A copy of the project that one trial at a time has."""

    path: Path
    pid: int = 0
    trial: Trial | None = None


@dataclass
class Tests:
    """The tests of one module.

    Attributes:
        seconds: how long they take without a mistake.
        of_line: the tests that run each line of the module; empty if all tests are run on each mutant.
        lasting: how many seconds each test takes.
        killers: the tests that killed mutants, by the function that these were in.
    """

    seconds: float = 0.0
    of_line: dict[int, set[str]] = field(default_factory=dict)
    lasting: dict[str, float] = field(default_factory=dict)
    killers: dict[str, list[str]] = field(default_factory=dict)

    def chosen(self, mutant: Mutant, last: str = "") -> Iterator[Selection]:
        """Give what to run on a mutant: what killed it last time and its neighbours now, then all, the quick first."""
        # What a module does when it is imported concerns all tests; of its lines, some run only the lambdas in them.
        lines = mutant.lines if mutant.where != "module" else ()
        found = [self.of_line.get(line, set()) for line in lines]
        chosen = set().union(*found) or set(self.lasting)
        before = dict.fromkeys([last, *reversed(self.killers.get(mutant.where, []))])
        likely = [name for name in before if name in chosen]
        if likely:
            yield Selection(likely[:_LIKELY])
        yield Selection(sorted(chosen, key=lambda name: self.lasting.get(name, 0.0)))


class Selection:
    """A pytest plugin that runs some tests, in their order, and notes the one that failed and how long each took.

    Args:
        chosen: the tests that are run; all if there is none.
    """

    def __init__(self, chosen: Sequence[str] = ()):
        self._place = {name: number for number, name in enumerate(chosen)}
        self.failed = ""
        self.lasting: dict[str, float] = {}

    @property
    def files(self) -> list[str]:
        """Where the chosen tests are: collecting others would take longer than to run these."""
        return sorted({name.partition("::")[0] for name in self._place})

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and sort."""
        if self._place:
            items[:] = [item for item in items if item.nodeid in self._place]
            items.sort(key=lambda item: self._place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the failure, and the time."""
        self.lasting[report.nodeid] = self.lasting.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = report.nodeid


@contextlib.contextmanager
def places(number: int) -> Iterator[list[Place]]:
    """Make copies of the project; they are gone at the end, and so is what runs in them."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        made = [Place(Path(directory, str(count))) for count in range(number)]
        for place in made:
            _copy(place.path)
        try:
            yield made
        finally:
            for place in made:
                _stop(place)


def warm(tests: Sequence[str], place: Place) -> None:
    """Import what the tests import, this project aside: each fork has it then.

    Raises:
        SystemExit: the tests cannot be collected.
    """
    code = (
        "import pytest, sys; before = set(sys.modules); code = pytest.main(sys.argv[2:]); "
        "open(sys.argv[1], 'w').write(chr(10).join(name for name in sys.modules if name not in before)); sys.exit(code)"
    )
    names = place.path / "imported"
    _collect(place.path, tests, "-c", code, str(names))
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {PACKAGE}
    for name in names.read_text().split():
        if name.partition(".")[0] not in own:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    # What is here now need not be looked through in each fork.
    gc.freeze()


def _collect(path: Path, tests: Sequence[str], *program: str) -> None:
    """Collect the tests in a process of their own, by pytest or by a program that is given pytest's arguments.

    Raises:
        SystemExit: they cannot be collected.
    """
    command = [sys.executable, *(program or ("-m", "pytest")), "--collect-only", *_OPTIONS, *tests]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    ended = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"The tests cannot be collected:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")


def outcome(code: int, collect: Callable[[], None]) -> str:
    """Say what pytest's exit code on a mutant comes to.

    Args:
        code: 0 where all tests passed.
        collect: collects the tests without the mutant; it raises SystemExit where they cannot be collected.

    Raises:
        SystemExit: no test was run, and that is not because of the mutant.
    """
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        # A module that cannot be imported is noticed. A configuration or a test that cannot be read says nothing.
        collect()
    return "survived" if code == pytest.ExitCode.OK else "killed"


def measured(module: str, files: Sequence[str], place: Place, *, each: bool) -> Tests:
    """Run the tests without a mistake, to see how long they take and which of them run which line.

    Args:
        module: its path in the package.
        files: where its tests are.
        place: where to run them.
        each: whether each test shall be run on each mutant.

    Raises:
        SystemExit: they fail.
    """
    started = time.monotonic()
    place.pid = _fork(place, [([*_MEASURING, *files], Selection())])
    _, status = os.waitpid(place.pid, 0)
    place.pid = 0
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"The tests fail without a mutant:\n{(place.path / 'output').read_text()[-3000:]}")
    tests = Tests(time.monotonic() - started)
    tests.lasting = json.loads((place.path / "lasting").read_text(encoding="utf-8"))
    if not each:
        data = CoverageData(str(place.path / ".coverage"))
        data.read()
        for line, contexts in data.contexts_by_lineno(str(place.path / PACKAGE / module)).items():
            # "test|run"; nothing for what runs when the module is imported.
            tests.of_line[line] = {context.rpartition("|")[0] for context in contexts if context}
    return tests


def run(module: str, tests: Tests, trials: Iterator[Trial], at: list[Place]) -> Iterator[Trial]:
    """Test each mutant of a module, several at once; yield each trial when it has ended.

    Args:
        module: its path in the package.
        tests: its tests.
        trials: its mutants.
        at: where.

    Raises:
        SystemExit: the tests can no longer be collected.
    """
    allowed = tests.seconds * _LONGER + _GRACE_SECONDS
    original = (ROOT / PACKAGE / module).read_text(encoding="utf-8")
    files = sorted({name.partition("::")[0] for name in tests.lasting})

    def collect(place: Place) -> None:
        (place.path / PACKAGE / module).write_text(original, encoding="utf-8")
        _collect(place.path, files)

    for place in at:
        for compiled in (place.path / PACKAGE / module).parent.glob(f"__pycache__/{Path(module).stem}.*"):
            compiled.unlink()
    while True:
        for place in at:
            if place.trial is None and (trial := next(trials, None)) is not None:
                (place.path / PACKAGE / module).write_text(trial.mutant.source, encoding="utf-8")
                place.trial, trial.started = trial, time.monotonic()
                chosen = tests.chosen(trial.mutant, trial.killer)
                place.pid = _fork(place, [(selection.files, selection) for selection in chosen])
        if not any(place.trial for place in at):
            break
        time.sleep(_LOOK_SECONDS)
        for ended in filter(None, [_ended(place, allowed, collect) for place in at]):
            if ended.killer:
                killers = tests.killers.setdefault(ended.mutant.where, [])
                killers[:] = [*(one for one in killers if one != ended.killer), ended.killer]
            yield ended
    for place in at:
        (place.path / PACKAGE / module).write_text(original, encoding="utf-8")


def _ended(place: Place, allowed: float, collect: Callable[[Place], None]) -> Trial | None:
    trial = place.trial
    if trial is None:
        return None
    trial.seconds = time.monotonic() - trial.started
    pid, status = os.waitpid(place.pid, os.WNOHANG)
    if pid:
        code = os.waitstatus_to_exitcode(status)
        trial.outcome = outcome(code, lambda: collect(place))
        trial.killer = (place.path / "killer").read_text(encoding="utf-8") if code else ""
    elif trial.seconds > allowed:
        trial.outcome, trial.killer = "timeout", ""
    else:
        return None
    _stop(place)
    return trial


def _stop(place: Place) -> None:
    """End what runs at a place, the processes that its tests started included."""
    if place.pid:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(place.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(place.pid, 0)
    place.pid, place.trial = 0, None


def _fork(place: Place, runs: Sequence[tuple[Sequence[str], Selection]]) -> int:
    """Run pytest with some arguments, and if nothing fails with the next ones; return the process."""
    (place.path / "killer").write_text("")
    pid = os.fork()
    if pid:
        return pid
    code: int = 99
    try:
        os.setsid()
        os.chdir(place.path)
        # No more bytecode: of two mutants of one length and one second, Python would take the first's for the second's.
        os.environ.update(PYTHONPATH=str(place.path), PYTHONDONTWRITEBYTECODE="1")
        sys.path.insert(0, str(place.path))
        sys.dont_write_bytecode = True
        with (place.path / "output").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        # That a mutant is killed is enough; by what shortest example does not matter.
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("first", derandomize=True, phases=phases)
        for arguments, selection in runs:
            code = pytest.main([*_OPTIONS, "--hypothesis-profile=first", *arguments], plugins=[selection])
            (place.path / "killer").write_text(selection.failed, encoding="utf-8")
            (place.path / "lasting").write_text(json.dumps(selection.lasting), encoding="utf-8")
            if code:
                break
        sys.stdout.flush()
    finally:
        os._exit(code)


def _copy(path: Path) -> None:
    path.mkdir()
    for child in ROOT.iterdir():
        if child.name in _COPIED:
            shutil.copytree(child, path / child.name, ignore=shutil.ignore_patterns("__pycache__"))
            compileall.compile_dir(path / child.name, quiet=2)
        elif not child.name.startswith("."):
            (path / child.name).symlink_to(child)
