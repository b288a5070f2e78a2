"""What stands between the official conformance suite and the README: reading, judging, writing. The suite isn't run."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mcp_types import Tool

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "conformance"))

import client  # noqa: E402
import scenarios  # noqa: E402
from report import Outcome, Run, between_markers, details, read, reasons, stale, totals  # noqa: E402
from signed_in import with_token  # noqa: E402

WHEN = "2026-01-02T03-04-05-678Z"
GREEN = Outcome("green", (("a", "SUCCESS"), ("b", "SUCCESS"), ("c", "INFO")))
RED = Outcome("red", (("a", "SUCCESS"), ("b", "FAILURE")))
# What the suite says where it had nothing to look at: every message was well formed.
EMPTY = Outcome("empty", (("wire-schema-valid", "SUCCESS"), ("a", "SKIPPED")))


def run(*outcomes: Outcome, **given: Any) -> Run:
    return Run("Server", "quickly", "2026-07-28", outcomes, **given)


def problems(*outcomes: Outcome, **given: Any) -> list[str]:
    """The problems, without what all of them begin with."""
    return [problem.removeprefix("Server, quickly, 2026-07-28: ") for problem in run(*outcomes, **given).problems()]


# -- judging ---------------------------------------------------------------------------------------------------


def test_a_run_in_which_all_passes_has_no_problems() -> None:
    assert problems(GREEN) == []


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_a_check_that_is_unmet_is_a_problem(status: str) -> None:
    assert problems(GREEN, Outcome("other", (("a", "SUCCESS"), ("b", status)))) == ["other: b is unmet"]


def test_a_scenario_in_which_nothing_was_checked_is_a_problem() -> None:
    assert problems(Outcome("idle", (("a", "SKIPPED"),))) == ["idle: nothing was checked"]


def test_a_run_without_scenarios_or_without_an_end_is_a_problem() -> None:
    assert problems() == ["no scenario was run"]
    assert problems(GREEN, finished=False) == ["the suite did not finish"]


def test_a_listed_scenario_may_fail_but_must_not_pass() -> None:
    assert problems(RED, EMPTY, excused={"red": "why", "empty": "why"}) == []
    assert problems(GREEN, excused={"green": "why"}) == ["green: passes, but is listed as not applicable"]


def test_a_listed_scenario_is_still_held_to_the_wire_schema() -> None:
    broken = Outcome("red", (("b", "FAILURE"), ("wire-schema-valid", "FAILURE")))
    assert problems(broken, excused={"red": "why"}) == ["red: wire-schema-valid is unmet"]


def test_a_listed_check_excuses_no_other_check_of_its_scenario() -> None:
    both = Outcome("red", (("a", "FAILURE"), ("b", "FAILURE")))
    assert problems(RED, excused={"red:b": "why"}) == []
    assert problems(both, excused={"red:b": "why"}) == ["red: a is unmet"]
    assert problems(GREEN, excused={"green:b": "why"}) == ["green: b passes, but is listed as not applicable"]


def test_a_hollow_scenario_may_pass_but_does_not_count() -> None:
    assert problems(GREEN, hollow={"green": "why"}) == []
    assert run(GREEN, hollow={"green": "why"}).counted == []


def test_a_listed_scenario_that_no_run_has_is_a_problem() -> None:
    listed = ["green", "green:a", "gone", "gone:a"]
    found = [problem.partition(": ")[0] for problem in stale(listed, [run(GREEN)])]
    assert found == ["gone", "gone:a"]


def test_each_reason_is_for_one_list_only() -> None:
    lists = [scenarios.SERVER, scenarios.WITHOUT_TOKEN, scenarios.HOLLOW, scenarios.CLIENT]
    names = [name for listed in lists for name in listed]
    assert len(names) == len(set(names))
    assert all(why for listed in lists for why in listed.values())


# -- reading ---------------------------------------------------------------------------------------------------


def write(directory: Path, name: str, *checks: tuple[str, str]) -> None:
    place = directory / f"{name}-{WHEN}"
    place.mkdir(parents=True)
    found = [{"id": name, "status": status, "description": "what it says"} for name, status in checks]
    (place / "checks.json").write_text(json.dumps(found), encoding="utf-8")


def test_results_are_read_whatever_the_suite_was_run_against(tmp_path: Path) -> None:
    write(tmp_path, "auth/metadata-default", ("a", "SUCCESS"))
    write(tmp_path, "server-server-initialize", ("b", "SUCCESS"))
    write(tmp_path, "authorization-server-authorization-code-grant", ("c", "FAILURE"))
    outcomes, finished, _ = read(tmp_path, "Total: 2 passed, 1 failed")
    assert {one.scenario: one.checks for one in outcomes} == {
        "auth/metadata-default": (("a", "SUCCESS"),),
        "server-initialize": (("b", "SUCCESS"),),
        "authorization-code-grant": (("c", "FAILURE"),),
    }
    assert finished


def test_a_scenario_that_could_not_be_run_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path, "ping", ("a", "SUCCESS"))
    outcomes, _, _ = read(
        tmp_path, "✗ broken: 0 passed, 1 failed\n✓ ping: 1 passed, 0 failed\n\nTotal: 1 passed, 1 failed"
    )
    assert [(one.scenario, len(one.unmet)) for one in outcomes] == [("broken", 1), ("ping", 0)]


def test_a_suite_that_stops_early_did_not_finish(tmp_path: Path) -> None:
    assert read(tmp_path, "Running all suite (33 scenarios)") == ([], False, "Running all suite (33 scenarios)")


# -- writing ---------------------------------------------------------------------------------------------------


def test_the_totals_count_what_applies_and_say_what_failed() -> None:
    older = Run("Server", "quickly", "2025-11-25", [RED])
    table = totals(
        [run(GREEN, RED, EMPTY, excused={"red:b": "why", "empty": "why"}), older], ["2025-11-25", "2026-07-28"]
    )
    assert table.splitlines() == [
        "| checks passed, in scenarios | 2025-11-25 | 2026-07-28 |",
        "|---|---|---|",
        "| Server, quickly | 1, **1 failed** in 1 | 3 in 2 (1 not applicable) |",
    ]


def test_the_totals_say_so_where_the_suite_did_not_finish() -> None:
    assert "| **did not finish** |" in totals([run(GREEN, finished=False)], ["2026-07-28"])


def test_the_details_have_a_row_for_each_scenario_and_a_column_for_each_run() -> None:
    older = Run("Server", "quickly", "2025-11-25", [RED])
    assert details([older, run(GREEN, RED, EMPTY, excused={"red:b": "why", "empty": "why"})]).splitlines() == [
        "## Server",
        "",
        "| scenario | quickly, 2025-11-25 | quickly, 2026-07-28 |",
        "|---|---|---|",
        "| `red` | 1, **1 failed** | 1, 1 not applicable |",
        "| `green` |  | 2 |",
        "| `empty` |  | not applicable |",
    ]
    assert "| `red` check `b` | because |" in reasons({"red:b": "because"})


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = "before\n<!-- conformance -->\nold\n<!-- /conformance -->\nafter\n"
    assert between_markers(text, "new") == "before\n<!-- conformance -->\nnew\n<!-- /conformance -->\nafter\n"
    with pytest.raises(ValueError, match="there is no <!-- conformance -->"):
        between_markers("before, after", "new")


def test_the_readme_and_the_results_have_the_same_totals_and_none_failed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "conformance" / "results.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- conformance -->\n")[2].partition("\n<!-- /conformance -->")[0]
    assert table.startswith("| checks passed, in scenarios |")
    assert table in results
    assert "**" not in table


def test_the_results_name_every_reason() -> None:
    results = (ROOT / "conformance" / "results.md").read_text(encoding="utf-8")
    for listed in (scenarios.SERVER, scenarios.WITHOUT_TOKEN, scenarios.HOLLOW, scenarios.CLIENT):
        assert reasons(listed) in results


# -- the client, and what stands in front of the server --------------------------------------------------------


def tool(name: str, **types: str) -> Tool:
    properties = {key: {"type": kind} for key, kind in types.items()}
    return Tool(name=name, input_schema={"type": "object", "properties": properties, "required": list(types)})


def test_the_client_calls_each_tool_with_arguments_of_the_right_types() -> None:
    tools = [tool("add", a="number", b="integer"), tool("say", text="string", loud="boolean")]
    assert client.calls(tools, {}) == [("add", {"a": 2, "b": 2}), ("say", {"text": "text", "loud": True})]


def test_the_client_calls_what_the_scenario_says() -> None:
    wanted = [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": None}}]
    assert client.calls([tool("say")], {"toolCalls": wanted}) == [("add", {"a": 1}), ("add", {"a": None})]


def test_the_client_sends_back_the_schema_that_it_was_sent() -> None:
    sent = tool("json_schema_2020_12_tool")
    calls = client.calls([sent, tool("json_schema_echo", schema="object")], {})
    assert calls[1] == ("json_schema_echo", {"schema": sent.input_schema})


def test_the_client_takes_a_registration_only_with_its_issuer() -> None:
    context = {"client_id": "me", "client_secret": "hidden"}
    assert client.registered(context) is None
    given = client.registered({**context, "issuer": "https://issuer.test"})
    assert given is not None
    assert given.issuer == "https://issuer.test"


def test_a_token_is_added_and_all_else_stays_as_it_was_to_the_byte() -> None:
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                heads.extend(iter(stream.readline, b"\r\n"))
                heads.append(stream.read(4))
                stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        with with_token(f"http://{server}", "let-me-in") as url:
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                own = f"Host: {host}:{port}\r\n".encode()
                given = [b"POST /mcp HTTP/1.1\r\n", own, b"Mcp-Name:   spaced  \r\n", b"Content-Length: 4\r\n"]
                connection.sendall(b"".join([*given, b"Connection: keep-alive\r\n\r\n", b"body"]))
                assert connection.makefile("rb").read().endswith(b"ok")
        thread.join(10)
    given[1] = f"Host: {server}\r\n".encode()
    assert heads == [*given, b"Authorization: Bearer let-me-in\r\n", b"Connection: close\r\n", b"body"]


def test_a_command_gets_its_turn_with_its_arguments(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "c"]
    script = ROOT / "conformance" / "in_turn.py"
    ended = subprocess.run([sys.executable, script, tmp_path, *command], capture_output=True, text=True, check=True)
    assert ended.stdout == "['a b', 'c']\n"
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
