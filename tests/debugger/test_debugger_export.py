"""A run as a file, in every format: what it is, that it plays again, and that no secret is in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import nbformat
import pytest
from http_world import ASM, client_of, served
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mcp_oauth_nb import HttpLab, Lab, run
from mcp_oauth_nb.debugger import FlowRun
from mcp_oauth_nb.debugger.export import FORMATS
from mcp_oauth_nb.debugger.export_code import literal
from mcp_oauth_nb.debugger.recording import wire_form
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.oauth.errors import ConfigurationError
from mcp_oauth_nb.oauth.masking import SECRET_NAMES

pytestmark = pytest.mark.anyio
pytest_plugins = ["pytester"]

TOUR = ("page", "refresh", "reuse", "look", "call", "replay", "step_up", "revoke", "look")
each_format = pytest.mark.parametrize("format", FORMATS)


class Spy(httpx2.AsyncBaseTransport):
    """Notes every secret that passes, in either direction."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, secrets: set[str]):
        self.inner = inner
        self.secrets = secrets

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.look(request.headers.get("content-type", ""), (await request.aread()).decode())
        self.secrets |= {word for word in request.headers.get("authorization", "").split()[1:] if word}
        response = await self.inner.handle_async_request(request)
        self.look(response.headers.get("content-type", ""), (await response.aread()).decode())
        return httpx2.Response(response.status_code, headers=response.headers, content=response.content)

    def look(self, media: str, text: str) -> None:
        fields: Any = {}
        if "urlencoded" in media:
            fields = dict(parse_qsl(text))
        elif "json" in media and "jsonrpc" not in text:
            fields = json.loads(text)
        self.secrets |= {value for name, value in fields.items() if name in SECRET_NAMES and isinstance(value, str)}


class Everything:
    """One long run against the lab over HTTP, exported, and the secrets that passed."""

    debugger: FlowDebugger

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.secrets: set[str] = set()


@pytest.fixture(scope="module")
def everything() -> Everything:
    return run(long_run())


async def long_run() -> Everything:
    made = Everything()
    async with HttpLab.open() as lab:
        carrier, person = lab.auth.carrier, lab.browser
        assert carrier is not None

        async def paste(url: str) -> str:
            callback = await person.authorize(url)
            for address in (url, callback):
                query = dict(parse_qsl(urlsplit(address).query))
                made.secrets.update(value for name, value in query.items() if name in SECRET_NAMES)
            return callback

        auth = lab.new_auth(carrier=lambda: Spy(carrier(), made.secrets), paste=paste)
        more = {"include_private": True}
        async with FlowDebugger.open(
            lab.url, auth=auth, real=False, tool="get_github_user_info", more=more
        ) as made.debugger:
            await tour(made.debugger, *TOUR)
            made.files = {format: made.debugger.export(format) for format in FORMATS}
    return made


async def tour(debugger: FlowRun, *actions: str) -> None:
    """The flow, and more actions, each to its end."""
    await debugger.run()
    for action in actions:
        await debugger.begin(action)
        await debugger.run()


async def short_run() -> dict[str, str]:
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as debugger:
        await tour(debugger, "refresh", "revoke")
        return {format: debugger.export(format) for format in FORMATS}


@pytest.fixture(scope="module")
def short() -> dict[str, str]:
    """The shortest whole flow, with a refresh and a revocation, in every format."""
    return run(short_run())


# -- every format ----------------------------------------------------------------------------------------------


@each_format
def test_no_secret_is_in_it(everything: Everything, format: str) -> None:
    assert len(everything.secrets) > 15
    leaks = {secret[:6] for secret in everything.secrets if secret in everything.files[format]}
    assert not leaks


@each_format
def test_nothing_in_it_hides_what_it_says(everything: Everything, format: str) -> None:
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", everything.files[format])


