"""What the answer at a well-known URL is worth: the one judge, for the client, `discover()` and the debugger.

    reading = read_resource_metadata(answer, "https://mcp.example/mcp", now=clock.now())
    reading.document          # what can be used of it, or None

Three things are told apart. A place may have no document: the next one is tried. A document may have flaws in what
nobody needs: it is used without them. And what is needed may be missing or wrong: then this document is not used, and
its error is what the search ends with if no other place has a better one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed
from pydantic import AnyHttpUrl, BaseModel, TypeAdapter, ValidationError

from .errors import IssuerMismatch, McpOAuthError, ProtocolError, RedirectRefused, SecurityError, TransientError
from .http import Answer
from .masking import printable
from .metadata_fields import Kind
from .metadata_findings import check_field
from .metadata_rules import quoted
from .token_endpoint import check_available
from .urls import difference, is_web

#: The fields of the authorization server's document that lead the person, a code or a registration somewhere.
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "registration_endpoint")

_NEEDED: dict[Kind, tuple[str, ...]] = {
    "protected resource": ("resource", "authorization_servers"),
    "authorization server": ("issuer", "authorization_endpoint", "token_endpoint"),
}
_MODELS: dict[Kind, type[BaseModel]] = {
    "protected resource": ProtectedResourceMetadata,
    "authorization server": OAuthMetadata,
}
_SHAPE: dict[Kind, str] = {"protected resource": "RFC 9728 section 3.2", "authorization server": "RFC 8414 section 3.2"}
_URL = TypeAdapter(AnyHttpUrl)
#: What some editors put before a text in UTF-8; RFC 8259 section 8.1 lets a reader ignore it.
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Flaw:
    """One thing that is not as it should be. Without a field it is about the document."""

    field: str
    text: str


@dataclass(frozen=True)
class Reading:
    """What one place had.

    Attributes:
        document: the fields that can be used; None where none can.
        flaws: what is wrong and not needed; the fields among it are left out of `document`.
        absent: why there is no document here, in a few words; empty where there is one.
        error: what the search ends with, if no other place has a document that can be used.
        field: the needed field that the error is about.
        stops: the next place must not even be tried.
    """

    document: dict[str, Any] | None = None
    flaws: tuple[Flaw, ...] = ()
    absent: str = ""
    error: McpOAuthError | None = None
    field: str = ""
    stops: bool = False

    @property
    def findings(self) -> tuple[str, ...]:
        """The flaws as sentences."""
        return tuple(flaw.text for flaw in self.flaws)

    @property
    def unusable(self) -> bool:
        """Whether something is here that must not be passed over: nobody is guessed in its place."""
        return self.error is not None and not self.absent


def read_resource_metadata(answer: Answer, server_url: str, *, now: float) -> Reading:
    """Read an answer at a place for the metadata of a protected resource (RFC 9728).

    Args:
        server_url: the MCP endpoint that the document must describe.
        now: the time in seconds since the epoch.
    """
    kind: Kind = "protected resource"
    begun = _begin(answer, kind, now)
    if begun.document is None:
        return begun
    document = begun.document
    if not document.get("authorization_servers"):
        # MCP asks for it, RFC 9728 does not: a server of 2025-03-26 has its authorization server at its own origin.
        error = _unusable(answer, kind, "authorization_servers", document)
        return replace(
            begun,
            document=None,
            absent="names no authorization server",
            error=error,
            field="authorization_servers",
        )
    if isinstance(document["authorization_servers"], list):
        begun = _with_good_issuers(answer, begun)
    reading = _used(answer, kind, begun)
    if reading.document is None:
        return reading
    named = str(reading.document["resource"])
    if _same_resource(named, server_url):
        return reading
    if _covers(named, server_url):
        return _with_flaw(
            reading,
            "resource",
            f"{answer.url} speaks for {printable(named)}, which is more than this server (RFC 9728 section 3.3).",
        )
    error = _other_resource(answer, named, server_url)
    return replace(reading, document=None, field="resource", error=error, stops=True)


def read_server_metadata(answer: Answer, issuers: Sequence[str], *, now: float) -> Reading:
    """Read an answer at a place for the metadata of an authorization server (RFC 8414, OpenID Connect Discovery).

    Args:
        issuers: who was asked for, and what else it may call itself; the document must name one of them.
        now: the time in seconds since the epoch.
    """
    kind: Kind = "authorization server"
    begun = _begin(answer, kind, now)
    if begun.document is None:
        return begun
    named = begun.document.get("issuer")
    # RFC 8414 section 3.3: identical, without any normalization; the text of the document, not a parsed URL.
    if named not in issuers:
        # Somebody else's document: what stands beside it is not looked at. One that names nobody is only incomplete.
        error = _other_issuer(answer, named, issuers[0])
        return replace(begun, document=None, field="issuer", error=error, stops=isinstance(named, str))
    return _used(answer, kind, begun)


def model_of(kind: Kind, document: Mapping[str, Any]) -> Any:
    """Return the SDK's model of a document that was read here."""
    return _MODELS[kind].model_validate(document)


