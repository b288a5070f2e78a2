"""Exercises of notebook 05: an outage that costs nothing, and a token store of one's own."""

from __future__ import annotations

from typing import Any

from ...client.handler import OAuthHandler
from ...lab.lab import Lab
from ...trace.messages import BROWSER, Exchange
from ...trace.recorder import Trace
from .verdict import Verdict, checked, not_yet, right

_PACKAGE = __package__.partition(".")[0]


@checked
def check_outage(answer: Any) -> Verdict:
    """The answer is a trace in which a refresh failed with 503, was repeated, and the tool then ran."""
    if not isinstance(answer, Trace):
        return not_yet("that is not a trace: assign the `.trace` of your lab.")
    refreshes = [exchange for exchange in answer.find("/login/oauth/access_token") if _is_refresh(exchange)]
    outcomes = [_title(exchange).partition(" ")[0] for exchange in refreshes]
    if "503" not in outcomes:
        return not_yet("no refresh in it was answered with 503: use the fault when the token has expired.")
    if outcomes.count("503") > 1:
        return not_yet("the outage went on: the fault should meet one refresh only.")
    failed = refreshes[outcomes.index("503")].request.number
    if not any(_has_met(exchange, failed) for exchange in answer.exchanges):
        return not_yet("no tool call met the outage: let `call_tool` do the refresh.")
    later = [exchange for exchange in answer.exchanges if exchange.request.number > failed]
    if any(exchange.request.sender == BROWSER for exchange in later):
        return not_yet("the user had to authorize again after the outage.")
    if "200" not in outcomes[outcomes.index("503") :] or not any(map(_is_success, later)):
        return not_yet("after the 503 no tool call succeeded: call the tool again.")
    return right("the same refresh token worked after the outage, and the user noticed nothing.")


@checked
async def check_store(answer: Any, lab: Lab) -> Verdict:
    """The answer keeps tokens for other handlers, each under its key."""
    missing = [name for name in ("load", "save", "delete") if not callable(getattr(answer, name, None))]
    if missing:
        return not_yet(f"a store has a method `{missing[0]}`.")
    # None of this package's own, such as the one that would write to the system's keyring.
    if isinstance(answer, type) or any(each.__module__.startswith(_PACKAGE) for each in type(answer).__mro__):
        return not_yet("assign an object of a class that you wrote yourself.")
    first, restarted = _handler(lab, answer), _handler(lab, answer)
    callback = await lab.browser.authorize(first.get_authorization_url().url)
    token = await first.complete_authorization(callback)
    if restarted.token != token:
        return not_yet("a second handler with the same store does not find the token of the first.")
    elsewhere = _handler(lab, answer, resource_uri="https://api.example.com")
    if elsewhere.token is not None:
        return not_yet("a handler for another API gets the token too: keep each token under its key.")
    refreshed = await first.refresh_access_token()
    if restarted.token != refreshed:
        return not_yet("after a refresh the old token is still there: `save` puts the new one in its place.")
    elsewhere.token = token
    if restarted.token != refreshed:
        return not_yet("a token for another API takes the place of the first: keep each token under its key.")
    await first.revoke()
    if restarted.token is not None:
        return not_yet("after signing out the token is still there.")
    if elsewhere.token is None:
        return not_yet("signing out has deleted the token for another API too.")
    elsewhere.token = None
    # Signed out already: there is nothing to delete.
    first.token = None
    return right("a token survives the restart, stays with its API, and is gone after signing out.")


def _handler(lab: Lab, store: Any, resource_uri: str | None = None) -> OAuthHandler:
    return OAuthHandler(resource_uri, settings=lab.settings, client=lab.http_client(), clock=lab.clock, store=store)


def _is_refresh(exchange: Exchange) -> bool:
    return bool(exchange.request.body["grant_type"] == "refresh_token")


def _has_met(exchange: Exchange, number: int) -> bool:
    """Say whether a call of the tool was under way at a message of that number, and failed."""
    if "get_github_user_info" not in exchange.request.title or exchange.response is None:
        return False
    return exchange.request.number < number < exchange.response.number and exchange.response.kind == "error"


def _is_success(exchange: Exchange) -> bool:
    return "get_github_user_info" in exchange.request.title and _title(exchange) == "tools/call: result"


def _title(exchange: Exchange) -> str:
    return exchange.response.title if exchange.response is not None else ""
