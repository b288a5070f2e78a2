"""The README's ways to install, tried as a newcomer would: needs a package index, takes about two minutes.

`smoke.py plain` installs without make and runs the demo; `smoke.py lab` starts what `make lab` starts, and asks
JupyterLab for the first notebook.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT_SECONDS = 120


def plain() -> None:
    """`pip install .` into a fresh environment, then the commands of the README in an empty directory."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "venv", with_pip=True)
        programs = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", str(ROOT)], check=True)
        shown = subprocess.run(
            [programs / "mcp-oauth-nb", "demo"], cwd=place, check=True, capture_output=True, text=True
        )
        assert "login: octocat" in shown.stdout
        lab = subprocess.run([programs / "mcp-oauth-nb", "lab"], cwd=place, check=False, capture_output=True, text=True)
        assert 'pip install "mcp-oauth-nb[lab]"' in lab.stderr, lab.stderr
    print("pip install . and mcp-oauth-nb demo: fine")


def lab() -> None:
    """`make lab`, without a browser: JupyterLab answers, and has the first notebook."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "BROWSER", "MAKEFLAGS")}
    environment["JUPYTER_TOKEN"] = "smoke"
    # A process group of its own, so that make and JupyterLab are ended together, and nothing else.
    process = subprocess.Popen(
        ["make", "lab"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        address = _address(process)
        assert _ask(f"{address}api/contents/00-start-here.ipynb?token=smoke")["type"] == "notebook"
    finally:
        os.killpg(process.pid, 15)
        process.wait(LIMIT_SECONDS)
    print(f"make lab: JupyterLab answers at {address}")


def _address(process: subprocess.Popen[str]) -> str:
    deadline = time.monotonic() + LIMIT_SECONDS
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if match := re.search(r"(http://(?:localhost|127\.0\.0\.1):\d+/)lab", line):
            return match[1]
        if time.monotonic() > deadline:
            break
    raise SystemExit("JupyterLab did not print an address:\n" + "".join(seen))


def _ask(url: str) -> dict[str, object]:
    """Ask until the server listens: it prints its address a moment before."""
    for _ in range(50):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.2)
    raise SystemExit("JupyterLab does not answer at the address that it printed.")


if __name__ == "__main__":
    {"plain": plain, "lab": lab}[sys.argv[1]]()
