"""From an MCP server's URL to the endpoints of its authorization server, with a report of every probe.

    401 challenge -> protected resource metadata (RFC 9728) -> authorization server metadata (RFC 8414, OpenID Connect)

    found = await discover("https://mcp.example/mcp")
    found.server.metadata.token_endpoint

What a server names is followed only where it is safe to go: https, no internal addresses, no redirect to another
host. The documents and the order of the URLs are the SDK's; what is checked about them is decided here.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import httpx
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from .authorization import printable
from .challenge import AuthChallenge
from .clock import Clock, SystemClock
from .config import LOOPBACK_HOSTS
from .discovery_report import Probe, Report
from .errors import (
    IssuerMismatch,
    McpOAuthError,
    NotFound,
    ProtocolError,
    RateLimited,
    RedirectRefused,
    SecurityError,
    ServerUnavailable,
    Unreachable,
)
from .http import Answer, ClientFactory, default_client, send

#: Seconds for a whole discovery, all probes together.
DISCOVERY_DEADLINE = 15.0

_MOST_REDIRECTS = 3
# A server that could not be reached is asked once more, after this many seconds at most.
_LONGEST_PAUSE = 0.2

_JSON = {"Accept": "application/json"}
_MCP = {"Accept": "application/json, text/event-stream"}
# The cheapest request that a guarded server answers with 401: it opens no session and no stream.
_PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

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

    @property
    def probes(self) -> tuple[Probe, ...]:
        """Every request of the discovery, in order."""
        return (self.resource.probes if self.resource else ()) + self.server.probes

    @property
    def findings(self) -> tuple[str, ...]:
        """What works, but not as the standards want it."""
        return (self.resource.findings if self.resource else ()) + self.server.findings

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
) -> Discovery:
    """Find the authorization server of an MCP server. A URL without protected resource metadata is tried as an issuer.

    Args:
        url_or_issuer: the MCP endpoint, or the issuer identifier of an authorization server.
        client: makes the HTTP client for one request.
        deadline: seconds for everything.
        clock: tells the time for `Retry-After`.

    Raises:
        NotFound: no well-known URL serves a document. Like every error here it has a note with the probes so far.
        ServerUnavailable, RateLimited, Unreachable: stopped; guessing further endpoints would be wrong.
        IssuerMismatch, SecurityError, RedirectRefused: a document, or a place it names, cannot be trusted.
        ProtocolError: a document is not what the RFC asks for.
    """
    prober = _Prober(url_or_issuer, client, deadline, clock)
    async with prober:
        try:
            resource = await _find_resource(url_or_issuer, prober)
        except NotFound:
            return Discovery(url_or_issuer, None, await _find_server(url_or_issuer, prober))
        return Discovery(url_or_issuer, resource, await _find_server(resource.issuer, prober))


async def discover_resource(
    server_url: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
) -> ProtectedResource:
    """Find an MCP server's protected resource metadata (RFC 9728).

    Args and Raises: as `discover`.
    """
    async with _Prober(server_url, client, deadline, clock) as prober:
        return await _find_resource(server_url, prober)


async def discover_authorization_server(
    issuer: str,
    *,
    client: ClientFactory = default_client,
    deadline: float = DISCOVERY_DEADLINE,
    clock: Clock | None = None,
) -> AuthorizationServer:
    """Find an authorization server's metadata (RFC 8414, OpenID Connect Discovery 1.0).

    Args and Raises: as `discover`.
    """
    async with _Prober(issuer, client, deadline, clock) as prober:
        return await _find_server(issuer, prober)


# -- the two steps ---------------------------------------------------------------------------------------------


async def _find_resource(server_url: str, prober: _Prober) -> ProtectedResource:
    challenge = await prober.challenge(server_url)
    named = challenge.resource_metadata if challenge else None
    urls = list(dict.fromkeys(build_protected_resource_metadata_discovery_urls(named, server_url)))
    answer = await prober.first_of(urls, "protected resource metadata")
    document = answer.json_object()
    metadata = _validated(ProtectedResourceMetadata, document, answer)
    issuers = document["authorization_servers"]
    findings = _label_findings(answer)
    if not _same_resource(document["resource"], server_url):
        # RFC 9728 section 3.3: otherwise the document must not be used. The root document may speak for the origin.
        if answer.url != urls[-1] or not _same_resource(document["resource"], _origin(httpx.URL(server_url))):
            raise SecurityError(
                f"{answer.url} describes the resource {printable(document['resource'])}, not {server_url}.",
                reference="RFC 9728 section 3.3",
            )
        findings.append("The metadata speaks for the whole origin, not for this server alone (RFC 9728 section 3.3).")
    if len(issuers) > 1:
        findings.append(f"It names {len(issuers)} authorization servers; the first is used (RFC 9728 section 7.6).")
    return ProtectedResource(server_url, metadata, issuers[0], challenge, prober.take_probes(), tuple(findings))


async def _find_server(issuer: str, prober: _Prober) -> AuthorizationServer:
    urls = build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer)
    answer = await prober.first_of(urls, "authorization server metadata")
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
            prober.check_place(value)
    findings = _label_findings(answer)
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        findings.append("It does not promise PKCE with S256; a client must refuse it (MCP 2026-07-28, Authorization).")
    if not metadata.registration_endpoint and not metadata.client_id_metadata_document_supported:
        findings.append("Clients cannot register themselves: create the client by hand (RFC 7591 is not offered).")
    return AuthorizationServer(issuer, metadata, prober.take_probes(), tuple(findings))


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


def _same_resource(named: str, server_url: str) -> bool:
    # MCP, canonical server URI: scheme and host in lower case, and no slash at the end.
    return str(httpx.URL(named)).rstrip("/") == str(httpx.URL(server_url)).rstrip("/")


# -- asking ----------------------------------------------------------------------------------------------------


class _Prober:
    """Asks one URL after the other within one deadline, keeps the report, and goes only where it is safe."""

    def __init__(self, start: str, client: ClientFactory, deadline: float, clock: Clock | None):
        self._client = client
        self._clock = clock or SystemClock()
        self._deadline = deadline
        self._ends = anyio.current_time() + deadline
        self._probes: list[Probe] = []
        # Who starts on this machine may be led to this machine.
        self._internal_allowed = _is_internal(_parsed(start).host)

    async def __aenter__(self) -> _Prober:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, McpOAuthError) and self._probes:
            error.add_note("\n".join(["What was tried:", *(f"  {probe}" for probe in self._probes)]))

    def take_probes(self) -> tuple[Probe, ...]:
        """Return the probes since the last call."""
        probes, self._probes = tuple(self._probes), []
        return probes

    async def challenge(self, server_url: str) -> AuthChallenge | None:
        """Send an unauthenticated request, and return what the server's 401 says."""
        answer = await self._send("POST", server_url, headers=_MCP, json_body=_PING)
        if answer.status != 401:
            self._note(answer, "no challenge")
            return None
        try:
            challenge = AuthChallenge.from_www_authenticate(answer.headers.get("www-authenticate", ""))
        except ProtocolError:
            self._note(answer, "a challenge that is malformed")
            return None
        pointed = challenge is not None and challenge.resource_metadata is not None
        self._note(answer, "challenge, names its metadata" if pointed else "challenge, does not name its metadata")
        return challenge

    async def first_of(self, urls: list[str], what: str) -> Answer:
        """Return the first document that is served at one of the URLs.

        Raises:
            NotFound: none is.
        """
        for url in urls:
            answer = await self._document(url, what)
            if answer is not None:
                return answer
        raise NotFound(
            f"No {what}: none of the {len(urls)} well-known URLs has it, {urls[0]} first.",
            hint="Check the URL, its path included: the path is part of the well-known URLs. Some servers publish none.",
            reference="RFC 8414 section 3.1; RFC 9728 section 3.1",
        )

    async def _document(self, url: str, what: str) -> Answer | None:
        """Return the document at a URL, or None where the next one should be tried."""
        answer = await self._follow(url)
        if answer.status == 200 and answer.content_type != "text/html":
            self._note(answer, what)
            return answer
        if answer.status == 429:
            self._note(answer, "asks for patience")
            raise RateLimited(f"{answer.url} answered 429.", retry_at=answer.retry_at(self._clock.now()))
        if answer.status >= 500:
            # Not "not here": a guess at another endpoint could find the wrong one.
            self._note(answer, "fails")
            raise ServerUnavailable(
                f"{answer.url} answered {answer.status}.", retry_at=answer.retry_at(self._clock.now())
            )
        # Single-page applications answer any path with their page.
        self._note(answer, "a web page" if answer.status == 200 else "not here")
        return None

    async def _follow(self, url: str) -> Answer:
        """Follow up to three redirects that stay on the host; every hop is checked."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._send("GET", url, headers=_JSON)
            location = answer.headers.get("location")
            if not 300 <= answer.status < 400 or location is None:
                return answer
            target = _parsed(location, base=url)
            self._note(answer, "redirects")
            if _origin(target) != _origin(httpx.URL(url)):
                raise RedirectRefused(f"{answer.url} redirects to another host, which is not followed.")
            url = str(target)
        raise ProtocolError(f"{answer.url} redirects more than {_MOST_REDIRECTS} times.")

    async def _send(self, method: str, url: str, **content: Any) -> Answer:
        self.check_place(url)
        for last in (False, True):
            left = self._ends - anyio.current_time()
            pause = random.uniform(0, _LONGEST_PAUSE)
            try:
                return await send(self._client, method, url, deadline=left, refuse_redirects=False, **content)
            except Unreachable:
                if last or self._ends - anyio.current_time() < pause:
                    raise
            await anyio.sleep(pause)
        raise AssertionError("unreachable")

    def check_place(self, url: str) -> None:
        """Refuse a URL that could hurt: without TLS, with user information, or inside the network.

        Raises:
            SecurityError: it is one.
        """
        parsed = _parsed(url)
        if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in LOOPBACK_HOSTS):
            raise _refused(parsed, "does not use https", "RFC 8414 section 6.1")
        if parsed.userinfo or parsed.fragment:
            raise _refused(parsed, "has user information or a fragment", "RFC 8414 section 2")
        # Who starts outside must not be led inside (server-side request forgery).
        if not self._internal_allowed and _is_internal(parsed.host):
            raise _refused(parsed, "leads to an internal address", "RFC 9728 section 7.7")

    def _note(self, answer: Answer, outcome: str) -> None:
        self._probes.append(Probe(answer.url, answer.status, outcome))


# A host whose last label is a number is an IPv4 address to some resolvers, in one of its many spellings.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)


def _is_internal(host: str) -> bool:
    """Say whether a host is this machine, or an address that the public internet does not route."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _NUMERIC.fullmatch(name) is not None
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def _parsed(url: str, base: str = "") -> httpx.URL:
    try:
        return httpx.URL(base).join(url) if base else httpx.URL(url)
    except httpx.InvalidURL:
        raise ProtocolError(f"{printable(url)} is not a URL.") from None


def _origin(url: httpx.URL) -> str:
    return str(url.copy_with(raw_path=b"/", fragment=None, userinfo=b""))


def _refused(url: httpx.URL, why: str, reference: str) -> SecurityError:
    return SecurityError(f"{url.scheme}://{printable(url.host)} {why}; it is not contacted.", reference=reference)
