"""OAuthHandler against hostile and broken servers: what it must not follow, wait for, swallow or tell."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import anyio.lowlevel
import httpx
import pytest
from provider import CLIENT_SECRET, Provider, handler_for, settings_for, signed_in
from starlette.responses import JSONResponse, Response, StreamingResponse

from mcp_oauth_nb.client.handler import OAuthHandler
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    InvalidCodeVerifier,
    McpOAuthError,
    ProtocolError,
    RedirectRefused,
    RefreshRejected,
    Unreachable,
)
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio

Ask = Callable[[OAuthHandler, Provider], Any]


async def exchange(handler: OAuthHandler, provider: Provider) -> None:
    await handler.complete_authorization(provider.authorize(handler.get_authorization_url().url))


async def refresh(handler: OAuthHandler, provider: Provider) -> None:
    await handler.refresh_access_token()


GRANTS = pytest.mark.parametrize("ask", [exchange, refresh])

# -- redirects -----------------------------------------------------------------------------------------------------


@GRANTS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["https://evil.example/token", "http://id.example/token", "/token", "//evil.example"]
)
async def test_no_redirect_is_followed_with_credentials(
    provider: Provider, clock: ManualClock, ask: Ask, status: int, location: str
) -> None:
    handler = await signed_in(provider, clock)
    before = handler.token
    provider.seen.clear()
    provider.spoiled.append(Response(status_code=status, headers={"location": location}))
    with pytest.raises((RedirectRefused, RefreshRejected)) as caught:
        await ask(handler, provider)
    # A refresh that is answered so is refused, and says why.
    reason = caught.value if ask is exchange else caught.value.__cause__
    assert isinstance(reason, RedirectRefused)
    assert "not followed" in caught.value.message
    assert provider.stolen == []
    assert len(provider.seen) == 1
    assert handler.token == before


async def test_the_evil_sink_would_have_seen_everything(provider: Provider) -> None:
    """The test above can fail: a client that follows redirects sends all of it on."""
    provider.spoiled.append(Response(status_code=307, headers={"location": "https://evil.example/token"}))
    async with provider.client() as client:
        await client.post("https://id.example/token", data={"client_secret": CLIENT_SECRET}, follow_redirects=True)
    assert CLIENT_SECRET.encode() in provider.stolen[0].body


async def test_tokens_and_credentials_go_to_the_issuer_only(provider: Provider, clock: ManualClock) -> None:
    handler = await signed_in(provider, clock, revocation_url="https://id.example/revoke")
    await handler.refresh_access_token()
    await handler.revoke()
    assert provider.stolen == []
    assert [urlsplit(request.url).path for request in provider.seen] == ["/token", "/token", "/revoke", "/revoke"]


# -- deadlines and sizes -------------------------------------------------------------------------------------------


async def drip() -> AsyncIterator[bytes]:
    """An answer that never pauses, and takes long to get anywhere."""
    while True:
        yield b" "
        await anyio.lowlevel.checkpoint()


class Dripping(httpx.AsyncBaseTransport):
    """A server that sends byte by byte, for ever."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=drip())


class Silent(httpx.AsyncBaseTransport):
    """A server that accepts the request and says nothing."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.Event().wait()
        raise AssertionError("nobody sets the event")


@GRANTS
@pytest.mark.parametrize("server", [Dripping, Silent])
async def test_one_deadline_covers_the_whole_answer(
    provider: Provider, clock: ManualClock, ask: Ask, server: type[httpx.AsyncBaseTransport]
) -> None:
    handler = OAuthHandler(
        settings=settings_for(api_timeout=0.1),
        client=lambda: httpx.AsyncClient(transport=server()),
        clock=clock,
    )
    handler.refresh_token = "a-refresh-token"
    with anyio.fail_after(10), pytest.raises(Unreachable, match=r"within 0\.1 seconds") as caught:
        await ask(handler, provider)
    assert "API_TIMEOUT" in caught.value.hint
    assert handler.refresh_token == "a-refresh-token"


def endless() -> Iterator[bytes]:
    while True:
        yield b" " * 65536


class Flooding(httpx.AsyncBaseTransport):
    """A server whose answer has no end; it counts what was taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        for chunk in endless():
            self.taken += len(chunk)
            yield chunk


@GRANTS
async def test_an_endless_answer_is_cut_off_while_it_streams(provider: Provider, clock: ManualClock, ask: Ask) -> None:
    server = Flooding()
    handler = OAuthHandler(settings=settings_for(), client=lambda: httpx.AsyncClient(transport=server), clock=clock)
    handler.refresh_token = "a-refresh-token"
    with (
        anyio.fail_after(10),
        pytest.raises((ProtocolError, RefreshRejected), match=f"more than {MAX_BODY_BYTES} bytes"),
    ):
        await ask(handler, provider)
    assert server.taken <= MAX_BODY_BYTES + 2 * 65536


@GRANTS
async def test_an_answer_of_exactly_the_allowed_size_is_read(provider: Provider, clock: ManualClock, ask: Ask) -> None:
    handler = await signed_in(provider, clock)
    body = b'{"access_token": "an-access-token", "token_type": "bearer"'
    body += b" " * (MAX_BODY_BYTES - len(body) - 1) + b"}"
    provider.spoiled.append(Response(body, media_type="application/json"))
    await ask(handler, provider)
    assert handler.access_token == "an-access-token"


