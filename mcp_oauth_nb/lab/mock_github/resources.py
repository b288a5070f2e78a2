"""What can be read through the REST API, by whom: people, their addresses, organizations and repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from . import scopes
from .formats import query_pairs
from .listing import paginate, select, select_public
from .model import IssuedToken, Organization, Repository, User
from .payloads import (
    emails_json,
    full_organization_json,
    meta_json,
    organization_as_user_json,
    organization_json,
    user_json,
)
from .repository_payloads import full_repository_json, repository_json
from .rest import Problem, dated_response
from .state import State

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
        private = scopes.covers(token.scopes, ["read:user"])
        return _last_changed(dated_response(request, user_json(self._state, user, private=private)), user.updated_at)

    def emails(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/emails`."""
        accepted = "user, user:email"
        if not scopes.covers(token.scopes, ["user:email"]):
            if _is_of_github_app(token):
                raise Problem(403, "Resource not accessible by integration")
            # The live service hides the address from tokens that may not read it.
            raise Problem(404, "Not Found", accepted=accepted)
        return self._page(request, "/user/emails", emails_json(self._state.users[token.user]), accepted)

    def own_organizations(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/orgs`."""
        accepted = "admin:org, read:org, user, write:org"
        if not (scopes.covers(token.scopes, ["read:org"]) or "user" in token.scopes or _is_of_github_app(token)):
            text = "You need at least read:org scope or user scope to list your organizations."
            raise Problem(403, text, accepted=accepted)
        # A GitHub App sees those organizations only where it is installed, and here it is installed nowhere.
        mine = [] if _is_of_github_app(token) else self._organizations_of(token.user)
        return self._page(request, "/user/orgs", [organization_json(self._state, one) for one in mine], accepted)

    def own_repositories(self, request: Request, token: IssuedToken) -> Response:
        """Answer `/user/repos`."""
        chosen = select(self._state.repositories, token, dict(query_pairs(request)))
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
        chosen = select_public(state.repositories, owner.login, dict(query_pairs(request)))
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
        """Answer `/repos/{owner}/{name}`. What is private does not exist for those who may not see it."""
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
        page = paginate(list(items), query)
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
