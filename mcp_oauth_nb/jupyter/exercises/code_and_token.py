"""Exercises of notebooks 03 to 05: from the code verifier to the token that is kept.

They are on PKCE, on the callback and the token request, on an outage that costs nothing, and on a token store of one's
own.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

import httpx

from ...client.handler import OAuthHandler
from ...lab.lab import Lab
from ...oauth.errors import IssuerMismatch
from ...oauth.pkce import challenge_for
from ...trace.messages import BROWSER, Exchange
from ...trace.recorder import Trace
from . import Verdict, checked, checked_function, not_yet, right

# -- 03: PKCE --------------------------------------------------------------------------------------------------------

# RFC 7636 appendix B, then others: the longest that is allowed, and characters that an encoding could change.
_VERIFIERS = ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "0123456789abcdef" * 8, "-._~" * 11, "A" * 43)
_PADDED = challenge_for(_VERIFIERS[0]) + "="


@checked_function
def check_challenge(answer: Any) -> Verdict:
    """The answer is a function from a verifier to its S256 challenge."""
    for verifier in _VERIFIERS:
        challenge = answer(verifier)
        if challenge != challenge_for(verifier):
            return not_yet(_what_went_wrong(challenge, verifier))
    return right("SHA-256 of the text, in base64url without padding: RFC 7636 section 4.2.")


def _what_went_wrong(challenge: Any, verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    if isinstance(challenge, bytes):
        return "it returned bytes: `.decode()` makes a string of them."
    if challenge == hashlib.sha256(verifier.encode()).hexdigest():
        return "that is the hash in hexadecimal: take its `digest()`, and write that in base64url."
    if challenge in (base64.b64encode(digest).decode(), base64.b64encode(digest).decode().rstrip("=")):
        return "that has `+` or `/`, which mean something else in a URL: use the URL-safe alphabet."
    if challenge == base64.urlsafe_b64encode(digest).decode():
        return "almost: the `=` at the end has to go."
    return f"for the verifier {verifier} it returned {challenge!r}."


@checked_function
def check_is_protected(answer: Any, lab: Lab) -> Verdict:
    """The answer is a function that says whether PKCE protects the code of an authorization URL."""
    for what, url, expected in _urls(lab):
        says = answer(url)
        if says is not expected:
            return not_yet(f"{what}: that should be {expected}, and your function returned {says!r}.")
    return right("a challenge of 43 characters and S256 by name; everything else is refused, or worse, accepted.")


def _urls(lab: Lab) -> list[tuple[str, str, bool]]:
    """Return the cases: how a genuine URL was changed, the URL, and whether its code is protected."""
    # Built here, not by lab.oauth: an exercise starts no flow in the lab.
    genuine = httpx.URL(lab.settings.oauth_authorization_url).copy_merge_params(
        {
            "response_type": "code",
            "client_id": lab.github.client_id,
            "code_challenge": challenge_for(_VERIFIERS[0]),
            "code_challenge_method": "S256",
        }
    )
    return [
        ("a URL as it should be", str(genuine), True),
        ("the challenge taken out", str(genuine.copy_remove_param("code_challenge")), False),
        ("the method taken out, which then is plain", str(genuine.copy_remove_param("code_challenge_method")), False),
        ("the method plain", str(genuine.copy_set_param("code_challenge_method", "plain")), False),
        ("a method in lower case", str(genuine.copy_set_param("code_challenge_method", "s256")), False),
        ("a challenge that is empty", str(genuine.copy_set_param("code_challenge", "")), False),
        ("a challenge cut short", str(genuine.copy_set_param("code_challenge", "E9Melhoa2OwvFrEM")), False),
        ("a challenge with the `=` at its end", str(genuine.copy_set_param("code_challenge", _PADDED)), False),
        ("both behind a `#`, where no server sees them", str(genuine).replace("?", "#"), False),
        ("no PKCE at all", str(genuine.copy_with(query=b"response_type=code")), False),
    ]


# -- 04: the callback and the token request --------------------------------------------------------------------------

_FIELDS = ("grant_type", "code", "redirect_uri", "code_verifier", "resource", "client_id", "client_secret")


@checked
def check_strict_handler(answer: Any, lab: Lab) -> Verdict:
    """The answer is a handler that takes a callback with `iss`, and refuses one without."""
    if not isinstance(answer, OAuthHandler):
        return not_yet("that is not an OAuthHandler: assign the handler itself.")
    if answer.settings != lab.settings:
        return not_yet("it has settings of its own: give it those of the lab.")
    answer.read_callback(_callback(answer, iss=answer.issuer))
    try:
        answer.read_callback(_callback(answer))
    except IssuerMismatch:
        return right(
            "it takes a callback with iss, and refuses one without: leaving iss out is no way around the check."
        )
    return not_yet("it still takes a callback that has no iss.")


@checked
async def check_token_request(answer: Any, lab: Lab) -> Verdict:
    """The answer is the form of a token request; GitHub is asked whether it is a good one."""
    if not isinstance(answer, dict):
        return not_yet("that is not a dictionary of form fields.")
    missing = [name for name in _FIELDS if not answer.get(name)]
    if missing:
        return not_yet(f"the form has no {missing[0]}.")
    # GitHub ignores these two, and would use up the code.
    if answer["grant_type"] != "authorization_code" or answer["resource"] != lab.oauth.resource_uri:
        return not_yet("GitHub would take it, a stricter server would not: look at grant_type and resource again.")
    async with lab.http_client()() as http:
        url, wants_json = lab.settings.oauth_token_url, {"Accept": "application/json"}
        body = (await http.post(url, data=answer, headers=wants_json)).json()
    if "error" in body:
        return not_yet(f"GitHub says {body['error']}. If the code was sent before, start a new flow for another one.")
    return right("GitHub took it and sent a token. You have written the whole exchange by hand.")


def _callback(handler: OAuthHandler, **iss: str | None) -> str:
    state = handler.get_authorization_url().state
    return f"{handler.settings.oauth_redirect_uri}?{urlencode({'code': 'any', 'state': state, **iss})}"


# -- 05: an outage that costs nothing, and a token store of one's own ------------------------------------------------

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
    # No store of this package is taken: one of them would write to the system's keyring.
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
