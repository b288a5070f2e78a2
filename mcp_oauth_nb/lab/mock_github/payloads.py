"""The REST API's JSON for people, organizations, tokens and repositories: all fields of GitHub's schema."""

from __future__ import annotations

import hashlib
from typing import Any

from ...oauth.clock import iso
from .model import IssuedToken, OAuthApp, Organization, Repository, User
from .state import State

_SPACE = 976_562_499  # kB of a plan
_PRIVATE_REPOSITORIES = 9999
# Addresses for documentation (RFC 5737 section 3, RFC 3849 section 2), which belong to no host.
_ADDRESSES = ["192.0.2.0/24", "2001:db8::/32"]


def user_json(state: State, user: User, *, private: bool, with_email: bool = True) -> dict[str, Any]:
    """Describe a user.

    Args:
        private: include what only the scopes `user` and `read:user` may see.
        with_email: include the public address, which GitHub shows to those who are signed in.
    """
    owned = _owned(state, user.login)
    owned_private = sum(repository.private for repository in owned)
    body = _account_json(state, user.login, user.id, "User", private=private) | {
        "name": user.name or None,
        "company": user.company,
        "blog": "",
        "location": user.location,
        "email": user.email if with_email else None,
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
        "notification_email": user.email,
        "private_gists": user.private_gists,
        "total_private_repos": owned_private,
        "owned_private_repos": owned_private,
        "disk_usage": user.disk_usage,
        "collaborators": 0,
        "two_factor_authentication": user.two_factor_authentication,
        "plan": {
            "name": user.plan,
            "space": _SPACE,
            "collaborators": 0,
            "private_repos": _PRIVATE_REPOSITORIES,
        },
    }


def emails_json(user: User) -> list[dict[str, Any]]:
    """List a user's addresses: the primary one, further ones, and the one that GitHub gives everybody."""
    visibility = "public" if user.email else "private"
    primary = {"email": user.email or f"{user.login}@example.com", "primary": True, "verified": user.email_verified}
    rest = {**user.more_emails, f"{user.id}+{user.login}@users.noreply.github.com": True}
    return [
        primary | {"visibility": visibility},
        *({"email": email, "primary": False, "verified": known, "visibility": None} for email, known in rest.items()),
    ]


def organization_json(state: State, organization: Organization) -> dict[str, Any]:
    """Describe an organization as lists do."""
    api = f"{state.api_url}/orgs/{organization.login}"
    return {
        "login": organization.login,
        "id": organization.id,
        "node_id": f"O_{organization.id}",
        "url": api,
        "repos_url": f"{api}/repos",
        "events_url": f"{api}/events",
        "hooks_url": f"{api}/hooks",
        "issues_url": f"{api}/issues",
        "members_url": f"{api}/members{{/member}}",
        "public_members_url": f"{api}/public_members{{/member}}",
        "avatar_url": _avatar(state, organization.login),
        "description": organization.description,
    }


def full_organization_json(state: State, organization: Organization) -> dict[str, Any]:
    """Describe an organization as its own address does, the same to every reader."""
    return organization_json(state, organization) | {
        "name": organization.name or None,
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
        "twitter_username": None,
        "is_verified": False,
        "has_organization_projects": True,
        "has_repository_projects": True,
        "public_repos": sum(not repository.private for repository in _owned(state, organization.login)),
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "html_url": f"{state.web_url}/{organization.login}",
        "created_at": organization.created_at,
        "updated_at": organization.updated_at,
        "archived_at": None,
        "type": "Organization",
    }


def organization_as_user_json(state: State, organization: Organization) -> dict[str, Any]:
    """Describe an organization as `/users/{login}` does, where the two are told apart by `type`."""
    full = full_organization_json(state, organization)
    shared = "name company blog location email twitter_username public_repos public_gists followers following".split()
    shared += ["created_at", "updated_at"]
    account = _account_json(state, organization.login, organization.id, "Organization")
    return account | {"hireable": None, "bio": organization.description} | {name: full[name] for name in shared}


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
        "user": _account_json(state, token.user, state.users[token.user].id, "User"),
    }


def meta_json() -> dict[str, Any]:
    """Describe the service. The addresses belong to no host: a firewall rule made of them lets nothing through."""
    names = "hooks web api git packages pages importer actions actions_macos codespaces dependabot copilot".split()
    names.append("github_enterprise_importer")
    return {
        "verifiable_password_authentication": False,
        "ssh_keys": [],
        "ssh_key_fingerprints": {},
        "commit_signing_keys": [],
        "domains": {"website": ["*.github.com"], "codespaces": [], "copilot": [], "packages": [], "actions": []},
    } | {name: list(_ADDRESSES) for name in names}


def _account_json(state: State, login: str, identifier: int, kind: str, *, private: bool = False) -> dict[str, Any]:
    """Describe an account as others see it in a list, or as what owns something."""
    web, api = f"{state.web_url}/{login}", f"{state.api_url}/users/{login}"
    return {
        "login": login,
        "id": identifier,
        "node_id": f"{kind[0]}_{identifier}",
        "avatar_url": _avatar(state, login),
        "gravatar_id": "",
        "url": api,
        "html_url": web,
        "followers_url": f"{api}/followers",
        "following_url": f"{api}/following{{/other_user}}",
        "gists_url": f"{api}/gists{{/gist_id}}",
        "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{api}/subscriptions",
        "organizations_url": f"{api}/orgs",
        "repos_url": f"{api}/repos",
        "events_url": f"{api}/events{{/privacy}}",
        "received_events_url": f"{api}/received_events",
        "type": kind,
        "user_view_type": "private" if private else "public",
        "site_admin": False,
    }


