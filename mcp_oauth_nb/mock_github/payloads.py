"""What the REST API says about a user, a repository and a token."""

from __future__ import annotations

import hashlib
from typing import Any

from ..clock import iso
from .model import IssuedToken, OAuthApp, Repository, User
from .state import State


def user_json(state: State, user: User, *, private: bool) -> dict[str, Any]:
    """Describe a user.

    Args:
        private: include what only the scopes `user` and `read:user` may see.
    """
    owned = [repository for repository in state.repositories if repository.owner == user.login]
    owned_private = sum(repository.private for repository in owned)
    body = _account(state, user.login, user.id, "User") | {
        "name": user.name or None,
        "company": user.company,
        "blog": "",
        "location": user.location,
        "email": user.email,
        "hireable": None,
        "bio": user.bio or None,
        "twitter_username": None,
        "public_repos": len(owned) - owned_private,
        "public_gists": user.public_gists,
        "followers": user.followers,
        "following": user.following,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }
    if not private:
        return body
    return body | {
        "private_gists": user.private_gists,
        "total_private_repos": owned_private,
        "owned_private_repos": owned_private,
        "disk_usage": user.disk_usage,
        "collaborators": 0,
        "two_factor_authentication": user.two_factor_authentication,
        "plan": {"name": user.plan, "space": 976_562_499, "collaborators": 0, "private_repos": 9999},
    }


def repository_json(state: State, repository: Repository, login: str) -> dict[str, Any]:
    """Describe a repository to one of the people who have it in their list."""
    owner = state.users.get(repository.owner)
    kind = "Organization" if repository.owner_is_organization else "User"
    affiliation = repository.affiliations.get(login)
    web, api = f"{state.web_url}/{repository.full_name}", f"{state.api_url}/repos/{repository.full_name}"
    return {
        "id": repository.id,
        "node_id": f"R_{repository.id}",
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": _account(state, repository.owner, owner.id if owner else _organization_id(repository.owner), kind),
        "html_url": web,
        "description": repository.description,
        "fork": repository.fork,
        "url": api,
        "clone_url": f"{web}.git",
        "homepage": None,
        "language": repository.language,
        "forks_count": repository.forks,
        "stargazers_count": repository.stars,
        "watchers_count": repository.stars,
        "size": repository.size,
        "default_branch": "main",
        "open_issues_count": 0,
        "topics": [],
        "archived": repository.archived,
        "disabled": False,
        "visibility": "private" if repository.private else "public",
        "pushed_at": repository.pushed_at,
        "created_at": repository.created_at,
        "updated_at": repository.updated_at,
        "permissions": {
            "admin": affiliation == "owner",
            "push": affiliation in ("owner", "collaborator"),
            "pull": True,
        },
    }


def token_json(state: State, token: IssuedToken, app: OAuthApp) -> dict[str, Any]:
    """Describe a token to its own app."""
    return {
        "id": token.id,
        "url": f"{state.api_url}/authorizations/{token.id}",
        "app": {"client_id": app.client_id, "name": app.name, "url": app.homepage},
        "token": token.access_token,
        "hashed_token": hashlib.sha256(token.access_token.encode()).hexdigest(),
        "token_last_eight": token.access_token[-8:],
        "note": None,
        "note_url": None,
        "created_at": iso(token.created_at),
        "updated_at": iso(token.created_at),
        "expires_at": None if token.expires_at is None else iso(token.expires_at),
        "scopes": list(token.scopes),
        "fingerprint": None,
        "user": _account(state, token.user, state.users[token.user].id, "User"),
    }


def _account(state: State, login: str, identifier: int, kind: str) -> dict[str, Any]:
    return {
        "login": login,
        "id": identifier,
        "node_id": f"U_{identifier}",
        "avatar_url": f"{state.web_url}/{login}.png",
        "url": f"{state.api_url}/users/{login}",
        "html_url": f"{state.web_url}/{login}",
        "repos_url": f"{state.api_url}/users/{login}/repos",
        "type": kind,
        "site_admin": False,
    }


def _organization_id(login: str) -> int:
    return 6_000_000 + int.from_bytes(hashlib.sha256(login.encode()).digest()[:2])
