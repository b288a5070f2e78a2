"""The family of a token: the generations that refreshing made of it, which of them are dead, and why.

    family = token_family.read(lab.trace.exchanges, lab.settings)
    print(family)

Everything here is masked. A mask keeps identity, so that a refresh token that was used twice is recognised in what
was recorded. A client knows only what servers told it: nothing else is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from ..oauth.errors import ConfigurationError, McpOAuthError, TransientError
from ..oauth.http import Answer
from ..oauth.masking import escape, mask
from ..oauth.settings import Settings
from ..oauth.token import Token
from ..oauth.token_endpoint import check_available, error_for
from .messages import Exchange, Message

ROTATED = "used up by a refresh"
REVOKED = "revoked"
REPLACED = "replaced by another token"


@dataclass
class Generation:
    """One access token with its refresh token, both masked.

    Attributes:
        number: counts from 1.
        parent: the generation that was refreshed; None if the user signed in, or its origin was not recorded.
        access_token: masked.
        refresh_token: masked; empty if there is none.
        born: where it came from.
        end: why it is dead; empty while nothing is known against it.
        notes: what else happened to it, such as a second use of its refresh token.
    """

    number: int
    parent: int | None
    access_token: str
    refresh_token: str = ""
    born: str = "authorization code"
    end: str = ""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        refresh = f" with {self.refresh_token}" if self.refresh_token else " without a refresh token"
        verdict = f"✘ dead: {self.end}" if self.end else "✔ nothing known against it"
        # The reason of a refusal comes from a server.
        return escape("; ".join([f"{self.number}. {self.access_token}{refresh}  {verdict}", *self.notes]))


class Family:
    """Grows by the events that are reported to it, in their order. All arguments are masked values."""

    def __init__(self) -> None:
        self.generations: list[Generation] = []

    @property
    def newest(self) -> Generation | None:
        """The generation that came last."""
        return self.generations[-1] if self.generations else None

    def issued(self, access_token: str, refresh_token: str = "", *, born: str = "authorization code") -> Generation:
        """Note a token that does not come from a refresh that was seen."""
        return self._add(None, access_token, refresh_token, born)

    def rotated(self, used: str, access_token: str, refresh_token: str = "") -> Generation:
        """Note a refresh: the token that was used, and what came for it.

        Args:
            used: the refresh token that was sent.
            access_token: the new one.
            refresh_token: the new one; empty if the old one stays in use (RFC 6749 section 6).
        """
        parent = self._by_refresh(used)
        if parent is not None and refresh_token not in ("", used):
            parent.end = parent.end or ROTATED
        elif parent is not None:
            parent.end = parent.end or "followed by a newer access token; its refresh token stays in use"
        born = "refresh" if parent is not None else "refresh of a token that was not seen"
        return self._add(parent, access_token, refresh_token or used, born)

    def refused(self, used: str, error: str) -> None:
        """Note that a refresh token was refused."""
        generation = self._by_refresh(used)
        if generation is None:
            return
        if generation.end:
            generation.notes.append(f"its refresh token was sent again and refused ({error})")
        else:
            generation.end = f"its refresh token was refused ({error})"

    def revoked(self, token: str) -> None:
        """Note that an access or a refresh token was revoked."""
        for generation in self.generations:
            if token in (generation.access_token, generation.refresh_token) and token and not generation.end:
                generation.end = REVOKED

    def replaced(self) -> None:
        """Note that another token was found in the place of the newest."""
        if self.newest is not None and not self.newest.end:
            self.newest.end = REPLACED

    def tree(self) -> Iterator[tuple[int, Generation]]:
        """Return each generation with its depth, children right after their parent."""
        children: dict[int | None, list[Generation]] = {}
        for generation in reversed(self.generations):
            children.setdefault(generation.parent, []).append(generation)
        # The last child is pushed first, so that the first is on top of the stack.
        pending = [(0, root) for root in children.get(None, [])]
        while pending:
            depth, generation = pending.pop()
            yield depth, generation
            pending += [(depth + 1, child) for child in children.get(generation.number, [])]

    def _by_refresh(self, refresh_token: str) -> Generation | None:
        # The newest generation that has it: a refresh token that is not rotated belongs to several.
        found = (g for g in reversed(self.generations) if refresh_token and g.refresh_token == refresh_token)
        return next(found, None)

    def _add(self, parent: Generation | None, access_token: str, refresh_token: str, born: str) -> Generation:
        number = len(self.generations) + 1
        generation = Generation(number, parent.number if parent else None, access_token, refresh_token, born)
        self.generations.append(generation)
        return generation

    def __repr__(self) -> str:
        lines = (f"{'   ' * (depth - 1)}└─ {g}" if depth else str(g) for depth, g in self.tree())
        return "\n".join(lines) or "(no token yet)"


def masked(token: Token) -> tuple[str, str]:
    """Return a token's access and refresh token as `Family` wants them."""
    return mask(token.access_token), mask(token.refresh_token or "")


# -- from what was recorded ------------------------------------------------------------------------------------


def read(exchanges: Iterable[Exchange], settings: Settings) -> Family:
    """Rebuild the family from recorded exchanges with the provider.

    Args:
        exchanges: in the order of their requests.
        settings: where the provider is.
    """
    family = Family()
    for exchange in exchanges:
        sent, answer = exchange.request.body, exchange.response
        if exchange.request.protocol != "http" or answer is None or not isinstance(sent, Mapping):
            continue
        if exchange.request.url.partition("?")[0] == settings.oauth_token_url:
            _read_grant(family, sent, answer)
        elif answer.kind == "response" and _is_revocation(exchange):
            family.revoked(str(sent.get("access_token") or sent.get("token") or ""))
    return family


def asked_scopes(exchanges: Iterable[Exchange], settings: Settings) -> tuple[str, ...] | None:
    """Return the scopes of the newest authorization request that was recorded; None if there is none."""
    for exchange in reversed(tuple(exchanges)):
        address, _, query = exchange.request.url.partition("?")
        if address == settings.oauth_authorization_url and (scopes := parse_qs(query).get("scope")):
            return tuple(scopes[0].split())
    return None


def _read_grant(family: Family, sent: Mapping[str, Any], message: Message) -> None:
    answer = message.body
    if not isinstance(answer, Mapping):
        return
    used, access = _text(sent, "refresh_token"), _text(answer, "access_token")
    refresh, error = _text(answer, "refresh_token"), _text(answer, "error")
    refreshing = sent.get("grant_type") == "refresh_token"
    if access and refreshing:
        family.rotated(used, access, refresh)
    elif access:
        family.issued(access, refresh, born=_text(sent, "grant_type").replace("_", " ") or "token request")
    elif refreshing and _ends_the_grant(message, error):
        family.refused(used, error or "no token came")


def _ends_the_grant(message: Message, error: str) -> bool:
    """Say whether a refresh that brought no token was refused for good, as the client decides it: see `refusing`."""
    status = message.title.partition(" ")[0]
    try:
        check_available(Answer("", int(status), httpx.Headers(), b""), now=0.0)
        raise error_for({"error": error}, "refresh_token")
    except (TransientError, ConfigurationError):
        return False
    except McpOAuthError:
        return True


def _is_revocation(exchange: Exchange) -> bool:
    """GitHub's own way is a DELETE with the token in its body; RFC 7009's is a POST to an endpoint of that name."""
    method, _, _ = exchange.request.title.partition(" ")
    return method == "DELETE" or "revo" in urlsplit(exchange.request.url).path


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
