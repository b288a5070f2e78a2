"""Who and what takes part: a browser for each person, and web sites of an attacker."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from ...trace.messages import BROWSER
from ..http_lab import HttpLab
from ..lab import Lab
from ..mock_github import Autopilot
from ..network import Person

ATTACKER = "Attacker"
VICTIM_NAME, ATTACKER_NAME = "octocat", "mallory"

#: Where the attacker's web site is.
EVIL = "https://evil.example"
#: Where an attacker's client has its codes sent to.
EVIL_CALLBACK = f"{EVIL}/callback"


def randomness(whose: str) -> Callable[[int], bytes]:
    """Return a stream of bytes that is the same on every run."""
    return random.Random(f"attack {whose}").randbytes


# -- people --------------------------------------------------------------------------------------------------------


def add_attacker(lab: Lab | HttpLab) -> None:
    """See to it that the attacker has an account at GitHub, as everybody may."""
    if ATTACKER_NAME not in lab.github.users:
        lab.github.add_user(ATTACKER_NAME, name="Mallory")


class Browser:
    """A person's browser, signed in at GitHub.

    Args:
        user: the account.
        name: how the trace calls it.
    """

    def __init__(self, lab: HttpLab, user: str = VICTIM_NAME, name: str = BROWSER):
        self._lab = lab
        self._transport = lab.trace.http(lab.network, sender=name, receiver=lab.network.party)
        self.person = Person(self._transport, lab.network, user=user)

    async def sign_in(self) -> Browser:
        """Sign in at GitHub, out of sight of the trace."""
        visitor = Autopilot(self._lab.github.transport(), user=self.person.user)
        await visitor.sign_in()
        self.person.cookies.update(visitor.cookies)
        return self

    async def get(self, url: str) -> httpx.Response:
        """Open an address; a redirect is not followed."""
        return await self._request("GET", url)

    async def press(self, page: httpx.Response, button: str = "1") -> httpx.Response:
        """Press a button of the form on a page: "Authorize", or "Cancel" ("0")."""
        fields = {**hidden_fields(page.text), "authorize": button}
        place = urlsplit(str(page.url))
        headers = {"Origin": f"{place.scheme}://{place.netloc}", "Content-Type": "application/x-www-form-urlencoded"}
        return await self._request("POST", str(page.url), headers=headers, content=urlencode(fields))

    async def at_github(self, url: str) -> str:
        """Open an address at GitHub, go through its pages, and return the address that GitHub sends one back to."""
        pilot = Autopilot(self._transport, user=self.person.user)
        pilot.cookies = self.person.cookies
        return await pilot.authorize(url)

    async def follow(self, response: httpx.Response) -> str:
        """Go where a redirect leads, through GitHub and back, and return the address at the client."""
        return await self.person.authorize(response.headers["location"])

    async def _request(self, method: str, url: str, **request: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, cookies=self.person.cookies) as client:
            response = await client.request(method, url, **request)
            self.person.cookies.update(client.cookies)
            return response


def hidden_fields(page: str) -> dict[str, str]:
    """Return what the form on a page carries on."""
    return {name: unescape(value) for name, value in _FIELD.findall(page)}


_FIELD = re.compile(r'type="hidden" name="([^"]+)" value="([^"]*)"')


# -- places --------------------------------------------------------------------------------------------------------

Answer = Callable[[httpx.Request], httpx.Response]


class Site(httpx.AsyncBaseTransport):
    """An attacker's web site: it answers what it was told to, and remembers what it was told.

    Args:
        answers: by path; any other is an empty page.
    """

    def __init__(self, answers: Mapping[str, Answer | dict[str, Any]] | None = None):
        self._answers = dict(answers or {})
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        await request.aread()
        self.seen.append(request)
        answer = self._answers.get(request.url.path)
        if answer is None:
            return httpx.Response(200, text="")
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else answer(request)

    @property
    def told(self) -> dict[str, str]:
        """All parameters and form fields so far; of several values the last."""
        found: dict[str, str] = {}
        for request in self.seen:
            found |= dict(parse_qsl(request.url.query.decode("ascii")))
            if "form" in request.headers.get("content-type", ""):
                found |= form_of(request)
        return found

    @property
    def heard(self) -> str:
        """Everything that arrived: addresses, headers, bodies."""
        return "\n".join(
            f"{request.url} {request.headers.raw} {request.content.decode('utf-8', 'replace')}" for request in self.seen
        )


def open_site(lab: HttpLab, site: Site, *origins: str) -> Site:
    """Put a site of the attacker's on the network, in place of an earlier one."""
    for origin in origins or (EVIL,):
        lab.network.sites[origin] = ATTACKER, site
    return site


def form_of(request: httpx.Request) -> dict[str, str]:
    """Return the fields of a form that was posted."""
    return dict(parse_qsl(request.content.decode("ascii"), keep_blank_values=True))


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
