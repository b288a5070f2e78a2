"""What the checks of notebooks 10 and 11 say to the answers that people give first."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from mcp_oauth_nb import AuthChallenge, Session
from mcp_oauth_nb.exercises import nb10, nb11
from mcp_oauth_nb.oauth.errors import AccessDenied

pytestmark = pytest.mark.anyio

DOCUMENT = {"client_id": nb10.MINE, "client_name": "Mine", "redirect_uris": ["http://127.0.0.1/callback"]}


# -- 10 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda response: "https://docs.example/about/mcp.json", "with no header, from https://two.example/mcp"),
        (
            lambda response: (
                AuthChallenge.from_www_authenticate(response.headers["www-authenticate"]).resource_metadata
            ),
            "raised KeyError",
        ),
        (lambda response: f"{response.request.url}/.well-known/oauth-protected-resource", "with a header, from"),
    ],
)
def test_a_search_that_stops_half_way_is_shown_where(function: Any, says: str) -> None:
    assert says in nb10.check_find_metadata(function).text


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "wants to know the client_name"),
        ({"client_name": "Mine"}, f"the server found it at {nb10.MINE}, and its client_id is None"),
        ({**DOCUMENT, "client_id": "https://notebook.example/client.json"}, "and its client_id is 'https://notebook"),
        ({**DOCUMENT, "redirect_uris": ["https://mine.example/callback"]}, "the browser cannot come back"),
        ({**DOCUMENT, "redirect_uris": "http://127.0.0.1/callback"}, "the browser cannot come back"),
        ({**DOCUMENT, "client_secret": "s"}, "it can hold no secret"),
        ({**DOCUMENT, "token_endpoint_auth_method": "client_secret_post"}, "it can hold no secret"),
        ({**DOCUMENT, "logo_uri": "javascript:alert(1)"}, "ProtocolError: The authorization server"),
    ],
)
async def test_a_document_that_is_not_good_yet_says_why(document: dict[str, Any], says: str) -> None:
    verdict = await nb10.check_document(document)
    assert not verdict.right
    assert says in verdict.text


async def test_the_shortest_document_that_works_is_right() -> None:
    assert (await nb10.check_document({**DOCUMENT, "token_endpoint_auth_method": "none"})).right


# -- 11 --------------------------------------------------------------------------------------------------------


def needed(header: str) -> set[str]:
    challenge = AuthChallenge.from_www_authenticate(header)
    assert challenge is not None
    return set(challenge.scopes)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda header, granted: needed(header), "with a server that names only what this call needs"),
        (lambda header, granted: granted | needed(header), "with a token that has it already"),
        (
            lambda header, granted: None if needed(header) <= granted else granted | needed(header),
            "with a token that expired",
        ),
        (lambda header, granted: " ".join(needed(header)), "with no token yet (the token has nothing)"),
    ],
)
def test_scopes_that_would_be_lost_or_asked_for_in_vain_are_named(function: Any, says: str) -> None:
    assert says in nb11.check_scopes_to_ask(function).text


async def count(session: Session, private: bool, limit: int = 100) -> int:
    arguments = {"include_private": private, "repo_limit": limit}
    result = await session.call_tool("get_github_user_info", arguments)
    return len((result.structured_content or {})["repositories"])


async def test_a_report_that_asks_twice_or_takes_no_no_is_not_right() -> None:
    async def grows(session: Session) -> tuple[int, int]:
        return await count(session, False), await count(session, True)

    async def insists(session: Session) -> tuple[int, int]:
        everything = await count(session, True)
        return await count(session, False), everything

    async def ten(session: Session) -> tuple[int, int]:
        everything = await count(session, True, 10)
        return await count(session, False, 10), everything

    async def takes_it_for_nothing(session: Session) -> tuple[int, int]:
        everything = 0
        with contextlib.suppress(AccessDenied):
            everything = await count(session, True)
        return await count(session, False), everything

    assert "was asked 2 times" in (await nb11.check_report(grows)).text
    assert "said no to repo" in (await nb11.check_report(takes_it_for_nothing)).text
    assert "AccessDenied" in (await nb11.check_report(insists)).text
    assert "in all; it returned (10, 10)" in (await nb11.check_report(ten)).text
