"""The challenge, which says that authorization is needed, in its two forms.

- In process and over stdio: the JSON-RPC error -32001 whose `data` carries the OAuth endpoints.
- Over HTTP: `401` with a `WWW-Authenticate: Bearer` header (RFC 6750 section 3, RFC 9728 section 5.1).

-32001 is a convention of this sample, and the SDK's own code for a request timeout; so the challenge is
recognised by `data["type"] == "oauth2"`, never by the number alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .errors import ProtocolError
from .masking import printable, scrub
from .pkce import METHOD
from .token import split_scopes
from .urls import has_url_characters, split

if TYPE_CHECKING:
    from .settings import Settings

#: JSON-RPC error code of "Authentication required".
AUTHENTICATION_REQUIRED = -32001
#: JSON-RPC error code of "OAuth is not configured".
NOT_CONFIGURED = -32000

#: Under this name the server advertises its authorization metadata when a client connects.
OAUTH_EXTENSION = "io.github.mcp-oauth-nb/oauth"

_TELL_AUTHOR = "Tell the server's author: the field has to be left out, or to be as in the guide's example."
_GUIDE = "the guide, OAuth error"

_MESSAGE = "Authentication required"


@dataclass(frozen=True, repr=False)
class AuthChallenge:
    """Where and how to authorize. The -32001 error fills the upper fields, `WWW-Authenticate` the lower ones."""

    authorization_url: str | None = None
    token_url: str | None = None
    scopes: tuple[str, ...] = ()
    resource: str | None = None
    grant_type: str = "authorization_code"
    code_challenge_method: str = METHOD
    message: str = _MESSAGE

    resource_metadata: str | None = None
    error: str | None = None
    error_description: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings, *, resource: str | None = None) -> AuthChallenge:
        """Make the challenge that a server with these settings sends.

        Args:
            resource: the resource indicator (RFC 8707); the API's base URL if not given.
        """
        return cls(
            authorization_url=settings.oauth_authorization_url,
            token_url=settings.oauth_token_url,
            scopes=settings.oauth_scopes,
            resource=resource or settings.api_base_url,
        )

    @classmethod
    def from_mcp_error(cls, error: Exception) -> AuthChallenge | None:
        """Read an `MCPError`; None if it is any other error, a timeout with the same code included.

        Raises:
            ProtocolError: a field of the challenge has the wrong type.
        """
        return cls._from_parts(getattr(error, "message", None), getattr(error, "data", None))

    @classmethod
    def from_jsonrpc(cls, error: Mapping[str, Any]) -> AuthChallenge | None:
        """Read a JSON-RPC error object, or the whole response around it; None if it is any other error.

        Raises:
            ProtocolError: a field of the challenge has the wrong type.
        """
        inner = error.get("error", error)
        return cls._from_parts(inner.get("message"), inner.get("data")) if isinstance(inner, Mapping) else None

    @classmethod
    def _from_parts(cls, message: Any, data: Any) -> AuthChallenge | None:
        if not isinstance(data, Mapping) or data.get("type") != "oauth2":
            return None
        scopes = data.get("scopes", ())
        if not isinstance(scopes, list | tuple) or not all(isinstance(scope, str) for scope in scopes):
            raise ProtocolError(
                "The challenge's `scopes` is not a list of strings.", hint=_TELL_AUTHOR, reference=_GUIDE
            )
        return cls(
            authorization_url=_text(data, "authorization_url"),
            token_url=_text(data, "token_url"),
            scopes=tuple(scopes),
            resource=_text(data, "resource"),
            grant_type=_text(data, "grant_type") or "authorization_code",
            code_challenge_method=_text(data, "code_challenge_method") or METHOD,
            message=message if isinstance(message, str) else _MESSAGE,
        )

    @classmethod
    def from_www_authenticate(cls, header: str) -> AuthChallenge | None:
        """Read the Bearer challenge of a `WWW-Authenticate` header; None if it has none.

        Raises:
            ProtocolError: the header does not follow RFC 9110 section 11.6.1.
        """
        bearers = [parameters for scheme, parameters in parse_challenges(header) if scheme.lower() == "bearer"]
        if not bearers:
            return None
        # One server may speak for several realms; an MCP client goes by the challenge that leads to the metadata.
        parameters = next((found for found in bearers if found.get("resource_metadata")), bearers[0])
        return cls(
            scopes=split_scopes(parameters.get("scope", "")),
            resource_metadata=parameters.get("resource_metadata"),
            error=parameters.get("error"),
            error_description=parameters.get("error_description"),
        )

    def __repr__(self) -> str:
        # What it says, a server wrote: it may echo what it was sent.
        given = [f"{name}={scrub(repr(value))}" for name, value in vars(self).items() if value not in (None, ())]
        return "AuthChallenge(\n    " + ",\n    ".join(given) + "\n)"

    def to_data(self) -> dict[str, Any]:
        """Return the `data` member of the -32001 error."""
        return {
            "type": "oauth2",
            "grant_type": self.grant_type,
            "authorization_url": self.authorization_url,
            "token_url": self.token_url,
            "scopes": list(self.scopes),
            "code_challenge_method": self.code_challenge_method,
            "resource": self.resource,
        }

    def to_jsonrpc(self) -> dict[str, Any]:
        """Return the guide's error object: `{"code": -32001, "message": ..., "data": ...}`."""
        return {"code": AUTHENTICATION_REQUIRED, "message": self.message, "data": self.to_data()}

    def to_www_authenticate(self) -> str:
        """Return the header's value, for the `401` (or `403`) of an HTTP server.

        Raises:
            ValueError: a field has characters that a header cannot carry.
        """
        parameters = {
            "error": self.error,
            "error_description": self.error_description,
            "resource_metadata": self.resource_metadata,
            "scope": " ".join(self.scopes) or None,
        }
        given = [f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None]
        return f"Bearer {', '.join(given)}" if given else "Bearer"


