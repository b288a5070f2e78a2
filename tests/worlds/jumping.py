"""An event loop for tests of what takes minutes."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose clock jumps ahead to what is due next, so that nobody waits."""

    def __init__(self) -> None:
        self.ahead = 0.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                ready = super().select(0)
                if not ready:
                    loop.ahead += timeout or 0.0
                return ready

        super().__init__(Selector())

    def time(self) -> float:
        return super().time() + self.ahead


def in_no_time(do: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run something on such a loop. It must wait for nothing but time and itself: no thread, no socket."""
    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(do())
