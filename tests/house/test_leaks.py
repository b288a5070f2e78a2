"""Canaries: every secret of whole runs is looked for wherever a text may leave the program.

What one module promises is tested with that module; `SECURITY.md` lists where. Here are the paths that belong to none.
"""

from __future__ import annotations

import ast
import base64
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import click
import ipywidgets
import pytest
from http_world import client_of, served
from kernels import Kernel, Outcome, started
from mcp import StdioServerParameters
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import SecretStr

import mcp_oauth_nb
from mcp_oauth_nb import FlowDebugger, HttpLab, Lab, McpAuth, OAuthHandler, Session
from mcp_oauth_nb.cli.commands import main
from mcp_oauth_nb.jupyter import widgets
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.oauth.authorization import PendingFlows
from mcp_oauth_nb.oauth.environment import SECRET_VARIABLES, without_secrets
from mcp_oauth_nb.oauth.settings import DeploymentSettings, IsolatedSettings, Settings
from mcp_oauth_nb.runtime.log_records import ScrubbingFormatter
from mcp_oauth_nb.store import shared
from mcp_oauth_nb.store.grants import Grant

pytestmark = pytest.mark.anyio

# A piece of a secret of this length tells more than a mask does.
PIECE = 8


def pieces(secret: str) -> Iterator[str]:
    """Every part of a secret that is too long to be shown; not of its public prefix."""
    bare = secret.rpartition("_")[2] if secret.startswith("gh") else secret
    return (bare[at : at + PIECE] for at in range(len(bare) - PIECE + 1))


def leaked(secrets: set[str], text: str) -> list[str]:
    """The secrets of which a piece is in a text, shortened."""
    return sorted(secret[:4] for secret in secrets if any(piece in text for piece in pieces(secret)))


# -- the logs of every library -----------------------------------------------------------------------------------------


@contextmanager
def everything_logged() -> Iterator[StringIO]:
    """All loggers of the process, those that were switched off too, at DEBUG, by nobody's formatter but Python's."""
    root, text = logging.getLogger(), StringIO()
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(logger, logger.level, logger.disabled, logger.propagate) for logger in loggers]
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)r"))
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled, logger.propagate = False, True
    try:
        yield text
    finally:
        root.removeHandler(handler)
        for logger, level, disabled, propagate in before:
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate


async def test_over_sockets_no_logger_of_the_client_tells_a_secret_at_debug() -> None:
    async with served() as world:
        with everything_logged() as log:
            async with Session.open(f"{world.origin}/mcp", auth=client_of(world)) as session:
                await session.call_tool("whoami")
                world.revoke_access()
                await session.call_tool("whoami")
        secrets = {*world.authority.access, *world.authority.refresh, *masking.remembered()}
        # What a client sends in its clear text, but to the server alone.
        for seen in world.seen:
            secrets |= {value for name, value in seen.form.items() if masking.is_secret_name(name)}
    # The server of the test and its visitor, who is the browser, are not the client.
    lines = [line for line in log.getvalue().splitlines() if "/authorize?" not in line and "callback?" not in line]
    assert {"httpcore2", "httpx2", "uvicorn", "mcp"} <= {line.partition(".")[0].partition(" ")[0] for line in lines}
    assert len(secrets) > 7
    assert leaked(secrets, "\n".join(lines)) == []


async def test_over_sockets_no_logger_of_the_handler_tells_a_secret_at_debug(on_port: MockGitHub) -> None:
    github = on_port
    settings = IsolatedSettings(
        oauth_client_id=github.client_id,
        oauth_client_secret=github.client_secret,
        oauth_authorization_url=f"{github.web_url}/login/oauth/authorize",
        oauth_token_url=f"{github.web_url}/login/oauth/access_token",
        oauth_issuer=github.issuer,
        api_base_url=github.api_url,
    )
    oauth = OAuthHandler(settings=settings)
    request = oauth.get_authorization_url()
    callback = await Autopilot(github.transport()).authorize(request.url)
    with everything_logged() as log:
        await oauth.complete_authorization(callback)
        await oauth.refresh_access_token()
        await oauth.revoke()
    secrets = {*github.issued_secrets(), request.state, request.code_verifier, *masking.remembered()}
    assert "httpcore" in log.getvalue()
    assert leaked(secrets, log.getvalue()) == []


# -- reprs -------------------------------------------------------------------------------------------------------------


