"""The logic of the challenge inspector: the -32001 error and the `WWW-Authenticate` header, read as a client does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traitlets import HasTraits, Unicode, validate

from ...oauth.challenge import AUTHENTICATION_REQUIRED, AuthChallenge
from ...oauth.errors import AuthenticationRequired, McpOAuthError, ProtocolError
from ...oauth.masking import JSONRPC_SECRET_NAMES, mask_fields, scrub
from ...oauth.text import json_text

_PASTE = "Paste the whole error object, from its first { to its last }."

#: The challenge of the guide, which the examples begin with.
_GUIDE = AuthChallenge(
    authorization_url="https://github.com/login/oauth/authorize",
    token_url="https://github.com/login/oauth/access_token",
    scopes=("read:user",),
    resource="https://api.github.com",
    resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp",
)


_SCHEME = re.compile(r"(bearer\s)", re.IGNORECASE)


@dataclass(frozen=True)
class CarrierReading:
    """The challenge, as a client reads it from one carrier.

    Attributes:
        challenge: the challenge that was read, if it is one.
        error: why it cannot be read.
        other: why it is no challenge, where it is readable and something else.
    """

    challenge: AuthChallenge | None = None
    error: McpOAuthError | None = None
    other: str = ""

    @property
    def outcome(self) -> str:
        """In a word or two: `challenge`, `no challenge`, or the name of the error."""
        if self.error is not None:
            return type(self.error).__name__
        return "no challenge" if self.challenge is None else "challenge"


@dataclass(frozen=True)
class ChallengeLine:
    """One piece of the news, and where each carrier has it. A name is followed by its value, where there is one."""

    news: str
    jsonrpc_name: str
    jsonrpc: str
    header_name: str
    header: str


class ChallengeModel(HasTraits):
    """The same news in its two carriers. Assign to either text to edit it; it is read anew at once.

    Args:
        source: an `AuthChallenge`, the error that carries one (`MCPError`, `AuthenticationRequired`), a JSON-RPC error
            object or response, or the value of a `WWW-Authenticate` header; the guide's example if not given. The
            carrier that the source is not is written from what it says.

    Raises:
        TypeError: the source is none of these.

    Attributes:
        jsonrpc: the JSON-RPC error object, as text.
        header: the value of the header.
    """

    jsonrpc = Unicode()
    header = Unicode()

    def __init__(self, source: Any = None):
        super().__init__()
        self._given = _carriers(_GUIDE if source is None else source)
        self.restore()
        self._given = (self.jsonrpc, self.header)

    @validate("jsonrpc", "header")
    def _masked(self, proposal: Any) -> str:
        # Apart from the scheme: `Bearer resource_metadata=` has the shape of a token, as an Authorization header has.
        return "".join(scrub(part) for part in _SCHEME.split(proposal["value"]))

    def restore(self) -> None:
        """Take all edits back."""
        self._write(*self._given)

    def _write(self, jsonrpc: str, header: str) -> None:
        with self.hold_trait_notifications():
            self.jsonrpc, self.header = jsonrpc, header

    def load(self, example: str) -> None:
        """Replace both texts by one of `EXAMPLES`; a carrier that the example leaves out stays as it is.

        Raises:
            KeyError: there is no such example.
        """
        jsonrpc, header = EXAMPLES[example]
        self._write(self._given[0] if jsonrpc is None else jsonrpc, self._given[1] if header is None else header)

    @property
    def edited(self) -> bool:
        """Whether a text is not as it was given."""
        return (self.jsonrpc, self.header) != self._given

    @property
    def jsonrpc_reading(self) -> CarrierReading:
        """The error, as a client reads it."""
        try:
            error = json.loads(self.jsonrpc)
        except json.JSONDecodeError as problem:
            where = f"line {problem.lineno}, column {problem.colno}"
            return CarrierReading(error=ProtocolError(f"This is not JSON: {problem.msg} at {where}.", hint=_PASTE))
        except (ValueError, RecursionError):
            return CarrierReading(
                error=ProtocolError("This is JSON that nobody sends: a number too long, or too deep.", hint=_PASTE)
            )
        if not isinstance(error, Mapping):
            return CarrierReading(error=ProtocolError("This is not a JSON object.", hint=_PASTE))
        try:
            challenge = AuthChallenge.from_jsonrpc(error)
        except ProtocolError as problem:
            return CarrierReading(error=problem)
        return CarrierReading(challenge) if challenge is not None else CarrierReading(other=_other_error(error))

    @property
    def header_reading(self) -> CarrierReading:
        """The header, as a client reads it."""
        try:
            challenge = AuthChallenge.from_www_authenticate(_value(self.header))
        except ProtocolError as problem:
            return CarrierReading(error=problem)
        return (
            CarrierReading(challenge)
            if challenge is not None
            else CarrierReading(other="No Bearer challenge is in it.")
        )

    @property
    def lines(self) -> tuple[ChallengeLine, ...]:
        """Piece by piece, which field of one carrier corresponds to which of the other."""
        error, header = self.jsonrpc_reading.challenge, self.header_reading.challenge
        return (
            ChallengeLine(
                "Authorization is needed", "data.type", "oauth2" if error else "", "scheme", "Bearer" if header else ""
            ),
            _line("Where the user agrees", "authorization_url", error, "resource_metadata", header),
            _line("Where codes become tokens", "token_url", error, "(from the same document)", None),
            _line("For what", "scopes", error, "scope", header),
            _line("For which server", "resource", error, "(from the same document)", None),
            _line("By which flow", "grant_type", error, "(from the server's metadata)", None),
            _line("With which proof", "code_challenge_method", error, "(from the server's metadata)", None),
            _line("What went wrong", "message", error, "error", header),
            _line("In words", "(in the message)", None, "error_description", header),
        )

    @property
    def jsonrpc_steps(self) -> tuple[str, ...]:
        """The next step of a client that got the error."""
        reading = self.jsonrpc_reading
        return after_error(reading.challenge) if reading.challenge is not None else _stop(reading)

    @property
    def header_steps(self) -> tuple[str, ...]:
        """The next step of a client that got the header."""
        reading = self.header_reading
        return after_header(reading.challenge) if reading.challenge is not None else _stop(reading, _ABSENT)

    @property
    def summary(self) -> str:
        """One line: what each carrier was read as."""
        return f"-32001: {self.jsonrpc_reading.outcome}; WWW-Authenticate: {self.header_reading.outcome}"

    def __repr__(self) -> str:
        return f"ChallengeModel({self.summary})"


def _line(
    news: str, name: str, error: AuthChallenge | None, header_name: str, header: AuthChallenge | None
) -> ChallengeLine:
    return ChallengeLine(news, name, _field(error, name), header_name, _field(header, header_name))


def _field(challenge: AuthChallenge | None, name: str) -> str:
    value = getattr(challenge, "scopes" if name == "scope" else name, None)
    return " ".join(value) if isinstance(value, tuple) else value or ""


def _other_error(error: Mapping[str, Any]) -> str:
    inner = error.get("error", error)
    code = inner.get("code") if isinstance(inner, Mapping) else None
    if code == AUTHENTICATION_REQUIRED:
        return 'The code is -32001, but data.type is not "oauth2": the SDK has the same code for a timeout.'
    return 'Another error: data.type is not "oauth2".'


_STOP = "Stop: nothing in it can be trusted to mean what it seems to."
# RFC 9728 section 3: the well-known address is found without a challenge.
_ABSENT = "It counts as absent: go on by the well-known address, as without it."


def _stop(reading: CarrierReading, unreadable: str = _STOP) -> tuple[str, ...]:
    if reading.error is not None:
        return (unreadable, reading.error.hint)
    return ("No authorization: report the error as it is.",)


# -- what a client does next -----------------------------------------------------------------------------------


def after_error(challenge: AuthChallenge) -> tuple[str, ...]:
    """Say what a client does after the -32001 error."""
    missing = [name for name in ("authorization_url", "token_url") if getattr(challenge, name) is None]
    if missing:
        return (f"Stop: without {' and '.join(missing)} there is no way to a token.",)
    if challenge.code_challenge_method != "S256":
        return ("Stop: only the PKCE method S256 protects the code (RFC 9700 section 2.1.1).",)
    scopes = f" for {' '.join(challenge.scopes)}" if challenge.scopes else ""
    resource = f" and resource={challenge.resource}" if challenge.resource else ""
    return (
        "Make a code verifier and a state, and keep both.",
        f"Open {challenge.authorization_url}{scopes}, with the challenge (S256){resource}.",
        f"Compare the state that comes back; exchange the code at {challenge.token_url}, with the verifier.",
        "Give the token to the OAuth handler, and call the tool again.",
    )


def after_header(challenge: AuthChallenge) -> tuple[str, ...]:
    """Say what a client does after a 401 or 403 with this header (RFC 6750 section 3.1, RFC 9728 section 5)."""
    if challenge.error == "invalid_request":
        return ("Correct the request: a token would not help (RFC 6750 section 3.1).",)
    scopes = f" for {' '.join(challenge.scopes)}" if challenge.scopes else " for what scopes_supported says"
    if challenge.error == "insufficient_scope":
        return (
            "Keep the token: it is good, but not for this (403).",
            f"Authorize once more{scopes}, together with the scopes granted before.",
            "Repeat the request, a few times at most: a server could ask for ever more.",
        )
    document = challenge.resource_metadata or "the well-known URLs of the server (RFC 9728 section 3.1)"
    refresh = ("Refresh the token, if there is a refresh token; go on only if that fails.",)
    return (
        *(refresh if challenge.error == "invalid_token" else ()),
        f"Read {document}: it names the resource and its authorization servers.",
        "Read the metadata of the authorization server (RFC 8414): it has the endpoints.",
        "Be known there: by registration, a client metadata document, or by hand.",
        f"Run the authorization code flow with PKCE{scopes}, and name the resource.",
        "Repeat the request with `Authorization: Bearer` and the token.",
    )


# -- where challenges come from --------------------------------------------------------------------------------


def _carriers(source: Any) -> tuple[str, str]:
    """Return the texts of both carriers."""
    if isinstance(source, AuthenticationRequired) and source.challenge is not None:
        source = source.challenge
    if isinstance(source, AuthChallenge):
        return _error_text(source.to_jsonrpc()), _header_text(source)
    if isinstance(source, str):
        try:
            challenge = AuthChallenge.from_www_authenticate(_value(source))
        except ProtocolError:
            challenge = None
        return _error_text(challenge.to_jsonrpc()) if challenge else "{}", source
    error = source if isinstance(source, Mapping) else _error_object(source)
    try:
        challenge = AuthChallenge.from_jsonrpc(error)
    except ProtocolError:
        challenge = None
    return _error_text(error), _header_text(challenge) if challenge else ""


def _error_object(error: Any) -> dict[str, Any]:
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if not isinstance(error, Exception) or not isinstance(code, int):
        raise TypeError(f"there is no challenge in a {type(error).__name__}")
    return {"code": code, "message": message, "data": getattr(error, "data", None)}


def _error_text(error: Mapping[str, Any]) -> str:
    return json_text(mask_fields(dict(error), JSONRPC_SECRET_NAMES), 60)


def _header_text(challenge: AuthChallenge) -> str:
    try:
        return challenge.to_www_authenticate()
    except ValueError:
        return ""


def _value(header: str) -> str:
    """Return the value of a header that was perhaps copied with its name."""
    name, colon, value = header.strip().partition(":")
    return value.strip() if colon and name.lower() == "www-authenticate" else header.strip()


_METADATA = 'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
_TIMEOUT = {"code": AUTHENTICATION_REQUIRED, "message": "Timed out while waiting for the response"}
_WRONG_TYPE = {**_GUIDE.to_jsonrpc(), "data": {**_GUIDE.to_data(), "scopes": "read:user repo"}}

#: Both texts by name; None keeps the one that was given.
EXAMPLES: dict[str, tuple[str | None, str | None]] = {
    "As it was": (None, None),
    "The guide's": (_error_text(_GUIDE.to_jsonrpc()), _header_text(_GUIDE)),
    "A timeout with the same code": (json_text(_TIMEOUT), None),
    "An expired token": (None, f'Bearer error="invalid_token", error_description="The token expired", {_METADATA}'),
    "Too few scopes": (None, f'Bearer error="insufficient_scope", scope="repo", {_METADATA}'),
    "Two schemes": (None, f'Basic realm="staff", Bearer scope="read:user", {_METADATA}'),
    "A field of the wrong type": (_error_text(_WRONG_TYPE), None),
    "A missing quotation mark": (None, 'Bearer scope="read:user, resource_metadata=https://mcp.example/'),
    "A parameter twice": (None, 'Bearer scope="read:user", scope="repo"'),
}
