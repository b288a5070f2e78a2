"""A faithful GitHub for learning and tests: authorization server, REST API and the pages for people.

It never imports the OAuth handler, so each checks the other independently. `mock` puts it together: `oauth_endpoints`
and `device` answer for OAuth, `api` for REST (by `resources`, `manage` and `payloads`), `signin` for the pages. All of
them share the `state`, with the `ledger` of tokens and the `model` of what GitHub knows.
"""

from .autopilot import Autopilot
from .knobs import Faults, Knobs
from .mock import MockGitHub
from .model import IssuedToken, OAuthApp, Organization, RedirectUri, Repository, User

__all__ = [
    "Autopilot",
    "Faults",
    "IssuedToken",
    "Knobs",
    "MockGitHub",
    "OAuthApp",
    "Organization",
    "RedirectUri",
    "Repository",
    "User",
]
