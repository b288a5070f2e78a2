"""What the checks of notebooks 07 to 09 say to the answers that people give first."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mcp_oauth_nb import Lab
from mcp_oauth_nb.exercises import nb07, nb08, nb09
from mcp_oauth_nb.oauth.settings import IsolatedSettings

pytestmark = pytest.mark.anyio

CREDENTIALS = {"oauth_client_id": "my-client", "oauth_client_secret": "my-client-secret"}
COPIED = {
    "oauth_issuer": nb07.METADATA["issuer"],
    "oauth_authorization_url": nb07.METADATA["authorization_endpoint"],
    "oauth_token_url": nb07.METADATA["token_endpoint"],
}
SERVE = {"command": sys.executable, "args": ["-m", "mcp_oauth_nb", "serve"]}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        yield lab


# -- 07 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "sent to https://github.com/login/oauth/authorize, where nobody is"),
        ({"oauth_authorization_url": COPIED["oauth_authorization_url"]}, "name the issuer https://github.com/login"),
        ({**COPIED, "oauth_scopes": "files.read,files.write"}, "asked for 'files.read files.write'"),
        ({**COPIED, "oauth_scopes": "files.read"}, "does not know the client"),
        ({**COPIED, "oauth_scopes": "files.read", "oauth_token_url": "https://files.example/token"}, "answered 404"),
    ],
)
async def test_settings_are_used_at_the_third_provider(settings: dict[str, str], says: str) -> None:
    verdict = await nb07.check_settings(IsolatedSettings(**CREDENTIALS, **settings))
    assert not verdict.right
    assert says in verdict.text


async def test_settings_without_credentials_are_told_what_is_missing() -> None:
    verdict = await nb07.check_settings(IsolatedSettings())
    assert "OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET are not set" in verdict.text


@pytest.mark.parametrize(
    ("matches", "trips_over"),
    [
        (lambda registered, requested: registered == requested, "http://127.0.0.1:54321/callback"),
        (lambda registered, requested: requested.startswith(registered), "https://app.example/callback/"),
        (
            lambda registered, requested: registered == requested or requested.startswith("http://127.0.0.1"),
            "http://127.0.0.1:54321/elsewhere",
        ),
    ],
)
def test_a_redirect_check_that_is_too_narrow_or_too_wide_is_not_yet_right(
    matches: Callable[[str, str], bool], trips_over: str
) -> None:
    verdict = nb07.check_matches(matches)
    assert not verdict.right
    assert f"{trips_over} is requested" in verdict.text


# -- 08 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect_uri", "says"),
    [
        ("http://127.0.0.1/callback/second", "listens on port 8123"),
        ("http://localhost:8123/callback/second", "not the registered one"),
        ("http://127.0.0.1:8123/callback", "not one of its own"),
        ("http://127.0.0.1:8123/second", "error page"),
        ("https://127.0.0.1:8123/callback/second", "error page"),
    ],
)
async def test_a_redirect_uri_is_tried_at_github(lab: Lab, redirect_uri: str, says: str) -> None:
    verdict = await nb08.check_redirect_uri(redirect_uri, lab)
    assert not verdict.right
    assert says in verdict.text


async def test_a_redirect_uri_that_github_changes_is_not_yet_right(lab: Lab) -> None:
    lab.github.knobs.redirect_mismatch = "redirect"
    verdict = await nb08.check_redirect_uri("http://127.0.0.1:8123/second", lab)
    assert "GitHub sent the browser to http://127.0.0.1/callback." in verdict.text


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ({"command": sys.executable, "args": []}, "a dict with the keys command, args and env"),
        ({**SERVE, "env": {}}, "answers -32000, OAuth is not configured"),
        ({"command": sys.executable, "args": ["--secret", "s3cret"], "env": {"OAUTH_CLIENT_SECRET": "s3cret"}}, "args"),
        # A short secret that happens to be a part of `mcp_oauth_nb` is not in the arguments.
        ({**SERVE, "env": {"OAUTH_CLIENT_SECRET": "nb"}}, "answers -32000"),
        ({"command": "/no/such/python", "args": [], "env": {}}, "SessionFailed"),
    ],
)
async def test_a_hosts_command_is_really_started(host: dict[str, Any], says: str) -> None:
    verdict = await nb08.check_host(host)
    assert not verdict.right
    assert says in verdict.text


# -- 09 --------------------------------------------------------------------------------------------------------


async def test_each_correction_leads_to_the_next_error(lab: Lab) -> None:
    answer: dict[str, Any] = {}
    said = [(await nb09.check_repair(answer, lab)).text]
    corrections = {
        "oauth_redirect_uri": lab.settings.oauth_redirect_uri,
        "oauth_token_url": lab.settings.oauth_token_url,
        "oauth_client_secret": lab.github.client_secret,
    }
    for name, value in corrections.items():
        answer[name] = value
        said.append((await nb09.check_repair(answer, lab)).text)
    for text, part in zip(said, ["Be careful!", "answered 404", "incorrect_client", "is signed in"], strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("find", "says"),
    [
        (lambda error: None, "an error of this package"),
        (lambda error: error, "any other error"),
        (lambda error: getattr(error, "exceptions", [None])[0], "an error of this package"),
        (lambda error: error if error.args == ("no",) else None, "a group of one"),
    ],
)
def test_a_search_that_does_not_look_everywhere_is_not_yet_right(find: Callable[[Any], Any], says: str) -> None:
    verdict = nb09.check_find(find)
    assert not verdict.right
    assert f"in {says}, " in verdict.text
