"""`mcp-oauth-nb debug URL`: a whole server, broken ones, and the exit codes that CI goes by."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx
import pytest
import uvicorn
from click.testing import CliRunner
from http_world import ASM, PRM, World
from mcp.shared.auth import OAuthClientInformationFull
from program_world import Person, Program
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_oauth_nb import McpAuth, run
from mcp_oauth_nb.cli.commands import main
from mcp_oauth_nb.cli.debug import FINDING, IN_ORDER, INTERRUPTED, NO_ANSWER, exit_code
from mcp_oauth_nb.cli.debug_walk import FORMATS, walk
from mcp_oauth_nb.debugger.export import FORMATS as EXPORTS
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.oauth.errors import ServerUnavailable
from mcp_oauth_nb.oauth.masking import remember

LIMIT_SECONDS = 60


class Site:
    """A web server on a free port. `world` is the MCP server that stands there, unless `app` is another.

    Attributes:
        url: where its MCP endpoint is.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{self.origin}/mcp"
        self.world = World(origin=self.origin)
        self.app: ASGIApp = self.world.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The SDK's server lives as long as its application does.
        await (self.world.inner if scope["type"] == "lifespan" else self.app)(scope, receive, send)

    @contextmanager
    def running(self) -> Iterator[Site]:
        server = uvicorn.Server(uvicorn.Config(self, log_level="critical", ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([self._listener],))
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(LIMIT_SECONDS)
            self._listener.close()

    def secrets(self) -> set[str]:
        """What this server gave out or was shown."""
        forms = [seen.form for seen in self.world.seen if seen.path in ("/token", "/revoke")]
        shown = {form[name] for form in forms for name in ("code", "code_verifier", "refresh_token") if name in form}
        clients = {client.client_secret for client in self.world.authority.clients.values() if client.client_secret}
        return shown | clients | set(self.world.ends) | set(self.world.authority.refresh)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().running() as site:
        yield site


def follows(url: str) -> bool:
    """A person who agrees to everything."""
    threading.Thread(target=httpx.get, args=(url,), kwargs={"follow_redirects": True}, daemon=True).start()
    return True


def stays_away(url: str) -> bool:
    """A person who does not come back."""
    return True


def debugger(
    url: str, *, browser: Callable[[str], bool] = follows, timeout: float = LIMIT_SECONDS, **options: Any
) -> FlowDebugger:
    auth = McpAuth(open_browser=browser, show=str, timeout=timeout)
    return run(FlowDebugger.open(url, **{"tool": "whoami", "auth": auth, **options}))


def call(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(main, ["debug", *arguments], **options)


# -- the whole flow --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    started = Program(tmp_path_factory.mktemp("serve"))
    yield started
    started.stop()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A computer whose browser is a person of the tests: a script hands the address over, by a pipe."""
    pipe, script = tmp_path / "address", tmp_path / "browser.sh"
    os.mkfifo(pipe)
    script.write_text(f'echo "$1" > {pipe}\n')

    def browse() -> None:
        person = Person()
        while address := pipe.read_text().strip():
            person.open(address)

    thread = threading.Thread(target=browse)
    thread.start()
    yield {**os.environ, "BROWSER": f"sh {script} %s", "HOME": str(tmp_path)}
    pipe.write_text("")
    thread.join(LIMIT_SECONDS)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mcp_oauth_nb", "debug", *arguments]


TOOL = ("--tool", "get_github_user_info")


def test_the_whole_flow_and_the_tour_pass_with_a_persons_own_browser(
    program: Program, environment: dict[str, str]
) -> None:
    more = ("--more", '{"include_private": true}')
    given = command(f"{program.url}/mcp", *TOOL, *more, "--tour")
    done = subprocess.run(given, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert (done.returncode, done.stdout.splitlines()[-1][:10]) == (IN_ORDER, "In order: "), done.stdout + done.stderr
    titles = re.findall(r"^\d+\. (.+)$", done.stdout, flags=re.MULTILINE)
    assert titles[:4] == [
        "Introduction",
        "List of the tools",
        "Request to the MCP server",
        "Protected resource metadata",
    ]
    ended = ["The ended refresh token, tried", "The ended access token, tried"]
    reused = titles.index("The old refresh token, once more")
    assert titles[reused + 1 : reused + 3] == ended
    assert titles[-5:] == ["The request again, with the token", "Revocation", *ended, "The code, once more"]
    assert titles.count("Authorization request, by the browser") == 3, "the step-up, and again before the revocation"
    assert "403 Forbidden" in done.stdout
    assert done.stderr.count("Open this address in a browser:") == 3
    assert "Traceback" not in done.stderr


def test_in_the_older_version_it_passes_too_and_the_json_stands_alone(
    program: Program, environment: dict[str, str]
) -> None:
    given = command(f"{program.url}/mcp", *TOOL, "--mode", "legacy", "--format", "json")
    done = subprocess.run(given, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == IN_ORDER, done.stderr
    document = json.loads(done.stdout)
    assert document["cause"] is None
    kinds = [step["kind"] for step in document["steps"]]
    assert kinds[-5:] == ["registration", "authorize", "callback", "token", "authorized"]
    assert "In order: " in done.stderr


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_without_a_browser_it_stops_before_the_authorization_request(program: Program, mode: str) -> None:
    done = call(f"{program.url}/mcp", *TOOL, "--mode", mode, "--no-browser")
    assert done.exit_code == IN_ORDER, done.output
    assert "6. Registration of the client" in done.stdout
    assert "Authorization request, by the browser" not in done.stdout
    assert "Stopped before the authorization request: there is no browser (--no-browser)." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("In order: 6 steps, ")
    assert done.stderr == ""


def test_a_server_that_never_asks_is_in_order_and_the_way_to_more_is_named(program: Program) -> None:
    done = call(f"{program.url}/mcp")
    assert done.exit_code == IN_ORDER
    assert done.stdout.splitlines()[-2:] == [
        "The server asked for no authorization. If one of its tools does, name it: --tool NAME",
        "In order: 2 steps, 2 checks passed, 0 warnings.",
    ]


# -- broken servers --------------------------------------------------------------------------------------------

Fault = Callable[[Site], None]


def answers(path: str, status: int) -> Fault:
    def fault(site: Site) -> None:
        site.world.instead[path] = lambda seen: Response(status_code=status)

    return fault


def says(path: str, **changes: Any) -> Fault:
    def fault(site: Site) -> None:
        site.world.patch[path] = changes

    return fault


def is_a_page(status: int) -> Fault:
    def fault(site: Site) -> None:
        site.app = HTMLResponse("<h1>Welcome</h1>", status_code=status)

    return fault


BROKEN = {
    "no S256": (
        says(ASM, code_challenge_methods_supported=None),
        "step 3, Authorization server metadata",
        "PKCE with S256 is announced",
    ),
    "the issuer of another": (
        says(ASM, issuer="https://elsewhere.example"),
        "step 3, Authorization server metadata",
        "the issuer is the one that was asked for",
    ),
    "the resource of another": (
        says(PRM, resource="https://elsewhere.example/mcp"),
        "step 2, Protected resource metadata",
        "it describes this server",
    ),
    "401 alone": (answers("/mcp", 401), "step 1, Introduction", "401 comes with WWW-Authenticate: Bearer"),
    "a token of no type": (says("/token", token_type=None), "step 7, Code for token", "it is a bearer token"),
    "discovery fails": (answers(PRM, 500), "step 2, Protected resource metadata", "a document is here"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_first_cause_comes_last_and_says_what_should_have_been_sent(
    site: Site, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, step, check = BROKEN[name]
    fault(site)
    assert walk(debugger(site.url)) == "finding"
    said = capsys.readouterr().out
    last = said[said.index("First cause: ") :].splitlines()
    assert last[0] == f"First cause: {step}"
    assert last[1].startswith(f"   ✘ failed: {check}")
    assert any(line.startswith("     It should be: ") for line in last)
    assert any(line.startswith("     See: ") for line in last)
    # It was said where it happened, too.
    assert last[1] in said[: said.index("First cause: ")].splitlines()


def test_failures_after_the_first_are_counted_as_its_symptoms(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    answers("/mcp", 401)(site)
    assert walk(debugger(site.url)) == "finding"
    assert capsys.readouterr().out.splitlines()[-1] == "   2 failed checks after it, perhaps its symptoms."


def test_a_finding_counts_though_there_is_no_browser(site: Site) -> None:
    says(ASM, issuer="https://elsewhere.example")(site)
    done = call(site.url, "--no-browser")
    assert done.exit_code == FINDING
    assert "First cause: step 3, Authorization server metadata" in done.stdout


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_in_the_other_formats_the_cause_is_on_stderr(site: Site, form: str) -> None:
    says(ASM, issuer="https://elsewhere.example")(site)
    done = call(site.url, "--format", form)
    assert done.exit_code == FINDING
    assert "First cause: step 3, Authorization server metadata" in done.stderr
    assert "First cause: step" not in done.stdout
    if form == "json":
        assert "the issuer is the one that was asked for" in json.loads(done.stdout)["cause"]


def test_every_format_is_one_that_a_run_can_be_exported_in() -> None:
    assert set(FORMATS.values()) == set(EXPORTS)


# -- nothing can be said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [is_a_page(200), is_a_page(404), answers("/mcp", 500)])
def test_what_is_no_mcp_server_gets_no_verdict(site: Site, fault: Fault) -> None:
    fault(site)
    done = call(site.url)
    assert done.exit_code == NO_ANSWER
    assert done.stdout.splitlines()[-2].startswith("No verdict: The MCP connection failed: ")
    assert done.stdout.splitlines()[-1].startswith("What to do: Check that the address is that of an MCP endpoint")


def test_a_port_where_nobody_answers_gets_no_verdict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = call(f"http://127.0.0.1:{port}/mcp", "--format", "json")
    assert done.exit_code == NO_ANSWER
    assert json.loads(done.stdout)["steps"][0]["outcome"] == "no answer: ConnectError"
    assert "No verdict: The MCP connection failed: ConnectError" in done.stderr


def test_a_person_who_does_not_come_back_is_no_fault_of_the_server(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert walk(debugger(site.url, browser=stays_away, timeout=0.1)) == "no answer"
    assert "No verdict: The browser did not come back in time." in capsys.readouterr().out


def test_a_person_who_declines_is_no_fault_of_the_server(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.world.declines = True
    assert walk(debugger(site.url)) == "no answer"
    said = capsys.readouterr().out
    assert "access_denied" in said
    assert "did not come back" not in said


def test_a_person_who_does_not_come_back_hides_no_finding(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    answers("/mcp", 401)(site)
    assert walk(debugger(site.url, browser=stays_away, timeout=0.1)) == "finding"
    assert "First cause: step 1, Introduction" in capsys.readouterr().out


def test_a_person_who_declines_hides_no_finding_either(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    answers("/mcp", 401)(site)
    site.world.declines = True
    assert walk(debugger(site.url)) == "finding"
    said = capsys.readouterr().out
    assert "access_denied" in said
    assert "First cause: step 1, Introduction" in said


class Counted(FlowDebugger):
    """A debugger that counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


@pytest.mark.parametrize("form", ["plain", "json", "a form that there is not"])
def test_the_connection_is_closed_whatever_comes_of_the_walk(site: Site, form: str) -> None:
    debug = run(Counted.open(site.url, tool="whoami", auth=McpAuth(open_browser=follows, show=str)))
    with suppress(KeyError):
        walk(debug, no_browser=True, form=form)
    assert debug.closed == 1


USAGE = {
    "not an address": ("nowhere",),
    "not an address at all": ("http://[",),
    "a password in the address": ("http://me:secret@127.0.0.1/mcp",),
    "a password without a name": ("http://:secret@127.0.0.1/mcp",),
    "a password in the redirect URI": ("http://127.0.0.1/mcp", "--redirect-uri", "http://:secret@127.0.0.1/callback"),
    "arguments that are no JSON": ("http://127.0.0.1/mcp", "--arguments", "{"),
    "arguments that are no object": ("http://127.0.0.1/mcp", "--arguments", "[1]"),
    "a redirect URI that is none": ("http://127.0.0.1/mcp", "--redirect-uri", "back"),
    "a secret for anybody": ("http://127.0.0.1/mcp", "--client-id", "mine"),
    "a metadata URL that is none": ("http://127.0.0.1/mcp", "--client-metadata-url", "http://x"),
}


@pytest.mark.parametrize("name", USAGE)
def test_a_mistake_in_the_command_is_2(name: str) -> None:
    done = call(*USAGE[name], env={"MCP_CLIENT_SECRET": "a-secret-of-mine"})
    assert done.exit_code == NO_ANSWER
    assert done.stdout == ""
    assert done.stderr
    assert "secret" not in done.stderr.replace("MCP_CLIENT_SECRET", "")


def test_an_error_of_our_own_is_not_taken_for_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "Xq7" * 12
    remember(secret)

    def breaks() -> NoReturn:
        raise ZeroDivisionError(secret)

    def is_refused() -> NoReturn:
        raise ServerUnavailable("It is down.")

    def is_misused() -> NoReturn:
        raise click.UsageError("Not so.")

    assert exit_code(breaks) == NO_ANSWER
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert secret not in said
    assert exit_code(is_refused) == NO_ANSWER
    assert "It is down." in capsys.readouterr().err
    with pytest.raises(click.UsageError):
        exit_code(is_misused)


# -- a person at a terminal ------------------------------------------------------------------------------------

SECRET = "a-secret-of-mine-" + "7Q" * 10


class Talk:
    """The command as a process whose terminal we are."""

    def __init__(self, directory: Path, *arguments: str, **env: str):
        self._stdout = (directory / "stdout.txt").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stdout=self._stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._stdin, self._stderr, self._said = self._process.stdin, self._process.stderr, ""

    def link(self) -> str:
        """Wait until it asks for a browser, and return the address."""
        for line in self._stderr:
            self._said += line
            if line.startswith("  http"):
                return line.strip()
        raise AssertionError(self._said)

    def say(self, text: str) -> None:
        """Type something, and Enter."""
        self._stdin.write(f"{text}\n")
        self._stdin.flush()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Return the exit code, and all that it printed."""
        self._said += self._stderr.read()
        code = self._process.wait(LIMIT_SECONDS)
        with self._process, self._stdout:
            self._stdout.seek(0)
            return code, self._stdout.read(), self._said


def test_an_address_is_pasted_and_a_registered_client_shows_its_secret_to_the_token_endpoint_alone(
    site: Site, tmp_path: Path
) -> None:
    redirect = "http://127.0.0.1:9/back"
    site.world.authority.clients["mine"] = OAuthClientInformationFull.model_validate(
        {
            "client_id": "mine",
            "client_secret": SECRET,
            "redirect_uris": [redirect],
            "token_endpoint_auth_method": "client_secret_basic",
            "scope": "read:user",
        }
    )
    client = ("--client-id", "mine", "--issuer", site.origin, "--redirect-uri", redirect)
    talk = Talk(tmp_path, site.url, "--tool", "whoami", "--paste", "--verbose", *client, MCP_CLIENT_SECRET=SECRET)
    callback = httpx.get(talk.link()).headers["location"]
    assert callback.startswith(f"{redirect}?")
    talk.say(callback)
    code, stdout, stderr = talk.end()
    assert code == IN_ORDER, stdout + stderr
    assert "copy the browser's whole address here" in stderr
    shown = [seen for seen in site.world.seen if "basic" in seen.headers.get("authorization", "").lower()]
    assert [seen.path for seen in shown] == ["/token"]
    assert site.world.count("/register") == 0
    for secret in site.secrets():
        assert secret not in stdout + stderr


def test_nobody_to_paste_is_no_verdict(site: Site) -> None:
    done = call(site.url, "--paste", input="")
    assert done.exit_code == NO_ANSWER
    assert "Nobody pasted an address" in done.stderr
    assert "--no-browser" in done.stderr


@pytest.mark.parametrize("way", [(), ("--paste",)])
def test_ctrl_c_while_the_browser_is_away_ends_it_cleanly(site: Site, tmp_path: Path, way: tuple[str, ...]) -> None:
    talk = Talk(tmp_path, site.url, *way, BROWSER="true")
    talk.link()
    talk.interrupt()
    code, _, stderr = talk.end()
    assert code == INTERRUPTED
    assert stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in stderr


# -- what it looks like ----------------------------------------------------------------------------------------


def without_ports(text: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)


def test_colours_are_for_terminals_and_say_nothing_that_words_do_not(site: Site) -> None:
    says(ASM, issuer="https://elsewhere.example")(site)
    plain = call(site.url).stdout
    assert "\x1b" not in plain
    assert call(site.url, color=True, env={"NO_COLOR": "1"}).stdout == plain
    coloured = call(site.url, color=True).stdout
    assert "\x1b[31m✘ failed: " in coloured
    assert click.unstyle(coloured) == plain
    words = {"passed": "✔ ", "failed": "✘ failed: ", "warning": "! warning: "}
    assert all(f"   {word}" in plain for word in words.values())


def test_verbose_says_why_and_shows_the_messages_without_their_secrets(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    # A refresh token that comes again ends nothing there.
    assert walk(debugger(site.url), verbose=True, tour=True) == "finding"
    said = capsys.readouterr().out
    assert "   ✘ failed: an ended refresh token is refused\n" in said
    assert "   The client exchanges the code for tokens and shows the code verifier.\n" in said
    assert '"access_token": "' in said
    assert "code_verifier" in said
    secrets = site.secrets()
    assert len(secrets) >= 6
    for secret in secrets:
        assert secret not in said


def test_no_format_holds_a_secret(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    debug = debugger(site.url)
    assert walk(debug, form="json", tour=True) == "finding"
    said = "".join(capsys.readouterr()) + "".join(map(debug.export, FORMATS.values()))
    assert not [secret for secret in site.secrets() if secret in said]


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_token_in_the_address_is_a_finding_and_is_not_shown(site: Site, form: str) -> None:
    token = "Zw4" * 12
    done = call(f"{site.url}?access_token={token}", "--no-browser", "--format", form)
    assert done.exit_code == FINDING
    assert "First cause: step 1, Introduction\n   ✘ failed: no token in the URL" in done.output
    assert any(token in seen.url for seen in site.world.seen)
    assert token not in done.output


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = "from mcp_oauth_nb.cli.commands import main; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"mcp", "httpx", "httpx2", "pydantic", "starlette", "uvicorn", "IPython"}
    assert "debug " in CliRunner().invoke(main, ["--help"]).output


def test_the_browser_is_waited_for_as_long_as_the_command_is_told_to(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "true")
    result = call(site.url, "--tool", "whoami", "--timeout", "0.1")
    assert result.exit_code == 2
    assert "The browser did not come back in time." in result.output
