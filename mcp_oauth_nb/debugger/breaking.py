"""Ways to break a server on purpose: applications between it and a client, and the damage that each does.

`faults` puts these together.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from ..oauth.pkce import PKCE


@dataclass(frozen=True)
class Asked:
    """What the client asked for."""

    method: str
    path: str
    form: Mapping[str, str]
    has_token: bool


@dataclass(frozen=True)
class BreakableAnswer:
    """The answer to it."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def with_header(self, name: str, value: str | None) -> BreakableAnswer:
        """Return the same answer with another header, or without it."""
        others = {key: old for key, old in self.headers.items() if key != name}
        return dataclasses.replace(self, headers=others if value is None else {**others, name: value})

    def with_members(self, changes: Mapping[str, Any]) -> BreakableAnswer:
        """Return the same answer with other members in its JSON; None drops one."""
        members = {**json.loads(self.content), **changes}
        left = {name: value for name, value in members.items() if value is not None}
        return dataclasses.replace(self, content=json.dumps(left).encode())


class Breaking:
    """Stands between a client and the servers; this base class changes nothing."""

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """Return the form that the server is to get."""
        return asked.form

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """Return the answer that the client is to get."""
        return answer

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Return the authorization request that the server is to get."""
        return query

    def comes_back(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Return the URL with which the browser comes back."""
        return query


