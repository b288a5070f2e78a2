"""Solutions of notebook 11. A test runs them against the checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcp_oauth_nb import AuthChallenge, Lab, Session
from mcp_oauth_nb.oauth.errors import AccessDenied


async def scopes_to_ask(lab: Lab) -> Callable[[str, set[str]], set[str] | None]:
    """Ask for the union, unless a token is refused that has all of it."""

    def answer(header: str, granted: set[str]) -> set[str] | None:
        challenge = AuthChallenge.from_www_authenticate(header)
        needed = set(challenge.scopes) if challenge is not None else set()
        if challenge is not None and challenge.error == "insufficient_scope" and needed <= granted:
            return None
        return granted | needed

    return answer


async def report(lab: Lab) -> Callable[[Session], Awaitable[tuple[int, int | None]]]:
    """Make the call that needs more first."""

    async def answer(session: Session) -> tuple[int, int | None]:
        try:
            everything: int | None = await count(session, private=True)
        except AccessDenied:
            everything = None
        return await count(session, private=False), everything

    async def count(session: Session, *, private: bool) -> int:
        result = await session.call_tool("get_github_user_info", {"include_private": private, "repo_limit": 100})
        assert result.structured_content is not None
        return len(result.structured_content["repositories"])

    return answer
