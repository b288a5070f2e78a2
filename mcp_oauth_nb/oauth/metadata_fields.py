"""The fields of the two metadata documents, each with its meaning and its check.

- authorization server: RFC 8414, its extensions, and what MCP asks for beyond it
- protected resource: RFC 9728, and what MCP asks for beyond it

`metadata_findings` holds a document against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .metadata_rules import (
    Absent,
    RuleContext,
    RuleVerdict,
    Test,
    advised,
    anything,
    endpoint,
    flag,
    issuer,
    issuers,
    link,
    optional,
    required,
    resource,
    scopes,
    signed,
    signing_algorithms,
    signing_algorithms_for,
    text,
    words,
)

Kind = Literal["authorization server", "protected resource"]

_MAY_BE_MISSING = optional()


@dataclass(frozen=True)
class MetadataField:
    """One field of a document.

    Attributes:
        name: as it is written in the document.
        meaning: what it is for, in a sentence or two.
        reference: the section that defines it.
        test: judges its value.
        absent: judges that it is missing.
    """

    name: str
    meaning: str
    reference: str
    test: Test
    absent: Absent = _MAY_BE_MISSING


_MCP = "MCP 2026-07-28, Authorization"
_AS = "RFC 8414 section 2"
_RS = "RFC 9728 section 2"
_METHODS_DEFAULT = "client_secret_basic is meant then."


def _registration_missing(context: RuleContext) -> RuleVerdict:
    if context.document.get("client_id_metadata_document_supported") is True:
        return RuleVerdict("not applicable", "It is missing; a client metadata document does instead.")
    return RuleVerdict(
        "warning",
        "It is missing: clients cannot register themselves.",
        "a URL, or client_id_metadata_document_supported",
    )


def _documents_missing(context: RuleContext) -> RuleVerdict:
    if "registration_endpoint" in context.document:
        return RuleVerdict("not applicable", "It is missing, so false; clients register at the registration endpoint.")
    return RuleVerdict("warning", "It is missing, so false: every client must be registered by hand.", "true")


_PKCE = words(
    needs={"S256": "a client must refuse to go on."},
    discouraged={"plain": "it protects nothing, since the challenge is the verifier."},
)
_PKCE_MISSING = RuleVerdict(
    "failed",
    "It is missing, so PKCE is not promised: an MCP client must refuse to go on.",
    '["S256"]',
)
_CODE = {"code": "the authorization code flow is what MCP uses."}
_GRANTS = words(
    needs={"authorization_code": "it is how MCP clients act for a user."},
    discouraged={
        "implicit": "tokens travel in URLs (RFC 9700 section 2.1.2).",
        "password": "the client sees the password (RFC 9700 section 2.4).",
    },
)
_NO_TOKENS_IN_URLS = dict.fromkeys(("token", "code token"), "a token would travel in a URL (RFC 9700 section 2.1.2).")

AUTHORIZATION_SERVER: tuple[MetadataField, ...] = (
    MetadataField(
        "issuer",
        "The name of this authorization server. Clients compare it, character by character, with the name they asked "
        "for and with `iss` in the redirect; a document of somebody else is found out by it.",
        "RFC 8414 sections 2 and 3.3",
        issuer,
        required("an https URL without query and fragment"),
    ),
    MetadataField(
        "authorization_endpoint",
        "Where the user's browser is sent to sign in and to agree.",
        f"{_AS}; RFC 6749 section 3.1",
        endpoint,
        required("an https URL: the authorization code flow begins there"),
    ),
    MetadataField(
        "token_endpoint",
        "Where the client turns a code, or a refresh token, into an access token.",
        f"{_AS}; RFC 6749 section 3.2",
        endpoint,
        required("an https URL: codes are exchanged there"),
    ),
    MetadataField(
        "code_challenge_methods_supported",
        "How a client may prove that it started the flow (PKCE). The list is also the server's promise that it checks "
        "the proof at all, so MCP makes it a condition.",
        f"{_AS}; RFC 7636 section 4.3; {_MCP}",
        _PKCE,
        lambda _: _PKCE_MISSING,
    ),
    MetadataField(
        "response_types_supported",
        "What the authorization endpoint can answer with; `code` is the one that MCP uses.",
        _AS,
        words(_CODE, _NO_TOKENS_IN_URLS),
        required('["code"]'),
    ),
    MetadataField(
        "grant_types_supported",
        "What can be turned into an access token.",
        _AS,
        _GRANTS,
        optional("authorization_code and implicit are meant then."),
    ),
    MetadataField(
        "scopes_supported",
        "What a client may ask for. A server may keep some to itself.",
        f"{_AS}; RFC 6749 section 3.3",
        scopes,
        advised("It is missing: a client has to guess what it can ask for.", 'a list, such as ["read:user"]'),
    ),
    MetadataField(
        "registration_endpoint",
        "Where a client that the server has never met registers itself.",
        f"{_AS}; RFC 7591 section 3",
        endpoint,
        _registration_missing,
    ),
    MetadataField(
        "client_id_metadata_document_supported",
        "Whether a client may be named by the https URL of a document that describes it, without registration.",
        f"draft-ietf-oauth-client-id-metadata-document; {_MCP}",
        flag,
        _documents_missing,
    ),
    MetadataField(
        "authorization_response_iss_parameter_supported",
        "Whether each redirect says in `iss` who sent it. Then a client of several servers cannot be led to send the "
        "code of one to another (mix-up).",
        f"RFC 9207 section 3; {_MCP}",
        flag,
        advised("It is missing, so false: a mix-up of two servers goes unnoticed.", "true, and `iss` in each redirect"),
    ),
    MetadataField(
        "token_endpoint_auth_methods_supported",
        "How a client proves who it is at the token endpoint; `none` is for public clients, which have PKCE alone.",
        _AS,
        words(),
        optional(_METHODS_DEFAULT),
    ),
    MetadataField(
        "token_endpoint_auth_signing_alg_values_supported",
        "How the assertions of clients that sign them may be signed.",
        _AS,
        signing_algorithms,
        signing_algorithms_for("token_endpoint_auth_methods_supported"),
    ),
    MetadataField(
        "response_modes_supported",
        "How the answer comes back to the client: in the query, the fragment or a form.",
        _AS,
        words(),
        optional("query and fragment are meant then."),
    ),
    MetadataField(
        "revocation_endpoint",
        "Where a client hands a token back, so that it is of no more use.",
        f"{_AS}; RFC 7009 section 2",
        endpoint,
        optional("Tokens live until they expire."),
    ),
    MetadataField(
        "revocation_endpoint_auth_methods_supported",
        "How a client proves who it is at the revocation endpoint.",
        _AS,
        words(),
        optional(_METHODS_DEFAULT),
    ),
    MetadataField(
        "revocation_endpoint_auth_signing_alg_values_supported",
        "The signature algorithms for it.",
        _AS,
        signing_algorithms,
        signing_algorithms_for("revocation_endpoint_auth_methods_supported"),
    ),
    MetadataField(
        "introspection_endpoint",
        "Where a resource server asks whether a token is good, and for what.",
        f"{_AS}; RFC 7662 section 2",
        endpoint,
    ),
    MetadataField(
        "introspection_endpoint_auth_methods_supported", "How the asker proves who it is there.", _AS, words()
    ),
    MetadataField(
        "introspection_endpoint_auth_signing_alg_values_supported",
        "The signature algorithms for it.",
        _AS,
        signing_algorithms,
        signing_algorithms_for("introspection_endpoint_auth_methods_supported"),
    ),
    MetadataField("jwks_uri", "Where the server's public keys are, for checking what it signs.", _AS, endpoint),
    MetadataField(
        "device_authorization_endpoint",
        "Where a device without a browser gets a code that the user types in elsewhere.",
        "RFC 8628 section 4",
        endpoint,
    ),
    MetadataField(
        "pushed_authorization_request_endpoint",
        "Where a client leaves its request beforehand, so that the browser carries a reference only.",
        "RFC 9126 section 5",
        endpoint,
    ),
    MetadataField(
        "require_pushed_authorization_requests",
        "Whether only such requests are taken.",
        "RFC 9126 section 5",
        flag,
        optional("False is meant then."),
    ),
    MetadataField(
        "dpop_signing_alg_values_supported",
        "How a client may sign the proof that binds a token to its key.",
        "RFC 9449 section 5.1",
        signing_algorithms,
    ),
    MetadataField(
        "tls_client_certificate_bound_access_tokens",
        "Whether tokens can be bound to the client's certificate.",
        "RFC 8705 section 3.3",
        flag,
        optional("False is meant then."),
    ),
    MetadataField(
        "mtls_endpoint_aliases", "Other endpoints, for clients with a certificate.", "RFC 8705 section 5", anything
    ),
    MetadataField(
        "authorization_details_types_supported",
        "What can be asked for in more detail than scopes allow.",
        "RFC 9396 section 10",
        words(),
    ),
    MetadataField(
        "authorization_grant_profiles_supported",
        "Which profiles of assertion grants the server takes, such as that of an enterprise's identity provider.",
        "draft-ietf-oauth-identity-assertion-authz-grant",
        words(),
    ),
    MetadataField(
        "protected_resources",
        "The resources that this server issues tokens for; lets a client check the link from the other side.",
        "RFC 9728 section 4",
        words(),
    ),
    MetadataField("service_documentation", "A page for developers.", _AS, link),
    MetadataField("ui_locales_supported", "The languages of its pages.", _AS, words()),
    MetadataField("op_policy_uri", "A page: how clients may use the server's data.", _AS, link),
    MetadataField("op_tos_uri", "A page: the terms of service.", _AS, link),
    MetadataField(
        "signed_metadata",
        "The same fields once more, signed by somebody whom the client trusts.",
        "RFC 8414 section 2.1",
        signed,
    ),
    MetadataField(
        "userinfo_endpoint",
        "OpenID Connect: who the user is. MCP does not use it.",
        "OpenID Connect Discovery 1.0 section 3",
        endpoint,
    ),
    MetadataField(
        "subject_types_supported",
        "OpenID Connect: whether every client sees the same user id.",
        "OpenID Connect Discovery 1.0 section 3",
        words(),
    ),
    MetadataField(
        "id_token_signing_alg_values_supported",
        "OpenID Connect: how id tokens are signed.",
        "OpenID Connect Discovery 1.0 section 3",
        words(),
    ),
)

PROTECTED_RESOURCE: tuple[MetadataField, ...] = (
    MetadataField(
        "resource",
        "The name of this MCP server. A client sends it as `resource` with every request for a token, and the token is "
        "good here and nowhere else.",
        "RFC 9728 sections 2 and 3.3; RFC 8707 section 2",
        resource,
        required("the URL of the MCP endpoint"),
    ),
    MetadataField(
        "authorization_servers",
        "Whose tokens are accepted here: the issuers, each written exactly as in its own document.",
        f"{_RS}; {_MCP}",
        issuers,
        required('a list with at least one issuer, such as ["https://login.example"]'),
    ),
    MetadataField(
        "scopes_supported",
        "The scopes that calls to this server may need. A client without a challenge asks for these.",
        f"{_RS}; {_MCP}",
        scopes,
        advised("It is missing: a client has to guess what it can ask for.", 'a list, such as ["read:user"]'),
    ),
    MetadataField(
        "bearer_methods_supported",
        "Where the token may stand in a request. MCP allows the Authorization header only.",
        f"{_RS}; RFC 6750 section 2; {_MCP}",
        words(
            {"header": "it is the only place that MCP allows."},
            {"query": "URLs end up in logs (RFC 9700 section 4.3.2).", "body": "MCP does not allow it."},
        ),
        optional("MCP uses the Authorization header whatever it says."),
    ),
    MetadataField(
        "resource_name",
        "What people are told that the server is called.",
        f"{_RS}; RFC 9728 section 2.1",
        text,
        advised("It is missing: people see a URL where they decide about access.", "a short name"),
    ),
    MetadataField("resource_documentation", "A page for developers.", _RS, link),
    MetadataField("resource_policy_uri", "A page: how clients may use the data.", _RS, link),
    MetadataField("resource_tos_uri", "A page: the terms of service.", _RS, link),
    MetadataField("jwks_uri", "Where the resource's public keys are, for checking what it signs.", _RS, endpoint),
    MetadataField(
        "resource_signing_alg_values_supported", "How the resource signs its answers.", _RS, signing_algorithms
    ),
    MetadataField(
        "tls_client_certificate_bound_access_tokens",
        "Whether tokens are bound to the client's certificate.",
        f"{_RS}; RFC 8705 section 3",
        flag,
        optional("False is meant then."),
    ),
    MetadataField(
        "authorization_details_types_supported",
        "What can be asked for in more detail than scopes allow.",
        f"{_RS}; RFC 9396 section 10",
        words(),
    ),
    MetadataField(
        "dpop_signing_alg_values_supported",
        "How a client may sign the proof that binds a token to its key.",
        f"{_RS}; RFC 9449",
        signing_algorithms,
    ),
    MetadataField(
        "dpop_bound_access_tokens_required",
        "Whether only tokens with such a proof are accepted.",
        f"{_RS}; RFC 9449",
        flag,
        optional("False is meant then."),
    ),
    MetadataField(
        "signed_metadata",
        "The same fields once more, signed by the resource or by somebody whom the client trusts.",
        "RFC 9728 section 2.2",
        signed,
    ),
)

FIELDS: dict[Kind, tuple[MetadataField, ...]] = {
    "authorization server": AUTHORIZATION_SERVER,
    "protected resource": PROTECTED_RESOURCE,
}
