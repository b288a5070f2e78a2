"""Exercises of notebook 00: the whole flow."""

from __future__ import annotations

from typing import Any

from mcp_types import CallToolResult

from ..errors import AccessDenied, McpOAuthError
from ..tokens import Token
from .verdict import Verdict, checked, not_yet, right


@checked
def check_denial(answer: Any) -> Verdict:
    """The answer is the error that a user's refusal raises."""
    if isinstance(answer, Token):
        return not_yet("that is a token: this lab's user has agreed before, and was not asked again. Take a fresh lab.")
    if not isinstance(answer, McpOAuthError):
        return not_yet(
            "that is not an error of this package: in a fresh lab, `authorize(allow=False)` raises one to keep."
        )
    if not isinstance(answer, AccessDenied):
        return not_yet(f"{type(answer).__name__} is another refusal: it must come from the user's Cancel.")
    return right("the refusal came back through the browser as error=access_denied, and no code was ever issued.")


@checked
def check_one_call(answer: Any) -> Verdict:
    """The answer is the result of the protected tool."""
    if not isinstance(answer, CallToolResult):
        return not_yet("that is not a tool result: assign what `await ....call_tool(...)` returns.")
    if answer.is_error or "user" not in (answer.structured_content or {}):
        return not_yet("that result is not a GitHub user: call get_github_user_info.")
    return right("challenge, consent, exchange and retry in one line.")
