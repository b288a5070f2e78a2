"""Client ID Metadata Documents: a client whose id is the https URL of a document that describes it.

The URL comes from whoever opened the authorization endpoint, so fetching it is the server-side request forgery of
the textbook (MCP 2025-11-25, Security Best Practices). The rules: https, a host name and no address, every address
that the name resolves to is public, the connection goes to the address that was checked, no redirect, five seconds,
64 KiB.
"""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from ...oauth.clock import Clock
from ...oauth.errors import McpOAuthError, ProtocolError, SecurityError, ServerUnavailable, TransientError, Unreachable
from ...oauth.http import Answer, ClientFactory, send, tls_context
from ...oauth.urls import Resolver, is_public, is_public_name, resolve, web_problem
from .vault import Vault
from .waiting import Waiting

log = logging.getLogger(__name__)

_DEADLINE_SECONDS = 5.0
_MAX_BYTES = 64 * 1024
_MAX_URL = 1000
#: Documents are fetched again after this many seconds, or what `max-age` says between the two others.
_CACHE_SECONDS = 300
_CACHE_MIN, _CACHE_MAX = 60, 24 * 3600
#: For so long after that the copy still serves while the document's server is out of order.
_STALE_SECONDS = 7 * 24 * 3600
#: Documents of clients that nobody has signed in with yet: of all addresses together, and of one.
_MOST_NEW, _MOST_NEW_EACH = 1000, 20

_REFERENCE = "draft-ietf-oauth-client-id-metadata-document; MCP, Security Best Practices, SSRF"


def is_document_url(client_id: str) -> bool:
    """Say whether a client id means to be the URL of a document."""
    return client_id.lower().startswith(("https://", "http://"))


def check_url(client_id: str) -> str:
    """Return the host of a client id that may be fetched.

    Raises:
        SecurityError: it is not the plain https URL that the rules ask for.
    """
    problem = _url_problem(client_id)
    if problem is not None:
        raise SecurityError(f"The client_id is a URL that is not fetched: it {problem}.", reference=_REFERENCE)
    return urlsplit(client_id).hostname or ""


def _url_problem(url: str) -> str | None:
    if len(url) > _MAX_URL:
        return "is too long"
    if problem := web_problem(url):
        return problem
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "does not use https"
    if parts.path in ("", "/") or any(segment in (".", "..") for segment in parts.path.split("/")):
        return "has no path, or one with dot segments"
    if parts.port not in (None, 443):
        return "has a port"
    if not is_public_name(parts.hostname or ""):
        return "has a host that is no public host name"
    return None


def direct_client() -> httpx.AsyncClient:
    """Make a client that goes straight to the address: a proxy from the environment would resolve by itself."""
    return httpx.AsyncClient(verify=tls_context(), trust_env=False)


class DocumentFetcher:
    """Gets documents by the rules above.

    Args:
        client: makes the HTTP client for one request.
        resolver: finds the addresses of a name.
        deadline: seconds for all of it.
    """

    def __init__(
        self,
        client: ClientFactory = direct_client,
        resolver: Resolver = resolve,
        *,
        deadline: float = _DEADLINE_SECONDS,
    ):
        self._client = client
        self._resolver = resolver
        self._deadline = deadline

    async def fetch(self, url: str) -> tuple[dict[str, Any], int]:
        """Return a document and the seconds that it may be kept.

        Raises:
            SecurityError: the URL, an address or a redirect is refused.
            Unreachable, ServerUnavailable: no answer in time, or a 5xx.
            ProtocolError: the answer is not a document of this URL.
        """
        host = check_url(url)
        with anyio.move_on_after(self._deadline) as scope:
            address = await self._public_address(host)
            answer = await send(
                self._pinned(host, address),
                "GET",
                url,
                deadline=self._deadline,
                headers={"Accept": "application/json"},
            )
        if scope.cancelled_caught:
            raise Unreachable(f"{host} gave no client metadata document within {self._deadline:g} seconds.")
        return _document(url, answer), _lifetime(answer)

    async def _public_address(self, host: str) -> str:
        try:
            addresses = await self._resolver(host)
        except OSError as error:
            raise Unreachable(f"{host} has no address ({type(error).__name__}).") from None
        # One bad address among good ones is how rebinding begins.
        if not addresses or not all(is_public(address) for address in addresses):
            raise SecurityError(f"{host} resolves to an address that is not public.", reference=_REFERENCE)
        return addresses[0]

    def _pinned(self, host: str, address: str) -> ClientFactory:
        """Return a maker of clients that connect to the checked address: the name is not resolved a second time."""

        async def pin(request: httpx.Request) -> None:
            request.url = request.url.copy_with(host=address)
            # The certificate is still the name's; the Host header was set before.
            request.extensions = {**request.extensions, "sni_hostname": host}

        def make() -> httpx.AsyncClient:
            client = self._client()
            client.event_hooks = {"request": [pin]}
            return client

        return make


