"""The lab: the whole guided flow, the same on every run, with nothing that leaves the process."""

from __future__ import annotations

import io
import json
import logging

import httpx
import pytest

from mcp_oauth_nb import AuthChallenge, AuthenticationRequired, Lab, run
from mcp_oauth_nb.lab.demo import demo
from mcp_oauth_nb.oauth.errors import AccessDenied, SessionClosed

pytestmark = pytest.mark.anyio


async def whole_flow(lab: Lab) -> None:
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    await lab.session.call_tool("analyze_code_with_llm", {"code": "1 + 1"})
    lab.clock.advance(hours=8)
    await lab.oauth.refresh_access_token()
    await lab.oauth.revoke()


async def test_one_call_with_authorize_goes_all_the_way() -> None:
    async with Lab.open() as lab:
        result = await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    assert result.structured_content is not None
    assert result.structured_content["user"]["login"] == "octocat"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_same_seed_gives_the_same_bytes(mode: str) -> None:
    recordings = []
    for _ in range(2):
        async with Lab.open(seed=3, mode="legacy" if mode == "legacy" else "auto") as lab:
            await whole_flow(lab)
            recordings.append(repr(lab.trace) + "".join(map(str, lab.trace.exchanges)) + lab.trace.diagram().svg)
    assert recordings[0] == recordings[1]


async def test_another_seed_gives_other_secrets() -> None:
    tokens = []
    for seed in (1, 2):
        async with Lab.open(seed=seed) as lab:
            tokens.append((await lab.authorize()).access_token)
    assert tokens[0] != tokens[1]


async def test_another_user_can_sit_at_the_browser() -> None:
    async with Lab.open() as some:
        other = next(login for login in some.github.users if login != "octocat")
    async with Lab.open(user=other) as lab:
        result = await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    assert result.structured_content is not None
    assert result.structured_content["user"]["login"] == other


async def test_declining_raises_access_denied_and_leaves_no_token() -> None:
    async with Lab.open() as lab:
        with pytest.raises(AccessDenied):
            await lab.authorize(allow=False)
        assert lab.oauth.token is None


async def test_the_scopes_of_the_challenge_are_asked_for_unless_others_are_given() -> None:
    async with Lab.open(oauth_scopes=("read:user", "repo")) as lab:
        assert (await lab.authorize()).scopes == ("read:user", "repo")
        assert (await lab.authorize(AuthChallenge(scopes=("gist",)))).scopes == ("gist",)
        assert (await lab.authorize(lab.oauth.challenge(), scopes=("read:user",))).scopes == ("read:user",)


async def test_the_user_has_signed_in_to_github_before_the_story_begins() -> None:
    async with Lab.open() as lab:
        await lab.authorize()
    pages = [message.title for message in lab.trace.messages if message.sender == "Browser"]
    assert pages[0] == "GET https://github.com/login/oauth/authorize"
    assert "GET https://github.com/login" not in pages


async def test_no_other_host_can_be_reached() -> None:
    async with Lab.open() as lab, lab.http_client()() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("https://example.com/")


async def test_the_environment_does_not_change_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_SCOPES", "repo")
    monkeypatch.setenv("OAUTH_TOKEN_URL", "https://elsewhere.example/token")
    async with Lab.open() as lab:
        assert lab.settings.oauth_scopes == ("read:user",)
        await lab.authorize()


async def test_settings_can_be_given() -> None:
    async with Lab.open(oauth_scopes=("read:user", "repo")) as lab:
        with pytest.raises(AuthenticationRequired) as caught:
            await lab.session.call_tool("get_github_user_info")
    assert caught.value.challenge is not None
    assert caught.value.challenge.scopes == ("read:user", "repo")


async def test_a_closed_lab_can_still_be_looked_at() -> None:
    lab = await Lab.open()
    await lab.authorize()
    await lab.aclose()
    await lab.aclose()
    assert len(lab.trace) > 2
    with pytest.raises(SessionClosed):
        await lab.session.list_tools()


def test_a_lab_works_without_await() -> None:
    lab = run(Lab.open())
    result = run(lab.session.call_tool("get_github_user_info", authorize=lab.authorize))
    run(lab.aclose())
    assert not result.is_error


def exposed(lab: Lab) -> str:
    """Everything of a lab that a person, a log or a saved notebook may show."""
    exchanges = lab.trace.exchanges
    diagram = lab.trace.diagram()
    shown: list[object] = [lab, lab.session, lab.oauth, lab.oauth.token, lab.settings, lab.github, lab.trace]
    shown += [diagram.text, diagram.mermaid, diagram.svg, *exchanges, *(e._repr_html_() for e in exchanges)]
    shown += [vars(m) for m in lab.trace.messages]
    return "\n".join(f"{value!r}\n{value}" for value in shown)


async def test_no_secret_that_was_ever_issued_shows_anywhere() -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("mcp_oauth_nb").addHandler(handler)
    logging.getLogger("mcp_oauth_nb").setLevel(logging.DEBUG)
    lines: list[str] = []
    try:
        async with Lab.open() as lab:
            await demo(lab, lines.append)
            first = lab.oauth.get_authorization_url()
            callback = await lab.browser.authorize(first.url)
            response = lab.oauth.read_callback(callback)
            await lab.oauth.exchange_code_for_token(response.code, first.code_verifier)
            secrets = lab.github.issued_secrets() | {first.code_verifier, first.state, lab.github.client_secret}
            texts = [exposed(lab), repr(first), repr(response), *lines]
            text = "\n".join(texts) + log.getvalue() + json.dumps([m.body for m in lab.trace.messages])
    finally:
        logging.getLogger("mcp_oauth_nb").removeHandler(handler)
        logging.getLogger("mcp_oauth_nb").setLevel(logging.NOTSET)
    assert len(secrets) > 8
    assert not [secret for secret in secrets if secret in text]


async def test_the_demo_tells_the_story_in_order_and_ends_with_the_user() -> None:
    lines: list[str] = []
    async with Lab.open() as lab:
        await demo(lab, lines.append)
    text = "\n".join(lines)
    landmarks = ["server/discover", "error -32001", "== 3.", "code_challenge=", "clicks Authorize", "/callback"]
    landmarks += ["== 6.", "authorization_code", "tools/call: result", "== 8.", '"refresh_token"', "┌", "octocat"]
    position = 0
    for landmark in landmarks:
        position = text.index(landmark, position)


async def test_a_second_handler_shares_token_time_and_github_and_its_requests_pass_through_what_is_given() -> None:
    passed: list[str] = []

    class Watched(httpx.AsyncBaseTransport):
        def __init__(self, inner: httpx.AsyncBaseTransport):
            self._inner = inner

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            passed.append(request.url.path)
            return await self._inner.handle_async_request(request)

    async with Lab.open() as lab:
        first = await lab.authorize()
        second = lab.handler(Watched)
        assert await second.access_token_for_request() == first.access_token
        assert passed == []
        lab.clock.advance(hours=8)
        renewed = await second.access_token_for_request()
        assert renewed != first.access_token
        assert passed == ["/login/oauth/access_token"]
        assert await lab.oauth.access_token_for_request() == renewed
        # What each of them draws is its own: one state names one flow.
        assert second.get_authorization_url().state != lab.oauth.get_authorization_url().state
