"""Asking for documents where a server says they are: within one deadline, with a report, and only where it is safe.

A discovery follows addresses that others wrote. So every one is checked before it is contacted, redirects stay on
their host, and an answer of 5xx ends the search.
"""

from __future__ import annotations

import random
from typing import Any

import anyio
import httpx

from .addresses import Resolver, is_public, resolve
from .challenge import AuthChallenge
from .clock import Clock, SystemClock
from .discovery_report import Probe
from .errors import (
    McpOAuthError,
    NotFound,
    ProtocolError,
    RateLimited,
    RedirectRefused,
    ServerUnavailable,
    Unreachable,
)
from .http import Answer, ClientFactory, send
from .http_faults import late, place_of
from .places import Places
from .redaction import printable

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
        self._start = origin(parse_url(start))
        self._places = Places(start, resolver)

    async def __aenter__(self) -> Prober:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, McpOAuthError) and self.probes:
            error.add_note("\n".join(["What was tried:", *(f"  {probe}" for probe in self.probes)]))

    async def challenge(self, server_url: str) -> AuthChallenge | None:
        """Send an unauthenticated request, and return what the server's 401 says."""
        answer = await self._send("POST", server_url, headers=_MCP, json_body=_PING)
        if answer.status != 401:
            self._note(answer, "no challenge")
            return None
        try:
            challenge = AuthChallenge.from_www_authenticate(answer.headers.get("www-authenticate", ""))
        except ProtocolError:
            self._note(answer, "a challenge that is malformed")
            return None
        pointed = challenge is not None and challenge.resource_metadata is not None
        self._note(answer, "challenge, names its metadata" if pointed else "challenge, does not name its metadata")
        return challenge

    async def first_of(self, urls: list[str], what: str) -> tuple[str, Answer]:
        """Return the first of the URLs that serves a document, and the document.

        Raises:
            NotFound: none is.
        """
        for url in urls:
            answer = await self._document(url, what)
            if answer is not None:
                return url, answer
        raise NotFound(
            f"No {what}: none of the {len(urls)} well-known URLs has it, {urls[0]} first.",
            hint="Check the URL, its path included: the well-known URLs are made from it. Some servers publish none.",
            reference="RFC 8414 section 3.1; RFC 9728 section 3.1",
        )

    async def _document(self, url: str, what: str) -> Answer | None:
        """Return the document at a URL, or None where the next one should be tried."""
        answer = await self._follow(url)
        if answer.status == 200 and answer.content_type != "text/html":
            self._note(answer, what)
            return answer
        if answer.status == 429:
            self._note(answer, "asks for patience")
            raise RateLimited(f"{answer.url} answered 429.", retry_at=answer.retry_at(self._clock.now()))
        if answer.status >= 500:
            # Not "not here": a guess at another endpoint could find the wrong one.
            self._note(answer, "fails")
            raise ServerUnavailable(
                f"{answer.url} answered {answer.status}.", retry_at=answer.retry_at(self._clock.now())
            )
        # Single-page applications answer any path with their page.
        self._note(answer, "a web page" if answer.status == 200 else "not here")
        return None

    async def _follow(self, url: str) -> Answer:
        """Follow up to three redirects that stay on the host; every hop is checked."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send("GET", url, headers=_JSON)
            location = answer.headers.get("location")
            if not 300 <= answer.status < 400 or location is None:
                return answer
            target = parse_url(location, base=url)
            self._note(answer, "redirects")
            if origin(target) != origin(httpx.URL(url)):
                raise RedirectRefused(f"{answer.url} redirects to another host, which is not followed.")
            url = str(target)
        raise ProtocolError(f"{answer.url} redirects more than {_MOST_REDIRECTS} times.")

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


def parse_url(url: str, base: str = "") -> httpx.URL:
    """Parse a URL, relative to a base where there is one.

    Raises:
        ProtocolError: it is none.
    """
    try:
        parsed = httpx.URL(base).join(url) if base else httpx.URL(url)
        # A host in IDNA is decoded when it is asked for: by whoever looks at it next.
        _ = parsed.host
    except (httpx.InvalidURL, ValueError):
        raise ProtocolError(f"{printable(url)} is not a URL.") from None
    return parsed


def origin(url: httpx.URL) -> str:
    """Return scheme, host and port, with a slash at the end."""
    return str(url.copy_with(raw_path=b"/", fragment=None, userinfo=b""))
