"""The family of a token, from what was recorded in a lab and from what is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_oauth_nb import Lab
from mcp_oauth_nb.oauth.errors import ConfigurationError, RefreshRejected, TransientError
from mcp_oauth_nb.oauth.masking import mask
from mcp_oauth_nb.trace.messages import CLIENT, GITHUB
from mcp_oauth_nb.trace.recorder import Trace
from mcp_oauth_nb.trace.token_family import REPLACED, REVOKED, ROTATED, Family, asked_scopes, read

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        yield lab


def family(lab: Lab) -> Family:
    return read(lab.trace.exchanges, lab.settings)


async def test_each_refresh_is_a_generation_that_ends_the_one_before(lab: Lab) -> None:
    await lab.authorize()
    await lab.oauth.refresh_access_token()
    await lab.oauth.refresh_access_token()
    generations = family(lab).generations
    assert [(g.number, g.parent, g.born, g.end) for g in generations] == [
        (1, None, "authorization code", ROTATED),
        (2, 1, "refresh", ROTATED),
        (3, 2, "refresh", ""),
    ]
    assert generations[2].access_token == mask(lab.oauth.access_token or "")


async def test_a_refresh_token_that_is_used_again_is_noted_where_it_belongs(lab: Lab) -> None:
    await lab.authorize()
    first = lab.oauth.refresh_token
    await lab.oauth.refresh_access_token()
    lab.oauth.refresh_token = first
    with pytest.raises(RefreshRejected):
        await lab.oauth.refresh_access_token()
    one, two = family(lab).generations
    assert one.notes == ["its refresh token was sent again and refused (bad_refresh_token)"]
    assert two.end == ""


async def test_a_refused_refresh_token_ends_its_generation(lab: Lab) -> None:
    await lab.authorize()
    lab.clock.advance(days=200)
    with pytest.raises(RefreshRejected):
        await lab.oauth.refresh_access_token()
    assert family(lab).generations[0].end == "its refresh token was refused (bad_refresh_token)"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "body": '{"error": "temporarily_unavailable"}'},
        {"status": 429, "body": '{"error": "slow_down"}'},
        {"body": '{"error": "server_error"}'},
        {"body": '{"error": "incorrect_client_credentials"}'},
    ],
    ids=["outage", "rate limit", "server error", "wrong credentials"],
)
async def test_a_refresh_that_failed_for_another_reason_ends_nothing(lab: Lab, fault: dict[str, Any]) -> None:
    await lab.authorize()
    lab.github.faults.next_token(**fault)
    with pytest.raises((TransientError, ConfigurationError)):
        await lab.oauth.refresh_access_token()
    assert family(lab).generations[0].end == ""


async def test_a_refresh_that_is_refused_without_an_oauth_error_ends_its_generation(lab: Lab) -> None:
    await lab.authorize()
    lab.github.faults.next_token(status=422, body='{"detail": "no"}')
    with pytest.raises(RefreshRejected):
        await lab.oauth.refresh_access_token()
    assert family(lab).generations[0].end == "its refresh token was refused (no token came)"


async def test_a_revoked_token_is_dead(lab: Lab) -> None:
    await lab.authorize()
    assert await lab.oauth.revoke()
    assert family(lab).generations[0].end == REVOKED


async def test_signing_in_again_begins_a_second_tree(lab: Lab) -> None:
    await lab.authorize()
    await lab.oauth.refresh_access_token()
    await lab.authorize(scopes=("repo",))
    await lab.oauth.refresh_access_token()
    assert [(depth, g.number) for depth, g in family(lab).tree()] == [(0, 1), (1, 2), (0, 3), (1, 4)]


async def test_the_newest_request_tells_which_scopes_were_asked_for(lab: Lab) -> None:
    assert asked_scopes(lab.trace.exchanges, lab.settings) is None
    await lab.authorize()
    await lab.authorize(scopes=("repo", "gist"))
    assert asked_scopes(lab.trace.exchanges, lab.settings) == ("repo", "gist")


async def test_no_secret_is_in_the_family(lab: Lab) -> None:
    token = await lab.authorize()
    await lab.oauth.refresh_access_token()
    shown = repr(family(lab))
    assert token.access_token not in shown
    assert (token.refresh_token or "-") not in shown
    assert mask(token.access_token) in shown


def recorded(lab: Lab, *pairs: tuple[str, str, Any, Any]) -> Family:
    """The family read from exchanges of which url, method, request and answer are given."""
    trace = Trace(lab.clock)
    for url, method, sent, answer in pairs:
        number = trace.record(
            sender=CLIENT, receiver=GITHUB, protocol="http", kind="request", title=f"{method} {url}", url=url, body=sent
        )
        trace.record(
            sender=GITHUB,
            receiver=CLIENT,
            protocol="http",
            kind="response",
            title="200 OK",
            body=answer,
            answers=number,
        )
    return read(trace.exchanges, lab.settings)


async def test_a_revocation_by_rfc_7009_is_understood(lab: Lab) -> None:
    url, sent = lab.settings.oauth_token_url, {"grant_type": "authorization_code"}
    grant = (url, "POST", sent, {"access_token": "A", "refresh_token": "R"})
    (one,) = recorded(lab, grant, ("https://as.example/revoke", "POST", {"token": "R"}, None)).generations
    assert one.end == REVOKED
    (one,) = recorded(lab, grant, ("https://as.example/introspect", "POST", {"token": "R"}, None)).generations
    assert one.end == ""


async def test_a_revocation_that_was_not_confirmed_ends_nothing(lab: Lab) -> None:
    trace = Trace(lab.clock)
    for url, method, sent, kind, body in (
        (lab.settings.oauth_token_url, "POST", {"grant_type": "authorization_code"}, "response", {"access_token": "A"}),
        ("https://as.example/revoke", "POST", {"token": "A"}, "error", {"error": "unsupported_token_type"}),
        ("https://api.example/applications/id/token", "DELETE", {"access_token": "A"}, "error", None),
        ("https://api.example/applications/id/token", "DELETE", {"access_token": "A"}, None, None),
    ):
        asked: Any = {"sender": CLIENT, "receiver": GITHUB, "protocol": "http", "kind": "request", "url": url}
        number = trace.record(**asked, title=f"{method} {url}", body=sent)
        if kind is not None:
            trace.record(**{**asked, "kind": kind, "url": ""}, title="an answer", body=body, answers=number)
    (one,) = read(trace.exchanges, lab.settings).generations
    assert one.end == ""


async def test_answers_that_make_no_sense_are_passed_over(lab: Lab) -> None:
    url, refresh = lab.settings.oauth_token_url, {"grant_type": "refresh_token", "refresh_token": 5}
    odd = recorded(lab, (url, "POST", refresh, "<html>"), (url, "POST", refresh, {}), (url, "POST", "text", {}))
    assert repr(odd) == "(no token yet)"
    assert odd.newest is None
    assert recorded(lab, (url, "POST", {}, {"access_token": "A"})).generations[0].born == "token request"


# -- what is reported ------------------------------------------------------------------------------------------


def test_a_refresh_token_that_stays_in_use_does_so() -> None:
    family = Family()
    family.issued("A1", "R1")
    family.rotated("R1", "A2")
    family.rotated("R1", "A3", "R1")
    assert [(g.parent, g.refresh_token) for g in family.generations] == [(None, "R1"), (1, "R1"), (2, "R1")]
    assert family.generations[0].end == "followed by a newer access token; its refresh token stays in use"


def test_the_refresh_of_a_token_that_nobody_saw_is_a_root() -> None:
    family = Family()
    family.rotated("R0", "A1", "R1")
    family.refused("R0", "invalid_grant")
    assert repr(family) == "1. A1 with R1  ✔ nothing known against it"
    assert family.generations[0].born == "refresh of a token that was not seen"


def test_what_was_replaced_is_dead_and_what_was_dead_before_keeps_its_reason() -> None:
    family = Family()
    family.replaced()
    family.issued("A1")
    family.replaced()
    family.replaced()
    family.revoked("A1")
    assert repr(family) == f"1. A1 without a refresh token  ✘ dead: {REPLACED}"


def test_the_tree_is_drawn_with_its_branches() -> None:
    family = Family()
    family.issued("A1", "R1")
    family.rotated("R1", "A2", "R2")
    family.rotated("R2", "A3", "R3")
    family.rotated("R2", "A4", "R4")
    assert [line.partition(".")[0] for line in repr(family).splitlines()] == ["1", "└─ 2", "   └─ 3", "   └─ 4"]


def test_the_reason_of_a_refusal_cannot_disturb_a_terminal() -> None:
    family = Family()
    evil = "\x1b[2J\u202einvalid\ngrant"
    family.issued("A1", "R1")
    family.refused("R1", evil)
    family.refused("R1", evil)
    assert repr(family).isprintable()
    assert repr(family).count("refused (\\x1b[2J\\u202einvalid\\ngrant)") == 2
