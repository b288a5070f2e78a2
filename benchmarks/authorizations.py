"""Complete authorizations: request, consent here, sign-in and consent at GitHub, callback, code, token.

In one process without sockets, to see what it costs and whose code that is; and against a server on a real socket, by
several people at once, each in a new browser.
"""

from __future__ import annotations

import asyncio
import cProfile
import statistics
import time

import httpx
from http_github import mock_github, without_socket
from http_person import authorize
from http_processes import Server
from http_servers import protected_app
from report import Row, Size, shares

URL = "http://127.0.0.1:8000"
PEOPLE_AT_ONCE = 8


def in_process(size: Size) -> list[Row]:
    """Measure without sockets, then once more under the profiler."""
    github = mock_github()
    app = protected_app(URL, github, without_socket(github), json_response=True)

    async def people(number: int) -> list[float]:
        taken = []
        for _ in range(number):
            carrier, mounts = httpx.ASGITransport(app), {github.web_url: github.transport()}
            async with httpx.AsyncClient(transport=carrier, mounts=mounts) as browser:
                start = time.perf_counter()
                await authorize(browser, URL)
                taken.append(time.perf_counter() - start)
        return taken

    asyncio.run(people(3))
    seconds = statistics.median(asyncio.run(people(size.authorizations)))
    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(people(size.authorizations))
    profile.disable()
    return [
        Row("complete authorizations a second in one process, on this machine", f"{1 / seconds:.0f}"),
        Row("their own time, browser and mock included", shares(profile)),
    ]


def over_sockets(server: Server, number: int) -> tuple[list[Row], list[str]]:
    """Measure on a running `deployment`. Returns the tokens, too: each stands for an authorization of its own."""
    tokens: list[str] = []
    context = httpx.create_ssl_context()

    async def person(numbers: list[int]) -> None:
        while numbers:
            numbers.pop()
            async with httpx.AsyncClient(verify=context, timeout=30) as browser:
                tokens.append(await authorize(browser, server.url))

    async def people() -> float:
        numbers = list(range(number))
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(PEOPLE_AT_ONCE):
                group.create_task(person(numbers))
        return time.perf_counter() - start

    seconds = asyncio.run(people())
    assert len(set(tokens)) == number
    what = (
        f"{number} complete authorizations over sockets, {PEOPLE_AT_ONCE} at once, no error: a second, on this machine"
    )
    return [Row(what, f"{number / seconds:.0f}")], tokens
