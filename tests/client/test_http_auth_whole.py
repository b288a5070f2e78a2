"""This package's client against this package's server over HTTP: `McpAuth`, the resource, its authorization server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from authserver_world import RESOURCE, World, answer

from mcp_oauth_nb import McpAuth, Session, Trace
from mcp_oauth_nb.oauth.errors import AccessDenied
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.resource import build_http_app, build_http_server, upstream_by

pytestmark = pytest.mark.anyio


class Deployment:
    """The world of the authorization server's tests with the tools beside it, and a person who pastes addresses."""

    def __init__(self, **options: Any):
        self.world = World(**options)
        self.allow = True
        self.asked: list[dict[str, str]] = []
        server = self.world.server
        tools = build_http_server(
            self.settings(),
            upstream_by(server.upstream_token),
            lambda: httpx.AsyncClient(transport=self.world.github.transport()),
            public_url=self.world.public_url,
            clock=self.world.clock,
        )
        self.app = build_http_app(
            public_url=self.world.public_url,
            server=tools,
            verifier=server,
            authorization_server_routes=server.routes(),
            json_response=True,
            stateless=True,
            clock=self.world.clock,
        )

    def settings(self) -> IsolatedSettings:
        known = self.world.app_at_github
        return IsolatedSettings(oauth_client_id=known.client_id, oauth_client_secret=known.client_secret)

    async def paste(self, url: str) -> str:
        self.asked.append(answer(url))
        return await self.world.browser.authorize(answer(url), allow=self.allow)

    def auth(self) -> McpAuth:
        return McpAuth(
            paste=self.paste,
            show=str,
            open_browser=lambda url: True,
            timeout=10,
            clock=self.world.clock,
            carrier=lambda: httpx2.ASGITransport(self.app),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Deployment]:
        async with self.app.router.lifespan_context(self.app):
            yield self


@pytest.fixture
async def deployment() -> AsyncIterator[Deployment]:
    async with Deployment().running() as running:
        yield running


def text(result: Any) -> str:
    return "".join(block.text for block in result.content)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_open_server_is_entered_without_a_token_and_a_protected_tool_asks(
    deployment: Deployment, mode: Any
) -> None:
    trace = Trace(deployment.world.clock)
    async with Session.open(RESOURCE, auth=deployment.auth(), trace=trace, loop="current", mode=mode) as session:
        assert (await session.list_tools()).tools
        assert deployment.asked == []
        assert "octocat" in text(await session.call_tool("get_github_user_info"))
    assert [request["scope"] for request in deployment.asked] == ["read:user"]
    assert [request["resource"] for request in deployment.asked] == [RESOURCE]


async def test_private_data_is_a_step_up_to_the_union_and_later_calls_ask_nobody(deployment: Deployment) -> None:
    async with Session.open(RESOURCE, auth=deployment.auth(), loop="current") as session:
        await session.call_tool("get_github_user_info")
        for _ in range(2):
            await session.call_tool("get_github_user_info", {"include_private": True})
    assert [set(request["scope"].split()) for request in deployment.asked] == [{"read:user"}, {"read:user", "repo"}]
    assert await deployment.world.stored("clients") == 1


async def test_an_expired_token_is_refreshed_and_rotated(deployment: Deployment) -> None:
    auth = deployment.auth()
    for _ in range(3):
        async with Session.open(RESOURCE, auth=auth, loop="current") as session:
            assert "octocat" in text(await session.call_tool("get_github_user_info"))
        deployment.world.clock.advance(3590)
    assert len(deployment.asked) == 1


async def test_a_person_who_declines_consent_is_a_typed_error_and_the_session_goes_on(deployment: Deployment) -> None:
    deployment.allow = False
    async with Session.open(RESOURCE, auth=deployment.auth(), loop="current") as session:
        with pytest.raises(AccessDenied):
            await session.call_tool("get_github_user_info")
        deployment.allow = True
        assert "octocat" in text(await session.call_tool("get_github_user_info"))


async def test_the_farewell_of_a_session_asks_nobody_for_another_token(deployment: Deployment) -> None:
    request = httpx2.Request("DELETE", RESOURCE)
    flow = deployment.auth().provider(RESOURCE).async_auth_flow(request)
    assert await anext(flow) is request
    refusal = httpx2.Response(401, headers={"WWW-Authenticate": "Bearer"}, request=request)
    with pytest.raises(StopAsyncIteration):
        await flow.asend(refusal)
    assert deployment.asked == []
