"""Exercises of notebooks 06 to 09: a client of one's own, and its settings.

They are on an `authorize` function and a sampling callback, on custom providers, on the real GitHub, and on
troubleshooting.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

import anyio
import httpx
from mcp import MCPError, StdioServerParameters, stdio_client
from pydantic import SecretStr

from ...client.handler import OAuthHandler
from ...client.session import Session
from ...lab.lab import Lab
from ...oauth.errors import (
    AccessDenied,
    AuthenticationRequired,
    ConfigurationError,
    McpOAuthError,
    ProtocolError,
    RateLimited,
    StateMismatch,
)
from ...oauth.settings import IsolatedSettings, Settings
from . import Verdict, checked, checked_async_function, checked_function, not_yet, right

# -- 06: an `authorize` function and a sampling callback -------------------------------------------------------------

# A scope that no tool needs, but another server's challenge could name.
_ANOTHER = "gist"


@checked_async_function
async def check_authorize(answer: Any, lab: Lab) -> Verdict:
    """The answer, given as `authorize=`, lets the tool see private repositories."""
    await lab.oauth.revoke()
    # The challenge of this call does not name repo, that of a call for private repositories would.
    await lab.session.call_tool("get_github_user_info", authorize=answer)
    if "repo" not in _granted(lab):
        return not_yet("the token that it got is without the scope repo.")
    if not {"read:user", "user"} & _granted(lab):
        return not_yet("it forgot the scopes that the challenge names.")
    arguments = {"include_private": True, "repo_limit": 100}
    result = await lab.session.call_tool("get_github_user_info", arguments)
    private = [repository for repository in (result.structured_content or {})["repositories"] if repository["private"]]
    if not private:
        return not_yet("the tool still shows no private repository.")
    await answer(replace(lab.oauth.challenge(), scopes=("read:user", _ANOTHER)))
    if not {_ANOTHER, "repo"} <= _granted(lab):
        return not_yet(f"for a challenge that names {_ANOTHER} it asks for the same as before: read `.scopes`.")
    return right(f"the challenge's scopes and one more, and {len(private)} private repositories appear.")


def _granted(lab: Lab) -> set[str]:
    return set(lab.oauth.token.scopes) if lab.oauth.token is not None else set()


@checked_async_function
async def check_model(answer: Any) -> Verdict:
    """The answer is a sampling callback that writes as many words as it may."""
    async with Lab.open(sampling=answer) as lab:
        for limit in (3, 12):
            arguments = {"code": "pass", "max_tokens": limit}
            result = await lab.session.call_tool("analyze_code_with_llm", arguments)
            words = len((result.structured_content or {"analysis": ""})["analysis"].split())
            if words != limit:
                return not_yet(f"with max_tokens={limit} it wrote {words} words.")
    return right("your model keeps to its limit, whatever that is.")


# -- 07: custom providers --------------------------------------------------------------------------------------------

#: What the third provider publishes about itself (RFC 8414).
METADATA: dict[str, Any] = {
    "issuer": "https://files.example/tenants/7",
    "authorization_endpoint": "https://files.example/tenants/7/authorize",
    "token_endpoint": "https://tokens.files.example/v2/7",
    "scopes_supported": ["files.read", "files.write", "files.admin"],
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
}

# The cases: a registered redirect URI, the requested one, and whether the code may be sent there.
_REDIRECTS = (
    ("https://app.example/callback", "https://app.example/callback", True),
    ("https://app.example/callback", "https://app.example/callback/", False),
    ("https://app.example/callback", "https://app.example/callback?next=x", False),
    ("https://app.example/callback", "https://app.example:8443/callback", False),
    ("https://app.example/callback", "https://evil.app.example/callback", False),
    ("https://app.example/callback", "http://app.example/callback", False),
    ("https://app.example/callback", "https://app.example/CALLBACK", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1/callback", True),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback", True),
    ("http://127.0.0.1:8000/callback", "http://127.0.0.1:54321/callback", True),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/elsewhere", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback?next=x", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback#fragment", False),
    ("http://localhost:8000/callback", "http://localhost:54321/callback", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1.evil.example/callback", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321@evil.example/callback", False),
    ("http://127.0.0.1/callback", "http://someone@127.0.0.1:54321/callback", False),
    ("http://127.0.0.1/callback", "https://127.0.0.1:54321/callback", False),
)


@checked
async def check_settings(answer: Any) -> Verdict:
    """The answer is settings with which a handler gets a token from the third provider."""
    if not isinstance(answer, Settings):
        return not_yet("those are no settings: assign IsolatedSettings(...).")
    provider = _ThirdProvider()
    oauth = OAuthHandler(settings=answer, client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(provider)))
    request = oauth.get_authorization_url()
    url = httpx.URL(request.url)
    if str(url.copy_with(query=None)) != METADATA["authorization_endpoint"]:
        return not_yet(f"the user would be sent to {url.copy_with(query=None)}, where nobody is.")
    if oauth.issuer != METADATA["issuer"]:
        return not_yet(f"callbacks would have to name the issuer {oauth.issuer}, and theirs is another.")
    if url.params["scope"] != "files.read":
        return not_yet(f"the user would be asked for {url.params['scope']!r}; reading files needs one scope, another.")
    try:
        await oauth.exchange_code_for_token("a-code-of-this-check", request.code_verifier)
    except ConfigurationError:
        return not_yet("the token endpoint does not know the client: look at how it wants the credentials.")
    return right("the right endpoints, the smallest scope, and the client is recognised.")


class _ThirdProvider:
    """Its token endpoint: HTTP Basic or nothing."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if str(request.url) != METADATA["token_endpoint"]:
            return httpx.Response(404)
        if not request.headers.get("authorization", "").startswith("Basic "):
            return httpx.Response(401, json={"error": "invalid_client"})
        return httpx.Response(200, json={"access_token": "a-token-of-this-check", "token_type": "Bearer"})


