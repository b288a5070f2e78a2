"""Every request that an authorization makes, and every answer that it gets: how it is sent, and what is not read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb.client.retrying import DEADLINE_SECONDS
from mcp_oauth_nb.oauth.errors import McpOAuthError, ProtocolError, RedirectRefused
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio

PRM = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
ASM = f"{ISSUER}/.well-known/oauth-authorization-server"
REGISTER = f"{ISSUER}/register"
TOKEN = f"{ISSUER}/token"


class Body(httpx2.AsyncByteStream):
    """A body that knows whether it was closed."""

    def __init__(self, content: bytes) -> None:
        self.content, self.closed = content, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert not self.closed, "a network gives each byte once"
        yield self.content

    async def aclose(self) -> None:
        self.closed = True


async def test_an_authorization_asks_for_json_that_is_not_compressed_and_has_a_deadline() -> None:
    steps = Steps()
    await steps.walk()
    for request in (one for one in steps.requests if str(one.url) != SERVER):
        assert request.headers["accept"] == "application/json", request.url
        assert request.headers["accept-encoding"] == "identity", request.url
        assert set(request.extensions["timeout"].values()) == {DEADLINE_SECONDS}, request.url


@pytest.mark.parametrize("place", [PRM, ASM, REGISTER, TOKEN])
@pytest.mark.parametrize("encoding", ["gzip", "br", "unheard-of"])
async def test_a_compressed_answer_is_refused_unread(place: str, encoding: str) -> None:
    steps = Steps()
    packed = httpx2.Response(200, headers={"Content-Encoding": encoding}, stream=Body(b"\x1f\x8b"))
    steps.instead = {place: lambda request: packed}
    with pytest.raises(ProtocolError, match="compressed") as caught:
        await steps.walk()
    assert caught.value.message.startswith(place)
    assert steps.urls[-1].endswith(place)


async def test_an_answer_that_arrives_in_a_stream_is_read_once_here_and_once_by_the_flow() -> None:
    steps = Steps()
    content = json.dumps(steps.metadata()).encode()
    streamed = httpx2.Response(200, headers={"Content-Type": "application/json"}, stream=Body(content))
    steps.instead = {ASM: lambda request: streamed}
    assert (await steps.walk()).status_code == 200
    assert steps.urls[-2] == f"POST {TOKEN}"


async def test_an_answer_that_says_it_is_not_compressed_is_read() -> None:
    steps = Steps()
    plain = httpx2.Response(200, headers={"Content-Encoding": "Identity"}, json=steps.metadata())
    steps.instead = {ASM: lambda request: plain}
    assert (await steps.walk()).status_code == 200


@pytest.mark.parametrize("place", [PRM, ASM, REGISTER, TOKEN])
@pytest.mark.parametrize(("length", "refused"), [(MAX_BODY_BYTES, False), (MAX_BODY_BYTES + 1, True)])
async def test_an_answer_is_as_long_as_it_may_be_and_no_byte_longer(place: str, length: int, refused: bool) -> None:
    steps = Steps()
    bodies: list[Body] = []

    def padded(request: httpx2.Request) -> httpx2.Response:
        del steps.instead[place]
        usual = steps.answer(request)
        bodies.append(Body(usual.content.ljust(length)))
        headers = {"Content-Type": "application/json"}
        return httpx2.Response(usual.status_code, headers=headers, stream=bodies[-1])

    steps.instead = {place: padded}
    if refused:
        with pytest.raises(ProtocolError, match=f"{place} sent more than {MAX_BODY_BYTES} bytes"):
            await steps.walk()
    else:
        assert (await steps.walk()).status_code == 200
    assert bodies[0].closed


@pytest.mark.parametrize("place", [REGISTER, TOKEN])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_what_has_credentials_in_it_follows_no_redirect(place: str, status: int) -> None:
    steps = Steps()
    steps.instead = {place: lambda request: httpx2.Response(status, headers={"Location": "https://evil.example/"})}
    with pytest.raises(RedirectRefused, match=f"{place} answered {status} with a redirect"):
        await steps.walk()
    assert steps.urls[-1] == f"POST {place}"


async def test_a_token_endpoint_that_asked_for_patience_is_left_alone_and_nobody_is_sent_to_a_browser() -> None:
    steps = Steps()
    steps.instead = {TOKEN: lambda request: httpx2.Response(429, headers={"Retry-After": "60"})}
    auth = steps.auth()
    for asked in (1, 1):
        with pytest.raises(McpOAuthError):
            await steps.walk(auth.provider(SERVER))
        assert (steps.urls.count(f"POST {TOKEN}"), len(steps.sent_to)) == (asked, asked)
