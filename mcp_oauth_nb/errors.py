"""The door to `oauth.errors`: the path that the guide names."""

from .oauth.errors import *  # noqa: F403
