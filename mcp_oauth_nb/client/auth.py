"""Authorization of an MCP client over HTTP: `Session.open("https://server/mcp", auth=McpAuth(...))`."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from mcp.client.auth.utils import is_valid_client_metadata_url
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from mcp.shared.auth_utils import resource_url_from_server_url
from pydantic import AnyUrl

from ..oauth.clock import Clock, SystemClock
from ..oauth.errors import ConfigurationError, NotRevoked, ProtocolError
from ..oauth.masking import remember
from ..oauth.patience import Patience
from ..oauth.urls import Resolver, resolve
from ..runtime.single_flight import SingleFlight
from ..store.grants import Grant, MemoryGrantStore, with_masked_secret
from ..store.records import Store, store_of
from ..trace.recorder import Trace
from .jupyterhub import FindHub, JupyterHub
from .login import Opener
from .provider import AuthProvider
from .redirect import Paste, Redirect
from .registration import auth_method
from .retrying import PatientTransport
from .sdk_storage import GrantStorage, forget
from .transport import HttpTransport, TransportFactory


@dataclass(frozen=True)
class McpAuth:
    """How a client authorizes with MCP servers. One value serves any number of servers and sessions.

    Attributes:
        store: keeps registrations and tokens, by issuer and resource; in memory if not given. See `store.records` for
            one of your own; one with three methods is completed.
        client: a registration made beforehand. With a secret it must name the `issuer` that gave it.
        client_metadata_url: the client's id, for servers that take Client ID Metadata Documents.
        client_name: how the client registers itself, where it has to.
        redirect_uri: where the browser comes back to: a loopback address, at a free port if it names none; or, in a
            JupyterHub, `https://hub.example/user/ada/proxy/PORT/callback`, where 0 stands for a free port.
        paste: asks for the URL that the browser came back to, for a browser on another machine. It is awaited on
            the session's event loop, beside the listener; the first answer counts.
        show: tells the person what to do, with the URL.
        open_browser: opens the URL; `login.open_in_browser` if not given.
        timeout: seconds to wait for the person.
        clock: says when a token has expired.
        carrier: makes the HTTP transport; the network if not given.
        listen: wait for the browser at the redirect URI. Without it only `paste` is asked, and no port is opened.
        token_bytes: the source of randomness for `state` and the code verifier; a lab passes a seeded one.
        resolver: finds the addresses of the hosts that a server on the internet leads to, which must be there too.
        hub: finds the JupyterHub that this runs in. A client that registers itself comes back through it; one that is
            known already comes back to `redirect_uri`, or where it is registered.
        patience: remembers, for all sessions, how long token endpoints asked to be left alone. A refresh that is needed
            waits for it within its deadline of 30 seconds; with `Patience()` none waits.
    """

    store: Store[Grant] = field(default_factory=MemoryGrantStore)
    client: OAuthClientInformationFull | None = field(default=None, repr=False)
    client_metadata_url: str | None = None
    client_name: str = "mcp-oauth-nb"
    redirect_uri: str = "http://127.0.0.1/callback"
    paste: Paste | None = None
    show: Callable[[str], None] = print
    open_browser: Opener | None = None
    timeout: float = 300.0
    clock: Clock = field(default_factory=SystemClock)
    carrier: TransportFactory | None = None
    listen: bool = True
    token_bytes: Callable[[int], bytes] = secrets.token_bytes
    resolver: Resolver = resolve
    hub: FindHub = JupyterHub.here
    patience: Patience = field(default_factory=functools.partial(Patience, anyio.sleep), repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", store_of(Grant, self.store))
        if self.client is not None:
            remember(self.client.client_secret)
            object.__setattr__(self, "client", with_masked_secret(self.client))
        if self.client is not None and self.client.client_secret and not self.client.issuer:
            raise ConfigurationError(
                "The client has a secret but does not say which authorization server it is for.",
                hint="Set its `issuer`: otherwise any MCP server could name a place to send the secret to.",
                reference="RFC 9700 section 4.4",
            )
        if self.client is not None:
            try:
                auth_method(self.client, None)
            except ProtocolError as error:
                hint = "Correct its token_endpoint_auth_method, or its client_secret."
                raise ConfigurationError(error.message, hint=hint, reference="RFC 7591 section 2") from None
        if self.client_metadata_url is not None and not is_valid_client_metadata_url(self.client_metadata_url):
            raise ConfigurationError(
                "The client metadata URL is not an https URL with a path.",
                hint="Publish the document at such a URL, or leave it out: the client then registers itself.",
            )

        if not self.listen and self.paste is None:
            raise ConfigurationError(
                "Nobody would wait for the browser's answer: `listen` is off, and there is no `paste`.",
                hint="Leave `listen` on, or pass a `paste` that returns the address that the browser came back to.",
            )

    def provider(self, url: str) -> AuthProvider:
        """Make the `httpx2.Auth` for one connection to the MCP server at `url`."""
        resource = resource_url_from_server_url(url)
        client = self.client.model_copy() if self.client is not None else None
        metadata = OAuthClientMetadata(client_name=self.client_name, redirect_uris=[AnyUrl(self.redirect_uri)])
        storage = GrantStorage(self.store, resource, self.clock, client)
        return AuthProvider(
            url,
            metadata,
            storage,
            self.redirect(),
            self.clock,
            self.client_metadata_url,
            token_bytes=self.token_bytes,
            resolver=self.resolver,
            patience=self.patience,
        )

    def redirect(self) -> Redirect:
        """Make the way through the browser for one connection."""
        return Redirect(self.way_back(), **self.redirect_options())

    def way_back(self) -> str:
        """Return the redirect URI to listen at: through the hub, if there is one and the client registers itself."""
        hub = self.hub()
        # The document of a client with a metadata URL is published, and says where it comes back to.
        known = self.client is not None or self.client_metadata_url is not None
        return self.redirect_uri if hub is None or known or not self.listen else hub.proxied(self.redirect_uri)

    def redirect_options(self) -> dict[str, Any]:
        """Return the arguments of a `Redirect` beside its URI."""
        return {
            "paste": self.paste,
            "show": self.show,
            "open_browser": self.open_browser,
            "timeout": self.timeout,
            "listen": self.listen,
            "hub": self.hub(),
        }

    def transport(self, url: str, trace: Trace | None = None) -> HttpTransport:
        """Make the MCP transport for one connection to the MCP server at `url`.

        Args:
            trace: records the HTTP exchanges.
        """
        return HttpTransport(url, auth=self.provider(url), trace=trace, carrier=self.carrier, clock=self.clock)

    def forget(self, url: str) -> None:
        """Drop what the store has for the MCP server at `url`: the next session registers and authorizes afresh.

        The tokens stay good at the server; `revoke` ends them there, too.
        """
        forget(self.store, resource_url_from_server_url(url))

    async def revoke(self, url: str) -> bool:
        """Sign out of the MCP server at `url`: forget it, and end its tokens at the issuer that gave them (RFC 7009).

        Whatever the issuer answers, nothing is kept here. A refresh that is under way meanwhile brings no token, and
        its call ends with `AuthenticationRequired`. A caller that is cancelled does not stop the revocation.

        Returns:
            Whether there was a token.

        Raises:
            NotRevoked: a token may still be good at the issuer, which did not answer within 30 seconds, refused, or has
                no revocation endpoint; the error says which token, and its cause why.
        """
        dropped = forget(self.store, resource_url_from_server_url(url))
        grants = [grant for grant in dropped if grant.token is not None]
        await SingleFlight[None]().run(functools.partial(self._revoke, url, grants))
        return bool(grants)

    async def _revoke(self, url: str, grants: Sequence[Grant]) -> None:
        provider = self.provider(url)
        failures: list[NotRevoked] = []
        async with PatientTransport((self.carrier or httpx2.AsyncHTTPTransport)()) as transport:

            async def send(request: httpx2.Request) -> httpx2.Response:
                response = await transport.handle_async_request(request)
                response.request = request
                return response

            for grant in grants:
                try:
                    await provider.revoke(grant, send)
                except NotRevoked as error:
                    failures.append(error)
        if failures:
            for other in failures[1:]:
                failures[0].add_note(other.message)
            raise failures[0]


@functools.cache
def default_auth() -> McpAuth:
    """Return what `Session.open(url)` authorizes with if it is given nothing: one for the whole process.

    So a cell that is run again finds the token of the first time. `await default_auth().revoke(url)` signs out.
    """
    return McpAuth()
