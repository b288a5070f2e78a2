"""The front channel of the authorization code flow, as values and pure functions: the URL that the user is
sent to, and the callback that comes back. No I/O; `client.handler` adds the back channel.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from .clock import Clock
from .errors import (
    AccessDenied,
    ConfigurationError,
    IssuerMismatch,
    McpOAuthError,
    OAuthErrorResponse,
    ProtocolError,
    ReauthorizeError,
    ServerUnavailable,
    StateMismatch,
)
from .masking import Secret, mask, mask_url, printable, remember_heard
from .pkce import PKCE
from .text import url_lines
from .urls import difference

#: An abandoned flow is forgotten after this many seconds, the lifetime of GitHub's codes.
FLOW_LIFETIME_SECONDS = 600.0

_MOST_PENDING = 100


class AuthorizationRequest(NamedTuple):
    """What starts a flow. The URL goes to the browser; the code verifier stays here until the exchange.

    `url, state, code_verifier = handler.get_authorization_url()`
    """

    url: str
    state: str
    code_verifier: str

    def __repr__(self) -> str:
        lines = [
            *url_lines(mask_url(self.url)),
            f"state {mask(self.state)}",
            f"code_verifier {mask(self.code_verifier)}",
        ]
        return "AuthorizationRequest(\n    " + "\n    ".join(lines) + "\n)"


@dataclass(frozen=True, repr=False)
class PendingFlow:
    """What a client must remember between sending the user away and the callback."""

    state: str
    pkce: PKCE
    redirect_uri: str
    issuer: str | None
    scopes: tuple[str, ...]
    started_at: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", Secret(self.state))

    def __repr__(self) -> str:
        return f"PendingFlow(state={mask(self.state)}, {self.pkce!r}, redirect_uri={self.redirect_uri!r})"


@dataclass(frozen=True, repr=False)
class AuthorizationResponse:
    """A verified callback: it answers `flow`, and its code may be sent to the token endpoint."""

    code: str
    flow: PendingFlow

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", Secret(self.code))

    def __repr__(self) -> str:
        return f"AuthorizationResponse(code={mask(self.code)}, state={mask(self.flow.state)} verified)"


class PendingFlows:
    """The flows that were started here. A callback finds its flow once, by `state`, within ten minutes.

    Safe to use from any thread: the callback often arrives on another one.
    """

    def __init__(self, clock: Clock):
        self._clock = clock
        self._waiting: dict[str, PendingFlow] = {}
        self._answered: dict[str, PendingFlow] = {}
        self._lock = threading.Lock()

    def add(self, flow: PendingFlow) -> None:
        """Wait for this flow's callback."""
        with self._lock:
            self._forget_old()
            self._waiting[flow.state] = flow

    def get(self, state: str | None) -> PendingFlow | None:
        """Find the waiting flow of a state without ending its wait."""
        with self._lock:
            self._forget_old()
            return self._waiting.get(state) if state else None

    def answer(self, state: str, code: str | None) -> bool:
        """End the wait of a flow; False if another callback was quicker, since a state works once."""
        with self._lock:
            flow = self._waiting.pop(state, None)
            if flow is not None and code:
                self._answered[Secret(code)] = flow
            return flow is not None

    def find(self, code: str, code_verifier: str) -> PendingFlow | None:
        """Find the flow that a code answered or, if its callback was not read here, the one of the verifier."""
        with self._lock:
            self._forget_old()
            if code in self._answered:
                return self._answered[code]
            flows = [*self._waiting.values(), *self._answered.values()]
            return next((flow for flow in flows if flow.pkce.code_verifier == code_verifier), None)

    def finish(self, flow: PendingFlow) -> None:
        """Forget a flow whose code was exchanged."""
        with self._lock:
            for flows in (self._waiting, self._answered):
                for key in [key for key, known in flows.items() if known is flow]:
                    del flows[key]

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"PendingFlows({len(self._waiting)} waiting, {len(self._answered)} answered)"

    def _forget_old(self) -> None:
        oldest = self._clock.now() - FLOW_LIFETIME_SECONDS
        for flows in (self._waiting, self._answered):
            surplus = list(flows)[:-_MOST_PENDING]
            for key in [key for key, flow in flows.items() if flow.started_at < oldest or key in surplus]:
                del flows[key]


