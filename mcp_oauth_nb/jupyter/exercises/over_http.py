"""Exercises of notebooks 10 and 11: the flow over HTTP, scopes and step-up."""

from __future__ import annotations

from typing import Any

import httpx

from ...lab.http_lab import HttpLab
from ...oauth.errors import McpOAuthError
from . import Verdict, checked, checked_async_function, checked_function, not_yet, right

# -- 10: the flow over HTTP ------------------------------------------------------------------------------------------

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


# -- 11: scopes and step-up ------------------------------------------------------------------------------------------

_PUBLIC, _PRIVATE = frozenset({"read:user"}), frozenset({"read:user", "repo"})
_NEEDS = 'Bearer error="insufficient_scope", scope="{}", resource_metadata="https://one.example/document"'

# The cases: a name, the arguments of the function, and the result that it must return.
_CASES: tuple[tuple[str, str, frozenset[str], frozenset[str] | None], ...] = (
    ("no token yet", 'Bearer scope="read:user"', frozenset(), _PUBLIC),
    ("a call that needs both", _NEEDS.format("read:user repo"), _PUBLIC, _PRIVATE),
    ("a server that names only what this call needs", _NEEDS.format("repo"), _PUBLIC, _PRIVATE),
    ("a token that has it already", _NEEDS.format("repo"), _PRIVATE, None),
    ("a token with more than that", _NEEDS.format("read:user"), _PRIVATE, None),
    ("a token that expired", 'Bearer error="invalid_token", scope="read:user"', _PUBLIC, _PUBLIC),
    ("an expired token, and no scope named", 'Bearer error="invalid_token"', _PUBLIC, _PUBLIC),
    ("an expired token that could do more", 'Bearer error="invalid_token", scope="read:user"', _PRIVATE, _PRIVATE),
)


@checked_function
def check_scopes_to_ask(answer: Any) -> Verdict:
    """The answer is a function from a challenge and the granted scopes to the scopes to ask for."""
    for what, header, granted, expected in _CASES:
        found = answer(header, set(granted))
        if found is None if expected is None else isinstance(found, set | frozenset) and found == expected:
            continue
        has = ", ".join(sorted(granted)) or "nothing"
        return not_yet(f"with {what} (the token has {has}), for {header!r} it returned {found!r}.")
    return right("the union, so that nothing is lost, and an end where asking again would change nothing.")


@checked_async_function
async def check_report(answer: Any) -> Verdict:
    """The answer counts repositories, asks the person once, and takes a no."""
    public, everything = await _counts()
    async with HttpLab.open() as lab:
        found = await answer(lab.session)
        if found != (public, everything):
            return not_yet(f"there are {public} public ones and {everything} in all; it returned {found!r}.")
        if len(lab.browser.asked) != 1:
            return not_yet(f"the person was asked {len(lab.browser.asked)} times.")
    async with HttpLab.open() as lab:
        lab.browser.refuses = {"repo"}
        found = await answer(lab.session)
        if found != (public, None):
            return not_yet(f"the person said no to repo; then {(public, None)} is true, and it returned {found!r}.")
    return right("one question for both, and a no leaves the half that needs less.")


async def _counts() -> tuple[int, int]:
    """Count the repositories, the public ones and all, in a lab of its own."""
    counts = []
    async with HttpLab.open() as lab:
        for private in (False, True):
            arguments = {"include_private": private, "repo_limit": 100}
            result = await lab.session.call_tool("get_github_user_info", arguments)
            counts.append(len((result.structured_content or {})["repositories"]))
    return counts[0], counts[1]
