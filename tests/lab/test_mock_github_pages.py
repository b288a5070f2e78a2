"""The pages for people: accessible, escaped, and proof against what RFC 9700 warns of."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import quote, urlencode

import httpx
import pytest
from mock_github_world import AUTHORIZE, CALLBACK, World

from mcp_oauth_nb.lab.mock_github import MockGitHub

pytestmark = pytest.mark.anyio

LOGIN = "https://github.com/login"
XSS = "\"'><script>alert(1)</script>"


@pytest.fixture
def world() -> World:
    return World()


async def sign_in_page(world: World, **query: str) -> httpx.Response:
    response = await world.visit(f"{LOGIN}?{urlencode(query)}")
    world.browser.cookies.update(response.cookies)
    return response


async def consent_page(world: World, **parameters: str) -> httpx.Response:
    """The consent page, seen by somebody who signed in and said no."""
    await world.callback(allow=False)
    response = await world.visit(world.authorize_url(**parameters))
    assert response.status_code == 200
    return response


def form_fields(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page))


# -- what all pages have ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "referrer"),
    # Only a page with a form needs to say where the form comes from.
    [
        ("/", "no-referrer"),
        ("/login", "same-origin"),
        ("/login/oauth/authorize", "no-referrer"),
        ("/nothing/here", "no-referrer"),
    ],
)
async def test_every_page_says_that_nothing_is_real_and_is_well_protected(world: World, path: str, referrer: str):
    response = await world.send("GET", "https://github.com" + path)
    assert "Mock GitHub: nothing here is real." in response.text
    assert response.text.startswith('<!doctype html>\n<html lang="en">')
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == referrer
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_policy_allows_exactly_the_inline_style(world: World):
    response = await world.send("GET", LOGIN)
    found = re.search(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in response.headers["content-security-policy"]
    assert "<script" not in response.text


async def test_the_front_page_says_who_is_signed_in(world: World):
    assert "Nobody is signed in." in (await world.visit("https://github.com/")).text
    await world.callback()
    assert "Signed in as <strong>octocat</strong>" in (await world.visit("https://github.com/")).text


# -- escaping ---------------------------------------------------------------------------------------------------


async def test_nothing_from_a_request_reaches_a_page_unescaped(world: World):
    pages = [
        await sign_in_page(world, return_to="/" + XSS, login=XSS),
        await world.send("GET", f"{AUTHORIZE}?client_id={quote(XSS)}&redirect_uri={quote(XSS)}"),
        await consent_page(world, state=XSS, scope="gist " + XSS.replace(" ", "")),
    ]
    for page in pages:
        assert "<script" not in page.text
        assert "alert(1)" not in re.sub(r'value="[^"]*"', "", page.text)


async def test_nothing_from_a_registration_reaches_a_page_unescaped(world: World):
    world.github.add_user(XSS, name=XSS)
    app = world.github.register_app(XSS, [CALLBACK])
    assert "<script" not in (await sign_in_page(world)).text
    assert "<script" not in (await consent_page(world, client_id=app.client_id)).text


# -- sign-in ----------------------------------------------------------------------------------------------------


async def test_the_sign_in_page_offers_every_account_as_a_labelled_choice(world: World):
    page = (await sign_in_page(world)).text
    assert re.findall(r'<label><input type="radio" name="login" value="(\w+)"', page) == list(world.github.users)
    assert "<legend>Choose an account</legend>" in page


async def test_the_session_cookie_is_out_of_reach_for_scripts_and_other_sites(world: World):
    cookie = (await sign_in_page(world)).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" in cookie


async def test_signing_in_gives_a_fresh_cookie_and_forgets_the_old_one(world: World):
    page = await sign_in_page(world)
    before = world.browser.cookies["user_session"]
    fields = form_fields(page.text) | {"login": "octocat"}
    response = await world.visit(LOGIN, "POST", data=fields)
    assert response.status_code == 303
    assert response.cookies["user_session"] != before
    # A cookie that somebody planted before the sign-in is worth nothing after it: no session, no valid form.
    assert "Nobody is signed in." in (await world.visit("https://github.com/")).text
    assert (await world.visit(LOGIN, "POST", data=fields)).status_code == 422


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example/", "/ok\r\nSet-Cookie: x=y", "javascript:x"]
)
async def test_the_sign_in_page_is_no_open_redirector(world: World, target: str):
    page = await sign_in_page(world, return_to=target)
    assert form_fields(page.text)["return_to"] == "/"
    fields = form_fields(page.text) | {"login": "octocat", "return_to": target}
    assert (await world.visit(LOGIN, "POST", data=fields)).headers["location"] == "/"


@pytest.mark.parametrize("change", [{"authenticity_token": "wrong"}, {"authenticity_token": ""}, {"login": "nobody"}])
async def test_a_sign_in_with_a_wrong_form_is_refused(world: World, change: dict[str, str]):
    fields = form_fields((await sign_in_page(world)).text) | {"login": "octocat"} | change
    assert (await world.visit(LOGIN, "POST", data=fields)).status_code == 422


async def test_a_form_from_another_site_is_refused(world: World):
    fields = form_fields((await sign_in_page(world)).text) | {"login": "octocat"}
    for origin in ("https://evil.example", "null"):
        response = await world.visit(LOGIN, "POST", data=fields, headers={"Origin": origin})
        assert response.status_code == 422
    same = await world.visit(LOGIN, "POST", data=fields, headers={"Origin": "https://github.com"})
    assert same.status_code == 303


async def test_a_form_without_the_cookie_is_refused(world: World):
    fields = form_fields((await sign_in_page(world)).text) | {"login": "octocat"}
    assert (await world.send("POST", LOGIN, data=fields)).status_code == 422


async def test_only_so_many_browsers_are_remembered(world: World):
    await world.callback()
    for _ in range(1000):
        world.github._state.new_browser()
    assert "Nobody is signed in." in (await world.visit("https://github.com/")).text
    # Those who came last are remembered.
    await world.callback()
    assert "Signed in as <strong>octocat</strong>" in (await world.visit("https://github.com/")).text


async def test_over_plain_http_the_cookie_does_not_insist_on_tls():
    github = MockGitHub.at("http://127.0.0.1:9000")
    async with httpx.AsyncClient(transport=github.transport()) as client:
        assert "Secure" not in (await client.get("http://127.0.0.1:9000/login")).headers["set-cookie"]


# -- consent ----------------------------------------------------------------------------------------------------


async def test_the_consent_page_shows_app_account_scopes_and_where_the_answer_goes(world: World):
    page = (await consent_page(world, scope="repo gist")).text
    assert "<strong>Mock OAuth App</strong>" in page
    assert "<strong>octocat</strong>" in page
    assert "<code>repo</code>" in page
    assert "Full control of private repositories" in page
    assert "Authorizing leads to <strong>127.0.0.1:53682</strong>" in page


async def test_a_request_without_scopes_is_said_to_be_for_public_data(world: World):
    assert "It asks for public data." in (await consent_page(world, scope="")).text


async def test_the_policy_lets_the_form_lead_on_to_wherever_the_app_sends_the_browser(world: World):
    # An app that federates passes the answer on, and browsers would stop that redirect too.
    assert "form-action" not in (await consent_page(world)).headers["content-security-policy"]
    sign_in = (await world.send("GET", world.authorize_url())).headers["location"]
    policy = (await world.send("GET", "https://github.com" + sign_in)).headers["content-security-policy"]
    assert "form-action" not in policy


async def test_the_sign_in_page_trusts_no_redirect_uri_that_is_not_registered(world: World):
    bad = f"{AUTHORIZE.removeprefix('https://github.com')}?client_id={world.github.client_id}"
    page = await sign_in_page(world, return_to=f"{bad}&redirect_uri=https://evil.example/")
    assert "form-action 'self';" in page.headers["content-security-policy"]


async def test_consent_cannot_be_given_by_another_site(world: World):
    fields = form_fields((await consent_page(world)).text) | {"authorize": "1"}
    for spoiled in ({"authenticity_token": "wrong"}, {"authenticity_token": ""}):
        assert (await world.visit(AUTHORIZE, "POST", data=fields | spoiled)).status_code == 422
    assert (await world.send("POST", AUTHORIZE, data=fields)).status_code == 422


async def test_consent_cannot_be_given_before_signing_in(world: World):
    fields = form_fields((await sign_in_page(world)).text) | {"client_id": world.github.client_id, "authorize": "1"}
    assert (await world.visit(AUTHORIZE, "POST", data=fields)).status_code == 422


async def test_what_comes_back_with_the_form_is_checked_again(world: World):
    fields = form_fields((await consent_page(world)).text) | {"authorize": "1"}
    evil = await world.visit(AUTHORIZE, "POST", data=fields | {"redirect_uri": "https://evil.example/"})
    assert evil.status_code == 400
    more = await world.visit(AUTHORIZE, "POST", data=fields | {"granted_scope": "repo"})
    code = dict(httpx.URL(more.headers["location"]).params)["code"]
    assert (await world.exchange(code))["scope"] == ""


async def test_a_request_cannot_bring_its_own_answer(world: World):
    await world.callback(allow=False)
    url = world.authorize_url(authorize="1", granted_scope="repo", authenticity_token="x")
    fields = form_fields((await world.visit(url)).text)
    assert set(fields) == {"authenticity_token", "client_id", "redirect_uri", "scope"}
    assert fields["authenticity_token"] != "x"


async def test_the_redirect_to_the_client_tells_no_referrer(world: World):
    await world.callback()
    response = await world.visit(world.authorize_url())
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
