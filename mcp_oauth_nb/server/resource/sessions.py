"""MCP sessions (versions before 2026-07-28): whose they are, how many there may be, and when they end.

A session serves one user only, and the SDK binds it to the user who opened it. But a client that discovers
authorization as the specification says opens its session *before* it has a token, and comes back to the same session
with one. So a session that nobody owns is taken over by the first valid token, once; from then on it is that user's.

A stranger's session costs memory, and so it counts against the address that it came from until a token takes it over:

    opened without a token -> counted by address; ends soon if it is not used, first if there is no room
      | a valid token
      v
    somebody's             -> counted by user; ends as the SDK says, and gives way to other users' only

The SDK alone would refuse everybody once it has 10,000 sessions, whoever opened them. Here nobody is refused for want
of room: whoever has most of the sessions loses one.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio
from mcp.server.auth.provider import AccessToken, principal_components
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT

from ..rate_limits import Shares

Principal = tuple[str, str | None, str | None]

#: Sessions without a token: of all addresses together, and of one.
MOST_ANONYMOUS, MOST_ANONYMOUS_EACH = 1000, 100
#: Sessions of users: of all together, and of one user with one client.
MOST_OWNED, MOST_OWNED_EACH = 9000, 1000
#: Seconds that a session without a token may be idle: as long as the authorization server waits for a person.
ANONYMOUS_IDLE_SECONDS = 600.0

#: Ends a session at the SDK, given its id and the user whom the SDK has bound it to.
End = Callable[[str, Principal | None], Awaitable[None]]

#: Is told the id of a session that the SDK has opened.
Opened = Callable[[str], Awaitable[None]]


@dataclass
class _Session:
    owner: Principal | None
    bound: Principal | None
    in_flight: int = 0


class Sessions:
    """All sessions of this process.

    Args:
        idle_timeout: seconds after which the SDK ends an idle session; None if it never does.
        anonymous: the places of sessions without a token, by address.
        owned: the places of all others, by user.
        now: tells the time, in seconds.

    Attributes:
        idle_timeout: what was given.
        end: ends one that has to give way. Set by whoever knows the SDK's endpoint.
    """

    def __init__(
        self,
        idle_timeout: float | None = DEFAULT_SESSION_IDLE_TIMEOUT,
        *,
        anonymous: Shares | None = None,
        owned: Shares | None = None,
        now: Callable[[], float] = anyio.current_time,
    ):
        idle = ANONYMOUS_IDLE_SECONDS if idle_timeout is None else min(ANONYMOUS_IDLE_SECONDS, idle_timeout)
        # Users' sessions are ended by the SDK: twice its time has certainly passed when they are forgotten here.
        forgotten = None if idle_timeout is None else 2 * idle_timeout
        # Those that are given are empty, and what is empty counts as false.
        self._anonymous = Shares(MOST_ANONYMOUS, MOST_ANONYMOUS_EACH, idle) if anonymous is None else anonymous
        self._owned = Shares(MOST_OWNED, MOST_OWNED_EACH, forgotten) if owned is None else owned
        self.idle_timeout = idle_timeout
        self._now = now
        self._sessions: dict[str, _Session] = {}
        self._numbers = itertools.count()
        self.end: End = _nothing

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def is_guarded(self, session_id: str | None) -> bool:
        """Say whether a session was opened without a token: the SDK would take it for anybody's."""
        session = self._sessions.get(session_id or "")
        return session is not None and session.bound is None

    @asynccontextmanager
    async def opening(self, address: str, access: AccessToken | None) -> AsyncIterator[Opened]:
        """Hold a place while the SDK opens a session; yield what is to be told its id if it does.

        Args:
            address: whom it counts against without a token.
            access: the token that it is opened with.
        """
        principal = None if access is None else principal_components(access)
        shares, owner = (self._anonymous, address) if principal is None else (self._owned, principal)
        # The SDK makes a session before it reads the request, so its place is taken before, too.
        place = f"opening {next(self._numbers)}"

        async def opened(session_id: str) -> None:
            shares.leave(place)
            self._sessions[session_id] = _Session(principal, principal)
            await self._give_way(shares.take(owner, session_id, self._now()))

        await self._give_way(shares.take(owner, place, self._now()))
        try:
            yield opened
        finally:
            shares.leave(place)

    async def admits(self, session_id: str | None, access: AccessToken | None) -> bool:
        """Say whether this user, or nobody, may use the session. The first user makes it theirs.

        What is not known here does not exist: the SDK says so.
        """
        session = self._sessions.get(session_id or "")
        if session is None:
            return True
        principal = None if access is None else principal_components(access)
        if session.owner is None and principal is not None:
            session.owner = principal
            self._anonymous.leave(session_id or "")
            await self._give_way(self._owned.take(principal, session_id or "", self._now()))
        return session.owner == principal

    @contextmanager
    def use(self, session_id: str | None) -> Iterator[None]:
        """Keep the session from being idle while a request of it is served; one that is not known is no error."""
        session = self._sessions.get(session_id or "")
        if session is None:
            yield
            return
        session.in_flight += 1
        self._touch(session_id or "")
        try:
            yield
        finally:
            session.in_flight -= 1
            self._touch(session_id or "")

    def forget(self, session_id: str) -> None:
        """Drop a session that the SDK has ended."""
        self._sessions.pop(session_id, None)
        self._anonymous.leave(session_id)
        self._owned.leave(session_id)

    async def end_idle(self) -> None:
        """End what was not used for its time; to be called regularly."""
        now = self._now()
        for session_id, session in self._sessions.items():
            if session.in_flight:
                # A user's stream that stays open is in use all the time; a stranger's may give way to others.
                self._owned.use(session_id, now)
        unused = [*self._anonymous.unused(now), *self._owned.unused(now)]
        await self._give_way([one for one in unused if one in self._sessions and not self._sessions[one].in_flight])

    def _touch(self, session_id: str) -> None:
        self._anonymous.use(session_id, self._now())
        self._owned.use(session_id, self._now())

    async def _give_way(self, names: list[str]) -> None:
        for name in names:
            session = self._sessions.get(name)
            # Of one that is just being opened nothing is known but its place; it takes another when it is there.
            if session is not None:
                self.forget(name)
                await self.end(name, session.bound)


async def _nothing(session_id: str, bound: Principal | None) -> None:
    """End nothing: there is no endpoint."""
