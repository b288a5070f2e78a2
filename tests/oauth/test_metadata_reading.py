"""The judge of metadata documents: what is used, what is left out, and what the search ends with."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from mcp_oauth_nb.oauth.errors import IssuerMismatch, ProtocolError, RedirectRefused, SecurityError, ServerUnavailable
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.oauth.metadata_reading import Reading, dumped, read_resource_metadata, read_server_metadata

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
    ("body", "status", "media", "absent"),
    [
        (b"", 404, "", "not here"),
        (b"", 204, "", "not here"),
        (b"", 304, "", "not here"),
        (RESOURCE, 200, "text/html", "a web page"),
        (b"hello", 200, "text/plain", "no JSON"),
        ({"status": "ok"}, 200, "application/json", "another document"),
        (AUTHORITY, 200, "application/json", "another document"),
    ],
)
def test_where_no_document_is_the_next_place_is_tried(body: Any, status: int, media: str, absent: str) -> None:
    reading = resource(body, status, media)
    assert reading == Reading(absent=absent)
    assert not reading.unusable


def test_a_resources_document_is_another_one_where_an_authorization_server_is_looked_for() -> None:
    assert server(RESOURCE) == Reading(absent="another document")


def test_only_a_redirect_leads_elsewhere() -> None:
    assert resource(b"", 400, Location="/b") == Reading(absent="not here")
    assert resource(RESOURCE, Location="/b") == Reading(RESOURCE)


@pytest.mark.parametrize("status", [300, 302, 308])
def test_a_redirect_elsewhere_is_no_document_and_told_if_there_is_none(status: int) -> None:
    reading = resource(b"", status, Location="https://login.example")
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
    assert [flaw.field for flaw in reading.flaws] == ["resource"] * bool(finding)


@pytest.mark.parametrize("named", ["https://mcp.example/mcp/v2", "https://mcp.example/?x", "http://mcp.example/mcp"])
def test_another_resource_ends_the_search(named: str) -> None:
    reading = resource({**RESOURCE, "resource": named})
    assert (reading.document, reading.field, reading.stops) == (None, "resource", True)
    assert isinstance(reading.error, SecurityError)
    assert reading.error.reference == "RFC 9728 section 3.3"
    assert "differ" in reading.error.message


def test_a_resource_that_only_some_take_for_a_url_is_another() -> None:
    reading = resource({**RESOURCE, "resource": "https://u\u2100@mcp.example/"})
    assert isinstance(reading.error, SecurityError)
    assert (reading.document, reading.stops) == (None, True)


def test_a_server_whose_url_no_document_could_name_has_no_document() -> None:
    # The HTTP library takes it for a host name, and the SDK's model for an address with a number too many.
    reading = read_resource_metadata(answer(RESOURCE), "https://1.2.3.4.5/mcp", now=NOW)
    assert isinstance(reading.error, SecurityError)
    assert (reading.document, reading.stops) == (None, True)


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
    other = server({**AUTHORITY, "issuer": "https://x"}, ISSUER, "https://mcp.example").error
    assert f"{ISSUER} was asked for" in str(other)


@pytest.mark.parametrize(
    ("field", "value", "left_out"),
    [
        ("op_tos_uri", "", True),
        ("op_tos_uri", "https://[", True),
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
        assert ".(" not in reading.findings[0].replace(" ", "")
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


def test_what_the_client_cannot_read_is_named_although_no_section_forbids_it() -> None:
    error = server({**AUTHORITY, "token_endpoint": "https://1.2.3.4.5/token"}).error
    assert '"https://1.2.3.4.5/token" is not what it may be.' in str(error)


# -- how long it takes -----------------------------------------------------------------------------------------------


def test_a_document_with_many_fields_that_nobody_knows_costs_little_time() -> None:
    unknown = {f"scopes_supporte{number}": number for number in range(20_000)}
    wrong = {"op_tos_uri": 7, "scopes_supported": 7, "registration_endpoint": 7}
    began = time.process_time()
    reading = server({**AUTHORITY, **unknown, **wrong})
    # What looks at all of them for each wrong field takes ten times as long.
    assert time.process_time() - began < 3
    assert len(reading.flaws) == 3


def test_a_document_with_many_authorization_servers_costs_little_time() -> None:
    good = [f"https://{number:x}" for number in range(20_000)]
    began = time.process_time()
    reading = resource({**RESOURCE, "authorization_servers": [*good, ""]})
    # What compares each with each takes ten times as long.
    assert time.process_time() - began < 3
    assert len(reading.flaws) == 2
