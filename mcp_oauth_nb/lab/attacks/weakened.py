"""Clients and servers with one check less, for the lab alone.

A client is the real one without the lines that matter. What makes a server weaker stands in front of the real server
and undoes one check by what it changes on the way in and out. So nothing else differs from the server that is attacked
with the defence on, and the server itself has no switch to be left off.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import httpx2
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.shared.auth_utils import resource_url_from_server_url
from pydantic import AnyUrl
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ...client.auth import McpAuth
from ...client.flow_requests import Wire
from ...client.handler import OAuthHandler
from ...client.provider import AuthProvider
from ...client.sdk_storage import GrantStorage
from ...client.step_up import StepUps
from ...oauth.authorization import AuthorizationRequest, AuthorizationResponse, callback_parameters
from ...oauth.patience import Patience
from ...oauth.pkce import PKCE, challenge_for
from ...oauth.token import Token
from ...oauth.token_endpoint import GrantType
from .cast import form_of, hidden_fields, query_of, randomness

# -- clients of GitHub ---------------------------------------------------------------------------------------------


class WithoutPkce(OAuthHandler):
    """Without PKCE, as before 2015: the code is all it takes."""

    def get_authorization_url(self, **options: Any) -> AuthorizationRequest:
        """Leave the challenge out."""
        url, state, code_verifier = super().get_authorization_url(**options)
        address, _, query = url.partition("?")
        kept = [pair for pair in query.split("&") if not pair.startswith("code_challenge")]
        return AuthorizationRequest(f"{address}?{'&'.join(kept)}", state, code_verifier)

    async def _request_token(self, grant: GrantType, fields: dict[str, str], scopes: tuple[str, ...]) -> Token:
        fields.pop("code_verifier", None)
        return await super()._request_token(grant, fields, scopes)


class WithoutState(WithoutPkce):
    """Without looking at `state`: whatever callback arrives answers the flow that waits. (PKCE would notice, too.)"""

    def get_authorization_url(self, **options: Any) -> AuthorizationRequest:
        """Remember that a flow waits."""
        request = super().get_authorization_url(**options)
        self._state = request.state
        return request

    def read_callback(self, url: str) -> AuthorizationResponse:
        """Take the code, whoever sent it."""
        flow = self._flows.get(self._state)
        assert flow is not None, "this client begins one flow, and answers it once"
        return AuthorizationResponse(callback_parameters(url)["code"], flow)


class FollowsRedirects(OAuthHandler):
    """With an HTTP client that follows every redirect, 307 and 308 with the whole body."""

    async def _request_token(self, grant: GrantType, fields: dict[str, str], scopes: tuple[str, ...]) -> Token:
        client_id, client_secret = self.settings.credentials()
        form = {"grant_type": grant, "client_id": client_id, "client_secret": client_secret, **fields}
        async with self._client() as client:
            response = await client.post(self.settings.oauth_token_url, data=form, follow_redirects=True)
        return Token.from_response(response.json(), now=self.clock.now(), requested_scopes=scopes)


# -- clients of MCP servers ----------------------------------------------------------------------------------------


class IgnoresIssuer(AuthProvider):
    """Without RFC 9207: it does not look who answered."""

    def _check_issuer(self, iss: str | None) -> None:
        pass

    async def _person_came_back(self) -> AuthorizationCodeResult:
        answer = await super()._person_came_back()
        return answer.model_copy(update={"iss": None})


class _AnyServer(Wire):
    """Without a look at the metadata."""

    def check_metadata(self) -> None:
        """Find every authorization server good enough."""


class TrustsAnyServer(AuthProvider):
    """Without a check of the authorization server's metadata: it takes one that does not announce PKCE."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._wire = _AnyServer(self.context, self._wire.places, Patience())


class _NeverTired(StepUps):
    """Without a memory of the scopes that were asked for and not granted."""

    def check(self, response: httpx2.Response, granted: frozenset[str]) -> None:
        """Find that it always makes sense to ask the person."""

    def check_answer(self, response: httpx2.Response) -> None:
        """Find every answer satisfactory."""


