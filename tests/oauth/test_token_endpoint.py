"""The token endpoint: how the client authenticates, and what each of a server's answers means."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import httpx
import pytest
from scripted_server import Script
from starlette.responses import JSONResponse, Response

from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidAuthorizationCode,
    InvalidCodeVerifier,
    McpOAuthError,
    NotConfigured,
    OAuthErrorResponse,
    ProtocolError,
    RateLimited,
    RedirectRefused,
    RefreshRejected,
    ServerUnavailable,
)
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.oauth.masking import remember
from mcp_oauth_nb.oauth.revocation import revoke
from mcp_oauth_nb.oauth.settings import IsolatedSettings, Settings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.oauth.token_endpoint import GrantType, client_authentication, post, read, read_token

pytestmark = pytest.mark.anyio

URL = "https://id.example/token"
NOW = 1_700_000_000.0
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
GRANTED = {"access_token": "an-access-token", "token_type": "bearer", "scope": "repo,gist"}
CANARY = "a-token-that-must-not-be-quoted"


def answer(body: Any, *, status: int = 200, media: str = JSON, **headers: str) -> Answer:
    """An answer of the token endpoint; what is not bytes or text is sent as JSON."""
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    content = body if isinstance(body, bytes) else body.encode()
    fields = {"content-type": media} if media else {}
    return Answer(
        URL, status, httpx.Headers({**fields, **{k.replace("_", "-"): v for k, v in headers.items()}}), content
    )


def understood(given: Answer, grant: GrantType = "authorization_code") -> dict[str, Any]:
    return read(given, grant=grant, now=NOW)


def refusal(given: Answer, grant: GrantType = "authorization_code") -> McpOAuthError:
    with pytest.raises(McpOAuthError) as caught:
        understood(given, grant)
    return caught.value


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", [JSON, "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
def test_a_json_answer_gives_its_fields(media: str) -> None:
    assert understood(answer(GRANTED, media=media)) == GRANTED


def test_githubs_form_encoded_answer_gives_its_fields() -> None:
    body = "access_token=an-access-token&scope=repo%2Cgist&token_type=bearer"
    assert understood(answer(body, media=FORM)) == GRANTED


def test_an_empty_scope_in_a_form_is_an_empty_scope_not_a_missing_one() -> None:
    assert understood(answer("access_token=a&scope=&token_type=bearer", media=FORM))["scope"] == ""


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_2xx_is_a_success(status: int) -> None:
    assert understood(answer(GRANTED, status=status)) == GRANTED


def test_an_error_that_is_null_is_no_error() -> None:
    assert understood(answer({**GRANTED, "error": None}))["access_token"] == "an-access-token"


# -- OAuth errors --------------------------------------------------------------------------------------------------

ERRORS: list[tuple[GrantType, dict[str, str], type[McpOAuthError]]] = [
    ("authorization_code", {"error": "bad_verification_code"}, InvalidAuthorizationCode),
    ("authorization_code", {"error": "invalid_grant"}, InvalidAuthorizationCode),
    (
        "authorization_code",
        {"error": "invalid_grant", "error_description": "PKCE verification failed"},
        InvalidCodeVerifier,
    ),
    (
        "authorization_code",
        {"error": "invalid_grant", "error_description": "The code_verifier is wrong"},
        InvalidCodeVerifier,
    ),
    (
        "authorization_code",
        {"error": "bad_verification_code", "error_description": "code_challenge mismatch"},
        InvalidCodeVerifier,
    ),
    ("refresh_token", {"error": "bad_refresh_token"}, RefreshRejected),
    ("refresh_token", {"error": "invalid_grant"}, RefreshRejected),
    ("refresh_token", {"error": "invalid_grant", "error_description": "bad verifier"}, RefreshRejected),
    ("authorization_code", {"error": "incorrect_client_credentials"}, ConfigurationError),
    ("refresh_token", {"error": "invalid_client"}, ConfigurationError),
    ("authorization_code", {"error": "unauthorized_client"}, ConfigurationError),
    ("authorization_code", {"error": "redirect_uri_mismatch"}, ConfigurationError),
    ("authorization_code", {"error": "access_denied"}, AccessDenied),
    ("authorization_code", {"error": "unsupported_grant_type"}, OAuthErrorResponse),
    ("authorization_code", {"error": "unverified_user_email"}, OAuthErrorResponse),
    ("refresh_token", {"error": "invalid_scope"}, OAuthErrorResponse),
    ("authorization_code", {"error": "invalid_target"}, OAuthErrorResponse),
]


@pytest.mark.parametrize(("grant", "body", "expected"), ERRORS)
@pytest.mark.parametrize("status", [200, 400, 401], ids=["as GitHub says it", "400", "401"])
def test_an_oauth_error_is_typed_by_what_helps_whatever_its_status(
    grant: GrantType, body: dict[str, str], expected: type[McpOAuthError], status: int
) -> None:
    error = refusal(answer(body, status=status), grant)
    assert type(error) is expected
    assert body["error"] in error.message
    assert error.hint


def test_an_error_may_come_form_encoded_too() -> None:
    error = refusal(answer("error=bad_verification_code&error_description=It+is+expired.", media=FORM))
    assert type(error) is InvalidAuthorizationCode
    assert "(It is expired)." in error.message


def test_the_variables_at_fault_are_named() -> None:
    credentials = refusal(answer({"error": "incorrect_client_credentials"}))
    redirect = refusal(answer({"error": "redirect_uri_mismatch"}))
    assert isinstance(credentials, ConfigurationError)
    assert isinstance(redirect, ConfigurationError)
    assert credentials.variables == ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    assert redirect.variables == ("OAUTH_REDIRECT_URI",)


def test_an_error_without_a_class_keeps_its_code() -> None:
    error = refusal(answer({"error": "unsupported_grant_type"}))
    assert isinstance(error, OAuthErrorResponse)
    assert error.code == "unsupported_grant_type"


@pytest.mark.parametrize("code", [7, True, ["invalid_grant"], {"code": "invalid_grant"}])
def test_an_error_that_is_no_string_is_a_protocol_error(code: object) -> None:
    assert type(refusal(answer({"error": code}))) is ProtocolError


@pytest.mark.parametrize("description", [7, None, ["PKCE"], {"a": 1}, ""])
def test_a_description_that_is_no_text_is_left_out(description: object) -> None:
    error = refusal(answer({"error": "invalid_grant", "error_description": description}))
    assert type(error) is InvalidAuthorizationCode
    assert error.message == "The token endpoint answered invalid_grant."


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_beside_a_token_is_refused_as_a_whole(status: int) -> None:
    error = refusal(answer({"error": "invalid_grant", "access_token": CANARY, "token_type": "bearer"}, status=status))
    assert type(error) is ProtocolError
    assert "both an error and a token" in error.message
    assert CANARY not in str(error)


def test_an_error_beside_a_token_that_is_null_is_the_error() -> None:
    assert type(refusal(answer({"error": "invalid_grant", "access_token": None}))) is InvalidAuthorizationCode


def test_what_a_server_says_is_escaped_and_its_echo_of_a_secret_masked() -> None:
    secret = "-".join(["the", "secret", "that", "was", "sent"])
    remember(secret)
    error = refusal(
        answer({"error": f"x{secret}", "error_description": f"\x1b[2J\u202e{secret} is wrong\r\nINFO: all fine"})
    )
    assert secret not in f"{error} {error!r} {error.code}"  # type: ignore[attr-defined]
    assert error.message.isprintable()
    assert "\\x1b[2J\\u202e" in error.message


# -- neither -------------------------------------------------------------------------------------------------------

COMPLETE = json.dumps({**GRANTED, "access_token": CANARY})
NONSENSE = [
    ("truncated", COMPLETE[:-1]),
    ("empty", ""),
    ("two values", COMPLETE * 2),
    ("duplicate keys", COMPLETE[:-1] + ', "access_token": "b"}'),
    ("not a number", COMPLETE[:-1] + ', "expires_in": NaN}'),
    ("infinite", COMPLETE[:-1] + ', "expires_in": -Infinity}'),
    ("array at the root", f"[{COMPLETE}]"),
    ("string at the root", json.dumps(CANARY)),
    ("null", "null"),
    ("byte order mark", b"\xef\xbb\xbf" + COMPLETE.encode()),
    ("UTF-16", COMPLETE.encode("utf-16")),
    ("not UTF-8", b'{"access_token": "\xff' + CANARY.encode() + b'"}'),
    ("deep", '{"a":' * 100_000 + "1" + "}" * 100_000),
    ("huge number", '{"expires_in": ' + "9" * 10_000 + "}"),
]


@pytest.mark.parametrize(("name", "body"), NONSENSE, ids=[name for name, _ in NONSENSE])
@pytest.mark.parametrize("status", [200, 400])
def test_nonsense_labelled_json_is_a_protocol_error_that_does_not_quote_it(
    name: str, body: str | bytes, status: int
) -> None:
    error = refusal(answer(body, status=status))
    assert type(error) is ProtocolError
    assert CANARY not in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "media",
    ["text/html; charset=utf-8", "text/plain", "application/xml", "application/jsonp", "multipart/form-data", ""],
)
@pytest.mark.parametrize("body", [json.dumps(GRANTED), f"access_token={CANARY}&token_type=bearer", "<h1>Sign in</h1>"])
@pytest.mark.parametrize("status", [200, 401])
def test_only_what_is_labelled_json_or_form_is_read(media: str, body: str, status: int) -> None:  # fmt: skip
    error = refusal(answer(body, status=status, media=media))
    assert type(error) is ProtocolError
    assert (media.partition(";")[0] or "no content type") in error.message
    assert CANARY not in str(error)


def test_a_hostile_content_type_is_escaped() -> None:
    assert refusal(answer("", media="text/\x1b[2Jhtml")).message.isprintable()


def test_a_form_that_repeats_a_field_is_a_protocol_error() -> None:
    error = refusal(answer(f"access_token={CANARY}&access_token=b&token_type=bearer", media=FORM))
    assert type(error) is ProtocolError
    assert CANARY not in str(error)


@pytest.mark.parametrize("status", [199, 300, 304, 400, 401, 403, 404, 418, 499])
def test_a_refusal_without_an_oauth_error_is_a_protocol_error(status: int) -> None:
    error = refusal(answer(GRANTED, status=status))
    assert type(error) is ProtocolError
    assert f"answered {status} without an OAuth error" in error.message


# -- later ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("media", [JSON, "text/html"])
def test_5xx_is_transient_whatever_is_in_it(status: int, media: str) -> None:
    error = refusal(answer({"error": "invalid_grant"}, status=status, media=media), "refresh_token")
    assert type(error) is ServerUnavailable
    assert error.kind == "transient"
    assert error.retry_at is None


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("999999999999", 86400.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tue, 14 Nov 2000 22:15:20 GMT", 0.0),
        ("Tue, 14 Nov 2033 22:15:20 GMT", 86400.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.parametrize(("status", "expected"), [(429, RateLimited), (503, ServerUnavailable)])
def test_retry_after_says_when_to_come_back(
    status: int, expected: type[RateLimited | ServerUnavailable], value: str | None, wait: float | None
) -> None:
    error = refusal(answer("", status=status, **({} if value is None else {"retry_after": value})))
    assert type(error) is expected
    assert error.retry_at == (None if wait is None else NOW + wait)


# -- the request ---------------------------------------------------------------------------------------------------

ODD_ID, ODD_SECRET = "id:with/ödd%chars&=+ ", "se:cret+with %26&= ünd~"


def configured(**changes: Any) -> Settings:
    return IsolatedSettings(
        **{"oauth_client_id": "an-id", "oauth_client_secret": "a-secret", "oauth_token_url": URL, **changes}
    )


async def sent(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Post one field; return the headers and the form as they arrived."""
    server = Script(Response(json.dumps(GRANTED), media_type=JSON))
    await post(settings, server.client, URL, {"grant_type": "refresh_token"})
    (request,) = server.seen
    assert (request.method, request.url) == ("POST", URL)
    return dict(request.headers), dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))


