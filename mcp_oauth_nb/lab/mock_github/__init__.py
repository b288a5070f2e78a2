"""A faithful GitHub for learning and tests: authorization server, REST API and the pages for people.

It never imports the OAuth handler, so each checks the other independently.
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
