"""The flow debugger over HTTP, in a lab: the SDK's client, stopped before each thing that it sends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest

from mcp_oauth_nb.client.session import Session
from mcp_oauth_nb.debugger.breaking import Between, LetsPagesIn
from mcp_oauth_nb.debugger.faults import FAULTS, with_fault
from mcp_oauth_nb.debugger.http_flow import HttpFlow
from mcp_oauth_nb.debugger.recording import Recording
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.lab.http_lab import PUBLIC_URL, HttpLab
from mcp_oauth_nb.lab.network import Network2
from mcp_oauth_nb.oauth.errors import (
    ConfigurationError,
    InvalidAuthorizationCode,
    IssuerMismatch,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    RateLimited,
    SessionError,
    StateMismatch,
    TokenRejected,
)
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

FLOW = ["resource_metadata", "server_metadata", "registration", "authorize", "callback", "token", "authorized"]
AGAIN = ["authorize", "callback", "token", "authorized"]
LIMIT_SECONDS = 20


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def lab(mode: Any) -> AsyncIterator[HttpLab]:
    async with HttpLab.open(mode=mode) as lab:
        yield lab


@pytest.fixture
async def debug(lab: HttpLab, mode: Any) -> AsyncIterator[FlowDebugger]:
    async with FlowDebugger.open(lab, mode=mode) as debug:
        yield debug


def kinds(debug: FlowDebugger) -> list[str]:
    return [step.kind for step in debug.steps]


def problems(debug: FlowDebugger) -> list[str]:
    return [
        f"{step.kind}: {one}" for step in debug.steps for one in step.checks if one.outcome in ("failed", "warning")
    ]


async def until(debug: FlowDebugger, kind: str, action: str = "authorize") -> None:
    """Begin, and step until this is pending."""
    await debug.begin(action)
    while debug.pending is not None and debug.pending.kind != kind:
        await debug.step()
    assert debug.pending is not None, debug


async def act(debug: FlowDebugger, action: str) -> list[str]:
    """Do an action to its end; return the kinds of its steps."""
    before = len(debug.steps)
    await debug.begin(action)
    await debug.run()
    return kinds(debug)[before:]


@pytest.mark.parametrize("url", ["https://MCP.Example:443/mcp", "https://mcp.example/mcp?tenant=5"])
async def test_a_url_that_is_written_in_another_way_is_the_same_server(lab: HttpLab, mode: Any, url: str) -> None:
    options = {"auth": lab.new_auth(), "tool": "get_github_user_info", "mode": mode, "real": False}
    async with FlowDebugger.open(url, **options) as debug:
        await debug.run()
        assert kinds(debug)[-7:] == FLOW
        assert debug.cause is None


# -- the flow, and what comes after it -----------------------------------------------------------------------------


async def test_the_whole_flow_passes_with_every_check(debug: FlowDebugger) -> None:
    await debug.run()
    assert kinds(debug) == ["handshake", "list", "call", *FLOW]
    assert problems(debug) == []
    assert (debug.cause, debug.error, debug.state) == (None, None, "done")


async def test_nothing_is_sent_before_the_first_step(lab: HttpLab) -> None:
    async with FlowDebugger.open(lab.url, auth=lab.new_auth(), real=False) as debug:
        pending = await debug.begin()
        assert pending is not None
        assert pending.kind == "handshake"
        assert (len(debug.trace), debug.steps) == (0, ())


async def test_every_action_after_the_token_shows_what_it_should(debug: FlowDebugger) -> None:
    await debug.run()
    assert await act(debug, "call") == ["call"]
    assert await act(debug, "refresh") == ["refresh", "authorized"]
    assert await act(debug, "step_up") == ["call", *AGAIN]
    assert await act(debug, "replay") == ["replay"]
    assert problems(debug) == []
    assert debug.cause is None


async def test_reuse_ends_the_family_and_the_client_authorizes_again(debug: FlowDebugger) -> None:
    await debug.run()
    await act(debug, "refresh")
    assert await act(debug, "reuse") == ["reuse"]
    assert debug.steps[-1].outcome == "400 Bad Request (error=invalid_grant)"
    assert await act(debug, "look") == ["ended_refresh", "ended_token"]
    assert await act(debug, "call") == ["call", "refresh", "resource_metadata", "server_metadata", *AGAIN]
    assert problems(debug) == []


async def test_what_was_revoked_is_refused_and_asked_for_again(debug: FlowDebugger) -> None:
    await debug.run()
    assert await act(debug, "revoke") == ["revoke"]
    assert await act(debug, "look") == ["ended_refresh", "ended_token"]
    assert [step.outcome.split()[0] for step in debug.steps[-2:]] == ["400", "401"]
    assert await act(debug, "call") == ["call", "refresh", "resource_metadata", "server_metadata", *AGAIN]
    assert problems(debug) == []


async def test_tokens_that_nothing_has_ended_are_not_looked_at(debug: FlowDebugger) -> None:
    await debug.run()
    assert not debug.can("look")
    assert await act(debug, "look") == []
    assert isinstance(debug.error, ConfigurationError)


@pytest.mark.parametrize("action", ["refresh", "reuse", "replay", "revoke", "look"])
async def test_what_needs_a_token_is_not_offered_without_one_and_says_so(debug: FlowDebugger, action: str) -> None:
    assert not debug.can(action)
    await debug.begin(action)
    assert isinstance(debug.error, ConfigurationError)
    assert (debug.state, debug.steps) == ("stopped", ())
    await debug.begin()
    assert debug.state == "stepping"


async def test_without_a_tool_the_tools_are_listed_and_there_is_no_step_up(lab: HttpLab) -> None:
    async with FlowDebugger.open(lab.url, auth=lab.new_auth(), real=False) as debug:
        assert "step_up" not in debug.actions
        await debug.run()
        assert kinds(debug) == ["handshake", "list"]
        assert await act(debug, "call") == ["list"]


async def test_a_server_by_its_url_has_a_trace_of_its_own(lab: HttpLab) -> None:
    auth = lab.new_auth()
    async with FlowDebugger.open(lab.url, tool="get_github_user_info", auth=auth, real=False) as debug:
        await debug.run()
        assert debug.trace is not lab.trace
        assert [step.exchange is not None for step in debug.steps] == [True] * 10
        parties = {message.receiver for step in debug.steps for message in step.messages}
        assert parties == {"MCP client", "MCP server", "Authorization server", "Browser"}
        assert problems(debug) == []


@pytest.mark.parametrize("how", ["registered", "document"])
async def test_a_client_that_is_known_is_not_registered(lab: HttpLab, how: str) -> None:
    known = {
        "registered": {"client": lab.registered_client},
        "document": {"client_metadata_url": lab.client_metadata_url},
    }
    async with FlowDebugger.open(lab, auth=lab.new_auth(**known[how])) as debug:
        await debug.run()
        assert "registration" not in kinds(debug)
        assert problems(debug) == []
        await act(debug, "refresh")
        rotated = [one for step in debug.steps for one in step.checks if one.name == "the refresh token is rotated"]
        assert [one.outcome for one in rotated] == ["passed"]


async def test_a_run_neither_heeds_nor_ends_the_patience_that_a_server_asked_its_owner_for(lab: HttpLab) -> None:
    auth, endpoint = lab.new_auth(), f"{PUBLIC_URL}/token"
    auth.patience.heard(Answer(endpoint, 429, httpx.Headers({"Retry-After": "60"}), b""), auth.clock.now())
    async with FlowDebugger.open(lab, auth=auth) as debug:
        await debug.run()
        assert problems(debug) == []
    with pytest.raises(RateLimited):
        auth.patience.check(endpoint, auth.clock.now())


async def test_a_run_asks_for_a_token_of_its_own_and_leaves_its_owners_as_it_was(lab: HttpLab) -> None:
    auth = lab.new_auth()
    async with Session.open(lab.url, auth=auth) as session:
        await session.call_tool("get_github_user_info")
        before = auth.store.entries()
        async with FlowDebugger.open(lab, auth=auth) as debug:
            await debug.run()
            assert kinds(debug)[-len(FLOW) :] == FLOW
            await act(debug, "revoke")
        assert auth.store.entries() == before
        assert not (await session.call_tool("get_github_user_info")).is_error


async def test_a_person_who_declines_is_told_apart_from_a_fault(debug: FlowDebugger, lab: HttpLab) -> None:
    lab.browser.allow = False
    await debug.run()
    assert kinds(debug)[-1] == "callback"
    assert debug.cause is not None
    assert debug.cause.check.message == "error=access_denied"
    assert type(debug.error).__name__ == "AccessDenied"


async def test_an_older_version_can_be_spoken(lab: HttpLab) -> None:
    async with FlowDebugger.open(lab, mode="2025-06-18") as debug:
        await debug.run()
        first = debug.steps[0].exchange
        assert first is not None
        assert first.request.body["params"]["protocolVersion"] == "2025-06-18"
        later = debug.steps[1].exchange
        assert later is not None
        assert later.request.headers["mcp-protocol-version"] == "2025-06-18"
        assert problems(debug) == []


# -- what if -------------------------------------------------------------------------------------------------------

OTHER = "https://other.example/mcp"
GUESSED = "guessed-by-somebody-else-entirely-who-was-not-asked"

# where, what is changed, the last step, its outcome, the client's error, a check that fails there or is passed
WHAT_IF: list[tuple[str, dict[str, str | None], str, str, type[McpOAuthError] | None, str]] = [
    ("token", {"code_verifier": None}, "token", "error=", OAuthErrorResponse, "✘ the code verifier is sent"),
    ("token", {"code_verifier": None}, "token", "error=", OAuthErrorResponse, "✔ a wrong request is refused"),
    ("token", {"code_verifier": "v" * 43}, "token", "invalid_grant", None, "✔ a wrong request is refused"),
    ("token", {"code": GUESSED}, "token", "invalid_grant", InvalidAuthorizationCode, "✔ a wrong request is refused"),
    ("token", {"redirect_uri": "http://127.0.0.1/other"}, "token", "error=", None, "✘ the redirect URI is the same"),
    ("token", {"resource": OTHER}, "token", "error=", None, "✘ the token is asked for this server"),
    ("token", {"client_id": "somebody-else"}, "token", "error=", None, "✔ a wrong request is refused"),
    ("token", {"grant_type": "password"}, "token", "unsupported_grant_type", None, "✘ a token is answered"),
    ("authorize", {"resource": OTHER}, "callback", "GET", None, "error=invalid_target"),
    ("authorize", {"code_challenge": None}, "callback", "GET", None, "✔ a request without a code challenge is refused"),
    ("authorize", {"code_challenge_method": "plain"}, "callback", "GET", None, "error=invalid_request"),
    ("authorize", {"state": GUESSED}, "callback", "GET", StateMismatch, "✔ the state is the one that was sent"),
    ("authorize", {"state": None}, "callback", "GET", StateMismatch, "✘ the state is the one that was sent"),
    ("authorize", {"scope": "read:user admin:everything"}, "callback", "GET", None, "error=invalid_scope"),
    ("callback", {"state": GUESSED}, "callback", "GET", StateMismatch, "✘ the state is the one that was sent"),
    ("callback", {"state": None}, "callback", "GET", StateMismatch, "✘ the state is the one that was sent"),
    ("callback", {"iss": "https://evil.example"}, "callback", "GET", IssuerMismatch, "✘ it comes from the server"),
    ("callback", {"iss": None}, "callback", "GET", IssuerMismatch, "✘ it comes from the server that was asked"),
    ("callback", {"code": None}, "callback", "GET", ProtocolError, "✘ a code came back"),
    ("callback", {"code": GUESSED}, "token", "invalid_grant", InvalidAuthorizationCode, "✘ a token is answered"),
    ("authorized", {"authorization": None}, "authorized", "401", TokenRejected, "✔ a wrong request is refused"),
    ("authorized", {"authorization": f"Bearer {GUESSED}"}, "authorized", "401", TokenRejected, "✔ a wrong request"),
    (
        "registration",
        {"redirect_uris": '["http://evil.example/"]'},
        "registration",
        "400",
        None,
        "✘ the client is registered",
    ),
    ("registration", {"client_name": "Another"}, "authorized", "200", None, "✔ the token is accepted"),
]


@pytest.mark.parametrize("row", WHAT_IF, ids=lambda row: f"{row[0]}: {row[1]}: {row[5]}")
async def test_what_if(debug: FlowDebugger, row: tuple[str, dict[str, str | None], str, str, Any, str]) -> None:
    where, changes, last, outcome, error, says = row
    await until(debug, where)
    held, before = repr(debug.pending), secrets_of(debug)
    held += repr(debug.change(**changes).shown())
    await debug.run()
    final = debug.steps[-1]
    assert final.kind == last, debug
    assert outcome in final.outcome
    assert says in repr(final), final
    if error is not None:
        assert isinstance(debug.error, error)
    assert (debug.error is None) == (debug.state == "done")
    # What a changed request brings is no fault of the server.
    assert debug.cause is None
    assert [step.kind for step in debug.steps if step.changed] == [where]
    # Neither what was there nor what was put in its place is shown.
    shown = everything_shown(debug) + held
    assert [secret for secret in {*secrets_of(debug), *before} if secret in shown] == []


@pytest.mark.parametrize("where", ["authorize", "callback", "token", "authorized"])
async def test_after_a_changed_request_a_reset_shows_the_flow_as_it_is(debug: FlowDebugger, where: str) -> None:
    await until(debug, where)
    pending = debug.pending
    assert pending is not None
    debug.change(**dict.fromkeys(pending.parameters, GUESSED))
    await debug.run()
    assert debug.state == "stopped"
    await debug.reset()
    await debug.run()
    assert kinds(debug) == ["handshake", "list", "call", *FLOW]
    assert problems(debug) == []


async def test_a_code_that_was_used_is_refused_in_another_flow(debug: FlowDebugger) -> None:
    await until(debug, "token")
    pending = debug.pending
    assert pending is not None
    code = pending.parameters["code"]
    await debug.run()
    await debug.reset()
    await until(debug, "token")
    debug.change(code=code)
    step = await debug.step(predict="invalid_grant")
    assert step is not None
    assert step.prediction_held
    assert isinstance(debug.error, InvalidAuthorizationCode)


async def test_a_wrong_refresh_token_is_refused_and_the_client_authorizes_again(debug: FlowDebugger) -> None:
    await debug.run()
    await until(debug, "refresh", "refresh")
    debug.change(refresh_token=GUESSED)
    await debug.run()
    refresh = next(step for step in debug.steps if step.kind == "refresh")
    assert refresh.outcome == "400 Bad Request (error=invalid_grant)"
    assert kinds(debug)[-len(AGAIN) :] == AGAIN
    assert debug.cause is None


async def test_dropping_what_is_not_there_changes_nothing(debug: FlowDebugger) -> None:
    await until(debug, "token")
    with pytest.raises(ConfigurationError, match="nonsense"):
        debug.change(code="x", nonsense=None)
    assert debug.pending is not None
    assert debug.pending.changed == {}


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_named_as_the_cause(lab: HttpLab, mode: Any, name: str) -> None:
    fault = FAULTS[name]
    async with FlowDebugger.open(lab, auth=with_fault(lab, name), mode=mode) as debug:
        for action in fault.actions:
            assert debug.can(action)
            await debug.begin(action)
            while (pending := debug.pending) is not None:
                if pending.kind in fault.what_if:
                    debug.change(**fault.what_if[pending.kind])
                await debug.step()
        found = [(step.kind, one.name) for step in debug.steps for one in step.checks if one.outcome == fault.outcome]
        assert (fault.step, fault.check) in found, debug
        assert fault.what_if or found[0] == (fault.step, fault.check)
        if fault.outcome == "failed":
            assert debug.cause is not None
            assert (debug.cause.step.kind, debug.cause.check.name) == (fault.step, fault.check)
            assert debug.cause.check.should
            assert debug.cause.check.reference
            # Where a check of the exchange failed, that the client stopped is no second finding.
            failed = [one.name for one in debug.cause.step.checks if one.outcome == "failed"]
            assert "the client goes on" not in failed or len(failed) == 1
        else:
            assert debug.cause is None


async def test_a_server_that_lets_pages_in_everywhere_has_no_fault(lab: HttpLab) -> None:
    breaking = LetsPagesIn()

    def carrier() -> httpx2.AsyncBaseTransport:
        return Between(Network2(lab.network), breaking)

    auth = dataclasses.replace(lab.new_auth(), carrier=carrier)
    async with FlowDebugger.open(lab.url, auth=auth, real=False, tool="get_github_user_info") as debug:
        await debug.run()
        assert await act(debug, "page") == ["preflight"] * 6 + ["cross_origin"]
        assert debug.cause is None
        checks = [one for step in debug.steps[-7:] for one in step.checks]
        assert {one.outcome for one in checks} == {"passed"}


async def test_a_server_that_lets_no_page_in_has_no_fault_either(debug: FlowDebugger) -> None:
    await debug.run()
    assert await act(debug, "page") == ["preflight"] * 6
    assert problems(debug) == []


async def test_a_fault_concerns_nobody_else(lab: HttpLab) -> None:
    auth = with_fault(lab, "token_refused")
    async with FlowDebugger.open(lab, auth=auth) as broken, FlowDebugger.open(lab) as whole:
        await broken.run()
        await whole.run()
        assert broken.cause is not None
        assert whole.cause is None


async def test_an_unknown_fault_names_those_there_are(lab: HttpLab) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_fault(lab, "nonsense")
    assert "no_s256" in caught.value.hint


# -- cancel, reset, and what breaks --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["call", "server_metadata", "authorize", "callback", "token", "authorized"])
async def test_cancelling_in_the_middle_keeps_the_steps_and_the_connection(debug: FlowDebugger, where: str) -> None:
    await until(debug, where)
    before = kinds(debug)
    await debug.cancel()
    assert (debug.state, kinds(debug), debug.pending) == ("cancelled", before, None)
    assert await debug.step() is None
    assert (await act(debug, "call"))[-1] in ("call", "authorized")
    assert debug.error is None
    assert problems(debug) == []


async def test_cancelling_a_refresh_sends_nothing_and_the_refresh_token_stays_good(debug: FlowDebugger) -> None:
    await debug.run()
    await until(debug, "refresh", "refresh")
    await debug.cancel()
    assert debug.pending is None
    assert await act(debug, "call") == ["refresh", "authorized"]
    assert problems(debug) == []


async def test_cancelling_while_the_person_is_waited_for_ends_the_wait(lab: HttpLab) -> None:
    auth = lab.new_auth(
        paste=None, listen=True, redirect_uri="http://127.0.0.1/callback", open_browser=lambda url: True
    )
    async with FlowDebugger.open(lab, auth=auth) as debug:
        await until(debug, "authorize")
        step = asyncio.ensure_future(debug.step())
        while not debug.link:  # noqa: ASYNC110, since nothing announces it but an observer on another loop
            await asyncio.sleep(0)
        await debug.cancel()
        await asyncio.wait_for(step, LIMIT_SECONDS)
        assert (debug.state, debug.link) == ("cancelled", "")
        with pytest.raises(SessionError):
            debug.paste("http://127.0.0.1/callback?code=x")


async def test_a_person_pastes_the_address(lab: HttpLab) -> None:
    auth = lab.new_auth(paste=None, listen=True, open_browser=lambda url: True)
    async with FlowDebugger.open(lab, auth=auth) as debug:
        with pytest.raises(SessionError):
            debug.paste("http://127.0.0.1/callback?code=too-early")
        await until(debug, "authorize")
        step = asyncio.ensure_future(debug.step())
        while not debug.link:  # noqa: ASYNC110
            await asyncio.sleep(0)
        debug.paste(f"  {await lab.browser.authorize(debug.link)}\n")
        await asyncio.wait_for(step, LIMIT_SECONDS)
        assert debug.pending is not None
        assert debug.pending.kind == "callback"
        await debug.run()
        assert problems(debug) == []


async def test_a_reset_begins_like_the_first_time(debug: FlowDebugger) -> None:
    await debug.run()
    first = kinds(debug)
    await debug.reset()
    assert (debug.steps, debug.state) == ((), "ready")
    await debug.run()
    assert kinds(debug) == first
    assert debug.diagram.messages[0] == debug.steps[0].messages[0]


async def test_a_debugger_whose_session_died_connects_again(debug: FlowDebugger) -> None:
    await debug.run()
    flow = debug._flow
    assert isinstance(flow, HttpFlow)
    session = flow._session
    assert session is not None
    session._connection.state, session._connection._cause = "failed", RuntimeError("the wire was cut")
    await debug.begin("call")
    assert debug.state == "stopped"
    assert isinstance(debug.error, SessionError)
    assert (await act(debug, "call"))[-1] == "call"
    assert debug.error is None


async def test_a_server_that_is_not_there_is_a_typed_error() -> None:
    async with FlowDebugger.open("http://127.0.0.1:1/mcp") as debug:
        await debug.run()
        assert debug.state == "stopped"
        assert isinstance(debug.error, McpOAuthError)
        assert debug.cause is not None
        assert debug.cause.check.name == "the client goes on"


async def test_two_debuggers_at_once_do_not_mix(lab: HttpLab, mode: Any) -> None:
    async with FlowDebugger.open(lab, mode=mode) as one, FlowDebugger.open(lab, mode=mode) as two:
        await asyncio.gather(one.run(), two.run())
        assert kinds(one) == kinds(two) == ["handshake", "list", "call", *FLOW]
        assert problems(one) == problems(two) == []
        await until(one, "token", "step_up")
        one.change(code=GUESSED)
        assert two.pending is None
        await asyncio.gather(one.run(), act(two, "refresh"))
        assert isinstance(one.error, InvalidAuthorizationCode)
        assert two.error is None


async def test_a_real_server_is_only_sent_changed_requests_that_were_confirmed(lab: HttpLab) -> None:
    auth = lab.new_auth()
    async with FlowDebugger.open(lab.url, tool="get_github_user_info", auth=auth) as debug:
        assert debug.real
        await until(debug, "token")
        with pytest.raises(ConfigurationError, match="real server"):
            debug.change(code_verifier=None)
        assert debug.pending is not None
        assert debug.pending.changed == {}
        debug.change(really=True, code_verifier=None)
        await debug.run()
        assert debug.state == "stopped"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/mcp", "http://localhost/mcp", "http://[::1]:9/mcp"])
async def test_a_server_on_this_machine_is_not_taken_for_a_real_one(url: str) -> None:
    async with FlowDebugger.open(url) as debug:
        assert not debug.real


@pytest.mark.parametrize("target", ["mcp.example", "ftp://mcp.example", 5])
async def test_what_is_no_target_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError):
        await FlowDebugger.open(target)


# -- secrets -------------------------------------------------------------------------------------------------------


def secrets_of(debug: FlowDebugger) -> set[str]:
    """Everything that the servers and the client have made up in a run."""
    facts = debug._flow.facts
    found = {facts.exchange.get("code"), facts.exchange.get("code_verifier"), facts.authorization.get("state")}
    found |= {
        facts.callback.get("code"),
        facts.token.get("access_token"),
        facts.token.get("refresh_token"),
        facts.spent,
    }
    found |= {facts.exchange.get("client_secret"), (facts.basic or "").partition(" ")[2]}
    return {secret for secret in found if secret}


def everything_shown(debug: FlowDebugger) -> str:
    recorded = repr(Recording.of(debug).to_dict())
    steps = "".join(f"{step!r}{step.messages!r}{step.checks!r}" for step in debug.steps)
    shown = [repr(debug), steps, recorded, str(debug.diagram), repr(debug.error), repr(debug.cause)]
    shown += [repr(vars(message)) for message in debug.trace.messages]
    shown += [debug.export(name) for name in ("JSON", "HAR", "Mermaid", "Markdown report")]
    return "".join(shown)


async def test_no_secret_is_shown_anywhere(debug: FlowDebugger, lab: HttpLab) -> None:
    secrets: set[str] = set()
    await until(debug, "callback")
    shown = repr(debug.pending)
    await debug.run()
    secrets |= secrets_of(debug)
    for action in ("refresh", "reuse", "call", "replay", "step_up", "refresh", "revoke"):
        await act(debug, action)
        secrets |= secrets_of(debug)
    shown += everything_shown(debug)
    assert len(secrets) > 15
    assert [secret for secret in secrets if secret in shown] == []


async def test_the_report_of_a_run_is_the_same_on_every_run(mode: Any) -> None:
    async def report() -> str:
        async with HttpLab.open(mode=mode) as lab, FlowDebugger.open(lab, mode=mode) as debug:
            for action in ("authorize", "refresh", "reuse", "call", "step_up", "revoke"):
                await act(debug, action)
            return repr(debug) + "".join(map(repr, debug.steps))

    assert await report() == await report()


async def test_a_trace_that_was_there_before_does_not_show_in_the_diagram(lab: HttpLab) -> None:
    await lab.session.list_tools()
    async with FlowDebugger.open(lab) as debug:
        assert debug.diagram.messages == ()
        assert isinstance(debug.trace, Trace)


async def test_closing_after_a_revocation_asks_nobody_for_a_token(lab: HttpLab, mode: Any) -> None:
    async with FlowDebugger.open(lab, mode=mode) as debug:
        for action in ("authorize", "revoke"):
            await act(debug, action)
        asked = len(lab.browser.asked)
    assert len(lab.browser.asked) == asked
    assert (debug.pending, debug.state) == (None, "done")