async def test_the_request_is_a_form_and_asks_for_json() -> None:
    headers, form = await sent(configured())
    assert headers["accept"] == "application/json"
    assert headers["content-type"] == FORM
    assert form["grant_type"] == "refresh_token"


async def test_client_secret_post_puts_the_credentials_into_the_form() -> None:
    headers, form = await sent(configured(oauth_client_id=ODD_ID.strip(), oauth_client_secret=ODD_SECRET))
    assert (form["client_id"], form["client_secret"]) == (ODD_ID.strip(), ODD_SECRET)
    assert "authorization" not in headers


async def test_client_secret_basic_encodes_both_before_they_are_joined() -> None:
    headers, form = await sent(
        configured(
            oauth_client_id=ODD_ID.strip(),
            oauth_client_secret=ODD_SECRET,
            oauth_token_endpoint_auth_methods="client_secret_basic",
        )
    )
    scheme, credentials = headers["authorization"].split(" ")
    user, password = base64.b64decode(credentials).decode("ascii").split(":")  # one colon: those inside are encoded
    assert scheme == "Basic"
    assert (unquote_plus(user), unquote_plus(password)) == (ODD_ID.strip(), ODD_SECRET)
    assert set(form) == {"grant_type"}


@pytest.mark.parametrize(
    ("methods", "basic"),
    [
        ("client_secret_post,client_secret_basic", False),
        ("client_secret_basic,client_secret_post", True),
        ("private_key_jwt,client_secret_basic", True),
        ("none,client_secret_post", False),
    ],
)
def test_the_first_method_that_is_known_here_is_used(methods: str, basic: bool) -> None:
    auth, fields = client_authentication(configured(oauth_token_endpoint_auth_methods=methods))
    assert (auth is not None, bool(fields)) == (basic, not basic)


