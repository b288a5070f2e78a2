"""An exchange in clear, what the flow has shown so far, and what the checks of every step are written with.

Exchanges and facts hold secrets, and are for the checks alone; nothing that a check says quotes a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx
from mcp.shared.auth_utils import check_resource_allowed

from ..oauth.challenge import read_challenge
from ..oauth.check import Check, Outcome
from ..oauth.http import Answer
from ..oauth.http_faults import place_of
from ..oauth.masking import printable
from ..oauth.metadata_reading import BOM, Reading, read_resource_metadata, read_server_metadata
from ..oauth.urls import url_problem

#: The `method` of a request to an MCP server in process, without HTTP.
JSONRPC = "jsonrpc"


@dataclass(frozen=True, repr=False)
class Seen:
    """One request and its answer. It holds secrets: it is looked at once and not kept.

    Attributes:
        status: None where there was no HTTP answer, as for the browser's steps.
        content: the answer's body; empty where it is a stream.
    """

    kind: str
    method: str
    url: str
    sent_headers: Mapping[str, str] = field(default_factory=dict)
    sent: bytes = b""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the URL."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form that was sent."""
        return dict(parse_qsl(self.sent.decode("utf-8", "replace"), keep_blank_values=True))

    @cached_property
    def request(self) -> dict[str, Any]:
        """The JSON object that was sent, or an empty one."""
        return json_object(self.sent)

    @property
    def mcp_method(self) -> str:
        """The JSON-RPC method that was asked for, or an empty text."""
        return str(self.request.get("method", "")) if "jsonrpc" in self.request else ""

    @cached_property
    def answer(self) -> dict[str, Any]:
        """The JSON object that was answered, or an empty one."""
        return json_object(self.content)

    def header(self, name: str) -> str:
        """A header of the answer, empty if it is not there."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    def sent_header(self, name: str) -> str:
        """A header of the request, empty if it is not there."""
        return next((value for key, value in self.sent_headers.items() if key.lower() == name), "")

    def __repr__(self) -> str:
        return f"<Seen {self.kind}: {self.method}, {self.status}>"


def _named(header: str) -> str:
    challenge, _ = read_challenge([header] if header else [])
    return (challenge.resource_metadata or "") if challenge is not None else ""


def _answer(seen: Seen) -> Answer:
    return Answer(place_of(seen.url), seen.status or 0, httpx.Headers(dict(seen.headers)), seen.content)


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, or an empty one."""
    try:
        value = json.loads(content.removeprefix(BOM))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(repr=False)
