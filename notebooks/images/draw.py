"""Draw `flow.svg`, the README's picture, from a recording: `python notebooks/images/draw.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mcp_oauth_nb import Lab

PICTURE = Path(__file__).with_name("flow.svg")


async def draw() -> str:
    """Run the README's first example and return its diagram."""
    async with Lab.open() as lab:
        await lab.session.call_tool("get_github_user_info", {"include_repos": False}, authorize=lab.authorize)
        return lab.trace.diagram().svg


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(draw()) + "\n", encoding="utf-8")
