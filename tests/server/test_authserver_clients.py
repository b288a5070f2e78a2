"""Dynamic registration: what may be registered, and what is kept of it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from authserver_world import CALLBACK, PUBLIC_CLIENT, WEB_CLIENT, World, answer
from key_value.aio.stores.memory import MemoryStore
from mcp.shared.auth import InvalidRedirectUriError, InvalidScopeError, OAuthClientInformationFull
from pydantic import AnyUrl

from mcp_oauth_nb.oauth.errors import ConfigurationError, StoreUnavailable
from mcp_oauth_nb.oauth.masking import mask, scrub
from mcp_oauth_nb.server.authserver import Rates
from mcp_oauth_nb.server.authserver.clients import Client
from mcp_oauth_nb.server.authserver.redirects import answer_url, matches, problem_with

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


GOOD_NATIVE = [
    "http://127.0.0.1/cb",
    "http://127.0.0.1:5000/cb",
    "http://127.0.0.1",
    "http://[::1]:5000/cb",
    "http://localhost:3334/oauth/callback",
    "https://app.example/cb?tenant=1",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "com.example.app:/oauth",
]
BAD_NATIVE = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://app.example/x",
    "ftp://app.example/cb",
    "ms-msdt:/id",
    "http://app.example/cb",
    "http://127.0.0.1.evil.example/cb",
    "http://10.0.0.1/cb",
    "http://2130706433/cb",
    "http://0x7f.1/cb",
    "http://127.1/cb",
    "http://127.0.0.1:80/cb",
    "HTTP://127.0.0.1/cb",
    "https://APP.example/cb",
    "https://app.example:443/cb",
    "https://app.example/a/../cb",
    "https://app.example/cb#x",
    "https://user@app.example/cb",
    "https://*.example/cb",
    "https://a;script-src/cb",
    "https://a'b/cb",
    "https://[::1/cb",
    "x:",
    "https://app.example\\@evil.example/cb",
    "https:///cb",
    "https://app.example:x/cb",
    "https://app.example/a b",
    "https://app.example/\n",
    "https://exämple.example/cb",
    "/cb",
    "cb",
    "",
    "https://app.example/" + "x" * 2000,
]
BAD_WEB = ["http://127.0.0.1/cb", "http://localhost/cb", "com.example.app:/oauth", "http://app.example/cb"]


@pytest.mark.parametrize("uri", GOOD_NATIVE)
async def test_a_native_app_has_loopback_its_own_scheme_or_https(world: World, uri: str) -> None:
    assert problem_with(uri, "native") is None
    response = await world.http.post("/register", json={"redirect_uris": [uri]})
    assert response.status_code == 201
    assert response.json()["redirect_uris"] == [uri]
    assert response.json()["application_type"] == "native"


async def test_a_web_app_has_https(world: World) -> None:
    body = {"redirect_uris": ["https://app.example/cb"], "application_type": "web"}
    assert (await world.http.post("/register", json=body)).status_code == 201


@pytest.mark.parametrize(
    ("kind", "uri"), [*(("native", uri) for uri in BAD_NATIVE), *(("web", uri) for uri in [*BAD_WEB, *BAD_NATIVE])]
)
async def test_any_other_address_is_refused(world: World, kind: str, uri: str) -> None:
    body = {"redirect_uris": ["https://app.example/good", uri], "application_type": kind}
    response = await world.http.post("/register", json=body)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_redirect_uri"
    assert response.headers["cache-control"] == "no-store"
    assert not uri or uri in ("cb", "/cb") or uri not in response.text
    assert await world.stored() == 0


# More than one rule stops most of them. Each rule is seen to be the first that does.
WHY = {
    "characters": [
        "https://app.example/a b",
        "com.example.app:/a b",
        "https://app.example/a\\b",
        "https://app.example/a\x7fb",
        "https://app.example/é",
    ],
    "is too long": ["https://app.example/" + "x" * 1981],
    "not an absolute URI": ["/cb", "x:", "https:", "1x:/cb", "https://app.example:65536/cb"],
    "a scheme that is never a client's": ["javascript:alert(1)", "data:,*", "file:///etc/passwd#x"],
    "has a fragment": ["https://app.example/cb#", "com.example.app:/cb#x"],
    "has a user name": ["https://user@app.example/cb"],
    "has a wildcard": ["https://app.example/*", "com.example.app:/*"],
    "normal form": ["https://APP.example/cb", "https://256.256.256.256/cb", "https://app.example/./cb"],
    "no host": ["http://a'b/cb", "https://a;b/cb"],
    "must use https, except on 127.0.0.1": ["http://app.example/cb"],
}


@pytest.mark.parametrize(("why", "uri"), [(why, uri) for why, uris in WHY.items() for uri in uris])
def test_the_reason_names_the_rule_that_an_address_breaks(why: str, uri: str) -> None:
    problem = problem_with(uri, "native")
    assert problem is not None
    assert why in problem


HANDED_ON = (
    "smb nfs afp ldap ldaps jnlp jnlps feed mhtml mk res hcp help search rdp vnc applescript content itms-services "
    "microsoft-edge ms-officecmd ms-word ms-excel ms-settings ms-msdt ms-appinstaller ms-whatever-comes-next"
).split()


@pytest.mark.parametrize("scheme", HANDED_ON)
def test_no_client_is_what_the_operating_system_opens_by_such_a_scheme(scheme: str) -> None:
    assert problem_with(f"{scheme}:/cb", "native") == "has a scheme that is never a client's"


@pytest.mark.parametrize("scheme", ["msauth.com.example", "msal-app", "com.ms-example", "mself"])
def test_a_scheme_that_only_begins_like_one_of_windows_may_be_a_clients(scheme: str) -> None:
    assert problem_with(f"{scheme}:/cb", "native") is None


@pytest.mark.parametrize("uri", ["https://app.example/" + "x" * 1980, "x:/"])
def test_the_longest_and_the_shortest_address_that_are_allowed(uri: str) -> None:
    assert problem_with(uri, "native") is None


async def test_a_client_may_have_twenty_addresses(world: World) -> None:
    body = {"redirect_uris": [f"{CALLBACK}{number}" for number in range(20)]}
    assert (await world.http.post("/register", json=body)).status_code == 201


METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"redirect_uris": None}, "invalid_redirect_uri"),
    "an empty list": ({"redirect_uris": []}, "invalid_redirect_uri"),
    "not a list": ({"redirect_uris": CALLBACK}, "invalid_redirect_uri"),
    "not strings": ({"redirect_uris": [1]}, "invalid_redirect_uri"),
    "too many": ({"redirect_uris": [f"{CALLBACK}{n}" for n in range(21)]}, "invalid_redirect_uri"),
    "an unknown application type": ({"application_type": "service"}, "invalid_client_metadata"),
    "a scope that is no text": ({"scope": ["admin"]}, "invalid_client_metadata"),
    "a key for authentication": ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    "an unknown method": ({"token_endpoint_auth_method": "magic"}, "invalid_client_metadata"),
    "no code grant": ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
    "the token response": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "a long name": ({"client_name": "x" * 101}, "invalid_client_metadata"),
    "a name that turns the text round": ({"client_name": "a\u202eb"}, "invalid_client_metadata"),
    "a name on two lines": ({"client_name": "a\nb"}, "invalid_client_metadata"),
    "a script for a homepage": ({"client_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
    "a script for a logo": ({"logo_uri": "data:image/svg+xml,x"}, "invalid_client_metadata"),
}


@pytest.mark.parametrize(("changes", "error"), METADATA.values(), ids=METADATA)
async def test_metadata_that_breaks_a_rule_is_refused(world: World, changes: dict[str, Any], error: str) -> None:
    response = await world.http.post("/register", json={"redirect_uris": [CALLBACK], **changes})
    assert response.status_code == 400
    assert response.json()["error"] == error
    assert await world.stored() == 0


RAW = {
    "not JSON": b"redirect_uris=x",
    "an array": b"[]",
    "a repeated key": b'{"redirect_uris": ["https://a.example/"], "redirect_uris": ["https://b.example/"]}',
    "not UTF-8": b'{"client_name": "\xff"}',
    "deep": b"[" * 50_000,
    "empty": b"",
    "half a character": b'{"redirect_uris": ["https://a.example/"], "software_id": "\\ud800"}',
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
async def test_a_body_that_is_no_json_object_is_refused(world: World, body: bytes) -> None:
    response = await world.http.post("/register", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_client_metadata"
    assert await world.stored() == 0


async def test_only_json_is_taken(world: World) -> None:
    response = await world.http.post("/register", data={"redirect_uris": CALLBACK})
    assert response.status_code == 400


@pytest.mark.parametrize("label", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"])
async def test_json_is_known_however_its_label_is_written(world: World, label: str) -> None:
    body = json.dumps({"redirect_uris": [CALLBACK]})
    response = await world.http.post("/register", content=body, headers={"Content-Type": label})
    assert response.status_code == 201
    assert response.headers["pragma"] == "no-cache"


async def test_a_registration_without_a_label_is_refused_and_not_kept_by_anybody_between(world: World) -> None:
    response = await world.http.post("/register", content=json.dumps({"redirect_uris": [CALLBACK]}))
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert (response.headers["cache-control"], response.headers["pragma"]) == ("no-store", "no-cache")


async def test_a_huge_registration_is_not_read(world: World) -> None:
    response = await world.http.post("/register", json={"redirect_uris": [CALLBACK], "x": "y" * 70_000})
    assert response.status_code == 413


async def test_grants_that_a_stranger_may_not_have_are_taken_out(world: World) -> None:
    body = {
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials", "password"],
    }
    response = await world.http.post("/register", json=body)
    assert response.json()["grant_types"] == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("read:user admin offline_access repo", "read:user repo"),
        ("admin", "read:user"),
        ("repo", "repo"),
        ("", "read:user"),
    ],
)
async def test_scopes_that_there_are_not_are_left_out_of_the_answer_to_a_registration(
    world: World, asked: str, told: str
) -> None:
    # RFC 7591 section 3.2.1: the answer says what was registered.
    body = {"redirect_uris": [CALLBACK], "scope": asked, "client_name": "Käse"}
    response = await world.http.post("/register", json=body)
    assert (response.status_code, response.json()["scope"]) == (201, told)
    assert response.json()["client_name"] == "Käse"


async def test_a_public_client_gets_no_secret_and_others_one_that_does_not_expire(world: World) -> None:
    public = await world.http.post(
        "/register", json={"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    )
    assert "client_secret" not in public.json()
    other = await world.http.post("/register", json={"redirect_uris": [CALLBACK]})
    assert other.json()["client_secret_expires_at"] == 0
    assert len(other.json()["client_secret"]) == 64
    assert other.headers["cache-control"] == "no-store"


async def test_the_secret_of_a_client_that_registers_itself_is_masked_from_then_on(world: World) -> None:
    secret = (await world.http.post("/register", json={"redirect_uris": [CALLBACK]})).json()["client_secret"]
    assert secret not in scrub(f"somebody printed {secret}")


def test_a_clients_repr_masks_its_secret_which_is_masked_everywhere_from_then_on() -> None:
    secret = "-".join(["a", "secret", "of", "a", "client", "beforehand"])
    client = Client(client_id="x", client_secret=secret, redirect_uris=[AnyUrl(CALLBACK)])
    assert f"client_secret='{mask(secret)}'" in repr(client)
    assert secret not in f"{client} {client!r}"
    assert secret not in scrub(f"somebody printed {secret}")
    assert "client_secret=None" in repr(client.model_copy(update={"client_secret": None}))


async def test_a_registered_client_may_step_up_beyond_the_scope_that_it_began_with(world: World) -> None:
    body = {"redirect_uris": [CALLBACK], "scope": "read:user", "token_endpoint_auth_method": "none"}
    client = (await world.http.post("/register", json=body)).json()
    assert client["scope"] == "read:user"
    url = await world.browser.authorize(world.request(client_id=client["client_id"], scope="read:user repo"))
    assert "code" in answer(url)


async def test_a_client_is_forgotten_after_ninety_days_without_an_authorization(world: World) -> None:
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client_id = (await world.http.post("/register", json=body)).json()["client_id"]
    world.clock.advance(hours=23)
    fields = world.exchange(await world.code(client_id=client_id), client_id=client_id)
    assert (await world.http.post("/token", data=fields)).status_code == 200
    world.clock.advance(days=80)
    assert (await world.http.get("/authorize", params=world.request(client_id=client_id))).status_code == 302
    world.clock.advance(days=10)
    assert (await world.http.get("/authorize", params=world.request(client_id=client_id))).status_code == 400


async def registered(world: World, **changes: Any) -> dict[str, Any]:
    """Register a public client; return what the server says of it."""
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", **changes}
    response = await world.http.post("/register", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def is_known(world: World, client_id: str) -> bool:
    """Say whether an authorization request of the client gets to the consent page."""
    return (await world.http.get("/authorize", params=world.request(client_id=client_id))).status_code == 302


async def test_a_client_that_nobody_has_signed_in_with_is_forgotten_after_a_day_and_one_in_use_after_ninety(
    world: World,
) -> None:
    unused, used = (await registered(world))["client_id"], (await registered(world))["client_id"]
    fields = world.exchange(await world.code(client_id=used), client_id=used)
    assert (await world.http.post("/token", data=fields)).status_code == 200
    # The one that is in use takes up no place of those that strangers can fill.
    assert await world.stored("newcomers", "clients") == 2
    assert await world.stored("newcomers") == 1
    world.clock.advance(hours=23, minutes=59, seconds=59)
    assert await is_known(world, unused)
    world.clock.advance(seconds=1)
    assert not await is_known(world, unused)
    world.clock.advance(days=88, hours=23, minutes=59, seconds=59)
    assert await is_known(world, used)
    world.clock.advance(seconds=1)
    assert not await is_known(world, used)


async def test_a_client_that_only_refreshes_is_remembered_for_ninety_days_from_each_time() -> None:
    world = World(refresh_lifetime=200 * 24 * 3600)
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = (await world.http.post("/register", json=body)).json()["client_id"]
    fields = world.exchange(await world.code(client_id=client), client_id=client)
    tokens = (await world.http.post("/token", data=fields)).json()
    for _ in range(2):
        world.clock.advance(days=80)
        fields = world.refreshing(tokens["refresh_token"], client_id=client)
        tokens = (await world.http.post("/token", data=fields)).json()
        assert "access_token" in tokens


async def test_what_one_address_registers_displaces_no_more_than_its_own_oldest(world: World) -> None:
    ids = [(await registered(world))["client_id"] for _ in range(200)]
    assert await is_known(world, ids[0])
    ids.append((await registered(world))["client_id"])
    assert [await is_known(world, one) for one in (ids[0], ids[1], ids[-1])] == [False, True, True]


async def test_a_registration_says_that_only_codes_are_given(world: World) -> None:
    assert (await registered(world, response_types=["code", "none"]))["response_types"] == ["code"]


async def test_an_address_without_a_path_works_all_the_way(world: World) -> None:
    client_id = (await registered(world, redirect_uris=["http://127.0.0.1"]))["client_id"]
    url = await world.browser.authorize(world.request(client_id=client_id, redirect_uri="http://127.0.0.1:61234"))
    assert url.startswith("http://127.0.0.1:61234")
    assert "code" in answer(url)


async def test_the_error_counts_the_addresses_from_one_and_does_not_quote_them(world: World) -> None:
    body = {"redirect_uris": [CALLBACK, "https://evil.example/#x"]}
    response = await world.http.post("/register", json=body)
    assert response.json()["error_description"].startswith("Redirect URI 2 ")
    assert "evil" not in response.text


LINKS = ("client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri")


@pytest.mark.parametrize("field", LINKS)
async def test_a_link_is_a_web_address_of_at_most_two_thousand_characters(world: World, field: str) -> None:
    start = "https://app.example/"
    for good in (start, "http://app.example/", start + "x" * (2000 - len(start))):
        await registered(world, **{field: good})
    for bad in ("javascript:alert(1)", "ftp://app.example/", start + "x" * (2001 - len(start))):
        response = await world.http.post("/register", json={"redirect_uris": [CALLBACK], field: bad})
        assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


async def test_a_client_of_no_known_type_is_told_the_types_that_there_are(world: World) -> None:
    response = await world.http.post("/register", json={"redirect_uris": [CALLBACK], "application_type": "service"})
    assert response.json()["error_description"] == "application_type must be 'native' or 'web'."


async def test_a_client_that_nobody_can_look_up_now_is_not_told_that_it_is_unknown() -> None:
    class Away(MemoryStore):
        async def get(self, *args: Any, **options: Any) -> None:
            raise StoreUnavailable("The store of a test does not answer.")

    # Else it would register again, and lose what it has.
    world = World(kv=Away())
    response = await world.http.post("/token", data=world.refreshing("x" * 43, client_id="registered-earlier"))
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")


async def test_a_name_may_have_a_hundred_characters(world: World) -> None:
    assert (await registered(world, client_name="x" * 100))["client_name"] == "x" * 100


@pytest.mark.parametrize(
    ("name", "shown"),
    [("  A\u202e\nb ", "Ab"), ("x" * 101, "x" * 100), (None, "i" * 100), ("", "i" * 100), ("\n", "i" * 100)],
)
def test_a_person_reads_a_hundred_printable_characters_of_the_name_or_the_id(name: str | None, shown: str) -> None:
    assert Client(client_id="i" * 101, client_name=name, redirect_uris=[AnyUrl(CALLBACK)]).display_name == shown


async def test_a_secret_of_the_operators_client_is_posted_if_nothing_else_is_said() -> None:
    client = OAuthClientInformationFull(client_id="plain", client_secret="plain-secret", redirect_uris=[CALLBACK])
    world = World(clients=[client])
    fields = world.exchange(await world.code(client_id="plain"), client_id="plain")
    assert (await world.http.post("/token", data=fields)).status_code == 401
    assert (await world.http.post("/token", data={**fields, "client_secret": "plain-secret"})).status_code == 200


async def test_a_client_of_the_operators_without_a_secret_and_without_a_method_is_public() -> None:
    world = World(clients=[OAuthClientInformationFull(client_id="plain", redirect_uris=[CALLBACK])])
    fields = world.exchange(await world.code(client_id="plain"), client_id="plain")
    assert (await world.http.post("/token", data=fields)).status_code == 200


async def test_too_many_registrations_are_asked_to_wait() -> None:
    world = World(rates=Rates(register="1/day"))
    assert (await world.http.post("/register", json={"redirect_uris": [CALLBACK]})).status_code == 201
    response = await world.http.post("/register", json={"redirect_uris": [CALLBACK]})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 3600
    assert await world.stored("newcomers") == 1


async def test_any_limit_of_several_counts() -> None:
    world = World(rates=Rates(register="5/minute;1/day"))
    await world.http.post("/register", json={"redirect_uris": [CALLBACK]})
    assert (await world.http.post("/register", json={"redirect_uris": [CALLBACK]})).status_code == 429


BAD_CLIENTS = {
    "an address that cannot be": OAuthClientInformationFull(client_id="x", redirect_uris=["http://app.example/cb"]),
    "a web client on this machine": OAuthClientInformationFull(
        client_id="x", redirect_uris=["http://localhost/cb"], application_type="web"
    ),
    "a secret without use": PUBLIC_CLIENT.model_copy(update={"client_secret": "x"}),
    "no secret where one is needed": WEB_CLIENT.model_copy(update={"client_secret": None}),
    "an unknown method": WEB_CLIENT.model_copy(update={"token_endpoint_auth_method": "tls_client_auth"}),
}


@pytest.mark.parametrize("client", BAD_CLIENTS.values(), ids=BAD_CLIENTS)
def test_a_pre_registered_client_that_breaks_the_rules_stops_the_start(client: OAuthClientInformationFull) -> None:
    with pytest.raises(ConfigurationError):
        World(clients=[client])


SPELLINGS = ["https://MCP.example", "https://mcp.example:443", "https://mcp.example?x", "https://mcp.example#x"]


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example",
        "https://mcp.example/",
        "https://mcp.example/base",
        "https://u@mcp.example",
        "x",
        "",
        *SPELLINGS,
    ],
)
def test_a_public_url_that_cannot_be_an_issuer_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError):
        World(url)


@pytest.mark.parametrize(
    ("uri", "registered", "fits"),
    [
        ("http://127.0.0.1:1/cb?a=1", "http://127.0.0.1/cb?a=1", True),
        ("http://[::1]:1/cb", "http://[::1]:2/cb", True),
        ("http://127.0.0.1:123456/cb", "http://127.0.0.1/cb", False),
        ("http://localhost:1/cb", "http://localhost:2/cb", True),
        ("http://127.0.0.1:1/cb", "http://[::1]/cb", False),
        ("http://localhost:1/cb", "http://127.0.0.1/cb", False),
        ("http://localhost.example:1/cb", "http://localhost.example/cb", False),
        ("http://a.localhost:1/cb", "http://a.localhost/cb", False),
        ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", False),
        ("http://127.0.0.1:1/cb?", "http://127.0.0.1/cb", False),
        ("http://127.0.0.1:/cb", "http://127.0.0.1/cb", False),
        ("com.example:/cb", "com.example:/cb", True),
        ("http://[", "http://127.0.0.1/cb", False),
        ("http://127.0.0.1/cb", "http://[", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb", False),
    ],
)
def test_only_the_port_on_the_persons_machine_may_differ(uri: str, registered: str, fits: bool) -> None:
    assert (matches(uri, [registered]) == registered) is fits


def test_the_sdks_handlers_get_the_strict_answers_too() -> None:
    client = Client.model_validate({**PUBLIC_CLIENT.model_dump(exclude_none=True), "may_ask": ("repo",)})
    assert client.validate_scope(" repo  repo ") == ["repo"]
    assert client.validate_scope(None) is None
    assert client.validate_redirect_uri(AnyUrl("http://127.0.0.1:9/cb")) is not None
    with pytest.raises(InvalidScopeError, match=r"are: repo\.$"):
        client.validate_scope("repo admin")
    with pytest.raises(InvalidScopeError, match=r"are: none\.$"):
        client.model_copy(update={"may_ask": ()}).validate_scope("repo")
    for uri in (None, AnyUrl("https://evil.example/")):
        with pytest.raises(InvalidRedirectUriError):
            client.validate_redirect_uri(uri)


def test_an_answer_keeps_the_query_that_an_address_has() -> None:
    url = answer_url("https://app.example/cb?a=&b=%20", code="x y", state=None, iss="https://as.example")
    assert url == "https://app.example/cb?a=&b=%20&code=x+y&iss=https%3A%2F%2Fas.example"


def counting() -> Callable[[int], bytes]:
    """Randomness that is none: each draw differs from the one before."""
    draws = itertools.count(1)
    return lambda size: next(draws).to_bytes(size, "big")


async def test_what_a_registration_draws_and_the_time_that_it_reads_are_the_servers_own() -> None:
    world, body = World(token_bytes=counting()), {"redirect_uris": [CALLBACK]}
    said = (await world.http.post("/register", json=body)).json()
    assert uuid.UUID(said["client_id"]).version == 4
    assert said["client_id_issued_at"] == int(world.clock.now())
    assert len(bytes.fromhex(said["client_secret"])) == 32
    again = (await World(token_bytes=counting()).http.post("/register", json=body)).json()
    assert (again["client_id"], again["client_secret"]) == (said["client_id"], said["client_secret"])


async def test_who_asks_for_no_scope_asks_for_the_servers_default() -> None:
    world = World(default_scopes=["repo"])
    assert (await world.tokens(scope=None))["scope"] == "repo"


async def test_the_name_of_a_flow_is_masked_from_then_on(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request())
    flow = answer(response.headers["location"])["flow"]
    assert flow not in scrub(f"somebody printed {flow}")


async def test_a_refusal_to_register_says_what_is_wrong_with_it(world: World) -> None:
    said = (await world.http.post("/register", json={"redirect_uris": []})).json()
    assert "redirect_uris" in said["error_description"]
