"""`serve --transport http --mock` as a program: a client and a person's browser on real sockets."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
import pytest

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.config import IsolatedSettings
from mcp_oauth_nb.errors import AccessDenied, ConfigurationError, NotConfigured
from mcp_oauth_nb.serve_http import build, instructions

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 30


class Program:
    """The running server; `url` is its public URL."""

    def __init__(self, directory: Path):
        command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "serve", "--transport", "http", "--port", "0", "--mock"]
        environment = {**os.environ, "LOG_LEVEL": "INFO", "HOME": str(directory)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=directory, env=environment
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"(http://\S+)/mcp\n", self.said)
        assert found is not None, self.said
        self.url = found[1]

    def stop(self) -> tuple[float, str]:
        """Send SIGTERM; return how long the program took, in seconds, and its log."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=LIMIT_SECONDS)
        return time.monotonic() - start, log


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path)
    yield started
    if started.process.poll() is None:
        started.stop()


class Form(HTMLParser):
    """The first form of a page, filled in as octocat would."""

    def __init__(self, page: httpx.Response):
        super().__init__()
        self.action: str | None = None
        self.fields: list[tuple[str, str]] = []
        self.buttons: list[tuple[str, str]] = []
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: html.unescape(value or "") for name, value in attrs}
        if tag == "form":
            self.action = given.get("action", "")
        if tag == "button" and "name" in given:
            self.buttons.append((given["name"], given.get("value", "")))
        if tag == "input" and "name" in given and (given.get("type") != "radio" or given.get("value") == "octocat"):
            self.fields.append((given["name"], given.get("value", "")))


class Person:
    """Walks the pages of both servers in a thread, and remembers them; clicks the first button or the last."""

    def __init__(self, *, allow: bool = True):
        self.allow = allow
        self.pages: list[str] = []
        self._cookies = httpx.Cookies()

    def open(self, url: str) -> bool:
        threading.Thread(target=self._go, args=(url,), daemon=True).start()
        return True

    def _go(self, url: str) -> None:
        with httpx.Client(follow_redirects=True, cookies=self._cookies) as browser:
            page = browser.get(url)
            while (form := Form(page)).action is not None:
                self.pages.append(urlsplit(str(page.url)).path)
                page = self._submit(browser, page, form)
            self.pages.append(urlsplit(str(page.url)).path)
            self._cookies.update(browser.cookies)

    def _submit(self, browser: httpx.Client, page: httpx.Response, form: Form) -> httpx.Response:
        fields = [*form.fields, form.buttons[-1 if self.allow else 0]] if form.buttons else form.fields
        origin = str(page.url.copy_with(raw_path=b"/")).rstrip("/")
        headers = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
        return browser.post(urljoin(str(page.url), form.action), content=urlencode(fields), headers=headers)


def auth(person: Person) -> McpAuth:
    return McpAuth(open_browser=person.open, show=str, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_and_a_person_walk_the_whole_authorization(program: Program, mode: Any) -> None:
    person = Person()
    async with Session.open(f"{program.url}/mcp", auth=auth(person), mode=mode) as session:
        result = await session.call_tool("get_github_user_info", {"repo_limit": 2})
        assert result.structured_content is not None
        assert result.structured_content["user"]["login"] == "octocat"
        assert person.pages == ["/consent", "/login", "/login/oauth/authorize", "/callback"]
        more = await session.call_tool("get_github_user_info", {"include_private": True, "repo_limit": 50})
        assert more.structured_content is not None
        assert any(repository["private"] for repository in more.structured_content["repositories"])


async def test_a_person_who_declines_is_a_typed_error_and_the_open_tool_still_works(program: Program) -> None:
    person = Person(allow=False)
    async with Session.open(f"{program.url}/mcp", auth=auth(person)) as session:
        with pytest.raises(AccessDenied):
            await session.call_tool("get_github_user_info")
        assert (await session.list_tools()).tools


def test_the_program_says_how_to_connect_and_stops_within_five_seconds(program: Program) -> None:
    for path in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"):
        assert f"{program.url}{path}" in program.said
        assert httpx.get(f"{program.url}{path}").status_code == 200
    assert httpx.get(f"{program.url}/health").json() == {"status": "ok"}
    seconds, _ = program.stop()
    assert seconds < 5


async def test_the_log_has_who_did_what_and_no_secret(program: Program) -> None:
    async with Session.open(f"{program.url}/mcp", auth=auth(Person())) as session:
        await session.call_tool("get_github_user_info")
    _, log = program.stop()
    assert '"subject": "octocat"' in log
    assert '"tool": "get_github_user_info"' in log
    assert not re.search(r"gh[ours]_[A-Za-z0-9]{16}|Bearer [A-Za-z0-9]{8}|code=[A-Za-z0-9]{8}", log)


def test_without_credentials_it_says_what_is_missing() -> None:
    with pytest.raises(NotConfigured):
        build(IsolatedSettings(), "http://127.0.0.1:8000")


def test_a_public_url_that_cannot_work_is_a_clear_error() -> None:
    settings = IsolatedSettings(oauth_client_id="an-id", oauth_client_secret="a-secret-of-a-test")
    with pytest.raises(ConfigurationError):
        build(settings, "http://example.com")


def test_for_the_real_github_the_callback_to_register_is_named() -> None:
    lines = "\n".join(instructions("https://mcp.example", IsolatedSettings(), mock=False))
    assert "https://mcp.example/oauth/callback" in lines
