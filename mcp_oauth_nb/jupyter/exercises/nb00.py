"""Exercises of notebook 00: the whole flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_types import CallToolResult

from ...lab.lab import Lab
from ...oauth.errors import AccessDenied, McpOAuthError
from ...oauth.token import Token
from ...trace.messages import BROWSER, Exchange
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
    if answer.__traceback__ is None:
        return not_yet("nothing has raised that error: let the user press Cancel, and catch what comes.")
    return right("the refusal came back through the browser as error=access_denied, and no code was ever issued.")


@checked
def check_one_call(answer: Any) -> Verdict:
    """The answer is a lab in which one call of the protected tool was all that happened."""
    if isinstance(answer, CallToolResult):
        return not_yet("that is the result. Assign the lab: its trace tells what has led to the result.")
    if not isinstance(answer, Lab):
        return not_yet("that is not a lab: assign the one in which you made the call.")
    exchanges = answer.trace.exchanges
    calls = [place for place, exchange in enumerate(exchanges) if "get_github_user_info" in exchange.request.title]
    if not calls:
        return not_yet("in that lab nobody has called get_github_user_info.")
    if problem := _before(exchanges[: calls[0]]):
        return not_yet(f"{problem} Take a fresh lab.")
    last = exchanges[calls[-1]].response
    if last is None or last.title != "tools/call: result":
        return not_yet("the call was refused, and nothing came after it that would have helped.")
    requests_for_tokens = [exchange for exchange in exchanges if exchange.request.url.endswith("/access_token")]
    if len(calls) != 2 or len(requests_for_tokens) != 1:
        return not_yet("more than one call has succeeded in that lab, or the user signed in twice. Take a fresh lab.")
    return right("challenge, consent, exchange and retry in one line.")


def _before(exchanges: Sequence[Exchange]) -> str:
    """Say what a lab did before the call; connecting does not count, as `Lab.open` does it."""
    if any(exchange.request.sender == BROWSER for exchange in exchanges):
        return "the user of that lab had signed in before the call."
    if any(exchange.request.title.startswith(("tools/", "prompts/")) for exchange in exchanges):
        return "in that lab something else came before the call."
    return ""
