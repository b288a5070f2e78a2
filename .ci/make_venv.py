# ruff: noqa: UP031, RUF005, PTH110, PTH118, PTH123 - it must be readable to a Python that is too old
"""Make a virtual environment with this package and one of its extras: `make_venv.py DIRECTORY EXTRA`.

Runs on any Python 3, so that one that is too old can say so.
"""

import os
import subprocess
import sys

OLDEST = (3, 11)


def stop(message):
    """End with one sentence."""
    sys.exit("make: " + message)


def say(message):
    """Write a line at once. Not print(), which Python 2 would not even parse with `flush`."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


def main(directory, extra):
    """Create the environment if it is not there, then install or update what it holds."""
    if sys.version_info < OLDEST:
        stop(
            "Python %d.%d or newer is needed, this is %d.%d; try: make PYTHON=python3.12"
            % (OLDEST + sys.version_info[:2])
        )
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        stop("the Python module venv is missing; on Debian and Ubuntu: apt-get install python3-venv")
    python = os.path.join(directory, "Scripts" if os.name == "nt" else "bin", "python")
    if not os.path.exists(python):
        say("Creating %s ..." % directory)
        venv.create(directory, with_pip=True, clear=True)
    say("Installing into %s (about a minute the first time) ..." % directory)
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        "constraints.txt",
    ]
    if subprocess.call(command + ["--editable", ".[%s]" % extra]):
        stop("the installation failed; its output above says why")
    open(os.path.join(directory, ".ready"), "w").close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
