"""Exercises of notebook 01: metadata discovery."""

from __future__ import annotations

from typing import Any

from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls

from ...lab.lab import Lab
from ...oauth.discovery import discover_authorization_server
from ...oauth.errors import McpOAuthError
from .verdict import Verdict, checked, checked_function, not_yet, right

_ISSUERS = (
    "https://github.com/login/oauth",
    "https://login.example",
    "https://login.example:8443/tenants/7",
    "https://login.example/",
    "https://login.example/tenants/7/",
)


@checked_function
def check_well_known_url(answer: Any) -> Verdict:
    """The answer is a function from an issuer to the URL of its metadata (RFC 8414 section 3.1)."""
    for issuer in _ISSUERS:
        # The SDK's own, which knows the OpenID Connect forms too; RFC 8414's comes first.
        expected = build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer)[0]
        url = answer(issuer)
        if url != expected:
            return not_yet(f"for {issuer} it returned {url!r}, and there is no metadata.")
    return right("host first, then the well-known part, then the issuer's path: RFC 8414 section 3.1.")


@checked
async def check_honest_server(answer: Any) -> Verdict:
    """The answer is a lab whose server announces the issuer that GitHub has, and both scopes."""
    if not isinstance(answer, Lab):
        return not_yet("that is not an open lab: assign what `await Lab.open(...)` returns.")
    announced = answer.session.authorization_metadata or {}
    issuer = announced.get("issuer", "")
    try:
        found = await discover_authorization_server(issuer, client=answer.http_client())
    except McpOAuthError as error:
        return not_yet(f"the server announces the issuer {issuer}, and a discovery fails: {error.message}")
    if {"read:user", "repo"} != set(announced["scopes_supported"]):
        return not_yet(f"the issuer is right; the announced scopes are {', '.join(announced['scopes_supported'])}.")
    return right(f"the announcement and GitHub's own document now name the same issuer, {found.issuer}.")
