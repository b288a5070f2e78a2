"""The measurements in small: one round of each, so that none of them breaks unnoticed. No goal is checked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastmcp import Client

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import http_servers  # noqa: E402 - it is found there

from mcp_oauth_nb.server.build import root_logger_untouched  # noqa: E402

PARTS = [
    "The flow debugger and the trace view",
    pytest.param("In process", marks=pytest.mark.e2e),
    pytest.param("Calls over HTTP", marks=pytest.mark.e2e),
    pytest.param("Authorizations and sessions over HTTP", marks=pytest.mark.e2e),
]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The measured servers have processes of their own, and set up logging there."""
    with root_logger_untouched():
        yield


@pytest.mark.timeout(400)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_report_is_measured(part: str) -> None:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "run.py"), "--small", "--part", part]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    table = ended.stdout.partition(f"## {part}\n\n| what | measured | goal |\n|---|---|---|\n")[2]
    assert table.count("\n| ") >= 2


def test_every_part_is_tried() -> None:
    tried = [part if isinstance(part, str) else part.values[0] for part in PARTS]
    written = re.findall(r"^## (.+)$", (BENCHMARKS / "results.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(map(str, tried)) == sorted(written)


@pytest.mark.anyio
async def test_fastmcp_has_the_same_tools() -> None:
    server = http_servers.fastmcp_server("http://127.0.0.1:8000")
    async with Client(server) as client:
        assert {tool.name for tool in await client.list_tools()} == {http_servers.PROTECTED_TOOL, "echo"}


@pytest.mark.parametrize("kind", ["ours", "bare", "fastmcp"])
def test_each_server_that_is_compared_can_be_made(kind: str) -> None:
    assert http_servers.KINDS[kind]("http://127.0.0.1:8000").token
