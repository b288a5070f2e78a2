from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mcp_oauth_nb.runtime.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_leads_to_the_module_that_has_moved_and_says_where_it_is(old: str) -> None:
    path = f"mcp_oauth_nb.{old}"
    sys.modules.pop(path, None)
    with pytest.warns(DeprecationWarning, match=f"{path} is mcp_oauth_nb.{MOVED[old]} now"):
        module = importlib.import_module(path)
    assert module is importlib.import_module(f"mcp_oauth_nb.{MOVED[old]}")


def test_what_is_in_a_package_that_has_moved_is_loaded_once() -> None:
    code = (
        "from mcp_oauth_nb.resource.metadata import PublicAddress as old\n"
        "from mcp_oauth_nb.server.resource.metadata import PublicAddress as new\n"
        "print(old is new)"
    )
    ended = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
    # It names the line of whoever imports it.
    assert "<string>:1: DeprecationWarning: mcp_oauth_nb.resource is mcp_oauth_nb.server.resource now" in ended.stderr


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        importlib.import_module("mcp_oauth_nb.nothing")
