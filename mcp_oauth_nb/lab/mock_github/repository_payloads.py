"""What the REST API says about a repository: every field of GitHub's published schema, in its three sizes."""

from __future__ import annotations

import hashlib
from typing import Any

from .model import Repository
from .payloads import account_json
from .state import State

# Where else to look, as RFC 6570 templates behind the repository's own address. A name is that of its field.
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
        login: who reads it; None is a stranger, who is told no permissions.
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
    return body if login is None else body | {"permissions": permissions(repository, login)}


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


def permissions(repository: Repository, login: str) -> dict[str, bool]:
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
    return account_json(state, login, owner.id if owner else _made_up_id(login), kind)


def _made_up_id(login: str) -> int:
    """Make an id for an owner that has no account here: a test may put such a repository into the list."""
    return 6_000_000 + int.from_bytes(hashlib.sha256(login.encode()).digest()[:2])
