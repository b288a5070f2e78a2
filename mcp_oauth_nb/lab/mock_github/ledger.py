"""Grants, codes and tokens: how they are made, to whom they were issued, and whether they still work.

Every random value comes from a seed, by one stream of random numbers for each kind. So a token's bytes stay the same
when a run shows one more page or makes one more API call.

All methods of the `Ledger` expect the caller to hold the state's lock; `MockOAuthError` carries GitHub's error code.
"""

from __future__ import annotations

import random
import string
import threading
import zlib
from dataclasses import replace

from ...oauth import pkce
from ...oauth.masking import remember_made
from .knobs import Knobs
from .model import AppAuthorization, IssuedCode, IssuedToken, OAuthApp, normalise_scopes

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# No vowels: a user code should not spell a word (RFC 8628 section 6.1).
_CONSONANTS = "BCDFGHJKLMNPQRSTVWXZ"


class Mint:
    """Makes every random value of the mock, and remembers which of them are secret.

    Args:
        seed: the same seed and the same calls give the same bytes.
    """

    def __init__(self, seed: int | str):
        self._seed = seed
        self._streams: dict[str, random.Random] = {}
        self._issued: set[str] = set()
        self._lock = threading.Lock()

    def token(self, prefix: str, length: int = 36) -> str:
        """Make a token: prefix, random characters, and a checksum in its last six, as GitHub's have."""
        body = self._pick(prefix, _BASE62, length - 6)
        return self._secret(prefix + body + _base62(zlib.crc32(body.encode("ascii"))))

    def code(self) -> str:
        """Make an authorization code: 20 hexadecimal digits."""
        return self._secret(self._pick("code", "0123456789abcdef", 20))

    def device_code(self) -> str:
        """Make a device code: 40 hexadecimal digits."""
        return self._secret(self._pick("device_code", "0123456789abcdef", 40))

    def client_secret(self) -> str:
        """Make a client secret: 40 hexadecimal digits."""
        return self._secret(self._pick("client_secret", "0123456789abcdef", 40))

    def user_code(self) -> str:
        """Make a user code to type, such as `WDJB-MJHT`."""
        letters = self._pick("user_code", _CONSONANTS, 8)
        return f"{letters[:4]}-{letters[4:]}"

    def client_id(self, prefix: str) -> str:
        """Make a client id: a prefix that tells the kind of app, `mock` for who finds it in a log, 10 characters."""
        return f"{prefix}mock{self._pick('client_id', _BASE62, 10)}"

    def nonce(self, kind: str) -> str:
        """Make a value that only the mock's own pages use: a browser session, a form's token."""
        value = self._pick(kind, _BASE62, 32)
        remember_made(value)
        return value

    def request_id(self) -> str:
        """Make a value for `X-GitHub-Request-Id`."""
        return ":".join(self._pick("request_id", "0123456789ABCDEF", length) for length in (4, 6, 7, 8))

    def issued(self) -> set[str]:
        """Return every secret made so far: codes, tokens, device codes and client secrets."""
        with self._lock:
            return set(self._issued)

    def _pick(self, kind: str, alphabet: str, length: int) -> str:
        with self._lock:
            # Seeding from a string is stable across processes and versions of Python.
            stream = self._streams.setdefault(kind, random.Random(f"{self._seed}:{kind}"))
            return "".join(stream.choices(alphabet, k=length))

    def _secret(self, value: str) -> str:
        remember_made(value)
        with self._lock:
            self._issued.add(value)
        return value


def _base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0")


_HOUR = 3600

#: User, client id and scopes: tokens with the same of these are counted together.
Rights = tuple[str, str, tuple[str, ...]]


class MockOAuthError(Exception):
    """An OAuth error on its way to the wire.

    Args:
        code: the value of `error`.
        description: for the developer who reads it.
        fields: what else the answer carries, such as a new `interval`.
    """

    def __init__(self, code: str, description: str, **fields: int):
        super().__init__(code)
        self.code = code
        self.description = description
        self.fields = fields


