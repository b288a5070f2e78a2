"""The judge of metadata documents: what is used, what is left out, and what the search ends with."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from mcp_oauth_nb.errors import IssuerMismatch, ProtocolError, RedirectRefused, SecurityError, ServerUnavailable
from mcp_oauth_nb.http import Answer
from mcp_oauth_nb.metadata_reading import Reading, dumped, read_resource_metadata, read_server_metadata

NOW = 1_800_000_000.0
SERVER = "https://mcp.example/mcp"
ISSUER = "https://id.example"
PLACE = "https://mcp.example/.well-known/x"
RESOURCE = {"resource": SERVER, "authorization_servers": [ISSUER]}
AUTHORITY = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "code_challenge_methods_supported": ["S256"],
}


def answer(body: Any, status: int = 200, media: str = "application/json", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(PLACE, status, httpx.Headers({"Content-Type": media, **headers}), content)


def resource(body: Any, status: int = 200, media: str = "application/json", **headers: str) -> Reading:
    return read_resource_metadata(answer(body, status, media, **headers), SERVER, now=NOW)


def server(body: Any, *issuers: str) -> Reading:
    return read_server_metadata(answer(body), issuers or (ISSUER,), now=NOW)


def test_a_good_document_has_no_flaw_and_is_whole() -> None:
    assert resource(RESOURCE) == Reading(RESOURCE)
    assert server(AUTHORITY) == Reading(AUTHORITY)
    assert json.loads(dumped(AUTHORITY)) == AUTHORITY


def test_what_nobody_reads_is_not_passed_on() -> None:
    assert resource({**RESOURCE, "x": "\ud800"}).document == RESOURCE


@pytest.mark.parametrize(
    ("given", "absent"),
    [
        (resource(b"", 404), "not here"),
        (resource(b"", 204), "not here"),
        (resource(b"", 304), "not here"),
        (resource(RESOURCE, media="text/html"), "a web page"),
        (resource(b"hello", media="text/plain"), "no JSON"),
        (resource({"status": "ok"}), "another document"),
        (resource(AUTHORITY), "another document"),
        (server(RESOURCE), "another document"),
    ],
)
def test_where_no_document_is_the_next_place_is_tried(given: Reading, absent: str) -> None:
    assert given == Reading(absent=absent)
    assert not given.unusable


def test_a_redirect_elsewhere_is_no_document_and_told_if_there_is_none() -> None:
    reading = resource(b"", 302, Location="https://login.example")
    assert (reading.document, reading.absent, reading.unusable) == (None, "redirects elsewhere", False)
    assert isinstance(reading.error, RedirectRefused)
    assert "mcp.example" in reading.error.hint
    assert reading.error.reference == "RFC 9728 section 3.2"


@pytest.mark.parametrize("value", [None, [], ""])
def test_a_document_that_names_no_authorization_server_is_as_good_as_none(value: Any) -> None:
    reading = resource({**RESOURCE, "authorization_servers": value})
    assert (reading.document, reading.field, reading.unusable) == (None, "authorization_servers", False)
    assert reading.absent == "names no authorization server"
    assert isinstance(reading.error, ProtocolError)
    assert "authorization_servers" in reading.error.message


def test_a_server_error_is_the_searchs_end_only_if_no_other_place_has_it() -> None:
    reading = resource(b"", 500)
    assert isinstance(reading.error, ServerUnavailable)
    assert (reading.stops, reading.unusable, reading.absent) == (False, True, "")


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (503, {"Retry-After": "5"})])
def test_who_asks_for_patience_is_left_alone(status: int, headers: dict[str, str]) -> None:
    assert resource(b"", status, **headers).stops


@pytest.mark.parametrize("body", [b"{", b'{"resource": 1, "resource": 2}', b"[]"])
def test_json_that_is_no_one_object_cannot_be_used(body: bytes) -> None:
    reading = resource(body)
    assert reading.unusable
    assert isinstance(reading.error, ProtocolError)
    assert reading.error.message.startswith(PLACE)
    assert reading.error.reference == "RFC 9728 section 3.2"


def test_a_label_and_a_byte_order_mark_are_findings() -> None:
    reading = resource(b"\xef\xbb\xbf" + json.dumps(RESOURCE).encode(), media="text/plain")
    assert reading.document == RESOURCE
    assert [flaw.field for flaw in reading.flaws] == ["", ""]
    assert "byte order mark" in reading.findings[0]
    assert "labelled text/plain" in reading.findings[1]
    assert "no content type" in resource(RESOURCE, media="").findings[0]


@pytest.mark.parametrize(
    ("named", "finding"),
    [
        (SERVER, ""),
        (f"{SERVER}/", ""),
        ("https://MCP.example:443/mcp", ""),
        ("https://mcp.example", "more than this server"),
        ("https://mcp.example/", "more than this server"),
    ],
)
def test_a_resource_is_this_server_or_what_it_stands_under(named: str, finding: str) -> None:
    reading = resource({**RESOURCE, "resource": named})
    assert reading.document is not None
    assert [finding in one for one in reading.findings] == [True] * bool(finding)


@pytest.mark.parametrize("named", ["https://mcp.example/mcp/v2", "https://mcp.example/?x", "http://mcp.example/mcp"])
def test_another_resource_ends_the_search(named: str) -> None:
    reading = resource({**RESOURCE, "resource": named})
    assert (reading.document, reading.field, reading.stops) == (None, "resource", True)
    assert isinstance(reading.error, SecurityError)
    assert reading.error.reference == "RFC 9728 section 3.3"
    assert "differ" in reading.error.message


def test_good_authorization_servers_are_used_without_the_bad_and_the_choice_is_told() -> None:
    reading = resource({**RESOURCE, "authorization_servers": ["", ISSUER, 7, "https://[", "https://other.example"]})
    assert reading.document == {**RESOURCE, "authorization_servers": [ISSUER, "https://other.example"]}
    assert [flaw.field for flaw in reading.flaws] == ["authorization_servers", ""]
    assert '""' in reading.findings[0]
    assert "2 authorization servers" in reading.findings[1]


@pytest.mark.parametrize(("named", "stops"), [(None, False), (7, False), (f"{ISSUER}/", True), ("https://x", True)])
def test_a_document_of_another_issuer_ends_the_search_and_one_of_nobody_does_not(named: Any, stops: bool) -> None:
    reading = server({**AUTHORITY, "issuer": named})
    assert (reading.document, reading.field, reading.stops) == (None, "issuer", stops)
    assert isinstance(reading.error, IssuerMismatch)


def test_a_server_of_2025_03_26_may_write_its_origin_either_way() -> None:
    assert server({**AUTHORITY, "issuer": f"{ISSUER}/"}, ISSUER, f"{ISSUER}/").document is not None


@pytest.mark.parametrize(
    ("field", "value", "left_out"),
    [
        ("op_tos_uri", "", True),
        ("scopes_supported", "a b", True),
        ("registration_endpoint", "/register", True),
        ("jwks_uri", 7, False),
        ("registration_endpoint", None, False),
        ("response_types_supported", None, False),
    ],
)
def test_what_is_wrong_and_not_needed_is_left_out_and_told(field: str, value: Any, left_out: bool) -> None:
    reading = server({**AUTHORITY, field: value})
    assert reading.document is not None
    assert [flaw.field for flaw in reading.flaws] == [field] * left_out
    if left_out:
        assert field not in reading.document
        assert "RFC 8414" in reading.findings[0] or "RFC 7591" in reading.findings[0]


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("value", [None, "", "/x", 7, "javascript:x"])
def test_what_is_needed_and_wrong_is_named_with_document_value_and_section(field: str, value: Any) -> None:
    reading = server({**AUTHORITY, field: value})
    assert (reading.document, reading.field, reading.stops, reading.unusable) == (None, field, False, True)
    assert isinstance(reading.error, ProtocolError)
    assert PLACE in reading.error.message
    assert f"`{field}`" in reading.error.message
    assert "null" in reading.error.message or json.dumps(value) in reading.error.message
    assert "mcp.example" in reading.error.hint
    assert reading.error.reference.startswith("RFC 8414 section 2")
