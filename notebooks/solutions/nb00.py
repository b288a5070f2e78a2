"""Solutions of notebook 00. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from mcp_oauth_nb import Lab, McpOAuthError


async def denial(lab: Lab) -> McpOAuthError | None:
    """Keep the error that the user's refusal raises."""
    try:
        await lab.authorize(allow=False)
    except McpOAuthError as error:
        return error
    return None


async def one_call(lab: Lab) -> Lab:
    """Let `call_tool` run the flow."""
    await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
    return lab
