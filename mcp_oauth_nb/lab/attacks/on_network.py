"""Attacks on what a server fetches and what it says about itself: rows 13 and 20."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette

from ...oauth.errors import ProtocolError, SecurityError
from ...oauth.urls import Resolver, is_public, is_public_name
from ...server.authserver import AuthorizationServer, Rates
from ...server.authserver.documents import DocumentFetcher
from ...trace.messages import AUTHORIZATION_SERVER, CLIENT
from ..http_lab import PUBLIC_URL, HttpLab
from .cast import EVIL, HEADERS, MESSAGE, Answer, Browser, ByHand, Site, call, open_site, randomness, said
from .outcome import Plot, Refused, attack
from .weakened import MetadataByHost

_INSIDE = "Internal network"
_SECRET = "role-key-" + "of-the-machine"
_METADATA_SERVICE = "http://169.254.169.254/latest/meta-data/role"
_INTRANET, _REBOUND = "intranet.example", "rebound.example"
_IDS = (
    "https://169.254.169.254/latest/meta-data/role",
    "https://[::ffff:127.0.0.1]/admin",
    "https://2130706433/admin",
    f"https://{_INTRANET}/client.json",
    f"https://{_REBOUND}/client.json",
    f"{EVIL}/moved.json",
)


class _Places(httpx.AsyncBaseTransport):
    """The places that the server's machine can reach: the attacker's site, and hosts of the internal network.

    Attributes:
        inside: the requests that arrived there.
    """

    def __init__(self) -> None:
        self.inside: list[httpx.Request] = []
        self._asked: Counter[str] = Counter()

    async def resolve(self, host: str) -> Sequence[str]:
        """Ask the attacker's name service: of one name it gives a good address once, then one inside (rebinding)."""
        self._asked[host] += 1
        inside = host == _INTRANET or (host == _REBOUND and self._asked[host] > 1)
        return ("127.0.0.1",) if inside else ("93.184.215.14",)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        # A name is looked up again for the connection, whatever address was found when it was checked.
        address = (await self.resolve(host))[0] if is_public_name(host) else host
        if is_public(address):
            return httpx.Response(302, headers={"location": _METADATA_SERVICE}, request=request)
        self.inside.append(request)
        return httpx.Response(200, text=_SECRET, request=request)


class _Fetches(DocumentFetcher):
    """Looks a name up, fetches whatever it is told to, and quotes what it did not expect."""

    def __init__(self, transport: httpx.AsyncBaseTransport, resolver: Resolver):
        super().__init__(resolver=resolver)
        self._transport = transport

    async def fetch(self, url: str) -> tuple[dict[str, Any], int]:
        await self._resolver(urlsplit(url).hostname or "")
        async with httpx.AsyncClient(transport=self._transport, follow_redirects=True) as client:
            answer = await client.get(url)
        raise ProtocolError(f"This is no client metadata document: {answer.text}")


@attack(
    13,
    "SSRF through a client id",
    needs=HttpLab,
    check="https, a public name, every address of it public, that address and no other asked, no redirect",
    reference="MCP 2025-11-25, Security Best Practices, SSRF",
)
async def ssrf(lab: HttpLab, plot: Plot) -> None:
    """Client ids that are URLs: the server fetches them, from where it stands."""
    places = _Places()
    transport = lab.trace.http(places, sender=AUTHORIZATION_SERVER, receiver=_INSIDE)
    real = DocumentFetcher(partial(httpx.AsyncClient, transport=transport), places.resolve)
    server = _server(lab, real if plot.defence else _Fetches(transport, places.resolve))
    attacker = Browser(lab, name="Attacker")
    pages = []
    async with lab.network.running_instead(Starlette(routes=server.routes())):
        plot.step("The attacker opens the authorization endpoint with a client id that is a URL.")
        for client_id in _IDS:
            before = len(places.inside)
            pages.append(await attacker.get(ByHand(lab).url(client_id=client_id)))
            arrived = "is fetched, from inside" if len(places.inside) > before else "is not fetched"
            plot.step(f"{client_id} {arrived}.")
    if not places.inside:
        raise Refused(f"The authorization endpoint answered {pages[0].status_code} {said(pages[0])}, six times.")
    plot.learned("requests from inside", len(places.inside))
    if _SECRET in pages[0].text:
        plot.got("and, on the error page", _SECRET)


