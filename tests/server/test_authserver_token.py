"""The token and revocation endpoints: wrong variants, single use, rotation, the end of a family."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from authserver_world import CALLBACK, PUBLIC_URL, RESOURCE, World
from key_value.aio.stores.memory import MemoryStore
from mcp.server.auth.provider import TokenError

from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.server.authserver import Rates

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def is_refusal(response: httpx.Response, status: int, error: str) -> bool:
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"
    assert response.headers["content-type"] == "application/json"
    # RFC 6749 section 5.2: the way to authenticate is named.
    assert response.headers.get("www-authenticate") == ('Basic realm="client"' if status == 401 else None)
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    return set(response.json()) == {"error", "error_description"}


CODE_REQUESTS = {
    "no grant type": ({"grant_type": None}, 400, "invalid_request"),
    "the password grant": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "the device grant": ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, 400, "unsupported_grant_type"),
    "no client": ({"client_id": None}, 401, "invalid_client"),
    "an unknown client": ({"client_id": "nobody"}, 401, "invalid_client"),
    "another client": ({"client_id": "poster", "client_secret": "poster-secret"}, 400, "invalid_grant"),
    "no code": ({"code": None}, 400, "invalid_request"),
    "another code": ({"code": "x" * 43}, 400, "invalid_grant"),
    "no redirect URI": ({"redirect_uri": None}, 400, "invalid_grant"),
    "another redirect URI": ({"redirect_uri": "http://127.0.0.1:5001/cb"}, 400, "invalid_grant"),
    "no verifier": ({"code_verifier": None}, 400, "invalid_request"),
    "another verifier": ({"code_verifier": "w" * 43}, 400, "invalid_grant"),
    "a short verifier": ({"code_verifier": "v" * 42}, 400, "invalid_grant"),
    "a long verifier": ({"code_verifier": "v" * 129}, 400, "invalid_grant"),
    "the base URL": ({"resource": PUBLIC_URL}, 400, "invalid_target"),
    "another server": ({"resource": "https://other.example/mcp"}, 400, "invalid_target"),
}


@pytest.mark.parametrize(("changes", "status", "error"), CODE_REQUESTS.values(), ids=CODE_REQUESTS)
async def test_a_wrong_code_exchange_gives_nothing_and_leaves_the_code_to_its_client(
    world: World, changes: dict[str, str | None], status: int, error: str
) -> None:
    code = await world.code()
    response = await world.http.post("/token", data=world.exchange(code, **changes))
    assert is_refusal(response, status, error)
    assert await world.stored("access", "refresh", "families", "upstream", "used") == 0
    assert (await world.http.post("/token", data=world.exchange(code))).status_code == 200


@pytest.mark.parametrize("name", ["grant_type", "client_id", "code", "redirect_uri", "code_verifier", "resource"])
async def test_a_repeated_parameter_is_refused(world: World, name: str) -> None:
    fields = world.exchange(await world.code())
    response = await world.http.post("/token", data={**fields, name: [fields[name], fields[name]]})
    assert is_refusal(response, 400, "invalid_request")
    assert await world.stored("access") == 0


async def test_a_header_for_one_client_does_not_speak_for_another_that_the_form_names(world: World) -> None:
    code = await world.code()
    fields = world.exchange(code, client_id="shop")
    response = await world.http.post("/token", data=fields, headers=basic("desk", "x"))
    assert is_refusal(response, 401, "invalid_client")


BODIES = {
    "JSON": {"json": {"grant_type": "authorization_code"}},
    "multipart": {"files": {"grant_type": (None, "authorization_code")}},
    "no label": {"content": b"grant_type=authorization_code"},
    "not percent-encoded": {
        "content": "code=ü".encode(),
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    },
}


@pytest.mark.parametrize("options", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", ["/token", "/revoke"])
async def test_anything_but_a_form_is_refused(world: World, path: str, options: dict[str, Any]) -> None:
    assert is_refusal(await world.http.post(path, **options), 400, "invalid_request")


@pytest.mark.parametrize("path", ["/token", "/revoke"])
async def test_parameters_in_the_url_are_refused(world: World, path: str) -> None:
    response = await world.http.post(f"{path}?client_id=desk", data={"token": "x"})
    assert is_refusal(response, 400, "invalid_request")


async def test_a_body_over_the_limit_is_not_read(world: World) -> None:
    response = await world.http.post("/token", data={"x": "y" * 70_000})
    assert response.status_code == 413


async def test_get_is_no_method_for_a_token(world: World) -> None:
    assert (await world.http.get("/token")).status_code == 405


async def test_a_token_is_bound_to_person_client_resource_and_time(world: World) -> None:
    tokens = await world.tokens(scope="read:user repo")
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert (access.client_id, access.subject, access.resource) == ("desk", "octocat", RESOURCE)
    assert access.scopes == ["read:user", "repo"]
    assert access.expires_at == int(world.clock.now()) + 3600
    assert access.claims is not None
    assert access.claims["iss"] == PUBLIC_URL
    world.clock.advance(3600)
    assert await world.server.verify_token(tokens["access_token"]) is None


async def test_a_token_is_good_for_as_long_as_the_client_was_told(world: World) -> None:
    world.clock.advance(0.9)
    tokens = await world.tokens()
    end = world.clock.now() + tokens["expires_in"]
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert access.expires_at is not None
    assert end <= access.expires_at < end + 1


async def test_a_worker_that_has_seen_a_token_learns_of_its_end_at_another(world: World) -> None:
    tokens = await world.tokens()
    other = world.worker()
    assert await other.verify_token(tokens["access_token"]) is not None
    await world.http.post("/revoke", data={"token": tokens["refresh_token"], "client_id": "desk"})
    assert await other.verify_token(tokens["access_token"]) is None


async def test_tokens_beyond_those_kept_at_hand_are_read_again(world: World) -> None:
    grants = world.server._grants
    access = await grants.verify((await world.tokens())["access_token"])
    assert access is not None
    assert access.claims is not None
    family = await grants._family(access.claims["grant"])
    assert family is not None
    issued = [await grants._issue(family, []) for _ in range(1001)]
    for tokens in [*issued, issued[0]]:
        assert await world.server.verify_token(tokens.access_token) is not None
    assert len(grants._access_records) == 1000
    # The newest are those that are kept.
    assert hashlib.sha256(issued[-1].access_token.encode()).digest() in grants._access_records


async def test_tokens_are_secrets_from_the_moment_they_are_made_or_shown(world: World) -> None:
    tokens = await world.tokens()
    assert await world.server.verify_token("shown-by-nobody") is None
    text = scrub(f"{tokens['access_token']} {tokens['refresh_token']} shown-by-nobody")
    assert tokens["access_token"] not in text
    assert tokens["refresh_token"] not in text
    assert "shown-by-nobody" not in text


@pytest.mark.parametrize("token", ["", "x", "mcp_" + "x" * 43, "ü"])
async def test_anything_else_is_no_token(world: World, token: str) -> None:
    assert await world.server.verify_token(token) is None


async def test_neither_a_refresh_token_nor_githubs_opens_anything_here(world: World) -> None:
    tokens = await world.tokens()
    assert await world.server.verify_token(tokens["refresh_token"]) is None
    assert await world.server.verify_token(await world.upstream(tokens)) is None


async def test_a_request_without_scope_gets_the_default(world: World) -> None:
    assert (await world.tokens(scope=None))["scope"] == "read:user"


# -- codes ---------------------------------------------------------------------------------------------------------


async def test_a_code_lives_a_minute(world: World) -> None:
    code = await world.code()
    world.clock.advance(60)
    assert is_refusal(await world.http.post("/token", data=world.exchange(code)), 400, "invalid_grant")
    code = await world.code()
    world.clock.advance(59.9)
    assert (await world.http.post("/token", data=world.exchange(code))).status_code == 200


async def test_a_code_is_for_one_resource_whoever_asks(world: World) -> None:
    # The token endpoint has compared them already; the grants do not rely on that.
    code = await world.code()
    loaded = await world.server._grants.load_code("desk", code)
    assert loaded is not None
    with pytest.raises(TokenError) as caught:
        await world.server._grants.redeem(loaded, "https://other.example/mcp")
    assert caught.value.error == "invalid_target"
    assert (await world.http.post("/token", data=world.exchange(code))).status_code == 200


async def test_a_refresh_token_stands_for_what_the_person_agreed_to(world: World) -> None:
    tokens = await world.tokens(scope="read:user repo")
    refresh = await world.server._grants.load_refresh("desk", tokens["refresh_token"])
    assert refresh is not None
    assert (refresh.client_id, refresh.subject, refresh.resource) == ("desk", "octocat", RESOURCE)
    assert refresh.scopes == ["read:user", "repo"]


async def test_a_grant_that_ends_while_it_is_refreshed_gives_no_tokens(world: World) -> None:
    tokens = await world.tokens()
    refresh = await world.server._grants.load_refresh("desk", tokens["refresh_token"])
    assert refresh is not None
    await world.server._grants.end(refresh.family)
    with pytest.raises(TokenError) as caught:
        await world.server._grants.rotate(refresh, refresh.scopes)
    assert caught.value.error == "invalid_grant"
    assert await world.stored("refresh") == 1


async def test_of_all_who_end_a_grant_one_did(world: World) -> None:
    access = await world.server.verify_token((await world.tokens())["access_token"])
    assert access is not None
    assert access.claims is not None
    grants, family = world.server._grants, access.claims["grant"]
    assert [await grants.is_alive(family), await grants.end(family), await grants.end(family)] == [True, True, False]
    assert not await grants.is_alive(family)


async def test_a_code_that_comes_again_revokes_what_it_gave_here_and_at_github(world: World) -> None:
    code = await world.code()
    tokens = (await world.http.post("/token", data=world.exchange(code))).json()
    upstream = await world.upstream(tokens)
    assert is_refusal(await world.http.post("/token", data=world.exchange(code)), 400, "invalid_grant")
    assert await world.server.verify_token(tokens["access_token"]) is None
    refresh = world.refreshing(tokens["refresh_token"])
    assert is_refusal(await world.http.post("/token", data=refresh), 400, "invalid_grant")
    assert not await world.is_good_at_github(upstream)


async def test_another_client_cannot_end_a_grant_with_its_code(world: World) -> None:
    code = await world.code()
    tokens = (await world.http.post("/token", data=world.exchange(code))).json()
    other = world.exchange(code, client_id="poster", client_secret="poster-secret")
    assert is_refusal(await world.http.post("/token", data=other), 400, "invalid_grant")
    assert await world.server.verify_token(tokens["access_token"]) is not None


async def test_of_many_at_once_at_two_workers_at_most_one_gets_tokens_and_then_they_are_dead(world: World) -> None:
    code = await world.code()
    workers = [world.client_of(world.worker()), world.client_of(world.worker())]
    answers: list[httpx.Response] = []

    async def exchange(client: httpx.AsyncClient) -> None:
        answers.append(await client.post("/token", data=world.exchange(code)))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(exchange, workers[number % 2])
    given = [response for response in answers if response.status_code == 200]
    assert len(given) <= 1
    for response in given:
        assert await world.server.verify_token(response.json()["access_token"]) is None
    assert await world.stored("families", "upstream") == 0


# -- refresh -------------------------------------------------------------------------------------------------------


async def test_a_refresh_gives_two_new_tokens(world: World) -> None:
    first = await world.tokens()
    second = (await world.http.post("/token", data=world.refreshing(first["refresh_token"]))).json()
    assert len({first["access_token"], first["refresh_token"], second["access_token"], second["refresh_token"]}) == 4
    assert await world.server.verify_token(second["access_token"]) is not None


async def test_a_refresh_token_that_comes_again_ends_the_family(world: World) -> None:
    first = await world.tokens()
    upstream = await world.upstream(first)
    second = (await world.http.post("/token", data=world.refreshing(first["refresh_token"]))).json()
    again = await world.http.post("/token", data=world.refreshing(first["refresh_token"]))
    assert is_refusal(again, 400, "invalid_grant")
    assert await world.server.verify_token(second["access_token"]) is None
    assert await world.server.verify_token(first["access_token"]) is None
    successor = await world.http.post("/token", data=world.refreshing(second["refresh_token"]))
    assert is_refusal(successor, 400, "invalid_grant")
    assert not await world.is_good_at_github(upstream)


async def test_of_many_refreshes_at_once_at_most_one_is_answered(world: World) -> None:
    tokens = await world.tokens()
    workers = [world.client_of(world.worker()), world.client_of(world.worker())]
    answers: list[int] = []

    async def refresh(client: httpx.AsyncClient) -> None:
        response = await client.post("/token", data=world.refreshing(tokens["refresh_token"]))
        answers.append(response.status_code)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(refresh, workers[number % 2])
    assert answers.count(200) <= 1
    assert await world.stored("families") == 0


REFRESHES = {
    "no token": ({"refresh_token": None}, 400, "invalid_request"),
    "another token": ({"refresh_token": "mcp_" + "x" * 43}, 400, "invalid_grant"),
    "another client": ({"client_id": "poster", "client_secret": "poster-secret"}, 400, "invalid_grant"),
    "another resource": ({"resource": "https://other.example/mcp"}, 400, "invalid_target"),
    "a scope that was not granted": ({"scope": "read:user repo"}, 400, "invalid_scope"),
    "an unknown scope": ({"scope": "admin"}, 400, "invalid_scope"),
}


@pytest.mark.parametrize(("changes", "status", "error"), REFRESHES.values(), ids=REFRESHES)
async def test_a_wrong_refresh_gives_nothing_and_uses_nothing_up(
    world: World, changes: dict[str, str | None], status: int, error: str
) -> None:
    tokens = await world.tokens()
    response = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"], **changes))
    assert is_refusal(response, status, error)
    assert await world.stored("access") == 1
    assert (await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))).status_code == 200


async def test_an_access_token_may_be_narrower_and_the_refresh_token_stays_wide(world: World) -> None:
    tokens = await world.tokens(scope="read:user repo")
    narrow = (await world.http.post("/token", data=world.refreshing(tokens["refresh_token"], scope="repo"))).json()
    assert narrow["scope"] == "repo"
    wide = (await world.http.post("/token", data=world.refreshing(narrow["refresh_token"]))).json()
    assert wide["scope"] == "read:user repo"


async def test_a_family_ends_thirty_days_after_consent_however_often_it_was_refreshed(world: World) -> None:
    tokens = await world.tokens()
    world.clock.advance(days=30, seconds=-600)
    tokens = (await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))).json()
    assert tokens["expires_in"] == 600
    world.clock.advance(600)
    late = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert is_refusal(late, 400, "invalid_grant")


# -- client authentication -----------------------------------------------------------------------------------------

SHOP = {"client_id": "shop", "redirect_uri": "https://shop.example/cb"}


async def test_basic_needs_no_client_id_in_the_body(world: World) -> None:
    fields = world.exchange(await world.code(**SHOP), client_id=None, redirect_uri=SHOP["redirect_uri"])
    response = await world.http.post("/token", data=fields, headers=basic("shop", "shop-secret"))
    assert response.status_code == 200


AUTHENTICATIONS = {
    "no header": ({}, {"client_id": "shop"}, 401, "invalid_client"),
    "a wrong secret": (basic("shop", "x"), {}, 401, "invalid_client"),
    "another client's": (basic("poster", "poster-secret"), {"client_id": "shop"}, 401, "invalid_client"),
    "an empty secret": (basic("shop", ""), {}, 401, "invalid_client"),
    "the secret in the body": ({}, {"client_id": "shop", "client_secret": "shop-secret"}, 401, "invalid_client"),
    "both ways": (basic("shop", "shop-secret"), {"client_secret": "shop-secret"}, 400, "invalid_request"),
    "not base64": ({"Authorization": "Basic ***"}, {"client_id": "shop"}, 401, "invalid_client"),
    "no colon": ({"Authorization": "Basic c2hvcA=="}, {}, 401, "invalid_client"),
    "a bearer token": ({"Authorization": "Bearer x"}, {"client_id": "shop"}, 401, "invalid_client"),
}


@pytest.mark.parametrize(("headers", "changes", "status", "error"), AUTHENTICATIONS.values(), ids=AUTHENTICATIONS)
async def test_a_client_that_cannot_prove_itself_gets_nothing(
    world: World, headers: dict[str, str], changes: dict[str, str | None], status: int, error: str
) -> None:
    fields = world.exchange(
        await world.code(**SHOP), **{"client_id": None, "redirect_uri": SHOP["redirect_uri"], **changes}
    )
    assert is_refusal(await world.http.post("/token", data=fields, headers=headers), status, error)
    assert await world.stored("access") == 0


async def test_a_secret_in_the_body_works_for_its_client(world: World) -> None:
    code = await world.code(client_id="poster")
    right = world.exchange(code, client_id="poster", client_secret="poster-secret")
    wrong = world.exchange(code, client_id="poster", client_secret="x")
    assert is_refusal(await world.http.post("/token", data=wrong), 401, "invalid_client")
    assert (await world.http.post("/token", data=right)).status_code == 200


# -- what real clients leave out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", [None, "", RESOURCE + "/", RESOURCE.upper().replace("/MCP", "/mcp")])
async def test_no_resource_or_another_spelling_of_it_means_the_only_one_there_is(
    world: World, resource: str | None
) -> None:
    code = await world.code(resource=resource)
    tokens = (await world.http.post("/token", data=world.exchange(code, resource=resource))).json()
    refreshing = world.refreshing(tokens["refresh_token"], resource=resource)
    refreshed = (await world.http.post("/token", data=refreshing)).json()
    for token in (tokens["access_token"], refreshed["access_token"]):
        access = await world.server.verify_token(token)
        assert access is not None
        assert access.resource == RESOURCE


FAULTY: dict[str, dict[str, str | None]] = {
    "another resource": {"resource": "https://other.example/mcp"},
    "no grant": {"grant_type": ""},
    "an unknown grant": {"grant_type": "password"},
    "a grant that is not offered": {"grant_type": "client_credentials"},
    "no verifier": {"grant_type": "authorization_code", "code": "x" * 43, "redirect_uri": CALLBACK},
}


@pytest.mark.parametrize("changes", FAULTY.values(), ids=FAULTY)
async def test_a_client_that_is_not_known_is_told_so_before_anything_else(
    world: World, changes: dict[str, str | None]
) -> None:
    # RFC 6749 section 5.2: else it would never register again.
    unknown = world.refreshing("x" * 43, **{"client_id": "gone", **changes})
    assert is_refusal(await world.http.post("/token", data=unknown), 401, "invalid_client")
    unproven = world.refreshing("x" * 43, **{"client_id": "poster", "client_secret": "x", **changes})
    assert is_refusal(await world.http.post("/token", data=unproven), 401, "invalid_client")
    known = await world.http.post("/token", data=world.refreshing("x" * 43, **changes))
    assert (known.status_code, known.json()["error"] != "invalid_client") == (400, True)


BROUGHT: dict[str, Callable[[World, str], Awaitable[httpx.Response]]] = {
    **{
        name: lambda world, secret, name=name: world.http.post("/token", data={"client_id": "nobody", name: secret})  # type: ignore[misc]
        for name in ("refresh_token", "code", "code_verifier", "client_secret", "client_assertion", "assertion")
    },
    "a secret in the header": lambda world, secret: world.http.post("/token", headers=basic("nobody", secret)),
    "a quoted secret in the header": lambda world, secret: world.http.post(
        "/token", headers=basic("nobody", secret.replace("-", "%2D"))
    ),
    "a header that is no Base64": lambda world, secret: world.http.post(
        "/token", headers={"Authorization": f"Basic {secret}"}
    ),
    "a code that comes twice": lambda world, secret: world.http.post(
        "/token", content=f"code={secret}&code=x", headers={"Content-Type": "application/x-www-form-urlencoded"}
    ),
    "a code in the address": lambda world, secret: world.http.post("/token", params={"code": secret}),
    "a token to revoke": lambda world, secret: world.http.post("/revoke", data={"client_id": "desk", "token": secret}),
    "a token to revoke of nobody": lambda world, secret: world.http.post(
        "/revoke", data={"client_id": "nobody", "token": secret}
    ),
    "a state": lambda world, secret: world.http.get("/authorize", params=world.request(state=secret)),
    "a state of nobody": lambda world, secret: world.http.get("/authorize", params={"state": secret}),
    "a state in a form": lambda world, secret: world.http.post("/authorize", data={"state": secret}),
    "a cookie of another worker": lambda world, secret: world.http.get(
        "/authorize", params=world.request(), headers={"Cookie": f"mcp_consent={secret}"}
    ),
    "a code of the upstream": lambda world, secret: world.http.get("/oauth/callback", params={"code": secret}),
    "a state of the upstream": lambda world, secret: world.http.get("/oauth/callback", params={"state": secret}),
}


@pytest.mark.parametrize("name", BROUGHT)
async def test_what_a_request_brings_as_a_secret_is_masked_from_then_on_whatever_becomes_of_it(
    world: World, name: str
) -> None:
    # As long as a cookie of this server.
    secret = "brought-by-somebody-who-is-not-known-here-4"
    await BROUGHT[name](world, secret)
    assert secret not in scrub(f"somebody printed {secret}")


async def test_what_is_no_secret_in_a_request_stays_readable(world: World) -> None:
    told = "a-scope-that-nobody-has-heard-of"
    await world.http.post("/token", data={"client_id": told, "scope": told, "resource": told, "grant_type": told})
    await world.http.post("/token", headers=basic(told, "x" * 20))
    assert scrub(f"somebody printed {told}") == f"somebody printed {told}"


@pytest.mark.parametrize("verifier", ["v" * 42, "v" * 129, "v" * 42 + "!"])
async def test_a_verifier_that_is_none_is_refused_even_if_it_fits_the_challenge(world: World, verifier: str) -> None:
    # RFC 7636 section 4.1: a short one could be guessed.
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    code = await world.code(code_challenge=challenge)
    response = await world.http.post("/token", data=world.exchange(code, code_verifier=verifier))
    assert is_refusal(response, 400, "invalid_grant")


async def test_no_grant_is_offered_that_nobody_can_use(world: World) -> None:
    document = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    assert document["grant_types_supported"] == ["authorization_code", "refresh_token"]
    fields = {"grant_type": "client_credentials", "resource": RESOURCE}
    refused = await world.http.post("/token", data=fields, headers=basic("robot", "robot-secret"))
    assert is_refusal(refused, 400, "unsupported_grant_type")
    assert await world.stored() == 0


async def test_a_machine_has_no_use_for_a_code(world: World) -> None:
    fields = world.exchange("x" * 43, client_id=None)
    response = await world.http.post("/token", data=fields, headers=basic("robot", "robot-secret"))
    assert is_refusal(response, 400, "unauthorized_client")


# -- revocation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "something_else"])
async def test_revoking_either_token_ends_both_and_githubs(world: World, which: str, hint: str | None) -> None:
    tokens = await world.tokens()
    upstream = await world.upstream(tokens)
    fields = {"token": tokens[which], "client_id": "desk", **({"token_type_hint": hint} if hint else {})}
    response = await world.http.post("/revoke", data=fields)
    assert (response.status_code, response.content) == (200, b"")
    assert await world.server.verify_token(tokens["access_token"]) is None
    refreshed = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
    assert is_refusal(refreshed, 400, "invalid_grant")
    assert not await world.is_good_at_github(upstream)
    assert await world.stored("families", "upstream") == 0


async def test_an_unknown_token_counts_as_revoked(world: World) -> None:
    response = await world.http.post("/revoke", data={"token": "mcp_" + "x" * 43, "client_id": "desk"})
    assert response.status_code == 200


async def test_another_clients_token_is_left_alone(world: World) -> None:
    tokens = await world.tokens()
    for which in ("access_token", "refresh_token"):
        fields = {"token": tokens[which], "client_id": "poster", "client_secret": "poster-secret"}
        assert (await world.http.post("/revoke", data=fields)).status_code == 200
    assert await world.server.verify_token(tokens["access_token"]) is not None


REVOCATIONS = {
    "no token": ({"token": None}, 400, "invalid_request"),
    "no client": ({"client_id": None}, 401, "invalid_client"),
    "an unknown client": ({"client_id": "nobody"}, 401, "invalid_client"),
    "no secret": ({"client_id": "poster"}, 401, "invalid_client"),
}


@pytest.mark.parametrize(("changes", "status", "error"), REVOCATIONS.values(), ids=REVOCATIONS)
async def test_a_wrong_revocation_ends_nothing(
    world: World, changes: dict[str, str | None], status: int, error: str
) -> None:
    tokens = await world.tokens()
    wanted = {"token": tokens["access_token"], "client_id": "desk", **changes}
    fields = {name: value for name, value in wanted.items() if value is not None}
    assert is_refusal(await world.http.post("/revoke", data=fields), status, error)
    assert await world.server.verify_token(tokens["access_token"]) is not None


async def test_github_out_of_reach_does_not_keep_our_tokens_alive(world: World) -> None:
    tokens = await world.tokens()
    world.github.faults.next_api(status=503, times=5)
    fields = {"token": tokens["access_token"], "client_id": "desk"}
    assert (await world.http.post("/revoke", data=fields)).status_code == 200
    assert await world.server.verify_token(tokens["access_token"]) is None


async def test_too_many_token_requests_are_asked_to_wait() -> None:
    world = World(rates=Rates(token="1/minute"))
    await world.http.post("/token", data={})
    for path in ("/token", "/revoke"):
        response = await world.http.post(path, data={})
        assert is_refusal(response, 429, "temporarily_unavailable")
        assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_a_client_whose_store_is_away_is_told_that_nothing_was_changed() -> None:
    class Away(MemoryStore):
        async def get(self, *args: Any, **options: Any) -> None:
            raise StoreUnavailable("The store of a test does not answer.")

    world = World(kv=Away())
    for path, fields in (("/token", world.refreshing("x" * 43)), ("/revoke", {"token": "x", "client_id": "desk"})):
        response = await world.http.post(path, data=fields)
        assert is_refusal(response, 503, "temporarily_unavailable")
        assert response.headers["retry-after"] == "5"


async def test_a_browser_client_may_ask_from_any_page(world: World) -> None:
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, mcp-protocol-version",
    }
    response = await world.http.options("/token", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    refused = await world.http.post("/token", data={}, headers={"Origin": "https://page.example"})
    exposed = {name.strip().lower() for name in refused.headers["access-control-expose-headers"].split(",")}
    assert exposed == {"www-authenticate", "retry-after"}


async def test_no_token_is_a_key_or_a_readable_value_in_the_store(world: World) -> None:
    code = await world.code()
    tokens = (await world.http.post("/token", data=world.exchange(code, redirect_uri=CALLBACK))).json()
    upstream = await world.upstream(tokens)
    dump = repr({kind: cache._cache for kind, cache in world.kv._cache.items()})
    assert len(dump) > 1000
    for secret in (code, tokens["access_token"], tokens["refresh_token"], upstream, "octocat"):
        assert secret not in dump
