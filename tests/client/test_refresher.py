"""What a refresh leaves, by what is stored when the server has answered; and that both clients keep to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import httpx2
import pytest
from issuing import Issuing
from provider import Provider, signed_in, token_of
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb import ManualClock, OAuthHandler
from mcp_oauth_nb.client.refresher import SignedOut, outcome
from mcp_oauth_nb.oauth.errors import ConfigurationError, McpOAuthError, RefreshRejected, ServerUnavailable
from mcp_oauth_nb.oauth.token import Token

pytestmark = pytest.mark.anyio

OLD = Token("old", refresh_token="old-refresh")
NEW = Token("new", refresh_token="new-refresh")
OTHERS = Token("others", refresh_token="others-refresh")
LONE = Token("", refresh_token="lone")

REFUSED, PERHAPS = RefreshRejected("no"), RefreshRejected("a proxy said no", final=False)
LATER, CLIENT = ServerUnavailable("later"), ConfigurationError("the secret is wrong")
IDS = ["no", "proxy", "later", "client"]
ERRORS = pytest.mark.parametrize("error", [REFUSED, PERHAPS, LATER, CLIENT], ids=IDS)
ANSWERS = pytest.mark.parametrize("answer", [REFUSED, PERHAPS, LATER, CLIENT, NEW], ids=[*IDS, "new"])


@dataclass
class Shelf:
    """Where the token is; `meanwhile` lies there when the server has answered."""

    token: Token | None = OLD
    meanwhile: Token | None = OLD
    answer: Token | McpOAuthError = NEW
    refusals: list[Token] = field(default_factory=list)

    async def asked(self) -> Token:
        self.token = self.meanwhile
        if isinstance(self.answer, McpOAuthError):
            raise self.answer
        return self.answer

    def replace(self, old: Token, new: Token) -> bool:
        same = self.token == old
        if same:
            self.token = new
        return same

    async def refresh(self, before: Token = OLD) -> Token:
        return await outcome(
            before, self.asked(), stored=lambda: self.token, replace=self.replace, refused=self.refusals.append
        )


async def test_what_the_server_gives_takes_the_place_of_the_old_token() -> None:
    shelf = Shelf()
    assert await shelf.refresh() == NEW == shelf.token


async def test_the_old_refresh_token_stays_where_none_came() -> None:
    shelf = Shelf(answer=Token("new"))
    assert (await shelf.refresh()).refresh_token == "old-refresh"
    assert shelf.token == Token("new", refresh_token="old-refresh")


@pytest.mark.parametrize(
    "answer", [NEW, REFUSED, PERHAPS, LATER, CLIENT], ids=["new", "no", "proxy", "later", "client"]
)
async def test_what_somebody_else_stored_meanwhile_is_used_whatever_was_answered_and_stays(
    answer: Token | McpOAuthError,
) -> None:
    shelf = Shelf(meanwhile=OTHERS, answer=answer)
    assert await shelf.refresh() == OTHERS == shelf.token
    assert shelf.refusals == []


@pytest.mark.parametrize("meanwhile", [None, LONE], ids=["nothing", "another refresh token alone"])
@pytest.mark.parametrize(
    "answer", [NEW, REFUSED, PERHAPS, LATER, CLIENT], ids=["new", "no", "proxy", "later", "client"]
)
async def test_who_signed_out_meanwhile_stays_signed_out_and_what_came_is_to_be_revoked(
    answer: Token | McpOAuthError, meanwhile: Token | None
) -> None:
    shelf = Shelf(meanwhile=meanwhile, answer=answer)
    with pytest.raises(SignedOut) as caught:
        await shelf.refresh()
    assert caught.value.orphan == (NEW if answer is NEW else None)
    assert (shelf.token, shelf.refusals) == (meanwhile, [])


@ERRORS
async def test_only_a_refusal_by_the_server_itself_costs_the_old_token(error: McpOAuthError) -> None:
    shelf = Shelf(answer=error)
    with pytest.raises(type(error)) as caught:
        await shelf.refresh()
    assert caught.value is error
    assert shelf.refusals == ([OLD] if error is REFUSED else [])


async def test_a_refresh_token_alone_is_refreshed_like_any_other() -> None:
    shelf = Shelf(token=LONE, meanwhile=LONE)
    assert await shelf.refresh(LONE) == NEW == shelf.token
    shelf = Shelf(token=LONE, meanwhile=LONE, answer=LATER)
    with pytest.raises(ServerUnavailable):
        await shelf.refresh(LONE)


# -- both clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_the_handler_uses_what_another_process_stored_while_the_server_said_no_or_later(
    clock: ManualClock, status: int
) -> None:
    github = Provider()
    handler = await signed_in(github, clock)
    newer = replace(token_of(handler), access_token="newer")

    def another_process() -> None:
        handler.token = newer

    github.meanwhile = another_process
    github.spoiled.append(JSONResponse({"error": "invalid_client" if status == 401 else "invalid_grant"}, status))
    assert await handler.refresh_access_token() == newer == handler.token


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_a_session_uses_what_another_one_stored_while_the_server_said_no_or_later(status: int) -> None:
    server = Issuing()
    session = server.new()
    await server.call(session)
    server.clock.advance(3600)
    grant = server.grant
    assert grant.token is not None
    newer = replace(grant.token, access_token="newer", expires_at=server.clock.now() + 3600)

    def refuse(form: dict[str, str]) -> httpx2.Response:
        server.store.save(grant.key, replace(grant, token=newer))
        server.good = {"newer"}
        return httpx2.Response(status, json={"error": "invalid_client" if status == 401 else "invalid_grant"})

    server.refuse = refuse
    assert await server.call(session) == 200
    assert (server.grant.token, len(server.sent_to)) == (newer, 1)


@pytest.mark.parametrize(
    "answer",
    [Response(status_code=503), Response("<html>"), JSONResponse({"error": "invalid_client"}, 401)],
    ids=["later", "a proxy", "the client's secret is wrong"],
)
async def test_a_token_that_is_still_valid_is_used_where_it_cannot_be_refreshed_early(
    clock: ManualClock, answer: Response
) -> None:
    github = Provider()
    handler = await signed_in(github, clock)
    before = token_of(handler)
    assert before.expires_at is not None
    clock.advance(before.expires_at - clock.now() - 30)
    github.spoiled.append(answer)
    assert await handler.access_token_for_request() == before.access_token
    assert handler.token == before


async def test_a_refresh_token_alone_that_is_replaced_during_its_refresh_is_the_later_one(clock: ManualClock) -> None:
    github = Provider()
    handler: OAuthHandler = await signed_in(github, clock)
    lone, newer = (github.tokens()["refresh_token"] for _ in range(2))
    handler.token = None
    handler.refresh_token = lone

    def another() -> None:
        handler.refresh_token = newer

    github.meanwhile = another
    with pytest.raises(McpOAuthError, match="signed out"):
        await handler.refresh_access_token()
    assert (handler.token, handler.refresh_token) == (None, newer)
