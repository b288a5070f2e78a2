"""The SDK's own client walks through all of it: three ways to be known, refresh, step-up."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from authserver_world import CALLBACK, PUBLIC_URL, RESOURCE, World, answer
from mcp.client.auth import OAuthClientProvider
from mcp.server.auth.handlers.metadata import ProtectedResourceMetadataHandler
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from test_authserver_documents import URL, Web

pytestmark = pytest.mark.anyio


class Resource:
    """A protected resource beside the authorization server: `/mcp` needs read:user, and with `?repo` repo too."""

    def __init__(self, world: World):
        self.world = world
        # From strings: an `AnyHttpUrl` of its own gains a slash, and issuers are compared character by character.
        metadata = ProtectedResourceMetadata.model_validate(
            {"resource": RESOURCE, "authorization_servers": [PUBLIC_URL], "scopes_supported": ["read:user"]}
        )
        document = Route("/.well-known/oauth-protected-resource/mcp", ProtectedResourceMetadataHandler(metadata).handle)
        self.app = Starlette(routes=[Route("/mcp", self.serve), document, *world.server.routes()])

    async def serve(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        access = await self.world.server.verify_token(token)
        document = f'resource_metadata="{PUBLIC_URL}/.well-known/oauth-protected-resource/mcp"'
        if access is None or access.resource != RESOURCE:
            header = {"WWW-Authenticate": f'Bearer {document}, scope="read:user"'}
            return Response(status_code=401, headers=header)
        if "repo" in request.query_params and "repo" not in access.scopes:
            header = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="read:user repo", {document}'}
            return Response(status_code=403, headers=header)
        return JSONResponse({"login": access.subject, "client": access.client_id, "scopes": access.scopes})


class Storage:
    """The SDK's token storage, in memory."""

    def __init__(self, client: OAuthClientInformationFull | None = None):
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class SdkClient:
    """The SDK's provider, with this world's browser as the person's."""

    def __init__(self, world: World, storage: Storage | None = None, **options: Any):
        self.storage = storage or Storage()
        self.world = world
        self.landed = ""
        metadata = OAuthClientMetadata(client_name="SDK", redirect_uris=[CALLBACK], token_endpoint_auth_method="none")
        self.provider = OAuthClientProvider(
            RESOURCE, metadata, self.storage, self.open_browser, self.wait_for_callback, **options
        )
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(Resource(world).app), base_url=PUBLIC_URL, auth=self.provider
        )

    async def open_browser(self, url: str) -> None:
        self.landed = await self.world.browser.authorize(answer(url))

    async def wait_for_callback(self) -> AuthorizationCodeResult:
        said = answer(self.landed)
        return AuthorizationCodeResult(code=said["code"], state=said["state"], iss=said["iss"])


@pytest.fixture
def world() -> World:
    return World()


async def test_it_registers_itself_and_gets_in(world: World) -> None:
    client = SdkClient(world)
    response = await client.http.get("/mcp")
    assert response.status_code == 200
    assert response.json()["login"] == "octocat"
    assert client.storage.client is not None
    assert response.json()["client"] == client.storage.client.client_id
    assert await world.stored("clients") == 1


async def test_it_gets_in_with_a_client_id_metadata_document() -> None:
    web = Web()
    world = World(document_client=web.fetcher())
    client = SdkClient(world, client_metadata_url=URL)
    assert (await client.http.get("/mcp")).json()["client"] == URL
    assert await world.stored("clients") == 0


@pytest.mark.parametrize("client_id", ["desk", "poster"])
async def test_it_gets_in_as_a_pre_registered_client(world: World, client_id: str) -> None:
    known = next(client for client in world.options["clients"] if client.client_id == client_id)
    client = SdkClient(world, Storage(known.model_copy(update={"issuer": PUBLIC_URL})))
    assert (await client.http.get("/mcp")).json()["client"] == client_id
    assert await world.stored("clients") == 0


async def test_it_refreshes(world: World) -> None:
    client = SdkClient(world)
    await client.http.get("/mcp")
    before = client.storage.tokens
    client.provider.context.token_expiry_time = 1.0
    asked = len(world.browser.pages)
    assert (await client.http.get("/mcp")).status_code == 200
    assert client.storage.tokens != before
    assert len(world.browser.pages) == asked


async def test_it_steps_up_to_the_union_of_scopes(world: World) -> None:
    client = SdkClient(world)
    assert (await client.http.get("/mcp")).json()["scopes"] == ["read:user"]
    assert (await client.http.get("/mcp?repo")).json()["scopes"] == ["read:user", "repo"]
    assert len(world.browser.pages) == 2
