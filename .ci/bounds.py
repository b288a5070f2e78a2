"""Whether the bounds in pyproject.toml are true: `make bounds`.

Installs the package with the lowest versions of its direct dependencies that it allows, then with the newest, each in
an environment of its own in `.venv-bounds`, and runs tests that use all of them. The extra `test` is left out: what it
brings along asks for higher versions than the package does.

    python .ci/bounds.py                # both
    python .ci/bounds.py lowest         # or newest
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bounds"
BIN = "Scripts" if sys.platform == "win32" else "bin"
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
PACKAGE = f"{ROOT}[disk,redis,keyring]"
# What the tests themselves need.
TOOLS = ["pytest-timeout>=2.3,<3", "hypothesis>=6.130,<7"]
TESTS = [
    "tests/store/test_store.py",
    "tests/store/test_shared_store.py",
    "tests/store/test_store_encrypted.py",
    "tests/store/test_store_keyring.py",
    "tests/oauth/test_config.py",
    "tests/client/test_http_auth.py",
    "tests/server/test_resource_app.py",
    "tests/jupyter/test_widgets_trace.py",
]


def main(names: list[str]) -> None:
    """Try the named ends of the bounds, or both."""
    tools = PLACE / "uv"
    if not (tools / BIN / "uv").exists():
        venv.create(tools, with_pip=True, clear=True)
        run(tools / BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.8,<1")
    uv = tools / BIN / "uv"
    for name in names or RESOLUTIONS:
        environment = PLACE / name
        python = environment / BIN / "python"
        print(f"The {name} versions that pyproject.toml allows:", flush=True)
        run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        how = ["--quiet", "--python", python, "--resolution", RESOLUTIONS[name]]
        run(uv, "pip", "install", *how, "--editable", PACKAGE, *TOOLS)
        run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)


def run(*command: str | Path) -> None:
    """Run a program, and end as it does if it fails."""
    if status := subprocess.call([str(part) for part in command], cwd=ROOT):
        sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
