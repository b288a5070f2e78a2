"""The official conformance suite against this package: `make conformance`. Totals go to `results.md`.

It installs the suite, and the Node that it needs, from npm packages into this directory; nothing else is fetched.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

HERE = Path(__file__).parent
PACKAGES = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22")
VERSIONS = ("2025-11-25", "2026-07-28")
TIMEOUT_MILLISECONDS = 180_000

sys.path.insert(0, str(HERE.parent / "tests"))
from test_serve_http import Person, Program  # noqa: E402


def suite(*arguments: str) -> list[str]:
    """Return the command that runs the suite."""
    return [
        str(HERE / "node_modules" / ".bin" / "node"),
        str(HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"),
        *arguments,
    ]


def install() -> None:
    """Install the suite, once."""
    if not (HERE / "node_modules" / "@modelcontextprotocol").exists():
        # npm would look for a project in the directories above.
        subprocess.run(
            ["npm", "install", "--prefix", str(HERE), "--no-audit", "--no-fund", "--no-save", *PACKAGES], check=True
        )


def client(version: str) -> str:
    """Run the client's auth suite at a version of the specification; return its summary."""
    command = f"{sys.executable} {HERE / 'client.py'}"
    arguments = ["--suite", "auth", "--spec-version", version, "--timeout", str(TIMEOUT_MILLISECONDS)]
    return run(suite("client", "--command", command, *arguments))


def authorization_server() -> str:
    """Run the authorization server's scenarios against `serve --mock`; a person walks through the consent."""
    program = Program(HERE)
    try:
        client = {
            "redirect_uris": ["http://127.0.0.1:3000/callback"],
            "token_endpoint_auth_method": "none",
            "client_name": "Conformance suite",
        }
        registered = httpx.post(f"{program.url}/register", json=client).json()
        arguments = ["--url", program.url, "--client-id", registered["client_id"], "--resource", f"{program.url}/mcp"]
        return run(suite("authorization", *arguments), Person())
    finally:
        program.stop()


def run(command: list[str], person: Person | None = None) -> str:
    """Run the suite to its end; open the URL that it prints for a person."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE)
    stopper = threading.Timer(600, process.send_signal, [signal.SIGTERM])
    stopper.start()
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if person is not None and (found := re.match(r"http://\S+/authorize\?\S+", line)):
            person.open(found[0])
    stopper.cancel()
    if process.wait() != 0:
        print(said)
    return said


def main() -> None:
    """Run everything, print the totals and keep them."""
    install()
    runs = {f"client, auth suite, {version}": client(version) for version in VERSIONS}
    runs["authorization server, `serve --mock`"] = authorization_server()
    rows = []
    for name, said in runs.items():
        total = re.search(r"Total: (\d+) passed, (\d+) failed", said)
        rows.append(f"| {name} | {total[1]} | {total[2]} |" if total else f"| {name} | did not finish | |")
    lines = ["| what | passed | failed |", "|---|---|---|", *rows]
    heading = f"# The official conformance suite\n\nWritten by `make conformance`, with {PACKAGES[0]}.\n\n"
    (HERE / "results.md").write_text(heading + "\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if not all(row.endswith("| 0 |") for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
