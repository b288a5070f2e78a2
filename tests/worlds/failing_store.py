"""A store that fails when a test says so."""

from __future__ import annotations

from typing import Any

from key_value.aio.stores.memory import MemoryStore


class FailingStore(MemoryStore):
    """Calls `fail` before each step; what that raises is what the step ends in."""

    def fail(self) -> None:
        """Raise, or do nothing."""
        raise NotImplementedError

    async def get(self, *args: Any, **options: Any) -> Any:
        self.fail()
        return await super().get(*args, **options)

    async def put(self, *args: Any, **options: Any) -> None:
        self.fail()
        await super().put(*args, **options)

    async def delete(self, *args: Any, **options: Any) -> bool:
        self.fail()
        return await super().delete(*args, **options)
