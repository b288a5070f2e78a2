"""Which modules are mutated, and which tests are to notice: those of the module, the quick and the likely first."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent / "mcp_oauth_nb"

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
    "secret_forms.py": ("redaction",),
    "secret_index.py": ("secret_index",),
    "secret_memory.py": ("secret_memory",),
    "redaction.py": ("redaction", "secret_memory"),
    "authorization.py": ("authorization", "oauth_handler_flow"),
    "challenge.py": ("challenge", "http_auth_reading", "oauth_handler"),
    "discovery.py": ("discovery", "discovery_places"),
    "discovery_report.py": ("discovery_report", "discovery"),
    "probing.py": ("probing", "discovery", "discovery_places"),
    "metadata_checks.py": ("metadata_findings",),
    "metadata_fields.py": ("metadata_findings",),
    "metadata_findings.py": ("metadata_findings",),
    "metadata_reading.py": ("metadata_reading", "discovery", "http_auth_reading"),
    "url_difference.py": ("url_difference",),
    "places.py": ("http_auth_places", "discovery_places", "probing"),
    "http_faults.py": ("http", "http_auth_carrier"),
    "http_auth_reading.py": ("http_auth_reading", "http_auth_places", "http_auth_stepping"),
    "http_auth_metadata.py": ("http_auth_reading", "http_auth_checks"),
    "http_auth.py": ("http_auth", "http_auth_registration", "http_auth_faults", "jupyterhub"),
    "http_auth_registration.py": ("http_auth_registration", "http_auth_stepping"),
    "http_auth_redirect.py": ("http_auth_faults", "jupyterhub", "http_auth_tokens"),
    "http_auth_front.py": ("http_auth_stepping", "http_auth_faults"),
    "http_auth_sdk_storage.py": ("http_auth_tokens", "http_auth_grants"),
    "http_auth_storage.py": ("http_auth_storage", "http_auth_tokens", "store_keyring"),
    "callback.py": ("browser_login", "jupyterhub"),
    "browser_login.py": ("browser_login", "leaks"),
    "loopback.py": ("loopback",),
    "addresses.py": ("addresses",),
    "jupyterhub.py": ("jupyterhub",),
    "oauth_handler.py": (*_HANDLER, "oauth_handler_properties"),
    "protection.py": ("server", "resource_tools"),
    "resource/protection.py": (
        "resource_protection",
        "resource_tools",
        "resource_strangers",
        "authserver_store_failures",
    ),
    "resource/bearer.py": ("resource_protection",),
    "authserver/grants.py": _AUTHSERVER,
    "rate_limits.py": ("rate_limits",),
    "authserver/authorize.py": ("authserver_authorize",),
    "authserver/browsers.py": ("authserver_consent", "authserver_authorize", "authserver_token"),
    "authserver/clients.py": ("authserver_clients", "authserver_documents"),
    "authserver/consent.py": ("authserver_consent",),
    "authserver/documents.py": ("authserver_documents",),
    "authserver/endpoints.py": ("authserver_token", "authserver_clients", "authserver_lost_answers"),
    "authserver/federation.py": ("authserver_upstream", "authserver_consent"),
    "authserver/forms.py": ("authserver_forms",),
    "authserver/metadata.py": ("authserver_authorize", "authserver_clients"),
    "authserver/pages.py": ("authserver_consent", "authserver_authorize"),
    "authserver/provider.py": (
        "authserver_strangers",
        "authserver_clients",
        "authserver_token",
        "authserver_store_failures",
        "authserver_lost_answers",
    ),
    "authserver/server.py": (
        "authserver_authorize",
        "authserver_token",
        "authserver_store_failures",
        "authserver_upstream",
    ),
    "authserver/throttle.py": ("authserver_authorize", "values"),
    "authserver/vault.py": ("authserver_vault", "authserver_at_hand"),
    "authserver/waiting.py": ("authserver_waiting",),
    "resource/app.py": ("resource_app",),
    "resource/front.py": ("resource_app", "resource_strangers"),
    "resource/incoming.py": ("resource_incoming",),
    "resource/limits.py": ("resource_strangers", "resource_protection"),
    "resource/metadata.py": ("resource_app",),
    "resource/server.py": ("resource_tools",),
    "resource/sessions.py": ("resource_strangers", "resource_tools", "resource_protection"),
    "authserver/exchanges.py": ("authserver_exchanges",),
    "authserver/redirects.py": ("authserver_clients", "authserver_authorize", "authserver_consent"),
    "token_endpoint.py": ("token_endpoint", "oauth_handler_flow", "oauth_handler_refresh"),
    "http_bounds.py": ("http_bounds", "http_answers"),
    "http_cookies.py": ("http_cookies",),
    "http_auth_carrier.py": ("http_auth_carrier",),
    "http_auth_context.py": ("http_auth_tokens", "http_auth_grants"),
    "http_auth_grants.py": ("http_auth_tokens", "http_auth_grants"),
    "http_auth_provider.py": (
        "http_auth_tokens",
        "http_auth_stepping",
        "http_auth_reading",
        "http_auth_places",
        "http_auth_registration",
        "http_auth_grants",
        "http_auth_faults",
    ),
    "http_auth_stepup.py": ("http_auth_tokens", "http_auth_reading"),
    "http_auth_wire.py": ("http_auth_wire", "http_auth_places", "http_auth_tokens", "http_auth_carrier"),
    "http_transport.py": ("http_auth_grants", "http_answers"),
    "http_auth_checks.py": ("http_auth_checks", "http_auth_places", "http_auth_faults"),
}

#: Modules whose tests start processes, of which nobody knows which line they run: each test is run on each mutant.
EACH = frozenset(module for module in PLAN if module.startswith("store"))


def tests_of(module: str) -> list[str]:
    """Return the files of a module's tests."""
    return [f"tests/test_{name}.py" for name in PLAN[module]]


