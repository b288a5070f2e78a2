"""Somebody else's `httpx2.Auth` in place of `McpAuth`: it authorizes, is recorded and masked; its errors are typed."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from http_world import PRM, Person, World, served
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb import Session
from mcp_oauth_nb.client.other_auth import Foreign
from mcp_oauth_nb.oauth.errors import ConfigurationError, McpOAuthError, ProtocolError
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

CANARY = "canary-" + "c0ffee" * 4


class Storage:
    """The SDK's storage, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def sdk_provider(world: World, storage: Storage) -> OAuthClientProvider:
    came: list[str] = []

    async def send(url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            came.append((await browser.get(url)).headers["location"])

    async def answer() -> AuthorizationCodeResult:
        query = httpx2.URL(came.pop()).params
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query.get("iss"))

    metadata = OAuthClientMetadata.model_validate({"redirect_uris": ["http://127.0.0.1/callback"]})
    return OAuthClientProvider(f"{world.origin}/mcp", metadata, storage, send, answer)


async def test_the_sdks_own_provider_authorizes_a_session_and_the_trace_is_masked() -> None:
    async with served() as world:
        storage, trace = Storage(), Trace()
        url, auth = f"{world.origin}/mcp", sdk_provider(world, storage)
        async with Session.open(url, auth=auth, trace=trace) as session:
            assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
    assert storage.tokens is not None
    assert storage.tokens.refresh_token is not None
    shown = json.dumps([[message.title, message.headers, message.body] for message in trace.messages], default=str)
    assert "/register" in shown
    for secret in (storage.tokens.access_token, storage.tokens.refresh_token):
        assert secret not in shown
    assert storage.tokens.access_token not in scrub(f"it was {storage.tokens.access_token}")


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/token", JSONResponse({"error": CANARY}, 400), "Token exchange failed (400)."),
        ("/token", Response(CANARY, 200, media_type="application/json"), "Invalid token response."),
        ("/register", JSONResponse({"error": CANARY}, 400), "Registration failed: 400."),
        ("/register", Response(CANARY, 201, media_type="application/json"), "Invalid registration response."),
        (PRM, Response(status_code=503), "Protected resource metadata request failed: HTTP 503."),
    ],
)
async def test_an_error_of_the_sdks_provider_has_a_type_and_no_body(path: str, answer: Response, said: str) -> None:
    async with served() as world:
        world.instead[path] = lambda seen: answer
        with pytest.raises(McpOAuthError) as caught:
            await Session.open(f"{world.origin}/mcp", auth=sdk_provider(world, Storage()))
    assert caught.value.message == said
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_an_error_of_the_sdks_provider_ends_one_call_and_not_the_session() -> None:
    async with served() as world:
        storage = Storage()
        async with Session.open(f"{world.origin}/mcp", auth=sdk_provider(world, storage)) as session:
            world.revoke_access()
            world.authority.refresh.clear()
            world.instead["/token"] = lambda seen: JSONResponse({"error": "no"}, 400)
            with pytest.raises(ProtocolError, match="Token exchange failed"):
                await session.call_tool("whoami")
            del world.instead["/token"]
            assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]


async def test_the_sdks_client_credentials_provider_authorizes_without_a_person() -> None:
    async with served() as world:
        secret = f"secret-{CANARY}"
        token = next(iter((await _granted(world)).authority.access))

        world.instead["/token"] = lambda seen: JSONResponse({"access_token": token, "token_type": "Bearer"})
        auth = ClientCredentialsOAuthProvider(
            f"{world.origin}/mcp", Storage(), "an-id", secret, "client_secret_post", issuer=f"{world.origin}/"
        )
        async with Session.open(f"{world.origin}/mcp", auth=auth) as session:
            assert (await session.call_tool("whoami")).content[0].text == "octocat"  # type: ignore[union-attr]
        assert world.seen[-1].method in ("POST", "GET", "DELETE")
        assert world.count("/token", "client_credentials") == 1
    assert secret not in scrub(f"it was {secret}")


async def _granted(world: World) -> World:
    """The world, after somebody signed in."""
    person = Person(world)
    auth = world.auth(paste=person.follow, listen=False, open_browser=lambda url: True, carrier=None)
    await (await Session.open(f"{world.origin}/mcp", auth=auth)).aclose()
    return world


async def test_http_basic_is_sent_with_every_request_and_its_password_is_a_secret() -> None:
    password = f"password-{CANARY}"
    async with served() as world:
        world.instead["/mcp"] = lambda seen: Response(status_code=404)
        with pytest.raises(Exception, match=r"."):
            await Session.open(f"{world.origin}/mcp", auth=httpx2.BasicAuth("ada", password))
        expected = "Basic " + base64.b64encode(f"ada:{password}".encode()).decode()
        assert {one.headers.get("authorization") for one in world.seen} == {expected}
    assert password not in scrub(f"it was {password}")
    assert expected.partition(" ")[2] not in scrub(expected)


async def passing(foreign: Foreign, request: httpx2.Request) -> None:
    """Let a request go out by somebody's way to authorize."""
    async for _ in foreign.async_auth_flow(request):
        pass


async def test_a_password_may_have_colons_and_a_user_has_none() -> None:
    password = f"a-first-part:{CANARY}-colons:x"
    await passing(Foreign(httpx2.BasicAuth("ada-of-the-house", password)), httpx2.Request("GET", "http://127.0.0.1/"))
    assert "a-first-part" not in scrub(f"it was {password}")
    assert scrub("ada-of-the-house") == "ada-of-the-house"


@pytest.mark.parametrize(
    "name", ["client_secret", "refresh_token", "code", "code_verifier", "client_assertion", "assertion"]
)
async def test_whatever_proves_something_at_a_token_endpoint_is_masked_once_it_was_sent(name: str) -> None:
    secret = f"{name}+of/{CANARY}"
    await passing(
        Foreign(httpx2.Auth()), httpx2.Request("POST", "http://127.0.0.1/token", data={name: secret, "a": "b"})
    )
    assert secret not in scrub(f"it was {secret}")


async def test_what_no_scheme_that_is_known_here_carries_is_masked_too() -> None:
    for value in (
        f"DPoP dpop-{CANARY}",
        f"Basic not-base64-{CANARY}",
        f"Basic {base64.b64encode(b'%c:x' % 255).decode()}",
    ):
        request = httpx2.Request("GET", "http://127.0.0.1/", headers={"Authorization": value})
        await passing(Foreign(httpx2.Auth()), request)
        assert CANARY not in scrub(value)


async def test_whatever_authorizes_nothing_is_refused_by_its_type() -> None:
    with pytest.raises(ConfigurationError, match="an object of type int"):
        await Session.open("http://127.0.0.1:1/mcp", auth=5)  # type: ignore[arg-type]


async def test_another_auth_for_a_server_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is for a server at an http"):
        await Session.open(object(), auth=httpx2.BasicAuth("a", "b"))  # type: ignore[arg-type]


async def test_its_own_wishes_and_its_end_are_respected() -> None:
    ended: list[str] = []

    class Own(httpx2.Auth):
        requires_request_body = True

        async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
            try:
                yield request
                yield request
            finally:
                ended.append("flow")

    foreign = Foreign(Own())
    assert (foreign.requires_request_body, foreign.requires_response_body) == (True, False)
    assert repr(foreign) == "Foreign(Own)"
    flow: Any = foreign.async_auth_flow(httpx2.Request("GET", "http://127.0.0.1/"))
    await anext(flow)
    await flow.aclose()
    assert ended == ["flow"]
