"""Asking for documents where a server says they are: within one deadline, with a report, and only where it is safe.

A discovery follows addresses that others wrote. So every one is checked before it is contacted, redirects stay on
their host, and a server that asks for patience ends the search.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anyio
import httpx

from .allowed_urls import Places
from .challenge import AuthChallenge, read_challenge
from .clock import Clock, SystemClock
from .discovery_report import Probe
from .errors import McpOAuthError, NotFound, ProtocolError, TransientError, Unreachable
from .http import Answer, ClientFactory, send
from .http_faults import late, place_of
from .masking import printable
from .metadata_reading import Reading
from .urls import Resolver, is_public, is_web, resolve

_MOST_REDIRECTS = 3
# A server that could not be reached is asked once more, after this many seconds at most.
_LONGEST_PAUSE = 0.2

_JSON = {"Accept": "application/json"}
_MCP = {"Accept": "application/json, text/event-stream"}
# The cheapest request that a guarded server answers with 401: it opens no session and no stream.
_PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class Prober:
    """Asks one URL after the other within one deadline, keeps the report, and goes only where it is safe."""

    def __init__(
        self, start: str, client: ClientFactory, deadline: float, clock: Clock | None, resolver: Resolver = resolve
    ):
        self._client = client
        self._clock = clock or SystemClock()
        self._ends = anyio.current_time() + deadline
        self.probes: list[Probe] = []
        #: What was wrong with the challenge, and whether there was a 401 at all.
        self.findings: tuple[str, ...] = ()
        self.challenged = False
        self._start = origin(parse_url(start))
        self._places = Places(start, resolver)

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._clock.now()

    async def __aenter__(self) -> Prober:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, McpOAuthError) and self.probes:
            error.add_note("\n".join(["What was tried:", *(f"  {probe}" for probe in self.probes)]))

    async def challenge(self, server_url: str) -> AuthChallenge | None:
        """Send an unauthenticated request, and return what the server's 401 says; see also `challenged`, `findings`."""
        answer = await self._send("POST", server_url, headers=_MCP, json_body=_PING)
        self.challenged = answer.status == 401
        if not self.challenged:
            self._note(answer, "no challenge")
            return None
        challenge, self.findings = read_challenge(answer.headers.get_list("www-authenticate"))
        if challenge is None and self.findings:
            self._note(answer, "a challenge that is malformed")
            return None
        pointed = challenge is not None and challenge.resource_metadata is not None
        self._note(answer, "challenge, names its metadata" if pointed else "challenge, does not name its metadata")
        return challenge

    async def look_for(self, urls: list[str], what: str, read: Callable[[Answer], Reading]) -> Search:
        """Ask one URL after the other, until one has a document that can be used.

        Args:
            what: the document's name.
            read: says what an answer is worth.

        Raises:
            RateLimited, ServerUnavailable: it asks for patience; the next URL is not tried.
            IssuerMismatch, SecurityError: the document is somebody else's.
            Unreachable, SecurityError: see `check_place`.
        """
        search = Search(what, urls)
        for url in urls:
            answer = await self._follow(url)
            reading = read(answer)
            self._note(answer, what if reading.document is not None else _outcome(reading))
            search.add(url, reading)
            if reading.stops and reading.error is not None:
                raise reading.error
            if reading.document is not None:
                break
        return search

    async def _follow(self, url: str) -> Answer:
        """Follow up to three redirects that stay on the host; every hop is checked."""
        answer = await self._send("GET", url, headers=_JSON)
        for _ in range(_MOST_REDIRECTS):
            location = answer.headers.get("location")
            if not 300 <= answer.status < 400 or location is None:
                return answer
            target = parse_url(location, base=url)
            if origin(target) != origin(httpx.URL(url)):
                return answer
            self._note(answer, "redirects")
            url = str(target)
            answer = await self._send("GET", url, headers=_JSON)
        return answer

    async def _send(self, method: str, url: str, **content: Any) -> Answer:
        await self.check_place(url)
        try:
            return await self._send_once(method, url, **content)
        except Unreachable:
            pause = random.uniform(0, _LONGEST_PAUSE)
            if self._time_left() < pause:
                raise
        await anyio.sleep(pause)
        return await self._send_once(method, url, **content)

    async def _send_once(self, method: str, url: str, **content: Any) -> Answer:
        answer = await send(self._client, method, url, deadline=self._time_left(), refuse_redirects=False, **content)
        # Another address may be a proxy's, and does not say that the server is inside.
        if answer.peer is not None and is_public(answer.peer) and origin(httpx.URL(url)) == self._start:
            self._places.answered(answer.peer)
        return answer

    def _time_left(self) -> float:
        return max(0.0, self._ends - anyio.current_time())

    async def check_place(self, url: str) -> None:
        """Refuse a URL that the start may not lead to, by its text and by the addresses of its host; see `Places`.

        Raises:
            SecurityError: it is one.
            Unreachable: the addresses cannot be had within the deadline.
        """
        # Nothing secret is sent, but what is read decides where the secrets go (RFC 8414 section 6.1).
        self._places.check(url, credentials=True)
        left = self._time_left()
        try:
            with anyio.fail_after(left):
                await self._places.check_resolved(url)
        except TimeoutError as error:
            raise late(place_of(url), left) from error

    def _note(self, answer: Answer, outcome: str) -> None:
        self.probes.append(Probe(answer.url, answer.status, outcome))


