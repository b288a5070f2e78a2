"""The official conformance suite against this package: `make conformance`.

It writes the totals into the README and everything into `results.md`, and exits with 1 unless all is green. It
installs the suite, and the Node that it needs, from npm packages into this directory; nothing else is fetched.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
LOGS = HERE / "results"
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "worlds")]

import debugged  # noqa: E402
import scenarios  # noqa: E402
import suite  # noqa: E402
from program_world import Person, Program  # noqa: E402
from report import Run, between_markers, details, reasons, stale, totals  # noqa: E402
from signed_in import sign_in, with_token  # noqa: E402

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
# Those that the suite has a frozen set of requirements for, and an auth suite.
RECENT = REVISIONS[2:]

SERVER_MILLISECONDS = 120_000

RESULTS = """# The official conformance suite

Written by `make conformance`, with {suite}.

A number in the tables of scenarios is how many checks passed. The command fails if a scenario that applies has a failed
check or a warning, and if one that does not apply passes.

{totals}

{details}

## Not applicable to this server

The suite's server scenarios are made for a sample server with tools, prompts and resources of its own, and most of them
call those. Whatever the scenario, the suite also holds each message against the specification's schema: that counts
here too.

{server}

Without a token, this one does not apply either:

{without_token}

These pass, but say nothing about this server: its refusal of an unknown tool looks like what they expect. They are
counted among those that are not applicable.

{hollow}

## Not applicable to this client

Extensions, which no revision requires; the suite runs them with its requirement sets and does not score them, nor
`json-schema-2020-12-preservation`, which is newer than the sets and passes.

{client}

Extensions that no requirement set names (`sep-2640-client-*`) are not run.
"""


def clients() -> list[Run]:
    """Run everything that a client is measured by."""

    def run(how: str, revision: str, *arguments: str) -> Run:
        with tempfile.TemporaryDirectory() as locks:
            program = f"{sys.executable} {HERE / 'in_turn.py'} {locks} {sys.executable} {HERE / 'client.py'}"
            command = ["client", "--command", program, "--timeout", str(suite.CLIENT_MILLISECONDS)]
            return done(Run("Client", how, revision, *suite.run(*command, *arguments), scenarios.CLIENT))

    old, middle, *recent = REVISIONS
    runs = [run("all scenarios", old, "--suite", "backcompat")]
    runs.append(run("all scenarios", middle, "--suite", "all", "--spec-version", middle))
    runs += [run("auth suite", revision, "--suite", "auth", "--spec-version", revision) for revision in recent]
    return runs + [run("requirement set", revision, "--requirements", revision) for revision in recent]


def servers(program: Program) -> list[Run]:
    """Run every server scenario at every revision; then those of the recent ones with a token."""

    def run(how: str, revision: str, *arguments: str, url: str = program.url, excused: Mapping[str, str]) -> Run:
        command = ["server", "--url", f"{url}/mcp", "--timeout", str(SERVER_MILLISECONDS)]
        return done(Run("Server", how, revision, *suite.run(*command, *arguments), excused, scenarios.HOLLOW))

    def everything(how: str, revision: str, excused: Mapping[str, str], url: str = program.url) -> Run:
        return run(how, revision, "--suite", "all", "--spec-version", revision, url=url, excused=excused)

    without = {**scenarios.SERVER, **scenarios.WITHOUT_TOKEN}
    runs = [everything("without a token", revision, without) for revision in REVISIONS]
    seen = {outcome.scenario for one in runs for outcome in one.outcomes}
    # The suite has no name for the extensions alone: they are pending, beside some that belong to a revision.
    pending = run("without a token", "extensions", "--suite", "pending", excused=without)
    runs.append(replace(pending, outcomes=[one for one in pending.outcomes if one.scenario not in seen]))
    with with_token(program.url, sign_in(f"{program.url}/mcp", Person().open)) as url:
        runs += [everything("with a token", revision, scenarios.SERVER, url) for revision in RECENT]
    return runs


def authorization_servers(program: Program) -> list[Run]:
    """Run the authorization server's scenarios at every revision; a person walks through the consent.

    The client is a public one: given a secret, the suite leaves it out where the server also takes public clients.
    """
    client = {
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
        "client_name": "Conformance suite",
    }
    registered = httpx.post(f"{program.url}/register", json=client, timeout=SERVER_MILLISECONDS / 1000).json()
    command = ["authorization", "--url", program.url, "--resource", f"{program.url}/mcp"]
    command += ["--client-id", registered["client_id"]]

    def run(revision: str) -> Run:
        arguments = ["--port", str(free_port()), "--spec-version", revision]
        found = suite.run(*command, *arguments, person=Person())
        return done(Run("Authorization server", "all scenarios", revision, *found))

    return [run(revision) for revision in REVISIONS]


def free_port() -> int:
    """Return a port that is free at present: the suite cannot choose one itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def done(run: Run) -> Run:
    """Say on the terminal how a run went, and keep what the suite said."""
    print(f"{run.role}, {run.title}: {len(run.outcomes)} scenarios, {len(run.problems())} problems", flush=True)
    LOGS.mkdir(exist_ok=True)
    (LOGS / f"{run.role}, {run.title}.txt").write_text(run.said, encoding="utf-8")
    return run


def main() -> None:
    """Run everything and keep it."""
    suite.install()
    runs = clients()
    with tempfile.TemporaryDirectory() as directory:
        program = Program(Path(directory))
        try:
            runs += authorization_servers(program) + servers(program)
        finally:
            program.stop()
    table = totals(runs, REVISIONS)
    written = RESULTS.format(
        suite=suite.NAME,
        totals=table,
        details=details(runs),
        server=reasons(scenarios.SERVER),
        without_token=reasons(scenarios.WITHOUT_TOKEN),
        hollow=reasons(scenarios.HOLLOW),
        client=reasons(scenarios.CLIENT),
    )
    (HERE / "results.md").write_text(written, encoding="utf-8")
    README.write_text(between_markers(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table)
    listed = [*scenarios.SERVER, *scenarios.WITHOUT_TOKEN, *scenarios.HOLLOW, *scenarios.CLIENT]
    problems = [problem for run in runs for problem in run.problems()] + stale(listed, runs) + debugged.report()
    if problems:
        print(f"\nNot as it should be; what the suite said is in {LOGS}:", *problems, sep="\n- ")
        sys.exit(1)


if __name__ == "__main__":
    main()
