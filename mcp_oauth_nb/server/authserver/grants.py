"""Codes, tokens and the family that they belong to.

One authorization by one person begins a *family*: a code, the tokens it is exchanged for, those that replace them,
and the token at GitHub behind them all. A token is good while its family lives. Whoever presents a code or a refresh
token a second time ends the family (RFC 6749 section 4.1.2, RFC 9700 section 4.14): either the client's copy or the
presenter's was stolen, and nobody can tell which.

What replaces a code or refresh token is stored before that is used up: if the store fails in between, the client asks
again and nothing is lost. A refresh token is used up when the answer has left, so that a client whose worker was killed
may ask again, too (`exchanges`). A code that nobody exchanges leaves no token alive at GitHub: `end_unredeemed` revokes
it. Only where the store used a code up and its answer was lost, and the client never asks again, does one outlive it.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mcp.server.auth.provider import AccessToken, AuthorizationCode, AuthorizationParams, RefreshToken, TokenError
from mcp.shared.auth import OAuthToken
from pydantic import BaseModel

from ...oauth.clock import Clock
from ...oauth.errors import StoreUnavailable
from ...oauth.masking import Hidden, remember_heard, remember_made
from ...oauth.pkce import random_token
from ...oauth.token import Token
from .exchanges import Exchanges
from .vault import Vault

log = logging.getLogger(__name__)

#: RFC 6749 section 4.1.2 allows ten minutes; a client that was just redirected to needs seconds.
CODE_LIFETIME_SECONDS = 60.0
#: A code that was not exchanged is found for so long by a worker, so that its token at GitHub is revoked.
UNREDEEMED_KEPT_SECONDS = 24 * 3600.0

_MOST_CACHED = 1000

Random = Callable[[int], bytes]


class GrantFamily(BaseModel):
    """What one authorization gave, and until when. It is written once and then only removed."""

    id: str
    client_id: str
    subject: str
    scopes: list[str]
    resource: str
    expires_at: float


class Code(AuthorizationCode):
    """An authorization code with its family."""

    family: str


class Refresh(RefreshToken):
    """A refresh token with its family, and the one it was given for, if that may not be used up yet."""

    family: str
    replaces: str | None = None


class Grants:
    """Issues, checks, replaces and ends codes, tokens and their families.

    Args:
        vault: where they are.
        clock: when they expire.
        issuer: whose they are.
        token_lifetime: seconds that an access token is good.
        refresh_lifetime: seconds from the person's consent to the end of the family, however often it is refreshed.
        token_bytes: the source of randomness.
        on_end: is given the GitHub token of a family that ends, to revoke it.
    """

    def __init__(
        self,
        vault: Vault,
        clock: Clock,
        *,
        issuer: str,
        token_lifetime: int,
        refresh_lifetime: int,
        token_bytes: Random,
        on_end: Callable[[Token], Awaitable[None]],
    ):
        self.vault = vault
        self.exchanges = Exchanges(vault)
        self.lifetime = float(refresh_lifetime)
        self._clock = clock
        self._issuer = issuer
        self._token_lifetime = token_lifetime
        self._token_bytes = token_bytes
        self._on_end = on_end
        # By hash, so that no token stays in memory longer than it is used.
        self._access_records: Hidden[bytes, dict[str, Any]] = Hidden()

    # -- the code ------------------------------------------------------------------------------------------------

    async def issue_code(
        self, client_id: str, params: AuthorizationParams, *, scopes: Sequence[str], subject: str, upstream: Token
    ) -> str:
        """Return a code for what a person consented to. If nobody exchanges it, `end_unredeemed` ends it."""
        code = self._random()
        record = {
            "client_id": client_id,
            "scopes": list(scopes),
            "code_challenge": params.code_challenge,
            "redirect_uri": str(params.redirect_uri),
            "redirect_uri_provided_explicitly": True,
            "resource": params.resource,
            "subject": subject,
            "family": self._random(),
            "upstream": upstream.to_dict(),
        }
        lifetime, kept = CODE_LIFETIME_SECONDS, UNREDEEMED_KEPT_SECONDS
        await self.vault.put("codes", code, record, lifetime=lifetime, kept=kept)
        return code

    async def load_code(self, client_id: str, code: str) -> Code | None:
        """Return a code that is still good, without using it up."""
        stored = await self.vault.get("codes", code)
        if stored is None:
            await self._notice_reuse(client_id, code)
            return None
        # Expiry was decided by our clock; the SDK's handler would ask the machine's.
        return Code.model_validate({**stored, "code": code, "expires_at": math.inf})

    async def redeem(self, code: Code, resource: str) -> OAuthToken:
        """Exchange a code, once.

        Raises:
            TokenError: it was used in this very moment by somebody else, or is for another resource.
        """
        if code.resource != resource:
            raise TokenError("invalid_target", "The code is for another resource.")  # RFC 8707 section 2.2
        await self._mark_used(code.code, code.family, code.client_id)
        stored = await self.vault.get("codes", code.code)
        if stored is None:
            raise await self._lost(code.client_id, code.code)
        family = GrantFamily(
            id=code.family,
            client_id=code.client_id,
            subject=code.subject,
            scopes=code.scopes,
            resource=resource,
            expires_at=self._clock.now() + self.lifetime,
        )
        await self.vault.put("upstream", family.id, stored["upstream"], lifetime=self.lifetime)
        await self.vault.give_turn(family.id, lifetime=self.lifetime)
        await self.vault.put("families", family.id, family.model_dump(), lifetime=self.lifetime)
        if await self.vault.get("ended", family.id) is not None:
            # Somebody presented the code again before the line above. `end` has left it to us.
            await self.end(family.id)
            await self.vault.delete("codes", code.code)
            raise _used()
        tokens = await self._issue(family, code.scopes)
        if not await self.vault.delete("codes", code.code):
            raise await self._lost(code.client_id, code.code)
        log.info("Authorization of %r by %s: scopes %s", code.client_id, code.subject, " ".join(code.scopes))
        return tokens

    async def end_unredeemed(self) -> None:
        """End what the codes stood for that expired before somebody exchanged them: revoke their tokens at GitHub."""
        for stored in await self.vault.take_expired("codes"):
            # An exchange that broke off may have begun the family, and then that has the token.
            if not await self.end(stored["family"]):
                log.info("A code of %r was never exchanged", stored["client_id"])
                await self._on_end(Token.from_dict(stored["upstream"]))

    # -- tokens --------------------------------------------------------------------------------------------------

    async def verify(self, token: str) -> AccessToken | None:
        """Return what an access token stands for, or None if it is unknown, expired or its family has ended."""
        remember_heard(token)
        stored = await self._access_record(token)
        family = await self._family(stored["family"]) if stored is not None else None
        if stored is None or family is None:
            return None
        return AccessToken(
            token=token,
            client_id=family.client_id,
            scopes=stored["scopes"],
            # Whole seconds, and none fewer than `expires_in` said (RFC 6749 section 5.1): the record ends in time.
            expires_at=math.ceil(stored["expires_at"]),
            resource=family.resource,
            subject=family.subject,
            claims={"iss": self._issuer, "grant": family.id},
        )

    async def _access_record(self, token: str) -> dict[str, Any] | None:
        """Read what was stored with an access token. That never changes, so it is asked for once; its family always."""
        key = hashlib.sha256(token.encode()).digest()
        stored = self._access_records.get(key)
        if stored is None:
            stored = await self.vault.get("access", token)
            if stored is None:
                return None
            self._access_records[key] = stored
            while len(self._access_records) > _MOST_CACHED:
                self._access_records.popitem(last=False)
        return stored if self._clock.now() < stored["expires_at"] else None

    async def load_refresh(self, client_id: str, token: str) -> Refresh | None:
        """Return a refresh token that is still good, without using it up."""
        remember_heard(token)
        stored = await self.vault.get("refresh", token)
        if stored is None:
            await self._notice_reuse(client_id, token)
            return None
        family = await self._family(stored["family"])
        if family is None or family.client_id != client_id:
            return None
        return Refresh(
            token=token,
            client_id=client_id,
            scopes=family.scopes,
            resource=family.resource,
            subject=family.subject,
            family=family.id,
            replaces=stored.get("replaces"),
        )

    async def rotate(self, refresh: Refresh, scopes: Sequence[str]) -> OAuthToken:
        """Replace a refresh token, once. The access token may be narrower; the new refresh token never is.

        Call `answered` when the client has been sent what is returned.

        Raises:
            TokenError: it was used in this very moment by somebody else, or its family has ended.
        """
        used = await self.vault.get("used", refresh.token)
        if used is None:
            await self._mark_used(refresh.token, refresh.family, refresh.client_id)
        family = await self._family(refresh.family)
        if family is None:
            raise _used()
        tokens = await self._issue(family, scopes, replaces=refresh.token)
        if not await self.exchanges.claim(refresh.token, lifetime=family.expires_at - self._clock.now()):
            raise await self._lost(refresh.client_id, refresh.token)
        await self._supersede(refresh, str(tokens.refresh_token))
        log.info("Refresh by %r for %s: scopes %s", family.client_id, family.subject, " ".join(scopes))
        return tokens

    async def _supersede(self, refresh: Refresh, successor: str) -> None:
        """Let nothing live on of what a worker may have issued for the token that died before it was done."""
        used = await self.vault.get("used", refresh.token) or {}
        if (former := used.get("successor")) is not None:
            await self._mark_used(former, refresh.family, refresh.client_id)
            await self.exchanges.close(former)
        await self._mark_used(refresh.token, refresh.family, refresh.client_id, successor=successor)
        if refresh.replaces is not None:
            # Whoever presents this one has got the answer to that one.
            await self.exchanges.close(refresh.replaces)

    async def answered(self, refresh: Refresh) -> None:
        """Use a refresh token up: what replaces it has been sent."""
        try:
            await self.exchanges.close(refresh.token)
        except StoreUnavailable as error:
            # The refresh token that was sent will do it when it is used.
            log.warning("A refresh token that was used is not closed yet: %s", error.message)

    async def end(self, family: str) -> bool:
        """End a family: none of its tokens is good from here on, and the one at GitHub is revoked.

        Returns whether it was this call that ended it.
        """
        await self.vault.put("ended", family, {}, lifetime=self.lifetime)
        if not await self.vault.delete("families", family):
            return False
        stored = await self.vault.claim("upstream", family)
        log.info("A grant has ended")
        if stored is not None:
            await self._on_end(Token.from_dict(stored))
        return True

    async def is_alive(self, family: str) -> bool:
        """Say whether a family has not ended."""
        return await self._family(family) is not None

    # -- inside --------------------------------------------------------------------------------------------------

    async def _issue(self, family: GrantFamily, scopes: Sequence[str], *, replaces: str | None = None) -> OAuthToken:
        remaining = family.expires_at - self._clock.now()
        lifetime = min(float(self._token_lifetime), remaining)
        access, refresh = f"mcp_{self._random()}", f"mcp_{self._random()}"
        record = {"family": family.id, "scopes": list(scopes), "expires_at": self._clock.now() + lifetime}
        await self.vault.put("access", access, record, lifetime=lifetime)
        await self.exchanges.offer(refresh, lifetime=remaining)
        stored = {"family": family.id, "replaces": replaces}
        await self.vault.put("refresh", refresh, stored, lifetime=remaining)
        return OAuthToken(
            access_token=access,
            expires_in=int(lifetime),
            scope=" ".join(scopes) or None,
            refresh_token=refresh,
        )

    async def _mark_used(self, name: str, family: str, client_id: str, **more: str) -> None:
        # Before it is used up: whoever comes second finds the mark, whatever happens in between.
        await self.vault.put("used", name, {"family": family, "client_id": client_id, **more}, lifetime=self.lifetime)

    async def _lost(self, client_id: str, name: str) -> TokenError:
        await self._notice_reuse(client_id, name)
        return _used()

    async def _notice_reuse(self, client_id: str, name: str) -> None:
        used = await self.vault.get("used", name)
        # Another client cannot have got it from us, and must not be able to end what is not its own.
        if used is not None and used["client_id"] == client_id:
            log.warning("A code or refresh token of client %r was presented twice: its grant ends", client_id)
            await self.end(used["family"])

    async def _family(self, family: str) -> GrantFamily | None:
        stored = await self.vault.get("families", family)
        return GrantFamily.model_validate(stored) if stored is not None else None

    def _random(self) -> str:
        value = random_token(self._token_bytes)
        remember_made(value)
        return value


def _used() -> TokenError:
    return TokenError("invalid_grant", "It was used before; what came of it is revoked.")