def _server(lab: HttpLab, documents: DocumentFetcher) -> AuthorizationServer:
    return AuthorizationServer(
        PUBLIC_URL,
        settings=lab.settings,
        client=lab.http_client(AUTHORIZATION_SERVER),
        clock=lab.clock,
        token_bytes=randomness("ssrf"),
        document_client=documents,
        rates=Rates(authorize=None, token=None, register=None),
    )


_NAMED = (
    "https://169.254.169.254/latest/meta-data/role",
    "https://[::ffff:127.0.0.1]/admin",
    "https://2130706433/admin",
    "http://10.0.0.1/admin",
    f"https://{_INTRANET}/role",
)


@attack(
    13,
    "SSRF through discovery",
    needs=HttpLab,
    check="a server on the internet leads to places on the internet, by https; names are looked up",
    reference="RFC 9728 section 7.7",
)
async def ssrf_in_discovery(lab: HttpLab, plot: Plot) -> None:
    """An MCP server whose challenge names an address inside the client's own network, or a name that leads there."""
    inside = Site({urlsplit(url).path: {"role": _SECRET} for url in _NAMED})
    for url in _NAMED:
        lab.network.sites[url.rpartition(urlsplit(url).path)[0]] = _INSIDE, inside
    stopped: list[SecurityError] = []
    auth = lab.new_auth(resolver=_Places().resolve)
    plot.step("The attacker's MCP server answers 401, and says where the client finds its metadata.")
    for url in _NAMED:
        challenge = {"www-authenticate": f'Bearer resource_metadata="{url}"'}
        open_site(lab, Site({"/mcp": _answering(challenge)}))
        try:
            if plot.defence:
                await call(lab, auth.provider(f"{EVIL}/mcp"), f"{EVIL}/mcp")
            else:
                plot.got("shown in an error", await _read_anywhere(lab))
        except SecurityError as error:
            stopped.append(error)
            plot.step(f"{url} is not asked.")
        else:
            plot.step(f"{url} is asked, from inside.")
    if not inside.seen:
        raise stopped[0]
    plot.learned("requests from inside", len(inside.seen))


class _Outside:
    """The connection to the attacker's server, which is on the internet."""

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("93.184.215.14", 443) if name == "server_addr" else None


def _answering(headers: dict[str, str]) -> Answer:
    return lambda request: httpx.Response(401, headers=headers, extensions={"network_stream": _Outside()})


async def _read_anywhere(lab: HttpLab) -> str:
    """Do as a client that looks at no address."""
    async with lab.http_client(CLIENT)() as client:
        refusal = await client.post(f"{EVIL}/mcp", json=MESSAGE, headers=HEADERS)
        place = refusal.headers["www-authenticate"].split('"')[1]
        return str((await client.get(place)).json()["role"])


# -- 20 ------------------------------------------------------------------------------------------------------------


@attack(
    20,
    "Metadata poisoned by a header",
    needs=HttpLab,
    check="everything that a client is told comes from one fixed public URL, nothing from a header",
    reference="RFC 9700 section 4.13",
)
async def forwarded_host(lab: HttpLab, plot: Plot) -> None:
    """A request with X-Forwarded-Host: the answer is cached, and the next client believes it."""
    place = f"{PUBLIC_URL}/.well-known/oauth-protected-resource/mcp"
    host = urlsplit(EVIL).netloc
    with lab.network.instead(lambda app: app if plot.defence else MetadataByHost(app)):
        async with lab.http_client("Attacker")() as attacker:
            await attacker.get(place, headers={"X-Forwarded-Host": host, "Forwarded": f"host={host}"})
        plot.step(
            f"The attacker asks for the server's metadata, with X-Forwarded-Host: {host}. A cache keeps the answer."
        )
        async with lab.http_client(CLIENT)() as victim:
            document = (await victim.get(place)).json()
        plot.step("The victim's client asks for the same document.")
    servers = ", ".join(document["authorization_servers"])
    if host not in servers:
        raise Refused(f"{place} names {servers}, whatever the headers say.")
    plot.learned("the victim's client", f"is sent to {servers} to sign in")
