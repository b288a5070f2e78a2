"""`MockGitHub`: both hosts in one ASGI app, and the httpx transport that leads to them in process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...oauth.clock import Clock, SystemClock
from .api import Api
from .device import Device
from .knobs import HANG_UP, Endpoint, Faults, Faulty, HungUp, Knobs
from .model import Affiliation, AppKind, IssuedToken, OAuthApp, Organization, RedirectUri, Repository, User
from .oauth_endpoints import Authorize, MetadataEndpoints, TokenEndpoint
from .signin import SignIn, message_page
from .state import State


class MockTransport(httpx.AsyncBaseTransport):
    """Routes the mock's own hosts to its app. Nothing leaves the process.

    It holds no connection and no loop, so one instance serves any number of clients, threads and loops.

    Args:
        app: the ASGI app.
        origins: the URLs whose hosts are served.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]):
        self._app = app
        self._hosts = {netloc(urlsplit(origin).scheme, urlsplit(origin).netloc) for origin in origins}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ConnectError: the host is not one of the mock's.
            httpx.ReadError: a fault made the mock hang up. A body that a fault cut off raises
                `httpx.RemoteProtocolError` when it is read.
        """
        host = netloc(request.url.scheme, request.url.netloc.decode("ascii"))
        if host not in self._hosts:
            raise httpx.ConnectError(
                f"{request.url.host} is not served here: this transport reaches the mocked GitHub "
                f"({', '.join(sorted(self._hosts))}) and nothing else.",
                request=request,
            )
        return await self._call(request)

    async def _call(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        outgoing: list[Message] = []

        async def receive() -> Message:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            outgoing.append(message)

        try:
            await self._app(_scope(request), receive, send)
        except HungUp:
            raise httpx.ReadError("The connection was closed before an answer came.", request=request) from None
        start, *parts = outgoing
        chunks = [part["body"] for part in parts if part.get("body")]
        complete = not parts[-1].get("more_body", False)
        body_stream = _Body(chunks, complete)
        return httpx.Response(start["status"], headers=start["headers"], stream=body_stream, request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: list[bytes], complete: bool):
        self._chunks = chunks
        self._complete = complete

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if not self._complete:
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def netloc(scheme: str, host: str) -> str:
    """Write host and port as a key: in lower case, without the scheme's own port."""
    name, _, port = host.lower().rpartition("@")[2].partition(":")
    return f"{name}:{port}" if port and port != {"http": "80", "https": "443"}.get(scheme) else name


def _scope(request: httpx.Request) -> dict[str, object]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "extensions": {HANG_UP: {}},
    }


def _build_app(state: State) -> ASGIApp:
    """Make the one ASGI app for both hosts."""
    web, api = urlsplit(state.web_url), urlsplit(state.api_url)
    api_routes = _spoilable(Api(state).routes(), state.faults, "api")
    mounted = Mount(api.path, routes=api_routes)
    if netloc(web.scheme, web.netloc) == netloc(api.scheme, api.netloc):
        if not api.path:
            raise ValueError("where web_url and api_url share a host, api_url needs a path of its own")
        return _Hosts({netloc(web.scheme, web.netloc): Starlette(routes=[mounted, *_web_routes(state)])})
    return _Hosts(
        {
            netloc(web.scheme, web.netloc): Starlette(routes=_web_routes(state)),
            netloc(api.scheme, api.netloc): Starlette(routes=[mounted]),
        }
    )


def _web_routes(state: State) -> list[BaseRoute]:
    device = Device(state)
    faults = state.faults
    return [
        *_spoilable(Authorize(state).routes(), faults, "authorize"),
        *_spoilable(TokenEndpoint(state, device).routes(), faults, "token"),
        *_spoilable(device.device_routes(), faults, "device"),
        *_spoilable(MetadataEndpoints(state).routes(), faults, "discovery"),
        *device.page_routes(),
        *SignIn(state).routes(),
        Route("/{path:path}", _nothing_here, methods=["GET", "POST"]),
    ]


def _spoilable(routes: Sequence[Route], faults: Faults, endpoint: Endpoint) -> list[Route]:
    for route in routes:
        route.app = Faulty(route.app, faults, endpoint)
    return list(routes)


async def _nothing_here(_: Request) -> Response:
    return message_page("Page not found", "This is not the web page you are looking for.", status=404)


class _Hosts:
    """Chooses the app by the Host header, and knows no others: the mock answers for its own names only."""

    def __init__(self, apps: dict[str, Starlette]):
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        app: ASGIApp | None = self._apps.get(netloc(scope["scheme"], host))
        if app is None:
            served = " and ".join(self._apps)
            app = PlainTextResponse(f"This mocked GitHub serves {served} only.\n", 421)
        await app(scope, receive, send)


#: The callbacks of the app that exists from the start: every port of this machine, and nothing else.
DEFAULT_REDIRECT_URIS = ("http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback")


