"""What this client knows about its provider beyond the settings: whether it is GitHub, its issuer, how to revoke."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..oauth.clock import Clock
from ..oauth.http import ClientFactory
from ..oauth.revocation import revoke as revoke_at
from ..oauth.settings import GITHUB_TOKEN_URL, Settings
from ..oauth.token import Token
from .github import revoke_token

#: The issuer in GitHub's metadata document and in its callbacks; the default of OAUTH_ISSUER is another value.
GITHUB_ISSUER = "https://github.com/login/oauth"


def known_issuer(settings: Settings) -> str:
    """Return the issuer that callbacks must name: GitHub's own for its endpoints, else the configured one."""
    parts = urlsplit(settings.oauth_token_url)
    return GITHUB_ISSUER if parts.hostname == "github.com" else settings.oauth_issuer


def is_github(settings: Settings) -> bool:
    """Say whether the provider is GitHub, on github.com or of an enterprise, with its API where GitHub has it."""
    web, api = urlsplit(settings.oauth_token_url.lower()), urlsplit(settings.api_base_url.lower())
    # Others have the same path, and the app's secret is sent to the API: never to somebody else's.
    homes = {(f"api.{web.netloc}", ""), (web.netloc, "/api/v3")}
    is_home = api.scheme == web.scheme and (api.netloc, api.path.rstrip("/")) in homes
    return is_home and web.path == urlsplit(GITHUB_TOKEN_URL).path


async def revoke(
    settings: Settings, token: Token, *, revocation_url: str | None, client: ClientFactory, clock: Clock
) -> bool:
    """End a token at the provider: at its RFC 7009 endpoint if one is given, else GitHub's way.

    Returns:
        Whether the provider confirmed it; False where no way to tell it is known, or a part of it goes on.
    """
    if revocation_url is not None:
        return await revoke_at(settings, client, revocation_url, token, now=clock.now())
    if not is_github(settings):
        return False
    client_id, client_secret = settings.credentials()
    return await revoke_token(
        client_id,
        client_secret,
        token.access_token,
        base_url=settings.api_base_url,
        timeout=settings.api_timeout,
        client=client,
        clock=clock,
    )
