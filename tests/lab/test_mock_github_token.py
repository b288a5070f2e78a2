"""The token endpoint: the exchange, its formats and its errors."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qsl

import pytest
from mock_github_world import CALLBACK, PKCE, TOKEN, VERIFIER, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


# -- the exchange -----------------------------------------------------------------------------------------------


async def test_a_code_becomes_a_bearer_token_that_works(world: World):
    token = await world.sign_in(scope="read:user")
    assert token["token_type"] == "bearer"
    assert token["access_token"].startswith("gho_")
    assert len(token["access_token"]) == 40
    assert await world.works(token["access_token"])


async def test_expiring_tokens_come_with_their_documented_lifetimes(world: World):
    token = await world.sign_in()
    assert token["expires_in"] == 28800
    assert token["refresh_token"].startswith("ghr_")
    assert len(token["refresh_token"]) == 80
    assert token["refresh_token_expires_in"] == 15897600
    world.clock.advance(seconds=28799)
    assert await world.works(token["access_token"])
    world.clock.advance(seconds=1)
    assert not await world.works(token["access_token"])


async def test_an_app_that_did_not_opt_in_gets_a_token_that_stays(world: World):
    app = world.github.register_app("Plain", [CALLBACK], expiring_tokens=False)
    token = await world.exchange(await world.code(client_id=app.client_id), app=app)
    assert set(token) == {"access_token", "scope", "token_type"}
    world.clock.advance(days=400)
    assert await world.works(token["access_token"])


async def test_offline_access_asks_for_a_refresh_token_and_is_no_scope(world: World):
    app = world.github.register_app("Plain", [CALLBACK], expiring_tokens=False)
    code = await world.code(client_id=app.client_id, scope="read:user offline_access")
    token = await world.exchange(code, app=app)
    assert "refresh_token" in token
    assert token["scope"] == "read:user"


async def test_a_github_app_that_opted_out_is_not_moved_by_offline_access(world: World):
    app = world.github.register_app("An app", [CALLBACK], kind="github_app", expiring_tokens=False)
    token = await world.exchange(await world.code(client_id=app.client_id, scope="offline_access"), app=app)
    assert "refresh_token" not in token


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("user user:email", "user"),
        ("user:email user", "user"),
        ("repo public_repo gist", "repo,gist"),
        ("admin:org read:org", "admin:org"),
        ("read:user no:such", "read:user"),
    ],
)
async def test_granted_scopes_are_normalised_and_comma_separated(world: World, asked: str, granted: str):
    assert (await world.sign_in(scope=asked))["scope"] == granted


# -- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/vnd.github+json"])
async def test_without_a_known_accept_the_answer_is_a_form(world: World, accept: str):
    response = await world.post_token({"code": await world.code(scope="repo gist")}, headers={"Accept": accept})
    assert response.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert "&scope=repo%2Cgist&token_type=bearer" in response.text
    assert dict(parse_qsl(response.text))["access_token"].startswith("gho_")


@pytest.mark.parametrize("accept", ["application/json", "text/html, Application/JSON;q=0.9"])
async def test_json_is_answered_where_it_is_accepted(world: World, accept: str):
    response = await world.post_token({"code": await world.code()}, headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"
    assert response.json()["token_type"] == "bearer"
    assert response.headers["cache-control"] == "no-store"


async def test_xml_is_answered_where_it_is_accepted(world: World):
    response = await world.post_token({"code": await world.code()}, headers={"Accept": "application/xml"})
    assert response.headers["content-type"].startswith("application/xml")
    document = ElementTree.fromstring(response.text)
    assert document.tag == "OAuth"
    assert document.findtext("token_type") == "bearer"


async def test_the_request_may_be_json_or_a_query(world: World):
    credentials = {"client_id": world.github.client_id, "client_secret": world.github.client_secret}
    accept = {"Accept": "application/json"}
    by_json = await world.send("POST", TOKEN, json=credentials | {"code": await world.code()}, headers=accept)
    by_query = await world.send("POST", TOKEN, params=credentials | {"code": await world.code()}, headers=accept)
    assert by_json.json()["access_token"].startswith("gho_")
    assert by_query.json()["access_token"].startswith("gho_")


@pytest.mark.parametrize("body", ["{", "[]", '{"client_id": 7}', "null", "[" * 100_000])
async def test_json_that_says_nothing_counts_as_no_parameters(world: World, body: str):
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    response = await world.send("POST", TOKEN, content=body, headers=headers)
    assert response.json()["error"] == "incorrect_client_credentials"


async def test_a_get_is_not_found(world: World):
    assert (await world.send("GET", TOKEN)).status_code == 404


async def test_the_endpoint_offers_no_cors(world: World):
    response = await world.post_token({"code": "x"}, headers={"Origin": "https://app.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


# -- errors -----------------------------------------------------------------------------------------------------


async def test_errors_have_status_200_and_three_fields(world: World):
    response = await world.post_token({"code": "0" * 20})
    assert response.status_code == 200
    assert set(response.json()) == {"error", "error_description", "error_uri"}
    assert response.json()["error"] == "bad_verification_code"


async def test_errors_follow_accept_too(world: World):
    response = await world.post_token({"code": "0" * 20}, headers={"Accept": "*/*"})
    assert response.status_code == 200
    assert dict(parse_qsl(response.text))["error"] == "bad_verification_code"


async def test_a_code_works_once(world: World):
    code = await world.code()
    assert "access_token" in await world.exchange(code)
    assert (await world.exchange(code))["error"] == "bad_verification_code"


async def test_a_code_lives_ten_minutes(world: World):
    early, late = await world.code(), await world.code()
    world.clock.advance(seconds=599)
    assert "access_token" in await world.exchange(early)
    world.clock.advance(seconds=1)
    assert (await world.exchange(late))["error"] == "bad_verification_code"


async def test_a_code_works_for_its_own_app_only(world: World):
    other = world.github.register_app("Other", [CALLBACK])
    code = await world.code()
    assert (await world.exchange(code, app=other))["error"] == "bad_verification_code"
    assert "access_token" in await world.exchange(code)


async def test_a_missing_code_is_a_bad_one(world: World):
    assert (await world.post_token({})).json()["error"] == "bad_verification_code"


@pytest.mark.parametrize("secret", [None, "", "wrong", "ü"])
async def test_a_client_without_its_secret_is_refused_even_with_pkce(world: World, secret: str | None):
    fields = {"client_id": world.github.client_id, "code": await world.code(**PKCE), "code_verifier": VERIFIER}
    if secret is not None:
        fields["client_secret"] = secret
    response = await world.send("POST", TOKEN, data=fields, headers={"Accept": "application/json"})
    assert response.status_code == 200
    assert response.json()["error"] == "incorrect_client_credentials"


async def test_an_unknown_client_is_refused(world: World):
    fields = {"client_id": "unknown", "client_secret": "x", "code": "y"}
    response = await world.send("POST", TOKEN, data=fields, headers={"Accept": "application/json"})
    assert response.json()["error"] == "incorrect_client_credentials"


async def test_a_redirect_uri_is_compared_where_it_is_sent(world: World):
    code = await world.code()
    assert (await world.exchange(code, redirect_uri="http://127.0.0.1:1/callback"))["error"] == "redirect_uri_mismatch"
    assert "access_token" in await world.exchange(code, redirect_uri=CALLBACK)


async def test_a_user_whose_email_is_unverified_gets_no_token(world: World):
    world.github.users["octocat"].email_verified = False
    assert (await world.sign_in())["error"] == "unverified_user_email"


async def test_an_unknown_grant_type_is_refused(world: World):
    answer = (await world.post_token({"grant_type": "password", "username": "octocat"})).json()
    assert answer["error"] == "unsupported_grant_type"


async def test_the_grant_type_of_the_exchange_may_be_named(world: World):
    assert "access_token" in await world.exchange(await world.code(), grant_type="authorization_code")


# -- PKCE -------------------------------------------------------------------------------------------------------


async def test_the_verifier_of_rfc_7636_appendix_b_fits_its_challenge(world: World):
    token = await world.exchange(await world.code(**PKCE), code_verifier=VERIFIER)
    assert await world.works(token["access_token"])


@pytest.mark.parametrize("verifier", [VERIFIER[:-1], VERIFIER[:-1] + "l", VERIFIER + "=", "short"])
async def test_another_verifier_is_refused_and_uses_the_code_up(world: World, verifier: str):
    code = await world.code(**PKCE)
    assert (await world.exchange(code, code_verifier=verifier))["error"] == "bad_verification_code"
    assert (await world.exchange(code, code_verifier=VERIFIER))["error"] == "bad_verification_code"


async def test_a_challenge_requires_a_verifier(world: World):
    assert (await world.exchange(await world.code(**PKCE)))["error"] == "bad_verification_code"


async def test_a_verifier_without_a_challenge_is_a_downgrade_and_refused(world: World):
    assert (await world.exchange(await world.code(), code_verifier=VERIFIER))["error"] == "bad_verification_code"


async def test_an_empty_verifier_counts_as_left_out(world: World):
    assert "access_token" in await world.exchange(await world.code(), code_verifier="")


# -- HTTP Basic -------------------------------------------------------------------------------------------------


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def test_basic_authentication_is_accepted_unless_the_knob_says_no(world: World):
    headers = basic(world.github.client_id, world.github.client_secret) | {"Accept": "application/json"}
    accepted = await world.send("POST", TOKEN, data={"code": await world.code()}, headers=headers)
    assert accepted.json()["token_type"] == "bearer"
    world.github.knobs.basic_auth = False
    refused = await world.send("POST", TOKEN, data={"code": await world.code()}, headers=headers)
    assert refused.json()["error"] == "incorrect_client_credentials"


@pytest.mark.parametrize("header", ["Basic !", "Basic eA==", "Basic /w==", "Bearer x", ""])
async def test_a_header_that_is_no_basic_authentication_is_ignored(world: World, header: str):
    response = await world.send("POST", TOKEN, headers={"Authorization": header, "Accept": "application/json"})
    assert response.json()["error"] == "incorrect_client_credentials"


# -- how many ---------------------------------------------------------------------------------------------------


async def test_the_eleventh_token_of_a_user_app_and_scope_revokes_the_oldest(world: World):
    tokens = [(await world.sign_in())["access_token"] for _ in range(10)]
    other_scope = (await world.sign_in(scope="gist"))["access_token"]
    assert all([await world.works(token) for token in tokens])
    eleventh = (await world.sign_in())["access_token"]
    assert [await world.works(token) for token in tokens] == [False] + [True] * 9
    assert await world.works(eleventh)
    assert await world.works(other_scope)


async def test_the_number_of_tokens_is_a_knob(world: World):
    world.github.knobs.tokens_per_scope = 1
    first, second = await world.sign_in(), await world.sign_in()
    assert not await world.works(first["access_token"])
    assert await world.works(second["access_token"])
    world.github.knobs.tokens_per_scope = None
    await world.sign_in()
    assert await world.works(second["access_token"])