def test_no_known_method_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError, match="OAUTH_TOKEN_ENDPOINT_AUTH_METHODS") as caught:
        client_authentication(configured(oauth_token_endpoint_auth_methods="private_key_jwt"))
    assert caught.value.variables == ("OAUTH_TOKEN_ENDPOINT_AUTH_METHODS",)


def test_a_slash_in_basic_credentials_is_encoded_too() -> None:
    method = {"oauth_token_endpoint_auth_methods": "client_secret_basic"}
    given = configured(oauth_client_id="a/b", oauth_client_secret="secret/of/mine", **method)
    assert client_authentication(given) == (("a%2Fb", "secret%2Fof%2Fmine"), {})


@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable"])
def test_an_error_that_says_later_is_transient(code: str) -> None:
    assert type(refusal(answer({"error": code}, status=400), "refresh_token")) is ServerUnavailable


# -- a refresh -----------------------------------------------------------------------------------------------------


def test_what_was_odd_about_a_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        token = read_token(answer({"access_token": "an-access-token"}), grant="refresh_token", now=NOW)
    assert len(token.findings) == 1
    assert caplog.messages == [f"{URL}: {finding}" for finding in token.findings]


def test_a_refusal_in_oauths_words_is_passed_on_as_it_was_said() -> None:
    with pytest.raises(RefreshRejected) as caught:
        read_token(answer({"error": "invalid_grant"}, status=400), grant="refresh_token", now=NOW)
    assert caught.value.message == "The token endpoint answered invalid_grant."
    assert (caught.value.final, caught.value.__cause__) == (True, None)


