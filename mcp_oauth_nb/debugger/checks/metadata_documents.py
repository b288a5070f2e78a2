"""Checks of the two metadata documents: their fields by `metadata_findings`, and how they belong together."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from ...oauth.check import Check, Outcome
from ...oauth.metadata_findings import Finding, check_document
from ...oauth.metadata_reading import Reading
from ...oauth.urls import difference
from ..exchange import Checks, Facts, Seen, shown, verdict

# Fields that a client goes by, and the name of the check of each.
_RESOURCE_FIELDS = {
    "authorization_servers": "it names an authorization server",
    "bearer_methods_supported": "the token goes into the header",
}
_SERVER_FIELDS = {
    "code_challenge_methods_supported": "PKCE with S256 is announced",
    "authorization_endpoint": "a person can be sent to it",
    "token_endpoint": "a code can be exchanged at it",
    "response_types_supported": "it gives codes",
}
# Optional endpoints, to which secrets are sent if they are there.
_OTHER_ENDPOINTS = ("registration_endpoint", "revocation_endpoint", "introspection_endpoint")
_STRICT = frozenset({*_RESOURCE_FIELDS, *_SERVER_FIELDS, *_OTHER_ENDPOINTS})
# These fields have checks of their own, which know the URL that was asked for.
_COMPARED = frozenset({"resource", "issuer"})


def check_resource_metadata(seen: Seen, facts: Facts) -> Checks:
    """Check the document of RFC 9728."""
    reading = facts.read_resource(seen)
    if not (yield from _document(seen, facts, reading, "RFC 9728 section 3.2")):
        return
    ok = reading.field != "resource"
    yield verdict(
        "it describes this server",
        ok,
        f"resource: {facts.server_url}; a client must not use the document of another",
        "RFC 9728 section 3.3",
        seen=_compared(seen.answer.get("resource"), facts.server_url, ok),
    )
    yield from _fields(check_document(seen.answer, "protected resource"), _RESOURCE_FIELDS, reading)


def check_server_metadata(seen: Seen, facts: Facts) -> Checks:
    """Check the document of RFC 8414, or of OpenID Connect Discovery."""
    reading = facts.read_server(seen)
    if not (yield from _document(seen, facts, reading, "RFC 8414 section 3.2")):
        return
    document = seen.answer
    ok = reading.field != "issuer"
    yield verdict(
        "the issuer is the one that was asked for",
        ok,
        f"issuer: {facts.issuers[0]}, without any normalization; a client must not use the document of another",
        "RFC 8414 section 3.3",
        seen=_compared(document.get("issuer"), facts.issuers[0], ok),
    )
    yield from _fields(check_document(document, "authorization server"), _SERVER_FIELDS, reading)
    yield verdict(
        "a client can introduce itself",
        bool(document.get("registration_endpoint") or document.get("client_id_metadata_document_supported")),
        "client_id_metadata_document_supported or registration_endpoint; else clients are registered by hand",
        "MCP 2025-11-25, Client registration; RFC 7591 section 3",
        soft=True,
    )
    yield verdict(
        "callbacks will say where they come from",
        document.get("authorization_response_iss_parameter_supported") is True,
        "authorization_response_iss_parameter_supported: true, against mix-up attacks",
        "RFC 9207 section 3; MCP 2026-07-28, Authorization",
        soft=True,
    )


def _document(seen: Seen, facts: Facts, reading: Reading, reference: str) -> Generator[Check, None, bool]:
    """Check that a document came at all; the generator returns whether there is more to look at."""
    if reading.absent and reading.field == "":
        if seen.url == facts.named:
            yield verdict(
                "the document is where the challenge says",
                False,
                f"200 with the document at {shown(seen.url)}, or another URL in the challenge",
                "RFC 9728 section 5.1",
                seen=f"answered {seen.status}, {reading.absent}",
            )
        else:
            what = f"{seen.status}, {reading.absent}" if seen.status == 200 else str(seen.status)
            yield Check("a document is here", "not applicable", f"{what}: the client looks at the next place")
        return False
    yield verdict(
        "a document is here",
        seen.status == 200 and bool(seen.answer),
        "200 with a JSON object",
        reference,
        seen=f"answered {seen.status}",
    )
    if seen.status != 200 or not seen.answer:
        return False
    media = seen.header("content-type").partition(";")[0].strip().lower()
    yield verdict(
        "it is labelled as JSON",
        media == "application/json",
        "application/json",
        reference,
        seen=shown(media),
        soft=True,
    )
    return True


def _compared(value: object, expected: str, ok: bool) -> str:
    """Show a value, with what differs where it is not seen at once."""
    differs = difference(expected, value) if isinstance(value, str) and not ok else ""
    return f"{shown(value)}: {differs}" if differs and "the host" not in differs else shown(value)


def _fields(findings: tuple[Finding, ...], titles: Mapping[str, str], reading: Reading) -> Checks:
    """Return the checks of the fields that a client goes by, and of other fields that are wrong.

    Args:
        reading: the client's; it cannot use what is wrong there.
    """
    left_out = {flaw.field for flaw in reading.flaws}
    for finding in findings:
        name = finding.field.name
        if name in _COMPARED:
            continue
        if name in titles:
            yield _named(finding, titles[name])
        elif finding.check.outcome == "failed":
            yield _named(finding, f"{name} is as it should be", strict=name in _STRICT | left_out)


def _named(finding: Finding, title: str, *, strict: bool = True) -> Check:
    check = finding.check
    outcome: Outcome = "warning" if check.outcome == "failed" and not strict else check.outcome
    message = check.message or shown(finding.value)
    return Check(title, outcome, message, check.should, check.reference)
