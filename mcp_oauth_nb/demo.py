"""The guided flow in a terminal: every exchange as it happens, the diagram, the result."""

from __future__ import annotations

from collections.abc import Callable

from .errors import AuthenticationRequired
from .lab import Lab


async def demo(lab: Lab, write: Callable[[str], None] = print) -> None:
    """Walk through the guide's flow on an open lab.

    Args:
        lab: fresh, with nothing authorized.
        write: gets each paragraph; secrets are masked.
    """
    seen = 0

    def step(number: int, title: str) -> None:
        write(f"\n== {number}. {title}")

    def show_exchanges() -> None:
        nonlocal seen
        for exchange in lab.trace.since(seen):
            write(str(exchange))
        seen = len(lab.trace)

    step(1, "Connect: the server announces its authorization metadata")
    write(f"connected to {lab.session!r}")
    show_exchanges()

    step(2, "Call the protected tool without a token")
    try:
        await lab.session.call_tool("get_github_user_info", {"repo_limit": 3})
    except AuthenticationRequired as error:
        challenge = error.challenge
        write(str(error))
    show_exchanges()

    step(3, "PKCE and the authorization request")
    request = lab.oauth.get_authorization_url(scopes=challenge.scopes if challenge else None)
    write(repr(request))

    step(4, "The user signs in and clicks Authorize (the mock's autopilot)")
    callback = await lab.browser.authorize(request.url)
    show_exchanges()

    step(5, "Verify the callback: state, then iss")
    response = lab.oauth.read_callback(callback)
    write(repr(response))

    step(6, "Exchange the code and the code verifier for a token")
    token = await lab.oauth.exchange_code_for_token(response.code, request.code_verifier)
    show_exchanges()
    write(repr(token))

    step(7, "Call the tool again: success")
    result = await lab.session.call_tool("get_github_user_info", {"repo_limit": 3})
    show_exchanges()

    step(8, "Eight hours later: refresh")
    lab.clock.advance(hours=8)
    write(f"{lab.clock!r}, authenticated: {lab.oauth.is_authenticated()}")
    token = await lab.oauth.refresh_access_token()
    show_exchanges()
    write(repr(token))
    await lab.session.call_tool("get_github_user_info", {"include_repos": False})

    write("\n== The whole flow")
    write(str(lab.trace.diagram()))
    write("\n== What the tool returned")
    user = (result.structured_content or {})["user"]
    write("\n".join(f"{name}: {value}" for name, value in user.items() if value is not None))
    for repository in (result.structured_content or {})["repositories"]:
        write(f"- {repository['full_name']}")
