"""What the checks of notebook 12 say to the answers that people give first."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_oauth_nb import FlowDebugger, HttpLab
from mcp_oauth_nb.debugger.faults import FAULTS
from mcp_oauth_nb.exercises import nb12

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("number", "kind", "actions"),
    [
        (1, "call", ()),
        (2, "resource_metadata", ()),
        (3, "server_metadata", ()),
        (4, "server_metadata", ()),
        (5, "token", ()),
        (6, "refresh", ("refresh",)),
        (7, "reuse", ("refresh", "reuse")),
    ],
)
async def test_each_broken_server_is_found_at_its_step(number: int, kind: str, actions: tuple[str, ...]) -> None:
    async with HttpLab.open() as lab, FlowDebugger.open(lab, auth=nb12.broken(lab, number)) as debug:
        for action in ("authorize", *actions):
            assert debug.cause is None
            await debug.begin(action)
            await debug.run()
    assert debug.cause is not None
    assert debug.cause.step.kind == kind


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("The refresh token", "is no name in `FAULTS`"),
        ("no_s256", "shows at Step 5"),
        ("replay_accepted", "shows at Step 11, the code, once more"),
        ("no_lifetime", "shows otherwise"),
    ],
)
async def test_the_wrong_fault_is_told_how_that_one_shows(answer: str, says: str) -> None:
    verdict = await nb12.check_mystery(answer)
    assert not verdict.right
    assert says in verdict.text


async def test_a_not_yet_does_not_name_the_fault() -> None:
    for answer in ("wrong", *FAULTS):
        verdict = await nb12.check_mystery(answer)
        assert verdict.right == (answer == "reuse_accepted")
        assert verdict.right or "reuse_accepted" not in verdict.text


def changing(until: str, predict: str = "invalid_grant", **parameters: str | None) -> Any:
    async def experiment(debug: FlowDebugger) -> None:
        await debug.run(until=until)
        debug.change(**parameters)
        await debug.step(predict=predict)

    return experiment


@pytest.mark.parametrize(
    ("experiment", "says"),
    [
        (changing("token", "invalid_request", code_verifier=None), "the notebook's own"),
        (changing("callback", state="another"), "a browser carries"),
        (changing("registration", "400", client_name="Another"), "the server took it, and answered 201 Created"),
        (changing("token", "", code="another"), "say before the step"),
        (changing("token", "4", code="another"), "say before the step"),
        (changing("token", "invalid_client", code="another"), "you predicted 'invalid_client', and '400 Bad"),
        (changing("token", nonsense=None), "raised ConfigurationError"),
        (lambda debug: None, "`async def`"),
    ],
)
async def test_an_experiment_that_shows_nothing_is_not_right(experiment: Any, says: str) -> None:
    verdict = await nb12.check_experiment(experiment)
    assert not verdict.right
    assert says in verdict.text


async def test_looking_is_no_experiment() -> None:
    async def looks(debug: FlowDebugger) -> None:
        await debug.run()

    assert "no changed request" in (await nb12.check_experiment(looks)).text


@pytest.mark.parametrize(
    "experiment",
    [
        changing("token", "invalid_grant", redirect_uri="http://127.0.0.1/other"),
        changing("token", "401", client_id="another"),
        changing("authorized", "401", authorization="Bearer another"),
        changing("authorized", "Unauthorized", authorization=None),
    ],
)
async def test_every_refusal_that_was_predicted_is_right(experiment: Any) -> None:
    verdict = await nb12.check_experiment(experiment)
    assert verdict.right, verdict
