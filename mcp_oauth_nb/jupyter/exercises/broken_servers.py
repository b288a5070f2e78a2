"""Exercises of notebooks 12 and 13: servers that are broken, and the attacks that they let through."""

from __future__ import annotations

import re
from typing import Any

from ...client.auth import McpAuth
from ...debugger.faults import FAULTS, with_fault
from ...debugger.step import Cause, Step
from ...lab.http_lab import HttpLab
from ..flow_debugger import FlowDebugger
from . import Verdict, checked, checked_async_function, checked_function, not_yet, right

# -- 12: servers that are broken -------------------------------------------------------------------------------------

# The servers have numbers, since a name would tell the fault. The last one is that of the exercise.
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


# -- 13: the attack lab ----------------------------------------------------------------------------------------------

_SHOP, _LOCAL = "https://shop.example/callback", "http://127.0.0.1/callback"

# The cases: the registered URI, the requested one, whether it is allowed, and a name.
REDIRECTS: tuple[tuple[str, str, bool, str], ...] = (
    (_SHOP, _SHOP, True, "the registered URI itself"),
    (_SHOP, f"{_SHOP}/comments", False, "a page below it, where visitors write"),
    (_SHOP, f"{_SHOP}?next=https://evil.example", False, "a query that was not registered"),
    (_SHOP, "https://guest.shop.example/callback", False, "a sub-domain"),
    (_SHOP, "https://shop.example@evil.example/callback", False, "a user name that looks like the host"),
    (_SHOP, "https://shop.example%2f@evil.example/callback", False, "the same, with an escaped slash"),
    (_SHOP, "https://shop.example:8443/callback", False, "another port of a host on the internet"),
    (_SHOP, "http://shop.example/callback", False, "the same without TLS"),
    (_SHOP, "https://shop.example/CALLBACK", False, "the same in capitals: a path is compared as it is"),
    (_SHOP, f"{_SHOP}#fragment", False, "a fragment that was not registered"),
    (_LOCAL, _LOCAL, True, "a program on this machine"),
    (_LOCAL, "http://127.0.0.1:51004/callback", True, "the same program, at the port that it got today"),
    (_LOCAL, "http://127.0.0.1:51004/other", False, "another path on this machine"),
    (
        _LOCAL,
        "http://localhost:51004/callback",
        False,
        "a name in place of the address, which may be resolved elsewhere",
    ),
    (_LOCAL, "http://127.0.0.1.evil.example:51004/callback", False, "a host that begins like the address"),
    (
        _LOCAL,
        "http://127.0.0.1:51004@evil.example/callback",
        False,
        "a user name and password that look like the address",
    ),
    (_LOCAL, "https://127.0.0.1:51004/callback", False, "another scheme"),
)

_STATE, _ISSUER, _CODE = "the-state-of-this-flow", "https://mcp.example", "the-code"
_BACK = "http://127.0.0.1:51004/callback?"
_GOOD = f"code={_CODE}&state={_STATE}&iss=https%3A%2F%2Fmcp.example"

# The cases: the query of a callback, whether its code may be used, and a name.
CALLBACKS: tuple[tuple[str, bool, str], ...] = (
    (_GOOD, True, "the genuine answer"),
    (_GOOD.replace("state=the", "state=another"), False, "the state of another flow"),
    (f"code={_CODE}&iss=https%3A%2F%2Fmcp.example", False, "no state"),
    (_GOOD.replace("mcp.example", "evil.example"), False, "the issuer of another server"),
    (f"{_GOOD}%2F", False, "an issuer with a slash more: it is compared as it is"),
    (f"code={_CODE}&state={_STATE}", False, "no iss, from a server that has promised to send it always"),
    (f"{_GOOD}&error=access_denied", False, "an error beside the code"),
    (f"state={_STATE}&iss=https%3A%2F%2Fmcp.example&error=access_denied", False, "an error alone"),
    (f"{_GOOD}&code=another", False, "two codes"),
    (f"state=forged&{_GOOD}", False, "two states"),
    (f"iss=https%3A%2F%2Fevil.example&{_GOOD}", False, "two issuers"),
    (f"{_GOOD}&iss=https%3A%2F%2Fevil.example", False, "two issuers, the other way round"),
    (_GOOD.replace(_CODE, ""), False, "a code that is empty"),
)


@checked_function
def check_redirect_uri(answer: Any) -> Verdict:
    """The answer is a function that says whether a request's redirect URI fits the registered one."""
    for registered, asked, expected, what in REDIRECTS:
        found = answer(registered, asked)
        if found is not expected:
            return not_yet(f"{what}: for {registered!r} and {asked!r} it returned {found!r}.")
    return right(
        "exactly, but for the port of a loopback address: nothing here can be made to look like something else."
    )


@checked_function
def check_code_to_send(answer: Any) -> Verdict:
    """The answer is a function that returns the code of a callback, or None where it must not be used."""
    for query, good, what in CALLBACKS:
        found = answer(_BACK + query, _STATE, _ISSUER)
        if found != (_CODE if good else None):
            return not_yet(f"{what}: for {_BACK + query!r} it returned {found!r}.")
    return right("only what this flow asked for, from the server that it asked, goes on to the token endpoint.")
