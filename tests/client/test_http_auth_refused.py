"""What is refused without an OAuth error, or stored and wrong by now: no client repeats the same error for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from http_world import ASM, MCP, PRM, P, Person, Seen, World
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.oauth.errors import (
    ConfigurationError,
    McpOAuthError,
    ProtocolError,
    ReauthorizeError,
    RefreshRejected,
    TransientError,
)
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.oauth.token_endpoint import read_token
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


def auth_of(world: World, store: MemoryGrantStore | None = None, **options: Any) -> McpAuth:
    """A client whose person pastes at once where the authorization server redirects to."""
    given = {"listen": False, "open_browser": lambda url: True, "timeout": 2, "store": store or MemoryGrantStore()}
    return world.auth(paste=Person(world).follow, **{**given, **options})


async def call(auth: McpAuth, tool: str = "whoami") -> str:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool(tool)).content[0].text  # type: ignore[union-attr]


def refreshing(answer: Callable[[], Response]) -> Callable[[Seen], Response | None]:
    """Answer a refresh so, and a code as the server does."""
    return lambda seen: answer() if seen.form["grant_type"] == "refresh_token" else None


def grant_of(store: MemoryGrantStore) -> Grant:
    (grant,) = store.entries().values()
    return grant


# -- a refresh that is refused -----------------------------------------------------------------------------------

JSON_TYPE = {"media_type": "application/json"}
REFUSED: dict[str, Callable[[], Response]] = {
    "400 html": lambda: HTMLResponse("<html>bad request</html>", 400),
    "400 empty": lambda: Response(status_code=400),
    "401 json": lambda: JSONResponse({"message": "Unauthorized"}, 401),
    "403 html": lambda: HTMLResponse("<html>blocked</html>", 403),
    "404": lambda: Response(status_code=404),
    "405": lambda: Response(status_code=405),
    "410": lambda: Response(status_code=410),
    "418 text": lambda: Response("no", status_code=418),
    "422 json": lambda: JSONResponse({"message": "Unknown client"}, 422),
    "error that is no string": lambda: JSONResponse({"error": {"code": 1}}, 400),
    "login page": lambda: HTMLResponse("<html>sign in</html>"),
    "204": lambda: Response(status_code=204),
    "array": lambda: JSONResponse([1]),
    "broken": lambda: Response('{"access_token": "trunc', **JSON_TYPE),
    "no token": lambda: JSONResponse({"token_type": "bearer"}),
    "another type": lambda: JSONResponse({"access_token": "a", "token_type": "mac"}),
    "error and token": lambda: JSONResponse({"access_token": "a", "error": "invalid_grant", "token_type": "bearer"}),
    "too long": lambda: Response("x" * 1_100_000, **JSON_TYPE),
    "compressed": lambda: StreamingResponse(iter([b"\x1f\x8b"]), headers={"content-encoding": "gzip"}),
    **{str(status): lambda status=status: RedirectResponse("/login", status) for status in (301, 302, 303, 307, 308)},
    "elsewhere": lambda: RedirectResponse("https://login.example/", 302),
    "no address": lambda: RedirectResponse("http://[", 302),
}
SAID_SO = ["invalid_grant", "invalid_request", "invalid_scope", "unsupported_grant_type", "access_denied", "whatever"]
LATER: dict[str, Callable[[], Response]] = {
    **{str(status): lambda status=status: Response(status_code=status) for status in (408, 425, 429, 500, 503, 599)},
    "temporarily": lambda: JSONResponse({"error": "temporarily_unavailable"}, 400),
    "server error": lambda: JSONResponse({"error": "server_error"}, 400),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refresh_that_is_refused_without_an_oauth_error_leads_to_a_new_authorization(
    world: World, name: str
) -> None:
    store = MemoryGrantStore()
    async with Session.open(MCP, auth=auth_of(world, store), loop="current") as session:
        world.clock.advance(3700)
        world.instead["/token"] = refreshing(REFUSED[name])
        old = grant_of(store).token
        for _ in range(2):
            assert (await session.call_tool("whoami")).content[0].text == "octocat"
    assert (world.count("/authorize"), world.count("/token", "refresh_token")) == (2, 1)
    assert grant_of(store).token != old
    assert world.count("/register") == 1


@pytest.mark.parametrize("name", REFUSED)
async def test_the_old_token_is_kept_until_the_new_one_is_there(world: World, name: str) -> None:
    store = MemoryGrantStore()
    await call(auth_of(world, store))
    old = grant_of(store)
    world.clock.advance(3700)
    world.instead["/token"] = refreshing(REFUSED[name])
    world.declines = True
    with pytest.raises(ReauthorizeError):
        await call(auth_of(world, store))
    assert grant_of(store) == old
    # A gateway's bad day is over: nobody has to say yes again.
    del world.instead["/token"]
    asked = world.count("/authorize")
    assert await call(auth_of(world, store)) == "octocat"
    assert world.count("/authorize") == asked


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_that_no_oauth_server_said_disturbs_nobody_while_the_token_is_good(
    world: World, name: str
) -> None:
    async with Session.open(MCP, auth=auth_of(world), loop="current") as session:
        world.clock.advance(3550)
        world.instead["/token"] = refreshing(REFUSED[name])
        for _ in range(2):
            assert (await session.call_tool("whoami")).content[0].text == "octocat"
        assert (world.count("/authorize"), world.count("/token", "refresh_token")) == (1, 1)
        world.clock.advance(100)
        assert (await session.call_tool("whoami")).content[0].text == "octocat"
    assert (world.count("/authorize"), world.count("/token", "refresh_token")) == (2, 2)


@pytest.mark.parametrize("code", SAID_SO)
async def test_a_refresh_token_that_the_server_refuses_is_used_up(world: World, code: str) -> None:
    store = MemoryGrantStore()
    await call(auth_of(world, store))
    world.clock.advance(3700)
    world.instead["/token"] = refreshing(lambda: JSONResponse({"error": code}, 400))
    world.declines = True
    with pytest.raises(ReauthorizeError):
        await call(auth_of(world, store))
    assert grant_of(store).token is None


@pytest.mark.parametrize("name", LATER)
async def test_a_refresh_that_may_work_later_is_a_transient_error_and_opens_no_browser(world: World, name: str) -> None:
    store = MemoryGrantStore()
    auth = auth_of(world, store)
    await call(auth)
    old = grant_of(store)
    world.clock.advance(3700)
    world.instead["/token"] = refreshing(LATER[name])
    for _ in range(2):
        with pytest.raises(TransientError):
            await call(auth)
    assert (grant_of(store), world.count("/authorize")) == (old, 1)
    del world.instead["/token"]
    assert await call(auth) == "octocat"
    assert world.count("/authorize") == 1


def test_a_refusal_without_an_oauth_error_names_what_was_seen_and_the_way_out() -> None:
    answer = Answer(f"{P}/token", 422, httpx2.Headers({"content-type": "application/json"}), b'{"secret": "s3"}')  # type: ignore[arg-type]
    with pytest.raises(RefreshRejected) as caught:
        read_token(answer, grant="refresh_token", now=0)
    error = caught.value
    assert (error.message, error.final) == (
        f"The token was not refreshed. {P}/token answered 422 without an OAuth error.",
        False,
    )
    assert error.hint.startswith("Start the authorization flow again")
    assert isinstance(error.__cause__, ProtocolError)
    with pytest.raises(ProtocolError):
        read_token(answer, grant="authorization_code", now=0)


# -- a registration that is stored -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        HTMLResponse("<html>who?</html>", 400),
        HTMLResponse("<html>who?</html>", 403),
        JSONResponse({"message": "unknown client"}, 404),
        JSONResponse({"error": "invalid_request"}, 400),
        JSONResponse({"error": "invalid_client"}, 401),
        HTMLResponse("<html>sign in</html>"),
    ],
    ids=["400", "403", "404", "an OAuth error", "invalid_client", "a page"],
)
async def test_a_stored_registration_that_the_token_endpoint_refuses_is_made_anew_at_the_next_call(
    world: World, answer: Response
) -> None:
    store = MemoryGrantStore()
    await call(auth_of(world, store))
    grant = grant_of(store)
    store.save(grant.key, replace(grant, token=None))
    stale = grant.client.client_id

    def refusing(seen: Seen) -> Response | None:
        return answer if seen.form.get("client_id") == stale else None

    world.instead["/token"] = refusing
    with pytest.raises(ReauthorizeError) as caught:
        await call(auth_of(world, store))
    assert "Call again" in caught.value.hint
    assert await call(auth_of(world, store)) == "octocat"
    assert grant_of(store).client.client_id != stale


async def test_a_registration_that_was_made_a_moment_ago_is_not_blamed_for_a_broken_token_endpoint(
    world: World,
) -> None:
    store = MemoryGrantStore()
    world.instead["/token"] = lambda seen: HTMLResponse("<html>who?</html>", 400)
    with pytest.raises(ProtocolError, match="answered 400"):
        await call(auth_of(world, store))
    assert len(store.entries()) == 1


def made_beforehand(world: World) -> OAuthClientInformationFull:
    return OAuthClientInformationFull.model_validate(
        {"client_id": "mine", "redirect_uris": ["http://127.0.0.1/callback"], "issuer": world.origin}
        | {"token_endpoint_auth_method": "none", "scope": "read:user repo"}
    )


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
async def test_a_client_made_beforehand_that_is_refused_is_never_replaced_and_the_hint_names_it(
    world: World, grant_type: str
) -> None:
    client = made_beforehand(world)
    world.authority.clients["mine"] = client
    auth = auth_of(world, client=client)
    if grant_type == "refresh_token":
        await call(auth)
        world.clock.advance(3700)
    refused = lambda seen: JSONResponse({"error": "invalid_client"}, 401)  # noqa: E731
    world.instead["/token"] = refused
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="invalid_client") as caught:
            await call(auth)
        assert "McpAuth(client=...)" in caught.value.hint
    assert world.count("/register") == 0
    del world.instead["/token"]
    assert await call(auth) == "octocat"


async def test_a_client_metadata_document_that_is_refused_is_named(world: World) -> None:
    document = "https://app.example/client.json"
    world.patch[ASM] = {"client_id_metadata_document_supported": True}
    world.authority.clients[document] = made_beforehand(world).model_copy(update={"client_id": document})
    world.instead["/token"] = lambda seen: JSONResponse({"error": "invalid_client"}, 401)
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            await call(auth_of(world, client_metadata_url=document))
        assert "client_metadata_url" in caught.value.hint


async def test_a_client_that_is_refused_disturbs_nobody_while_its_token_is_good(world: World) -> None:
    client = made_beforehand(world)
    world.authority.clients["mine"] = client
    auth = auth_of(world, client=client)
    async with Session.open(MCP, auth=auth, loop="current") as session:
        world.clock.advance(3550)
        world.instead["/token"] = lambda seen: JSONResponse({"error": "invalid_client"}, 401)
        assert (await session.call_tool("whoami")).content[0].text == "octocat"


# -- what is stored and wrong ------------------------------------------------------------------------------------


def broken(grant: Grant, **changes: object) -> Grant:
    assert grant.metadata is not None
    return replace(grant, metadata=grant.metadata.model_copy(update=changes))


NOWHERE = "http://127.0.0.1:8123/gone"
WRONG: dict[str, Callable[[Grant], Grant]] = {
    "token endpoint": lambda grant: broken(grant, token_endpoint=NOWHERE),
    "token endpoint without TLS": lambda grant: broken(grant, token_endpoint="http://id.example/token"),
    "authorization endpoint": lambda grant: broken(grant, authorization_endpoint=NOWHERE),
    "no PKCE": lambda grant: broken(grant, code_challenge_methods_supported=None),
    "no metadata": lambda grant: replace(grant, metadata=None, resource_metadata=None),
    "method": lambda grant: replace(
        grant, client=grant.client.model_copy(update={"token_endpoint_auth_method": "unheard-of"})
    ),
    "no redirect": lambda grant: replace(grant, client=grant.client.model_copy(update={"redirect_uris": None})),
    "redirect elsewhere": lambda grant: replace(
        grant, client=grant.client.model_copy(update={"redirect_uris": ["https://elsewhere.example/cb"]})
    ),
    "issuer": lambda grant: replace(grant, client=grant.client.model_copy(update={"issuer": "https://old.example"})),
}


@pytest.mark.parametrize("signed_in", ["expired", "revoked", "good"])
@pytest.mark.parametrize("name", WRONG)
async def test_whatever_is_stored_and_wrong_by_now_the_client_works_within_three_calls(
    world: World, name: str, signed_in: str
) -> None:
    if (name, signed_in) == ("redirect elsewhere", "good"):
        return  # The person is shown why, and keeps the token that is good for all but the step-up.
    store = MemoryGrantStore()
    await call(auth_of(world, store))
    grant = WRONG[name](grant_of(store))
    store.save(grant.key, grant)
    if signed_in == "expired":
        world.clock.advance(3700)
    if signed_in == "revoked":
        world.revoke_access()
    # With a token that is good it is a step-up that meets what is stored.
    tool, expected = ("private", "a secret plan") if signed_in == "good" else ("whoami", "octocat")
    errors: list[McpOAuthError] = []
    while len(errors) < 3:
        try:
            assert await call(auth_of(world, store), tool) == expected
            break
        except McpOAuthError as error:
            errors.append(error)
    assert len(errors) < 3, errors
    assert all(isinstance(error, ReauthorizeError) for error in errors), errors


async def test_metadata_that_is_gone_is_not_replaced_by_that_of_another_day(world: World) -> None:
    store = MemoryGrantStore()
    await call(auth_of(world, store))
    world.revoke_access()
    world.instead["/token"] = refreshing(lambda: Response(status_code=404))
    world.instead[ASM] = lambda seen: Response(status_code=404)
    world.instead["/.well-known/openid-configuration"] = lambda seen: Response(status_code=404)
    with pytest.raises(ProtocolError, match="publishes no metadata"):
        await call(auth_of(world, store))
    assert isinstance(grant_of(store).metadata, OAuthMetadata)
    assert world.count(PRM) == 2
