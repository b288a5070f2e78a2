"""The authorization endpoint: what is refused, where the refusal goes, and that nothing is stored."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import httpx
import pytest
from authserver_world import CALLBACK, PUBLIC_CLIENT, PUBLIC_URL, RESOURCE, World, answer, query
from key_value.aio.stores.memory import MemoryStore
from limits.aio.storage import MemoryStorage
from limits.errors import StorageError
from pydantic import AnyUrl
from starlette.requests import Request

from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver import AuthorizationServer, Rates
from mcp_oauth_nb.server.authserver.browsers import Browsers
from mcp_oauth_nb.server.authserver.throttle import Throttle

pytestmark = pytest.mark.anyio

# What must not be redirected anywhere: client or address are not known good (RFC 6749 section 4.1.2.1).
PAGES = {
    "no client": {"client_id": None},
    "empty client": {"client_id": ""},
    "unknown client": {"client_id": "nobody"},
    "client without redirect URIs": {"client_id": "robot"},
    "no redirect URI": {"redirect_uri": None},
    "another path": {"redirect_uri": "http://127.0.0.1:5000/cb/x"},
    "a longer path": {"redirect_uri": "http://127.0.0.1:5000/cbx"},
    "another host": {"redirect_uri": "http://127.0.0.2:5000/cb"},
    "localhost for the address": {"redirect_uri": "http://localhost:5000/cb"},
    "IPv6 for IPv4": {"redirect_uri": "http://[::1]:5000/cb"},
    "https for http": {"redirect_uri": "https://127.0.0.1:5000/cb"},
    "a user name in front": {"redirect_uri": "http://127.0.0.1:5000@evil.example/cb"},
    "a host that begins like it": {"redirect_uri": "http://127.0.0.1.evil.example:5000/cb"},
    "a query added": {"redirect_uri": "http://127.0.0.1:5000/cb?x=1"},
    "a fragment added": {"redirect_uri": "http://127.0.0.1:5000/cb#x"},
    "an escape": {"redirect_uri": "http://127.0.0.1:5000/%63b"},
    "dot segments": {"redirect_uri": "http://127.0.0.1:5000/a/../cb"},
    "a port that is none": {"redirect_uri": "http://127.0.0.1:5000x/cb"},
    "upper case": {"redirect_uri": "HTTP://127.0.0.1:5000/cb"},
    "a sub-domain of a web client": {"client_id": "shop", "redirect_uri": "https://a.shop.example/cb"},
    "a port for a web client": {"client_id": "shop", "redirect_uri": "https://shop.example:8443/cb"},
    "an evil address with a bad response type": {"redirect_uri": "https://evil.example/", "response_type": "x"},
}

# What is told to the client, at its registered address.
REDIRECTS = {
    "no response type": ({"response_type": None}, "invalid_request"),
    "token": ({"response_type": "token"}, "unsupported_response_type"),
    "code and token": ({"response_type": "code token"}, "unsupported_response_type"),
    "fragment answers": ({"response_mode": "fragment"}, "invalid_request"),
    "a request object": ({"request": "x.y.z"}, "invalid_request"),
    "a request URI": ({"request_uri": "https://evil.example/"}, "invalid_request"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "no challenge and no method": ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    "plain": ({"code_challenge_method": "plain"}, "invalid_request"),
    "no method, which means plain": ({"code_challenge_method": None}, "invalid_request"),
    "s256 in lower case": ({"code_challenge_method": "s256"}, "invalid_request"),
    "a short challenge": ({"code_challenge": "a" * 42}, "invalid_request"),
    "a long challenge": ({"code_challenge": "a" * 44}, "invalid_request"),
    "a padded challenge": ({"code_challenge": "a" * 42 + "="}, "invalid_request"),
    "the base URL": ({"resource": PUBLIC_URL}, "invalid_target"),
    "another server": ({"resource": "https://other.example/mcp"}, "invalid_target"),
    "a longer path": ({"resource": RESOURCE + "/x"}, "invalid_target"),
    "a slash in front": ({"resource": PUBLIC_URL + "//mcp"}, "invalid_target"),
    "a path in another case": ({"resource": PUBLIC_URL + "/MCP"}, "invalid_target"),
    "a fragment": ({"resource": RESOURCE + "#x"}, "invalid_target"),
    "an unknown scope": ({"scope": "admin"}, "invalid_scope"),
    "one unknown scope among good ones": ({"scope": "read:user delete_repo"}, "invalid_scope"),
}


@pytest.fixture
def world() -> World:
    return World()


def is_safe_page(response: httpx.Response) -> bool:
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    return response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("changes", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_a_known_client_and_address_nothing_is_redirected(
    world: World, changes: dict[str, str | None], method: str
) -> None:
    request = world.request(**changes)
    options = {"params": request} if method == "GET" else {"data": request}
    response = await world.http.request(method, "/authorize", **options)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert "set-cookie" not in response.headers
    assert is_safe_page(response)
    assert await world.stored() == 0


@pytest.mark.parametrize(("changes", "error"), REDIRECTS.values(), ids=REDIRECTS)
async def test_other_mistakes_are_told_to_the_client_with_state_and_iss(
    world: World, changes: dict[str, str | None], error: str
) -> None:
    response = await world.http.get("/authorize", params=world.request(**changes))
    assert response.status_code == 303
    assert response.headers["location"].startswith(CALLBACK + "?")
    said = answer(response.headers["location"])
    assert (said["error"], said["state"], said["iss"]) == (error, "state-1", PUBLIC_URL)
    assert "code" not in said
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert await world.stored() == 0


@pytest.mark.parametrize("name", ["response_type", "scope", "code_challenge", "code_challenge_method", "resource", "x"])
async def test_a_repeated_parameter_is_refused_at_the_client(world: World, name: str) -> None:
    request = world.request(x="1")
    response = await world.http.get(f"/authorize?{query(request, (name, request[name]))}")
    assert answer(response.headers["location"])["error"] == "invalid_request"
    assert answer(response.headers["location"])["state"] == "state-1"
    assert await world.stored() == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
@pytest.mark.parametrize("second", ["the same", "another", ""])
async def test_a_repeated_client_or_address_is_told_to_the_person_and_nobody_is_redirected_to(
    world: World, method: str, name: str, second: str
) -> None:
    # RFC 6749 section 4.1.2.1: which of the two is meant, and checked elsewhere, is not known.
    request = world.request()
    other = {"client_id": "shop", "redirect_uri": "https://evil.example/cb"}[name]
    sent = query(request, (name, {"the same": request[name], "another": other, "": ""}[second]))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    if method == "GET":
        response = await world.http.get(f"/authorize?{sent}")
    else:
        response = await world.http.post("/authorize", content=sent, headers=form)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert await world.stored() == 0


async def test_a_repeated_state_is_not_given_back(world: World) -> None:
    response = await world.http.get(f"/authorize?{query(world.request(), ('state', 'state-2'))}")
    assert answer(response.headers["location"]).keys() == {"error", "error_description", "iss"}


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_a_repeated_client_or_address_is_not_redirected(world: World, name: str) -> None:
    response = await world.http.get(f"/authorize?{query(world.request(), (name, 'https://evil.example/'))}")
    assert response.status_code == 400
    assert await world.stored() == 0


async def test_a_good_request_leads_to_the_consent_page_and_binds_the_browser(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request())
    assert response.status_code == 302
    assert response.headers["location"].startswith(f"{PUBLIC_URL}/consent?flow=")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("mcp_consent=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie
    assert "expires" not in cookie.lower()


@pytest.mark.parametrize("value", ["short", "x" * 42, "x" * 44, "x" * 42 + ".", ""])
async def test_a_cookie_that_this_server_cannot_have_set_is_replaced(world: World, value: str) -> None:
    response = await world.http.get("/authorize", params=world.request(), headers={"Cookie": f"mcp_consent={value}"})
    assert re.match(r"mcp_consent=[A-Za-z0-9_-]{43};", response.headers["set-cookie"])
    ours = "y" * 43
    again = await world.http.get("/authorize", params=world.request(), headers={"Cookie": f"mcp_consent={ours}"})
    assert again.headers["set-cookie"].startswith(f"mcp_consent={ours};")


async def test_the_cookie_of_a_browser_is_masked_from_then_on(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request())
    cookie = response.cookies["mcp_consent"]
    assert cookie not in scrub(f"somebody printed {cookie}")


def test_what_is_kept_of_a_browser_is_not_its_cookie() -> None:
    kept = Browsers.fingerprint("y" * 43)
    assert kept == hashlib.sha256(b"y" * 43).hexdigest()


async def test_over_https_the_cookie_belongs_to_this_host_alone() -> None:
    world = World("https://mcp.example")
    response = await world.http.get("/authorize", params=world.request())
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-mcp_consent=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


async def test_a_loopback_address_may_have_any_port(world: World) -> None:
    url = await world.browser.authorize(world.request(redirect_uri="http://127.0.0.1:61234/cb"))
    assert url.startswith("http://127.0.0.1:61234/cb?code=")


async def test_an_address_of_ipv6_may_have_any_port_and_its_answer_is_not_stopped_by_the_page() -> None:
    client = PUBLIC_CLIENT.model_copy(update={"redirect_uris": [AnyUrl("http://[::1]/callback")]})
    world = World(clients=[client])
    request = world.request(redirect_uri="http://[::1]:61234/callback")
    page = await world.browser.consent_page(request)
    assert "form-action" not in page.headers["content-security-policy"]
    assert (await world.browser.authorize(request)).startswith("http://[::1]:61234/callback?code=")


async def test_scheme_and_host_of_the_resource_may_come_in_any_case(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request(resource="HTTP://127.0.0.1:8000/mcp"))
    assert response.headers["location"].startswith(f"{PUBLIC_URL}/consent?")


async def test_a_slash_behind_the_path_of_the_resource_is_no_difference(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request(resource=f"{RESOURCE}/"))
    assert response.headers["location"].startswith(f"{PUBLIC_URL}/consent?")


async def test_a_person_whose_client_nobody_can_look_up_now_is_asked_to_try_again() -> None:
    class Away(MemoryStore):
        async def get(self, *args: Any, **options: Any) -> None:
            raise StoreUnavailable("The store of a test does not answer.")

    world = World(kv=Away())
    response = await world.http.get("/authorize", params=world.request(client_id="registered-earlier"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert is_safe_page(response)
    assert "location" not in response.headers


async def test_host_headers_change_nothing(world: World) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    response = await world.http.get("/authorize", params=world.request(), headers=headers)
    assert response.headers["location"].startswith(f"{PUBLIC_URL}/consent?")
    document = await world.http.get("/.well-known/oauth-authorization-server", headers=headers)
    assert "evil" not in document.text


async def test_a_pre_registered_client_is_held_to_its_scope() -> None:
    world = World(clients=[PUBLIC_CLIENT.model_copy(update={"scope": "read:user"})])
    response = await world.http.get("/authorize", params=world.request(scope="repo"))
    assert answer(response.headers["location"])["error"] == "invalid_scope"


async def test_a_client_without_the_code_grant_is_told_so() -> None:
    world = World(clients=[PUBLIC_CLIENT.model_copy(update={"grant_types": ["refresh_token"]})])
    response = await world.http.get("/authorize", params=world.request())
    assert answer(response.headers["location"])["error"] == "unauthorized_client"


@pytest.mark.parametrize("text", ["a=%ff", "&".join(f"a{n}=1" for n in range(60)), "a=" + "x" * 20_000])
async def test_a_query_that_cannot_be_read_is_refused_even_if_all_that_is_needed_is_there(
    world: World, text: str
) -> None:
    response = await world.http.get(f"/authorize?{query(world.request())}&{text}")
    assert response.status_code == 400
    assert "Invalid request" in response.text
    assert is_safe_page(response)
    assert await world.stored() == 0


@pytest.mark.parametrize("text", ["a=%ff", "&".join(f"a{n}=1" for n in range(60)), "a=\u00e4"])
async def test_a_form_that_cannot_be_read_is_refused_even_if_all_that_is_needed_is_there(
    world: World, text: str
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, fields in (("/authorize", world.request()), ("/token", world.refreshing("x" * 43))):
        response = await world.http.post(path, content=f"{query(fields)}&{text}".encode(), headers=form)
        assert response.status_code == 400
        assert "invalid request" in response.text.lower().replace("_", " ")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/json"])
async def test_a_post_must_be_a_form(world: World, kind: str) -> None:
    response = await world.http.post("/authorize", content=b"x", headers={"Content-Type": kind})
    assert response.status_code == 400


async def test_markup_in_a_parameter_stays_text(world: World) -> None:
    response = await world.http.get("/authorize", params=world.request(client_id="<script>alert(1)</script>"))
    assert "<script>" not in response.text


async def test_too_many_requests_are_asked_to_wait() -> None:
    world = World(rates=Rates(authorize="2/minute"))
    for _ in range(2):
        assert (await world.http.get("/authorize", params=world.request())).status_code == 302
    response = await world.http.get("/authorize", params=world.request())
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert is_safe_page(response)
    assert await world.stored("flows") == 2
    assert (await world.http.get("/oauth/callback")).status_code == 429
    assert (await world.http.get("/consent")).status_code == 429
    assert (await world.http.post("/consent")).status_code == 429


@pytest.mark.parametrize("limits", ["5/minute;1/day", "1/day;5/minute"])
async def test_of_several_limits_each_counts_and_the_wait_is_that_of_the_one_that_is_used_up(limits: str) -> None:
    world = World(rates=Rates(authorize=limits))
    assert (await world.http.get("/authorize", params=world.request())).status_code == 302
    response = await world.http.get("/authorize", params=world.request())
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 60


async def test_whoever_cannot_be_counted_is_asked_to_try_again(caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryStorage):
        async def incr(self, *args: Any, **options: Any) -> int:
            raise StorageError(OSError("gone"))

    world = World(rates=Rates(storage=Away()))
    response = await world.http.get("/authorize", params=world.request())
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert await world.stored() == 0
    assert "The store that counts requests does not answer." in caplog.text


async def test_each_endpoint_has_a_count_of_its_own_and_one_without_a_limit_is_not_counted() -> None:
    throttle = Throttle(Rates(authorize="1/minute", token="2/minute;3/day", register=None))
    request = Request({"type": "http", "client": ("192.0.2.1", 1), "headers": []})
    waits = {
        endpoint: [await throttle.wait_for(endpoint, request) for _ in range(3)]
        for endpoint in ("authorize", "token", "register")
    }
    assert [[wait is not None for wait in each] for each in waits.values()] == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]


async def test_even_a_store_out_of_order_is_told_with_iss() -> None:
    class Broken(MemoryStore):
        async def put(self, *args: Any, **options: Any) -> None:
            raise ConnectionError("the store is away")

    world = World(kv=Broken())
    response = await world.http.get("/authorize", params=world.request())
    said = answer(response.headers["location"])
    assert (said["error"], said["state"], said["iss"]) == ("server_error", "state-1", PUBLIC_URL)


async def test_an_address_of_ipv6_counts_with_its_whole_network() -> None:
    throttle = Throttle(Rates(authorize="1/minute"))

    def request(host: str | None) -> Request:
        return Request({"type": "http", "client": (host, 1) if host else None, "headers": []})

    assert await throttle.wait_for("authorize", request("2001:db8::1")) is None
    assert await throttle.wait_for("authorize", request("2001:db8::2")) is not None
    assert await throttle.wait_for("authorize", request("2001:db8:0:1::1")) is None
    # A socket for both families shows an IPv4 address so.
    for host in ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3", "::ffff:192.0.2.4", None):
        assert await throttle.wait_for("authorize", request(host)) is None
    # What a proxy passes on may be any text: whoever could choose it would be somebody else each time.
    assert await throttle.wait_for("authorize", request("somewhere")) is not None


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"])
async def test_the_metadata_says_what_is_checked_here(world: World, path: str) -> None:
    response = await world.http.get(path, headers={"Origin": "https://page.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.json() == {
        "issuer": PUBLIC_URL,
        "authorization_endpoint": f"{PUBLIC_URL}/authorize",
        "token_endpoint": f"{PUBLIC_URL}/token",
        "registration_endpoint": f"{PUBLIC_URL}/register",
        "revocation_endpoint": f"{PUBLIC_URL}/revoke",
        "scopes_supported": ["read:user", "repo"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


async def test_a_page_of_any_site_may_ask_what_needs_no_cookie_and_read_what_it_must(world: World) -> None:
    asks = {"Origin": "https://page.example", "Access-Control-Request-Headers": "authorization, mcp-protocol-version"}
    for path, method in (
        ("/.well-known/oauth-authorization-server", "GET"),
        ("/.well-known/openid-configuration", "GET"),
        ("/token", "POST"),
        ("/register", "POST"),
        ("/revoke", "POST"),
    ):
        allowed = await world.http.options(path, headers={**asks, "Access-Control-Request-Method": method})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "*"
        assert allowed.headers["access-control-allow-methods"] == f"{method}, OPTIONS"
        assert "access-control-allow-credentials" not in allowed.headers
        for other in ("DELETE", "PUT", "GET" if method == "POST" else "POST"):
            assert (await world.http.options(path, headers={**asks, "Access-Control-Request-Method": other})).is_error
            assert (await world.http.request(other, path)).status_code == 405
        answered = await world.http.request(method, path, headers=asks)
        assert answered.headers["access-control-expose-headers"] == "WWW-Authenticate, Retry-After"
    for path in ("/authorize", "/consent", "/oauth/callback"):
        assert "access-control-allow-origin" not in (await world.http.get(path, headers=asks)).headers
        assert (await world.http.options(path, headers=asks)).status_code == 405


async def test_a_server_that_is_told_no_more_than_its_address_and_credentials_works(world: World) -> None:
    transport = world.github.transport()
    server = AuthorizationServer(
        PUBLIC_URL,
        settings=IsolatedSettings(
            oauth_client_id=world.app_at_github.client_id, oauth_client_secret=world.app_at_github.client_secret
        ),
        client=lambda: httpx.AsyncClient(transport=transport),
    )
    world.server, world.http = server, world.client_of(server)
    client = (await world.http.post("/register", json={"redirect_uris": [CALLBACK]})).json()
    fields = world.exchange(
        await world.code(client_id=client["client_id"], scope=None),
        client_id=client["client_id"],
        client_secret=client["client_secret"],
    )
    tokens = (await world.http.post("/token", data=fields)).json()
    assert (tokens["scope"], tokens["expires_in"]) == ("read:user", 3600)
    access = await server.verify_token(tokens["access_token"])
    assert access is not None
    assert access.expires_at is not None
    assert abs(access.expires_at - time.time() - 3600) < 60
    # It looks for the document of a client by itself, and not on this machine.
    page = await world.http.get("/authorize", params=world.request(client_id="https://127.0.0.1/client.json"))
    assert (page.status_code, "Unknown client" in page.text) == (400, True)
    # Its own limits hold, too.
    asked = [(await world.http.post("/register", json={"redirect_uris": [CALLBACK]})).status_code for _ in range(60)]
    assert 429 in asked


async def test_unless_the_operator_says_otherwise_a_person_is_asked_again_after_thirty_days(world: World) -> None:
    days = 24 * 3600
    tokens = await world.tokens()
    for seconds, status in ((29 * days, 200), (1 * days - 60, 200), (120, 400)):
        world.clock.advance(seconds)
        answered = await world.http.post("/token", data=world.refreshing(tokens["refresh_token"]))
        assert answered.status_code == status
        tokens = answered.json()
    assert tokens["error"] == "invalid_grant"
