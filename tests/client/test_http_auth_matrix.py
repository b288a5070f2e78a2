"""What servers answer, row by row: what is accepted and kept, and what is refused without a word of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from http_world import MCP, PRM, Person, Seen, World
from starlette.responses import JSONResponse, Response
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.oauth.errors import AccessDenied, InsufficientScope, OAuthErrorResponse, ProtocolError, TokenRejected
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.store.grants import MemoryGrantStore

pytestmark = pytest.mark.anyio

SECRET = "-".join(["a", "token", "that", "nobody", "sees"])
TOKEN = {"access_token": SECRET, "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


async def call(auth: McpAuth, tool: str = "whoami") -> str:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool(tool)).content[0].text  # type: ignore[union-attr]


def answering(content: Any, media_type: str = "application/json", status: int = 200) -> Steps:
    """A server whose token endpoint answers so."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": media_type}
    return Steps(instead={f"{ISSUER}/token": lambda request: httpx2.Response(status, content=body, headers=headers)})


async def granted(steps: Steps) -> Token:
    """The token that is stored after a whole flow."""
    auth = steps.auth(store=MemoryGrantStore())
    assert (await steps.walk(auth.provider(SERVER))).status_code == 200
    (grant,) = auth.store.entries().values()
    assert grant.token is not None
    return grant.token


# -- the token answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        ({**TOKEN, "token_type": "bEaReR"}, "application/json"),
        (TOKEN, "application/json; charset=utf-8"),
        (f"access_token={SECRET}&token_type=bearer".encode(), "application/x-www-form-urlencoded"),
        ({"access_token": SECRET}, "application/json"),
        ({**TOKEN, "error": ""}, "application/json"),
        ({**TOKEN, "expires_in": "soon"}, "application/json"),
        ({**TOKEN, "scope": ["repo"]}, "application/json"),
        ({**TOKEN, "scope": []}, "application/json"),
        ({**TOKEN, "refresh_token": "two\nlines"}, "application/json"),
        ({**TOKEN, "refresh_token": ""}, "application/json"),
    ],
    ids=["any case", "with parameters", "a form that says so", "no type", "error", "lifetime", "scope", "scopes",
         "refresh token", "no refresh token"],
)  # fmt: skip
async def test_such_a_token_answer_is_accepted(content: Any, media_type: str) -> None:
    assert (await granted(answering(content, media_type))).access_token == SECRET


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        ({"token_type": "Bearer"}, "application/json"),
        (f"access_token={SECRET}&token_type=bearer".encode(), "text/plain"),
        (f"access_token={SECRET}&access_token=b&token_type=bearer".encode(), "application/x-www-form-urlencoded"),
        (f"<token>{SECRET}</token>".encode(), "application/xml"),
        (json.dumps(TOKEN).encode(), ""),
        (b"\xef\xbb\xbf" + json.dumps(TOKEN).encode(), "application/json"),
        (b'{"access_token": "' + SECRET.encode() + b'", "n": NaN, "token_type": "bearer"}', "application/json"),
        (b'{"a":' * 100_000, "application/json"),
        (json.dumps(TOKEN).encode("utf-16"), "application/json"),
    ],
    ids=["none", "unlabelled form", "repeated field", "xml", "no type", "bom", "nan", "deep", "utf-16"],
)  # fmt: skip
async def test_such_a_token_answer_is_a_protocol_error_and_nothing_is_stored(content: Any, media_type: str) -> None:
    steps = answering(content, media_type)
    auth = steps.auth(store=MemoryGrantStore())
    with pytest.raises(ProtocolError) as caught:
        await steps.walk(auth.provider(SERVER))
    assert SECRET not in str(caught.value)
    assert [grant.token for grant in auth.store.entries().values()] == [None]


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [("3600", 3600), (None, None), (0, None), (-5, None), (10**12, 10 * 365 * 24 * 3600), ("missing", None)],
)
async def test_a_lifetime_is_read_and_causes_no_storm_of_refreshes(lifetime: Any, expected: int | None) -> None:
    body = {**TOKEN, "expires_in": lifetime, "refresh_token": "a-refresh-token"}
    if lifetime == "missing":
        del body["expires_in"]
    steps = answering(body)
    auth = steps.auth(store=MemoryGrantStore())
    provider = auth.provider(SERVER)
    for _ in range(3):
        assert (await steps.walk(provider)).status_code == 200
    (grant,) = auth.store.entries().values()
    assert grant.token is not None
    assert grant.token.expires_at == (None if expected is None else auth.clock.now() + expected)
    assert steps.urls.count(f"POST {ISSUER}/token") == 1


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        ("read:user repo", ("read:user", "repo")),
        ("repo,gist", ("repo", "gist")),
        ("", ()),
        (None, ("read:user",)),
    ],
    ids=["more", "commas", "none at all", "omitted: as asked"],
)
async def test_what_was_granted_is_kept(scope: str | None, kept: tuple[str, ...]) -> None:
    body = TOKEN if scope is None else {**TOKEN, "scope": scope}
    assert (await granted(answering(body))).scopes == kept