# -- is there a document? --------------------------------------------------------------------------------------


def _begin(answer: Answer, kind: Kind, now: float) -> Reading:
    """Find the JSON object in an answer, whatever is in it."""
    try:
        check_available(answer, now)
    except TransientError as error:
        # Who asks for patience is left alone: the next place is on the same host.
        patience = answer.status == 429 or error.retry_at is not None
        return Reading(error=error, stops=patience)
    if 300 <= answer.status < 400 and "location" in answer.headers:
        refused = RedirectRefused(
            f"{answer.url} answered {answer.status} with a redirect that is not followed: it leads elsewhere, or on "
            "and on.",
            hint=_tell(answer, "serve the document itself at this URL, without a redirect"),
            reference=_SHAPE[kind],
        )
        return Reading(absent="redirects elsewhere", error=refused)
    if answer.status != 200:
        return Reading(absent="not here")
    # Single-page applications answer any path with their page.
    if answer.content_type == "text/html":
        return Reading(absent="a web page")
    flaws = []
    if answer.body.startswith(BOM):
        flaws.append(Flaw("", f"{answer.url} begins with a byte order mark (RFC 8259 section 8.1)."))
        answer = replace(answer, body=answer.body.removeprefix(BOM))
    if answer.content_type != "application/json":
        label = printable(answer.content_type) or "no content type"
        flaws.append(Flaw("", f"{answer.url} is labelled {label}, not application/json ({_SHAPE[kind]})."))
    try:
        document = answer.json_object()
    except ProtocolError as error:
        if answer.content_type != "application/json":
            return Reading(absent="no JSON")
        hint = _tell(answer, "serve one JSON object, each member once")
        return Reading(error=ProtocolError(error.message, hint=hint, reference=_SHAPE[kind]))
    if not any(name in document for name in _NEEDED[kind]):
        return Reading(absent="another document")
    return Reading(document, tuple(flaws))


# -- what of it can be used? -----------------------------------------------------------------------------------


def _used(answer: Answer, kind: Kind, begun: Reading) -> Reading:
    """Leave out what is wrong and not needed; where something is that is needed, say so in an error."""
    whole, model = begun.document or {}, _MODELS[kind]
    document = {name: value for name, value in whole.items() if name in model.model_fields}
    reading = begun
    for field in _bad_fields(model, document):
        if field in _NEEDED[kind]:
            return replace(reading, document=None, field=field, error=_unusable(answer, kind, field, whole))
        value = document.pop(field)
        if value is not None:
            reading = _with_flaw(reading, field, _left_out(answer, kind, field, whole))
    return replace(reading, document=document)


def _bad_fields(model: type[BaseModel], document: Mapping[str, Any]) -> list[str]:
    try:
        model.model_validate(document)
    except ValidationError as error:
        return list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))
    return []


