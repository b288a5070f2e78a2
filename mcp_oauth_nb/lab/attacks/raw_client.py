"""OAuth and MCP spoken by hand, request by request, and what the answers say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import urlencode

import httpx
import httpx2

from ...client.provider import AuthProvider
from ...oauth.http import ClientFactory
from ...oauth.masking import remember_made
from ...oauth.pkce import PKCE, random_token
from ...server.tools import BASE_SCOPES
from ...trace.messages import CLIENT
from ..http_lab import HttpLab
from ..network import Network2
from .cast import ATTACKER, EVIL_CALLBACK, Browser, query_of, randomness
from .outcome import Refused

_STICKERS = {"client_name": "Free stickers", "token_endpoint_auth_method": "none"}
_TOOL = "get_github_user_info"


class ByHand:
    """A client of the lab's authorization server that does what it is told, request by request.

    Args:
        party: whose it is, as the trace names them.
        client_id: a client that is known already.
    """

    def __init__(
        self,
        lab: HttpLab,
        party: str = ATTACKER,
        *,
        client_id: str = "notebook",
        redirect_uri: str = "http://127.0.0.1/callback",
    ):
        self._lab = lab
        self.http: ClientFactory = lab.http_client(party)
        self.client_id = client_id
        self.redirect_uri = redirect_uri
        token_bytes = randomness(f"{party} {client_id}")
        self.pkce = PKCE.generate(token_bytes)
        self.state = random_token(token_bytes)
        remember_made(self.state)

    async def register(self, redirect_uri: str = EVIL_CALLBACK, **metadata: Any) -> ByHand:
        """Register a new client (RFC 7591), as everybody may."""
        body = {**_STICKERS, "redirect_uris": [redirect_uri], **metadata}
        async with self.http() as client:
            response = await client.post(f"{self._issuer}/register", json=body)
        self.client_id, self.redirect_uri = refused(response).json()["client_id"], redirect_uri
        return self

    def url(self, **changes: str | None) -> str:
        """Return an authorization request; None leaves a parameter out."""
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(BASE_SCOPES),
            "state": self.state,
            "code_challenge": self.pkce.code_challenge,
            "code_challenge_method": self.pkce.method,
            "resource": self._lab.url,
            **changes,
        }
        return f"{self._issuer}/authorize?" + urlencode({k: v for k, v in parameters.items() if v is not None})

    async def exchange(self, code: str, **changes: str | None) -> dict[str, str]:
        """Exchange a code for tokens.

        Raises:
            Refused: the server does not.
        """
        verifier = {"code": code, "redirect_uri": self.redirect_uri, "code_verifier": self.pkce.code_verifier}
        return await self._token({"grant_type": "authorization_code", **verifier, **changes})

    async def refresh(self, refresh_token: str, **fields: str) -> dict[str, str]:
        """Exchange a refresh token.

        Raises:
            Refused: the server does not.
        """
        return await self._token({"grant_type": "refresh_token", "refresh_token": refresh_token, **fields})

    async def authorize(self, browser: Browser) -> dict[str, str]:
        """Do all of it with a person who agrees; return the tokens."""
        return await self.exchange(code_of(await browser.person.authorize(self.url())))

    async def _token(self, fields: Mapping[str, str | None]) -> dict[str, str]:
        given = {"client_id": self.client_id, "resource": self._lab.url, **fields}
        async with self.http() as client:
            response = await client.post(
                f"{self._issuer}/token", data={name: value for name, value in given.items() if value is not None}
            )
        tokens: dict[str, str] = refused(response).json()
        for name in ("access_token", "refresh_token"):
            remember_made(tokens.get(name))
        return tokens

    @property
    def _issuer(self) -> str:
        return self._lab.authorization_server.public_url


def code_of(url: str) -> str:
    """Return the code that an address brings.

    Raises:
        Refused: it brings an error.
    """
    parameters = query_of(url)
    if "code" not in parameters:
        text = f"{parameters.get('error')}: {parameters.get('error_description')}"
        raise Refused(f"{parameters.get('iss')} answered {text}", reference="RFC 6749 section 4.1.2.1")
    remember_made(parameters["code"])
    return parameters["code"]


def refused(response: httpx.Response) -> httpx.Response:
    """Return a response that is not an error.

    Raises:
        Refused: it is one.
    """
    if response.status_code >= 400:
        raise Refused(f"{str(response.url).partition('?')[0]} answered {response.status_code} {said(response)}.")
    return response


def said(response: httpx.Response) -> str:
    """Say in a few words what an answer says: an OAuth error, a JSON-RPC error, or a page's title."""
    if "html" in response.headers.get("content-type", ""):
        title = re.search(r"<h1>(.*?)</h1>", response.text)
        return f'with the page "{unescape(title[1])}"' if title is not None else "with a page"
    challenge = re.search(r'error="(\w+)", error_description="([^"]*)"', response.headers.get("www-authenticate", ""))
    if challenge is not None:
        return f"{challenge[1]}: {challenge[2]}"
    try:
        body = response.json()
    except ValueError:
        return response.text.strip()
    if isinstance(error := body.get("error"), dict):
        return str(error.get("message"))
    return f"{error}: {body.get('error_description', '').removesuffix('.')}"


# -- the MCP server ------------------------------------------------------------------------------------------------

MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": _TOOL, "arguments": {}}}
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


async def whose_data(lab: HttpLab, token: str | None, *, party: str = ATTACKER, **headers: str) -> str:
    """Call the tool with a token, and return whose data it gave.

    Raises:
        Refused: it gave none.
    """
    given = {**HEADERS, **headers}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    async with lab.http_client(party)() as client:
        response = refused(await client.post(lab.url, json=MESSAGE, headers=given))
    body = response.json()
    if "error" in body:
        raise Refused(f"{lab.url} answered {said(response)}.")
    return str(body["result"]["structuredContent"]["user"]["login"])


async def call(lab: HttpLab, provider: AuthProvider, url: str | None = None) -> httpx2.Response:
    """Send one call through a provider, which authorizes where it has to."""
    carrier = lab.trace.http2(Network2(lab.network), sender=CLIENT, receiver=lab.network.party)
    async with httpx2.AsyncClient(transport=carrier, auth=provider) as client:
        return await client.post(url or lab.url, json=MESSAGE, headers=HEADERS)
