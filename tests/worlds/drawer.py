"""A store of one's own, as a reader of notebook 5 writes it."""

from __future__ import annotations

from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.records import TokenKey


class Drawer:
    """A store of three methods, which cannot give anybody a turn."""

    def __init__(self) -> None:
        self.tokens: dict[TokenKey, Token] = {}

    def load(self, key: TokenKey, /) -> Token | None:
        return self.tokens.get(key)

    def save(self, key: TokenKey, value: Token, /) -> None:
        self.tokens[key] = value

    def delete(self, key: TokenKey, /) -> None:
        self.tokens.pop(key, None)
