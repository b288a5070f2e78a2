"""The parties of the attacks: a browser for each person, web sites of an attacker, and a client driven by hand.

The client speaks OAuth and MCP request by request, and says what the answers mean.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import httpx2

from ...client.provider import AuthProvider
from ...oauth.http import ClientFactory
from ...oauth.masking import remember_made
from ...oauth.pkce import PKCE, random_token
from ...server.tools import BASE_SCOPES
from ...trace.messages import BROWSER, CLIENT
from ..http_lab import HttpLab
from ..lab import Lab
from ..mock_github import Autopilot
from ..network import Network2, Person
from .outcome import Refused

ATTACKER = "Attacker"
VICTIM_NAME, ATTACKER_NAME = "octocat", "mallory"

#: Where the attacker's web site is.
EVIL = "https://evil.example"
#: Where an attacker's client has its codes sent to.
EVIL_CALLBACK = f"{EVIL}/callback"


def randomness(whose: str) -> Callable[[int], bytes]:
    """Return a stream of bytes that is the same on every run."""
    return random.Random(f"attack {whose}").randbytes


# -- people --------------------------------------------------------------------------------------------------------


def add_attacker(lab: Lab | HttpLab) -> None:
    """See to it that the attacker has an account at GitHub, as everybody may."""
    if ATTACKER_NAME not in lab.github.users:
        lab.github.add_user(ATTACKER_NAME, name="Mallory")


class Browser:
    """A person's browser, signed in at GitHub.

    Args:
        user: the account.
        name: how the trace calls it.
    """

    def __init__(self, lab: HttpLab, user: str = VICTIM_NAME, name: str = BROWSER):
        self._lab = lab
        self._transport = lab.trace.http(lab.network, sender=name, receiver=lab.network.party)
        self.person = Person(self._transport, lab.network, user=user)

    async def sign_in(self) -> Browser:
        """Sign in at GitHub, out of sight of the trace."""
        visitor = Autopilot(self._lab.github.transport(), user=self.person.user)
        await visitor.sign_in()
        self.person.cookies.update(visitor.cookies)
        return self

    async def get(self, url: str) -> httpx.Response:
        """Open an address; a redirect is not followed."""
        return await self._request("GET", url)

    async def press(self, page: httpx.Response, button: str = "1") -> httpx.Response:
        """Press a button of the form on a page: "Authorize", or "Cancel" ("0")."""
        fields = {**hidden_fields(page.text), "authorize": button}
        place = urlsplit(str(page.url))
        headers = {"Origin": f"{place.scheme}://{place.netloc}", "Content-Type": "application/x-www-form-urlencoded"}
        return await self._request("POST", str(page.url), headers=headers, content=urlencode(fields))

    async def at_github(self, url: str) -> str:
        """Open an address at GitHub, go through its pages, and return the address that GitHub sends one back to."""
        pilot = Autopilot(self._transport, user=self.person.user)
        pilot.cookies = self.person.cookies
        return await pilot.authorize(url)

    async def follow(self, response: httpx.Response) -> str:
        """Go where a redirect leads, through GitHub and back, and return the address at the client."""
        return await self.person.authorize(response.headers["location"])

    async def _request(self, method: str, url: str, **request: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, cookies=self.person.cookies) as client:
            response = await client.request(method, url, **request)
            self.person.cookies.update(client.cookies)
            return response


def hidden_fields(page: str) -> dict[str, str]:
    """Return what the form on a page carries on."""
    return {name: unescape(value) for name, value in _FIELD.findall(page)}


_FIELD = re.compile(r'type="hidden" name="([^"]+)" value="([^"]*)"')


# -- places --------------------------------------------------------------------------------------------------------

Answer = Callable[[httpx.Request], httpx.Response]


class Site(httpx.AsyncBaseTransport):
    """An attacker's web site: it answers what it was told to, and remembers what it was told.

    Args:
        answers: by path; any other is an empty page.
    """

    def __init__(self, answers: Mapping[str, Answer | dict[str, Any]] | None = None):
        self._answers = dict(answers or {})
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        await request.aread()
        self.seen.append(request)
        answer = self._answers.get(request.url.path)
        if answer is None:
            return httpx.Response(200, text="")
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else answer(request)

    @property
    def told(self) -> dict[str, str]:
        """All parameters and form fields so far; of several values the last."""
        found: dict[str, str] = {}
        for request in self.seen:
            found |= dict(parse_qsl(request.url.query.decode("ascii")))
            if "form" in request.headers.get("content-type", ""):
                found |= form_of(request)
        return found

    @property
    def heard(self) -> str:
        """Everything that arrived: addresses, headers, bodies."""
        return "\n".join(
            f"{request.url} {request.headers.raw} {request.content.decode('utf-8', 'replace')}" for request in self.seen
        )


def open_site(lab: HttpLab, site: Site, *origins: str) -> Site:
    """Put a site of the attacker's on the network, in place of an earlier one."""
    for origin in origins or (EVIL,):
        lab.network.sites[origin] = ATTACKER, site
    return site


def form_of(request: httpx.Request) -> dict[str, str]:
    """Return the fields of a form that was posted."""
    return dict(parse_qsl(request.content.decode("ascii"), keep_blank_values=True))


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


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