class AsksForEver(AuthProvider):
    """Without an end to step-up."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._step_ups = _NeverTired()


def provider_of(kind: type[AuthProvider], auth: McpAuth, url: str) -> AuthProvider:
    """Make a provider of another kind for one connection, as `auth.provider(url)` makes one of the real kind."""
    metadata = OAuthClientMetadata(client_name=auth.client_name, redirect_uris=[AnyUrl(auth.redirect_uri)])
    storage = GrantStorage(auth.store, resource_url_from_server_url(url), auth.clock, auth.client)
    return kind(
        url, metadata, storage, auth.redirect(), auth.clock, token_bytes=auth.token_bytes, resolver=auth.resolver
    )


class TrustsTheResource:
    """A client that keeps its credentials by the MCP server alone, and refreshes wherever that leads to.

    Args:
        ask: sends a GET and returns the JSON of the answer.
        post: sends a form.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[dict[str, Any]]],
        post: Callable[[str, dict[str, str]], Awaitable[object]],
        credentials: dict[str, str],
    ):
        self._ask = ask
        self._post = post
        self._credentials = credentials

    async def refresh(self, resource_metadata: str) -> None:
        """Find the token endpoint anew, and go there with everything."""
        resource = await self._ask(resource_metadata)
        issuer = resource["authorization_servers"][0]
        metadata = await self._ask(f"{issuer}/.well-known/oauth-authorization-server")
        await self._post(metadata["token_endpoint"], {"grant_type": "refresh_token", **self._credentials})


_FORM = "application/x-www-form-urlencoded"