def with_query(url: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> str:
    """Return a URL with other parameters."""
    parts = urlsplit(url)
    return parts._replace(query=urlencode(change(dict(parse_qsl(parts.query, keep_blank_values=True))))).geturl()


class Between(httpx2.AsyncBaseTransport):
    """A transport with something in the way."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, breaking: Breaking):
        self._inner = inner
        self._breaking = breaking

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        is_form = "urlencoded" in request.headers.get("content-type", "")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True)) if is_form else {}
        asked = Asked(request.method, request.url.path, form, "authorization" in request.headers)
        if (other := self._breaking.asks(asked)) != form:
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            request = httpx2.Request(request.method, request.url, headers=headers, content=urlencode(other).encode())
        response = await self._inner.handle_async_request(request)
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = self._breaking.answers(asked, BreakableAnswer(response.status_code, headers, await response.aread()))
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx2.Response(answer.status, headers=headers, stream=httpx2.ByteStream(answer.content))

    async def aclose(self) -> None:
        await self._inner.aclose()


# -- kinds of damage -------------------------------------------------------------------------------------------


class Members(Breaking):
    """A successful answer has other members."""

    def __init__(self, path: str, changes: Mapping[str, Any], grant: str = ""):
        self._path, self._changes, self._grant = path, changes, grant

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        here = asked.path == self._path and asked.form.get("grant_type", "").startswith(self._grant)
        return answer.with_members(self._changes) if here and answer.status < 300 else answer


class Header(Breaking):
    """An answer of one status has another header."""

    def __init__(self, path: str, status: int, name: str, change: Callable[[str], str | None]):
        self._path, self._status, self._name, self._change = path, status, name, change

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        if asked.path != self._path or answer.status != self._status:
            return answer
        return answer.with_header(self._name, self._change(answer.headers.get(self._name, "")))


class Refuses(Breaking):
    """Requests that are right are refused."""

    def __init__(self, path: str, status: int, content: Mapping[str, Any], challenge: str = ""):
        self._path = path
        headers = {"content-type": "application/json"} | ({"www-authenticate": challenge} if challenge else {})
        self._answer = BreakableAnswer(status, headers, json.dumps(content).encode())
        self._needs_token = bool(challenge)

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        return self._answer if asked.path == self._path and asked.has_token >= self._needs_token else answer


class Callback(Breaking):
    """The browser brings something else."""

    def __init__(self, **changes: str | None):
        self._changes = changes

    def comes_back(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """See `Breaking`."""
        return {name: value for name, value in {**query, **self._changes}.items() if value is not None}


class Again(Breaking):
    """A code or refresh token that was used up gets the same tokens once more."""

    def __init__(self, grant: str):
        self._grant = grant
        self._given: BreakableAnswer | None = None

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        if asked.path != "/token" or asked.form.get("grant_type") != self._grant:
            return answer
        if answer.status == 200:
            self._given = answer
        return self._given or answer


class KeepsRefreshToken(Breaking):
    """A refresh answers with the refresh token that it was asked with."""

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        used = asked.form.get("refresh_token")
        return answer.with_members({"refresh_token": used}) if used and answer.status == 200 else answer


class IgnoresRevocation(Breaking):
    """A revocation is confirmed, and nothing ends."""

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """See `Breaking`."""
        return {**asked.form, "token": "none"} if asked.path == "/revoke" else asked.form


class KeepsAccessToken(Breaking):
    """A revocation ends the refresh token, and the MCP server goes on taking the access token."""

    def __init__(self) -> None:
        self._last: BreakableAnswer | None = None
        self._revoked = False

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        self._revoked = self._revoked or asked.path == "/revoke"
        if asked.path != "/mcp" or not asked.has_token:
            return answer
        if answer.status == 200:
            self._last = answer
        return self._last or answer if self._revoked else answer


class KeepsFamily(Breaking):
    """A refresh token that comes again is refused, and the tokens that came of it go on being good."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """See `Breaking`."""
        token = asked.form.get("refresh_token", "")
        if asked.form.get("grant_type") != "refresh_token" or token not in self._used:
            self._used.add(token)
            return asked.form
        return {**asked.form, "refresh_token": "none"}


class LetsPagesIn(Breaking):
    """Lets clients in web pages in everywhere, with the headers that are given.

    Args:
        closed: a path that lets none in, after all.
        also: a path that lets them in and must not.
        headers: what the page may send.
        exposed: what the page may read.
    """

    def __init__(
        self,
        *,
        closed: str = "",
        also: str = "",
        headers: str = "Authorization, *",
        exposed: str = "WWW-Authenticate",
    ) -> None:
        self._refuses, self._also = {closed, "/authorize"} - {also}, also
        self._allowed = {"access-control-allow-origin": "*", "access-control-allow-headers": headers}
        self._shared = {"access-control-allow-origin": "*"}
        self._shared |= {"access-control-expose-headers": exposed} if exposed else {}
        self._challenge: BreakableAnswer | None = None

    def answers(self, asked: Asked, answer: BreakableAnswer) -> BreakableAnswer:
        """See `Breaking`."""
        if asked.method == "OPTIONS":
            return (
                BreakableAnswer(405, {}, b"")
                if asked.path in self._refuses
                else BreakableAnswer(200, self._allowed, b"")
            )
        if asked.path != "/mcp":
            return answer
        if answer.status == 401:
            self._challenge = answer
        # The lab's server refuses web pages; this one answers them like any other client.
        refused = answer.status == 403 and not asked.has_token
        told = self._challenge if refused and self._challenge is not None else answer
        return dataclasses.replace(told, headers={**told.headers, **self._shared})


class IgnoresVerifier(Breaking):
    """The server takes every code verifier: it gets one that fits, whatever was sent."""

    def __init__(self) -> None:
        self._own = PKCE.from_verifier("takes-every-code-verifier-whatever-was-sent-to-it")

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """See `Breaking`."""
        return {**query, "code_challenge": self._own.code_challenge}

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """See `Breaking`."""
        exchange = asked.form.get("grant_type") == "authorization_code"
        return {**asked.form, "code_verifier": self._own.code_verifier} if exchange else asked.form


class IgnoresAudience(Breaking):
    """A token is good here, whatever resource it was asked for."""

    def leaves(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """See `Breaking`."""
        return {**query, "resource": "https://mcp.example/mcp"}

    def asks(self, asked: Asked) -> Mapping[str, str]:
        """See `Breaking`."""
        return {**asked.form, "resource": "https://mcp.example/mcp"} if "resource" in asked.form else asked.form
