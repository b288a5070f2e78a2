"""The tools over HTTP: many users at once, each with the upstream token that the server keeps for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import CallToolRequestParams

from ...client.github import GitHubClient, TokenSource
from ...oauth.challenge import AuthChallenge
from ...oauth.clock import Clock
from ...oauth.errors import AuthenticationRequired
from ...oauth.http import ClientFactory, default_client
from ...oauth.settings import Settings
from ..build import root_logger_untouched
from ..protection import AdvertiseAuthorization
from ..tools import BASE_SCOPES, PRIVATE_SCOPES, SUMMARY, authentication_required, required_scopes, tools
from .gate import RequiredScopes
from .metadata import PublicAddress

#: Finds the upstream token of the caller whom an access token of ours stands for.
Upstream = Callable[[AccessToken], TokenSource]


class CallersToken:
    """The token source of a server with many users: whoever makes the present call.

    Args:
        upstream: finds their upstream token. The caller's own token never leaves this server.
    """

    def __init__(self, upstream: Upstream):
        self._upstream = upstream

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        """Return the caller's upstream token.

        Raises:
            AuthenticationRequired: the call came without a token.
        """
        access = get_access_token()
        if access is None:
            raise AuthenticationRequired
        return await self._upstream(access).access_token_for_request(rejected=rejected)


class UpstreamToken(Protocol):
    """`AuthorizationServer.upstream_token`."""

    async def __call__(self, access: AccessToken, *, rejected: str | None = None) -> str:
        """Return the upstream token of the grant that `access` belongs to."""
        ...


def upstream_by(upstream_token: UpstreamToken) -> Upstream:
    """Turn `AuthorizationServer.upstream_token` into what `build_http_server` takes."""
    return lambda access: _GrantsToken(upstream_token, access)


class _GrantsToken:
    def __init__(self, upstream_token: UpstreamToken, access: AccessToken):
        self._upstream_token = upstream_token
        self._access = access

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        return await self._upstream_token(self._access, rejected=rejected)


class RequireScopes(AdvertiseAuthorization):
    """The second lock: the call as the SDK has parsed it, against the token of the request that brought it.

    `ResourceGate` has asked the same before, with the signals of HTTP. Here nothing is left to interpretation.

    Args:
        metadata: what is advertised when a client connects.
        challenge: where to authorize.
        required: says what a call needs.
    """

    def __init__(self, metadata: dict[str, Any], challenge: AuthChallenge, required: RequiredScopes):
        self._metadata = metadata
        self._challenge = challenge
        self._required = required

    def settings(self) -> dict[str, Any]:
        """Return the authorization metadata of the authorization server that guards these tools."""
        return self._metadata

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Check the scopes before a protected tool runs."""
        needed = self._required(params.name, params.arguments or {})
        access = get_access_token()
        granted = access.scopes if access is not None else ()
        if needed and (access is None or not set(needed) <= set(granted)):
            # As the first lock does: the client may be one that asks for what is named here and no more.
            raise authentication_required(self._challenge, also=(*granted, *needed))
        return await call_next(ctx)


def build_http_server(
    settings: Settings,
    upstream: Upstream,
    client: ClientFactory = default_client,
    *,
    public_url: str,
    required: RequiredScopes = required_scopes,
    clock: Clock | None = None,
) -> MCPServer:
    """Build the server with the same tools as `build_server`, for `build_http_app`.

    Args:
        settings: the upstream API and the server's name.
        upstream: finds the upstream token of the caller.
        client: makes the HTTP client for one request of the tools.
        public_url: where clients find this server.
        required: says what a call needs.
        clock: tells when a relative waiting time ends.
    """
    address = PublicAddress(public_url)
    challenge = address.challenge(BASE_SCOPES)
    metadata = address.authorization_metadata((*BASE_SCOPES, *PRIVATE_SCOPES))
    protection = RequireScopes(metadata, challenge, required)
    github = GitHubClient(
        CallersToken(upstream),
        base_url=settings.api_base_url,
        timeout=settings.api_timeout,
        client=client,
        clock=clock,
    )
    with root_logger_untouched():
        server = MCPServer(
            settings.server_name,
            version=settings.server_version,
            instructions=(
                "get_github_user_info needs authorization: without it the call fails with HTTP status 401, "
                "which says where to authorize. analyze_code_with_llm needs none."
            ),
            tools=tools(github, challenge),
            extensions=[protection],
            middleware=[protection.advertise],
            log_level=settings.log_level,
        )
    server.add_prompt(SUMMARY)
    return server