def _with_good_issuers(answer: Answer, begun: Reading) -> Reading:
    """Leave out the authorization servers that are none, as long as one is left."""
    document = begun.document or {}
    named = document["authorization_servers"]
    good = [one for one in named if _is_issuer(one)]
    if not good:
        return begun
    flaws = list(begun.flaws)
    if len(good) < len(named):
        bad = next(one for one in named if not _is_issuer(one))
        text = f"{answer.url}: `authorization_servers` has {quoted(bad)}, which is no issuer (RFC 9728 section 2)."
        flaws.append(Flaw("authorization_servers", text))
    if len(good) > 1:
        text = f"It names {len(good)} authorization servers; the first is used (RFC 9728 section 7.6)."
        flaws.append(Flaw("", text))
    return replace(begun, document={**document, "authorization_servers": good}, flaws=tuple(flaws))


def _is_issuer(named: Any) -> bool:
    return isinstance(named, str) and is_web(named)


def _with_flaw(reading: Reading, field: str, text: str) -> Reading:
    return replace(reading, flaws=(*reading.flaws, Flaw(field, text)))


def _same_resource(named: str, server_url: str) -> bool:
    return _canonical(named) == _canonical(server_url)


def _canonical(url: str) -> str:
    # MCP, canonical server URI: scheme and host in lower case, no default port, and no slash at the end.
    try:
        return str(_URL.validate_python(url)).removesuffix("/")
    except ValidationError:
        return url


def _covers(named: str, server_url: str) -> bool:
    """Say whether a resource is what the server stands under: as the SDK's client decides it."""
    try:
        return check_resource_allowed(server_url, named) and not urlsplit(named).query
    except ValueError:
        return False


# -- what is said of it ----------------------------------------------------------------------------------------


def _judged(kind: Kind, field: str, document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what is wrong with a field, what it should be, and the section, as the table of fields has them."""
    check = check_field(document, kind, field)
    value = document.get(field)
    if check.outcome == "failed" or value is None:
        return check.message, check.should, check.reference
    return f"{quoted(value)} is not what it may be.", "what the section says", check.reference


def _unusable(answer: Answer, kind: Kind, field: str, document: Mapping[str, Any]) -> McpOAuthError:
    message, should, reference = _judged(kind, field, document)
    return ProtocolError(
        f"The metadata of the {kind} at {answer.url} cannot be used: the field `{field}` is wrong. {message}",
        hint=_tell(answer, f"`{field}` has to be {should}"),
        reference=reference,
    )


def _left_out(answer: Answer, kind: Kind, field: str, document: Mapping[str, Any]) -> str:
    message, _, reference = _judged(kind, field, document)
    said = message.removesuffix(".")
    return f"{answer.url}: `{field}` is left out: {said} ({reference})."


def _other_issuer(answer: Answer, named: Any, issuer: str) -> IssuerMismatch:
    differs = f": {difference(issuer, named)}" if isinstance(named, str) else ""
    shown = printable(named) if isinstance(named, str) else quoted(named)
    return IssuerMismatch(
        f"The metadata at {answer.url} has the issuer {shown}, but {printable(issuer)} was asked for{differs}.",
        hint="A client must not use it, so this has to be mended at the server: "
        + _tell(
            answer,
            f"`issuer` has to be exactly {printable(issuer)}, or whoever names that issuer has to write it as in here",
        ),
        reference="RFC 8414 section 3.3",
    )


def _other_resource(answer: Answer, named: str, server_url: str) -> SecurityError:
    return SecurityError(
        f"{answer.url} describes the resource {printable(named)}, not {printable(server_url)}: "
        f"{difference(server_url, named)}.",
        hint="A client must not use it. If this is the address that you meant, "
        + _tell(answer, f"`resource` has to be {printable(server_url)}"),
        reference="RFC 9728 section 3.3",
    )


def _tell(answer: Answer, what: str) -> str:
    return f"tell the operator of {urlsplit(answer.url).netloc}: “{answer.url}: {what}.”"


def dumped(document: Mapping[str, Any]) -> bytes:
    """Return a document that was read here as the JSON that the SDK is given."""
    return json.dumps(document).encode()