class CachedDocuments:
    """Documents that were fetched lately, shared between workers. Failures are not remembered.

    Anybody can make this server fetch one. It is kept beyond its time only if somebody signs in with its client.
    """

    def __init__(self, fetcher: DocumentFetcher, vault: Vault, clock: Clock):
        self._fetcher = fetcher
        self._vault = vault
        self._new = Waiting(
            vault, "new_documents", clock, most=_MOST_NEW, most_each=_MOST_NEW_EACH, lifetime=_CACHE_MAX
        )
        self._clock = clock

    async def get(self, url: str) -> dict[str, Any]:
        """Return the document of a client id.

        Raises:
            McpOAuthError: see `DocumentFetcher.fetch`.
        """
        known = await self._vault.get("documents", url)
        cached = known or await self._new.get(url)
        if cached is not None and self._clock.now() < cached["fresh_until"]:
            return dict(cached["document"])
        try:
            document, lifetime = await self._fetcher.fetch(url)
        except McpOAuthError as error:
            log.warning("A client metadata document was refused: %s", error.message)
            if cached is not None and isinstance(error, TransientError):
                # Nobody should have to authorize again because the client's web server is down.
                return dict(cached["document"])
            raise
        record = {"document": document, "fresh_until": self._clock.now() + lifetime}
        if known is None:
            await self._new.put(url, record, lifetime=lifetime)
        else:
            await self._vault.put("documents", url, record, lifetime=lifetime + _STALE_SECONDS)
        return document

    async def keep(self, url: str) -> None:
        """Keep a client's document beyond its time, for when its server is out of order: somebody has signed in."""
        record = await self._new.get(url)
        if record is not None:
            lifetime = record["fresh_until"] - self._clock.now() + _STALE_SECONDS
            await self._vault.put("documents", url, record, lifetime=lifetime)
            await self._new.delete(url)


def _document(url: str, answer: Answer) -> dict[str, Any]:
    if answer.status >= 500:
        raise ServerUnavailable(f"The client metadata document's server answered {answer.status}.")
    if answer.status != 200:
        raise ProtocolError(f"The client metadata document's server answered {answer.status}.", reference=_REFERENCE)
    if answer.content_type != "application/json" and not answer.content_type.endswith("+json"):
        raise ProtocolError("The client metadata document is not labelled as JSON.", reference=_REFERENCE)
    if len(answer.body) > _MAX_BYTES:
        raise ProtocolError(f"The client metadata document is over {_MAX_BYTES} bytes.", reference=_REFERENCE)
    document = answer.json_object()
    # The one thing that ties the document to the id: compared character by character.
    if document.get("client_id") != url:
        raise SecurityError("The client metadata document belongs to another client_id.", reference=_REFERENCE)
    return document


def _lifetime(answer: Answer) -> int:
    control = answer.headers.get("cache-control", "").lower()
    found = re.search(r"(?:^|[,\s])max-age=([0-9]{1,9})", control)
    if "no-store" in control or "no-cache" in control:
        return _CACHE_MIN
    return min(max(int(found[1]), _CACHE_MIN), _CACHE_MAX) if found else _CACHE_SECONDS
