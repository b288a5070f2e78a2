"""The value that `open()` returns, for both ways to use it.

x = await X.open()              # outlives the cell; x.aclose() when done
async with X.open() as x: ...   # closed at the end of the block
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")


class Opening(Generic[T]):
    """An object that is opened when this is awaited, or entered as a context; not before.

    Args:
        opened: opens it.
        closed: closes what `opened` returned.
    """

    def __init__(
        self, opened: Callable[[], Coroutine[Any, Any, T]], closed: Callable[[T], Coroutine[Any, Any, object]]
    ):
        self._open = opened
        self._close = closed
        self._entered: list[T] = []

    def __await__(self) -> Generator[Any, Any, T]:
        return self._open().__await__()

    async def __aenter__(self) -> T:
        value = await self._open()
        self._entered.append(value)
        return value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close(self._entered.pop())

    def __getattr__(self, name: str) -> NoReturn:
        # Only asked for names that do not exist: the `await` was forgotten.
        raise AttributeError(f"It is not open yet, so it has no {name!r}: write `x = await ....open(...)`.")

    def __repr__(self) -> str:
        return "<not open yet: write `x = await ....open(...)` or `async with ....open(...) as x:`>"
