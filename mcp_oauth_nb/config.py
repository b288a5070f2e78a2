"""The door to `oauth.settings`: the path that the guide names. `settings` is what the environment says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .oauth.settings import *  # noqa: F403

if TYPE_CHECKING:
    from .oauth.settings import settings as settings
else:

    def __getattr__(name: str) -> Any:
        from .oauth import settings

        return getattr(settings, name)