async def test_a_servers_words_are_shown_without_what_could_deceive() -> None:
    error = {"error": "invalid_scope", "error_description": "no\r\nSet-Cookie: x\u202e\x1b[31m"}
    steps = answering(error, status=400)
    with pytest.raises(OAuthErrorResponse) as caught:
        await steps.walk()
    shown = str(caught.value)
    assert "Set-Cookie" in shown
    assert not set("\r\u202e\x1b") & set(shown)
    assert "\nSet-Cookie" not in shown


@pytest.mark.parametrize("status", [200, 400, 401])
async def test_an_error_is_one_whatever_its_status(status: int) -> None:
    with pytest.raises(AccessDenied):
        await answering({"error": "access_denied"}, status=status).walk()


async def test_a_refresh_answer_without_a_refresh_token_keeps_the_old_one(world: World) -> None:
    auth = world.auth()
    await call(auth)
    (before,) = auth.store.entries().values()
    world.patch["/token"] = {"refresh_token": None}
    world.clock.advance(3700)
    await call(auth)
    (after,) = auth.store.entries().values()
    assert before.token is not None
    assert after.token is not None
    assert after.token.access_token != before.token.access_token
    assert after.token.refresh_token == before.token.refresh_token


# -- discovery -------------------------------------------------------------------------------------------------------


def missing(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(404)


def broken(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, content=b"<html>", headers={"Content-Type": "text/html"})


@pytest.mark.parametrize("instead", [missing, broken])
async def test_metadata_that_is_not_at_one_well_known_place_is_looked_for_at_the_next(instead: Any) -> None:
    first = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
    oauth = f"{ISSUER}/.well-known/oauth-authorization-server"
    steps = Steps(instead={first: instead, oauth: instead})
    assert (await steps.walk()).status_code == 200
    assert steps.urls[1:5] == [
        f"GET {first}",
        "GET https://mcp.example/.well-known/oauth-protected-resource",
        f"GET {oauth}",
        f"GET {ISSUER}/.well-known/openid-configuration",
    ]


# -- an end to everything ----------------------------------------------------------------------------------------------


async def test_a_401_after_a_refresh_is_one_authorization_and_then_an_error(world: World) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3700)
    world.instead["/mcp"] = lambda seen: Response(
        status_code=401, headers={"WWW-Authenticate": f'Bearer scope="read:user", resource_metadata="{MCP[:-4]}{PRM}"'}
    )
    del world.seen[:]
    with pytest.raises(TokenRejected):
        await call(auth)
    assert (world.count("/token", "refresh_token"), world.count("/authorize"), world.count("/mcp")) == (1, 1, 2)


def never_content(status: Callable[[int], int], scope: Callable[[int], str]) -> Steps:
    """A server that is not content with any token, and says so in changing words."""
    steps, numbers = Steps(), iter(range(1000))

    def refuse(request: httpx2.Request) -> httpx2.Response:
        number = next(numbers)
        challenge = f'Bearer error="insufficient_scope", scope="{scope(number)}"'
        return httpx2.Response(status(number), headers={"WWW-Authenticate": challenge})

    steps.instead[SERVER] = refuse
    return steps


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        (lambda number: 401, lambda number: "read:user"),
        (lambda number: 403, lambda number: "read:user"),
        (lambda number: 403, lambda number: f"scope-{number}"),
        (lambda number: 401 + 2 * (number % 2), lambda number: f"scope-{number}"),
        (lambda number: 403 - 2 * (number % 2), lambda number: ""),
    ],
    ids=["401", "403", "403 for more and more", "in turns", "in turns without a word"],
)
async def test_a_server_that_is_never_content_gets_one_authorization_a_call(status: Any, scope: Any) -> None:
    steps = never_content(status, scope)
    with pytest.raises((TokenRejected, InsufficientScope)):
        await steps.walk()
    assert len(steps.sent_to) == 1
    assert steps.urls.count(f"POST {SERVER}") <= 3


@pytest.mark.parametrize("number", range(1, 7))
async def test_a_flow_that_is_cut_off_after_any_request_leaves_nothing_in_the_way(number: int) -> None:
    steps, auth = Steps(), None
    auth = steps.auth(store=MemoryGrantStore())
    provider = auth.provider(SERVER)
    flow = provider.async_auth_flow(httpx2.Request("POST", SERVER))
    outgoing = await anext(flow)
    for _ in range(number - 1):
        response = steps.answer(outgoing)
        response.request = outgoing
        outgoing = await flow.asend(response)
    await flow.aclose()
    for again in (provider, auth.provider(SERVER)):
        assert (await steps.walk(again)).status_code == 200
    # The token was stored before the call was repeated, and the registration before the person was asked.
    assert len(steps.sent_to) == (1 if number in (1, 2, 3, 4, 6) else 2)
    assert steps.urls.count(f"POST {ISSUER}/register") == (1 if number < 5 else 0)


async def test_a_person_who_says_no_is_asked_again_only_by_the_next_call(world: World) -> None:
    world.declines = True
    person = Person(world)
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await call(world.auth(person))
    assert len(person.urls) == 2


async def test_a_registration_that_is_refused_is_sent_once(world: World) -> None:
    def refuse(seen: Seen) -> Response:
        return JSONResponse({"error": "invalid_client_metadata"}, status_code=400)

    world.instead["/register"] = refuse
    with pytest.raises(OAuthErrorResponse, match="invalid_client_metadata"):
        await call(world.auth())
    assert world.count("/register") == 1
