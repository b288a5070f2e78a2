"""Values do not change once they are made: who holds one need not fear what others do with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mcp_oauth_nb

PACKAGE = Path(mcp_oauth_nb.__file__).parent

#: What stands for something that goes on, and changes with it.
CHANGING = {
    "lab/attacks/outcome.py": {"Plot"},
    "lab/attacks/starting.py": {"Opened"},
    "debugger/debug_gate.py": {"Held"},
    "debugger/exchange.py": {"Facts"},
    "client/context.py": {"Context"},
    "lab/mock_github/autopilot.py": {"_Page", "_Walk"},
    "lab/mock_github/knobs.py": {"Knobs", "_Answer"},
    "lab/mock_github/api.py": {"_Window"},
    "lab/mock_github/model.py": {
        "AppAuthorization",
        "BrowserSession",
        "DeviceRequest",
        "IssuedCode",
        "IssuedToken",
        "OAuthApp",
        "Organization",
        "Repository",
        "User",
    },
    "server/resource/bearer.py": {"RefusedRequest"},
    "server/resource/sessions.py": {"_Session"},
    "runtime/single_flight.py": {"_Flight"},
    "trace/token_family.py": {"Generation"},
}


def dataclasses() -> Iterator[tuple[str, str, bool]]:
    """Give the module and the name of each dataclass, and whether it is frozen."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                if ast.unparse(decorator).partition("(")[0] == "dataclass":
                    name = getattr(node, "name", "")
                    yield path.relative_to(PACKAGE).as_posix(), name, "frozen=True" in ast.unparse(decorator)


def test_every_dataclass_is_frozen_but_for_what_goes_on_and_changes() -> None:
    found: dict[str, set[str]] = {}
    for module, name, frozen in dataclasses():
        if not frozen:
            found.setdefault(module, set()).add(name)
    assert found == CHANGING
