"""Exercises of notebook 10: the flow over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from ...lab.http_lab import HttpLab
from ...oauth.errors import McpOAuthError
from .verdict import Verdict, checked, checked_function, not_yet, right

#: Where the check of exercise 2 publishes the document.
MINE = "https://mine.example/client.json"

_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_SECRETS = ("client_secret", "client_secret_basic", "client_secret_post")


def _refusals() -> tuple[tuple[str, httpx.Response, str], ...]:
    """Return the cases: a name, an argument for the function, and the result that it must find."""

    def refused(url: str, *challenges: str) -> httpx.Response:
        headers = [("WWW-Authenticate", challenge) for challenge in challenges]
        return httpx.Response(401, headers=headers, request=httpx.Request("POST", url))

    elsewhere = "https://docs.example/about/mcp.json"
    return (
        ("a header", refused("https://one.example/mcp", f'Bearer resource_metadata="{elsewhere}"'), elsewhere),
        ("no header", refused("https://two.example/mcp"), f"https://two.example{_WELL_KNOWN}/mcp"),
        (
            "a header without the document",
            refused("https://three.example:8443/a/b", 'Bearer scope="read:user"'),
            f"https://three.example:8443{_WELL_KNOWN}/a/b",
        ),
        ("another scheme", refused("https://four.example/mcp", "Basic"), f"https://four.example{_WELL_KNOWN}/mcp"),
        ("a server at the root", refused("https://five.example/"), f"https://five.example{_WELL_KNOWN}"),
    )


@checked_function
def check_find_metadata(answer: Any) -> Verdict:
    """The answer is a function from a 401 to the URL of the resource's metadata (RFC 9728 sections 3.1 and 5.1)."""
    for what, response, expected in _refusals():
        found = answer(response)
        if str(found) != expected:
            return not_yet(f"with {what}, from {response.request.url}, it returned {found!r}.")
    return right("the header's URL where there is one, and the well-known place where there is none.")


@checked
async def check_document(answer: Any) -> Verdict:
    """The answer is a client's metadata document, with which a client can authorize."""
    if not isinstance(answer, dict):
        return not_yet("that is not a dict; {} is one to begin with.")
    if answer.get("client_secret") or answer.get("token_endpoint_auth_method") in _SECRETS:
        return not_yet("everybody can read the document: it can hold no secret, and none can be agreed on.")
    if not answer.get("client_name"):
        return not_yet("the person on the consent page wants to know the client_name.")
    async with HttpLab.open() as lab:
        lab.publish(MINE, answer)
        session = await lab.connect(auth=lab.new_auth(client_metadata_url=MINE))
        try:
            await session.call_tool("get_github_user_info")
        except McpOAuthError as error:
            return not_yet(_why(answer) or f"{type(error).__name__}: {error.message}")
    return right("the server read your document, and the person saw its name before anything was granted.")


def _why(document: dict[str, Any]) -> str | None:
    """Say what the server, which tells strangers little, does not like about a document."""
    if document.get("client_id") != MINE:
        return f"the server found it at {MINE}, and its client_id is {document.get('client_id')!r}."
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or "http://127.0.0.1/callback" not in uris:
        return f"the browser cannot come back: redirect_uris is {uris!r}."
    return None
