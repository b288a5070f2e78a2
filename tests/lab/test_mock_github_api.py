"""The REST API: who sees what, in which pages, and how often."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from mock_github_world import API, CALLBACK, EPOCH, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


def token(world: World, *scopes: str, user: str = "octocat") -> str:
    return world.github.issue_token(user, scopes).access_token


async def names(world: World, access_token: str, **query: Any) -> list[str]:
    response = await world.api("/user/repos", access_token, params={"per_page": 100} | query)
    assert response.status_code == 200, response.text
    return [repository["full_name"] for repository in response.json()]


def links(response: httpx.Response) -> dict[str, str]:
    return {relation: str(link["url"]) for relation, link in response.links.items()}


# -- the user ---------------------------------------------------------------------------------------------------


async def test_the_user_is_the_one_who_authorized(world: World):
    body = (await world.api("/user", token(world, "read:user", user="hubot"))).json()
    assert (body["login"], body["name"], body["type"]) == ("hubot", "Hubot", "User")
    assert body["html_url"] == "https://github.com/hubot"


@pytest.mark.parametrize("scopes", [("user",), ("read:user",)])
async def test_private_fields_are_shown_with_user_and_read_user(world: World, scopes: tuple[str, ...]):
    body = (await world.api("/user", token(world, *scopes))).json()
    assert body["plan"]["name"] == "pro"
    assert body["total_private_repos"] > 0


@pytest.mark.parametrize("scopes", [(), ("repo",), ("user:email",)])
async def test_private_fields_are_hidden_without(world: World, scopes: tuple[str, ...]):
    body = (await world.api("/user", token(world, *scopes))).json()
    assert body["login"] == "octocat"
    assert not {"plan", "private_gists", "two_factor_authentication", "total_private_repos"} & set(body)


async def test_the_scheme_may_be_bearer_or_token_in_any_case(world: World):
    secret = token(world)
    for scheme in ("Bearer", "bearer", "token", "Token"):
        response = await world.api("/user", headers={"Authorization": f"{scheme} {secret}"})
        assert response.status_code == 200


# -- 401 and other refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer unknown", "Bearer", "Basic eDp5"])
async def test_a_bad_token_gets_the_documented_body_and_no_challenge(world: World, header: str):
    response = await world.api("/user", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json() == {
        "message": "Bad credentials",
        "documentation_url": "https://docs.github.com/rest",
        "status": "401",
    }
    assert "www-authenticate" not in response.headers


async def test_no_token_at_all_is_401_too(world: World):
    response = await world.api("/user")
    assert (response.status_code, response.json()["message"]) == (401, "Requires authentication")


async def test_an_expired_or_revoked_token_is_401(world: World):
    revoked, expired = token(world), token(world)
    world.github.revoke_token(revoked)
    assert (await world.api("/user", revoked)).status_code == 401
    world.clock.advance(hours=8)
    assert (await world.api("/user", expired)).status_code == 401


async def test_clock_skew_makes_tokens_expire_early(world: World):
    secret = token(world)
    world.github.faults.clock_skew = 28_800
    assert (await world.api("/user", secret)).status_code == 401
    world.github.faults.clear()
    assert (await world.api("/user", secret)).status_code == 200


async def test_a_user_agent_is_required(world: World):
    response = await world.api("/user", token(world), headers={"User-Agent": ""})
    assert response.status_code == 403
    assert "User-Agent" in response.text


@pytest.mark.parametrize(("version", "status"), [("2022-11-28", 200), ("2026-03-10", 200), ("2022-11-29", 400)])
async def test_an_unknown_api_version_is_400(world: World, version: str, status: int):
    response = await world.api("/user", token(world), headers={"X-GitHub-Api-Version": version})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/users/x/y"), ("POST", "/user"), ("GET", "/login")]
)
async def test_what_is_not_modelled_is_404_as_json(world: World, method: str, path: str):
    response = await world.api(path, method=method)
    assert response.status_code == 404
    assert response.json()["message"] == "Not Found"


# -- headers ----------------------------------------------------------------------------------------------------


async def test_scopes_are_told_with_comma_and_space(world: World):
    response = await world.api("/user/repos", token(world, "repo", "gist"))
    assert response.headers["x-oauth-scopes"] == "repo, gist"
    assert response.headers["x-accepted-oauth-scopes"] == "repo"
    assert (await world.api("/user", token(world))).headers["x-accepted-oauth-scopes"] == ""


async def test_a_github_app_token_has_no_scopes_to_tell(world: World):
    app = world.github.register_app("An app", [CALLBACK], kind="github_app")
    response = await world.api("/user", world.github.issue_token(scopes=("repo",), app=app).access_token)
    assert response.status_code == 200
    assert "x-oauth-scopes" not in response.headers


async def test_every_answer_has_a_request_id_of_its_own(world: World):
    answers = [await world.api(path) for path in ("/user", "/user", "/nothing", "/rate_limit")]
    identifiers = {answer.headers["x-github-request-id"] for answer in answers}
    assert len(identifiers) == 4
    assert all(re.fullmatch(r"[0-9A-F]{4}:[0-9A-F]{6}:[0-9A-F]{7}:[0-9A-F]{8}", text) for text in identifiers)


async def test_an_unchanged_answer_is_304_and_free_of_quota(world: World):
    secret = token(world, "read:user")
    first = await world.api("/user", secret)
    etag = first.headers["etag"]
    second = await world.api("/user", secret, headers={"If-None-Match": etag})
    assert second.status_code == 304
    assert second.content == b""
    assert second.headers["etag"] == etag
    assert second.headers["x-ratelimit-used"] == first.headers["x-ratelimit-used"] == "1"
    for matching in (f'"other", {etag}', etag.removeprefix("W/"), "*"):
        assert (await world.api("/user", secret, headers={"If-None-Match": matching})).status_code == 304
    world.github.users["octocat"].bio = "changed"
    assert (await world.api("/user", secret, headers={"If-None-Match": etag})).status_code == 200


async def test_a_page_whose_neighbours_have_changed_is_not_called_unchanged(world: World):
    secret, query = token(world, "repo"), {"sort": "full_name", "per_page": 30}
    first = await world.api("/user/repos", secret, params=query)
    for number in range(60):
        world.github.add_repository("octocat", f"zz-{number:02}")
    known = {"If-None-Match": first.headers["etag"]}
    again = await world.api("/user/repos", secret, params=query, headers=known)
    assert (again.status_code, again.json()) == (200, first.json())
    assert links(again)["last"] != links(first)["last"]


# -- repositories -----------------------------------------------------------------------------------------------


async def test_the_list_holds_thirty_and_links_to_the_rest(world: World):
    secret = token(world, "repo")
    first = await world.api("/user/repos", secret)
    assert len(first.json()) == 30
    assert set(links(first)) == {"next", "last"}
    second = await world.send("GET", links(first)["next"], headers={"Authorization": f"Bearer {secret}"})
    assert set(links(second)) == {"prev", "first"}
    seen = [repository["id"] for page in (first, second) for repository in page.json()]
    assert len(seen) == len(set(seen)) == len(await names(world, secret))


async def test_links_keep_the_other_parameters(world: World):
    response = await world.api(
        "/user/repos", token(world, "repo"), params={"sort": "pushed", "per_page": 10, "page": 2}
    )
    assert links(response)["next"] == f"{API}/user/repos?sort=pushed&per_page=10&page=3"
    assert set(links(response)) == {"prev", "next", "last", "first"}


async def test_everything_on_one_page_has_no_link_header(world: World):
    response = await world.api("/user/repos", token(world, "repo"), params={"per_page": 100})
    assert "link" not in response.headers


async def test_per_page_is_at_most_a_hundred(world: World):
    for number in range(90):
        world.github.add_repository("octocat", f"extra-{number}")
    response = await world.api("/user/repos", token(world, "repo"), params={"per_page": 1000})
    assert len(response.json()) == 100
    assert "per_page=100&" in links(response)["next"]


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1" * 12])
async def test_numbers_that_make_no_sense_count_as_not_given(world: World, value: str):
    response = await world.api("/user/repos", token(world, "repo"), params={"per_page": value, "page": value})
    assert len(response.json()) == 30


async def test_a_page_past_the_end_is_empty_and_leads_back(world: World):
    response = await world.api("/user/repos", token(world, "repo"), params={"page": 9})
    assert response.json() == []
    assert "page=2" in links(response)["prev"]


async def test_private_repositories_need_the_scope_repo(world: World):
    everything = await names(world, token(world, "repo"))
    assert len(await names(world, token(world, "repo"), visibility="private")) > 5
    for scopes in ((), ("read:user",), ("public_repo",), ("user", "gist")):
        secret = token(world, *scopes)
        assert await names(world, secret, visibility="private") == []
        assert set(await names(world, secret)) < set(everything)


@pytest.mark.parametrize(
    ("query", "affiliations", "private"),
    [
        ({}, {"owner", "collaborator", "organization_member"}, {True, False}),
        ({"affiliation": "owner"}, {"owner"}, {True, False}),
        ({"affiliation": "collaborator,organization_member"}, {"collaborator", "organization_member"}, {True, False}),
        ({"affiliation": "owner", "visibility": "public"}, {"owner"}, {False}),
        ({"visibility": "private"}, {"owner", "collaborator", "organization_member"}, {True}),
        ({"type": "all"}, {"owner", "collaborator", "organization_member"}, {True, False}),
        ({"type": "owner"}, {"owner"}, {True, False}),
        ({"type": "member"}, {"collaborator", "organization_member"}, {True, False}),
        ({"type": "public"}, {"owner", "collaborator", "organization_member"}, {False}),
        ({"type": "private"}, {"owner", "collaborator", "organization_member"}, {True}),
    ],
)
async def test_filters(world: World, query: dict[str, str], affiliations: set[str], private: set[bool]):
    expected = {
        repository.full_name
        for repository in world.github.repositories
        if repository.affiliations.get("octocat") in affiliations and repository.private in private
    }
    assert set(await names(world, token(world, "repo"), **query)) == expected
    assert expected


@pytest.mark.parametrize(
    ("query", "field", "descending"),
    [
        ({}, "full_name", False),
        ({"direction": "desc"}, "full_name", True),
        ({"sort": "created"}, "created_at", True),
        ({"sort": "updated"}, "updated_at", True),
        ({"sort": "pushed", "direction": "asc"}, "pushed_at", False),
    ],
)
async def test_order(world: World, query: dict[str, str], field: str, descending: bool):
    response = await world.api("/user/repos", token(world, "repo"), params={"per_page": 100} | query)
    values = [repository[field] for repository in response.json()]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize(
    "query",
    [{"type": "owner", "visibility": "all"}, {"type": "owner", "affiliation": "owner"}],
)
async def test_type_next_to_visibility_or_affiliation_is_422(world: World, query: dict[str, str]):
    response = await world.api("/user/repos", token(world, "repo"), params=query)
    assert response.status_code == 422
    assert "cannot specify type" in response.json()["message"]
    assert response.json()["status"] == "422"


@pytest.mark.parametrize("field", ["visibility", "affiliation", "type", "sort", "direction"])
async def test_a_value_that_does_not_exist_is_422_and_names_the_field(world: World, field: str):
    response = await world.api("/user/repos", token(world, "repo"), params={field: "nonsense"})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_a_repository_says_who_owns_it_and_what_its_reader_may_do(world: World):
    response = await world.api("/user/repos", token(world, "repo"), params={"per_page": 100})
    by_name = {repository["full_name"]: repository for repository in response.json()}
    hello = by_name["octocat/hello-world"]
    assert hello["html_url"] == "https://github.com/octocat/hello-world"
    assert hello["permissions"] == {"admin": True, "maintain": True, "push": True, "triage": True, "pull": True}
    assert (hello["private"], hello["visibility"]) == (False, "public")
    shared = next(repository for name, repository in by_name.items() if name.startswith("octo-org/"))
    assert shared["owner"]["type"] == "Organization"
    assert shared["permissions"] == {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True}


# -- limits -----------------------------------------------------------------------------------------------------


async def test_an_answer_says_what_is_left_and_when_it_is_reset(world: World):
    response = await world.api("/user", token(world))
    told = {name.removeprefix("x-ratelimit-"): value for name, value in response.headers.items() if "ratelimit" in name}
    told.pop("access-control-expose-headers", None)
    assert told == {
        "limit": "5000",
        "remaining": "4999",
        "used": "1",
        "reset": str(int(EPOCH) + 3600),
        "resource": "core",
    }


@pytest.mark.parametrize("status", [403, 429])
async def test_the_primary_limit_refuses_until_it_is_reset(world: World, status: int):
    world.github.knobs.rate_limit = 2
    world.github.knobs.rate_limit_status = status
    secret, same_user = token(world), token(world, "gist")
    await world.api("/user", secret)
    await world.api("/user", same_user)
    refused = await world.api("/user", secret)
    assert refused.status_code == status
    assert refused.json()["message"].startswith("API rate limit exceeded for user ID 583231")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert "retry-after" not in refused.headers
    assert (await world.api("/user", token(world, user="hubot"))).status_code == 200
    world.clock.advance(hours=1)
    assert (await world.api("/user", token(world))).status_code == 200


async def test_anonymous_requests_have_a_limit_of_their_own(world: World):
    world.github.knobs.rate_limit_anonymous = 1
    assert (await world.api("/user")).status_code == 401
    assert (await world.api("/user")).status_code == 403
    assert (await world.api("/user", token(world))).status_code == 200


async def test_rate_limit_tells_the_quota_and_costs_nothing(world: World):
    secret = token(world)
    await world.api("/user", secret)
    for _ in range(3):
        response = await world.api("/rate_limit", secret)
    assert response.json()["resources"]["core"] == {
        "limit": 5000,
        "used": 1,
        "remaining": 4999,
        "reset": int(EPOCH) + 3600,
    }
    assert (await world.api("/rate_limit")).json()["rate"]["limit"] == 60


@pytest.mark.parametrize("retry_after", [60, None])
async def test_the_secondary_limit_refuses_bursts_with_or_without_retry_after(world: World, retry_after: int | None):
    world.github.knobs.secondary_limit = 2
    world.github.knobs.secondary_retry_after = retry_after
    secret = token(world)
    assert [(await world.api("/user", secret)).status_code for _ in range(2)] == [200, 200]
    refused = await world.api("/user", secret)
    assert refused.status_code == 403
    assert "secondary rate limit" in refused.json()["message"]
    assert refused.headers.get("retry-after") == (None if retry_after is None else "60")
    assert int(refused.headers["x-ratelimit-remaining"]) > 0
    world.clock.advance(seconds=60)
    assert (await world.api("/user", secret)).status_code == 200


# -- addresses and organizations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["user", "user:email"])
async def test_the_addresses_of_a_user_say_which_is_primary_and_which_are_verified(world: World, scope: str):
    response = await world.api("/user/emails", token(world, scope))
    assert response.headers["x-accepted-oauth-scopes"] == "user, user:email"
    assert response.json() == [
        {"email": "octocat@example.com", "primary": True, "verified": True, "visibility": "public"},
        {"email": "octocat@octo-org.example", "primary": False, "verified": False, "visibility": None},
        {
            "email": "583231+octocat@users.noreply.github.com",
            "primary": False,
            "verified": True,
            "visibility": None,
        },
    ]


async def test_a_user_without_a_public_address_has_a_private_one(world: World):
    secret = token(world, "user", user="hubot")
    assert (await world.api("/user", secret)).json()["email"] is None
    primary = (await world.api("/user/emails", secret)).json()[0]
    assert primary == {"email": "hubot@example.com", "primary": True, "verified": True, "visibility": "private"}


async def test_a_user_whose_address_is_not_verified_says_so(world: World):
    world.github.add_user("newcomer", email="new@example.com", email_verified=False)
    primary = (await world.api("/user/emails", token(world, "user:email", user="newcomer"))).json()[0]
    assert (primary["email"], primary["verified"]) == ("new@example.com", False)


@pytest.mark.parametrize("scopes", [(), ("read:user",), ("repo",)])
async def test_the_addresses_do_not_exist_for_a_token_without_their_scope(world: World, scopes: tuple[str, ...]):
    response = await world.api("/user/emails", token(world, *scopes))
    assert (response.status_code, response.json()["message"]) == (404, "Not Found")
    assert response.headers["x-accepted-oauth-scopes"] == "user, user:email"
    assert response.headers["x-ratelimit-used"] == "1"


@pytest.mark.parametrize("scope", ["read:org", "write:org", "admin:org", "user"])
async def test_the_organizations_of_a_user_are_listed_with_the_scope_for_it(world: World, scope: str):
    response = await world.api("/user/orgs", token(world, scope))
    assert [organization["login"] for organization in response.json()] == ["octo-org"]
    assert (await world.api("/user/orgs", token(world, scope, user="monalisa"))).json() == []


@pytest.mark.parametrize("scopes", [(), ("read:user",), ("repo",)])
async def test_the_organizations_are_refused_without_a_scope_for_them(world: World, scopes: tuple[str, ...]):
    response = await world.api("/user/orgs", token(world, *scopes))
    assert response.status_code == 403
    assert response.json()["message"].startswith("You need at least read:org scope or user scope")
    assert "read:org" in response.headers["x-accepted-oauth-scopes"]


async def test_a_github_app_sees_neither_addresses_nor_organizations(world: World):
    app = world.github.register_app("An app", [CALLBACK], kind="github_app")
    secret = world.github.issue_token(app=app).access_token
    refused = await world.api("/user/emails", secret)
    assert (refused.status_code, refused.json()["message"]) == (403, "Resource not accessible by integration")
    assert (await world.api("/user/orgs", secret)).json() == []


@pytest.mark.parametrize("path", ["/user/emails", "/user/orgs"])
async def test_what_is_ones_own_needs_a_token(world: World, path: str):
    assert (await world.api(path)).json()["message"] == "Requires authentication"
    assert (await world.api(path, "unknown")).json()["message"] == "Bad credentials"


async def test_only_public_members_are_told_to_others(world: World):
    assert [one["login"] for one in (await world.api("/users/octocat/orgs")).json()] == ["octo-org"]
    assert (await world.api("/users/hubot/orgs")).json() == []


# -- what everybody may read --------------------------------------------------------------------------------------


async def test_a_profile_is_public_and_capitals_do_not_matter(world: World):
    response = await world.api("/users/OctoCat")
    assert (response.status_code, response.json()["login"]) == (200, "octocat")
    assert "plan" not in response.json()
    assert response.headers["x-ratelimit-limit"] == "60"


async def test_an_address_is_shown_to_those_who_are_signed_in_only(world: World):
    assert (await world.api("/users/octocat")).json()["email"] is None
    assert (await world.api("/users/octocat", token(world))).json()["email"] == "octocat@example.com"


async def test_an_organization_is_an_account_too(world: World):
    account, organization = (await world.api("/users/octo-org")).json(), (await world.api("/orgs/octo-org")).json()
    assert account["type"] == organization["type"] == "Organization"
    assert account["id"] == organization["id"]


@pytest.mark.parametrize("path", ["/users/octocat", "/repos/octocat/hello-world", "/meta", "/orgs/octo-org"])
async def test_wrong_credentials_are_refused_even_where_none_are_needed(world: World, path: str):
    assert (await world.api(path)).status_code == 200
    assert (await world.api(path, "unknown")).status_code == 401


@pytest.mark.parametrize(
    "path", ["/users/nobody", "/users/nobody/repos", "/users/octo-org/orgs", "/orgs/octocat", "/repos/octocat/nothing"]
)
async def test_what_does_not_exist_is_404(world: World, path: str):
    response = await world.api(path)
    assert (response.status_code, response.json()["status"]) == (404, "404")


async def test_a_private_repository_exists_for_its_people_with_the_scope_repo_only(world: World):
    world.github.add_repository("octocat", "diary", private=True)
    path = "/repos/Octocat/Diary"
    found = await world.api(path, token(world, "repo"))
    assert (found.json()["full_name"], found.json()["visibility"]) == ("octocat/diary", "private")
    others = [None, token(world, "public_repo"), token(world, "user"), token(world, "repo", user="hubot")]
    assert [(await world.api(path, secret)).status_code for secret in others] == [404] * 4


async def test_a_repository_tells_a_stranger_no_permissions(world: World):
    path = "/repos/octocat/hello-world"
    assert not {"permissions", "security_and_analysis", "allow_squash_merge"} & set((await world.api(path)).json())
    guest = (await world.api(path, token(world, user="hubot"))).json()
    assert guest["permissions"]["pull"]
    assert not guest["permissions"]["push"]
    assert "allow_squash_merge" not in guest


async def test_the_repositories_of_an_account_are_its_own_public_ones(world: World):
    async def listed(path: str, **query: str) -> set[tuple[str, bool]]:
        found = (await world.api(path, params={"per_page": 100} | query)).json()
        return {(one["owner"]["login"], one["private"]) for one in found}

    assert await listed("/users/monalisa/repos") == {("monalisa", False)}
    assert await listed("/users/octocat/repos", type="member") == {("monalisa", False), ("octo-org", False)}
    assert await listed("/users/hubot/repos", type="all") == {("hubot", False), ("octo-org", False)}
    assert await listed("/users/octo-org/repos") == {("octo-org", False)}
    assert (await world.api("/users/hubot/repos", params={"type": "private"})).status_code == 422


async def test_pages_of_others_repositories_link_on(world: World):
    response = await world.api("/users/octocat/repos", params={"per_page": 5})
    assert links(response)["next"] == f"{API}/users/octocat/repos?per_page=5&page=2"


async def test_a_change_is_dated_and_the_date_spares_the_quota(world: World):
    secret = token(world)
    first = await world.api("/users/hubot", secret)
    assert first.headers["last-modified"] == "Mon, 05 Jan 2026 09:00:00 GMT"
    asked = {"If-Modified-Since": first.headers["last-modified"]}
    assert (await world.api("/users/hubot", secret, headers=asked)).status_code == 304
    # RFC 9110 section 13.1.3: a tag counts for more than a date.
    assert (await world.api("/users/hubot", secret, headers=asked | {"If-None-Match": '"x"'})).status_code == 200


@pytest.mark.parametrize(("version", "has"), [(None, True), ("2022-11-28", True), ("2026-03-10", False)])
async def test_a_later_version_leaves_out_what_it_took_away(world: World, version: str | None, has: bool):
    headers = {"X-GitHub-Api-Version": version} if version else {}
    repository = await world.api("/repos/octocat/hello-world", headers=headers)
    listed = await world.api("/users/octocat/repos", headers=headers)
    assert {("has_downloads" in body) for body in (repository.json(), *listed.json())} == {has}
    assert ("rate" in (await world.api("/rate_limit", headers=headers)).json()) == has
    assert repository.headers["x-github-api-version-selected"] == (version or "2022-11-28")


async def test_a_browser_on_another_origin_may_call_every_address(world: World):
    for path in ("/user", "/nothing"):
        response = await world.api(path, method="OPTIONS", headers={"Origin": "https://example.com"})
        assert (response.status_code, response.content) == (204, b"")
        assert "Authorization" in response.headers["access-control-allow-headers"]
        assert response.headers["access-control-allow-origin"] == "*"
