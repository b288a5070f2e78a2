"""The layers of DESIGN.md: imports point down the table only, and what is heavy is imported when it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_oauth_nb

PACKAGE = Path(mcp_oauth_nb.__file__).parent

# Beside DESIGN.md's table: `redaction`, `http`, `wire`, `loops` and the like are parts of its modules that two of them
# share. `diagram` stands below `trace`, which offers `trace.diagram()`; both build on `wire`.
HTTP_CLIENT_PARTS = (
    "carrier",
    "checks",
    "context",
    "front",
    "grants",
    "metadata",
    "provider",
    "reading",
    "redirect",
    "registration",
    "stepup",
)
HTTP_CLIENT = [f"http_auth_{part}" for part in (*HTTP_CLIENT_PARTS, "sdk_storage", "storage", "wire")] + [
    "http_auth",
    "http_bounds",
    "http_cookies",
    "http_foreign",
    "http_transport",
]
LAYERS = [
    [
        "_version",
        "errors",
        "clock",
        "redaction",
        "auth_headers",
        "secret_forms",
        "secret_index",
        "secret_memory",
        "pkce",
        "pretty",
        "tokens",
        "http_faults",
        "http",
        "wire",
        "config",
        "environment",
        "single_flight",
        "loopback",
        "jupyterhub",
        "jwt_view",
        "dotenv_text",
        "checks",
        "addresses",
        "url_difference",
        "places",
        "rate_limits",
    ],
    [
        "challenge",
        "store_key",
        "store_lock",
        "store_seal",
        "store_document",
        "store_file",
        "store_keyring",
        "store",
        "store_choice",
        "shared_store",
        "diagram_layout",
        "diagram_svg",
        "diagram",
        "recording_http",
        "recording_httpx2",
        "recording_frames",
        "trace",
        "trace_diff",
        "token_family",
        "github",
        "authorization",
        "mock_github",
        "loops",
        "wakeup",
        "log_records",
        "opening",
        "metadata_checks",
        "metadata_fields",
        "metadata_findings",
    ],
    ["token_endpoint", "retry_after", "provider", "oauth_handler", "discovery_report", "metadata_reading", "probing"],
    ["discovery", "kernel"],
    [
        "tools",
        "protection",
        "server",
        "resource",
        "authserver",
        "connection",
        "session",
        "callback",
        "browser_login",
        *HTTP_CLIENT,
    ],
    ["lab", "http_lab_network", "http_lab"],
    ["debugger", "attacks"],
    [
        "demo",
        "doctor",
        "serve",
        "serve_http",
        "mock_server",
        "widgets",
        "flow_debugger",
        "exercises",
        "debug_text",
        "debug_walk",
        "debug_command",
        "magics",
        "magics_commands",
        "magics_completion",
        "magics_results",
        "cli",
        "main",
        "__main__",
        "pytest_plugin",
        "__init__",
    ],
]
# Methods that mean what they mean in the class that declares them.
OVERRIDDEN = {"invoke", "aclose", "handle_async_request", "is_token_valid", "clear_tokens", "send"}
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def idea(path: Path) -> str:
    """The module of the table that a file belongs to: a package counts as one."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports when it runs; what only a type checker reads does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth and id(node) not in skipped:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found |= set(names)
    return found - {idea(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_layers(path: Path) -> None:
    module = idea(path)
    assert module in RANK, f"{module} has no place in the table of layers"
    upwards = {name for name in imported(path) if RANK[name] > RANK[module]}
    assert not upwards, f"{module} (layer {RANK[module]}) imports {upwards}"


def test_the_mock_does_not_know_the_client_that_it_checks() -> None:
    for path in (PACKAGE / "mock_github").glob("*.py"):
        assert not imported(path) & {"oauth_handler", "token_endpoint", "authorization"}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"mcp", "httpx", "pydantic", "starlette", "ipywidgets", "keyring", "uvicorn", "IPython", "nest_asyncio"}
    assert not loaded_by("import mcp_oauth_nb") & heavy


def test_a_lab_loads_no_widgets_and_no_web_server() -> None:
    assert not loaded_by("from mcp_oauth_nb import Lab, Session") & {"ipywidgets", "keyring", "IPython", "nest_asyncio"}


def test_all_exported_names_exist_and_are_documented() -> None:
    for name in mcp_oauth_nb.__all__:
        assert name == "__version__" or getattr(mcp_oauth_nb, name).__doc__, name


def test_every_exported_name_that_is_loaded_lazily_is_listed() -> None:
    direct = {"__version__", "load_ipython_extension", "unload_ipython_extension"}
    assert set(mcp_oauth_nb._HOMES) == set(mcp_oauth_nb.__all__) - direct


def test_every_public_function_class_and_method_is_documented() -> None:
    missing = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # Dunder methods keep Python's meaning; a Protocol's or a class's public methods have their own.
        for node in ast.walk(tree):
            body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
                continue
            for item in body:
                named = isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                if named and not item.name.startswith("_") and ast.get_docstring(item) is None:
                    missing.append(f"{path.relative_to(PACKAGE)}:{item.lineno} {item.name}")
    # A property's setter is documented by its getter.
    setters = {line for line in missing if line.split()[-1] in {"token", "access_token", "refresh_token", "user"}}
    overridden = {line for line in missing if line.split()[-1] in OVERRIDDEN}
    assert not [line for line in missing if line not in setters | overridden]


def test_no_exported_name_hides_behind_a_module_of_the_same_name() -> None:
    assert not set(mcp_oauth_nb.__all__) & {idea(path) for path in MODULES}
