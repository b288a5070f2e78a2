"""The person's browser, for tests and notebooks that run without a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin

import httpx

from ...oauth.errors import ProtocolError
from .device import PAGE as DEVICE_PAGE

_MOST_STEPS = 10
Fields = list[tuple[str, str]]


class Autopilot:
    """Signs in, reads what the pages ask, and clicks. It stays signed in, as a browser does.

    Args:
        transport: leads to the authorization server: `github.transport()`, or one of httpx's own.
        user: the person at the browser, by login.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, user: str = "octocat"):
        #: Takes effect at the next sign-in.
        self.user = user
        self._transport = transport
        #: The browser's cookies; clear them, and the next visit begins with the sign-in page.
        self.cookies = httpx.Cookies()

    def __repr__(self) -> str:
        return f"Autopilot({self.user})"

    async def sign_in(self, login_url: str = "https://github.com/login") -> None:
        """Sign in now, so that the next authorization begins with the consent page.

        Raises:
            ProtocolError: there is no such account, or no such page.
        """
        await self._walk(login_url, _Walk(self.user, allow=True, scopes=None))

    async def authorize(self, url: str, *, allow: bool = True, scopes: Collection[str] | None = None) -> str:
        """Open an authorization URL and go through with it.

        Args:
            allow: click "Authorize", or "Cancel".
            scopes: grant only these of the scopes that are asked for; None grants all.

        Returns:
            The URL that the browser is sent to in the end, with `code` or `error`. It is not requested.

        Raises:
            ProtocolError: the server shows an error page, or leads nowhere.
        """
        end = await self._walk(url, _Walk(self.user, allow, scopes))
        if isinstance(end, str):
            return end
        raise ProtocolError(
            f"The authorization server ended on the page {end.title!r} without sending the browser back.",
            hint="Check that the authorization URL is the right endpoint.",
        )

    async def approve_device(
        self,
        user_code: str,
        *,
        allow: bool = True,
        scopes: Collection[str] | None = None,
        verification_uri: str = "https://github.com" + DEVICE_PAGE,
    ) -> None:
        """Type the code that a device shows, and decide.

        Args:
            allow: click "Authorize", or "Cancel".
            scopes: grant only these of the scopes that are asked for; None grants all.
            verification_uri: the address that the device shows with the code.

        Raises:
            ProtocolError: the server does not know the code, or shows an error page.
        """
        walk = _Walk(self.user, allow, scopes, user_code)
        await self._walk(verification_uri, walk)
        if not walk.decided:
            raise ProtocolError(
                "The authorization server did not accept the user code.",
                hint="Ask for a new code: it is typed within 15 minutes, and works once.",
                reference="RFC 8628 section 3.3",
            )

    async def _walk(self, url: str, walk: _Walk) -> str | _Page:
        """Follow redirects and submit forms, until a redirect leaves the server or a page asks nothing."""
        origin = _origin(url)
        method, fields = "GET", Fields()
        for _ in range(_MOST_STEPS):
            response = await self._request(method, url, fields)
            if response.has_redirect_location:
                method, url, fields = "GET", urljoin(url, response.headers["location"]), Fields()
                if _origin(url) != origin:
                    return url
                continue
            page = _Page.read(response.text)
            if response.status_code >= 400:
                raise ProtocolError(
                    f"The authorization server answered {response.status_code} with the page {page.title!r}.",
                    hint="Check client_id and redirect_uri against what is registered with the app.",
                    reference="RFC 6749 section 4.1.2.1",
                )
            if not page.controls or walk.is_stuck(page):
                return page
            method, url, fields = "POST", urljoin(url, page.action), walk.fill(page)
        raise ProtocolError(f"The authorization server did not come to an end within {_MOST_STEPS} steps.")

    async def _request(self, method: str, url: str, fields: Fields) -> httpx.Response:
        # With one client for each request, no connection stays open that belongs to this event loop.
        async with httpx.AsyncClient(transport=self._transport, cookies=self.cookies) as client:
            headers = {"User-Agent": "mock-github-autopilot", "Accept": "text/html"}
            content = None
            if method == "POST":
                headers |= {"Origin": _origin(url), "Content-Type": "application/x-www-form-urlencoded"}
                content = urlencode(fields)
            response = await client.request(method, url, headers=headers, content=content)
            self.cookies.update(client.cookies)
            return response


@dataclass(frozen=True)
class _Control:
    kind: str
    name: str
    value: str


@dataclass
class _Page:
    """A page as a person sees it: its title, and one form."""

    title: str = ""
    action: str = ""
    controls: list[_Control] = field(default_factory=list)

    @classmethod
    def read(cls, html: str) -> _Page:
        reader = _Reader()
        reader.feed(html)
        return reader.page


@dataclass
class _Walk:
    """The state of one way through the pages."""

    user: str
    allow: bool
    scopes: Collection[str] | None
    user_code: str = ""
    typed: bool = False
    decided: bool = False

    def is_stuck(self, page: _Page) -> bool:
        """Say whether the page asks again for the code that was typed already."""
        return self.typed and any(control.name == "user_code" and control.kind == "text" for control in page.controls)

    def fill(self, page: _Page) -> Fields:
        """Answer what the page asks."""
        fields = [(control.name, control.value) for control in page.controls if self._is_chosen(control)]
        if any(control.kind == "text" for control in page.controls):
            fields.append(("user_code", self.user_code))
            self.typed = True
        if any(control.name == "authorize" for control in page.controls):
            fields.append(("authorize", "1" if self.allow else "0"))
            self.decided = True
        accounts = [control.value for control in page.controls if control.kind == "radio"]
        if accounts and self.user not in accounts:
            raise ProtocolError(
                f"The authorization server has no account {self.user!r}.",
                hint=f"Choose one of {', '.join(accounts)}, or add_user() one.",
            )
        return fields

    def _is_chosen(self, control: _Control) -> bool:
        if control.kind == "radio":
            return control.value == self.user
        if control.kind == "checkbox":
            return self.scopes is None or control.value in self.scopes
        return control.kind == "hidden"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = _Page()
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._in_heading = tag == "h1"
        if tag == "form":
            self.page.action = found.get("action", "")
        if tag in ("input", "button") and found.get("name"):
            kind = found.get("type", "text") if tag == "input" else "button"
            self.page.controls.append(_Control(kind, found["name"], found.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.page.title += data


def _origin(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
