"""Exercises of notebook 09: troubleshooting."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from ...client.handler import OAuthHandler
from ...lab.lab import Lab
from ...oauth.errors import AccessDenied, McpOAuthError, RateLimited, StateMismatch
from ...oauth.settings import IsolatedSettings
from .verdict import Verdict, checked, checked_function, not_yet, right


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
