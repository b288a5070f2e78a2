"""GitHub's scopes: which exist, which contain which, and how a request for them is normalised."""

from __future__ import annotations

from collections.abc import Iterable

# A scope and the scopes that it includes (GitHub's "Scopes for OAuth apps").
_INCLUDES = {
    "repo": ("repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"),
    "user": ("read:user", "user:email", "user:follow"),
    "admin:org": ("write:org", "read:org", "manage_runners:org"),
    "write:org": ("read:org",),
    "admin:public_key": ("write:public_key", "read:public_key"),
    "write:public_key": ("read:public_key",),
    "admin:repo_hook": ("write:repo_hook", "read:repo_hook"),
    "write:repo_hook": ("read:repo_hook",),
    "admin:gpg_key": ("write:gpg_key", "read:gpg_key"),
    "write:gpg_key": ("read:gpg_key",),
    "write:packages": ("read:packages",),
    "write:discussion": ("read:discussion",),
    "project": ("read:project",),
}
_ALONE = ("admin:org_hook", "gist", "notifications", "delete_repo", "delete:packages", "workflow", "codespace")

#: Asks for a refresh token; it is never part of what is granted.
OFFLINE_ACCESS = "offline_access"

KNOWN = frozenset(_INCLUDES) | {scope for inner in _INCLUDES.values() for scope in inner} | frozenset(_ALONE)


def split(text: str) -> tuple[str, ...]:
    """Split a scope parameter: spaces as documented, commas because they work too."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def normalise(scopes: Iterable[str]) -> tuple[str, ...]:
    """Leave out scopes that another one includes, and those that do not exist: `user,user:email` is `user`.

    What GitHub does with an unknown scope is unverified; here it is not granted.
    """
    asked = tuple(dict.fromkeys(scope for scope in scopes if scope in KNOWN))
    included = {inner for scope in asked for inner in _INCLUDES.get(scope, ())}
    return tuple(scope for scope in asked if scope not in included)


def covers(granted: Iterable[str], asked: Iterable[str]) -> bool:
    """Say whether everything asked for is among the granted scopes or included in one of them."""
    have = set(granted)
    have |= {inner for scope in have for inner in _INCLUDES.get(scope, ())}
    return set(asked) <= have