def build_url(
    endpoint: str, *, client_id: str, flow: PendingFlow, resource: str, extra: dict[str, str] | None = None
) -> str:
    """Build the authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3, RFC 8707 section 2.1)."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": flow.redirect_uri,
        "scope": " ".join(flow.scopes),
        "state": flow.state,
        "code_challenge": flow.pkce.code_challenge,
        "code_challenge_method": flow.pkce.method,
        "resource": resource,
        **(extra or {}),
    }
    # RFC 6749 section 3.1: a query that the endpoint already has is kept.
    separator = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{separator}{urlencode(parameters)}"


def read_callback(url: str, flows: PendingFlows, *, iss_required: bool = False) -> AuthorizationResponse:
    """Verify the URL that the browser came back to, before its code goes anywhere.

    Args:
        url: the whole redirected URL, or its query string.
        flows: the flows that were started here.
        iss_required: the authorization server announced that it always sends `iss` (RFC 9207 section 3).

    Raises:
        StateMismatch: no pending flow has this state.
        IssuerMismatch: the answer comes from another authorization server.
        ReauthorizeError: the authorization server reported an error, `AccessDenied` for example.
        ProtocolError: a parameter is repeated, or there is neither a code nor an error.
    """
    parameters = code_or_error(url)
    flow = flows.get(parameters.get("state"))
    if flow is None:
        raise unknown_state()
    check_issuer(parameters.get("iss"), flow.issuer, required=iss_required)
    # From here on the answer is genuine, and ends the flow whatever it says. A wrong one has left it waiting.
    code = parameters.get("code")
    if not flows.answer(flow.state, code):
        raise unknown_state()
    if code is None:
        raise callback_error(parameters)
    return AuthorizationResponse(code, flow)


def code_or_error(url: str) -> dict[str, str]:
    """Return the query parameters of a callback, with a code or with an error, and nothing of it verified.

    Raises:
        ProtocolError: it has neither, or is none; see `callback_parameters`.
    """
    parameters = callback_parameters(url)
    if parameters.get("error"):
        # A code beside an error is not to be used.
        parameters.pop("code", None)
    elif not parameters.get("code"):
        # Most often the address of another page was pasted: a wrong state would be the wrong news.
        raise ProtocolError(
            "This is not a callback: it has neither a code nor an error.",
            hint="Give the whole address that the browser ended on after Authorize, not that of a page before it. If "
            "it is that one, tell the operator of the authorization server.",
            reference="RFC 6749 section 4.1.2",
        )
    return parameters


def unknown_state() -> StateMismatch:
    """Return the error for a callback that answers no request of ours."""
    return StateMismatch("The callback's state belongs to no authorization request that is pending here.")


def callback_error(parameters: dict[str, str]) -> McpOAuthError:
    """Type the error answer of the authorization endpoint (RFC 6749 section 4.1.2.1)."""
    code = parameters["error"]
    text = f"The authorization server answered {describe(code, parameters.get('error_description'))}."
    if code == "access_denied":
        return AccessDenied(text)
    if code == "redirect_uri_mismatch":
        return redirect_uri_mismatch(text)
    if code in ("server_error", "temporarily_unavailable"):
        return ServerUnavailable(text, reference="RFC 6749 section 4.1.2.1")
    if code in ("login_required", "consent_required", "interaction_required"):
        return ReauthorizeError(text)
    return OAuthErrorResponse(text, code=printable(code), reference="RFC 6749 section 4.1.2.1")


def redirect_uri_mismatch(text: str) -> ConfigurationError:
    """Type GitHub's error about the redirect URI; both endpoints send it."""
    return ConfigurationError(
        text,
        variables=("OAUTH_REDIRECT_URI",),
        hint="Register the redirect URI with your OAuth app, or set OAUTH_REDIRECT_URI to one that is registered.",
    )


def describe(code: object, description: object) -> str:
    """Write an error code and its description for a person; both come from the network."""
    text = printable(code) if isinstance(code, str) else "an error without a code"
    if not isinstance(description, str) or not description:
        return text
    # The sentence around it has a full stop of its own.
    return f"{text} ({printable(description).removesuffix('.')})"


def callback_parameters(url: str) -> dict[str, str]:
    """Return the query parameters of a callback, the whole URL or its query alone.

    Raises:
        ProtocolError: it is not a URL, or repeats a parameter.
    """
    try:
        url.encode()
        parts = urlsplit(url.strip())
    except ValueError:
        # `from None`: its text quotes a part of the URL.
        raise ProtocolError(
            "The callback is not a URL.",
            hint="Copy the whole address from the browser's address bar, and pass that.",
            reference="RFC 3986",
        ) from None
    query = parts.query if parts.query or parts.scheme else url.strip().removeprefix("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    # Whoever reaches the listener says what they like, and says it before their state is looked at.
    remember_heard(*(value for name, value in pairs if name == "code"))
    repeated = {name for name in ("state", "code", "iss", "error") if names.count(name) > 1}
    if repeated:
        # RFC 6749 section 3.1: a parameter must not be repeated; choosing one would be a guess.
        raise ProtocolError(
            f"The callback repeats the parameter {' and '.join(sorted(repeated))}.",
            hint="Start the flow again. If it ends alike, tell the operator of the authorization server.",
            reference="RFC 6749 section 3.1",
        )
    return dict(pairs)


def check_issuer(iss: str | None, expected: str | None, *, required: bool) -> None:
    """Check the issuer of a callback; of one with an error, too (RFC 9207 section 2.4).

    Args:
        iss: the parameter, if there is one.
        expected: the issuer of the authorization server that the person was sent to, if that is known.
        required: its metadata says that it always sends one.

    Raises:
        IssuerMismatch: the callback is of another one.
    """
    if iss is None:
        if required:
            raise IssuerMismatch(
                f"The callback has no iss, which {printable(expected or 'this server')} says that it always sends.",
                hint="Start a new flow; if the same comes back, tell the operator: either every callback has `iss`, or "
                "`authorization_response_iss_parameter_supported` is false.",
            )
    elif expected is not None and iss != expected:  # a comparison of strings, without normalisation
        raise IssuerMismatch(
            f"The callback names the issuer {printable(iss) or '(empty)'}, but the person was sent to "
            f"{printable(expected)}: {difference(expected, iss)}."
        )
