"""Recordings: a run that is written down, played again without a network, and compared field by field."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest
from http_world import ASM, MCP, PRM, World, client_of, served
from mcp.shared.auth import OAuthClientInformationFull

from mcp_oauth_nb import HttpLab, Lab
from mcp_oauth_nb.debugger import FlowRun
from mcp_oauth_nb.debugger.comparison import differences, observe
from mcp_oauth_nb.debugger.recording import Recording
from mcp_oauth_nb.debugger.replay import Answers, NotRecorded, Replayed, _nobody, replay
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.oauth import errors
from mcp_oauth_nb.oauth.errors import ConfigurationError

pytestmark = pytest.mark.anyio

MODES: list[Literal["auto", "legacy"]] = ["auto", "legacy"]
TOUR = ("page", "refresh", "reuse", "look", "call", "replay", "step_up", "revoke", "look", "call")


def written(run: FlowRun) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's recording and what was observed, as they come back from a file."""
    text = json.dumps([Recording.of(run).to_dict(), observe(run)])
    recording, expected = json.loads(text)
    return recording, expected


async def again(recording: dict[str, Any], **options: Any) -> Replayed:
    return await replay(Recording.from_dict(recording), **options)


@asynccontextmanager
async def run_of_lab(*actions: str, mode: Literal["auto", "legacy"] = "auto", **options: Any) -> AsyncIterator[FlowRun]:
    async with HttpLab.open(mode=mode) as lab, FlowDebugger.open(lab, mode=mode, **options) as run:
        await run.run()
        for action in actions:
            await run.begin(action)
            await run.run()
        yield run


async def until(run: FlowRun, kind: str) -> None:
    if run.pending is None:
        await run.begin()
    while run.pending is not None and run.pending.kind != kind:
        await run.step()
    assert run.pending is not None