async def test_each_format_has_a_file_name_that_fits() -> None:
    assert {name: file for name, (file, _, _) in FORMATS.items()} == {
        "JSON": "mcp-flow.json",
        "HAR": "mcp-flow.har",
        "Mermaid": "mcp-flow.mmd",
        "Markdown report": "mcp-flow.md",
        "notebook": "mcp-flow.ipynb",
        "pytest": "test_mcp_flow.py",
    }


async def test_the_same_run_gives_the_same_bytes(short: dict[str, str]) -> None:
    assert await short_run() == short


@pytest.mark.parametrize("format", ["pytest", "notebook"])
async def test_a_run_without_steps_cannot_be_played_again(format: str) -> None:
    async with Lab.open() as lab, FlowDebugger.open(lab) as debugger:
        with pytest.raises(ConfigurationError, match="No step"):
            debugger.export(format)


# -- JSON, HAR, Mermaid, Markdown ------------------------------------------------------------------------------


def test_the_json_has_every_step_with_its_checks(everything: Everything) -> None:
    document = json.loads(everything.files["JSON"])
    assert [step["kind"] for step in document["steps"]] == [step.kind for step in everything.debugger.steps]
    assert document["cause"] is None
    assert all(check["outcome"] for step in document["steps"] for check in step["checks"])


def pairs(value: Any) -> bool:
    return isinstance(value, list) and all(set(pair) == {"name", "value"} for pair in value)


