"""An access token with everything that is known about it, masked wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .clock import iso
from .errors import ProtocolError
from .masking import Secret, is_secret_name, mask, printable, remember

#: Refresh this many seconds before expiry, so that a token does not die on its way to the server.
EARLY_REFRESH_SECONDS = 60.0

_OF_RESPONSE = (
    "Only the authorization server can mend its answer: tell its operator. If the answer is of another kind, check the "
    "token URL."
)

# A lifetime above this is a mistake of the server; ten years do no harm.
_LONGEST_LIFETIME = 10 * 365 * 24 * 3600
# The end of the year 9999: a later time cannot be written as a date.
_LATEST = 253_402_300_799

# RFC 6749 appendix A.12: an access token is printable ASCII. A space could break out of a header's value.
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")
# RFC 6750 section 2.1: what may be in the header. Large servers issue tokens with `:`, `!` or `|`, and take them back.
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
# RFC 6749 appendix A.17: a refresh token never goes into a header, and may be any visible ASCII.
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_QUOTES = frozenset("\"'`")


@dataclass(frozen=True, repr=False)
class Token:
    """What the token endpoint granted. Times are absolute, in seconds since the epoch.

    `token["access_token"]` reads the fields of the response it came from.
    """

    access_token: str
    token_type: str = "bearer"
    scopes: tuple[str, ...] = ()
    expires_at: float | None = None
    refresh_token: str | None = None
    refresh_token_expires_at: float | None = None
    resource: str | None = None
    issued_at: float | None = field(default=None, compare=False)
    #: What was odd about the answer that it came from, and did no harm.
    findings: tuple[str, ...] = field(default=(), compare=False)
    _response: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        # `vars(token)` is shown by a debugger, and by whoever looks for what there is.
        response = {n: Secret(v) if isinstance(v, str) and is_secret_name(n) else v for n, v in self._response.items()}
        object.__setattr__(self, "_response", response)
        object.__setattr__(self, "access_token", Secret(self.access_token))
        if self.refresh_token is not None:
            object.__setattr__(self, "refresh_token", Secret(self.refresh_token))

    @classmethod
    def from_response(
        cls, body: Mapping[str, Any], *, now: float, requested_scopes: tuple[str, ...] = (), resource: str | None = None
    ) -> Token:
        """Read a successful token response (RFC 6749 section 5.1).

        Args:
            body: the parsed JSON or form body.
            now: when the answer arrived, in seconds since the epoch; lifetimes count from here.
            requested_scopes: granted when the response names no scope.
            resource: the resource indicator that was sent (RFC 8707).

        What the token can be used without counts as absent where it is unusable, and is told in `findings`.

        Raises:
            ProtocolError: the access token or its type has a value that cannot be used.
        """
        reader = _Reader(body, now)
        return cls(
            access_token=reader.access_token(),
            token_type=reader.token_type(),
            scopes=reader.scopes(requested_scopes),
            expires_at=reader.deadline("expires_in"),
            refresh_token=reader.refresh_token(),
            refresh_token_expires_at=reader.deadline("refresh_token_expires_in"),
            resource=resource,
            issued_at=now,
            findings=tuple(reader.findings),
            _response=dict(body),
        )

    def succeeded_by(self, newer: Token) -> Token:
        """Return the newer token, with this one's refresh token where the answer to a refresh gave none."""
        if newer.refresh_token is not None:
            return newer
        return replace(
            newer, refresh_token=self.refresh_token, refresh_token_expires_at=self.refresh_token_expires_at
        )  # RFC 6749 section 6: the old refresh token stays in use.

    def is_expired(self, now: float, *, margin: float = 0.0) -> bool:
        """Say whether the token is past its lifetime. Without one it is used until a server says 401.

        Args:
            now: the time in seconds since the epoch.
            margin: count as expired this many seconds early.
        """
        return self.expires_at is not None and now >= self.expires_at - margin

    def is_due(self, now: float) -> bool:
        """Say whether the token should be refreshed: a minute before it expires, or a quarter of a short life before.

        Args:
            now: the time in seconds since the epoch.
        """
        margin = EARLY_REFRESH_SECONDS
        if self.expires_at is not None and self.issued_at is not None:
            # A token that lives for a minute is not to be refreshed at every call.
            margin = min(margin, (self.expires_at - self.issued_at) / 4)
        return self.is_expired(now, margin=margin)

    def __getitem__(self, name: str) -> Any:
        fields = {"access_token": self.access_token, "refresh_token": self.refresh_token, "token_type": self.token_type}
        return self._response[name] if name in self._response else fields[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form. It contains the secrets in clear: for a token store only."""
        return {
            "access_token": self.access_token,
            "token_type": self.token_type,
            "scopes": list(self.scopes),
            "expires_at": self.expires_at,
            "refresh_token": self.refresh_token,
            "refresh_token_expires_at": self.refresh_token_expires_at,
            "resource": self.resource,
            "issued_at": self.issued_at,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Token:
        """Read the stored form.

        Raises:
            ProtocolError: it is not one.
        """
        scopes = stored.get("scopes", [])
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise _invalid("scopes", "is not a list of strings")
        resource = stored.get("resource")
        if resource is not None and not isinstance(resource, str):
            raise _invalid("resource", "is not a string")
        return cls(
            access_token=_secret(stored, "access_token"),
            token_type=str(stored.get("token_type", "bearer")),
            scopes=tuple(scopes),
            expires_at=_stored_time(stored, "expires_at"),
            refresh_token=None if stored.get("refresh_token") is None else _secret(stored, "refresh_token", _VISIBLE),
            refresh_token_expires_at=_stored_time(stored, "refresh_token_expires_at"),
            resource=resource,
            issued_at=_stored_time(stored, "issued_at"),
        )

    def __repr__(self) -> str:
        parts = [mask(self.access_token), f"scopes={printable(','.join(self.scopes)) or 'none'}"]
        parts.append(f"expires {iso(self.expires_at)}" if self.expires_at is not None else "no expiry")
        if self.refresh_token:
            parts.append(f"refresh_token={mask(self.refresh_token)}")
        return f"Token({', '.join(parts)})"


def pasted_token(token: str | None) -> str | None:
    """Return a token that a person assigned, without the white space that came along.

    Raises:
        ProtocolError: it has characters that RFC 6750 section 2.1 does not allow.
    """
    token = token.strip() if token else None
    if not token:
        return None
    remember(token)
    # What a store would not read back must not get into it, nor into a header.
    if not _ACCESS_TOKEN.fullmatch(token) or not _QUOTES.isdisjoint((token[0], token[-1])):
        raise ProtocolError(
            "What was assigned cannot be a token: it has quotes, spaces or characters that are not ASCII.",
            hint="Copy the token again, without quotes and line ends.",
            reference="RFC 6749 appendix A.12",
        )
    return token


def split_scopes(text: str) -> tuple[str, ...]:
    """Split scopes that are separated by spaces (RFC 6749 section 3.3) or, as GitHub does, by commas."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def is_absent(body: Mapping[str, Any], name: str) -> bool:
    """Say whether a field is missing, null or the empty string, which servers send in place of no value."""
    return body.get(name) in (None, "")


class _Reader:
    """Reads a token response (RFC 6749 section 5.1), and notes what is odd in it."""

    def __init__(self, body: Mapping[str, Any], now: float):
        self._body = body
        self._now = now
        self.findings: list[str] = []

    def access_token(self) -> str:
        token = _secret(self._body, "access_token")
        if not _B64TOKEN.fullmatch(token):
            self.findings.append(
                "The token response's access_token has characters that a header may not have; it is sent as it is "
                "(RFC 6750 section 2.1)."
            )
        return token

    def token_type(self) -> str:
        # The type is required, but no other than this can be meant where it is missing; its case does not matter.
        if is_absent(self._body, "token_type"):
            self._found("token_type", "is missing; the token is used as a bearer token")
            return "bearer"
        token_type = self._body["token_type"]
        if not isinstance(token_type, str) or token_type.lower() != "bearer":
            raise ProtocolError(
                f"The token response's token_type is {_shown(token_type)}, not Bearer: this client does not know how "
                "such a token is sent, and must not use it.",
                hint='Tell the authorization server\'s operator: a token for MCP needs "token_type": "Bearer". Until '
                "then authorize by other means, and send the token yourself: Session.open(url, auth=...) takes any "
                "httpx2.Auth.",
                reference="RFC 6749 section 7.1; MCP, Authorization, Token Requirements",
            )
        return token_type

    def scopes(self, requested: tuple[str, ...]) -> tuple[str, ...]:
        scope = self._body.get("scope")
        if isinstance(scope, str):
            # GitHub separates by commas; its empty string means that nothing was granted.
            return split_scopes(scope)
        if scope is not None:
            self._found("scope", "is not a string; what was asked for counts as granted")
        # An omitted scope is the requested one.
        return tuple(requested)

    def refresh_token(self) -> str | None:
        if is_absent(self._body, "refresh_token"):
            return None
        try:
            return _secret(self._body, "refresh_token", _VISIBLE)
        except ProtocolError:
            self._found("refresh_token", "is not a string of visible ASCII; it counts as none")
            return None

    def deadline(self, name: str) -> float | None:
        """Turn a relative lifetime into an absolute time; digits in a string are accepted, as servers send them."""
        value = self._body.get(name)
        if is_absent(self._body, name):
            return None
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,100}(\.0*)?", value):
            value = int(value.partition(".")[0])
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self._found(name, "is not a whole number of seconds; it counts as none")
            return None
        if value <= 0:
            # "Expired on arrival" would refresh without end; use it until a server answers 401.
            return None
        return self._now + min(value, _LONGEST_LIFETIME)

    def _found(self, name: str, what: str) -> None:
        self.findings.append(f"The token response's {name} {what} (RFC 6749 section 5.1).")


def _shown(value: object) -> str:
    return printable(repr(value), 60) if isinstance(value, str) else f"of the type {type(value).__name__}"


def _secret(body: Mapping[str, Any], name: str, alphabet: re.Pattern[str] = _ACCESS_TOKEN) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not alphabet.fullmatch(value):
        raise _invalid(name, "is missing or has characters that the RFC does not allow")
    return value


def _stored_time(stored: Mapping[str, Any], name: str) -> float | None:
    value = stored.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _invalid(name, "is not a number")
    if value is not None and not 0 <= value <= _LATEST:
        raise _invalid(name, "is not a time")
    return value


def _invalid(name: str, why: str) -> ProtocolError:
    return ProtocolError(f"The token response's {name} {why}.", hint=_OF_RESPONSE, reference="RFC 6749 section 5.1")
