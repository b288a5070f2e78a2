"""The consent page and the way back from GitHub: bound to one browser, asked per client, answered once."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from authserver_world import CALLBACK, PUBLIC_CLIENT, PUBLIC_URL, World, answer, hidden, query
from key_value.aio.stores.memory import MemoryStore
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import AnyUrl
from starlette.responses import HTMLResponse

from mcp_oauth_nb.oauth.errors import StoreUnavailable
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.runtime.pages import message_page
from mcp_oauth_nb.server.authserver import DocumentFetcher
from mcp_oauth_nb.server.authserver.pages import Question, consent_page

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def at_github(world: World) -> str:
    """Consent, and return GitHub's answer before the browser brings it back."""
    page = await world.browser.consent_page(world.request())
    response = await world.browser.press(page)
    return await world.browser.autopilot.authorize(response.headers["location"])


async def test_the_page_shows_client_host_scopes_and_a_warning(world: World) -> None:
    page = await world.browser.consent_page(world.request(scope="read:user repo"))
    assert page.status_code == 200
    for text in ("Desk", "127.0.0.1:5000", "read:user", "repo", f"{PUBLIC_URL}/mcp", "program on your own device"):
        assert text in page.text
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"


async def test_a_web_client_has_no_warning(world: World) -> None:
    page = await world.browser.consent_page(world.request(client_id="shop", redirect_uri="https://shop.example/cb"))
    assert "shop.example" in page.text
    assert "program on your own device" not in page.text


async def test_a_clients_name_is_text(world: World) -> None:
    body = {"redirect_uris": [CALLBACK], "client_name": "<img src=x onerror=alert(1)>"}
    client = (await world.http.post("/register", json=body)).json()
    page = await world.browser.consent_page(world.request(client_id=client["client_id"]))
    assert "<img" not in page.text
    assert "unverified" in page.text


async def test_cancel_tells_the_client_with_state_and_iss_and_leaves_nothing(world: World) -> None:
    url = await world.browser.authorize(world.request(), allow=False)
    said = answer(url)
    assert (said["error"], said["state"], said["iss"]) == ("access_denied", "state-1", PUBLIC_URL)
    assert await world.stored() == 0


async def test_a_code_comes_with_state_and_iss(world: World) -> None:
    said = answer(await world.browser.authorize(world.request()))
    assert said.keys() == {"code", "state", "iss"}
    assert (said["state"], said["iss"]) == ("state-1", PUBLIC_URL)
    assert await world.stored("flows", "upstream_flows") == 0


FORGERIES = {
    "another form token": ({"fields": {"form_token": "x" * 43}}, True),
    "no form token": ({"fields": {"form_token": ""}}, True),
    "another flow": ({"fields": {"flow": "x" * 43}}, True),
    "another site": ({"headers": {"Origin": "https://evil.example"}}, True),
    "no site": ({"headers": {"Origin": "null"}}, True),
    "no cookie": ({}, False),
    "not a form": ({"headers": {"Content-Type": "text/plain"}}, True),
}


