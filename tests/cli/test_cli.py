"""The command line, as a person or an MCP host runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import click
import guide
import httpx
import pytest
from click.testing import CliRunner
from mcp import MCPError, StdioServerParameters

from mcp_oauth_nb import FileTokenStore, OAuthHandler, Session, Settings, __version__
from mcp_oauth_nb.cli.commands import copy_notebooks, main
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.clock import SystemClock
from mcp_oauth_nb.oauth.token import Token

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 30


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, and a working directory without `.env`, of the test's own."""
    for name in [name for name in os.environ if name.startswith(("OAUTH_", "API_", "SERVER_", "LOG_LEVEL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, **kwargs: Any) -> Any:
    return CliRunner().invoke(main, arguments, **kwargs)


class MockProgram:
    """`mcp-oauth-nb mock-github --port 0`, with a seed and a callback of its own, and what it printed."""

    seed, callback = 8, "http://127.0.0.1/callback"

    def __init__(self) -> None:
        command = [sys.executable, "-m", "mcp_oauth_nb", "mock-github", "--port", "0"]
        command += ["--seed", str(self.seed), "--callback", self.callback]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout is not None
        self.settings: dict[str, str] = {}
        for line in self.process.stdout:
            if match := re.fullmatch(r"([A-Z_]+)=(\S+)\n", line):
                self.settings[match[1]] = match[2]
            if line.startswith("Users:"):
                break

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=LIMIT_SECONDS)
        return self.process.returncode


@pytest.fixture(scope="module")
def program() -> Iterator[MockProgram]:
    started = MockProgram()
    yield started
    started.stop()


def test_the_mock_is_made_of_the_seed_and_shows_the_client_that_has_the_callback(program: MockProgram) -> None:
    expected = MockGitHub(MockProgram.seed).register_app("Mock OAuth App", [MockProgram.callback])
    assert program.settings["OAUTH_CLIENT_ID"] == expected.client_id
    assert program.settings["OAUTH_CLIENT_SECRET"] == expected.client_secret


# -- serve -----------------------------------------------------------------------------------------------------


def stdio(**env: str) -> StdioServerParameters:
    inherited = {name: os.environ[name] for name in ("HOME", "XDG_DATA_HOME", "PATH")}
    return StdioServerParameters(command=sys.executable, args=["-m", "mcp_oauth_nb", "serve"], env={**inherited, **env})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_serve_answers_over_stdio_and_says_when_it_is_not_configured(home: Path, mode: Any) -> None:
    async with Session.open(stdio(), mode=mode) as session:
        assert session.server_info is not None
        assert session.server_info.name == "mcp-oauth-server"
        with pytest.raises(MCPError) as caught:
            await session.call_tool("get_github_user_info")
    assert caught.value.code == -32000


async def test_serve_uses_the_token_that_was_stored_before(home: Path, program: MockProgram) -> None:
    settings = Settings(**program.settings)
    oauth = OAuthHandler(settings=settings, store=FileTokenStore())
    async with httpx.AsyncHTTPTransport() as transport:
        request = oauth.get_authorization_url()
        await oauth.complete_authorization(await Autopilot(transport).authorize(request.url))
    async with Session.open(stdio(**program.settings)) as session:
        result = await session.call_tool("get_github_user_info", {"repo_limit": 2})
    assert result.structured_content is not None
    assert result.structured_content["user"]["login"] == "octocat"


def served(home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own with nobody at stdin: a server logs, and ends."""
    given = {**os.environ, **env}
    return subprocess.run(
        [sys.executable, "-m", *command], env=given, input="", capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


@pytest.mark.parametrize("command", [("mcp_oauth_nb", "serve"), ("mcp_oauth_nb.main",)])
def test_the_server_logs_the_guides_lines_to_stderr_and_nothing_to_stdout(home: Path, command: tuple[str, ...]) -> None:
    ended = served(home, *command, OAUTH_CLIENT_ID="id-of-a-test", OAUTH_CLIENT_SECRET="secret-of-a-test-run")
    assert ended.returncode == 0
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == guide.LOG_LINES


def test_the_guides_command_has_a_help_too(home: Path) -> None:
    assert "Serve the MCP server over stdio" in served(home, "mcp_oauth_nb.main", "--help").stdout


def test_debug_logs_more_and_never_the_secret(home: Path) -> None:
    secret = "secret-of-a-test-run"
    ended = served(
        home, "mcp_oauth_nb", "serve", OAUTH_CLIENT_ID="an-id", OAUTH_CLIENT_SECRET=secret, LOG_LEVEL="DEBUG"
    )
    assert "DEBUG - " in ended.stderr
    assert secret not in ended.stderr


def test_a_bad_setting_is_one_clear_message_without_a_traceback(home: Path) -> None:
    ended = served(home, "mcp_oauth_nb", "serve", API_TIMEOUT="soon")
    assert ended.returncode == 1
    assert "API_TIMEOUT" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "soon" not in ended.stderr


# -- login, logout, doctor -------------------------------------------------------------------------------------


async def test_login_by_pasting_stores_the_token_and_shows_no_secret(
    home: Path, program: MockProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in program.settings.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "login", "--paste"]
    async with await anyio.open_process(command) as process, httpx.AsyncHTTPTransport() as transport:
        assert process.stdout is not None
        assert process.stdin is not None
        out = ""
        while not (url := re.search(r"http\S+\n", out)):
            out += (await process.stdout.receive()).decode()
        callback = await Autopilot(transport).authorize(url[0].strip())
        await process.stdin.send(f"{callback}\n".encode())
        async for chunk in process.stdout:
            out += chunk.decode()
        assert await process.wait() == 0
    assert "Signed in: Token(gho_****" in out
    stored = json.loads((home / "data" / "mcp-oauth-nb" / "tokens.json").read_text())
    assert stored["tokens"][0]["token"]["access_token"] not in out
    assert served(home, "mcp_oauth_nb", "doctor").returncode == 0
    assert served(home, "mcp_oauth_nb", "logout").stdout == "Revoked and forgotten.\n"
    assert served(home, "mcp_oauth_nb", "logout").stdout == "There is no stored token.\n"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such terminals")
async def test_an_address_that_is_pasted_at_a_terminal_is_not_shown_there(
    home: Path, program: MockProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in program.settings.items():
        monkeypatch.setenv(name, value)
    here, terminal = os.openpty()

    async def read_until(pattern: str, text: str = "") -> str:
        with anyio.fail_after(60):
            while not re.search(pattern, text):
                text += (await anyio.to_thread.run_sync(os.read, here, 4096, abandon_on_cancel=True)).decode()
        return text

    command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "login", "--paste"]
    # Without a terminal of its own to ask at, it asks at this one.
    process = await anyio.open_process(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    try:
        shown = await read_until(r"Its address[^:]*: ")
        url = re.search(r"http\S+", shown)
        assert url is not None
        async with httpx.AsyncHTTPTransport() as transport:
            callback = await Autopilot(transport).authorize(url[0])
        os.write(here, f"{callback}\n".encode())
        shown = await read_until(r"Stored in|Error", shown)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(here)
        os.close(terminal)
    assert "Signed in: Token(gho_****" in shown
    assert httpx.URL(callback).params["code"] not in shown


FOLDER_KEYRING = """
from keyrings import FolderKeyring


class Keyring(FolderKeyring):
    def __init__(self):
        super().__init__("keyring")
"""


def test_all_commands_use_the_keyring_if_the_variable_says_so(home: Path, program: MockProgram) -> None:
    (home / "browser.py").write_text(BROWSER)
    (home / "folder_keyring.py").write_text(FOLDER_KEYRING)
    given = {
        "BROWSER": f"{sys.executable} {home / 'browser.py'} %s",
        "TOKEN_STORE": "keyring",
        "PYTHON_KEYRING_BACKEND": "folder_keyring.Keyring",
        "PYTHONPATH": os.pathsep.join([str(home), str(Path(__file__).parent.parent / "worlds")]),
        **program.settings,
    }
    ended = served(home, "mcp_oauth_nb", "login", "--timeout", "20", **given)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Stored in mcp-oauth-nb in Keyring" in ended.stdout
    assert "gho_" in "".join(path.read_text("utf-16-le") for path in (home / "keyring").iterdir())
    assert not (home / "data" / "mcp-oauth-nb" / "tokens.json").exists()
    assert "token: Token(gho_****" in served(home, "mcp_oauth_nb", "doctor", **given).stdout
    assert served(home, "mcp_oauth_nb", "logout", **given).stdout == "Revoked and forgotten.\n"
    assert "token: none in mcp-oauth-nb in Keyring" in served(home, "mcp_oauth_nb", "doctor", **given).stdout


@pytest.mark.parametrize("command", ["login", "logout", "serve"])
def test_a_token_store_that_is_none_is_one_clear_message(home: Path, command: str) -> None:
    ended = served(home, "mcp_oauth_nb", command, TOKEN_STORE="cloud")
    assert ended.returncode == 1
    assert "TOKEN_STORE input should be 'file' or 'keyring'" in ended.stderr
    assert "Traceback" not in ended.stderr


BROWSER = """
import asyncio, sys, httpx
from mcp_oauth_nb.lab.mock_github import Autopilot
print(httpx.get(asyncio.run(Autopilot(httpx.AsyncHTTPTransport()).authorize(sys.argv[1]))).status_code)
"""


def test_login_opens_the_browser_and_stores_what_comes_back(home: Path, program: MockProgram) -> None:
    (home / "browser.py").write_text(BROWSER)
    command = f"{sys.executable} {home / 'browser.py'} %s"
    ended = served(home, "mcp_oauth_nb", "login", "--timeout", "20", BROWSER=command, **program.settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "200" in ended.stdout.splitlines()
    assert "Signed in: Token(gho_****" in ended.stdout
    assert (home / "data" / "mcp-oauth-nb" / "tokens.json").exists()


def test_login_waits_for_the_browser_as_long_as_it_is_told_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id-of-a-test")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "secret-of-a-test-run")
    monkeypatch.setenv("BROWSER", "true")
    result = call("login", "--timeout", "0.01")
    assert result.exit_code == 1
    assert "No callback arrived within 0.01 seconds." in result.output


def test_login_without_credentials_says_what_to_set(home: Path) -> None:
    result = call("login")
    assert result.exit_code == 1
    assert "OAUTH_CLIENT_ID" in result.output
    assert "What to do:" in result.output


def test_logout_says_so_where_the_provider_was_not_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id-of-a-test")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "secret-of-a-test")
    # One that is known to have no place for it.
    for name, path in (("AUTHORIZATION_URL", "/authorize"), ("TOKEN_URL", "/token"), ("ISSUER", "")):
        monkeypatch.setenv(f"OAUTH_{name}", f"https://login.example{path}")
    OAuthHandler(settings=Settings(), store=FileTokenStore()).token = Token("access-token-of-a-test")
    assert call("logout").output == "Forgotten; the provider was not told.\n"
    assert call("logout").output == "There is no stored token.\n"


def test_the_doctor_finds_missing_credentials(home: Path) -> None:
    result = call("doctor")
    assert result.exit_code == 1
    assert "FAIL  credentials" in result.output
    assert "ok    Python" in result.output


def test_the_doctor_names_a_bad_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_TOKEN_URL", "gopher://old.example")
    result = call("doctor")
    assert result.exit_code == 1
    assert "OAUTH_TOKEN_URL" in result.output


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OAUTH_TOKEN_URL", "https://elsewhere.example/token", "FAIL  provider"),
        ("OAUTH_REDIRECT_URI", "https://hub.example/cb", "login --paste"),
        ("OAUTH_REDIRECT_URI", "http://[::1]:8765/cb", "port 8765"),
        ("OAUTH_REDIRECT_URI", "http://127.0.0.1:8765/callback", "port 8765"),
        ("OAUTH_REDIRECT_URI", "https://hub.example/user/ada/proxy/8765/callback", "jupyter-server-proxy, port 8765"),
        ("OAUTH_REDIRECT_URI", "https://hub.example/user/ada/proxy/0/callback", "jupyter-server-proxy, any free port"),
        ("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/", "https://YOUR-HUB/user/ada/proxy/8765/callback"),
    ],
)
def test_the_doctor_judges_the_settings(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id-of-a-test")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "secret-of-a-test")
    monkeypatch.setenv(name, value)
    assert expected in call("doctor").output


def test_the_doctor_goes_on_after_a_key_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_STORE_KEY", "not-a-key")
    output = call("doctor").output
    assert "TOKEN_STORE_KEY" in output
    assert "OAUTH_CLIENT_ID" in output
    assert "not-a-key" not in output


def test_the_doctor_finds_a_token_store_that_others_can_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id-of-a-test")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "secret-of-a-test")
    path = FileTokenStore().path
    path.parent.mkdir(parents=True)
    path.write_text('{"tokens": []}')
    path.chmod(0o644)
    result = call("doctor")
    assert result.exit_code == 1
    assert "FAIL  token" in result.output
    assert "chmod 600" in result.output


@pytest.mark.parametrize(
    ("lifetime", "refresh_lifetime", "exit_code"),
    [(3600, None, 0), (3600, 7200, 0), (-1, 7200, 0), (-1, None, 1), (-2, -1, 1), (None, None, 0)],
    ids=["good", "good for longer", "to be refreshed", "over", "both over", "without a lifetime"],
)
def test_the_doctor_asks_for_a_new_sign_in_only_where_the_stored_token_is_of_no_use_any_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, lifetime: int | None, refresh_lifetime: int | None, exit_code: int
) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id-of-a-test")
    monkeypatch.setenv("OAUTH_CLIENT_SECRET", "secret-of-a-test")
    now = SystemClock().now()
    token = Token(
        "access-token-of-a-test",
        expires_at=None if lifetime is None else now + lifetime,
        refresh_token=None if refresh_lifetime is None else "refresh-token-of-a-test",
        refresh_token_expires_at=None if refresh_lifetime is None else now + refresh_lifetime,
    )
    OAuthHandler(settings=Settings(), store=FileTokenStore()).token = token
    result = call("doctor")
    assert result.exit_code == exit_code
    assert ("FAIL  token: expired at" in result.output) == (exit_code == 1)
    assert ("Sign in again: mcp-oauth-nb login" in result.output) == (exit_code == 1)
    assert "token-of-a-test" not in result.output


# -- demo, lab, mock-github, the rest --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_demo_ends_well(home: Path, mode: str) -> None:
    result = call("demo", "--mode", mode)
    assert result.exit_code == 0
    assert "login: octocat" in result.output


def test_the_demo_is_the_same_on_every_run_of_one_seed_and_another_of_another(home: Path) -> None:
    assert call("demo").output == call("demo", "--seed", "7").output
    assert call("demo").output != call("demo", "--seed", "8").output


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "latin-1"])
def test_the_demo_ends_well_where_the_terminal_lacks_the_diagrams_characters(home: Path, encoding: str) -> None:
    # Windows takes its code page for an output that is redirected.
    ended = subprocess.run(
        [sys.executable, "-m", "mcp_oauth_nb", "demo"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=LIMIT_SECONDS,
    )
    assert ended.returncode == 0
    assert b"login: octocat" in ended.stdout


def test_the_mock_runs_alone_and_stops_at_ctrl_c(home: Path) -> None:
    started = MockProgram()
    issuer = started.settings["OAUTH_ISSUER"]
    host = issuer.removesuffix("/login/oauth")
    document = httpx.get(f"{host}/.well-known/oauth-authorization-server/login/oauth").json()
    assert document["issuer"] == issuer
    assert started.stop() in (0, 130, -signal.SIGINT)


@pytest.mark.parametrize("display", ["", ":0"])
def test_lab_opens_the_first_notebook_where_it_copied_it_to(home: Path, display: str) -> None:
    jupyterlab = home / "jupyterlab"
    jupyterlab.mkdir()
    (jupyterlab / "__main__.py").write_text("import sys; print(*sys.argv[1:], sep='\\n'); sys.exit(3)")
    terminal = {"DISPLAY": display, "WAYLAND_DISPLAY": "", "BROWSER": "", "PYTHONPATH": str(home)}
    ended = served(home, "mcp_oauth_nb", "lab", "lessons", **terminal)
    assert ended.returncode == 3
    assert str(Path("lessons", "00-start-here.ipynb")) in ended.stdout.splitlines()
    assert ("--no-browser" in ended.stdout) == (sys.platform == "linux" and not display)
    assert (home / "lessons" / "00-start-here.ipynb").exists()


def test_lab_without_jupyterlab_says_how_to_install_it(home: Path) -> None:
    result = call("lab")
    assert result.exit_code == 1
    assert 'pip install "mcp-oauth-nb[lab]"' in result.output


def test_the_notebooks_are_copied_once_and_what_makes_them_stays_behind(home: Path) -> None:
    copy_notebooks(home / "lessons")
    first = home / "lessons" / "00-start-here.ipynb"
    first.write_text("mine now")
    copy_notebooks(home / "lessons")
    assert first.read_text() == "mine now"
    assert (home / "lessons" / "solutions" / "nb00.py").exists()
    assert not (home / "lessons" / "refresh.py").exists()


def test_a_directory_of_other_notebooks_is_left_alone(home: Path) -> None:
    (home / "notebooks").mkdir()
    with pytest.raises(click.ClickException, match="does not exist yet"):
        copy_notebooks(home / "notebooks")
    assert not list((home / "notebooks").iterdir())


def test_a_port_that_cannot_be_is_refused_without_a_traceback(home: Path) -> None:
    result = call("mock-github", "--port", "99999")
    assert result.exit_code == 2
    assert "0<=x<=65535" in result.output


def test_the_version_and_the_help_are_there(home: Path) -> None:
    assert __version__ in call("--version").output
    for command in ("demo", "lab", "serve", "login", "logout", "doctor", "mock-github"):
        assert command in call("--help").output
