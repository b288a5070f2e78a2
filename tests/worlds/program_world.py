"""The server as a program over HTTP, and a person who walks its pages."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

LIMIT_SECONDS = 30

# How often a person tries again where nobody listens yet: some clients listen only once the browser is on its way.
RELOADS = 6


class Program:
    """The running server; `url` is its public URL.

    Args:
        directory: where it runs.
        options: more of `serve`'s.
    """

    def __init__(self, directory: Path, *options: str):
        command = [sys.executable, "-u", "-m", "mcp_oauth_nb", "serve", "--transport", "http", "--port", "0", "--mock"]
        command += options
        environment = {**os.environ, "LOG_LEVEL": "INFO", "HOME": str(directory)}
        # Appended to, so that we can read in it while the program writes.
        self._log = tempfile.TemporaryFile("a+", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=directory, env=environment
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"(https?://\S+)/mcp\n", self.said)
        assert found is not None, self.said
        self.url = found[1]

    def log(self) -> str:
        """Return what it has logged so far."""
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> tuple[float, str]:
        """Send SIGTERM; return how long the program took, in seconds, and its log."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=LIMIT_SECONDS)
        seconds = time.monotonic() - start
        with self._log:
            return seconds, self.log()


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
        carrier = httpx.HTTPTransport(retries=RELOADS)
        with httpx.Client(follow_redirects=True, cookies=self._cookies, transport=carrier) as browser:
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