def reachable(start: object) -> list[object]:
    """Every object of this package that can be reached from one, over attributes, private ones too, and containers."""
    found: dict[int, object] = {}
    waiting: list[Any] = [start]
    while waiting:
        one = waiting.pop()
        ours = type(one).__module__.startswith("mcp_oauth_nb")
        if id(one) in found or not (ours or isinstance(one, dict | list | tuple | set)):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple | set):
            waiting += one
        waiting += getattr(one, "__dict__", {}).values()
        waiting += [getattr(one, name, None) for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    # A text is what an object keeps, and is none itself: `str()` of a `Secret` is the secret, as it must be.
    ours = [one for one in found.values() if type(one).__module__.startswith("mcp_oauth_nb")]
    return [one for one in ours if not isinstance(one, str)]


def all_secrets(lab: Lab | HttpLab) -> set[str]:
    """What the lab knows to be one, and what the mock issued."""
    return {secret for secret in (*masking.remembered(), *lab.github.issued_secrets()) if len(secret) >= 12}


def shown(one: object) -> str:
    return "\n".join([repr(one), str(one), f"{one}"])


async def test_no_object_of_a_lab_shows_a_secret_and_none_of_the_wire() -> None:
    async with Lab.open() as lab:
        await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        lab.clock.advance(hours=8)
        await lab.session.call_tool("get_github_user_info")
        pending = lab.oauth.get_authorization_url()
        objects = [one for one in reachable([lab, pending]) if not of_the_mock(one)]
        secrets = all_secrets(lab)
        text = "\n".join(map(shown, objects))
    assert len(objects) > 30
    assert any(isinstance(one, PendingFlows) for one in objects)
    assert len(secrets) > 8
    assert leaked(secrets, text) == []


async def test_no_object_of_a_lab_over_http_shows_a_secret_or_the_encryption_key() -> None:
    async with HttpLab.open() as lab:
        await lab.session.call_tool("get_github_user_info")
        lab.clock.advance(hours=2)
        await lab.session.call_tool("get_github_user_info")
        objects = [one for one in reachable(lab) if not of_the_mock(one)]
        key = lab._random("encryption")(32)
        secrets = all_secrets(lab) | {key.hex(), base64.b64encode(key).decode(), repr(key)[2:-1]}
        text = "\n".join(map(shown, objects))
    assert len(objects) > 40
    assert len(secrets) > 12
    assert leaked(secrets, text) == []


def attributes(one: object) -> str:
    """What `vars()` of an object shows."""
    return repr(getattr(one, "__dict__", None))


async def test_the_attributes_of_no_object_of_a_lab_show_a_secret() -> None:
    async with Lab.open() as lab, HttpLab.open() as http:
        await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        await http.session.call_tool("get_github_user_info")
        pending = lab.oauth.get_authorization_url()
        callback = lab.oauth.read_callback(await lab.browser.authorize(pending.url))
        objects = [one for one in reachable([lab, http, callback]) if not of_the_mock(one)]
        secrets = all_secrets(lab) | all_secrets(http)
        shown = {type(one).__name__: leaked(secrets, attributes(one)) for one in objects}
    assert {"OAuthHandler", "Token", "PKCE", "PendingFlow", "AuthorizationResponse", "McpAuth", "Grant"} <= set(shown)
    assert {name: found for name, found in shown.items() if found} == {}


def test_neither_do_those_of_a_client_with_a_secret() -> None:
    secret = "a-secret-of-a-client-0123456789"
    client = OAuthClientInformationFull(
        client_id="desk", client_secret=secret, redirect_uris=["http://127.0.0.1/cb"], issuer="https://id.example"
    )
    grant = Grant("https://id.example", "https://mcp.example/mcp", client)
    for one in (McpAuth(client=client), grant, Grant.from_dict(grant.to_dict())):
        assert secret not in attributes(one)
        assert one.client == client
    assert json.loads(json.dumps(grant.to_dict()))["client"]["client_secret"] == secret


def of_the_mock(one: object) -> bool:
    # GitHub's own tables: what they hold is what is looked for.
    return type(one).__module__.startswith("mcp_oauth_nb.lab.mock_github")


# -- tracebacks --------------------------------------------------------------------------------------------------------

# As anybody may write them. `secret` is a token, `long` a longer one, `awkward` one with quotes and backslashes in it,
# `canary()` a text of `secret` with more around it.
CELLS = {
    "a message": "raise ValueError(secret)",
    "a group": "raise ExceptionGroup('several', [ValueError(secret), ExceptionGroup('more', [KeyError(long)])])",
    "a cause": "try:\n    raise ValueError(secret)\nexcept ValueError as e:\n    raise KeyError('x') from e",
    "a context": "try:\n    raise ValueError(secret)\nexcept ValueError:\n    1 / 0",
    "a note": "e = ValueError('x'); e.add_note(f'sent {secret}'); raise e",
    "a syntax error": "exec(f'x = \"{secret}\" +')",
    "an interrupt": "raise KeyboardInterrupt(secret)",
    "a way out": "raise SystemExit(secret)",
    "bytes": "raise ValueError(secret.encode())",
    "a URL": "from urllib.parse import quote; raise ValueError('https://x.example/?t=' + quote(secret, safe=''))",
    "a local variable": "def f(token):\n    1 / 0\nf(secret)",
    "a local variable that is shortened": "def f(body):\n    1 / 0\nf(canary())",
    "a secret that is shortened": "def f(body):\n    1 / 0\nf(long)",
    "a local mapping": "def f(form):\n    1 / 0\nf({'access_token': secret, 'l': [secret.encode(), long]})",
    "a repr": "class R:\n    def __repr__(self): raise ValueError(secret)\nR()",
    "a usage error": "from IPython.core.error import UsageError\nraise UsageError(f'unknown argument: {secret}')",
    "a magic": "%run /nowhere/{secret}",
    "a thread": "import threading\nt = threading.Thread(target=lambda: {}[secret]); t.start(); t.join()",
    "a forgotten task": (
        "import asyncio, gc\nasync def g(): raise ValueError(secret)\n"
        "t = asyncio.ensure_future(g()); await asyncio.wait({t}); del t; gc.collect()"
    ),
    "a finalizer": "class D:\n    def __del__(self): raise ValueError(secret)\nd = D(); del d",
    "logging": "import logging\ntry:\n    raise ValueError(secret)\nexcept ValueError: logging.exception('x')",
    "logging as the SDK does it": (
        "from mcp_oauth_nb import Lab\nlab = await Lab.open(); await lab.aclose()\n"
        "log = logging.getLogger('mcp'); log.setLevel(10); log.debug('sent %s', secret)\n"
        "try:\n    raise ValueError(long)\nexcept ValueError: log.exception('sent %r', [secret])"
    ),
    "pydantic": "import pydantic\npydantic.TypeAdapter(dict[str, int]).validate_python({'access_token': canary()})",
    "pydantic, by JSON": "import pydantic\npydantic.TypeAdapter(int).validate_json('\"' + long + '\"')",
    "httpx, a header": (
        "import httpx\nhttpx.get('http://127.0.0.1:1/', headers={'Authorization': f'Bearer {secret}\\n'})"
    ),
    "httpx, a URL": "import httpx\nhttpx.get('http://[::1/?code=' + secret)",
    "httpx, a status": (
        "import httpx\n"
        "httpx.Response(400, request=httpx.Request('GET', f'https://x.example/?code={secret}')).raise_for_status()"
    ),
    "json": "import json\njson.loads('{\"access_token\": ' + secret)",
    "a codec": "(secret + '\\udcff').encode()",
    "a process": "import subprocess\nsubprocess.run(['false', secret], check=True)",
    "a file": "open('/nowhere/' + long)",
    "awkward, a key": "{}[awkward]",
    "awkward, a mapping": "raise ValueError({'access_token': awkward})",
    "awkward, bytes": "raise ValueError([awkward.encode()])",
    "awkward, json": "import json; raise ValueError(json.dumps(awkward))",
    "awkward, json in a mapping": "import json; raise ValueError({'body': json.dumps({'access_token': awkward})})",
    "awkward, html": "import html; raise ValueError(html.escape(awkward))",
    "awkward, a local mapping": "def f(form):\n    1 / 0\nf({'access_token': awkward, 'l': [awkward.encode()]})",
    "awkward, a file": "open('/nowhere/' + awkward)",
    "awkward, pydantic": "import pydantic\npydantic.TypeAdapter(dict[str, int]).validate_python({'token': awkward})",
}
# These show something and leave the cell as it is.
QUIET = {"a usage error", "a thread", "a forgotten task", "a finalizer", "logging", "logging as the SDK does it"}

SETUP = r"""
%load_ext mcp_oauth_nb
import random, string
from mcp_oauth_nb.oauth.masking import remember
letters = random.Random(5)
secret, long = ("".join(letters.choices(string.ascii_letters, k=length)) for length in (43, 240))
long = "ghr_" + long
awkward = '+"\'\\&</é'.join("".join(letters.choices(string.ascii_letters, k=12)) for _ in range(4))
remember(secret); remember(long); remember(awkward)
def canary():
    return "x" * 30 + secret + "y" * 60 + secret + "z" * 28
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with started(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.value(SETUP)
        yield kernel


@pytest.mark.parametrize("mode", ["Context", "Verbose", "Plain", "Minimal"])
def test_an_error_of_anybodys_code_is_saved_without_the_secret_it_carries(kernel: Kernel, mode: str) -> None:
    secrets = {ast.literal_eval(kernel.value(name)) for name in ("secret", "long", "awkward")}
    kernel.value(f"%xmode {mode}")
    leaks, silent = {}, set()
    for name, code in CELLS.items():
        outcome = kernel.run(code)
        saved = saved_by(outcome)
        if found := leaked(secrets, saved):
            leaks[name] = found
        told = outcome.error is not None or "****" in outcome.stderr
        if not told or (outcome.error is None and name not in QUIET):
            silent.add(name)
    assert leaks == {}
    # Each did show an error: what shows nothing leaks nothing.
    assert silent == set()


def saved_by(outcome: Outcome) -> str:
    return "\n".join([outcome.traceback, repr(outcome.error), repr(outcome.reply), outcome.stdout, outcome.stderr])


def test_a_traceback_of_python_itself_is_clean_after_the_scrubbing_formatter() -> None:
    secret = "Zk3" + "qW9" * 12
    masking.remember(secret)
    formatter = ScrubbingFormatter("%(message)s")
    try:
        json.loads(f'["{secret}", ' + secret)
    except ValueError as error:
        error.add_note(secret)
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "sent %s", (secret,), sys.exc_info())
        with_locals = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert leaked({secret}, formatter.format(record)) == []
    # Python's `capture_locals` quotes variables. It is nobody's default, and not masked unless somebody masks it.
    assert secret in with_locals
    assert leaked({secret}, masking.scrub(with_locals)) == []


# -- widgets -----------------------------------------------------------------------------------------------------------


async def test_the_state_of_all_panels_together_holds_no_secret() -> None:
    # Labs of one seed issue the same secrets, and a link that another test left open carries one as it must.
    ipywidgets.Widget.close_all()
    async with Lab.open() as lab, HttpLab.open() as http:
        await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        await http.session.call_tool("get_github_user_info")
        async with FlowDebugger.open(http) as debugger:
            await debugger.run()
            # Of `widgets.__all__`, but the models; the playground's verifiers are toys, and shown on purpose.
            panels: dict[str, Any] = {
                "AuthorizePanel": widgets.AuthorizePanel(lab.oauth),
                "ChallengeInspector": widgets.ChallengeInspector(lab.oauth.challenge()),
                "FlowPanel": debugger.panel,
                "MetadataExplorer": widgets.MetadataExplorer(lab.settings.get_authorization_metadata()),
                "PkcePlayground": widgets.PkcePlayground(),
                "SettingsForm": widgets.SettingsForm(lab.settings),
                "TokenPanel": widgets.TokenPanel(lab.oauth, trace=lab.trace),
                "TraceView": widgets.TraceView(http.trace),
            }
            for number in range(1, len(http.trace.exchanges) + 1):
                panels["TraceView"].model.choose(number)
            state = json.dumps(ipywidgets.Widget.get_manager_state(), default=repr)
            static = json.dumps([panel._repr_mimebundle_() for panel in panels.values()], default=repr)
            text = state + static + "".join(map(shown, panels.values()))
            secrets = all_secrets(lab) | all_secrets(http)
            # The link that the person follows carries its state, as it must; nothing else does.
            waiting = panels["AuthorizePanel"].model.url.partition("state=")[2].partition("&")[0]
    assert set(panels) == {name for name in widgets.__all__ if not name.endswith("Model")}
    assert len(secrets) > 15
    assert leaked(secrets - {waiting}, text) == []
    assert waiting not in static


# -- other processes ---------------------------------------------------------------------------------------------------

TELL = """
import json, os, sys
from mcp.server import MCPServer
server = MCPServer("tell", log_level="CRITICAL")

@server.tool()
def told() -> str:
    return json.dumps([sys.argv, dict(os.environ)])

server.run("stdio")
"""


async def test_a_server_that_is_started_here_does_not_get_our_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, f"canary-of-{name.lower()}")
    script = tmp_path / "tell.py"
    script.write_text(TELL, encoding="utf-8")
    async with Session.open(StdioServerParameters(command=sys.executable, args=[str(script)])) as session:
        answer = await session.call_tool("told")
    argv, environment = json.loads(answer.content[0].text)
    assert argv == [str(script)]
    assert "PATH" in environment
    assert "canary-of" not in json.dumps(environment).lower()


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_no_command_takes_a_secret_as_an_argument() -> None:
    # Whoever lists the processes of a machine reads their arguments.
    names = {name for command in commands(main) for option in command.params for name in option.opts}
    words = {word for name in names - {"--token-lifetime"} for word in name.strip("-").split("-")}
    assert len(names) > 20
    assert words & {"secret", "token", "password", "key", "code", "verifier", "credentials"} == set()


BROWSER = """
import json, os, sys
with open(sys.argv[1], "a", encoding="utf-8") as notes:
    print(json.dumps([sys.argv[2:], dict(os.environ)]), file=notes)
"""

# Everything here that opens a browser by itself.
OPENS = """
import asyncio, json, os, sys
from contextlib import suppress

from mcp_oauth_nb import Lab
from mcp_oauth_nb.client.login import login
from mcp_oauth_nb.cli.debug import _open_link
from mcp_oauth_nb.errors import ReauthorizeError
from mcp_oauth_nb.client.auth import McpAuth

async def main():
    async with Lab.open() as lab:
        request = lab.oauth.get_authorization_url()
        await McpAuth(show=str).redirect().send(request.url, lambda iss: None)
        _open_link(request.url)
        shown = []
        with suppress(ReauthorizeError):
            await login(lab.oauth, show=shown.append, timeout=0.01)
    print(json.dumps([[request.url] * 2, shown, request.code_verifier, dict(os.environ)]))

asyncio.run(main())
"""


def test_the_browser_is_given_the_url_of_the_flow_and_no_more(tmp_path: Path) -> None:
    notes, script = tmp_path / "notes", tmp_path / "browser.py"
    script.write_text(BROWSER, encoding="utf-8")
    canaries = {name: f"canary-of-{name.lower()}" for name in SECRET_VARIABLES}
    command = [Path(sys.executable), script, notes]
    browser = shlex.join([*(path.as_posix() for path in command), "%s"])
    ran = subprocess.run(
        [sys.executable, "-c", OPENS],
        env={**os.environ, **canaries, "BROWSER": browser},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    urls, (invitation,), verifier, afterwards = json.loads(ran.stdout)
    opened = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    assert len(opened) == 3
    for (argv, environment), url in zip(opened, [*urls, invitation], strict=True):
        assert len(argv) == 1
        assert argv[0].startswith("https://github.com/login/oauth/authorize?")
        assert argv[0] in url
        assert "PATH" in environment
        assert "canary-of" not in json.dumps(environment).lower()
    assert leaked({verifier}, json.dumps(opened)) == []
    # The program itself has them still.
    assert canaries.items() <= afterwards.items()


def read_settings(name: str) -> str:
    value = getattr(Settings() if name.startswith("OAUTH_") else DeploymentSettings(), name.lower())
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


def test_whoever_reads_a_secret_while_a_browser_is_started_waits_and_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_CLIENT_ID", "made-up")
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, "canary" * 3)
    with ThreadPoolExecutor() as threads:
        with without_secrets():
            reads = [threads.submit(read_settings, name) for name in SECRET_VARIABLES]
            assert not wait(reads, timeout=0.1).done
        assert {read.result(timeout=20) for read in reads} == {"canary" * 3}


# A string that is nothing but the name of a variable of which the name says that it is secret.
SECRET_NAME = re.compile(r"[A-Z]+(_[A-Z]+)*_(SECRET|KEY|PASSWORD|TOKEN|CREDENTIALS)")


def test_no_variable_that_is_secret_is_missing_among_those_that_children_do_not_get() -> None:
    fields = Settings.model_fields | DeploymentSettings.model_fields
    read = {field.upper() for field, about in fields.items() if "SecretStr" in str(about.annotation)}
    for path in Path(mcp_oauth_nb.__file__).parent.rglob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)]
        read |= {text for text in texts if isinstance(text, str) and SECRET_NAME.fullmatch(text)}
    assert read | {shared.URL_VARIABLE} == set(SECRET_VARIABLES)