def _avatar(state: State, login: str) -> str:
    return f"{state.web_url}/{login}.png"


def _owned(state: State, login: str) -> list[Repository]:
    return [repository for repository in state.repositories if repository.owner == login]


# Related addresses, as RFC 6570 templates after the repository's own address, by the names of their fields.
_PLACES = {
    "forks": "forks",
    "keys": "keys{/key_id}",
    "collaborators": "collaborators{/collaborator}",
    "teams": "teams",
    "hooks": "hooks",
    "issue_events": "issues/events{/number}",
    "events": "events",
    "assignees": "assignees{/user}",
    "branches": "branches{/branch}",
    "tags": "tags",
    "blobs": "git/blobs{/sha}",
    "git_tags": "git/tags{/sha}",
    "git_refs": "git/refs{/sha}",
    "trees": "git/trees{/sha}",
    "statuses": "statuses/{sha}",
    "languages": "languages",
    "stargazers": "stargazers",
    "contributors": "contributors",
    "subscribers": "subscribers",
    "subscription": "subscription",
    "commits": "commits{/sha}",
    "git_commits": "git/commits{/sha}",
    "comments": "comments{/number}",
    "issue_comment": "issues/comments{/number}",
    "contents": "contents/{+path}",
    "compare": "compare/{base}...{head}",
    "merges": "merges",
    "archive": "{archive_format}{/ref}",
    "downloads": "downloads",
    "issues": "issues{/number}",
    "pulls": "pulls{/number}",
    "milestones": "milestones{/number}",
    "notifications": "notifications{?since,all,participating}",
    "labels": "labels{/name}",
    "releases": "releases{/id}",
    "deployments": "deployments",
}
_FEATURES = {
    "has_issues": True,
    "has_projects": True,
    "has_downloads": True,
    "has_wiki": True,
    "has_pages": False,
    "has_discussions": False,
    "has_pull_requests": True,
    "pull_request_creation_policy": "all",
}
_MERGING = {
    "allow_squash_merge": True,
    "allow_merge_commit": True,
    "allow_rebase_merge": True,
    "allow_auto_merge": False,
    "delete_branch_on_merge": False,
    "allow_update_branch": False,
    "use_squash_pr_title_as_default": False,
    "squash_merge_commit_message": "COMMIT_MESSAGES",
    "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
    "merge_commit_message": "PR_TITLE",
    "merge_commit_title": "MERGE_MESSAGE",
}


def repository_json(state: State, repository: Repository, login: str | None) -> dict[str, Any]:
    """Describe a repository as lists do.

    Args:
        login: the reader; None is a stranger, who is told no permissions.
    """
    web, api = f"{state.web_url}/{repository.full_name}", f"{state.api_url}/repos/{repository.full_name}"
    body: dict[str, Any] = {
        "id": repository.id,
        "node_id": f"R_{repository.id}",
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": _owner(state, repository),
        "html_url": web,
        "description": repository.description,
        "fork": repository.fork,
        "url": api,
        **{f"{name}_url": f"{api}/{place}" for name, place in _PLACES.items()},
        **_clone_urls(web),
        "homepage": None,
        "language": repository.language,
        "forks_count": repository.forks,
        "stargazers_count": repository.stars,
        "watchers_count": repository.stars,
        "size": repository.size,
        "default_branch": "main",
        "open_issues_count": 0,
        "is_template": False,
        "topics": [],
        **_FEATURES,
        "archived": repository.archived,
        "disabled": False,
        "visibility": "private" if repository.private else "public",
        "pushed_at": repository.pushed_at,
        "created_at": repository.created_at,
        "updated_at": repository.updated_at,
        "license": None,
        "allow_forking": True,
        "web_commit_signoff_required": False,
        "forks": repository.forks,
        "open_issues": 0,
        "watchers": repository.stars,
    }
    return body if login is None else body | {"permissions": _permissions(repository, login)}


def full_repository_json(state: State, repository: Repository, login: str | None) -> dict[str, Any]:
    """Describe a repository as its own address does. How merges are done is told to those who may push."""
    body = repository_json(state, repository, login) | {
        "network_count": repository.forks,
        "subscribers_count": 0,
        "custom_properties": {},
    }
    if repository.owner_is_organization:
        body["organization"] = body["owner"]
    if login is None:
        return body
    body["temp_clone_token"] = ""
    if body["permissions"]["push"]:
        body |= _MERGING
    if body["permissions"]["admin"]:
        body["security_and_analysis"] = {"secret_scanning": {"status": "disabled"}}
    return body


def _permissions(repository: Repository, login: str) -> dict[str, bool]:
    """Say what a person may do in a repository that they see."""
    affiliation = repository.affiliations.get(login)
    owner, writer = affiliation == "owner", affiliation in ("owner", "collaborator")
    return {"admin": owner, "maintain": owner, "push": writer, "triage": writer, "pull": True}


def _clone_urls(web: str) -> dict[str, str | None]:
    host, _, name = web.partition("://")[2].partition("/")
    return {
        "git_url": f"git://{host}/{name}.git",
        "ssh_url": f"git@{host}:{name}.git",
        "clone_url": f"{web}.git",
        "svn_url": web,
        "mirror_url": None,
    }


def _owner(state: State, repository: Repository) -> dict[str, Any]:
    login = repository.owner
    owner = state.organizations.get(login) if repository.owner_is_organization else state.users.get(login)
    kind = "Organization" if repository.owner_is_organization else "User"
    return _account_json(state, login, owner.id if owner else _made_up_id(login), kind)


def _made_up_id(login: str) -> int:
    """Make an id for an owner that has no account here: a test may put such a repository into the list."""
    return 6_000_000 + int.from_bytes(hashlib.sha256(login.encode()).digest()[:2])
