"""What the checks of notebooks 01 to 03 say to the answers that people give first."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mcp_types import REQUEST_TIMEOUT

from mcp_oauth_nb import AuthChallenge, Lab
from mcp_oauth_nb.exercises import nb01, nb02, nb03

pytestmark = pytest.mark.anyio

ISSUER = "https://github.com/login/oauth"
METADATA = "https://mcp.example/.well-known/oauth-protected-resource"
BOTH = AuthChallenge(
    authorization_url="https://login.example/authorize", scopes=("read:user", "repo"), resource_metadata=METADATA
)


def test_a_well_known_part_behind_the_path_is_not_yet_right() -> None:
    verdict = nb01.check_well_known_url(lambda issuer: f"{issuer}/.well-known/oauth-authorization-server")
    assert not verdict.right
    assert ISSUER in verdict.text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "none of the 2 well-known URLs"),
        ({"oauth_issuer": f"{ISSUER}/"}, "only a slash at the end differs"),
        ({"oauth_issuer": ISSUER}, "scopes are read:user"),
        ({"oauth_issuer": ISSUER, "oauth_scopes": "read:user,repo,gist"}, "scopes are read:user, repo, gist"),
    ],
)
async def test_a_lab_is_asked_for_what_its_server_announces(settings: dict[str, str], says: str) -> None:
    async with Lab.open(**settings) as lab:
        verdict = await nb01.check_honest_server(lab)
    assert not verdict.right
    assert says in verdict.text


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (lambda error: "authorize" if error["code"] == -32001 else "report", "under another code"),
        (lambda error: {"oauth2": "authorize"}.get(error["data"]["type"], "retry"), "raise TypeError"),
        (lambda error: "authorize" if (error.get("data") or {}).get("type") == "oauth2" else "retry", "configure"),
    ],
)
def test_a_handler_is_told_the_error_that_it_takes_for_another(handler: Callable[[Any], str], says: str) -> None:
    verdict = nb02.check_handler(handler)
    assert not verdict.right
    assert says in verdict.text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((BOTH.to_jsonrpc(), BOTH.to_www_authenticate(), METADATA), "not a pair"),
        ((BOTH.to_data(), BOTH.to_www_authenticate()), "not the error object"),
        ((BOTH.to_jsonrpc(), 'Basic realm="x"'), "no challenge"),
        ((BOTH.to_jsonrpc(), f'Bearer resource_metadata="{METADATA}"'), "header asks for no scope"),
        ((BOTH.to_jsonrpc(), 'Bearer scope="read:user repo"'), "where to authorize"),
        ((replace(BOTH, authorization_url=None).to_jsonrpc(), BOTH.to_www_authenticate()), "where to authorize"),
    ],
)
def test_a_challenge_is_told_what_one_of_its_forms_lacks(answer: tuple[Any, ...], says: str) -> None:
    verdict = nb02.check_both_forms(answer)
    assert not verdict.right
    assert says in verdict.text


def test_a_handler_may_take_an_error_apart_and_is_judged_the_same_the_next_time() -> None:
    def handler(error: dict[str, Any]) -> str:
        code, data = error.pop("code"), error.pop("data", None)
        kind = data.pop("type", None) if isinstance(data, dict) else None
        if kind is None and code == REQUEST_TIMEOUT:
            return "retry"
        return {"oauth2": "authorize", "configuration": "configure", "transient": "retry"}.get(str(kind), "report")

    for _ in range(2):
        assert nb02.check_handler(handler).right


def test_a_pair_may_be_written_as_a_list() -> None:
    header = f'Bearer resource_metadata="{METADATA}", scope="read:user repo"'
    assert nb02.check_both_forms([BOTH.to_jsonrpc(), header]).right


def digest(verifier: str) -> bytes:
    return hashlib.sha256(verifier.encode()).digest()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda verifier: digest(verifier).hex(), "hexadecimal"),
        (lambda verifier: base64.b64encode(digest(verifier)).decode(), "URL-safe"),
        (lambda verifier: base64.urlsafe_b64encode(digest(verifier)).decode(), "the `=` at the end"),
        (lambda verifier: base64.urlsafe_b64encode(digest(verifier)).rstrip(b"="), "bytes"),
        (lambda verifier: verifier, "it returned 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'"),
    ],
)
def test_a_challenge_made_the_wrong_way_is_told_which(make: Callable[[str], Any], says: str) -> None:
    verdict = nb03.check_challenge(make)
    assert not verdict.right
    assert says in verdict.text


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        (lambda url: "code_challenge=" in url, "which then is plain"),
        (lambda url: "code_challenge_method=S256" in url, "the challenge taken out"),
        (lambda url: "code_challenge=" in url and "S256" in url, "empty"),
        (lambda url: False, "as it should be"),
        (lambda url: url.count("code_challenge="), "that should be True, and your function returned 1"),
    ],
)
async def test_a_judge_of_urls_is_told_the_one_that_it_misjudges(judge: Callable[[str], bool], says: str) -> None:
    async with Lab.open() as lab:
        verdict = nb03.check_is_protected(judge, lab)
    assert not verdict.right
    assert says in verdict.text