class Facts:
    """What earlier steps of a run have shown, for the checks of later ones. It holds secrets and is never shown.

    Attributes:
        server_url: the MCP endpoint.
        protected: the JSON-RPC methods that were answered with 401.
        named: where the challenge says that the RFC 9728 document is.
        resource: the RFC 9728 document, empty until it is found.
        server: the RFC 8414 document, empty until it is found.
        issuer: whom the resource names.
        registration: the answer to the registration, empty where there was none in this run.
        authorization: the parameters of the authorization request.
        callback: the parameters that came back.
        exchange: the form of the last token request that was answered with a token.
        basic: the Authorization header of that request, where the client showed its secret there.
        token: the newest answer of the token endpoint.
        spent: the refresh token that was used up last.
        places: where the two metadata documents were found, by their step.
        pages: whether the MCP endpoint lets the client be a page of another site.
        accepted: the newest request that needed a token and was answered.
        revoked: what the revocation named: `refresh_token` or `access_token`; empty before one.
        ended: whether the newest tokens were ended by a revocation or a reuse; after a replay the server may choose.
    """

    server_url: str
    protected: set[str] = field(default_factory=set)
    named: str = ""
    resource: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""
    registration: dict[str, Any] = field(default_factory=dict)
    authorization: dict[str, str] = field(default_factory=dict)
    callback: dict[str, str] = field(default_factory=dict)
    exchange: dict[str, str] = field(default_factory=dict)
    basic: str | None = None
    token: dict[str, Any] = field(default_factory=dict)
    spent: str = ""
    places: dict[str, str] = field(default_factory=dict)
    pages: bool = False
    accepted: Seen | None = None
    revoked: str = ""
    ended: Literal["no", "maybe", "yes"] = "no"

    @property
    def issuers(self) -> tuple[str, ...]:
        """The issuer that must answer: the one that the resource names, or, as in MCP 2025-03-26, its origin."""
        if self.issuer:
            return (self.issuer,)
        parts = urlsplit(self.server_url)
        return (f"{parts.scheme}://{parts.netloc}", f"{parts.scheme}://{parts.netloc}/")

    def read_resource(self, seen: Seen) -> Reading:
        """Read an RFC 9728 document as the client does."""
        return read_resource_metadata(_answer(seen), self.server_url, now=0.0)

    def read_server(self, seen: Seen) -> Reading:
        """Read an RFC 8414 document as the client does."""
        return read_server_metadata(_answer(seen), self.issuers, now=0.0)

    def learn(self, seen: Seen) -> None:
        """Take note of an exchange, after it was checked."""
        ok = seen.status is None or 200 <= seen.status < 300
        if seen.kind == "resource_metadata":
            if (document := self.read_resource(seen).document) is not None:
                self.places[seen.kind] = seen.url
                self.resource, self.issuer = seen.answer, str(document["authorization_servers"][0])
        elif seen.kind == "server_metadata":
            if self.read_server(seen).document is not None:
                self.server = seen.answer
                self.places[seen.kind] = seen.url
        elif seen.status == 401 and seen.mcp_method:
            self.protected.add(seen.mcp_method)
            self.named = _named(seen.header("www-authenticate"))
        elif seen.kind == "registration" and ok:
            self.registration = seen.answer
        elif seen.kind == "authorize":
            self.authorization = seen.query
        elif seen.kind == "callback":
            self.callback = seen.query
        elif seen.kind in ("token", "refresh", "ended_refresh") and ok and "access_token" in seen.answer:
            self._learn_token(seen)
        elif (seen.kind == "reuse" and not ok) or (seen.kind == "revoke" and ok):
            self.ended = "yes"
            self.revoked = seen.form.get("token_type_hint", "") if seen.kind == "revoke" else ""
        elif seen.kind == "replay":
            self.ended = "maybe"
        elif seen.kind == "preflight" and seen.url == self.server_url:
            # A server that lets web pages read any of its answers claims to let them in.
            self.pages = ok and seen.header("access-control-allow-origin") != ""
        elif ok and seen.mcp_method in self.protected and seen.kind not in ("ended_token", "cross_origin"):
            self.accepted = seen

    def _learn_token(self, seen: Seen) -> None:
        self.ended = "no"
        if seen.kind == "token":
            self.exchange = seen.form
            # It is of another family: its use would end no token of this one.
            self.spent = ""
            self.basic = seen.sent_header("authorization") or None
        else:
            self.spent = seen.form.get("refresh_token", "")
        kept = {"refresh_token": self.token["refresh_token"]} if "refresh_token" in self.token else {}
        self.token = {**(kept if seen.kind == "refresh" else {}), **seen.answer}


Checks = Iterator[Check]


def verdict(name: str, ok: bool, should: str, reference: str, *, seen: str = "", soft: bool = False) -> Check:
    """Return the check of one requirement.

    Args:
        should: what should have been sent; only shown if it was not.
        seen: what was sent, without secrets.
        soft: a client can go on without it.
    """
    failed: Outcome = "warning" if soft else "failed"
    return Check(name, "passed" if ok else failed, seen, "" if ok else should, reference)


def shown(value: object) -> str:
    """Return a value from the network as it may be shown."""
    return printable(str(value)) if value not in (None, "", [], {}) else "nothing"


def answered(seen: Seen) -> str:
    """Say what a server answered: the status, and the error's code."""
    error = seen.answer.get("error")
    return f"answered {seen.status}" + (f" {printable(error, 60)}" if isinstance(error, str) else "")


def is_secure(url: str) -> bool:
    """Say whether a code or a token may be sent there: by TLS, or on this machine."""
    return not url_problem(url)


def covers(resource: str, server_url: str) -> bool:
    """Say whether a resource is the server, or what it stands under: as the SDK's client decides it."""
    try:
        return check_resource_allowed(server_url, resource)
    except ValueError:
        return False
