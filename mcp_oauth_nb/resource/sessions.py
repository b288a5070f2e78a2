"""Whose session is it? A session (versions before 2026-07-28) serves one user only.

The SDK binds a session to the user who opened it. But a client that discovers authorization as the specification
says opens its session *before* it has a token, and comes back to the same session with one. So a session that
nobody owns is taken over by the first valid token, once; from then on it is that user's alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from mcp.server.auth.provider import AccessToken, principal_components
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT

Principal = tuple[str, str | None, str | None]


@dataclass
class _Session:
    owner: Principal | None
    last_used: float
    in_flight: int = 0


class AnonymousSessions:
    """Sessions that were opened without a token, and who has taken them over.

    Args:
        idle_timeout: seconds after which the SDK ends an idle session; None if it never does.
    """

    def __init__(self, idle_timeout: float | None = DEFAULT_SESSION_IDLE_TIMEOUT):
        self._idle_timeout = idle_timeout
        self._sessions: dict[str, _Session] = {}

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def opened(self, session_id: str) -> None:
        """Note a session that the SDK has opened for a request without a token."""
        now = anyio.current_time()
        self._forget_idle(now)
        self._sessions[session_id] = _Session(None, now)

    def admits(self, session_id: str | None, access: AccessToken | None) -> bool:
        """Say whether this user, or nobody, may use the session. The first user makes it theirs.

        What is not known here was opened with a token, or not at all: the SDK judges it.
        """
        session = self._sessions.get(session_id or "")
        if session is None:
            return True
        principal = None if access is None else principal_components(access)
        if session.owner is None:
            session.owner = principal
        return session.owner == principal

    @contextmanager
    def use(self, session_id: str) -> Iterator[None]:
        """Keep the session from being forgotten while a request of it is served."""
        session = self._sessions[session_id]
        session.in_flight += 1
        try:
            yield
        finally:
            session.in_flight -= 1
            session.last_used = anyio.current_time()

    def forget(self, session_id: str) -> None:
        """Drop a session that the SDK has ended."""
        self._sessions.pop(session_id, None)

    def _forget_idle(self, now: float) -> None:
        # Twice the SDK's own time, so that it has certainly ended whatever is forgotten here.
        if self._idle_timeout is None:
            return
        limit = now - 2 * self._idle_timeout
        for session_id in [key for key, one in self._sessions.items() if not one.in_flight and one.last_used < limit]:
            del self._sessions[session_id]