def fingerprint(module: str) -> str:
    """Return a hash of what is tried: the code of the module, and the kinds of mistakes.

    Imports, comments and docstrings are left out: no mistake is made in them, and a module may move.
    """
    parts = [_code(_PACKAGE / module), _code(_HERE / "mutants.py"), _code(_HERE / "operators.py")]
    return _hash("\n".join(parts))


def relied_on(module: str, killers: Iterable[str]) -> list[str]:
    """Return hashes of the code by which a module's mutants were killed: tests, and all that is no test beside them.

    The rest of the package and what all tests share is left out: with them, each change would make all scores old.

    Args:
        killers: the tests, as pytest names them.
    """
    noticed = {killer.split("::")[1].partition("[")[0] for killer in killers}
    found = {
        name: part for path in tests_of(module) for name, part in _parts(path) if not _is_test(name) or name in noticed
    }
    return sorted(set(found.values()))


def is_there(module: str, hashes: Iterable[str]) -> bool:
    """Say whether all of that is there still, as it was. What was added since can only notice more."""
    return {part for path in tests_of(module) for _, part in _parts(path)}.issuperset(hashes)


def _is_test(name: str) -> bool:
    return name.lower().startswith("test")


@functools.cache
def _parts(path: str) -> list[tuple[str, str]]:
    """Return the name and the hash of each definition of a file; what defines no name is its own name."""
    parts = []
    for node in _tree(_HERE.parent / path).body:
        text = ast.dump(node)
        parts.append((getattr(node, "name", text), _hash(text)[:8]))
    return parts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _code(path: Path) -> str:
    return ast.dump(_tree(path))


def _tree(path: Path) -> ast.Module:
    tree: ast.Module = _WithoutWords().visit(ast.parse(path.read_text(encoding="utf-8")))
    return tree


class _WithoutWords(ast.NodeTransformer):
    """Leaves out imports, and strings that stand alone."""

    def visit_Import(self, node: ast.Import) -> None:
        """Leave it out."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Leave it out."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Leave out a docstring."""
        return None if isinstance(node.value, ast.Constant) else node
