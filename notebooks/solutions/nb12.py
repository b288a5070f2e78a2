"""Solutions of notebook 12. A test runs them against the checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcp_oauth_nb import FlowDebugger, HttpLab, Lab
from mcp_oauth_nb.debugger.faults import FAULTS
from mcp_oauth_nb.exercises import nb12


async def mystery(lab: Lab) -> str:
    """Go on after the token until something is wrong, then look for its name."""
    async with HttpLab.open() as there, FlowDebugger.open(there, auth=nb12.broken(there, 7)) as debug:
        for action in "authorize", "refresh", "reuse", "replay", "revoke":
            if debug.cause is None:
                await debug.begin(action)
                await debug.run()
    assert debug.cause is not None
    found = (debug.cause.step.kind, debug.cause.check.name)
    return next(name for name, fault in FAULTS.items() if (fault.step, fault.check) == found)


async def experiment(lab: Lab) -> Callable[[FlowDebugger], Awaitable[None]]:
    """Ask for the token with another resource than the person agreed to."""

    async def answer(debug: FlowDebugger) -> None:
        await debug.run(until="token")
        debug.change(resource="https://other.example/mcp")
        await debug.step(predict="invalid_target")

    return answer
