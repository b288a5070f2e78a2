"""The front channel of one authorization: a person is sent away with `state` and a code challenge, and comes back.

The SDK draws both from `secrets`, out of reach. A lab wants to choose the randomness, and everybody wants a verifier
that is masked in every output. So the SDK's two values never leave: they are replaced by this package's on the way to
the browser, and stand again, compared first, in what the SDK is told.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from mcp.shared.auth import AuthorizationCodeResult

from ..oauth.masking import Secret
from ..oauth.pkce import PKCE, random_token
from .redirect import CheckIssuer, Redirect


class FrontChannel:
    """One provider's way to the person and back.

    Args:
        redirect: the browser, the listener, the paste.
        token_bytes: the source of randomness for `state` and the code verifier; a lab passes a seeded one.
    """

    def __init__(self, redirect: Redirect, token_bytes: Callable[[int], bytes] = secrets.token_bytes):
        self._redirect = redirect
        self._token_bytes = token_bytes
        self._states = ("", "")
        self._pkce: PKCE | None = None

    async def send(self, url: str, check_issuer: CheckIssuer) -> None:
        """Send the person to the authorization endpoint.

        Args:
            url: the SDK's.
            check_issuer: compares the `iss` of the answer.

        Raises:
            SecurityError: the URL is not one for a browser.
        """
        sent = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
        pkce, state = PKCE.generate(self._token_bytes), random_token(self._token_bytes)
        for name, value in (("state", state), ("code_challenge", pkce.code_challenge)):
            url = url.replace(f"{name}={sent[name]}", f"{name}={value}")
        self._states, self._pkce = (Secret(sent["state"]), Secret(state)), pkce
        await self._redirect.send(url, check_issuer)

    async def answer(self) -> AuthorizationCodeResult:
        """Return the person's answer, with the `state` that the SDK compares.

        Raises:
            McpOAuthError: see `Redirect.answer`.
        """
        answer = await self._redirect.answer()
        theirs, ours = self._states
        known = answer.state is not None and secrets.compare_digest(answer.state.encode(), ours.encode())
        return answer.model_copy(update={"state": theirs}) if known else answer

    def verifier(self, theirs: str) -> str:
        """Return the verifier of the challenge that was sent, once.

        Args:
            theirs: the SDK's, which holds if the person was sent away by other means.
        """
        pkce, self._pkce = self._pkce, None
        return pkce.code_verifier if pkce is not None else theirs


def with_one_query(url: str, endpoint: str) -> str:
    """Return an authorization URL of the SDK with the query that the endpoint already has, and its own joined."""
    if "?" not in endpoint:
        return url
    # RFC 6749 section 3.1: such a query is kept; the SDK begins a second one.
    return f"{endpoint}&{url.removeprefix(f'{endpoint}?')}"
