"""What the tests of sessions share."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest
from mcp_types import CallToolResult, TextContent

from mcp_oauth_nb.runtime import loops

SECONDS = 5.0


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No test may leave a task on the loop thread, or work that does not end."""
    yield
    gc.collect()

    async def others() -> set[str]:
        # What was asked to close without waiting for it may still be at it.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        _, pending = await asyncio.wait(rest, timeout=SECONDS) if rest else (set(), set())
        return {task.get_name() for task in pending}

    assert loops.run(others()) == set()
    assert loops.stop()


def text(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


async def happens(event: threading.Event) -> bool:
    return await asyncio.to_thread(event.wait, SECONDS)