def read_challenge(lines: Iterable[str]) -> tuple[AuthChallenge | None, tuple[str, ...]]:
    """Read the `WWW-Authenticate` lines of a response: the one reader for the client, `discover()` and the debugger.

    What cannot be read counts as absent: the way on is the well-known address, as without a challenge.

    Args:
        lines: the values of the header, each line by itself.

    Returns:
        The Bearer challenge, or None; and what is not as it should be, a sentence each.
    """
    found: list[AuthChallenge] = []
    findings = []
    for line in lines:
        try:
            challenge = AuthChallenge.from_www_authenticate(line)
        except ProtocolError as error:
            findings.append(f"{error.message.removesuffix('.')}, and counts as absent ({error.reference}).")
            continue
        if challenge is not None:
            found.append(challenge)
    # RFC 9110 section 5.3: several lines are one list.
    challenge = next((one for one in found if one.resource_metadata), found[0] if found else None)
    named = challenge.resource_metadata if challenge is not None else None
    if challenge is not None and named is not None and not _can_be_asked(named):
        findings.append(f"The challenge's resource_metadata, {printable(named, 80)}, is no URL (RFC 9728 section 5.1).")
        challenge = replace(challenge, resource_metadata=None)
    return challenge, tuple(findings)


def _can_be_asked(url: str) -> bool:
    parts = split(url)
    # Of another scheme too: whoever is led there says so.
    return has_url_characters(url) and parts is not None and bool(parts.scheme and parts.netloc)


# RFC 9110 section 5.6.2, 5.6.4 and 11.2: token, quoted-string, and token68 such as Basic's.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\.)*)")')
_SCHEME = re.compile(rf"({_TOKEN})(?:[ ]+(?=[^ ,])|(?=[ \t]*(?:,|$)))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_COMMA = re.compile(r"[ \t]*(?:,[ \t]*)+|[ \t]*$")


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return each challenge of a `WWW-Authenticate` value: its scheme and its parameters, names in lower case.

    Raises:
        ProtocolError: the header does not follow RFC 9110 section 11.6.1, or repeats a parameter.
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    position = len(header) - len(header.lstrip(" \t,"))
    while position < len(header):
        if challenges and (match := _PARAMETER.match(header, position)):
            name = match[1].lower()
            if name in challenges[-1][1]:
                # RFC 9110 section 11.2: a name must not occur twice; taking either would be a guess.
                raise _malformed("repeats a parameter")
            challenges[-1][1][name] = match[2] if match[2] is not None else re.sub(r"\\(.)", r"\1", match[3])
            position = match.end()
        elif match := _SCHEME.match(header, position):
            challenges.append((match[1], {}))
            position = match.end()
            if _PARAMETER.match(header, position):
                continue
            if token68 := _TOKEN68.match(header, position):
                position = token68.end()
        else:
            raise _malformed("is malformed")
        separator = _COMMA.match(header, position)
        if separator is None:
            raise _malformed("is malformed")
        position = separator.end()
    return challenges


def _malformed(why: str) -> ProtocolError:
    return ProtocolError(
        f"The WWW-Authenticate header {why}.",
        hint="Tell the server's operator: each parameter once, its value in double quotes, and a comma between two.",
        reference="RFC 9110 section 11.6.1",
    )


def _quoted(value: str) -> str:
    # RFC 6750 section 3 allows no more, and what is beyond it cannot be sent by every server.
    if not (value.isascii() and value.isprintable()):
        raise ValueError("a challenge in a header is made of printable ASCII only")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise ProtocolError(f"The challenge's `{name}` is not a string.", hint=_TELL_AUTHOR, reference=_GUIDE)
    return value
