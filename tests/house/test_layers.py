"""What is heavy is imported when it is used; what is public is documented."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import mcp_oauth_nb

PACKAGE = Path(mcp_oauth_nb.__file__).parent

# Methods that mean what they mean in the class that declares them.
OVERRIDDEN = {"invoke", "aclose", "handle_async_request", "is_token_valid", "clear_tokens", "send"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


#: The paths that the guide, the README and the notebooks name, and what is behind each.
PROMISED = {
    "config": ("oauth.settings", ["Settings", "settings"]),
    "errors": ("oauth.errors", ["McpOAuthError", "AuthenticationRequired"]),
    "exercises": ("jupyter.exercises", [f"nb{number:02}" for number in range(14)]),
    "oauth_handler": ("client.handler", ["OAuthHandler"]),
    "pkce": ("oauth.pkce", ["PKCE", "generate_pkce_pair"]),
    "server": ("server.build", ["build_server"]),
    "widgets": ("jupyter.widgets", ["AuthorizePanel", "TokenPanel"]),
}
ROOMS = ["cli", "client", "debugger", "jupyter", "lab", "oauth", "runtime", "server", "store", "trace"]


def test_the_root_holds_the_rooms_and_the_promised_paths_alone() -> None:
    names = sorted(path.stem for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.stem != "py")
    assert names == sorted({*ROOMS, *PROMISED, "main", "__init__", "__main__", "_version"})


@pytest.mark.parametrize("path", PROMISED)
def test_a_promised_path_leads_to_what_is_in_its_room(path: str) -> None:
    room, names = PROMISED[path]
    for name in names:
        inside = importlib.import_module(f"mcp_oauth_nb.{room}")
        there = getattr(inside, name, None) or importlib.import_module(f"mcp_oauth_nb.{room}.{name}")
        assert getattr(importlib.import_module(f"mcp_oauth_nb.{path}"), name) is there


def private_modules(room: str) -> set[str]:
    """The modules that a room's docstring names as its own."""
    said = " ".join((importlib.import_module(f"mcp_oauth_nb.{room}").__doc__ or "").split())
    modules = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    if "all its modules are private" in said:
        return modules
    assert ("Public is all but" in said) != ("All its modules are public." in said), room
    named = set(re.findall(r"`(\w+)`", re.split(r"\.( |$)|, which", said.partition("Public is all but")[2])[0]))
    assert named <= modules
    return named


def test_what_a_room_keeps_for_itself_is_imported_by_no_other() -> None:
    graph = grimp.build_graph("mcp_oauth_nb")
    for room in ROOMS:
        for name in private_modules(room):
            importers = graph.find_modules_that_directly_import(f"mcp_oauth_nb.{room}.{name}")
            # The package's own `main` starts the server of the guide.
            assert {importer.split(".")[1] for importer in importers} - {"main", "__main__"} <= {room}, name


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_says(room: str) -> None:
    said = " ".join((importlib.import_module(f"mcp_oauth_nb.{room}").__doc__ or "").split())
    sentence = said.partition("It imports ")[2].partition(";")[0].partition(". ")[0]
    graph = grimp.build_graph("mcp_oauth_nb")
    modules = {f"mcp_oauth_nb.{room}", *graph.find_descendants(f"mcp_oauth_nb.{room}")}
    found = {name.split(".")[1] for module in modules for name in graph.find_modules_directly_imported_by(module)}
    found &= set(ROOMS) - {room}
    named = set(re.findall(r"`(\w+)`", sentence))
    if "the rooms below that" in sentence:
        # Which rooms are below which is for import-linter.
        assert named <= found
    else:
        assert named == found, sentence


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"mcp", "httpx", "pydantic", "starlette", "ipywidgets", "keyring", "uvicorn", "IPython", "nest_asyncio"}
    heavy |= {"importlib.resources", "tempfile"}
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
    assert not set(mcp_oauth_nb.__all__) & {path.stem for path in PACKAGE.iterdir()}


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for item in ast.parse(path.read_text("utf-8")).body:
            if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
                places.setdefault(item.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_file_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        # A door at the root has the name of what is behind it.
        if path.parent != PACKAGE and path.stem != "__init__":
            places.setdefault(path.stem, []).append(str(path.relative_to(PACKAGE)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    # Each is the same of two parties: what the store keeps and the server gives, the pages' frame and its pages.
    assert twice.keys() <= {"grants", "metadata", "pages"}, twice