@checked_function
def check_matches(answer: Any) -> Verdict:
    """The answer decides whether a requested redirect URI is the registered one."""
    for registered, requested, allowed in _REDIRECTS:
        said = answer(registered, requested)
        if said is not allowed:
            return not_yet(f"{registered} is registered, {requested} is requested: it said {said!r}.")
    return right(f"{len(_REDIRECTS)} redirect URIs, and each code goes where it belongs.")


# -- 08: the real GitHub ---------------------------------------------------------------------------------------------

_PORT = 8123
# A server starts in one or two seconds.
_SECONDS = 15.0


@checked
async def check_redirect_uri(answer: Any, lab: Lab) -> Verdict:
    """The answer is a redirect URI that GitHub accepts although it is not the registered one."""
    if not isinstance(answer, str):
        return not_yet("that is not a string: a redirect URI is one.")
    parts = urlsplit(answer)
    if parts.hostname != "127.0.0.1":
        return not_yet("the host is not the registered one, 127.0.0.1: to GitHub another name is another place.")
    if parts.port != _PORT:
        return not_yet(f"the notebook listens on port {_PORT}, and the browser would go elsewhere.")
    if parts.path.rstrip("/") in ("", "/callback"):
        return not_yet("the path is not one of its own: the first notebook uses it already.")
    request = lab.oauth.get_authorization_url(redirect_uri=answer)
    try:
        callback = await lab.browser.authorize(request.url)
    except ProtocolError as error:
        return not_yet(f"GitHub shows an error page. {error.message}")
    if not callback.startswith(f"{answer}?code="):
        return not_yet(f"GitHub sent the browser to {callback.partition('?')[0]}.")
    return right(
        "any port, and a path below the registered one. Other providers compare the whole path; MCP wants that."
    )


