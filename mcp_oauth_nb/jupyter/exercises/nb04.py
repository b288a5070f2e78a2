"""Exercises of notebook 04: the callback and the token request."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ...client.handler import OAuthHandler
from ...lab.lab import Lab
from ...oauth.errors import IssuerMismatch
from .verdict import Verdict, checked, not_yet, right

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
