"""Panels for notebooks. Each shows a model, which does the work and is of use without the panel too.

The names below are imported when they are first used: one panel does not cost the libraries of all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authorize_panel import AuthorizeModel, AuthorizePanel
    from .challenge_model import ChallengeModel
    from .challenge_panel import ChallengeInspector
    from .flow_model import FlowModel
    from .flow_panel import FlowPanel
    from .metadata_model import MetadataModel
    from .metadata_panel import MetadataExplorer
    from .pkce_panel import PkceModel, PkcePlayground
    from .settings_panel import SettingsForm, SettingsModel
    from .token_model import TokenModel
    from .token_panel import TokenPanel
    from .trace_model import TraceModel
    from .trace_panel import TraceView

_HOMES = {
    "AuthorizeModel": "authorize_panel",
    "AuthorizePanel": "authorize_panel",
    "ChallengeInspector": "challenge_panel",
    "ChallengeModel": "challenge_model",
    "FlowModel": "flow_model",
    "FlowPanel": "flow_panel",
    "MetadataExplorer": "metadata_panel",
    "MetadataModel": "metadata_model",
    "PkceModel": "pkce_panel",
    "PkcePlayground": "pkce_panel",
    "SettingsForm": "settings_panel",
    "SettingsModel": "settings_panel",
    "TokenModel": "token_model",
    "TokenPanel": "token_panel",
    "TraceModel": "trace_model",
    "TraceView": "trace_panel",
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