@pytest.fixture(scope="module")
async def one_run() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The flow of the lab with a refresh and a revocation."""
    async with run_of_lab("refresh", "revoke") as run:
        return written(run)


# -- unchanged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_the_whole_tour_is_the_same_again(mode: Literal["auto", "legacy"]) -> None:
    async with run_of_lab(*TOUR, mode=mode) as run:
        recording, expected = written(run)
    now = await again(recording)
    assert now.differences(expected) == []
    assert now.steps == expected
    assert len(expected) > 30


async def test_a_recording_is_the_same_after_it_was_a_file(one_run: Any) -> None:
    recording = Recording.from_dict(one_run[0])
    assert Recording.from_dict(json.loads(json.dumps(recording.to_dict()))) == recording


async def test_a_lab_is_its_own_replay() -> None:
    async with Lab.open(seed=3, oauth_scopes=("read:user", "read:org")) as lab, FlowDebugger.open(lab) as run:
        await run.run()
        for action in ("refresh", "reuse", "replay", "step_up", "revoke"):
            await run.begin(action)
            await run.run()
        recording, expected = written(run)
    assert recording["setup"]["lab"] == {
        "seed": 3, "user": "octocat", "mode": "auto", "oauth_scopes": ["read:user", "read:org"]
    }  # fmt: skip
    assert (await again(recording)).differences(expected) == []
    recording["setup"]["lab"]["oauth_scopes"] = ["read:user"]
    assert (await again(recording)).differences(expected)


async def test_a_lab_that_was_used_before_is_not_recorded() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
        async with FlowDebugger.open(lab) as run:
            await run.run()
            with pytest.raises(ConfigurationError, match="new lab"):
                Recording.of(run)


async def test_a_run_without_steps_is_not_recorded() -> None:
    async with Lab.open() as lab, FlowDebugger.open(lab) as run:
        with pytest.raises(ConfigurationError, match="No step"):
            Recording.of(run)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("token", {"code_verifier": None}),
        ("token", {"code_verifier": "v" * 43}),
        ("token", {"code": "another"}),
        ("authorize", {"resource": "https://other.example/mcp"}),
        ("authorize", {"scope": "read:user repo"}),
        ("callback", {"state": "another-state-than-the-one-that-was-sent"}),
        ("callback", {"iss": None}),
        ("authorized", {"authorization": "Bearer of-somebody-else"}),
        ("registration", {"client_name": "Somebody", "redirect_uris": '["http://127.0.0.1/other"]'}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
async def test_what_was_changed_is_changed_again(kind: str, changes: dict[str, str | None]) -> None:
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as run:
        await until(run, kind)
        run.change(**changes)
        await run.step(predict="400")
        await run.run()
        recording, expected = written(run)
    now = await again(recording)
    assert now.differences(expected) == []
    assert not any(
        value in json.dumps(recording) for value in ("v" * 43, "of-somebody-else") if value in changes.values()
    )


async def test_what_was_cancelled_is_cancelled_again() -> None:
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as run:
        await until(run, "callback")
        await run.cancel()
        await run.begin("call")
        await run.run()
        recording, expected = written(run)
    assert (await again(recording)).differences(expected) == []


async def test_a_person_who_declined_declines_again() -> None:
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as run:
        lab.browser.allow = False
        await run.run()
        recording, expected = written(run)
    assert expected[-1]["error"] == "AccessDenied"
    assert (await again(recording)).differences(expected) == []


@pytest.mark.parametrize("changes", [{"client": True}, {"client_metadata_url": True}], ids=lambda c: next(iter(c)))
async def test_a_client_introduces_itself_as_it_did(changes: dict[str, Any]) -> None:
    async with HttpLab.open() as lab:
        given = {"client": lab.registered_client, "client_metadata_url": lab.client_metadata_url}
        auth = lab.new_auth(**{name: given[name] for name in changes})
        async with FlowDebugger.open(lab, auth=auth) as run:
            await run.run()
            recording, expected = written(run)
    assert "registration" not in [step["kind"] for step in expected]
    assert (await again(recording)).differences(expected) == []


# -- other servers ---------------------------------------------------------------------------------------------


async def recorded(world: World, *actions: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    async with FlowDebugger.open(
        f"{world.origin}/mcp", tool="whoami", auth=client_of(world, **options), mode="legacy"
    ) as run:
        await run.run()
        for action in actions:
            await run.begin(action)
            await run.run()
        return written(run)


async def test_event_streams_of_a_stateful_session_are_played_again() -> None:
    async with served(streams=True) as world:
        recording, expected = await recorded(world, "refresh")
    kinds = [step["answer"].get("headers", {}).get("content-type", "") for step in expected]
    assert any(kind.startswith("text/event-stream") for kind in kinds)
    assert (await again(recording)).differences(expected) == []


class NoRotation(httpx2.AsyncBaseTransport):
    """A network in which the token endpoint always shows the same short refresh token."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, issued: list[str]):
        self.inner = inner
        self.issued = issued

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path != "/token":
            return await self.inner.handle_async_request(request)
        body = (await request.aread()).decode().replace("=short", f"={''.join(self.issued[-1:])}")
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        there = httpx2.Request(request.method, request.url, headers=headers, content=body.encode())
        response = await self.inner.handle_async_request(there)
        value = json.loads(await response.aread())
        self.issued.append(value["refresh_token"])
        return httpx2.Response(200, headers={"cache-control": "no-store"}, json={**value, "refresh_token": "short"})


async def test_a_server_that_does_not_rotate_is_found_again_however_short_its_tokens_are() -> None:
    issued: list[str] = []
    async with HttpLab.open() as lab:
        carrier = lab.auth.carrier
        assert carrier is not None
        auth = lab.new_auth(client=lab.registered_client, carrier=lambda: NoRotation(carrier(), issued))
        async with FlowDebugger.open(lab.url, tool="get_github_user_info", auth=auth, real=False) as run:
            await run.run()
            await run.begin("refresh")
            await run.run()
            recording, expected = written(run)
            (refresh,) = [step for step in run.steps if step.kind == "refresh"]
    # Its mask does not tell it from another one.
    assert refresh.messages[1].body["refresh_token"] == "****"
    assert [check.name for check in refresh.failed] == ["the refresh token is rotated"]
    assert (await again(recording)).differences(expected) == []
    assert '"short"' not in json.dumps(recording)


