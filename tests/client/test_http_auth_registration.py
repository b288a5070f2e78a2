"""What the client registers, what it makes of the answer, and how it then authenticates at the token endpoint."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb.client.auth import McpAuth
from mcp_oauth_nb.client.registration import METHODS, auth_method, read_registration
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.oauth.errors import (
    ConfigurationError,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    RateLimited,
    ReauthorizeError,
    ServerUnavailable,
)
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.store.grants import MemoryGrantStore

pytestmark = pytest.mark.anyio

NOW = 1_767_225_600.0
SECRET = "-".join(["the", "secret", "of", "a", "client"])
LISTED = "token_endpoint_auth_methods_supported"
BASIC = f"Basic {base64.b64encode(f'an-id:{SECRET}'.encode()).decode()}"
SENT = {"redirect_uris": ["http://127.0.0.1:1234/callback"]}


def metadata(**changed: Any) -> OAuthMetadata:
    return OAuthMetadata.model_validate(Steps(changed=changed).metadata())


async def read(status: int, body: Any, known: OAuthMetadata | None = None) -> dict[str, Any]:
    """What the SDK gets to read, as JSON."""
    context: Any = SimpleNamespace(oauth_metadata=known)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx2.Request("POST", f"{ISSUER}/register", json=SENT)
    headers = {"Content-Type": "application/json"}
    answer = httpx2.Response(status, headers=headers, content=content, request=request)
    return json.loads((await read_registration(context, answer, NOW)).content)


def registers(**answer: Any) -> Any:
    return {f"{ISSUER}/register": lambda request: httpx2.Response(201, json={"client_id": "an-id", **answer})}


def sent_to(steps: Steps, path: str) -> httpx2.Request:
    (request,) = [request for request in steps.requests if str(request.url) == f"{ISSUER}{path}"]
    return request


def sent_credentials(steps: Steps) -> tuple[str | None, str | None]:
    """What authenticated the client at the token endpoint: the header, and the secret in the form."""
    request = sent_to(steps, "/token")
    secrets = parse_qs(request.content.decode()).get("client_secret", [None])
    return request.headers.get("authorization"), secrets[0]


# -- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "method"),
    [
        (None, "none"),
        ([], "none"),
        (["none"], "none"),
        (["client_secret_post", "client_secret_basic", "none"], "none"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["private_key_jwt", "client_secret_post"], "client_secret_post"),
    ],
)
async def test_a_client_registers_by_a_method_that_the_server_lists_and_without_a_secret_if_it_can(
    listed: list[str] | None, method: str
) -> None:
    steps = Steps(changed={} if listed is None else {LISTED: listed}, instead=registers(client_secret=SECRET))
    await steps.walk()
    assert json.loads(sent_to(steps, "/register").content)["token_endpoint_auth_method"] == method


async def test_a_server_whose_methods_this_client_has_not_is_a_configuration_error_before_anything_is_registered() -> (
    None
):
    steps = Steps(changed={LISTED: ["private_key_jwt", "tls_client_auth\x1b"]})
    with pytest.raises(ConfigurationError, match=r"by private_key_jwt, tls_client_auth\S* only") as caught:
        await steps.walk()
    assert "McpAuth(client=...)" in caught.value.hint
    assert "\x1b" not in caught.value.message
    assert "RFC 8414" in caught.value.reference
    assert not [url for url in steps.urls if url.startswith("POST https://auth.example")]


async def test_a_server_that_registers_nobody_is_not_asked_at_a_guessed_place() -> None:
    steps = Steps(changed={"registration_endpoint": None})
    with pytest.raises(ConfigurationError, match="registers no clients by itself") as caught:
        await steps.walk()
    assert caught.value.reference == "RFC 7591 section 3"
    assert not [url for url in steps.urls if "register" in url]


async def test_a_client_that_registers_for_no_scope_sends_none_and_not_an_empty_one() -> None:
    # RFC 6749 section 3.3: a scope names one at least.
    steps = Steps(changed={"scopes_supported": []})
    no_scope = httpx2.Response(401, headers={"WWW-Authenticate": "Bearer"})
    steps.instead[SERVER] = lambda request: no_scope if "authorization" not in request.headers else httpx2.Response(200)
    await steps.walk()
    assert "scope" not in json.loads(sent_to(steps, "/register").content)


async def test_a_client_registers_for_all_scopes_that_both_documents_name() -> None:
    steps = Steps(changed={"scopes_supported": ["read:user", "repo"]})
    await steps.walk()
    assert json.loads(sent_to(steps, "/register").content)["scope"].split() == ["read:user", "repo"]


# -- what is answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
async def test_a_registration_is_taken_with_either_status_and_its_secret_is_masked_from_then_on(status: int) -> None:
    await read(status, {"client_id": "an-id", "client_secret": SECRET})
    assert SECRET not in scrub(f"It is {SECRET}.")


@pytest.mark.parametrize(
    "odd",
    [
        {"redirect_uris": "http://127.0.0.1/callback"},
        {"redirect_uris": ["not a url"]},
        {"grant_types": None, "response_types": ""},
        {"grant_types": "authorization_code"},
        {"contacts": {"a": 1}, "jwks_uri": "nowhere", "client_uri": "", "application_type": 7},
        {"client_name": ["a", "b"], "scope": ["read:user"]},
        {"client_id_issued_at": "yesterday", "client_secret_expires_at": True},
        {"client_secret": "", "token_endpoint_auth_method": ""},
        {"client_secret": None, "token_endpoint_auth_method": None},
    ],
    ids=str,
)
async def test_odd_fields_that_nobody_needs_do_not_spoil_a_registration(odd: dict[str, Any]) -> None:
    got = await read(201, {"client_id": "an-id", **odd})
    assert (got["client_id"], got["token_endpoint_auth_method"]) == ("an-id", "none")
    assert not set(got) & {"contacts", "jwks_uri", "client_secret", "scope", "client_secret_expires_at"}


async def test_a_whole_float_is_a_number() -> None:
    got = await read(201, {"client_id": "an-id", "client_id_issued_at": 1.0, "client_secret_expires_at": 2.5})
    assert got["client_id_issued_at"] == 1
    assert "client_secret_expires_at" not in got
    assert (await read(201, {"client_id": "an-id", "client_secret_expires_at": 7}))["client_secret_expires_at"] == 7


async def test_the_redirect_uris_and_the_issuer_of_a_registration_are_ours_whatever_the_server_says() -> None:
    got = await read(201, {"client_id": "an-id", "redirect_uris": ["http://127.0.0.1:22/"], "issuer": "https://x.y"})
    assert got["redirect_uris"] == SENT["redirect_uris"]
    assert "issuer" not in got


async def test_the_scope_that_was_registered_is_kept() -> None:
    assert (await read(201, {"client_id": "an-id", "scope": "read:user"}))["scope"] == "read:user"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "`client_id` is missing"),
        ({"client_id": ""}, "`client_id` is missing"),
        ({"client_id": 7}, "`client_id` is a number"),
        ({"client_id": 7.5}, "`client_id` is a number"),
        ({"client_id": True}, "`client_id` is a truth value"),
        ({"client_id": "an\ud800id"}, "`client_id` has characters"),
        ({"client_id": "an-id", "client_secret": "a\nb"}, "`client_secret` has characters"),
        ({"client_id": ["an-id"]}, "`client_id` is an array"),
        ({"client_id": "an-id", "client_secret": {"value": SECRET}}, "`client_secret` is an object"),
        ({"client_id": "an-id", "token_endpoint_auth_method": ["none"]}, "`token_endpoint_auth_method` is an array"),
    ],
    ids=str,
)
async def test_a_registration_that_is_none_is_an_error_that_names_the_field_and_quotes_nothing(
    body: dict[str, Any], named: str
) -> None:
    with pytest.raises(ProtocolError, match="without a usable registration") as caught:
        await read(201, {"client_secret": SECRET, **body})
    assert named in caught.value.message
    assert SECRET not in str(caught.value)
    assert "operator" in caught.value.hint
    assert caught.value.reference == "RFC 7591 section 3.2.1"


@pytest.mark.parametrize("status", [199, 202, 204, 302, 400, 403, 404])
async def test_any_other_status_is_a_refusal(status: int) -> None:
    with pytest.raises(ConfigurationError, match=f"answered {status} to the registration"):
        await read(status, {"client_id": "an-id"})


async def test_a_refusal_says_what_the_server_said() -> None:
    with pytest.raises(OAuthErrorResponse, match="invalid_redirect_uri") as caught:
        await read(400, {"error": "invalid_redirect_uri", "error_description": "Not this one\x1b."})
    assert caught.value.code == "invalid_redirect_uri"
    assert "Not this one" in caught.value.message
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 7}'])
async def test_a_refusal_without_a_reason_is_one_all_the_same(body: bytes) -> None:
    with pytest.raises(ConfigurationError, match="answered 400"):
        await read(400, body)


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, ServerUnavailable)])
async def test_a_server_in_trouble_is_a_transient_error(status: int, error: type[McpOAuthError]) -> None:
    with pytest.raises(error):
        await read(status, b"")


# -- how the client authenticates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        (None, (BASIC, None)),
        ([], (BASIC, None)),
        (["none", "client_secret_post"], (None, SECRET)),
        (["client_secret_post"], (None, SECRET)),
        (["client_secret_post", "client_secret_basic"], (BASIC, None)),
        (["none"], (None, None)),
    ],
)
async def test_a_secret_that_comes_without_a_method_is_sent_by_one_that_the_server_lists(
    listed: list[str] | None, sent: tuple[str | None, str | None]
) -> None:
    steps = Steps(changed={} if listed is None else {LISTED: listed}, instead=registers(client_secret=SECRET))
    await steps.walk()
    assert sent_credentials(steps) == sent


@pytest.mark.parametrize(
    ("named", "sent"),
    [("none", (None, None)), ("client_secret_basic", (BASIC, None)), ("client_secret_post", (None, SECRET))],
)
async def test_a_method_that_nobody_asked_for_is_followed(named: str, sent: tuple[str | None, str | None]) -> None:
    answer = registers(client_secret=SECRET, token_endpoint_auth_method=named)
    steps = Steps(changed={LISTED: list(METHODS)}, instead=answer)
    await steps.walk()
    assert sent_credentials(steps) == sent


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"client_secret": SECRET, "token_endpoint_auth_method": "private_key_jwt"}, "'private_key_jwt"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "client_secret_basic, but has no client_secret"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "client_secret_post, but has no client_secret"),
    ],
    ids=str,
)
async def test_a_method_that_cannot_be_followed_is_an_error_before_anybody_is_asked(
    answer: dict[str, Any], said: str
) -> None:
    steps = Steps(instead=registers(**answer))
    with pytest.raises(ProtocolError, match=said) as caught:
        await steps.walk()
    assert steps.sent_to == []
    assert "McpAuth(client=...)" in caught.value.hint
    assert "\x1b" not in str(caught.value)
    assert caught.value.reference == "RFC 7591 section 3.2.1"


async def test_a_client_made_beforehand_with_a_secret_and_no_method_authenticates_as_the_server_lists() -> None:
    client = OAuthClientInformationFull(client_id="an-id", client_secret=SECRET, issuer=ISSUER)
    steps = Steps(changed={LISTED: ["client_secret_post"]})
    await steps.walk(steps.auth(client=client).provider(SERVER))
    assert sent_credentials(steps) == (None, SECRET)
    assert client.token_endpoint_auth_method is None


@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_basic"])
def test_a_client_made_beforehand_that_cannot_authenticate_is_refused_when_it_is_passed(method: str) -> None:
    client = OAuthClientInformationFull(client_id="an-id", issuer=ISSUER, token_endpoint_auth_method=method)
    with pytest.raises(ConfigurationError, match=method):
        McpAuth(client=client)


def test_a_client_without_secret_and_method_authenticates_by_none() -> None:
    client = OAuthClientInformationFull(client_id="an-id")
    assert auth_method(client, metadata(**{LISTED: ["client_secret_post"]})) == "none"


def test_a_server_without_metadata_has_basic_for_a_secret() -> None:
    # RFC 8414 section 2
    client = OAuthClientInformationFull(client_id="an-id", client_secret=SECRET)
    assert auth_method(client, None) == "client_secret_basic"


async def test_a_refresh_authenticates_as_the_code_did() -> None:
    def token(request: httpx2.Request) -> httpx2.Response:
        given = {"token_type": "Bearer", "expires_in": 60, "refresh_token": "a-refresh-token"}
        return httpx2.Response(200, json={"access_token": f"token-{len(steps.requests)}", **given})

    steps = Steps(changed={LISTED: ["client_secret_post"]}, instead=registers(client_secret=SECRET))
    steps.instead[f"{ISSUER}/token"] = token
    clock = ManualClock(NOW)
    auth = steps.auth(clock=clock)
    await steps.walk(auth.provider(SERVER))
    clock.advance(100.0)
    steps.requests.clear()
    await steps.walk(auth.provider(SERVER))
    assert sent_credentials(steps) == (None, SECRET)
    assert b"grant_type=refresh_token" in sent_to(steps, "/token").content


# -- a client that is refused --------------------------------------------------------------------------------------


def refuses(steps: Steps) -> Steps:
    answer = {"error": "invalid_client", "error_description": "No."}
    steps.instead[f"{ISSUER}/token"] = lambda request: httpx2.Response(401, json=answer)
    return steps


async def test_a_client_that_is_refused_hears_how_it_authenticated_and_is_registered_again() -> None:
    listed = {LISTED: ["client_secret_post", "none"]}
    steps = refuses(Steps(changed=listed, instead=registers(client_secret=SECRET)))
    store = MemoryGrantStore()
    with pytest.raises(ReauthorizeError, match="authenticated by client_secret_post") as e:
        await steps.walk(steps.auth(store=store).provider(SERVER))
    assert "invalid_client" in e.value.message
    assert ".;" not in e.value.message
    assert "lists client_secret_post, none" in e.value.hint
    assert "tell its operator" in e.value.hint
    assert store.entries() == {}
    assert e.value.reference == "RFC 6749 section 5.2"


async def test_a_client_made_beforehand_that_is_refused_is_not_said_to_be_registered_anew() -> None:
    client = OAuthClientInformationFull(client_id="an-id", client_secret=SECRET, issuer=ISSUER)
    steps = refuses(Steps())
    with pytest.raises(ConfigurationError, match="the client authenticated by client_secret_basic") as caught:
        await steps.walk(steps.auth(client=client).provider(SERVER))
    assert "the client that was passed; its metadata lists no methods" in caught.value.hint
    assert "Call again" not in caught.value.hint
