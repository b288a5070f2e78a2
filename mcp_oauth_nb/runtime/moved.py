"""The import paths from before the rooms: each leads to the same module as its new one, with a `DeprecationWarning`.

They go with the next version. Those that the guide names stay: they have modules of their own.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_PACKAGE = __name__.partition(".")[0]

# The modules that kept their names, by the room that they are in now.
_KEPT = {
    "oauth": (
        "auth_headers authorization challenge clock discovery discovery_report dotenv_text "
        "environment http http_faults metadata_fields metadata_findings metadata_reading probing "
        "secret_forms secret_index secret_memory token_endpoint"
    ),
    "runtime": "kernel log_records loops single_flight",
    "trace": "diagram token_family",
    "client": "callback connection github jupyterhub loopback session",
    "server": "authserver protection rate_limits resource tools",
    "lab": "attacks demo http_lab mock_github pytest_plugin",
    "jupyter": "flow_debugger magics magics_completion magics_results",
    "cli": "debug_walk doctor serve_http",
}
_RENAMED = {
    "addresses": "oauth.urls",
    "browser_login": "client.login",
    "checks": "oauth.check",
    "debug_command": "cli.debug",
    "debug_text": "cli.debug_walk",
    "diagram_layout": "trace.layout",
    "diagram_svg": "trace.svg",
    "http_auth": "client.auth",
    "http_auth_carrier": "client.retrying",
    "http_auth_checks": "client.flow_checks",
    "http_auth_context": "client.context",
    "http_auth_front": "client.front_channel",
    "http_auth_grants": "client.refreshing",
    "http_auth_metadata": "client.flow_requests",
    "http_auth_provider": "client.provider",
    "http_auth_reading": "client.reading",
    "http_auth_redirect": "client.redirect",
    "http_auth_registration": "client.registration",
    "http_auth_sdk_storage": "client.sdk_storage",
    "http_auth_stepup": "client.step_up",
    "http_auth_storage": "store.grants",
    "http_auth_wire": "client.flow_requests",
    "http_bounds": "client.bounds",
    "http_cookies": "client.cookies",
    "http_foreign": "client.other_auth",
    "http_lab_network": "lab.network",
    "http_transport": "client.transport",
    "jwt_view": "oauth.jwt",
    "magics_commands": "jupyter.magics",
    "metadata_checks": "oauth.metadata_rules",
    "mock_server": "cli.commands",
    "opening": "runtime.awaitable_context",
    "places": "oauth.allowed_urls",
    "pretty": "oauth.text",
    "provider": "client.provider_settings",
    "recording_frames": "trace.frames",
    "recording_http": "trace.http_recorder",
    "recording_httpx2": "trace.http_recorder",
    "redaction": "oauth.masking",
    "retry_after": "oauth.patience",
    "serve": "cli.commands",
    "shared_store": "store.shared",
    "store_choice": "store.chosen",
    "store_document": "store.document",
    "store_file": "store.file",
    "store_key": "store.key",
    "store_keyring": "store.keyring",
    "store_lock": "store.lock",
    "store_seal": "store.seal",
    "tokens": "oauth.token",
    "trace_diff": "trace.diff",
    "url_difference": "oauth.urls",
    "wakeup": "runtime.kernel",
    "wire": "trace.messages",
}
MOVED = {name: f"{room}.{name}" for room, names in _KEPT.items() for name in names.split()} | _RENAMED


class MovedModules:
    """Finds a module by its old path, and loads it.

    It has the methods of `importlib.abc` without its classes: that module would be half of what the package costs to
    import.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`; what has not moved is not found here."""
        return ModuleSpec(fullname, cast(Any, self)) if new_path(fullname) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system: what is made here is replaced."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new path in the place of this one."""
        old = module.__name__
        new = new_path(old)
        warnings.warn(f"{old} is {new} now. The old path goes with the next version.", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def new_path(old: str) -> str:
    """Return where a module is now; nothing if it has not moved.

    Args:
        old: its whole dotted path. A module inside a package that has moved is still inside it.
    """
    package, _, path = old.partition(".")
    name, dot, inside = path.partition(".")
    return f"{_PACKAGE}.{MOVED[name]}{dot}{inside}" if package == _PACKAGE and name in MOVED else ""


def install() -> None:
    """Let old paths be imported."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        # Before the other finders, which would load the modules of a package that has moved a second time.
        sys.meta_path.insert(0, MovedModules())
