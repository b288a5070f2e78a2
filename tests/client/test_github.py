"""`GitHubClient`: typed results, pages, and every refusal typed by what the caller can do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Script
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.client.github import GitHubClient, check_token, next_link, revoke_token
from mcp_oauth_nb.lab.mock_github import MockGitHub
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    InsufficientScope,
    McpOAuthError,
    NotFound,
    ProtocolError,
    RateLimited,
    SecurityError,
    ServerUnavailable,
    TokenRejected,
    Unreachable,
)
from mcp_oauth_nb.oauth.masking import mask

pytestmark = pytest.mark.anyio

API = "https://api.github.com"
NOW = 1_800_000_000.0
USER = {"login": "octocat", "id": 1}


class Tokens:
    """A token source with a first token, and perhaps a second one for after a 401."""

    def __init__(self, *tokens: str):
        self._tokens = tokens or ("first",)
        self.rejected: list[str] = []

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        if rejected is not None:
            self.rejected.append(rejected)
        current = self._tokens[min(len(self.rejected), len(self._tokens) - 1)]
        if current == "none left":
            raise AuthenticationRequired
        return current


def client(server: Script, tokens: Tokens | None = None, *, base_url: str = API, page_size: int = 100) -> GitHubClient:
    return GitHubClient(
        tokens or Tokens(),
        base_url=base_url,
        timeout=5,
        client=server.client,
        page_size=page_size,
        clock=ManualClock(NOW),
    )


def repository(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": f"repo-{number}", "full_name": f"octocat/repo-{number}", **more}


def page(first: int, count: int, link: str | None = None) -> Response:
    headers = {"Link": link} if link else None
    return JSONResponse([repository(number) for number in range(first, first + count)], headers=headers)


def refusal(status: int, headers: dict[str, str] | None = None, message: str = "no") -> Response:
    return JSONResponse({"message": message}, status, headers)


# -- the user ------------------------------------------------------------------------------------------------------


async def test_user_is_typed_and_ignores_what_it_does_not_know() -> None:
    server = Script(JSONResponse({**USER, "name": "Mona", "created_at": "2011-01-25T18:44:36Z", "brand_new": [1]}))
    user = await client(server).user()
    assert (user.login, user.name, user.email, user.followers) == ("octocat", "Mona", None, None)
    assert user.created_at == datetime(2011, 1, 25, 18, 44, 36, tzinfo=UTC)


async def test_every_request_carries_the_headers_that_github_asks_for() -> None:
    server = Script(JSONResponse(USER))
    await client(server).user()
    assert server.urls == [f"{API}/user"]
    headers = server.seen[0].headers
    assert headers["authorization"] == "Bearer first"
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["user-agent"].startswith("mcp-oauth-nb/")
    assert headers["x-github-api-version"] == "2022-11-28"


async def test_a_base_url_may_have_a_path() -> None:
    server = Script(JSONResponse(USER))
    await client(server, base_url="https://ghe.example/api/v3/").user()
    assert server.urls == ["https://ghe.example/api/v3/user"]


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"login": 1, "id": 1}', b'{"login": "x"', b"", b"\xff\xfe", b"[" * 100_000],
    ids=["html", "list", "empty", "type", "truncated", "nothing", "not utf-8", "deep"],
)
async def test_an_answer_of_the_wrong_shape_is_a_protocol_error_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        await client(Script(Response(body))).user()
    assert f"{API}/user" in caught.value.message
    assert "<html>" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


# -- repositories --------------------------------------------------------------------------------------------------


async def test_repositories_follow_the_next_link_until_there_is_none() -> None:
    server = Script(
        page(1, 2, f'<{API}/user/repos?page=2>; rel="next", <{API}/user/repos?page=3>; rel="last"'),
        page(3, 2, f'<{API}/user/repos?page=3>; rel="next"'),
        page(5, 1, f'<{API}/user/repos?page=1>; rel="first"'),
    )
    found = await client(server, page_size=2).repositories(limit=10)
    assert [repository.name for repository in found] == ["repo-1", "repo-2", "repo-3", "repo-4", "repo-5"]
    assert server.urls == [
        f"{API}/user/repos?sort=updated&per_page=2",
        f"{API}/user/repos?page=2",
        f"{API}/user/repos?page=3",
    ]


async def test_repositories_stop_at_the_limit_and_ask_for_no_more() -> None:
    server = Script(page(1, 3, f'<{API}/user/repos?page=2>; rel="next"'))
    found = await client(server, page_size=3).repositories(limit=5)
    assert [repository.id for repository in found] == [1, 2, 3, 1, 2]
    assert len(server.seen) == 2


@pytest.mark.parametrize(("limit", "asked"), [(1, 1), (99, 99), (100, 100), (101, 100), (1000, 100)])
async def test_a_page_is_no_larger_than_the_limit_and_than_github_allows(limit: int, asked: int) -> None:
    server = Script(page(1, 1))
    await client(server).repositories(limit)
    assert server.urls == [f"{API}/user/repos?sort=updated&per_page={asked}"]


async def test_an_empty_page_ends_the_list_even_if_it_names_a_next_one() -> None:
    server = Script(page(1, 0, f'<{API}/user/repos?page=2>; rel="next"'))
    assert await client(server).repositories(10) == []
    assert len(server.seen) == 1


async def test_without_the_private_ones_the_pages_are_followed_all_the_same() -> None:
    private = [repository(number, private=True) for number in range(2)]
    pages = [JSONResponse(private, headers={"Link": f'<{API}/user/repos?page=2>; rel="next"'}), page(3, 2)]
    server = Script(*pages)
    found = await client(server).repositories(10, include_private=False)
    assert [one.id for one in found] == [3, 4]


async def test_a_relative_next_link_is_resolved() -> None:
    server = Script(page(1, 1, '</api/v3/user/repos?page=2>; rel="next"'), page(2, 1))
    await client(server, base_url="https://ghe.example/api/v3").repositories(10)
    assert server.urls[1] == "https://ghe.example/api/v3/user/repos?page=2"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/user/repos?page=2",
        "http://api.github.com/user/repos?page=2",
        "https://api.github.com:8443/user/repos?page=2",
        "https://api.github.com@evil.example/user/repos?page=2",
        "https://someone:secret@api.github.com/user/repos?page=2",
        "//evil.example/user/repos",
        "javascript:alert(1)",
    ],
)
async def test_the_token_is_not_sent_to_a_next_page_elsewhere(target: str) -> None:
    server = Script(page(1, 1, f'<{target}>; rel="next"'))
    with pytest.raises(SecurityError):
        await client(server).repositories(10)
    assert len(server.seen) == 1


async def test_the_default_port_is_the_same_origin() -> None:
    server = Script(page(1, 1, '<https://api.github.com:443/user/repos?page=2>; rel="next"'), page(2, 1))
    assert len(await client(server).repositories(10)) == 2


@pytest.mark.parametrize("target", ["https://api.github.com:port/", "https://xn--a/", "https://[::1"])
async def test_a_next_link_that_is_no_url_is_a_protocol_error(target: str) -> None:
    with pytest.raises(ProtocolError, match="not a URL") as caught:
        await client(Script(page(1, 1, f'<{target}>; rel="next"'))).repositories(10)
    assert caught.value.__cause__ is None


async def test_one_bad_repository_is_named_by_its_place() -> None:
    server = Script(JSONResponse([repository(1), {"id": 2, "name": "canary-name"}]))
    with pytest.raises(ProtocolError, match=r"wrong shape, at 1\.full_name") as caught:
        await client(server).repositories(10)
    assert "canary-name" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused_before_anything_is_sent(limit: int) -> None:
    server = Script(page(1, 1))
    with pytest.raises(ValueError, match="at least 1"):
        await client(server).repositories(limit)
    assert server.seen == []


@pytest.mark.parametrize("size", [0, 101])
def test_a_page_size_that_github_does_not_allow_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        client(Script(Response()), page_size=size)


# -- Link ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ('<https://a/2>; rel="next"', "https://a/2"),
        ("<https://a/2>; rel=next", "https://a/2"),
        ("<https://a/2>;REL=NEXT", "https://a/2"),
        ('<https://a/1>; rel="prev", <https://a/2>; rel="next"', "https://a/2"),
        ('<https://a/2>; rel="last next"', "https://a/2"),
        ('<https://a/2?x=a,b;c>; title="1, 2; 3"; rel="next"', "https://a/2?x=a,b;c"),
        (r'<https://a/1>; title="\"; rel=next, <https://evil>; rel=next"', None),
        ('<https://a/2>; crossorigin; rel="next"', "https://a/2"),
        ('<https://a/2>; rel="prev"; rel="next"', None),
        ('<https://a/2>; rel="nextish"', None),
        ("<https://a/2>", None),
        (', ,<https://a/1>; rel="prev" ,, <https://a/2>; rel="next"', "https://a/2"),
        ('https://a/2; rel="next"', None),
        ('<https://a/2; rel="next"', None),
    ],
)
def test_next_link_reads_the_header_as_rfc_8288_writes_it(header: str, target: str | None) -> None:
    assert next_link(header) == target


@given(st.text())
def test_next_link_never_fails(header: str) -> None:
    next_link(header)


def test_next_link_takes_no_time_for_a_hostile_header() -> None:
    assert next_link("<" * 50_000) is None
    assert next_link("<a>" + " ;a" * 30_000 + "!,") is None
    assert next_link("<a>" + " " * 30_000 + "x") is None


# -- refusals ------------------------------------------------------------------------------------------------------


async def test_a_401_is_answered_by_one_refresh_and_one_retry() -> None:
    server, tokens = Script(refusal(401), JSONResponse(USER)), Tokens("first", "second")
    assert (await client(server, tokens).user()).login == "octocat"
    assert tokens.rejected == ["first"]
    assert [request.headers["authorization"] for request in server.seen] == ["Bearer first", "Bearer second"]


async def test_a_second_401_is_final() -> None:
    server, tokens = Script(refusal(401)), Tokens("first", "second", "third")
    with pytest.raises(TokenRejected):
        await client(server, tokens).user()
    assert len(server.seen) == 2


async def test_a_source_that_offers_the_same_token_again_ends_the_attempt() -> None:
    server = Script(refusal(401))
    with pytest.raises(TokenRejected):
        await client(server, Tokens("first")).user()
    assert len(server.seen) == 1


async def test_a_source_without_another_token_raises_its_own_error() -> None:
    with pytest.raises(AuthenticationRequired):
        await client(Script(refusal(401)), Tokens("first", "none left")).user()


HOUR = 3600
DAY = 24 * HOUR
RESET = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + HOUR)}


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (403, RESET, HOUR),
        (429, RESET, HOUR),
        (403, {"retry-after": "30"}, 30),
        (403, {"retry-after": "30", **RESET}, 30),
        (429, {"retry-after": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)}, 90),
        (429, {"retry-after": format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True)}, 0),
        (403, {"retry-after": "99999999999"}, DAY),
        (429, {"retry-after": "soon"}, 60),
        (429, {"retry-after": "-5"}, 60),
        (429, {}, 60),
        (429, {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": str(int(NOW) + HOUR)}, 60),
        (403, {**RESET, "x-ratelimit-reset": "999999999999"}, DAY),
        (403, {**RESET, "x-ratelimit-reset": "1"}, 0),
        (403, {**RESET, "x-ratelimit-reset": "never"}, 60),
    ],
)
async def test_a_rate_limit_says_when_to_come_back(status: int, headers: dict[str, str], wait: float) -> None:
    with pytest.raises(RateLimited) as caught:
        await client(Script(refusal(status, headers))).user()
    assert caught.value.retry_at == NOW + wait


async def test_a_secondary_limit_without_headers_is_known_by_its_text() -> None:
    with pytest.raises(RateLimited) as caught:
        await client(Script(refusal(403, message="You have exceeded a secondary rate limit."))).user()
    assert caught.value.retry_at == NOW + 60


async def test_a_403_for_want_of_a_scope_names_the_scopes_that_would_do() -> None:
    headers = {"x-oauth-scopes": "read:user, gist", "x-accepted-oauth-scopes": "repo, public_repo"}
    with pytest.raises(InsufficientScope) as caught:
        await client(Script(refusal(403, headers))).repositories(1)
    assert caught.value.required == ("repo", "public_repo")
    assert caught.value.granted == ("read:user", "gist")


async def test_the_scopes_that_would_do_are_told_without_secrets_and_control_characters() -> None:
    token = "gho_" + "Q7x" * 12
    refused = refusal(403, {"x-oauth-scopes": ""})
    refused.raw_headers.append((b"x-accepted-oauth-scopes", f"{token}, \x1b[31mred, \u202etxt".encode()))
    with pytest.raises(InsufficientScope, match="one of the scopes") as caught:
        await client(Script(refused)).user()
    assert token not in str(caught.value)
    assert caught.value.message.isprintable()


async def test_a_token_in_an_address_that_a_server_wrote_is_masked_in_the_error() -> None:
    token = "gho_" + "Q7x" * 12
    server = Script(page(1, 1, f'<{API}/{token}>; rel="next"'), refusal(404))
    with pytest.raises(NotFound) as caught:
        await client(server).repositories(10)
    assert token not in str(caught.value)
    assert f"{API}/{mask(token)}" in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-oauth-scopes": "repo", "x-accepted-oauth-scopes": ""},
        {"x-oauth-scopes": "repo", "x-accepted-oauth-scopes": "repo, user"},
        {"x-accepted-oauth-scopes": "repo"},
    ],
    ids=["no headers", "nothing accepted", "one is granted", "a token without scopes"],
)
async def test_any_other_403_is_not_blamed_on_scopes(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="403") as caught:
        await client(Script(refusal(403, headers))).user()
    assert "organization" in caught.value.hint


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"message": 1}', b"[" * 100_000])
async def test_a_403_with_any_body_is_still_typed(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="403"):
        await client(Script(Response(body, 403))).user()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(404), NotFound),
        (refusal(400), ProtocolError),
        (refusal(422), ProtocolError),
        (Response(status_code=304), ProtocolError),
        (Response(status_code=204), ProtocolError),
        (refusal(500), ServerUnavailable),
        (refusal(503), ServerUnavailable),
        (Response(status_code=301, headers={"Location": "https://evil.example/"}), SecurityError),
    ],
)
async def test_each_status_has_its_error(answer: Response, error: type[McpOAuthError]) -> None:
    with pytest.raises(error) as caught:
        await client(Script(answer)).user()
    assert type(caught.value) is error or error is SecurityError


async def test_a_5xx_passes_on_when_to_come_back() -> None:
    with pytest.raises(ServerUnavailable) as caught:
        await client(Script(refusal(503, {"retry-after": "120"}))).user()
    assert caught.value.retry_at == NOW + 120


async def test_no_answer_is_unreachable() -> None:
    def nowhere() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=MockGitHub().transport())

    with pytest.raises(Unreachable):
        await GitHubClient(Tokens(), base_url="https://elsewhere.example", timeout=5, client=nowhere).user()


async def test_no_error_shows_the_token_or_the_body() -> None:
    secret = "gho_" + "c" * 36
    for status in (200, 400, 401, 403, 404, 429, 500):
        server = Script(Response(b'{"message": "canary"', status))
        with pytest.raises(McpOAuthError) as caught:
            await client(server, Tokens(secret)).user()
        shown = f"{caught.value} {caught.value!r} {caught.value.args}"
        assert secret not in shown
        assert "canary" not in shown


# -- the app's own calls -------------------------------------------------------------------------------------------


async def check(server: Script, client_id: str = "Iv1.app") -> bool:
    return await check_token(
        client_id, "s3cret", "a-token", base_url=f"{API}/", timeout=5, client=server.client, clock=ManualClock(NOW)
    )


async def revoke(server: Script) -> bool:
    return await revoke_token("Iv1.app", "s3cret", "a-token", base_url=API, timeout=5, client=server.client)


async def test_check_token_asks_in_the_apps_name_and_puts_the_token_in_the_body() -> None:
    server = Script(JSONResponse({"app": {"client_id": "Iv1.app"}}))
    assert await check(server) is True
    request = server.seen[0]
    assert (request.method, request.url) == ("POST", f"{API}/applications/Iv1.app/token")
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"Iv1.app:s3cret").decode()
    assert request.json() == {"access_token": "a-token"}


async def test_a_token_of_this_app_is_known_even_if_the_answer_does_not_name_the_app() -> None:
    assert await check(Script(JSONResponse({"id": 1}))) is True


async def test_a_token_of_another_app_does_not_pass_the_check() -> None:
    assert await check(Script(JSONResponse({"app": {"client_id": "Iv1.other"}}))) is False


@pytest.mark.parametrize("status", [404, 422])
async def test_a_token_that_github_does_not_know_does_not_pass_the_check(status: int) -> None:
    assert await check(Script(refusal(status))) is False
    assert await revoke(Script(refusal(status))) is False


async def test_revoke_token_deletes_it() -> None:
    server = Script(Response(status_code=204))
    assert await revoke(server) is True
    assert (server.seen[0].method, server.seen[0].url) == ("DELETE", f"{API}/applications/Iv1.app/token")
    assert server.seen[0].json() == {"access_token": "a-token"}


async def test_unknown_client_credentials_are_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError) as caught:
        await check(Script(refusal(401)))
    assert caught.value.variables == ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(refusal(503), ServerUnavailable), (refusal(429), RateLimited), (Response(b"<html>"), ProtocolError)],
)
async def test_a_check_that_cannot_be_made_raises_and_does_not_guess(
    answer: Response, error: type[McpOAuthError]
) -> None:
    with pytest.raises(error):
        await check(Script(answer))


async def test_a_client_id_cannot_lead_to_another_endpoint() -> None:
    server = Script(refusal(404))
    await check(server, "../../user?x=#")
    assert server.urls == [f"{API}/applications/..%2F..%2Fuser%3Fx%3D%23/token"]


# -- against the mock ----------------------------------------------------------------------------------------------


async def test_the_mocks_user_and_all_pages_of_repositories_arrive() -> None:
    mock = MockGitHub(seed=7)

    def to_mock() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=mock.transport())

    issued = mock.issue_token("octocat", ("read:user", "repo"))
    github = GitHubClient(Tokens(issued.access_token), base_url=API, timeout=5, client=to_mock, page_size=3)
    assert (await github.user()).login == "octocat"
    found = await github.repositories(100)
    assert len(found) > 3
    assert len({repository.id for repository in found}) == len(found)
    assert await github.repositories(2) == found[:2]


async def test_the_mock_knows_its_tokens_until_they_are_revoked() -> None:
    mock = MockGitHub(seed=7)

    def to_mock() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=mock.transport())

    token = mock.issue_token().access_token
    app = (mock.client_id, mock.client_secret, token)
    assert await check_token(*app, base_url=API, timeout=5, client=to_mock) is True
    assert await revoke_token(*app, base_url=API, timeout=5, client=to_mock) is True
    assert await check_token(*app, base_url=API, timeout=5, client=to_mock) is False
    with pytest.raises(TokenRejected):
        await GitHubClient(Tokens(token), base_url=API, timeout=5, client=to_mock).user()