@GRANTS
async def test_a_compressed_answer_is_refused_before_it_unpacks(
    provider: Provider, clock: ManualClock, ask: Ask
) -> None:
    handler = await signed_in(provider, clock)
    provider.seen.clear()
    provider.spoiled.append(
        StreamingResponse(iter([b"\x1f\x8b"]), headers={"content-encoding": "gzip"}, media_type="application/json")
    )
    with pytest.raises((ProtocolError, RefreshRejected), match="compressed"):
        await ask(handler, provider)
    assert provider.seen[0].headers["accept-encoding"] == "identity"


async def test_a_code_is_never_replayed_by_itself(provider: Provider, clock: ManualClock) -> None:
    handler = handler_for(provider, clock)
    provider.spoiled.append(httpx.ReadError("connection reset"))
    with pytest.raises(Unreachable):
        await exchange(handler, provider)
    assert len(provider.seen) == 1


# -- secrets -------------------------------------------------------------------------------------------------------


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error with everything that it hangs on."""
    waiting, known = [error], set()
    while waiting:
        current = waiting.pop()
        if id(current) not in known:
            known.add(id(current))
            yield current
            waiting += [linked for linked in (current.__cause__, current.__context__) if linked is not None]


def everything_said(error: BaseException) -> str:
    """All texts that a person or a log could get to see of an error."""
    said = ["".join(traceback.format_exception(error))]
    for linked in chain(error):
        said += [str(linked), repr(linked), repr(linked.args), repr(getattr(linked, "__notes__", None))]
        said += [f"{name}={value!r}" for name, value in vars(linked).items()]
    return "\n".join(said)


def echo(form: dict[str, list[str]]) -> dict[str, str]:
    """The worst that a server can say: everything that it was sent."""
    return {"error": "invalid_request", "error_description": " ".join(f"{k}={v[0]}" for k, v in form.items())}


class Gossip(Provider):
    """Puts everything it was sent into its next error answer."""

    async def _token(self, form: dict[str, str]) -> Response:
        return JSONResponse(echo(parse_qs(urlencode(form))), 400)


async def collect(errors: list[BaseException], ask: Any) -> None:
    with pytest.raises(McpOAuthError) as caught:
        await ask
    errors.append(caught.value)


async def test_no_secret_is_told_in_any_log_repr_or_error(
    provider: Provider, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[BaseException] = []
    shown: list[object] = []
    secrets = {CLIENT_SECRET}

    handler = handler_for(provider, clock, revocation_url="https://id.example/revoke")

    def begin(handler: OAuthHandler = handler) -> Any:
        request = handler.get_authorization_url()
        secrets.update((request.state, request.code_verifier))
        shown.append(request)
        return request

    # A whole life: flow, headers, early refresh, refresh after a 401, revocation.
    request = begin()
    shown.append(response := handler.read_callback(provider.authorize(request.url)))
    shown.append(await handler.exchange_code_for_token(response.code, request.code_verifier))
    shown += [handler, handler.get_auth_headers(), handler.token, handler.store, handler.settings, handler.challenge()]
    clock.advance(28800 - 30)
    await handler.access_token_for_request()
    await handler.access_token_for_request(rejected=handler.access_token)

    # All that can go wrong with a code in hand.
    await collect(errors, handler.exchange_code_for_token(response.code, request.code_verifier))
    first, second = begin(), begin()
    answer = handler.read_callback(provider.authorize(first.url))
    await collect(errors, handler.exchange_code_for_token(answer.code, second.code_verifier))
    assert isinstance(errors[-1], InvalidCodeVerifier)
    await collect(errors, handler.exchange_code_for_token(answer.code, second.code_verifier + "!"))
    for changes in ({"state": "forged"}, {"iss": "https://evil.example"}, {"error": "server_error"}):
        await collect(errors, handler.complete_authorization(provider.authorize(begin().url, **changes)))
    for spoil in spoils():
        provider.spoiled.extend([spoil, spoil])
        await collect(errors, exchange(handler, provider))
        provider.spoiled.clear()

    # And with a refresh token.
    for spoil in spoils():
        provider.spoiled.extend([spoil, spoil])
        await collect(errors, handler.refresh_access_token())
        provider.spoiled.clear()

    # A server that repeats what it hears.
    gossip = Gossip()
    listener = handler_for(gossip, clock)
    await collect(errors, listener.complete_authorization(gossip.authorize(begin(listener).url)))
    listener.token = handler.token
    await collect(errors, listener.refresh_access_token())

    await handler.revoke()
    shown.append(handler)
    await collect(errors, handler.access_token_for_request())
    secrets |= provider.secrets | gossip.secrets
    told = [*map(everything_said, errors), *map(repr, shown), *map(str, shown), caplog.text]
    told += [repr(record.__dict__) for record in caplog.records]
    assert len(secrets) > 20
    assert len(caplog.records) > 10
    assert [secret for secret in secrets if any(secret in text for text in told)] == []


def spoils() -> list[Any]:
    secret = "canary"
    return [
        Response(status_code=503),
        Response(f"<p>{secret}</p>", media_type="text/html"),
        Response(f'{{"access_token": "{secret}', media_type="application/json"),
        Response(status_code=307, headers={"location": f"https://evil.example/?token={secret}"}),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("illegal"),
    ]
