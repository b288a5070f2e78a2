"""The protected resource, row by row with its wrong variants: status, header, body, and nothing done."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var
from resource_world import (
    EPOCH,
    LEGACY,
    MCP,
    MODERN,
    PRIVATE,
    PROTECTED,
    URL,
    World,
    call,
    routing_headers,
    token_of,
)
from starlette.responses import Response

from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import ServerUnavailable
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.server.resource import PublicAddress, ResourceGate
from mcp_oauth_nb.server.resource.bearer import RefusedRequest
from mcp_oauth_nb.server.resource.limits import Limits
from mcp_oauth_nb.server.resource.sessions import Sessions
from mcp_oauth_nb.server.tools import required_scopes

pytestmark = pytest.mark.anyio

METADATA = f"{URL}/.well-known/oauth-protected-resource/mcp"
MISSING = f'Bearer resource_metadata="{METADATA}", scope="read:user"'


@pytest.fixture(params=[True, False], ids=["stateless", "sessions"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with World(stateless=request.param).running() as running:
        running.verifier.issue("octocat", "read:user")
        running.verifier.issue("hubot", "read:user", "repo")
        running.verifier.issue("octocat/none")
        running.verifier.issue("octocat/expired", "read:user", expires_at=EPOCH - 1)
        running.verifier.issue("octocat/expires-now", "read:user", expires_at=EPOCH)
        running.verifier.issue("octocat/other", "read:user", resource="https://other.example/mcp")
        running.verifier.issue("octocat/base", "read:user", resource=URL)
        running.verifier.issue("octocat/below", "read:user", resource=f"{MCP}/below")
        running.verifier.issue("octocat/port", "read:user", resource="http://127.0.0.1:8001/mcp")
        running.verifier.issue("octocat/rubbish", "read:user", resource="mcp")
        running.verifier.issue("octocat/unbound", "read:user", resource=None)
        yield running


def bearer(name: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token_of(name)}")]


@dataclass
class Wrong:
    """A request that must be refused, and how."""

    name: str
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    error: str | None = None
    scope: str | None = "read:user"
    reason: str = ""
    body: Any = None
    path: str = "/mcp"


TABLE = [
    Wrong("no token", 401, reason="missing_token"),
    Wrong("no token, private repositories", 401, scope="read:user repo", reason="missing_token", body=PRIVATE),
    Wrong("empty header", 400, [("Authorization", "")], "invalid_request", reason="malformed_header"),
    Wrong("scheme alone", 400, [("Authorization", "Bearer")], "invalid_request", reason="malformed_header"),
    Wrong("scheme and space", 400, [("Authorization", "Bearer ")], "invalid_request", reason="malformed_header"),
    Wrong("two tokens", 400, [("Authorization", "Bearer one two")], "invalid_request", reason="malformed_header"),
    Wrong("comma", 400, [("Authorization", "Bearer one,two")], "invalid_request", reason="malformed_header"),
    Wrong("quotes", 400, [("Authorization", 'Bearer "one"')], "invalid_request", reason="malformed_header"),
    Wrong("padding inside", 400, [("Authorization", "Bearer on=e")], "invalid_request", reason="malformed_header"),
    Wrong("no space", 400, [("Authorization", "Bearer:one")], "invalid_request", reason="malformed_header"),
    Wrong("a tab", 400, [("Authorization", "Bearer\tone")], "invalid_request", reason="malformed_header"),
    Wrong("bare token", 400, [("Authorization", token_of("octocat"))], "invalid_request", reason="malformed_header"),
    Wrong("two headers", 400, bearer("octocat") + bearer("octocat"), "invalid_request", reason="several_headers"),
    Wrong("two headers, one bad", 400, bearer("octocat") + bearer("x"), "invalid_request", reason="several_headers"),
    Wrong("token in the query", 400, [], "invalid_request", reason="token_in_query", path="/mcp?access_token=x"),
    Wrong(
        "token in the query beside a good header",
        400,
        bearer("octocat"),
        "invalid_request",
        reason="token_in_query",
        path="/mcp?access_token=",
    ),
    Wrong(
        "token in the query, its name encoded",
        400,
        [],
        "invalid_request",
        reason="token_in_query",
        path="/mcp?a=b&%61ccess_token=x",
    ),
    Wrong("another scheme", 401, [("Authorization", "Basic b2N0b2NhdDp4")], reason="unsupported_scheme"),
    Wrong("a scheme of a similar name", 401, [("Authorization", "Bearers one")], reason="unsupported_scheme"),
    Wrong("unknown token", 401, bearer("nobody"), "invalid_token", reason="unknown_token"),
    Wrong("expired", 401, bearer("octocat/expired"), "invalid_token", reason="expired"),
    Wrong("expires now", 401, bearer("octocat/expires-now"), "invalid_token", reason="expired"),
    Wrong("another resource", 401, bearer("octocat/other"), "invalid_token", reason="wrong_audience"),
    Wrong("the base URL", 401, bearer("octocat/base"), "invalid_token", reason="wrong_audience"),
    Wrong("a path below", 401, bearer("octocat/below"), "invalid_token", reason="wrong_audience"),
    Wrong("another port", 401, bearer("octocat/port"), "invalid_token", reason="wrong_audience"),
    Wrong("an audience that is no URL", 401, bearer("octocat/rubbish"), "invalid_token", reason="wrong_audience"),
    Wrong("no audience", 401, bearer("octocat/unbound"), "invalid_token", reason="wrong_audience"),
    Wrong(
        "bad token for private repositories",
        401,
        bearer("nobody"),
        "invalid_token",
        scope="read:user repo",
        reason="unknown_token",
        body=PRIVATE,
    ),
    Wrong("no scope", 403, bearer("octocat/none"), "insufficient_scope", reason="insufficient_scope"),
    *(
        Wrong(
            f"private repositories without repo, as {value!r}",
            403,
            bearer("octocat"),
            "insufficient_scope",
            scope="read:user repo",
            reason="insufficient_scope",
            body={"include_private": value},
        )
        # The validation of the tool would read each of these as true.
        for value in (True, 1, "true", "yes", "on", "1")
    ),
    Wrong(
        "private repositories in a value that is not a boolean",
        403,
        bearer("octocat"),
        "insufficient_scope",
        scope="read:user repo",
        reason="insufficient_scope",
        body={"include_private": [True]},
    ),
]


@pytest.mark.parametrize("era", [MODERN, LEGACY])
@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
async def test_what_is_wrong_is_refused_before_anything_is_done(world: World, wrong: Wrong, era: str) -> None:
    message = call(PROTECTED, wrong.body, id="call-7", era=era)
    answer = await world.post(message, era=era, headers=wrong.headers, path=wrong.path)

    assert answer.status_code == wrong.status
    challenge = AuthChallenge.from_www_authenticate(answer.headers["www-authenticate"])
    assert challenge is not None
    assert (challenge.error, challenge.resource_metadata) == (wrong.error, METADATA)
    assert (challenge.error_description is None) == (wrong.error is None)
    assert " ".join(challenge.scopes) == ("" if wrong.status == 400 else wrong.scope)
    assert answer.headers["cache-control"] == "no-store"

    body = answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", "call-7")
    if wrong.status == 400:
        assert body["error"]["code"] == -32600
    else:
        told = AuthChallenge.from_jsonrpc(body)
        assert told is not None
        assert body["error"]["code"] == -32001
        assert told.message == ("Authentication required" if wrong.status == 401 else "The call needs more scopes")
        assert " ".join(told.scopes) == wrong.scope
        assert (told.authorization_url, told.token_url) == (f"{URL}/authorize", f"{URL}/token")
        assert told.resource == MCP

    assert [(event["outcome"], event["reason"], event["tool"]) for event in world.log.events] == [
        ("denied", wrong.reason, PROTECTED)
    ]
    # No tool ran, nobody's upstream token was fetched, and a malformed token was not even looked up.
    assert world.upstream.served == []
    assert bool(world.verifier.asked) == (wrong.status in (401, 403) and wrong.reason not in NOT_LOOKED_UP)
    assert_nothing_leaks(world, answer.text + repr(answer.headers))


NOT_LOOKED_UP = {"missing_token", "unsupported_scheme"}


def assert_nothing_leaks(world: World, text: str) -> None:
    for token in (*world.verifier.tokens, token_of("nobody")):
        assert token not in text
        assert not [line for line in world.log.lines if token in line]


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_the_missing_token_is_answered_in_both_languages(world: World, era: str) -> None:
    answer = await world.post(call(era=era), era=era)
    assert answer.headers["www-authenticate"] == MISSING
    assert answer.json() == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32001,
            "message": "Authentication required",
            "data": {
                "type": "oauth2",
                "grant_type": "authorization_code",
                "authorization_url": f"{URL}/authorize",
                "token_url": f"{URL}/token",
                "scopes": ["read:user"],
                "code_challenge_method": "S256",
                "resource": MCP,
            },
        },
    }


BAD_TOKEN = bearer("nobody")


@pytest.mark.parametrize("era", [MODERN, LEGACY])
@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        call("analyze_code_with_llm", {"code": "x"}),
        call("no-such-tool"),
        [call()],
        b"not json",
        b"",
    ],
    ids=lambda message: str(message)[:60],
)
async def test_a_bad_token_is_refused_on_any_request(world: World, message: Any, era: str) -> None:
    answer = await world.post(message, era=era, headers=BAD_TOKEN)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH"])
async def test_a_bad_token_is_refused_with_any_method(world: World, method: str) -> None:
    answer = await world.send(method, "/mcp", headers=BAD_TOKEN)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/mcp//", "//mcp", "/mcp/x", "/MCP", "/mcp%2f%2f", "/%2e/mcp"])
async def test_there_is_no_other_path_to_the_endpoint(world: World, path: str) -> None:
    assert (await world.post(call(), path=path)).status_code == 404


async def test_a_step_up_asks_for_what_was_granted_too_so_that_it_is_not_lost(world: World) -> None:
    token = world.verifier.issue("octocat", "gist", "read:user")
    answer = await world.post(call(arguments=PRIVATE), token=token)
    assert answer.status_code == 403
    assert 'scope="gist read:user repo"' in answer.headers["www-authenticate"]


async def test_a_path_with_a_line_end_is_no_way_around(world: World) -> None:
    assert (await world.post(call(), path="/mcp%0a")).status_code == 400


# -- what the body says decides ----------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, token_of("octocat")], ids=["anonymous", "signed in"])
async def test_a_header_that_names_an_open_tool_opens_no_protected_one(world: World, token: str | None) -> None:
    headers = [("Mcp-Name", "analyze_code_with_llm")]
    answer = await world.post(call(era=MODERN), era=MODERN, token=token, headers=headers)
    assert answer.status_code == (401 if token is None else 400)
    assert world.upstream.served == []


async def test_a_header_that_names_another_method_opens_nothing(world: World) -> None:
    answer = await world.post(call(era=MODERN), era=MODERN, headers=[("Mcp-Method", "tools/list")])
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, MISSING)


async def test_a_header_that_names_a_protected_tool_is_checked_against_the_body_by_the_sdk(world: World) -> None:
    message = call("analyze_code_with_llm", {"code": "x"}, era=MODERN)
    answer = await world.post(message, era=MODERN, headers=[("Mcp-Name", PROTECTED)])
    assert answer.status_code == 400
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_a_batch_is_refused_as_the_sdk_refuses_it(world: World, era: str) -> None:
    answer = await world.post([call(era=era)], era=era, token=token_of("octocat"))
    assert answer.status_code == 400
    assert world.upstream.served == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        json.dumps(call()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(call()).encode(),
        json.dumps(call()).encode().replace(b'"arguments": {}', b'"arguments": {"n": ' + b"9" * 5000 + b"}"),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b"[" * 100_000,
        b"\xff",
    ],
    ids=["cut off", "utf-16", "byte order mark", "a huge number", "deep", "not utf-8"],
)
@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_what_cannot_be_read_is_not_passed_on(world: World, body: bytes, era: str) -> None:
    answer = await world.post(body, era=era, token=token_of("octocat"))
    assert answer.status_code == 400
    assert answer.json() == {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}
    assert world.upstream.served == []
    # Nobody was kept from anything.
    assert world.log.events == []


async def test_of_a_repeated_name_the_last_one_counts_here_and_in_the_sdk(world: World) -> None:
    hidden = json.dumps(call("analyze_code_with_llm")).replace(
        '"name": "analyze_code_with_llm"', f'"name": "analyze_code_with_llm", "name": "{PROTECTED}"'
    )
    for era in (MODERN, LEGACY):
        assert (await world.post(hidden.encode(), era=era)).status_code == 401


@pytest.mark.parametrize("arguments", [7, True, "include_private", [], [["include_private", True]]])
@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_a_call_whose_arguments_are_no_object_reaches_no_tool_and_breaks_nothing(
    world: World, era: str, arguments: Any
) -> None:
    message = call(era=era)
    message["params"]["arguments"] = arguments
    # To a stranger it is a call like any other.
    assert (await world.post(message, era=era)).status_code == 401
    stateful = era == LEGACY and not world.server.session_manager.stateless
    session = [("Mcp-Session-Id", await world.open_session(token_of("octocat")))] if stateful else []
    answer = await world.post(message, era=era, token=token_of("octocat"), headers=session)
    assert "error" in answer.json()
    assert answer.status_code < 500
    assert world.upstream.served == []


@pytest.mark.parametrize("id", ["call-7", "", "é", 0, -7])
async def test_an_id_that_json_rpc_allows_is_repeated(world: World, id: Any) -> None:
    answer = await world.post(call(id=id))
    assert (answer.status_code, answer.json()["id"]) == (401, id)


@pytest.mark.parametrize("token", [None, token_of("octocat")])
async def test_a_message_that_arrives_in_pieces_is_one_message(world: World, token: str | None) -> None:
    world.verifier.issue("octocat", "read:user")
    whole = json.dumps(call(era=MODERN)).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(whole), 10):
            yield whole[begin : begin + 10]

    headers = [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")]
    headers += routing_headers(call(era=MODERN), MODERN) + bearer("octocat") * (token is not None)
    answer = await world.send("POST", "/mcp", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (401 if token is None else 200, 1)


@pytest.mark.parametrize("id", [None, True, {}, [1], 1.5, "\ud800"])
async def test_only_an_id_that_json_rpc_allows_is_repeated(world: World, id: Any) -> None:
    answer = await world.post(call(id=id))
    assert (answer.status_code, answer.json()["id"]) == (401, None)


@pytest.mark.parametrize("params", [None, [], "x", {"name": 1}, {"name": [PROTECTED]}, {}])
async def test_a_call_without_a_proper_name_reaches_no_tool(world: World, params: Any) -> None:
    session = [] if world.server.session_manager.stateless else [("Mcp-Session-Id", await world.open_session())]
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = await world.post(message, headers=session)
    assert answer.status_code == 400 or "error" in answer.json()
    assert world.upstream.served == []


async def test_a_call_without_an_id_needs_a_token_like_any_other(world: World) -> None:
    message = call()
    del message["id"]
    assert (await world.post(message)).status_code == 401


# -- limits, faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(declared: bool) -> None:
    async with World(limits=Limits(body_bytes=1000)).running() as world:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * 100

        content: Any = b" " * 1001 if declared else chunks()
        answer = await world.send("POST", "/mcp", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413


@pytest.mark.parametrize(("size", "status"), [(1024 * 1024, 400), (1024 * 1024 + 1, 413)])
async def test_a_body_may_have_a_mebibyte(size: int, status: int) -> None:
    async with World(stateless=True).running() as world:
        assert (await world.post(b" " * size)).status_code == status


async def test_a_verifier_that_cannot_tell_lets_nobody_in_and_says_when_to_come_back(world: World) -> None:
    world.verifier.fault = ServerUnavailable("down", retry_at=EPOCH + 17.0)
    answer = await world.post(call(), token=token_of("octocat"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "17")
    assert answer.json()["error"] == {
        "code": -32603,
        "message": "The token cannot be checked now",
        "data": {"type": "transient", "retry_at": "2026-01-01T00:00:17Z"},
    }
    assert "www-authenticate" not in answer.headers
    assert world.upstream.served == []
    assert [event["reason"] for event in world.log.events] == ["unavailable"]

    for retry_at, wait in ((None, "30"), (EPOCH + 0.2, "1"), (EPOCH - 9.0, "1")):
        world.verifier.fault = ServerUnavailable("down", retry_at=retry_at)
        assert (await world.post(call(), token=token_of("octocat"))).headers["retry-after"] == wait


async def fail(world: World, **request: Any) -> int:
    return (await world.post(call(), headers=BAD_TOKEN, **request)).status_code


async def test_after_too_many_failures_an_address_has_to_wait_whatever_it_brings() -> None:
    async with World(limits=Limits(failures="3/minute"), stateless=True).running() as world:
        good = world.verifier.issue("octocat", "read:user")
        assert [await fail(world) for _ in range(4)] == [401, 401, 401, 429]
        answer = await world.post(call(), token=good)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["data"]["type"] == "transient"
        # In whatever place: what is no header is a try as well.
        assert (await world.post(call(), path="/mcp?access_token=guessed")).status_code == 429
        assert (await world.post(call(), headers=[("Authorization", "guessed")])).status_code == 429
        assert world.upstream.served == []
        assert len(world.verifier.asked) == 3
        assert [event["reason"] for event in world.log.events[-3:]] == ["rate_limited"] * 3
        # Others are not affected, nor is what needs no token.
        assert (await world.post(call(), token=good, client="192.0.2.2")).status_code == 200
        assert (await world.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "counts"),
    [
        (bearer("nobody"), True),
        (bearer("octocat/none"), True),
        ([("Authorization", "Bearer")], True),
        ([], False),
        ([("Authorization", "Basic b2N0b2NhdDp4")], False),
        (bearer("octocat"), False),
    ],
    ids=["bad token", "too few scopes", "malformed", "no token", "another scheme", "good token"],
)
async def test_only_a_failed_attempt_counts_against_the_limit(wrong: list[tuple[str, str]], counts: bool) -> None:
    async with World(limits=Limits(failures="1/minute"), stateless=True).running() as world:
        world.verifier.issue("octocat", "read:user")
        world.verifier.issue("octocat/none")
        statuses = [(await world.post(call(), headers=wrong)).status_code for _ in range(2)]
        assert (statuses[1] == 429) == counts
        # Whoever brought nothing has tried nothing: the token that comes next is looked at.
        good = await world.post(call(era=MODERN), era=MODERN, token=token_of("octocat"))
        assert good.status_code == (429 if counts else 200)


async def test_an_ipv6_network_counts_as_one_client_and_a_mapped_address_as_itself() -> None:
    async with World(limits=Limits(failures="1/minute"), stateless=True).running() as world:
        assert [await fail(world, client=host) for host in ("2001:db8::1", "2001:db8::2")] == [401, 429]
        assert await fail(world, client="2001:db8:0:1::1") == 401
        assert [await fail(world, client=host) for host in ("::ffff:192.0.2.9", "192.0.2.9")] == [401, 429]
        assert [await fail(world, client="a-socket") for _ in range(2)] == [401, 429]


# -- the audience ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [MCP, f"{MCP}/", MCP.replace("http", "HTTP", 1)])
async def test_the_spelling_of_the_same_resource_does_not_matter(world: World, spelling: str) -> None:
    token = world.verifier.issue("octocat/spelled", "read:user", resource=spelling)
    answer = await world.post(call(era=MODERN), era=MODERN, token=token)
    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["page=2", "access_token_type=x", "token=access_token", "a=access_token=x"])
async def test_a_query_without_a_token_is_no_obstacle(world: World, query: str) -> None:
    answer = await world.post(call(era=MODERN), era=MODERN, token=token_of("octocat"), path=f"/mcp?{query}")
    assert answer.status_code == 200


async def test_a_token_is_a_secret_from_the_moment_it_is_presented(world: World) -> None:
    await world.post(call(), token="presented-by-nobody")
    assert "presented-by-nobody" not in scrub("Who had presented-by-nobody?")


def test_two_refusals_are_two_exceptions_as_everybody_expects_of_exceptions() -> None:
    refusal, same = (RefusedRequest(401, "missing_token", "Authentication required") for _ in range(2))
    assert len({refusal, same}) == 2


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}"])
async def test_the_scheme_is_read_as_the_rfc_spells_it(world: World, header: str) -> None:
    headers = [("Authorization", header.format(token_of("octocat")))]
    assert (await world.post(call(era=MODERN), era=MODERN, headers=headers)).status_code == 200


async def test_a_token_without_an_expiry_is_good_until_the_verifier_refuses_it(world: World) -> None:
    token = world.verifier.issue("octocat/forever", "read:user", expires_at=None)
    world.clock.advance(days=3650)
    assert (await world.post(call(era=MODERN), era=MODERN, token=token)).status_code == 200
    del world.verifier.tokens[token]
    assert (await world.post(call(era=MODERN), era=MODERN, token=token)).status_code == 401


# -- the audit log -----------------------------------------------------------------------------------------------


async def test_the_audit_log_says_who_was_let_in_to_what(world: World) -> None:
    await world.post(call(era=MODERN), era=MODERN, token=token_of("octocat"))
    assert world.log.events == [
        {
            "event": "authorization",
            "outcome": "granted",
            "subject": "octocat",
            "client_id": "client-1",
            "scopes": ["read:user"],
            "needed": ["read:user"],
            "address": "192.0.2.1",
            "http": "POST",
            "method": "tools/call",
            "tool": PROTECTED,
        }
    ]
    assert json.loads(world.log.lines[0]) == world.log.events[0]
    assert_nothing_leaks(world, "")


async def test_the_audit_log_says_who_lacks_scopes(world: World) -> None:
    await world.post(call(arguments=PRIVATE), token=token_of("octocat"))
    [event] = world.log.events
    assert (event["subject"], event["reason"], event["status"]) == ("octocat", "insufficient_scope", 403)
    assert (event["scopes"], event["needed"]) == (["read:user"], ["read:user", "repo"])


async def test_nobody_can_write_lines_of_their_own_into_the_audit_log(world: World) -> None:
    forged = '\n{"event": "authorization", "outcome": "granted"}\x1b[2J\u202e' + "x" * 1000
    await world.post(call(forged), headers=BAD_TOKEN)
    [line] = world.log.lines
    assert "\n" not in line
    assert line.isascii()
    assert len(line) < 1000
    assert json.loads(line)["outcome"] == "denied"


async def test_a_request_that_asks_for_nothing_protected_is_no_attempt(world: World) -> None:
    await world.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert world.log.events == []


@pytest.mark.parametrize(
    ("level", "written"), [("INFO", ["granted", "denied"]), ("WARNING", ["denied"]), ("ERROR", [])]
)
async def test_where_only_warnings_are_logged_a_denial_still_is(world: World, level: str, written: list[str]) -> None:
    logging.getLogger("mcp_oauth_nb.audit").setLevel(level)
    await world.post(call(era=MODERN), era=MODERN, token=token_of("octocat"))
    await world.post(call(), headers=BAD_TOKEN)
    assert [event["outcome"] for event in world.log.events] == written


# -- alone, in front of any application ------------------------------------------------------------------------------


class Application:
    """The application behind: it notes what reaches it, and answers with a session.

    Attributes:
        scopes: of the requests.
        users: who the SDK's `get_access_token()` says it is, by request.
        status: of the answers.
        meanwhile: called while a request is served.
    """

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.users: list[Any] = []
        self.status = 200
        self.meanwhile: Callable[[], Awaitable[None]] = nothing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        self.users.append(auth_context_var.get())
        await self.meanwhile()
        await Response(status_code=self.status, headers={"Mcp-Session-Id": "s-1"})(scope, receive, send)


async def nothing() -> None:
    """The usual."""


LISTING = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'


async def ask(app: ResourceGate, method: str = "POST", *, token: str = "", session: str = "", **more: Any) -> int:
    """Send one request without anything around; return the status."""
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    headers += [(b"mcp-session-id", session.encode())] if session else []
    scope = {"type": "http", "method": method, "path": "/mcp", "headers": headers, "query_string": b"", "client": None}
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": LISTING}]

    async def receive() -> Any:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope | more, receive, send)
    return int(sent[0]["status"])


async def test_what_is_not_http_is_passed_on() -> None:
    app = Application()
    guarded = _guard(World(), app)
    await guarded({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert [scope["type"] for scope in app.scopes] == ["lifespan"]


async def test_nobody_in_front_of_it_says_who_the_user_is() -> None:
    world, app = World(), Application()
    good = world.verifier.issue("octocat", "read:user")
    guarded = _guard(world, app)
    for token in ("", good):
        assert await ask(guarded, token=token, user="somebody", auth="all of it") == 200
    anonymous, signed_in = app.scopes
    assert not {"user", "auth"} & set(anonymous)
    assert (signed_in["user"].access_token.subject, signed_in["auth"].scopes) == ("octocat", ["read:user"])
    assert [user and user.access_token.token for user in app.users] == [None, good]
    # Whatever runs here next is not run as the user.
    assert auth_context_var.get() is None


async def test_the_sessions_that_are_given_are_those_that_are_used() -> None:
    sessions, app = Sessions(idle_timeout=None), Application()
    guarded = _guard(World(), app, sessions=sessions)
    assert await ask(guarded) == 200
    assert "s-1" in sessions


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_session_that_was_not_opened_is_none(status: int) -> None:
    sessions, app = Sessions(), Application()
    app.status = status
    assert await ask(_guard(World(), app, sessions=sessions)) == status
    assert len(sessions) == 0


async def test_a_session_is_not_forgotten_while_it_is_used() -> None:
    clock = ManualClock(0.0)
    sessions, app = Sessions(now=clock.now), Application()
    guarded = _guard(World(), app, sessions=sessions)
    await ask(guarded)
    seen = []

    async def look() -> None:
        clock.advance(days=1)
        await sessions.end_idle()
        seen.append("s-1" in sessions)

    app.meanwhile = look
    await ask(guarded, session="s-1")
    assert seen == [True]


@pytest.mark.parametrize(
    ("method", "status", "kept"), [("DELETE", 200, 0), ("DELETE", 400, 1), ("DELETE", 405, 1), ("GET", 200, 1)]
)
async def test_a_session_is_forgotten_when_it_was_ended_and_not_before(method: str, status: int, kept: int) -> None:
    sessions, app = Sessions(), Application()
    guarded = _guard(World(), app, sessions=sessions)
    await ask(guarded)
    app.status = status
    assert await ask(guarded, method, session="s-1") == status
    assert len(sessions) == kept


WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "bearer": lambda secret: {"token": secret},
    "in the address": lambda secret: {"path": f"/mcp?access_token={secret}"},
    "twice": lambda secret: {"headers": [("Authorization", f"Bearer {secret}"), ("Authorization", "Bearer other")]},
    "malformed": lambda secret: {"headers": [("Authorization", f"Bearer: {secret}")]},
    "with quotes": lambda secret: {"headers": [("Authorization", f'Bearer "{secret}"')]},
    "without a scheme": lambda secret: {"headers": [("Authorization", secret)]},
    "another scheme": lambda secret: {"headers": [("Authorization", f"Basic {secret}")]},
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_is_masked_from_then_on_however_it_is_brought_and_refused(world: World, way: str) -> None:
    secret = "brought-by-somebody-who-is-not-known-here"
    answer = await world.post(call(), **WAYS[way](secret))
    assert answer.status_code in (400, 401)
    assert secret not in scrub(f"somebody printed {secret}")


async def test_a_client_that_goes_away_before_its_body_has_arrived_is_not_served() -> None:
    app = Application()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": [], "query_string": b"", "client": None}
    await _guard(World(), app)(scope, gone, None)  # type: ignore[arg-type]
    assert app.scopes == []


def _guard(world: World, app: Application, **options: Any) -> ResourceGate:
    return ResourceGate(
        app,
        verifier=world.verifier,
        resource_url=MCP,
        required_scopes=required_scopes,
        challenge=PublicAddress(URL).challenge(("read:user",)),
        clock=world.clock,
        **options,
    )