@checked
async def check_host(answer: Any) -> Verdict:
    """The answer is a host's configuration, with which the server starts and answers with the challenge."""
    if not isinstance(answer, dict) or not {"command", "args", "env"} <= set(answer):
        return not_yet("that is not a dict with the keys command, args and env.")
    secret = answer["env"].get("OAUTH_CLIENT_SECRET", "")
    # As a word of its own: a short secret may be a part of other words.
    if secret and re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", " ".join(answer["args"])):
        return not_yet("the secret is in args, where the list of processes shows it.")
    command = StdioServerParameters(command=answer["command"], args=answer["args"], env=answer["env"])
    try:
        async with asyncio.timeout(_SECONDS):
            await _call_protected_tool(command)
    except AuthenticationRequired:
        if not (answer["env"].get("OAUTH_CLIENT_ID") and secret):
            return not_yet("the server has credentials, but not from env: other users may see where they come from.")
        return right("the server runs, has its credentials, and waits for somebody to sign in.")
    except TimeoutError:
        return not_yet(f"that command did not answer within {_SECONDS:g} seconds, as an MCP server would.")
    except MCPError as error:
        return not_yet(f"the server runs and answers {error.code}, {error.message}.")
    return not_yet("the server answered without asking for a token: invent credentials of your own.")


async def _call_protected_tool(command: StdioServerParameters) -> None:
    async with await anyio.open_file(os.devnull, "w") as log:
        server = stdio_client(command, errlog=cast(TextIO, log.wrapped))
        async with Session.open(server) as session:
            await session.call_tool("get_github_user_info")


# -- 09: troubleshooting ---------------------------------------------------------------------------------------------


def broken(lab: Lab) -> dict[str, Any]:
    """Return settings with three mistakes in them."""
    return {
        "oauth_client_id": lab.github.client_id,
        "oauth_client_secret": SecretStr("copied-from-the-page-of-another-app"),
        "oauth_token_url": "https://github.com/login/oauth/token",
        "oauth_redirect_uri": "http://127.0.0.1/elsewhere",
    }


@checked
async def check_repair(answer: Any, lab: Lab) -> Verdict:
    """The answer is what must be changed in the broken settings, so that a user can sign in."""
    if not isinstance(answer, dict):
        return not_yet("that is not a dict of settings; {} is one to begin with.")
    try:
        settings = IsolatedSettings(**broken(lab) | answer)
        oauth = OAuthHandler(settings=settings, client=lab.http_client(), clock=lab.clock)
        callback = await lab.browser.authorize(oauth.get_authorization_url().url)
        await oauth.complete_authorization(callback)
    except McpOAuthError as error:
        return not_yet(f"{type(error).__name__}: {error.message} What to do: {error.hint}")
    return right("the user is signed in. Three mistakes, and each error led to its own.")


def _errors() -> tuple[tuple[str, BaseException, BaseException | None], ...]:
    """Return the cases: a name, an argument for the function, and the result that it must find."""
    ours, other, late = AccessDenied("no"), StateMismatch("not yours"), RateLimited("later")
    deep = ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [OSError("y"), late]), other])
    return (
        ("an error of this package", ours, ours),
        ("any other error", ValueError("x"), None),
        ("a group of one", ExceptionGroup("group", [ours]), ours),
        ("a group with ours behind another", ExceptionGroup("group", [KeyError("x"), other]), other),
        ("a group in a group", deep, late),
        ("a group without ours", ExceptionGroup("group", [ValueError("x")]), None),
        ("a group of interrupts", BaseExceptionGroup("group", [KeyboardInterrupt(), ours]), ours),
    )


@checked_function
def check_find(answer: Any) -> Verdict:
    """The answer is a function that finds the first error of this package in an error."""
    for what, error, expected in _errors():
        found = answer(error)
        if found is not expected:
            return not_yet(f"in {what}, {error!r}, it found {found!r}.")
    return right("whatever task it was raised in, the error that can be acted on is found.")
