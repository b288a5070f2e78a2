"""An attack and its outcome: the steps, the attacker's gain, and the check that stops it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ...oauth.errors import McpOAuthError, SecurityError
from ...oauth.markup import left_table
from ...oauth.masking import mask, remember_made, scrub
from ...oauth.text import WIDTH
from ..http_lab import HttpLab
from ..lab import Lab

World = TypeVar("World", Lab, HttpLab)

# The port is another on each run, so it is left out.
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=\bPort )\d+")


class Refused(SecurityError):
    """A server, or a browser, refused. A refusal of this package's own is one of the types of `errors`."""

    hint = "Nothing: this is the check at work."


@dataclass
class Plot:
    """The notes that an attack takes while it runs.

    Attributes:
        defence: the check is on.
    """

    defence: bool
    steps: list[str] = field(default_factory=list)
    obtained: dict[str, str] = field(default_factory=dict)

    def step(self, text: str) -> None:
        """Note what somebody did, or what came of it."""
        self.steps.append(text)

    def got(self, what: str, secret: str) -> None:
        """Note a secret that the attacker has now. Only its mask is kept."""
        remember_made(secret)
        self.obtained[what] = mask(secret)

    def learned(self, what: str, value: object) -> None:
        """Note anything else that the attacker has now."""
        self.obtained[what] = scrub(str(value))


@dataclass(frozen=True, repr=False)
class Outcome:
    """The outcome of an attack. No secret is in it in clear.

    Attributes:
        attack: which one.
        defence: the check was on.
        steps: what the attacker, and the victim, did.
        obtained: what the attacker has in the end.
        stopped_by: the error at which it ended, if it did not succeed.
    """

    attack: Attack[Any]
    defence: bool
    steps: tuple[str, ...]
    obtained: dict[str, str]
    stopped_by: McpOAuthError | None

    @property
    def succeeded(self) -> bool:
        """Whether the attacker got what they wanted."""
        return self.stopped_by is None and bool(self.obtained)

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        yield f"{self.attack.title}, {'with' if self.defence else 'without'} the defence"
        for number, step in enumerate(self.steps, 1):
            yield from _wrapped(f"  {number}. ", step)
        if self.succeeded:
            yield "The attacker got"
            width = max(map(len, self.obtained))
            for what, value in self.obtained.items():
                yield from _wrapped(f"  {what:<{width}}  ", value)
        elif self.stopped_by is not None:
            yield "Stopped by"
            yield from _wrapped("  ", f"{type(self.stopped_by).__name__}: {self.stopped_by.message}")
        else:
            yield "The attacker got nothing, and nobody noticed."
        verb = "The check" if self.defence else "The check that was missing"
        yield from _wrapped("", f"{verb}: {self.attack.check} ({self.attack.reference})")


@dataclass(frozen=True)
class Attack(Generic[World]):
    """One attack: `await attack(lab, defence=False)`.

    Attributes:
        name: of the function.
        row: of the table in SECURITY.md.
        title: for people.
        needs: the kind of lab that it takes place in.
        check: what stops it.
        reference: where that is asked for.
        run: does it.
    """

    name: str
    row: int
    title: str
    needs: type[World]
    check: str
    reference: str
    run: Callable[[World, Plot], Awaitable[None]] = field(repr=False)

    async def __call__(self, lab: World, *, defence: bool) -> Outcome:
        """Run the attack.

        Args:
            lab: where; it can be used again afterwards.
            defence: True runs it against the code of this package, False against a copy without the check.

        Returns:
            What came of it; that it was stopped is an outcome too.
        """
        if not isinstance(lab, self.needs):
            raise TypeError(f"{self.name} takes place in a {self.needs.__name__}.")
        plot, stopped, knobs = Plot(defence), None, lab.github.knobs
        # GitHub asks again after ten tokens in an hour, which is no part of any attack.
        limit, knobs.tokens_per_hour = knobs.tokens_per_hour, None
        try:
            await self.run(lab, plot)
        except McpOAuthError as error:
            stopped = error.with_traceback(None)
            stopped.message = _PORT.sub("…", scrub(error.message))
        finally:
            knobs.tokens_per_hour = limit
        steps = tuple(_PORT.sub("…", scrub(step)) for step in plot.steps)
        return Outcome(self, defence, steps, {} if stopped else plot.obtained, stopped)

    def __repr__(self) -> str:
        lines = _wrapped("    ", f"{self.check} ({self.reference})")
        return f"{self.row:>2}. {self.title}: attacks.{self.name}({self.needs.__name__.lower()}, ...)\n" + "\n".join(
            lines
        )


#: All attacks, in the order of the table in SECURITY.md.
ATTACKS: list[Attack[Any]] = []


def attack(
    row: int, title: str, *, needs: type[World], check: str, reference: str
) -> Callable[[Callable[[World, Plot], Awaitable[None]]], Attack[World]]:
    """Make an attack of a function, and list it."""

    def made(run: Callable[[World, Plot], Awaitable[None]]) -> Attack[World]:
        one = Attack(getattr(run, "__name__", ""), row, title, needs, check, reference, run)
        ATTACKS.append(one)
        ATTACKS.sort(key=lambda known: known.row)
        return one

    return made


@dataclass(frozen=True, repr=False)
class Table:
    """Every attack, without its defence and with it."""

    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool:
        """Whether each succeeded without the defence and failed with it."""
        return all((off, on) == ("succeeds", "fails") for _, off, on, _ in self._rows())

    def _rows(self) -> Iterator[tuple[Attack[Any], str, str, str]]:
        words = {True: "succeeds", False: "fails"}
        for off, on in zip(self.outcomes[::2], self.outcomes[1::2], strict=True):
            stop = type(on.stopped_by).__name__ if on.stopped_by is not None else "-"
            yield off.attack, words[off.succeeded], words[on.succeeded], stop

    def __repr__(self) -> str:
        lines = [f"    {'attack':<34}{'without':<11}{'with':<7}stopped by"]
        lines += [f"{one.row:>2}  {one.title:<34}{off:<11}{on:<7}{stop}" for one, off, on, stop in self._rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(one.row, one.title, off, on, one.check) for one, off, on, _ in self._rows()]
        return left_table(rows, head=("", "attack", "without", "with", "the check"))


async def table(seed: int = 7) -> Table:
    """Run every attack, without its defence and with it, in labs of this seed."""
    async with Lab.open(seed) as lab, HttpLab.open(seed) as http_lab:
        return await run_all(lab, http_lab)


async def run_all(lab: Lab, http_lab: HttpLab) -> Table:
    """Do the same in labs that are open."""
    outcomes = []
    for one in ATTACKS:
        for defence in (False, True):
            outcomes.append(await one(lab if one.needs is Lab else http_lab, defence=defence))
    return Table(tuple(outcomes))


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
