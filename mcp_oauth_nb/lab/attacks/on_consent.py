"""Attacks on the question that a person is asked: rows 11, 15 and 18."""

from __future__ import annotations

import re

import httpx

from ...trace.messages import CLIENT
from ..http_lab import HttpLab
from .cast import (
    ATTACKER,
    ATTACKER_NAME,
    Browser,
    ByHand,
    Site,
    add_attacker,
    code_of,
    open_site,
    refused,
    said,
    whose_data,
)
from .outcome import Plot, Refused, attack
from .weakened import Frameable, NoConsent, RemembersConsent

# A host name of the same site: cookies with SameSite come along to it.
_GAME = "https://play.mcp.example"


@attack(
    11,
    "Clickjacked consent",
    needs=HttpLab,
    check="no page may show the consent page in a frame",
    reference="RFC 9700 section 4.16",
)
async def clickjacking(lab: HttpLab, plot: Plot) -> None:
    """The consent page in a frame that nobody sees, under a button that everybody presses."""
    open_site(lab, Site())
    client = await ByHand(lab).register()
    victim = await Browser(lab).sign_in()
    plot.step(f"The attacker has {_GAME}, a forgotten host name of the same site, and puts a game there.")
    with lab.network.instead(lambda app: app if plot.defence else Frameable(app)):
        page = await _opened(victim, client.url())
        plot.step("Over it, transparent, lies a frame with the consent page for the attacker's client.")
        _show_in_frame(page, _GAME)
        plot.step("The victim presses Play. The click lands on Authorize.")
        await _redeem(lab, plot, client, await victim.follow(await victim.press(page)))


def _show_in_frame(page: httpx.Response, parent: str) -> None:
    """Do as a browser does before it shows a page inside another one.

    Raises:
        Refused: the page does not want it.
    """
    place = str(page.url).partition("?")[0]
    policy = re.search(r"frame-ancestors ([^;]+)", page.headers.get("content-security-policy", ""))
    # CSP Level 3 section 6.4.2: where it names frame-ancestors, X-Frame-Options is not looked at.
    if policy is not None and policy[1] != "*":
        raise Refused(f"The browser does not show {place} inside {parent}: frame-ancestors {policy[1]}.")
    if "x-frame-options" in page.headers:
        raise Refused(f"The browser does not show {place} inside {parent}: X-Frame-Options.")


@attack(
    15,
    "Confused deputy",
    needs=HttpLab,
    check="the server asks for each client by itself, and the browser that agreed is the one that finishes",
    reference="MCP 2025-11-25, Security Best Practices, Confused Deputy Problem",
)
async def confused_deputy(lab: HttpLab, plot: Plot) -> None:
    """One OAuth app at GitHub for all clients: GitHub remembers the consent for one, and gives it to another."""
    open_site(lab, Site())
    victim = await Browser(lab).sign_in()
    await ByHand(lab, CLIENT).authorize(victim)
    plot.step("The victim has used this MCP server before, with an honest client. GitHub asks nothing from now on.")
    client = await ByHand(lab).register()
    plot.step("The attacker registers a client of their own, and mails the victim a link that begins a flow.")
    with lab.network.instead(lambda app: app if plot.defence else NoConsent(app)):
        answer = await victim.get(client.url())
        page = await victim.get(answer.headers["location"])
        if page.status_code == 200:
            plot.step("The victim clicks, and is asked by the server: they never heard of this client.")
            end = await _finish_for(lab, plot, victim, client)
            if end.status_code >= 400:
                raise Refused(f"{_place(page)} asked the victim first, {said(page)}.")
            await _redeem(lab, plot, client, end.headers["location"])
            return
        plot.step("The victim clicks. The server sends them to GitHub, and GitHub back at once: no page is seen.")
        await _redeem(lab, plot, client, await victim.follow(page))


async def _finish_for(lab: HttpLab, plot: Plot, victim: Browser, client: ByHand) -> httpx.Response:
    """Consent in the attacker's browser, have the victim's go on from there, and return what it gets in the end."""
    add_attacker(lab)
    attacker = await Browser(lab, ATTACKER_NAME, ATTACKER).sign_in()
    asked = await _opened(attacker, client.url())
    to_github = (await attacker.press(asked)).headers["location"]
    plot.step("The attacker agrees in their own browser instead, and mails the victim the address at GitHub.")
    end = await victim.get(await victim.at_github(to_github))
    plot.step(f"GitHub lets the victim pass. The server answers {end.status_code} {said(end)}.")
    return end


@attack(
    18,
    "Impersonated local client",
    needs=HttpLab,
    check="whatever was allowed before, no answer goes to a program on this machine without the person",
    reference="RFC 8252 section 8.6",
)
async def localhost_impersonation(lab: HttpLab, plot: Plot) -> None:
    """A program that claims the id of a client which the person trusts: on this machine nobody can tell."""
    victim = await Browser(lab).sign_in()
    honest = {"client_id": lab.client_metadata_url, "redirect_uri": "http://127.0.0.1:5000/callback"}
    malware = {**honest, "redirect_uri": "http://127.0.0.1:6000/callback"}
    with lab.network.instead(lambda app: app if plot.defence else RemembersConsent(app)):
        await ByHand(lab, CLIENT, **honest).authorize(victim)
        plot.step(f"The victim has allowed {lab.client_metadata_url}, a program on their machine.")
        program = ByHand(lab, ATTACKER, **malware)
        answer = await victim.get(program.url())
        plot.step(
            "Another program there opens the browser with the same client id, and a port of its own to come back to."
        )
        page = await victim.get(answer.headers["location"])
        if page.status_code == 200:
            shown = re.search(r"The answer goes to a program on your own device\.", page.text)
            plot.step(f'The page says: "{shown[0] if shown is not None else ""}"')
            raise Refused(f"{_place(page)} asked the victim first, {said(page)}.")
        plot.step("The answer is remembered, so no page is shown.")
        await _redeem(lab, plot, program, await victim.follow(page))


async def _opened(browser: Browser, url: str) -> httpx.Response:
    """Open an authorization request, and return the consent page."""
    return refused(await browser.get(refused(await browser.get(url)).headers["location"]))


async def _redeem(lab: HttpLab, plot: Plot, client: ByHand, end: str) -> None:
    tokens = await client.exchange(code_of(end))
    plot.got("access token", tokens["access_token"])
    plot.learned("data of", await whose_data(lab, tokens["access_token"]))


def _place(page: httpx.Response) -> str:
    return str(page.url).partition("?")[0]
