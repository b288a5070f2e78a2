"""The guided flow in a terminal: every message as it crosses the wire, the diagram, the result."""

from __future__ import annotations

from collections.abc import Callable

from ..oauth.errors import AuthenticationRequired
from ..trace.messages import Message
from .lab import Lab


async def demo(lab: Lab, write: Callable[[str], None] = print) -> None:
    """Walk through the guide's flow on an open lab.

    Args:
        lab: fresh, with nothing authorized.
        write: gets each paragraph; secrets are masked.
    """
    seen = 0

    def step(number: int, title: str, why: str) -> None:
        write(f"\n== {number}. {title}\n   {why}\n")

    def show_messages() -> None:
        nonlocal seen
        for message in lab.trace.messages[seen:]:
            write(_shown(message))
        seen = len(lab.trace)

    step(1, "Connect", "The server announces where to authorize (RFC 8414's field names), before anybody asks.")
    write(f"connected: {lab.session!r}")
    show_messages()

    step(2, "Call the protected tool without a token", "Error -32001 is the expected answer: an invitation.")
    try:
        await lab.session.call_tool("get_github_user_info", {"repo_limit": 3})
    except AuthenticationRequired as error:
        challenge = error.challenge
        write(str(error))
    show_messages()

    step(
        3, "Make the authorization request", "PKCE: the URL has a hash (code_challenge), the code_verifier stays here."
    )
    request = lab.oauth.get_authorization_url(scopes=challenge.scopes if challenge else None)
    write(repr(request))

    step(4, "The user clicks Authorize", "The mock's autopilot does it; GitHub sends the browser back with a code.")
    callback = await lab.browser.authorize(request.url)
    show_messages()

    step(5, "Verify the callback", "state: does it answer this request? iss: does it come from GitHub?")
    response = lab.oauth.read_callback(callback)
    write(repr(response))

    step(6, "Exchange the code for a token", "GitHub hashes the code_verifier: only who started the flow can have it.")
    token = await lab.oauth.exchange_code_for_token(response.code, request.code_verifier)
    show_messages()
    write(repr(token))

    step(
        7, "Call the tool again", "The server asks GitHub whether the token was issued to this app, then for the data."
    )
    result = await lab.session.call_tool("get_github_user_info", {"repo_limit": 3})
    show_messages()

    step(8, "Eight hours later", "The token has expired. A refresh gets a new pair, without the user.")
    lab.clock.advance(hours=8)
    write(f"{lab.clock!r}, authenticated: {lab.oauth.is_authenticated()}")
    token = await lab.oauth.refresh_access_token()
    show_messages()
    write(repr(token))
    again = await lab.session.call_tool("get_github_user_info", {"include_repos": False})
    write(f"the tool works again: {not again.is_error}")

    write("\n== The whole flow\n")
    write(str(lab.trace.diagram()))
    write("\n== What the tool returned\n")
    user = (result.structured_content or {})["user"]
    write("\n".join(f"{name}: {value}" for name, value in user.items() if value is not None))
    for repository in (result.structured_content or {})["repositories"]:
        write(f"- {repository['full_name']}")
    write("\nNext: the same, one idea at a time, in notebooks: `make lab`, or `mcp-oauth-nb lab`.")


def _shown(message: Message) -> str:
    """Write a message with its number in the diagram."""
    if message.title.startswith("tools/list"):
        # The SDK fetches a tool's output schema once: a long answer, and no part of the flow.
        return f"{message.number}. {message.sender} -> {message.receiver}   {message.title} (the SDK's, once)"
    return f"{message.number}. {message}"
