"""Lists: which repositories, in which order, and which page of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from .model import Affiliation, IssuedToken, Repository
from .rest import Problem

Item = TypeVar("Item")

DEFAULT_PER_PAGE, MOST_PER_PAGE = 30, 100

_CHOICES = {
    "visibility": ("all", "public", "private"),
    "type": ("all", "owner", "public", "private", "member"),
    "sort": ("created", "updated", "pushed", "full_name"),
    "direction": ("asc", "desc"),
}
_AFFILIATIONS: tuple[Affiliation, ...] = ("owner", "collaborator", "organization_member")


def select(repositories: list[Repository], token: IssuedToken, query: Mapping[str, str]) -> list[Repository]:
    """Return what the token's user sees, filtered and sorted as the query asks.

    Raises:
        Problem: 422 for a value that does not exist, or `type` next to `visibility` or `affiliation`.
    """
    if "type" in query and ("visibility" in query or "affiliation" in query):
        raise Problem(422, "If you specify visibility or affiliation, you cannot specify type.")
    _check(query, _CHOICES)
    # Without the scope `repo` nothing private is visible, whatever the query asks for.
    seen = [repository for repository in repositories if "repo" in token.scopes or not repository.private]
    chosen = [repository for repository in seen if _is_wanted(repository, token.user, query)]
    return _sorted(chosen, query)


def select_public(repositories: list[Repository], login: str, query: Mapping[str, str]) -> list[Repository]:
    """Return what everybody sees of a user's or organization's repositories, filtered and sorted as the query asks.

    Raises:
        Problem: 422 for a value that does not exist.
    """
    _check(query, _CHOICES | {"type": ("all", "owner", "member")})
    kind = query.get("type", "owner")
    public = [repository for repository in repositories if not repository.private]
    own = [one for one in public if kind != "member" and one.owner == login]
    return _sorted(own + [one for one in public if kind != "owner" and _shares(one, login)], query)


def _shares(repository: Repository, login: str) -> bool:
    return repository.affiliations.get(login, "owner") != "owner"


def _sorted(chosen: list[Repository], query: Mapping[str, str]) -> list[Repository]:
    sort = query.get("sort", "full_name")
    descending = query.get("direction", "asc" if sort == "full_name" else "desc") == "desc"
    field = sort if sort == "full_name" else f"{sort}_at"
    # The name breaks ties, so that pages never overlap.
    by_name = sorted(chosen, key=lambda repository: repository.full_name)
    return sorted(by_name, key=lambda repository: str(getattr(repository, field)), reverse=descending)


def _check(query: Mapping[str, str], allowed: Mapping[str, tuple[str, ...]]) -> None:
    wrong = [name for name, choices in allowed.items() if query.get(name, choices[0]) not in choices]
    if not set(_affiliations(query)) <= set(_AFFILIATIONS):
        wrong.append("affiliation")
    if wrong:
        fields = [{"resource": "Repository", "field": name, "code": "invalid"} for name in wrong]
        raise Problem(422, "Validation Failed", errors=fields)


def _is_wanted(repository: Repository, login: str, query: Mapping[str, str]) -> bool:
    affiliation = repository.affiliations.get(login)
    if affiliation is None or affiliation not in _affiliations(query):
        return False
    kind = query.get("type", "all")
    if kind in ("owner", "member") and (affiliation == "owner") != (kind == "owner"):
        return False
    visibility = kind if kind in ("public", "private") else query.get("visibility", "all")
    return visibility == "all" or (visibility == "private") == repository.private


def _affiliations(query: Mapping[str, str]) -> tuple[str, ...]:
    named = query.get("affiliation")
    return _AFFILIATIONS if named is None else tuple(part.strip() for part in named.split(","))


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a list."""

    items: list[Item]
    number: int
    per_page: int
    last: int

    def link(self, url: str, query: Mapping[str, Any]) -> str | None:
        """Return the `Link` header (RFC 8288), or None where everything fits on one page.

        Args:
            url: the address without its query.
            query: the parameters, which the links repeat.
        """
        targets = {"prev": min(self.number - 1, self.last), "next": self.number + 1, "last": self.last, "first": 1}
        if self.number <= 1:
            del targets["prev"], targets["first"]
        if self.number >= self.last:
            del targets["next"], targets["last"]
        links = [
            f'<{url}?{urlencode({**query, "per_page": self.per_page, "page": page})}>; rel="{relation}"'
            for relation, page in targets.items()
        ]
        return ", ".join(links) or None


def paginate(items: list[Item], query: Mapping[str, str]) -> Page[Item]:
    """Cut out the page that the query asks for. Numbers that make no sense count as not given."""
    per_page = min(_positive(query.get("per_page"), DEFAULT_PER_PAGE), MOST_PER_PAGE)
    number = _positive(query.get("page"), 1)
    last = max(1, -(-len(items) // per_page))
    start = (number - 1) * per_page
    return Page(items[start : start + per_page], number, per_page, last)


def _positive(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0 else default
