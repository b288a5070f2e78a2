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
    "oauth/pkce.py": ("pkce",),
    "oauth/token.py": ("tokens", *_HANDLER),
    "store/records.py": ("store_kinds",),
    "store/memory.py": ("store", "store_kinds"),
    "store/tokens.py": (*_STORE, "oauth_handler_sharing"),
    "store/file.py": _STORE,
    "store/document.py": (*_STORE, "store_kinds", "store_restart"),
    "store/seal.py": ("store_encrypted",),
    "store/key.py": ("store_encrypted", "shared_store", "deployment_settings"),
    "store/lock.py": ("store", "store_keyring"),
    "store/keyring.py": ("store_keyring",),
    "oauth/secret_forms.py": ("redaction",),
    "oauth/secret_index.py": ("secret_search",),
    "oauth/secret_memory.py": ("secret_kinds",),
    "oauth/masking.py": ("redaction", "secret_memory"),
    "oauth/authorization.py": ("authorization", "oauth_handler_flow"),
    "oauth/challenge.py": ("challenge", "http_auth_reading", "oauth_handler"),
    "oauth/discovery.py": ("discovery", "discovery_places"),
    "oauth/discovery_report.py": ("discovery_report", "discovery"),
    "oauth/probing.py": ("probing", "discovery", "discovery_places"),
    "oauth/metadata_rules.py": ("metadata_findings",),
    "oauth/metadata_fields.py": ("metadata_findings",),
    "oauth/metadata_findings.py": ("metadata_findings",),
    "oauth/metadata_reading.py": ("metadata_reading", "discovery", "http_auth_reading"),
    "oauth/allowed_urls.py": ("http_auth_places", "discovery_places", "probing"),
    "oauth/http_faults.py": ("http", "http_auth_carrier"),
    "client/reading.py": ("http_auth_reading", "http_auth_places", "http_auth_stepping"),
    "client/auth.py": ("sign_out", "http_auth", "http_auth_registration", "http_auth_faults", "jupyterhub"),
    "client/registration.py": ("http_auth_registration", "http_auth_stepping"),
    "client/redirect.py": ("redirect",),
    "client/front_channel.py": ("http_auth_stepping", "http_auth_faults"),
    "client/sdk_storage.py": ("http_auth_tokens", "http_auth_grants"),
    "store/grants.py": ("http_auth_storage", "http_auth_tokens", "store_keyring"),
    "client/callback.py": ("browser_login", "jupyterhub"),
    "client/login.py": ("browser_login", "leaks"),
    "client/loopback.py": ("loopback",),
    "oauth/urls.py": ("urls", "url_judges"),
    "client/jupyterhub.py": ("jupyterhub",),
    "client/handler.py": (*_HANDLER, "oauth_handler_properties"),
    "server/protection.py": ("server", "resource_tools"),
    "server/resource/gate.py": (
        "resource_protection",
        "resource_tools",
        "resource_strangers",
        "authserver_store_failures",
    ),
    "server/resource/bearer.py": ("resource_protection",),
    "server/authserver/grants.py": _AUTHSERVER,
    "server/rate_limits.py": ("rate_limits",),
    "server/authserver/authorize.py": ("authserver_authorize",),
    "server/authserver/browsers.py": ("authserver_consent", "authserver_authorize", "authserver_token"),
    "server/authserver/clients.py": ("authserver_clients", "authserver_documents"),
    "server/authserver/consent.py": ("authserver_consent",),
    "server/authserver/documents.py": ("authserver_documents",),
    "server/authserver/endpoints.py": ("authserver_token", "authserver_clients", "authserver_lost_answers"),
    "server/authserver/federation.py": ("authserver_upstream", "authserver_consent"),
    "server/authserver/forms.py": ("authserver_forms",),
    "server/authserver/metadata.py": ("authserver_authorize", "authserver_clients"),
    "server/authserver/pages.py": ("authserver_consent", "authserver_authorize"),
    "runtime/pages.py": ("pages", "authserver_consent"),
    "server/authserver/sdk_provider.py": (
        "authserver_strangers",
        "authserver_clients",
        "authserver_token",
        "authserver_store_failures",
        "authserver_lost_answers",
    ),
    "server/authserver/server.py": ("authserver_authorize", "authserver_store_failures", "authserver_upstream"),
    "server/authserver/throttle.py": ("authserver_authorize", "values"),
    "server/authserver/vault.py": ("authserver_vault", "authserver_at_hand"),
    "server/authserver/waiting.py": ("authserver_waiting",),
    "server/resource/app.py": ("resource_app",),
    "server/resource/front_door.py": ("resource_app", "resource_strangers"),
    "server/resource/incoming.py": ("resource_incoming",),
    "server/resource/limits.py": ("resource_strangers", "resource_protection"),
    "server/resource/metadata.py": ("resource_app",),
    "server/resource/many_users.py": ("resource_tools",),
    "server/resource/sessions.py": ("resource_strangers", "resource_tools", "resource_protection"),
    "server/authserver/exchanges.py": ("authserver_exchanges",),
    "server/authserver/redirects.py": ("authserver_clients", "authserver_authorize", "authserver_consent"),
    "oauth/token_endpoint.py": ("token_endpoint", "oauth_handler_flow", "oauth_handler_refresh"),
    "oauth/revocation.py": ("sign_out", "token_endpoint"),
    "client/sign_out.py": ("sign_out",),
    "client/refresher.py": ("refresher",),
    "client/bounds.py": ("answer_bounds",),
    "client/cookies.py": ("http_cookies",),
    "client/retrying.py": ("http_auth_carrier",),
    "client/context.py": ("http_auth_tokens", "http_auth_grants"),
    "client/refreshing.py": ("http_auth_tokens", "http_auth_grants", "sign_out"),
    "client/provider.py": (
        "http_auth_stepping",
        "http_auth_tokens",
        "http_auth_reading",
        "http_auth_places",
        "http_auth_registration",
    ),
    "client/step_up.py": ("http_auth_tokens", "http_auth_reading"),
    "client/flow_requests.py": (
        "http_auth_checks",
        "http_auth_reading",
        "http_auth_wire",
        "http_auth_places",
        "http_auth_tokens",
        "http_auth_carrier",
    ),
    "client/transport.py": ("http_auth_grants", "http_answers"),
    "client/flow_checks.py": ("http_auth_checks", "http_auth_places", "http_auth_faults"),
}

#: Modules whose tests start processes, of which nobody knows which line they run: each test is run on each mutant.
EACH = frozenset(module for module in PLAN if module.startswith("store/"))


def tests_of(module: str) -> list[str]:
    """Return the files of a module's tests."""
    found = {path.stem: path for path in (_HERE.parent / "tests").rglob("test_*.py")}
    return [str(found[f"test_{name}"].relative_to(_HERE.parent)) for name in PLAN[module]]


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
