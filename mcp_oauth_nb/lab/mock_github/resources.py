"""The REST API for reading: people, their addresses, organizations and repositories, and who may see them.

Lists of repositories are filtered, sorted and divided into pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from .formats import Problem, dated_response, query_pairs
from .model import Affiliation, IssuedToken, Organization, Repository, User, scopes_cover
from .payloads import (
    emails_json,
    full_organization_json,
    full_repository_json,
    meta_json,
    organization_as_user_json,
    organization_json,
    repository_json,
    user_json,
)
from .state import State

_Item = TypeVar("_Item")

DEFAULT_PER_PAGE, MOST_PER_PAGE = 30, 100

_CHOICES = {
    "visibility": ("all", "public", "private"),
    "type": ("all", "owner", "public", "private", "member"),
    "sort": ("created", "updated", "pushed", "full_name"),
    "direction": ("asc", "desc"),
}
_AFFILIATIONS: tuple[Affiliation, ...] = ("owner", "collaborator", "organization_member")


def _select(repositories: list[Repository], token: IssuedToken, query: Mapping[str, str]) -> list[Repository]:
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


def _select_public(repositories: list[Repository], login: str, query: Mapping[str, str]) -> list[Repository]:
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
class _Page(Generic[_Item]):
    """One page of a list."""

    items: list[_Item]
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


def _paginate(items: list[_Item], query: Mapping[str, str]) -> _Page[_Item]:
    """Return the page that the query asks for. Numbers that make no sense count as not given."""
    per_page = min(_positive(query.get("per_page"), DEFAULT_PER_PAGE), MOST_PER_PAGE)
    number = _positive(query.get("page"), 1)
    last = max(1, -(-len(items) // per_page))
    start = (number - 1) * per_page
    return _Page(items[start : start + per_page], number, per_page, last)


def _positive(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0 else default


#: Answers the holder of a token.
Resource = Callable[[Request, IssuedToken], Response]
#: Answers anybody; without a token it is a stranger.
PublicResource = Callable[[Request, IssuedToken | None], Response]

Owner = TypeVar("Owner", User, Organization)


class Resources:
    """One method for each address. Each may raise `Problem`, whose answer goes out instead."""

    def __init__(self, state: State):
        self._state = state

    # -- one's own ---------------------------------------------------------------------------------------------

    def user(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user`."""
        user = self._state.users[token.user]
        private = scopes_cover(token.scopes, ["read:user"])
        return _last_changed(dated_response(request, user_json(self._state, user, private=private)), user.updated_at)

    def emails(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/emails`."""
        accepted = "user, user:email"
        if not scopes_cover(token.scopes, ["user:email"]):
            if _is_of_github_app(token):
                raise Problem(403, "Resource not accessible by integration")
            # The live service hides the address from tokens that may not read it.
            raise Problem(404, "Not Found", accepted=accepted)
        return self._page(request, "/user/emails", emails_json(self._state.users[token.user]), accepted)

    def own_organizations(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/orgs`."""
        accepted = "admin:org, read:org, user, write:org"
        if not (scopes_cover(token.scopes, ["read:org"]) or "user" in token.scopes or _is_of_github_app(token)):
            text = "You need at least read:org scope or user scope to list your organizations."
            raise Problem(403, text, accepted=accepted)
        # A GitHub App sees those organizations only where it is installed, and here it is installed nowhere.
        mine = [] if _is_of_github_app(token) else self._organizations_of(token.user)
        return self._page(request, "/user/orgs", [organization_json(self._state, one) for one in mine], accepted)

    def own_repositories(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/repos`."""
        chosen = _select(self._state.repositories, token, dict(query_pairs(request)))
        return self._page(request, "/user/repos", chosen, "repo", self._listed(token))

    # -- everybody's -------------------------------------------------------------------------------------------

    def account(self, request: Request, token: IssuedToken | None) -> Response:
        """Answer `/users/{login}`, where an organization is an account too."""
        state, login = self._state, request.path_params["login"]
        user = _find(state.users, login)
        if user is not None:
            body = user_json(state, user, private=False, with_email=token is not None)
            return _last_changed(dated_response(request, body), user.updated_at)
        organization = _found(_find(state.organizations, login))
        body = organization_as_user_json(state, organization)
        return _last_changed(dated_response(request, body), organization.updated_at)

    def repositories_of(self, request: Request, token: IssuedToken | None) -> Response:
        """Answer `/users/{login}/repos`."""
        state, login = self._state, request.path_params["login"]
        owner = _find(state.users, login) or _found(_find(state.organizations, login))
        chosen = _select_public(state.repositories, owner.login, dict(query_pairs(request)))
        return self._page(request, f"/users/{owner.login}/repos", chosen, "", self._listed(token))

    def organizations_of(self, request: Request, _: IssuedToken | None) -> Response:
        """Answer `/users/{login}/orgs`: where this person says publicly that they belong."""
        user = _found(_find(self._state.users, request.path_params["login"]))
        theirs = [one for one in self._organizations_of(user.login) if user.login in one.public_members]
        items = [organization_json(self._state, one) for one in theirs]
        return self._page(request, f"/users/{user.login}/orgs", items, "")

    def organization(self, request: Request, _: IssuedToken | None) -> Response:
        """Answer `/orgs/{login}`."""
        organization = _found(_find(self._state.organizations, request.path_params["login"]))
        body = full_organization_json(self._state, organization)
        return _last_changed(dated_response(request, body), organization.updated_at)

    def repository(self, request: Request, token: IssuedToken | None) -> Response:
        """Answer `/repos/{owner}/{name}`. A private one does not exist for those who may not see it."""
        wanted = "{owner}/{name}".format(**request.path_params).lower()
        repository = next((one for one in self._state.repositories if one.full_name.lower() == wanted), None)
        if repository is None or (repository.private and not _may_see(repository, token)):
            raise Problem(404, "Not Found", accepted="repo")
        body = full_repository_json(self._state, repository, token.user if token else None)
        response = _last_changed(dated_response(request, body), repository.updated_at)
        response.headers["X-Accepted-OAuth-Scopes"] = "repo"
        return response

    def meta(self, request: Request, _: IssuedToken | None) -> Response:
        """Answer `/meta`."""
        return dated_response(request, meta_json())

    # -- lists -------------------------------------------------------------------------------------------------

    def _page(
        self,
        request: Request,
        path: str,
        items: Sequence[Any],
        accepted: str,
        describe: Callable[[Any], dict[str, Any]] = dict,
    ) -> Response:
        query = dict(query_pairs(request))
        page = _paginate(list(items), query)
        response = dated_response(request, [describe(item) for item in page.items])
        # The configured address, never the Host header: a link must not lead elsewhere.
        if link := page.link(f"{self._state.api_url}{path}", query):
            response.headers["Link"] = link
        response.headers["X-Accepted-OAuth-Scopes"] = accepted
        return response

    def _listed(self, token: IssuedToken | None) -> Callable[[Repository], dict[str, Any]]:
        reader = token.user if token else None
        return lambda repository: repository_json(self._state, repository, reader)

    def _organizations_of(self, login: str) -> list[Organization]:
        return [one for one in self._state.organizations.values() if login in one.members]


def _may_see(repository: Repository, token: IssuedToken | None) -> bool:
    return token is not None and "repo" in token.scopes and token.user in repository.affiliations


def _is_of_github_app(token: IssuedToken) -> bool:
    return not token.access_token.startswith("gho_")


def _find(owners: Mapping[str, Owner], login: str) -> Owner | None:
    """Look an account up; capitals do not matter in a login."""
    return next((owner for known, owner in owners.items() if known.lower() == login.lower()), None)


def _found(owner: Owner | None) -> Owner:
    if owner is None:
        raise Problem(404, "Not Found")
    return owner


def _last_changed(response: Response, moment: str) -> Response:
    response.headers["Last-Modified"] = format_datetime(datetime.fromisoformat(moment), usegmt=True)
    return response