class Search:
    """What came of asking several places for one document.

    Attributes:
        url: the place that had it; empty if none did.
        found: what it had there.
        absent: no place has one, so that another document may be looked for.
    """

    def __init__(self, what: str, urls: list[str]):
        self.url = ""
        self.found = Reading()
        self._what = what
        self._urls = urls
        self._readings: list[Reading] = []

    def add(self, url: str, reading: Reading) -> None:
        """Take note of what a place had."""
        self._readings.append(reading)
        if reading.document is not None:
            self.url, self.found = url, reading

    @property
    def absent(self) -> bool:
        """Whether there is no such document, not even one that cannot be used."""
        return not self.url and not any(reading.unusable for reading in self._readings)

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong with the document that is used, and with those that were passed over for it."""
        passed_over = (one.error.message for one in self._readings if one.unusable and one.error is not None)
        return (*passed_over, *self.found.findings)

    def error(self) -> McpOAuthError:
        """Return what to raise where none can be used: the reason of the first that is there, before those of none."""
        for reading in sorted(self._readings, key=lambda one: not one.unusable):
            if reading.error is not None:
                return reading.error
        return NotFound(
            f"No {self._what}: none of the {len(self._urls)} well-known URLs has it, {self._urls[0]} first.",
            hint="Check the URL, its path included: the well-known URLs are made from it. Some servers publish none.",
            reference="RFC 8414 section 3.1; RFC 9728 section 3.1",
        )


def _outcome(reading: Reading) -> str:
    if reading.absent:
        return reading.absent
    if isinstance(reading.error, TransientError):
        return "asks for patience" if reading.stops else "fails"
    return "cannot be used"


def parse_url(url: str, base: str = "") -> httpx.URL:
    """Parse a URL, relative to a base where there is one.

    Raises:
        ProtocolError: it is none.
    """
    try:
        parsed = httpx.URL(base).join(url) if base else httpx.URL(url)
        # A host in IDNA is decoded when it is asked for: by whoever looks at it next.
        _ = parsed.host
        good = bool(base) or is_web(url)
    except (httpx.InvalidURL, ValueError):
        good = False
    if not good:
        raise ProtocolError(
            f"{printable(url)} is not a URL.",
            hint="Check the address: an https URL with a host is wanted.",
            reference="RFC 3986 section 3",
        )
    return parsed


def origin(url: httpx.URL) -> str:
    """Return scheme, host and port, with a slash at the end."""
    return str(url.copy_with(raw_path=b"/", fragment=None, userinfo=b""))
