"""Exercises of notebook 03: PKCE."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx

from ...lab.lab import Lab
from ...oauth.pkce import challenge_for
from .verdict import Verdict, checked_function, not_yet, right

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
