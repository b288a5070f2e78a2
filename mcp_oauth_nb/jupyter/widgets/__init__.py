"""Panels for notebooks. Each shows a model, which does the work and is of use without the panel too.

The names below are imported when they are first used: one panel does not cost the libraries of all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authorize import AuthorizeModel, AuthorizePanel
    from .challenge import ChallengeInspector
    from .challenge_model import ChallengeModel
    from .flow import FlowPanel
    from .flow_model import FlowModel
    from .metadata import MetadataExplorer
    from .metadata_model import MetadataModel
    from .pkce import PkcePlayground
    from .pkce_model import PkceModel
    from .settings import SettingsForm
    from .settings_model import SettingsModel
    from .token import TokenPanel
    from .token_model import TokenModel
    from .trace import TraceView
    from .trace_model import TraceModel

_HOMES = {
    "AuthorizeModel": "authorize",
    "AuthorizePanel": "authorize",
    "ChallengeInspector": "challenge",
    "ChallengeModel": "challenge_model",
    "FlowModel": "flow_model",
    "FlowPanel": "flow",
    "MetadataExplorer": "metadata",
    "MetadataModel": "metadata_model",
    "PkceModel": "pkce_model",
    "PkcePlayground": "pkce",
    "SettingsForm": "settings",
    "SettingsModel": "settings_model",
    "TokenModel": "token_model",
    "TokenPanel": "token",
    "TraceModel": "trace_model",
    "TraceView": "trace",
}

__all__ = [
    "AuthorizeModel",
    "AuthorizePanel",
    "ChallengeInspector",
    "ChallengeModel",
    "FlowModel",
    "FlowPanel",
    "MetadataExplorer",
    "MetadataModel",
    "PkceModel",
    "PkcePlayground",
    "SettingsForm",
    "SettingsModel",
    "TokenModel",
    "TokenPanel",
    "TraceModel",
    "TraceView",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
