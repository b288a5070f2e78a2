"""The README is true: its code runs, its commands run, its table is the configuration, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from mcp import MCPError

from mcp_oauth_nb import Lab, McpOAuthError, Session
from mcp_oauth_nb.cli import commands as cli
from mcp_oauth_nb.debugger.export import FORMATS
from mcp_oauth_nb.oauth.errors import AccessDenied
from mcp_oauth_nb.oauth.settings import DeploymentSettings, IsolatedSettings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Each command of the README, and the test that runs it. Those of `.ci/smoke.py` need minutes and a package index.
COVERED_BY = {
    "make lab": ".ci/smoke.py",
    "make test": ".ci/run",
    "make demo": "test_make_demo_runs_the_flow",
    "pip install .": ".ci/smoke.py",
    "mcp-oauth-nb demo": ".ci/smoke.py",
    "mcp-oauth-nb lab": ".ci/smoke.py",
    "mcp-oauth-nb serve --transport http --mock": "test_a_client_and_a_person_walk_the_whole_authorization",
    "mcp-oauth-nb doctor": "test_the_doctor_finds_missing_credentials",
    "mcp-oauth-nb login": "test_login_by_pasting_stores_the_token_and_shows_no_secret",
    "mcp-oauth-nb logout": "test_login_by_pasting_stores_the_token_and_shows_no_secret",
    'python -c "from mcp_oauth_nb.config import settings; print(settings.is_oauth_configured())"': (
        "test_the_guides_check_of_the_configuration_runs"
    ),
}


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> set[str]:
    """The shell commands, without their comments."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return {re.sub(r"\s+#.*", "", line).strip() for line in lines}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without `.env`, and an environment without our variables."""
    for name in (*IsolatedSettings.model_fields, *DeploymentSettings.model_fields):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
async def test_each_example_runs_as_a_cell_would(code: str, elsewhere: Path) -> None:
    namespace: dict[str, Any] = {}
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ran = eval(compiled, namespace)
    if inspect.isawaitable(ran):
        await ran
    for opened in ("debug", "session", "lab"):
        if opened in namespace:
            await namespace[opened].aclose()


async def _as_told(words: str) -> tuple[Lab, BaseException | None]:
    """Do what a sentence of the README says, in a fresh lab; return the lab and the error that ended it, if any."""
    lab = await Lab.open()
    error: BaseException | None = None
    for code in re.findall(r"`([^`]+)`", words):
        compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            ran = eval(compiled, {"lab": lab})
            if inspect.isawaitable(ran):
                await ran
        except (MCPError, McpOAuthError) as raised:
            error = raised
    await lab.aclose()
    return lab, error


async def test_what_one_is_told_to_break_breaks_and_the_error_says_what_to_do() -> None:
    told = README.partition("3. Break something")[2].partition("4. Do the two exercises")[0]
    cancel, expiry, failure = re.findall(r"^   - (.+?)(?=^   - |\Z)", told, re.MULTILINE | re.DOTALL)

    _, refused = await _as_told(cancel)
    assert isinstance(refused, AccessDenied)
    assert refused.hint

    lab, nothing = await _as_told(expiry)
    assert nothing is None
    assert "refresh_token" in str(lab.trace.find("access_token")[-1].request)

    lab, failed = await _as_told(failure)
    assert isinstance(failed, MCPError)
    assert "Try again" in failed.data["hint"]
    # "Then call it again": the tokens were kept.
    assert lab.oauth.token is not None
    async with Session.open(lab.server) as session:
        assert not (await session.call_tool("get_github_user_info")).is_error


def test_the_first_notebook_says_yes_as_many_cells_later_as_is_told() -> None:
    path = ROOT / "notebooks" / "00-start-here.ipynb"
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    calls = [number for number, cell in enumerate(cells) if "get_github_user_info" in "".join(cell["source"])]
    words = "zero one two three four five six seven eight nine".split()
    assert f"a protected tool says no, and {words[calls[1] - calls[0]]} code cells later it says yes" in README


def test_each_command_is_run_by_a_test() -> None:
    assert commands() == set(COVERED_BY)
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for place in COVERED_BY.values():
        assert (ROOT / place).exists() or f"def {place}(" in tests, place


def test_make_demo_runs_the_flow() -> None:
    # The environment is there, or this test would not run: `-o` keeps make from making it again.
    environment = {**os.environ, "MAKEFLAGS": ""}
    command = ["make", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "login: octocat" in ended.stdout


def test_the_guides_check_of_the_configuration_runs(elsewhere: Path) -> None:
    (command,) = [command for command in commands() if command.startswith("python -c")]
    _, *arguments = shlex.split(command)
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_the_host_configuration_starts_a_command_that_exists() -> None:
    (server,) = json.loads(blocks("json")[0])["mcpServers"].values()
    assert server["args"] == ["-m", "mcp_oauth_nb", "serve"]
    assert importlib.util.find_spec("mcp_oauth_nb.__main__")


def test_the_table_of_variables_is_the_configuration() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|.*\| (.*) \| (yes|no) \|$", README, re.MULTILINE)
    fields = IsolatedSettings.model_fields
    assert [name for name, _, _ in rows] == [name.upper() for name in fields]
    for name, default, required in rows:
        value = fields[name.lower()].default
        shown = ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else value
        assert default == ("-" if value is None else f"`{shown}`"), name
        assert (required == "yes") == (value is None), name


def test_the_env_example_names_every_variable_with_its_default() -> None:
    given = re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert {name for name, _ in given} == {name.upper() for name in IsolatedSettings.model_fields}
    settings = IsolatedSettings(**{name: value for name, value in given if value})
    assert settings == IsolatedSettings()


def test_the_variables_beside_the_settings_are_those_that_the_code_reads() -> None:
    # Indented: the settings of the guide are the others.
    beside = re.findall(r"^#   ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    fields = {name.upper() for name in DeploymentSettings.model_fields}
    assert set(beside) == fields == set(re.findall(r"^\| `([A-Z_]+)` \| [^|]* \|$", README, re.MULTILINE))


def test_commands_options_and_formats_that_are_named_exist() -> None:
    named = set(re.findall(r"`mcp-oauth-nb ([a-z-]+)", README))
    assert named <= set(cli.main.list_commands(click.Context(cli.main)))
    known = {option for command in cli.main.commands.values() for one in command.params for option in one.opts}
    of_pytest = {"--nbval", "--nbval-strict"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known | of_pytest
    formats = README.partition('`debug.export("pytest")`')[2].partition("\n\n")[0] + '"pytest"'
    assert all(f'"{name}"' in formats for name in FORMATS)


def test_what_ci_runs_is_what_is_said() -> None:
    ran = re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert all(f"`make {targets}`" in README for targets in ran)


def test_each_link_leads_to_a_file() -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_each_anchor_is_a_heading() -> None:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert linked
    assert linked <= anchors


async def test_the_picture_is_what_the_example_records() -> None:
    path = ROOT / "notebooks" / "images" / "draw.py"
    spec = importlib.util.spec_from_file_location("draw", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (path.parent / "flow.svg").read_text(encoding="utf-8") == await module.draw() + "\n"
