from __future__ import annotations

import pytest

from mcp_oauth_nb.runtime.awaitable_context import Opening

pytestmark = pytest.mark.anyio


class Door:
    """Counts how often it was opened and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    async def open(self) -> Door:
        self.opened += 1
        return self

    async def aclose(self) -> None:
        self.closed += 1


async def test_awaiting_opens_and_leaves_open() -> None:
    door = Door()
    assert await Opening(door.open, Door.aclose) is door
    assert (door.opened, door.closed) == (1, 0)


async def test_a_block_closes_what_it_opened() -> None:
    door = Door()
    async with Opening(door.open, Door.aclose) as entered:
        assert entered is door
        assert (door.opened, door.closed) == (1, 0)
    assert (door.opened, door.closed) == (1, 1)


async def test_a_block_that_raises_closes_too_and_lets_the_error_through() -> None:
    door = Door()
    with pytest.raises(ZeroDivisionError):
        async with Opening(door.open, Door.aclose):
            raise ZeroDivisionError
    assert door.closed == 1


async def test_nothing_happens_before_it_is_awaited_or_entered() -> None:
    door = Door()
    Opening(door.open, Door.aclose)
    assert door.opened == 0


async def test_blocks_of_one_opening_may_be_nested() -> None:
    door = Door()
    opening = Opening(door.open, Door.aclose)
    async with opening, opening:
        assert door.opened == 2
    assert door.closed == 2


async def test_a_forgotten_await_is_explained_where_it_shows() -> None:
    opening = Opening(Door().open, Door.aclose)
    with pytest.raises(AttributeError, match=r"not open yet, so it has no 'call_tool': write `x = await"):
        opening.call_tool("add")  # type: ignore[misc]
    assert repr(opening) == "<not open yet: write `x = await ....open(...)` or `async with ....open(...) as x:`>"


async def test_looking_for_an_attribute_is_answered_as_usual() -> None:
    assert not hasattr(Opening(Door().open, Door.aclose), "_repr_html_")
