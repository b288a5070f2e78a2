"""A complete authorization: the client that asks, and the person who says yes on every page, here and at GitHub."""

from __future__ import annotations

import html
import re
import secrets
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx

from mcp_oauth_nb.oauth.pkce import generate_pkce_pair

CLIENT_ID = "bench"
CALLBACK = "http://127.0.0.1:5000/callback"
USER = "octocat"
_ACTION = re.compile(r'<form[^>]* action="([^"]*)"')
_FIELD = re.compile(r'<input type="(?:hidden|checkbox)" name="([^"]+)" value="([^"]*)"')


async def authorize(browser: httpx.AsyncClient, url: str) -> str:
    """Go from the authorization request to the access token.

    Args:
        browser: without cookies, so that both servers ask everything; it also sends the client's token request.
        url: the public URL of the authorization server.
    """
    verifier, challenge = generate_pkce_pair()
    state = secrets.token_urlsafe(16)
    shared = {"client_id": CLIENT_ID, "redirect_uri": CALLBACK, "resource": f"{url}/mcp"}
    request = shared | {
        "response_type": "code",
        "scope": "read:user",
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    answer = parse_qs(urlsplit(await walk(browser, f"{url}/authorize?{urlencode(request)}")).query)
    assert answer.get("state") == [state], answer.keys()
    fields = shared | {"grant_type": "authorization_code", "code": answer["code"][0], "code_verifier": verifier}
    response = await browser.post(f"{url}/token", data=fields)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


async def walk(browser: httpx.AsyncClient, url: str, *, user: str = USER, callback: str = CALLBACK) -> str:
    """Follow redirects and submit forms until the browser is sent to the client; return that URL.

    Args:
        browser: without cookies, or with those of this person.
        url: the authorization request.
        user: who signs in at GitHub.
        callback: the client's redirect URI, or how it begins.
    """
    response = await browser.get(url)
    while True:
        assert response.status_code < 400, response.text
        here = str(response.url)
        if response.has_redirect_location:
            target = urljoin(here, response.headers["location"])
            if target.startswith(callback):
                return target
            response = await browser.get(target)
            continue
        form = _ACTION.search(response.text)
        assert form is not None, response.text
        fields = [(name, html.unescape(value)) for name, value in _FIELD.findall(response.text)]
        fields.append(("login", user) if 'type="radio"' in response.text else ("authorize", "1"))
        headers = {
            "Origin": str(response.url.copy_with(raw_path=b"/")).rstrip("/"),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        target = urljoin(here, html.unescape(form[1]))
        response = await browser.post(target, content=urlencode(fields), headers=headers)