async def test_a_token_that_ran_out_between_two_calls_runs_out_again() -> None:
    async with HttpLab.open() as lab, FlowDebugger.open(lab) as run:
        await run.run()
        lab.clock.advance(hours=9)
        await run.begin("call")
        await run.run()
        assert "refresh" in [step.kind for step in run.steps]
        recording, expected = written(run)
    assert (await again(recording)).differences(expected) == []


async def test_a_server_that_was_broken_is_broken_again() -> None:
    async with served() as world:
        world.patch[ASM] = {"code_challenge_methods_supported": None}
        recording, expected = await recorded(world)
    assert "error" in expected[-1]
    assert (await again(recording)).differences(expected) == []


@pytest.mark.parametrize("state", ["another-state-than-the-one-that-was-sent", "", None])
async def test_a_callback_that_answers_another_request_does_so_again(state: str | None) -> None:
    async with HttpLab.open() as lab:

        async def led_astray(url: str) -> str:
            back = httpx2.URL(await lab.browser.authorize(url))
            return str(back.copy_remove_param("state") if state is None else back.copy_set_param("state", state))

        async with FlowDebugger.open(lab, auth=lab.new_auth(paste=led_astray)) as run:
            await run.run()
            recording, expected = written(run)
    assert expected[-1]["error"] == "StateMismatch"
    assert not state or state not in json.dumps(recording)
    assert (await again(recording)).differences(expected) == []


async def test_a_connection_that_broke_breaks_again() -> None:
    async with HttpLab.open() as lab, FlowDebugger.open("https://nowhere.example/mcp", auth=lab.new_auth()) as run:
        await run.run()
        recording, expected = written(run)
    assert recording["steps"][0]["answer"]["failed"] == "ConnectError"
    assert (await again(recording)).differences(expected) == []


async def test_a_client_with_a_secret_is_played_without_it() -> None:
    secret = "the-secret-of-this-client"
    async with served() as world:
        client = OAuthClientInformationFull(
            client_id="known", client_secret=secret, issuer=world.origin, scope="read:user repo",
            token_endpoint_auth_method="client_secret_basic", redirect_uris=["http://127.0.0.1:8765/callback"],
        )  # fmt: skip
        world.authority.clients["known"] = client
        recording, expected = await recorded(world, "refresh", client=client)
    assert [step["kind"] for step in expected][-1] == "authorized"
    assert secret not in json.dumps(recording)
    assert (await again(recording)).differences(expected) == []
    with pytest.raises(ConfigurationError, match="secret"):
        await replay(Recording.from_dict(recording).against("live"))


# -- one field changed -----------------------------------------------------------------------------------------

#: What is changed in the recorded answers: the step's kind, the path of the field, its new value (None: left out).
FIELDS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("handshake", ("body", "result", "instructions"), "Nothing."),
    ("list", ("body", "result", "tools", 0, "description"), "Another tool."),
    ("call", ("status",), 403),
    ("call", ("headers", "www-authenticate"), None),
    ("call", ("body", "error", "code"), -32000),
    ("resource_metadata", ("body", "resource"), "https://evil.example/mcp"),
    ("resource_metadata", ("body", "authorization_servers", 0), "https://evil.example"),
    ("server_metadata", ("body", "issuer"), "https://evil.example"),
    ("server_metadata", ("body", "code_challenge_methods_supported"), ["plain"]),
    ("server_metadata", ("body", "token_endpoint"), "https://mcp.example/other"),
    ("registration", ("status",), 200),
    ("registration", ("headers", "cache-control"), None),
    ("token", ("body", "token_type"), "mac"),
    ("token", ("body", "scope"), "read:user repo"),
    ("token", ("body", "expires_in"), 7200),
    ("token", ("body", "refresh_token"), None),
    ("authorized", ("body", "result", "structuredContent", "user", "login"), 5),
    ("authorized", ("body", "result", "isError"), True),
    ("refresh", ("status",), 400),
    ("revoke", ("status",), 503),
]


