"""An MCP client over HTTP when something is wrong: bad days, bad answers, bad servers. Nothing leaks or is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest
from http_world import ASM, MCP, PRM, P, Person, Seen, World
from mcp import MCPError
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from stepping import SERVER, Steps

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.redirect import Redirect
from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    RateLimited,
    ReauthorizeError,
    RedirectRefused,
    SecurityError,
    ServerUnavailable,
    StateMismatch,
    TokenRejected,
    TransientError,
    Unreachable,
)
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.patience import Patience
from mcp_oauth_nb.store.grants import Grant, MemoryGrantStore
from mcp_oauth_nb.store.records import TokenKey

pytestmark = pytest.mark.anyio

CANARY = "canary-" + "c0ffee" * 4


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World().running() as running:
        yield running


async def call(auth: McpAuth, tool: str = "whoami") -> str:
    async with Session.open(MCP, auth=auth, loop="current") as session:
        return (await session.call_tool(tool)).content[0].text  # type: ignore[union-attr]


def always(*arguments: Any, **options: Any) -> Callable[[Seen], Response]:
    return lambda seen: Response(*arguments, **options)


# -- refresh ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [(500, ServerUnavailable), (503, ServerUnavailable), (429, RateLimited)])
async def test_a_bad_day_of_the_server_keeps_the_refresh_token_and_opens_no_browser(
    world: World, status: int, kind: type[TransientError]
) -> None:
    person = Person(world)
    async with Session.open(MCP, auth=world.auth(person), loop="current") as session:
        world.clock.advance(3700)
        world.instead["/token"] = always(CANARY, status_code=status, headers={"Retry-After": "30"})
        with pytest.raises(kind) as caught:
            await session.call_tool("whoami")
        assert caught.value.retry_at == world.clock.now() + 30
        assert CANARY not in str(caught.value)
        del world.instead["/token"]
        world.clock.advance(30)
        # The same session goes on once the server does.
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
    assert len(person.urls) == 1


@pytest.mark.parametrize("status", [503, 429])
async def test_a_token_endpoint_that_asks_for_patience_is_left_alone_by_all_sessions(world: World, status: int) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3590)
    world.instead["/token"] = always(status_code=status, headers={"Retry-After": "60"})
    come_back = world.clock.now() + 60
    # As long as the token is good, it is used.
    assert [await call(auth) for _ in range(3)] == ["octocat"] * 3
    for _ in range(3):
        world.clock.advance(15)
        with pytest.raises(TransientError) as caught:
            await call(auth)
        assert type(caught.value) is (ServerUnavailable if status == 503 else RateLimited)
        assert caught.value.retry_at == come_back
    assert world.count("/token", "refresh_token") == 1
    del world.instead["/token"]
    world.clock.advance(15)
    assert await call(auth) == "octocat"
    assert world.count("/token", "refresh_token") == 2
    assert world.count("/authorize") == 1


async def test_a_refresh_over_http_that_is_needed_waits_once_within_the_deadline(world: World) -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    auth = world.auth(patience=Patience(pause))
    await call(auth)
    busy = [5, 5, 31]

    def answer(seen: Seen) -> Response | None:
        return Response(status_code=503, headers={"Retry-After": str(busy.pop(0))}) if busy else None

    world.instead["/token"] = answer
    world.clock.advance(3700)
    for refreshes, waited in ((2, 1), (3, 1)):
        with pytest.raises(ServerUnavailable):
            await call(auth)
        assert (world.count("/token", "refresh_token"), len(waits)) == (refreshes, waited)
        world.clock.advance(5)
    world.clock.advance(26)
    busy.append(5)
    assert await call(auth) == "octocat"
    assert (world.count("/token", "refresh_token"), len(waits)) == (5, 2)
    assert all(5 <= wait <= 6 for wait in waits)
    assert world.count("/authorize") == 1


async def test_nobody_is_asked_while_the_token_endpoint_asks_for_patience(world: World) -> None:
    person = Person(world)
    auth = world.auth(person)
    world.instead["/token"] = always(status_code=429, headers={"Retry-After": "60"})
    come_back = world.clock.now() + 60
    for _ in range(3):
        with pytest.raises(RateLimited) as caught:
            await call(auth)
        assert caught.value.retry_at == come_back
    assert (len(person.urls), world.count("/token")) == (1, 1)
    del world.instead["/token"]
    world.clock.advance(60)
    assert await call(auth) == "octocat"
    assert (len(person.urls), world.count("/token")) == (2, 2)


@pytest.mark.parametrize("document", [PRM, ASM])
@pytest.mark.parametrize("status", [503, 429])
async def test_a_discovery_that_is_asked_for_patience_asks_nothing_more(
    world: World, document: str, status: int
) -> None:
    world.instead[document] = always(status_code=status, headers={"Retry-After": "60"})
    with pytest.raises(TransientError) as caught:
        await call(world.auth())
    assert caught.value.retry_at == world.clock.now() + 60
    assert world.seen[-1].path == document
    assert world.count(document) == 1


async def test_a_token_that_ends_early_while_the_server_cannot_refresh_it_opens_no_browser(world: World) -> None:
    person = Person(world)
    async with Session.open(MCP, auth=world.auth(person), loop="current") as session:
        # Still good by the client's clock, and not by the server's, which began to count earlier.
        world.clock.advance(3590)
        world.revoke_access()
        world.instead["/token"] = always(status_code=503)
        with pytest.raises(ServerUnavailable):
            await session.call_tool("whoami")
        del world.instead["/token"]
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
    assert len(person.urls) == 1


async def test_a_token_that_was_refreshed_early_and_ended_on_its_way_is_refreshed_again(world: World) -> None:
    person = Person(world)
    async with Session.open(MCP, auth=world.auth(person), loop="current") as session:
        world.clock.advance(3590)
        seconds = iter([2700, 1000])

        def slowly(seen: Seen) -> None:
            world.clock.advance(next(seconds, 0))
            if seen.path == "/mcp" and world.count("/token", "refresh_token") == 1:
                world.revoke_access()

        # An hour on its way there and back, of the hour that it lives; by the client's clock it is young.
        world.instead["/token"] = world.instead["/mcp"] = slowly  # type: ignore[assignment]
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
        assert world.count("/token", "refresh_token") == 2
    assert len(person.urls) == 1


@pytest.mark.parametrize("status", [500, 502, 504, 429])
async def test_a_proxy_that_reaches_no_server_is_a_typed_error_and_the_session_goes_on(
    world: World, status: int
) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        world.instead["/mcp"] = always(CANARY, status_code=status, headers={"Retry-After": "30"})
        with pytest.raises(ServerUnavailable if status != 429 else RateLimited) as caught:
            await session.call_tool("whoami")
        assert f"{MCP} answered {status}" in str(caught.value)
        assert caught.value.retry_at == world.clock.now() + 30
        assert CANARY not in str(caught.value)
        del world.instead["/mcp"]
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]


async def test_a_server_that_says_itself_what_is_wrong_is_heard(world: World) -> None:
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        error = {"code": -32603, "message": "Out of ink", "data": {"type": "transient"}}
        world.instead["/mcp"] = lambda seen: JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 503)
        with pytest.raises(MCPError, match="Out of ink") as caught:
            await session.call_tool("whoami")
        assert caught.value.data == {"type": "transient"}


async def test_a_bad_day_at_the_start_is_the_same_typed_error(world: World) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3700)
    world.instead["/token"] = always(status_code=500)
    with pytest.raises(ServerUnavailable):
        await call(auth)
    del world.instead["/token"]
    assert await call(auth) == "octocat"
    assert world.count("/authorize") == 1


async def test_a_refresh_token_that_is_refused_leads_to_a_new_authorization(world: World) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3700)
    world.authority.refresh.clear()
    assert await call(auth) == "octocat"
    assert world.count("/token", "refresh_token") == 1
    assert world.count("/authorize") == 2
    assert world.count("/register") == 1


async def test_a_client_that_the_server_forgot_registers_again(world: World) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3700)
    world.authority.clients.clear()
    assert await call(auth) == "octocat"
    assert world.count("/register") == 2


async def test_a_client_that_is_forgotten_during_the_flow_is_registered_again_at_the_next_call(world: World) -> None:
    auth = world.auth()
    refusal = JSONResponse({"error": "invalid_client"}, status_code=401)
    world.instead["/token"] = lambda seen: refusal
    with pytest.raises(ReauthorizeError, match="invalid_client"):
        await call(auth)
    del world.instead["/token"]
    assert await call(auth) == "octocat"
    assert world.count("/register") == 2


async def test_a_token_endpoint_that_is_gone_is_discovered_again(world: World) -> None:
    auth = world.auth()
    await call(auth)
    world.clock.advance(3700)
    world.instead["/token"] = lambda seen: Response(status_code=404) if "refresh_token" in seen.form else None
    assert await call(auth) == "octocat"
    assert world.count(PRM) == 2


@pytest.mark.parametrize("lifetime", [1, 20])
async def test_a_short_lifetime_is_no_refresh_at_every_call(world: World, lifetime: int) -> None:
    world.lifetime = lifetime
    async with Session.open(MCP, auth=world.auth(), loop="current") as session:
        for _ in range(3):
            await session.call_tool("whoami")
    assert world.count("/token", "refresh_token") == 0


async def test_a_token_that_is_rejected_at_once_is_a_typed_error(world: World) -> None:
    auth = world.auth()
    world.instead["/mcp"] = always(
        status_code=401, headers={"WWW-Authenticate": f'Bearer resource_metadata="{P}{PRM}", scope="read:user"'}
    )
    with pytest.raises(TokenRejected):
        await call(auth)
    assert world.count("/authorize") == 1


# -- answers that are none ---------------------------------------------------------------------------------------


TOKEN = {"access_token": CANARY, "token_type": "Bearer", "expires_in": 3600}
BAD_TOKENS = {
    "html": HTMLResponse(f"<html>{CANARY}</html>"),
    "error and token": JSONResponse({"error": "invalid_grant", **TOKEN}),
    "unknown type": JSONResponse({**TOKEN, "token_type": "mac"}),
    "alphabet": JSONResponse({**TOKEN, "access_token": f"{CANARY}\r\nX: y"}),
    "array": JSONResponse([CANARY]),
    "broken": Response('{"access_token": "' + CANARY, media_type="application/json"),
    "repeated": Response(f'{{"access_token":"{CANARY}","access_token":"x"}}', media_type="application/json"),
    "too long": JSONResponse({**TOKEN, "padding": "x" * 2_000_000}),
    "compressed": Response(CANARY, media_type="application/json", headers={"Content-Encoding": "gzip"}),
    "status": JSONResponse(TOKEN, status_code=400),
}


@pytest.mark.parametrize("answer", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_what_is_no_token_answer_is_a_protocol_error_without_its_body(
    world: World, answer: Response, caplog: pytest.LogCaptureFixture
) -> None:
    world.instead["/token"] = lambda seen: answer
    store = MemoryGrantStore()
    with caplog.at_level(logging.DEBUG), pytest.raises(ProtocolError) as caught:
        await call(world.auth(store=store))
    assert CANARY not in str(caught.value) + repr(caught.value) + caplog.text
    assert not [grant for grant in store.entries().values() if grant.token is not None]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            JSONResponse({"error": "invalid_redirect_uri", "error_description": "no"}, status_code=400),
            OAuthErrorResponse,
        ),
        (HTMLResponse(CANARY, status_code=403), ConfigurationError),
        (Response(CANARY, status_code=500), ServerUnavailable),
        (JSONResponse({"client_secret": CANARY}, status_code=201), ProtocolError),
        (HTMLResponse(CANARY, status_code=201), ProtocolError),
    ],
    ids=["refused", "forbidden", "unavailable", "no id", "html"],
)
async def test_a_registration_that_fails_is_typed_and_quotes_nothing(
    world: World, answer: Response, kind: type[McpOAuthError], caplog: pytest.LogCaptureFixture
) -> None:
    world.instead["/register"] = lambda seen: answer
    person = Person(world)
    with caplog.at_level(logging.DEBUG), pytest.raises(kind) as caught:
        await call(world.auth(person))
    assert CANARY not in str(caught.value) + caplog.text
    assert person.urls == []


@pytest.mark.parametrize("path", ["/token", "/register"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_credentials_are_not_sent_along_a_redirect(world: World, path: str, status: int) -> None:
    world.instead[path] = lambda seen: RedirectResponse(f"{P}/sink", status_code=status)
    with pytest.raises(RedirectRefused):
        await call(world.auth())
    assert world.count("/sink") == 0


# -- discovery ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [None, [], ["plain"]])
async def test_metadata_without_s256_is_refused_before_anything_is_sent(
    world: World, methods: list[str] | None
) -> None:
    world.patch[ASM] = {"code_challenge_methods_supported": methods}
    person = Person(world)
    with pytest.raises(SecurityError, match="does not announce PKCE with S256") as caught:
        await call(world.auth(person))
    assert "code_challenge_methods_supported" in caught.value.hint
    assert person.urls == []
    assert world.count("/register") == world.count("/token") == 0


async def test_metadata_without_s256_is_refused_for_a_client_that_needs_no_registration(world: World) -> None:
    world.patch[ASM] = {"code_challenge_methods_supported": None, "client_id_metadata_document_supported": True}
    person = Person(world)
    with pytest.raises(SecurityError):
        await call(world.auth(person, client_metadata_url="https://client.example/metadata.json"))
    assert person.urls == []


async def test_an_endpoint_without_tls_is_refused(world: World) -> None:
    world.patch[ASM] = {"token_endpoint": "http://elsewhere.example/token"}
    with pytest.raises(SecurityError, match="without TLS"):
        await call(world.auth())


async def test_an_authorization_server_that_is_down_is_a_transient_error_and_nothing_is_guessed(world: World) -> None:
    world.instead[ASM] = always(status_code=503)
    with pytest.raises(ServerUnavailable):
        await call(world.auth())
    assert world.count("/register") == 0


async def test_an_authorization_server_without_metadata_is_a_protocol_error(world: World) -> None:
    world.instead[ASM] = always(status_code=404)
    with pytest.raises(ProtocolError, match="publishes no metadata"):
        await call(world.auth())
    assert world.count("/register") == 0


async def test_a_server_that_registers_nobody_is_a_configuration_error(world: World) -> None:
    world.patch[ASM] = {"registration_endpoint": None}
    with pytest.raises(ConfigurationError, match="registers no clients"):
        await call(world.auth())


async def test_metadata_of_another_issuer_is_refused(world: World) -> None:
    world.patch[ASM] = {"issuer": "https://evil.example"}
    with pytest.raises(IssuerMismatch):
        await call(world.auth())


async def test_metadata_for_another_resource_is_refused(world: World) -> None:
    world.patch[PRM] = {"resource": "https://other.example/mcp"}
    with pytest.raises(SecurityError, match=r"describes the resource https://other\.example/mcp"):
        await call(world.auth())


async def test_a_resource_whose_metadata_is_down_is_a_transient_error(world: World) -> None:
    world.instead[PRM] = always(status_code=500)
    with pytest.raises(ServerUnavailable):
        await call(world.auth())


async def test_an_authorization_server_that_cannot_be_reached_is_a_typed_error(world: World) -> None:
    class Cut(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path == "/token":
                raise httpx2.ConnectError("cut")
            return await super().handle_async_request(request)

    with pytest.raises(Unreachable, match=f"{P}/token"):
        await call(world.auth(carrier=lambda: Cut(world.app)))


async def test_a_server_of_2025_03_26_without_metadata_has_its_endpoints_at_known_paths() -> None:
    steps = Steps(instead={f"{SERVER[:-4]}/.well-known/": lambda request: httpx2.Response(404)})
    assert (await steps.walk()).status_code == 200
    assert steps.urls[-3:] == [f"POST {SERVER[:-4]}/register", f"POST {SERVER[:-4]}/token", f"POST {SERVER}"]
    assert steps.sent_to[0].startswith(f"{SERVER[:-4]}/authorize?")


async def test_a_registration_for_a_method_that_nobody_here_speaks_is_a_protocol_error(world: World) -> None:
    world.instead["/register"] = lambda seen: JSONResponse(
        {"client_id": "x", "token_endpoint_auth_method": "private_key_jwt"}, status_code=201
    )
    with pytest.raises(ProtocolError, match="private_key_jwt"):
        await call(world.auth())


# -- whose credentials --------------------------------------------------------------------------------------------


async def test_an_issuer_that_changes_gets_none_of_the_old_credentials(world: World) -> None:
    evil = f"{P}/evil"
    auth = world.auth()
    await call(auth)
    old = [*world.authority.access, *world.authority.refresh, *world.authority.clients]
    old += [client.client_secret or "" for client in world.authority.clients.values()]
    metadata = {
        "issuer": evil,
        "authorization_endpoint": f"{evil}/authorize",
        "token_endpoint": f"{evil}/token",
        "registration_endpoint": f"{evil}/register",
        "code_challenge_methods_supported": ["S256"],
    }
    world.patch[PRM] = {"authorization_servers": [evil]}
    world.instead[f"{ASM}/evil"] = lambda seen: JSONResponse(metadata)
    world.instead["/evil/register"] = lambda seen: JSONResponse(
        {"client_id": "evil-client", "redirect_uris": json.loads(seen.body)["redirect_uris"]}, status_code=201
    )
    world.instead["/evil/token"] = lambda seen: JSONResponse({"error": "invalid_grant"}, status_code=400)
    world.authority.refresh.clear()
    world.revoke_access()
    del world.seen[:]
    with pytest.raises(McpOAuthError):
        await call(world.auth(Person(world, comes_back=False), store=auth.store, timeout=0.05))
    to_evil = [one for one in world.seen if "/evil" in one.path]
    assert [one.path for one in to_evil] == [f"{ASM}/evil", "/evil/register"]
    told = "".join(one.url + one.body.decode() + str(one.headers) for one in to_evil)
    assert not [secret for secret in old if secret and secret in told]


def test_a_secret_without_an_issuer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="which authorization server"):
        McpAuth(client=OAuthClientInformationFull(client_id="mine", client_secret="a-secret-of-mine"))


async def test_a_client_made_beforehand_is_not_registered(world: World) -> None:
    client = OAuthClientInformationFull(
        client_id="mine", client_secret="a-secret-of-mine", issuer=P, scope="read:user repo",
        token_endpoint_auth_method="client_secret_basic", redirect_uris=["http://127.0.0.1:8765/callback"],
    )  # fmt: skip
    world.authority.clients["mine"] = client
    # Nobody listens: the port may be somebody else's at the moment.
    auth = world.auth(client=client, paste=Person(world).follow, listen=False, open_browser=lambda url: True)
    assert [await call(auth) for _ in range(2)] == ["octocat", "octocat"]
    assert world.count("/register") == 0
    assert world.count("/authorize") == 1
    assert "a-secret-of-mine" not in repr(auth)


async def test_a_secret_of_another_issuer_stays_here(world: World) -> None:
    client = OAuthClientInformationFull(
        client_id="mine", client_secret="a-secret-of-mine", issuer="https://other.example"
    )
    await call(world.auth(client=client))
    assert not [one for one in world.seen if "a-secret-of-mine" in one.url + one.body.decode() + str(one.headers)]


# -- the way back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declined", [False, True])
async def test_an_answer_of_another_issuer_ends_the_flow_before_the_code_leaves(world: World, declined: bool) -> None:
    world.iss, world.declines = "https://evil.example", declined
    person = Person(world)
    with pytest.raises(IssuerMismatch, match=r"evil\.example"):
        await call(world.auth(person))
    assert world.count("/token") == 0
    assert "Not signed in" in person.pages[0].text


async def test_a_missing_issuer_is_refused_where_it_was_announced(world: World) -> None:
    world.iss = ""
    world.patch[ASM] = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(IssuerMismatch, match="has no iss"):
        await call(world.auth())
    assert world.count("/token") == 0


class Forger:
    """In place of browser and listener: answers with the state that was sent, changed."""

    def __init__(self, **changes: str):
        self.changes = changes
        self.state = ""

    async def send(self, url: str) -> None:
        self.state = httpx2.URL(url).params["state"]

    async def answer(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate({"code": "stolen", "state": self.state, **self.changes})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"state": "another-state"}, StateMismatch), ({"iss": "https://evil.example"}, IssuerMismatch)],
    ids=["state", "iss"],
)
async def test_the_sdk_compares_state_and_issuer_itself(
    world: World, changes: dict[str, str], kind: type[SecurityError]
) -> None:
    provider, forger = world.auth().provider(MCP), Forger(**changes)
    provider.context.redirect_handler, provider.context.callback_handler = forger.send, forger.answer
    async with httpx2.AsyncClient(transport=world.carrier(), auth=provider) as client:
        with pytest.raises(kind) as caught:
            await client.post(MCP)
    assert "another-state" not in str(caught.value)
    assert forger.state not in str(caught.value)
    assert world.count("/token") == 0


async def test_a_person_who_declines_is_a_typed_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.declines = True
    with pytest.raises(AccessDenied):
        await call(world.auth())
    # The SDK would log a traceback, which a notebook shows in red.
    assert "Traceback" not in caplog.text


async def test_a_forged_callback_does_not_end_the_wait(world: World) -> None:
    class Crowd(Person):
        async def follow(self, url: str) -> str:
            genuine = await super().follow(url)
            async with httpx2.AsyncClient() as stranger:
                forged = genuine.partition("?")[0] + "?code=stolen&state=guessed"
                assert (await stranger.get(forged)).status_code == 400
            return genuine

    assert await call(world.auth(Crowd(world))) == "octocat"


async def test_a_person_who_does_not_come_back_is_waited_for_until_the_deadline(world: World) -> None:
    with pytest.raises(ReauthorizeError, match="No callback arrived"):
        await call(world.auth(Person(world, comes_back=False), timeout=0.05))


@pytest.mark.parametrize("redirect_uri", ["http://127.0.0.1/callback", "https://hub.example/callback"])
async def test_the_address_can_be_pasted_instead(world: World, redirect_uri: str) -> None:
    person = Person(world, comes_back=False)
    assert await call(world.auth(person, paste=person.follow, redirect_uri=redirect_uri)) == "octocat"


async def test_a_pasted_address_of_another_flow_is_refused(world: World) -> None:
    person = Person(world, comes_back=False, change=lambda url: url.replace("state=", "state=x"))
    with pytest.raises(StateMismatch):
        await call(world.auth(person, paste=person.follow))


async def test_a_paste_that_never_comes_ends_at_the_deadline(world: World) -> None:
    async def never(url: str) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    auth = world.auth(Person(world, comes_back=False), paste=never, timeout=0.05, redirect_uri="https://hub.example/cb")
    with pytest.raises(ReauthorizeError, match="pasted"):
        await call(auth)


async def test_an_answer_with_neither_code_nor_error_is_a_protocol_error(world: World) -> None:
    person = Person(world, comes_back=False, change=lambda url: url.replace("code=", "kode="))
    with pytest.raises(ProtocolError, match="neither a code nor an error"):
        await call(world.auth(person, paste=person.follow))


async def test_a_redirect_uri_elsewhere_needs_somebody_who_pastes(world: World) -> None:
    with pytest.raises(ConfigurationError, match="nobody can listen"):
        await call(world.auth(redirect_uri="https://hub.example/callback"))


async def test_a_client_made_beforehand_is_not_replaced_when_its_port_is_taken(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
        client = OAuthClientInformationFull.model_validate({"client_id": "mine", "issuer": P, "redirect_uris": [uri]})
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            await call(world.auth(client=client))
    assert world.count("/register") == 0


async def test_a_dangerous_authorization_url_is_not_opened(world: World) -> None:
    world.patch[ASM] = {"authorization_endpoint": "javascript://127.0.0.1/%0aalert(1)"}
    person = Person(world)
    with pytest.raises(McpOAuthError):
        await call(world.auth(person))
    assert person.urls == []


def way(**options: Any) -> Redirect:
    """A way through the browser, by itself."""
    given: dict[str, Any] = {
        "paste": None,
        "show": str,
        "open_browser": lambda url: True,
        "timeout": 5,
        "listen": False,
    }
    return Redirect("http://127.0.0.1/callback", **{**given, "hub": None, **options})


async def test_a_code_is_masked_from_the_moment_it_arrives() -> None:
    code = "the-code-that-a-browser-brings"

    async def paste(url: str) -> str:
        return f"http://127.0.0.1/callback?state=x&code={code}"

    redirect = way(paste=paste)
    await redirect.send("https://as.example/authorize?state=x", lambda iss: None)
    assert (await redirect.answer()).code == code
    assert code not in scrub(f"It brought {code}.")


async def test_a_paste_that_is_given_up_has_ended_when_the_answer_is_there() -> None:
    ended: list[str] = []

    async def paste(url: str) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            await asyncio.sleep(0)
            ended.append(url)
        raise AssertionError

    redirect = way(paste=paste, listen=True)
    uri = await redirect.start()
    try:
        await redirect.send("https://as.example/authorize?state=x", lambda iss: None)
        async with httpx2.AsyncClient() as browser:
            visit = asyncio.create_task(browser.get(f"{uri}?state=x&code=a-code"))
            assert (await redirect.answer()).code == "a-code"
            assert len(ended) == 1
            await visit
    finally:
        await redirect.stop()


async def test_where_somebody_listens_and_may_paste_too_the_listener_says_that_nobody_came() -> None:
    async def never(url: str) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    for _ in range(5):
        redirect = way(paste=never, listen=True, timeout=0.01)
        await redirect.start()
        try:
            await redirect.send("https://as.example/authorize?state=x", lambda iss: None)
            with pytest.raises(ReauthorizeError, match="No callback arrived") as caught:
                await redirect.answer()
        finally:
            await redirect.stop()
        assert "paste its address in time" in caught.value.hint


async def test_an_address_that_could_start_a_program_is_neither_shown_nor_opened() -> None:
    seen: list[str] = []
    redirect = way(show=seen.append, open_browser=lambda url: bool(seen.append(url)))
    with pytest.raises(SecurityError, match="is not opened"):
        await redirect.send("vscode://open?state=x", lambda iss: None)
    assert seen == []


async def test_a_query_of_the_authorization_endpoint_is_kept(world: World) -> None:
    world.patch[ASM] = {"authorization_endpoint": f"{P}/authorize?tenant=blue&state=theirs"}
    person = Person(world)
    assert await call(world.auth(person)) == "octocat"
    assert person.urls[0].startswith(f"{P}/authorize?tenant=blue&state=theirs&response_type=code")


async def test_a_port_that_was_registered_and_is_taken_now_leads_to_a_new_registration(world: World) -> None:
    person = Person(world)
    auth = world.auth(person)
    await call(auth)
    port = httpx2.URL(httpx2.URL(person.urls[0]).params["redirect_uri"]).port
    world.authority.refresh.clear()
    world.revoke_access()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port or 0))
        taken.listen()
        assert await call(auth) == "octocat"
    assert world.count("/register") == 2


async def test_a_cancelled_call_does_not_lose_the_token_that_is_under_way(world: World) -> None:
    asked, answer, saved = anyio.Event(), anyio.Event(), anyio.Event()

    class Slow(httpx2.ASGITransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if b"grant_type=refresh_token" in await request.aread():
                asked.set()
                await answer.wait()
            return await super().handle_async_request(request)

    class Watched(MemoryGrantStore):
        def replace(self, key: TokenKey, old: Grant | None, new: Grant | None) -> bool:
            done = super().replace(key, old, new)
            if asked.is_set():
                saved.set()
            return done

    auth = world.auth(store=Watched(), carrier=lambda: Slow(world.app))
    async with Session.open(MCP, auth=auth, loop="current") as session:
        world.clock.advance(3590)
        async with anyio.create_task_group() as group:
            group.start_soon(session.call_tool, "whoami")
            await asked.wait()
            group.cancel_scope.cancel()
        answer.set()
        with anyio.fail_after(5):
            await saved.wait()
        assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
    assert world.count("/token", "refresh_token") == 1
    assert world.count("/authorize") == 1


async def test_calls_that_begin_together_read_the_store_once(world: World) -> None:
    reads: list[int] = []

    class Counted(MemoryGrantStore):
        def entries(self) -> dict[TokenKey, Grant]:
            reads.append(1)
            return super().entries()

    auth = world.auth(store=Counted())
    await call(auth)
    provider = auth.provider(MCP)
    reads.clear()
    await provider.context.lock.acquire()
    flows = [provider.async_auth_flow(httpx2.Request("POST", MCP)) for _ in range(2)]
    async with anyio.create_task_group() as group:
        for flow in flows:
            group.start_soon(anext, flow)
        await anyio.wait_all_tasks_blocked()
        provider.context.lock.release()
    for flow in flows:
        await flow.aclose()
    assert len(reads) == 3  # the grant, and the SDK's two questions


async def test_a_callback_that_was_refused_is_told_with_the_reason_when_nobody_else_comes(world: World) -> None:
    person = Person(world, change=lambda url: url.replace("state=", "state=of-nobody-"))
    with pytest.raises(ReauthorizeError, match="came and was refused") as caught:
        await call(world.auth(person, timeout=1))
    assert "state belongs to no authorization request" in caught.value.message
    assert caught.value.reference == "RFC 6749 section 10.12"


async def test_nobody_at_all_is_told_how_this_client_takes_a_pasted_address(world: World) -> None:
    with pytest.raises(ReauthorizeError, match="No callback arrived") as caught:
        await call(world.auth(Person(world, comes_back=False), timeout=0.05))
    assert "McpAuth(paste=" in caught.value.hint
    assert "login" not in caught.value.hint


async def test_an_issuer_in_a_callback_that_differs_is_told_with_what_differs(world: World) -> None:
    world.iss = f"{P}/"
    with pytest.raises(IssuerMismatch, match="only a slash at the end differs") as caught:
        await call(world.auth())
    assert caught.value.reference == "RFC 9207 section 2.4"
    assert "interfering" not in str(caught.value)
