"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Jupyter runs asyncio, so that is the backend that counts."""
    return "asyncio"
