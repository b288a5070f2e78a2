"""From an MCP server's URL to the endpoints of its authorization server, with a report of every probe.

    401 challenge -> protected resource metadata (RFC 9728) -> authorization server metadata (RFC 8414, OpenID Connect)

    found = await discover("https://mcp.example/mcp")
    found.server.metadata.token_endpoint

What a server names is followed only where it is safe to go: https, no further inside the network than the server is
itself (see `allowed_urls`), no redirect to another host. The order of the URLs is the SDK's; what the documents are
worth is decided in `metadata_reading`, for the client too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

from .challenge import AuthChallenge
from .clock import Clock
from .discovery_report import Probe, Report
from .errors import NotFound, ProtocolError
from .http import ClientFactory, default_client
from .masking import printable
from .metadata_reading import ENDPOINTS, model_of, read_resource_metadata, read_server_metadata
from .probing import Prober, Search, origin, parse_url
from .urls import Resolver, resolve

#: Seconds for a whole discovery, all probes together.
DISCOVERY_DEADLINE = 15.0


@dataclass(frozen=True, repr=False)
class DiscoveredResource(Report):
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
        return self.metadata.model_dump(exclude_unset=True, exclude_none=True)


@dataclass(frozen=True, repr=False)
class DiscoveredAuthorizationServer(Report):
    """What an authorization server says about itself. `issuer` is what `iss` in a callback must be (RFC 9207)."""

    issuer: str
    metadata: OAuthMetadata
    probes: tuple[Probe, ...] = ()
    findings: tuple[str, ...] = ()

    def _title(self) -> str:
        return f"Authorization server {self.issuer}"

    def _rows(self) -> Mapping[str, Any]:
        return self.metadata.model_dump(exclude_unset=True, exclude_none=True)


@dataclass(frozen=True, repr=False)
class Discovery(Report):
    """The way from a URL to an authorization server. `resource` is None where the URL was the issuer itself."""

    url: str
    resource: DiscoveredResource | None
    server: DiscoveredAuthorizationServer

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
        resource, search = await _look_for_resource(url_or_issuer, prober)
        if resource is None and not search.absent:
            # A document that cannot be used is no reason to guess another authorization server.
            raise search.error()
        server = await (_find_server(resource.issuer, prober) if resource else _find_by_url(url_or_issuer, prober))
    findings = (resource.findings if resource else prober.findings) + server.findings
    return Discovery(url_or_issuer, resource, server, tuple(prober.probes), findings)


async def discover_resource(
    server_url: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
    resolver: Resolver = resolve,
) -> DiscoveredResource:
    """Find an MCP server's protected resource metadata (RFC 9728).

    Args and Raises: as `discover`.
    """
    async with Prober(server_url, client, deadline, clock, resolver) as prober:
        resource, search = await _look_for_resource(server_url, prober)
        if resource is None:
            raise search.error()
        return resource


async def discover_authorization_server(
    issuer: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
    resolver: Resolver = resolve,
) -> DiscoveredAuthorizationServer:
    """Find an authorization server's metadata (RFC 8414, OpenID Connect Discovery 1.0).

    Args and Raises: as `discover`.
    """
    async with Prober(issuer, client, deadline, clock, resolver) as prober:
        return await _find_server(issuer, prober)


# -- the two steps ---------------------------------------------------------------------------------------------


async def _look_for_resource(server_url: str, prober: Prober) -> tuple[DiscoveredResource | None, Search]:
    mark = len(prober.probes)
    challenge = await prober.challenge(server_url)
    named = challenge.resource_metadata if challenge else None
    urls = _well_known(build_protected_resource_metadata_discovery_urls, named, server_url)
    read = partial(read_resource_metadata, server_url=server_url, now=prober.now)
    search = await prober.look_for(urls, "protected resource metadata", read)
    if search.found.document is None:
        return None, search
    document = search.found.document
    metadata = model_of("protected resource", document)
    findings = (*prober.findings, *search.findings)
    issuer = document["authorization_servers"][0]
    probes = tuple(prober.probes[mark:])
    return DiscoveredResource(server_url, metadata, issuer, challenge, probes, findings), search


async def _find_server(issuer: str, prober: Prober, *others: str) -> DiscoveredAuthorizationServer:
    """Find the metadata of an issuer.

    Args:
        others: what else it may call itself.
    """
    mark = len(prober.probes)
    await prober.check_place(issuer)
    urls = _well_known(build_oauth_authorization_server_metadata_discovery_urls, issuer, issuer)
    read = partial(read_server_metadata, issuers=(issuer, *others), now=prober.now)
    search = await prober.look_for(urls, "authorization server metadata", read)
    if search.found.document is None:
        raise search.error()
    document = search.found.document
    metadata: OAuthMetadata = model_of("authorization server", document)
    for name in ENDPOINTS:
        if document.get(name) is not None:
            await prober.check_place(document[name])
    findings = list(search.findings)
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        findings.append("It does not promise PKCE with S256; a client must refuse it (MCP 2026-07-28, Authorization).")
    if not metadata.registration_endpoint and not metadata.client_id_metadata_document_supported:
        findings.append("Clients cannot register themselves: create the client by hand (RFC 7591 is not offered).")
    return DiscoveredAuthorizationServer(document["issuer"], metadata, tuple(prober.probes[mark:]), tuple(findings))


async def _find_by_url(url: str, prober: Prober) -> DiscoveredAuthorizationServer:
    """Find the authorization server of a URL without resource metadata: it is the issuer, or a server of 2025-03-26."""
    at_origin = origin(parse_url(url))
    if not prober.challenged:
        return await _find_server(url, prober)
    if url in (at_origin, at_origin.removesuffix("/")):
        return await _find_server(at_origin.removesuffix("/"), prober, at_origin)
    try:
        return await _find_server(url, prober)
    except NotFound:
        # MCP 2025-03-26: the authorization server is at the origin of the MCP server.
        return await _find_server(at_origin.removesuffix("/"), prober, at_origin)


def _well_known(build: Callable[[str | None, str], list[str]], named: str | None, url: str) -> list[str]:
    try:
        return list(dict.fromkeys(build(named, url)))
    except ValueError:
        # The SDK splits it with urllib, which refuses some that httpx lets pass, and quotes them.
        raise ProtocolError(
            f"{printable(url)} is not a URL.",
            hint="Check the address: an https URL with a host is wanted.",
            reference="RFC 3986 section 3",
        ) from None
