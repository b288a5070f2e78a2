"""Exercises of notebook 12, and the broken servers that one meets there."""

from __future__ import annotations

import re
from typing import Any

from ...client.auth import McpAuth
from ...debugger.faults import FAULTS, with_fault
from ...debugger.step import Cause, Step
from ...lab.http_lab import HttpLab
from ..flow_debugger import FlowDebugger
from .verdict import Verdict, checked, checked_async_function, not_yet, right

# By number, since a name would tell what there is to find. The last one is the exercise's.
_SERVERS = (
    "no_challenge",
    "wrong_resource",
    "wrong_issuer",
    "no_s256",
    "other_token_type",
    "not_rotated",
    "reuse_accepted",
)
_IN_THE_NOTEBOOK = (("code_verifier", "dropped"),)


def broken(lab: HttpLab, number: int) -> McpAuth:
    """Return how a client authorizes with the lab when its servers are broken.

    Args:
        number: in which way, from 1 to 7.
    """
    return with_fault(lab, _SERVERS[number - 1])


@checked
async def check_mystery(answer: Any) -> Verdict:
    """The answer is the name of the seventh server's fault."""
    if not isinstance(answer, str) or answer not in FAULTS:
        return not_yet(f"{answer!r} is no name in `FAULTS`; find the cause first, then its name.")
    if answer == _SERVERS[-1]:
        return right(f"{FAULTS[answer].title} A thief could do the same.")
    cause = await _cause(answer)
    shows = f"shows at {cause!r}" if cause is not None else "shows otherwise"
    return not_yet(f"a server with that fault {shows}")


async def _cause(fault: str) -> Cause | None:
    """Return the first cause that the debugger finds for a fault, in a new lab."""
    async with HttpLab.open() as lab, FlowDebugger.open(lab, auth=with_fault(lab, fault)) as debug:
        for action in FAULTS[fault].actions:
            await debug.begin(action)
            await debug.run()
        return debug.cause


@checked_async_function
async def check_experiment(answer: Any) -> Verdict:
    """The answer changes a request so that the server refuses it, and predicts how."""
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as debug:
        await answer(debug)
        changed = [step for step in debug.steps if step.changed]
    if not changed:
        return not_yet("no changed request was sent: `change` something that is pending, then `step`.")
    return _experiment(changed[-1])


def _experiment(step: Step) -> Verdict:
    if step.changed == _IN_THE_NOTEBOOK:
        return not_yet("that is the notebook's own experiment: change something else.")
    if len(step.messages) < 2:
        return not_yet(f"a browser carries {step.about.title!r}: change a request that a server answers.")
    if step.messages[-1].kind != "error":
        return not_yet(f"the server took it, and answered {step.outcome}: change what it must refuse.")
    if not _says_what(step):
        return not_yet("say before the step what will come: step(predict=...), a status or an error code.")
    if not step.prediction_held:
        return not_yet(f"you predicted {step.predicted!r}, and {step.outcome!r} came.")
    return right(f"{step.outcome}, as you said. A server that takes this request has a hole.")


def _says_what(step: Step) -> bool:
    """Say whether a prediction names a status or an error, and is not a letter that many outcomes have in them."""
    words = re.findall(r"\w+", step.predicted.lower())
    there = set(re.findall(r"\w+", step.outcome.lower())) - {"error"}
    return bool(there.intersection(words)) if step.prediction_held else bool(words)