def changed(recording: dict[str, Any], kind: str, path: tuple[Any, ...], value: Any) -> tuple[dict[str, Any], int]:
    """A copy with one field of one answer changed, and the number of its step."""
    recording = copy.deepcopy(recording)
    number = next(n for n, step in enumerate(recording["steps"]) if step["kind"] == kind)
    place = recording["steps"][number]["answer"]
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return recording, number + 1


@pytest.mark.parametrize(
    ("kind", "path", "value"), FIELDS, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else None
)
async def test_one_changed_field_is_named(one_run: Any, kind: str, path: tuple[Any, ...], value: Any) -> None:
    recording, number = changed(one_run[0], kind, path, value)
    found = (await again(recording)).differences(one_run[1])
    assert found[0].startswith(f"Step {number}, {kind} ")
    assert ".".join(map(str, ("answer", *path))) in "\n".join(found)


async def test_another_iss_of_the_callback_stops_the_client(one_run: Any) -> None:
    recording = copy.deepcopy(one_run[0])
    (authorize,) = [step for step in recording["steps"] if step["kind"] == "authorize"]
    authorize["brought"]["iss"] = "https://evil.example"
    found = (await again(recording)).differences(one_run[1])
    assert found[0].startswith("Step 8, callback (GET http://127.0.0.1/callback): answer.iss: was")
    assert any("token" in line and "was not taken: the client stopped: IssuerMismatch" in line for line in found)


async def test_a_missing_answer_is_a_typed_failure_that_says_which(one_run: Any) -> None:
    recording = copy.deepcopy(one_run[0])
    (refresh,) = [step for step in recording["steps"] if step["kind"] == "refresh"]
    del refresh["answer"]
    now = await again(recording)
    assert f"NotRecorded: The recording has no answer, or no further one, to {refresh['asks']}" in now.ended
    assert issubclass(NotRecorded, Exception)


async def test_a_recording_of_fewer_steps_says_what_comes_next(one_run: Any) -> None:
    recording = copy.deepcopy(one_run[0])
    del recording["steps"][3:]
    now = await again(recording)
    assert now.differences(one_run[1][:3]) == [now.ended]
    assert now.ended.startswith("the client goes on, with resource_metadata")


async def test_a_client_that_waits_in_vain_is_given_up(one_run: Any) -> None:
    recording = copy.deepcopy(one_run[0])
    (authorize,) = [step for step in recording["steps"] if step["kind"] == "authorize"]
    del authorize["brought"]
    assert (await again(recording, patience=0.2)).ended.startswith("the client waits")


async def test_something_else_is_not_a_recording() -> None:
    for value in ({}, {"setup": {"colour": "red"}, "steps": []}, {"setup": {}, "steps": [{"what": 1}]}):
        with pytest.raises(ConfigurationError, match="not a recording"):
            Recording.from_dict(value)


# -- stepped by hand -------------------------------------------------------------------------------------------


async def test_a_recording_is_debugged_like_a_server(one_run: Any) -> None:
    async with FlowDebugger.open(Recording.from_dict(one_run[0])) as debug:
        await debug.run()
        first = repr(debug)
        await debug.reset()
        await debug.run()
        assert repr(debug) == first
        assert debug.cause is None
        assert debug.steps[0].messages[0].at == one_run[0]["steps"][0]["at"]


async def test_a_lab_recording_says_how_to_debug_it() -> None:
    async with Lab.open() as lab, FlowDebugger.open(lab) as run:
        await run.run()
        recording = Recording.of(run)
    with pytest.raises(ConfigurationError, match="lab"):
        await FlowDebugger.open(recording)


async def test_no_name_is_resolved_for_a_replay(one_run: Any) -> None:
    with pytest.raises(OSError, match="no network"):
        await Answers(Recording.from_dict(one_run[0])).auth().resolver("mcp.example")


# -- a live server ---------------------------------------------------------------------------------------------


async def live(world: World, recording: dict[str, Any]) -> Replayed:
    return await replay(Recording.from_dict(recording).against(f"{world.origin}/mcp"), auth=client_of(world))


