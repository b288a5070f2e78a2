"""`AuthorizationServer`: the parts, wired, and the routes that they answer."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import anyio
from key_value.aio.protocols import AsyncKeyValue
from key_value.aio.stores.memory import MemoryStore
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.routes import AUTHORIZATION_PATH, REGISTRATION_PATH, REVOCATION_PATH, TOKEN_PATH
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp.shared.auth import OAuthClientInformationFull
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import ASGIApp

from ...oauth.clock import Clock, SystemClock
from ...oauth.errors import ConfigurationError, McpOAuthError, StoreUnavailable
from ...oauth.http import ClientFactory, default_client
from ...oauth.settings import Settings, current_settings
from ...oauth.urls import check_public_url
from ..tools import BASE_SCOPES, PRIVATE_SCOPES
from . import metadata
from .authorize import AuthorizeEndpoint, too_many, unavailable_page
from .browsers import Browsers
from .clients import ClientDirectory
from .consent import ConsentEndpoint
from .documents import CachedDocuments, DocumentFetcher
from .endpoints import BackChannel, slow_down, unavailable
from .federation import Upstream, UpstreamTokens
from .forms import MAX_BODY_BYTES, MAX_QUERY
from .grants import Grants
from .sdk_provider import SdkProvider
from .throttle import Endpoint, Handler, Rates, Throttle
from .vault import Vault

log = logging.getLogger(__name__)

# What can be asked for: what the tools need. Each is a scope at GitHub too.
_SCOPES = (*BASE_SCOPES, *PRIVATE_SCOPES)

CONSENT_PATH = "/consent"
CALLBACK_PATH = "/oauth/callback"
RFC8414_PATH = "/.well-known/oauth-authorization-server"
OIDC_PATH = "/.well-known/openid-configuration"

#: Seconds between two looks at the codes that nobody exchanged.
_UNREDEEMED_SECONDS = 60.0
# Others wait longer than this for their turn before they believe that this worker is dead.
_UNSAVED_SECONDS = 5.0
_LAST_SAVE_SECONDS = 1.0

# A store in memory forgets what was used longest ago rather than grow without end.
_MOST_RECORDS = 100_000


class AuthorizationServer:
    """Issues the tokens of one MCP server, to people whom GitHub vouches for.

    Args:
        public_url: scheme, host and port under which the world sees it: the issuer. Never taken from a request.
        settings: GitHub's endpoints and this server's credentials there; from the environment if not given.
        client: makes the HTTP client for one request to GitHub.
        clock: decides what has expired.
        kv: where everything is remembered; in memory if not given. Workers that share it serve as one. Where it
            raises `StoreUnavailable`, as those of `store.shared` do, the answer is 503.
        encryption_key: seals it; 32 random bytes or more, the same in every worker. Random if not given, and what
            a shared store holds is then lost at a restart.
        default_scopes: what a request that names none asks for.
        clients: pre-registered ones.
        token_lifetime: seconds that an access token is good.
        refresh_lifetime: seconds after which the person must consent again, however often tokens were refreshed.
        token_bytes: the source of randomness.
        document_client: gets Client ID Metadata Documents.
        rates: how often one address may ask, and where that is counted.

    Raises:
        ConfigurationError: the public URL, the key, the store or a pre-registered client cannot work.
    """

    def __init__(
        self,
        public_url: str,
        *,
        settings: Settings | None = None,
        client: ClientFactory = default_client,
        clock: Clock | None = None,
        kv: AsyncKeyValue | None = None,
        encryption_key: bytes | None = None,
        default_scopes: Sequence[str] = BASE_SCOPES,
        clients: Iterable[OAuthClientInformationFull] = (),
        token_lifetime: int = 3600,
        refresh_lifetime: int = 30 * 24 * 3600,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        document_client: DocumentFetcher | None = None,
        rates: Rates | None = None,
    ):
        check_public_url(public_url)
        self.public_url = public_url
        self.resource = f"{public_url}/mcp"
        clock = clock or SystemClock()
        if kv is not None and not hasattr(kv, "put"):
            raise ConfigurationError(
                f"{type(kv).__name__} is no key-value store, which the server keeps its state in.",
                hint="Pass the `kv` of mcp_oauth_nb.store.shared.open_store(...), or leave it out. A store of tokens "
                "is for OAuthHandler, one of grants for McpAuth.",
            )
        store = kv if kv is not None else MemoryStore(max_entries_per_collection=_MOST_RECORDS)
        key = encryption_key if encryption_key is not None else secrets.token_bytes(32)
        vault = Vault(store, key, clock, exclusive=kv is None)
        upstream = Upstream(
            settings or current_settings(),
            redirect_uri=public_url + CALLBACK_PATH,
            client=client,
            clock=clock,
            token_bytes=token_bytes,
        )
        self._grants = Grants(
            vault,
            clock,
            issuer=public_url,
            token_lifetime=token_lifetime,
            refresh_lifetime=refresh_lifetime,
            token_bytes=token_bytes,
            on_end=upstream.revoke,
        )
        self._upstream_tokens = UpstreamTokens(upstream, self._grants)
        documents = CachedDocuments(document_client or DocumentFetcher(), vault, clock)
        provider = SdkProvider(
            ClientDirectory(vault, documents, clients, _SCOPES, clock),
            self._grants,
            consent_url=public_url + CONSENT_PATH,
            resource=self.resource,
            default_scopes=default_scopes,
            token_bytes=token_bytes,
            clock=clock,
        )
        self._throttle = Throttle(rates or Rates())
        browsers = Browsers(secure=public_url.startswith("https://"), token_bytes=token_bytes)
        #: The metadata document (RFC 8414).
        self.metadata = metadata.describe(public_url, scopes=_SCOPES, default_scopes=default_scopes)
        self._authorize = AuthorizeEndpoint(
            provider,
            browsers,
            issuer=public_url,
            resource=self.resource,
            consent_url=public_url + CONSENT_PATH,
        )
        self._consent = ConsentEndpoint(provider, upstream, browsers, public_url=public_url)
        self._back = BackChannel(
            provider, resource=self.resource, options=metadata.registration(_SCOPES, default_scopes)
        )

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Look after what nobody asks for: codes that expire, and tokens that the store could not take."""
        async with anyio.create_task_group() as group:
            group.start_soon(_every, _UNREDEEMED_SECONDS, self.end_unredeemed)
            group.start_soon(_every, _UNSAVED_SECONDS, self._upstream_tokens.save_again)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
        with anyio.move_on_after(_LAST_SAVE_SECONDS):
            await self._upstream_tokens.save_again()

    async def end_unredeemed(self) -> None:
        """Revoke the GitHub tokens behind codes that expired before a client exchanged them; `run` does it regularly.

        Raises:
            StoreUnavailable: nobody can tell now which those are.
        """
        await self._grants.end_unredeemed()

    def routes(self) -> list[BaseRoute]:
        """Return what to mount at the root of the public URL."""
        describe = MetadataHandler(self.metadata).handle
        return [
            _for_clients(RFC8414_PATH, describe, "GET"),
            _for_clients(OIDC_PATH, describe, "GET"),
            self._for_browsers(AUTHORIZATION_PATH, self._authorize.handle, "GET", "POST"),
            self._for_browsers(CONSENT_PATH, self._consent.ask, "GET"),
            self._for_browsers(CONSENT_PATH, self._consent.decide, "POST"),
            self._for_browsers(CALLBACK_PATH, self._consent.callback, "GET"),
            self._for_programs(TOKEN_PATH, self._back.token, "token"),
            self._for_programs(REGISTRATION_PATH, self._back.register, "register"),
            self._for_programs(REVOCATION_PATH, self._back.revoke, "token"),
        ]

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what an access token stands for, or None: the SDK's `TokenVerifier`.

        Its `resource` is what the resource server must compare with its own, its `subject` the GitHub login, and
        `claims` hold `iss` and `grant`.
        """
        return await self._grants.verify(token)

    async def upstream_token(self, access: AccessToken, *, rejected: str | None = None) -> str:
        """Return the GitHub access token of the person behind an access token, refreshed if needed.

        Args:
            rejected: the one that GitHub has just answered with 401.

        Raises:
            ReauthorizeError: nobody stands behind it, or GitHub does not accept the token any more; all tokens of
                that authorization are then dead here too.
            TransientError: it must be refreshed and GitHub cannot be reached; nothing is lost.
        """
        return await self._upstream_tokens.get(access, rejected=rejected)

    def _for_browsers(self, path: str, handler: Handler, *methods: str) -> Route:
        handler = self._throttle.before(handler, "authorize", too_many)
        app = request_response(_or_unavailable(handler, unavailable_page))
        return Route(path, RequestBodyLimitMiddleware(app, MAX_QUERY), methods=list(methods))

    def _for_programs(self, path: str, handler: Handler, counted_as: Endpoint) -> Route:
        return _for_clients(path, self._throttle.before(handler, counted_as, slow_down), "POST")

    def __repr__(self) -> str:
        return f"AuthorizationServer({self.public_url!r})"


async def _every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await anyio.sleep(seconds)
        try:
            await do()
        except McpOAuthError as error:
            log.warning("%s", error.message)


def _or_unavailable(handler: Handler, refuse: Callable[[], Response]) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except StoreUnavailable as error:
            log.warning("%s %s: %s", request.method, request.url.path, error.message)
            return refuse()

    return guarded


def _for_clients(path: str, handler: Handler, method: str) -> Route:
    # No cookie counts at these endpoints, so that a client in any page may ask them.
    app: ASGIApp = request_response(_or_unavailable(handler, unavailable))
    app = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)
    app = CORSMiddleware(
        app,
        allow_origins=["*"],
        allow_methods=[method, "OPTIONS"],
        allow_headers=[MCP_PROTOCOL_VERSION_HEADER, "Authorization"],
        expose_headers=["WWW-Authenticate", "Retry-After"],
    )
    return Route(path, app, methods=[method, "OPTIONS"])
