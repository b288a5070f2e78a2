"""The authorization endpoint, clause by clause."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from mock_github_world import CALLBACK, CHALLENGE, PKCE, World

from mcp_oauth_nb.lab.mock_github import RedirectUri
from mcp_oauth_nb.oauth.errors import ProtocolError

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def signed_in(world: World) -> World:
    await world.callback()
    return world


async def test_the_callback_carries_a_code_of_20_hexadecimal_digits_and_echoes_the_state(world: World):
    callback = await world.callback(state="a state & more")
    assert len(callback["code"]) == 20
    assert int(callback["code"], 16) >= 0
    assert callback["state"] == "a state & more"


async def test_without_a_state_none_is_echoed(world: World):
    assert "state" not in await world.callback()


@pytest.mark.parametrize("client_id", [None, "", "unknown"])
async def test_a_missing_or_unknown_client_gets_a_404_page_and_no_redirect(world: World, client_id: str | None):
    response = await world.send("GET", world.authorize_url(client_id=client_id))
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert "location" not in response.headers


async def test_an_omitted_redirect_uri_means_the_first_registered_callback(world: World):
    end = await world.browser.authorize(world.authorize_url(redirect_uri=None))
    assert end.startswith("http://127.0.0.1/callback?code=")


async def test_the_query_of_a_redirect_uri_is_kept(world: World):
    end = await world.browser.authorize(world.authorize_url(redirect_uri=CALLBACK + "?tenant=1"))
    assert end.startswith(CALLBACK + "?tenant=1&code=")


async def test_a_mismatch_is_shown_as_a_page_by_default(world: World):
    response = await world.send("GET", world.authorize_url(redirect_uri="https://evil.example/callback"))
    assert response.status_code == 400
    assert "location" not in response.headers
    with pytest.raises(ProtocolError, match="400 with the page 'Be careful!'"):
        await world.browser.authorize(world.authorize_url(redirect_uri="https://evil.example/callback"))


async def test_a_mismatch_can_be_the_documented_redirect_to_the_registered_callback(world: World):
    world.github.knobs.redirect_mismatch = "redirect"
    end = await world.browser.authorize(world.authorize_url(redirect_uri="https://evil.example/", state="s"))
    assert end.startswith("http://127.0.0.1/callback?")
    query = dict(parse_qsl(urlsplit(end).query))
    assert query["error"] == "redirect_uri_mismatch"
    assert query["state"] == "s"


async def test_a_refusal_by_the_user_carries_all_four_parameters_of_the_documentation(world: World):
    callback = await world.callback(allow=False, state="s")
    assert callback["error"] == "access_denied"
    assert "denied" in callback["error_description"]
    assert callback["error_uri"].endswith("#access-denied")
    assert callback["state"] == "s"
    assert "code" not in callback


async def test_a_suspended_app_is_told_at_its_registered_callback(world: World):
    world.github.apps[world.github.client_id].suspended = True
    end = await world.browser.authorize(world.authorize_url(state="s"))
    assert end.startswith("http://127.0.0.1/callback?error=application_suspended")
    assert "state=s" in end


@pytest.mark.parametrize("allow", [True, False])
async def test_iss_is_sent_on_success_and_on_error(world: World, allow: bool):
    assert (await world.callback(allow=allow))["iss"] == "https://github.com/login/oauth"


async def test_iss_can_be_switched_off_or_lie(world: World):
    world.github.knobs.iss = False
    assert "iss" not in await world.callback()
    world.github.knobs.iss = "https://evil.example"
    assert (await world.callback())["iss"] == "https://evil.example"


# -- PKCE -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"code_challenge": CHALLENGE}, "together"),
        ({"code_challenge_method": "S256"}, "together"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "must be S256"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "s256"}, "must be S256"),
        ({"code_challenge": CHALLENGE[:-1], "code_challenge_method": "S256"}, "43 characters"),
        ({"code_challenge": CHALLENGE + "A", "code_challenge_method": "S256"}, "43 characters"),
        ({"code_challenge": CHALLENGE[:-1] + "=", "code_challenge_method": "S256"}, "43 characters"),
    ],
)
async def test_broken_pkce_parameters_are_refused(world: World, parameters: dict[str, str], complaint: str):
    callback = await world.callback(**parameters, state="s")
    assert callback["error"] == "invalid_request"
    assert complaint in callback["error_description"]
    assert callback["state"] == "s"


async def test_broken_pkce_parameters_can_be_refused_on_a_page(world: World):
    world.github.knobs.pkce_error = "page"
    response = await world.send("GET", world.authorize_url(code_challenge=CHALLENGE))
    assert response.status_code == 400
    assert "location" not in response.headers


async def test_pkce_is_optional(world: World):
    assert "code" in await world.callback()
    assert "code" in await world.callback(**PKCE)


# -- scopes and consent -----------------------------------------------------------------------------------------


async def test_consent_is_asked_once_and_skipped_for_what_was_granted(world: World):
    await world.callback(scope="user repo")
    for scope in ("user", "repo", "read:user", "public_repo", "repo user"):
        response = await world.visit(world.authorize_url(scope=scope))
        assert response.status_code == 302, scope
    response = await world.visit(world.authorize_url(scope="gist"))
    assert response.status_code == 200
    assert "Authorize Mock OAuth App" in response.text


async def test_an_omitted_scope_is_the_union_of_all_that_was_granted(world: World):
    await world.callback(scope="user")
    await world.callback(scope="gist repo")
    token = await world.sign_in(scope=None)
    assert token["scope"] == "user,gist,repo"


async def test_an_omitted_scope_is_no_scope_for_a_new_user(world: World):
    token = await world.sign_in(scope=None)
    assert token["scope"] == ""
    assert await world.works(token["access_token"])


async def test_scopes_may_be_separated_by_spaces_or_commas(world: World):
    assert (await world.sign_in(scope="read:user,gist repo"))["scope"] == "read:user,gist,repo"


async def test_a_user_may_grant_less_than_was_asked(world: World):
    token = await world.exchange(await world.code(scope="repo gist", granted=["gist"]))
    assert token["scope"] == "gist"


async def test_consent_is_asked_again_after_ten_tokens_in_an_hour(world: World):
    for _ in range(10):
        await world.sign_in()
    response = await world.visit(world.authorize_url())
    assert response.status_code == 200
    assert "unusually often" in response.text
    assert "access_token" in await world.sign_in()
    world.clock.advance(hours=1)
    assert (await world.visit(world.authorize_url())).status_code == 302


async def test_the_hourly_limit_can_be_lifted(world: World):
    world.github.knobs.tokens_per_hour = None
    for _ in range(11):
        await world.sign_in()
    assert (await world.visit(world.authorize_url())).status_code == 302


async def test_response_type_and_resource_are_ignored(world: World):
    end = await world.browser.authorize(world.authorize_url(response_type="token", resource="https://else.example"))
    assert "code=" in urlsplit(end).query
    assert urlsplit(end).fragment == ""  # no implicit grant


# -- who is asked -----------------------------------------------------------------------------------------------


async def test_nobody_is_asked_for_consent_before_signing_in(world: World):
    response = await world.send("GET", world.authorize_url())
    assert response.status_code == 302
    assert response.headers["location"].startswith("/login?return_to=%2Flogin%2Foauth%2Fauthorize%3F")


@pytest.mark.parametrize("parameter", [{"prompt": "select_account"}, {"login": "hubot"}])
async def test_another_account_may_be_asked_for(world: World, parameter: dict[str, str]):
    await signed_in(world)
    response = await world.visit(world.authorize_url(**parameter))
    assert response.headers["location"].startswith("/login?")
    # The choice comes once, not for ever.
    assert "code" in await world.callback(**parameter)


async def test_the_account_that_is_signed_in_already_is_not_asked_for_again(world: World):
    await signed_in(world)
    response = await world.visit(world.authorize_url(login="octocat"))
    assert response.status_code == 302
    assert response.headers["location"].startswith(CALLBACK)


async def test_login_is_suggested_and_sign_up_can_be_hidden(world: World):
    sign_in = (await world.send("GET", world.authorize_url(login="hubot", allow_signup="false"))).headers["location"]
    page = (await world.send("GET", "https://github.com" + sign_in)).text
    assert 'value="hubot" required checked' in page
    assert "New to GitHub?" not in page
    sign_in = (await world.send("GET", world.authorize_url())).headers["location"]
    assert "New to GitHub?" in (await world.send("GET", "https://github.com" + sign_in)).text


async def test_the_endpoint_offers_no_cors(world: World):
    response = await world.send("GET", world.authorize_url(), headers={"Origin": "https://app.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_github_app_has_no_scopes_to_ask_for(world: World):
    app = world.github.register_app("An app", [CALLBACK], kind="github_app")
    token = await world.exchange(await world.code(client_id=app.client_id, scope="repo"), app=app)
    assert token["scope"] == ""
    assert token["access_token"].startswith("ghu_")


async def test_a_wildcard_uri_leads_to_sub_domains_and_an_exact_one_does_not(world: World):
    loose = world.github.register_app("Loose", [RedirectUri("https://app.example/cb")])
    strict = world.github.register_app("Strict", [RedirectUri("https://app.example/cb", wildcard=False)])
    below = "https://evil.app.example/cb/x"
    end = await world.browser.authorize(world.authorize_url(client_id=loose.client_id, redirect_uri=below))
    assert end.startswith(below + "?code=")
    with pytest.raises(ProtocolError):
        await world.browser.authorize(world.authorize_url(client_id=strict.client_id, redirect_uri=below))
