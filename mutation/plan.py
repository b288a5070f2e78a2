"""Which modules are mutated, and which tests are to notice: those of the module, the quick and the likely first."""

from __future__ import annotations

_STORE = ("store", "store_encrypted", "store_keyring")
_HANDLER = (
    "oauth_handler",
    "oauth_handler_flow",
    "oauth_handler_refresh",
    "oauth_handler_sharing",
    "oauth_handler_safety",
)
_AUTHSERVER = (
    "authserver_token",
    "authserver_races",
    "authserver_store_failures",
    "authserver_clients",
    "authserver_authorize",
    "authserver_lost_answers",
)

PLAN: dict[str, tuple[str, ...]] = {
    "pkce.py": ("pkce",),
    "tokens.py": ("tokens", *_HANDLER),
    "store.py": (*_STORE, "oauth_handler_sharing"),
    "store_file.py": _STORE,
    "store_document.py": (*_STORE, "store_restart"),
    "store_seal.py": ("store_encrypted",),
    "store_key.py": ("store_encrypted", "shared_store"),
    "store_lock.py": ("store", "store_keyring", "oauth_handler_sharing"),
    "store_keyring.py": ("store_keyring",),
    "challenge.py": ("challenge", "oauth_handler"),
    "oauth_handler.py": (*_HANDLER, "oauth_handler_properties"),
    "protection.py": ("server", "resource_tools"),
    "resource/protection.py": ("resource_protection", "resource_tools", "authserver_store_failures"),
    "resource/bearer.py": ("resource_protection",),
    "authserver/grants.py": _AUTHSERVER,
    "authserver/exchanges.py": ("authserver_lost_answers", "authserver_races", "authserver_token"),
    "authserver/redirects.py": ("authserver_clients", "authserver_authorize", "authserver_consent"),
    "http_auth_checks.py": ("http_auth_checks", "http_auth_places", "http_auth_faults"),
}

#: Modules whose tests start processes, of which nobody knows which line they run: each test is run on each mutant.
EACH = frozenset(module for module in PLAN if module.startswith("store"))


def tests_of(module: str) -> list[str]:
    """Return the files of a module's tests."""
    return [f"tests/test_{name}.py" for name in PLAN[module]]
