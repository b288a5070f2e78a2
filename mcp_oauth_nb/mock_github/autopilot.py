"""The person's browser, for tests and notebooks that run without a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

from ..errors import ProtocolError
from .device import PAGE as DEVICE_PAGE

_MOST_STEPS = 10
Fields = list[tuple[str, str]]


class Autopilot:
    """Signs in, reads what the pages ask, and clicks. It stays signed in, as a browser does.

    Args:
        transport: leads to the authorization server: `github.transport()`, or one of httpx's own.
        user: who is sitting there.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, user: str = "octocat"):
        self.user = user
        self._transport = transport
        self._cookies = httpx.Cookies()

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
        end = await self._walk("GET", url, [], allow, scopes)
        if isinstance(end, str):
            return end
        raise ProtocolError(
            f"The authorization server ended on the page {end.title!r} without sending the browser back.",
            hint="Check that the authorization URL is the right endpoint.",
        )

    async def approve_device(self, user_code: str, *, verification_uri: str, allow: bool = True) -> None:
        """Type the code that a device shows, and decide.

        Raises:
            ProtocolError: the server does not know the code, or shows an error page.
        """
        raise NotImplementedError

    async def _walk(
        self, method: str, url: str, fields: Fields, allow: bool, scopes: Collection[str] | None
    ) -> str | _Page:
        origin = _origin(url)
        for _ in range(_MOST_STEPS):
            response = await self._request(method, url, fields)
            if response.has_redirect_location:
                method, url, fields = "GET", urljoin(url, response.headers["location"]), []
                if _origin(url) != origin:
                    return url
                continue
            page = _Page.read(response.text)
            if response.status_code >= 400:
                raise ProtocolError(
                    f"The authorization server answered {response.status_code}: {page.title}.",
                    hint="Check client_id and redirect_uri against what is registered with the app.",
                    reference="RFC 6749 section 4.1.2.1",
                )
            if not page.fields:
                return page
            method, url, fields = "POST", urljoin(url, page.action), page.filled(self.user, allow, scopes)
        raise ProtocolError(f"The authorization server did not come to an end within {_MOST_STEPS} steps.")

    async def _request(self, method: str, url: str, fields: Fields) -> httpx.Response:
        # One client per request leaves no connection behind that belongs to this event loop.
        async with httpx.AsyncClient(transport=self._transport, cookies=self._cookies) as client:
            headers = {"User-Agent": "mock-github-autopilot", "Accept": "text/html"}
            content = httpx.QueryParams(fields)
            if method == "POST":
                headers["Origin"] = _origin(url)
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            response = await client.request(
                method, url, headers=headers, content=str(content) if method == "POST" else None
            )
            self._cookies.update(client.cookies)
            return response


@dataclass
class _Page:
    """What a browser's user sees of a page: its title, and one form."""

    title: str = ""
    action: str = ""
    fields: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, html: str) -> _Page:
        reader = _Reader()
        reader.feed(html)
        return reader.page

    def filled(self, user: str, allow: bool, scopes: Collection[str] | None) -> Fields:
        pairs = [(item["name"], self._value(item, user)) for item in self.fields if self._is_sent(item, user, scopes)]
        if any(item["kind"] == "button" and item["name"] == "authorize" for item in self.fields):
            pairs.append(("authorize", "1" if allow else "0"))
        return pairs

    def _value(self, item: dict[str, str], user: str) -> str:
        return item["value"]

    def _is_sent(self, item: dict[str, str], user: str, scopes: Collection[str] | None) -> bool:
        if item["kind"] == "radio":
            return item["value"] == user
        if item["kind"] == "checkbox":
            return scopes is None or item["value"] in scopes
        return item["kind"] in ("hidden", "text")


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
            self.page.fields.append({"kind": kind, "name": found["name"], "value": found.get("value", "")})

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.page.title += data


def _origin(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
