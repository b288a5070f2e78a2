"""Metadata documents held against RFC 8414, RFC 9728 and MCP: what each field comes to."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

from mcp_oauth_nb.oauth.check import Check
from mcp_oauth_nb.oauth.metadata_fields import AUTHORIZATION_SERVER, FIELDS, PROTECTED_RESOURCE
from mcp_oauth_nb.oauth.metadata_findings import check_document, check_field, kind_of

SERVER: dict[str, Any] = {
    "issuer": "https://login.example",
    "authorization_endpoint": "https://login.example/authorize",
    "token_endpoint": "https://login.example/token",
    "registration_endpoint": "https://login.example/register",
    "scopes_supported": ["read:user"],
    "response_types_supported": ["code"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none"],
    "client_id_metadata_document_supported": True,
    "authorization_response_iss_parameter_supported": True,
}
RESOURCE: dict[str, Any] = {
    "resource": "https://mcp.example/mcp",
    "authorization_servers": ["https://login.example"],
    "scopes_supported": ["read:user"],
    "bearer_methods_supported": ["header"],
    "resource_name": "The example",
}
MISSING = object()


def check(name: str, value: Any, document: dict[str, Any] = SERVER, *, expected: str = "") -> Check:
    """What a field comes to in an otherwise good document."""
    changed = {key: item for key, item in {**document, name: value}.items() if item is not MISSING}
    return next(f.check for f in check_document(changed, kind_of(document), expected=expected) if f.field.name == name)


def test_a_good_document_has_nothing_to_complain_about() -> None:
    for document, expected in ((SERVER, "https://login.example"), (RESOURCE, "https://mcp.example/mcp")):
        outcomes = {finding.check.outcome for finding in check_document(document, expected=expected)}
        assert outcomes == {"passed", "not applicable"}


def test_a_field_by_itself_comes_to_the_same_as_in_its_document() -> None:
    for document in (SERVER, RESOURCE, {**SERVER, "token_endpoint": 7}):
        for found in check_document(document):
            assert check_field(document, kind_of(document), found.field.name) == found.check


def test_every_field_of_the_sdks_models_is_known() -> None:
    assert set(OAuthMetadata.model_fields) <= {field.name for field in AUTHORIZATION_SERVER}
    assert set(ProtectedResourceMetadata.model_fields) <= {field.name for field in PROTECTED_RESOURCE}


URL, LIST, FLAG, TEXT, PAGE, ALGORITHMS = "a URL", "a list", "true or false", "a text", "a page", "algorithms"
GOOD: dict[str, Any] = {
    URL: "https://login.example/x",
    LIST: ["a"],
    FLAG: True,
    TEXT: "words",
    PAGE: "http://login.example/x",
    ALGORITHMS: ["ES256"],
}
BAD: dict[str, Any] = {URL: "/x", LIST: "a", FLAG: "true", TEXT: "", PAGE: "/x", ALGORITHMS: ["none"]}
#: What IANA's registry has beside the fields that MCP uses, and what each of it holds.
REGISTERED = {
    "jwks_uri": URL,
    "service_documentation": PAGE,
    "ui_locales_supported": LIST,
    "op_policy_uri": PAGE,
    "op_tos_uri": PAGE,
    "response_modes_supported": LIST,
    "revocation_endpoint": URL,
    "revocation_endpoint_auth_methods_supported": LIST,
    "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    "introspection_endpoint": URL,
    "introspection_endpoint_auth_methods_supported": LIST,
    "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    "device_authorization_endpoint": URL,
    "pushed_authorization_request_endpoint": URL,
    "require_pushed_authorization_requests": FLAG,
    "dpop_signing_alg_values_supported": ALGORITHMS,
    "tls_client_certificate_bound_access_tokens": FLAG,
    "authorization_details_types_supported": LIST,
    "authorization_grant_profiles_supported": LIST,
    "protected_resources": LIST,
    "userinfo_endpoint": URL,
    "subject_types_supported": LIST,
    "id_token_signing_alg_values_supported": LIST,
}
REGISTERED_OF_RESOURCES = {
    "resource_documentation": PAGE,
    "resource_policy_uri": PAGE,
    "resource_tos_uri": PAGE,
    "jwks_uri": URL,
    "resource_signing_alg_values_supported": ALGORITHMS,
    "tls_client_certificate_bound_access_tokens": FLAG,
    "authorization_details_types_supported": LIST,
    "dpop_signing_alg_values_supported": ALGORITHMS,
    "dpop_bound_access_tokens_required": FLAG,
}


@pytest.mark.parametrize(("document", "registered"), [(SERVER, REGISTERED), (RESOURCE, REGISTERED_OF_RESOURCES)])
def test_every_registered_field_is_known_and_a_good_value_told_from_a_bad_one(
    document: dict[str, Any], registered: dict[str, str]
) -> None:
    for name, holds in registered.items():
        assert check(name, GOOD[holds], document).outcome == "passed", name
        assert check(name, BAD[holds], document).outcome == "failed", name


def test_the_endpoints_for_clients_with_a_certificate_are_known_and_not_looked_at() -> None:
    found = next(one for one in check_document({**SERVER, "mtls_endpoint_aliases": {}}) if one.value == {})
    assert (found.check.outcome, found.check.reference) == ("not applicable", "RFC 8705 section 5")


def test_every_field_has_a_meaning_and_a_section() -> None:
    for field in (*AUTHORIZATION_SERVER, *PROTECTED_RESOURCE):
        assert field.meaning.endswith(".")
        assert field.reference.startswith(("RFC ", "draft-", "OpenID "))


def test_no_field_is_listed_twice() -> None:
    for fields in FIELDS.values():
        assert len({field.name for field in fields}) == len(fields)


def test_whatever_is_not_passed_or_left_aside_says_what_it_should_be() -> None:
    values = ("", "x", [], [""], {}, None, 7, True, "http://login.example", "https://u@login.example", "none", ["none"])
    for document in (SERVER, RESOURCE):
        for field in FIELDS[kind_of(document)]:
            for value in (*values, MISSING):
                found = check(field.name, value, document)
                assert found.outcome in ("passed", "not applicable") or (found.message and found.should), found


def test_the_kind_of_a_document_is_seen_by_its_fields() -> None:
    assert kind_of(SERVER) == "authorization server"
    assert kind_of(RESOURCE) == "protected resource"
    assert kind_of({}) == "authorization server"


@pytest.mark.parametrize("name", ["issuer", "authorization_endpoint", "token_endpoint", "response_types_supported"])
def test_a_required_field_that_is_missing_fails(name: str) -> None:
    assert check(name, MISSING).outcome == "failed"


@pytest.mark.parametrize("name", ["resource", "authorization_servers"])
def test_a_required_field_of_a_resource_that_is_missing_fails(name: str) -> None:
    assert check(name, MISSING, RESOURCE).outcome == "failed"


@pytest.mark.parametrize(
    "url",
    [
        7,
        "",
        "login.example/token",
        "http://login.example/token",
        "https://login.example/to ken",
        "https://login.example/to\tken",
        "https://login.example/tök",
        "https:///token",
        "ftp://login.example/token",
        "https://[login/token",
        "https://login.example:port/token",
        "https://user@login.example/token",
        "https://login.example/token#here",
        "javascript:alert(1)",
        "https://login.example/tok\u202een",
    ],
)
def test_an_endpoint_that_is_not_safe_to_use_fails(url: Any) -> None:
    assert check("token_endpoint", url).outcome == "failed"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "[::1]:8000", "localhost:8000"])
def test_an_endpoint_on_this_machine_needs_no_tls(host: str) -> None:
    found = check("token_endpoint", f"http://{host}/token")
    assert (found.outcome, found.message) == ("passed", "It has no TLS, which is for this machine only.")


def test_an_issuer_is_compared_character_by_character() -> None:
    asked = check("issuer", "https://login.example", expected="https://login.example")
    assert (asked.outcome, asked.message) == ("passed", "It is exactly the issuer that was asked for.")
    assert check("issuer", "https://login.example").message == ""
    found = check("issuer", "https://login.example/", expected="https://login.example")
    assert (found.outcome, found.should) == ("failed", "exactly https://login.example")


def test_an_issuer_with_a_query_fails() -> None:
    assert "has a query" in check("issuer", "https://login.example?tenant=7").message


def test_a_resource_may_be_spelled_differently_but_not_be_another() -> None:
    expected = "https://mcp.example/mcp"
    asked = check("resource", "HTTPS://MCP.example/mcp/", RESOURCE, expected=expected)
    assert (asked.outcome, asked.message) == ("passed", "It is the server that was asked.")
    assert check("resource", expected, RESOURCE).message == ""
    assert check("resource", "http://mcp.example/mcp", RESOURCE).outcome == "failed"
    assert check("resource", "https://mcp.example", RESOURCE, expected=expected).outcome == "warning"
    assert check("resource", "https://mcp.example/other", RESOURCE, expected=expected).outcome == "failed"
    assert check("resource", "https://evil.example/mcp", RESOURCE, expected=expected).outcome == "failed"
    assert check("resource", "https://mcp.example/mcp?a=1", RESOURCE, expected=expected).outcome == "failed"


def test_pkce_must_be_promised() -> None:
    name = "code_challenge_methods_supported"
    missing = check(name, MISSING)
    assert (missing.outcome, missing.should) == ("failed", '["S256"]')
    lacking = check(name, ["plain"])
    assert (lacking.outcome, lacking.should) == ("failed", '["S256"]')
    found = check(name, ["S256", "plain"])
    assert (found.outcome, found.should) == ("warning", 'the list without "plain"')


def test_a_string_where_a_list_belongs_is_shown_as_the_list() -> None:
    found = check("scopes_supported", "repo gist")
    assert (found.outcome, found.should) == ("failed", 'a list, such as ["repo", "gist"]')
    for value in (7, "", [7], ["repo", ""]):
        found = check("scopes_supported", value)
        assert (found.outcome, found.should) == ("failed", 'a list, such as ["..."]')


def test_two_scopes_in_one_string_are_told_apart() -> None:
    found = check("scopes_supported", ["repo gist"])
    assert (found.outcome, found.should) == ("failed", '["repo", "gist"]')
    assert check("scopes_supported", ['"repo" gist']).should == '["repo", "gist"]'


def test_an_empty_list_must_be_left_out() -> None:
    assert check("scopes_supported", []).outcome == "failed"


def test_scopes_that_are_not_listed_are_missed() -> None:
    for document in (SERVER, RESOURCE):
        found = check("scopes_supported", MISSING, document)
        assert (found.outcome, found.should) == ("warning", 'a list, such as ["read:user"]')


def test_what_mcp_uses_must_be_offered() -> None:
    missing = check("response_types_supported", MISSING)
    assert (missing.outcome, missing.should) == ("failed", '["code"]')
    lacking = check("response_types_supported", ["token"])
    assert (lacking.outcome, lacking.should) == ("failed", '["code"]')
    lacking = check("grant_types_supported", ["refresh_token", "implicit"])
    assert (lacking.outcome, lacking.should) == ("failed", '["refresh_token", "authorization_code"]')
    lacking = check("bearer_methods_supported", ["body"], RESOURCE)
    assert (lacking.outcome, lacking.should) == ("failed", '["header"]')


def test_what_is_out_of_use_is_warned_of() -> None:
    found = check("grant_types_supported", ["authorization_code", "password"])
    assert (found.outcome, found.should) == ("warning", 'the list without "password"')
    found = check("bearer_methods_supported", ["header", "body"], RESOURCE)
    assert (found.outcome, found.should) == ("warning", 'the list without "body"')


def test_tokens_in_urls_are_warned_of() -> None:
    assert check("response_types_supported", ["code", "code token"]).outcome == "warning"
    assert check("response_types_supported", ["code", "token"]).outcome == "warning"
    assert check("grant_types_supported", ["authorization_code", "implicit"]).outcome == "warning"
    assert check("bearer_methods_supported", ["header", "query"], RESOURCE).outcome == "warning"


def test_a_flag_in_quotes_is_no_flag() -> None:
    assert check("client_id_metadata_document_supported", "true").outcome == "failed"


def test_clients_need_a_way_to_become_known() -> None:
    neither = {key: value for key, value in SERVER.items() if not key.startswith(("registration", "client_id"))}
    assert check("registration_endpoint", MISSING, neither).outcome == "warning"
    missing = check("client_id_metadata_document_supported", MISSING, neither)
    assert (missing.outcome, missing.should) == ("warning", "true")
    assert check("registration_endpoint", MISSING).outcome == "not applicable"
    assert check("client_id_metadata_document_supported", MISSING).outcome == "not applicable"


@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_jwt"])
@pytest.mark.parametrize("of", ["token", "revocation", "introspection"])
def test_signed_assertions_need_their_algorithms(of: str, method: str) -> None:
    name = f"{of}_endpoint_auth_signing_alg_values_supported"
    signing = {**SERVER, f"{of}_endpoint_auth_methods_supported": [method]}
    assert check(name, MISSING).outcome == "not applicable"
    assert check(name, MISSING, signing).outcome == "failed"
    assert check(name, ["none"], signing).outcome == "failed"
    assert check(name, ["ES256"], signing).outcome == "passed"


def test_each_authorization_server_is_an_issuer() -> None:
    name = "authorization_servers"
    assert check(name, "https://login.example", RESOURCE).outcome == "failed"
    assert check(name, ["https://login.example", "login"], RESOURCE).outcome == "failed"
    assert check(name, ["https://login.example"], RESOURCE).message == ""
    several = check(name, ["https://login.example", "https://b.example"], RESOURCE)
    assert several.outcome == "passed"
    assert "There are 2" in several.message


def test_a_page_that_runs_a_script_is_no_page() -> None:
    for value in ("javascript:alert(1)", "javascript://x/%0aalert(1)", "https:/terms", "https://[", "https://x/\n", 7):
        assert check("op_tos_uri", value).outcome == "failed"
    for value in ("https://login.example/terms", "http://login.example/terms"):
        assert check("op_tos_uri", value).outcome == "passed"


def test_a_name_that_could_mislead_is_warned_of() -> None:
    assert check("resource_name", "safe\u202eevil", RESOURCE).outcome == "warning"
    assert check("resource_name", " ", RESOURCE).outcome == "failed"


def test_a_name_in_another_language_is_judged_like_the_name() -> None:
    assert check("resource_name#de", "Das Beispiel", RESOURCE).outcome == "passed"
    assert check("resource_name#de", 7, RESOURCE).outcome == "failed"
    assert check("resource_title#de", "Das Beispiel", RESOURCE).outcome == "not applicable"
    found = next(one for one in check_document({**RESOURCE, "resource_name#de": "x"}) if one.value == "x")
    assert found.field.meaning.endswith("called. In the language de.")


def test_signed_metadata_is_not_taken_for_checked() -> None:
    for document in (SERVER, RESOURCE):
        found = check("signed_metadata", "head.payload.signature", document)
        assert (found.outcome, found.should) == ("warning", "checked")
        found = check("signed_metadata", "no-token", document)
        assert (found.outcome, found.should) == ("failed", "header.payload.signature")


def test_a_null_is_not_a_value() -> None:
    assert check("scopes_supported", None).outcome == "warning"


def test_a_misspelled_field_is_noticed() -> None:
    found = check("scope_supported", ["repo"])
    assert (found.outcome, found.should) == ("warning", "scopes_supported")
    # It is like two that are known.
    found = check("revocations_endpoint_auth_methods_supported", ["none"])
    assert (found.outcome, found.should) == ("warning", "revocation_endpoint_auth_methods_supported")
    assert check("grants", ["none"]).outcome == "not applicable"


def test_of_many_unknown_fields_the_first_hundred_are_looked_at_for_what_was_meant() -> None:
    unknown = {f"x{number}": number for number in range(99)}
    document = {**SERVER, **unknown, "scope_supported": [], "scopes_support": []}
    outcomes = {one.field.name: one.check.outcome for one in check_document(document)}
    assert (outcomes["scope_supported"], outcomes["scopes_support"]) == ("warning", "not applicable")


def test_a_field_that_is_unknown_is_left_aside() -> None:
    assert check("x-tenant", {"deep": [1]}).outcome == "not applicable"


def test_what_a_server_wrote_is_quoted_without_control_characters_and_cut() -> None:
    found = check("token_endpoint", "größer\u202e" + "x" * 500)
    assert "\u202e" not in found.message
    assert "größer" in found.message
    assert len(found.message) < 200