def check_har(document: Any) -> list[Any]:
    """Hold a document against HAR 1.2: what must be there, of which type, and nothing else."""
    log = document["log"]
    assert set(log) == {"version", "creator", "entries"}
    assert log["version"] == "1.2"
    assert set(log["creator"]) == {"name", "version"}
    for entry in log["entries"]:
        assert set(entry) == {"startedDateTime", "time", "request", "response", "cache", "timings"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", entry["startedDateTime"])
        assert entry["time"] == sum(value for value in entry["timings"].values() if value != -1)
        assert set(entry["timings"]) == {"send", "wait", "receive"}
        request, response = entry["request"], entry["response"]
        names = {"method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"}
        assert names <= set(request) <= names | {"postData"}
        assert all(pairs(value) for value in (request["headers"], request["queryString"], response["headers"]))
        assert urlsplit(request["url"]).scheme in ("http", "https")
        if "postData" in request:
            # Parameters or a text, not both.
            assert set(request["postData"]) in ({"mimeType", "params"}, {"mimeType", "text"})
            assert pairs(request["postData"].get("params", []))
        names = {"status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL", "headersSize"}
        assert set(response) == names | {"bodySize"}
        assert isinstance(response["status"], int)
        assert set(response["content"]) == {"size", "mimeType", "text"}
        assert response["content"]["size"] == len(response["content"]["text"].encode())
    return list(log["entries"])


def test_the_har_is_one(everything: Everything) -> None:
    entries = check_har(json.loads(everything.files["HAR"]))
    asked = [step for step in everything.debugger.steps if step.kind not in ("authorize", "callback")]
    assert len(entries) == len(asked)
    # The other is a browser's question whether a page of another origin may register (CORS).
    (registration,) = [
        entry
        for entry in entries
        if entry["request"]["url"].endswith("/register") and entry["request"]["method"] == "POST"
    ]
    assert json.loads(registration["request"]["postData"]["text"])["client_name"] == "Notebook"
    token = next(entry for entry in entries if entry["request"]["url"].endswith("/token"))
    assert {"name": "grant_type", "value": "authorization_code"} in token["request"]["postData"]["params"]
    assert json.loads(token["response"]["content"]["text"])["token_type"] == "Bearer"


async def test_the_har_of_a_lab_has_its_http_alone() -> None:
    async with Lab.open() as lab, FlowDebugger.open(lab) as debugger:
        await debugger.run()
        (entry,) = check_har(json.loads(debugger.export("HAR")))
    assert entry["request"]["url"] == "https://github.com/login/oauth/access_token"


async def test_where_no_answer_came_the_har_says_so() -> None:
    async with HttpLab.open() as lab, FlowDebugger.open("https://nowhere.example/mcp", auth=lab.new_auth()) as debugger:
        await debugger.run()
        entries = check_har(json.loads(debugger.export("HAR")))
    assert (entries[0]["response"]["status"], entries[0]["response"]["statusText"]) == (0, "no answer: ConnectError")


def test_a_body_is_written_as_it_crossed_the_wire() -> None:
    assert wire_form("text/event-stream", [{"a": 1}, {"b": 2}]).count("data: ") == 2
    assert wire_form("application/x-www-form-urlencoded", {"a": "1 2", "b": "3"}) == "a=1+2&b=3"
    assert wire_form("application/json", {"ä": 1}) == '{"ä": 1}'
    assert wire_form("application/json", "(5 bytes, not valid JSON)") == "(5 bytes, not valid JSON)"
    assert wire_form("text/html", None) == ""


def test_the_mermaid_is_a_sequence_of_every_arrow(everything: Everything) -> None:
    first, *lines = everything.files["Mermaid"].splitlines()
    assert first == "sequenceDiagram"
    assert all(re.fullmatch(r"    (participant P\d as [\w' ]+|P\d\S+P\d: \d+\. .+)", line) for line in lines)
    assert sum(": " in line for line in lines) == len(everything.debugger.diagram.messages)


def test_the_report_begins_with_the_outcome_and_has_each_step(everything: Everything) -> None:
    text = everything.files["Markdown report"]
    assert text.startswith(f"# Authorization of {everything.debugger.name}\n\nThe run is ")
    assert text.count("<details>") == text.count("</details>") == len(everything.debugger.steps)
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(everything.debugger.steps)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


async def test_the_report_names_the_cause_and_nothing_breaks_out_of_it() -> None:
    evil = "https://evil.example/<img src=x>|```````"
    async with served() as world:
        world.patch["/.well-known/oauth-protected-resource/mcp"] = {"resource": evil}
        async with FlowDebugger.open(f"{world.origin}/mcp", tool="whoami", auth=client_of(world)) as debugger:
            await debugger.run()
            text = debugger.export("Markdown report")
            cause = debugger.cause
    assert cause is not None
    head = text.partition("\n| |")[0]
    assert "**First cause.** Step" in head
    assert "<img" not in head
    fences = re.findall("^`{3,}(?=$)", text, re.MULTILINE)
    assert "`" * 8 in fences


# -- the test --------------------------------------------------------------------------------------------------


def outcome(pytester: pytest.Pytester, text: str) -> pytest.RunResult:
    pytester.makepyfile(test_mcp_flow=text)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", "-q")


def change(text: str, kind: str, path: tuple[Any, ...], value: Any) -> str:
    """Change one field of the first answer of a kind in an exported file; None drops it."""
    match = re.search(r'ANSWERS = json\.loads\(\n    r"""\n(.*?)\n"""\n\)', text, re.DOTALL)
    assert match is not None
    answers = json.loads(match[1])
    step = next(step for step in answers if step["kind"] == kind)
    place = step["answer"] if kind != "authorize" else step["brought"]
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return text[: match.start(1)] + json.dumps(answers) + text[match.end(1) :]


def test_an_exported_test_passes_unchanged(short: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_mcp_flow.py").write_text(short["pytest"], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_mcp_flow.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    assert "14 passed" in done.stdout


def test_an_exported_test_of_a_long_run_passes(everything: Everything, pytester: pytest.Pytester) -> None:
    outcome(pytester, everything.files["pytest"]).assert_outcomes(passed=len(everything.debugger.steps) + 1)


def test_an_exported_test_is_readable_python(everything: Everything) -> None:
    text = everything.files["pytest"]
    assert text.isascii()
    top = text.partition("SETUP = ")[0]
    assert len(top.splitlines()) < 100
    compile(text, "test_mcp_flow.py", "exec")


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("handshake", ("body", "result", "supportedVersions", 0), "2025-11-25"),
        ("list", ("body", "result", "tools", 0, "name"), "another_tool"),
        ("call", ("status",), 403),
        ("call", ("headers", "www-authenticate"), "Bearer"),
        ("call", ("headers", "www-authenticate"), None),
        ("resource_metadata", ("body", "resource"), "https://evil.example/mcp"),
        ("resource_metadata", ("body", "authorization_servers"), []),
        ("resource_metadata", ("headers", "content-type"), "text/plain"),
        ("server_metadata", ("body", "issuer"), "https://evil.example"),
        ("server_metadata", ("body", "code_challenge_methods_supported"), ["plain"]),
        ("server_metadata", ("body", "token_endpoint"), "https://mcp.example/oauth/token"),
        ("registration", ("body", "redirect_uris", 0), "https://evil.example/callback"),
        ("authorize", ("iss",), "https://evil.example"),
        ("authorize", ("error",), "access_denied"),
        ("token", ("body", "token_type"), "mac"),
        ("token", ("body", "scope"), "read:user repo"),
        ("token", ("headers", "cache-control"), None),
        ("authorized", ("status",), 401),
        ("refresh", ("body", "refresh_token"), None),
        ("revoke", ("status",), 400),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_an_exported_test_fails_when_one_field_is_changed(
    short: dict[str, str], pytester: pytest.Pytester, kind: str, path: tuple[Any, ...], value: Any
) -> None:
    result = outcome(pytester, change(short["pytest"], kind, path, value))
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] >= 1
    assert "errors" not in outcomes
    # The message names the step and the field; what the browser brings shows at the callback.
    named = "callback" if kind == "authorize" else kind
    first = next(line for line in result.outlines if line.startswith("E ") and "Step " in line)
    assert re.search(rf"Step \d+, {named} \(", first)
    assert ".".join(map(str, ("answer", *path))) in "\n".join(result.outlines)


def test_an_exported_test_fails_when_the_client_would_send_more(
    short: dict[str, str], pytester: pytest.Pytester
) -> None:
    text = re.sub(r'    "\d+-(revoke|authorized|refresh)",\n', "", short["pytest"])
    match = re.search(r'ANSWERS = json\.loads\(\n    r"""\n(.*?)\n"""\n\)', text, re.DOTALL)
    assert match is not None
    steps = json.loads(match[1])[:9]
    result = outcome(pytester, text[: match.start(1)] + json.dumps(steps) + text[match.end(1) :])
    result.assert_outcomes(passed=9, failed=1)
    result.stdout.fnmatch_lines(["*the client goes on, with authorized*"])


async def test_a_lab_is_exported_as_a_test_that_opens_another_one(pytester: pytest.Pytester) -> None:
    async with Lab.open(seed=11) as lab, FlowDebugger.open(lab) as debugger:
        await tour(debugger, "refresh", "reuse", "step_up", "revoke")
        text, steps = debugger.export("pytest"), len(debugger.steps)
    assert '"answer"' not in text.partition("EXPECTED = ")[0]
    result = await asyncio.to_thread(outcome, pytester, text)
    result.assert_outcomes(passed=steps + 1)


def test_whatever_a_server_answers_stays_within_its_literal() -> None:
    nasty = {'"""': '""""', "\\": '\\"""\\', "'''": "\u202e\u2028\x00\n", "b": '"', "c": ["", '"']}
    scope: dict[str, Any] = {"json": json}
    exec(f"value = {literal(nasty)}", scope)
    assert scope["value"] == nasty
    assert literal(nasty).isascii()


async def test_a_url_stays_within_the_docstring() -> None:
    async with HttpLab.open() as lab:
        url = 'https://nowhere.example/"""+print(1)\\N'
        async with FlowDebugger.open(url, auth=lab.new_auth()) as debugger:
            await debugger.run()
            compile(debugger.export("pytest"), "test_mcp_flow.py", "exec")
            assert '"""+' not in debugger.export("pytest").partition("SETUP")[0]


# -- a live server ---------------------------------------------------------------------------------------------


@contextmanager
def browser(directory: Path) -> Iterator[dict[str, str]]:
    """An environment whose browser follows redirects, as a person does who is signed in already."""
    script = directory / "browser.py"
    script.write_text("import sys, urllib.request as u\nu.urlopen(sys.argv[1], timeout=10).read()\n", encoding="utf-8")
    yield {**os.environ, "BROWSER": f"{sys.executable} {script} %s"}


async def test_an_exported_test_asks_the_live_server_and_fails_when_it_has_changed(tmp_path: Path) -> None:
    async with served() as world:
        async with FlowDebugger.open(f"{world.origin}/mcp", tool="whoami", auth=client_of(world)) as debugger:
            await debugger.run()
            text, steps = debugger.export("pytest"), len(debugger.steps)
        (tmp_path / "test_mcp_flow.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mcp_flow.py"]

        def run_it(server: str) -> subprocess.CompletedProcess[str]:
            with browser(tmp_path) as env:
                return subprocess.run(
                    command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
                    env={**env, "MCP_SERVER": server},
                )  # fmt: skip

        same = await asyncio.to_thread(run_it, "live")
        assert f"{steps + 1} passed" in same.stdout, same.stdout
        world.patch[ASM] = {"scopes_supported": ["read:user", "admin"]}
        other = await asyncio.to_thread(run_it, f"{world.origin}/mcp")
        assert other.returncode == 1
        assert re.search(r"Step \d+, server_metadata .*answer\.body\.scopes_supported", other.stdout), other.stdout


# -- the notebook ----------------------------------------------------------------------------------------------


def executed(text: str, path: Path) -> Any:
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=60, store_widget_state=False, kernel_name="python3").execute(cwd=str(path.parent))
    nbformat.write(notebook, path)
    return notebook


