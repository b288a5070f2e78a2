"""The check in front of protected tools, as an SDK extension: no valid token, no call.

It also advertises the authorization metadata when a client connects: as the extension's settings on
`server/discover` (2026-07-28), and in `capabilities.experimental` on `initialize` (earlier versions).
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension
from mcp_types import INTERNAL_ERROR, CallToolRequestParams

from ..client.github import GitHubClient, check_token
from ..client.handler import OAuthHandler
from ..client.provider_settings import is_github
from ..oauth.challenge import NOT_CONFIGURED, OAUTH_EXTENSION
from ..oauth.clock import iso
from ..oauth.errors import ConfigurationError, McpOAuthError, NotConfigured, ReauthorizeError, TransientError
from ..oauth.http import ClientFactory
from ..trace.http_recorder import acting_as
from ..trace.messages import SERVER
from .tools import BASE_SCOPES, PROTECTED_TOOLS, authentication_required, required_scopes

log = logging.getLogger(__name__)

#: For this many seconds a token that GitHub vouched for is not checked again.
CHECK_LIFETIME_SECONDS = 60.0


class TokenCheck:
    """Asks the provider whether a token is good, and remembers a yes for a minute.

    GitHub's tokens are opaque and carry no audience; its check endpoint says whether a token was issued to
    *this* app, which stands in for the audience check. A provider without one is asked for the user instead.
    """

    def __init__(self, oauth: OAuthHandler, github: GitHubClient, client: ClientFactory):
        self._oauth = oauth
        self._github = github
        self._client = client
        # The hash of the last good token, so that none stays in memory longer than it is used, and until when.
        self._good = ("", 0.0)

    async def passes(self, access_token: str) -> bool:
        """Say whether the token grants access.

        Raises:
            McpOAuthError: the provider did not tell; nobody is let in on a guess.
        """
        digest = hashlib.sha256(access_token.encode()).hexdigest()
        now = self._oauth.clock.now()
        known, until = self._good
        if digest == known and now < until:
            return True
        good = await self._ask(access_token)
        self._good = (digest, now + CHECK_LIFETIME_SECONDS) if good else ("", 0.0)
        return good

    async def _ask(self, access_token: str) -> bool:
        settings = self._oauth.settings
        if is_github(settings):
            client_id, client_secret = settings.credentials()
            return await check_token(
                client_id,
                client_secret,
                access_token,
                base_url=settings.api_base_url,
                timeout=settings.api_timeout,
                client=self._client,
                clock=self._oauth.clock,
            )
        try:
            await self._github.user()
        except ReauthorizeError:
            return False
        return True


class AdvertiseAuthorization(Extension):
    """Tells clients where to authorize: what `settings()` returns, in the form of each protocol era."""

    identifier = OAUTH_EXTENSION

    async def advertise(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware: put the same into the answer to `initialize`, which has no place for extensions."""
        result = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(result, dict) and (metadata := self.settings()):
            capabilities = result.setdefault("capabilities", {})
            capabilities["experimental"] = {**(capabilities.get("experimental") or {}), OAUTH_EXTENSION: metadata}
        return result


class ProtectTools(AdvertiseAuthorization):
    """Lets a call to a protected tool through only with a token that the provider vouches for.

    Args:
        oauth: keeps the token and knows where to get one.
        check: asks the provider.
    """

    def __init__(self, oauth: OAuthHandler, check: TokenCheck):
        self._oauth = oauth
        self._check = check

    def settings(self) -> dict[str, Any]:
        """Return what is advertised to clients: the authorization metadata, or nothing if OAuth is not configured."""
        settings = self._oauth.settings
        return settings.get_authorization_metadata() if settings.is_oauth_configured() else {}

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Check the token before a protected tool runs."""
        # The tool too: it refreshes a token that GitHub refuses.
        with acting_as(SERVER):
            if params.name in PROTECTED_TOOLS:
                await self._require_token(params.name)
                self._require_scopes(params)
            return await call_next(ctx)

    async def _require_token(self, tool: str) -> None:
        try:
            self._oauth.settings.credentials()
            access_token = await self._oauth.access_token_for_request()
            if await self._check.passes(access_token):
                return
            access_token = await self._oauth.access_token_for_request(rejected=access_token)
            if await self._check.passes(access_token):
                return
        except ConfigurationError as error:
            log.error("%s", error.message)
            raise _misconfigured(error) from error
        except ReauthorizeError as error:
            log.warning("Authentication required: %s was called without a valid token", tool)
            raise authentication_required(self._oauth.challenge()) from error
        except McpOAuthError as error:
            log.warning("The token cannot be checked: %s", error.message)
            raise _unchecked(error) from error
        log.warning("Authentication required: the token was not issued to this app")
        raise authentication_required(self._oauth.challenge())

    def _require_scopes(self, params: CallToolRequestParams) -> None:
        granted = self._oauth.token.scopes if self._oauth.token is not None else ()
        needed = required_scopes(params.name, params.arguments or {})
        # Whoever may read private repositories has said so by `repo`; the base scope has other names that include it,
        # and a GitHub App's token has none: of those, GitHub itself is the judge.
        if granted and not set(needed) - set(BASE_SCOPES) <= set(granted):
            log.warning("More scopes are needed: %s was called with too few", params.name)
            raise authentication_required(self._oauth.challenge(), also=(*granted, *needed))


def _misconfigured(error: ConfigurationError) -> MCPError:
    is_missing = isinstance(error, NotConfigured)
    names = {"missing" if is_missing else "variables": list(error.variables)}
    message = "OAuth is not configured" if is_missing else error.message
    return MCPError(NOT_CONFIGURED, message, {"type": "configuration", **names, "hint": error.hint})


def _unchecked(error: McpOAuthError) -> MCPError:
    data = {"type": error.kind, "hint": error.hint}
    if isinstance(error, TransientError) and error.retry_at is not None:
        data["retry_at"] = iso(error.retry_at)
    return MCPError(INTERNAL_ERROR, f"The token cannot be checked: {error.message}", data)
