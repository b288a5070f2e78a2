"""Solutions of notebook 05. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from contextlib import suppress

from mcp import MCPError

from mcp_oauth_nb import Lab, Token, Trace
from mcp_oauth_nb.store.records import TokenKey


async def outage(lab: Lab) -> Trace:
    """Call again after the outage."""
    await lab.authorize()
    lab.clock.advance(hours=8)
    lab.github.faults.next_token(status=503)
    with suppress(MCPError):
        await lab.session.call_tool("get_github_user_info")
    await lab.session.call_tool("get_github_user_info")
    return lab.trace


class MyStore:
    """Tokens in a dictionary."""

    def __init__(self) -> None:
        self._tokens: dict[TokenKey, Token] = {}

    def load(self, key: TokenKey) -> Token | None:
        """Return the token, or None."""
        return self._tokens.get(key)

    def save(self, key: TokenKey, token: Token) -> None:
        """Keep the token in place of any other."""
        self._tokens[key] = token

    def delete(self, key: TokenKey) -> None:
        """Forget the token."""
        self._tokens.pop(key, None)


async def store(lab: Lab) -> MyStore:
    """Make one store."""
    return MyStore()
