"""The door to `oauth.pkce`: the path that the guide names."""

from .oauth.pkce import *  # noqa: F403
