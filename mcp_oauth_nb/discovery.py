"""From an MCP server's URL to the endpoints of its authorization server, with a report of every probe.

    401 challenge -> protected resource metadata (RFC 9728) -> authorization server metadata (RFC 8414, OpenID Connect)

    found = await discover("https://mcp.example/mcp")
    found.server.metadata.token_endpoint

What a server names is followed only where it is safe to go: https, no further inside the network than the server is
itself (see `places`), no redirect to another host. The documents and the order of the URLs are the SDK's; what is
checked about them is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from .addresses import Resolver, resolve
from .challenge import AuthChallenge
from .clock import Clock
from .discovery_report import Probe, Report
from .errors import IssuerMismatch, NotFound, ProtocolError, SecurityError
from .http import Answer, ClientFactory, default_client
from .probing import Prober, origin, parse_url
from .redaction import printable

#: Seconds for a whole discovery, all probes together.
DISCOVERY_DEADLINE = 15.0

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, repr=False)
class ProtectedResource(Report):
    """What an MCP server says about itself.

    `issuer` is the first of its authorization servers, exactly as written. `challenge` is the server's 401, if any.
    """

    server_url: str
    metadata: ProtectedResourceMetadata
    issuer: str
    challenge: AuthChallenge | None = None
    probes: tuple[Probe, ...] = ()
    findings: tuple[str, ...] = ()

    def _title(self) -> str:
        return f"Protected resource {self.server_url}"

    def _rows(self) -> Mapping[str, Any]:
        return self.metadata.model_dump(mode="json", exclude_unset=True, exclude_none=True)


@dataclass(frozen=True, repr=False)
class AuthorizationServer(Report):
    """What an authorization server says about itself. `issuer` is what `iss` in a callback must be (RFC 9207)."""

    issuer: str
    metadata: OAuthMetadata
    probes: tuple[Probe, ...] = ()
    findings: tuple[str, ...] = ()

    def _title(self) -> str:
        return f"Authorization server {self.issuer}"

    def _rows(self) -> Mapping[str, Any]:
        return self.metadata.model_dump(mode="json", exclude_unset=True, exclude_none=True)


@dataclass(frozen=True, repr=False)
class Discovery(Report):
    """The way from a URL to an authorization server. `resource` is None where the URL was the issuer itself."""

    url: str
    resource: ProtectedResource | None
    server: AuthorizationServer

    probes: tuple[Probe, ...] = ()
    findings: tuple[str, ...] = ()

    def _title(self) -> str:
        return f"Discovery of {self.url}"

    def _rows(self) -> Mapping[str, Any]:
        resource = {"resource": str(self.resource.metadata.resource)} if self.resource else {}
        return {**resource, **self.server._rows()}


async def discover(
    url_or_issuer: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
    resolver: Resolver = resolve,
) -> Discovery:
    """Find the authorization server of an MCP server. A URL without protected resource metadata is tried as an issuer.

    Args:
        url_or_issuer: the MCP endpoint, or the issuer identifier of an authorization server.
        client: makes the HTTP client for one request.
        deadline: seconds for everything.
        clock: tells the time for `Retry-After`.
        resolver: finds the addresses of the hosts that a server on the internet leads to, which must be there too.

    Raises:
        NotFound: no well-known URL serves a document. Like every error here it has a note with the probes so far.
        ServerUnavailable, RateLimited, Unreachable: stopped; guessing further endpoints would be wrong.
        IssuerMismatch, SecurityError, RedirectRefused: a document, or a place it names, cannot be trusted.
        ProtocolError: a document is not what the RFC asks for.
    """
    async with Prober(url_or_issuer, client, deadline, clock, resolver) as prober:
        try:
            resource = await _find_resource(url_or_issuer, prober)
        except NotFound:
            resource = None
        server = await _find_server(resource.issuer if resource else url_or_issuer, prober)
    findings = (resource.findings if resource else ()) + server.findings
    return Discovery(url_or_issuer, resource, server, tuple(prober.probes), findings)


async def discover_resource(
    server_url: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
    resolver: Resolver = resolve,
) -> ProtectedResource:
    """Find an MCP server's protected resource metadata (RFC 9728).

    Args and Raises: as `discover`.
    """
    async with Prober(server_url, client, deadline, clock, resolver) as prober:
        return await _find_resource(server_url, prober)


async def discover_authorization_server(
    issuer: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
    resolver: Resolver = resolve,
) -> AuthorizationServer:
    """Find an authorization server's metadata (RFC 8414, OpenID Connect Discovery 1.0).

    Args and Raises: as `discover`.
    """
    async with Prober(issuer, client, deadline, clock, resolver) as prober:
        return await _find_server(issuer, prober)


# -- the two steps ---------------------------------------------------------------------------------------------


async def _find_resource(server_url: str, prober: Prober) -> ProtectedResource:
    mark = len(prober.probes)
    challenge = await prober.challenge(server_url)
    named = challenge.resource_metadata if challenge else None
    urls = _well_known(build_protected_resource_metadata_discovery_urls, named, server_url)
    url, answer = await prober.first_of(urls, "protected resource metadata")
    document = answer.json_object()
    metadata = _validated(ProtectedResourceMetadata, document, answer)
    findings = [*_label_findings(answer), *_check_resource(document["resource"], server_url, url, url == named)]
    issuers = document["authorization_servers"]
    if len(issuers) > 1:
        findings.append(f"It names {len(issuers)} authorization servers; the first is used (RFC 9728 section 7.6).")
    probes = tuple(prober.probes[mark:])
    return ProtectedResource(server_url, metadata, issuers[0], challenge, probes, tuple(findings))


def _check_resource(resource: str, server_url: str, metadata_url: str, named_by_server: bool) -> list[str]:
    """Make sure that the document describes this server (RFC 9728 section 3.3).

    Raises:
        SecurityError: it describes another resource, and must not be used.
    """
    if _canonical(resource) == _canonical(server_url):
        return []
    root = origin(parse_url(server_url))
    at_root = metadata_url == f"{root}.well-known/oauth-protected-resource" and not named_by_server
    if at_root and _canonical(resource) == _canonical(root):
        return ["The metadata speaks for the whole origin, not for this server alone (RFC 9728 section 3.3)."]
    raise SecurityError(
        f"{metadata_url} describes the resource {printable(resource)}, not {server_url}.",
        reference="RFC 9728 section 3.3",
    )


def _canonical(url: str) -> str:
    # MCP, canonical server URI: scheme and host in lower case, and no slash at the end.
    return str(parse_url(url)).removesuffix("/")


async def _find_server(issuer: str, prober: Prober) -> AuthorizationServer:
    mark = len(prober.probes)
    await prober.check_place(issuer)
    urls = _well_known(build_oauth_authorization_server_metadata_discovery_urls, issuer, issuer)
    _, answer = await prober.first_of(urls, "authorization server metadata")
    document = answer.json_object()
    # RFC 8414 section 3.3: identical, without any normalization; the text of the document, not a parsed URL.
    if document.get("issuer") != issuer:
        raise IssuerMismatch(
            f"{answer.url} is the metadata of {printable(str(document.get('issuer')))}, not of {printable(issuer)}.",
            reference="RFC 8414 section 3.3",
        )
    metadata = _validated(OAuthMetadata, document, answer)
    for name, value in document.items():
        if name.endswith("_endpoint") and isinstance(value, str):
            await prober.check_place(value)
    findings = _label_findings(answer)
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        findings.append("It does not promise PKCE with S256; a client must refuse it (MCP 2026-07-28, Authorization).")
    if not metadata.registration_endpoint and not metadata.client_id_metadata_document_supported:
        findings.append("Clients cannot register themselves: create the client by hand (RFC 7591 is not offered).")
    return AuthorizationServer(issuer, metadata, tuple(prober.probes[mark:]), tuple(findings))


def _well_known(build: Callable[[str | None, str], list[str]], named: str | None, url: str) -> list[str]:
    try:
        return list(dict.fromkeys(build(named, url)))
    except ValueError:
        # The SDK splits it with urllib, which refuses some that httpx lets pass, and quotes them.
        raise ProtocolError(f"{printable(url)} is not a URL.") from None


def _label_findings(answer: Answer) -> list[str]:
    if answer.content_type == "application/json":
        return []
    label = printable(answer.content_type) or "no content type"
    return [f"{answer.url} is labelled {label}, not application/json (RFC 8414 section 3.2)."]


def _validated(model: type[M], document: dict[str, Any], answer: Answer) -> M:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        field = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
    raise ProtocolError(f"{answer.url}: the field `{field}` is missing or not what {model.__name__} allows.")