@pytest.mark.parametrize(("changes", "cookies"), FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_decision_is_refused_and_does_not_use_the_flow_up(
    world: World, changes: dict[str, dict[str, str]], cookies: bool
) -> None:
    page = await world.browser.consent_page(world.request())
    kept = httpx.Cookies(world.browser.cookies)
    if not cookies:
        world.browser.cookies = httpx.Cookies()
    response = await world.browser.press(page, **{name: dict(value) for name, value in changes.items()})
    assert response.status_code == 400
    assert "location" not in response.headers
    assert await world.stored("flows") == 1
    assert await world.stored("upstream_flows", "consents", "codes") == 0
    world.browser.cookies = kept
    assert (await world.browser.press(page)).status_code == 303


async def test_another_browser_cannot_see_the_page(world: World) -> None:
    location = (await world.browser.get("/authorize", params=world.request())).headers["location"]
    world.browser.cookies = httpx.Cookies()
    assert (await world.browser.get(location)).status_code == 400
    # Nor one with a cookie of its own.
    await world.browser.get("/authorize", params=world.request())
    assert (await world.browser.get(location)).status_code == 400


@pytest.mark.parametrize("said", ["", "0", "2", "01", "true", "on", "Authorize"])
async def test_only_the_button_that_says_so_is_a_yes(world: World, said: str) -> None:
    page = await world.browser.consent_page(world.request())
    response = await world.browser.press(page, fields={"authorize": said})
    assert answer(response.headers["location"])["error"] == "access_denied"
    assert await world.stored() == 0


async def test_a_decision_that_says_both_is_none(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    body = query({**hidden(page), "authorize": "0"}, ("authorize", "1"))
    headers = {"Origin": world.public_url, "Content-Type": "application/x-www-form-urlencoded"}
    response = await world.browser.send("POST", "/consent", content=body, headers=headers)
    assert (response.status_code, await world.stored("flows", "upstream_flows")) == (400, 1)


async def test_a_browser_that_names_no_origin_is_believed_by_its_cookie_and_form_token(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    response = await world.browser.send("POST", "/consent", data={**hidden(page), "authorize": "1"})
    assert response.status_code == 303


async def test_a_decision_counts_once(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    assert (await world.browser.press(page)).status_code == 303
    assert (await world.browser.press(page)).status_code == 400


async def test_a_flow_waits_ten_minutes(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    world.clock.advance(minutes=10)
    assert (await world.browser.press(page)).status_code == 400


async def test_the_callback_in_another_browser_is_refused_and_the_genuine_one_still_works(world: World) -> None:
    # The confused deputy: the attacker consents in their browser, the victim is lured to GitHub's answer.
    back = await at_github(world)
    genuine = httpx.Cookies(world.browser.cookies)
    world.browser.cookies = httpx.Cookies()
    assert (await world.browser.get(back)).status_code == 400
    await world.browser.get("/authorize", params=world.request())
    assert (await world.browser.get(back)).status_code == 400
    assert await world.stored("codes") == 0
    world.browser.cookies = genuine
    assert (await world.browser.get(back)).status_code == 303


CALLBACKS = {
    "no state": lambda url: url.replace("state=", "other="),
    "another state": lambda url: url.replace("state=", "state=x"),
    "state twice": lambda url: url + "&state=x",
    "code twice": lambda url: url + "&code=x",
    "not UTF-8": lambda url: url + "&x=%ff",
}


@pytest.mark.parametrize("change", CALLBACKS.values(), ids=CALLBACKS)
async def test_a_callback_of_no_flow_is_refused(world: World, change: object) -> None:
    back = await at_github(world)
    assert callable(change)
    response = await world.browser.get(change(back))
    assert response.status_code == 400
    assert await world.stored("upstream_flows") == 1
    assert await world.stored("codes") == 0


async def test_a_callback_counts_once(world: World) -> None:
    back = await at_github(world)
    assert (await world.browser.get(back)).status_code == 303
    assert (await world.browser.get(back)).status_code == 400


async def test_denial_at_github_is_the_clients_access_denied(world: World) -> None:
    said = answer(await world.browser.authorize(world.request(), at_github=False))
    assert (said["error"], said["state"], said["iss"]) == ("access_denied", "state-1", PUBLIC_URL)
    assert await world.stored("codes", "upstream_flows", "families") == 0


async def test_an_answer_of_another_issuer_is_refused(world: World) -> None:
    world.github.knobs.iss = "https://evil.example"
    assert answer(await world.browser.authorize(world.request()))["error"] == "server_error"
    assert await world.stored("codes") == 0


UPSTREAM_ERRORS = {
    "server_error": "server_error",
    "temporarily_unavailable": "temporarily_unavailable",
    "access_denied": "access_denied",
    "redirect_uri_mismatch": "server_error",
    "something_else": "server_error",
}


@pytest.mark.parametrize(("said", "told"), UPSTREAM_ERRORS.items())
async def test_an_upstream_error_reaches_the_client_in_its_own_terms(world: World, said: str, told: str) -> None:
    page = await world.browser.consent_page(world.request())
    location = (await world.browser.press(page)).headers["location"]
    state = answer(location)["state"]
    issuer = world.github.issuer
    back = await world.browser.get("/oauth/callback", params={"error": said, "state": state, "iss": issuer})
    assert answer(back.headers["location"])["error"] == told


async def test_github_out_of_order_is_temporarily_unavailable(world: World) -> None:
    world.github.faults.next_token(status=503)
    assert answer(await world.browser.authorize(world.request()))["error"] == "temporarily_unavailable"


async def test_no_answer_about_the_user_revokes_the_token_that_was_just_got(world: World) -> None:
    world.github.faults.next_api(status=503)
    before = world.github.issued_secrets()
    assert answer(await world.browser.authorize(world.request()))["error"] == "temporarily_unavailable"
    assert await world.stored("codes") == 0
    world.github.faults.clear()
    issued = [one for one in world.github.issued_secrets() - before if one.startswith(("gho_", "ghu_"))]
    assert [await world.is_good_at_github(token) for token in issued] == [False]


async def test_no_more_is_given_than_github_gave(world: World) -> None:
    page = await world.browser.consent_page(world.request(scope="read:user repo"))
    response = await world.browser.press(page)
    back = await world.browser.autopilot.authorize(response.headers["location"], scopes=["read:user"])
    code = answer((await world.browser.get(back)).headers["location"])["code"]
    token = (await world.http.post("/token", data=world.exchange(code))).json()
    assert token["scope"] == "read:user"


async def test_no_more_is_given_than_was_asked_for_whatever_github_gave() -> None:
    class Generous(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await world.github.transport().handle_async_request(request)
            if request.url.path != "/login/oauth/access_token":
                return response
            await response.aread()
            return httpx.Response(response.status_code, json={**response.json(), "scope": "repo,read:user,gist"})

    world = World(client=lambda: httpx.AsyncClient(transport=Generous()))
    tokens = await world.tokens()
    assert tokens["scope"] == "read:user"
    access = await world.server.verify_token(tokens["access_token"])
    assert access is not None
    assert access.scopes == ["read:user"]


async def test_nothing_at_all_given_at_github_is_a_denial(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    response = await world.browser.press(page)
    back = await world.browser.autopilot.authorize(response.headers["location"], scopes=[])
    assert answer((await world.browser.get(back)).headers["location"])["error"] == "access_denied"


async def test_without_credentials_at_github_the_client_hears_server_error() -> None:
    world = World(settings=IsolatedSettings())
    page = await world.browser.consent_page(world.request())
    assert answer((await world.browser.press(page)).headers["location"])["error"] == "server_error"


async def test_the_browser_goes_to_github_by_a_way_that_is_not_kept_and_names_no_referrer(world: World) -> None:
    page = await world.browser.consent_page(world.request())
    response = await world.browser.press(page)
    assert response.status_code == 303
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_a_person_is_not_asked_about_a_client_that_has_gone_meanwhile(world: World) -> None:
    location = (await world.browser.get("/authorize", params=world.request())).headers["location"]
    world.server = world.worker(clients=[])
    page = await world.browser.get(location)
    assert (page.status_code, "Desk" in page.text) == (400, False)


async def test_a_client_that_a_document_describes_is_shown_with_the_address_of_the_document() -> None:
    address = "https://app.example/client.json"
    document = {"client_id": address, "client_name": "App", "redirect_uris": [CALLBACK]}

    async def public(host: str) -> list[str]:
        return ["93.184.215.14"]

    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=document))
    world = World(document_client=DocumentFetcher(lambda: httpx.AsyncClient(transport=transport), public))
    page = await world.browser.consent_page(world.request(client_id=address))
    assert f"described by {address}" in page.text


class OneStep(MemoryStore):
    """Fails, or loses a race, in one collection.

    Attributes:
        taken: whatever is deleted there, another worker has just deleted.
        full: nothing can be put there.
    """

    taken = full = ""

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        return await super().delete(key, collection=collection) and collection != self.taken

    async def put(self, *args: Any, collection: str | None = None, **options: Any) -> None:
        if collection == self.full:
            raise StoreUnavailable("The store of a test does not answer.")
        await super().put(*args, collection=collection, **options)


async def test_a_decision_that_another_worker_took_at_the_same_moment_is_taken_once() -> None:
    world = World(kv=(store := OneStep()))
    page = await world.browser.consent_page(world.request())
    store.taken = "mcp_oauth_flows"
    assert (await world.browser.press(page)).status_code == 400


async def test_an_answer_that_another_worker_took_at_the_same_moment_is_taken_once() -> None:
    world = World(kv=(store := OneStep()))
    back = await at_github(world)
    store.taken = "mcp_oauth_upstream_flows"
    assert (await world.browser.get(back)).status_code == 400


async def test_a_question_that_another_worker_has_skipped_at_the_same_moment_is_not_skipped_twice() -> None:
    world = World(kv=(store := OneStep()))
    assert await asked(world, **SHOP)
    store.taken = "mcp_oauth_flows"
    assert (await world.browser.consent_page(world.request(**SHOP))).status_code == 200


async def test_a_token_of_github_that_no_code_could_be_stored_for_is_ended_and_the_client_told() -> None:
    world = World(kv=(store := OneStep()))
    back = await at_github(world)
    before = world.github.issued_secrets()
    store.full = "mcp_oauth_codes"
    said = answer((await world.browser.get(back)).headers["location"])
    assert (said["error"], said["state"], said["iss"]) == ("temporarily_unavailable", "state-1", PUBLIC_URL)
    issued = [one for one in world.github.issued_secrets() - before if one.startswith(("gho_", "ghu_"))]
    assert [await world.is_good_at_github(token) for token in issued] == [False]


# -- consent that is remembered --------------------------------------------------------------------------------------

SHOP = {"client_id": "shop", "redirect_uri": "https://shop.example/cb"}


async def asked(world: World, **changes: str | None) -> bool:
    """Authorize, and say whether the person was asked."""
    before = len(world.browser.pages)
    assert "code" in answer(await world.browser.authorize(world.request(**changes)))
    return len(world.browser.pages) > before


async def test_a_web_client_is_asked_about_once_in_a_session(world: World) -> None:
    assert await asked(world, **SHOP)
    assert not await asked(world, **SHOP)


async def test_more_scopes_are_asked_about(world: World) -> None:
    await asked(world, **SHOP)
    assert await asked(world, **SHOP, scope="read:user repo")
    assert not await asked(world, **SHOP, scope="repo")


async def test_what_was_allowed_one_after_the_other_is_allowed_together(world: World) -> None:
    assert await asked(world, **SHOP, scope="read:user")
    assert await asked(world, **SHOP, scope="repo")
    assert not await asked(world, **SHOP, scope="read:user")
    assert not await asked(world, **SHOP, scope="read:user repo")


async def test_a_new_browser_session_is_asked_again(world: World) -> None:
    await asked(world, **SHOP)
    world.browser.cookies = httpx.Cookies()
    assert await asked(world, **SHOP)


async def test_consent_is_asked_for_again_after_eight_hours(world: World) -> None:
    await asked(world, **SHOP)
    world.clock.advance(hours=7, minutes=59, seconds=59)
    # What was allowed before counts from when it was last made use of, so it is only looked at here.
    assert (await world.browser.consent_page(world.request(**SHOP))).status_code == 303
    world.clock.advance(seconds=1)
    assert await asked(world, **SHOP)


async def test_consent_to_one_client_is_none_to_another_with_the_same_address() -> None:
    clients = [
        OAuthClientInformationFull(
            client_id=name,
            redirect_uris=["https://shop.example/cb"],
            token_endpoint_auth_method="none",
            application_type="web",
        )
        for name in ("one", "two")
    ]
    world = World(clients=clients)
    names = ("one", "two", "one", "two")
    asks = [await asked(world, client_id=name, redirect_uri="https://shop.example/cb") for name in names]
    assert asks == [True, True, False, False]


async def test_consent_to_one_address_of_a_client_is_none_to_another() -> None:
    # Whoever can read what arrives at the one need not be who was allowed to at the other.
    addresses = ["https://shop.example/cb", "https://other.example/cb"]
    client = OAuthClientInformationFull(
        client_id="two", redirect_uris=addresses, token_endpoint_auth_method="none", application_type="web"
    )
    world = World(clients=[client])
    assert [await asked(world, client_id="two", redirect_uri=one) for one in (*addresses, *addresses)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("redirect_uri", [CALLBACK, "http://localhost/cb", "http://[::1]/cb", "com.example.app:/oauth"])
async def test_what_any_program_of_this_machine_may_receive_is_asked_about_every_time_with_a_warning(
    redirect_uri: str,
) -> None:
    world = World(clients=[PUBLIC_CLIENT.model_copy(update={"redirect_uris": [AnyUrl(redirect_uri)]})])
    for _ in range(2):
        assert await asked(world, redirect_uri=redirect_uri)
    assert [page.text.count("program on your own device") for page in world.browser.pages] == [1, 1]


async def test_the_page_says_where_the_answer_goes_by_the_host_or_by_the_scheme_of_an_app() -> None:
    addresses = {"com.example.app:/oauth": "the app that opens com.example.app:", CALLBACK: "127.0.0.1:5000"}
    world = World(clients=[PUBLIC_CLIENT.model_copy(update={"redirect_uris": [AnyUrl(one) for one in addresses]})])
    for address, told in addresses.items():
        page = await world.browser.consent_page(world.request(redirect_uri=address))
        assert f"<strong>{told}</strong>" in page.text


async def new_scopes(world: World, **changes: str | None) -> list[str]:
    """Return the scopes that the consent page marks as new."""
    page = await world.browser.consent_page(world.request(**changes))
    items = page.text.split("<li>")[1:]
    return [re.findall("<code>(.*)</code>", item)[0] for item in items if ">New<" in item]


async def test_the_page_shows_what_is_new_to_those_who_have_allowed_a_part(world: World) -> None:
    assert await new_scopes(world, scope="read:user repo") == []
    assert await asked(world)
    assert await new_scopes(world, scope="read:user repo") == ["repo"]
    assert await new_scopes(world) == []
    assert await new_scopes(world, redirect_uri=CALLBACK.replace("5000", "6000"), scope="read:user repo") == ["repo"]
    assert await new_scopes(world, **SHOP, scope="read:user repo") == []


async def test_a_denial_is_not_remembered_as_consent(world: World) -> None:
    await world.browser.authorize(world.request(**SHOP), allow=False)
    assert await asked(world, **SHOP)


async def test_the_form_token_is_different_for_each_flow(world: World) -> None:
    first = hidden(await world.browser.consent_page(world.request()))
    second = hidden(await world.browser.consent_page(world.request()))
    assert first["form_token"] != second["form_token"]
    assert first["flow"] != second["flow"]


# -- the pages themselves --------------------------------------------------------------------------------------------


def question(**changes: Any) -> Question:
    given = {
        "client_name": "Desk",
        "client_known_by": "unverified",
        "redirect_to": "127.0.0.1:5000",
        "on_this_machine": True,
        "scopes": ["read:user", "repo"],
        "resource": f"{PUBLIC_URL}/mcp",
        **changes,
    }
    return Question(**given)


def asking() -> HTMLResponse:
    return consent_page(question(), fields={"flow": "f"})


def refusing() -> HTMLResponse:
    return message_page("Invalid request", "It cannot be read.", status=400)


@pytest.mark.parametrize(
    ("make", "targets", "referrer"),
    [(asking, "", "same-origin"), (refusing, "form-action 'none'; ", "no-referrer")],
)
def test_no_page_can_be_framed_kept_guessed_at_or_made_to_run_or_load_anything(
    make: Callable[[], HTMLResponse], targets: str, referrer: str
) -> None:
    page = make()
    style = bytes(page.body).decode().partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert {name: value for name, value in page.headers.items() if name != "content-length"} == {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{digest}'; {targets}"
        "base-uri 'none'; frame-ancestors 'none'",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": referrer,
        "cache-control": "no-store",
    }


class Elements(HTMLParser):
    """Holds which elements are open, and the text in each kind."""

    EMPTY = ("meta", "input", "path", "rect", "circle")

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data.strip())


@pytest.mark.parametrize("make", [asking, refusing])
def test_a_page_is_whole_html_and_says_its_title_once_above_the_text(make: Callable[[], HTMLResponse]) -> None:
    elements = Elements(bytes(make().body).decode())
    assert elements.open == []
    assert elements.text["h1"] == elements.text["title"]


def test_the_address_that_the_answer_goes_to_stands_out_among_the_facts() -> None:
    text = Elements(bytes(asking().body).decode()).text
    assert text["strong"] == ["127.0.0.1:5000"]
    assert {"unverified", f"{PUBLIC_URL}/mcp"} <= set(text["span"])


@pytest.mark.parametrize(("name", "letter"), [("desk", "D"), ("  (ünder)", "Ü"), ("***", "?")])
def test_a_client_is_drawn_with_the_first_letter_of_its_name_or_a_question_mark(name: str, letter: str) -> None:
    text = Elements(consent_page(question(client_name=name), fields={}).body.decode()).text
    assert text["span"][0] == letter


def test_scopes_are_told_in_words_where_there_are_any() -> None:
    text = Elements(consent_page(question(scopes=["read:user", "repo", "gist"]), fields={}).body.decode()).text
    assert text["code"] == ["read:user", "repo"]
    assert {"Read your GitHub profile", "gist"} <= set(text["span"])
    assert any(words.startswith("Read and write your GitHub repositories") for words in text["span"])


@pytest.mark.parametrize(
    ("before", "more"),
    [([], False), (["repo"], True), (["read:user", "repo"], False), (["read:user", "repo", "gist"], False)],
)
def test_only_who_has_allowed_a_part_reads_that_the_client_asks_for_more(before: list[str], more: bool) -> None:
    page = consent_page(question(allowed_before=frozenset(before)), fields={}).body.decode()
    assert ("It asks for more than you have allowed it so far." in page) is more
    assert ("It wants to use this MCP server in your name." in page) is not more
    assert page.count(">New<") == more


def test_a_page_that_refuses_has_the_status_and_the_headers_that_it_was_given() -> None:
    page = message_page("Not now", "Later.", status=503, headers={"Retry-After": "5"})
    assert (page.status_code, page.headers["retry-after"], page.headers["cache-control"]) == (503, "5", "no-store")
    assert asking().status_code == 200