async def test_nothing_is_sent_without_credentials() -> None:
    server = Script(Response())
    with pytest.raises(NotConfigured):
        await post(IsolatedSettings(), server.client, URL, {})
    assert server.seen == []


# -- revocation, RFC 7009 ------------------------------------------------------------------------------------------

REVOKE_URL = "https://id.example/revoke"


async def revoked(server: Script, token: Token) -> list[dict[str, str]]:
    await revoke(configured(), server.client, REVOKE_URL, token, now=NOW)
    assert set(server.urls) == {REVOKE_URL}
    return [dict(parse_qsl(request.body.decode())) for request in server.seen]


async def test_the_refresh_token_is_revoked_first_then_the_access_token() -> None:
    first, second = await revoked(Script(Response()), Token("an-access-token", refresh_token="a-refresh-token"))
    assert (first["token"], first["token_type_hint"]) == ("a-refresh-token", "refresh_token")
    assert (second["token"], second["token_type_hint"]) == ("an-access-token", "access_token")
    assert first["client_id"] == "an-id"


async def test_without_a_refresh_token_there_is_one_request() -> None:
    (only,) = await revoked(Script(Response()), Token("an-access-token"))
    assert only["token_type_hint"] == "access_token"


@pytest.mark.parametrize(
    ("status", "expected"), [(503, ServerUnavailable), (429, RateLimited), (400, ProtocolError), (404, ProtocolError)]
)
async def test_any_other_answer_than_200_is_an_error(status: int, expected: type[McpOAuthError]) -> None:
    with pytest.raises(expected, match=str(status)) as caught:
        await revoked(Script(Response(status_code=status)), Token("an-access-token"))
    assert type(caught.value) is expected
    assert "an-access-token" not in str(caught.value)


UNSUPPORTED = {"error": "unsupported_token_type"}


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_a_token_of_a_kind_that_the_server_never_revokes_is_no_error_and_costs_the_other_nothing(
    kind: str,
) -> None:
    """cloudflare/cloudflare-os#41, better-auth/better-auth#9970: one kind is refused, and the other stayed good."""
    answers = [Response(), Response()]
    answers[kind == "access_token"] = JSONResponse(UNSUPPORTED, 400)
    server = Script(*answers)
    token = Token("an-access-token", refresh_token="a-refresh-token")
    assert not await revoke(configured(), server.client, REVOKE_URL, token, now=NOW)
    asked = [dict(parse_qsl(request.body.decode()))["token_type_hint"] for request in server.seen]
    assert asked == ["refresh_token", "access_token"]


async def test_a_refresh_token_that_is_not_revoked_is_told_after_the_access_token_was() -> None:
    server = Script(Response(status_code=400), Response())
    with pytest.raises(ProtocolError, match="400"):
        await revoked(server, Token("an-access-token", refresh_token="a-refresh-token"))
    assert len(server.seen) == 2
    assert await revoke(configured(), Script(Response()).client, REVOKE_URL, Token("an-access-token"), now=NOW)


async def test_a_revocation_does_not_follow_redirects() -> None:
    server = Script(Response(status_code=307, headers={"location": "https://evil.example/"}))
    with pytest.raises(RedirectRefused):
        await revoked(server, Token("an-access-token"))
    assert server.urls == [REVOKE_URL]
