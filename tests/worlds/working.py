"""How much work a call is, counted in calls of functions: the same on every machine, whatever else it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


def calls_of(work: Callable[[], object]) -> int:
    """Count the functions that are called, of Python and of C, and the steps of generators."""
    count = 0

    def noticed(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(noticed)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
