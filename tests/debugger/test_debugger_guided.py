"""The flow debugger over the flow in process: the lab's handler, stopped before each thing that it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from IPython.lib.pretty import pretty

from mcp_oauth_nb import Lab
from mcp_oauth_nb.debugger import Cause, FlowRun, GuidedFlow, Step
from mcp_oauth_nb.debugger.debug_gate import Gate, Held
from mcp_oauth_nb.oauth.check import Check
from mcp_oauth_nb.oauth.errors import ConfigurationError, InvalidAuthorizationCode, SessionError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        yield lab


@pytest.fixture
async def run(lab: Lab) -> AsyncIterator[FlowRun]:
    run = FlowRun(lambda run: GuidedFlow(run, lab))
    yield run
    await run.aclose()


def kinds(run: FlowRun) -> list[str]:
    return [step.kind for step in run.steps]


async def until(run: FlowRun, kind: str) -> None:
    """Step until this is pending."""
    await run.begin()
    while run.pending is not None and run.pending.kind != kind:
        await run.step()
    assert run.pending is not None


async def test_nothing_is_sent_before_the_first_step(run: FlowRun, lab: Lab) -> None:
    mark = len(lab.trace)
    pending = await run.begin()
    assert pending is not None
    assert pending.kind == "call"
    assert lab.trace.since(mark) == ()
    assert run.state == "stepping"


async def test_the_whole_flow_passes_step_by_step(run: FlowRun) -> None:
    await run.run()
    assert kinds(run) == ["call", "authorize", "callback", "token", "authorized"]
    assert [check for step in run.steps for check in step.failed] == []
    assert run.cause is None
    assert run.state == "done"


async def test_each_step_has_its_exchange_and_the_browser_its_arrow(run: FlowRun) -> None:
    await run.run()
    outcomes = [step.outcome for step in run.steps]
    assert outcomes[0] == "error -32001: Authentication required"
    assert outcomes[1] == "open https://github.com/login/oauth/authorize"
    assert outcomes[3] == "200 OK"


async def test_after_the_token_come_refresh_reuse_replay_step_up_and_revocation(run: FlowRun) -> None:
    await run.run()
    for action in ("refresh", "reuse", "replay", "step_up", "revoke"):
        before = len(run.steps)
        await run.begin(action)
        await run.run()
        assert run.error is None, action
        assert run.cause is None, action
        assert len(run.steps) > before
    # What was revoked is asked for again.
    await run.begin("call")
    await run.run()
    assert kinds(run)[-5:] == ["call", "authorize", "callback", "token", "authorized"]


async def test_a_missing_code_verifier_is_refused_and_the_prediction_is_compared(run: FlowRun) -> None:
    await until(run, "token")
    run.change(code_verifier=None)
    step = await run.step(predict="bad_verification_code")
    assert step is not None
    assert step.changed == (("code_verifier", "dropped"),)
    assert step.prediction_held
    assert isinstance(run.error, InvalidAuthorizationCode)
    assert run.state == "stopped"
    # What a changed request brings is no fault of the server.
    assert run.cause is None


async def test_a_changed_state_is_noticed_by_the_client(run: FlowRun) -> None:
    await until(run, "callback")
    run.change(state="another-state-than-the-one-that-was-sent")
    step = await run.step(predict="GET")
    assert step is not None
    assert next(check.name for check in step.failed) == "the state is the one that was sent"
    assert run.state == "stopped"


async def test_parameters_are_shown_masked(run: FlowRun) -> None:
    await until(run, "token")
    pending = run.pending
    assert pending is not None
    shown = pending.shown()
    for name in ("code", "code_verifier", "client_secret"):
        assert shown[name].startswith("****") or "****" in shown[name]
        assert pending.parameters[name] not in repr(pending) + repr(run)
    assert shown["grant_type"] == "authorization_code"


async def test_dropping_what_is_not_there_changes_nothing(run: FlowRun) -> None:
    await until(run, "token")
    with pytest.raises(ConfigurationError, match="nonsense"):
        run.change(code="x", nonsense=None)
    pending = run.pending
    assert pending is not None
    assert pending.changed == {}


async def test_there_is_nothing_to_change_before_the_first_step(run: FlowRun) -> None:
    with pytest.raises(SessionError):
        run.change(code=None)


async def test_two_actions_at_once_are_refused(run: FlowRun) -> None:
    await run.begin()
    with pytest.raises(SessionError, match="under way"):
        await run.begin("refresh")


async def test_an_unknown_action_names_those_there_are(run: FlowRun) -> None:
    with pytest.raises(ConfigurationError, match="nonsense") as caught:
        await run.begin("nonsense")
    assert "refresh" in caught.value.hint


def test_a_cause_is_one_line_in_a_log_and_several_in_a_notebook() -> None:
    check = Check("it is refused", "failed", "answered 200", " ".join(["400"] * 40), "RFC 6749 section 5.2")
    cause = Cause(Step(4, "call"), check)
    assert repr(cause).startswith("Step 4, request to the MCP server: ✘ it is refused. answered 200. It should be: 400")
    lines = pretty(cause).split("\n")
    assert lines[:3] == ["Step 4, request to the MCP server", "   ✘ it is refused", "   Seen: answered 200"]
    assert " ".join(line.strip() for line in lines[3:-1]) == f"It should be: {check.should}"
    assert lines[-1] == "   RFC 6749 section 5.2"
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize("until", ["call", "token"])
async def test_a_run_can_stop_before_a_step(run: FlowRun, until: str) -> None:
    await run.run(until=until)
    assert run.pending is not None
    assert run.pending.kind == until
    assert until not in kinds(run)
    await run.run()
    assert run.state == "done"


async def test_a_run_ends_where_it_never_comes_to_that_step(run: FlowRun) -> None:
    await run.run(until="refresh")
    assert run.state == "done"
    with pytest.raises(ConfigurationError, match="nonsense"):
        await run.run(until="nonsense")


@pytest.mark.parametrize("action", ["refresh", "reuse", "replay", "revoke"])
async def test_what_needs_a_token_says_so(run: FlowRun, action: str) -> None:
    await run.begin(action)
    assert isinstance(run.error, ConfigurationError)
    assert run.state == "stopped"


async def test_cancelling_ends_the_action_and_keeps_the_steps(run: FlowRun) -> None:
    await until(run, "token")
    await run.cancel()
    assert run.state == "cancelled"
    assert kinds(run) == ["call", "authorize", "callback"]
    assert await run.step() is None


async def test_a_reset_begins_like_the_first_time(run: FlowRun) -> None:
    await run.run()
    await run.reset()
    assert run.steps == ()
    assert run.state == "ready"
    await run.run()
    assert kinds(run) == ["call", "authorize", "callback", "token", "authorized"]


async def test_the_diagram_grows_with_the_steps(run: FlowRun) -> None:
    await run.begin()
    await run.step()
    first = len(run.diagram.messages)
    await run.run()
    assert len(run.diagram.messages) > first > 0


async def test_whoever_observes_hears_of_every_change(run: FlowRun) -> None:
    heard: list[str] = []
    run.observe(lambda: heard.append(run.state))
    await run.begin()
    await run.step()
    await run.run()
    assert heard[0] == "stepping"
    assert heard[-1] == "done"


async def test_the_run_can_be_driven_from_two_loops(run: FlowRun) -> None:
    await run.begin()

    def elsewhere() -> str | None:
        step = asyncio.run(run.step())
        return step.kind if step is not None else None

    assert await asyncio.to_thread(elsewhere) == "call"
    step = await run.step()
    assert step is not None
    assert step.kind == "authorize"


async def test_the_report_of_a_run_is_the_same_on_every_run() -> None:
    async def report() -> str:
        async with Lab.open() as lab:
            run = FlowRun(lambda run: GuidedFlow(run, lab))
            await run.run()
            return repr(run) + "".join(map(repr, run.steps))

    assert await report() == await report()


async def test_what_is_cancelled_while_it_is_held_is_not_released_in_the_place_of_what_comes_next() -> None:
    gate = Gate()
    first = asyncio.ensure_future(gate.hold(Held("call", "the first")))
    await asyncio.wait([first], timeout=0)
    first.cancel()
    await asyncio.wait([first])
    assert gate.pending is None
    second = asyncio.ensure_future(gate.hold(Held("call", "the second")))
    await asyncio.wait([second], timeout=0)
    assert gate.pending is not None
    assert gate.pending.summary == "the second"
    gate.release()
    assert (await second).summary == "the second"