def nbval(path: Path) -> str:
    options = ["--nbval", "--nbval-strict", "--nbval-current-env", "--nbval-cell-timeout=30", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *options, path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=110, check=False)
    return done.stdout


def test_the_notebook_is_one_and_its_cells_are_short_but_for_the_data(short: dict[str, str]) -> None:
    notebook = nbformat.reads(short["notebook"], as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    hidden = [cell for cell in notebook.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(hidden) == 1
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in hidden]
    assert max(len(cell.source.splitlines()) for cell in code) <= 10


def test_the_notebook_runs_offline_and_passes_nbval_strictly_twice(short: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "mcp-flow.ipynb"
    notebook = executed(short["notebook"], path)
    shown = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert "Flow debugger: https://mcp.example/mcp, done" in shown
    assert "image/svg+xml" in shown
    assert "No check failed." in shown
    for _ in range(2):
        assert "9 passed" in nbval(path)


def test_the_notebook_fails_where_an_answer_is_another(short: dict[str, str], tmp_path: Path) -> None:
    notebook = nbformat.reads(short["notebook"], as_version=4)
    (data,) = [cell for cell in notebook.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    data.source = change(data.source, "token", ("body", "token_type"), "mac")
    with pytest.raises(
        CellExecutionError, match=r"Step 9, token \(POST https://mcp.example/token\): answer.body.token_type"
    ):
        executed(nbformat.writes(notebook), tmp_path / "changed.ipynb")


async def test_a_lab_is_exported_as_a_notebook_that_opens_another_one(tmp_path: Path) -> None:
    async with Lab.open(seed=11) as lab, FlowDebugger.open(lab) as debugger:
        await debugger.run()
        text = debugger.export("notebook")
    notebook = await asyncio.to_thread(executed, text, tmp_path / "lab.ipynb")
    assert "the lab of seed 11, done" in json.dumps([cell.get("outputs") for cell in notebook.cells])