class Ledger:
    """Everything that was granted or issued."""

    def __init__(self, mint: Mint, knobs: Knobs):
        self._mint = mint
        self._knobs = knobs
        self._codes: dict[str, IssuedCode] = {}
        self._grants: dict[tuple[str, str], AppAuthorization] = {}
        self._tokens: list[IssuedToken] = []
        self._by_access: dict[str, IssuedToken] = {}
        self._by_refresh: dict[str, IssuedToken] = {}
        self._live: dict[Rights, list[IssuedToken]] = {}
        self._created: dict[Rights, list[float]] = {}

    # -- grants ------------------------------------------------------------------------------------------------

    def grant(self, user: str, client_id: str) -> AppAuthorization | None:
        """Return what the user has allowed the app so far."""
        return self._grants.get((user, client_id))

    def allow(self, user: str, client_id: str, scopes: tuple[str, ...]) -> AppAuthorization:
        """Add scopes to what the user has allowed the app."""
        known = self._grants.setdefault((user, client_id), AppAuthorization(user, client_id))
        known.scopes = normalise_scopes(known.scopes + scopes)
        return known

    def withdraw(self, user: str, client_id: str) -> None:
        """Forget the grant, and revoke every token and every open code of the user for the app."""
        self._grants.pop((user, client_id), None)
        for code in self._codes.values():
            if (code.user, code.client_id) == (user, client_id):
                code.used = True
        for token in self._tokens:
            if (token.user, token.client_id) == (user, client_id):
                self._kill(token)

    # -- codes -------------------------------------------------------------------------------------------------

    def add_code(
        self,
        app: OAuthApp,
        user: str,
        scopes: tuple[str, ...],
        *,
        redirect_uri: str,
        code_challenge: str | None,
        offline_access: bool,
        now: float,
    ) -> IssuedCode:
        """Issue an authorization code, bound to all of these."""
        code = IssuedCode(
            self._mint.code(),
            app.client_id,
            user,
            scopes,
            redirect_uri,
            code_challenge,
            offline_access,
            expires_at=now + self._knobs.code_lifetime,
        )
        self._codes[code.code] = code
        return code

    def redeem(
        self, app: OAuthApp, code: str, *, redirect_uri: str | None, code_verifier: str | None, now: float
    ) -> IssuedCode:
        """Use up an authorization code.

        Raises:
            MockOAuthError: `bad_verification_code` or `redirect_uri_mismatch`.
        """
        issued = self._codes.get(code)
        if issued is None or issued.client_id != app.client_id or issued.used or now >= issued.expires_at:
            raise _bad_code()
        if redirect_uri is not None and redirect_uri != issued.redirect_uri:
            raise MockOAuthError(
                "redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application."
            )
        # Single use (RFC 6749 section 4.1.2). A wrong verifier uses the code up too: otherwise whoever
        # stole it could try again. What the live service does then is unverified.
        issued.used = True
        # RFC 7636 section 4.6; a verifier without a challenge is a downgrade (RFC 9700 section 2.1.1).
        if (issued.code_challenge is None) != (code_verifier is None):
            raise _bad_code()
        if issued.code_challenge is not None and not pkce.verify(code_verifier or "", issued.code_challenge):
            raise _bad_code()
        return issued

    # -- tokens ------------------------------------------------------------------------------------------------

    def issue(
        self,
        app: OAuthApp,
        user: str,
        scopes: tuple[str, ...],
        *,
        expiring: bool,
        now: float,
        family: int | None = None,
        by_device: bool = False,
    ) -> IssuedToken:
        """Issue an access token, with a refresh token where it expires, and revoke what exceeds the limit."""
        number = len(self._tokens) + 1
        knobs = self._knobs
        token = IssuedToken(
            access_token=self._mint.token(app.token_prefix),
            refresh_token=self._mint.token("ghr_", 76) if expiring else None,
            user=user,
            client_id=app.client_id,
            scopes=scopes,
            created_at=now,
            expires_at=now + knobs.access_token_lifetime if expiring else None,
            refresh_token_expires_at=now + knobs.refresh_token_lifetime if expiring else None,
            id=number,
            family=number if family is None else family,
            expires_in=knobs.access_token_lifetime if expiring else None,
            refresh_token_expires_in=knobs.refresh_token_lifetime if expiring else None,
            by_device=by_device,
        )
        if family is None:
            self._created.setdefault((user, app.client_id, scopes), []).append(now)
        return self._add(token, now)

    def too_many_created(self, user: str, client_id: str, scopes: tuple[str, ...], now: float) -> bool:
        """Say whether the hour's allowance of new tokens is used up."""
        limit = self._knobs.tokens_per_hour
        recent = [at for at in self._created.get((user, client_id, scopes), []) if at > now - _HOUR]
        self._created[user, client_id, scopes] = recent
        return limit is not None and len(recent) >= limit

    def refresh(self, app: OAuthApp, refresh_token: str, now: float) -> IssuedToken:
        """Rotate: a new pair of tokens, and the end of the old pair.

        Raises:
            MockOAuthError: `_bad_refresh_token`.
        """
        old = self._by_refresh.get(refresh_token)
        if old is None or old.client_id != app.client_id:
            raise _bad_refresh_token()
        if not old.can_refresh(now):
            if self._knobs.refresh_reuse_revokes and old.refresh_token_spent:
                # RFC 9700 section 4.14.2: either the client or a thief used it first, which cannot be told apart.
                self._kill_family(old)
            raise _bad_refresh_token()
        self._kill(old)
        return self.issue(app, old.user, old.scopes, expiring=True, now=now, family=old.family, by_device=old.by_device)

    def came_by_device(self, refresh_token: str) -> bool:
        """Say whether a refresh token began with the device flow, whose clients keep no secret."""
        known = self._by_refresh.get(refresh_token)
        return known is not None and known.by_device

    def find(self, access_token: str, now: float) -> IssuedToken | None:
        """Return the token if it works at this time."""
        token = self._by_access.get(access_token)
        return token if token is not None and token.is_live(now) else None

    def revoke(self, access_token: str) -> bool:
        """Revoke an access token; say whether it existed.

        Its refresh token goes too, which is unverified but the only reading that ends the access.
        """
        token = self._by_access.get(access_token)
        if token is None or token.revoked:
            return False
        self._kill(token)
        return True

    def reset(self, token: IssuedToken, now: float) -> IssuedToken:
        """Replace an access token by a new one with the same rights; the refresh token goes along."""
        self._kill(token)
        fresh = replace(
            token,
            access_token=self._mint.token(token.access_token[:4]),
            id=len(self._tokens) + 1,
            created_at=now,
            expires_at=None if token.expires_in is None else now + token.expires_in,
            revoked=False,
            refresh_token_spent=False,
        )
        return self._add(fresh, now)

    def tokens(self) -> tuple[IssuedToken, ...]:
        """Return every token ever issued, oldest first."""
        return tuple(self._tokens)

    def codes(self) -> tuple[IssuedCode, ...]:
        """Return every code ever issued, oldest first."""
        return tuple(self._codes.values())

    def _add(self, token: IssuedToken, now: float) -> IssuedToken:
        self._tokens.append(token)
        self._by_access[token.access_token] = token
        if token.refresh_token is not None:
            self._by_refresh[token.refresh_token] = token
        rights = (token.user, token.client_id, token.scopes)
        live = [known for known in self._live.get(rights, []) if known.is_live(now) or known.can_refresh(now)]
        live.append(token)
        limit = self._knobs.tokens_per_scope
        excess = 0 if limit is None else max(0, len(live) - limit)
        for oldest in live[:excess]:
            self._kill(oldest)
        self._live[rights] = live[excess:]
        return token

    def _kill(self, token: IssuedToken) -> None:
        token.revoked = token.refresh_token_spent = True

    def _kill_family(self, member: IssuedToken) -> None:
        for token in self._tokens:
            if token.family == member.family:
                self._kill(token)


def _bad_code() -> MockOAuthError:
    """Make the answer to a code that is wrong, used, expired, or whose PKCE verifier does not fit.

    The code for the last is unverified.
    """
    return MockOAuthError("bad_verification_code", "The code passed is incorrect or expired.")


def _bad_refresh_token() -> MockOAuthError:
    """Make the answer to a refresh token that is wrong, used or expired."""
    return MockOAuthError("bad_refresh_token", "The refresh token passed is incorrect or expired.")
