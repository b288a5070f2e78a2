"""One session of the chaos run: its person, its own address, the client as it ships, and what it must be answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import httpx2
from chaos_counts import AGAIN, OK, Call, Counts
from http_person import walk
from mcp import MCPError
from mcp_types import CallToolResult, TextContent

from mcp_oauth_nb import McpAuth, Session
from mcp_oauth_nb.oauth.errors import McpOAuthError, ReauthorizeError, TransientError, Unreachable
from mcp_oauth_nb.oauth.http import tls_context

CALL_SECONDS = 45.0
SIGN_IN_SECONDS = 60.0
CALLBACK = "http://127.0.0.1/callback"
TOOL = "get_github_user_info"

# What the tool says when GitHub fails, by kind.
_UPSTREAM = {
    "GitHub 5xx": re.compile(r"answered 5\d\d\."),
    "GitHub rate limit": re.compile(r"rate limit|429 Too Many Requests"),
    "GitHub stalls": re.compile(r"no complete answer within"),
    "GitHub hangs up": re.compile(r"closed the connection|cannot be reached|that is not valid HTTP"),
    "store away": re.compile(r"The store \S+ does not answer"),
}
# What the SDK's client says of an answer that never came, or that broke off: whether the call was made is unknown.
_SDK = {"cut off": "SSE stream ended without a response", "no answer": "timed out"}


class Caller:
    """A session that calls and checks.

    Args:
        number: decides its address and protocol version.
        user: who signs in; every answer must be theirs.
        url: of the MCP endpoint.
        counts: what it saw goes there.
        bound_to_end: says whether a grant had to end, because GitHub's token reached nobody, and notes it.
    """

    def __init__(self, number: int, user: str, url: str, counts: Counts, bound_to_end: Callable[[str, str], bool]):
        self.user = user
        self._url = url
        self._counts = counts
        self._bound_to_end = bound_to_end
        self._address = f"198.18.{number // 250}.{number % 250 + 1}"  # RFC 2544: for such measurements
        self._mode: Any = "legacy" if number % 4 == 3 else "auto"
        self._signed_in = False
        self.auth = McpAuth(
            listen=False,
            paste=self._sign_in,
            show=str,
            carrier=self._carrier,
            timeout=SIGN_IN_SECONDS,
            open_browser=lambda _: True,
        )

    async def open(self) -> None:
        """Connect, and sign in with the first call."""
        self._session = await Session.open(
            self._url, auth=self.auth, mode=self._mode, loop="current", timeout=CALL_SECONDS
        )
        assert await self.call() == OK, f"{self.user} could not sign in"
        self._signed_in = True

    async def close(self) -> None:
        """Disconnect."""
        await self._session.aclose()

    async def call(self, *, repositories: bool = True) -> str:
        """Call once, check, note and return what came of it.

        Args:
            repositories: ask for them, too.
        """
        began = self._counts.now()
        outcome = await self._outcome({"include_repos": repositories, "repo_limit": 5})
        self._counts.calls.append(Call(began, self._counts.now(), self.user, outcome))
        return outcome

    async def _outcome(self, arguments: dict[str, Any]) -> str:
        try:
            result = await self._session.call_tool(TOOL, arguments)
        except TransientError as error:
            return f"client: {type(error).__name__}"
        except ReauthorizeError as error:
            self._bound_to_end(self.user, error.message)
            return AGAIN
        except McpOAuthError as error:
            return self._undeclared(f"{type(error).__name__}: {error.message}")
        except MCPError as error:
            return self._declared(error)
        if result.is_error:
            return self._tool_error(result)
        return self._check(result.structured_content or {}, arguments["include_repos"])

    def _check(self, answer: dict[str, Any], repositories: bool) -> str:
        wanted = [f"{self.user}/of-{self.user}"] if repositories else []
        found = [each["full_name"] for each in answer.get("repositories", [])]
        login = answer.get("user", {}).get("login")
        if login == self.user and found == wanted:
            return OK
        self._counts.wrong.append(f"{self.user} was answered with {login} and {found}")
        return "wrong"

    def _tool_error(self, result: CallToolResult) -> str:
        text = " ".join(part.text for part in result.content if isinstance(part, TextContent))
        kind = next((name for name, said in _UPSTREAM.items() if said.search(text)), None)
        return kind or self._undeclared(text)

    def _declared(self, error: MCPError) -> str:
        if isinstance(error.data, dict) and error.data.get("type") == "transient":
            return "server: 503"
        kind = next((name for name, said in _SDK.items() if said in error.message), None)
        return kind or self._undeclared(f"{error.code} {error.message} {error.data}")

    def _undeclared(self, text: str) -> str:
        self._counts.wrong.append(f"{self.user} got an error that nobody declared: {text}")
        return "undeclared"

    # -- the person ------------------------------------------------------------------------------------------------

    async def _sign_in(self, url: str) -> str:
        if self._signed_in and not self._bound_to_end(self.user, "the person was asked again"):
            raise ReauthorizeError("The person is not there any more.")
        headers = {"X-Forwarded-For": self._address}
        async with httpx.AsyncClient(verify=tls_context(), timeout=SIGN_IN_SECONDS, headers=headers) as browser:
            try:
                return await walk(browser, url, user=self.user, callback=CALLBACK)
            except (AssertionError, httpx.TransportError) as error:
                # A page that fails: the person tries again with the next call.
                raise Unreachable("The person was shown an error page.") from error

    # -- the wire --------------------------------------------------------------------------------------------------

    def _carrier(self) -> httpx2.AsyncBaseTransport:
        return _Observed(self.user, self._address, self._counts)


class _Observed(httpx2.AsyncBaseTransport):
    """The network, from an address of one's own; what tokens pass is noted."""

    def __init__(self, user: str, address: str, counts: Counts):
        self._inner = httpx2.AsyncHTTPTransport(verify=tls_context())
        self._user = user
        self._address = address
        self._counts = counts

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["X-Forwarded-For"] = self._address
        sent = request.headers.get("authorization", "")
        if request.url.path == "/mcp" and sent:
            self._counts.token(self._user, sent.partition(" ")[2])
        if request.url.path != "/token":
            return await self._inner.handle_async_request(request)
        refresh = parse_qs(request.content.decode()).get("grant_type") == ["refresh_token"]
        try:
            response = await self._inner.handle_async_request(request)
            body = await response.aread()
        except httpx2.TransportError as error:
            self._refreshed(refresh, type(error).__name__)
            raise
        response.stream = httpx2.ByteStream(body)
        if response.status_code == 200:
            for name in ("access_token", "refresh_token"):
                self._counts.token(self._user, json.loads(body)[name])
        answer = "ok" if response.status_code == 200 else str(response.status_code)
        self._refreshed(refresh, answer)
        return response

    def _refreshed(self, refresh: bool, answer: str) -> None:
        if refresh:
            self._counts.refreshes[answer] += 1

    async def aclose(self) -> None:
        await self._inner.aclose()