async def test_a_live_server_that_did_not_change_has_no_differences() -> None:
    async with served() as world:
        recording, expected = await recorded(world, "refresh")
        now = await replay(Recording.from_dict(recording).against("live"), auth=client_of(world))
    assert now.live
    assert now.steps != expected  # another client id, at least
    assert now.differences(expected) == []


async def test_a_server_at_another_address_is_compared_as_if_it_were_the_recorded_one() -> None:
    async with served() as world:
        recording, expected = await recorded(world, "refresh")
    async with served() as world:
        assert (await live(world, recording)).differences(expected) == []


@pytest.mark.parametrize(
    ("path", "patch", "named"),
    [
        (ASM, {"scopes_supported": ["repo"]}, "scopes_supported"),
        (ASM, {"code_challenge_methods_supported": ["plain"]}, "code_challenge_methods_supported"),
        (PRM, {"scopes_supported": ["repo"]}, "scopes_supported"),
        ("/register", {"token_endpoint_auth_method": "none"}, "token_endpoint_auth_method"),
        ("/token", {"token_type": "DPoP"}, "token_type"),
    ],
)
async def test_a_live_server_that_changed_is_found_out(path: str, patch: dict[str, Any], named: str) -> None:
    async with served() as world:
        recording, expected = await recorded(world)
        world.patch[path] = patch
        found = (await live(world, recording)).differences(expected)
    assert found
    assert named in "\n".join(found)


async def test_changed_requests_reach_a_real_server_only_if_that_is_really_meant() -> None:
    async with HttpLab.open() as lab:
        async with FlowDebugger.open(lab) as run:
            await until(run, "token")
            run.change(code_verifier=None)
            await run.run()
            recording, expected = written(run)
        there = Recording.from_dict(recording).against("live")
        with pytest.raises(ConfigurationError, match="real server"):
            await replay(there, auth=lab.new_auth())
        assert (await replay(there, auth=lab.new_auth(), really=True)).differences(expected) == []


def test_without_a_server_to_ask_a_recording_stays_offline() -> None:
    recording = Recording.from_dict({"setup": {"url": MCP}, "steps": []})
    assert recording.against(None) == recording.against("") == recording
    assert recording.against("live").live == MCP


# -- comparing -------------------------------------------------------------------------------------------------


def step(answer: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "token", "asks": "POST /token", "answer": answer, "checks": {}, **more}


@pytest.mark.parametrize(
    ("then", "now"), [(1, True), (1, 1.0), ("1", 1), (None, ""), ([1], [1, 1]), ({}, []), ({"a": None}, {})]
)
def test_values_of_different_types_differ(then: Any, now: Any) -> None:
    assert differences(step({"x": then}), step({"x": now}))


def test_a_check_that_a_later_version_adds_is_no_difference() -> None:
    then, now = step({}), step({}, checks={"a new one": "failed"})
    assert differences(then, now) == []
    assert differences(now, then)


def test_of_a_live_server_what_is_fresh_each_time_counts_by_its_type() -> None:
    then = step({"client_id": "a", "issued": "2026-01-01T00:00:00Z", "expires_in": 60})
    now = step({"client_id": "b", "issued": "2027-02-03T04:05:06Z", "expires_in": 59})
    assert len(differences(then, now)) == 3
    assert differences(then, now, live=True) == []
    assert differences(then, step({**now["answer"], "client_id": 5}), live=True)


def test_what_differs_is_shown_without_secrets_and_control_characters() -> None:
    (line,) = differences(step("gho_" + "x" * 36), step("\u202egho_" + "y" * 36))
    assert "x" * 36 not in line
    assert "\u202e" not in line


@pytest.mark.parametrize(
    "name", ["iso", "Kind", "ClassVar", "Literal", "TYPE_CHECKING", "annotations", "__name__", "no"]
)
async def test_a_recording_can_name_no_attribute_of_errors_but_an_error(name: str) -> None:
    # Whatever else it names is not called: the person just does not come.
    waiting = asyncio.ensure_future(_nobody(name))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    "name", [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
)
async def test_a_recording_can_name_every_error_of_the_tree(name: str) -> None:
    with pytest.raises(getattr(errors, name), match="Nobody came back"):
        await _nobody(name)
