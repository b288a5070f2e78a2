"""The set-up of `make`: what is missing is one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent.parent / ".ci" / "make_venv.py"


def ended_by(preparation: str, directory: Path) -> str:
    """Run the script in a Python that lacks something; return its last words."""
    code = f"import runpy, sys; {preparation}; sys.argv[1:] = [{str(directory)!r}, 'test']; "
    code += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert not directory.exists()
    return ended.stderr.strip()


def test_a_python_that_is_too_old_is_one_sentence(tmp_path: Path) -> None:
    said = ended_by("sys.version_info = (3, 9, 18)", tmp_path / "venv")
    assert said == "make: Python 3.11 or newer is needed, this is 3.9; try: make PYTHON=python3.12"


def test_a_missing_venv_module_is_one_sentence(tmp_path: Path) -> None:
    said = ended_by("sys.modules['venv'] = None", tmp_path / "venv")
    assert said.startswith("make: the Python module venv is missing; on Debian and Ubuntu: apt-get install")
    assert len(said.splitlines()) == 1
