"""Many sessions while GitHub fails, stalls and recovers, workers are killed and Redis hangs: `make chaos`.

Three promises are checked at every call: no wrong answer, no token lost, no token at the wrong user. The figures go to
`chaos.md`; a broken promise ends the program with status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos_counts import OK, Counts, Trouble
from chaos_sessions import Caller
from chaos_world import API_TIMEOUT, TOKEN_LIFETIME, UPSTREAM_TOKEN_LIFETIME, World

SIGN_INS_AT_ONCE = 8
#: Within so many seconds after the end every session must have been answered.
FINAL_SECONDS = 40.0
INTRODUCTION = """# Load and chaos

Written by `make chaos`; {place}. {sessions} sessions call `get_github_user_info` for {seconds:g} seconds (seed {seed}),
each as a user of its own and with a mean pause of {pause:g} seconds, through the client as it ships: a quarter in
2025-11-25, the rest in 2026-07-28. With such a pause few of the sessions call at the same moment; the rate of the calls
is in the table. Behind one address are two workers (`serve --transport http --stateless`) on one Redis, in front of one
mocked GitHub of its own. That is not `serve --mock`, whose GitHub is in the server's process: a worker that is killed
would take it along, and the other worker would have another. Access tokens live {token} seconds, GitHub's {upstream},
and GitHub has {timeout} seconds to answer. Clients, proxy and GitHub share one process and all of it one machine, so
that times and rates say what this machine did meanwhile. An answer must be the user's own; a declared error says that
it is transient, and why.

"""


@dataclass(frozen=True)
class Step:
    """What goes wrong from one second of the run on, and for how long; a worker's start takes as long as it takes."""

    at: float
    lasts: float
    name: str
    begin: Callable[[World], None]
    end: Callable[[World], None]


def schedule(seconds: float, seed: int) -> list[Step]:
    """What happens when, for a run of so many seconds."""
    first = random.Random(seed).randrange(2)
    second = 1 - first

    def weather(at: float, lasts: float, name: str, *kinds: str) -> Step:
        return Step(
            at, lasts, name, lambda world: world.upstream.weather(*kinds), lambda world: world.upstream.weather()
        )

    def killed(at: float, lasts: float, name: str, number: int) -> Step:
        return Step(at, lasts, name, lambda world: world.kill(number), lambda world: world.workers[number].start())

    minute = [
        weather(8, 5, "GitHub answers 500 and 502", "500", "502"),
        killed(17, 3, "a worker is killed and restarted", first),
        weather(25, 6, "GitHub stalls", "stall"),
        weather(34, 4, "GitHub limits and hangs up", "rate limit", "hang up"),
        weather(42, 5, "GitHub is slow, stalls or fails", "slow", "stall", "500"),
        killed(44, 3, "meanwhile the other worker is killed and restarted", second),
        Step(52, 3, "Redis hangs", lambda world: world.redis.pause(), lambda world: world.redis.resume()),
    ]
    scale = seconds / 60
    return [Step(step.at * scale, step.lasts * scale, step.name, step.begin, step.end) for step in minute]


class Run:
    """One run.

    Args:
        world: what is called, and broken.
        callers: the sessions.
        seconds: how long they call.
        pause: the mean seconds between two calls of a session.
        seed: of the pauses and the schedule.
    """

    def __init__(self, world: World, callers: list[Caller], counts: Counts, *, seconds: float, pause: float, seed: int):
        self._world = world
        self._callers = callers
        self._counts = counts
        self._seconds = seconds
        self._pause = pause
        self._seed = seed

    async def all(self) -> None:
        """Sign everybody in, let them call while it happens, and call once more."""
        turn = asyncio.Semaphore(SIGN_INS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                group.create_task(self._opened(caller, turn))
        print(f"{len(self._callers)} sessions are signed in.", file=sys.stderr)
        self._counts.begin()
        async with asyncio.TaskGroup() as group:
            for step in schedule(self._seconds, self._seed):
                group.create_task(self._play(step))
            for number, caller in enumerate(self._callers):
                group.create_task(self._call(caller, random.Random(f"{self._seed}:{number}")))
        self._counts.end()
        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                group.create_task(self._finish(caller))
        for caller in self._callers:
            await caller.close()

    async def _opened(self, caller: Caller, turn: asyncio.Semaphore) -> None:
        async with turn:
            await caller.open()

    async def _play(self, step: Step) -> None:
        await asyncio.sleep(step.at)
        began = self._counts.now()
        await asyncio.to_thread(step.begin, self._world)
        await asyncio.sleep(step.lasts)
        await asyncio.to_thread(step.end, self._world)
        self._counts.troubles.append(Trouble(step.name, began, self._counts.now()))

    async def _call(self, caller: Caller, pauses: random.Random) -> None:
        while (pause := pauses.uniform(0, 2 * self._pause)) + self._counts.now() < self._seconds:
            await asyncio.sleep(pause)
            await caller.call(repositories=pauses.random() < 0.5)

    async def _finish(self, caller: Caller) -> None:
        until = self._counts.now() + FINAL_SECONDS
        while (outcome := await caller.call()) != OK:
            if self._counts.now() > until:
                self._counts.ended(caller.user, f"not answered at the end: {outcome}", bound=False)
                return
            await asyncio.sleep(0.5)


def measure(options: argparse.Namespace, directory: Path) -> Counts:
    """Bring everything up, run, and end it."""
    counts = Counts()
    users = [f"user-{number:03}" for number in range(options.sessions)]
    world = World(directory, users, options.seed)
    try:

        def bound_to_end(user: str, why: str) -> bool:
            return counts.ended(user, why, bound=world.reached_nobody(user))

        callers = [Caller(number, user, world.url, counts, bound_to_end) for number, user in enumerate(users)]
        asyncio.run(Run(world, callers, counts, seconds=options.seconds, pause=options.pause, seed=options.seed).all())
        counts.upstream_refreshes, counts.faults = world.upstream.refreshes, world.upstream.hits
        for worker in world.workers:
            if "Traceback" in worker.log():
                counts.wrong.append("a worker has a traceback in its log")
                print(worker.log()[worker.log().index("Traceback") :][:4000], file=sys.stderr)
    finally:
        world.stop()
    return counts


def report(options: argparse.Namespace, counts: Counts) -> str:
    """Write what was measured."""
    place = f"Python {platform.python_version()}, {platform.machine()}"
    lines = [
        INTRODUCTION.format(
            place=place,
            sessions=options.sessions,
            seconds=options.seconds,
            seed=options.seed,
            pause=options.pause,
            token=TOKEN_LIFETIME,
            upstream=UPSTREAM_TOKEN_LIFETIME,
            timeout=API_TIMEOUT,
        )
        + "| what | measured | goal |",
        "|---|---|---|",
        *(f"| {what} | {measured} | {goal} |" for what, measured, goal in counts.figures()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, print, keep the figures of a whole run; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=12, help="mean seconds between two calls of a session")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, help="where to keep the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        counts = measure(options, Path(directory))
    text = report(options, counts)
    print(text)
    for broken, number in counts.broken.most_common():
        print(f"{number} x {broken}")
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    print(f"{options.sessions} sessions, {options.seconds:g} s, {len(counts.calls)} calls: {counts.verdict}")
    return 1 if counts.broken else 0


if __name__ == "__main__":
    sys.exit(main())
