"""What the SDK's client is given of a server: challenges and documents as this package's readers read them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb.oauth.errors import (
    AccessDenied,
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    ProtocolError,
    ReauthorizeError,
    RedirectRefused,
    SecurityError,
    StateMismatch,
    TokenRejected,
    TransientError,
)

pytestmark = pytest.mark.anyio

NAMED = "https://mcp.example/metadata.json"
AT_PATH = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
AT_ROOT = "https://mcp.example/.well-known/oauth-protected-resource"


class Challenging(Steps):
    """A server whose challenge is written by the test, one header line each."""

    def __init__(self, *, lines: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.lines = lines

    def _protected(self, request: httpx2.Request) -> httpx2.Response:
        if "authorization" in request.headers:
            return httpx2.Response(200)
        return httpx2.Response(401, headers=[(b"WWW-Authenticate", line.encode()) for line in self.lines])

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if str(request.url).startswith(NAMED):
            return httpx2.Response(200, json={"resource": self.server, "authorization_servers": [ISSUER]})
        return super().answer(request)


async def challenged(*lines: str) -> tuple[str, str | None, tuple[str, ...]]:
    """Return where the flow looked first, the scope that it asked for, and what it found."""
    steps = Challenging(lines=lines)
    provider = steps.auth().provider(SERVER)
    await steps.walk(provider)
    asked = httpx2.URL(steps.sent_to[0]).params.get("scope")
    return str(steps.requests[1].url), asked, provider.findings


@pytest.mark.parametrize(
    ("lines", "where", "scope"),
    [
        ([f'Bearer resource_metadata="{NAMED}", scope="a b"'], NAMED, "a b"),
        ([f'bEARER Resource_Metadata="{NAMED}", SCOPE=a'], NAMED, "a"),
        ([f'Basic realm="scope=admin", Bearer scope="a", resource_metadata="{NAMED}"'], NAMED, "a"),
        (
            [f'Basic resource_metadata="https://evil.example", Bearer resource_metadata="{NAMED}"'],
            NAMED,
            None,
        ),
        (['Basic realm="x"', f'Bearer resource_metadata="{NAMED}"'], NAMED, None),
        ([f'Negotiate abc==, Bearer scope="a", resource_metadata="{NAMED}"'], NAMED, "a"),
        ([f'Bearer scope="a", Bearer realm="mcp", resource_metadata="{NAMED}"'], NAMED, None),
        (['Bearer scope="a"', f'Bearer resource_metadata="{NAMED}"'], NAMED, None),
        ([r'Bearer error_description="set scope=\"admin\" there", scope="a"'], AT_PATH, "a"),
        ([r'Bearer error_description="resource_metadata=\"https://evil.example\""'], AT_PATH, None),
        ([f'Bearer resource_metadata="{NAMED}?scope=admin"'], f"{NAMED}?scop%65=admin", None),
        (['Bearer scope="resource_metadata=https://evil.example a"'], AT_PATH, "a"),
        (['Bearer scope="\u00e9 a"'], AT_PATH, None),
        ([f'Bearer scope="\u00e9 a", resource_metadata="{NAMED}"'], NAMED, None),
        ([r'Bearer scope="a\"b c"'], AT_PATH, "c"),
        (['Bearer scope=""'], AT_PATH, None),
        ([f'DPoP resource_metadata="{NAMED}"'], AT_PATH, None),
        ([], AT_PATH, None),
    ],
)
async def test_a_challenge_is_read_by_its_grammar_and_not_by_a_pattern(
    lines: list[str], where: str, scope: str | None
) -> None:
    assert await challenged(*lines) == (where, scope, ())


@pytest.mark.parametrize(
    "line",
    [
        f'Bearer realm="x", resource_metadata="{AT_ROOT}", resource_metadata="{NAMED}"',
        f"Bearer resource_metadata={NAMED}",
        f"Bearer resource_metadata='{NAMED}'",
        f'Bearer realm="x"; resource_metadata="{NAMED}"',
        f'Bearer resource_metadata="{NAMED}',
        'Bearer resource_metadata="metadata.json"',
    ],
)
async def test_a_challenge_that_cannot_be_read_counts_as_absent_and_is_a_finding(line: str) -> None:
    where, _, findings = await challenged(line)
    assert where == AT_PATH
    assert len(findings) == 1
    assert "RFC 9" in findings[0]


async def test_a_line_that_cannot_be_read_takes_no_other_along() -> None:
    where, scope, findings = await challenged("Bearer realm=;", f'Bearer resource_metadata="{NAMED}", scope="a"')
    assert (where, scope, len(findings)) == (NAMED, "a", 1)


async def test_what_was_passed_over_is_told_of_the_last_authorization_alone() -> None:
    """Otherwise each error would speak of days that are over, and who answers all calls so would fill the memory."""
    named = ["first", "", "second", "third"]
    steps = Steps(instead={SERVER: lambda request: _challenging(named.pop(0))})
    provider = steps.auth().provider(SERVER)
    await steps.walk(provider)
    assert ["first" in finding for finding in provider.findings] == [True]
    with pytest.raises(TokenRejected) as caught:
        await steps.walk(provider)
    (note,) = caught.value.__notes__
    assert [name in note for name in ("first", "second", "third")] == [False, True, True]


async def test_a_refusal_that_begins_no_authorization_adds_nothing_to_what_was_passed_over() -> None:
    named = ["first", "", "second", "third"]
    steps = Steps(instead={SERVER: lambda request: _challenging(named.pop(0), 401 if len(named) == 3 else 403)})
    provider = steps.auth().provider(SERVER)
    while named:
        await steps.walk(provider)
    assert ["first" in finding for finding in provider.findings] == [True]


def _challenging(named: str, status: int = 401) -> httpx2.Response:
    """Answer 200, or by a challenge that names its metadata in a way that leads nowhere."""
    headers = {"WWW-Authenticate": f'Bearer resource_metadata="{named}"'}
    return httpx2.Response(status, headers=headers) if named else httpx2.Response(200)


async def test_who_sent_the_request_sees_the_headers_that_came() -> None:
    steps = Challenging(lines=('Basic realm="x"', 'Bearer error="insufficient_scope", scope="a"'))
    flow = steps.auth().provider(SERVER).async_auth_flow(request := httpx2.Request("POST", SERVER))
    assert await anext(flow) is request
    response = steps.answer(request)
    await flow.asend(response)
    await flow.aclose()
    assert response.headers.get_list("www-authenticate") == list(steps.lines)


class SteppingUp(Challenging):
    """A server to which the first token is not enough for the second call: it answers 403, as the test wrote it."""

    first_token = "new"

    def _protected(self, request: httpx2.Request) -> httpx2.Response:
        sent = request.headers.get("authorization")
        if (sent, self.first_token) == ("Bearer token-1", "used"):
            return httpx2.Response(403, headers=[(b"WWW-Authenticate", line.encode()) for line in self.lines])
        self.first_token = "used" if sent == "Bearer token-1" else self.first_token
        return httpx2.Response(200 if sent else 401)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if str(request.url) == f"{ISSUER}/token":
            return httpx2.Response(200, json={"access_token": f"token-{len(self.sent_to)}", "token_type": "Bearer"})
        return super().answer(request)


@pytest.mark.parametrize(
    ("line", "scope"),
    [
        ('bEARER Error=insufficient_scope, SCOPE="a b"', "a b"),
        ('Basic realm="scope=admin", Bearer error="insufficient_scope", scope="a"', "a"),
        ('Bearer scope="a", error_description="error=invalid_token", error="insufficient_scope"', "a"),
        ('Bearer error="insufficient_scope"', None),
        ('Bearer error="insufficient_scope", scope="\u00e9 a"', None),
    ],
)
async def test_a_challenge_for_more_scopes_is_read_by_its_grammar_too(line: str, scope: str | None) -> None:
    steps = SteppingUp(lines=(line,))
    provider = steps.auth().provider(SERVER)
    assert [(await steps.walk(provider)).status_code for _ in range(2)] == [200, 200]
    assert [httpx2.URL(url).params.get("scope") for url in steps.sent_to] == [None, scope]


@pytest.mark.parametrize(
    "line",
    [
        'Bearer error="invalid_token", scope="a"',
        'Bearer scope="a"',
        'Basic error="insufficient_scope", scope="a"',
        'Bearer error_description="error=insufficient_scope", scope="a"',
        'Bearer error="insufficient_scope", error="insufficient_scope"',
    ],
)
async def test_a_refusal_that_asks_for_no_scope_sends_nobody_to_a_browser(line: str) -> None:
    steps = SteppingUp(lines=(line,))
    provider = steps.auth().provider(SERVER)
    assert [(await steps.walk(provider)).status_code for _ in range(2)] == [200, 403]
    assert len(steps.sent_to) == 1


@pytest.mark.parametrize(
    "line",
    ['Bearer scope="error=insufficient_scope"', f'Bearer resource_metadata="{NAMED}?error=insufficient_scope"'],
)
async def test_a_refusal_before_there_is_a_token_is_no_challenge_whatever_its_parameters_have_in_them(
    line: str,
) -> None:
    refused = httpx2.Response(403, headers={"WWW-Authenticate": line})
    steps = Steps(instead={SERVER: lambda request: refused})
    assert (await steps.walk()).status_code == 403
    assert steps.urls == [f"POST {SERVER}"]


# -- documents -----------------------------------------------------------------------------------------------------


def served(document: Any, status: int = 200, media: str = "application/json") -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda request: httpx2.Response(status, content=content, headers={"Content-Type": media})


PRM = {"resource": SERVER, "authorization_servers": [ISSUER]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resource_documentation", ""),
        ("scopes_supported", "a b"),
        ("jwks_uri", "keys.json"),
        ("bearer_methods_supported", {"header": True}),
        ("authorization_servers", [7, "", "auth", ISSUER]),
    ],
)
async def test_a_resource_document_with_a_bad_field_that_nobody_needs_is_used_without_it(
    field: str, value: Any
) -> None:
    steps = Steps(instead={AT_PATH: served({**PRM, field: value})})
    provider = steps.auth().provider(SERVER)
    await steps.walk(provider)
    assert steps.urls[2] == f"GET {ISSUER}/.well-known/oauth-authorization-server"
    assert len(provider.findings) == 1
    assert f"`{field}`" in provider.findings[0]
    assert AT_PATH in provider.findings[0]


@pytest.mark.parametrize(
    ("changes", "field", "error", "section"),
    [
        ({"resource": 7}, "resource", ProtocolError, "RFC 9728"),
        ({"resource": "api://1234"}, "resource", ProtocolError, "RFC 9728"),
        ({"resource": "https://other.example/mcp"}, "https://other.example/mcp", SecurityError, "RFC 9728 section 3.3"),
        ({"authorization_servers": ISSUER}, "authorization_servers", ProtocolError, "RFC 9728"),
        ({"authorization_servers": ["auth"]}, "authorization_servers", ProtocolError, "RFC 9728"),
    ],
)
async def test_a_bad_field_that_is_needed_is_named_and_no_other_server_is_guessed(
    changes: dict[str, Any], field: str, error: type[McpOAuthError], section: str
) -> None:
    steps = Steps(instead={AT_PATH: served({**PRM, **changes}), AT_ROOT: lambda request: httpx2.Response(404)})
    with pytest.raises(error) as caught:
        await steps.walk()
    assert AT_PATH in caught.value.message
    assert field in caught.value.message
    assert str(caught.value.reference).startswith(section)
    assert "mcp.example" in caught.value.hint, "the operator to tell"
    assert not [url for url in steps.urls if "oauth-authorization-server" in url]


@pytest.mark.parametrize(
    "first",
    [served(b"", 500), served(b"<html>", media="text/html"), served({"status": "ok"}), served({"resource": 7})],
    ids=["500", "a page", "a catch-all", "a document that cannot be used"],
)
async def test_what_is_no_document_at_the_first_place_is_passed_over_for_the_next(first: Any) -> None:
    steps = Steps(instead={AT_PATH: first})
    await steps.walk()
    assert f"GET {AT_ROOT}" in steps.urls


@pytest.mark.parametrize(
    ("field", "value"),
    [("op_policy_uri", ""), ("service_documentation", "docs"), ("scopes_supported", "a b"), ("jwks_uri", None)],
)
async def test_a_server_document_with_a_bad_field_that_nobody_needs_is_used_without_it(field: str, value: Any) -> None:
    steps = Steps(changed={field: value})
    provider = steps.auth().provider(SERVER)
    await steps.walk(provider)
    assert steps.sent_to
    assert all(f"`{field}`" in one for one in provider.findings)


async def test_a_byte_order_mark_is_a_finding_and_no_reason_to_stop() -> None:
    steps = Steps()
    steps.instead = {f"{ISSUER}/.well-known/": served(b"\xef\xbb\xbf" + json.dumps(steps.metadata()).encode())}
    provider = steps.auth().provider(SERVER)
    await steps.walk(provider)
    assert "byte order mark" in provider.findings[0]


@pytest.mark.parametrize(
    ("changes", "field", "error", "section"),
    [
        ({"token_endpoint": "/token"}, '"/token"', ProtocolError, "RFC 8414 section 2"),
        ({"authorization_endpoint": None}, "authorization_endpoint", ProtocolError, "RFC 8414 section 2"),
        ({"issuer": f"{ISSUER}/"}, "only a slash at the end", IssuerMismatch, "RFC 8414 section 3.3"),
        ({"issuer": None}, "null", IssuerMismatch, "RFC 8414 section 3.3"),
        ({"code_challenge_methods_supported": "S256"}, '"S256" is not a list', SecurityError, "MCP"),
        ({"registration_endpoint": "/register"}, '"/register"', ConfigurationError, "RFC 7591"),
        ({"registration_endpoint": ""}, "registration_endpoint", ConfigurationError, "RFC 7591"),
    ],
)
async def test_what_is_wrong_with_a_server_document_is_in_the_error_that_comes_of_it(
    changes: dict[str, Any], field: str, error: type[McpOAuthError], section: str
) -> None:
    steps = Steps(changed=changes)
    with pytest.raises(error) as caught:
        await steps.walk()
    assert field in caught.value.message
    assert caught.value.reference.startswith(section)
    assert steps.sent_to == []


async def test_an_authorization_server_without_metadata_is_told_with_the_places_that_were_asked() -> None:
    steps = Steps(instead={f"{ISSUER}/.well-known/": served(b"", 404)})
    with pytest.raises(ProtocolError, match="publishes no metadata") as caught:
        await steps.walk()
    places = [f"{ISSUER}/.well-known/{name} (404)" for name in ("oauth-authorization-server", "openid-configuration")]
    assert caught.value.message.endswith(f"asked were {', '.join(places)}.")


def elsewhere(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(302, headers={"Location": "https://elsewhere.example/"})


def missing(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(404)


@pytest.mark.parametrize(
    ("place", "first", "error"),
    [
        (AT_PATH, lambda request: httpx2.Response(429), TransientError),
        (AT_PATH, served({**PRM, "resource": "https://other.example/mcp"}), SecurityError),
        (f"{ISSUER}/.well-known/oauth-authorization-server", lambda request: httpx2.Response(429), TransientError),
        (f"{ISSUER}/.well-known/oauth-authorization-server", served({"issuer": "https://evil.example"}), SecurityError),
    ],
)
async def test_a_plea_for_patience_and_what_belongs_to_somebody_else_end_the_search(
    place: str, first: Any, error: type[McpOAuthError]
) -> None:
    steps = Steps(instead={place: first})
    with pytest.raises(error):
        await steps.walk()
    assert steps.urls[-1] == f"GET {place}"


async def test_of_what_was_passed_over_only_a_document_that_is_wrong_is_a_finding() -> None:
    steps = Steps(instead={AT_PATH: served({**PRM, "resource": 7})})
    wrong = steps.auth().provider(SERVER)
    await steps.walk(wrong)
    assert len(wrong.findings) == 1
    assert AT_PATH in wrong.findings[0]
    for absent in (elsewhere, missing, served({"resource": SERVER})):
        steps = Steps(instead={AT_PATH: absent})
        provider = steps.auth().provider(SERVER)
        await steps.walk(provider)
        assert provider.findings == ()


@pytest.mark.parametrize("issuer", ["https://mcp.example", "https://mcp.example/"])
@pytest.mark.parametrize("absent", [elsewhere, missing])
async def test_a_server_without_a_document_of_its_own_is_one_of_2025_03_26_whose_origin_issues(
    issuer: str, absent: Any
) -> None:
    steps = Steps(authorization_servers=(issuer,), instead={AT_PATH: absent, AT_ROOT: missing})
    assert (await steps.walk()).status_code == 200
    assert "GET https://mcp.example/.well-known/oauth-authorization-server" in steps.urls


@pytest.mark.parametrize("servers", [("https://AUTH.example",), (ISSUER, "https://other.example")])
async def test_the_first_authorization_server_is_asked_and_has_to_call_itself_as_the_resource_wrote_it(
    servers: tuple[str, ...],
) -> None:
    steps = Steps(authorization_servers=servers)
    assert (await steps.walk()).status_code == 200
    steps = Steps(authorization_servers=servers, changed={"issuer": "https://Auth.example"})
    with pytest.raises(IssuerMismatch):
        await steps.walk()


async def test_metadata_that_cannot_be_had_ends_the_flow_and_a_document_that_is_wrong_counts_most() -> None:
    at_first = f"{ISSUER}/.well-known/oauth-authorization-server"
    steps = Steps(instead={f"{ISSUER}/.well-known/": elsewhere})
    with pytest.raises(RedirectRefused) as redirected:
        await steps.walk()
    assert at_first in redirected.value.message
    with pytest.raises(ProtocolError, match="`token_endpoint` is wrong"):
        await Steps(instead={at_first: elsewhere}, changed={"token_endpoint": "/token"}).walk()
    # Of an origin that was guessed it is said, too.
    guessed: dict[str, Callable[[httpx2.Request], httpx2.Response]] = {AT_PATH: missing, AT_ROOT: missing}
    with pytest.raises(ProtocolError, match="`token_endpoint` is wrong"):
        await Steps(
            authorization_servers=("https://mcp.example",), instead=guessed, changed={"token_endpoint": "/token"}
        ).walk()


def _back(**answer: str) -> Callable[[str], Awaitable[str]]:
    """Return a person who comes back with this beside, or in place of, the state that was sent."""

    async def paste(url: str) -> str:
        asked = httpx2.URL(url).params
        return str(httpx2.URL(asked["redirect_uri"], params={"state": asked["state"], **answer}))

    return paste


# Each by another way out of the SDK's flow.
@pytest.mark.parametrize(
    ("instead", "paste", "ends"),
    [
        ({f"{ISSUER}/register": ({"error": "no"}, 400)}, None, McpOAuthError),
        ({f"{ISSUER}/token": ({"error": "invalid_grant"}, 400)}, None, ReauthorizeError),
        ({f"{ISSUER}/token": ({"error": "server_error"}, 503)}, None, TransientError),
        ({}, _back(error="access_denied"), AccessDenied),
        ({}, _back(code="a-code", state="another"), StateMismatch),
        ({}, _back(code="a-code", iss="https://evil.example"), IssuerMismatch),
        ({f"{ISSUER}/.well-known/": ({**PRM, "issuer": "https://evil.example"}, 200)}, None, McpOAuthError),
    ],
    ids=["registration", "code", "bad day", "declined", "state", "issuer", "metadata"],
)
async def test_what_was_passed_over_is_noted_at_the_error_by_which_the_flow_ends(
    instead: dict[str, tuple[Any, int]], paste: Any, ends: type[McpOAuthError]
) -> None:
    answers = {place: served(*answer) for place, answer in instead.items()}
    steps = Steps(instead={AT_PATH: served({**PRM, "jwks_uri": ""}), **answers})
    provider = steps.auth(paste=paste or steps.paste).provider(SERVER)
    with pytest.raises(ends) as caught:
        await steps.walk(provider)
    assert "`jwks_uri`" in caught.value.__notes__[0]
