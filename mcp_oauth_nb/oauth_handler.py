"""The door to `client.handler`: the path that the guide names."""

from .client.handler import *  # noqa: F403
