"""Any `httpx2.Auth` in place of `McpAuth`: the SDK's own providers, HTTP Basic, or one of the caller's.

It does what it does; its credentials are masked from the moment that they are sent, and its errors have a type.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from urllib.parse import parse_qsl

import httpx2
from mcp.client.auth import OAuthFlowError, OAuthRegistrationError, OAuthTokenError

from ..oauth.errors import McpOAuthError, ProtocolError
from ..oauth.masking import printable, remember_made
from .flow_checks import flow_error

# What identifies somebody or proves something in a request to a token endpoint (RFC 6749, RFC 7523, RFC 7636).
# Whether a person configured a secret or a server issued it cannot be told, so none is remembered for good.
_SECRET_FIELDS = frozenset({"client_secret", "refresh_token", "code", "code_verifier", "client_assertion", "assertion"})
_FORM = "application/x-www-form-urlencoded"


class Foreign(httpx2.Auth):
    """Stands around somebody else's `httpx2.Auth`.

    Args:
        inner: authorizes the requests.
    """

    def __init__(self, inner: httpx2.Auth):
        self._inner = inner
        self.requires_request_body = inner.requires_request_body
        self.requires_response_body = inner.requires_response_body

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """See `httpx2.Auth`.

        Raises:
            McpOAuthError: the SDK's provider could not authorize.
        """
        flow = self._inner.async_auth_flow(request)
        try:
            outgoing = await flow.__anext__()
            while True:
                _remember_credentials(outgoing)
                outgoing = await flow.asend((yield outgoing))
        except StopAsyncIteration:
            return
        except OAuthFlowError as error:
            # `from None`: the SDK quotes what a server answered.
            raise _typed(error) from None
        finally:
            await flow.aclose()

    def __repr__(self) -> str:
        return f"Foreign({type(self._inner).__name__})"


def _typed(error: OAuthFlowError) -> McpOAuthError:
    if not isinstance(error, OAuthTokenError | OAuthRegistrationError):
        return flow_error(error)
    # Behind the colon comes the body.
    said = re.match(r"[A-Za-z ]*(?:\(\d{3}\)|: \d{3}\b)?", str(error))
    what = said.group().strip() if said is not None else ""
    return ProtocolError(
        f"{printable(what) or type(error).__name__}.",
        hint="The provider that was passed as `auth` says so: look at the client and the scopes that it was made with.",
        reference="RFC 6749 section 5.2; RFC 7591 section 3.2.2",
    )


def _remember_credentials(request: httpx2.Request) -> None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    remember_made(value.strip())
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            # RFC 7617 section 2: the user's name may be told, the password not.
            remember_made(base64.b64decode(value).decode().partition(":")[2])
    if request.method == "POST" and request.headers.get("content-type", "").startswith(_FORM):
        for name, secret in parse_qsl(request.content.decode("utf-8", "replace")):
            if name in _SECRET_FIELDS:
                remember_made(secret)
