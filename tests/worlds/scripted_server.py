"""HTTP servers of a few lines, reached in process: they say what the test wrote down, and keep what they were asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Seen:
    """One request, as it arrived."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _Recording:
    def __init__(self) -> None:
        self.seen: list[Seen] = []

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.seen]

    def answer(self, request: Seen) -> Response:
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # As it was on the wire: `Request.url` would show the path decoded.
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        url = f"{scope['scheme']}://{request.headers['host']}{target.decode('ascii')}"
        seen = Seen(request.method, url, dict(request.headers), await request.body())
        self.seen.append(seen)
        await self.answer(seen)(scope, receive, send)

    def client(self) -> httpx.AsyncClient:
        """A `ClientFactory` that leads here, whatever the host."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self))


class Script(_Recording):
    """Gives its answers in order, the last one for ever."""

    def __init__(self, *answers: Response):
        super().__init__()
        self._answers = answers

    def answer(self, request: Seen) -> Response:
        return self._answers[min(len(self.seen), len(self._answers)) - 1]


class Site(_Recording):
    """Serves a document at each URL; a `dict` as JSON, a `Response` as it is. Anything else is 404."""

    def __init__(self, pages: Mapping[str, dict[str, Any] | Response]):
        super().__init__()
        self.pages = dict(pages)

    def answer(self, request: Seen) -> Response:
        page = self.pages.get(request.url, Response(status_code=404))
        return page if isinstance(page, Response) else JSONResponse(page)
