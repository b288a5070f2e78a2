"""Every error this package raises, by what the caller can do about it.

    McpOAuthError
    ├── ConfigurationError            configure: change a setting, then try again
    │   └── NotConfigured             OAUTH_CLIENT_ID or OAUTH_CLIENT_SECRET is missing
    ├── ReauthorizeError              reauthorize: send the user through the flow again
    │   ├── AuthenticationRequired    the -32001 error, or a 401; carries the challenge
    │   ├── AccessDenied              the user, or the authorization server, said no
    │   ├── InvalidAuthorizationCode  wrong, used or expired code
    │   ├── InvalidCodeVerifier       PKCE: the verifier does not fit the challenge
    │   ├── RefreshRejected           the refresh token is no longer good
    │   ├── TokenRejected             the resource server answered 401 to the access token
    │   └── InsufficientScope         the token is good, but not for this
    ├── TransientError                transient: nothing was lost, try again later
    │   ├── Unreachable               no connection, or no answer before the deadline
    │   ├── ServerUnavailable         a 5xx answer
    │   ├── StoreUnavailable          the store behind this server does not answer
    │   └── RateLimited               403 or 429; `retry_at` says when to come back
    ├── ProtocolError                 protocol: the peer's answer is not what the RFC allows
    │   ├── OAuthErrorResponse        an `error` code without a class of its own here
    │   ├── NotFound                  404 from the API
    │   └── NotRevoked                signed out here; the server may still take the token
    ├── SecurityError                 security: a check failed, stop
    │   ├── StateMismatch             the callback belongs to no flow that was started here
    │   ├── IssuerMismatch            the callback comes from another authorization server
    │   └── RedirectRefused           a redirect where credentials would have leaked
    └── SessionError                  the MCP connection, not the authorization
        ├── SessionClosed             used after close, or never opened
        └── SessionFailed             the connection ended by itself

Each error says what happened (its message), what to do next (`hint`) and which section
of an RFC or of the MCP specification it enforces (`reference`). None carries a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

from .clock import iso

Kind = Literal["configure", "reauthorize", "transient", "protocol", "security", "session"]


class McpOAuthError(Exception):
    """The root of the tree.

    Args:
        message: what happened, in one sentence, without secrets.
        hint: what to do next; each class has a default.
        reference: the section that is enforced, such as `RFC 7636 section 4.6`.
    """

    kind: ClassVar[Kind] = "protocol"
    hint: str = ""
    reference: str = ""

    def __init__(self, message: str, *, hint: str | None = None, reference: str | None = None):
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        if reference is not None:
            self.reference = reference

    def __str__(self) -> str:
        lines = [self.message]
        if self.hint:
            lines.append(f"What to do: {self.hint}")
        if self.reference:
            lines.append(f"See: {self.reference}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"


class ConfigurationError(McpOAuthError):
    """A setting is missing or has a value that cannot work.

    Args:
        variables: the environment variables at fault.
    """

    kind = "configure"
    hint = "Correct the environment variable (or the line in .env) that is named above."

    def __init__(
        self,
        message: str,
        *,
        variables: tuple[str, ...] = (),
        hint: str | None = None,
        reference: str | None = None,
    ):
        super().__init__(message, hint=hint, reference=reference)
        self.variables = variables


class NotConfigured(ConfigurationError):
    """OAuth needs a client id and a client secret, and at least one is missing."""

    hint = (
        "Set OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET in the environment or in a .env file "
        "(names are case-sensitive); `mcp-oauth-nb doctor` says what it finds."
    )


class ReauthorizeError(McpOAuthError):
    """Only a new authorization by the user helps."""

    kind = "reauthorize"
    hint = "Start the authorization flow again: get_authorization_url(), then exchange the new code."


class Challenge(Protocol):
    """Where and how to authorize, as an error knows it; `challenge.AuthChallenge` is one, and documents it."""

    @property
    def authorization_url(self) -> str | None:
        """Where the user says yes."""
        ...

    @property
    def token_url(self) -> str | None:
        """Where a code is exchanged."""
        ...

    @property
    def scopes(self) -> tuple[str, ...]:
        """What is to be asked for."""
        ...

    @property
    def resource(self) -> str | None:
        """What the token is for (RFC 8707)."""
        ...

    @property
    def grant_type(self) -> str:
        """How a token is got: `authorization_code`."""
        ...

    @property
    def code_challenge_method(self) -> str:
        """How PKCE is done: `S256`."""
        ...

    @property
    def message(self) -> str:
        """The text of the error."""
        ...

    @property
    def resource_metadata(self) -> str | None:
        """The address of the protected resource metadata (RFC 9728 section 5.1)."""
        ...

    @property
    def error(self) -> str | None:
        """The error code of `WWW-Authenticate` (RFC 6750 section 3.1)."""
        ...

    @property
    def error_description(self) -> str | None:
        """The text that came with it."""
        ...

    def to_jsonrpc(self) -> dict[str, Any]:
        """Return it as the error object of the guide, -32001."""
        ...


class AuthenticationRequired(ReauthorizeError):
    """A protected tool was called without a valid token (JSON-RPC error -32001, or HTTP 401).

    Args:
        challenge: where to authorize, parsed from the error.
    """

    hint = (
        "Expected without a token: send the user to the challenge's authorization_url, exchange "
        "the code at its token_url, give the token to the OAuth handler and call the tool again. "
        "`call_tool(..., authorize=...)` does all of it."
    )
    reference = "MCP 2025-06-18, Authorization; RFC 6750 section 3"

    def __init__(
        self,
        message: str = "Authentication required",
        *,
        challenge: Challenge | None = None,
        hint: str | None = None,
        reference: str | None = None,
    ):
        super().__init__(message, hint=hint, reference=reference)
        self.challenge = challenge


class AccessDenied(ReauthorizeError):
    """The authorization request was answered with `error=access_denied`."""

    hint = "The user declined. Explain what the access is for, then start the flow again."
    reference = "RFC 6749 section 4.1.2.1"


class InvalidAuthorizationCode(ReauthorizeError):
    """The token endpoint refused the authorization code."""

    hint = (
        "Authorization codes live about 10 minutes and work once. Request a new code: "
        "get_authorization_url() again, with its new code verifier."
    )
    reference = "RFC 6749 section 4.1.2"


class InvalidCodeVerifier(ReauthorizeError):
    """The code verifier does not fit the challenge that started the flow."""

    hint = (
        "Use the code_verifier that came with the same authorization URL, unchanged (mind URL "
        "encoding), with the method S256; then request a new code."
    )
    reference = "RFC 7636 section 4.6"


class RefreshRejected(ReauthorizeError):
    """The refresh token was used before, revoked or expired.

    Args:
        final: the token endpoint said so in OAuth's words. Otherwise it may have been a proxy that answered, and the
            old token is kept until a new authorization replaces it.
    """

    reference = "RFC 6749 section 6"

    def __init__(self, message: str, *, final: bool = True, hint: str | None = None, reference: str | None = None):
        super().__init__(message, hint=hint, reference=reference)
        self.final = final


class TokenRejected(ReauthorizeError):
    """The resource server does not accept the access token, and a refresh did not help."""

    reference = "RFC 6750 section 3.1"


class InsufficientScope(ReauthorizeError):
    """The token is valid but lacks a scope that the request needs.

    Args:
        required: the scopes that would do, where the server said so.
        granted: the scopes that the token has, where the server said so.
    """

    hint = "Start the flow again and ask for the union of the scopes you have and those named above."
    reference = "RFC 6750 section 3.1"

    def __init__(
        self,
        message: str,
        *,
        required: tuple[str, ...] = (),
        granted: tuple[str, ...] = (),
        hint: str | None = None,
        reference: str | None = None,
    ):
        super().__init__(message, hint=hint, reference=reference)
        self.required = required
        self.granted = granted


class TransientError(McpOAuthError):
    """The same request may work later; no token was dropped.

    Args:
        retry_at: when to try again, in seconds since the epoch, where the server said so.
    """

    kind = "transient"
    hint = "Nothing was lost: your tokens are kept. Try again later."

    def __init__(
        self,
        message: str,
        *,
        retry_at: float | None = None,
        hint: str | None = None,
        reference: str | None = None,
    ):
        if hint is None and retry_at is not None:
            hint = f"Nothing was lost: your tokens are kept. Try again after {iso(retry_at)}."
        super().__init__(message, hint=hint, reference=reference)
        self.retry_at = retry_at


class Unreachable(TransientError):
    """No connection, or no complete answer before the deadline."""

    hint = "Check the host name and the network; raise API_TIMEOUT (seconds) if the server is slow."


class ServerUnavailable(TransientError):
    """The server answered 5xx."""


class StoreUnavailable(TransientError):
    """The store in which this server keeps its state does not answer."""

    hint = "Nothing was lost. If it stays so, start the store again: this server finds it by itself."


class RateLimited(TransientError):
    """The server asks for patience."""

    reference = "RFC 6585 section 4"


class ProtocolError(McpOAuthError):
    """The answer is not one that the protocol allows. Its body is never quoted."""

    kind = "protocol"


class OAuthErrorResponse(ProtocolError):
    """An OAuth error answer whose code has no class of its own.

    Args:
        code: the value of `error`, such as `unsupported_grant_type`.
    """

    hint = "Look the error code up in the provider's documentation."
    reference = "RFC 6749 section 5.2"

    def __init__(self, message: str, *, code: str = "", hint: str | None = None, reference: str | None = None):
        known = _OF_CODE.get(code, (None, None))
        super().__init__(message, hint=hint or known[0], reference=known[1] or reference)
        self.code = code


# What to do about the codes of the standards, and the section that defines one beyond RFC 6749.
_OF_CODE: dict[str, tuple[str, str | None]] = {
    "invalid_scope": (
        "The authorization server does not grant a scope that was asked for, at all or to this client. Which scopes an "
        "MCP client asks for is said by the server's challenge, or by `scopes_supported` of its metadata: tell its "
        "operator that the two servers disagree. An OAuthHandler asks for OAUTH_SCOPES.",
        None,
    ),
    "invalid_target": (
        "The authorization server does not take the `resource` that was sent, or none at all; MCP has clients send "
        "it. Tell the operator of the MCP server: its authorization server has to know `resource` as its metadata has "
        "it, or one that does has to stand in front of it.",
        "RFC 8707 section 2",
    ),
    "invalid_request": (
        "A parameter is missing, malformed or not supported there; the server's words may say which. "
        "`mcp-oauth-nb debug URL` shows the request: compare it with the provider's documentation.",
        None,
    ),
    "unauthorized_client": (
        "The authorization server knows the client, but not for this: its registration there has to allow the "
        "authorization code grant, and refresh tokens.",
        None,
    ),
    "invalid_client": (
        "The authorization server does not know the client, or not so. A client that was passed has to be registered "
        "there; one that registered itself registers anew after McpAuth.forget(url).",
        None,
    ),
    "unsupported_response_type": (
        "The authorization server gives no codes, at all or to this client: its operator has to allow the "
        "authorization code grant.",
        None,
    ),
    "unsupported_grant_type": (
        "The token endpoint knows no such grant; without refresh tokens, authorize again when the token ends.",
        None,
    ),
    "invalid_redirect_uri": (
        "The authorization server does not register this redirect URI. Pass one that it takes: "
        "McpAuth(redirect_uri=...), or a client that its operator has registered: McpAuth(client=...).",
        "RFC 7591 section 3.2.2",
    ),
    "invalid_client_metadata": (
        "The authorization server does not register such a client; its words may say why. Ask its operator for a "
        "client, and pass it: McpAuth(client=...).",
        "RFC 7591 section 3.2.2",
    ),
}


class NotFound(ProtocolError):
    """The API has no such thing, or hides it from this token."""

    hint = "Check the API base URL, and that the token's scopes let it see the resource."


class NotRevoked(ProtocolError):
    """Nothing of a token is kept here, but the server that gave it may still take it; the cause says why.

    Args:
        alive: what has not ended as far as is known: `refresh_token`, `access_token`.
    """

    hint = "End it on the page of the server, or ask its operator to. Until then it is good for whoever has a copy."
    reference = "RFC 7009 section 2"

    def __init__(
        self,
        message: str,
        *,
        alive: tuple[str, ...] = (),
        hint: str | None = None,
        reference: str | None = None,
    ):
        super().__init__(message, hint=hint, reference=reference)
        self.alive = alive


class SecurityError(McpOAuthError):
    """A check that protects the user failed. Do not retry, find out why."""

    kind = "security"
    hint = "Do not go on with this answer: find out first why it is not what it should be."


class StateMismatch(SecurityError):
    """The callback's `state` is not one that this client sent and still waits for."""

    hint = (
        "A callback answers one request, once, within ten minutes: start a new flow with a new authorization URL. "
        "If you did not start one yourself, somebody else did: do not use this address."
    )
    reference = "RFC 6749 section 10.12"


class IssuerMismatch(SecurityError):
    """The issuer in a callback, or in metadata, is another than that of the authorization server that was asked."""

    hint = (
        "Nothing was sent there. Start a new flow; if the same comes back, tell the authorization server's operator: "
        "`iss` in the callback has to be exactly the `issuer` of its metadata."
    )
    reference = "RFC 9207 section 2.4"


class RedirectRefused(SecurityError):
    """A server tried to redirect a request that carries credentials."""

    hint = "Configure the final URL of the endpoint itself: credentials are never sent along a redirect."
    reference = "RFC 9700 section 4.12"


class SessionError(McpOAuthError):
    """The MCP connection cannot serve the call."""

    kind = "session"


class SessionClosed(SessionError):
    """The session was closed, or its `open()` was never awaited."""

    hint = "Open it again: `session = await Session.open(target)`, or `lab = await Lab.open()` for a lab."


class SessionFailed(SessionError):
    """The connection could not be made, or ended by itself."""

    hint = "Check that the server starts and stays up; the cause above is the first thing that went wrong."
