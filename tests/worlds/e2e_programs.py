"""The programs that the end-to-end tests need and pip does not install. A missing one is a failure that says so."""

from __future__ import annotations

import shutil


def program(name: str, package: str) -> str:
    """Return the path of an installed program.

    Args:
        name: what it is called.
        package: the Debian package that has it.
    """
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed; on Debian and Ubuntu: apt-get install {package}"
    return path


def chromium() -> str:
    """Return the path of the browser."""
    return program("chromium", "chromium")


def redis_server() -> str:
    """Return the path of the Redis server."""
    return program("redis-server", "redis-server")


def npm() -> str:
    """Return the path of the Node package manager."""
    return program("npm", "npm")


def node() -> str:
    """Return the path of Node."""
    return program("node", "nodejs")


#: Headless, in a container too, and without a connection to anywhere but this machine.
CHROMIUM_FLAGS = [
    *"--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync".split(),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