class Front:
    """A server in front of a server. Subclasses change what passes."""

    def __init__(self, server: ASGIApp):
        self._server = httpx.ASGITransport(server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        incoming = Request(scope, receive)
        request = httpx.Request(
            incoming.method, str(incoming.url), headers=incoming.headers.raw, content=await incoming.body()
        )
        response = await self.handle(request)
        outgoing = Response(await response.aread(), response.status_code)
        outgoing.raw_headers += [pair for pair in response.headers.raw if pair[0].lower() != b"content-length"]
        await outgoing(scope, receive, send)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; here as the real server does."""
        response = await self._server.handle_async_request(request)
        await response.aread()
        return response


def _with_query(request: httpx.Request, **changes: str) -> httpx.Request:
    """Return the same request with other parameters."""
    query = urlencode({**query_of(str(request.url)), **changes})
    return httpx.Request(request.method, request.url.copy_with(query=query.encode("ascii")), headers=request.headers)


def _with_form(request: httpx.Request, fields: Mapping[str, str]) -> httpx.Request:
    """Return the same request with another form."""
    return httpx.Request("POST", request.url, headers=_headers(request), content=urlencode(fields))


def _headers(request: httpx.Request) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name not in ("content-length", "content-type")}
    return {**kept, "content-type": _FORM}


class LooseRedirects(Front):
    """Without the exact match: a redirect URI passes if the registered host is in it somewhere.

    Args:
        registered: the client's redirect URI.
    """

    def __init__(self, server: ASGIApp, registered: str):
        super().__init__(server)
        self._registered = registered
        self._host = urlsplit(registered).netloc
        self._asked: dict[str, str] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Let the real server see the registered URI, and send the answer to the one that was asked for."""
        parameters = query_of(str(request.url))
        asked = parameters.get("redirect_uri", "")
        if request.url.path == "/authorize" and self._host in asked:
            self._asked[parameters["state"]] = asked
            request = _with_query(request, redirect_uri=self._registered)
        elif request.url.path == "/token":
            request = _with_form(request, {**form_of(request), "redirect_uri": self._registered})
        response = await super().handle(request)
        location = response.headers.get("location", "")
        if location.startswith(f"{self._registered}?"):
            asked = self._asked[query_of(location)["state"]]
            response.headers["location"] = asked + location.removeprefix(self._registered)
        return response


class ErrorsFirst(Front):
    """With its checks in the wrong order: a mistake is reported to the redirect URI before that is known to be good."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Redirect at once if something else is wrong."""
        parameters = query_of(str(request.url))
        if request.url.path == "/authorize" and parameters.get("response_type") != "code":
            target = parameters["redirect_uri"]
            return httpx.Response(303, headers={"location": f"{target}?error=unsupported_response_type"})
        return await super().handle(request)


class OptionalPkce(Front):
    """With PKCE for those who want it, by any method: a verifier is compared only where there are both."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        # The real server insists on PKCE, so it gets it: always the same.
        self._own = PKCE.generate(randomness("optional PKCE"))
        self._asked: dict[str, tuple[str | None, str | None]] = {}
        self._challenges: dict[str, tuple[str | None, str | None]] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Compare by itself, as laxly as said above."""
        parameters = query_of(str(request.url))
        if request.url.path == "/authorize":
            asked = parameters.get("code_challenge"), parameters.get("code_challenge_method")
            self._asked[parameters["state"]] = asked
            request = _with_query(request, code_challenge=self._own.code_challenge, code_challenge_method="S256")
        elif request.url.path == "/token":
            request = self._without_proof(request)
        response = await super().handle(request)
        answer = query_of(response.headers.get("location", ""))
        if "code" in answer and answer.get("state") in self._asked:
            self._challenges[answer["code"]] = self._asked[answer["state"]]
        return response

    def _without_proof(self, request: httpx.Request) -> httpx.Request:
        form = form_of(request)
        challenge, method = self._challenges.get(form.get("code", ""), (None, None))
        verifier = form.get("code_verifier")
        if challenge is not None and verifier is not None:
            # RFC 7636 section 4.6: by the method plain the challenge is the verifier.
            made = verifier if method == "plain" else challenge_for(verifier)
            if made != challenge:
                return request
        return _with_form(request, {**form, "code_verifier": self._own.code_verifier})


class SilentOnPkce(Front):
    """With metadata that name no method of PKCE, as those of a server without it."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Take the methods out."""
        response = await super().handle(request)
        if not request.url.path.startswith("/.well-known/oauth-authorization-server"):
            return response
        document = response.json()
        document.pop("code_challenge_methods_supported", None)
        return httpx.Response(response.status_code, json=document)


class NoRotation(Front):
    """Without rotation: the refresh token of the first day works for ever, for whoever has it."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        self._newest: dict[str, str] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Exchange the newest refresh token, and give out the oldest."""
        form = form_of(request) if request.url.path == "/token" else {}
        if form.get("grant_type") != "refresh_token":
            return await super().handle(request)
        oldest = form["refresh_token"]
        newest = self._newest.get(oldest, oldest)
        response = await super().handle(_with_form(request, {**form, "refresh_token": newest}))
        body = response.json()
        self._newest[oldest] = body.get("refresh_token", newest)
        return httpx.Response(response.status_code, json={**body, "refresh_token": oldest})


class Frameable(Front):
    """Without the headers that keep a page out of other pages' frames."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Drop them."""
        response = await super().handle(request)
        for name in ("content-security-policy", "x-frame-options"):
            response.headers.pop(name, None)
        return response


class NoConsent(Front):
    """Without a consent page: GitHub asks the person already, it is thought."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Press "Authorize" in the person's place."""
        response = await super().handle(request)
        if request.method != "GET" or request.url.path != "/consent" or not self._skips(request):
            return response
        fields = {**hidden_fields(response.text), "authorize": "1"}
        return await super().handle(_with_form(request, fields))

    def _skips(self, request: httpx.Request) -> bool:
        return True


class RemembersConsent(NoConsent):
    """With a consent that is remembered by the client's id, also where anybody can claim to be that client."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        self._client_of: dict[str, str] = {}
        self._allowed: set[str] = set()

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Note which client asks, and which was allowed."""
        response = await super().handle(request)
        if request.url.path == "/authorize":
            flow = query_of(response.headers.get("location", "")).get("flow", "")
            self._client_of[flow] = query_of(str(request.url))["client_id"]
        elif request.method == "POST" and request.url.path == "/consent":
            self._allowed.add(self._client_of[form_of(request)["flow"]])
        return response

    def _skips(self, request: httpx.Request) -> bool:
        return self._client_of.get(query_of(str(request.url)).get("flow", "")) in self._allowed


class SessionsAsLogins(Front):
    """With sessions in place of logins: whoever names a session is taken for the one who opened it."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        self._opened_by: dict[str, str] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Put in the token of whoever opened the session."""
        session = request.headers.get("mcp-session-id")
        if session in self._opened_by:
            request.headers["authorization"] = self._opened_by[session]
        response = await super().handle(request)
        opened = response.headers.get("mcp-session-id")
        if opened is not None and "authorization" in request.headers:
            self._opened_by.setdefault(opened, request.headers["authorization"])
        return response


class MetadataByHost(Front):
    """Without a fixed public URL: documents are built from the host that the request names, and a cache keeps them."""

    def __init__(self, server: ASGIApp):
        super().__init__(server)
        self._cache: dict[str, Any] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer from the cache, or by the header."""
        if not request.url.path.startswith("/.well-known/"):
            return await super().handle(request)
        if request.url.path not in self._cache:
            own = f"{request.url.scheme}://{request.url.host}"
            named = request.headers.get("x-forwarded-host", request.url.host)
            text = (await super().handle(request)).text.replace(own, f"{request.url.scheme}://{named}")
            self._cache[request.url.path] = json.loads(text)
        return httpx.Response(200, json=self._cache[request.url.path])