class MockGitHub:
    """GitHub's authorization server and REST API, as GitHub documents them, offline.

    Args:
        seed: decides every token, code, id and repository; the same calls then give the same bytes.
        clock: what time it is; the system's clock unless given.
        web_url: where the web pages and OAuth endpoints are.
        api_url: where the REST API is. It may share the host of `web_url` under a path of its own, as in
            GitHub Enterprise Server: `http://127.0.0.1:9000/api/v3`.
    """

    def __init__(
        self,
        seed: int | str = 7,
        clock: Clock | None = None,
        *,
        web_url: str = "https://github.com",
        api_url: str = "https://api.github.com",
    ):
        self._state = State(seed, clock or SystemClock(), web_url, api_url)
        self._default = self.register_app("Mock OAuth App", DEFAULT_REDIRECT_URIS)
        #: The ASGI app that serves both hosts.
        self.app: ASGIApp = _build_app(self._state)

    @classmethod
    def at(cls, base_url: str, *, seed: int | str = 7, clock: Clock | None = None) -> MockGitHub:
        """Make one for a single address, such as `http://127.0.0.1:9000`.

        The web pages are at `/`, the REST API at `/api/v3`, as in GitHub Enterprise Server.
        """
        base = base_url.rstrip("/")
        return cls(seed, clock, web_url=base, api_url=f"{base}/api/v3")

    @property
    def web_url(self) -> str:
        """Where the web pages and OAuth endpoints are."""
        return self._state.web_url

    @property
    def api_url(self) -> str:
        """Where the REST API is."""
        return self._state.api_url

    @property
    def issuer(self) -> str:
        """The issuer in the metadata and in `iss`."""
        return self._state.issuer

    @property
    def clock(self) -> Clock:
        """The clock that was given."""
        return self._state.clock

    @property
    def knobs(self) -> Knobs:
        """The knobs of the mock's behaviour; read at the call."""
        return self._state.knobs

    @property
    def faults(self) -> Faults:
        """The faults on demand; read at the call."""
        return self._state.faults

    @property
    def client_id(self) -> str:
        """The client id of the app that exists from the start."""
        return self._default.client_id

    @property
    def client_secret(self) -> str:
        """The client secret of the app that exists from the start, in clear."""
        return self._default.client_secret

    @property
    def users(self) -> dict[str, User]:
        """The accounts, by login."""
        return self._state.users

    @property
    def apps(self) -> dict[str, OAuthApp]:
        """The registered apps, by client id."""
        return self._state.apps

    @property
    def organizations(self) -> dict[str, Organization]:
        """The organizations, by login."""
        return self._state.organizations

    @property
    def repositories(self) -> list[Repository]:
        """All repositories."""
        return self._state.repositories

    def add_user(self, login: str, *, name: str = "", email: str | None = None, email_verified: bool = True) -> User:
        """Add an account, without repositories.

        Raises:
            ValueError: the login is taken.
        """
        with self._state.lock:
            if login in self.users:
                raise ValueError(f"there is an account {login!r} already")
            number = max(user.id for user in self.users.values()) + 1
            user = User(login, number, name, email, email_verified=email_verified)
            self.users[login] = user
            return user

    def add_repository(self, owner: str, name: str, *, private: bool = False) -> Repository:
        """Add a repository to a user's own.

        Raises:
            KeyError: there is no such user.
        """
        with self._state.lock:
            number = max((repository.id for repository in self.repositories), default=0) + 1
            affiliations: dict[str, Affiliation] = {self.users[owner].login: "owner"}
            repository = Repository(number, owner, name, private, affiliations=affiliations)
            self.repositories.append(repository)
            return repository

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return an httpx transport that leads here, in process; any other host raises `httpx.ConnectError`."""
        return MockTransport(self.app, (self.web_url, self.api_url))

    def register_app(
        self,
        name: str,
        redirect_uris: Sequence[str | RedirectUri],
        *,
        kind: AppKind = "oauth_app",
        expiring_tokens: bool = True,
        device_flow: bool = True,
        homepage: str = "https://example.com",
    ) -> OAuthApp:
        """Register a client.

        Args:
            name: shown on the consent page.
            redirect_uris: 1 to 10 callbacks; the first is used where a request names none.
            kind: an OAuth App has scopes, a GitHub App has not.
            expiring_tokens: issue refresh tokens without being asked for `offline_access`.
            device_flow: accept the device flow.

        Raises:
            ValueError: no callback, or more than ten.
        """
        return self._state.register_app(
            name,
            redirect_uris,
            kind=kind,
            expiring_tokens=expiring_tokens,
            device_flow=device_flow,
            homepage=homepage,
        )

    def issue_token(
        self, user: str = "octocat", scopes: Sequence[str] = ("read:user",), app: OAuthApp | None = None
    ) -> IssuedToken:
        """Issue a token without a flow, for tests that start where the flow ends.

        Raises:
            KeyError: there is no such user.
        """
        state, client = self._state, app or self._default
        with state.lock:
            granted = client.scopes(tuple(scopes))
            login = state.users[user].login
            state.ledger.allow(login, client.client_id, granted)
            return state.ledger.issue(client, login, granted, expiring=client.expiring_tokens, now=state.now())

    def revoke_token(self, access_token: str) -> bool:
        """Revoke an access token and its refresh token; say whether it existed."""
        with self._state.lock:
            return self._state.ledger.revoke(access_token)

    def issued_secrets(self) -> set[str]:
        """Return every code, token, device code and client secret ever issued, to search outputs for leaks."""
        return self._state.mint.issued()

    def __repr__(self) -> str:
        return f"MockGitHub({self.web_url}, {self.api_url}, {len(self.apps)} apps, {len(self.users)} users)"
